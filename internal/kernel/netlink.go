package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"sofutobanku/internal/state"
)

// ignoreEncapLimit is IP6_TNL_F_IGN_ENCAP_LIMIT of linux/ip6_tunnel.h: packets
// carry no tunnel encapsulation limit option (RFC 2473 4.1.1).
const ignoreEncapLimit = 0x1

// tunnelFlags are the flags that are configuration; the higher ones are the
// kernel's own notes.
const tunnelFlags = 0x7f

// conn is netlink in one network namespace.
type conn struct {
	*netlink.Handle
	sockets map[int]*nl.SocketHandle // for setAddress
	names   map[int]string           // of the devices that link found, by index
}

func dial() (*conn, error) {
	// Of NETLINK_ROUTE alone: other families need not be in the kernel.
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	s, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		h.Close()
		return nil, err
	}
	return &conn{h, map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: s}}, map[int]string{1: "lo"}}, nil
}

func (c *conn) close() {
	c.Handle.Close()
	for _, s := range c.sockets {
		s.Close()
	}
}

// link returns the device of that name, nil if there is none.
func (c *conn) link(name string) (netlink.Link, error) {
	l, err := c.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("kernel: look up device %s: %w", name, err)
	}
	c.names[l.Attrs().Index] = name
	return l, nil
}

// place is where an address lives: a device has it once, whatever its length.
type place struct {
	index int
	addr  netip.Addr
}

type haveAddress struct {
	prefix           netip.Prefix
	flags            uint32
	preferred, valid uint32
}

// actual is what the kernel has: all addresses, and the routes of our protocol.
type actual struct {
	addresses map[place]haveAddress
	routes    map[route]bool
}

func (c *conn) list() (*actual, error) {
	have := &actual{map[place]haveAddress{}, map[route]bool{}}
	addrs, err := again(func() ([]netlink.Addr, error) { return c.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("kernel: list addresses: %w", err)
	}
	for _, a := range addrs {
		if p, ok := fromIPNet(a.IPNet); ok {
			// The library keeps lifetimes in an int, in which the infinite one
			// is -1 on a 32-bit machine.
			have.addresses[place{a.LinkIndex, p.Addr()}] = haveAddress{p, uint32(a.Flags), uint32(a.PreferedLft), uint32(a.ValidLft)}
		}
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := again(func() ([]netlink.Route, error) {
			return c.RouteListFiltered(family, &netlink.Route{Protocol: RouteProtocol}, netlink.RT_FILTER_PROTOCOL)
		})
		if err != nil {
			return nil, fmt.Errorf("kernel: list routes: %w", err)
		}
		for _, r := range routes {
			dst, ok := fromIPNet(r.Dst)
			if !ok {
				continue
			}
			via, _ := netip.AddrFromSlice(r.Gw)
			x := route{Index: r.LinkIndex, Dst: dst, Via: via, Metric: r.Priority, Unreachable: r.Type == unix.RTN_UNREACHABLE}
			if x.Unreachable {
				x.Index = 0 // the kernel says lo
			}
			have.routes[x] = true
		}
	}
	return have, nil
}

// again repeats a dump that was interrupted by a change meanwhile.
func again[T any](dump func() (T, error)) (v T, err error) {
	for range 10 {
		if v, err = dump(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return v, err
}

// setAddress adds an address, or changes flags and lifetimes of an existing
// one. It is written here because the library leaves the lifetimes out when
// neither is positive as an int, which on a 32-bit machine is so for infinite
// and 0: a deprecated address would be a preferred one there.
func (c *conn) setAddress(a wantAddress, add bool) error {
	flags := unix.NLM_F_ACK | unix.NLM_F_REPLACE
	if add {
		flags = unix.NLM_F_ACK | unix.NLM_F_CREATE | unix.NLM_F_EXCL
	}
	req := nl.NewNetlinkRequest(unix.RTM_NEWADDR, flags)
	req.Sockets = c.sockets
	ip := a.Prefix.Addr()
	msg := nl.NewIfAddrmsg(unix.AF_INET6)
	if ip.Is4() {
		msg.Family = unix.AF_INET
	}
	msg.Prefixlen, msg.Index = uint8(a.Prefix.Bits()), uint32(a.Index)
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.IFA_LOCAL, ip.AsSlice()))
	req.AddData(nl.NewRtAttr(unix.IFA_ADDRESS, ip.AsSlice()))
	req.AddData(nl.NewRtAttr(unix.IFA_FLAGS, nl.Uint32Attr(a.flags)))
	var life [unix.SizeofIfaCacheinfo]byte
	binary.NativeEndian.PutUint32(life[0:], a.preferred)
	binary.NativeEndian.PutUint32(life[4:], a.valid)
	req.AddData(nl.NewRtAttr(unix.IFA_CACHEINFO, life[:]))
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

func (c *conn) deleteAddress(a address) error {
	return c.AddrDel(nil, &netlink.Addr{IPNet: toIPNet(a.Prefix), LinkIndex: a.Index})
}

// waitLocal waits until packets to an address that was just added reach it: the
// kernel makes the route that delivers them a little later, in the background.
func (c *conn) waitLocal(a address) {
	want := &netlink.Route{Table: unix.RT_TABLE_LOCAL, LinkIndex: a.Index, Dst: toIPNet(a.Prefix)}
	for range 100 {
		r, err := c.RouteListFiltered(netlink.FAMILY_V6, want, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_OIF|netlink.RT_FILTER_DST)
		if err == nil && len(r) > 0 {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (c *conn) setRoute(r route, replace bool) error {
	if replace {
		return c.RouteReplace(r.netlink())
	}
	return c.RouteAdd(r.netlink())
}

func (c *conn) deleteRoute(r route) error { return c.RouteDel(r.netlink()) }

func (r route) netlink() *netlink.Route {
	n := &netlink.Route{LinkIndex: r.Index, Dst: toIPNet(r.Dst), Priority: r.Metric, Protocol: RouteProtocol}
	if r.Via.IsValid() {
		n.Gw = r.Via.AsSlice()
	} else if r.Dst.Addr().Is4() {
		n.Scope = netlink.SCOPE_LINK
	}
	if r.Unreachable {
		n.Type = unix.RTN_UNREACHABLE
	}
	return n
}

// tunnelLink is the device of t. It is bound to no other device: the kernel
// would then look for the local address on that one alone, and with a
// delegated prefix the address is not there.
func tunnelLink(name string, t *state.Tunnel) *netlink.Ip6tnl {
	l := &netlink.Ip6tnl{
		LinkAttrs: netlink.NewLinkAttrs(),
		Local:     t.Local.AsSlice(),
		Remote:    t.Remote.AsSlice(),
		Ttl:       uint8(t.TTL),
		Proto:     unix.IPPROTO_IPIP,
	}
	l.Name, l.MTU, l.LinkAttrs.Flags = name, t.MTU, net.FlagUp
	if t.EncapLimit < 0 {
		l.Flags = ignoreEncapLimit
	} else {
		l.EncapLimit = uint8(t.EncapLimit)
	}
	return l
}

// tunnelDiffers tells whether the device have is not what t wants.
func tunnelDiffers(have netlink.Link, t *state.Tunnel) bool {
	h, ok := have.(*netlink.Ip6tnl)
	w := tunnelLink("", t)
	return !ok || !isUp(have) ||
		!h.Local.Equal(w.Local) || !h.Remote.Equal(w.Remote) ||
		h.Ttl != w.Ttl || h.Proto != w.Proto || h.Flags&tunnelFlags != w.Flags ||
		w.Flags&ignoreEncapLimit == 0 && h.EncapLimit != w.EncapLimit ||
		w.MTU > 0 && h.MTU != w.MTU
}

func toIPNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func fromIPNet(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	ip, ok := netip.AddrFromSlice(n.IP)
	bits, size := n.Mask.Size()
	if size == 32 {
		ip = ip.Unmap() // the library writes 0.0.0.0/0 in 16 bytes
	}
	return netip.PrefixFrom(ip, bits), ok
}
