package dhcp4

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"

	"sofutobanku/internal/counters"
)

var (
	ownMAC = [6]byte{2, 0, 0x5e, 0, 0x53, 1}
	first  = netip.MustParseAddr("198.51.100.2")
	second = netip.MustParseAddr("198.51.100.6")
	server = netip.MustParseAddr("203.0.113.67")
)

// bench is a client on a link in virtual time. The test's server answers what it sends.
type bench struct {
	t     *testing.T
	c     *Client
	began time.Time
	stop  func()

	mu       sync.Mutex
	log      []string // what was sent and what happened, with the moment in seconds
	last     Event
	counters counters.Set
	sock     *socket
	unicast  error // what the kernel says to it
	sendErr  error
	strict   bool
	strictly bool // Check was called so
	owner    map[netip.Addr]net.HardwareAddr
	answer   func(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 // nil: silence
}

type socket struct {
	b      *bench
	in     chan []byte
	closed chan struct{}
}

func (s *socket) Read(b []byte) (int, netip.AddrPort, error) {
	select {
	case p := <-s.in:
		return copy(b, p), netip.AddrPortFrom(server, 67), nil
	case <-s.closed:
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}
func (s *socket) Close() error             { close(s.closed); return nil }
func (s *socket) Broadcast(p []byte) error { return s.sent("to all", p, &s.b.sendErr) }
func (s *socket) Check(_ context.Context, ip netip.Addr, strict bool, random float64) (net.HardwareAddr, error) {
	time.Sleep(200 * time.Millisecond)
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	if s.b.strictly = strict; random < 0 || random >= 1 {
		s.b.t.Errorf("random is %v", random)
	}
	return s.b.owner[ip], nil
}
func (s *socket) Unicast(p []byte, own, to netip.Addr) error {
	return s.sent(fmt.Sprintf("%v to %v", own, to), p, &s.b.unicast)
}

func (s *socket) sent(how string, p []byte, fails *error) error {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	if *fails != nil {
		return *fails
	}
	m, parseErr := dhcpv4.FromBytes(p)
	if parseErr != nil {
		s.b.t.Errorf("sent %x: %v", p, parseErr)
		return nil
	}
	text := m.MessageType().String() + " " + how
	for _, f := range []struct {
		name string
		ip   net.IP
	}{{"own", m.ClientIPAddr}, {"asked", m.RequestedIPAddress()}, {"server", m.ServerIdentifier()}} {
		if len(f.ip) > 0 && !f.ip.IsUnspecified() {
			text += " " + f.name + " " + f.ip.String()
		}
	}
	s.b.note(text)
	if s.b.answer == nil {
		return nil
	}
	if a := s.b.answer(m); a != nil {
		go func() { s.hear(a.ToBytes()) }()
	}
	return nil
}

func (s *socket) hear(p []byte) {
	select {
	case s.in <- p:
	case <-s.closed:
	}
}

// note is called with mu held.
func (b *bench) note(text string) {
	b.log = append(b.log, fmt.Sprintf("%.0f %s", time.Since(b.began).Seconds(), text))
}

// run lets test play with a client.
func run(t *testing.T, file string, test func(b *bench)) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t, owner: map[netip.Addr]net.HardwareAddr{}, answer: grants(first)}
		b.start(file)
		test(b)
		b.stop()
	})
}

// start starts a client, another one after stop.
func (b *bench) start(file string) {
	b.began = time.Now()
	b.log, b.last, b.sock = nil, Event{}, nil
	b.c = New(Config{
		MAC: ownMAC, List: []byte{1, 3, 120, 121, 125}, Class: []byte{0, 0, 0, 210, 1, 7}, LeaseFile: file, StrictRFC: b.strict,
		Rand: rand.New(rand.NewPCG(1, 2)), Counters: &b.counters,
		OnEvent: func(ev Event) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.last = ev
			text := "= none"
			if ev.Lease != nil {
				text = "= " + ev.Lease.Address.String()
			}
			if ev.Err != nil {
				text += " " + ev.Err.Code
			}
			b.note(text)
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- b.c.Run(ctx) }()
	b.stop = func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			b.t.Errorf("Run: %v", err)
		}
	}
}

func (b *bench) up() {
	s := &socket{b: b, in: make(chan []byte), closed: make(chan struct{})}
	b.sock = s
	b.c.LinkUp(s)
}

// pass lets time pass and returns what happened in it. The link comes up with the first
// of them, when the test has said how the network is.
func (b *bench) pass(d time.Duration) []string {
	if b.sock == nil {
		b.up()
	}
	time.Sleep(d)
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	log := b.log
	b.log = nil
	return log
}

func (b *bench) set(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

func (b *bench) event() Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last
}

// grants is a server that has one address for its client, as the phone network has.
func grants(ip netip.Addr, with ...dhcpv4.Modifier) func(*dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
	return func(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
		t := dhcpv4.MessageTypeAck
		switch m.MessageType() {
		case dhcpv4.MessageTypeDiscover:
			t = dhcpv4.MessageTypeOffer
		case dhcpv4.MessageTypeDecline:
			return nil
		}
		for _, asked := range []net.IP{m.ClientIPAddr, m.RequestedIPAddress()} {
			if t == dhcpv4.MessageTypeAck && len(asked) > 0 && !asked.IsUnspecified() && !asked.Equal(ip.AsSlice()) {
				return reply(m, dhcpv4.MessageTypeNak, netip.IPv4Unspecified())
			}
		}
		return reply(m, t, ip, with...)
	}
}

func reply(m *dhcpv4.DHCPv4, t dhcpv4.MessageType, ip netip.Addr, with ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	r, err := dhcpv4.NewReplyFromRequest(m, dhcpv4.WithMessageType(t), dhcpv4.WithServerIP(nil))
	if err != nil {
		panic(err)
	}
	r.UpdateOption(dhcpv4.OptServerIdentifier(server.AsSlice()))
	if t != dhcpv4.MessageTypeNak {
		r.YourIPAddr = ip.AsSlice()
		r.UpdateOption(dhcpv4.OptIPAddressLeaseTime(14400 * time.Second))
		r.UpdateOption(dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(optT1), []byte{0, 0, 0x1c, 0x20}))
		r.UpdateOption(dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(optT2), []byte{0, 0, 0x2a, 0x30}))
		r.UpdateOption(dhcpv4.OptSubnetMask(net.CIDRMask(30, 32)))
	}
	for _, f := range with {
		f(r)
	}
	return r
}

func with(code byte, data ...byte) dhcpv4.Modifier {
	return dhcpv4.WithGeneric(dhcpv4.GenericOptionCode(code), data)
}

func expect(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

var (
	addrs    = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	prefixes = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
)

func TestLease(t *testing.T) {
	var asked *dhcpv4.DHCPv4
	run(t, "", func(b *bench) {
		serve := grants(first,
			with(3, 198, 51, 100, 1),                           // a router, ignored
			with(6, 203, 0, 113, 53),                           // a name server, ignored
			with(optSIP, 1, 203, 0, 113, 5, 203, 0, 113, 6),    // SIP servers
			with(optVendor, 0, 0, 0, 210, 4, 202, 2, '0', '3'), // the vendor's
			with(optRoutes, 0, 198, 51, 100, 1, 24, 203, 0, 113, 198, 51, 100, 1, 24, 192, 0, 2, 192, 0, 2, 1, 30, 198, 51, 100, 0, 0, 0, 0, 0),
		)
		b.set(func() {
			b.answer = func(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 { asked = m; return serve(m) }
		})
		expect(t, "to the lease", b.pass(time.Second),
			"0 DISCOVER to all", "0 REQUEST to all asked 198.51.100.2 server 203.0.113.67", "0 = 198.51.100.2/30")
		l := *b.event().Lease
		l.T1, l.T2, l.Until = time.Time{}, time.Time{}, time.Time{}
		want := Lease{
			Address: netip.MustParsePrefix("198.51.100.2/30"), Server: server,
			// Not the default route, not by way of a stranger, not the network itself.
			Routes: []Route{{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParseAddr("198.51.100.1")}},
			SIP:    []netip.Addr{netip.MustParseAddr("203.0.113.5"), netip.MustParseAddr("203.0.113.6")},
			Vendor: []Vendor{{210, []byte{202, 2, '0', '3'}}},
		}
		if diff := cmp.Diff(want, l, addrs, prefixes); diff != "" {
			t.Errorf("lease (-want +got):\n%s", diff)
		}
		if n := b.counters.Get("dhcp4.drop.route"); n != 2*2 { // Offer and Ack
			t.Errorf("%d routes dropped", n)
		}
		if got := asked.Options.Get(dhcpv4.OptionParameterRequestList); string(got) != "\x01\x03\x78\x79\x7d" {
			t.Errorf("asks for %v", got)
		}
		if got := asked.Options.Get(dhcpv4.OptionVendorIdentifyingVendorClass); string(got) != "\x00\x00\x00\xd2\x01\x07" {
			t.Errorf("vendor class %x", got)
		}
		if !asked.IsBroadcast() || len(asked.ToBytes()) < minMessage {
			t.Errorf("no broadcast, or too short: %v", asked)
		}
	})
}

// A month of renewals: one message each, and nobody is told of them.
func TestRenewals(t *testing.T) {
	run(t, "", func(b *bench) {
		b.pass(time.Second)
		sent := b.pass(30 * 24 * time.Hour)
		if n := len(sent); n < 30*12-2 || n > 30*12+10 {
			t.Errorf("%d messages in 30 days", n)
		}
		for _, s := range sent {
			if !strings.HasSuffix(s, "REQUEST 198.51.100.2 to 203.0.113.67 own 198.51.100.2") {
				t.Fatal(s)
			}
		}
	})
}

// The times of RFC 2131 4.4.5, to within the fuzz.
func TestSilence(t *testing.T) {
	run(t, "", func(b *bench) {
		b.pass(time.Second)
		b.set(func() { b.answer = nil })
		type phase struct {
			name  string
			lasts time.Duration
			sent  int
			as    string
		}
		for _, p := range []phase{
			{"bound", 7000 * time.Second, 0, ""},
			{"renewing: half of what is left each time, at least a minute", 3650 * time.Second, 6, "REQUEST 198.51.100.2 to 203.0.113.67 own 198.51.100.2"},
			{"rebinding", 3650 * time.Second, 5, "REQUEST to all own 198.51.100.2"},
		} {
			var sent []string
			for _, s := range b.pass(p.lasts) {
				if !strings.Contains(s, " = ") {
					sent = append(sent, s)
				}
			}
			if len(sent) < p.sent || len(sent) > p.sent+3 {
				t.Errorf("%s: %d messages: %q", p.name, len(sent), sent)
			}
			if p.as != "" && !strings.HasSuffix(sent[len(sent)-1], p.as) {
				t.Errorf("%s: %q", p.name, sent)
			}
		}
		if ev := b.event(); ev.Lease == nil || ev.Err == nil || ev.Err.Code != NoAnswer {
			t.Errorf("before the end: %+v", ev)
		}
		log := b.pass(150 * time.Second)
		if got := strings.Join(log, "\n"); !strings.Contains(got, "= none Expired") || !strings.Contains(got, "DISCOVER") {
			t.Errorf("at the end: %s", got)
		}
		b.set(func() { b.answer = grants(first) })
		if b.pass(70 * time.Second); b.event().Lease == nil || b.event().Err != nil {
			t.Errorf("the server is back: %+v", b.event())
		}
	})
}

// Discover is repeated after 4, 8, 16 seconds and so on, and a second more or less.
func TestBackOff(t *testing.T) {
	for strict, pauses := range map[bool][]float64{
		false: {4, 8, 16, 32, 64, 128, 256, 512, 512},
		true:  {4, 8, 16, 32, 64, 64, 64},
	} {
		t.Run(fmt.Sprint("strict=", strict), func(t *testing.T) { testBackOff(t, strict, pauses) })
	}
}

func testBackOff(t *testing.T, strict bool, pauses []float64) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t, strict: strict}
		b.start("")
		defer func() { b.stop() }()
		at := -1.0 // the first one, whenever it is
		for _, pause := range append([]float64{0}, pauses...) {
			for {
				log := b.pass(100 * time.Millisecond)
				var sec float64
				if len(log) > 0 && strings.Contains(log[0], "DISCOVER") {
					fmt.Sscan(log[0], &sec)
					if d := sec - at; at >= 0 && (d < pause-2 || d > pause+2) {
						t.Errorf("a pause of %v s instead of %v", d, pause)
					}
					at = sec
					break
				}
				if time.Since(b.began) > time.Hour {
					t.Fatal("nothing is sent")
				}
			}
		}
		if ev := b.event(); ev.Err == nil || ev.Err.Code != NoAnswer {
			t.Errorf("%+v", ev)
		}
		b.c.Renew()
		if log := b.pass(10 * time.Second); len(log) == 0 {
			t.Error("not asked anew")
		}
	})
}

func TestRenewWhereTheKernelLostTheAddress(t *testing.T) {
	run(t, "", func(b *bench) {
		b.pass(time.Second)
		b.set(func() { b.unicast = errors.New("no such address") })
		b.c.Renew()
		expect(t, "renewed", b.pass(0), "1 REQUEST to all own 198.51.100.2")
	})
}

func TestNak(t *testing.T) {
	run(t, "", func(b *bench) {
		b.pass(time.Second)
		b.set(func() { b.answer = grants(second) })
		b.c.Renew()
		expect(t, "another address from now on", b.pass(time.Second),
			"1 REQUEST 198.51.100.2 to 203.0.113.67 own 198.51.100.2", "1 = none Refused",
			"1 DISCOVER to all", "1 REQUEST to all asked 198.51.100.6 server 203.0.113.67", "1 = 198.51.100.6/30")
		// A server that offers and refuses is asked ever more rarely.
		b.set(func() {
			b.answer = func(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
				if m.MessageType() == dhcpv4.MessageTypeDiscover {
					return reply(m, dhcpv4.MessageTypeOffer, second)
				}
				return reply(m, dhcpv4.MessageTypeNak, netip.IPv4Unspecified(), with(optText, []byte("go away\x1b[2J")...))
			}
		})
		b.c.Renew()
		if log := b.pass(time.Hour); len(log) > 40 {
			t.Errorf("%d lines in an hour: %q", len(log), log)
		}
		if e := b.event().Err; e == nil || e.Text != "the server 203.0.113.67 refused the address: go away?[2J" {
			t.Errorf("%+v", e)
		}
	})
}

func TestConflict(t *testing.T) {
	run(t, "", func(b *bench) {
		b.set(func() { b.owner[first] = net.HardwareAddr{2, 0, 0, 0, 0, 9} })
		expect(t, "declined", b.pass(5*time.Second),
			"0 DISCOVER to all", "0 REQUEST to all asked 198.51.100.2 server 203.0.113.67",
			"0 DECLINE to all asked 198.51.100.2 server 203.0.113.67", "0 = none Conflict")
		b.set(func() { delete(b.owner, first) })
		if b.pass(10 * time.Second); b.event().Lease == nil {
			t.Errorf("free again: %+v", b.event())
		}
	})
}

// Over a restart and a lost link the address is asked for again.
func TestKnownAddress(t *testing.T) {
	file := filepath.Join(t.TempDir(), "wan.phone")
	run(t, file, func(b *bench) {
		b.pass(time.Second)
		b.c.LinkDown()
		expect(t, "without a link", b.pass(time.Second))
		b.up()
		expect(t, "the link is back", b.pass(time.Second), "2 REQUEST to all asked 198.51.100.2")
		b.stop()

		b.start(file)
		expect(t, "restarted", b.pass(time.Second), "0 REQUEST to all asked 198.51.100.2", "0 = 198.51.100.2/30")
		b.stop()

		b.answer = grants(second)
		b.start(file)
		expect(t, "restarted on another line", b.pass(time.Second), "0 REQUEST to all asked 198.51.100.2", "0 = none Refused",
			"0 DISCOVER to all", "0 REQUEST to all asked 198.51.100.6 server 203.0.113.67", "0 = 198.51.100.6/30")
		b.stop()

		b.answer = nil
		b.start(file)
		expect(t, "restarted, and nobody answers", b.pass(4*time.Second), "0 REQUEST to all asked 198.51.100.6",
			"1 REQUEST to all asked 198.51.100.6", "2 REQUEST to all asked 198.51.100.6", "2 DISCOVER to all asked 198.51.100.6")
		b.c.Restart()
		expect(t, "forgotten", b.pass(0), "4 = none", "4 DISCOVER to all")
		if _, err := os.Stat(file); !os.IsNotExist(err) {
			t.Errorf("the file is still there: %v", err)
		}
	})
}

// What is no lease file of ours costs nothing but the known address.
func TestBadFile(t *testing.T) {
	for name, content := range map[string]string{
		"empty": "", "rubbish": "\x00\xff", "another MAC": "02:00:5e:00:53:02 198.51.100.2\n", "IPv6": "02:00:5e:00:53:01 2001:db8::1\n",
		"no host": "02:00:5e:00:53:01 224.0.0.1\n", "more": "02:00:5e:00:53:01 198.51.100.2 x\n", "long": strings.Repeat("x", maxFile+1),
		"EUI-64": "02:00:5e:00:53:01:00:00 198.51.100.2\n",
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "wan.phone")
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			run(t, file, func(b *bench) {
				if log := b.pass(time.Second); len(log) == 0 || log[0] != "0 DISCOVER to all" {
					t.Errorf("%q", log)
				}
			})
		})
	}
}

func TestSendErrors(t *testing.T) {
	run(t, "", func(b *bench) {
		b.set(func() { b.sendErr = errors.New("network is down") })
		b.pass(3 * time.Second)
		b.set(func() { b.sendErr = nil })
		if b.pass(5 * time.Second); b.event().Lease == nil || b.counters.Get("dhcp4.send.error") < 2 {
			t.Errorf("%+v, %v", b.event(), b.counters.Snapshot())
		}
	})
}

// StrictRFC waits one to ten seconds before the first message, and asks the link for as
// long as RFC 5227 says.
func TestStrictRFC(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t, answer: grants(first), strict: true}
		b.start("")
		if log := b.pass(999 * time.Millisecond); len(log) > 0 {
			t.Errorf("too early: %q", log)
		}
		if log := b.pass(10 * time.Second); len(log) < 2 || !strings.HasSuffix(log[0], "DISCOVER to all") {
			t.Errorf("too late: %q", log)
		}
		b.stop()
		if !b.strictly {
			t.Error("the link was not asked as RFC 5227 says")
		}
	})
}
