package hgw

import (
	"context"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"

	"sofutobanku/internal/counters"
	"sofutobanku/internal/dhcp6"
	"sofutobanku/internal/ntt"
)

var (
	portMAC = net.HardwareAddr{0, 0, 0x5e, 0, 0x53, 1}
	hgwMAC  = net.HardwareAddr{0, 0, 0x5e, 0, 0x53, 0x10}
	phone   = net.HardwareAddr{0, 0, 0x5e, 0, 0x53, 0x20} // what the HGW calls its telephone terminal

	duidA = append([]byte{0, 3, 0, 1}, hgwMAC...)
	duidB = []byte{0, 3, 0, 1, 0, 0, 0x5e, 0, 0x53, 0x11}
	port  = append([]byte{0, 3, 0, 1}, portMAC...) // the server's DUID

	addrA = netip.MustParseAddrPort("[fe80::200:5eff:fe00:5310]:546")
	addrB = netip.MustParseAddrPort("[fe80::b]:546")

	lineP = netip.MustParsePrefix("2001:db8:0:100::/56")
	lineQ = netip.MustParsePrefix("2001:db8:0:200::/56")
)

// lineInfo is what DHCPv6 told the router.
func lineInfo() *dhcp6.Info {
	return &dhcp6.Info{
		DNS: []netip.Addr{netip.MustParseAddr("2001:db8::53")}, SNTP: []netip.Addr{netip.MustParseAddr("2001:db8::123")},
		SIP: []netip.Addr{netip.MustParseAddr("2001:db8::5060")}, Domains: []string{"flets.example", "iptv.example"},
		Vendor: []dhcp6.Vendor{{Enterprise: 210, Data: []byte("\x00\xca\x00\x0a0312345678\x00\xcc\x00\x09\x07example\x00")}},
	}
}

// gave is a line that gave p for so long, and has a router for ever.
func gave(p netip.Prefix, preferred, valid time.Duration) Upstream {
	now := time.Now()
	return Upstream{
		Prefix: dhcp6.Prefix{Prefix: p, Preferred: now.Add(preferred), Valid: now.Add(valid)},
		Info:   lineInfo(), Router: true,
	}
}

// usual is a line's usual lease of p, just renewed.
func usual(p netip.Prefix) Upstream { return gave(p, 12600*time.Second, 14400*time.Second) }

// datagram is what a server sent or is sent.
type datagram struct {
	at   time.Duration // since the bench began
	data []byte
	peer netip.AddrPort
}

// udp is the server's end of a wire, in memory.
type udp struct {
	b    *bench
	in   chan datagram
	done chan struct{}
	once sync.Once
}

func (u *udp) ReadFrom(p []byte) (int, netip.AddrPort, error) {
	select {
	case d := <-u.in:
		return copy(p, d.data), d.peer, nil
	case <-u.done:
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}

func (u *udp) WriteTo(p []byte, to netip.AddrPort) error {
	d := datagram{time.Since(u.b.began), slices.Clone(p), to}
	u.b.sent = append(u.b.sent, d)
	if u.b.client != nil && !u.b.client.cut.Load() {
		go func() {
			select {
			case u.b.client.in <- d:
			case <-u.b.client.done:
			}
		}()
	}
	return nil
}

func (u *udp) Close() error { u.once.Do(func() { close(u.done) }); return nil }

// rs is the router discovery of the same wire.
type rs struct {
	udp
	in chan solicitation
}

type solicitation struct {
	data     []byte
	from     string
	hopLimit int
}

func (r *rs) ReadRS(b []byte) (int, netip.Addr, int, error) {
	select {
	case q := <-r.in:
		return copy(b, q.data), netip.MustParseAddr(q.from), q.hopLimit, nil
	case <-r.done:
		return 0, netip.Addr{}, 0, net.ErrClosed
	}
}

func (r *rs) WriteRA(p []byte) error {
	r.b.adverts = append(r.b.adverts, datagram{time.Since(r.b.began), slices.Clone(p), netip.AddrPort{}})
	return nil
}

// bench is a server on a wire in memory, and in virtual time.
type bench struct {
	t       *testing.T
	s       *Server
	counted *counters.Set
	began   time.Time
	udp     *udp
	wire    atomic.Pointer[udp] // the same, for the client
	ra      *rs
	client  *clientConn // of a real client, nil where the test plays it
	sent    []datagram
	adverts []datagram
	events  []Event
	stop    func()
}

// run lets f use a server that has a line's usual lease of lineP and a link, unless cfg
// is told otherwise by f.
func run(t *testing.T, cfg Config, f func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, cfg)
		defer b.stop()
		b.s.SetUpstream(usual(lineP))
		b.up()
		f(b)
	})
}

func newBench(t *testing.T, cfg Config) *bench {
	b := &bench{t: t, began: time.Now(), counted: new(counters.Set)}
	cfg.Rand = rand.New(rand.NewPCG(1, 2))
	cfg.Counters = b.counted
	cfg.Terminal = ntt.ParseVendorClass
	cfg.OnEvent = func(ev Event) { b.events = append(b.events, ev) }
	b.s = New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); b.s.Run(ctx) }()
	b.stop = func() { cancel(); <-done }
	return b
}

// up gives the server a link.
func (b *bench) up() {
	b.udp = &udp{b: b, in: make(chan datagram), done: make(chan struct{})}
	b.ra = &rs{udp: udp{b: b, done: make(chan struct{})}, in: make(chan solicitation)}
	b.wire.Store(b.udp)
	b.s.LinkUp(Sockets{DHCP: b.udp, RA: b.ra, MAC: portMAC})
	synctest.Wait()
}

func (b *bench) set(up Upstream) { b.s.SetUpstream(up); synctest.Wait() }

func (b *bench) pass(d time.Duration) {
	b.s.do(func() {}) // what the server does later comes after what the test did, for the race detector
	time.Sleep(d)
	synctest.Wait()
}

// send sends octets from somewhere and returns what the server sends at once.
func (b *bench) send(data []byte, from netip.AddrPort) []datagram {
	b.sent = nil
	b.udp.in <- datagram{data: data, peer: from}
	synctest.Wait()
	return b.sent
}

// ask sends a message of the first client and returns the answer, for a person.
func (b *bench) ask(kind dhcpv6.MessageType, opts ...dhcpv6.Option) string {
	b.t.Helper()
	return b.askAs(duidA, addrA, kind, opts...)
}

func (b *bench) askAs(duid []byte, from netip.AddrPort, kind dhcpv6.MessageType, opts ...dhcpv6.Option) string {
	b.t.Helper()
	got := b.send(message4(duid, kind, opts...), from)
	if len(got) == 0 {
		return "nothing"
	}
	if len(got) != 1 || got[0].peer != from {
		b.t.Fatalf("%d answers, to %v", len(got), got[0].peer)
	}
	return show(b.t, got[0].data)
}

// bound has the first client bound to a /60 with IAID 1.
func (b *bench) bound(opts ...dhcpv6.Option) {
	b.t.Helper()
	if got := b.ask(dhcpv6.MessageTypeRequest, append(opts, pd(1))...); !strings.Contains(got, ":1f0::/60") {
		b.t.Fatalf("not bound: %s", got)
	}
}

// last is the present picture, for a person.
func (b *bench) last() string {
	if len(b.events) == 0 {
		return "none"
	}
	ev := b.events[len(b.events)-1]
	var s []string
	for _, p := range ev.Prefixes {
		s = append(s, fmt.Sprintf("%v %v", p.Prefix, left(p.Until)))
	}
	return fmt.Sprintf("%v %v [%s]", ev.MAC, ev.LinkLocal, strings.Join(s, ", "))
}

// left is how many seconds there are until t, 1<<32 - 1 for never.
func left(t time.Time) int64 {
	if t.IsZero() {
		return infinity
	}
	return int64(time.Until(t) / time.Second)
}

// message4 is a client's message with the identifiers that its kind needs.
func message4(duid []byte, kind dhcpv6.MessageType, opts ...dhcpv6.Option) []byte {
	m := dhcpv6.Message{MessageType: kind, TransactionID: dhcpv6.TransactionID{1, 2, 3}}
	m.AddOption(option(dhcpv6.OptionClientID, duid...))
	switch kind {
	case dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeRelease, dhcpv6.MessageTypeDecline:
		m.AddOption(option(dhcpv6.OptionServerID, port...))
	}
	for _, o := range opts {
		m.AddOption(o)
	}
	return m.ToBytes()
}

// pd is an IA_PD that names these prefixes.
func pd(iaid byte, prefixes ...string) dhcpv6.Option {
	a := answer{ia: &ia{code: dhcpv6.OptionIAPD, id: uint32(iaid)}}
	for _, p := range prefixes {
		a.add(netip.MustParsePrefix(p), 100, 200)
	}
	return a.option()
}

// na is an IA_NA that names these addresses.
func na(iaid byte, addrs ...string) dhcpv6.Option {
	a := answer{ia: &ia{code: dhcpv6.OptionIANA, id: uint32(iaid)}}
	for _, p := range addrs {
		a.add(netip.PrefixFrom(netip.MustParseAddr(p), 128), 100, 200)
	}
	return a.option()
}

func oro(codes ...byte) dhcpv6.Option {
	var b []byte
	for _, c := range codes {
		b = append(b, 0, c)
	}
	return option(dhcpv6.OptionORO, b...)
}

var (
	accept = option(dhcpv6.OptionReconfAccept)
	class  = ntt.VendorClass(phone)
)

// show is a server's message for a person, by the library's decoder: a line for each option.
func show(t *testing.T, b []byte) string {
	t.Helper()
	m, err := dhcpv6.MessageFromBytes(b)
	if err != nil {
		t.Fatalf("%x: %v", b, err)
	}
	var s []string
	add := func(format string, args ...any) { s = append(s, fmt.Sprintf(format, args...)) }
	add("%v", m.MessageType)
	inner := func(opts dhcpv6.Options) (text string) {
		for _, o := range opts {
			switch o := o.(type) {
			case *dhcpv6.OptIAPrefix:
				text += fmt.Sprintf(" %v %d %d", o.Prefix, o.PreferredLifetime/time.Second, o.ValidLifetime/time.Second)
			case *dhcpv6.OptIAAddress:
				text += fmt.Sprintf(" %v %d %d", o.IPv6Addr, o.PreferredLifetime/time.Second, o.ValidLifetime/time.Second)
			case *dhcpv6.OptStatusCode:
				text += " " + o.StatusCode.String()
			default:
				text += " " + o.String()
			}
		}
		return text
	}
	for _, o := range m.Options.Options {
		switch o := o.(type) {
		case *dhcpv6.OptIAPD:
			add("PD %d T1=%d T2=%d%s", o.IaId[3], o.T1/time.Second, o.T2/time.Second, inner(o.Options.Options))
		case *dhcpv6.OptIANA:
			add("NA %d T1=%d T2=%d%s", o.IaId[3], o.T1/time.Second, o.T2/time.Second, inner(o.Options.Options))
		case *dhcpv6.OptStatusCode:
			add("%v", o.StatusCode)
		default:
			switch o.Code() {
			case dhcpv6.OptionClientID, dhcpv6.OptionServerID: // looked at once, in TestExchange
			case dhcpv6.OptionAuth:
				add("key")
			case dhcpv6.OptionReconfAccept:
				add("accept")
			default:
				add("%d %s", o.Code(), hex.EncodeToString(o.ToBytes()))
			}
		}
	}
	return strings.Join(s, "; ")
}
