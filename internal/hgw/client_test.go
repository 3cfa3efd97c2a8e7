package hgw

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv6"

	"sofutobanku/internal/counters"
	"sofutobanku/internal/dhcp6"
	"sofutobanku/internal/ntt"
)

// clientConn is a client's end of the wire.
type clientConn struct {
	b    *bench
	in   chan datagram
	done chan struct{}
	once sync.Once
	cut  atomic.Bool // all is lost, both ways
}

func (c *clientConn) ReadFrom(p []byte) (int, netip.AddrPort, error) {
	select {
	case d := <-c.in:
		return copy(p, d.data), netip.MustParseAddrPort("[fe80::1]:547"), nil
	case <-c.done:
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}

func (c *clientConn) WriteTo(p []byte, _ netip.AddrPort) error {
	if c.cut.Load() {
		return nil
	}
	u := c.b.wire.Load()
	d := datagram{data: append([]byte(nil), p...), peer: addrA}
	go func() {
		select {
		case u.in <- d:
		case <-u.done:
		}
	}()
	return nil
}

func (c *clientConn) Close() error { c.once.Do(func() { close(c.done) }); return nil }

// home runs the module's own DHCPv6 client as the HGW; f has its latest event.
func home(b *bench, acceptReconfigure bool, f func(last func() dhcp6.Event, counted *counters.Set, conn *clientConn)) {
	var ev atomic.Pointer[dhcp6.Event]
	counted := new(counters.Set)
	c := dhcp6.New(dhcp6.Config{
		DUID: duidA, IAID: 1, ORO: ntt.RequestedOptions(), RequestOptions: []dhcpv6.Option{class},
		ReconfigureAccept: acceptReconfigure, Rand: rand.New(rand.NewPCG(3, 4)), Counters: counted,
		OnEvent: func(e dhcp6.Event) { ev.Store(&e) },
	})
	b.client = &clientConn{b: b, in: make(chan datagram), done: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); c.Run(ctx) }()
	c.SetMode(dhcp6.ModePD)
	c.LinkUp(b.client)
	b.pass(time.Second)
	f(func() dhcp6.Event { return *ev.Load() }, counted, b.client)
	cancel()
	<-done
}

// TestMonths: a real client renews for months, with changes of the prefix. It always has
// the line's prefix a few seconds later, and never for longer than the line.
func TestMonths(t *testing.T) {
	for _, accept := range []bool{true, false} {
		t.Run(fmt.Sprintf("reconfigure %v", accept), func(t *testing.T) {
			run(t, Config{}, func(b *bench) {
				home(b, accept, func(last func() dhcp6.Event, counted *counters.Set, _ *clientConn) {
					hours, month, within := 60*24, 20*24, time.Second
					if !accept {
						hours, month, within = 25, 10, 15*time.Second // it renews each 10 s
					}
					line := lineP
					for hour := range hours {
						b.sent, b.events = nil, b.events[len(b.events)-1:]
						switch {
						case hour%month == month-1:
							line = map[netip.Prefix]netip.Prefix{lineP: lineQ, lineQ: lineP}[line]
							b.set(usual(line))
						case hour%2 == 0:
							b.set(usual(line)) // the router's own renewal
						}
						b.pass(within)
						want, _, _ := Delegation(line)
						l := last().Lease
						if l == nil || len(l.Prefixes) != 1 || l.Prefixes[0].Prefix != want {
							t.Fatalf("hour %d: %+v, want %v", hour, l, want)
						}
						up := b.s.up.Prefix
						if p := l.Prefixes[0]; p.Valid.After(up.Valid) || p.Preferred.After(up.Preferred) || p.Deprecated {
							t.Fatalf("hour %d: until %v and %v, the line until %v and %v", hour, p.Preferred, p.Valid, up.Preferred, up.Valid)
						}
						ev := b.events[len(b.events)-1]
						if len(ev.Prefixes) != 1 || ev.Prefixes[0].Prefix != want || ev.Prefixes[0].Until.After(up.Valid) {
							t.Fatalf("hour %d: %+v", hour, ev)
						}
						b.pass(time.Hour - within)
					}
					if diff := cmp.Diff(lineInfo(), last().Info, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
						t.Errorf("information (-line +HGW):\n%s", diff)
					}
					n := uint64(0)
					if accept {
						n = uint64(hours / month)
					}
					if got := counted.Get("dhcp6.received.reconfigure"); got != n {
						t.Errorf("%d Reconfigure messages accepted, want %d", got, n)
					}
					for name := range counted.Snapshot() {
						if strings.Contains(name, ".drop.") || strings.Contains(name, "expired") {
							t.Errorf("the client counted %s", name)
						}
					}
					for name := range b.counted.Snapshot() {
						if strings.Contains(name, ".drop.") || strings.Contains(name, "expired") || strings.Contains(name, "unanswered") {
							t.Errorf("the server counted %s", name)
						}
					}
				})
			})
		})
	}
}

// TestInformationChange: a new telephone number is known at once too.
func TestInformationChange(t *testing.T) {
	run(t, Config{}, func(b *bench) {
		home(b, true, func(last func() dhcp6.Event, counted *counters.Set, _ *clientConn) {
			up := usual(lineP)
			up.Info.Vendor[0].Data = []byte("\x00\xca\x00\x0a0398765432")
			b.set(up)
			b.pass(time.Second)
			if got := last().Info.Vendor[0].Data; string(got) != string(up.Info.Vendor[0].Data) {
				t.Errorf("%q", got)
			}
			// The same again is no news.
			n := counted.Get("dhcp6.received.reconfigure")
			again := usual(lineP)
			again.Info = up.Info
			b.set(again)
			b.pass(time.Minute)
			if got := counted.Get("dhcp6.received.reconfigure"); n != 1 || got != n {
				t.Errorf("%d and then %d", n, got)
			}
			// A lease that the line shortens is.
			again = gave(lineP, time.Minute, 2*time.Minute)
			again.Info = up.Info
			b.set(again)
			b.pass(time.Second)
			if p := last().Lease.Prefixes[0]; p.Valid.After(again.Prefix.Valid) {
				t.Errorf("until %v, the line until %v", p.Valid, again.Prefix.Valid)
			}
		})
	})
}

// TestReconfigure: who does not answer is asked eight times (RFC 8415 18.3.11).
func TestReconfigure(t *testing.T) {
	run(t, Config{}, func(b *bench) {
		home(b, true, func(last func() dhcp6.Event, counted *counters.Set, conn *clientConn) {
			conn.cut.Store(true)
			b.sent = nil
			changed := time.Since(b.began)
			b.set(usual(lineQ))
			b.pass(20 * time.Minute)
			var at []time.Duration
			for _, d := range b.sent {
				m, err := dhcpv6.MessageFromBytes(d.data)
				if err != nil || m.MessageType != dhcpv6.MessageTypeReconfigure || m.TransactionID != (dhcpv6.TransactionID{}) || d.peer != addrA {
					t.Fatalf("%v to %v (%v)", m, d.peer, err)
				}
				at = append(at, d.at-changed)
			}
			// RT doubles, give or take a tenth of the one before.
			want := []time.Duration{0, 2, 6, 14, 30, 62, 126, 254}
			for i := range want {
				if len(at) != len(want) || (at[i]-want[i]*time.Second).Abs() > want[i]*time.Second/5 {
					t.Errorf("sent at %v, want about %v", at, want)
				}
			}
			if got := b.counted.Get("hgw.unanswered.reconfigure"); got != 1 {
				t.Errorf("given up %d times", got)
			}
			// The line's further renewals are no reason to begin anew.
			b.sent = nil
			b.set(usual(lineQ))
			b.pass(time.Minute)
			if len(b.sent) != 0 {
				t.Errorf("%d more", len(b.sent))
			}
			// Another plug, the same HGW: it is told again.
			conn.cut.Store(false)
			b.s.LinkDown()
			b.up()
			b.pass(time.Second)
			if l := last().Lease; l == nil || l.Prefixes[0].Prefix.String() != "2001:db8:0:2f0::/60" {
				t.Errorf("%+v", l)
			}
			if got := counted.Get("dhcp6.drop.reconfigure-auth"); got != 0 {
				t.Errorf("%d were not authentic", got)
			}
		})
	})
}

// TestOddPort: a client that asks from another port hears of changes on both.
func TestOddPort(t *testing.T) {
	run(t, Config{}, func(b *bench) {
		odd := netip.AddrPortFrom(addrA.Addr(), 40000)
		if got := b.askAs(duidA, odd, request, pd(1), accept); !strings.Contains(got, "accept; key") || !strings.Contains(got, "T1=1800 T2=2880") {
			t.Fatalf("%s", got)
		}
		b.sent = nil
		b.set(usual(lineQ))
		if len(b.sent) != 2 || b.sent[0].peer != addrA || b.sent[1].peer != odd {
			t.Errorf("%v", b.sent)
		}
		// A renewal gives no second key, and an end to it all.
		if got := b.askAs(duidA, odd, renew, pd(1), accept); strings.Contains(got, "key") || !strings.Contains(got, "accept") {
			t.Errorf("%s", got)
		}
		b.sent = nil
		b.pass(time.Minute)
		if len(b.sent) > 0 {
			t.Errorf("%v", b.sent)
		}
		// Who accepts no longer is not told any more.
		b.askAs(duidA, odd, renew, pd(1))
		b.sent = nil
		b.set(usual(lineP))
		b.pass(time.Minute)
		if len(b.sent) > 0 {
			t.Errorf("%v", b.sent)
		}
	})
}
