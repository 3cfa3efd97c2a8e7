package dhcp6

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"golang.org/x/sys/unix"
)

// Listen returns the client's socket on ifi: UDP port 546 of its link-local
// address ll, which must not be tentative. It takes messages from any port and
// from any address, since servers and relay agents send from others than 547.
func Listen(ifi *net.Interface, ll netip.Addr) (Conn, error) {
	pc, err := listen(ifi, ll)
	if err != nil {
		return nil, fmt.Errorf("dhcp6: listen on %s: %w", ifi.Name, err)
	}
	return &udpConn{UDPConn: pc.(*net.UDPConn), zone: ifi.Name}, nil
}

// listen makes the socket by system calls: the options are needed before it is
// bound, and a net.ListenConfig would bring the resolver and TCP into the program.
func listen(ifi *net.Interface, ll netip.Addr) (net.PacketConn, error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), "dhcp6")
	defer f.Close() // the net.PacketConn has one of its own
	if err := unix.BindToDevice(fd, ifi.Name); err != nil {
		return nil, os.NewSyscallError("bind to device", err)
	}
	// After a change of the link the new socket is there before the old one is
	// closed.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return nil, os.NewSyscallError("setsockopt", err)
	}
	local := &unix.SockaddrInet6{Addr: ll.As16(), Port: dhcpv6.DefaultClientPort, ZoneId: uint32(ifi.Index)}
	if err := unix.Bind(fd, local); err != nil {
		return nil, os.NewSyscallError("bind", err)
	}
	return net.FilePacketConn(f)
}

type udpConn struct {
	*net.UDPConn
	zone string
}

func (c *udpConn) ReadFrom(b []byte) (int, netip.AddrPort, error) {
	return c.ReadFromUDPAddrPort(b)
}

func (c *udpConn) WriteTo(b []byte, to netip.AddrPort) error {
	to = netip.AddrPortFrom(to.Addr().WithZone(c.zone), to.Port())
	_, err := c.WriteToUDPAddrPort(b, to)
	return err
}
