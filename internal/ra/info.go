package ra

import (
	"cmp"
	"errors"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"time"
)

// Info is what the routers of the link advertise, all of it still valid at the
// moment it was published. It is a value: the receiver may keep it, and the
// Client never changes it afterwards. Addresses carry no zone: link-local ones
// belong to the link that the Client was given.
//
// Every Until is the moment at which the item ends, the zero Time is never.
type Info struct {
	Routers []Router // default routers, the preferred one first

	Managed, Other bool // any router says: addresses, other information by DHCPv6

	MTU      int // the smallest advertised, in bytes, 0 when none is
	HopLimit int // for packets the host sends, 1 to 255, 0 when unspecified

	Reachable, Retrans time.Duration // RFC 4861 6.3.2, 0 when unspecified

	Prefixes []Prefix
	Routes   []Route
	DNS      []Server // in the order advertised, the preferred router's first
	Domains  []Domain // likewise
}

// Router is a default router (RFC 4861 4.2, RFC 4191 2.2).
type Router struct {
	Addr       netip.Addr // link-local
	Preference int        // 1 high, 0 medium, -1 low
	Until      time.Time
}

// Prefix is a prefix of the link (RFC 4861 4.6.2). The on-link statement and the
// autonomous one are made, and end, independently.
type Prefix struct {
	Prefix netip.Prefix

	OnLink      bool
	OnLinkUntil time.Time

	// Autonomous: addresses may be formed (RFC 4862 5.5.3), which holds for /64
	// prefixes only. Preferred and Until are the lifetimes of such an address.
	Autonomous bool
	Preferred  time.Time
	Deprecated bool // the preferred lifetime is over
	Until      time.Time
}

// Route is a more specific route (RFC 4191 2.3).
type Route struct {
	Prefix     netip.Prefix
	Via        netip.Addr // the router that advertised it
	Preference int        // 1 high, 0 medium, -1 low
	Until      time.Time
}

// Server is a recursive DNS server (RFC 8106 5.1).
type Server struct {
	Addr  netip.Addr
	Until time.Time
}

// Domain is a DNS search domain (RFC 8106 5.2), lower-case, in its ASCII form,
// without the final dot.
type Domain struct {
	Name  string
	Until time.Time
}

// Address is an address that the routers let the host form.
type Address struct {
	// Prefix is the address with a length of 64 when its prefix is on-link, of
	// 128 when it is not.
	Prefix     netip.Prefix
	Preferred  time.Time
	Deprecated bool // the preferred lifetime is over
	Until      time.Time
}

// Addresses returns the address with the interface identifier iid for each
// autonomous prefix, in the order of the prefixes.
func (i Info) Addresses(iid [8]byte) []Address {
	var out []Address
	for _, p := range i.Prefixes {
		if !p.Autonomous {
			continue
		}
		bits := 128
		if p.OnLink {
			bits = 64
		}
		out = append(out, Address{
			Prefix:     netip.PrefixFrom(SLAAC(p.Prefix, iid), bits),
			Preferred:  p.Preferred,
			Deprecated: p.Deprecated,
			Until:      p.Until,
		})
	}
	return out
}

// SLAAC joins a /64 prefix and an interface identifier to an address (RFC 4862
// 5.5.3 d). The result is not valid when prefix is not an IPv6 /64.
func SLAAC(prefix netip.Prefix, iid [8]byte) netip.Addr {
	if prefix.Bits() != 64 || !prefix.Addr().Is6() || prefix.Addr().Is4In6() {
		return netip.Addr{}
	}
	a := prefix.Addr().As16()
	copy(a[8:], iid[:])
	return netip.AddrFrom16(a)
}

// EUI64 returns the modified EUI-64 interface identifier of a link-layer address
// (RFC 4291 appendix A), which must be 6 or 8 bytes long.
func EUI64(mac net.HardwareAddr) (iid [8]byte, err error) {
	switch len(mac) {
	case 6:
		iid = [8]byte{mac[0], mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]}
	case 8:
		copy(iid[:], mac)
	default:
		return iid, errors.New("ra: link-layer address is neither 6 nor 8 bytes long")
	}
	iid[0] ^= 0x02
	return iid, nil
}

// times returns every moment in i, in an order that depends on its shape alone.
func (i Info) times() []time.Time {
	var ts []time.Time
	for _, r := range i.Routers {
		ts = append(ts, r.Until)
	}
	for _, p := range i.Prefixes {
		ts = append(ts, p.OnLinkUntil, p.Preferred, p.Until)
	}
	for _, r := range i.Routes {
		ts = append(ts, r.Until)
	}
	for _, s := range i.DNS {
		ts = append(ts, s.Until)
	}
	for _, d := range i.Domains {
		ts = append(ts, d.Until)
	}
	return ts
}

// sameShape tells whether a and b differ in nothing but moments.
func sameShape(a, b Info) bool {
	return reflect.DeepEqual(a.timeless(), b.timeless())
}

func (i Info) timeless() Info {
	i.Routers = slices.Clone(i.Routers)
	for n := range i.Routers {
		i.Routers[n].Until = time.Time{}
	}
	i.Prefixes = slices.Clone(i.Prefixes)
	for n := range i.Prefixes {
		p := &i.Prefixes[n]
		p.OnLinkUntil, p.Preferred, p.Until = time.Time{}, time.Time{}, time.Time{}
	}
	i.Routes = slices.Clone(i.Routes)
	for n := range i.Routes {
		i.Routes[n].Until = time.Time{}
	}
	i.DNS = slices.Clone(i.DNS)
	for n := range i.DNS {
		i.DNS[n].Until = time.Time{}
	}
	i.Domains = slices.Clone(i.Domains)
	for n := range i.Domains {
		i.Domains[n].Until = time.Time{}
	}
	return i
}

// sameTimes tells whether the moments of a and b, which are of one shape, are
// less than a second apart: the wire counts in seconds, so closer ones are the
// same lifetime heard twice.
func sameTimes(a, b Info) bool {
	return slices.EqualFunc(a.times(), b.times(), func(x, y time.Time) bool {
		return x.IsZero() == y.IsZero() && x.Sub(y).Abs() < time.Second
	})
}

// later returns the later of two ends; the zero Time never ends.
func later(a, b time.Time) time.Time {
	if a.IsZero() || b.IsZero() {
		return time.Time{}
	}
	if a.After(b) {
		return a
	}
	return b
}

func compareRouters(a, b Router) int {
	return cmp.Or(cmp.Compare(b.Preference, a.Preference), a.Addr.Compare(b.Addr))
}

func comparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}
