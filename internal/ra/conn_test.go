package ra

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/ndp"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"sofutobanku/internal/link/linktest"
)

var (
	selfMAC   = net.HardwareAddr{0x00, 0x00, 0x5e, 0x00, 0x53, 0x01}
	routerMAC = net.HardwareAddr{0x00, 0x00, 0x5e, 0x00, 0x53, 0x02}
)

const (
	routerLL = "fe80::200:5eff:fe00:5302"
	patience = 10 * time.Second
)

// wire is a link between our namespace (device wan) and the router's (lan).
//
//	ours: wan fe80::200:5eff:fe00:5301 ------- lan fe80::200:5eff:fe00:5302 :router
type wire struct {
	ours, router *linktest.Namespace
	packets      int // the router's AF_PACKET socket: every IPv6 packet, with its header
	sender       *ipv6.PacketConn
}

// newWire makes a wire on which our address has yet to be set.
func newWire(t *testing.T) *wire {
	w := &wire{ours: linktest.New(t), router: linktest.New(t)}
	w.ours.Veth("wan", selfMAC, w.router, "lan", routerMAC)
	w.ours.Sysctl("ipv6/conf/wan/addr_gen_mode", "1")   // no address by the kernel
	w.ours.Sysctl("ipv6/conf/wan/accept_ra", "0")       // and no solicitation
	w.router.Sysctl("ipv6/conf/lan/addr_gen_mode", "1") // likewise
	w.ours.Up("wan")
	w.router.Up("lan")
	w.ours.WaitUp("wan")
	w.router.WaitUp("lan")
	w.router.Address("lan", routerLL+"/64")

	var err error
	w.router.Do(func() {
		proto := int(htons(unix.ETH_P_IPV6))
		if w.packets, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, proto); err != nil {
			return
		}
		t.Cleanup(func() { unix.Close(w.packets) })
		tv := unix.NsecToTimeval(int64(100 * time.Millisecond))
		err = unix.SetsockoptTimeval(w.packets, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
	})
	w.router.Must(err)
	w.router.Do(func() {
		var c *icmp.PacketConn
		if c, err = icmp.ListenPacket("ip6:ipv6-icmp", "::"); err == nil {
			w.sender = c.IPv6PacketConn()
			t.Cleanup(func() { c.Close() })
		}
	})
	w.router.Must(err)
	return w
}

// solicitation returns the next router solicitation that the router sees, its
// hop limit and checksum verified, as "from SOURCE to DESTINATION body".
func (w *wire) solicitation(t *testing.T) string {
	t.Helper()
	b := make([]byte, 2000)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		n, from, err := unix.Recvfrom(w.packets, b, 0)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		p := b[:n]
		ll, _ := from.(*unix.SockaddrLinklayer)
		if n < 48 || p[6] != unix.IPPROTO_ICMPV6 || p[40] != 133 || ll == nil || ll.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		src, dst := netip.AddrFrom16([16]byte(p[8:])), netip.AddrFrom16([16]byte(p[24:]))
		if p[7] != 255 {
			t.Errorf("hop limit %d, want 255", p[7])
		}
		if length := int(p[4])<<8 | int(p[5]); length != n-40 {
			t.Errorf("payload length %d, want %d", length, n-40)
		}
		m, err := ndp.ParseMessage(p[40:])
		if err != nil {
			t.Errorf("another decoder says: %v", err)
		}
		want, err := ndp.MarshalMessageChecksum(m, src, dst)
		if err != nil || !strings.EqualFold(hex.EncodeToString(want), hex.EncodeToString(p[40:])) {
			t.Errorf("another encoder makes %x of it (%v), got %x", want, err, p[40:])
		}
		return fmt.Sprintf("from %s to %s %x", src, dst, p[44:])
	}
	t.Fatal("no solicitation reached the router")
	return ""
}

// send has the router send an ICMPv6 message to all nodes.
func (w *wire) send(t *testing.T, hopLimit int, msg []byte) {
	t.Helper()
	var err error
	w.router.Do(func() {
		cm := &ipv6.ControlMessage{HopLimit: hopLimit, Src: net.ParseIP(routerLL)}
		_, err = w.sender.WriteTo(msg, cm, &net.IPAddr{IP: net.ParseIP("ff02::1"), Zone: "lan"})
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (w *wire) listen(t *testing.T) Conn {
	t.Helper()
	ifi := w.ours.Interface("wan")
	var c Conn
	var err error
	w.ours.Do(func() { c, err = Listen(ifi) })
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestConnSolicit(t *testing.T) {
	w := newWire(t)
	c := w.listen(t)
	defer c.Close()
	solicit := func(src netip.Addr) string {
		t.Helper()
		if err := c.Solicit(src); err != nil {
			t.Fatal(err)
		}
		return w.solicitation(t)
	}
	const none = "from :: to ff02::2 00000000"
	if got := solicit(netip.Addr{}); got != none {
		t.Errorf("without a source: %s, want %s", got, none)
	}
	// The address is not there (any more).
	if got := solicit(self); got != none {
		t.Errorf("from an address that is not ours: %s, want %s", got, none)
	}
	w.ours.Address("wan", self.String()+"/64")
	want := "from " + self.String() + " to ff02::2 00000000" + "0101" + "00005e005301"
	if got := solicit(self); got != want {
		t.Errorf("with a source: %s, want %s", got, want)
	}
}

// An optimistic address must not be sent with the link-layer address.
func TestConnSolicitOptimistic(t *testing.T) {
	w := newWire(t)
	w.ours.Sysctl("ipv6/conf/wan/optimistic_dad", "1")
	w.ours.Sysctl("ipv6/conf/wan/dad_transmits", "20")
	w.ours.IP("address", "add", self.String()+"/64", "dev", "wan", "optimistic")
	c := w.listen(t)
	defer c.Close()
	if err := c.Solicit(self); err != nil {
		t.Fatal(err)
	}
	if got, want := w.solicitation(t), "from "+self.String()+" to ff02::2 00000000"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestConnReadRA(t *testing.T) {
	w := newWire(t)
	w.ours.Address("wan", self.String()+"/64")
	c := w.listen(t)
	first, second := advert(1800*time.Second), advert(900*time.Second)
	solicit, err := ndp.MarshalMessage(&ndp.RouterSolicitation{})
	if err != nil {
		t.Fatal(err)
	}
	w.send(t, 255, solicit) // not for us
	w.send(t, 64, first)
	w.send(t, 255, second)

	var got []string
	b := make([]byte, 1500)
	for range 2 {
		n, from, hopLimit, err := c.ReadRA(b)
		if err != nil {
			t.Fatal(err)
		}
		// The checksum is the kernel's.
		got = append(got, fmt.Sprintf("from %s hop limit %d: %x", from.WithZone(""), hopLimit, append(b[:2:2], b[4:n]...)))
	}
	want := []string{
		fmt.Sprintf("from %s hop limit 64: %x", routerLL, append(first[:2:2], first[4:]...)),
		fmt.Sprintf("from %s hop limit 255: %x", routerLL, append(second[:2:2], second[4:]...)),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	blocked := make(chan error)
	go func() {
		_, _, _, err := c.ReadRA(b)
		blocked <- err
	}()
	time.Sleep(50 * time.Millisecond)
	if err := c.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := <-blocked; !errors.Is(err, net.ErrClosed) {
		t.Errorf("ReadRA after Close: %v, want net.ErrClosed", err)
	}
}

// A device beside the one that is listened on is not heard.
func TestConnIsBoundToItsDevice(t *testing.T) {
	w := newWire(t)
	w.ours.Veth("wan2", net.HardwareAddr{0, 0, 0x5e, 0, 0x53, 3}, w.router, "lan2", net.HardwareAddr{0, 0, 0x5e, 0, 0x53, 4})
	w.ours.Up("wan2")
	w.router.Up("lan2")
	w.ours.WaitUp("wan2")
	ifi := w.ours.Interface("wan2")
	var c Conn
	var err error
	w.ours.Do(func() { c, err = Listen(ifi) })
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	heard := make(chan struct{})
	go func() {
		if _, _, _, err := c.ReadRA(make([]byte, 1500)); err == nil {
			close(heard)
		}
	}()
	w.send(t, 255, advert(1800*time.Second))
	select {
	case <-heard:
		t.Error("heard an advertisement of another device")
	case <-time.After(300 * time.Millisecond):
	}
	if err := c.Solicit(netip.Addr{}); err != nil {
		t.Fatal(err)
	}
	w.solicitation(t) // the router's packet socket sees both devices
}

func TestListenError(t *testing.T) {
	ns := linktest.New(t)
	ns.Do(func() {
		c, err := Listen(&net.Interface{Index: 99, Name: "missing"})
		if err == nil {
			c.Close()
		}
		if !errors.Is(err, unix.ENODEV) || !strings.Contains(err.Error(), "missing") {
			t.Errorf("error %v, want one that names the device and wraps ENODEV", err)
		}
	})
}

// The whole client on the wire: a solicitation, an answer, a default router.
func TestClientOnTheWire(t *testing.T) {
	w := newWire(t)
	infos := make(chan Info, 10)
	client := New(Config{OnChange: func(i Info) { infos <- i }})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- client.Run(ctx) }()
	client.LinkUp(w.listen(t))
	if got := w.solicitation(t); !strings.HasPrefix(got, "from :: ") {
		t.Errorf("first solicitation %s", got)
	}
	w.ours.Address("wan", self.String()+"/64")
	client.SetSource(self)
	if got := w.solicitation(t); !strings.HasPrefix(got, "from "+self.String()) {
		t.Errorf("second solicitation %s", got)
	}
	w.send(t, 254, advert(900*time.Second))
	w.send(t, 255, advert(1800*time.Second, ndp.NewMTU(1500)))
	select {
	case i := <-infos:
		if len(i.Routers) != 1 || i.Routers[0].Addr.String() != routerLL || i.MTU != 1500 {
			t.Errorf("info: %s", summary(i))
		}
	case <-time.After(patience):
		t.Error("the advertisement was not heard")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
}
