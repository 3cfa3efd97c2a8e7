package ra

import (
	"errors"
	"net/netip"
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/ndp"

	"sofutobanku/internal/state"
)

// FuzzDecode: what decode reads is the same after being written and read again,
// it is no more than the bytes can hold, and where another decoder reads the same
// bytes without complaint, both read the same. The bytes themselves may differ:
// an advertisement has reserved bits, padding, routes of several widths, and any
// number of items in one option.
func FuzzDecode(f *testing.F) {
	opts := cmp.AllowUnexported(message{}, prefixOption{}, routeOption{}, dnsOption{}, domainOption{})
	prefixes := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
	addrs := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	f.Fuzz(func(t *testing.T, b []byte) {
		bad := 0
		m, err := decode(b, func(string) { bad++ })
		if err != nil {
			var d drop
			if !errors.As(err, &d) {
				t.Fatalf("error that is not a drop: %v", err)
			}
			return
		}
		again, err := decode(encode(m), func(name string) { t.Errorf("our own: %s", name) })
		if err != nil {
			t.Fatalf("our own: %v", err)
		}
		if diff := cmp.Diff(m, again, opts, prefixes, addrs); diff != "" {
			t.Fatalf("decoded, encoded, decoded (-first +second):\n%s", diff)
		}

		if n := 32*len(m.prefixes) + 8*len(m.routes) + 16*len(m.dns) + 3*len(m.domains); n > len(b) {
			t.Fatalf("%d bytes hold %+v", len(b), m)
		}
		for _, o := range m.prefixes {
			if !o.prefix.IsValid() || o.prefix != o.prefix.Masked() {
				t.Fatalf("prefix %v", o.prefix)
			}
		}
		for _, o := range m.routes {
			if !o.prefix.IsValid() || o.prefix != o.prefix.Masked() || o.preference < -1 || o.preference > 1 {
				t.Fatalf("route %+v", o)
			}
		}
		for _, o := range m.domains {
			if !fitForResolver.MatchString(o.name) || len(o.name) > 253 {
				t.Fatalf("domain %q", o.name)
			}
		}

		other, err := ndp.ParseMessage(b)
		if err != nil || bad != 0 {
			return
		}
		compare(t, m, other.(*ndp.RouterAdvertisement))
	})
}

// fitForResolver is a name that cannot be more than that in anybody's file.
var fitForResolver = regexp.MustCompile(`^[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*$`)

// FuzzHear: of what two routers say, some time apart, no more is kept than the
// bounds allow, all of it is in range and still holds, and the last of it ends
// after as many moments as there are ends.
func FuzzHear(f *testing.F) {
	const linkMTU = 1500
	f.Fuzz(func(t *testing.T, first, second []byte, seconds uint16) {
		var tab table
		now := time.Now()
		for i, b := range [][]byte{first, second} {
			m, err := decode(b, func(string) {})
			if err != nil {
				continue
			}
			from := []netip.Addr{router1, router2}[i]
			if _, _, err := tab.hear(from, m, now, linkMTU, func(string) {}); err != nil {
				t.Fatal(err)
			}
			now = now.Add(time.Duration(seconds) * time.Second)
		}
		ends := 2 * (1 + 3*maxPrefixes + maxRoutes + maxDNS + maxDomains)
		for n := 0; ; n++ {
			tab.age(now)
			checkInfo(t, tab.info(now, linkMTU), now, linkMTU)
			next := tab.next(now)
			if next.IsZero() {
				return
			}
			if !next.After(now) || n == ends {
				t.Fatalf("after %d ends the next is in %v", n, next.Sub(now))
			}
			now = next
		}
	})
}

// checkInfo holds what two routers said to what Info promises.
func checkInfo(t *testing.T, i Info, now time.Time, linkMTU int) {
	t.Helper()
	bad := func(what any) {
		t.Helper()
		t.Fatalf("%+v in %s", what, summary(i))
	}
	if len(i.Routers) > 2 || len(i.Prefixes) > 2*maxPrefixes || len(i.Routes) > 2*maxRoutes ||
		len(i.DNS) > 2*maxDNS || len(i.Domains) > 2*maxDomains {
		bad("too many")
	}
	if i.MTU != 0 && (i.MTU < 1280 || i.MTU > linkMTU) || i.HopLimit < 0 || i.HopLimit > 255 ||
		i.Reachable < 0 || i.Reachable > time.Hour || i.Retrans < 0 || i.Retrans > time.Hour {
		bad("out of range")
	}
	for _, at := range i.times() {
		if at.Sub(now) > infinity*time.Second {
			bad(at)
		}
	}
	over := func(at time.Time) bool { return state.Expired(at, now) }
	for n, r := range i.Routers {
		if over(r.Until) || r.Preference < -1 || r.Preference > 1 || n > 0 && compareRouters(i.Routers[n-1], r) >= 0 {
			bad(r)
		}
	}
	for n, p := range i.Prefixes {
		if !routable(p.Prefix) || n > 0 && comparePrefixes(i.Prefixes[n-1].Prefix, p.Prefix) >= 0 ||
			!p.OnLink && !p.Autonomous || p.OnLink && over(p.OnLinkUntil) ||
			p.Autonomous && (over(p.Until) || p.Prefix.Bits() != 64 || p.Deprecated != over(p.Preferred)) {
			bad(p)
		}
	}
	for _, r := range i.Routes {
		if !routable(r.Prefix) || r.Via != router1 && r.Via != router2 || r.Preference < -1 || r.Preference > 1 || over(r.Until) {
			bad(r)
		}
	}
	for _, s := range i.DNS {
		if !s.Addr.Is6() || s.Addr.IsMulticast() || s.Addr.IsUnspecified() || over(s.Until) {
			bad(s)
		}
	}
	for _, d := range i.Domains {
		if !fitForResolver.MatchString(d.Name) || over(d.Until) {
			bad(d)
		}
	}
	for _, a := range i.Addresses([8]byte{7: 1}) {
		if !a.Prefix.IsValid() {
			bad(a)
		}
	}
}

func compare(t *testing.T, m message, o *ndp.RouterAdvertisement) {
	t.Helper()
	seconds := func(d time.Duration) uint32 { return uint32(d / time.Second) }
	pref := map[ndp.Preference]int{ndp.Medium: 0, ndp.High: 1, ndp.Low: -1}
	if m.hopLimit != o.CurrentHopLimit || m.managed != o.ManagedConfiguration || m.other != o.OtherConfiguration ||
		m.preference != pref[o.RouterSelectionPreference] || uint32(m.lifetime) != seconds(o.RouterLifetime) ||
		m.reachable != uint32(o.ReachableTime/time.Millisecond) || m.retrans != uint32(o.RetransmitTimer/time.Millisecond) {
		t.Errorf("header: %+v, other: %+v", m, o)
	}
	var prefixes []prefixOption
	var dns []dnsOption
	var mtu uint32
	for _, opt := range o.Options {
		switch opt := opt.(type) {
		case *ndp.MTU:
			mtu = opt.MTU
		case *ndp.PrefixInformation:
			prefixes = append(prefixes, prefixOption{
				netip.PrefixFrom(opt.Prefix, int(opt.PrefixLength)), opt.OnLink, opt.AutonomousAddressConfiguration,
				seconds(opt.ValidLifetime), seconds(opt.PreferredLifetime)})
		case *ndp.RecursiveDNSServer:
			for _, s := range opt.Servers {
				dns = append(dns, dnsOption{s, seconds(opt.Lifetime)})
			}
		}
	}
	same := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
	if diff := cmp.Diff(prefixes, m.prefixes, cmp.AllowUnexported(prefixOption{}), same); diff != "" {
		t.Errorf("prefixes (-other +ours):\n%s", diff)
	}
	if diff := cmp.Diff(dns, m.dns, cmp.AllowUnexported(dnsOption{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("DNS (-other +ours):\n%s", diff)
	}
	if mtu != m.mtu {
		t.Errorf("MTU %d, other: %d", m.mtu, mtu)
	}
}
