package dhcp6

import (
	"context"
	"crypto/hmac"
	"crypto/md5"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"sofutobanku/internal/counters"
)

var (
	ourDUID   = []byte{0, 3, 0, 1, 0x00, 0x00, 0x5e, 0x00, 0x53, 0x01}
	otherDUID = []byte{0, 3, 0, 1, 0x00, 0x00, 0x5e, 0x00, 0x53, 0x99}
	vendorOpt = &dhcpv6.OptionGeneric{OptionCode: 16, OptionData: []byte{0, 0, 0x7f, 0xd9, 0, 2, 'h', 'i'}}
	orderORO  = []dhcpv6.OptionCode{17, 22, 23, 24, 31}
)

const rtt = 20 * time.Millisecond

// server is a scripted DHCPv6 server. It is written with the library's codec, so
// that an error in ours does not meet itself.
type server struct {
	duid     []byte
	addr     netip.AddrPort
	pref     byte
	t1, t2   uint32
	prefixes []lent
	silent   map[dhcpv6.MessageType]bool
	dead     bool
	// refuse puts a status into the IA instead of prefixes.
	refuse map[dhcpv6.MessageType]iana.StatusCode
	// status is the one of the whole message.
	status map[dhcpv6.MessageType]iana.StatusCode
	// with adds options, by message type of the answer.
	with map[dhcpv6.MessageType][]dhcpv6.Option
	// edit changes the finished answer; nil means send nothing.
	edit  func(req *dhcpv6.Message, answer []byte) []byte
	delay time.Duration
}

type lent struct {
	prefix           string
	preferred, valid uint32
}

func newServer(n byte) *server {
	return &server{
		duid: []byte{0, 3, 0, 1, 0x00, 0x00, 0x5e, 0x00, 0x53, 0xa0 + n},
		// The port is not the well-known one: no client may depend on that.
		addr: netip.AddrPortFrom(netip.MustParseAddr(fmt.Sprintf("fe80::%x%%wan", n)), 49152),
		t1:   7200, t2: 10800, prefixes: []lent{{"2001:db8:0:100::/56", 12600, 14400}},
		silent: map[dhcpv6.MessageType]bool{}, refuse: map[dhcpv6.MessageType]iana.StatusCode{},
		status: map[dhcpv6.MessageType]iana.StatusCode{}, with: map[dhcpv6.MessageType][]dhcpv6.Option{},
		delay: rtt,
	}
}

func option(code dhcpv6.OptionCode, data ...byte) dhcpv6.Option {
	return &dhcpv6.OptionGeneric{OptionCode: code, OptionData: data}
}

func (l lent) option() *dhcpv6.OptIAPrefix {
	_, n, err := net.ParseCIDR(l.prefix)
	if err != nil {
		panic(err)
	}
	return &dhcpv6.OptIAPrefix{
		PreferredLifetime: time.Duration(l.preferred) * time.Second, ValidLifetime: time.Duration(l.valid) * time.Second, Prefix: n,
	}
}

func statusOption(c iana.StatusCode, text string) dhcpv6.Option {
	return &dhcpv6.OptStatusCode{StatusCode: c, StatusMessage: text}
}

// answer is what s says to req, nil for nothing.
func (s *server) answer(req *dhcpv6.Message) []byte {
	if s.dead || s.silent[req.MessageType] {
		return nil
	}
	if id := req.GetOneOption(dhcpv6.OptionServerID); id != nil && string(id.ToBytes()) != string(s.duid) {
		return nil
	}
	out := &dhcpv6.Message{MessageType: dhcpv6.MessageTypeReply, TransactionID: req.TransactionID}
	if req.MessageType == dhcpv6.MessageTypeSolicit {
		out.MessageType = dhcpv6.MessageTypeAdvertise
		out.AddOption(option(dhcpv6.OptionPreference, s.pref))
	}
	out.AddOption(option(dhcpv6.OptionClientID, req.GetOneOption(dhcpv6.OptionClientID).ToBytes()...))
	out.AddOption(option(dhcpv6.OptionServerID, s.duid...))
	if code, ok := s.status[req.MessageType]; ok {
		out.AddOption(statusOption(code, "as scripted"))
	}
	if pd := req.Options.OneIAPD(); pd != nil && req.MessageType != dhcpv6.MessageTypeRelease {
		ia := &dhcpv6.OptIAPD{IaId: pd.IaId, T1: time.Duration(s.t1) * time.Second, T2: time.Duration(s.t2) * time.Second}
		if code, ok := s.refuse[req.MessageType]; ok {
			ia.T1, ia.T2 = 0, 0
			ia.Options.Add(statusOption(code, "as scripted"))
		} else {
			for _, l := range s.prefixes {
				ia.Options.Add(l.option())
			}
		}
		out.AddOption(ia)
	}
	for _, o := range s.with[out.MessageType] {
		out.AddOption(o)
	}
	b := out.ToBytes()
	if s.edit != nil {
		b = s.edit(req, b)
	}
	return b
}

// sent is a message of the client.
type sent struct {
	at time.Duration // since the bench began
	*dhcpv6.Message
}

// conn is the client's link to servers.
type conn struct {
	b      *bench
	in     chan received
	closed chan struct{}
	once   sync.Once
	fail   int // so many writes fail
}

type received struct {
	data []byte
	from netip.AddrPort
}

func (c *conn) ReadFrom(b []byte) (int, netip.AddrPort, error) {
	select {
	case r := <-c.in:
		return copy(b, r.data), r.from, nil
	case <-c.closed:
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}

func (c *conn) WriteTo(b []byte, to netip.AddrPort) error {
	if to != netip.MustParseAddrPort("[ff02::1:2]:547") {
		c.b.t.Errorf("sent to %v", to)
	}
	select {
	case <-c.closed:
		return net.ErrClosed
	default:
	}
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	if c.fail > 0 {
		c.fail--
		return errors.New("cannot assign requested address")
	}
	m, err := dhcpv6.MessageFromBytes(b)
	if err != nil {
		c.b.t.Errorf("sent what the library cannot read: %v", err)
		return nil
	}
	c.b.sent = append(c.b.sent, sent{time.Since(c.b.began), m})
	for _, s := range c.b.servers {
		if answer := s.answer(m); answer != nil {
			c.deliver(s.delay, answer, s.addr)
		}
	}
	return nil
}

func (c *conn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

func (c *conn) deliver(after time.Duration, data []byte, from netip.AddrPort) {
	go func() {
		select {
		case <-time.After(after):
		case <-c.closed:
			return
		}
		select {
		case c.in <- received{data, from}:
		case <-c.closed:
		}
	}()
}

// bench is a client, its link, and what came of it, in virtual time.
type bench struct {
	t        *testing.T
	began    time.Time
	c        *Client
	conn     *conn
	counters counters.Set
	stop     func()

	mu      sync.Mutex
	servers []*server
	sent    []sent
	events  []Event
	traced  []string
}

func config() Config {
	return Config{
		DUID: ourDUID, IAID: 1, ORO: orderORO, RequestOptions: []dhcpv6.Option{vendorOpt}, ReconfigureAccept: true,
	}
}

// run calls f with a running client that has no link yet.
func run(t *testing.T, cfg Config, f func(*bench), servers ...*server) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t, began: time.Now(), servers: servers}
		b.begin(cfg)
		defer func() { b.stop() }()
		f(b)
	})
}

// begin starts a client; a second one takes the place of the first.
func (b *bench) begin(cfg Config) {
	cfg.Counters = &b.counters
	if cfg.Rand == nil {
		cfg.Rand = rand.New(rand.NewPCG(1, 2))
	}
	cfg.OnEvent = func(ev Event) { b.mu.Lock(); b.events = append(b.events, ev); b.mu.Unlock() }
	cfg.Trace = func(event, detail string) {
		b.mu.Lock()
		b.traced = append(b.traced, strings.TrimSpace(event+" "+detail))
		b.mu.Unlock()
	}
	b.c = New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.c.Run(ctx) }()
	b.stop = func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			b.t.Error(err)
		}
	}
}

func (b *bench) newConn() *conn {
	return &conn{b: b, in: make(chan received), closed: make(chan struct{})}
}

// up gives the client a link and lets d pass.
func (b *bench) up(d time.Duration) {
	b.conn = b.newConn()
	b.c.LinkUp(b.conn)
	b.pass(d)
}

// bound gets a lease.
func (b *bench) bound() {
	b.t.Helper()
	b.c.SetMode(ModePD)
	b.up(time.Second)
	if b.prefix() == "" {
		b.t.Fatal("no lease to begin with")
	}
}

func (b *bench) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// do changes servers.
func (b *bench) do(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

// inject sends the client what a server would.
func (b *bench) inject(data []byte, from netip.AddrPort) {
	b.conn.deliver(0, data, from)
	synctest.Wait()
}

func (b *bench) last() Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.events) == 0 {
		return Event{}
	}
	return b.events[len(b.events)-1]
}

// prefix is the first prefix of the lease, empty without one.
func (b *bench) prefix() string {
	ev := b.last()
	if ev.Lease == nil {
		return ""
	}
	return ev.Lease.Prefixes[0].Prefix.String()
}

// errCode is the code of the last event's error.
func (b *bench) errCode() string {
	if ev := b.last(); ev.Err != nil {
		return ev.Err.Code
	}
	return ""
}

// messages are the types sent since the last call.
func (b *bench) messages() (types []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.sent {
		types = append(types, m.MessageType.String())
	}
	b.sent = nil
	return types
}

// since are the messages sent since the last call.
func (b *bench) since() []sent {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.sent
	b.sent = nil
	return s
}

// lost tells whether any event of the bench, after the first lease, had none.
func (b *bench) lost() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.events, func(ev Event) bool { return ev.Lease != nil })
	return i >= 0 && slices.ContainsFunc(b.events[i:], func(ev Event) bool { return ev.Lease == nil })
}

func (b *bench) wantMessages(want ...string) {
	b.t.Helper()
	if got := b.messages(); !slices.Equal(got, want) {
		b.t.Fatalf("sent %v, want %v", got, want)
	}
}

func (b *bench) wantPrefix(want string) {
	b.t.Helper()
	if got := b.prefix(); got != want {
		b.t.Fatalf("prefix %q, want %q", got, want)
	}
}

func (b *bench) wantCount(name string, want uint64) {
	b.t.Helper()
	if got := b.counters.Get(name); got != want {
		b.t.Fatalf("%s: %d, want %d (all: %v)", name, got, want, b.counters.Snapshot())
	}
}

// reconfigureMessage is a Reconfigure; with a key it is signed.
func reconfigureMessage(server, client []byte, what dhcpv6.MessageType, key []byte, replay uint64) []byte {
	m := &dhcpv6.Message{MessageType: dhcpv6.MessageTypeReconfigure}
	m.AddOption(option(dhcpv6.OptionServerID, server...))
	m.AddOption(option(dhcpv6.OptionClientID, client...))
	m.AddOption(option(dhcpv6.OptionReconfMessage, byte(what)))
	if key == nil {
		return m.ToBytes()
	}
	m.AddOption(authOption(rkapDigest, replay, make([]byte, 16)))
	b := m.ToBytes()
	h := hmac.New(md5.New, key)
	h.Write(b)
	copy(b[len(b)-16:], h.Sum(nil))
	return b
}

func authOption(kind byte, replay uint64, value []byte) dhcpv6.Option {
	data := binary.BigEndian.AppendUint64([]byte{3, 1, 0}, replay)
	return option(dhcpv6.OptionAuth, append(append(data, kind), value...)...)
}
