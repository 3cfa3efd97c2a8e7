//go:build lab

// These tests need ip6tnl devices: the lab runs them in a kernel that has them.

package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sofutobanku/internal/state"
)

// tunnelState is upState with another tunnel.
func tunnelState(f func(*state.Tunnel)) state.State {
	st := upState()
	f(st.Tunnel)
	st.OwnAddresses = []netip.Addr{st.Tunnel.Local}
	return st
}

func TestTunnel(t *testing.T) {
	newNamespace(t)
	a := newApplier(t, options(t))
	golden(t, a, []step{
		{"the line has IPv6", lineState()},
		{"the tunnel comes up", upState()},
		{"the prefix changed: the tunnel's local end moves", with(tunnelState(func(tn *state.Tunnel) {
			tn.Local = addr("2001:db8:bb00:0:1111:1111:1111:1111")
		}), func(s *state.State) {
			s.Prefix = &state.Prefix{Prefix: prefix("2001:db8:bb00::/56"), Preferred: in(210 * time.Minute), Valid: in(240 * time.Minute)}
		})},
		{"another BR, MTU, TTL, and an encapsulation limit", tunnelState(func(tn *state.Tunnel) {
			tn.Remote, tn.MTU, tn.TTL, tn.EncapLimit = addr("2001:db8:0:a000::2999"), 1452, 63, 4
		})},
		{"another IPv4 address", tunnelState(func(tn *state.Tunnel) { tn.IPv4 = addr("198.51.100.7") })},
		{"the local end on the WAN", tunnelState(func(tn *state.Tunnel) { tn.LocalOnWAN = true })},
		{"the tunnel is lost, IPv6 stays", lineState()},
		{"everything is lost", state.State{Phase: state.Down}},
	})
}

func TestTunnelMetric(t *testing.T) {
	newNamespace(t)
	o := options(t)
	o.Metric = 70
	a := newApplier(t, o)
	apply(t, a, upState())
	mustContain(t, "IPv4 routes", tidy(run(t, "ip -4 route show")), "default dev sofu4 proto 72 scope link metric 70\n")

	newNamespace(t)
	o = options(t)
	o.DefaultRoute = false
	a = newApplier(t, o)
	apply(t, a, upState())
	if got := run(t, "ip -4 route show"); got != "" {
		t.Errorf("IPv4 routes: %q; want none", got)
	}
}

// A tunnel that moves is the same device all the while: the IPv4 address and
// the default route stay, nothing goes down.
func TestTunnelMoves(t *testing.T) {
	newNamespace(t)
	a := newApplier(t, options(t))
	apply(t, a, upState())
	before, err := a.nl.link("sofu4")
	if err != nil {
		t.Fatal(err)
	}

	// Somebody who looks at the default route all the time.
	eye, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	defer eye.close()
	var looks, absent atomic.Int64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			routes, err := eye.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{}, 0)
			if err == nil && len(routes) == 0 {
				absent.Add(1)
			}
			looks.Add(1)
			select {
			case <-stop:
				return
			default:
			}
		}
	}()

	moves := []state.State{
		tunnelState(func(tn *state.Tunnel) { tn.Local = addr("2001:db8:aa00::2") }),
		tunnelState(func(tn *state.Tunnel) { tn.Remote = addr("2001:db8:0:a000::2999") }),
		tunnelState(func(tn *state.Tunnel) { tn.MTU = 1420 }),
		tunnelState(func(tn *state.Tunnel) { tn.TTL = 100 }),
		tunnelState(func(tn *state.Tunnel) { tn.EncapLimit = 2 }),
		upState(),
	}
	for _, st := range moves {
		w := watch(t)
		apply(t, a, st)
		for _, n := range w.read() {
			if strings.HasPrefix(n, "del") && n != "deladdr 2001:db8:aa00::2" && n != "deladdr 2001:db8:aa00:0:1111:1111:1111:1111" && !strings.HasSuffix(n, "table 255") {
				t.Errorf("%+v: %s", *st.Tunnel, n)
			}
		}
		l, err := a.nl.link("sofu4")
		if err != nil || l == nil || l.Attrs().Index != before.Attrs().Index {
			t.Fatalf("%+v: the device is another one: %v, %v", *st.Tunnel, l, err)
		}
		if tunnelDiffers(l, st.Tunnel) {
			t.Errorf("%+v: the device is %+v", *st.Tunnel, l)
		}
	}
	// A changed IPv4 too: the route has no source address that would go.
	w := watch(t)
	apply(t, a, tunnelState(func(tn *state.Tunnel) { tn.IPv4 = addr("198.51.100.7") }))
	news := strings.Join(w.read(), "\n")
	if i, j := strings.Index(news, "newaddr 198.51.100.7"), strings.Index(news, "deladdr 192.0.2.1"); i < 0 || j < i {
		t.Errorf("the new IPv4 address does not come before the old one goes:\n%s", news)
	}
	mustNotContain(t, "news", news, "delroute 0.0.0.0/0")
	close(stop)
	<-done
	if looks.Load() == 0 || absent.Load() != 0 {
		t.Errorf("the default route was absent in %d of %d looks", absent.Load(), looks.Load())
	}
}

// An address of the router that becomes the tunnel's, on either device, and
// back: at no moment is it nowhere.
func TestOwnAddressMoves(t *testing.T) {
	newNamespace(t)
	a := newApplier(t, options(t))
	own := lineState().OwnAddresses[0]
	on := func() string {
		t.Helper()
		return strings.Fields(run(t, "ip -o addr show to "+own.String()) + " nowhere nowhere")[1]
	}
	onWAN := tunnelState(func(tn *state.Tunnel) { tn.LocalOnWAN = true })
	for i, s := range []struct {
		st    state.State
		where string
	}{{lineState(), "lo"}, {upState(), "sofu4"}, {onWAN, "wan"}, {lineState(), "lo"}, {onWAN, "wan"}, {upState(), "sofu4"}, {lineState(), "lo"}} {
		w := watch(t)
		apply(t, a, s.st)
		if got := on(); got != s.where {
			t.Errorf("step %d: on %s, want %s", i, got, s.where)
		}
		news := strings.Join(w.read(), "\n")
		local := "route " + own.String() + "/128 table 255" // which delivers what comes for it
		add, del := strings.Index(news, "new"+local), strings.Index(news, "del"+local)
		if add < 0 || i > 0 && del < add {
			t.Errorf("step %d: not added before removed:\n%s", i, news)
		}
		if got := run(t, "ip route get "+own.String()); !strings.HasPrefix(got, "local ") {
			t.Errorf("step %d: %s", i, got)
		}
	}
}

// IPv4 goes through, both ways and unasked, also after the tunnel has moved.
//
//	here: sofu4 (192.0.2.1), wan ===== isp, far (198.51.100.1) :another namespace
func TestTunnelCarries(t *testing.T) {
	newNamespace(t)
	br := fmt.Sprintf("sofu-test-%d", os.Getpid())
	run(t, "ip netns add "+br)
	t.Cleanup(func() { run(t, "ip netns del "+br) })
	run(t, "ip link set isp netns "+br)
	for _, c := range []string{
		"link set lo up",
		"link set isp up",
		"addr add fe80::1/64 dev isp nodad",
		"addr add 2001:db8:0:a000::1919/128 dev lo",
		"route add 2001:db8:aa00::/40 via fe80::200:5eff:fe00:5301 dev isp",
		"link add name far type ip6tnl mode ipip6 local 2001:db8:0:a000::1919 remote 2001:db8:aa00:0:1111:1111:1111:1111 encaplimit none",
		"link set far up",
		"addr add 198.51.100.1/32 dev lo",
		"route add 192.0.2.1 dev far src 198.51.100.1",
	} {
		run(t, "ip -n "+br+" "+c)
	}
	a := newApplier(t, options(t))
	check := func(st state.State) {
		t.Helper()
		apply(t, a, st)
		run(t, "ip netns exec "+br+" ping -c1 -W5 192.0.2.1")
		run(t, "ping -c1 -W5 -s 1432 -M do 198.51.100.1") // 1460 bytes
	}
	check(upState())
	check(tunnelState(func(tn *state.Tunnel) { tn.LocalOnWAN = true }))
	st := tunnelState(func(tn *state.Tunnel) { tn.Local = addr("2001:db8:aabb::1") })
	st.Prefix = &state.Prefix{Prefix: prefix("2001:db8:aabb::/56")}
	run(t, "ip -n "+br+" link set dev far type ip6tnl mode ipip6 local 2001:db8:0:a000::1919 remote 2001:db8:aabb::1 encaplimit none")
	check(st)
}

// A device of our name that somebody else made.
func TestStrangersTunnel(t *testing.T) {
	tests := []struct {
		name, make string
		ok         bool
	}{
		{"another kind", "ip link add sofu4 type veth peer name x", false},
		{"other ends", "ip link add sofu4 type ip6tnl mode ipip6 local 2001:db8::1 remote 2001:db8::2 encaplimit none", false},
		{"just what we want", "ip link add sofu4 mtu 1460 type ip6tnl mode ipip6 local 2001:db8:aa00:0:1111:1111:1111:1111 remote 2001:db8:0:a000::1919 encaplimit none hoplimit 64", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			newNamespace(t)
			run(t, test.make)
			run(t, "ip link set sofu4 up")
			// Not what its other end does to it.
			look := func() string {
				return regexp.MustCompile(`<.*?>|state \S+`).ReplaceAllString(run(t, "ip -o -d link show sofu4"), "")
			}
			before := look()
			a := newApplier(t, options(t))
			st := upState()
			st.Tunnel.Local = addr("2001:db8:aa00:0:1111:1111:1111:1111")
			err := a.Apply(st)
			if (err == nil) != test.ok {
				t.Errorf("Apply: %v", err)
			}
			if err != nil {
				mustContain(t, "error", err.Error(), "kernel: tunnel sofu4: a device of this name", "is not ours", "ip link del sofu4")
				mustContain(t, "picture", picture(t), "default via fe80::1")
			} else {
				mustContain(t, "picture", picture(t), "sofu4 inet 192.0.2.1/32", "default dev sofu4")
			}
			if err := a.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			if d := cmp.Diff(lines(before), lines(look())); d != "" {
				t.Errorf("the device changed (-before +after):\n%s", d)
			}
		})
	}
}

// Another device has the same ends: the kernel refuses, nobody is disturbed.
func TestTunnelEndsTaken(t *testing.T) {
	newNamespace(t)
	run(t, "ip link add other type ip6tnl mode ipip6 local 2001:db8:aa00:0:1111:1111:1111:1111 remote 2001:db8:0:a000::1919")
	a := newApplier(t, options(t))
	err := a.Apply(upState())
	if !errors.Is(err, unix.EEXIST) || !strings.Contains(err.Error(), "another device has these ends") {
		t.Errorf("Apply: %v", err)
	}
	mustContain(t, "picture", picture(t), "lo inet6 2001:db8:aa00:0:1111:1111:1111:1111/128")
	run(t, "ip link del other")
	apply(t, a, upState())
	mustContain(t, "picture", picture(t), "sofu4 inet6 2001:db8:aa00:0:1111:1111:1111:1111/128")
}

// Somebody deletes the device, takes it down, or changes it.
func TestTunnelRepair(t *testing.T) {
	newNamespace(t)
	a := newApplier(t, options(t))
	apply(t, a, upState())
	want := picture(t)
	for _, c := range []string{
		"ip link del sofu4",
		"ip link set sofu4 down",
		"ip link set sofu4 mtu 1300",
		"ip -6 tunnel change sofu4 mode ipip6 hoplimit 9",
		"ip addr flush dev sofu4",
	} {
		run(t, c)
		if picture(t) == want {
			t.Errorf("%s changed nothing", c)
		}
		apply(t, a, upState())
		if d := cmp.Diff(lines(want), lines(picture(t))); d != "" {
			t.Errorf("%s (-want +got):\n%s", c, d)
		}
	}
}

func TestTunnelCloseAndKill(t *testing.T) {
	newNamespace(t)
	before := snapshot(t)
	o := options(t)
	first := newApplier(t, o)
	apply(t, first, upState())
	made := picture(t)
	index := must(first.nl.link("sofu4")).Attrs().Index
	kill(first)

	// Killed while it was made: it has no index in the journal yet.
	file := first.journal.path
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	adopted, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	adopted.made.Tunnel.Index = 0
	st := tunnelState(func(tn *state.Tunnel) { tn.Remote = addr("2001:db8:0:a000::2999") })
	apply(t, adopted, st)
	if got := must(adopted.nl.link("sofu4")).Attrs().Index; got != index {
		t.Errorf("the adopted device has index %d, was %d", got, index)
	}
	apply(t, adopted, upState())
	kill(adopted)
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}

	second := newApplier(t, o)
	if l := must(second.nl.link("sofu4")); l != nil {
		t.Errorf("Prepare left %+v", l)
	}
	apply(t, second, upState())
	if d := cmp.Diff(lines(made), lines(picture(t))); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if err := second.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if d := cmp.Diff(lines(before), lines(snapshot(t))); d != "" {
		t.Errorf("(-before +after):\n%s", d)
	}
}

func must(l netlink.Link, err error) netlink.Link {
	if err != nil {
		panic(err)
	}
	return l
}
