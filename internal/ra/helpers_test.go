package ra

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mdlayher/ndp"

	"sofutobanku/internal/counters"
	"sofutobanku/internal/state"
)

var (
	router1 = netip.MustParseAddr("fe80::1")
	router2 = netip.MustParseAddr("fe80::2")
	self    = netip.MustParseAddr("fe80::200:5eff:fe00:5301")
)

// order lets the race detector see what virtual time orders: what a test did
// before it sleeps is before what the client does meanwhile.
var order sync.Mutex

func pass() {
	order.Lock()
	defer order.Unlock()
}

// fakeConn is a link without a kernel. What it reads is what deliver puts in.
type fakeConn struct {
	begin  time.Time
	in     chan packet
	closed chan struct{}
	sent   []string // "4s from ::"
	times  []time.Duration
	fail   error
}

func newConn() *fakeConn {
	return &fakeConn{begin: time.Now(), in: make(chan packet), closed: make(chan struct{})}
}

func (f *fakeConn) ReadRA(b []byte) (int, netip.Addr, int, error) {
	select {
	case <-f.closed:
		return 0, netip.Addr{}, 0, net.ErrClosed
	case p := <-f.in:
		if p.data == nil {
			return 0, netip.Addr{}, 0, fmt.Errorf("network is down")
		}
		return copy(b, p.data), p.from, p.hopLimit, nil
	}
}

func (f *fakeConn) Solicit(src netip.Addr) error {
	pass()
	if f.fail != nil {
		return f.fail
	}
	from := "::"
	if src.IsValid() {
		from = src.String()
	}
	at := time.Since(f.begin)
	f.times = append(f.times, at)
	f.sent = append(f.sent, fmt.Sprintf("%v from %s", at, from))
	return nil
}

func (f *fakeConn) Close() error { close(f.closed); return nil }

func (f *fakeConn) isClosed() bool {
	select {
	case <-f.closed:
		return true
	default:
		return false
	}
}

// deliver has the client receive data from a router, as it should be.
func (f *fakeConn) deliver(from netip.Addr, data []byte) {
	pass()
	f.in <- packet{data: data, from: from, hopLimit: 255}
	synctest.Wait()
}

// bench is a client on a fake link with a log of what it told.
type bench struct {
	*Client
	conn     *fakeConn
	counters counters.Set
	info     Info
	changes  []string // "1h30m0s: default fe80::1 30m0s | …"
	traces   []string
}

// sleep lets d pass and everything that happens meanwhile settle.
func (b *bench) sleep(d time.Duration) {
	pass()
	time.Sleep(d)
	synctest.Wait()
}

// run has test drive a client in virtual time. The link is not up yet.
func run(t *testing.T, cfg Config, test func(t *testing.T, b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		b := &bench{}
		cfg.Rand = rand.New(rand.NewPCG(1, 2))
		cfg.Counters = &b.counters
		cfg.Trace = func(event, detail string) {
			pass()
			b.traces = append(b.traces, fmt.Sprintf("%v %s %s", time.Since(begin), event, detail))
		}
		onChange := cfg.OnChange
		cfg.OnChange = func(i Info) {
			pass()
			b.info = i
			b.changes = append(b.changes, fmt.Sprintf("%v: %s", time.Since(begin), summary(i)))
			if onChange != nil {
				onChange(i)
			}
		}
		b.Client = New(cfg)
		b.conn = newConn()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- b.Run(ctx) }()
		test(t, b)
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v, want nil", err)
		}
	})
}

// summary is an Info in one line, its moments as what is left of them.
func summary(i Info) string {
	now := time.Now()
	left := func(t time.Time) string {
		d, finite := state.Remaining(t, now)
		if !finite {
			return "forever"
		}
		return d.String()
	}
	var s []string
	add := func(format string, a ...any) { s = append(s, fmt.Sprintf(format, a...)) }
	for _, r := range i.Routers {
		add("default %s pref %d %s", r.Addr, r.Preference, left(r.Until))
	}
	if i.Managed || i.Other {
		add("M=%t O=%t", i.Managed, i.Other)
	}
	if i.MTU != 0 {
		add("mtu %d", i.MTU)
	}
	if i.HopLimit != 0 || i.Reachable != 0 || i.Retrans != 0 {
		add("hop limit %d reachable %v retrans %v", i.HopLimit, i.Reachable, i.Retrans)
	}
	for _, p := range i.Prefixes {
		x := "prefix " + p.Prefix.String()
		if p.OnLink {
			x += " on-link " + left(p.OnLinkUntil)
		}
		if p.Autonomous {
			x += " preferred " + left(p.Preferred) + " valid " + left(p.Until)
		}
		if p.Deprecated {
			x += " deprecated"
		}
		add("%s", x)
	}
	for _, r := range i.Routes {
		add("route %s via %s pref %d %s", r.Prefix, r.Via, r.Preference, left(r.Until))
	}
	for _, d := range i.DNS {
		add("dns %s %s", d.Addr, left(d.Until))
	}
	for _, d := range i.Domains {
		add("domain %s %s", d.Name, left(d.Until))
	}
	if s == nil {
		return "nothing"
	}
	return strings.Join(s, " | ")
}

// advert encodes an advertisement with somebody else's encoder.
func advert(lifetime time.Duration, opts ...ndp.Option) []byte {
	return advertise(&ndp.RouterAdvertisement{RouterLifetime: lifetime, Options: opts})
}

func advertise(ra *ndp.RouterAdvertisement) []byte {
	b, err := ndp.MarshalMessage(ra)
	if err != nil {
		panic(err)
	}
	return b
}

func pio(prefix string, flags string, preferred, valid time.Duration) *ndp.PrefixInformation {
	p := netip.MustParsePrefix(prefix)
	return &ndp.PrefixInformation{
		PrefixLength:                   uint8(p.Bits()),
		OnLink:                         strings.Contains(flags, "L"),
		AutonomousAddressConfiguration: strings.Contains(flags, "A"),
		ValidLifetime:                  valid,
		PreferredLifetime:              preferred,
		Prefix:                         p.Addr(),
	}
}

func rio(prefix string, pref ndp.Preference, lifetime time.Duration) *ndp.RouteInformation {
	p := netip.MustParsePrefix(prefix)
	return &ndp.RouteInformation{PrefixLength: uint8(p.Bits()), Preference: pref, RouteLifetime: lifetime, Prefix: p.Addr()}
}

func rdnss(lifetime time.Duration, servers ...string) *ndp.RecursiveDNSServer {
	o := &ndp.RecursiveDNSServer{Lifetime: lifetime}
	for _, s := range servers {
		o.Servers = append(o.Servers, netip.MustParseAddr(s))
	}
	return o
}

func dnssl(lifetime time.Duration, names ...string) *ndp.DNSSearchList {
	return &ndp.DNSSearchList{Lifetime: lifetime, DomainNames: names}
}

// encode writes a message as decode reads it, options in the order of their
// type, one option for each item.
func encode(m message) []byte {
	b := make([]byte, 16)
	b[0] = typeAdvertisement
	b[4] = m.hopLimit
	if m.managed {
		b[5] |= 0x80
	}
	if m.other {
		b[5] |= 0x40
	}
	b[5] |= byte(m.preference&3) << 3
	binary.BigEndian.PutUint16(b[6:], m.lifetime)
	binary.BigEndian.PutUint32(b[8:], m.reachable)
	binary.BigEndian.PutUint32(b[12:], m.retrans)
	u32 := binary.BigEndian.AppendUint32
	for _, o := range m.prefixes {
		var flags byte
		if o.onLink {
			flags |= 0x80
		}
		if o.autonomous {
			flags |= 0x40
		}
		b = append(b, optPrefix, 4, byte(o.prefix.Bits()), flags)
		b = u32(u32(u32(b, o.valid), o.preferred), 0)
		b = append(b, o.prefix.Addr().AsSlice()...)
	}
	if m.mtu != 0 {
		b = u32(append(b, optMTU, 1, 0, 0), m.mtu)
	}
	for _, o := range m.routes {
		units := 1 + (o.prefix.Bits()+63)/64
		b = append(b, optRoute, byte(units), byte(o.prefix.Bits()), byte(o.preference&3)<<3)
		b = u32(b, o.lifetime)
		b = append(b, o.prefix.Addr().AsSlice()[:(units-1)*8]...)
	}
	for _, o := range m.dns {
		b = u32(append(b, optDNS, 3, 0, 0), o.lifetime)
		b = append(b, o.addr.AsSlice()...)
	}
	for _, o := range m.domains {
		names := u32([]byte{0, 0}, o.lifetime)
		for _, label := range strings.Split(o.name, ".") {
			names = append(append(names, byte(len(label))), label...)
		}
		names = append(names, 0)
		for (len(names)+2)%8 != 0 {
			names = append(names, 0)
		}
		b = append(append(b, optDomain, byte((len(names)+2)/8)), names...)
	}
	return b
}
