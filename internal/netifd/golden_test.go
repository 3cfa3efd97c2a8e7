package netifd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"sofutobanku/internal/state"
)

var golden = flag.Bool("update", false, "write testdata/*.golden anew")

var (
	router1 = netip.MustParseAddr("fe80::1")
	router2 = netip.MustParseAddr("fe80::2")
	br1     = netip.MustParseAddr("2001:db8:b::1")
	br2     = netip.MustParseAddr("2001:db8:b::2")
	ipv4a   = netip.MustParseAddr("192.0.2.1")
	ipv4b   = netip.MustParseAddr("198.51.100.7")
)

// scenario is a story of States that is written down with the calls it causes.
type scenario struct {
	t      *testing.T
	out    bytes.Buffer
	netifd *netifdDouble
	kernel *kernelDouble
	opt    Options
	a      *Applier
	phone  []string // what Data says
}

func newScenario(t *testing.T, change func(*Options)) *scenario {
	s := &scenario{t: t, netifd: newDouble(t), kernel: &kernelDouble{}}
	s.opt = Options{
		Interface: "wan", Child: "wan_4", Device: "eth1", TunnelDevice: TunnelDevice("wan_4"),
		HGWChild: "wan_hgw", HGWZone: "lan", SourceFilter: true, Zone: "wan", Kernel: s.kernel, Call: s.netifd.call,
		Data: func(state.State) map[string]any {
			data := map[string]any{"line": "next", "zone": "not ours to say"}
			if s.phone != nil {
				data["phone"] = map[string]any{"numbers": s.phone}
			}
			return data
		},
	}
	if change != nil {
		change(&s.opt)
	}
	s.a = New(s.opt)
	s.netifd.seen = s.record
	return s
}

func (s *scenario) record(args []string, reply string, err error) {
	fmt.Fprintf(&s.out, "  ubus %s\n", strings.Join(args[:3], " "))
	if len(args) > 3 {
		var pretty bytes.Buffer
		if err := json.Indent(&pretty, []byte(args[3]), "    ", "  "); err != nil {
			s.t.Error(err)
		}
		fmt.Fprintf(&s.out, "    %s\n", flat(pretty.String()))
	}
	if reply != "" {
		fmt.Fprintf(&s.out, "    -> %s\n", reply)
	}
	if err != nil {
		fmt.Fprintf(&s.out, "    -> %v\n", err)
	}
}

// flat puts objects without objects in them, and lists without, on one line.
func flat(pretty string) string {
	lines := strings.Split(pretty, "\n")
	for again := true; again; {
		again = false
		for i := range lines {
			open := strings.TrimSpace(lines[i])
			if !strings.HasSuffix(open, "{") && !strings.HasSuffix(open, "[") || strings.ContainsAny(strings.TrimRight(open, "{["), "{[") {
				continue
			}
			end, long := i+1, len(lines[i])
			for end < len(lines) && !strings.HasSuffix(strings.TrimSpace(lines[end]), "{") && !strings.HasSuffix(strings.TrimSpace(lines[end]), "[") {
				long += len(strings.TrimSpace(lines[end])) + 1
				if c := strings.TrimSpace(lines[end])[0]; c == '}' || c == ']' {
					break
				}
				end++
			}
			if end == len(lines) || long > 150 {
				continue
			}
			if c := strings.TrimSpace(lines[end])[0]; c != '}' && c != ']' {
				continue
			}
			one := lines[i]
			for n := i + 1; n <= end; n++ {
				part := strings.TrimSpace(lines[n])
				if n > i+1 && n < end {
					one += " "
				}
				one += part
			}
			lines = append(lines[:i], append([]string{one}, lines[end+1:]...)...)
			again = true
			break
		}
	}
	return strings.Join(lines, "\n")
}

func (s *scenario) step(title string) { fmt.Fprintf(&s.out, "\n== %s\n", title) }

func (s *scenario) prepare() {
	s.step("prepare")
	s.result(s.a.Prepare())
}

// apply has st applied and compares what came of it with what should.
func (s *scenario) apply(title string, st state.State) {
	s.t.Helper()
	s.step(title)
	describe(&s.out, st, time.Now())
	before := s.out.Len()
	err := s.a.Apply(st)
	if s.out.Len() == before {
		fmt.Fprintln(&s.out, "  no call")
	}
	s.result(err)
	if err == nil {
		check(s.t, title, &s.opt, s.netifd, s.kernel, st)
	}
}

func (s *scenario) close() {
	s.step("shutdown")
	before := s.out.Len()
	s.result(s.a.Close())
	if s.out.Len() == before {
		fmt.Fprintln(&s.out, "  no call")
	}
	if err := s.a.Apply(state.State{}); err == nil {
		s.t.Error("Apply after Close: no error")
	}
	if !s.kernel.closed {
		s.t.Error("the kernel was not closed")
	}
}

func (s *scenario) result(err error) {
	if err != nil {
		fmt.Fprintf(&s.out, "  error: %s\n", strings.ReplaceAll(err.Error(), "\n", "\n         "))
	}
}

func (s *scenario) compare() {
	s.t.Helper()
	file := filepath.Join("testdata", strings.TrimPrefix(s.t.Name(), "Test")+".golden")
	got := strings.TrimPrefix(s.out.String(), "\n")
	if *golden {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			s.t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		s.t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		s.t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// describe writes a State down, a line for each thing in it.
func describe(out *bytes.Buffer, st state.State, now time.Time) {
	line := func(format string, args ...any) { fmt.Fprintf(out, "| "+format+"\n", args...) }
	for5 := func(then time.Time) string {
		if left, ok := state.Remaining(then, now); ok {
			return fmt.Sprint(left.Seconds(), " s")
		}
		return "ever"
	}
	preferred := func(then time.Time, deprecated bool) string {
		if deprecated {
			return "deprecated"
		}
		return "preferred for " + for5(then)
	}
	line("%s", st.Phase)
	if e := st.Error; e != nil {
		line("error %s: %s", e.Code, cut(e.Text, 60))
	}
	w := st.WAN
	for _, a := range w.Addresses {
		dad := ""
		if a.NoDAD {
			dad = ", no DAD"
		}
		line("WAN address %s %s, valid for %s%s", a.Prefix, preferred(a.Preferred, a.Deprecated), for5(a.Valid), dad)
	}
	for _, r := range w.Routers {
		line("WAN router %s preference %d for %s", r.Addr, r.Preference, for5(r.Until))
	}
	for _, r := range w.Routes {
		line("WAN route %s via %s preference %d for %s", r.Prefix, r.Via, r.Preference, for5(r.Until))
	}
	if w.MTU+w.HopLimit+len(w.DNS)+len(w.Domains) > 0 {
		line("WAN MTU %d, hop limit %d, DNS %v %v", w.MTU, w.HopLimit, w.DNS, w.Domains)
	}
	if p := st.Prefix; p != nil {
		line("prefix %s %s, valid for %s", p.Prefix, preferred(p.Preferred, p.Deprecated), for5(p.Valid))
	}
	for _, a := range st.OwnAddresses {
		line("own address %s", a)
	}
	if p := st.Phone; p != nil {
		if p.Address.IsValid() {
			line("phone %v", p.Address)
		} else {
			line("phone, no address")
		}
		for _, r := range p.Routes {
			line("phone route %v via %v", r.Prefix, r.Via)
		}
	}
	if h := st.HGW; h != nil {
		line("home gateway on %s, forwarded %v, reserved %v", h.Device, h.Forward, h.Reserved)
		for _, r := range h.Routes {
			line("home gateway's %v via %v for %s", r.Prefix, r.Via, for5(r.Until))
		}
	}
	if t := st.Tunnel; t != nil {
		line("tunnel %s from %s to %s, MTU %d, TTL %d, limit %d", t.IPv4, t.Local, t.Remote, t.MTU, t.TTL, t.EncapLimit)
	}
}

// check compares what is in netifd and the kernel with st.
func check(t *testing.T, title string, o *Options, d *netifdDouble, k *kernelDouble, st state.State) {
	t.Helper()
	d.childClock()
	now := time.Now()
	alive := func(ts time.Time) bool { return !state.Expired(ts, now) }

	delegated := st.Prefix != nil && alive(st.Prefix.Valid)
	up := delegated
	want, got := map[string]bool{}, map[string]bool{}
	prefixes := map[string]bool{}
	if up {
		prefixes[st.Prefix.Prefix.String()] = true
	}
	var sources []netip.Prefix
	var held []state.Address
	for _, a := range st.WAN.Addresses {
		if !alive(a.Valid) {
			continue
		}
		up = true
		if a.NoDAD {
			sources = append(sources, a.Prefix)
			continue
		}
		own := a.Prefix
		if o.ExtendPrefix && !delegated {
			own = netip.PrefixFrom(own.Addr(), 128)
			prefixes[netip.PrefixFrom(own.Addr(), 64).Masked().String()] = true
		} else if own.Bits() < 128 {
			want[fmt.Sprintf("route %s via ", own.Masked())] = true
		}
		want["address "+own.String()] = true
		sources = append(sources, own)
	}
	for _, a := range st.WAN.Addresses {
		if a.NoDAD {
			held = append(held, a)
		}
	}
	for _, r := range st.WAN.Routers {
		if alive(r.Until) {
			want[fmt.Sprintf("route ::/0 via %s", r.Addr)] = true
		}
	}
	for _, r := range st.WAN.Routes {
		via := ""
		if r.Via.IsValid() {
			via = r.Via.String()
		}
		if alive(r.Until) {
			want[fmt.Sprintf("route %s via %s", r.Prefix, via)] = true
		}
	}
	if p := st.Phone; p != nil && p.Address.IsValid() {
		up = true
		want["address "+p.Address.String()] = true
		for _, r := range p.Routes {
			via := ""
			if r.Via.IsValid() {
				via = r.Via.String()
			}
			want[fmt.Sprintf("route %s via %s", r.Prefix, via)] = true
		}
	}
	if !up {
		want, prefixes = map[string]bool{}, map[string]bool{}
	}
	if d.parent.up != up {
		t.Errorf("%s: parent up %v, want %v", title, d.parent.up, up)
	}
	for thing := range d.parent.kernel {
		target, rest, route := strings.Cut(thing, " metric ")
		if !route {
			got["address "+thing] = true
			continue
		}
		_, via, _ := strings.Cut(rest, " via ")
		got[fmt.Sprintf("route %s via %s", target, via)] = true
		if _, from, ok := strings.Cut(strings.TrimSuffix(rest, " via "+via), " from "); ok != (o.SourceFilter && via != "" && !strings.Contains(via, ".")) {
			t.Errorf("%s: route %q: source filter %v", title, thing, ok)
		} else if ok {
			p := netip.MustParsePrefix(from)
			if p != p.Masked() {
				t.Errorf("%s: source %s is no prefix", title, p)
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: on the WAN (-want +got):\n%s", title, diff)
	}
	// Whatever the router sends from has a way out by each router.
	if delegated {
		sources = append(sources, st.Prefix.Prefix)
	}
	if st.Tunnel != nil {
		sources = append(sources, netip.PrefixFrom(st.Tunnel.Local, 128))
	}
	for _, s := range sources {
		for _, r := range st.WAN.Routers {
			found := false
			for thing := range d.parent.kernel {
				_, from, filtered := strings.Cut(strings.TrimSuffix(thing, " via "+r.Addr.String()), " from ")
				found = found || strings.HasPrefix(thing, "::/0 ") && strings.HasSuffix(thing, " via "+r.Addr.String()) &&
					(!filtered || netip.MustParsePrefix(from).Contains(s.Addr()))
			}
			if up && alive(r.Until) && !found {
				t.Errorf("%s: no default route by %s for what comes from %s", title, r.Addr, s)
			}
		}
	}
	handed := map[string]bool{}
	for p := range d.parent.prefixes {
		handed[p] = true
	}
	if diff := cmp.Diff(prefixes, handed); diff != "" {
		t.Errorf("%s: prefixes (-want +got):\n%s", title, diff)
	}
	var dns, search []string
	if up {
		for _, ip := range st.WAN.DNS {
			dns = append(dns, ip.String())
		}
		search = st.WAN.Domains
	}
	if diff := cmp.Diff([][]string{dns, search}, [][]string{d.parent.dns, d.parent.search}); diff != "" {
		t.Errorf("%s: DNS (-want +got):\n%s", title, diff)
	}
	var e problem
	if err := json.Unmarshal(d.parent.data["error"], &e); err != nil {
		t.Errorf("%s: data.error: %v", title, err)
	}
	wantError := problem{}
	if st.Error != nil {
		wantError = problem{st.Error.Code, st.Error.Text}
	}
	if e != wantError {
		t.Errorf("%s: data.error %+v, want %+v", title, e, wantError)
	}
	listed := ""
	for _, e := range d.parent.errors {
		listed += string(e)
	}
	if up && listed != "" || !up && st.Error != nil && !strings.Contains(listed, st.Error.Code) {
		t.Errorf("%s: up %v, list of errors %s", title, up, listed)
	}
	if open := string(d.parent.data["firewall"]); st.Tunnel != nil && !strings.Contains(open, `"`+st.Tunnel.Remote.String()+`"`) || st.Tunnel == nil && open != "[]" {
		t.Errorf("%s: firewall %s", title, open)
	}

	wantKernel := state.State{Phase: st.Phase, OwnAddresses: st.OwnAddresses, WAN: state.WAN{
		Device: st.WAN.Device, Addresses: held, MTU: st.WAN.MTU, HopLimit: st.WAN.HopLimit}}
	if h := st.HGW; h != nil {
		wantKernel.HGW = &state.HGW{Device: h.Device, Forward: h.Forward}
	}
	if !reflect.DeepEqual(k.state, wantKernel) {
		t.Errorf("%s: the kernel has %+v\nwant %+v", title, k.state, wantKernel)
	}

	switch h := st.HGW; {
	case h == nil || !h.Forward:
		if d.hgw.iface != nil && !d.hgw.going {
			t.Errorf("%s: the home gateway's interface is there without one", title)
		}
	case d.hgw.iface == nil || d.hgw.going || !d.hgw.up || d.hgw.device != h.Device:
		t.Errorf("%s: no interface of the home gateway on %s", title, h.Device)
	default:
		want := map[string]bool{}
		for _, r := range h.Routes {
			if alive(r.Until) {
				want[fmt.Sprintf("%s metric 512 via %s", r.Prefix, r.Via)] = true
			}
		}
		if diff := cmp.Diff(want, d.hgw.kernel); diff != "" {
			t.Errorf("%s: on the home gateway's port (-want +got):\n%s", title, diff)
		}
	}

	switch tn := st.Tunnel; {
	case tn == nil:
		if d.child.iface != nil && !d.child.going {
			t.Errorf("%s: the child is there without a tunnel", title)
		}
	case d.child.iface == nil || d.child.going || !d.child.up:
		t.Errorf("%s: no child", title)
	default:
		limit := "ignore"
		if tn.EncapLimit >= 0 {
			limit = fmt.Sprint(tn.EncapLimit)
		}
		wantTunnel := fmt.Sprintf(`{"mode":"ipip6","local":"%s","remote":"%s","mtu":%d,"ttl":%d,"data":{"encaplimit":"%s"}}`,
			tn.Local, tn.Remote, tn.MTU, tn.TTL, limit)
		if d.child.tunnel != wantTunnel {
			t.Errorf("%s: tunnel %s\nwant %s", title, d.child.tunnel, wantTunnel)
		}
		wantIn := map[string]bool{tn.IPv4.String() + "/32": true, tn.Local.String() + "/128": true, "0.0.0.0/0 metric 0 via ": true}
		if diff := cmp.Diff(wantIn, d.child.kernel); diff != "" {
			t.Errorf("%s: on the tunnel (-want +got):\n%s", title, diff)
		}
		if d.child.device != o.TunnelDevice {
			t.Errorf("%s: device %s", title, d.child.device)
		}
	}
}

// The lines, as a session publishes them.

func in(seconds int) time.Time { return time.Now().Add(time.Duration(seconds) * time.Second) }

func nextLine() state.State {
	return state.State{
		Phase: state.IPv6,
		WAN: state.WAN{
			Device: "eth1", MTU: 1500, HopLimit: 64,
			Routers: []state.Router{{Addr: router1, Until: in(1800)}},
			DNS:     []netip.Addr{netip.MustParseAddr("2001:db8::53"), netip.MustParseAddr("2001:db8::54")},
			Domains: []string{"flets.example"},
		},
		Prefix:       &state.Prefix{Prefix: netip.MustParsePrefix("2001:db8:1100::/56"), Preferred: in(12600), Valid: in(14400)},
		OwnAddresses: []netip.Addr{netip.MustParseAddr("2001:db8:1100::1111:1111:1111:1111")},
	}
}

func withTunnel(st state.State, local string) state.State {
	st.Phase = state.Up
	st.Tunnel = &state.Tunnel{Local: netip.MustParseAddr(local), Remote: br1, IPv4: ipv4a, MTU: 1460, TTL: 64, EncapLimit: -1}
	return st
}

func nextUp() state.State { return withTunnel(nextLine(), "2001:db8:1100::1111:1111:1111:1111") }

func raLine() state.State {
	own := func(a string) state.Address {
		return state.Address{Prefix: netip.MustParsePrefix(a), Valid: in(600), Deprecated: true, NoDAD: true}
	}
	st := withTunnel(state.State{
		WAN: state.WAN{
			Device: "eth1", MTU: 1500, HopLimit: 64,
			Routers: []state.Router{{Addr: router1, Preference: 1, Until: in(1800)}},
			Addresses: []state.Address{
				{Prefix: netip.MustParsePrefix("2001:db8:3300:1:200:5eff:fe00:5301/64"), Preferred: in(300), Valid: in(600)},
				own("2001:db8:3300:1:1111:1111:1111:1111/128"),
			},
		},
	}, "2001:db8:3300:1:1111:1111:1111:1111")
	st.Tunnel.LocalOnWAN = true
	return st
}

func TestNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScenario(t, nil)
		s.prepare()
		s.apply("link up, nothing known", state.State{Phase: state.Starting, WAN: state.WAN{Device: "eth1"}})
		st := nextLine()
		s.apply("prefix and router", st)
		time.Sleep(7 * time.Second)
		s.apply("time passed", st)
		st = nextUp()
		s.apply("authentication granted", st)
		s.apply("the same again", st)

		time.Sleep(time.Hour)
		renewed := nextUp()
		s.apply("lease renewed", renewed)

		st = renewed
		e := state.Error{Code: "AUTH_REJECTED", Text: "the server rejected the password"}
		st.Error = &e
		s.apply("the repeated authentication was rejected", st)
		st.Error = nil
		s.phone = []string{"0312345678"}
		s.apply("granted again, and the telephone number is known", st)
		s.phone = nil
		s.apply("no telephone any more", st)

		tn := *st.Tunnel
		tn.Remote = br2
		st.Tunnel = &tn
		s.apply("new BR", st)
		tn2 := tn
		tn2.IPv4 = ipv4b
		st.Tunnel = &tn2
		s.apply("new IPv4 address", st)
		tn3 := tn2
		tn3.MTU = 1420
		st.WAN.MTU, st.Tunnel = 1460, &tn3
		s.apply("smaller MTU", st)

		lost := st
		lost.WAN.Routers = nil
		s.apply("router lost", lost)
		down := lost
		down.Phase, down.Error = state.Down, &state.Error{Code: "NO_CARRIER", Text: "eth1 has no link"}
		s.apply("link down", down)
		st.WAN.Routers = []state.Router{{Addr: router1, Until: in(1800)}}
		s.apply("link and router are back", st)
		st.Tunnel, st.Phase = nil, state.IPv6
		s.apply("tunnel gone", st)
		st.Tunnel, st.Phase = &tn3, state.Up
		s.apply("and at once back", st)
		s.apply("everything expired", state.State{Phase: state.Starting, WAN: state.WAN{Device: "eth1"},
			Error: &state.Error{Code: "NO_PREFIX", Text: "no DHCPv6 server answers"}})
		s.close()
		s.compare()
	})
}

// The telephone network comes, changes and goes beside IPv6, and without it.
func TestPhone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScenario(t, func(o *Options) { o.Data = nil })
		s.prepare()
		with := func(st state.State, address string, routes ...state.Route) state.State {
			st.Phone = &state.Phone{}
			if address != "" {
				st.Phone.Address, st.Phone.Routes = netip.MustParsePrefix(address), routes
			}
			return st
		}
		sip := state.Route{Prefix: netip.MustParsePrefix("203.0.113.0/24"), Via: netip.MustParseAddr("198.51.100.1")}
		media := state.Route{Prefix: netip.MustParsePrefix("192.0.2.128/25")}
		s.apply("nothing known, the network is to be joined", with(state.State{Phase: state.Starting, WAN: state.WAN{Device: "eth1"}}, ""))
		s.apply("IPv6", with(nextLine(), ""))
		s.apply("an address", with(nextLine(), "198.51.100.2/30", sip))
		s.apply("a route more", with(nextLine(), "198.51.100.2/30", sip, media))
		s.apply("a route less", with(nextLine(), "198.51.100.2/30", media))
		s.apply("another address", with(nextLine(), "198.51.100.6/30"))
		s.apply("without IPv6", with(state.State{Phase: state.Starting, WAN: state.WAN{Device: "eth1"},
			Error: &state.Error{Code: "NO_PREFIX", Text: "no DHCPv6 server answers"}}, "198.51.100.6/30"))
		s.apply("IPv6 again", with(nextLine(), "198.51.100.6/30"))
		s.apply("no address any more", with(nextLine(), ""))
		s.apply("nothing", state.State{Phase: state.Starting, WAN: state.WAN{Device: "eth1"}})
		s.close()
		s.compare()
	})
}

func TestCross(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScenario(t, func(o *Options) {
			o.Metric, o.IP4Table, o.NoDefaultRoute, o.Zone, o.Data = 20, "100", true, "", nil
		})
		s.prepare()
		st := nextLine()
		st.WAN.Routers = append(st.WAN.Routers, state.Router{Addr: router2, Preference: -1, Until: in(900)})
		st.WAN.Routes = []state.Route{
			{Prefix: netip.MustParsePrefix("2001:db8:f::/48"), Via: router2, Until: in(900)},
			{Prefix: netip.MustParsePrefix("2001:db8:e::/64"), Until: in(900)},
		}
		st = withTunnel(st, "2001:db8:1100:0:c0:2:100:0")
		st.Tunnel.EncapLimit, st.Tunnel.TTL = 4, 200
		s.apply("comes up, with a second router", st)

		moved := withTunnel(nextLine(), "2001:db8:1100:0:c0:2:100:0")
		moved.Tunnel = st.Tunnel
		moved.Prefix = &state.Prefix{Prefix: netip.MustParsePrefix("2001:db8:2200::/56"), Preferred: in(12600), Valid: in(14400)}
		moved.OwnAddresses = []netip.Addr{netip.MustParseAddr("2001:db8:2200::1111:1111:1111:1111")}
		moved.Phase = state.IPv6
		s.apply("another prefix; the tunnel still has the old one", moved)
		moved.Phase = state.Up
		tn := *moved.Tunnel
		tn.Local, tn.IPv4 = netip.MustParseAddr("2001:db8:2200:0:c6:33:6407:0"), ipv4b
		moved.Tunnel = &tn
		s.apply("granted for it", moved)
		s.close()
		s.compare()
	})
}

func TestAdvertisedPrefix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScenario(t, func(o *Options) { o.SourceFilter, o.Data = false, nil })
		s.prepare()
		st := raLine()
		s.apply("comes up", st)
		second := state.Address{Prefix: netip.MustParsePrefix("2001:db8:3300:0:200:5eff:fe00:5301/64"), Preferred: in(3000), Valid: in(6000)}
		st.WAN.Addresses = append([]state.Address{second}, st.WAN.Addresses...)
		s.apply("a second prefix is advertised", st)
		time.Sleep(300 * time.Second)
		st.WAN.Addresses[1].Deprecated = true
		s.apply("the first one is deprecated", st)
		st.WAN.Addresses = st.WAN.Addresses[:1]
		st.Tunnel, st.Phase = nil, state.IPv6
		s.apply("the first one is gone: the second one moves up", st)
		s.close()
		s.compare()
	})
}

func TestExtendPrefix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScenario(t, func(o *Options) { o.ExtendPrefix, o.Data = true, nil })
		s.prepare()
		st := raLine()
		s.apply("comes up", st)
		time.Sleep(100 * time.Second)
		s.apply("advertised again", raLine())
		s.apply("everything expired", state.State{Phase: state.Starting, WAN: state.WAN{Device: "eth1"}})
		s.close()
		s.compare()
	})
}

func TestStaleChild(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScenario(t, func(o *Options) { o.Data = nil })
		s.netifd.child.iface = &iface{up: true, dynamic: true}
		s.prepare()
		// As after a teardown by the protocol handler.
		s.a = New(s.opt)
		s.prepare()
		s.apply("the tunnel is there before the old child is gone", nextUp())
		s.close()
		s.compare()
	})
}

func TestBrokenChild(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScenario(t, func(o *Options) { o.Data = nil })
		s.netifd.child.broken = `{"subsystem":"sofutobanku4","code":"TUNNEL","data":["netifd cannot make the tunnel"]}`
		s.prepare()
		s.apply("the child does not come up", nextUp())
		s.a.opt.CheckTunnel = func() error { return errors.New("no module") }
		s.apply("nor when tried again; this time the kernel is asked why", nextUp())
		s.netifd.child.broken = ""
		s.apply("mended", nextUp())
		s.netifd.child.iface = nil
		st := nextUp()
		st.Tunnel.Remote = br2
		s.apply("somebody took it away, and the BR changes", st)
		s.close()
		s.compare()
	})
}

// A home gateway behind the router: routes on an interface of its own, and a part of the
// prefix that no LAN is given.
func TestHGW(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScenario(t, func(o *Options) { o.Data = nil })
		s.prepare()
		via := netip.MustParseAddr("fe80::f0")
		served := func(routes ...state.Route) state.State {
			st := nextLine()
			st.HGW = &state.HGW{Device: "lan4", Forward: true, Reserved: netip.MustParsePrefix("2001:db8:1100:e0::/59"), Routes: routes}
			return st
		}
		delegated := state.Route{Prefix: netip.MustParsePrefix("2001:db8:1100:f0::/60"), Via: via, Until: in(14400)}
		address := state.Route{Prefix: netip.MustParsePrefix("2001:db8:1100:ef::1/128"), Via: via, Until: in(14400)}
		missing := state.State{Phase: state.Starting, WAN: state.WAN{Device: "eth1"},
			HGW: &state.HGW{Device: "lan4", Error: &state.Error{Code: "HGW_DEVICE", Text: "there is no network device lan4"}}}
		s.apply("its port is missing", missing)
		s.apply("it is there, and the line too", served())
		s.apply("it was given a prefix", served(delegated))
		s.apply("and an address", served(delegated, address))
		s.apply("the same again", served(delegated, address))
		s.apply("the address is given back", served(delegated))
		s.netifd.hgw.iface = nil
		s.apply("somebody took the interface away, which shows when there is news", served(delegated, address))
		s.apply("tried again", served(delegated, address))
		s.kernel.err = &state.PartError{Part: state.PartHGW, Err: errors.New("neither nft nor tc")}
		s.apply("what fails for it alone is not shown as the line's", served(delegated))
		s.kernel.err = nil
		time.Sleep(14400 * time.Second)
		s.apply("its lease is over", served(delegated))
		st := nextLine()
		s.apply("there is none any more", st)
		s.close()
		s.compare()
	})
}

func TestFailingUbus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScenario(t, func(o *Options) { o.Data = nil })
		down := func([]string) (error, bool) { return ubusStatus(notFound), false }
		s.netifd.fail = func(args []string) (error, bool) { return ubusStatus(9), false }
		s.prepare()
		s.apply("netifd refuses everything", nextUp())
		s.netifd.fail = func([]string) (error, bool) { return context.DeadlineExceeded, true }
		s.apply("netifd does not answer, though it does what it is told", nextUp())
		s.netifd.fail = nil
		s.apply("netifd answers", nextUp())
		s.netifd.fail = down
		st := nextUp()
		st.Tunnel.IPv4 = ipv4b
		time.Sleep(time.Second)
		s.apply("netifd is gone", st)
		s.netifd.fail = nil
		s.apply("netifd is back", st)
		s.kernel.err = errors.New("kernel: no such device")
		s.apply("only the kernel fails", st)
		s.kernel.err = nil
		s.netifd.fail = func([]string) (error, bool) { return ubusStatus(9), false }
		s.close()
		s.compare()
	})
}

// Where an error is shown, and that it goes away.
func TestErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScenario(t, func(o *Options) { o.Data = nil })
		s.prepare()
		wrong := func(st state.State, code, text string) state.State {
			st.Error = &state.Error{Code: code, Text: text}
			return st
		}
		nothing := state.State{Phase: state.Starting, WAN: state.WAN{Device: "eth1"}}
		s.kernel.err = errors.New("kernel: device eth1: no such device")
		s.apply("the kernel refuses something", nothing)
		s.kernel.err = nil
		s.apply("UDP port 546 is taken", wrong(nothing, "DHCP_SOCKET", "address already in use"))
		s.apply("and nobody answers", wrong(nothing, "NO_RA", "no router answers"))
		s.apply("the same again", wrong(nothing, "NO_RA", "no router answers"))
		s.apply("a router answers", nothing)
		s.netifd.fail = func(args []string) (error, bool) {
			if args[2] == "notify_proto" {
				return ubusStatus(9), false
			}
			return nil, false
		}
		s.apply("there is a prefix, and netifd refuses it", nextLine())
		s.apply("again", nextLine())
		s.netifd.fail = func([]string) (error, bool) { return exec.ErrNotFound, false }
		s.apply("there is no ubus", nextLine())
		s.netifd.fail = nil
		s.apply("netifd takes it", nextLine())
		s.kernel.err = errors.New("kernel: no")
		s.apply("the kernel does not", nextLine())
		s.apply("again", wrong(nextLine(), "AUTH_SILENT", "no answer"))
		s.kernel.err = nil
		s.apply("the kernel does", wrong(nextLine(), "AUTH_SILENT", "no answer"))
		s.apply("while the link is up only data can show an error", wrong(nextLine(), "AUTH_REJECTED", "wrong password"))
		s.apply("IPv6 is lost too", wrong(nothing, "NO_RA", "no router answers"))
		s.apply("all is well", nextUp())
		s.close()
		s.compare()
	})
}

func TestFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScenario(t, nil)
		s.step("a hopeless configuration")
		lines := []string{"option 'line': value 'nxet': accepted: next, cross", "\x1b[31mred\x00" + strings.Repeat("あ", 200)}
		for i := range 20 {
			lines = append(lines, fmt.Sprintf("option %d is wrong", i))
		}
		s.result(s.a.Fail("CONFIG", strings.Join(lines, "\n")+"\n"))
		if !s.netifd.parent.blocked || len(s.netifd.parent.errors) != 1 {
			t.Error("netifd does not know")
		}
		s.close()
		s.compare()
	})
}
