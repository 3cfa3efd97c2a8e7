package dhcp6

import (
	"errors"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sofutobanku/internal/link/linktest"
)

// TestListen, on a link of two namespaces:
//
//	wan0 (fe80::1, the client) ===veth=== wan1 (fe80::2, joined ff02::1:2)
func TestListen(t *testing.T) {
	ours, server := linktest.New(t), linktest.New(t)
	ours.Veth("wan0", net.HardwareAddr{0, 0, 0x5e, 0, 0x53, 1}, server, "wan1", net.HardwareAddr{0, 0, 0x5e, 0, 0x53, 2})
	ours.Up("wan0")
	server.Up("wan1")
	ours.WaitUp("wan0")
	server.WaitUp("wan1")
	ours.Address("wan0", "fe80::1/64")
	server.Address("wan1", "fe80::2/64")
	ifi, peer := ours.Interface("wan0"), server.Interface("wan1")
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	// The zone is a name in the namespace that package net saw first.
	same := func(got netip.AddrPort, want string) bool {
		return netip.AddrPortFrom(got.Addr().WithZone(""), got.Port()) == netip.MustParseAddrPort(want)
	}
	listen := func(ifi *net.Interface, ll string) (c Conn, err error) {
		ours.Do(func() { c, err = Listen(ifi, netip.MustParseAddr(ll)) })
		return c, err
	}

	first, err := listen(ifi, "fe80::1")
	check(err)
	// The second socket of a changed link is there before the first is closed.
	c, err := listen(ifi, "fe80::1")
	check(err)
	check(first.Close())
	defer c.Close()

	var group *net.UDPConn
	server.Do(func() { group, err = net.ListenUDP("udp6", &net.UDPAddr{Port: 547}) })
	check(err)
	defer group.Close()
	raw, err := group.SyscallConn()
	check(err)
	check(raw.Control(func(fd uintptr) {
		join := &unix.IPv6Mreq{Multiaddr: allServers.Addr().As16(), Interface: uint32(peer.Index)}
		err = unix.SetsockoptIPv6Mreq(int(fd), unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, join)
	}))
	check(err)
	check(c.WriteTo([]byte("question"), allServers))
	b := make([]byte, 100)
	check(group.SetReadDeadline(time.Now().Add(5 * time.Second)))
	n, from, err := group.ReadFromUDPAddrPort(b)
	check(err)
	if want := "[fe80::1]:546"; string(b[:n]) != "question" || !same(from, want) {
		t.Errorf("%q from %v, want it from %v", b[:n], from, want)
	}

	// The answer comes from a port that is not 547.
	var odd *net.UDPConn
	server.Do(func() { odd, err = net.ListenUDP("udp6", &net.UDPAddr{Port: 40000}) })
	check(err)
	defer odd.Close()
	_, err = odd.WriteToUDP([]byte("answer"), &net.UDPAddr{IP: net.ParseIP("fe80::1"), Port: 546, Zone: strconv.Itoa(peer.Index)})
	check(err)
	n, from, err = c.ReadFrom(b)
	check(err)
	if want := "[fe80::2]:40000"; string(b[:n]) != "answer" || !same(from, want) {
		t.Errorf("%q from %v, want it from %v", b[:n], from, want)
	}

	// Close ends a read that blocks.
	ended := make(chan error, 1)
	go func() { _, _, err := c.ReadFrom(make([]byte, 100)); ended <- err }()
	check(c.Close())
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("read after Close: %v", err)
	}

	if _, err := listen(ifi, "fe80::9"); err == nil {
		t.Error("an address that is not there is listened on")
	}
	if _, err := listen(&net.Interface{Name: "gone0"}, "fe80::1"); err == nil {
		t.Error("a device that is not there is listened on")
	}
}
