// Package nd reads what the kernel knows by neighbour discovery (RFC 4861 5.1): its
// neighbours, its default routers, and the prefixes of its links. It asks by netlink
// and changes nothing.
package nd

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Table is all of it.
type Table struct {
	Neighbours []Neighbour `json:"neighbours"`
	Routers    []Router    `json:"routers"`
	Prefixes   []Prefix    `json:"prefixes"`
}

// Neighbour is an entry of the neighbour cache.
type Neighbour struct {
	Addr   netip.Addr `json:"address"`
	MAC    string     `json:"mac"` // "" while it is not known
	Device string     `json:"device"`
	State  string     `json:"state"`  // of RFC 4861 7.3.2, in lower case, or Linux's own
	Router bool       `json:"router"` // it said so
	// Confirmed is for how many seconds nothing has been heard of it.
	Confirmed int `json:"confirmed"`
}

// Router is a default route.
type Router struct {
	Addr       netip.Addr `json:"address"`
	Device     string     `json:"device"`
	Source     string     `json:"source,omitempty"` // only for packets from this prefix
	Preference string     `json:"preference"`
	Metric     int        `json:"metric"`
	By         string     `json:"by"`      // who put it there: ra is the kernel
	Expires    int        `json:"expires"` // in seconds, -1 for never
}

// Prefix is a prefix that is on-link somewhere, with the addresses in it.
type Prefix struct {
	Prefix    netip.Prefix `json:"prefix"`
	Device    string       `json:"device"`
	OnLink    bool         `json:"on_link"`
	Expires   int          `json:"expires"` // of being on-link, in seconds, -1 for never
	Addresses []Address    `json:"addresses"`
	// Routers are the default routers on that device, one of which advertised it: the
	// kernel does not keep which.
	Routers []netip.Addr `json:"routers"`
}

// Address is an address of this machine. Lifetimes are in seconds, -1 for never.
type Address struct {
	Addr      netip.Addr `json:"address"`
	Preferred int        `json:"preferred"`
	Valid     int        `json:"valid"`
	Flags     []string   `json:"flags"`
}

// Read asks the kernel; device "" is for all of them.
func Read(device string) (Table, error) {
	t := Table{Neighbours: []Neighbour{}, Routers: []Router{}, Prefixes: []Prefix{}}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return t, fmt.Errorf("nd: netlink: %w", err)
	}
	defer h.Close()
	links, err := h.LinkList()
	if err != nil {
		return t, fmt.Errorf("nd: the devices: %w", err)
	}
	names := map[int]string{}
	for _, l := range links {
		if a := l.Attrs(); device == "" || a.Name == device {
			names[a.Index] = a.Name
		}
	}
	if len(names) == 0 {
		return t, fmt.Errorf("nd: there is no device %s", device)
	}
	r := &reader{h: h, names: names, table: &t}
	for _, read := range []func() error{r.neighbours, r.routes, r.addresses} {
		if err := read(); err != nil {
			return t, err
		}
	}
	for i := range t.Prefixes {
		p := &t.Prefixes[i]
		for _, router := range t.Routers {
			if router.Device == p.Device && !slices.Contains(p.Routers, router.Addr) {
				p.Routers = append(p.Routers, router.Addr)
			}
		}
	}
	return t, nil
}

type reader struct {
	h     *netlink.Handle
	names map[int]string // of the devices asked for
	table *Table
}

var neighbourStates = map[int]string{
	netlink.NUD_INCOMPLETE: "incomplete", netlink.NUD_REACHABLE: "reachable", netlink.NUD_STALE: "stale",
	netlink.NUD_DELAY: "delay", netlink.NUD_PROBE: "probe", netlink.NUD_FAILED: "failed", netlink.NUD_PERMANENT: "permanent",
}

func (r *reader) neighbours() error {
	list, err := r.h.NeighList(0, unix.AF_INET6)
	if err != nil {
		return fmt.Errorf("nd: the neighbour cache: %w", err)
	}
	for _, n := range list {
		addr, ok := netip.AddrFromSlice(n.IP)
		name := r.names[n.LinkIndex]
		if !ok || name == "" || n.State == netlink.NUD_NOARP {
			continue
		}
		r.table.Neighbours = append(r.table.Neighbours, Neighbour{
			Addr: addr, MAC: n.HardwareAddr.String(), Device: name, State: neighbourStates[n.State],
			Router: n.Flags&netlink.NTF_ROUTER != 0, Confirmed: int(n.Confirmed) / userHZ,
		})
	}
	// The kernel has them in no order.
	all := r.table.Neighbours
	sort.Slice(all, func(i, j int) bool {
		return cmp.Or(cmp.Compare(all[i].Device, all[j].Device), all[i].Addr.Compare(all[j].Addr)) < 0
	})
	return nil
}

// userHZ is by what the kernel counts time for programs, in a second.
const userHZ = 100

// preferences by RTA_PREF (RFC 4191).
var preferences = map[byte]string{0: "medium", 1: "high", 3: "low"}

// route is what routes needs of a route's attributes.
type route struct {
	dst, src   netip.Prefix
	via        netip.Addr
	index      int
	metric     int
	preference byte
	expires    int // in seconds, -1 for never
}

// routes reads the main table by itself: the library leaves out when a route ends.
func (r *reader) routes() error {
	request := nl.NewNetlinkRequest(unix.RTM_GETROUTE, unix.NLM_F_DUMP)
	request.Sockets = nil
	request.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET6}})
	messages, err := request.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWROUTE)
	if err != nil {
		return fmt.Errorf("nd: the routes: %w", err)
	}
	for _, b := range messages {
		m := nl.DeserializeRtMsg(b)
		attributes, err := nl.ParseRouteAttr(b[m.Len():])
		if err != nil {
			return fmt.Errorf("nd: a route: %w", err)
		}
		if m.Type != unix.RTN_UNICAST || m.Flags&unix.RTM_F_CLONED != 0 || m.Table == unix.RT_TABLE_LOCAL {
			continue
		}
		rt := parseRoute(m, attributes)
		name := r.names[rt.index]
		if name == "" {
			continue
		}
		switch {
		case rt.dst.Bits() == 0 && rt.via.IsValid():
			router := Router{
				Addr: rt.via, Device: name, Preference: preferences[rt.preference], Metric: rt.metric,
				By: netlink.RouteProtocol(m.Protocol).String(), Expires: rt.expires,
			}
			if rt.src.Bits() > 0 {
				router.Source = rt.src.String()
			}
			r.table.Routers = append(r.table.Routers, router)
		case !rt.via.IsValid() && rt.dst.Bits() < 128 && rt.dst.Addr().IsGlobalUnicast():
			p := r.prefix(rt.dst, name)
			p.OnLink, p.Expires = true, rt.expires
		}
	}
	return nil
}

func parseRoute(m *nl.RtMsg, attributes []syscall.NetlinkRouteAttr) route {
	rt := route{dst: netip.PrefixFrom(netip.IPv6Unspecified(), 0), src: netip.PrefixFrom(netip.IPv6Unspecified(), 0), expires: -1}
	for _, a := range attributes {
		v := a.Value
		switch {
		case a.Attr.Type == unix.RTA_DST && len(v) == 16:
			rt.dst = netip.PrefixFrom(netip.AddrFrom16([16]byte(v)), int(m.Dst_len))
		case a.Attr.Type == unix.RTA_SRC && len(v) == 16:
			rt.src = netip.PrefixFrom(netip.AddrFrom16([16]byte(v)), int(m.Src_len))
		case a.Attr.Type == unix.RTA_GATEWAY && len(v) == 16:
			rt.via = netip.AddrFrom16([16]byte(v))
		case a.Attr.Type == unix.RTA_OIF && len(v) == 4:
			rt.index = int(binary.NativeEndian.Uint32(v))
		case a.Attr.Type == unix.RTA_PRIORITY && len(v) == 4:
			rt.metric = int(binary.NativeEndian.Uint32(v))
		case a.Attr.Type == unix.RTA_PREF && len(v) == 1:
			rt.preference = v[0]
		case a.Attr.Type == unix.RTA_CACHEINFO && len(v) >= 12:
			// struct rta_cacheinfo: the third is when it expires, 0 for never.
			if n := int32(binary.NativeEndian.Uint32(v[8:])); n != 0 {
				rt.expires = max(0, int(n)/userHZ)
			}
		}
	}
	return rt
}

// prefix is the entry of a prefix on a device.
func (r *reader) prefix(p netip.Prefix, device string) *Prefix {
	i := slices.IndexFunc(r.table.Prefixes, func(x Prefix) bool { return x.Prefix == p && x.Device == device })
	if i < 0 {
		i = len(r.table.Prefixes)
		r.table.Prefixes = append(r.table.Prefixes, Prefix{
			Prefix: p, Device: device, Expires: -1, Addresses: []Address{}, Routers: []netip.Addr{},
		})
	}
	return &r.table.Prefixes[i]
}

// addressFlags are those worth telling.
var addressFlags = []struct {
	bit  int
	name string
}{
	{unix.IFA_F_DEPRECATED, "deprecated"}, {unix.IFA_F_TENTATIVE, "tentative"}, {unix.IFA_F_DADFAILED, "duplicate"},
	{unix.IFA_F_OPTIMISTIC, "optimistic"}, {unix.IFA_F_TEMPORARY, "temporary"},
}

func (r *reader) addresses() error {
	list, err := r.h.AddrList(nil, unix.AF_INET6)
	if err != nil {
		return fmt.Errorf("nd: the addresses: %w", err)
	}
	for _, a := range list {
		addr, ok := netip.AddrFromSlice(a.IP)
		name := r.names[a.LinkIndex]
		if !ok || name == "" || !addr.IsGlobalUnicast() || addr.Is4In6() {
			continue
		}
		ones, _ := a.Mask.Size()
		out := Address{Addr: addr, Preferred: left(a.PreferedLft), Valid: left(a.ValidLft), Flags: []string{}}
		for _, f := range addressFlags {
			if a.Flags&f.bit != 0 {
				out.Flags = append(out.Flags, f.name)
			}
		}
		p := r.prefix(netip.PrefixFrom(addr, ones).Masked(), name)
		p.Addresses = append(p.Addresses, out)
	}
	return nil
}

// left is a lifetime of the library's, which is an infinite one as it fits in an int.
func left(seconds int) int {
	if uint32(seconds) == 0xffffffff {
		return -1
	}
	return seconds
}

// Duration is a lifetime of a Table for people.
func Duration(seconds int) string {
	if seconds < 0 {
		return "never"
	}
	return (time.Duration(seconds) * time.Second).String()
}
