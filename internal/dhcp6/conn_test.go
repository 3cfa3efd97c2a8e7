package dhcp6

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// TestListen, in a network namespace of its own:
//
//	wan0 (fe80::1, the client) ===veth=== wan1 (fe80::2, joined ff02::1:2)
func TestListen(t *testing.T) {
	// The thread is not unlocked, so that it ends with the test and its namespace.
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		testListen(t)
	}()
	<-done
}

func testListen(t *testing.T) {
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
			runtime.Goexit()
		}
	}
	ns, err := netns.New()
	check(err)
	defer ns.Close()
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	check(err)
	defer h.Close()
	check(h.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "wan0"}, PeerName: "wan1"}))
	for name, addr := range map[string]string{"wan0": "fe80::1/64", "wan1": "fe80::2/64"} {
		l, err := h.LinkByName(name)
		check(err)
		a, err := netlink.ParseAddr(addr)
		check(err)
		a.Flags = unix.IFA_F_NODAD
		check(h.LinkSetUp(l))
		check(h.AddrAdd(l, a))
	}
	// The kernel opens the queues of a veth some time after both ends are up.
	for _, name := range []string{"wan0", "wan1"} {
		for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
			l, err := h.LinkByName(name)
			check(err)
			if l.Attrs().OperState == netlink.OperUp {
				break
			}
			if time.Since(began) > 10*time.Second {
				t.Errorf("%s does not come up: %v", name, l.Attrs().OperState)
				return
			}
		}
	}
	ifi, err := net.InterfaceByName("wan0")
	check(err)
	peer, err := net.InterfaceByName("wan1")
	check(err)

	first, err := Listen(ifi, netip.MustParseAddr("fe80::1"))
	check(err)
	// The second socket of a changed link is there before the first is closed.
	c, err := Listen(ifi, netip.MustParseAddr("fe80::1"))
	check(err)
	check(first.Close())
	defer c.Close()

	group, err := net.ListenMulticastUDP("udp6", peer, &net.UDPAddr{IP: allServers.Addr().AsSlice(), Port: 547})
	check(err)
	defer group.Close()
	check(c.WriteTo([]byte("question"), allServers))
	b := make([]byte, 100)
	check(group.SetReadDeadline(time.Now().Add(5 * time.Second)))
	n, from, err := group.ReadFromUDPAddrPort(b)
	check(err)
	if want := netip.MustParseAddrPort("[fe80::1%wan1]:546"); string(b[:n]) != "question" || from != want {
		t.Errorf("%q from %v, want it from %v", b[:n], from, want)
	}

	// The answer comes from a port that is not 547.
	odd, err := net.DialUDP("udp6", &net.UDPAddr{IP: net.ParseIP("fe80::2"), Port: 40000, Zone: "wan1"}, &net.UDPAddr{IP: net.ParseIP("fe80::1"), Port: 546, Zone: "wan1"})
	check(err)
	defer odd.Close()
	_, err = odd.Write([]byte("answer"))
	check(err)
	n, from, err = c.ReadFrom(b)
	check(err)
	if want := netip.MustParseAddrPort("[fe80::2%wan0]:40000"); string(b[:n]) != "answer" || from != want {
		t.Errorf("%q from %v, want it from %v", b[:n], from, want)
	}

	// Close ends a read that blocks.
	ended := make(chan error, 1)
	go func() { _, _, err := c.ReadFrom(make([]byte, 100)); ended <- err }()
	check(c.Close())
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("read after Close: %v", err)
	}

	if _, err := Listen(ifi, netip.MustParseAddr("fe80::9")); err == nil {
		t.Error("an address that is not there is listened on")
	}
	if _, err := Listen(&net.Interface{Name: "gone0"}, netip.MustParseAddr("fe80::1")); err == nil {
		t.Error("a device that is not there is listened on")
	}
}
