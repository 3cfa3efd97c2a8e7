package netifd

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// ip is what an interface has in the kernel, and what it tells of.
type ip struct {
	l3        string // the device
	tunnel    object // its configuration, if it is one
	addresses map[addressKey]address
	routes    map[routeKey]route
	prefixes  map[netip.Prefix]prefix
	dns       []string
	search    []string
	data      map[string]json.RawMessage
}

func (i *iface) resetIP() {
	i.ip = ip{data: map[string]json.RawMessage{}}
}

// clear takes everything away.
func (i *iface) clear() {
	i.apply(nil, nil, nil)
	if i.tunnel != nil {
		i.n.ip("-6", "link del "+i.l3)
	}
	i.resetIP()
	i.n.assign()
}

// update is notify_proto's action 0.
func (i *iface) update(m object) int {
	n := i.n
	if _, ok := m["link-up"]; !ok {
		n.violation("update of %s without link-up", i.name)
		return invalidArgument
	}
	if !m.bool("link-up") {
		i.lost()
		return 0
	}
	if i.state == down {
		n.violation("update of %s while it is down: netifd takes it, and nothing removes what is in it", i.name)
	}
	keep := m.bool("keep") && i.state == up && i.l3 != ""
	remade := false
	if !keep {
		if status := i.setL3(m, &remade); status != 0 {
			return status
		}
	}
	addresses, routes, prefixes := map[addressKey]address{}, map[routeKey]route{}, map[netip.Prefix]prefix{}
	if keep {
		maps.Copy(addresses, i.addresses)
		maps.Copy(routes, i.routes)
		maps.Copy(prefixes, i.prefixes)
	} else {
		i.dns, i.search = nil, nil
	}
	each := func(name string, known schema, do func(o object, v6 bool) error) {
		for k, v := range m.list(name) {
			where := fmt.Sprintf("update of %s: %s[%d]", i.name, name, k)
			o, ok := v.(map[string]any)
			if !ok {
				n.violation("%s is no table", where)
				continue
			}
			if err := do(known.keep(where, o, n.violation), strings.Contains(name, "6")); err != nil {
				n.violation("%s: %v", where, err)
			}
		}
	}
	index := 0
	for _, name := range []string{"ipaddr", "ip6addr"} {
		index = 0
		each(name, addressSchema, func(o object, v6 bool) error {
			a, err := parseAddress(o, v6)
			if err == nil {
				addresses[addressKey{index, a.prefix, a.offlink}] = a
				index++
			}
			return err
		})
	}
	for _, name := range []string{"routes", "routes6"} {
		each(name, routeSchema, func(o object, v6 bool) error {
			key, r, err := parseRoute(o, v6)
			if err == nil {
				routes[key] = r
			}
			return err
		})
	}
	for _, v := range m.list("ip6prefix") {
		s, _ := v.(string)
		p, err := parsePrefix(s)
		if err != nil {
			n.violation("update of %s: %v", i.name, err)
			continue
		}
		prefixes[p.Masked()] = p
	}
	for name, list := range map[string]*[]string{"dns": &i.dns, "dns_search": &i.search} {
		words, ok := m.strings(name, math.MaxInt)
		if !ok {
			n.violation("update of %s: %s has what is no string", i.name, name)
		}
		*list = append(*list, words...)
	}
	updated := i.apply(addresses, routes, prefixes)
	if remade {
		i.tellLost(addresses, routes)
	}
	for name, v := range m.table("data") {
		b, err := json.Marshal(v)
		if err != nil {
			n.violation("%v", err)
		}
		if string(i.data[name]) != string(b) {
			i.data[name] = b
			updated = true
		}
	}
	switch {
	case i.state == setup:
		i.isUp()
	case i.state == up && updated:
		i.event("ifupdate")
	}
	if updated {
		n.assign()
	}
	if i.machine == settingUp {
		i.machine = idle
	}
	return 0
}

// setL3 takes the device that an update names. remade tells of a tunnel that was
// there and is another one now.
func (i *iface) setL3(m object, remade *bool) int {
	dev := i.device()
	if name := m.string("ifname"); name != "" {
		dev = name
	}
	if dev == "" {
		i.n.violation("update of %s without a device", i.name)
		return invalidArgument
	}
	t := m.table("tunnel")
	if t != nil && i.device() != "" {
		i.n.violation("a tunnel in the update of %s, which has a device: its addresses move onto the tunnel", i.name)
	}
	if dev != i.l3 && i.l3 != "" {
		i.apply(nil, nil, nil)
		if i.tunnel != nil {
			i.n.ip("-6", "link del "+i.l3)
			i.tunnel = nil
		}
	}
	i.l3 = dev
	if t == nil {
		return 0
	}
	if reflect.DeepEqual(i.tunnel, t) {
		return 0
	}
	// A netifd that was killed may have left one.
	if _, there := i.n.links[dev]; there || i.tunnel != nil {
		i.n.ip("-6", "link del "+dev)
	}
	*remade = i.tunnel != nil
	i.tunnel = t
	if !i.makeTunnel(dev, t) {
		i.tunnel = nil
		return unknownError
	}
	return 0
}

func (i *iface) makeTunnel(dev string, t object) bool {
	where := "tunnel of " + i.name
	if len(dev) > 15 {
		i.n.violation("%s: the name %s is longer than 15 bytes", where, dev)
		return false
	}
	t = tunnelSchema.keep(where, t, i.n.violation)
	ttl, ok := t.int("ttl")
	if !ok {
		ttl = 64
	}
	limit := "encaplimit 0"
	if data := t.table("data"); data == nil {
		i.n.violation("%s: without a table data netifd sends an encapsulation limit of 0", where)
	} else {
		limit = "encaplimit none"
		if s := tunnelDataSchema.keep(where, data, i.n.violation).string("encaplimit"); s != "" && s != "ignore" {
			if n, err := strconv.ParseUint(s, 0, 8); err != nil {
				i.n.violation("%s: encaplimit %q", where, s)
				return false
			} else {
				limit = fmt.Sprintf("encaplimit %d", n)
			}
		}
	}
	line := fmt.Sprintf("link add %s type ip6tnl mode %s local %s remote %s hoplimit %d %s",
		dev, t.string("mode"), t.string("local"), t.string("remote"), ttl, limit)
	if !i.n.ip("-6", line) {
		return false
	}
	more := "link set " + dev + " up"
	if mtu, ok := t.int("mtu"); ok {
		more += " mtu " + strconv.Itoa(mtu)
	}
	return i.n.ip("-6", more)
}

// tellLost tells what netifd believes to be in the kernel and the tunnel device that
// was made anew does not have.
func (i *iface) tellLost(addresses map[addressKey]address, routes map[routeKey]route) {
	out, err := i.n.ns.Try("ip", "-o", "addr", "show", "dev", i.l3)
	if err != nil {
		return
	}
	for key := range addresses {
		if !strings.Contains(out, " "+key.prefix.String()+" ") {
			i.n.violation("%s was made anew in an update in which %v is unchanged: netifd has lost that", i.l3, key.prefix)
		}
	}
	if len(routes) > 0 && len(addresses) == 0 {
		i.n.violation("%s was made anew in an update with routes", i.l3)
	}
}

// apply replaces what the interface has, as netifd does: what is new is added, then
// what is gone is removed, and what is the same is believed to be there. It tells
// whether there was a difference.
func (i *iface) apply(addresses map[addressKey]address, routes map[routeKey]route, prefixes map[netip.Prefix]prefix) (updated bool) {
	lines := map[bool][]string{}
	do := func(v6 bool, format string, args ...any) { lines[v6] = append(lines[v6], fmt.Sprintf(format, args...)) }
	updated = !maps.EqualFunc(addresses, i.addresses, func(_, _ address) bool { return true }) ||
		!maps.EqualFunc(routes, i.routes, func(_, _ route) bool { return true }) ||
		!maps.EqualFunc(prefixes, i.prefixes, func(_, _ prefix) bool { return true })

	nullRoute := func(k addressKey) (string, bool) {
		p := k.prefix
		return fmt.Sprintf("unreachable %v dev lo metric %d", p.Masked(), math.MaxInt32),
			k.offlink && p.Bits() < p.Addr().BitLen() && i.tunnel == nil
	}
	for key, a := range addresses {
		old, had := i.addresses[key]
		if had && old == a && a.valid < 0 && a.preferred < 0 {
			continue // one with a lifetime is refreshed
		}
		line := fmt.Sprintf("addr replace %v dev %s", a.prefix, i.l3)
		if a.valid >= 0 {
			line += fmt.Sprintf(" valid_lft %d", a.valid)
		} else if a.preferred >= 0 {
			line += " valid_lft forever"
		}
		if a.preferred >= 0 {
			line += fmt.Sprintf(" preferred_lft %d", a.preferred)
		}
		if a.offlink {
			line += " noprefixroute"
		}
		do(a.prefix.Addr().Is6(), "%s", line)
		if null, ok := nullRoute(key); ok && !had {
			do(true, "route replace %s", null)
		}
	}
	for key := range i.addresses {
		if _, stays := addresses[key]; stays {
			continue
		}
		do(key.prefix.Addr().Is6(), "addr del %v dev %s", key.prefix, i.l3)
		if null, ok := nullRoute(key); ok {
			do(true, "route del %s", null)
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(routes), func(a, b routeKey) int { return b.target.Bits() - a.target.Bits() }) {
		if old, had := i.routes[key]; !had || old != routes[key] {
			if line, enabled := i.route(key, routes[key]); enabled {
				do(key.target.Addr().Is6(), "route replace %s", line)
			}
		}
	}
	for key, r := range i.routes {
		if _, stays := routes[key]; !stays {
			if line, enabled := i.route(key, r); enabled {
				do(key.target.Addr().Is6(), "route del %s", line)
			}
		}
	}
	for p := range prefixes {
		if _, had := i.prefixes[p]; !had {
			do(true, "route replace unreachable %v dev lo metric %d proto static", p, math.MaxInt32)
		}
	}
	for p := range i.prefixes {
		if _, stays := prefixes[p]; !stays {
			do(true, "route del unreachable %v dev lo metric %d proto static", p, math.MaxInt32)
		}
	}
	i.n.ip("-6", lines[true]...)
	i.n.ip("-4", lines[false]...)
	i.addresses, i.routes, i.prefixes = addresses, routes, prefixes
	return updated
}

// route is a route in words of ip(8), without one for a default route that the user
// does not want.
func (i *iface) route(key routeKey, r route) (line string, enabled bool) {
	v6 := key.target.Addr().Is6()
	line = key.target.String()
	if r.kind != "" {
		line = r.kind + " " + line
	}
	if key.source != "" && v6 {
		line += " from " + key.source
	}
	if r.via != "" {
		line += " via " + r.via
	}
	line += " dev " + i.l3
	metric := key.metric
	if !key.hasMetric {
		metric, _ = i.config.int("metric")
	}
	if metric > 0 {
		line += " metric " + strconv.Itoa(metric)
	}
	if r.mtu > 0 {
		line += " mtu " + strconv.Itoa(r.mtu)
	}
	table := key.table
	if table == "" {
		table = i.config.string(map[bool]string{true: "ip6table", false: "ip4table"}[v6])
	}
	if table != "" {
		line += " table " + table
	}
	if r.onlink {
		line += " onlink"
	}
	proto := "static"
	if r.proto != "" {
		proto = r.proto
	}
	return line + " proto " + proto, key.target.Bits() > 0 || i.config.bool("defaultroute", true)
}

func (i *iface) fill(s *Status) {
	s.Addresses4, s.Addresses6, s.Prefixes, s.Routes = []AddressStatus{}, []AddressStatus{}, []AddressStatus{}, []RouteStatus{}
	keys := slices.SortedFunc(maps.Keys(i.addresses), func(a, b addressKey) int {
		if a.index != b.index {
			return a.index - b.index
		}
		return strings.Compare(a.prefix.String(), b.prefix.String())
	})
	for _, key := range keys {
		a := AddressStatus{key.prefix.Addr().String(), key.prefix.Bits()}
		if key.prefix.Addr().Is6() {
			s.Addresses6 = append(s.Addresses6, a)
		} else {
			s.Addresses4 = append(s.Addresses4, a)
		}
	}
	for p := range i.prefixes {
		s.Prefixes = append(s.Prefixes, AddressStatus{p.Addr().String(), p.Bits()})
	}
	for key, r := range i.routes {
		s.Routes = append(s.Routes, RouteStatus{key.target.Addr().String(), key.target.Bits(), r.via, key.source})
	}
	slices.SortFunc(s.Prefixes, func(a, b AddressStatus) int { return strings.Compare(a.Address, b.Address) })
	slices.SortFunc(s.Routes, func(a, b RouteStatus) int {
		return strings.Compare(fmt.Sprint(a), fmt.Sprint(b))
	})
	if i.config.bool("peerdns", true) {
		s.DNS, s.Search = slices.Clone(i.dns), slices.Clone(i.search)
	}
}

// assign gives the delegated prefixes to the interfaces with ip6assign: of each the
// first network. An address whose prefix is gone is deprecated for up to two hours, so
// that hosts hear of that (RFC 7084 L-14).
func (n *Netifd) assign() {
	prefixes := map[netip.Prefix]prefix{}
	for _, i := range n.ifaces {
		if i.config.bool("delegate", true) {
			maps.Copy(prefixes, i.prefixes)
		}
	}
	for _, lan := range n.ifaces {
		bits, ok := lan.config.int("ip6assign")
		if !ok || lan.state != up {
			continue
		}
		dev := lan.device()
		want := map[addressKey]address{}
		for _, p := range prefixes {
			a := netip.PrefixFrom(p.Masked().Addr().Next(), max(bits, p.Bits()))
			want[addressKey{prefix: a}] = address{prefix: a, preferred: p.preferred, valid: p.valid}
		}
		lan.l3 = dev
		var lines []string
		for key := range lan.addresses {
			if _, stays := want[key]; !stays {
				lines = append(lines, fmt.Sprintf("addr replace %v dev %s preferred_lft 0 valid_lft 7200", key.prefix, dev))
			}
		}
		n.ip("-6", lines...)
		for key := range lan.addresses {
			if _, stays := want[key]; !stays {
				delete(lan.addresses, key)
			}
		}
		lan.apply(want, nil, nil)
	}
}
