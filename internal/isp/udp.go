package isp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

var allServers = netip.MustParseAddr("ff02::1:2") // All_DHCP_Relay_Agents_and_Servers

// dhcpConn is the DHCPv6 server's socket on a device.
type dhcpConn struct {
	in, out *ipv6.PacketConn // the same, unless answers come from another port
	ifi     *net.Interface
	ll      netip.Addr
}

// listenDHCP opens UDP port 547 on the device, in the servers' group. Answers
// come from address ll and, unless it is 0, from another port.
func listenDHCP(ifi *net.Interface, ll netip.Addr, sourcePort int) (PacketConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) error {
		var err error
		if e := rc.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), ifi.Name) }); e != nil {
			return e
		}
		return err
	}}
	open := func(port int) (*ipv6.PacketConn, error) {
		pc, err := lc.ListenPacket(context.Background(), "udp6", netip.AddrPortFrom(netip.IPv6Unspecified(), uint16(port)).String())
		if err != nil {
			return nil, fmt.Errorf("dhcp6: UDP port %d on %s: %w", port, ifi.Name, err)
		}
		return ipv6.NewPacketConn(pc), nil
	}
	in, err := open(547)
	if err != nil {
		return nil, err
	}
	if err := in.JoinGroup(ifi, &net.UDPAddr{IP: allServers.AsSlice()}); err != nil {
		in.Close()
		return nil, fmt.Errorf("dhcp6: joining %v on %s: %w", allServers, ifi.Name, err)
	}
	c := &dhcpConn{in: in, out: in, ifi: ifi, ll: ll}
	if sourcePort != 0 && sourcePort != 547 {
		if c.out, err = open(sourcePort); err != nil {
			in.Close()
			return nil, err
		}
	}
	return c, nil
}

func (c *dhcpConn) ReadFrom(b []byte) (int, netip.AddrPort, error) {
	n, _, src, err := c.in.ReadFrom(b)
	if err != nil {
		return 0, netip.AddrPort{}, err
	}
	return n, src.(*net.UDPAddr).AddrPort(), nil
}

func (c *dhcpConn) WriteTo(b []byte, to netip.AddrPort) error {
	_, err := c.out.WriteTo(b, &ipv6.ControlMessage{Src: c.ll.AsSlice(), IfIndex: c.ifi.Index},
		&net.UDPAddr{IP: to.Addr().AsSlice(), Port: int(to.Port()), Zone: zone(c.ifi)})
	return err
}

func (c *dhcpConn) Close() error {
	err := c.in.Close()
	if c.out != c.in {
		c.out.Close()
	}
	return err
}

// listenPhone opens UDP port 67 on the device.
func listenPhone(ifi *net.Interface) (PacketConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) error {
		var err error
		if e := rc.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), ifi.Name) }); e != nil {
			return e
		}
		return err
	}}
	pc, err := lc.ListenPacket(context.Background(), "udp4", "0.0.0.0:67")
	if err != nil {
		return nil, fmt.Errorf("dhcp4: UDP port 67 on %s: %w", ifi.Name, err)
	}
	return udpConn{pc.(*net.UDPConn)}, nil
}

// udpConn is a plain UDP socket.
type udpConn struct{ *net.UDPConn }

// listenUDP opens the RADIUS server's socket. It is bound to the one address, so
// that answers have it as their source.
func listenUDP(addr netip.AddrPort) (PacketConn, error) {
	c, err := net.ListenUDP("udp6", net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return nil, fmt.Errorf("radius: %w", err)
	}
	return udpConn{c}, nil
}

func (c udpConn) ReadFrom(b []byte) (int, netip.AddrPort, error) { return c.ReadFromUDPAddrPort(b) }

func (c udpConn) WriteTo(b []byte, to netip.AddrPort) error {
	_, err := c.WriteToUDPAddrPort(b, to)
	return err
}
