package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"sofutobanku/internal/state"
)

func TestWAN(t *testing.T) {
	newNamespace(t)
	a := newApplier(t, options(t))
	st := lineState()
	st.Prefix, st.OwnAddresses = nil, nil
	golden(t, a, []step{
		{"nothing learned yet", state.State{Phase: state.Starting}},
		{"an address and a router", st},
		{"the address is refreshed", with(st, func(s *state.State) {
			s.WAN.Addresses = []state.Address{{Prefix: st.WAN.Addresses[0].Prefix, Preferred: in(time.Hour), Valid: in(2 * time.Hour)}}
		})},
		{"the address is deprecated, a second one without an end comes, without DAD", with(st, func(s *state.State) {
			s.WAN.Addresses = []state.Address{
				{Prefix: st.WAN.Addresses[0].Prefix, Deprecated: true, Valid: in(2 * time.Hour)},
				{Prefix: prefix("2001:db8:eeee::2/64"), NoDAD: true},
			}
		})},
		{"a preferred second router, and routes: to one prefix by two routers, on-link, and some that are over", with(st, func(s *state.State) {
			s.WAN.Routers = []state.Router{{Addr: router2, Preference: 1, Until: in(time.Hour)}, {Addr: router1, Until: in(time.Hour)}, {Addr: addr("fe80::3"), Until: in(-time.Second)}}
			s.WAN.Routes = []state.Route{
				{Prefix: prefix("2001:db8:5000::/48"), Via: router1, Preference: -1},
				{Prefix: prefix("2001:db8:5000::/48"), Via: router2.WithZone("wan"), Preference: 1, Until: in(time.Hour)},
				{Prefix: prefix("2001:db8:6000::/64")},
				{Prefix: prefix("2001:db8:7000::/64"), Until: in(-time.Second)},
			}
		})},
		{"the routers change places", with(st, func(s *state.State) {
			s.WAN.Routers = []state.Router{{Addr: router1, Preference: 1, Until: in(time.Hour)}, {Addr: router2, Until: in(time.Hour)}}
		})},
		{"one router is lost", with(st, func(s *state.State) {
			s.WAN.Routers = []state.Router{{Addr: router2, Until: in(time.Hour)}}
		})},
		{"everything is lost", state.State{Phase: state.Down}},
	})
}

func TestPrefix(t *testing.T) {
	newNamespace(t)
	a := newApplier(t, options(t))
	st := lineState()
	st.WAN = state.WAN{}
	golden(t, a, []step{
		{"a delegated prefix, and an address of it that the router answers for", st},
		{"another prefix", with(st, func(s *state.State) {
			s.Prefix = &state.Prefix{Prefix: prefix("2001:db8:bb00::/56"), Preferred: in(210 * time.Minute), Valid: in(240 * time.Minute)}
			s.OwnAddresses = []netip.Addr{addr("2001:db8:bb00:0:1111:1111:1111:1111")}
		})},
		{"it is deprecated", with(st, func(s *state.State) {
			s.Prefix = &state.Prefix{Prefix: prefix("2001:db8:bb00::/56"), Deprecated: true, Valid: in(time.Hour)}
		})},
		{"it is over", with(st, func(s *state.State) {
			s.Prefix = &state.Prefix{Prefix: prefix("2001:db8:bb00::/56"), Valid: in(-time.Second)}
			s.OwnAddresses = nil
		})},
		{"one without an end, of exactly a /64", with(st, func(s *state.State) {
			s.Prefix = &state.Prefix{Prefix: prefix("2001:db8:cc00::/64")}
			s.OwnAddresses = nil
		})},
	})
}

func TestPhone(t *testing.T) {
	newNamespace(t)
	a := newApplier(t, options(t))
	st := with(lineState(), func(s *state.State) { s.Prefix, s.OwnAddresses = nil, nil })
	joined := func(address string, routes ...state.Route) state.State {
		return with(st, func(s *state.State) { s.Phone = &state.Phone{Address: prefix(address), Routes: routes} })
	}
	via := state.Route{Prefix: prefix("203.0.113.0/24"), Via: addr("198.51.100.1")}
	golden(t, a, []step{
		{"joined, and no lease yet", with(st, func(s *state.State) { s.Phone = &state.Phone{} })},
		{"a lease", joined("198.51.100.2/30", via, state.Route{Prefix: prefix("192.0.2.128/25")})},
		{"a route less", joined("198.51.100.2/30", via)},
		{"another address", joined("198.51.100.6/30", state.Route{Prefix: via.Prefix, Via: addr("198.51.100.5")})},
		{"none any more", st},
	})
}

// What fails at the telephone network is told apart, and keeps nothing else from being
// done.
func TestPhoneError(t *testing.T) {
	newNamespace(t)
	a := newApplier(t, options(t))
	run(t, "ip route add 203.0.113.0/24 dev lan")
	st := with(lineState(), func(s *state.State) {
		s.Phone = &state.Phone{Address: prefix("198.51.100.2/30"), Routes: []state.Route{
			{Prefix: prefix("203.0.113.0/24"), Via: addr("198.51.100.1")},
			{Prefix: prefix("192.0.2.0/24"), Via: addr("198.51.100.77")}, // no neighbour
		}}
	})
	parts, line := state.Split(a.Apply(st))
	if phone := parts[state.PartPhone]; line != nil || !errors.Is(phone, unix.EEXIST) || !errors.Is(phone, unix.ENETUNREACH) {
		t.Errorf("of the line: %v, of the telephone: %v", line, phone)
	}
	mustContain(t, "routes", picture(t), "default via fe80::1 dev wan")
}

// forwarder remembers what it is told.
type forwarder struct {
	calls []string
	err   error
}

func (f *forwarder) Set(a, b string) (string, error) {
	f.calls = append(f.calls, "set "+a+" "+b)
	return "nft", f.err
}

func (f *forwarder) Close() error {
	f.calls = append(f.calls, "close")
	return f.err
}

func TestHGW(t *testing.T) {
	newNamespace(t)
	o, f := options(t), &forwarder{}
	o.Forward = f
	a := newApplier(t, o)
	via := addr("fe80::f0")
	served := func(routes ...state.Route) state.State {
		return with(lineState(), func(s *state.State) {
			s.HGW = &state.HGW{Device: "lan", Forward: true, Routes: routes}
		})
	}
	delegated := state.Route{Prefix: prefix("2001:db8:aa00:f0::/60"), Via: via, Until: in(4 * time.Hour)}
	golden(t, a, []step{
		{"nobody asked yet", served()},
		{"a delegated prefix, and an address", served(delegated, state.Route{Prefix: prefix("2001:db8:aa00:ef::1/128"), Via: via, Until: in(4 * time.Hour)})},
		{"the address is over", served(delegated, state.Route{Prefix: prefix("2001:db8:aa00:ef::1/128"), Via: via, Until: in(-time.Second)})},
		{"another home gateway", served(state.Route{Prefix: delegated.Prefix, Via: addr("fe80::f1"), Until: in(4 * time.Hour)})},
		{"no home gateway any more", lineState()},
	})
	calls := strings.Join(f.calls, "\n")
	if !strings.HasPrefix(calls, strings.Repeat("set wan lan\n", 4)) || !strings.HasSuffix(calls, "wan lan\nclose") {
		t.Errorf("forwarding:\n%s", calls)
	}
}

// What cannot be forwarded keeps nothing else from being done, and what a killed process
// left is put away by the next one.
func TestHGWError(t *testing.T) {
	newNamespace(t)
	o := options(t)
	o.Forward = &forwarder{err: unix.ENOENT}
	a := newApplier(t, o)
	st := with(lineState(), func(s *state.State) {
		s.HGW = &state.HGW{Device: "lan", Forward: true, Routes: []state.Route{{Prefix: prefix("2001:db8:aa00:f0::/60"), Via: addr("fe80::f0")}}}
	})
	parts, line := state.Split(a.Apply(st))
	if line != nil || !errors.Is(parts[state.PartHGW], unix.ENOENT) {
		t.Errorf("of the line: %v, of the home gateway: %v", line, parts)
	}
	mustContain(t, "routes", picture(t), "2001:db8:aa00:f0::/60 via fe80::f0 dev lan")

	next := &forwarder{}
	o.Forward = next
	b, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Prepare(); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"close"}, next.calls); diff != "" {
		t.Errorf("what is left of a killed process (-want +got):\n%s", diff)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

func TestMetricAndNoDefaultRoute(t *testing.T) {
	newNamespace(t)
	o := options(t)
	o.Metric, o.DefaultRoute, o.LAN = 70, false, ""
	a := newApplier(t, o)
	golden(t, a, []step{
		{"metric 70, no default route, no LAN", with(lineState(), func(s *state.State) {
			s.WAN.Routes = []state.Route{{Prefix: prefix("2001:db8:5000::/48"), Via: router1}, {Prefix: prefix("::/0"), Via: router1}}
		})},
	})
}

// with is st changed by f.
func with(st state.State, f func(*state.State)) state.State {
	f(&st)
	return st
}

// A prefix that changes: the new address is there before the old one goes, the
// default route is never absent while routers change places.
func TestOrder(t *testing.T) {
	newNamespace(t)
	a := newApplier(t, options(t))
	st := lineState()
	st.WAN.Routers = []state.Router{{Addr: router1}, {Addr: router2}}
	apply(t, a, st)
	w := watch(t)
	st.WAN.Routers = []state.Router{{Addr: router2}, {Addr: router1}}
	st.Prefix = &state.Prefix{Prefix: prefix("2001:db8:bb00::/56")}
	st.OwnAddresses = []netip.Addr{addr("2001:db8:bb00::1")}
	apply(t, a, st)
	news := strings.Join(w.read(), "\n")
	before := func(first, second string) {
		t.Helper()
		i, j := strings.Index(news, first), strings.Index(news, second)
		if i < 0 || j < 0 || i > j {
			t.Errorf("%q does not come before %q in:\n%s", first, second, news)
		}
	}
	before("newaddr 2001:db8:bb00::1", "deladdr 2001:db8:aa00::1")
	before("newroute 2001:db8:bb00::/56", "delroute 2001:db8:aa00::/56")
	before("newroute ::/0", "deladdr 2001:db8:aa00::1")
	if strings.Contains(news, "delroute ::/0") {
		t.Errorf("a default route was removed where it could be replaced:\n%s", news)
	}
}

// What somebody else takes away comes back with the next Apply.
func TestRepair(t *testing.T) {
	newNamespace(t)
	a := newApplier(t, options(t))
	st := lineState()
	apply(t, a, st)
	want := picture(t)
	run(t, "ip addr del 2001:db8:ffff:0:200:5eff:fe00:5301/64 dev wan")
	run(t, "ip addr del 2001:db8:aa00::1/64 dev lan")
	run(t, "ip -6 route del default")
	run(t, "ip -6 route del unreachable 2001:db8:aa00::/56")
	run(t, "ip addr change 2001:db8:aa00:0:1111:1111:1111:1111/128 dev lo nodad noprefixroute preferred_lft forever valid_lft forever")
	if picture(t) == want {
		t.Fatal("nothing was taken away")
	}
	apply(t, a, st)
	if d := cmp.Diff(lines(want), lines(picture(t))); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestSysctls(t *testing.T) {
	newNamespace(t)
	a := newApplier(t, options(t))
	read := func() map[string]string {
		got := map[string]string{}
		for _, n := range []string{"accept_ra", "mtu", "hop_limit", "optimistic_dad", "use_optimistic"} {
			if v, err := a.readSysctl(n); err == nil {
				got[n] = v
			}
		}
		return got
	}
	check := func(what string, want map[string]string) {
		t.Helper()
		if _, ok := read()["optimistic_dad"]; !ok { // the kernel was built without
			delete(want, "optimistic_dad")
			delete(want, "use_optimistic")
		}
		if d := cmp.Diff(want, read()); d != "" {
			t.Errorf("%s (-want +got):\n%s", what, d)
		}
	}
	check("prepared", map[string]string{"accept_ra": "0", "mtu": "1500", "hop_limit": "64", "optimistic_dad": "1", "use_optimistic": "1"})
	st := state.State{WAN: state.WAN{MTU: 1454, HopLimit: 99}}
	apply(t, a, st)
	check("MTU 1454, hop limit 99", map[string]string{"accept_ra": "0", "mtu": "1454", "hop_limit": "99", "optimistic_dad": "1", "use_optimistic": "1"})
	apply(t, a, state.State{WAN: state.WAN{MTU: 9000, HopLimit: 99}})
	check("an MTU that the link cannot carry", map[string]string{"accept_ra": "0", "mtu": "1500", "hop_limit": "99", "optimistic_dad": "1", "use_optimistic": "1"})
	if err := a.setSysctl("hop_limit", "98", true); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(a.sysctlPath("accept_ra"), []byte("2"), 0); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	check("closed, but accept_ra was set to 2 by somebody else", map[string]string{"accept_ra": "2", "mtu": "1500", "hop_limit": "64", "optimistic_dad": "0", "use_optimistic": "0"})
}

// Duplicate address detection is quick, but not for those who want it as the RFC
// has it, whatever timer a router left in the kernel.
func TestDetectionTime(t *testing.T) {
	newNamespace(t)
	for _, tt := range []struct {
		strict         bool
		retrans, delay string
	}{{false, "200", "0"}, {true, "1000", "1"}} {
		o := options(t)
		o.StrictRFC = tt.strict
		a := newApplier(t, o)
		if err := os.WriteFile(a.sysctlPath("neigh/retrans_time_ms"), []byte("10000"), 0); err != nil {
			t.Fatal(err)
		}
		if err := a.Prepare(); err != nil {
			t.Fatal(err)
		}
		retrans, err := a.readSysctl("neigh/retrans_time_ms")
		if err != nil {
			t.Fatal(err)
		}
		delay, err := a.readSysctl("router_solicitation_delay")
		if err != nil {
			t.Fatal(err)
		}
		if retrans != tt.retrans || delay != tt.delay {
			t.Errorf("strict %v: retrans %s ms, delay %s s; want %s, %s", tt.strict, retrans, delay, tt.retrans, tt.delay)
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Where netifd brings the device up, nobody else does, and nobody takes it down.
func TestKeepLink(t *testing.T) {
	newNamespace(t)
	o := options(t)
	o.KeepLink = true
	a := newApplier(t, o)
	mustNotContain(t, "prepared", run(t, "ip link show wan"), ",UP")
	run(t, "ip link set wan up")
	apply(t, a, lineState())
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	mustContain(t, "closed", run(t, "ip link show wan"), ",UP")
}

// An address under duplicate address detection can be used at once where the
// kernel has RFC 4429, and an address that needs none has none.
func TestOptimistic(t *testing.T) {
	newNamespace(t)
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/wan/accept_dad", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	o := options(t)
	o.StrictRFC = true // a detection that is still going on when we look
	a := newApplier(t, o)
	st := lineState()
	st.WAN.Addresses = append(st.WAN.Addresses, state.Address{Prefix: prefix("2001:db8:ffff::7/64"), NoDAD: true})
	apply(t, a, st)
	under, free := run(t, "ip addr show dev wan to 2001:db8:ffff:0:200:5eff:fe00:5301"), run(t, "ip addr show dev wan to 2001:db8:ffff::7")
	want := "tentative"
	if _, err := a.readSysctl("optimistic_dad"); err == nil {
		want = "optimistic"
	}
	mustContain(t, "address under DAD", under, want)
	mustContain(t, "address without DAD", free, "nodad")
	mustNotContain(t, "address without DAD", free, "tentative", "optimistic")
}

// An address that somebody else on the link has is an error to tell.
func TestDuplicateAddress(t *testing.T) {
	newNamespace(t)
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/wan/accept_dad", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	run(t, "ip addr add 2001:db8:ffff::7/64 dev isp nodad")
	a := newApplier(t, options(t))
	st := state.State{WAN: state.WAN{Addresses: []state.Address{{Prefix: prefix("2001:db8:ffff::7/64")}}}}
	apply(t, a, st)
	for end := time.Now().Add(20 * time.Second); !strings.Contains(run(t, "ip addr show dev wan"), "dadfailed"); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no duplicate address detected:\n%s", run(t, "ip addr show dev wan"))
		}
	}
	err := a.Apply(st)
	if err == nil {
		t.Fatal("no error")
	}
	mustContain(t, "error", err.Error(), "kernel: address 2001:db8:ffff::7/64 dev wan: somebody else on the link uses it")
	st.WAN.Addresses[0].Prefix = prefix("2001:db8:ffff::8/64")
	apply(t, a, st)
	mustNotContain(t, "picture", picture(t), "wan inet6 2001:db8:ffff::7")
}

// Close leaves everything as it was found, whether the WAN was down before, or
// up and in use.
func TestClose(t *testing.T) {
	for _, up := range []bool{false, true} {
		t.Run(map[bool]string{false: "wan down", true: "wan up"}[up], func(t *testing.T) {
			newNamespace(t)
			if up {
				run(t, "ip link set wan up")
				run(t, "ip addr add 2001:db8:1::1/64 dev wan nodad")
				run(t, "ip -6 route add default via fe80::9 dev wan metric 1024")
			}
			o := options(t)
			o.ResolvFile = filepath.Join(t.TempDir(), "resolv.conf")
			before := snapshot(t)
			a := newApplier(t, o)
			apply(t, a, lineState())
			if snapshot(t) == before {
				t.Fatal("nothing was made")
			}
			if _, err := os.Stat(o.ResolvFile); err != nil {
				t.Error(err)
			}
			if err := a.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			if err := a.Close(); err != nil {
				t.Errorf("Close again: %v", err)
			}
			if d := cmp.Diff(lines(before), lines(snapshot(t))); d != "" {
				t.Errorf("(-before +after):\n%s", d)
			}
			if j := journalText(t, o); j != "" {
				t.Errorf("the journal is still there:\n%s", j)
			}
			if _, err := os.Stat(o.ResolvFile); err == nil {
				t.Error("the resolv file is still there")
			}
		})
	}
}

// After kill -9 the next Applier puts away what the first one made, knows from
// the journal what the sysctls were, and leaves strangers alone.
func TestKilled(t *testing.T) {
	newNamespace(t)
	before := snapshot(t)
	o := options(t)
	o.ResolvFile = filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(o.ResolvFile, []byte("nameserver 192.0.2.53\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	first := newApplier(t, o)
	empty := picture(t)
	apply(t, first, lineState())
	made := picture(t)
	kill(first)
	if fi, err := os.Stat(filepath.Join(o.StateDir, "kernel-wan.json")); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("journal: %v, %v; want mode 0600", fi, err)
	}
	if d := cmp.Diff(lines(made), lines(picture(t))); d != "" {
		t.Fatalf("(-want +got):\n%s", d)
	}

	second := newApplier(t, o)
	if d := cmp.Diff(lines(empty), lines(picture(t))); d != "" {
		t.Errorf("after the second Prepare (-want +got):\n%s", d)
	}
	apply(t, second, lineState())
	if d := cmp.Diff(lines(made), lines(picture(t))); d != "" {
		t.Errorf("after the second Apply (-want +got):\n%s", d)
	}
	kill(second)

	// Adopted, when nobody calls Prepare: nothing changes.
	third, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	w := watch(t)
	apply(t, third, lineState())
	if n := w.read(); len(n) > 0 {
		t.Errorf("adopting changed the kernel: %v", n)
	}
	if err := third.Close(); err != nil {
		t.Error(err)
	}
	if d := cmp.Diff(lines(before), lines(snapshot(t))); d != "" {
		t.Errorf("after Close (-before +after):\n%s", d)
	}
	if b, _ := os.ReadFile(o.ResolvFile); string(b) != "nameserver 192.0.2.53\n" {
		t.Errorf("resolv file: %q", b)
	}
	if fi, err := os.Stat(o.ResolvFile); err != nil || fi.Mode().Perm() != 0o640 {
		t.Errorf("resolv file: %v, %v; want mode 0640", fi, err)
	}
}

func TestJournal(t *testing.T) {
	tests := []struct {
		name, content string
		aside         bool // put aside as not understood
	}{
		{"empty", "", true},
		{"truncated", `{"kernel": "x", "addresses": [{"ind`, true},
		{"not ours", "\x00\x01\x02", true},
		{"bad address", `{"kernel": "x", "addresses": [{"index": 2, "prefix": "2001:db8::/999"}]}`, true},
		{"sysctl of another place", `{"kernel": "x", "device": 1, "sysctls": {"../../../kernel/core_pattern": {"old": "a", "new": "b"}}}`, true},
		{"resolv file of mode 4755", `{"kernel": "x", "resolv": {"file": "f", "path": "p", "new": "n", "mode": 12582893}}`, true},
		{"longer than a megabyte", `{"kernel": "` + strings.Repeat("x", maxJournal) + `"}`, true},
		{"of another boot", `{"kernel": "x", "device": 1, "addresses": [{"index": 1, "prefix": "2001:db8::77/128"}]}`, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			newNamespace(t)
			run(t, "ip addr add 2001:db8::77/128 dev lo")
			o := options(t)
			file := filepath.Join(o.StateDir, "kernel-wan.json")
			if err := os.MkdirAll(o.StateDir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			a := newApplier(t, o)
			apply(t, a, lineState())
			if err := a.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			b, err := os.ReadFile(file + ".bad")
			if got := err == nil; got != test.aside || test.aside && string(b) != test.content {
				t.Errorf("put aside: %q, %v; want %v", b, err, test.aside)
			}
			mustContain(t, "lo", run(t, "ip addr show lo"), "2001:db8::77/128")
		})
	}
}

// What each version of the program has written is cleaned up after by its successors.
// The first file is what the program of that version wrote, but for this machine's
// names; the others are what a later one might.
func TestVersions(t *testing.T) {
	for file, understood := range map[string]bool{
		"0.1.0.json": true, "later-members.json": true, "later-version.json": false, "later-types.json": false,
	} {
		t.Run(file, func(t *testing.T) {
			newNamespace(t)
			o := options(t)
			o.ResolvFile = filepath.Join(t.TempDir(), "resolv.conf")
			if err := os.WriteFile(o.ResolvFile, []byte("nameserver 192.0.2.53\n"), 0o640); err != nil {
				t.Fatal(err)
			}
			first := newApplier(t, o)
			apply(t, first, lineState())
			kill(first)
			mustContain(t, "picture", picture(t), "2001:db8:aa00::")

			sample, err := os.ReadFile(filepath.Join("testdata", "versions", file))
			if err != nil {
				t.Fatal(err)
			}
			text := strings.NewReplacer(
				"THIS-KERNEL", first.journal.kernel, "RESOLV-FILE", o.ResolvFile,
				`"device": 3`, fmt.Sprintf(`"device": %d`, indexOf(t, "wan")),
				`"index": 3`, fmt.Sprintf(`"index": %d`, indexOf(t, "wan")),
				`"index": 5`, fmt.Sprintf(`"index": %d`, indexOf(t, "lan")),
			).Replace(string(sample))
			journal := filepath.Join(o.StateDir, "kernel-wan.json")
			if err := os.WriteFile(journal, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			second := newApplier(t, o)
			if err := second.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			resolv, _ := os.ReadFile(o.ResolvFile)
			if restored := string(resolv) == "nameserver 192.0.2.53\n"; restored != understood {
				t.Errorf("resolv file: %s", resolv)
			}
			if understood {
				mustNotContain(t, "picture", picture(t), "2001:db8:", "fe80::1")
			}
			aside, err := os.ReadFile(journal + ".bad")
			if (err != nil) != understood || !understood && string(aside) != text {
				t.Errorf("put aside: %s, %v", aside, err)
			}
		})
	}
}

func indexOf(t *testing.T, device string) int {
	t.Helper()
	dev, err := net.InterfaceByName(device)
	if err != nil {
		t.Fatal(err)
	}
	return dev.Index
}

// The journal names a thing before the thing is made.
func TestJournalComesFirst(t *testing.T) {
	newNamespace(t)
	o := options(t)
	var log bytes.Buffer
	o.Log = slog.New(slog.NewTextHandler(&log, nil))
	a := newApplier(t, o)
	apply(t, a, lineState())
	mustContain(t, "journal", journalText(t, o), "2001:db8:ffff:0:200:5eff:fe00:5301/64", "2001:db8:aa00::1/64", "2001:db8:aa00::/56", "fe80::1", `"accept_ra"`, `"up": true`)

	// One that cannot be written keeps nothing from being made, is said once, and written
	// when it can be.
	if err := os.RemoveAll(o.StateDir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(o.StateDir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	st := lineState()
	st.OwnAddresses = []netip.Addr{addr("2001:db8:aa00::2")}
	apply(t, a, st)
	apply(t, a, st)
	if n := strings.Count(log.String(), "kernel: journal: "); n != 1 {
		t.Errorf("%d lines about the journal, want 1:\n%s", n, log.String())
	}
	mustContain(t, "lo", run(t, "ip addr show lo"), "2001:db8:aa00::2/128")
	if err := os.Remove(o.StateDir); err != nil {
		t.Fatal(err)
	}
	apply(t, a, st)
	mustContain(t, "journal", journalText(t, o), "2001:db8:aa00::2/128")
	if !a.journal.current {
		t.Error("the journal is still a predecessor's")
	}
}

// Renewals do not wear out a disk: what is made stays the same.
func TestRenewalsDoNotWriteTheJournal(t *testing.T) {
	newNamespace(t)
	o := options(t)
	a := newApplier(t, o)
	apply(t, a, lineState())
	file := filepath.Join(o.StateDir, "kernel-wan.json")
	before, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	same := func() bool { // a file that is replaced may get the number of one before
		now, err := os.Stat(file)
		return err == nil && os.SameFile(before, now) && now.ModTime().Equal(before.ModTime())
	}
	st := lineState()
	for range 3 {
		for i := range st.WAN.Addresses {
			st.WAN.Addresses[i].Valid = st.WAN.Addresses[i].Valid.Add(time.Hour)
		}
		st.WAN.Routers[0].Until = st.WAN.Routers[0].Until.Add(time.Hour)
		st.Prefix.Valid = st.Prefix.Valid.Add(time.Hour)
		apply(t, a, st)
	}
	if !same() {
		t.Error("the journal was written again")
	}
	st.OwnAddresses = nil
	apply(t, a, st)
	if same() {
		t.Error("the journal was not written")
	}
}

// What others made is not touched, whatever it has in common with ours.
func TestStrangers(t *testing.T) {
	newNamespace(t)
	run(t, "ip link set wan up")
	// By hand, and wanted too: it serves as it is.
	run(t, "ip addr add 2001:db8:aa00:0:1111:1111:1111:1111/128 dev lo")
	// Made by the kernel from a router advertisement, and wanted too: nobody
	// else refreshes it now, so we do, but it is not ours to remove.
	run(t, "ip addr add 2001:db8:ffff:0:200:5eff:fe00:5301/64 dev wan valid_lft 100 preferred_lft 100")
	// The place in the table that ours would take.
	run(t, "ip -6 route add default via fe80::9 dev lan metric 512")
	run(t, "ip -6 route add default via fe80::9 dev wan metric 1024")
	run(t, "ip -6 route add unreachable 2001:db8:aa00::/48 metric 2147483647")
	o := options(t)
	a := newApplier(t, o)
	st := lineState()
	err := a.Apply(st)
	if !errors.Is(err, unix.EEXIST) {
		t.Errorf("Apply: %v; want %v", err, unix.EEXIST)
	}
	mustContain(t, "error", err.Error(), "kernel: add route ::/0 via fe80::1 dev wan metric 512: file exists (another route has this destination and metric 512: choose another metric)")
	got := picture(t)
	mustContain(t, "picture", got,
		"lo inet6 2001:db8:aa00:0:1111:1111:1111:1111/128 scope global valid_lft forever preferred_lft forever\n",
		"wan inet6 2001:db8:ffff:0:200:5eff:fe00:5301/64 scope global dynamic valid_lft 1800sec preferred_lft 1200sec\n",
		"default via fe80::9 dev lan metric 512\n",
		"lan inet6 2001:db8:aa00::1/64")
	mustNotContain(t, "picture", got, "nexthop", "via fe80::1")
	st.OwnAddresses = nil
	st.WAN.Addresses = nil
	_ = a.Apply(st)
	if err := a.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	want := `-- addresses
lo inet6 2001:db8:aa00:0:1111:1111:1111:1111/128 scope global valid_lft forever preferred_lft forever
wan inet6 2001:db8:ffff:0:200:5eff:fe00:5301/64 scope global dynamic valid_lft 1800sec preferred_lft 1200sec
-- IPv6 routes
2001:db8:aa00:0:1111:1111:1111:1111 dev lo proto kernel metric 256
unreachable 2001:db8:aa00::/48 dev lo metric 2147483647
2001:db8:ffff::/64 dev wan proto kernel metric 256 expires 1800sec
default via fe80::9 dev lan metric 512
default via fe80::9 dev wan metric 1024
-- IPv4 routes
(none)
`
	if d := cmp.Diff(lines(want), lines(picture(t))); d != "" {
		t.Errorf("after Close (-want +got):\n%s", d)
	}
}

// The WAN device goes, and comes back as another one of the same name.
func TestDeviceComesBack(t *testing.T) {
	newNamespace(t)
	o := options(t)
	a := newApplier(t, o)
	st := lineState()
	apply(t, a, st)
	want := picture(t)
	run(t, "ip link del wan")
	err := a.Apply(st)
	if !errors.Is(err, unix.ENODEV) {
		t.Errorf("Apply without the device: %v; want %v", err, unix.ENODEV)
	}
	mustContain(t, "picture without the device", picture(t), "lan inet6 2001:db8:aa00::1/64", "unreachable 2001:db8:aa00::/56", "lo inet6 2001:db8:aa00:0:1111:")
	apply(t, a, state.State{Phase: state.Down})
	if err := a.Prepare(); !errors.Is(err, unix.ENODEV) {
		t.Errorf("Prepare without the device: %v; want %v", err, unix.ENODEV)
	}
	run(t, "ip link add other type veth peer name other2") // the next index is another one
	addWAN(t)
	apply(t, a, st)
	if d := cmp.Diff(lines(want), lines(picture(t))); d != "" {
		t.Errorf("after it came back (-want +got):\n%s", d)
	}
	if v, err := a.readSysctl("accept_ra"); v != "0" {
		t.Errorf("accept_ra: %q, %v", v, err)
	}
	if err := a.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if v, err := a.readSysctl("accept_ra"); v != "1" {
		t.Errorf("accept_ra after Close: %q, %v", v, err)
	}
}

// One thing that the kernel refuses does not keep it from getting the others.
func TestOneFails(t *testing.T) {
	newNamespace(t)
	o := options(t)
	o.LAN = "nosuch"
	a := newApplier(t, o)
	st := lineState()
	st.WAN.Routes = []state.Route{
		{Prefix: prefix("2001:db8:5000::/48"), Via: addr("2001:db8:dead::1")}, // no route to it
		{Prefix: prefix("2001:db8:6000::/48"), Via: router1},
	}
	err := a.Apply(st)
	if err == nil {
		t.Fatal("no error")
	}
	mustContain(t, "error", err.Error(),
		"kernel: add route 2001:db8:5000::/48 via 2001:db8:dead::1 dev wan metric 512: no route to host",
		"kernel: device nosuch: no such device")
	mustContain(t, "picture", picture(t), "default via fe80::1 dev wan", "2001:db8:6000::/48 via fe80::1", "wan inet6 2001:db8:ffff:", "unreachable 2001:db8:aa00::/56")
	mustNotContain(t, "journal", journalText(t, o), "dead")
}

func TestNew(t *testing.T) {
	good := Options{Device: "wan", TunnelName: "sofu4"}
	tests := []struct {
		name string
		o    Options
		want string // in the error, "" for none
	}{
		{"least", good, ""},
		{"dots and a dash", Options{Device: "eth0.100", LAN: "br-lan", TunnelName: "abcdefghijklmno"}, ""},
		{"no device", Options{TunnelName: "sofu4"}, `device ""`},
		{"no tunnel name", Options{Device: "wan"}, `tunnel name ""`},
		{"path in the device", Options{Device: "../lo", TunnelName: "sofu4"}, `device "../lo"`},
		{"parent directory", Options{Device: "..", TunnelName: "sofu4"}, `device ".."`},
		{"long tunnel name", Options{Device: "wan", TunnelName: "abcdefghijklmnop"}, `tunnel name "abcdefghijklmnop"`},
		{"space in the LAN", Options{Device: "wan", LAN: "br lan", TunnelName: "sofu4"}, `LAN device "br lan"`},
		{"LAN is WAN", Options{Device: "wan", LAN: "wan", TunnelName: "sofu4"}, "must differ"},
		{"tunnel is WAN", Options{Device: "wan", TunnelName: "wan"}, "must differ"},
		{"the kernel's device", Options{Device: "wan", TunnelName: "ip6tnl0"}, "fallback device"},
		{"negative metric", Options{Device: "wan", TunnelName: "sofu4", Metric: -1}, "metric -1"},
		{"metric too high", Options{Device: "wan", TunnelName: "sofu4", Metric: MaxMetric + 1}, "metric 1073741825"},
	}
	for _, test := range tests {
		a, err := New(test.o)
		if a != nil {
			kill(a)
		}
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v; want %q", test.name, err, test.want)
		}
	}
}

func TestSameLifetime(t *testing.T) {
	tests := []struct {
		want, have uint32
		same       bool
	}{
		{1800, 1800, true}, {1800, 1798, true}, {1800, 1802, true}, {1800, 1797, false}, {1800, 1803, false},
		{0, 0, true}, {0, 1, false}, {1, 0, true}, {3, 0, false},
		{infinite, infinite, true}, {infinite, infinite - 1, false}, {infinite - 1, infinite, false}, {0, infinite, false},
	}
	for _, test := range tests {
		if got := sameLifetime(test.want, test.have); got != test.same {
			t.Errorf("sameLifetime(%d, %d) = %v", test.want, test.have, got)
		}
	}
}

func TestSeconds(t *testing.T) {
	now := time.Now()
	tests := []struct {
		then time.Time
		want uint32
	}{
		{time.Time{}, infinite},
		{now, 0},
		{now.Add(-time.Hour), 0},
		{now.Add(time.Nanosecond), 1},
		{now.Add(1500 * time.Millisecond), 2},
		{now.Add(2 * time.Second), 2},
		{now.Add(0xfffffffe * time.Second), infinite - 1},
		{now.Add(0xffffffff * time.Second), infinite - 1},
	}
	for _, test := range tests {
		if got := (targets{now: now}).seconds(test.then); got != test.want {
			t.Errorf("%s from now: %d, want %d", test.then.Sub(now), got, test.want)
		}
	}
}

// haveTunnel tries to make one, in the present namespace.
func haveTunnel(t *testing.T) bool {
	t.Helper()
	h, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	l := tunnelLink("probe", &state.Tunnel{Local: addr("2001:db8::1"), Remote: addr("2001:db8::2"), EncapLimit: -1})
	err = h.LinkAdd(l)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return false
	}
	if err == nil {
		err = h.LinkDel(l)
	}
	if err != nil {
		t.Fatal(err)
	}
	return true
}

// upState is a line that is up.
func upState() state.State {
	st := lineState()
	st.Phase = state.Up
	st.Tunnel = &state.Tunnel{
		Local: st.OwnAddresses[0], Remote: addr("2001:db8:0:a000::1919"), IPv4: addr("192.0.2.1"),
		MTU: 1460, TTL: 64, EncapLimit: -1,
	}
	return st
}
