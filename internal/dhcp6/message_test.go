package dhcp6

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/iana"
)

func addresses(n int) (list []netip.Addr, wire []byte) {
	for i := range n {
		a := netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(i + 1)})
		list, wire = append(list, a), append(wire, a.AsSlice()...)
	}
	return list, wire
}

// decode keeps what a hostile message may make it keep, and no more.
func TestDecodeBounds(t *testing.T) {
	list, wire := addresses(40)
	var domains, ias, vendors, prefixes []byte
	for i := range 100 {
		domains = append(domains, fmt.Sprintf("\x03d%02d\x00", i)...)
		vendors = append(vendors, raw(17, 0, 0, 0, byte(i))...)
		prefixes = append(prefixes, rawPrefix(fmt.Sprintf("2001:db8:%x::/48", i+1), 1, 2)...)
	}
	for i := range 10 {
		ias = append(ias, rawIA(uint32(i), 0, 0)...)
	}
	b := bytes.Join([][]byte{
		{7, 1, 2, 3}, raw(23, wire...), raw(24, domains...), raw(31, wire...), raw(22, wire...), vendors,
		rawIA(1, 0, 0, prefixes), ias, raw(13, append([]byte{0, 6}, bytes.Repeat([]byte("\n\x1b["), 300)...)...),
	}, nil)
	m, bad, err := decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(list[:16], m.Info.DNS, addrComparer); diff != "" {
		t.Errorf("DNS -want +got:\n%s", diff)
	}
	if n := []int{len(m.Info.SNTP), len(m.Info.SIP), len(m.Info.Domains), len(m.Info.Vendor), len(m.IAs), len(m.IAs[0].Prefixes), len(m.Status.Text)}; !cmp.Equal(n, []int{16, 16, 16, 8, 4, 8, 200}) {
		t.Errorf("kept %v", n)
	}
	if len(bad) > 8 || len(bad) == 0 {
		t.Errorf("%d faults kept", len(bad))
	}
	if strings.ContainsAny(m.Status.Text, "\n\x1b") {
		t.Errorf("status text %q is not fit for a log", m.Status.Text)
	}
}

func TestDecodeAddresses(t *testing.T) {
	good := netip.MustParseAddr("2001:db8::53")
	var wire []byte
	for _, a := range []string{"::", "::1", "ff02::1", "::ffff:192.0.2.1", "2001:db8::53", "2001:db8::53"} {
		b := netip.MustParseAddr(a).As16()
		wire = append(wire, b[:]...)
	}
	m, bad, err := decode(append([]byte{7, 1, 2, 3}, raw(23, wire...)...))
	if err != nil || len(bad) != 1 || !cmp.Equal(m.Info.DNS, []netip.Addr{good}, addrComparer) {
		t.Errorf("%v, %v, %v", m.Info.DNS, bad, err)
	}
}

// A decoded message must not share memory with the packet.
func TestDecodeCopies(t *testing.T) {
	b := bytes.Join([][]byte{{7, 1, 2, 3}, raw(1, ourDUID...), raw(2, otherDUID...), raw(17, 0, 0, 0, 9, 1, 2), raw(11, make([]byte, 28)...), goodIA}, nil)
	m, _, err := decode(b)
	if err != nil {
		t.Fatal(err)
	}
	before := m.encode()
	clear(b)
	if !bytes.Equal(m.encode(), before) {
		t.Error("the message changed with the packet")
	}
}

func TestSchedule(t *testing.T) {
	now := time.Now()
	const never = -1
	for _, tt := range []struct {
		name     string
		t1, t2   uint32
		prefixes []iaPrefix
		want     [2]int64 // seconds
	}{
		{"the server's", 7200, 10800, []iaPrefix{{12600, 14400, netip.Prefix{}}}, [2]int64{7200, 10800}},
		{"left to us", 0, 0, []iaPrefix{{12600, 14400, netip.Prefix{}}}, [2]int64{6300, 10080}},
		{"left to us: the shortest preferred", 0, 0, []iaPrefix{{1000, 14400, netip.Prefix{}}, {500, 600, netip.Prefix{}}}, [2]int64{250, 400}},
		{"left to us: a deprecated one beside", 0, 0, []iaPrefix{{0, 14400, netip.Prefix{}}, {500, 600, netip.Prefix{}}}, [2]int64{250, 400}},
		{"left to us: all deprecated", 0, 0, []iaPrefix{{0, 1000, netip.Prefix{}}}, [2]int64{500, 800}},
		{"left to us: infinite", 0, 0, []iaPrefix{{infinity, infinity, netip.Prefix{}}}, [2]int64{never, never}},
		{"infinite preferred, finite valid", 0, 0, []iaPrefix{{1000, infinity, netip.Prefix{}}}, [2]int64{500, 800}},
		{"T1 alone left to us", 0, 100, []iaPrefix{{1000, 1000, netip.Prefix{}}}, [2]int64{100, 100}},
		{"T2 alone left to us", 100, 0, []iaPrefix{{1000, 1000, netip.Prefix{}}}, [2]int64{100, 800}},
		{"T2 alone left to us, T1 late", 900, 0, []iaPrefix{{1000, 1000, netip.Prefix{}}}, [2]int64{900, 900}},
		{"T1 infinite, lease infinite", infinity, infinity, []iaPrefix{{infinity, infinity, netip.Prefix{}}}, [2]int64{never, never}},
		{"T1 infinite, lease finite", infinity, infinity, []iaPrefix{{1000, 1000, netip.Prefix{}}}, [2]int64{500, 800}},
		{"both after the end", 2000, 3000, []iaPrefix{{1000, 1000, netip.Prefix{}}}, [2]int64{500, 800}},
		{"T2 after the end", 700, 3000, []iaPrefix{{1000, 1000, netip.Prefix{}}}, [2]int64{700, 800}},
		{"T1 of one second", 1, 2, []iaPrefix{{1000, 1000, netip.Prefix{}}}, [2]int64{5, 5}},
		{"30 days", 15 * 86400, 24 * 86400, []iaPrefix{{30 * 86400, 30 * 86400, netip.Prefix{}}}, [2]int64{15 * 86400, 24 * 86400}},
		{"136 years", 0, 0, []iaPrefix{{infinity - 1, infinity - 1, netip.Prefix{}}}, [2]int64{2147483647, 3435973835}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var l lease
			for i := range tt.prefixes {
				tt.prefixes[i].Prefix = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, byte(i)}), 48)
			}
			l.take(&ia{T1: tt.t1, T2: tt.t2, Prefixes: tt.prefixes}, now)
			for i, at := range []time.Time{l.t1, l.t2} {
				var want time.Time
				if tt.want[i] != never {
					want = now.Add(time.Duration(tt.want[i]) * time.Second)
				}
				if !at.Equal(want) {
					t.Errorf("T%d in %v, want in %v", i+1, at.Sub(now), want.Sub(now))
				}
			}
		})
	}
}

// The choice among several prefixes must not hang on their order in the packet.
func TestChoiceIsDeterministic(t *testing.T) {
	a := iaPrefix{100, 200, netip.MustParsePrefix("2001:db8:a::/48")}
	b := iaPrefix{100, 200, netip.MustParsePrefix("2001:db8:b::/48")}
	large := iaPrefix{100, 200, netip.MustParsePrefix("2001:db8:c000::/40")}
	gone := iaPrefix{0, 200, netip.MustParsePrefix("2001:db8::/40")}
	want := []netip.Prefix{large.Prefix, a.Prefix, b.Prefix, gone.Prefix}
	for _, order := range [][]iaPrefix{{a, b, large, gone}, {gone, large, b, a}, {b, gone, a, large}} {
		c := New(Config{IAID: 1})
		m := message{IAs: []ia{{ID: 1, Prefixes: order}}}
		var l lease
		l.take(c.own(&m), time.Now())
		var got []netip.Prefix
		for _, p := range l.public().Prefixes {
			got = append(got, p.Prefix)
		}
		if diff := cmp.Diff(want, got, prefixComparer); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
}

func TestErrorText(t *testing.T) {
	for want, e := range map[string]*Error{
		"dhcp6: NoPrefixAvail: none left (from fe80::1)": {NoPrefixAvail, "none left", netip.MustParseAddr("fe80::1")},
		"dhcp6: Expired": {Code: Expired},
		"dhcp6: NoAnswer: no usable answer to solicit":       silence(solicit),
		"dhcp6: Status4711 (from fe80::1)":                   statusError(status{Code: 4711}, netip.MustParseAddr("fe80::1")),
		"dhcp6: NoBinding: unknown client (from 2001:db8::)": statusError(status{iana.StatusNoBinding, "unknown client"}, netip.MustParseAddr("2001:db8::")),
	} {
		if e.Error() != want {
			t.Errorf("%q, want %q", e.Error(), want)
		}
	}
}

// The key must not come out through any way of printing.
func TestKeyIsNotPrinted(t *testing.T) {
	a := &auth{Info: append([]byte{1}, "sixteen octets!!"...)}
	for _, f := range []string{"%v", "%+v", "%s"} {
		if s := fmt.Sprintf(f, a); strings.Contains(s, "sixteen") || strings.Contains(s, "115") {
			t.Errorf("%s: %s", f, s)
		}
	}
}
