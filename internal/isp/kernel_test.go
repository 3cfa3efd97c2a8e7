package isp

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/ndp"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"sofutobanku/internal/control"
)

// newNamespace makes a network namespace and enters it; the caller is locked to
// its thread, which dies with the goroutine.
func newNamespace(t *testing.T) (netns.NsHandle, *netlink.Handle) {
	t.Helper()
	ns, err := netns.New()
	mustNot(t, err)
	t.Cleanup(func() { ns.Close() })
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	mustNot(t, err)
	t.Cleanup(h.Close)
	return ns, h
}

// ours lists the addresses without DAD and the static routes of a namespace, and
// its devices.
func ours(t *testing.T, h *netlink.Handle) string {
	t.Helper()
	var lines []string
	links, err := h.LinkList()
	mustNot(t, err)
	for _, l := range links {
		switch l.Attrs().Name {
		case "ip6tnl0", "sit0", "tunl0", "gre0", "gretap0", "erspan0", "ip6gre0", "ip_vti0", "ip6_vti0":
			continue // the kernel's own, with the module
		}
		lines = append(lines, fmt.Sprintf("%s up=%v", l.Attrs().Name, l.Attrs().Flags&net.FlagUp != 0))
		addrs, err := h.AddrList(l, netlink.FAMILY_ALL)
		mustNot(t, err)
		for _, a := range addrs {
			if a.Flags&unix.IFA_F_NODAD != 0 || a.IP.To4() != nil && !a.IP.IsLoopback() {
				lines = append(lines, "  "+a.IPNet.String())
			}
		}
		for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
			routes, err := h.RouteList(l, family)
			mustNot(t, err)
			for _, r := range routes {
				if r.Protocol == unix.RTPROT_STATIC || l.Attrs().Name == tunnelName && r.Dst.IP.To4() != nil {
					lines = append(lines, fmt.Sprintf("  %v via %v", r.Dst, r.Gw))
				}
			}
		}
	}
	return strings.Join(lines, "\n")
}

// waitLocal waits until the kernel accepts packets for a: it does so in its own
// time, after the request that adds the address was answered.
func waitLocal(t *testing.T, h *netlink.Handle, a netip.Addr) {
	t.Helper()
	filter := &netlink.Route{Table: unix.RT_TABLE_LOCAL, Dst: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(128, 128)}}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		routes, err := h.RouteListFiltered(netlink.FAMILY_V6, filter, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_DST)
		mustNot(t, err)
		if len(routes) > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v never became local", a)
		}
	}
}

// waitUp waits until the device sends.
func waitUp(t *testing.T, h *netlink.Handle, device string) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		l, err := h.LinkByName(device)
		mustNot(t, err)
		if l.Attrs().OperState == netlink.OperUp {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s has no carrier", device)
		}
	}
}

// TestLine: a whole line on real sockets, and its subscriber in another
// namespace.
//
//	isp: fe80::1 isp0 ──── wan0 fe80::5301 :router
func TestLine(t *testing.T) {
	runtime.LockOSThread() // and never unlocked
	ispNS, isp := newNamespace(t)
	routerNS, router := newNamespace(t) // this thread stays here
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "wan0"
	attrs.HardwareAddr = clientMAC
	mustNot(t, router.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "isp0", PeerNamespace: netlink.NsFd(ispNS)}))
	wan, err := router.LinkByName("wan0")
	mustNot(t, err)
	isp0, err := isp.LinkByName("isp0")
	mustNot(t, err)
	me := netip.MustParseAddr("fe80::5301")
	mustNot(t, os.WriteFile("/proc/sys/net/ipv6/conf/wan0/accept_ra", []byte("0"), 0))
	mustNot(t, router.LinkSetUp(wan))
	mustNot(t, router.AddrAdd(wan, address(netip.PrefixFrom(me, 64))))
	before := ours(t, isp)

	c := testSettings(Next).get()
	c.NoBR = true // see TestTunnel
	c.DHCPSourcePort = 1547
	socket := t.TempDir() + "/s"
	j, log := testJournal()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	opened, ended := make(chan error), make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := netns.Set(ispNS); err != nil {
			opened <- err
			return
		}
		l, err := Open(c, j, [32]byte{1})
		opened <- err
		if err == nil {
			ended <- l.Run(ctx, socket)
		}
	}()
	mustNot(t, <-opened)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(log)
		}
	})

	// The carrier comes with the line's Open, and an end that is not "up" yet
	// drops what it should send.
	waitUp(t, router, "wan0")
	waitUp(t, isp, "isp0")
	waitLocal(t, router, me)

	// RS and RA.
	ifi, err := net.InterfaceByName("wan0")
	mustNot(t, err)
	ic, err := icmp.ListenPacket("ip6:ipv6-icmp", me.WithZone(zone(ifi)).String())
	mustNot(t, err)
	defer ic.Close()
	pc := ic.IPv6PacketConn()
	filter := new(ipv6.ICMPFilter)
	filter.SetAll(true)
	filter.Accept(ipv6.ICMPTypeRouterAdvertisement)
	mustNot(t, pc.SetICMPFilter(filter))
	mustNot(t, pc.SetChecksum(true, 2))
	mustNot(t, pc.SetControlMessage(ipv6.FlagHopLimit|ipv6.FlagDst, true))
	mustNot(t, pc.SetReadDeadline(time.Now().Add(5*time.Second)))
	rsTo := &net.IPAddr{IP: net.ParseIP("ff02::2"), Zone: zone(ifi)}
	if _, err := pc.WriteTo(rsLLAddr, &ipv6.ControlMessage{HopLimit: 64, IfIndex: ifi.Index}, rsTo); err != nil { // ignored
		t.Fatal(err)
	}
	if _, err := pc.WriteTo(rsLLAddr, &ipv6.ControlMessage{HopLimit: 255, IfIndex: ifi.Index}, rsTo); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1500)
	var n int
	var cm *ipv6.ControlMessage
	var from net.Addr
	for cm == nil || !cm.Dst.Equal(me.AsSlice()) { // the first RA of all went to all
		n, cm, from, err = pc.ReadFrom(b)
		mustNot(t, err)
	}
	m, err := ndp.ParseMessage(b[:n])
	mustNot(t, err)
	want := strings.Replace(wantRAPD, serverMAC.String(), isp0.Attrs().HardwareAddr.String(), 1)
	if got := describeRA(t, m); got != want || cm.HopLimit != 255 || !from.(*net.IPAddr).IP.Equal(net.ParseIP("fe80::1")) {
		t.Errorf("RA %s\nfrom %v, hop limit %d; want %s", got, from, cm.HopLimit, want)
	}
	if w := wrongs(j); len(w) != 1 || !strings.Contains(w[0], "hop limit 64") {
		t.Errorf("wrong: %q", w)
	}

	// DHCPv6, answers from port 1547.
	udp, err := net.ListenUDP("udp6", net.UDPAddrFromAddrPort(netip.AddrPortFrom(me.WithZone(zone(ifi)), 546)))
	mustNot(t, err)
	defer udp.Close()
	ask := func(msg []byte) []byte {
		t.Helper()
		_, err := udp.WriteToUDP(msg, &net.UDPAddr{IP: net.ParseIP("ff02::1:2"), Port: 547, Zone: zone(ifi)})
		mustNot(t, err)
		mustNot(t, udp.SetReadDeadline(time.Now().Add(5*time.Second)))
		n, from, err := udp.ReadFromUDPAddrPort(b)
		mustNot(t, err)
		if from.Addr().WithZone("") != netip.MustParseAddr("fe80::1") || from.Port() != 1547 {
			t.Errorf("answer from %v", from)
		}
		return bytes.Clone(b[:n])
	}
	adv := ask(dhcp(solicit, optClient, optElapsed, optORO, optPD))
	serverID := opt(2, optionOf(t, adv, 2))
	reply := ask(dhcp(request, optClient, serverID, optElapsed, optORO, optPD, optClass))
	if got := describe(reply); !strings.Contains(got, wantIA) || !strings.Contains(got, wantNTT) {
		t.Errorf("reply %s", got)
	}

	// RADIUS from the tunnel's address, over the delegated prefix.
	lo, err := router.LinkByName("lo")
	mustNot(t, err)
	mustNot(t, router.LinkSetUp(lo))
	mustNot(t, router.AddrAdd(lo, address(netip.PrefixFrom(source.Addr(), 128))))
	waitLocal(t, router, source.Addr())
	mustNot(t, router.RouteAdd(&netlink.Route{LinkIndex: ifi.Index, Gw: net.ParseIP("fe80::1"), Dst: &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}}))
	auth, err := net.DialUDP("udp6", net.UDPAddrFromAddrPort(netip.AddrPortFrom(source.Addr(), 0)), net.UDPAddrFromAddrPort(c.RADIUS))
	mustNot(t, err)
	defer auth.Close()
	mustNot(t, auth.SetDeadline(time.Now().Add(5*time.Second)))
	_, err = auth.Write(nextRequest())
	mustNot(t, err)
	n, err = auth.Read(b)
	mustNot(t, err)
	if got := outcome(t, b[:n], nextRequest()); got != "Access-Accept" {
		t.Errorf("RADIUS: %s", got)
	}

	// Set down and up: the kernel forgot, the line did not.
	const running = "lo up=true\n  203.0.113.129/32\n  2001:db8:0:1812::1/128\nisp0 up=true\n  203.0.113.1/30\n  fe80::1/64\n  2001:db8:1234:5600::/56 via fe80::5301"
	if diff := cmp.Diff(running, ours(t, isp)); diff != "" {
		t.Errorf("kernel (-want +got):\n%s", diff)
	}
	mustNot(t, isp.LinkSetDown(isp0))
	mustNot(t, isp.LinkSetUp(isp0))
	for deadline := time.Now().Add(5 * time.Second); ours(t, isp) != running; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after down and up (-want +got):\n%s", cmp.Diff(running, ours(t, isp)))
		}
	}

	// The control socket, and the end.
	var out strings.Builder
	mustNot(t, control.Call(t.Context(), socket, "state", &out))
	if !strings.Contains(out.String(), `"via": "fe80::5301"`) {
		t.Errorf("state %s", &out)
	}
	mustNot(t, control.Call(t.Context(), socket, "quit", &out))
	select {
	case err := <-ended:
		mustNot(t, err)
	case <-time.After(10 * time.Second):
		t.Fatal("quit does not end the line")
	}
	if diff := cmp.Diff(before, ours(t, isp)); diff != "" {
		t.Errorf("left behind (-want +got):\n%s", diff)
	}
	mustNot(t, netns.Set(ispNS))
	if b, _ := os.ReadFile("/proc/sys/net/ipv6/conf/isp0/forwarding"); strings.TrimSpace(string(b)) != "0" {
		t.Errorf("forwarding of isp0 is %q", b)
	}
	mustNot(t, netns.Set(routerNS))
}

// TestDeviceGone: a line whose device is removed ends with an error.
func TestDeviceGone(t *testing.T) {
	runtime.LockOSThread()
	_, h := newNamespace(t)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "isp0"
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "wan0"}
	mustNot(t, h.LinkAdd(veth))
	c := testSettings(NextRA).get()
	c.NoBR = true
	j, _ := testJournal()
	l, err := Open(c, j, [32]byte{1})
	mustNot(t, err)
	go func() {
		time.Sleep(20 * time.Millisecond)
		h.LinkDel(veth)
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := l.Run(ctx, ""); err == nil || !strings.Contains(err.Error(), "device isp0 is gone") {
		t.Errorf("error %v", err)
	}
}

// TestOpenErrors: nothing is left of a line that could not start.
func TestOpenErrors(t *testing.T) {
	runtime.LockOSThread()
	_, h := newNamespace(t)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "isp0"
	mustNot(t, h.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "wan0"}))
	before := ours(t, h)
	busy, err := net.ListenUDP("udp6", &net.UDPAddr{Port: 547})
	mustNot(t, err)
	defer busy.Close()
	for device, want := range map[string]string{"isp1": "device isp1: Link not found", "isp0": "dhcp6: UDP port 547 on isp0: "} {
		c := testSettings(NextRA).get()
		c.NoBR, c.Device, c.Forward = true, device, true
		j, _ := testJournal()
		if _, err := Open(c, j, [32]byte{1}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: error %v", device, err)
		}
		if diff := cmp.Diff(before, ours(t, h)); diff != "" {
			t.Errorf("%s: left behind (-want +got):\n%s", device, diff)
		}
		for _, name := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"} {
			if b, _ := os.ReadFile("/proc/sys/" + name); strings.TrimSpace(string(b)) != "0" {
				t.Errorf("%s is %q", name, b)
			}
		}
	}
}

// TestTunnel makes the BR on a kernel that can, and else wants to be told which
// module is missing.
func TestTunnel(t *testing.T) {
	runtime.LockOSThread()
	_, h := newNamespace(t)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "isp0"
	mustNot(t, h.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "wan0"}))
	before := ours(t, h)
	k, err := OpenKernel("isp0", netip.MustParseAddr("fe80::1"))
	mustNot(t, err)
	defer k.Close()
	a := netip.MustParseAddr
	err = k.CheckTunnel(a("2001:db8::b"), a("2001:db8:1::1"))
	probe := netlink.NewLinkAttrs()
	probe.Name = "probe"
	if h.LinkAdd(&netlink.Ip6tnl{LinkAttrs: probe, Local: net.ParseIP("2001:db8::1"), Remote: net.ParseIP("2001:db8::2"), Proto: unix.IPPROTO_IPIP}) != nil {
		if err == nil || !strings.Contains(err.Error(), "modprobe ip6_tunnel") {
			t.Errorf("no tunnels here, error %v", err)
		}
		t.Log("this kernel has no ip6_tunnel: its error was tested, the tunnel was not")
		return
	}
	mustNot(t, err)
	l, err := h.LinkByName("probe")
	mustNot(t, err)
	mustNot(t, h.LinkDel(l))
	for _, br := range []string{"2001:db8::b", "2001:db8::c"} { // the second moves it
		mustNot(t, k.Tunnel(a(br), a("2001:db8:1::1"), a("192.0.2.1")))
		l, err := h.LinkByName(tunnelName)
		mustNot(t, err)
		tnl := l.(*netlink.Ip6tnl)
		got := fmt.Sprintf("%v %v proto=%d flags=%d mtu=%d", tnl.Local, tnl.Remote, tnl.Proto, tnl.Flags&noEncapLimit, tnl.MTU)
		if want := br + " 2001:db8:1::1 proto=4 flags=1 mtu=1460"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		want := "lo up=true\n  " + br + "/128\nwan0 up=false\nisp0 up=true\n  fe80::1/64\n" + tunnelName + " up=true\n  192.0.2.1/32 via <nil>"
		if diff := cmp.Diff(want, ours(t, h)); diff != "" {
			t.Errorf("kernel (-want +got):\n%s", diff)
		}
	}
	mustNot(t, k.Close())
	if diff := cmp.Diff(before, ours(t, h)); diff != "" {
		t.Errorf("left behind (-want +got):\n%s", diff)
	}
	if err := k.Tunnel(a("2001:db8::b"), a("2001:db8:1::1"), a("192.0.2.1")); err == nil {
		t.Error("a tunnel after the end")
	}
}
