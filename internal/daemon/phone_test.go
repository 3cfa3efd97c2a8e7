package daemon

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"sofutobanku/internal/dhcp4"
	"sofutobanku/internal/dhcp6"
	"sofutobanku/internal/line"
	"sofutobanku/internal/state"
	"sofutobanku/internal/status"
)

// exchange is a telephone network.
type exchange struct {
	b *bench

	mu      sync.Mutex
	address string // that it gives, "" for silence
	listen  error
	sockets int // open ones
	told    []*status.Phone
}

type exchangeSocket struct {
	*exchange
	in     chan []byte
	closed chan struct{}
}

func (x *exchange) open(*net.Interface) (dhcp4.Socket, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.listen != nil {
		return nil, x.listen
	}
	x.sockets++
	return &exchangeSocket{x, make(chan []byte), make(chan struct{})}, nil
}

func (s *exchangeSocket) Read(b []byte) (int, netip.AddrPort, error) {
	select {
	case p := <-s.in:
		return copy(b, p), netip.AddrPort{}, nil
	case <-s.closed:
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}

func (s *exchangeSocket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sockets--
	close(s.closed)
	return nil
}

func (s *exchangeSocket) Unicast(p []byte, _, _ netip.Addr) error { return s.Broadcast(p) }
func (s *exchangeSocket) Check(context.Context, netip.Addr, bool, float64) (net.HardwareAddr, error) {
	return nil, nil
}

func (s *exchangeSocket) Broadcast(p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.address == "" {
		return nil
	}
	m, err := dhcpv4.FromBytes(p)
	if err != nil {
		s.b.t.Error(err)
		return nil
	}
	kind := dhcpv4.MessageTypeAck
	if m.MessageType() == dhcpv4.MessageTypeDiscover {
		kind = dhcpv4.MessageTypeOffer
	}
	r, err := dhcpv4.NewReplyFromRequest(m, dhcpv4.WithMessageType(kind), dhcpv4.WithYourIP(net.ParseIP(s.address)),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(203, 0, 113, 67))), dhcpv4.WithLeaseTime(14400), dhcpv4.WithNetmask(net.CIDRMask(30, 32)))
	if err != nil {
		s.b.t.Error(err)
		return nil
	}
	go func() {
		select {
		case s.in <- r.ToBytes():
		case <-s.closed:
		}
	}()
	return nil
}

// runPhone is run on a line with a telephone network, which is joined.
func runPhone(t *testing.T, test func(b *bench, x *exchange)) {
	var x *exchange
	runWith(t, func(b *bench, cfg *Config) {
		x = &exchange{b: b, address: "198.51.100.2"}
		cfg.Line.Phone = func(*dhcp6.Info) bool { return true }
		cfg.DHCP4 = func(net.HardwareAddr) dhcp4.Config { return dhcp4.Config{} }
		cfg.Network.ListenPhone = x.open
		cfg.Phone = func(_ *dhcp6.Info, l *dhcp4.Lease) *status.Phone {
			if l == nil {
				return nil
			}
			return &status.Phone{Numbers: []string{"0312345678"}}
		}
		cfg.OnPhone = func(p *status.Phone) {
			x.mu.Lock()
			defer x.mu.Unlock()
			x.told = append(x.told, p)
		}
	}, func(b *bench) { test(b, x) })
	if x.sockets != 0 {
		t.Errorf("%d sockets are left open", x.sockets)
	}
}

func (x *exchange) set(f func()) {
	x.mu.Lock()
	defer x.mu.Unlock()
	f()
}

// phone is what is shown of the telephone, and what the applier has of it.
func (b *bench) phone() (*status.Phone, *state.Phone) {
	p := b.status().Phone
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.applied) == 0 {
		return p, nil
	}
	return p, b.applied[len(b.applied)-1].Phone
}

func (b *bench) phoneCode() string {
	p, _ := b.phone()
	if p == nil || p.Error == nil {
		return ""
	}
	return p.Error.Code
}

// The telephone comes up with the line or without, and each keeps the other's state.
func TestPhoneBesideTheLine(t *testing.T) {
	runPhone(t, func(b *bench, x *exchange) {
		b.link(true)
		time.Sleep(time.Second)
		p, applied := b.phone()
		if p == nil || p.Address == nil || p.Address.String() != "198.51.100.2/30" || applied == nil || applied.Address != *p.Address {
			t.Fatalf("without IPv6: %+v, applied %+v", p, applied)
		}
		b.come()
		if s := b.status(); s.State != state.Up || s.Error != nil {
			t.Errorf("with a telephone: %s", s.JSON())
		}
		x.set(func() { x.address = "" })
		b.link(false)
		b.link(true)
		b.come()
		time.Sleep(5 * time.Hour)
		if s := b.status(); s.State != state.Up || s.Error != nil || b.phoneCode() != line.ErrPhoneSilent {
			t.Errorf("the telephone is silent: %s", s.JSON())
		}
		if p, applied := b.phone(); p.Address != nil || applied.Address.IsValid() {
			t.Errorf("an address is left: %+v, %+v", p, applied)
		}
		var moments []string
		for _, e := range b.status().Events {
			if strings.HasPrefix(e.Name, "phone-") {
				moments = append(moments, e.Name)
			}
		}
		if !slices.Equal(moments, []string{"phone-error", "phone-down"}) {
			t.Errorf("since the link came up: %v", moments)
		}
		x.set(func() { x.address = "198.51.100.6" })
		b.daemon.Renew()
		time.Sleep(5 * time.Second)
		if p, _ := b.phone(); p.Address == nil || p.Address.String() != "198.51.100.6/30" || p.Error != nil {
			t.Errorf("back again: %+v", p)
		}
		b.daemon.Restart()
		time.Sleep(time.Second)
		b.come()
		if p, _ := b.phone(); p.Address == nil {
			t.Errorf("restarted: %+v", p)
		}
		x.set(func() {
			for i, p := range x.told {
				if i > 0 && reflect.DeepEqual(p, x.told[i-1]) {
					t.Errorf("told twice of %+v", p)
				}
			}
			if len(x.told) < 4 || len(x.told) > 12 {
				t.Errorf("told %d times", len(x.told))
			}
		})
	})
}

// A flap of the link gives the client a new socket, and closes the old one.
func TestPhoneSockets(t *testing.T) {
	runPhone(t, func(b *bench, x *exchange) {
		x.set(func() { x.listen = errors.New("no socket") })
		b.come()
		b.link(true)
		if s := b.status(); b.phoneCode() != ErrPhoneSocket || s.State != state.Up || s.Error != nil {
			t.Errorf("without a socket: %s", s.JSON())
		}
		x.set(func() { x.listen = nil })
		time.Sleep(2 * time.Minute)
		if p, _ := b.phone(); p.Address == nil || p.Error != nil {
			t.Errorf("with one: %+v", p)
		}
		for range 5 {
			b.link(false)
			b.link(true)
		}
		l := wan0
		l.Up, l.LinkLocal, l.Index = true, own, 7
		b.links <- l
		time.Sleep(time.Second)
		synctest.Wait()
		x.set(func() {
			if x.sockets != 1 {
				t.Errorf("%d sockets", x.sockets)
			}
		})
		l.MAC = net.HardwareAddr{0, 0, 0x5e, 0, 0x53, 2}
		b.links <- l
		time.Sleep(time.Second)
		if p, _ := b.phone(); p == nil || p.Address == nil {
			t.Errorf("with another MAC address: %+v", p)
		}
	})
}

// An applier that fails at the telephone network alone leaves the line up.
func TestPhoneApplyError(t *testing.T) {
	runPhone(t, func(b *bench, _ *exchange) {
		b.come()
		b.set(func() {
			b.applyError = func() error { return &state.PartError{Part: state.PartPhone, Err: errors.New("file exists")} }
		})
		b.daemon.Renew()
		b.link(false)
		b.link(true)
		b.come()
		if s := b.status(); s.State != state.Up || s.Error != nil || b.phoneCode() != ErrPhoneApply {
			t.Errorf("%s", s.JSON())
		}
		b.set(func() { b.applyError = nil })
		time.Sleep(2 * time.Minute)
		if code := b.phoneCode(); code != "" {
			t.Errorf("mended, and still %s", code)
		}
	})
}
