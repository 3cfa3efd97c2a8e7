package ra

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/ndp"
)

// FuzzDecode: what decode reads is the same after being written and read again,
// hearing it stays within bounds, and where another decoder reads the same bytes
// without complaint, both read the same.
func FuzzDecode(f *testing.F) {
	f.Add(advert(1800*time.Second, ndp.NewMTU(1500), pio("2001:db8::/64", "LA", time.Hour, time.Hour)))
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

		var tab table
		now := time.Now()
		for range 2 {
			if _, _, err := tab.hear(router1, m, now, 1500, func(string) {}); err != nil {
				t.Fatal(err)
			}
			tab.age(now)
			info := tab.info(now, 1500)
			if len(info.Prefixes) > maxPrefixes || len(info.Routes) > maxRoutes || len(info.DNS) > maxDNS ||
				len(info.Domains) > maxDomains || info.MTU != 0 && (info.MTU < 1280 || info.MTU > 1500) {
				t.Fatalf("out of bounds: %s", summary(info))
			}
			for _, a := range info.Addresses([8]byte{7: 1}) {
				if !a.Prefix.IsValid() {
					t.Fatalf("invalid address of %s", summary(info))
				}
			}
			now = now.Add(time.Hour)
		}

		other, err := ndp.ParseMessage(b)
		if err != nil || bad != 0 {
			return
		}
		compare(t, m, other.(*ndp.RouterAdvertisement))
	})
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
