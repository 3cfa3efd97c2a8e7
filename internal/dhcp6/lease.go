package dhcp6

import (
	"bytes"
	"cmp"
	"net/netip"
	"slices"
	"sort"
	"time"
)

// Lease is what a server delegated. All times are the end of something; the
// zero Time is never.
type Lease struct {
	Server     []byte     // the server's DUID
	ServerAddr netip.Addr // whence its last Reply came
	// Prefixes has at least one and at most 8, the one to use first: those not
	// deprecated, then those that the last Reply named, then the longest held.
	Prefixes []Prefix
	T1, T2   time.Time
	// Verified: a server confirmed the lease since the link came up.
	Verified bool
}

// Prefix is one delegated prefix, /24 to /64.
type Prefix struct {
	Prefix    netip.Prefix
	Preferred time.Time
	Valid     time.Time
	// Deprecated: the preferred lifetime is over (or was 0 from the start).
	Deprecated bool
}

// Info is what a server told beside prefixes, at most 16 of a kind. Empty
// means not told.
type Info struct {
	DNS     []netip.Addr `json:"dns,omitempty"`     // RFC 3646
	SNTP    []netip.Addr `json:"sntp,omitempty"`    // RFC 4075
	SIP     []netip.Addr `json:"sip,omitempty"`     // RFC 3319
	Domains []string     `json:"domains,omitempty"` // RFC 3646, without trailing dots
	Vendor  []Vendor     `json:"vendor,omitempty"`
}

// Vendor is one Vendor-specific Information option (RFC 8415 21.17).
type Vendor struct {
	Enterprise uint32 `json:"enterprise"` // IANA enterprise number
	Data       []byte `json:"data"`       // what follows it, as it came
}

func (i *Info) empty() bool {
	return len(i.DNS)+len(i.SNTP)+len(i.SIP)+len(i.Domains)+len(i.Vendor) == 0
}

func (i *Info) clone() *Info {
	if i == nil {
		return nil
	}
	c := Info{
		DNS: slices.Clone(i.DNS), SNTP: slices.Clone(i.SNTP), SIP: slices.Clone(i.SIP),
		Domains: slices.Clone(i.Domains), Vendor: slices.Clone(i.Vendor),
	}
	for n := range c.Vendor {
		c.Vendor[n].Data = bytes.Clone(c.Vendor[n].Data)
	}
	return &c
}

// lease is the client's own record of a lease.
type lease struct {
	server     []byte
	serverAddr netip.Addr
	t1, t2     time.Time // zero: never
	bindings   []binding // the one to use first
	verified   bool
	unanswered bool // the verification got no answer on this link
	unbound    bool // the server said NoBinding, and is asked anew

	// What a Reconfigure is proven by (RFC 8415 20.4); key is nil when the
	// server gave none.
	key    []byte
	replay uint64
}

// binding is one prefix of a lease.
type binding struct {
	iaPrefix             // with the lifetimes as granted, in seconds
	preferred, valid     time.Time
	deprecated, inLatest bool
}

// end is when a lifetime of seconds from now is over, zero for infinity.
func end(now time.Time, seconds uint32) time.Time {
	if seconds == infinity {
		return time.Time{}
	}
	return now.Add(time.Duration(seconds) * time.Second)
}

// over tells whether t, a zero t being never, has come.
func over(t, now time.Time) bool { return !t.IsZero() && !now.Before(t) }

// earlier is the earlier of two times of which zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// take makes the IA of a Reply the lease's (RFC 8415 18.2.10.1): prefixes are
// added or refreshed, those with a valid lifetime of 0 are gone, those not
// mentioned stay as they are.
func (l *lease) take(a *ia, now time.Time) {
	for i := range l.bindings {
		l.bindings[i].inLatest = false
	}
	for _, p := range a.Prefixes {
		i := slices.IndexFunc(l.bindings, func(b binding) bool { return b.Prefix == p.Prefix })
		switch {
		case p.Valid == 0 && i >= 0:
			l.bindings = slices.Delete(l.bindings, i, i+1)
			continue
		case p.Valid == 0:
			continue
		case i < 0:
			l.bindings = append(l.bindings, binding{})
			i = len(l.bindings) - 1
		}
		l.bindings[i] = binding{
			iaPrefix: p, preferred: end(now, p.Preferred), valid: end(now, p.Valid),
			deprecated: p.Preferred == 0, inLatest: true,
		}
	}
	l.sort()
	l.bindings = l.bindings[:min(len(l.bindings), maxPrefixes)]
	l.schedule(a, now)
	l.verified, l.unanswered, l.unbound = true, false, false
}

// keepLatest forgets the prefixes that the last Reply did not name.
func (l *lease) keepLatest() {
	l.bindings = slices.DeleteFunc(l.bindings, func(b binding) bool { return !b.inLatest })
}

// sort brings the prefix to use to the front. It is stable, so that a prefix
// that is held stays in use beside a new one of equal right; new ones come
// ordered, so that the order of options in a packet decides nothing.
func (l *lease) sort() {
	rank := func(b bool) int {
		if b {
			return 0
		}
		return 1
	}
	sort.SliceStable(l.bindings, func(x, y int) bool {
		a, b := l.bindings[x], l.bindings[y]
		return cmp.Or(cmp.Compare(rank(!a.deprecated), rank(!b.deprecated)), cmp.Compare(rank(a.inLatest), rank(b.inLatest))) < 0
	})
}

// canonical orders the prefixes of a: the largest first, then by address.
func (a *ia) canonical() {
	// Of slices.SortFunc there would be a copy for each type, 11 kB each.
	sort.Slice(a.Prefixes, func(x, y int) bool {
		p, q := a.Prefixes[x].Prefix, a.Prefixes[y].Prefix
		return cmp.Or(cmp.Compare(p.Bits(), q.Bits()), p.Addr().Compare(q.Addr())) < 0
	})
}

// valid tells whether a can be used at all (RFC 8415 21.21).
func (a *ia) valid() bool { return a.T1 == 0 || a.T2 == 0 || a.T1 <= a.T2 }

// grants tells whether a holds a prefix with a lifetime.
func (a *ia) grants() bool {
	return slices.ContainsFunc(a.Prefixes, func(p iaPrefix) bool { return p.Valid > 0 })
}

// schedule sets T1 and T2. Left to the client (0), they are 0.5 and 0.8 of the
// shortest preferred lifetime (RFC 8415 14.2, 21.21); so they are too when the
// server's choice would let the lease end before it is renewed.
func (l *lease) schedule(a *ia, now time.Time) {
	shortest, preferred := uint32(infinity), uint32(infinity)
	for _, b := range l.bindings {
		if !b.inLatest {
			continue
		}
		shortest = min(shortest, b.Valid)
		if b.Preferred > 0 {
			preferred = min(preferred, b.Preferred)
		}
	}
	base := min(preferred, shortest) // all deprecated: the valid lifetime
	part := func(tenths uint64) uint32 {
		if base == infinity {
			return infinity
		}
		return uint32(uint64(base) * tenths / 10)
	}
	t1, t2 := a.T1, a.T2
	if t1 == 0 || t1 >= shortest && shortest != infinity {
		t1 = part(5)
		if t2 > 0 {
			t1 = min(t1, t2)
		}
	}
	if t2 == 0 || t2 >= shortest && shortest != infinity {
		t2 = max(part(8), t1)
	}
	l.t1, l.t2 = end(now, t1), end(now, t2)
	if soonest := now.Add(minRenew); !l.t1.IsZero() && l.t1.Before(soonest) {
		l.t1 = soonest
	}
	if !l.t2.IsZero() && (l.t1.IsZero() || l.t2.Before(l.t1)) {
		l.t2 = l.t1
	}
}

// age drops the prefixes whose valid lifetime is over and notes those whose
// preferred lifetime is; changed tells whether any was.
func (l *lease) age(now time.Time) (changed bool) {
	n := len(l.bindings)
	l.bindings = slices.DeleteFunc(l.bindings, func(b binding) bool { return over(b.valid, now) })
	changed = len(l.bindings) != n
	for i := range l.bindings {
		if b := &l.bindings[i]; !b.deprecated && over(b.preferred, now) {
			b.deprecated, changed = true, true
		}
	}
	if changed {
		l.sort()
	}
	return changed
}

// nextAge is when age will have something to do, zero for never.
func (l *lease) nextAge() (t time.Time) {
	for _, b := range l.bindings {
		t = earlier(t, b.valid)
		if !b.deprecated {
			t = earlier(t, b.preferred)
		}
	}
	return t
}

// expiry is when the last prefix ends, zero for never.
func (l *lease) expiry() (t time.Time) {
	for _, b := range l.bindings {
		if b.valid.IsZero() {
			return time.Time{}
		}
		if b.valid.After(t) {
			t = b.valid
		}
	}
	return t
}

// ia is what a Renew or Rebind asks to prolong. It holds the lifetimes as they
// were granted: servers were seen to answer zeros with nothing.
func (l *lease) ia(id uint32) ia {
	a := ia{ID: id}
	for _, b := range l.bindings {
		a.Prefixes = append(a.Prefixes, b.iaPrefix)
	}
	return a
}

// public is the lease as the outside sees it.
func (l *lease) public() *Lease {
	if l == nil {
		return nil
	}
	out := &Lease{Server: bytes.Clone(l.server), ServerAddr: l.serverAddr, T1: l.t1, T2: l.t2, Verified: l.verified}
	for _, b := range l.bindings {
		out.Prefixes = append(out.Prefixes, Prefix{Prefix: b.Prefix, Preferred: b.preferred, Valid: b.valid, Deprecated: b.deprecated})
	}
	return out
}
