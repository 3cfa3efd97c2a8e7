package daemon

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"

	"sofutobanku/internal/dhcp6"
	"sofutobanku/internal/hgw"
	"sofutobanku/internal/l2fwd"
	"sofutobanku/internal/link"
	"sofutobanku/internal/state"
)

var (
	lan4    = link.State{Exists: true, Index: 4, Name: "lan4", MAC: net.HardwareAddr{0, 0, 0x5e, 0, 0x53, 4}, MTU: 1500}
	unitMAC = net.HardwareAddr{0, 0, 0x5e, 0, 0x53, 0xf0}
	unit    = netip.MustParseAddrPort("[fe80::f0]:546")
)

// unitWire is what a home gateway is plugged into.
type unitWire struct {
	b       *bench
	ports   chan link.State
	in      chan []byte
	adverts chan []byte

	// Under the bench's lock.
	listen    error
	sockets   int // open ones
	terminals []string
}

// runHGW is run with a home gateway behind the router.
func runHGW(t *testing.T, test func(b *bench, w *unitWire)) {
	var w *unitWire
	runWith(t, func(b *bench, cfg *Config) {
		w = &unitWire{b: b, ports: make(chan link.State), in: make(chan []byte), adverts: make(chan []byte, 1000)}
		cfg.Line.HGWDevice = "lan4"
		cfg.HGW = &hgw.Config{}
		cfg.Forwarding = func() string { return "nft" }
		cfg.Network.ListenHGW = w.open
		dhcp := cfg.DHCP
		cfg.DHCP = func(mac, terminal net.HardwareAddr) dhcp6.Config {
			b.set(func() { w.terminals = append(w.terminals, terminal.String()) })
			return dhcp(mac, terminal)
		}
		wan := cfg.Network.Watch
		cfg.Network.Watch = func(ctx context.Context, dev string, onChange func(link.State)) error {
			if dev != "lan4" {
				return wan(ctx, dev, onChange)
			}
			for {
				select {
				case l := <-w.ports:
					onChange(l)
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
	}, func(b *bench) { test(b, w) })
	if w.sockets != 0 {
		t.Errorf("%d sockets are left open", w.sockets)
	}
}

func (w *unitWire) open(*net.Interface, netip.Addr) (hgw.Sockets, error) {
	w.b.mu.Lock()
	defer w.b.mu.Unlock()
	if w.listen != nil {
		return hgw.Sockets{}, w.listen
	}
	w.sockets += 2
	return hgw.Sockets{DHCP: &unitSocket{w, make(chan struct{})}, RA: &unitSocket{w, make(chan struct{})}, MAC: lan4.MAC}, nil
}

// port reports the port to the home gateway as up or not.
func (w *unitWire) port(up bool, change ...func(*link.State)) {
	l := lan4
	l.Up, l.LinkLocal = up, netip.MustParseAddr("fe80::4")
	for _, f := range change {
		f(&l)
	}
	w.ports <- l
	synctest.Wait()
}

// speak lets the home gateway ask for information.
func (w *unitWire) speak() {
	m, err := dhcpv6.NewMessage()
	if err != nil {
		w.b.t.Fatal(err)
	}
	m.MessageType = dhcpv6.MessageTypeInformationRequest
	m.AddOption(dhcpv6.OptClientID(&dhcpv6.DUIDLL{HWType: 1, LinkLayerAddr: unitMAC}))
	w.in <- m.ToBytes()
	synctest.Wait()
}

// unitSocket is one of the two.
type unitSocket struct {
	w      *unitWire
	closed chan struct{}
}

func (s *unitSocket) ReadFrom(p []byte) (int, netip.AddrPort, error) {
	select {
	case m := <-s.w.in:
		return copy(p, m), unit, nil
	case <-s.closed:
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}
func (s *unitSocket) ReadRS([]byte) (int, netip.Addr, int, error) {
	<-s.closed
	return 0, netip.Addr{}, 0, net.ErrClosed
}
func (s *unitSocket) WriteTo([]byte, netip.AddrPort) error { return nil }
func (s *unitSocket) WriteRA(b []byte) error               { s.w.adverts <- b; return nil }

func (s *unitSocket) Close() error {
	s.w.b.mu.Lock()
	defer s.w.b.mu.Unlock()
	s.w.sockets--
	close(s.closed)
	return nil
}

// hgwCode is the code of the home gateway's error, "" for none.
func (b *bench) hgwCode() string {
	b.t.Helper()
	s := b.status()
	if s.State != state.Up || s.Error != nil {
		b.t.Errorf("the line suffers: %s", s.JSON())
	}
	if s.HGW.Error == nil {
		return ""
	}
	return s.HGW.Error.Code
}

func TestHGWIsServed(t *testing.T) {
	runHGW(t, func(b *bench, w *unitWire) {
		b.come()
		w.port(false)
		if g := b.status().HGW; g == nil || g.Carrier || g.LastSeen != nil || g.MAC != "" || g.Forwarding != "nft" {
			t.Errorf("plugged out: %+v", g)
		}
		w.port(true)
		time.Sleep(time.Second)
		synctest.Wait()
		if len(w.adverts) == 0 {
			t.Fatal("no router advertisement")
		}
		if a := <-w.adverts; len(a) < 16 || a[6] == 0 && a[7] == 0 {
			t.Errorf("the first router advertisement has no lifetime: % x", a)
		}
		w.speak()
		time.Sleep(75 * time.Second)
		g := b.status().HGW
		if !g.Carrier || g.MAC != unitMAC.String() || g.LastSeen == nil || *g.LastSeen != 75 {
			t.Errorf("%+v", g)
		}
		b.set(func() {
			if now := w.terminals[len(w.terminals)-1]; now != unitMAC.String() {
				t.Errorf("the line is asked for the terminal %q", now)
			}
			if st := b.applied[len(b.applied)-1]; !st.HGW.Forward {
				t.Error("IPv4 is not forwarded")
			}
		})
		// A line that advertises a /64 has nothing to delegate.
		if code := b.hgwCode(); code != "HGW_NO_PREFIX" {
			t.Errorf("error %q", code)
		}
	})
}

// The port comes, goes, and belongs to others; nothing of that touches the line.
func TestHGWPort(t *testing.T) {
	runHGW(t, func(b *bench, w *unitWire) {
		b.come()
		for _, tt := range []struct {
			what     string
			change   func(*link.State)
			code     string
			sockets  int
			forwards bool
		}{
			{"up", func(*link.State) {}, "HGW_NO_PREFIX", 2, true},
			{"another device of that name", func(l *link.State) { l.Index = 9 }, "HGW_NO_PREFIX", 2, true},
			{"no link-local address", func(l *link.State) { l.LinkLocal = netip.Addr{} }, "HGW_NO_PREFIX", 0, true},
			{"a port of a bridge", func(l *link.State) { l.Enslaved = true }, "HGW_DEVICE", 0, false},
			{"the WAN", func(l *link.State) { l.Index = wan0.Index }, "HGW_DEVICE", 0, false},
			{"gone", func(l *link.State) { *l = link.State{Name: "lan4"} }, "HGW_DEVICE", 0, false},
			{"back", func(*link.State) {}, "HGW_NO_PREFIX", 2, true},
		} {
			w.port(true, tt.change)
			time.Sleep(time.Second)
			if code := b.hgwCode(); code != tt.code {
				t.Errorf("%s: error %q, want %q", tt.what, code, tt.code)
			}
			b.set(func() {
				if w.sockets != tt.sockets {
					t.Errorf("%s: %d sockets, want %d", tt.what, w.sockets, tt.sockets)
				}
				if st := b.applied[len(b.applied)-1]; st.HGW.Forward != tt.forwards {
					t.Errorf("%s: forwards %v", tt.what, st.HGW.Forward)
				}
			})
		}
	})
}

func TestHGWErrors(t *testing.T) {
	runHGW(t, func(b *bench, w *unitWire) {
		b.come()
		says := func(what, want string) {
			t.Helper()
			if code := b.hgwCode(); code != want {
				t.Errorf("%s: error %q, want %q", what, code, want)
			}
		}
		b.set(func() { w.listen = errors.New("address already in use") })
		w.port(true)
		time.Sleep(time.Minute)
		says("port 547 is taken", ErrHGWSocket)
		b.set(func() { w.listen = nil })
		time.Sleep(2 * time.Minute)
		says("it is free", "HGW_NO_PREFIX")
		if len(w.adverts) == 0 {
			t.Error("no router advertisement")
		}
		b.set(func() {
			b.applyError = func() error { return &state.PartError{Part: state.PartHGW, Err: errors.New("no such file")} }
		})
		w.port(false)
		w.port(true)
		says("a route is refused", ErrHGWApply)
		b.set(func() {
			b.applyError = func() error { return &state.PartError{Part: state.PartHGW, Err: &l2fwd.Error{}} }
		})
		w.port(false)
		w.port(true)
		says("nothing forwards", "HGW_FORWARD")
		b.set(func() { b.applyError = nil })
		time.Sleep(2 * time.Minute)
		says("mended", "HGW_NO_PREFIX")
	})
}
