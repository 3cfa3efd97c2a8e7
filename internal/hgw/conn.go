package hgw

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// Listen opens the server's sockets on an Ethernet device, whose link-local address ll
// must not be tentative: UDP port 547, and raw ICMPv6, which takes CAP_NET_RAW. The
// error wraps the system's, such as EADDRINUSE.
func Listen(ifi *net.Interface, ll netip.Addr) (Sockets, error) {
	s, err := listen(ifi, ll)
	if err != nil {
		return Sockets{}, fmt.Errorf("hgw: listen on %s: %w", ifi.Name, err)
	}
	return s, nil
}

func listen(ifi *net.Interface, ll netip.Addr) (Sockets, error) {
	if len(ifi.HardwareAddr) != 6 {
		return Sockets{}, fmt.Errorf("its address %q is not an Ethernet one", ifi.HardwareAddr)
	}
	// Both send from ll, whatever other addresses the device has.
	from := net.IP(ll.AsSlice())
	// The group is All_DHCP_Relay_Agents_and_Servers, ff02::1:2.
	udp, err := socket(ifi, unix.SOCK_DGRAM, 0, [16]byte{0xff, 2, 13: 1, 15: 2})
	if err != nil {
		return Sockets{}, fmt.Errorf("UDP port %d: %w", dhcpv6.DefaultServerPort, err)
	}
	icmp, err := socket(ifi, unix.SOCK_RAW, unix.IPPROTO_ICMPV6, netip.IPv6LinkLocalAllRouters().As16())
	if err == nil {
		var filter ipv6.ICMPFilter
		filter.SetAll(true)
		filter.Accept(ipv6.ICMPTypeRouterSolicitation)
		if err = errors.Join(
			icmp.SetICMPFilter(&filter),
			icmp.SetControlMessage(ipv6.FlagHopLimit, true),
			icmp.SetMulticastHopLimit(255),
		); err != nil {
			icmp.Close()
		}
	}
	if err != nil {
		udp.Close()
		return Sockets{}, fmt.Errorf("raw ICMPv6: %w", err)
	}
	return Sockets{
		DHCP: &conn{udp, from},
		RA:   &conn{icmp, from},
		MAC:  ifi.HardwareAddr,
	}, nil
}

// socket makes a socket that is bound to a device, UDP to the servers' port too, and in a
// group. By system calls: a net.ListenConfig would bring the resolver and TCP into the
// program.
func socket(ifi *net.Interface, kind, protocol int, group [16]byte) (*ipv6.PacketConn, error) {
	fd, err := unix.Socket(unix.AF_INET6, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), "hgw")
	defer f.Close() // the net.PacketConn has one of its own
	if err := unix.BindToDevice(fd, ifi.Name); err != nil {
		return nil, os.NewSyscallError("bind to device", err)
	}
	if kind == unix.SOCK_DGRAM {
		if err := unix.Bind(fd, &unix.SockaddrInet6{Port: dhcpv6.DefaultServerPort}); err != nil {
			return nil, os.NewSyscallError("bind", err)
		}
	}
	join := &unix.IPv6Mreq{Multiaddr: group, Interface: uint32(ifi.Index)}
	if err := errors.Join(
		unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, join),
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, 0),
	); err != nil {
		return nil, fmt.Errorf("joining its group: %w", err)
	}
	pc, err := net.FilePacketConn(f)
	if err != nil {
		return nil, err
	}
	return ipv6.NewPacketConn(pc), nil
}

// conn is the dhcp6.Conn and the RAConn of a device.
type conn struct {
	*ipv6.PacketConn
	from net.IP
}

func (c *conn) ReadFrom(b []byte) (int, netip.AddrPort, error) {
	n, _, from, err := c.PacketConn.ReadFrom(b)
	if err != nil {
		return 0, netip.AddrPort{}, err
	}
	return n, from.(*net.UDPAddr).AddrPort(), nil
}

func (c *conn) WriteTo(b []byte, to netip.AddrPort) error {
	return c.send(b, &net.UDPAddr{IP: to.Addr().AsSlice(), Port: int(to.Port())})
}

func (c *conn) ReadRS(b []byte) (n int, from netip.Addr, hopLimit int, err error) {
	n, cm, addr, err := c.PacketConn.ReadFrom(b)
	if err != nil {
		return 0, from, 0, err
	}
	if cm != nil {
		hopLimit = cm.HopLimit
	}
	from, _ = netip.AddrFromSlice(addr.(*net.IPAddr).IP)
	return n, from, hopLimit, nil
}

func (c *conn) WriteRA(b []byte) error {
	return c.send(b, &net.IPAddr{IP: net.IPv6linklocalallnodes})
}

func (c *conn) send(b []byte, to net.Addr) error {
	_, err := c.PacketConn.WriteTo(b, &ipv6.ControlMessage{Src: c.from}, to)
	return err
}
