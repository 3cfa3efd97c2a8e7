package isp

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/ndp"
)

// fakeICMP is a RAConn on channels.
type fakeICMP struct {
	in     chan rs
	out    chan packet
	closed chan struct{}
	once   sync.Once
}

type rs struct {
	b        []byte
	from     netip.Addr
	hopLimit int
}

func newFakeICMP() *fakeICMP {
	return &fakeICMP{in: make(chan rs), out: make(chan packet, 1024), closed: make(chan struct{})}
}

func (c *fakeICMP) ReadFrom(b []byte) (int, netip.Addr, int, error) {
	select {
	case r := <-c.in:
		return copy(b, r.b), r.from, r.hopLimit, nil
	case <-c.closed:
		return 0, netip.Addr{}, 0, net.ErrClosed
	}
}

func (c *fakeICMP) WriteTo(b []byte, to netip.Addr) error {
	c.out <- packet{bytes.Clone(b), netip.AddrPortFrom(to, 0)}
	return nil
}

func (c *fakeICMP) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

// got describes what was sent meanwhile.
func (c *fakeICMP) got(t *testing.T) []string {
	t.Helper()
	var out []string
	for {
		select {
		case p := <-c.out:
			m, err := ndp.ParseMessage(p.b)
			mustNot(t, err)
			out = append(out, p.peer.Addr().String()+" "+describeRA(t, m))
		default:
			return out
		}
	}
}

// describeRA is an advertisement for people.
func describeRA(t *testing.T, m ndp.Message) string {
	t.Helper()
	ra, ok := m.(*ndp.RouterAdvertisement)
	if !ok {
		t.Fatalf("a %T", m)
	}
	s := fmt.Sprintf("M=%v O=%v hops=%d life=%v reach=%v retrans=%v", ra.ManagedConfiguration, ra.OtherConfiguration,
		ra.CurrentHopLimit, ra.RouterLifetime, ra.ReachableTime, ra.RetransmitTimer)
	for _, o := range ra.Options {
		switch o := o.(type) {
		case *ndp.LinkLayerAddress:
			s += fmt.Sprintf(" lladdr=%v", o.Addr)
		case *ndp.MTU:
			s += fmt.Sprintf(" mtu=%d", o.MTU)
		case *ndp.PrefixInformation:
			s += fmt.Sprintf(" prefix=%v/%d L=%v A=%v %v/%v", o.Prefix, o.PrefixLength, o.OnLink, o.AutonomousAddressConfiguration, o.PreferredLifetime, o.ValidLifetime)
		default:
			s += fmt.Sprintf(" option %d", o.Code())
		}
	}
	return s
}

const (
	wantRAPD  = "M=true O=true hops=64 life=30m0s reach=5m0s retrans=10s lladdr=00:00:5e:00:53:aa mtu=1500"
	wantRAPIO = "M=false O=true hops=64 life=30m0s reach=5m0s retrans=10s lladdr=00:00:5e:00:53:aa mtu=1500" +
		" prefix=2001:db8:1234:5600::/64 L=true A=true 3h30m0s/4h0m0s"
)

// raFixture runs an advertiser in a bubble.
func raFixture(t *testing.T, kind Kind, edit ...func(*Config)) (*advertiser, *fakeICMP, *Journal) {
	t.Helper()
	j, _ := testJournal()
	conn := newFakeICMP()
	a := newAdvertiser(testSettings(kind, edit...), j, conn, serverMAC, testRand())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- a.run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	synctest.Wait()
	return a, conn, j
}

var (
	rsPlain  = []byte{133, 0, 0, 0, 0, 0, 0, 0}
	rsLLAddr = append(bytes.Clone(rsPlain), append([]byte{1, 1}, clientMAC...)...)
)

func TestRACheck(t *testing.T) {
	plus := func(o ...byte) []byte { return append(bytes.Clone(rsPlain), o...) }
	tests := []struct {
		name string
		b    []byte
		from string
		hops int
		want string // the error, or the link-layer address
	}{
		{"from ::", rsPlain, "::", 255, ""},
		{"with the address", rsLLAddr, "fe80::1", 255, "00:00:5e:00:53:01"},
		{"without", rsPlain, "fe80::1", 255, ""},
		{"unknown option", plus(99, 1, 0, 0, 0, 0, 0, 0), "fe80::1", 255, ""},
		{"hop limit", rsPlain, "fe80::1", 64, "router solicitation from fe80::1: hop limit 64, 255 is due"},
		{"short", rsPlain[:7], "fe80::1", 255, "router solicitation from fe80::1: 7 bytes, at least 8 are due"},
		{"empty", nil, "fe80::1", 255, "router solicitation from fe80::1: 0 bytes, at least 8 are due"},
		{"type", []byte{134, 0, 0, 0, 0, 0, 0, 0}, "fe80::1", 255, "router solicitation from fe80::1: ICMPv6 type 134"},
		{"code", []byte{133, 1, 0, 0, 0, 0, 0, 0}, "fe80::1", 255, "router solicitation from fe80::1: code 1, 0 is due"},
		{"address from ::", rsLLAddr, "::", 255, "router solicitation from ::: a source link-layer address option without a source address"},
		{"global source", rsPlain, "2001:db8::1", 255, "router solicitation from 2001:db8::1: neither :: nor link-local"},
		{"option of length 0", plus(1, 0, 0, 0, 0, 0, 0, 0), "fe80::1", 255, "router solicitation from fe80::1: an option of bad length"},
		{"option overrun", plus(1, 2, 0, 0, 0, 0, 0, 0), "fe80::1", 255, "router solicitation from fe80::1: an option of bad length"},
		{"half an option", plus(1), "fe80::1", 255, "router solicitation from fe80::1: an option of bad length"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			mac, err := checkRS(tt.b, netip.MustParseAddr(tt.from), tt.hops)
			got := mac.String()
			if err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestRAAnswers(t *testing.T) {
	for kind, want := range map[Kind]string{Next: wantRAPD, Cross: wantRAPD, NextRA: wantRAPIO} {
		t.Run(string(kind), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, conn, j := raFixture(t, kind, func(c *Config) { c.RAInterval = 0 })
				conn.in <- rs{rsLLAddr, clientAddr, 255}
				conn.in <- rs{rsPlain, netip.IPv6Unspecified(), 255}
				conn.in <- rs{rsPlain, clientAddr, 3}
				synctest.Wait()
				if diff := cmp.Diff([]string{clientAddr.String() + " " + want, "ff02::1 " + want}, conn.got(t)); diff != "" {
					t.Errorf("sent (-want +got):\n%s", diff)
				}
				if w := wrongs(j); len(w) != 1 {
					t.Errorf("wrong: %q", w)
				}
			})
		})
	}
}

func TestRADelayAndSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, conn, _ := raFixture(t, Next, func(c *Config) { c.RAInterval, c.RADelay = 0, 500*time.Millisecond })
		for range 2 * pendingRAs { // a flood may not pile up
			conn.in <- rs{rsPlain, clientAddr, 255}
		}
		time.Sleep(499 * time.Millisecond)
		synctest.Wait()
		if got := conn.got(t); got != nil {
			t.Errorf("too early: %q", got)
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if got := conn.got(t); len(got) != pendingRAs {
			t.Errorf("%d answers, want %d", len(got), pendingRAs)
		}
		mustNot(t, a.set.change(func(c *Config) { c.SilentRA = true }))
		conn.in <- rs{rsPlain, clientAddr, 255}
		a.advertise()
		time.Sleep(time.Second)
		synctest.Wait()
		if got := conn.got(t); got != nil {
			t.Errorf("silent: %q", got)
		}
	})
}

// TestRAPeriod: within RFC 4861 6.2.4's limits for a day.
func TestRAPeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, conn, _ := raFixture(t, Next)
		if got := conn.got(t); len(got) != 1 {
			t.Fatalf("at the start: %q", got)
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		got := conn.got(t)
		if len(got) < 24*6 || len(got) > 24*18 {
			t.Errorf("%d advertisements in a day of 200 to 600 s intervals", len(got))
		}
		for _, s := range got {
			if s != "ff02::1 "+wantRAPD {
				t.Fatal(s)
			}
		}
	})
}

// TestRAWithdraw: an old /64 is taken back a few times, then forgotten.
func TestRAWithdraw(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, conn, _ := raFixture(t, NextRA, func(c *Config) { c.RAInterval = 0 })
		old := a.set.get().Prefix
		mustNot(t, a.set.change(func(c *Config) { c.Prefix = netip.MustParsePrefix("2001:db8:77::/64") }))
		a.withdraw(t.Context(), old)
		for range 3 {
			synctest.Wait()
			a.advertise()
		}
		synctest.Wait()
		newOne := "ff02::1 " + strings.Replace(wantRAPIO, "1234:5600::", "77::", 1)
		both := newOne + " prefix=2001:db8:1234:5600::/64 L=true A=true 0s/0s"
		if diff := cmp.Diff([]string{both, both, both, newOne}, conn.got(t)); diff != "" {
			t.Errorf("sent (-want +got):\n%s", diff)
		}
	})
}

// FuzzRS: no solicitation may end the server, and what is accepted is what another
// decoder reads. There is no encoding of it to compare: options that mean nothing to a
// router are passed over.
func FuzzRS(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte, unspecified bool, hopLimit int) {
		from := clientAddr
		if unspecified {
			from = netip.IPv6Unspecified()
		}
		mac, err := checkRS(b, from, hopLimit)
		if err != nil {
			return
		}
		// What was accepted is what another decoder reads.
		m, err := ndp.ParseMessage(b)
		if err != nil {
			return // it knows options that are of no concern here
		}
		got := ""
		for _, o := range m.(*ndp.RouterSolicitation).Options {
			if l, ok := o.(*ndp.LinkLayerAddress); ok && l.Direction == ndp.Source && got == "" {
				got = l.Addr.String()
			}
		}
		if got != mac.String() {
			t.Errorf("link-layer address %v, another decoder reads %q", mac, got)
		}
	})
}
