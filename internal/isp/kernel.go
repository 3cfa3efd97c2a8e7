package isp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The BR's end of the tunnel.
const (
	tunnelName = "sofu-br"
	tunnelMTU  = 1460 // what is left of 1500 bytes after the IPv6 header
	// noEncapLimit is IP6_TNL_F_IGN_ENCAP_LIMIT: no destination option in
	// front of the IPv4 packet.
	noEncapLimit = 1
)

// Kernel makes the carrier's addresses, routes and tunnel in the network
// namespace it was made in, and removes them again.
//
// rp_filter needs no change: a packet out of the tunnel has the line's IPv4
// address as its source, and the route to that address leads into the tunnel.
type Kernel struct {
	h    *netlink.Handle
	dev  netlink.Link
	lo   netlink.Link
	ll   netip.Addr
	undo []func() error // in the order of the doing

	links chan netlink.LinkUpdate
	done  chan struct{} // ends the flow of links

	mu     sync.Mutex
	brs    []netip.Addr // the BR's addresses that were added to lo
	routes []netlink.Route
	closed bool
}

// OpenKernel readies device: it is set up, has the link-local address ll without
// duplicate address detection (the carrier's router was there first), and calls
// itself a router in its neighbour advertisements.
func OpenKernel(device string, ll netip.Addr) (_ *Kernel, err error) {
	// Other families than ROUTE are not in every kernel.
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	k := &Kernel{h: h, ll: ll, links: make(chan netlink.LinkUpdate, 16), done: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, k.Close())
		}
	}()
	if k.dev, err = h.LinkByName(device); err != nil {
		return nil, fmt.Errorf("device %s: %w", device, err)
	}
	if k.lo, err = h.LinkByName("lo"); err != nil {
		return nil, fmt.Errorf("device lo: %w", err)
	}
	for _, l := range []netlink.Link{k.lo, k.dev} {
		if l.Attrs().Flags&net.FlagUp != 0 {
			continue
		}
		if err := h.LinkSetUp(l); err != nil {
			return nil, fmt.Errorf("device %s up: %w", l.Attrs().Name, err)
		}
		k.undo = append(k.undo, func() error { return h.LinkSetDown(l) })
	}
	conf := filepath.Join("net/ipv6/conf", device)
	for name, value := range map[string]string{
		"forwarding": "1", // this device's alone: the R flag, nothing is forwarded by it
		"accept_ra":  "0",
	} {
		if err := k.sysctl(filepath.Join(conf, name), value); err != nil {
			return nil, err
		}
	}
	if err := k.addAddress(k.dev, netip.PrefixFrom(ll, 64)); err != nil {
		return nil, err
	}
	if err := netlink.LinkSubscribeWithOptions(k.links, k.done, netlink.LinkSubscribeOptions{}); err != nil {
		return nil, fmt.Errorf("netlink: link events: %w", err)
	}
	return k, nil
}

// Watch keeps the device's address and routes alive until ctx ends: whoever sets
// the device down, to try what a client does, makes the kernel forget them. up is
// called when the device is back.
func (k *Kernel) Watch(ctx context.Context, up func(error)) error {
	wasUp := true
	for {
		select {
		case <-ctx.Done():
			return nil
		case u, ok := <-k.links:
			switch {
			case !ok:
				if ctx.Err() != nil {
					return nil
				}
				return errors.New("netlink: link events ended")
			case int(u.Index) != k.dev.Attrs().Index:
				continue
			case u.Header.Type == unix.RTM_DELLINK && u.Change == ^uint32(0):
				return fmt.Errorf("device %s is gone", k.dev.Attrs().Name)
			}
			isUp := u.IfInfomsg.Flags&unix.IFF_UP != 0
			if isUp && !wasUp {
				up(k.restore())
			}
			wasUp = isUp
		}
	}
}

// restore makes again what the kernel removes from a device that is set down.
func (k *Kernel) restore() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return nil
	}
	errs := []error{k.h.AddrReplace(k.dev, address(netip.PrefixFrom(k.ll, 64)))}
	for _, r := range k.routes {
		errs = append(errs, k.h.RouteReplace(&r))
	}
	return errors.Join(errs...)
}

// sysctl sets a value, and puts the old one back in the end.
func (k *Kernel) sysctl(name, value string) error {
	path := filepath.Join("/proc/sys", name)
	old, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("sysctl: %w", err)
	}
	was := strings.TrimSpace(string(old))
	if was == value {
		return nil
	}
	if err := os.WriteFile(path, []byte(value), 0); err != nil {
		return fmt.Errorf("sysctl: %w", err)
	}
	k.undo = append(k.undo, func() error {
		if err := os.WriteFile(path, []byte(was), 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("sysctl: %w", err)
		}
		return nil
	})
	return nil
}

// Forward lets the namespace forward IPv4 and IPv6.
func (k *Kernel) Forward() error {
	for _, name := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"} {
		if err := k.sysctl(name, "1"); err != nil {
			return err
		}
	}
	return nil
}

func address(p netip.Prefix) *netlink.Addr {
	a := &netlink.Addr{IPNet: &net.IPNet{
		IP:   p.Addr().AsSlice(),
		Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen()),
	}}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	return a
}

// addAddress adds p to l unless it is there already, and remembers to remove it.
func (k *Kernel) addAddress(l netlink.Link, p netip.Prefix) error {
	err := k.h.AddrAdd(l, address(p))
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("address %v on %s: %w", p, l.Attrs().Name, err)
	}
	k.undo = append(k.undo, func() error {
		err := k.h.AddrDel(l, address(p))
		if err != nil && !isGone(err) {
			return fmt.Errorf("removing %v from %s: %w", p, l.Attrs().Name, err)
		}
		return nil
	})
	return nil
}

// AddLocal gives the carrier an address of its own, on lo, for good.
func (k *Kernel) AddLocal(a netip.Addr) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.addAddress(k.lo, netip.PrefixFrom(a, a.BitLen()))
}

// AddNetwork gives the carrier an address and its network on the device, for good.
func (k *Kernel) AddNetwork(p netip.Prefix) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.addAddress(k.dev, p)
}

// isGone: what was to be removed had gone already, with its device perhaps.
func isGone(err error) bool {
	return errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EADDRNOTAVAIL)
}

// Route sends p to via on the device; on-link when via is invalid.
func (k *Kernel) Route(p netip.Prefix, via netip.Addr) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	r := netlink.Route{
		LinkIndex: k.dev.Attrs().Index,
		Dst:       &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())},
		Protocol:  unix.RTPROT_STATIC,
		Priority:  1024,
	}
	if via.IsValid() {
		r.Gw = via.AsSlice()
	}
	if k.closed {
		return errors.New("route: the line is shutting down")
	}
	if err := k.h.RouteReplace(&r); err != nil {
		return fmt.Errorf("route %v via %v on %s: %w", p, via, k.dev.Attrs().Name, err)
	}
	k.forgetRoute(p)
	k.routes = append(k.routes, r)
	return nil
}

// forgetRoute returns the remembered route of p.
func (k *Kernel) forgetRoute(p netip.Prefix) (netlink.Route, bool) {
	i := slices.IndexFunc(k.routes, func(r netlink.Route) bool { return r.Dst.String() == p.String() })
	if i < 0 {
		return netlink.Route{}, false
	}
	r := k.routes[i]
	k.routes = slices.Delete(k.routes, i, i+1)
	return r, true
}

// Unroute removes what Route made.
func (k *Kernel) Unroute(p netip.Prefix) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	r, ok := k.forgetRoute(p)
	if !ok {
		return nil
	}
	if err := k.h.RouteDel(&r); err != nil && !isGone(err) {
		return fmt.Errorf("removing route %v: %w", p, err)
	}
	return nil
}

// tunnel is the ip6tnl device between the BR and a CE.
func tunnel(br, ce netip.Addr) *netlink.Ip6tnl {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = tunnelName
	attrs.MTU = tunnelMTU
	return &netlink.Ip6tnl{
		LinkAttrs: attrs,
		Local:     br.AsSlice(),
		Remote:    ce.AsSlice(),
		Proto:     unix.IPPROTO_IPIP,
		Ttl:       64,
		Flags:     noEncapLimit,
	}
}

// addTunnel makes the device, after one that a killed predecessor left was
// removed.
func (k *Kernel) addTunnel(br, ce netip.Addr) error {
	if err := k.delTunnel(); err != nil {
		return err
	}
	err := k.h.LinkAdd(tunnel(br, ce))
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EOPNOTSUPP):
		return errors.New("this kernel has no ip6_tunnel (CONFIG_IPV6_TUNNEL): modprobe ip6_tunnel, on OpenWrt install kmod-ip6-tunnel, or leave the BR out (--no-br)")
	case errors.Is(err, unix.EEXIST):
		return fmt.Errorf("tunnel %v to %v: another ip6tnl device has these two addresses", br, ce)
	default:
		return fmt.Errorf("tunnel %v to %v: %w", br, ce, err)
	}
}

func (k *Kernel) delTunnel() error {
	l, err := k.h.LinkByName(tunnelName)
	if _, ok := errors.AsType[netlink.LinkNotFoundError](err); ok {
		return nil
	}
	if err != nil {
		return fmt.Errorf("device %s: %w", tunnelName, err)
	}
	if l.Type() != "ip6tnl" {
		return fmt.Errorf("device %s is there and is a %s, no ip6tnl: rename it", tunnelName, l.Type())
	}
	if err := k.h.LinkDel(l); err != nil && !isGone(err) {
		return fmt.Errorf("removing device %s: %w", tunnelName, err)
	}
	return nil
}

// CheckTunnel tells whether the kernel can make the tunnel at all.
func (k *Kernel) CheckTunnel(br, ce netip.Addr) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.addTunnel(br, ce); err != nil {
		return err
	}
	return k.delTunnel()
}

// Tunnel makes the BR at address br carry ipv4 to ce, in place of what it
// carried before.
func (k *Kernel) Tunnel(br, ce, ipv4 netip.Addr) (err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return errors.New("BR: the line is shutting down")
	}
	if err := k.addBR(br); err != nil {
		return err
	}
	if err := k.addTunnel(br, ce); err != nil {
		return err
	}
	if err := k.dropBRs(br); err != nil {
		return err
	}
	l, err := k.h.LinkByName(tunnelName)
	if err != nil {
		return fmt.Errorf("device %s: %w", tunnelName, err)
	}
	if err := k.h.LinkSetUp(l); err != nil {
		return fmt.Errorf("device %s up: %w", tunnelName, err)
	}
	r := netlink.Route{
		LinkIndex: l.Attrs().Index,
		Dst:       &net.IPNet{IP: ipv4.AsSlice(), Mask: net.CIDRMask(32, 32)},
		Scope:     unix.RT_SCOPE_LINK,
	}
	if err := k.h.RouteReplace(&r); err != nil {
		return fmt.Errorf("route %v into %s: %w", ipv4, tunnelName, err)
	}
	return nil
}

// PrepareBR gives the carrier the BR's address before anything is granted: the
// kernel takes a moment from an address to the first packet it accepts for it.
func (k *Kernel) PrepareBR(br netip.Addr) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.addBR(br)
}

func (k *Kernel) addBR(br netip.Addr) error {
	err := k.h.AddrAdd(k.lo, address(netip.PrefixFrom(br, 128)))
	switch {
	case err == nil:
		k.brs = append(k.brs, br)
	case !errors.Is(err, unix.EEXIST):
		return fmt.Errorf("BR address %v: %w", br, err)
	}
	return nil
}

// dropBRs removes the BR's addresses but keep.
func (k *Kernel) dropBRs(keep netip.Addr) error {
	var errs []error
	k.brs = slices.DeleteFunc(k.brs, func(br netip.Addr) bool {
		if br == keep {
			return false
		}
		if err := k.h.AddrDel(k.lo, address(netip.PrefixFrom(br, 128))); err != nil && !isGone(err) {
			errs = append(errs, fmt.Errorf("removing %v from lo: %w", br, err))
		}
		return true
	})
	return errors.Join(errs...)
}

// Close removes all that was made and puts back what was changed.
func (k *Kernel) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return nil
	}
	k.closed = true
	close(k.done)
	var errs []error
	if k.lo != nil {
		errs = append(errs, k.delTunnel(), k.dropBRs(netip.Addr{}))
	}
	for _, r := range k.routes {
		if err := k.h.RouteDel(&r); err != nil && !isGone(err) {
			errs = append(errs, fmt.Errorf("removing route %v: %w", r.Dst, err))
		}
	}
	for _, undo := range slices.Backward(k.undo) {
		errs = append(errs, undo())
	}
	k.h.Close()
	return errors.Join(errs...)
}
