package ra

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

var allRouters = netip.MustParseAddr("ff02::2")

// conn is the Conn of a network device.
type conn struct {
	ifi    *net.Interface
	pc     *ipv6.PacketConn
	packet int             // AF_PACKET socket, which only sends; -1 when closed
	addr   *netlink.Handle // asked for the state of the source address
}

// Listen opens a Conn on a device: a raw ICMPv6 socket that is bound to it and
// sees router advertisements only. It takes CAP_NET_RAW. The error wraps the
// system's.
func Listen(ifi *net.Interface) (Conn, error) {
	c, err := listen(ifi)
	if err != nil {
		return nil, fmt.Errorf("ra: listening on %s: %w", ifi.Name, err)
	}
	return c, nil
}

func listen(ifi *net.Interface) (*conn, error) {
	// Not by a net.ListenConfig, which would bring the resolver and TCP into the
	// program. 58 is ICMPv6: by name it would be looked up in /etc/protocols.
	sock, err := net.ListenIP("ip6:58", &net.IPAddr{IP: net.IPv6unspecified})
	if err != nil {
		return nil, err
	}
	if err := bindToDevice(sock, ifi.Name); err != nil {
		sock.Close()
		return nil, err
	}
	c := &conn{ifi: ifi, pc: ipv6.NewPacketConn(sock), packet: -1}
	var filter ipv6.ICMPFilter
	filter.SetAll(true)
	filter.Accept(ipv6.ICMPTypeRouterAdvertisement)
	err = errors.Join(
		c.pc.SetICMPFilter(&filter),
		c.pc.SetControlMessage(ipv6.FlagHopLimit|ipv6.FlagInterface, true),
		c.pc.SetMulticastHopLimit(255),
	)
	if err == nil {
		// With protocol 0 it receives nothing.
		c.packet, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	}
	if err == nil {
		// NETLINK_ROUTE alone: the other families may be missing.
		c.addr, err = netlink.NewHandle(unix.NETLINK_ROUTE)
	}
	if err == nil {
		err = c.addr.SetSocketTimeout(time.Second)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func bindToDevice(sock *net.IPConn, device string) error {
	rc, err := sock.SyscallConn()
	if err != nil {
		return err
	}
	err2 := rc.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), device) })
	return errors.Join(err, err2)
}

func (c *conn) Close() error {
	err := c.pc.Close()
	if c.packet >= 0 {
		unix.Close(c.packet)
		c.packet = -1
	}
	if c.addr != nil {
		c.addr.Close()
	}
	return err
}

func (c *conn) ReadRA(b []byte) (n int, from netip.Addr, hopLimit int, err error) {
	for {
		n, cm, src, err := c.pc.ReadFrom(b)
		if err != nil {
			return 0, netip.Addr{}, 0, err
		}
		hopLimit = -1
		if cm != nil {
			if cm.IfIndex != 0 && cm.IfIndex != c.ifi.Index {
				continue // it came between the socket's making and its binding
			}
			hopLimit = cm.HopLimit
		}
		if ip, ok := src.(*net.IPAddr); ok {
			from, _ = netip.AddrFromSlice(ip.IP)
		}
		return n, from, hopLimit, nil
	}
}

func (c *conn) Solicit(src netip.Addr) error {
	if src.IsValid() {
		err := c.solicitFrom(src)
		if err == nil {
			return nil
		}
		// The address went meanwhile; a solicitation without one is as good.
		if err2 := c.solicitUnspecified(); err2 != nil {
			return errors.Join(err, err2)
		}
		return nil
	}
	return c.solicitUnspecified()
}

// solicitFrom sends a solicitation from src by the kernel's IPv6.
func (c *conn) solicitFrom(src netip.Addr) error {
	body := make([]byte, 4) // reserved
	if mac := c.ifi.HardwareAddr; len(mac) == 6 && !c.optimistic(src) {
		body = append(body, 1, 1) // source link-layer address, 8 bytes
		body = append(body, mac...)
	}
	msg, err := solicitation(body, nil)
	if err != nil {
		return err
	}
	cm := &ipv6.ControlMessage{Src: src.AsSlice()} // the socket has the device and the hop limit
	_, err = c.pc.WriteTo(msg, cm, &net.IPAddr{IP: allRouters.AsSlice(), Zone: c.ifi.Name})
	if err != nil {
		return fmt.Errorf("ra: soliciting from %s on %s: %w", src, c.ifi.Name, err)
	}
	return nil
}

// optimistic tells whether src is still being checked for duplicates: such an
// address must not be sent with a link-layer address, as that would overwrite
// what the router knows of the true owner (RFC 4429 3.2).
func (c *conn) optimistic(src netip.Addr) bool {
	dev := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: c.ifi.Index}}
	addrs, err := c.addr.AddrList(dev, netlink.FAMILY_V6)
	return err == nil && slices.ContainsFunc(addrs, func(a netlink.Addr) bool {
		return a.Flags&unix.IFA_F_OPTIMISTIC != 0 && a.IP.Equal(src.AsSlice())
	})
}

// solicitUnspecified sends a solicitation from the unspecified address. The
// kernel's IPv6 has no such source to offer, so the whole packet is made here.
func (c *conn) solicitUnspecified() error {
	fail := func(err error) error {
		return fmt.Errorf("ra: soliciting from :: on %s: %w", c.ifi.Name, err)
	}
	msg, err := solicitation(make([]byte, 4), icmp.IPv6PseudoHeader(net.IPv6unspecified, allRouters.AsSlice()))
	if err != nil {
		return fail(err)
	}
	packet := make([]byte, ipv6.HeaderLen, ipv6.HeaderLen+len(msg))
	packet[0] = 6 << 4
	packet[5] = byte(len(msg))
	packet[6] = unix.IPPROTO_ICMPV6
	packet[7] = 255 // hop limit
	copy(packet[24:], allRouters.AsSlice())
	packet = append(packet, msg...)

	to := &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_IPV6), Ifindex: c.ifi.Index}
	if len(c.ifi.HardwareAddr) == 6 {
		to.Halen = 6
		copy(to.Addr[:], []byte{0x33, 0x33, 0, 0, 0, 2}) // RFC 2464 7
	}
	if err := unix.Sendto(c.packet, packet, 0, to); err != nil {
		return fail(err)
	}
	return nil
}

func htons(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

// solicitation is a router solicitation with what follows its ICMPv6 header;
// its checksum is left to the kernel when there is no pseudo header.
func solicitation(body, pseudoHeader []byte) ([]byte, error) {
	m := icmp.Message{Type: ipv6.ICMPTypeRouterSolicitation, Body: &icmp.RawBody{Data: body}}
	return m.Marshal(pseudoHeader)
}
