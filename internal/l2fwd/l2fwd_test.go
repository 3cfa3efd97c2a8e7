package l2fwd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sofutobanku/internal/privilege"
	"sofutobanku/lab/topo"
)

// table is the name of the tests' Forwarders.
const table = "sofu_wan"

// as names the other self of the test binary in the environment: one that forwards
// by that method between wan and lan4, says so and stays.
const as, confine = "L2FWD_TEST_AS", "L2FWD_TEST_CONFINE"

func TestMain(m *testing.M) {
	method := os.Getenv(as)
	if method == "" {
		os.Exit(m.Run())
	}
	if os.Getenv(confine) != "" {
		fmt.Println("confined:", privilege.Confine())
	}
	got, err := forwarder(method).Set("wan", "lan4")
	fmt.Println("forwards by", got, err)
	time.Sleep(time.Minute) // until it is killed
}

// forwarder is one that has no nft if it is to use tc.
func forwarder(method string) *Forwarder {
	o := Options{Name: table}
	if method == TC {
		o.Exec = func(_ context.Context, _ string, args ...string) ([]byte, error) {
			return nil, &exec.Error{Name: args[0], Err: exec.ErrNotFound}
		}
	}
	return New(o)
}

// world is the network of a test. The router has no IPv4 address.
//
//	   carrier          router           hgw
//	192.0.2.1/30 isp ===== wan  lan4 ===== wan 192.0.2.2/30
type world struct {
	t                    *testing.T
	lab                  *topo.Lab
	carrier, router, hgw *topo.NS
}

func newWorld(t *testing.T) *world {
	l := topo.New(t)
	w := &world{t, l, l.NS("carrier"), l.NS("router"), l.NS("hgw")}
	for _, n := range []*topo.NS{w.carrier, w.router, w.hgw} {
		n.Sysctl("ipv6/conf/default/accept_dad", "0")
		n.Sysctl("ipv6/conf/default/router_solicitations", "0")
	}
	l.Link(w.router.Port("wan", "00:00:5e:00:53:01"), w.carrier.Port("isp", "00:00:5e:00:53:fe"), topo.Cable{})
	w.router.Up("wan")
	w.carrier.Up("isp")
	w.carrier.Addr("isp", "192.0.2.1/30")
	w.addLAN()
	return w
}

func (w *world) addLAN() {
	w.lab.Link(w.router.Port("lan4", "00:00:5e:00:53:02"), w.hgw.Port("wan", "00:00:5e:00:53:10"), topo.Cable{})
	w.router.Up("lan4")
	w.hgw.Up("wan")
	w.hgw.Addr("wan", "192.0.2.2/30")
}

// set is Set on the router.
func (w *world) set(f *Forwarder, a, b string) (method string, err error) {
	w.t.Helper()
	inside := w.router.Do(func() error {
		method, err = f.Set(a, b)
		return nil
	})
	if inside != nil {
		w.t.Fatal(inside)
	}
	return method, err
}

// mustSet is a set that has to work by a method.
func (w *world) mustSet(f *Forwarder, method string) {
	w.t.Helper()
	if got, err := w.set(f, "wan", "lan4"); got != method || err != nil {
		w.t.Fatalf("Set: %q, %v, want %q", got, err, method)
	}
}

func (w *world) close(f *Forwarder) {
	w.t.Helper()
	if err := w.router.Do(f.Close); err != nil {
		w.t.Fatal(err)
	}
}

// left is what the router's kernel has that a Forwarder could have made.
func (w *world) left() string {
	w.t.Helper()
	left := w.router.Run("tc", "qdisc", "show")
	for _, dev := range []string{"wan", "lan4"} {
		for _, hook := range []string{"ingress", "egress"} {
			out, _ := w.router.Try("tc", "filter", "show", "dev", dev, hook) // fails if there is no such device
			left += out
		}
		out, _ := w.router.Try("ip", "-d", "link", "show", "dev", dev)
		if strings.Contains(out, " promiscuity 1 ") {
			left += dev + " is promiscuous\n"
		}
	}
	tables, err := w.router.Try("nft", "list", "ruleset")
	if err != nil {
		tables = "" // this kernel has no nft
	}
	return left + tables
}

// untouched fails unless the router's kernel has what it had before.
func (w *world) untouched(before string) {
	w.t.Helper()
	if now := w.left(); now != before {
		w.t.Errorf("there is\n%s\nwhere there was\n%s", now, before)
	}
}

func (w *world) promiscuous(want bool) {
	w.t.Helper()
	now := w.left()
	for _, dev := range []string{"wan", "lan4"} {
		if got := strings.Contains(now, dev+" is promiscuous"); got != want {
			w.t.Errorf("%s promiscuous: %v, want %v", dev, got, want)
		}
	}
}

// works pings both ways from hosts that have to ask for each other's link-layer
// address first.
func (w *world) works() {
	w.t.Helper()
	w.carrier.ForgetNeighbours("isp")
	w.hgw.ForgetNeighbours("wan")
	w.hgw.Run("ping", "-n", "-c", "1", "-W", "5", "192.0.2.1")
	w.carrier.ForgetNeighbours("isp")
	w.hgw.ForgetNeighbours("wan")
	w.carrier.Run("ping", "-n", "-c", "1", "-W", "5", "-s", "1472", "-M", "do", "192.0.2.2")
}

// both runs a test for each way of forwarding that this kernel has, and prints a row
// of which did it. L2FWD_BOTH in the environment: both have to be there.
func both(t *testing.T, test func(t *testing.T, w *world, method string)) {
	said := ""
	for _, method := range []string{NFT, TC} {
		result := "failed"
		t.Run(method, func(t *testing.T) {
			w := newWorld(t)
			f := forwarder(method)
			if got, err := w.set(f, "wan", "lan4"); got != method {
				result = "this kernel cannot"
				if os.Getenv("L2FWD_BOTH") != "" {
					t.Fatalf("this kernel has to have both ways: Set: %q, %v", got, err)
				}
				w.close(f)
				t.Skipf("%s: Set: %q, %v", method, got, err)
			}
			w.close(f)
			test(t, w, method)
			if !t.Failed() {
				result = "proven"
			}
		})
		said += fmt.Sprintf("  %s %-18s", method, result)
	}
	fmt.Printf("| %-10s %-20s%s\n", release(), t.Name(), said)
}

// release is the kernel's version, without what its makers append.
func release() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err.Error()
	}
	version, _, _ := strings.Cut(unix.ByteSliceToString(u.Release[:]), "-")
	return version
}

// TestForward: IPv4 and ARP arrive at the other end as they were sent, nothing else
// does, and what does not stays with the router.
func TestForward(t *testing.T) {
	both(t, func(t *testing.T, w *world, method string) {
		before := w.left()
		f := forwarder(method)
		w.mustSet(f, method)
		w.promiscuous(true)
		w.works()

		isp, hgw := w.tap(w.carrier, "isp"), w.tap(w.hgw, "wan")
		w.onlyIPv4(hgw, isp)
		w.onlyIPv4(isp, hgw)

		// The router speaks IPv6 with both.
		w.carrier.Run("ping", "-n", "-c", "1", "-W", "5", "fe80::200:5eff:fe00:5301%isp")
		w.hgw.Run("ping", "-n", "-c", "1", "-W", "5", "fe80::200:5eff:fe00:5302%wan")

		w.close(f)
		w.untouched(before)
		w.close(f) // again, which is no error
	})
}

// onlyIPv4 sends frames of many kinds from one end of the router to the other, where
// just those of IPv4 and ARP have to come out, as they were and in their order.
func (w *world) onlyIPv4(from, to *tap) {
	w.t.Helper()
	const (
		host = "\x00\x00\x5e\x00\x53\x99" + "\x00\x00\x5e\x00\x53\x98" // of nobody, from nobody
		all  = "\xff\xff\xff\xff\xff\xff" + "\x00\x00\x5e\x00\x53\x98"
	)
	body := func(mark string) string { return mark + strings.Repeat(".", 60-len(mark)) }
	tag := "\x81\x00\x00\x05"
	ip4 := "\x45\x00\x00\x3c\x00\x01\x40\x00\x01\x11\xb5\xac\xc0\x00\x02\x01\xc6\x33\x64\x01" // of time to live 1
	for _, frame := range []struct {
		bytes  string
		passes bool
	}{
		{host + "\x86\xdd" + body("IPv6"), false},
		{"\x33\x33\x00\x00\x00\x01\x00\x00\x5e\x00\x53\x98" + "\x86\xdd" + body("router advertisement"), false},
		{host + tag + "\x08\x00" + body("IPv4 in VLAN 5"), false},
		{all + tag + "\x08\x06" + body("ARP in VLAN 5"), false},
		{host + "\x88\xa8\x00\x05" + tag + "\x08\x00" + body("IPv4 in VLAN 5 in VLAN 5"), false},
		{host + "\x88\x63" + body("PPPoE"), false},
		{host + "\x88\xcc" + body("LLDP"), false},
		{all + "\x08\x06" + body("ARP"), true},
		{host + "\x08\x00" + ip4 + body("IPv4"), true},
		{all + "\x08\x00" + ip4 + body("IPv4 broadcast"), true},
		{"\x01\x00\x5e\x00\x00\x01\x00\x00\x5e\x00\x53\x98" + "\x08\x00" + ip4 + body("IPv4 multicast"), true},
		{host + "\x08\x00" + body("no IPv4 at all"), true},
	} {
		from.send(frame.bytes)
		if !frame.passes {
			continue // it would be heard in the place of the next
		}
		if got := to.next(); got != frame.bytes {
			w.t.Errorf("after %q was sent from %s: %q arrived", frame.bytes, from.dev, got)
		}
	}
}

// TestForwardSame: Set changes nothing where all is as it should be.
func TestForwardSame(t *testing.T) {
	both(t, func(t *testing.T, w *world, method string) {
		f := forwarder(method)
		w.mustSet(f, method)
		handles := func() string {
			out, err := w.router.Try("nft", "-a", "list", "ruleset")
			if err != nil {
				out = "" // this kernel has no nft
			}
			return out + w.left()
		}
		before := handles()
		w.mustSet(f, method)
		if now := handles(); now != before {
			t.Errorf("there is\n%s\nwhere there was\n%s", now, before)
		}
		w.close(f)
	})
}

// TestForwardReplaced: a device that went and came again is another one.
func TestForwardReplaced(t *testing.T) {
	both(t, func(t *testing.T, w *world, method string) {
		before := w.left()
		f := forwarder(method)
		w.mustSet(f, method)
		w.router.DelLink("lan4")
		if got, err := w.set(f, "wan", "lan4"); got != "" || !errors.Is(err, unix.ENODEV) || !strings.Contains(err.Error(), "lan4") {
			t.Errorf("Set without lan4: %q, %v", got, err)
		}
		w.addLAN()
		w.untouched(before)
		w.mustSet(f, method)
		w.works()

		// And once more, without a Set in between.
		w.router.DelLink("lan4")
		w.addLAN()
		w.mustSet(f, method)
		w.works()
		w.promiscuous(true)
		w.close(f)
		w.untouched(before)
	})
}

// TestForwardTakenAway: what somebody else flushed comes back.
func TestForwardTakenAway(t *testing.T) {
	both(t, func(t *testing.T, w *world, method string) {
		before := w.left()
		f := forwarder(method)
		flush := map[string][]string{
			NFT: {"nft flush ruleset", "nft flush table netdev sofu_wan", "nft flush chain netdev sofu_wan b"},
			TC:  {"tc qdisc del dev wan ingress", "tc filter del dev wan ingress", "tc filter del dev lan4 ingress pref 6"},
		}[method]
		for _, command := range flush {
			w.mustSet(f, method)
			w.router.Run(strings.Fields(command)...)
			w.mustSet(f, method)
			w.works()
			w.promiscuous(true)
		}
		w.close(f)
		w.untouched(before)
	})
}

// TestForwardKilled: what a process that was killed left is put away by the next, or taken
// over, by the other way too.
func TestForwardKilled(t *testing.T) {
	both(t, func(t *testing.T, w *world, method string) {
		before := w.left()
		for _, next := range []string{"close", NFT, TC} {
			p := w.child(method, false)
			w.promiscuous(true)
			p.Signal(unix.SIGKILL)
			p.Wait(10 * time.Second)
			w.promiscuous(false)
			w.works() // the frames go on

			f := forwarder(next)
			if next == "close" {
				w.close(New(Options{Name: table}))
				w.untouched(before)
				continue
			}
			if got, err := w.set(f, "wan", "lan4"); got != next {
				w.close(f)
				if os.Getenv("L2FWD_BOTH") != "" {
					t.Errorf("Set after a killed process: %q, %v, want %q", got, err, next)
				}
				continue
			}
			w.works()
			w.close(f)
			if next == method {
				w.untouched(before)
			}
			w.close(New(Options{Name: table}))
			w.untouched(before)
		}
	})
}

// TestForwardConfined: it works within the privileges that sofu-proto keeps.
func TestForwardConfined(t *testing.T) {
	both(t, func(t *testing.T, w *world, method string) {
		p := w.child(method, true)
		if said := p.Output(); !strings.Contains(said, "confined: <nil>\n") {
			t.Skipf("a program with cgo, as the race detector has it, cannot be confined: %s", said)
		}
		w.works()
		p.Signal(unix.SIGKILL)
		p.Wait(10 * time.Second)
		w.close(New(Options{Name: table}))
	})
}

// child is another process that forwards.
func (w *world) child(method string, confined bool) *topo.Process {
	w.t.Helper()
	self, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	env := []string{as + "=" + method}
	if confined {
		env = append(env, confine+"=1")
	}
	p := w.router.StartEnv(env, self)
	p.WaitFor(20*time.Second, "^forwards by "+method+" <nil>$")
	return p
}

// TestForwardOthers: what somebody else has at the ingress of a device, and before or after
// us in nft, survives.
func TestForwardOthers(t *testing.T) {
	both(t, func(t *testing.T, w *world, method string) {
		f := forwarder(method)
		tc := func(args string) { w.t.Helper(); w.router.Run(append([]string{"tc"}, strings.Fields(args)...)...) }
		const same = " protocol ip pref 5 u32 match u32 1 1 at 0 action mirred egress redirect dev lo"
		const other = " protocol all pref 10 u32 match u32 1 1 at 0 action mirred egress redirect dev lo"
		if method == NFT {
			w.router.Run("nft", "add table netdev fw4; add chain netdev fw4 in { type filter hook ingress device wan priority 0; }; add table inet fw4")
		}

		// There before.
		tc("qdisc add dev wan ingress")
		tc("filter add dev wan ingress" + same)
		tc("filter add dev wan ingress" + other)
		tc("qdisc add dev lan4 clsact")
		tc("filter add dev lan4 egress" + other)
		before := w.left()
		w.mustSet(f, method)
		w.works()
		w.close(f)
		w.untouched(before)

		// Ours first, then theirs on our qdisc.
		tc("qdisc del dev wan ingress")
		tc("qdisc del dev lan4 clsact")
		empty := w.left()
		if method == TC {
			w.mustSet(f, method)
			tc("filter add dev wan ingress" + other)
			w.close(f)
			if now := w.left(); strings.Count(now, "qdisc ingress") != 1 || !strings.Contains(now, "pref 10") || strings.Contains(now, "cookie") {
				t.Errorf("of somebody else's filter and ours is left:\n%s", now)
			}
			tc("qdisc del dev wan ingress")
		}
		w.untouched(empty)
	})
}

// TestForwardNeither: an error that says what to install, and nothing that was half done.
func TestForwardNeither(t *testing.T) {
	w := newWorld(t)
	// Somebody has our preference, for another protocol.
	w.router.Run(strings.Fields("tc qdisc add dev lan4 clsact")...)
	w.router.Run(strings.Fields("tc filter add dev lan4 ingress protocol ipv6 pref 5 u32 match u32 0 0 action mirred egress redirect dev lo")...)
	before := w.left()
	f := forwarder(TC)
	method, err := w.set(f, "wan", "lan4")
	var e *Error
	if method != "" || !errors.As(err, &e) || e.Code() != "HGW_FORWARD" || !errors.Is(err, exec.ErrNotFound) || !errors.Is(err, unix.EINVAL) {
		t.Fatalf("Set: %q, %v", method, err)
	}
	for _, want := range []string{"kmod-nft-netdev", "kmod-sched-core", "filter u32 with action mirred"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	w.untouched(before)
}

// TestForwardNames: which devices nft is told of. What it cannot be told works by tc.
func TestForwardNames(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{`lan4.10`, `l@n$4'`, `lan-é`, `{ip}`, `a"b`, `wan*`, `a\b`, `;#`} {
		w.router.Run("ip", "link", "set", "lan4", "down")
		w.router.Run("ip", "link", "set", "lan4", "name", name)
		w.router.Run("ip", "link", "set", name, "up")
		f := forwarder(NFT)
		method, err := w.set(f, "wan", name)
		if err != nil || strings.ContainsAny(name, `"*\`) && method != TC {
			t.Errorf("Set with %s: %q, %v", name, method, err)
		}
		w.works()
		w.close(f)
		w.router.Run("ip", "link", "set", name, "down")
		w.router.Run("ip", "link", "set", name, "name", "lan4")
		w.router.Run("ip", "link", "set", "lan4", "up")
	}
	before := w.left()
	for _, name := range []string{"", "sofu-wan", "sofu wan", `x"`, "; flush ruleset", strings.Repeat("a", 32)} {
		if method, err := w.set(New(Options{Name: name}), "wan", "lan4"); err == nil {
			t.Errorf("Set with the table %q: %q", name, method)
		}
	}
	for _, pair := range [][2]string{{"wan", "wan"}, {"wan", "none"}, {"wan", ""}, {"wan", strings.Repeat("a", 16)}} {
		if method, err := w.set(forwarder(TC), pair[0], pair[1]); err == nil {
			t.Errorf("Set with %q: %q", pair, method)
		}
	}
	w.untouched(before)
}

// TestForwardTwo: two Forwarders do not disturb each other, and one that is given other
// devices leaves the old ones.
func TestForwardTwo(t *testing.T) {
	both(t, func(t *testing.T, w *world, method string) {
		w.lab.Link(w.router.Port("wan2", ""), w.carrier.Port("isp2", ""), topo.Cable{})
		w.lab.Link(w.router.Port("lan5", ""), w.hgw.Port("wan2", ""), topo.Cable{})
		w.router.Up("wan2")
		w.router.Up("lan5")
		before := w.left()
		f, g := forwarder(method), forwarder(method)
		g = New(Options{Name: "sofu_wan2", Exec: g.opt.Exec})
		w.mustSet(f, method)
		alone := w.left()
		if got, err := w.set(g, "wan2", "lan5"); got != method {
			t.Fatalf("Set: %q, %v", got, err)
		}
		w.works()
		w.close(g)
		w.untouched(alone)
		w.works()

		if got, err := w.set(f, "wan2", "lan4"); got != method {
			t.Fatalf("Set: %q, %v", got, err)
		}
		if now := w.left(); strings.Contains(now, "wan is promiscuous") || strings.Contains(now, `"wan"`) || strings.Contains(now, "dev wan ingress") {
			t.Errorf("wan still has\n%s", now)
		}
		w.close(f)
		w.untouched(before)
	})
}

// TestFilters: what the filters are like, on machines of either byte order.
func TestFilters(t *testing.T) {
	for _, f := range wanted(pair{{"wan", 2}, {"lan4", 3}}) {
		etherType := binary.NativeEndian.AppendUint16(nil, uint16(f.info)) // as the kernel has it
		got := fmt.Sprintf("%d to %d, preference %d, %x", f.index, f.to, f.info>>16, etherType)
		switch got {
		case "2 to 3, preference 5, 0800", "2 to 3, preference 6, 0806", "3 to 2, preference 5, 0800", "3 to 2, preference 6, 0806":
		default:
			t.Errorf("a filter from %s", got)
		}
	}
	for name, want := range map[string]string{
		table:                  "\x00sofu_wan\x00\x00\x00\x00\x00\x00\x00",
		"sofu_abcdefghijklmno": "\x00abcdefghijklmno",
	} {
		if c := cookie(name); string(c[:]) != want {
			t.Errorf("cookie of %s: %q, want %q", name, c, want)
		}
	}
}

// TestFind: attributes that are cut off, too long or too short end the search.
func TestFind(t *testing.T) {
	attribute := func(n, kind uint16, content string) string {
		return string(binary.NativeEndian.AppendUint16(binary.NativeEndian.AppendUint16(nil, n), kind)) + content
	}
	first := attribute(7, 1, "abc\x00")
	for _, tt := range []struct{ all, want string }{
		{first + attribute(6, 2|unix.NLA_F_NESTED, "xy"), "xy"},
		{first + attribute(8, 2, "wxyz") + attribute(8, 2, "late"), "wxyz"},
		{first + attribute(4, 2, ""), ""},
		{first, ""},
		{first[:7], ""},
		{first + attribute(9, 2, "wxyz"), ""},
		{attribute(0, 1, "") + attribute(8, 2, "wxyz"), ""},
		{attribute(3, 2, "wxyz"), ""},
		{"\x08", ""},
		{"", ""},
	} {
		if got := attributes(tt.all).find(2); string(got) != tt.want {
			t.Errorf("in %q: %q, want %q", tt.all, got, tt.want)
		}
	}
}

// tap hears the frames that arrive at a device, and sends some.
type tap struct {
	t   *testing.T
	dev string
	fd  int
}

func (w *world) tap(n *topo.NS, dev string) *tap {
	w.t.Helper()
	x := &tap{w.t, n.Name() + " " + dev, -1}
	err := n.Do(func() (err error) {
		all := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_ALL))
		d, err := net.InterfaceByName(dev)
		if err != nil {
			return err
		}
		if x.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return errors.Join(
			unix.SetsockoptTimeval(x.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}),
			unix.SetsockoptInt(x.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
			unix.Bind(x.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: d.Index}))
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { unix.Close(x.fd) })
	return x
}

func (x *tap) send(frame string) {
	x.t.Helper()
	if _, err := unix.Write(x.fd, []byte(frame)); err != nil {
		x.t.Fatalf("send from %s: %v", x.dev, err)
	}
}

// next is the next frame of those that the tests send: from a MAC of its own.
func (x *tap) next() string {
	x.t.Helper()
	for {
		b := make([]byte, 2000)
		n, err := unix.Read(x.fd, b)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			x.t.Fatalf("nothing arrived at %s: %v", x.dev, err)
		}
		if string(b[6:12]) == "\x00\x00\x5e\x00\x53\x98" {
			return string(b[:n])
		}
	}
}
