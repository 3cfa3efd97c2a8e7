package topo

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// NS is one network namespace, that is one machine of the Lab.
type NS struct {
	lab    *Lab
	name   string // in the Lab: "router"
	unique string // in /run/netns
	handle netns.NsHandle
	nl     *netlink.Handle
}

// made makes the names in /run/netns unique within this process.
var made atomic.Int64

// NS makes a namespace with its loopback device up. Its address on the host is
// NS.Netns.
func (l *Lab) NS(name string) *NS {
	l.tb.Helper()
	n := &NS{lab: l, name: name, unique: fmt.Sprintf("lab-%d-%d-%s", os.Getpid(), made.Add(1), name), handle: netns.None()}
	l.ns = append(l.ns, n) // first, so that half a namespace is cleaned up too
	err := onOwnThread(func() (err error) {
		n.handle, err = netns.NewNamed(n.unique)
		return err
	})
	if err == nil {
		n.nl, err = netlink.NewHandleAt(n.handle, unix.NETLINK_ROUTE)
	}
	if err != nil {
		l.tb.Fatalf("lab: making namespace %s: %v", name, err)
	}
	n.Up("lo")
	return n
}

// onOwnThread runs f on a thread that starts in this process's namespace and is
// given back only when it is there again.
func onOwnThread(f func() error) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		home, err := netns.Get()
		if err != nil {
			result <- err
			return // still locked: the thread ends
		}
		defer home.Close()
		// A panic in f ends the process: nothing to put back then.
		err = f()
		if back := netns.Set(home); back != nil {
			result <- errors.Join(err, back)
			return
		}
		runtime.UnlockOSThread()
		result <- err
	}()
	return <-result
}

// Do runs f on a thread inside the namespace: sockets that it opens and
// processes that it starts belong to the namespace for good.
func (n *NS) Do(f func() error) error {
	return onOwnThread(func() error {
		if err := netns.Set(n.handle); err != nil {
			return err
		}
		return f()
	})
}

// Name is the name that it was made with.
func (n *NS) Name() string { return n.name }

// Netns is the name for `ip netns exec`.
func (n *NS) Netns() string { return n.unique }

// close kills what still runs inside and removes the namespace.
func (n *NS) close() error {
	if !n.handle.IsOpen() {
		return nil
	}
	var errs []error
	deadline := time.Now().Add(5 * time.Second)
	for {
		pids := n.pids()
		if len(pids) == 0 {
			break
		}
		if time.Now().After(deadline) {
			errs = append(errs, fmt.Errorf("processes %v in %s do not end", pids, n.name))
			break
		}
		for _, pid := range pids {
			_ = unix.Kill(pid, unix.SIGKILL) // it may have ended by itself meanwhile
		}
		time.Sleep(poll)
	}
	if n.nl != nil {
		n.nl.Close()
	}
	n.handle.Close()
	return errors.Join(append(errs, netns.DeleteNamed(n.unique))...)
}

// pids lists the other processes inside.
func (n *NS) pids() []int {
	var want, st unix.Stat_t
	if err := unix.Fstat(int(n.handle), &want); err != nil {
		return nil
	}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	var pids []int
	for _, dir := range dirs {
		// Threads of our own may be inside for a moment, our process never is.
		if unix.Stat(dir+"/ns/net", &st) == nil && st.Dev == want.Dev && st.Ino == want.Ino {
			if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil && pid != os.Getpid() {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// Processes are the names of the processes inside, in alphabetical order.
func (n *NS) Processes() []string {
	var names []string
	for _, pid := range n.pids() {
		if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err == nil { // else it has ended
			names = append(names, strings.TrimSpace(string(name)))
		}
	}
	slices.Sort(names)
	return names
}

// Port is one end of a cable: a device that Link makes in NS.
type Port struct {
	NS  *NS
	Dev string
	MAC string // "" for one that the kernel makes up
}

// Port names an end for Link.
func (n *NS) Port(dev, mac string) Port { return Port{n, dev, mac} }

// Cable is what lies between two ports. Percentages are of the packets each way, 0
// to 100.
type Cable struct {
	Delay     time.Duration // each way
	Jitter    time.Duration // up to so much less or more than Delay, which it needs
	Loss      float64       // percent
	Duplicate float64       // percent
	Reorder   float64       // percent that overtake those that Delay, which it needs, holds up
	Corrupt   float64       // percent that get one wrong bit
	MTU       int           // of both ports, 0 for 1500
}

// Link makes a and b and joins them. Both are still down: a port has carrier
// when both are up.
func (l *Lab) Link(a, b Port, c Cable) {
	l.tb.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.Namespace, attrs.MTU = a.Dev, netlink.NsFd(a.NS.handle), 1500
	if c.MTU != 0 {
		attrs.MTU = c.MTU
	}
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: b.Dev, PeerNamespace: netlink.NsFd(b.NS.handle)}
	for port, addr := range map[*Port]*net.HardwareAddr{&a: &veth.HardwareAddr, &b: &veth.PeerHardwareAddr} {
		if port.MAC == "" {
			continue
		}
		var err error
		if *addr, err = net.ParseMAC(port.MAC); err != nil {
			l.tb.Fatalf("lab: %s in %s: %v", port.Dev, port.NS.name, err)
		}
	}
	if err := a.NS.nl.LinkAdd(veth); err != nil {
		l.tb.Fatalf("lab: cable %s %s - %s %s: %v", a.NS.name, a.Dev, b.NS.name, b.Dev, err)
	}
	a.NS.Netem(a.Dev, c)
	b.NS.Netem(b.Dev, c)
}

// Netem makes what dev sends late, lost and so on as c says; the zero Cable ends that.
func (n *NS) Netem(dev string, c Cable) {
	n.lab.tb.Helper()
	link := n.link(dev)
	attrs := netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT}
	var err error
	c.MTU = 0
	if c == (Cable{}) {
		err = n.nl.QdiscDel(&netlink.GenericQdisc{QdiscAttrs: attrs, QdiscType: "netem"})
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) {
			err = nil // there was none
		}
	} else {
		err = n.nl.QdiscReplace(netlink.NewNetem(attrs, netlink.NetemQdiscAttrs{
			Latency: uint32(c.Delay.Microseconds()), Jitter: uint32(c.Jitter.Microseconds()), Loss: float32(c.Loss),
			Duplicate: float32(c.Duplicate), ReorderProb: float32(c.Reorder), CorruptProb: float32(c.Corrupt), Limit: 10000,
		}))
	}
	if err != nil {
		n.lab.tb.Fatalf("lab: netem on %s in %s: %v", dev, n.name, err)
	}
}

func (n *NS) link(dev string) netlink.Link {
	n.lab.tb.Helper()
	link, err := n.nl.LinkByName(dev)
	if err != nil {
		n.lab.tb.Fatalf("lab: device %s in %s: %v", dev, n.name, err)
	}
	return link
}

// Up sets dev up.
func (n *NS) Up(dev string) {
	n.lab.tb.Helper()
	if err := n.nl.LinkSetUp(n.link(dev)); err != nil {
		n.lab.tb.Fatalf("lab: setting %s in %s up: %v", dev, n.name, err)
	}
}

// Down sets dev down; the other end of its cable loses its carrier.
func (n *NS) Down(dev string) {
	n.lab.tb.Helper()
	if err := n.nl.LinkSetDown(n.link(dev)); err != nil {
		n.lab.tb.Fatalf("lab: setting %s in %s down: %v", dev, n.name, err)
	}
}

// DelLink removes dev, if it is there.
func (n *NS) DelLink(dev string) {
	n.lab.tb.Helper()
	link, err := n.nl.LinkByName(dev)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return
	}
	if err == nil {
		err = n.nl.LinkDel(link)
	}
	if err != nil {
		n.lab.tb.Fatalf("lab: removing %s in %s: %v", dev, n.name, err)
	}
}

// Dummy makes a device without a far end, and sets it up: a place for addresses. Where
// the kernel has none it is a bridge without ports.
func (n *NS) Dummy(dev string) {
	n.lab.tb.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = dev
	err := n.nl.LinkAdd(&netlink.Dummy{LinkAttrs: attrs})
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = n.nl.LinkAdd(&netlink.Bridge{LinkAttrs: attrs})
	}
	if err != nil {
		n.lab.tb.Fatalf("lab: making %s in %s: %v", dev, n.name, err)
	}
	n.Up(dev)
}

// Addr adds an address with its prefix length to dev, without duplicate address
// detection.
func (n *NS) Addr(dev, cidr string) {
	n.lab.tb.Helper()
	addr, err := netlink.ParseAddr(cidr)
	if err == nil {
		if addr.IP.To4() == nil {
			addr.Flags = unix.IFA_F_NODAD
		}
		err = n.nl.AddrReplace(n.link(dev), addr)
	}
	if err != nil {
		n.lab.tb.Fatalf("lab: address %s on %s in %s: %v", cidr, dev, n.name, err)
	}
}

// DelAddr removes an address from dev.
func (n *NS) DelAddr(dev, cidr string) {
	n.lab.tb.Helper()
	addr, err := netlink.ParseAddr(cidr)
	if err == nil {
		err = n.nl.AddrDel(n.link(dev), addr)
	}
	if err != nil {
		n.lab.tb.Fatalf("lab: removing %s from %s in %s: %v", cidr, dev, n.name, err)
	}
}

// Flush removes every address and route from dev, those of the kernel included.
func (n *NS) Flush(dev string) {
	n.lab.tb.Helper()
	link := n.link(dev)
	addrs, err := n.nl.AddrList(link, netlink.FAMILY_ALL)
	for _, a := range addrs {
		err = errors.Join(err, ignore(n.nl.AddrDel(link, &a), unix.EADDRNOTAVAIL))
	}
	routes, rerr := n.nl.RouteList(link, netlink.FAMILY_ALL)
	err = errors.Join(err, rerr)
	for _, r := range routes {
		err = errors.Join(err, ignore(n.nl.RouteDel(&r), unix.ESRCH))
	}
	if err != nil {
		n.lab.tb.Fatalf("lab: flushing %s in %s: %v", dev, n.name, err)
	}
}

// ignore is err unless it is what the caller does not mind.
func ignore(err, what error) error {
	if errors.Is(err, what) {
		return nil
	}
	return err
}

// Addrs lists the addresses of dev.
func (n *NS) Addrs(dev string) []netip.Prefix {
	n.lab.tb.Helper()
	list, err := n.nl.AddrList(n.link(dev), netlink.FAMILY_ALL)
	if err != nil {
		n.lab.tb.Fatalf("lab: addresses of %s in %s: %v", dev, n.name, err)
	}
	var addrs []netip.Prefix
	for _, a := range list {
		if addr, ok := netip.AddrFromSlice(a.IP); ok {
			ones, _ := a.Mask.Size()
			addrs = append(addrs, netip.PrefixFrom(addr.Unmap(), ones))
		}
	}
	return addrs
}

// Route adds or replaces a route: dst is a prefix or "default", which takes the
// family of via or is IPv4; via may be "".
func (n *NS) Route(dst, via, dev string) {
	n.lab.tb.Helper()
	r, err := n.route(dst, via, dev)
	if err == nil {
		err = n.nl.RouteReplace(r)
	}
	if err != nil {
		n.lab.tb.Fatalf("lab: route to %s via %q on %s in %s: %v", dst, via, dev, n.name, err)
	}
}

// DelRoute removes what Route added.
func (n *NS) DelRoute(dst, via, dev string) {
	n.lab.tb.Helper()
	r, err := n.route(dst, via, dev)
	if err == nil {
		err = n.nl.RouteDel(r)
	}
	if err != nil {
		n.lab.tb.Fatalf("lab: removing the route to %s via %q on %s in %s: %v", dst, via, dev, n.name, err)
	}
}

func (n *NS) route(dst, via, dev string) (*netlink.Route, error) {
	n.lab.tb.Helper()
	r := &netlink.Route{LinkIndex: n.link(dev).Attrs().Index}
	if via != "" {
		if r.Gw = net.ParseIP(via); r.Gw == nil {
			return nil, fmt.Errorf("no address: %q", via)
		}
	}
	if dst == "default" {
		dst = "0.0.0.0/0"
		if strings.Contains(via, ":") {
			dst = "::/0"
		}
	}
	_, prefix, err := net.ParseCIDR(dst)
	r.Dst = prefix
	return r, err
}

// Sysctl sets a value under /proc/sys/net, for example ("ipv6/conf/wan0/accept_dad", "0").
func (n *NS) Sysctl(key, value string) {
	n.lab.tb.Helper()
	err := n.Do(func() error { return os.WriteFile("/proc/sys/net/"+key, []byte(value), 0) })
	if err != nil {
		n.lab.tb.Fatalf("lab: sysctl %s in %s: %v", key, n.name, err)
	}
}

// Forward makes the namespace a router of both families that accepts whatever
// comes in on any device (no reverse path filter).
func (n *NS) Forward() {
	n.lab.tb.Helper()
	n.Sysctl("ipv4/conf/all/forwarding", "1")
	n.Sysctl("ipv6/conf/all/forwarding", "1")
	n.Sysctl("ipv4/conf/all/rp_filter", "0")
	n.Sysctl("ipv4/conf/default/rp_filter", "0")
}

// Tunnel makes an ip6tnl device (RFC 2473) in mode ipip6 with no encapsulation
// limit, and sets it up.
func (n *NS) Tunnel(dev string, local, remote netip.Addr, mtu int) {
	n.lab.tb.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = dev, mtu
	err := n.nl.LinkAdd(&netlink.Ip6tnl{
		LinkAttrs: attrs,
		Local:     local.AsSlice(), Remote: remote.AsSlice(),
		Ttl: 64, Proto: unix.IPPROTO_IPIP, Flags: ignoreEncapLimit,
	})
	if err != nil {
		n.lab.tb.Fatalf("lab: tunnel %s in %s (does the kernel have ip6_tunnel? lab/run has): %v", dev, n.name, err)
	}
	n.Up(dev)
}

// ignoreEncapLimit is IP6_TNL_F_IGN_ENCAP_LIMIT of linux/ip6_tunnel.h.
const ignoreEncapLimit = 1

// Bridge makes a bridge with the given MAC out of ports, and sets it up. It keeps
// its carrier when the ports lose theirs, and floods multicast.
func (n *NS) Bridge(dev, mac string, ports ...string) {
	n.lab.tb.Helper()
	hw, err := net.ParseMAC(mac)
	if err != nil {
		n.lab.tb.Fatalf("lab: bridge %s in %s: %v", dev, n.name, err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr = dev, hw
	snooping := false
	if err := n.nl.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}); err != nil {
		n.lab.tb.Fatalf("lab: bridge %s in %s: %v", dev, n.name, err)
	}
	keep := dev + "-keep" // a port that is always there
	n.Dummy(keep)
	for _, port := range append(ports, keep) {
		n.BridgePort(dev, port)
	}
	n.Sysctl("ipv6/conf/"+dev+"/accept_dad", "0")
	n.Up(dev)
}

// BridgePort makes port one of a bridge.
func (n *NS) BridgePort(bridge, port string) {
	n.lab.tb.Helper()
	if err := n.nl.LinkSetMaster(n.link(port), n.link(bridge)); err != nil {
		n.lab.tb.Fatalf("lab: port %s of bridge %s in %s: %v", port, bridge, n.name, err)
	}
}

// MAC is the link-layer address of dev.
func (n *NS) MAC(dev string) net.HardwareAddr {
	n.lab.tb.Helper()
	return n.link(dev).Attrs().HardwareAddr
}

// Zone is the zone of link-local addresses on dev for Go's package net, which
// looks names up in the calling thread's namespace: the device's number.
func (n *NS) Zone(dev string) string {
	n.lab.tb.Helper()
	return strconv.Itoa(n.link(dev).Attrs().Index)
}

// LinkLocalUsable returns a channel that gets the time at which dev gets a
// link-local address that is not (or no longer) tentative, as the kernel tells it.
// It is asked for before that happens.
func (n *NS) LinkLocalUsable(dev string) <-chan time.Time {
	n.lab.tb.Helper()
	index := n.link(dev).Attrs().Index
	updates := make(chan netlink.AddrUpdate, 64)
	done := make(chan struct{})
	if err := netlink.AddrSubscribeWithOptions(updates, done, netlink.AddrSubscribeOptions{Namespace: &n.handle}); err != nil {
		n.lab.tb.Fatalf("lab: watching addresses in %s: %v", n.name, err)
	}
	usable := make(chan time.Time, 1)
	go func() {
		defer close(done)
		for u := range updates {
			if u.NewAddr && u.LinkIndex == index && u.LinkAddress.IP.IsLinkLocalUnicast() && u.Flags&unix.IFA_F_TENTATIVE == 0 {
				usable <- time.Now()
				return
			}
		}
	}()
	return usable
}

// ForgetNeighbours empties the neighbour cache of dev.
func (n *NS) ForgetNeighbours(dev string) {
	n.lab.tb.Helper()
	index := n.link(dev).Attrs().Index
	list, err := n.nl.NeighList(index, netlink.FAMILY_ALL)
	for _, neigh := range list {
		if neigh.State&(netlink.NUD_PERMANENT|netlink.NUD_NOARP) == 0 {
			err = errors.Join(err, ignore(n.nl.NeighDel(&neigh), unix.ENOENT))
		}
	}
	if err != nil {
		n.lab.tb.Fatalf("lab: neighbours on %s in %s: %v", dev, n.name, err)
	}
}
