package ra

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/ndp"
)

const day = 24 * time.Hour

// Each step is an advertisement at a moment; then everything that the client
// told, to the end of all lifetimes.
func TestAgeing(t *testing.T) {
	type step struct {
		at   time.Duration
		from netip.Addr
		ra   *ndp.RouterAdvertisement
	}
	type opts = []ndp.Option
	carrier := &ndp.RouterAdvertisement{
		CurrentHopLimit: 64, ManagedConfiguration: true, OtherConfiguration: true,
		RouterLifetime: 1800 * time.Second, ReachableTime: 300 * time.Second, RetransmitTimer: 10 * time.Second,
		Options: opts{ndp.NewMTU(1500)},
	}
	tests := []struct {
		name  string
		steps []step
		want  []string
	}{
		{"a carrier that delegates prefixes by DHCPv6", []step{{0, router1, carrier}}, []string{
			"0s: default fe80::1 pref 0 30m0s | M=true O=true | mtu 1500 | hop limit 64 reachable 5m0s retrans 10s",
			// What has no lifetime stays.
			"30m0s: M=true O=true | mtu 1500 | hop limit 64 reachable 5m0s retrans 10s",
		}},
		{"every lifetime on its own", []step{{0, router1, &ndp.RouterAdvertisement{
			RouterLifetime: 1800 * time.Second,
			Options: opts{
				pio("2001:db8:1::/64", "LA", 7*day, 30*day),
				pio("2001:db8:2::/64", "L", 0, day),
				pio("2001:db8:3::/64", "A", time.Hour, ndp.Infinity),
				rio("2001:db8:f000::/36", ndp.High, 2*time.Hour),
				rdnss(3*time.Hour, "2001:db8::53", "2001:db8::54"),
				dnssl(4*time.Hour, "flets.example", "iptvf.example"),
			}}}}, []string{
			"0s: default fe80::1 pref 0 30m0s | prefix 2001:db8:1::/64 on-link 720h0m0s preferred 168h0m0s valid 720h0m0s | prefix 2001:db8:2::/64 on-link 24h0m0s | prefix 2001:db8:3::/64 preferred 1h0m0s valid forever | route 2001:db8:f000::/36 via fe80::1 pref 1 2h0m0s | dns 2001:db8::53 3h0m0s | dns 2001:db8::54 3h0m0s | domain flets.example 4h0m0s | domain iptvf.example 4h0m0s",
			"30m0s: prefix 2001:db8:1::/64 on-link 719h30m0s preferred 167h30m0s valid 719h30m0s | prefix 2001:db8:2::/64 on-link 23h30m0s | prefix 2001:db8:3::/64 preferred 30m0s valid forever | route 2001:db8:f000::/36 via fe80::1 pref 1 1h30m0s | dns 2001:db8::53 2h30m0s | dns 2001:db8::54 2h30m0s | domain flets.example 3h30m0s | domain iptvf.example 3h30m0s",
			"1h0m0s: prefix 2001:db8:1::/64 on-link 719h0m0s preferred 167h0m0s valid 719h0m0s | prefix 2001:db8:2::/64 on-link 23h0m0s | prefix 2001:db8:3::/64 preferred 0s valid forever deprecated | route 2001:db8:f000::/36 via fe80::1 pref 1 1h0m0s | dns 2001:db8::53 2h0m0s | dns 2001:db8::54 2h0m0s | domain flets.example 3h0m0s | domain iptvf.example 3h0m0s",
			"2h0m0s: prefix 2001:db8:1::/64 on-link 718h0m0s preferred 166h0m0s valid 718h0m0s | prefix 2001:db8:2::/64 on-link 22h0m0s | prefix 2001:db8:3::/64 preferred 0s valid forever deprecated | dns 2001:db8::53 1h0m0s | dns 2001:db8::54 1h0m0s | domain flets.example 2h0m0s | domain iptvf.example 2h0m0s",
			"3h0m0s: prefix 2001:db8:1::/64 on-link 717h0m0s preferred 165h0m0s valid 717h0m0s | prefix 2001:db8:2::/64 on-link 21h0m0s | prefix 2001:db8:3::/64 preferred 0s valid forever deprecated | domain flets.example 1h0m0s | domain iptvf.example 1h0m0s",
			"4h0m0s: prefix 2001:db8:1::/64 on-link 716h0m0s preferred 164h0m0s valid 716h0m0s | prefix 2001:db8:2::/64 on-link 20h0m0s | prefix 2001:db8:3::/64 preferred 0s valid forever deprecated",
			"24h0m0s: prefix 2001:db8:1::/64 on-link 696h0m0s preferred 144h0m0s valid 696h0m0s | prefix 2001:db8:3::/64 preferred 0s valid forever deprecated",
			"168h0m0s: prefix 2001:db8:1::/64 on-link 552h0m0s preferred 0s valid 552h0m0s deprecated | prefix 2001:db8:3::/64 preferred 0s valid forever deprecated",
			"720h0m0s: prefix 2001:db8:3::/64 preferred 0s valid forever deprecated",
		}},
		{"taken back with lifetime 0", []step{
			{0, router1, &ndp.RouterAdvertisement{RouterLifetime: 600 * time.Second, Options: opts{
				pio("2001:db8:1::/64", "L", day, day), rio("2001:db8:f000::/36", ndp.Low, day),
				rdnss(day, "2001:db8::53", "2001:db8::54"), dnssl(day, "a.example", "b.example")}}},
			{time.Minute, router1, &ndp.RouterAdvertisement{Options: opts{
				pio("2001:db8:1::/64", "L", 0, 0), rio("2001:db8:f000::/36", ndp.Low, 0),
				rdnss(0, "2001:db8::53"), dnssl(0, "a.example")}}},
		}, []string{
			"0s: default fe80::1 pref 0 10m0s | prefix 2001:db8:1::/64 on-link 24h0m0s | route 2001:db8:f000::/36 via fe80::1 pref -1 24h0m0s | dns 2001:db8::53 24h0m0s | dns 2001:db8::54 24h0m0s | domain a.example 24h0m0s | domain b.example 24h0m0s",
			"1m0s: dns 2001:db8::54 23h59m0s | domain b.example 23h59m0s",
			"24h0m0s: nothing",
		}},
		{"what is not said again stays", []step{
			{0, router1, &ndp.RouterAdvertisement{CurrentHopLimit: 64, ReachableTime: time.Second, RetransmitTimer: time.Second, Options: opts{
				ndp.NewMTU(1400), pio("2001:db8:1::/64", "LA", time.Hour, time.Hour)}}},
			{time.Minute, router1, &ndp.RouterAdvertisement{Options: opts{pio("2001:db8:1::/64", "", time.Hour, time.Hour)}}},
		}, []string{
			"0s: mtu 1400 | hop limit 64 reachable 1s retrans 1s | prefix 2001:db8:1::/64 on-link 1h0m0s preferred 1h0m0s valid 1h0m0s",
			"1h0m0s: mtu 1400 | hop limit 64 reachable 1s retrans 1s",
		}},
		{"an address lives two hours more when a prefix is taken back", []step{
			{0, router1, &ndp.RouterAdvertisement{Options: opts{pio("2001:db8:1::/64", "A", day, 2*day)}}},
			{time.Minute, router1, &ndp.RouterAdvertisement{Options: opts{pio("2001:db8:1::/64", "A", 0, 0)}}},
			{2 * time.Minute, router1, &ndp.RouterAdvertisement{Options: opts{pio("2001:db8:1::/64", "A", 0, 0)}}},
		}, []string{
			"0s: prefix 2001:db8:1::/64 preferred 24h0m0s valid 48h0m0s",
			"1m0s: prefix 2001:db8:1::/64 preferred 0s valid 2h0m0s deprecated",
			// Taking it back again changes nothing.
			"2h1m0s: nothing",
		}},
		{"two routers", []step{
			{0, router2, &ndp.RouterAdvertisement{RouterLifetime: 1000 * time.Second, CurrentHopLimit: 32, OtherConfiguration: true, Options: opts{
				ndp.NewMTU(1480), pio("2001:db8:1::/64", "LA", time.Hour, time.Hour), rdnss(time.Hour, "2001:db8::2", "2001:db8::1"), rio("2001:db8:f000::/36", ndp.Low, time.Hour)}}},
			{0, router1, &ndp.RouterAdvertisement{RouterLifetime: 2000 * time.Second, CurrentHopLimit: 64, ManagedConfiguration: true, RouterSelectionPreference: ndp.High, Options: opts{
				ndp.NewMTU(1500), pio("2001:db8:1::/64", "LA", 2*time.Hour, 3*time.Hour), rdnss(2*time.Hour, "2001:db8::1"), rio("2001:db8:f000::/36", ndp.High, time.Hour)}}},
			{time.Minute, router1, &ndp.RouterAdvertisement{}},
		}, []string{
			"0s: default fe80::2 pref 0 16m40s | M=false O=true | mtu 1480 | hop limit 32 reachable 0s retrans 0s | prefix 2001:db8:1::/64 on-link 1h0m0s preferred 1h0m0s valid 1h0m0s | route 2001:db8:f000::/36 via fe80::2 pref -1 1h0m0s | dns 2001:db8::2 1h0m0s | dns 2001:db8::1 1h0m0s",
			"0s: default fe80::1 pref 1 33m20s | default fe80::2 pref 0 16m40s | M=true O=true | mtu 1480 | hop limit 64 reachable 0s retrans 0s | prefix 2001:db8:1::/64 on-link 3h0m0s preferred 2h0m0s valid 3h0m0s | route 2001:db8:f000::/36 via fe80::1 pref 1 1h0m0s | route 2001:db8:f000::/36 via fe80::2 pref -1 1h0m0s | dns 2001:db8::1 2h0m0s | dns 2001:db8::2 1h0m0s",
			// The first is a default router no more, and asks for no DHCPv6.
			"1m0s: default fe80::2 pref 0 15m40s | M=false O=true | mtu 1480 | hop limit 32 reachable 0s retrans 0s | prefix 2001:db8:1::/64 on-link 2h59m0s preferred 1h59m0s valid 2h59m0s | route 2001:db8:f000::/36 via fe80::1 pref 1 59m0s | route 2001:db8:f000::/36 via fe80::2 pref -1 59m0s | dns 2001:db8::2 59m0s | dns 2001:db8::1 1h59m0s",
			"16m40s: M=false O=true | mtu 1480 | hop limit 64 reachable 0s retrans 0s | prefix 2001:db8:1::/64 on-link 2h43m20s preferred 1h43m20s valid 2h43m20s | route 2001:db8:f000::/36 via fe80::1 pref 1 43m20s | route 2001:db8:f000::/36 via fe80::2 pref -1 43m20s | dns 2001:db8::1 1h43m20s | dns 2001:db8::2 43m20s",
			// The second has nothing left to say, nor has what it said of the link.
			"1h0m0s: mtu 1500 | hop limit 64 reachable 0s retrans 0s | prefix 2001:db8:1::/64 on-link 2h0m0s preferred 1h0m0s valid 2h0m0s | dns 2001:db8::1 1h0m0s",
			"2h0m0s: mtu 1500 | hop limit 64 reachable 0s retrans 0s | prefix 2001:db8:1::/64 on-link 1h0m0s preferred 0s valid 1h0m0s deprecated",
			"3h0m0s: mtu 1500 | hop limit 64 reachable 0s retrans 0s",
		}},
		{"a route to everywhere is the sender's own preference", []step{
			{0, router1, &ndp.RouterAdvertisement{RouterLifetime: 600 * time.Second, Options: opts{rio("::/0", ndp.Low, 900*time.Second)}}},
			{time.Minute, router1, &ndp.RouterAdvertisement{RouterLifetime: 600 * time.Second, Options: opts{rio("::/0", ndp.High, ndp.Infinity)}}},
			{2 * time.Minute, router1, &ndp.RouterAdvertisement{RouterLifetime: 600 * time.Second, Options: opts{rio("::/0", ndp.High, 0)}}},
		}, []string{
			"0s: default fe80::1 pref -1 15m0s",
			"1m0s: default fe80::1 pref 1 forever",
			"2m0s: nothing",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			run(t, Config{}, func(t *testing.T, b *bench) {
				b.LinkUp(b.conn)
				synctest.Wait()
				begin := time.Now()
				for _, s := range tt.steps {
					b.sleep(s.at - time.Since(begin))
					b.conn.deliver(s.from, advertise(s.ra))
				}
				b.sleep(100 * day)
				if diff := cmp.Diff(tt.want, b.changes); diff != "" {
					t.Errorf("changes (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// RFC 4862 5.5.3 e, case by case.
func TestAddressLifetime(t *testing.T) {
	now := time.Now()
	for _, tt := range []struct{ left, heard, want string }{
		{"none", "1h", "1h"},
		{"none", "0s", "none"},
		{"none", "forever", "forever"},
		{"3h", "4h", "4h"},
		{"3h", "2h0m1s", "2h0m1s"}, // more than two hours
		{"3h", "2h", "2h"},
		{"3h", "1h", "2h"}, // cut to two hours
		{"3h", "0s", "2h"},
		{"forever", "3h", "3h"},
		{"forever", "1h", "2h"},
		{"2h", "1h", "2h"}, // left alone
		{"1h", "59m", "1h"},
		{"1h", "0s", "1h"},
		{"1h", "61m", "61m"}, // longer than what is left
		{"1h", "forever", "forever"},
	} {
		in := func(s string) span {
			switch s {
			case "none":
				return span{}
			case "forever":
				return lasting(now, infinity)
			}
			d, err := time.ParseDuration(s)
			if err != nil {
				t.Fatal(err)
			}
			return lasting(now, uint32(d/time.Second))
		}
		if got, want := address(in(tt.left), in(tt.heard), now), in(tt.want); got.holds(now) != want.holds(now) || want.made && !got.until.Equal(want.until) {
			t.Errorf("%s left, %s heard: %v, want %s", tt.left, tt.heard, got.until.Sub(now), tt.want)
		}
	}
}

// raw is a well-formed advertisement with the options given in bytes.
func raw(options ...[]byte) []byte {
	return append(advert(1800*time.Second), bytes.Join(options, nil)...)
}

// option makes the bytes of one option from a type, a length in units of 8
// bytes and what follows, filled up with zeros.
func option(typ, units byte, body ...byte) []byte {
	return append([]byte{typ, units}, append(body, make([]byte, max(0, int(units)*8-2-len(body)))...)...)
}

// What is wrong with the whole message drops it, and changes nothing.
func TestHostileMessages(t *testing.T) {
	good := advert(1800*time.Second, pio("2001:db8:bad::/64", "LA", time.Hour, time.Hour))
	with := func(i int, v byte) []byte { b := bytes.Clone(good); b[i] = v; return b }
	ok := func(data []byte) packet { return packet{data: data, from: router2, hopLimit: 255} }
	from := func(s string) packet { return packet{data: good, from: netip.MustParseAddr(s), hopLimit: 255} }
	tests := []struct {
		name    string
		p       packet
		counter string
	}{
		{"hop limit 254", packet{data: good, from: router2, hopLimit: 254}, "ra.drop.hop-limit"},
		{"hop limit 0", packet{data: good, from: router2, hopLimit: 0}, "ra.drop.hop-limit"},
		{"hop limit unknown", packet{data: good, from: router2, hopLimit: -1}, "ra.drop.hop-limit"},
		{"global source", from("2001:db8::1"), "ra.drop.source"},
		{"unspecified source", from("::"), "ra.drop.source"},
		{"multicast source", from("ff02::1"), "ra.drop.source"},
		{"IPv4 source", from("169.254.0.1"), "ra.drop.source"},
		{"IPv4-mapped source", from("::ffff:169.254.0.1"), "ra.drop.source"},
		{"no source", packet{data: good, hopLimit: 255}, "ra.drop.source"},
		{"our own source", packet{data: good, from: self, hopLimit: 255}, "ra.drop.source"},
		{"empty", ok([]byte{}), "ra.drop.short"},
		{"one byte", ok(good[:1]), "ra.drop.short"},
		{"15 bytes", ok(good[:15]), "ra.drop.short"},
		{"as long as can be read", ok(append(good, make([]byte, maxMessage)...)), "ra.drop.too-long"},
		{"type of a solicitation", ok(with(0, 133)), "ra.drop.type"},
		{"code 1", ok(with(1, 1)), "ra.drop.code"},
		{"option of length 0", ok(raw(option(optMTU, 0, 0, 0, 0, 0, 5, 0xdc))), "ra.drop.option-length-zero"},
		{"unknown option of length 0", ok(raw(option(200, 0, 0, 0, 0, 0, 0, 0))), "ra.drop.option-length-zero"},
		{"option beyond the end", ok(good[:len(good)-1]), "ra.drop.option-overrun"},
		{"option far beyond the end", ok(with(17, 255)), "ra.drop.option-overrun"},
		{"one byte too many", ok(append(bytes.Clone(good), 1)), "ra.drop.option-overrun"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			run(t, Config{}, func(t *testing.T, b *bench) {
				b.SetSource(self)
				b.LinkUp(b.conn)
				synctest.Wait()
				pass()
				b.conn.in <- tt.p
				synctest.Wait()
				if got := b.counters.Get(tt.counter); got != 1 {
					t.Errorf("counter %s is %d, want 1; all: %v", tt.counter, got, b.counters.Snapshot())
				}
				if len(b.changes) != 0 {
					t.Errorf("it changed something: %q", b.changes)
				}
				b.sleep(5 * time.Second)
				if len(b.conn.sent) != 2 {
					t.Errorf("it was taken for an answer: %q", b.conn.sent)
				}
			})
		})
	}
}

// What is wrong with one option hides nothing else of the message.
func TestHostileOptions(t *testing.T) {
	prefix := func(length byte, flags byte, valid, preferred byte, addr string) []byte {
		a := netip.MustParseAddr(addr).As16()
		return option(optPrefix, 4, append([]byte{length, flags, 0, 0, 0, valid, 0, 0, 0, preferred, 0, 0, 0, 0}, a[:]...)...)
	}
	dns := func(addr string) []byte {
		a := netip.MustParseAddr(addr).As16()
		return option(optDNS, 3, append([]byte{0, 0, 0, 0, 0, 60}, a[:]...)...)
	}
	names := func(units byte, wire string) []byte {
		return option(optDomain, units, append([]byte{0, 0, 0, 0, 0, 60}, wire...)...)
	}
	header := func(i int, v ...byte) []byte { b := raw(); copy(b[i:], v); return b }
	const router = "default fe80::2 pref 0 30m0s"
	const kept = router + " | mtu 1492 | prefix 2001:db8:1::/64 on-link 1m0s"
	good := [][]byte{option(optMTU, 1, 0, 0, 0, 0, 0x05, 0xd4), prefix(64, 0x80, 60, 60, "2001:db8:1::")}
	tests := []struct {
		name    string
		data    []byte
		counter string
		want    string // besides the good ones, which stand before and behind
	}{
		{"prefix one unit short", raw(option(optPrefix, 3, 64, 0xc0)), "ra.option.prefix-malformed", ""},
		{"prefix one unit long", raw(option(optPrefix, 5, 64, 0xc0)), "ra.option.prefix-malformed", ""},
		{"prefix of 129 bits", raw(prefix(129, 0xc0, 60, 60, "2001:db8:2::")), "ra.option.prefix-malformed", ""},
		{"prefix of 255 bits", raw(prefix(255, 0xc0, 60, 60, "2001:db8:2::")), "ra.option.prefix-malformed", ""},
		{"prefix of 0 bits", raw(prefix(0, 0xc0, 60, 60, "::")), "ra.option.prefix-unusable", ""},
		{"link-local prefix", raw(prefix(64, 0xc0, 60, 60, "fe80::")), "ra.option.prefix-unusable", ""},
		{"multicast prefix", raw(prefix(64, 0xc0, 60, 60, "ff02::")), "ra.option.prefix-unusable", ""},
		{"IPv4-mapped prefix", raw(prefix(96, 0xc0, 60, 60, "::ffff:0:0")), "ra.option.prefix-unusable", ""},
		{"preferred longer than valid", raw(prefix(64, 0xc0, 60, 61, "2001:db8:2::")), "ra.option.prefix-lifetimes", " | prefix 2001:db8:2::/64 on-link 1m0s"},
		{"autonomous /63", raw(prefix(63, 0xc0, 60, 60, "2001:db8:2::")), "ra.option.prefix-length", " | prefix 2001:db8:2::/63 on-link 1m0s"},
		{"bits behind the prefix", raw(prefix(64, 0x40, 60, 60, "2001:db8:2::99")), "", " | prefix 2001:db8:2::/64 preferred 1m0s valid 1m0s"},
		{"MTU two units long", raw(option(optMTU, 2, 0, 0, 0, 0, 0x05, 0)), "ra.option.mtu-malformed", ""},
		{"MTU 0", raw(option(optMTU, 1)), "ra.option.mtu-malformed", ""},
		{"MTU 1279", raw(option(optMTU, 1, 0, 0, 0, 0, 0x04, 0xff)), "ra.option.mtu-range", "MTU"},
		{"MTU of the link plus 1", raw(option(optMTU, 1, 0, 0, 0, 0, 0x05, 0xdd)), "ra.option.mtu-range", "MTU"},
		{"MTU 4294967295", raw(option(optMTU, 1, 0, 0, 0xff, 0xff, 0xff, 0xff)), "ra.option.mtu-range", "MTU"},
		{"route of 129 bits", raw(option(optRoute, 3, 129, 0, 0, 0, 0, 60)), "ra.option.route-malformed", ""},
		{"route of 65 bits in 8 bytes", raw(option(optRoute, 2, 65, 0, 0, 0, 0, 60, 0x20, 1)), "ra.option.route-malformed", ""},
		{"route of 1 bit in none", raw(option(optRoute, 1, 1, 0, 0, 0, 0, 60)), "ra.option.route-malformed", ""},
		{"route four units long", raw(option(optRoute, 4, 64, 0, 0, 0, 0, 60, 0x20, 1)), "ra.option.route-malformed", ""},
		{"route with the reserved preference", raw(option(optRoute, 2, 32, 0x10, 0, 0, 0, 60, 0x20, 1, 0xd, 0xb8)), "ra.option.route-malformed", ""},
		{"link-local route", raw(option(optRoute, 2, 10, 0, 0, 0, 0, 60, 0xfe, 0x80)), "ra.option.route-unusable", ""},
		{"route that ends within a byte", raw(option(optRoute, 2, 36, 0x18, 0, 0, 0, 60, 0x20, 1, 0xd, 0xb8, 0xff)), "", " | route 2001:db8:f000::/36 via fe80::2 pref -1 1m0s"},
		{"DNS without a server", raw(option(optDNS, 1)), "ra.option.dns-malformed", ""},
		{"DNS with half a server", raw(option(optDNS, 2)), "ra.option.dns-malformed", ""},
		{"unspecified DNS", raw(dns("::")), "ra.option.dns-unusable", ""},
		{"multicast DNS", raw(dns("ff02::fb")), "ra.option.dns-unusable", ""},
		{"loopback DNS", raw(dns("::1")), "ra.option.dns-unusable", ""},
		{"link-local DNS", raw(dns("fe80::53")), "", " | dns fe80::53 1m0s"},
		{"no domain", raw(option(optDomain, 1)), "ra.option.domain-malformed", ""},
		{"label beyond the end", raw(names(2, "\x08abcdefg")), "ra.option.domain-malformed", ""},
		{"name without an end", raw(names(2, "\x07abcdefg")), "ra.option.domain-malformed", ""},
		{"label of 64", raw(names(10, "\x40"+strings.Repeat("a", 64)+"\x00")), "ra.option.domain-malformed", ""},
		{"compressed name", raw(names(2, "\xc0\x08")), "ra.option.domain-malformed", ""},
		{"name of 254", raw(names(34, "\x3f"+strings.Repeat("a", 63)+"\x3f"+strings.Repeat("b", 63)+"\x3f"+strings.Repeat("c", 63)+"\x3e"+strings.Repeat("d", 62)+"\x00")), "ra.option.domain-malformed", ""},
		{"line feed in a name", raw(names(4, "\x0ba\nsearch evl\x00")), "ra.option.domain-malformed", ""},
		{"dot in a label", raw(names(3, "\x05a.com\x00")), "ra.option.domain-malformed", ""},
		{"a bad name before a good one", raw(names(4, "\x03a c\x00\x02OK\x07example\x00")), "ra.option.domain-malformed", " | domain ok.example 1m0s"},
		{"unknown option", raw(option(253, 3, 1, 2, 3)), "", ""},
		{"reachable time beyond an hour", header(8, 0, 0x36, 0xee, 0x81), "ra.field.reachable-time", ""},
		{"retransmit timer beyond an hour", header(12, 0xff, 0xff, 0xff, 0xff), "ra.field.retrans-timer", ""},
		{"reserved router preference", header(5, 0x10), "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			run(t, Config{}, func(t *testing.T, b *bench) {
				b.SetLinkMTU(1500)
				b.LinkUp(b.conn)
				synctest.Wait()
				data := bytes.Join([][]byte{tt.data[:16], good[0], tt.data[16:], good[1]}, nil)
				want := kept + tt.want
				if tt.want == "MTU" {
					// It is the last word, and no word at all.
					want = strings.Replace(kept, " | mtu 1492", "", 1)
				}
				b.conn.deliver(router2, data)
				if diff := cmp.Diff(want, summary(b.info)); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				counted := b.counters.Snapshot()
				delete(counted, "ra.sent.solicitation")
				delete(counted, "ra.received.advertisement")
				wantCounted := map[string]uint64{}
				if tt.counter != "" {
					wantCounted[tt.counter] = 1
				}
				if diff := cmp.Diff(wantCounted, counted); diff != "" {
					t.Errorf("counters (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestLinkMTU(t *testing.T) {
	run(t, Config{}, func(t *testing.T, b *bench) {
		b.LinkUp(b.conn)
		synctest.Wait()
		b.conn.deliver(router1, advert(0, ndp.NewMTU(9000)))
		b.SetLinkMTU(1500)
		synctest.Wait()
		b.SetLinkMTU(9000)
		synctest.Wait()
		if diff := cmp.Diff([]string{"0s: mtu 9000", "0s: nothing", "0s: mtu 9000"}, b.changes); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// Memory is bounded, whoever sends whatever; the first ones are kept.
func TestFloods(t *testing.T) {
	run(t, Config{}, func(t *testing.T, b *bench) {
		b.LinkUp(b.conn)
		synctest.Wait()
		for n := range 20 { // a thousand of each
			var opts []ndp.Option
			for i := range 50 {
				k := n*50 + i
				opts = append(opts,
					pio(fmt.Sprintf("2001:db8:0:%x::/64", k), "LA", time.Hour, time.Hour),
					rio(fmt.Sprintf("2001:db8:1:%x::/64", k), ndp.Medium, time.Hour),
					rdnss(time.Hour, fmt.Sprintf("2001:db8:2::%x", k+1)),
					dnssl(time.Hour, fmt.Sprintf("d%d.example", k)))
			}
			b.conn.deliver(router1, advert(1800*time.Second, opts...))
		}
		b.sleep(changeInterval)
		got := []int{len(b.info.Prefixes), len(b.info.Routes), len(b.info.DNS), len(b.info.Domains)}
		if diff := cmp.Diff([]int{maxPrefixes, maxRoutes, maxDNS, maxDomains}, got); diff != "" {
			t.Errorf("one router's prefixes, routes, DNS, domains (-want +got):\n%s", diff)
		}
		// What came last is what holds.
		if got := b.info.Prefixes[0].Prefix.String(); got != "2001:db8:0:3b6::/64" {
			t.Errorf("first prefix %s, want number 950", got)
		}
		if got, want := b.counters.Get("ra.option.too-many"), uint64(20*(34+34+42+42)); got != want {
			t.Errorf("%d options counted, want %d", got, want)
		}
		for i := range 1000 {
			from := netip.AddrFrom16([16]byte{0xfe, 0x80, 14: byte(i >> 8), 15: byte(i)})
			b.conn.deliver(from, advert(9000*time.Second))
		}
		b.sleep(changeInterval)
		var kept int
		b.do(func() { kept = len(b.table) })
		synctest.Wait()
		if len(b.info.Routers) != maxRouters || kept != maxRouters {
			t.Errorf("%d routers told, %d kept, want %d", len(b.info.Routers), kept, maxRouters)
		}
		if got, want := b.counters.Get("ra.drop.too-many-routers"), uint64(1000-maxRouters); got != want {
			t.Errorf("%d routers counted as too many, want %d", got, want)
		}
		b.sleep(9000 * time.Second)
		b.conn.deliver(self, advert(1800*time.Second))
		if len(b.info.Routers) != 1 {
			t.Errorf("no room after the others expired: %s", summary(b.info))
		}
	})
}

// What flaps a thousand times a second is told twenty times, then once a second, and
// in the end as it is.
func TestFloodOfChanges(t *testing.T) {
	run(t, Config{}, func(t *testing.T, b *bench) {
		b.LinkUp(b.conn)
		synctest.Wait()
		for i := range 10_000 {
			b.conn.deliver(router1, advert(1800*time.Second, ndp.NewMTU(uint32(1400+i%2))))
			b.sleep(time.Millisecond)
		}
		if n := len(b.changes); n < changeBurst || n > changeBurst+10 {
			t.Errorf("told %d times in 10 s", n)
		}
		b.sleep(changeInterval)
		if b.info.MTU != 1401 {
			t.Errorf("told MTU %d last, want 1401", b.info.MTU)
		}
	})
}

// A thousand advertisements a second of the same content are told once a second.
func TestRepeatsAreToldOnceASecond(t *testing.T) {
	run(t, Config{}, func(t *testing.T, b *bench) {
		b.LinkUp(b.conn)
		synctest.Wait()
		for range 3000 {
			b.conn.deliver(router1, advert(1800*time.Second, rdnss(time.Hour, "2001:db8::53")))
			b.sleep(time.Millisecond)
		}
		if n := len(b.changes); n != 3 {
			t.Errorf("told %d times in 3 s, want 3", n)
		}
	})
}

func TestSLAAC(t *testing.T) {
	mac, err := net.ParseMAC("00:00:5e:00:53:01")
	if err != nil {
		t.Fatal(err)
	}
	iid, err := EUI64(mac)
	if err != nil {
		t.Fatal(err)
	}
	eui, err := EUI64(net.HardwareAddr{0x02, 0, 0x5e, 0xff, 0xfe, 0, 0x53, 2})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		prefix string
		iid    [8]byte
		want   string
	}{
		{"2001:db8:1:2::/64", iid, "2001:db8:1:2:200:5eff:fe00:5301"},
		{"2001:db8:1:2::/64", eui, "2001:db8:1:2:0:5eff:fe00:5302"},
		{"2001:db8:1:2::/64", [8]byte{0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11}, "2001:db8:1:2:1111:1111:1111:1111"},
		{"fe80::/64", iid, self.String()},
		{"2001:db8:1::/56", iid, "invalid IP"},
		{"192.0.2.0/24", iid, "invalid IP"},
	} {
		if got := SLAAC(netip.MustParsePrefix(tt.prefix), tt.iid).String(); got != tt.want {
			t.Errorf("SLAAC(%s, %x) = %s, want %s", tt.prefix, tt.iid, got, tt.want)
		}
	}
	for _, bad := range []net.HardwareAddr{nil, {1, 2, 3, 4, 5}, make(net.HardwareAddr, 20)} {
		if _, err := EUI64(bad); err == nil {
			t.Errorf("EUI64 of %d bytes: no error", len(bad))
		}
	}
}

func TestInfoAddresses(t *testing.T) {
	end := time.Now().Add(time.Hour)
	info := Info{Prefixes: []Prefix{
		{Prefix: netip.MustParsePrefix("2001:db8:1::/64"), OnLink: true, OnLinkUntil: end},
		{Prefix: netip.MustParsePrefix("2001:db8:2::/64"), OnLink: true, Autonomous: true, Preferred: end, Until: end},
		{Prefix: netip.MustParsePrefix("2001:db8:3::/64"), Autonomous: true, Preferred: end, Deprecated: true},
	}}
	want := []string{
		"2001:db8:2::99/64 deprecated=false",
		"2001:db8:3::99/128 deprecated=true",
	}
	var got []string
	for _, a := range info.Addresses([8]byte{7: 0x99}) {
		got = append(got, fmt.Sprintf("%s deprecated=%t", a.Prefix, a.Deprecated))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
