package probe

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// Raw opens a raw socket, which takes CAP_NET_RAW. The kernel's own idea of the path's
// MTU is left aside, and not changed.
func Raw(w Way) (Conn, error) {
	// 1 and 58 are ICMP and ICMPv6: by name they would be looked up in /etc/protocols.
	network := "ip4:1"
	if w.Target.Is6() {
		network = "ip6:58"
	}
	sock, err := net.ListenIP(network, &net.IPAddr{IP: w.Source.AsSlice(), Zone: zone(w)})
	if err != nil {
		return nil, err
	}
	c := &conn{IPConn: sock, to: &net.IPAddr{IP: w.Target.AsSlice(), Zone: zone(w)}}
	if w.Target.Is6() {
		var f ipv6.ICMPFilter
		f.SetAll(true)
		f.Accept(ipv6.ICMPTypeEchoReply)
		for typ := range troubles6 {
			f.Accept(ipv6.ICMPType(typ))
		}
		err = errors.Join(ipv6.NewPacketConn(sock).SetICMPFilter(&f),
			setInt(sock, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE),
			setInt(sock, unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG, 1))
	} else {
		var f ipv4.ICMPFilter
		f.SetAll(true)
		f.Accept(ipv4.ICMPTypeEchoReply)
		for typ := range troubles4 {
			f.Accept(ipv4.ICMPType(typ))
		}
		err = errors.Join(ipv4.NewPacketConn(sock).SetICMPFilter(&f),
			setInt(sock, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE))
	}
	if err == nil && w.Device != "" {
		err = bindToDevice(sock, w.Device)
	}
	if err != nil {
		sock.Close()
		return nil, err
	}
	return c, nil
}

func zone(w Way) string {
	if w.Target.IsLinkLocalUnicast() || w.Target.IsLinkLocalMulticast() {
		return w.Device
	}
	return ""
}

type conn struct {
	*net.IPConn
	to *net.IPAddr
}

func (c *conn) Write(b []byte) error {
	_, err := c.WriteTo(b, c.to)
	return err
}

func (c *conn) Read(b []byte) (int, netip.Addr, error) {
	n, addr, err := c.ReadFrom(b)
	if err != nil {
		return 0, netip.Addr{}, err
	}
	from, _ := netip.AddrFromSlice(addr.(*net.IPAddr).IP)
	return n, from, nil
}

func setInt(sock syscall.Conn, level, option, value int) error {
	return control(sock, func(fd int) error { return unix.SetsockoptInt(fd, level, option, value) })
}

func bindToDevice(sock syscall.Conn, device string) error {
	if err := control(sock, func(fd int) error { return unix.BindToDevice(fd, device) }); err != nil {
		return fmt.Errorf("bind to device %s: %w", device, err)
	}
	return nil
}

func control(sock syscall.Conn, f func(fd int) error) error {
	rc, err := sock.SyscallConn()
	if err != nil {
		return err
	}
	err2 := rc.Control(func(fd uintptr) { err = f(int(fd)) })
	return errors.Join(err, err2)
}
