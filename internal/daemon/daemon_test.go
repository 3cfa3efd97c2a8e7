package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/ndp"

	"sofutobanku/internal/counters"
	"sofutobanku/internal/dhcp4"
	"sofutobanku/internal/dhcp6"
	"sofutobanku/internal/echo"
	"sofutobanku/internal/line"
	"sofutobanku/internal/link"
	"sofutobanku/internal/ra"
	"sofutobanku/internal/state"
	"sofutobanku/internal/status"
)

var (
	router = netip.MustParseAddr("fe80::1")
	own    = netip.MustParseAddr("fe80::2")
	shared = netip.MustParsePrefix("2001:db8:3300::/64")
	grant  = line.Grant{
		IPv4: netip.MustParseAddr("192.0.2.1"), BR: netip.MustParseAddr("2001:db8:b::1"),
		EchoTarget: netip.MustParseAddr("198.51.100.1"),
	}
	wan0 = link.State{Exists: true, Index: 2, Name: "wan0", MAC: net.HardwareAddr{0, 0, 0x5e, 0, 0x53, 1}, MTU: 1500}
)

type carrier struct{}

func (carrier) Source(p netip.Prefix) netip.Addr              { return ra.SLAAC(p, [8]byte{7: 0xa}) }
func (carrier) Local(p netip.Prefix, _ netip.Addr) netip.Addr { return ra.SLAAC(p, [8]byte{7: 0xa}) }

// bench is a daemon on a line whose every part the test plays. The line
// advertises a /64, so that DHCPv6 stays out of the way.
type bench struct {
	t      *testing.T
	daemon *Daemon
	links  chan link.State
	solicited,
	dhcpSent chan struct{}
	advertise chan []byte

	mu         sync.Mutex
	ask        func(n int) (line.Grant, error)
	asked      []time.Duration // since the start
	applyError func() error
	listenDHCP error
	listened   int // for DHCPv6
	applied    []state.State
	calls      []string
	start      time.Time
}

// run lets test play a line against a running daemon in virtual time.
func run(t *testing.T, test func(b *bench)) { runWith(t, func(*bench, *Config) {}, test) }

// runWith is run with a configuration of the test's own.
func runWith(t *testing.T, configure func(*bench, *Config), test func(b *bench)) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{
			t: t, links: make(chan link.State), advertise: make(chan []byte), start: time.Now(),
			solicited: make(chan struct{}, 1000), dhcpSent: make(chan struct{}, 1000),
			ask: func(int) (line.Grant, error) { return grant, nil },
		}
		cfg := Config{
			Interface: "wan", Tunnel: "wan-4",
			Line: line.Config{Device: "wan0", Carrier: carrier{}, TTL: 64, EncapLimit: -1},
			DHCP: func(mac, _ net.HardwareAddr) dhcp6.Config {
				return dhcp6.Config{DUID: append([]byte{0, 3, 0, 1}, mac...), IAID: 1}
			},
			NewAsk: func(func(event, detail string)) Ask { return b.doAsk },
			AskError: func(err error) state.Error {
				return state.Error{Code: "ASK", Text: err.Error()}
			},
			Phone:   func(*dhcp6.Info, *dhcp4.Lease) *status.Phone { return nil },
			Applier: b,
			Network: Network{
				Watch:      b.watch,
				ListenRA:   func(*net.Interface) (ra.Conn, error) { return &raConn{b, make(chan struct{})}, nil },
				ListenDHCP: b.doListenDHCP,
				Echo:       func(context.Context, echo.Config) (time.Duration, error) { return 20 * time.Millisecond, nil },
			},
			Rand:     func() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) },
			Counters: &counters.Set{},
			Log:      slog.New(slog.DiscardHandler),
		}
		configure(b, &cfg)
		b.daemon = New(cfg)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- b.daemon.Run(ctx) }()
		test(b)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if last := b.calls[len(b.calls)-1]; last != "close" {
			t.Errorf("the last call of the applier is %s, want close", last)
		}
	})
}

func (b *bench) Prepare() error { b.called("prepare"); return nil }
func (b *bench) Close() error   { b.called("close"); return nil }

func (b *bench) Apply(st state.State) error {
	b.called("apply")
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.applyError != nil {
		return b.applyError()
	}
	b.applied = append(b.applied, st)
	return nil
}

// shown is the error in the State that was applied last.
func (b *bench) shown() *state.Error {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.applied[len(b.applied)-1].Error
}

// count is how often the applier was called so far.
func (b *bench) count() int {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.calls)
}

func (b *bench) called(what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls = append(b.calls, what)
}

// set changes what the line does, between two moments.
func (b *bench) set(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

func (b *bench) watch(ctx context.Context, _ string, onChange func(link.State)) error {
	for {
		select {
		case l := <-b.links:
			onChange(l)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (b *bench) doAsk(context.Context, Request) (line.Grant, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked = append(b.asked, time.Since(b.start))
	return b.ask(len(b.asked))
}

func (b *bench) doListenDHCP(*net.Interface, netip.Addr) (dhcp6.Conn, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.listened++
	if b.listenDHCP != nil {
		return nil, b.listenDHCP
	}
	return &dhcpConn{b, make(chan struct{})}, nil
}

// link reports the device as up or not. It keeps its link-local address without
// a carrier, as the kernel does.
func (b *bench) link(up bool) {
	l := wan0
	l.Up, l.LinkLocal = up, own
	b.links <- l
	synctest.Wait()
}

// come brings the line up to its prefix.
func (b *bench) come() {
	b.link(true)
	b.advertise <- b.ra()
	synctest.Wait()
}

func (b *bench) ra() []byte {
	m, err := ndp.MarshalMessage(&ndp.RouterAdvertisement{
		RouterLifetime: 18 * time.Hour, CurrentHopLimit: 64,
		Options: []ndp.Option{&ndp.PrefixInformation{
			PrefixLength: 64, OnLink: true, AutonomousAddressConfiguration: true,
			ValidLifetime: 90 * 24 * time.Hour, PreferredLifetime: 90 * 24 * time.Hour, Prefix: shared.Addr(),
		}},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return m
}

func (b *bench) status() status.Status {
	synctest.Wait()
	s, _ := b.daemon.Status()
	return s
}

type raConn struct {
	b      *bench
	closed chan struct{}
}

func (c *raConn) ReadRA(p []byte) (int, netip.Addr, int, error) {
	select {
	case m := <-c.b.advertise:
		return copy(p, m), router, 255, nil
	case <-c.closed:
		return 0, netip.Addr{}, 0, net.ErrClosed
	}
}
func (c *raConn) Solicit(netip.Addr) error { c.b.solicited <- struct{}{}; return nil }
func (c *raConn) Close() error             { close(c.closed); return nil }

// dhcpConn is a segment without a DHCPv6 server.
type dhcpConn struct {
	b      *bench
	closed chan struct{}
}

func (c *dhcpConn) ReadFrom([]byte) (int, netip.AddrPort, error) {
	<-c.closed
	return 0, netip.AddrPort{}, net.ErrClosed
}
func (c *dhcpConn) WriteTo([]byte, netip.AddrPort) error { c.b.dhcpSent <- struct{}{}; return nil }
func (c *dhcpConn) Close() error                         { close(c.closed); return nil }

func TestLineComesUp(t *testing.T) {
	run(t, func(b *bench) {
		b.come()
		s := b.status()
		if s.State != state.Up || s.Tunnel == nil || s.Tunnel.Device != "wan-4" || s.Tunnel.EchoMS == nil {
			t.Errorf("status: %s", s.JSON())
		}
		var names []string
		for _, e := range s.Events {
			if e.Name != "information-request" { // beside the line's own way
				names = append(names, e.Name)
			}
		}
		want := []string{"link-up", "link-local", "router-solicitation", "solicit", "router-advertisement", "tunnel-up", "echo-request", "echo-reply"}
		for _, w := range want {
			if !strings.Contains(strings.Join(names, " "), w) {
				t.Errorf("the timeline lacks %s: %v", w, names)
			}
		}
		if len(b.asked) != 1 {
			t.Errorf("asked %d times", len(b.asked))
		}
	})
}

// The address to ask from must be in place before anybody asks.
func TestAppliesBeforeAsking(t *testing.T) {
	run(t, func(b *bench) {
		b.ask = func(int) (line.Grant, error) {
			last := b.applied[len(b.applied)-1]
			want := netip.PrefixFrom(carrier{}.Source(shared), 128)
			for _, a := range last.WAN.Addresses {
				if a.Prefix == want {
					return grant, nil
				}
			}
			t.Errorf("asked before %v was applied: %+v", want, last.WAN.Addresses)
			return grant, nil
		}
		b.come()
	})
}

func TestNothingNewIsNotAppliedAgain(t *testing.T) {
	run(t, func(b *bench) {
		b.come()
		n := b.count()
		for range 5 {
			b.advertise <- b.ra() // the same lifetimes, heard at the same moment
		}
		if more := b.count() - n; more != 0 {
			t.Errorf("%d more applies for news that say nothing new", more)
		}
	})
}

func TestRefusedIsAskedEverMoreRarely(t *testing.T) {
	run(t, func(b *bench) {
		b.ask = func(int) (line.Grant, error) { return line.Grant{}, errors.New("refused") }
		b.come()
		s := b.status()
		if s.State != state.IPv6 || s.Error == nil || s.Error.Code != "ASK" {
			t.Errorf("status: %s", s.JSON())
		}
		// A day on which the router goes on advertising.
		for range 24 * 60 {
			time.Sleep(time.Minute)
			b.advertise <- b.ra()
		}
		synctest.Wait()
		b.set(func() {
			if n := len(b.asked); n < 24 || n > 40 {
				t.Errorf("asked %d times in a day, want about one an hour after the first", n)
			}
			for i := 2; i < len(b.asked); i++ {
				if gap := b.asked[i] - b.asked[i-1]; gap > lastAskPause*11/10 {
					t.Errorf("pause %d is %v", i, gap)
				}
			}
			b.ask = func(int) (line.Grant, error) { return grant, nil }
		})
		b.daemon.Renew()
		if s := b.status(); s.State != state.Up || s.Error != nil {
			t.Errorf("after renew: %s", s.JSON())
		}
	})
}

func TestAskAgain(t *testing.T) {
	run(t, func(b *bench) {
		b.daemon.cfg.AskAgain = 24 * time.Hour
		b.come()
		moved := grant
		moved.BR = netip.MustParseAddr("2001:db8:b::2")
		b.set(func() { b.ask = func(int) (line.Grant, error) { return moved, nil } })
		for range 27 * 60 {
			time.Sleep(time.Minute)
			b.advertise <- b.ra()
		}
		if s := b.status(); len(b.asked) != 2 || s.Tunnel.Remote != moved.BR {
			t.Errorf("asked %d times, tunnel to %v", len(b.asked), s.Tunnel.Remote)
		}
	})
}

func TestLinkDownAndUp(t *testing.T) {
	run(t, func(b *bench) {
		b.come()
		b.link(false)
		s := b.status()
		if s.State != state.Down || s.Error == nil || s.Error.Code != line.ErrNoCarrier || s.Tunnel == nil {
			t.Errorf("down: %s", s.JSON())
		}
		n, sent := len(b.asked), len(b.dhcpSent)
		time.Sleep(time.Minute)
		if len(b.dhcpSent) != sent {
			t.Error("DHCPv6 goes on without a link")
		}
		b.come()
		if len(b.dhcpSent) == sent {
			t.Error("DHCPv6 does not go on with the link")
		}
		if s := b.status(); s.State != state.Up || s.Error != nil {
			t.Errorf("up again: %s", s.JSON())
		}
		if len(b.asked) != n+1 {
			t.Errorf("asked %d times after the link returned, want 1", len(b.asked)-n)
		}
	})
}

// The news of a carrier that is back already must not hide that it was lost.
func TestShortFlapIsNotMissed(t *testing.T) {
	run(t, func(b *bench) {
		b.come()
		n := len(b.asked)
		l := wan0
		b.links <- l // down, and up before anybody looked
		l.Up, l.LinkLocal = true, own
		b.links <- l
		synctest.Wait()
		if len(b.asked) != n+1 {
			t.Errorf("asked %d times after the flap, want once", len(b.asked)-n)
		}
	})
}

// Whatever the link did, the system is put right: the kernel drops addresses
// with it.
func TestLinkChangeAppliesAgain(t *testing.T) {
	run(t, func(b *bench) {
		b.come()
		n := b.count()
		l := wan0
		l.Up, l.LinkLocal, l.Index = true, own, 9
		b.links <- l
		if b.count() == n {
			t.Error("another device of the same name was not applied to")
		}
	})
}

func TestFailedApplyIsShownAndRepaired(t *testing.T) {
	run(t, func(b *bench) {
		var log bytes.Buffer
		b.daemon.cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
		b.applyError = func() error { return errors.New("kernel: no") }
		b.come()
		if s := b.status(); s.Error == nil || s.Error.Code != state.ErrApply || s.Error.Text != "kernel: no" || s.State == state.Up || s.Tunnel.EchoMS != nil {
			t.Errorf("status: %s", s.JSON())
		}
		calls := b.count()
		time.Sleep(time.Hour)
		if n := b.count() - calls; n < 10 || n > 100 {
			t.Errorf("%d repairs in an hour", n)
		}
		if n := strings.Count(log.String(), "cannot apply"); n != 1 {
			t.Errorf("logged %d times", n)
		}
		b.set(func() { b.applyError = nil })
		time.Sleep(2 * lastRepairPause)
		if s := b.status(); s.Error != nil || s.State != state.Up || s.Tunnel.EchoMS == nil {
			t.Errorf("after the repair: %s", s.JSON())
		}
	})
}

// However the error changes, the tries become rare, and news of the line that say
// nothing new are no reason for more.
func TestApplyErrorsSettle(t *testing.T) {
	run(t, func(b *bench) {
		n := 0
		b.applyError = func() error { n++; return fmt.Errorf("error %d", n) }
		b.come()
		calls := b.count()
		for range 60 * 60 {
			time.Sleep(time.Second)
			b.daemon.mail.post("news", func() {})
		}
		if n := b.count() - calls; n < 10 || n > 100 {
			t.Errorf("%d applies in an hour", n)
		}
		if s := b.status(); s.Error == nil || s.Error.Text != fmt.Sprintf("error %d", n) {
			t.Errorf("the error is %v, the last one was number %d", s.Error, n)
		}
	})
}

func TestBusyDHCPPortIsShownAndTriedAgain(t *testing.T) {
	run(t, func(b *bench) {
		b.listenDHCP = errors.New("address already in use")
		b.come()
		if s := b.status(); s.State != state.Up || s.Error == nil || s.Error.Code != ErrDHCPSocket {
			t.Errorf("status: %s", s.JSON())
		}
		if e := b.shown(); e == nil || e.Code != ErrDHCPSocket {
			t.Errorf("the applier has error %v", e)
		}
		var before int
		b.set(func() { before = b.listened })
		time.Sleep(time.Hour)
		b.set(func() {
			if n := b.listened - before; n < 10 || n > 100 {
				t.Errorf("tried %d times in an hour", n)
			}
		})
		b.link(false)
		if s := b.status(); s.Error == nil || s.Error.Code != line.ErrNoCarrier {
			t.Errorf("without a link: %s", s.JSON())
		}
		b.come()
		b.set(func() { b.listenDHCP = nil })
		time.Sleep(2 * lastRepairPause)
		s := b.status()
		if s.Error != nil || len(b.dhcpSent) == 0 || b.shown() != nil {
			t.Errorf("error %v, %d messages sent", s.Error, len(b.dhcpSent))
		}
	})
}

func TestSilentLineIsExplained(t *testing.T) {
	run(t, func(b *bench) {
		b.link(true)
		if s := b.status(); s.Error != nil || s.State != state.Starting {
			t.Errorf("at once: %s", s.JSON())
		}
		time.Sleep(overdueAfter + time.Second)
		if s := b.status(); s.Error == nil || s.Error.Code != line.ErrNoRA {
			t.Errorf("later: %s", s.JSON())
		}
	})
}

// After an outage of hours the DHCPv6 client pauses for up to an hour: a router
// that speaks again must end that.
func TestReturningRouterEndsThePause(t *testing.T) {
	run(t, func(b *bench) {
		b.come() // one advertisement of 18 hours, and then silence
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if s := b.status(); len(s.WAN.Routers) != 0 {
			t.Fatalf("the router is still there: %s", s.JSON())
		}
		n := len(b.dhcpSent)
		b.advertise <- b.ra()
		synctest.Wait()
		if len(b.dhcpSent) == n {
			t.Error("DHCPv6 goes on pausing")
		}
	})
}

func TestRestartForgets(t *testing.T) {
	run(t, func(b *bench) {
		b.come()
		b.daemon.Restart()
		if s := b.status(); s.State != state.Starting || s.Tunnel != nil || s.Error != nil {
			t.Errorf("status: %s", s.JSON())
		}
		time.Sleep(overdueAfter + time.Second)
		if s := b.status(); s.Error == nil || s.Error.Code != line.ErrNoRA {
			t.Errorf("nobody answers: %s", s.JSON())
		}
		b.advertise <- b.ra()
		if s := b.status(); s.State != state.Up {
			t.Errorf("after an advertisement: %s", s.JSON())
		}
	})
}

// The answer to an echo of the tunnel before comes late, while that of the next is awaited.
func TestLateEchoProvesNothing(t *testing.T) {
	var asked atomic.Int32
	runWith(t, func(_ *bench, cfg *Config) {
		cfg.Network.Echo = func(context.Context, echo.Config) (time.Duration, error) {
			if asked.Add(1) == 1 {
				time.Sleep(time.Minute)
			} else {
				time.Sleep(time.Hour)
			}
			return 20 * time.Millisecond, nil
		}
	}, func(b *bench) {
		b.come()
		b.daemon.Restart()
		synctest.Wait()
		b.advertise <- b.ra()
		synctest.Wait()
		time.Sleep(30 * time.Minute)
		if s := b.status(); s.State != state.Up || s.Tunnel.EchoMS != nil || asked.Load() != 2 {
			t.Errorf("%d echoes, status: %s", asked.Load(), s.JSON())
		}
		time.Sleep(time.Hour)
		if s := b.status(); s.Tunnel.EchoMS == nil {
			t.Errorf("proven: %s", s.JSON())
		}
	})
}

func TestControl(t *testing.T) {
	run(t, func(b *bench) {
		b.come()
		var out bytes.Buffer
		if err := b.daemon.Control(t.Context(), "status", &out); err != nil {
			t.Fatal(err)
		}
		var s status.Status
		if err := json.Unmarshal(out.Bytes(), &s); err != nil || s.Interface != "wan" {
			t.Errorf("status: %v: %s", err, out.Bytes())
		}
		if err := b.daemon.Control(t.Context(), "renew", &out); err != nil {
			t.Error(err)
		}
		if err := b.daemon.Control(t.Context(), "dance", &out); err == nil || !strings.Contains(err.Error(), "watch") {
			t.Errorf("unknown request: %v", err)
		}
	})
}

func TestWatchSeesEachChange(t *testing.T) {
	run(t, func(b *bench) {
		ctx, cancel := context.WithCancel(context.Background())
		var mu sync.Mutex
		var seen []state.Phase
		done := make(chan error)
		go func() {
			done <- b.daemon.Control(ctx, "watch", writer(func(p []byte) {
				var s status.Status
				if err := json.Unmarshal(p, &s); err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				if len(seen) == 0 || seen[len(seen)-1] != s.State {
					seen = append(seen, s.State)
				}
			}))
		}()
		b.come()
		b.link(false)
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if last := seen[len(seen)-1]; last != state.Down {
			t.Errorf("saw %v", seen)
		}
	})
}

type writer func([]byte)

func (w writer) Write(p []byte) (int, error) { w(p); return len(p), nil }

func TestTimelineIsBounded(t *testing.T) {
	var tl timeline
	for i := range 3 * maxEvents {
		tl.add(time.Now(), strconv.Itoa(i), "")
	}
	if diff := cmp.Diff(maxEvents, len(tl.list())); diff != "" {
		t.Errorf("events kept: %s", diff)
	}
}
