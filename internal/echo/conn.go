package echo

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// conn is a raw ICMP socket.
type conn struct{ sock net.PacketConn }

// dial opens a raw ICMP socket that is bound to a device and an address, and is
// handed replies and errors only.
func dial(device string, source netip.Addr) (Conn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) error {
		var err error
		return errors.Join(rc.Control(func(fd uintptr) {
			err = unix.BindToDevice(int(fd), device)
		}), err)
	}}
	sock, err := lc.ListenPacket(context.Background(), "ip4:icmp", source.String())
	if err != nil {
		return nil, err
	}
	var filter ipv4.ICMPFilter
	filter.SetAll(true)
	filter.Accept(ipv4.ICMPTypeEchoReply)
	for typ := range troubles {
		filter.Accept(ipv4.ICMPType(typ))
	}
	if err := ipv4.NewPacketConn(sock).SetICMPFilter(&filter); err != nil {
		sock.Close()
		return nil, err
	}
	return &conn{sock}, nil
}

func (c *conn) ReadFrom(b []byte) (int, netip.Addr, error) {
	n, addr, err := c.sock.ReadFrom(b)
	if err != nil {
		return 0, netip.Addr{}, err
	}
	var from netip.Addr
	if ip, ok := addr.(*net.IPAddr); ok {
		from, _ = netip.AddrFromSlice(ip.IP)
	}
	return n, from.Unmap(), nil
}

func (c *conn) WriteTo(b []byte, to netip.Addr) error {
	_, err := c.sock.WriteTo(b, &net.IPAddr{IP: to.AsSlice()})
	return err
}

func (c *conn) Close() error { return c.sock.Close() }
