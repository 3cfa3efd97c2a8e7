package dhcp4

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

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
	if _, _, err := c.Read(b); err == nil {
		t.Error("a closed socket is read")
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
