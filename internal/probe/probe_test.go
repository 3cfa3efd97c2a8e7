package probe

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/ndp"

	"sofutobanku/internal/link/linktest"
)

var (
	selfMAC  = net.HardwareAddr{0, 0, 0x5e, 0, 0x53, 1}
	otherMAC = net.HardwareAddr{0, 0, 0x5e, 0, 0x53, 2}
)

// wire is two machines and a link between them; the far one has hosts behind it.
//
//	ours: wan 192.0.2.2/24, 2001:db8::2/64 ------- far 192.0.2.1/24, 2001:db8::1/64 :beyond
//	                                                lo 198.51.100.1, 2001:db8:f::1
func wire(t *testing.T) (ours, beyond *linktest.Namespace) {
	ours, beyond = linktest.New(t), linktest.New(t)
	ours.Veth("wan", selfMAC, beyond, "far", otherMAC)
	for dev, n := range map[string]*linktest.Namespace{"wan": ours, "far": beyond} {
		n.Sysctl("ipv6/conf/"+dev+"/accept_dad", "0")
		n.Sysctl("ipv6/conf/"+dev+"/accept_ra", "0")
		n.Up(dev)
	}
	ours.WaitUp("wan")
	beyond.WaitUp("far")
	ours.Address("wan", "192.0.2.2/24")
	ours.Address("wan", "2001:db8::2/64")
	beyond.Address("far", "192.0.2.1/24")
	beyond.Address("far", "2001:db8::1/64")
	beyond.Address("lo", "198.51.100.1/32")
	beyond.Address("lo", "2001:db8:f::1/128")
	beyond.Sysctl("ipv4/ip_forward", "1")
	beyond.Sysctl("ipv6/conf/all/forwarding", "1")
	beyond.Address("far", "fe80::1/64")
	ours.IP("route", "add", "default", "via", "192.0.2.1")
	ours.IP("-6", "route", "add", "default", "via", "2001:db8::1")
	return ours, beyond
}

func way(source, target string) Way {
	return Way{Source: netip.MustParseAddr(source), Target: netip.MustParseAddr(target)}
}

func measure(t *testing.T, n *linktest.Namespace, w Way, most int) (p Path) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var err error
	n.Do(func() { p, err = Measure(ctx, Raw, w, most) })
	n.Must(err)
	return p
}

func TestMeasure(t *testing.T) {
	ours, beyond := wire(t)
	for _, tt := range []struct {
		name string
		mtu  string // of the far end, a veth: longer than that and a VLAN tag is dropped
		way  Way
		most int
		want Path
	}{
		{"IPv6", "1500", way("2001:db8::2", "2001:db8:f::1"), 1500, Path{Answered: true, MTU: 1500, Most: 1500}},
		{"IPv4", "1500", way("192.0.2.2", "198.51.100.1"), 1500, Path{Answered: true, MTU: 1500, Most: 1500}},
		{"IPv6 over a narrow link", "1296", way("2001:db8::2", "2001:db8:f::1"), 1500, Path{Answered: true, MTU: 1300, Most: 1500}},
		{"of an odd size", "1391", way("2001:db8::2", "2001:db8:f::1"), 1500, Path{Answered: true, MTU: 1395, Most: 1500}},
		{"IPv4 over a narrow link", "1437", way("192.0.2.2", "198.51.100.1"), 1500, Path{Answered: true, MTU: 1441, Most: 1500}},
		{"no larger than asked for", "1500", way("192.0.2.2", "198.51.100.1"), 1460, Path{Answered: true, MTU: 1460, Most: 1460}},
		{"one echo alone", "1500", way("192.0.2.2", "198.51.100.1"), 0, Path{Answered: true, MTU: smallest, Most: smallest}},
		{"larger than the device", "1500", way("192.0.2.2", "198.51.100.1"), 1600, Path{Answered: true, MTU: 1500, Most: 1600}},
		{"nobody", "1500", way("192.0.2.2", "192.0.2.77"), 1500, Path{}},
		{"no such host", "1500", way("2001:db8::2", "2001:db8:f::2"), 1500, Path{Trouble: "destination unreachable (code 0) from 2001:db8::1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.name == "no such host" {
				beyond.IP("-6", "route", "replace", "unreachable", "2001:db8:f::/64")
			}
			beyond.IP("link", "set", "far", "mtu", tt.mtu)
			got := measure(t, ours, tt.way, tt.most)
			if got.Answered != (got.RTT > 0) {
				t.Errorf("RTT %v", got.RTT)
			}
			got.RTT = 0
			if tt.name == "nobody" {
				got.Trouble = "" // that there is no such host is told, or not yet
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestMeasureWithoutAddress(t *testing.T) {
	ours, _ := wire(t)
	var err error
	ours.Do(func() { _, err = Measure(t.Context(), Raw, way("192.0.2.99", "198.51.100.1"), 0) })
	if err == nil || !strings.Contains(err.Error(), "from 192.0.2.99 to 198.51.100.1") {
		t.Errorf("error %v", err)
	}
}

func TestLookAround(t *testing.T) {
	ours, beyond := wire(t)
	// The far machine advertises itself when it is solicited, and has a DHCPv6 client.
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var err error
	answered := make(chan error, 1)
	beyond.Do(func() {
		var ifi *net.Interface
		if ifi, err = net.InterfaceByName("far"); err != nil {
			return
		}
		var c *ndp.Conn
		if c, _, err = ndp.Listen(ifi, ndp.Addr("fe80::1")); err != nil {
			return
		}
		t.Cleanup(func() { c.Close() })
		if err = c.JoinGroup(netip.MustParseAddr("ff02::2")); err != nil {
			return
		}
		dhcp, e := net.DialUDP("udp6", nil, &net.UDPAddr{IP: net.ParseIP("ff02::1:2"), Port: 547, Zone: "far"})
		if err = e; err != nil {
			return
		}
		t.Cleanup(func() { dhcp.Close() })
		go func() {
			for {
				m, _, _, err := c.ReadFrom()
				if err != nil {
					answered <- err
					return
				}
				if _, ok := m.(*ndp.RouterSolicitation); !ok {
					continue
				}
				ra := &ndp.RouterAdvertisement{ManagedConfiguration: true, RouterLifetime: 30 * time.Minute}
				dhcp.Write([]byte{1, 0, 0, 7, 0, 25, 0, 0})
				answered <- c.WriteTo(ra, nil, netip.MustParseAddr("ff02::1"))
				return
			}
		}()
	})
	beyond.Must(err)
	var got Segment
	ours.Do(func() {
		var ifi *net.Interface
		if ifi, err = net.InterfaceByName("wan"); err == nil {
			got, err = LookAround(ctx, ifi, time.Second)
		}
	})
	ours.Must(err)
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	ll := netip.MustParseAddr("fe80::200:5eff:fe00:5302")
	want := Segment{
		Routers:    []Advertiser{{Addr: netip.MustParseAddr("fe80::1"), MAC: otherMAC.String(), Lifetime: 30 * time.Minute, Managed: true}},
		Neighbours: []Neighbour{{Addr: ll, MAC: otherMAC.String(), Router: true}},
		Clients:    []Client{{Addr: ll, MAC: otherMAC.String(), Delegation: true}},
	}
	for _, a := range []*netip.Addr{&got.Clients[0].Addr, &got.Neighbours[0].Addr} {
		if *a == netip.MustParseAddr("fe80::1") {
			*a = ll // it has both, and chooses
		}
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// With nobody there it ends when its time is over.
func TestLookAroundAlone(t *testing.T) {
	ours, beyond := wire(t)
	beyond.Sysctl("ipv6/conf/far/disable_ipv6", "1")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	start := time.Now()
	var got Segment
	var err error
	ours.Do(func() {
		var ifi *net.Interface
		if ifi, err = net.InterfaceByName("wan"); err == nil {
			got, err = LookAround(ctx, ifi, 100*time.Millisecond)
		}
	})
	ours.Must(err)
	if diff := cmp.Diff(Segment{}, got); diff != "" || time.Since(start) > 5*time.Second {
		t.Errorf("after %v:\n%s", time.Since(start), diff)
	}
}

// server answers each datagram with what answer makes of it, nil for nothing.
func server(t *testing.T, answer func([]byte) []byte) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		b := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFromUDP(b)
			if err != nil {
				return
			}
			if a := answer(b[:n:n]); a != nil {
				conn.WriteToUDP(a, from)
			}
		}
	}()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

func TestDNS(t *testing.T) {
	reply := func(code byte) func([]byte) []byte {
		return func(q []byte) []byte {
			a := append([]byte{}, q...)
			a[2] |= 0x80
			a[3] |= code
			return a
		}
	}
	for _, tt := range []struct {
		name   string
		answer func([]byte) []byte
		err    string
	}{
		{"an answer", reply(0), ""},
		{"a refusal", reply(5), "refused"},
		{"a code without a name", reply(9), "error code 9"},
		{"the query itself, and junk", func(q []byte) []byte { return q }, "no answer"},
		{"too short", func(q []byte) []byte { return q[:3] }, "no answer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			_, err := DNS(ctx, server(t, tt.answer))
			if (err == nil) != (tt.err == "") || err != nil && err.Error() != tt.err {
				t.Errorf("%v, want %q", err, tt.err)
			}
		})
	}
	t.Run("nobody", func(t *testing.T) {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		addr := conn.LocalAddr().(*net.UDPAddr).AddrPort()
		conn.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if _, err := DNS(ctx, addr); err == nil || err.Error() != "connection refused" {
			t.Errorf("%v", err)
		}
	})
}

func TestClock(t *testing.T) {
	at := func(ahead time.Duration, stratum byte) func([]byte) []byte {
		return func(q []byte) []byte {
			a := make([]byte, 48)
			a[0], a[1] = 4<<3|4, stratum
			copy(a[24:32], q[40:48])
			now := time.Now().Add(ahead)
			binary.BigEndian.PutUint32(a[40:], uint32(now.Unix()+2208988800))
			return a
		}
	}
	for _, tt := range []struct {
		name   string
		answer func([]byte) []byte
		want   time.Duration
		err    string
	}{
		{"on time", at(0, 2), 0, ""},
		{"an hour behind", at(time.Hour, 2), time.Hour, ""},
		{"in the next era of NTP", at(12*365*24*time.Hour, 2), 12 * 365 * 24 * time.Hour, ""},
		{"a server that does not know", at(0, 16), 0, "it does not know the time itself"},
		{"an answer to somebody else", func([]byte) []byte { return make([]byte, 48) }, 0, "no answer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			got, err := Clock(ctx, server(t, tt.answer))
			if (err == nil) != (tt.err == "") || err != nil && err.Error() != tt.err || (got-tt.want).Abs() > 2*time.Second {
				t.Errorf("%v, %v, want %v, %q", got, err, tt.want, tt.err)
			}
		})
	}
}
