package kernel

import (
	"math"
	"net/netip"
	"slices"
	"sort"
	"time"

	"golang.org/x/sys/unix"

	"sofutobanku/internal/state"
)

const (
	loIndex = 1 // of lo, in every network namespace

	// defaultMetric6 is the metric of IPv6 routes when none was chosen: below
	// 1024, which the kernel gives to the routes it learns by itself and which
	// may still be there.
	defaultMetric6 = 512

	// unreachableMetric loses against every other route to the same prefix.
	unreachableMetric = math.MaxInt32

	infinite = math.MaxUint32 // an infinite lifetime, as the kernel writes it
)

// address is an address on the device with that index. An index is not used
// again by another device, so it says more than the name.
type address struct {
	Index  int          `json:"index"`
	Prefix netip.Prefix `json:"prefix"`
}

type wantAddress struct {
	address
	flags            uint32 // IFA_F_*
	preferred, valid uint32 // seconds, or infinite
}

// route is a route in the main table.
type route struct {
	Index       int          `json:"index,omitempty"` // of the device, 0 when unreachable
	Dst         netip.Prefix `json:"dst"`
	Via         netip.Addr   `json:"via"`
	Metric      int          `json:"metric"`
	Unreachable bool         `json:"unreachable,omitempty"`
}

// wanted is a State in the kernel's terms.
type wanted struct {
	addresses []wantAddress
	routes    []route
	errs      problems
}

// targets are the devices onto which a State is rendered, by index; 0 is a
// device that does not exist.
type targets struct {
	opt                Options
	now                time.Time
	wan, lan, tun, hgw int
}

func (t targets) render(st state.State) wanted {
	var w wanted
	if t.wan != 0 {
		for _, a := range st.WAN.Addresses {
			flags := uint32(unix.IFA_F_OPTIMISTIC) // dropped by the kernel where it is not enabled
			if a.NoDAD {
				flags = unix.IFA_F_NODAD
			}
			t.address(&w, t.wan, a.Prefix, flags, a.Preferred, a.Valid, a.Deprecated)
		}
		t.wanRoutes(&w, st.WAN)
	} else if len(st.WAN.Addresses)+len(st.WAN.Routers)+len(st.WAN.Routes) > 0 {
		w.errs.addf("device %s: %w", t.opt.Device, unix.ENODEV)
	}
	if p := st.Phone; p != nil && p.Address.IsValid() && t.wan != 0 {
		// The kernel makes the route to the address's own network.
		w.addresses = append(w.addresses, wantAddress{address: address{t.wan, p.Address}, preferred: infinite, valid: infinite})
		for _, r := range p.Routes {
			w.routes = append(w.routes, route{Index: t.wan, Dst: r.Prefix, Via: r.Via, Metric: t.opt.Metric})
		}
	}
	if h := st.HGW; h != nil && t.hgw != 0 {
		for _, r := range h.Routes {
			if !state.Expired(r.Until, t.now) {
				t.route(&w, t.hgw, r.Prefix, r.Via)
			}
		}
	}
	if p := st.Prefix; p != nil && p.Prefix.IsValid() && !state.Expired(p.Valid, t.now) {
		t.prefix(&w, *p)
	}
	if tn := st.Tunnel; tn != nil {
		on := t.tun
		if tn.LocalOnWAN {
			on = t.wan
		}
		t.own(&w, on, tn.Local)
		if on == 0 {
			w.errs.addf("tunnel address %s: device %s: %w", tn.Local, t.opt.Device, unix.ENODEV)
		}
		if ip := tn.IPv4.Unmap(); ip.Is4() {
			w.addresses = append(w.addresses, wantAddress{address: address{t.tun, host(ip)}, preferred: infinite, valid: infinite})
			if t.opt.DefaultRoute {
				w.routes = append(w.routes, route{Index: t.tun, Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Metric: t.opt.Metric})
			}
		}
	}
	for _, a := range st.OwnAddresses {
		if !slices.ContainsFunc(w.addresses, func(x wantAddress) bool { return x.Prefix.Addr() == a.WithZone("") }) {
			t.own(&w, loIndex, a)
		}
	}
	return w
}

// address adds an address unless it is over, or on that device already.
func (t targets) address(w *wanted, index int, p netip.Prefix, flags uint32, preferred, valid time.Time, deprecated bool) {
	if !p.IsValid() || state.Expired(valid, t.now) ||
		slices.ContainsFunc(w.addresses, func(x wantAddress) bool { return x.Index == index && x.Prefix.Addr() == p.Addr() }) {
		return
	}
	// No route by the kernel: it would stay after a removed address of finite
	// lifetime until that ends, and hold what is no longer on this link.
	a := wantAddress{address{index, p}, flags | unix.IFA_F_NOPREFIXROUTE, t.seconds(preferred), t.seconds(valid)}
	if deprecated {
		a.preferred = 0
	}
	a.preferred = min(a.preferred, a.valid) // the kernel refuses more
	w.addresses = append(w.addresses, a)
	if !p.IsSingleIP() {
		t.route(w, index, p, netip.Addr{})
	}
}

// own adds an address for others to reach the router by, which the router never
// chooses for its own traffic (preferred lifetime 0) and which is the line's by
// convention (no duplicate address detection).
func (t targets) own(w *wanted, index int, ip netip.Addr) {
	if ip = ip.WithZone(""); ip.Is6() && index != 0 {
		t.address(w, index, host(ip), unix.IFA_F_NODAD, time.Time{}, time.Time{}, true)
	}
}

// seconds is what is left until then, rounded up.
func (t targets) seconds(then time.Time) uint32 {
	left, ok := state.Remaining(then, t.now)
	if !ok {
		return infinite
	}
	return uint32(min(int64((left+time.Second-1)/time.Second), infinite-1))
}

// route gives each route to the same destination a metric of its own, in the
// order in which they come: two of one metric would be a multipath route to the
// kernel, which shares the traffic out between them whatever their preference.
func (t targets) route(w *wanted, index int, dst netip.Prefix, via netip.Addr) {
	r := route{Index: index, Dst: dst.Masked(), Via: via.WithZone(""), Metric: t.opt.Metric}
	if r.Metric == 0 {
		r.Metric = defaultMetric6
	}
	for _, x := range w.routes {
		if x.Dst == r.Dst && !x.Unreachable {
			if x.Index == r.Index && x.Via == r.Via {
				return
			}
			r.Metric++
		}
	}
	w.routes = append(w.routes, r)
}

func (t targets) wanRoutes(w *wanted, wan state.WAN) {
	for _, r := range wan.Routers {
		if r.Addr.IsValid() && !state.Expired(r.Until, t.now) && t.opt.DefaultRoute {
			t.route(w, t.wan, netip.PrefixFrom(netip.IPv6Unspecified(), 0), r.Addr)
		}
	}
	routes := slices.Clone(wan.Routes)
	sort.SliceStable(routes, func(x, y int) bool { return routes[x].Preference > routes[y].Preference })
	for _, r := range routes {
		if r.Prefix.IsValid() && !state.Expired(r.Until, t.now) && (r.Prefix.Bits() > 0 || t.opt.DefaultRoute) {
			t.route(w, t.wan, r.Prefix, r.Via)
		}
	}
}

// prefix renders a delegated prefix: what of it no link has is unreachable, or
// a packet to it would travel to and fro between here and the router that
// delegated it (RFC 7084 WPD-5).
func (t targets) prefix(w *wanted, p state.Prefix) {
	dst := p.Prefix.Masked()
	w.routes = append(w.routes, route{Dst: dst, Metric: unreachableMetric, Unreachable: true})
	if t.opt.LAN == "" {
		return
	}
	switch {
	case t.lan == 0:
		w.errs.addf("device %s: %w", t.opt.LAN, unix.ENODEV)
	case dst.Bits() > 64 || !dst.Addr().Is6():
		w.errs.addf("prefix %s: too long for a /64 on %s", dst, t.opt.LAN)
	default:
		ip := dst.Addr().As16()
		ip[15] = 1
		t.address(w, t.lan, netip.PrefixFrom(netip.AddrFrom16(ip), 64), 0, p.Preferred, p.Valid, p.Deprecated)
	}
}

func host(ip netip.Addr) netip.Prefix { return netip.PrefixFrom(ip, ip.BitLen()) }

// sameLifetime tells whether a lifetime in the kernel need not be changed. Both
// were rounded, and the clock went on in between.
func sameLifetime(want, have uint32) bool {
	if want == 0 || want == infinite || have == infinite {
		return want == have
	}
	d := int64(want) - int64(have)
	return -2 <= d && d <= 2
}
