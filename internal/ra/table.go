package ra

import (
	"cmp"
	"net/netip"
	"slices"
	"sort"
	"time"

	"sofutobanku/internal/state"
)

// Bounds of what is kept, so that no sender can make memory grow. A router that
// advertises more than this is not believed to be one of a subscriber's line.
const (
	maxRouters  = 16
	maxPrefixes = 16 // and the following of each router
	maxRoutes   = 16
	maxDNS      = 8
	maxDomains  = 8
)

// Counters of parts whose value was not believed.
const (
	unusablePrefix  = "ra.option.prefix-unusable"
	prefixLifetimes = "ra.option.prefix-lifetimes"
	prefixLength    = "ra.option.prefix-length"
	mtuRange        = "ra.option.mtu-range"
	unusableRoute   = "ra.option.route-unusable"
	unusableDNS     = "ra.option.dns-unusable"
	tooManyOptions  = "ra.option.too-many"
	reachableRange  = "ra.field.reachable-time"
	retransRange    = "ra.field.retrans-timer"
)

// span is a statement that holds until a moment, the zero Time being never; the
// zero span does not hold.
type span struct {
	made  bool
	until time.Time
}

// lasting returns the span of a lifetime on the wire that begins at now.
func lasting(now time.Time, seconds uint32) span {
	return span{seconds != 0, end(now, seconds)}
}

// end is the moment at which a lifetime on the wire that begins at now ends.
func end(now time.Time, seconds uint32) time.Time {
	if seconds == infinity {
		return time.Time{}
	}
	return now.Add(time.Duration(seconds) * time.Second)
}

func (s span) holds(now time.Time) bool { return s.made && !state.Expired(s.until, now) }

// router is all that one router said, each part with its own end.
type router struct {
	addr    netip.Addr
	heard   time.Time
	refresh time.Time // when to ask again if it stays silent, zero for never

	isDefault  span
	preference int

	managed, other     bool
	mtu                int
	hopLimit           int
	reachable, retrans time.Duration

	prefixes []prefix
	routes   []Route
	dns      []Server
	domains  []Domain
}

type prefix struct {
	prefix    netip.Prefix
	onLink    span
	address   span
	preferred time.Time
}

func (p prefix) holds(now time.Time) bool { return p.onLink.holds(now) || p.address.holds(now) }

// hear takes an advertisement in (RFC 4861 6.3.4). linkMTU is 0 when unknown.
func (r *router) hear(m message, now time.Time, linkMTU int, count func(name string)) {
	r.heard = now
	r.managed, r.other = m.managed, m.other

	lifetime, preference := uint32(m.lifetime), m.preference
	var routes []Route
	for _, o := range m.routes {
		switch {
		case o.prefix.Bits() == 0:
			// A route to everywhere says how good a default router the
			// sender is, and overrides the header (RFC 4191 3.1).
			lifetime, preference = o.lifetime, o.preference
		case !routable(o.prefix):
			count(unusableRoute)
		default:
			routes = append(routes, Route{o.prefix, r.addr, o.preference, end(now, o.lifetime)})
		}
	}
	r.isDefault, r.preference, r.refresh = lasting(now, lifetime), preference, time.Time{}
	if lifetime != infinity {
		r.refresh = now.Add(max(time.Duration(lifetime)*time.Second*2/3, solicitInterval))
	}

	// A zero in these fields says nothing, so what was said before stays.
	if m.hopLimit != 0 {
		r.hopLimit = int(m.hopLimit)
	}
	r.reachable = milliseconds(m.reachable, r.reachable, reachableRange, count)
	r.retrans = milliseconds(m.retrans, r.retrans, retransRange, count)
	if m.mtu != 0 {
		if m.mtu < 1280 || m.mtu > 65535 || linkMTU != 0 && int(m.mtu) > linkMTU {
			count(mtuRange)
		} else {
			r.mtu = int(m.mtu)
		}
	}

	var prefixes []prefix
	for _, o := range m.prefixes {
		if p, ok := r.heardPrefix(o, prefixes, now, count); ok {
			prefixes = append(prefixes, p)
		}
	}
	var dns []Server
	for _, o := range m.dns {
		if a := o.addr; a.IsMulticast() || a.IsUnspecified() || a.IsLoopback() || a.Is4In6() {
			count(unusableDNS)
		} else {
			dns = append(dns, Server{a, end(now, o.lifetime)})
		}
	}
	var domains []Domain
	for _, o := range m.domains {
		domains = append(domains, Domain{o.name, end(now, o.lifetime)})
	}

	r.prefixes = renew(r.prefixes, prefixes, maxPrefixes, count,
		func(a, b prefix) bool { return a.prefix == b.prefix },
		func(p prefix) bool { return p.holds(now) })
	r.routes = renew(r.routes, routes, maxRoutes, count,
		func(a, b Route) bool { return a.Prefix == b.Prefix },
		func(e Route) bool { return !state.Expired(e.Until, now) })
	r.dns = renew(r.dns, dns, maxDNS, count,
		func(a, b Server) bool { return a.Addr == b.Addr },
		func(e Server) bool { return !state.Expired(e.Until, now) })
	r.domains = renew(r.domains, domains, maxDomains, count,
		func(a, b Domain) bool { return a.Name == b.Name },
		func(e Domain) bool { return !state.Expired(e.Until, now) })
}

// heardPrefix judges a prefix option (RFC 4861 6.3.4, RFC 4862 5.5.3) against
// what is known of the prefix, earlier options of the message included.
func (r *router) heardPrefix(o prefixOption, earlier []prefix, now time.Time, count func(string)) (prefix, bool) {
	if !routable(o.prefix) {
		count(unusablePrefix)
		return prefix{}, false
	}
	same := func(p prefix) bool { return p.prefix == o.prefix }
	p := prefix{prefix: o.prefix}
	if i := slices.IndexFunc(r.prefixes, same); i >= 0 {
		p = r.prefixes[i]
	}
	if i := slices.IndexFunc(earlier, same); i >= 0 {
		p = earlier[i]
	}
	// A flag that is not set makes no statement, so what was said before
	// stays until its own end.
	if o.onLink {
		p.onLink = lasting(now, o.valid)
	}
	if !o.autonomous {
		return p, true
	}
	switch {
	case o.preferred > o.valid:
		count(prefixLifetimes)
	case o.prefix.Bits() != 64:
		count(prefixLength)
	default:
		p.address = address(p.address, lasting(now, o.valid), now)
		// A deprecated prefix that is deprecated again ended when it did first.
		if o.preferred != 0 || !state.Expired(p.preferred, now) {
			p.preferred = end(now, o.preferred)
		}
	}
	return p, true
}

// address is the valid lifetime of an address for which heard came while old was
// running: nobody who forges an advertisement may end an address sooner than in
// two hours (RFC 4862 5.5.3 e).
func address(old, heard span, now time.Time) span {
	const floor = 2 * time.Hour
	if !old.holds(now) || heard.made && heard.until.IsZero() {
		return heard
	}
	left, finite := state.Remaining(old.until, now)
	switch new := heard.until.Sub(now); {
	case new > floor || finite && new > left:
		return heard
	case finite && left <= floor:
		return old
	}
	return span{true, now.Add(floor)}
}

// routable tells whether a prefix may be a destination on the link or beyond
// it: not everything, nor what only means something on one link or host.
func routable(p netip.Prefix) bool {
	a := p.Addr()
	return p.Bits() > 0 && !a.IsLinkLocalUnicast() && !a.IsMulticast() &&
		!a.IsUnspecified() && !a.IsLoopback() && !a.Is4In6()
}

// milliseconds reads a time of the header: 0 says nothing, and more than an hour
// is against RFC 4861 6.2.1; both leave old.
func milliseconds(v uint32, old time.Duration, counter string, count func(string)) time.Duration {
	d := time.Duration(v) * time.Millisecond
	if d > time.Hour {
		count(counter)
		return old
	}
	if d == 0 {
		return old
	}
	return d
}

// renew returns what is kept of old items after the fresh ones came: the fresh
// ones in their order, then the old ones that were not mentioned. What ended, or
// exceeds limit, goes.
func renew[T any](old, fresh []T, limit int, count func(string), same func(a, b T) bool, holds func(T) bool) []T {
	var out []T
	for _, f := range fresh {
		isSame := func(e T) bool { return same(e, f) }
		old = slices.DeleteFunc(old, isSame)
		out = slices.DeleteFunc(out, isSame) // said twice: the last word counts
		switch {
		case !holds(f):
		case len(out) == limit:
			count(tooManyOptions)
		default:
			out = append(out, f)
		}
	}
	for _, e := range old {
		if holds(e) && len(out) < limit {
			out = append(out, e)
		}
	}
	return out
}

// table is all routers that were heard.
type table []*router

// hear takes in the advertisement of the router with the address from: was it
// not known, and is it a default router now? The error is a drop.
func (t *table) hear(from netip.Addr, m message, now time.Time, linkMTU int, count func(string)) (isNew, isDefault bool, err error) {
	i := slices.IndexFunc(*t, func(r *router) bool { return r.addr == from })
	if i < 0 {
		// A new router never displaces a known one, or a forger of many
		// could push the line's own out.
		if len(*t) >= maxRouters {
			return false, false, dropManyRouters
		}
		i, isNew = len(*t), true
		*t = append(*t, &router{addr: from})
	}
	r := (*t)[i]
	r.hear(m, now, linkMTU, count)
	return isNew, r.isDefault.holds(now), nil
}

// age forgets what ended. What has no lifetime of its own (the flags, the MTU)
// is forgotten with the last other statement of its router, except that the
// router heard last keeps it as long as no other router has anything to say.
func (t *table) age(now time.Time) {
	var last *router
	anyAlive := false
	for _, r := range *t {
		r.prefixes = slices.DeleteFunc(r.prefixes, func(p prefix) bool { return !p.holds(now) })
		r.routes = slices.DeleteFunc(r.routes, func(e Route) bool { return state.Expired(e.Until, now) })
		r.dns = slices.DeleteFunc(r.dns, func(e Server) bool { return state.Expired(e.Until, now) })
		r.domains = slices.DeleteFunc(r.domains, func(e Domain) bool { return state.Expired(e.Until, now) })
		anyAlive = anyAlive || r.alive(now)
		if last == nil || r.heard.After(last.heard) {
			last = r
		}
	}
	*t = slices.DeleteFunc(*t, func(r *router) bool { return !r.alive(now) && (anyAlive || r != last) })
}

// alive tells whether anything that has a lifetime is left of r, which was aged.
func (r *router) alive(now time.Time) bool {
	return r.isDefault.holds(now) || len(r.prefixes)+len(r.routes)+len(r.dns)+len(r.domains) > 0
}

// hasDefault tells whether there is a default router.
func (t table) hasDefault(now time.Time) bool {
	return slices.ContainsFunc(t, func(r *router) bool { return r.isDefault.holds(now) })
}

// refresh is when all default routers have been silent for so long that they
// should be asked again, the zero Time for never.
func (t table) refresh(now time.Time) time.Time {
	at := time.Unix(0, 0)
	for _, r := range t {
		if r.isDefault.holds(now) {
			at = later(at, r.refresh)
		}
	}
	return at
}

// next is the first moment after now at which something ends, the zero Time for
// never.
func (t table) next(now time.Time) time.Time {
	var first time.Time
	at := func(t time.Time) {
		if t.After(now) && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	for _, r := range t {
		at(r.isDefault.until)
		for _, p := range r.prefixes {
			at(p.onLink.until)
			at(p.address.until)
			at(p.preferred)
		}
		for _, e := range r.routes {
			at(e.Until)
		}
		for _, e := range r.dns {
			at(e.Until)
		}
		for _, e := range r.domains {
			at(e.Until)
		}
	}
	return first
}

// info merges what all routers say. The table was aged at now.
func (t table) info(now time.Time, linkMTU int) Info {
	var i Info
	// The routers in the order of preference, those that are not default
	// routers last.
	rs := slices.Clone(t)
	rank := func(r *router) Router {
		if !r.isDefault.holds(now) {
			return Router{Addr: r.addr, Preference: -2}
		}
		return Router{r.addr, r.preference, r.isDefault.until}
	}
	sort.Slice(rs, func(a, b int) bool { return compareRouters(rank(rs[a]), rank(rs[b])) < 0 })

	for _, r := range rs {
		if r.isDefault.holds(now) {
			i.Routers = append(i.Routers, rank(r))
		}
		i.Managed = i.Managed || r.managed
		i.Other = i.Other || r.other
		if r.mtu != 0 && (i.MTU == 0 || r.mtu < i.MTU) && (linkMTU == 0 || r.mtu <= linkMTU) {
			i.MTU = r.mtu
		}
		i.HopLimit = cmp.Or(i.HopLimit, r.hopLimit)
		i.Reachable = cmp.Or(i.Reachable, r.reachable)
		i.Retrans = cmp.Or(i.Retrans, r.retrans)
		i.Routes = append(i.Routes, r.routes...)

		for _, p := range r.prefixes {
			n := slices.IndexFunc(i.Prefixes, func(q Prefix) bool { return q.Prefix == p.prefix })
			if n < 0 {
				n = len(i.Prefixes)
				i.Prefixes = append(i.Prefixes, Prefix{Prefix: p.prefix})
			}
			q := &i.Prefixes[n]
			if p.onLink.holds(now) {
				q.OnLinkUntil = latest(q.OnLink, q.OnLinkUntil, p.onLink.until)
				q.OnLink = true
			}
			if p.address.holds(now) {
				q.Preferred = latest(q.Autonomous, q.Preferred, p.preferred)
				q.Until = latest(q.Autonomous, q.Until, p.address.until)
				q.Deprecated = state.Expired(q.Preferred, now)
				q.Autonomous = true
			}
		}
		for _, e := range r.dns {
			if n := slices.IndexFunc(i.DNS, func(s Server) bool { return s.Addr == e.Addr }); n >= 0 {
				i.DNS[n].Until = later(i.DNS[n].Until, e.Until)
			} else {
				i.DNS = append(i.DNS, e)
			}
		}
		for _, e := range r.domains {
			if n := slices.IndexFunc(i.Domains, func(d Domain) bool { return d.Name == e.Name }); n >= 0 {
				i.Domains[n].Until = later(i.Domains[n].Until, e.Until)
			} else {
				i.Domains = append(i.Domains, e)
			}
		}
	}
	// Of slices.SortFunc there would be a copy for each type, 11 kB each.
	sort.Slice(i.Prefixes, func(a, b int) bool { return comparePrefixes(i.Prefixes[a].Prefix, i.Prefixes[b].Prefix) < 0 })
	sort.Slice(i.Routes, func(x, y int) bool {
		a, b := i.Routes[x], i.Routes[y]
		return cmp.Or(comparePrefixes(a.Prefix, b.Prefix), cmp.Compare(b.Preference, a.Preference), a.Via.Compare(b.Via)) < 0
	})
	return i
}

// latest is the later of two ends, or until alone when there was none before.
func latest(had bool, before, until time.Time) time.Time {
	if !had {
		return until
	}
	return later(before, until)
}
