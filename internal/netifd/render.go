package netifd

import (
	"bytes"
	"encoding/json"
	"maps"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"sort"
	"strings"
	"time"

	"sofutobanku/internal/state"
)

// Bounds of lists that come from the wire.
const (
	maxRoutes = 256
	maxDNS    = 16
	maxSearch = 16
	maxValue  = 8 << 10 // bytes of one value of data
)

// odhcp6c's metrics, which users' other metrics were chosen to fit.
const (
	onLinkMetric = 256
	mediumMetric = 512
	perLevel     = 128 // of a router's preference
)

// view is all that netifd is told of the parent but data.
type view struct {
	up        bool
	addresses []lifetime
	prefixes  []lifetime
	reserved  netip.Prefix // the part of a prefix that no LAN is given, invalid for none
	routes    []route
	phone     netip.Prefix // the telephone network's address, invalid for none
	routes4   []state.Route
	dns       []netip.Addr
	search    []string
}

// lifetime is an address with its on-link length, or a prefix.
type lifetime struct {
	prefix           netip.Prefix
	preferred, valid time.Time
	deprecated       bool
}

type route struct {
	routeKey
	via   netip.Addr // invalid: on-link
	until time.Time
}

// routeKey is what tells routes apart in netifd: one with the key of another
// replaces it.
type routeKey struct {
	target, source netip.Prefix // an invalid source is any
	metric         int
}

func (v *view) equal(w *view) bool { return reflect.DeepEqual(v, w) }

// within tells whether an update of w that only adds and refreshes makes v into w.
func (v *view) within(w *view) bool {
	return len(v.addresses) <= len(w.addresses) &&
		slices.EqualFunc(v.addresses, w.addresses[:len(v.addresses)], samePrefix) &&
		v.reserved == w.reserved &&
		!slices.ContainsFunc(v.prefixes, func(p lifetime) bool { return index(w.prefixes, p) < 0 }) &&
		!slices.ContainsFunc(v.routes, func(r route) bool {
			return !slices.ContainsFunc(w.routes, func(x route) bool { return x.routeKey == r.routeKey })
		}) &&
		(!v.phone.IsValid() || v.phone == w.phone) &&
		!slices.ContainsFunc(v.routes4, func(r state.Route) bool { return !slices.Contains(w.routes4, r) }) &&
		slices.Equal(v.dns, w.dns) && slices.Equal(v.search, w.search)
}

func samePrefix(a, b lifetime) bool { return a.prefix == b.prefix }

func index(list []lifetime, l lifetime) int {
	return slices.IndexFunc(list, func(x lifetime) bool { return samePrefix(x, l) })
}

// inPlace is now in the order of before, new ones at the end.
func inPlace(before, now []lifetime) []lifetime {
	now = slices.Clone(now)
	sort.SliceStable(now, func(x, y int) bool {
		place := func(l lifetime) int {
			if i := index(before, l); i >= 0 {
				return i
			}
			return len(before)
		}
		return place(now[x]) < place(now[y])
	})
	return now
}

// render is what netifd is to know of the parent at now.
func (o *Options) render(st state.State, now time.Time) *view {
	v := &view{dns: servers(st.WAN.DNS), search: domains(st.WAN.Domains)}
	var sources []netip.Prefix
	if p := st.Prefix; p != nil && p.Prefix.IsValid() && !state.Expired(p.Valid, now) {
		v.up = true
		v.prefix(lifetime{p.Prefix.Masked(), p.Preferred, p.Valid, p.Deprecated})
		sources = append(sources, p.Prefix.Masked())
		if h := st.HGW; h != nil {
			v.reserved = h.Reserved
		}
	}
	extend := o.ExtendPrefix && len(v.prefixes) == 0
	for _, a := range st.WAN.Addresses {
		if !usable(a.Prefix.Addr()) || state.Expired(a.Valid, now) {
			continue
		}
		v.up = true
		own := a.Prefix.Masked()
		if a.NoDAD {
			sources = append(sources, own)
			continue
		}
		if extend {
			// The prefix is the LAN's now: no route may say it is on the WAN.
			own = netip.PrefixFrom(a.Prefix.Addr(), 64).Masked()
			v.prefix(lifetime{own, a.Preferred, a.Valid, a.Deprecated})
			a.Prefix = netip.PrefixFrom(a.Prefix.Addr(), 128)
		}
		sources = append(sources, own)
		if l := (lifetime{a.Prefix, a.Preferred, a.Valid, a.Deprecated}); index(v.addresses, l) < 0 {
			v.addresses = append(v.addresses, l)
		}
		if !a.Prefix.IsSingleIP() {
			o.route(v, own, netip.Prefix{}, netip.Addr{}, 0, a.Valid)
		}
	}
	for _, ip := range st.OwnAddresses {
		sources = append(sources, netip.PrefixFrom(ip, ip.BitLen()))
	}
	if t := st.Tunnel; t != nil {
		sources = append(sources, netip.PrefixFrom(t.Local, t.Local.BitLen()))
	}
	if p := st.Phone; p != nil && p.Address.IsValid() {
		// It needs no IPv6, and IPv6 does not need it.
		v.up, v.phone, v.routes4 = true, p.Address, p.Routes
	}
	if !v.up {
		return &view{}
	}
	sources = widest(sources)
	if !o.SourceFilter {
		sources = []netip.Prefix{{}}
	}
	for _, r := range st.WAN.Routers {
		if usable(r.Addr) && !state.Expired(r.Until, now) {
			for _, s := range sources {
				o.route(v, netip.PrefixFrom(netip.IPv6Unspecified(), 0), s, r.Addr.WithZone(""), r.Preference, r.Until)
			}
		}
	}
	routes := slices.Clone(st.WAN.Routes)
	sort.SliceStable(routes, func(x, y int) bool { return routes[x].Preference > routes[y].Preference })
	for _, r := range routes {
		switch {
		case !r.Prefix.IsValid() || !r.Prefix.Addr().Is6() || state.Expired(r.Until, now):
		case !r.Via.IsValid():
			if extend && slices.ContainsFunc(v.prefixes, func(p lifetime) bool { return p.prefix == r.Prefix.Masked() }) {
				continue // the LAN's, see above
			}
			o.route(v, r.Prefix, netip.Prefix{}, netip.Addr{}, 0, r.Until)
		default:
			for _, s := range sources {
				o.route(v, r.Prefix, s, r.Via.WithZone(""), r.Preference, r.Until)
			}
		}
	}
	return v
}

// prefix adds a prefix to hand on. netifd takes none longer than a /64.
func (v *view) prefix(l lifetime) {
	if l.prefix.IsValid() && l.prefix.Bits() >= 1 && l.prefix.Bits() <= 64 && index(v.prefixes, l) < 0 {
		v.prefixes = append(v.prefixes, l)
	}
}

// route adds a route, which always gets a metric: netifd loses track of one that
// gets its metric later. The next free metric keeps those with the same
// destination and source apart.
func (o *Options) route(v *view, target, source netip.Prefix, via netip.Addr, preference int, until time.Time) {
	// What is too many is not even compared: forged advertisements can make it tens
	// of thousands.
	if len(v.routes) == maxRoutes {
		return
	}
	k := routeKey{target: target.Masked(), source: source, metric: o.Metric}
	switch {
	case o.Metric != 0:
	case via.IsValid():
		k.metric = mediumMetric - perLevel*preference
	default:
		k.metric = onLinkMetric
	}
	taken := func(r route) bool { return r.routeKey == k }
	for _, r := range v.routes {
		if r.target == k.target && r.source == k.source && r.via == via {
			return
		}
	}
	for slices.ContainsFunc(v.routes, taken) {
		k.metric++
	}
	v.routes = append(v.routes, route{k, via, until})
}

// widest leaves out every prefix that another one covers.
func widest(list []netip.Prefix) []netip.Prefix {
	sort.SliceStable(list, func(x, y int) bool { return list[x].Bits() < list[y].Bits() })
	var out []netip.Prefix
	for _, p := range list {
		if usable(p.Addr()) && !slices.ContainsFunc(out, func(x netip.Prefix) bool { return x.Overlaps(p) }) {
			out = append(out, p)
		}
	}
	return out
}

func usable(ip netip.Addr) bool {
	return ip.Is6() && !ip.Is4In6() && !ip.IsUnspecified() && !ip.IsLoopback() && !ip.IsMulticast()
}

// servers leaves out what netifd could not parse or a resolver could not use.
// netifd itself adds the device to a link-local one.
func servers(list []netip.Addr) (out []netip.Addr) {
	for _, ip := range list {
		ip = ip.Unmap().WithZone("")
		if !ip.IsValid() || ip.IsUnspecified() || ip.IsLoopback() || ip.IsMulticast() || slices.Contains(out, ip) || len(out) == maxDNS {
			continue
		}
		out = append(out, ip)
	}
	return out
}

// domains leaves out what is no name: netifd writes it into the resolv.conf as it
// is.
func domains(list []string) (out []string) {
	for _, d := range list {
		d = strings.TrimSuffix(d, ".")
		if isDomain(d) && !slices.Contains(out, d) && len(out) < maxSearch {
			out = append(out, d)
		}
	}
	return out
}

func isDomain(d string) bool {
	if len(d) > 253 {
		return false
	}
	for label := range strings.SplitSeq(d, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
				return false
			}
		}
	}
	return true
}

func (l lifetime) seconds(now time.Time) (preferred, valid int32) {
	preferred, valid = seconds(l.preferred, now), seconds(l.valid, now)
	if l.deprecated {
		preferred = 0
	}
	return min(preferred, valid), valid // netifd refuses a whole list over more
}

// seconds is what is left until then, rounded up. The longest that netifd's
// numbers hold, 68 years, stands for an infinite lifetime.
func seconds(then, now time.Time) int32 {
	left, ok := state.Remaining(then, now)
	if !ok {
		return math.MaxInt32
	}
	s := left / time.Second
	if left%time.Second > 0 {
		s++
	}
	return int32(min(s, math.MaxInt32))
}

// dataOf is what data is to be: a key that netifd has and that nobody needs any
// more is there, empty.
func (a *Applier) dataOf(st state.State) map[string]json.RawMessage {
	values := map[string]any{}
	if a.opt.Data != nil {
		maps.Copy(values, a.opt.Data(st))
		delete(values, "zone") // netifd's own
	}
	values["error"] = problem{}
	if e := a.wrong(st); e != nil {
		values["error"] = problem{cut(e.Code, maxCode), cut(e.Text, maxText)}
	}
	values["firewall"] = []rule{}
	if t := st.Tunnel; t != nil {
		// The whole IPv4 address is the line's: hosts out there may speak first.
		values["firewall"] = []rule{{
			Type: "rule", Target: "ACCEPT", Src: "*", Device: a.opt.Device, Family: "ipv6", Proto: "4", SrcIP: t.Remote,
		}}
	}
	data := map[string]json.RawMessage{}
	for k, v := range values {
		b, err := encode(v)
		if err != nil || len(b) > maxValue {
			a.log.Warn("netifd: data left out", "key", k, "bytes", len(b), "error", err)
			continue
		}
		if string(b) != "null" {
			data[k] = b
		}
	}
	for k, v := range a.keys {
		if _, ok := data[k]; !ok {
			data[k] = empty(v)
		}
	}
	return data
}

// empty is a value of the kind of v that says nothing.
func empty(v json.RawMessage) json.RawMessage {
	switch v[0] {
	case '{':
		return json.RawMessage("{}")
	case '[':
		return json.RawMessage("[]")
	case '"':
		return json.RawMessage(`""`)
	case 't', 'f':
		return json.RawMessage("false")
	}
	return json.RawMessage("0")
}

func sameData(a, b map[string]json.RawMessage) bool {
	return a != nil && maps.EqualFunc(a, b, func(x, y json.RawMessage) bool { return bytes.Equal(x, y) })
}
