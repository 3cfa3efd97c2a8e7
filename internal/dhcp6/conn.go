package dhcp6

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"golang.org/x/sys/unix"
)

// Listen returns the client's socket on ifi: UDP port 546 of its link-local
// address ll, which must not be tentative. It takes messages from any port and
// from any address, since servers and relay agents send from others than 547.
func Listen(ifi *net.Interface, ll netip.Addr) (Conn, error) {
	local := netip.AddrPortFrom(ll.WithZone(ifi.Name), dhcpv6.DefaultClientPort)
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		ctlErr := raw.Control(func(fd uintptr) {
			if err = unix.BindToDevice(int(fd), ifi.Name); err != nil {
				return
			}
			// After a change of the link the new socket is there before the old
			// one is closed.
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		})
		if ctlErr != nil {
			return ctlErr
		}
		return err
	}}
	pc, err := lc.ListenPacket(context.Background(), "udp6", local.String())
	if err != nil {
		return nil, fmt.Errorf("dhcp6: listen on %s: %w", ifi.Name, err)
	}
	return &udpConn{UDPConn: pc.(*net.UDPConn), zone: ifi.Name}, nil
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
