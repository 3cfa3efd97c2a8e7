package echo

import (
	"errors"
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// conn is a raw ICMP socket.
type conn struct{ sock net.PacketConn }

// dial opens a raw ICMP socket that is bound to a device and an address, and is
// handed replies and errors only.
func dial(device string, source netip.Addr) (Conn, error) {
	// Not by a net.ListenConfig, which would bring the resolver and TCP into the
	// program. 1 is ICMP: by name it would be looked up in /etc/protocols.
	sock, err := net.ListenIP("ip4:1", &net.IPAddr{IP: source.AsSlice()})
	if err != nil {
		return nil, err
	}
	if err := bindToDevice(sock, device); err != nil {
		sock.Close()
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

func bindToDevice(sock *net.IPConn, device string) error {
	rc, err := sock.SyscallConn()
	if err != nil {
		return err
	}
	err2 := rc.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), device) })
	return errors.Join(err, err2)
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
