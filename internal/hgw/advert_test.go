package hgw

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mdlayher/ndp"

	"sofutobanku/internal/dhcp6"
)

// advert is an advertisement for a person, by the library's decoder.
func advert(t *testing.T, b []byte) string {
	t.Helper()
	m, err := ndp.ParseMessage(b)
	if err != nil {
		t.Fatalf("%x: %v", b, err)
	}
	r := m.(*ndp.RouterAdvertisement)
	s := fmt.Sprintf("hops %d M=%v O=%v lifetime %v reachable %v retrans %v", r.CurrentHopLimit, r.ManagedConfiguration, r.OtherConfiguration,
		r.RouterLifetime, r.ReachableTime, r.RetransmitTimer)
	for _, o := range r.Options {
		switch o := o.(type) {
		case *ndp.LinkLayerAddress:
			s += fmt.Sprintf(" source %v", o.Addr)
		case *ndp.MTU:
			s += fmt.Sprintf(" MTU %d", o.MTU)
		default:
			s += fmt.Sprintf(" option %d", o.Code())
		}
	}
	return s
}

func TestAdvert(t *testing.T) {
	const usual = "hops 64 M=true O=true lifetime %s reachable 5m0s retrans 10s source 00:00:5e:00:53:01 MTU 1500"
	in := func(d time.Duration) time.Time { return time.Now().Add(d) }
	tests := []struct {
		name string
		up   func() Upstream
		want string
	}{
		{"nothing", func() Upstream { return Upstream{} }, fmt.Sprintf(usual, "0s")},
		{"a router for ever", func() Upstream { return Upstream{Router: true} }, fmt.Sprintf(usual, "30m0s")},
		{"for an hour", func() Upstream { return Upstream{Router: true, RouterUntil: in(time.Hour)} }, fmt.Sprintf(usual, "30m0s")},
		{"for a minute", func() Upstream { return Upstream{Router: true, RouterUntil: in(time.Minute + 900*time.Millisecond)} }, fmt.Sprintf(usual, "1m0s")},
		{"until just now", func() Upstream { return Upstream{Router: true, RouterUntil: in(0)} }, fmt.Sprintf(usual, "0s")},
		{"all its own", func() Upstream {
			return Upstream{Router: true, HopLimit: 200, MTU: 1492, Reachable: time.Minute, Retrans: time.Second}
		}, "hops 200 M=true O=true lifetime 30m0s reachable 1m0s retrans 1s source 00:00:5e:00:53:01 MTU 1492"},
		{"what cannot be", func() Upstream {
			return Upstream{HopLimit: 256, MTU: 1279, Reachable: 50 * 24 * time.Hour, Retrans: -1}
		}, "hops 64 M=true O=true lifetime 0s reachable 5m0s retrans 10s source 00:00:5e:00:53:01 MTU 1500"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, Config{})
				defer b.stop()
				b.set(test.up())
				b.up()
				if len(b.adverts) != 1 {
					t.Fatalf("%d advertisements", len(b.adverts))
				}
				if got := advert(t, b.adverts[0].data); got != test.want {
					t.Errorf("\n got %s\nwant %s", got, test.want)
				}
			})
		})
	}
	// Once octet by octet: the checksum is the kernel's.
	run(t, Config{}, func(b *bench) {
		const want = "86000000" + "40c00708" + "000493e0" + "00002710" + "010100005e005301" + "05010000000005dc"
		if got := hex.EncodeToString(b.adverts[0].data); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
}

// at is when the advertisements went out, from the moment since, and their lifetimes.
func (b *bench) at(since time.Duration) string {
	var s []string
	for _, a := range b.adverts {
		s = append(s, fmt.Sprintf("%v:%d", (a.at-since).Round(100*time.Millisecond), be.Uint16(a.data[6:])))
	}
	return strings.Join(s, " ")
}

// TestSchedule: RFC 4861 6.2.4 and 6.2.5.
func TestSchedule(t *testing.T) {
	run(t, Config{}, func(b *bench) {
		b.pass(24 * time.Hour)
		for i := range b.adverts[1:] {
			wait := b.adverts[i+1].at - b.adverts[i].at
			if i < initialAdverts && wait != time.Duration(initialInterval) || i >= initialAdverts && (moment(wait) < minInterval || moment(wait) > maxInterval) {
				t.Errorf("advertisement %d after %v", i+1, wait)
			}
		}
		if n := len(b.adverts); n < 24*3600/200 || n > 24*3600/66 {
			t.Errorf("%d in a day", n)
		}
		b.adverts = nil
		b.s.LinkDown()
		b.pass(time.Hour)
		if len(b.adverts) != 0 {
			t.Errorf("without a link: %s", b.at(0))
		}
		b.up()
		if len(b.adverts) != 1 {
			t.Errorf("the link is back: %s", b.at(0))
		}
		b.adverts = nil
		b.stop()
		if got := b.at(time.Since(b.began)); got != "0s:0" {
			t.Errorf("at the end: %s", got)
		}
	})
}

// Changes are told at once, and not more often than RFC 4861 6.2.6 allows.
func TestReadvertise(t *testing.T) {
	until := func(d time.Duration) Upstream {
		up := usual(lineP)
		up.RouterUntil = time.Now().Add(d)
		return up
	}
	tests := []struct {
		name string
		up   func() Upstream
		want string // what is advertised within ten seconds
	}{
		{"the same", func() Upstream { return usual(lineP) }, ""},
		{"prolonged", func() Upstream { return until(2 * time.Hour) }, ""},
		{"no router", func() Upstream { up := usual(lineP); up.Router = false; return up }, "0s:0"},
		{"shortened", func() Upstream { return until(time.Minute) }, "0s:60"},
		{"another MTU", func() Upstream { up := usual(lineP); up.MTU = 1400; return up }, "0s:1800"},
		{"another prefix", func() Upstream { return usual(lineQ) }, "0s:1800"},
		{"other information", func() Upstream { up := usual(lineP); up.Info = &dhcp6.Info{}; return up }, "0s:1800"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			run(t, Config{}, func(b *bench) {
				b.pass(time.Minute) // of its own the next one is more than a minute away
				b.adverts = nil
				began := time.Since(b.began)
				b.set(test.up())
				b.pass(10 * time.Second)
				if got := b.at(began); got != test.want {
					t.Errorf("%q, want %q", got, test.want)
				}
			})
		})
	}
	t.Run("many at once", func(t *testing.T) {
		run(t, Config{}, func(b *bench) {
			b.pass(time.Minute)
			b.adverts = nil
			began := time.Since(b.began)
			for i := range 100 {
				up := usual(lineP)
				up.Router = i%2 == 0
				b.set(up)
				b.pass(100 * time.Millisecond)
			}
			b.pass(3 * time.Second)
			for i := range b.adverts[1:] {
				if wait := b.adverts[i+1].at - b.adverts[i].at; moment(wait) < minDelay {
					t.Errorf("%v apart", wait)
				}
			}
			if got := b.at(began); !strings.HasPrefix(got, "100ms:0 ") || !strings.HasSuffix(got, ":0") {
				t.Errorf("%s: want the first change at once, and the last one", got)
			}
		})
	})
	t.Run("a short lifetime, prolonged again and again", func(t *testing.T) {
		run(t, Config{}, func(b *bench) {
			// The HGW must never be without a router, though each time only a minute is left.
			for range 1000 {
				b.set(until(60 * time.Second))
				b.pass(30 * time.Second)
				a := b.adverts[len(b.adverts)-1]
				if left := a.at + time.Duration(be.Uint16(a.data[6:]))*time.Second - time.Since(b.began); left <= 0 {
					t.Fatalf("at %v: over for %v", time.Since(b.began), -left)
				}
			}
		})
	})
}

func TestSolicited(t *testing.T) {
	rs := solicitation{data: []byte{typeRS, 0, 0, 0, 0, 0, 0, 0}, from: "fe80::a", hopLimit: 255}
	run(t, Config{}, func(b *bench) {
		b.pass(time.Minute)
		b.adverts = nil
		began := time.Since(b.began)
		for range 1000 {
			b.ra.in <- rs
		}
		b.pass(3 * time.Second)
		if len(b.adverts) != 1 || moment(b.adverts[0].at-began) > maxAnswerDelay {
			t.Errorf("a thousand: %s", b.at(began))
		}
		b.adverts = nil
		began = time.Since(b.began)
		for range 200 {
			b.ra.in <- rs
			b.pass(50 * time.Millisecond)
		}
		for i := range b.adverts[1:] {
			if wait := b.adverts[i+1].at - b.adverts[i].at; moment(wait) < minDelay {
				t.Errorf("%v apart", wait)
			}
		}
		if n := len(b.adverts); n < 2 || n > 4 {
			t.Errorf("in ten seconds: %s", b.at(began))
		}
	})
}

func TestCheckRS(t *testing.T) {
	const ll = "fe80::a"
	tests := []struct {
		name     string
		data     string
		from     string
		hopLimit int
		want     string
	}{
		{"bare", "8500000000000000", ll, 255, ""},
		{"link-layer address", "8500000000000000" + "010100005e005310", ll, 255, ""},
		{"unspecified source", "8500000000000000", "::", 255, ""},
		{"reserved bits", "85000000ffffffff", ll, 255, ""},
		{"unknown option", "8500000000000000" + "fe02" + strings.Repeat("00", 14), ll, 255, ""},
		{"from another link", "8500000000000000", ll, 254, "rs-hop-limit"},
		{"hop limit not known", "8500000000000000", ll, 0, "rs-hop-limit"},
		{"empty", "", ll, 255, "rs-truncated"},
		{"short", "85000000000000", ll, 255, "rs-truncated"},
		{"an advertisement", "8600000040c0070800000000000000000000", ll, 255, "rs-type"},
		{"a code", "8501000000000000", ll, 255, "rs-type"},
		{"global source", "8500000000000000", "2001:db8::1", 255, "rs-source"},
		{"link-layer address of no source", "8500000000000000" + "010100005e005310", "::", 255, "rs-source"},
		{"option without a length", "8500000000000000" + "0100000000000000", ll, 255, "rs-option"},
		{"option beyond the end", "8500000000000000" + "0102000000000000", ll, 255, "rs-option"},
		{"half an option", "8500000000000000" + "01", ll, 255, "rs-option"},
		{"too big", "8500000000000000" + strings.Repeat("fe01000000000000", 2000), ll, 255, "rs-too-big"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b, err := hex.DecodeString(test.data)
			if err != nil {
				t.Fatal(err)
			}
			if got := checkRS(b, netip.MustParseAddr(test.from), test.hopLimit); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
	run(t, Config{}, func(b *bench) {
		b.pass(time.Minute)
		b.adverts = nil
		b.ra.in <- solicitation{data: []byte{typeRS, 0, 0, 0, 0, 0, 0, 0}, from: ll, hopLimit: 64}
		b.pass(time.Second)
		if b.counted.Get("hgw.drop.rs-hop-limit") != 1 || len(b.adverts) != 0 {
			t.Errorf("%v, %d advertisements", b.counted.Snapshot(), len(b.adverts))
		}
	})
}
