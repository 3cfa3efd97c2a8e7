package kernel

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"sofutobanku/internal/state"
)

var update = flag.Bool("update", false, "write testdata/*.want anew")

// Every test runs in a network namespace of its own, which has
//
//	wan ===== isp     (a pair of veth, wan is down)
//	lan ===== pc      (a pair of veth, both up)
//
// and no duplicate address detection, so that the outcome does not depend on
// the moment at which one looks.
func newNamespace(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	old, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	ns, err := netns.New()
	if err != nil {
		t.Fatalf("make a network namespace (these tests run as root): %v", err)
	}
	t.Cleanup(func() {
		if err := netns.Set(old); err != nil {
			t.Errorf("leave the network namespace: %v", err)
			return // the thread stays locked and so ends with the goroutine
		}
		ns.Close()
		old.Close()
		runtime.UnlockOSThread()
	})
	setDefault(t, "accept_dad", "0")
	setDefault(t, "router_solicitations", "0")
	run(t, "ip link set lo up")
	addWAN(t)
	run(t, "ip link add lan address 00:00:5e:00:53:02 type veth peer name pc")
	run(t, "ip link set pc up")
	run(t, "ip link set lan up")
	settle(t)
}

func addWAN(t *testing.T) {
	t.Helper()
	run(t, "ip link add wan address 00:00:5e:00:53:01 type veth peer name isp")
	run(t, "ip link set isp up")
	// The first carrier gives isp its link-local address, which stays.
	run(t, "ip link set wan up")
	settle(t)
	run(t, "ip link set wan down")
}

func setDefault(t *testing.T, name, value string) {
	t.Helper()
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/default/"+name, []byte(value), 0); err != nil {
		t.Fatal(err)
	}
}

// run runs a command in the namespace of the calling thread.
func run(t *testing.T, command string) string {
	t.Helper()
	f := strings.Fields(command)
	out, err := exec.Command(f[0], f[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return string(out)
}

func options(t *testing.T) Options {
	return Options{
		Device: "wan", LAN: "lan", TunnelName: "sofu4",
		DefaultRoute: true, PeerDNS: true,
		StateDir: filepath.Join(t.TempDir(), "state"),
		Log:      slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

func newApplier(t *testing.T, o Options) *Applier {
	t.Helper()
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	if err := a.Prepare(); err != nil {
		t.Fatalf("Prepare: %v", err)
	}
	return a
}

func apply(t *testing.T, a *Applier, st state.State) {
	t.Helper()
	if err := a.Apply(st); err != nil {
		t.Fatalf("Apply: %v", err)
	}
}

// kill is what is left of an Applier after kill -9: what it made, the journal.
func kill(a *Applier) {
	a.nl.close()
	a.nl = nil
}

func in(d time.Duration) time.Time { return time.Now().Add(d) }

var (
	addr   = netip.MustParseAddr
	prefix = netip.MustParsePrefix

	router1 = addr("fe80::1")
	router2 = addr("fe80::2")
)

// A line with a delegated prefix, before it has IPv4.
func lineState() state.State {
	return state.State{
		Phase: state.IPv6,
		WAN: state.WAN{
			Device:    "wan",
			Addresses: []state.Address{{Prefix: prefix("2001:db8:ffff:0:200:5eff:fe00:5301/64"), Preferred: in(20 * time.Minute), Valid: in(30 * time.Minute)}},
			Routers:   []state.Router{{Addr: router1, Until: in(30 * time.Minute)}},
			DNS:       []netip.Addr{addr("2001:db8::53")},
		},
		Prefix:       &state.Prefix{Prefix: prefix("2001:db8:aa00::/56"), Preferred: in(210 * time.Minute), Valid: in(240 * time.Minute)},
		OwnAddresses: []netip.Addr{addr("2001:db8:aa00:0:1111:1111:1111:1111")},
	}
}

var (
	reSeconds = regexp.MustCompile(`\b(\d+)sec\b`)
	reSpaces  = regexp.MustCompile(`[ \t\\]+`)
	reIndex   = regexp.MustCompile(`^\d+: `)
)

// tidy makes output of ip comparable: no indexes, lifetimes rounded up to ten
// seconds, no routes and addresses that the kernel makes by itself.
func tidy(out string) string {
	var b strings.Builder
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(reSpaces.ReplaceAllString(line, " "))
		line = reIndex.ReplaceAllString(line, "")
		line = strings.ReplaceAll(line, " linkdown", "")
		line = strings.TrimSuffix(line, " pref medium")
		line = reSeconds.ReplaceAllStringFunc(line, func(s string) string {
			n, _ := strconv.Atoi(strings.TrimSuffix(s, "sec"))
			return fmt.Sprintf("%dsec", (n+9)/10*10)
		})
		if line == "" || strings.HasPrefix(line, "fe80::/64 ") {
			continue
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

// settle waits until the cables are as their ends are, and those that carry have
// given their devices link-local addresses: on a busy machine the kernel does
// either up to a second late.
func settle(t *testing.T) {
	t.Helper()
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	wrong := func() string {
		for _, cable := range [][2]string{{"wan", "isp"}, {"isp", "wan"}, {"lan", "pc"}, {"pc", "lan"}} {
			dev, err := h.LinkByName(cable[0])
			if err != nil {
				continue // some tests take one away
			}
			peer, err := h.LinkByName(cable[1])
			want := netlink.LinkOperState(netlink.OperUp)
			switch {
			case err != nil, !isUp(dev):
				continue
			case !isUp(peer):
				want = netlink.OperLowerLayerDown
			}
			if got := dev.Attrs().OperState; got != want {
				return fmt.Sprintf("%s is %s, want %s", cable[0], got, want)
			}
			if want == netlink.OperUp && !answers(h, dev) {
				return cable[0] + " does not answer for its addresses"
			}
		}
		return ""
	}
	for range 500 {
		if wrong() == "" {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal(wrong())
}

// answers tells that dev has a link-local address, and that the kernel has done
// what it does late for each address: the detection of duplicates where it is off,
// and the local route.
func answers(h *netlink.Handle, dev netlink.Link) bool {
	name := dev.Attrs().Name
	if detects, err := os.ReadFile("/proc/sys/net/ipv6/conf/" + name + "/accept_dad"); err != nil || string(detects) != "0\n" {
		return true // that takes seconds, and its tests know
	}
	addrs, err := h.AddrList(dev, netlink.FAMILY_V6)
	if err != nil || !slices.ContainsFunc(addrs, func(a netlink.Addr) bool { return a.IP.IsLinkLocalUnicast() }) {
		return false
	}
	routes, err := h.RouteListFiltered(netlink.FAMILY_V6, &netlink.Route{Table: unix.RT_TABLE_LOCAL, LinkIndex: dev.Attrs().Index},
		netlink.RT_FILTER_TABLE|netlink.RT_FILTER_OIF)
	return err == nil && !slices.ContainsFunc(addrs, func(a netlink.Addr) bool {
		return a.Flags&unix.IFA_F_TENTATIVE != 0 ||
			!slices.ContainsFunc(routes, func(r netlink.Route) bool { return r.Dst != nil && r.Dst.IP.Equal(a.IP) })
	})
}

// picture is what a person would look at.
func picture(t *testing.T) string {
	t.Helper()
	settle(t)
	var b strings.Builder
	section := func(title, out string) {
		if out = tidy(out); out == "" {
			out = "(none)\n"
		}
		fmt.Fprintf(&b, "-- %s\n%s", title, out)
	}
	addrs := strings.SplitAfter(tidy(run(t, "ip -o addr show scope global")), "\n")
	slices.Sort(addrs)
	section("addresses", strings.Join(addrs, ""))
	section("IPv6 routes", run(t, "ip -6 route show"))
	section("IPv4 routes", run(t, "ip -4 route show"))
	if strings.Contains(run(t, "ip -o link"), " sofu4@NONE:") {
		section("tunnel", run(t, "ip -6 tunnel show sofu4")+"\n"+regexp.MustCompile(`mtu \d+`).FindString(run(t, "ip -o link show sofu4")))
	}
	return b.String()
}

// snapshot is everything in the namespace that could have changed.
func snapshot(t *testing.T) string {
	t.Helper()
	settle(t)
	var b strings.Builder
	for _, c := range []string{"ip -o link", "ip -o addr", "ip -6 route show table all", "ip -4 route show table all", "ip -6 neigh", "sysctl -a --pattern ^net\\.(ipv4|ipv6)\\.(conf|neigh)\\."} {
		out := run(t, c)
		// A device that never was up has no queueing discipline yet.
		out = strings.NewReplacer("qdisc noop", "qdisc", "qdisc noqueue", "qdisc").Replace(out)
		fmt.Fprintf(&b, "-- %s\n%s", c, reSeconds.ReplaceAllString(out, "…sec"))
	}
	return b.String()
}

// lines is for cmp.Diff.
func lines(s string) []string { return strings.Split(s, "\n") }

type step struct {
	name string // what happens
	st   state.State
}

// golden applies the steps one after the other and compares what `ip` shows
// after each of them with testdata/<test>.want.
func golden(t *testing.T, a *Applier, steps []step) {
	t.Helper()
	var b strings.Builder
	for i, s := range steps {
		apply(t, a, s.st)
		got := picture(t)
		fmt.Fprintf(&b, "== %d. %s\n%s", i+1, s.name, got)
		w := watch(t)
		apply(t, a, s.st)
		if n := w.read(); len(n) > 0 {
			t.Errorf("%s: the same State again changed the kernel: %v", s.name, n)
		}
	}
	file := filepath.Join("testdata", t.Name()+".want")
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(lines(string(want)), lines(b.String())); d != "" {
		t.Errorf("%s (-want +got):\n%s", file, d)
	}
}

// watcher hears every change of links, addresses and routes in the namespace.
// The kernel puts the news into the socket before it answers the request that
// caused them, so that they can be read afterwards.
type watcher struct {
	t *testing.T
	s *nl.NetlinkSocket
}

func watch(t *testing.T) *watcher {
	t.Helper()
	s, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return &watcher{t, s}
}

// read returns what was heard so far, as for example "delroute ::/0 table 254".
func (w *watcher) read() (news []string) {
	w.t.Helper()
	names := map[uint16]string{
		unix.RTM_NEWLINK: "newlink", unix.RTM_DELLINK: "dellink",
		unix.RTM_NEWADDR: "newaddr", unix.RTM_DELADDR: "deladdr",
		unix.RTM_NEWROUTE: "newroute", unix.RTM_DELROUTE: "delroute",
	}
	buf := make([]byte, 1<<16)
	for {
		n, _, err := unix.Recvfrom(w.s.GetFd(), buf, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EAGAIN) {
			return news
		}
		if err != nil {
			w.t.Fatalf("watch: %v", err)
		}
		msgs, err := syscall.ParseNetlinkMessage(buf[:n])
		if err != nil {
			w.t.Fatal(err)
		}
		for _, m := range msgs {
			what := names[m.Header.Type]
			switch m.Header.Type {
			case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
				r := nl.DeserializeRtMsg(m.Data)
				dst := netip.PrefixFrom(netip.IPv4Unspecified(), int(r.Dst_len))
				if r.Family == unix.AF_INET6 {
					dst = netip.PrefixFrom(netip.IPv6Unspecified(), int(r.Dst_len))
				}
				attrs, _ := nl.ParseRouteAttr(m.Data[r.Len():])
				for _, a := range attrs {
					if ip, ok := netip.AddrFromSlice(a.Value); ok && a.Attr.Type == unix.RTA_DST {
						dst = netip.PrefixFrom(ip, int(r.Dst_len))
					}
				}
				what += fmt.Sprintf(" %s table %d", dst, r.Table)
			case unix.RTM_NEWADDR, unix.RTM_DELADDR:
				attrs, _ := nl.ParseRouteAttr(m.Data[unix.SizeofIfAddrmsg:])
				for _, a := range attrs {
					if ip, ok := netip.AddrFromSlice(a.Value); ok && a.Attr.Type == unix.IFA_ADDRESS {
						what += " " + ip.String()
					}
				}
			}
			news = append(news, what)
		}
	}
}

func journalText(t *testing.T, o Options) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(o.StateDir, "kernel-wan.json"))
	if errors.Is(err, os.ErrNotExist) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func mustContain(t *testing.T, what, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%s has no %q:\n%s", what, p, text)
		}
	}
}

func mustNotContain(t *testing.T, what, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if strings.Contains(text, p) {
			t.Errorf("%s has %q:\n%s", what, p, text)
		}
	}
}
