package dhcp4

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sofutobanku/internal/link/linktest"
)

// TestConn: a client without an address and a server with an ordinary socket hear each
// other, and the client hears nothing else.
func TestConn(t *testing.T) {
	client, server := linktest.New(t), linktest.New(t)
	client.Veth("wan", net.HardwareAddr{2, 0, 0x5e, 0, 0x53, 1}, server, "lan", net.HardwareAddr{2, 0, 0x5e, 0, 0x53, 2})
	client.Up("wan")
	server.IP("addr", "add", "198.51.100.1/30", "dev", "lan")
	server.Up("lan")

	var c *Conn
	var s, other *net.UDPConn
	var err error
	client.Do(func() { c, err = Listen(client.Interface("wan")) })
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	server.Do(func() {
		if s, err = net.ListenUDP("udp4", &net.UDPAddr{Port: serverPort}); err == nil {
			other, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(198, 51, 100, 1), Port: 9999})
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	defer other.Close()

	b := make([]byte, 1500)
	heard := false
	for range 50 { // a new device carries nothing for some time
		if err := c.Broadcast([]byte("discover")); err != nil {
			t.Fatal(err)
		}
		s.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		n, from, err := s.ReadFromUDPAddrPort(b)
		if err == nil {
			heard = true
			if string(b[:n]) != "discover" || from.String() != "0.0.0.0:68" {
				t.Fatalf("the server heard %q from %v", b[:n], from)
			}
			break
		}
	}
	if !heard {
		t.Fatal("the server heard nothing")
	}
	// To an address that the client does not have, as an Offer may go.
	server.IP("neigh", "add", "198.51.100.2", "lladdr", "02:00:5e:00:53:01", "dev", "lan")
	to := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr("198.51.100.2"), port) }
	for _, m := range []struct {
		text string
		port uint16
	}{{"elsewhere", 69}, {"offer", clientPort}} {
		if _, err := s.WriteToUDPAddrPort([]byte(m.text), to(m.port)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := other.WriteToUDPAddrPort([]byte("odd port"), to(clientPort)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"offer from 198.51.100.1:67", "odd port from 198.51.100.1:9999"} {
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		n, from, err := c.Read(b)
		if got := string(b[:n]) + " from " + from.String(); err != nil || got != want {
			t.Fatalf("got %q, %v, want %q", got, err, want)
		}
	}
	c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, _, err := c.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("then %v", err)
	}
	c.SetReadDeadline(time.Time{})
	go c.Close()
	if _, _, err := c.Read(b); !errors.Is(err, net.ErrClosed) {
		t.Errorf("of a closed socket: %v", err)
	}
}

// TestUnicast: what goes from the client's own address arrives, the answer is read, and
// without the address the kernel refuses.
func TestUnicast(t *testing.T) {
	client, server := linktest.New(t), linktest.New(t)
	client.Veth("wan", net.HardwareAddr{2, 0, 0x5e, 0, 0x53, 1}, server, "lan", net.HardwareAddr{2, 0, 0x5e, 0, 0x53, 2})
	client.Up("wan")
	server.IP("addr", "add", "198.51.100.1/30", "dev", "lan")
	server.Up("lan")
	own, to := netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("198.51.100.1")

	var c *Conn
	var s *net.UDPConn
	var err error
	server.Do(func() { s, err = net.ListenUDP("udp4", &net.UDPAddr{Port: serverPort}) })
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	send := func(text string) (err error) {
		client.Do(func() { err = c.Unicast([]byte(text), own, to) })
		return err
	}
	client.Do(func() { c, err = Listen(client.Interface("wan")) })
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := send("renew"); !errors.Is(err, unix.EADDRNOTAVAIL) {
		t.Errorf("from an address that the kernel does not have: %v", err)
	}
	client.IP("addr", "add", "198.51.100.2/30", "dev", "wan")
	b := make([]byte, 1500)
	for range 2 { // the socket of the first one is in nobody's way
		if err := send("renew"); err != nil {
			t.Fatal(err)
		}
		s.SetReadDeadline(time.Now().Add(5 * time.Second))
		n, from, err := s.ReadFromUDPAddrPort(b)
		if err != nil || string(b[:n]) != "renew" || from.String() != "198.51.100.2:68" {
			t.Fatalf("%q from %v, %v", b[:n], from, err)
		}
		if _, err := s.WriteToUDPAddrPort([]byte("ack"), from); err != nil {
			t.Fatal(err)
		}
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if n, from, err := c.Read(b); err != nil || string(b[:n]) != "ack" || from.String() != "198.51.100.1:67" {
			t.Fatalf("%q from %v, %v", b[:n], from, err)
		}
	}
}

// TestCheck: an address that a neighbour has is seen, one that nobody has is not.
func TestCheck(t *testing.T) {
	a, b := linktest.New(t), linktest.New(t)
	a.Veth("wan", net.HardwareAddr{2, 0, 0x5e, 0, 0x53, 1}, b, "lan", net.HardwareAddr{2, 0, 0x5e, 0, 0x53, 2})
	a.Up("wan")
	b.IP("addr", "add", "198.51.100.1/30", "dev", "lan")
	b.Up("lan")
	var c *Conn
	var err error
	a.Do(func() { c, err = Listen(a.Interface("wan")) })
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	check := func(ctx context.Context, ip string, strict bool) (mac net.HardwareAddr, err error) {
		a.Do(func() { mac, err = c.Check(ctx, netip.MustParseAddr(ip), strict, 0.5) })
		return mac, err
	}
	var mac net.HardwareAddr
	for range 20 { // a new device carries nothing for some time
		if mac, err = check(t.Context(), "198.51.100.1", false); err != nil {
			t.Fatal(err)
		}
		if mac != nil {
			break
		}
	}
	if mac.String() != "02:00:5e:00:53:02" {
		t.Errorf("the neighbour's address is %v's", mac)
	}
	if mac, err := check(t.Context(), "198.51.100.2", false); mac != nil || err != nil {
		t.Errorf("nobody's address is %v's, %v", mac, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := check(ctx, "198.51.100.2", true); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 2*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}

func TestConflictOf(t *testing.T) {
	own, other := [6]byte{2, 0, 0, 0, 0, 1}, [6]byte{2, 0, 0, 0, 0, 2}
	ip, zero := netip.MustParseAddr("198.51.100.2"), netip.IPv4Unspecified()
	answer := func(mac [6]byte, sender netip.Addr) []byte {
		b := arpRequest(mac, sender, netip.MustParseAddr("198.51.100.9"))
		b[7] = 2
		return b
	}
	for name, test := range map[string]struct {
		packet []byte
		want   bool
	}{
		"an answer":                {answer(other, ip), true},
		"an announcement":          {arpRequest(other, ip, ip), true},
		"who else wants it":        {arpRequest(other, zero, ip), true},
		"our own probe":            {arpRequest(own, zero, ip), false},
		"our own answer":           {answer(own, ip), false},
		"somebody else":            {answer(other, netip.MustParseAddr("198.51.100.1")), false},
		"who asks for it":          {arpRequest(other, netip.MustParseAddr("198.51.100.1"), ip), false},
		"cut":                      {arpRequest(other, ip, ip)[:27], false},
		"of another kind of link":  {append([]byte{0, 6}, arpRequest(other, ip, ip)[2:]...), false},
		"neither asked nor answer": {append(append([]byte{}, arpRequest(other, ip, ip)[:7]...), append([]byte{3}, arpRequest(other, ip, ip)[8:]...)...), false},
	} {
		if _, got := conflict(test.packet, own, ip); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestListenErrors(t *testing.T) {
	for _, ifi := range []*net.Interface{{Index: 1, Name: "lo"}, {Index: 1 << 30, Name: "gone", HardwareAddr: make(net.HardwareAddr, 6)}} {
		if c, err := Listen(ifi); err == nil {
			c.Close()
			t.Errorf("%s is listened on", ifi.Name)
		}
	}
}

// FuzzUnpack: no panic, and what pack made is read again when the ends are turned.
func FuzzUnpack(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		payload, _, ok := unpack(b, false)
		if ok && len(payload) > len(b) {
			t.Errorf("%d bytes out of %d", len(payload), len(b))
		}
		if len(b) > 1400 {
			return
		}
		p := pack(b)
		p[ipLen+1], p[ipLen+3] = p[ipLen+3], p[ipLen+1] // the ports: the checksum stays
		got, from, ok := unpack(p, false)
		if !ok || string(got) != string(b) || from.Port() != serverPort {
			t.Errorf("%x is read as %x from %v, %v", b, got, from, ok)
		}
	})
}
