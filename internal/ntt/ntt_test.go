package ntt

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sofutobanku/internal/dhcp6/dnsname"
)

var mac = net.HardwareAddr{0x00, 0x00, 0x5e, 0x00, 0x53, 0x01}

// unhex reads octets written as a person would group them.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The same information in both protocols, in canonical order.
const (
	sip6 = `00c9 0006 00005e005301
	        00ca 000a 30333132333435363738
	        00cb 000a 30333132333435363739
	        00cc 000d 03736970 076578616d706c65 00
	        00d2 0006 0266770161 00
	        0063 0002 beef`
	sip4 = `c9 06 00005e005301
	        ca 0a 30333132333435363738
	        cb 0a 30333132333435363739
	        cc 0d 03736970 076578616d706c65 00
	        d2 06 0266770161 00
	        63 02 beef`
)

func sip() Info {
	return Info{
		MAC: mac, Main: "0312345678", Numbers: []string{"0312345678", "0312345679"},
		Domain: "sip.example", Host: "fw.a", Unknown: []Suboption{{Code: 99, Data: []byte{0xbe, 0xef}}},
	}
}

func TestBothFramings(t *testing.T) {
	for _, tt := range []struct {
		name   string
		wire   string
		parse  func([]byte) ([]Suboption, error)
		encode func([]Suboption) ([]byte, error)
	}{
		{"DHCPv6", sip6, ParseDHCPv6, EncodeDHCPv6},
		{"DHCPv4", sip4, ParseDHCPv4, EncodeDHCPv4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wire := unhex(t, tt.wire)
			subs, err := tt.parse(wire)
			if err != nil {
				t.Fatal(err)
			}
			info, errs := Interpret(subs)
			if errs != nil {
				t.Fatal(errs)
			}
			if diff := cmp.Diff(sip(), info); diff != "" {
				t.Fatalf("-want +got:\n%s", diff)
			}
			subs, err = sip().Suboptions()
			if err != nil {
				t.Fatal(err)
			}
			got, err := tt.encode(subs)
			if err != nil || !bytes.Equal(got, wire) {
				t.Fatalf("encoded % x, %v, want % x", got, err, wire)
			}
		})
	}
}

func TestAnyOrder(t *testing.T) {
	subs, err := sip().Suboptions()
	if err != nil {
		t.Fatal(err)
	}
	for i := range subs {
		rotated := append(append([]Suboption{}, subs[i:]...), subs[:i]...)
		info, errs := Interpret(rotated)
		if errs != nil {
			t.Fatal(errs)
		}
		if diff := cmp.Diff(sip(), info); diff != "" {
			t.Errorf("beginning with %d, -want +got:\n%s", subs[i].Code, diff)
		}
	}
}

func TestInterpret(t *testing.T) {
	good := Suboption{Code: CodeMain, Data: []byte("0312345678")}
	numbers := []string{"0312345678"}
	for _, tt := range []struct {
		name string
		subs []Suboption
		want Info
		errs []string // what each error contains
	}{
		{name: "nothing"},
		{
			name: "further numbers without a main one, one of them twice",
			subs: []Suboption{{CodeNumber, []byte("222")}, {CodeNumber, []byte("111")}, {CodeNumber, []byte("222")}},
			want: Info{Numbers: []string{"222", "111"}},
		},
		{
			name: "main number repeated as a further one, after it",
			subs: []Suboption{{CodeNumber, []byte("222")}, {CodeNumber, good.Data}, good},
			want: Info{Main: "0312345678", Numbers: []string{"0312345678", "222"}},
		},
		{
			name: "the same value twice is no contradiction",
			subs: []Suboption{good, good},
			want: Info{Main: "0312345678", Numbers: numbers},
		},
		{
			name: "two main numbers: the first stands",
			subs: []Suboption{good, {CodeMain, []byte("111")}},
			want: Info{Main: "0312345678", Numbers: numbers},
			errs: []string{"suboption 202: a second"},
		},
		{
			name: "two MACs: the first stands",
			subs: []Suboption{{CodeMAC, mac}, {CodeMAC, []byte{0, 0, 0x5e, 0, 0x53, 2}}},
			want: Info{MAC: mac},
			errs: []string{"suboption 201: a second"},
		},
		{
			name: "each malformed one costs only itself",
			subs: []Suboption{
				{CodeMAC, mac[:5]}, {CodeMAC, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}, {CodeMAC, make([]byte, 6)},
				{CodeMain, []byte("03-1234")}, {CodeMain, nil}, {CodeNumber, []byte(strings.Repeat("1", 33))},
				{CodeNumber, []byte("１")}, {CodeDomain, []byte{0xc0, 0}}, {CodeDomain, []byte("\x03sip")},
				{CodeHost, []byte("\x01a\x00\x01b\x00")}, {CodeHost, []byte{0}}, {CodeHost, append([]byte{64}, make([]byte, 65)...)},
				good,
			},
			want: Info{Main: "0312345678", Numbers: numbers},
			errs: []string{
				"201: 00 00 5e 00 53 is not", "201: ff ff", "201: 00 00 00 00 00 00",
				"202: a telephone number of other characters", "202: a telephone number of 0", "203: a telephone number of 33",
				"203: a telephone number of other", "204: octet 0: compressed", "204: truncated",
				"210: 3 octets after", "210: an empty name", "210: octet 0: length 64",
			},
		},
		{
			name: "unknown ones stay as they came",
			subs: []Suboption{{300, []byte{1}}, good, {205, nil}, {300, []byte{2}}},
			want: Info{Main: "0312345678", Numbers: numbers, Unknown: []Suboption{{300, []byte{1}}, {205, nil}, {300, []byte{2}}}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, errs := Interpret(tt.subs)
			if diff := cmp.Diff(tt.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if len(errs) != len(tt.errs) {
				t.Fatalf("errors %v, want %q", errs, tt.errs)
			}
			for i, want := range tt.errs {
				if !strings.Contains(errs[i].Error(), want) {
					t.Errorf("error %q, want %q in it", errs[i], want)
				}
			}
		})
	}
}

func TestParseFaults(t *testing.T) {
	one := []Suboption{{Code: 202, Data: []byte("1")}}
	many := bytes.Repeat([]byte{0, 99, 0, 0}, maxSuboptions+1)
	for _, tt := range []struct {
		name  string
		parse func([]byte) ([]Suboption, error)
		wire  []byte
		want  []Suboption
		err   error
	}{
		{"DHCPv6 header cut", ParseDHCPv6, unhex(t, "00ca 0001 31 00cb 00"), one, ErrTruncated},
		{"DHCPv6 data cut", ParseDHCPv6, unhex(t, "00ca 0001 31 00cb 0005 31"), one, ErrTruncated},
		{"DHCPv6 length 65535", ParseDHCPv6, unhex(t, "00ca 0001 31 00cb ffff 31"), one, ErrTruncated},
		{"DHCPv4 header cut", ParseDHCPv4, unhex(t, "ca 01 31 cb"), one, ErrTruncated},
		{"DHCPv4 data cut", ParseDHCPv4, unhex(t, "ca 01 31 cb 05 31"), one, ErrTruncated},
		{"too many", ParseDHCPv6, many, nil, ErrTooMany},
		{"empty", ParseDHCPv6, nil, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.parse(tt.wire)
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if tt.name == "too many" {
				if len(got) != maxSuboptions {
					t.Fatalf("%d kept", len(got))
				}
				return
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Fatalf("-want +got:\n%s", diff)
			}
		})
	}
}

// The parsers must not keep the packet alive or be changed with it.
func TestParseCopies(t *testing.T) {
	wire := unhex(t, sip6)
	subs, err := ParseDHCPv6(wire)
	if err != nil {
		t.Fatal(err)
	}
	clear(wire)
	if info, errs := Interpret(subs); errs != nil || !cmp.Equal(info, sip()) {
		t.Fatalf("changed with the packet: %+v, %v", info, errs)
	}
}

func TestEncodeFaults(t *testing.T) {
	for _, tt := range []struct {
		name string
		f    func() error
		err  error
	}{
		{"code beyond DHCPv4", func() error { _, err := EncodeDHCPv4([]Suboption{{Code: 256}}); return err }, ErrTooLong},
		{"data beyond DHCPv4", func() error {
			_, err := EncodeDHCPv4([]Suboption{{Code: 1, Data: make([]byte, 256)}})
			return err
		}, ErrTooLong},
		{"data beyond DHCPv6", func() error {
			_, err := EncodeDHCPv6([]Suboption{{Code: 1, Data: make([]byte, 65536)}})
			return err
		}, ErrTooLong},
		{"option 125 beyond its length", func() error { _, err := ToDHCPv4(make([]byte, 251)); return err }, ErrTooLong},
		{"domain", func() error { _, err := Info{Domain: "a b"}.Suboptions(); return err }, dnsname.ErrLabel},
		{"number", func() error { _, err := Info{Numbers: []string{"+81"}}.Suboptions(); return err }, nil},
		{"MAC", func() error { _, err := Info{MAC: mac[:4]}.Suboptions(); return err }, nil},
		{"class MAC", func() error { _, err := VendorClassDHCPv4(mac[:4]); return err }, nil},
	} {
		err := tt.f()
		if err == nil || tt.err != nil && !errors.Is(err, tt.err) {
			t.Errorf("%s: error %v, want %v", tt.name, err, tt.err)
		}
	}
}

func TestVendorClass(t *testing.T) {
	six := VendorClass(mac)
	if got, want := six.ToBytes(), unhex(t, "000000d2 0006 00005e005301"); six.Code() != 16 || !bytes.Equal(got, want) {
		t.Errorf("option %d % x, want 16 % x", six.Code(), got, want)
	}
	four, err := VendorClassDHCPv4(mac)
	if want := unhex(t, "000000d2 07 06 00005e005301"); err != nil || !bytes.Equal(four, want) {
		t.Errorf("option 124 % x, %v, want % x", four, err, want)
	}
	if got, err := ParseVendorClass(six.ToBytes()); err != nil || !bytes.Equal(got, mac) {
		t.Errorf("option 16 read: %v, %v", got, err)
	}
	if got, err := ParseVendorClassDHCPv4(four); err != nil || !bytes.Equal(got, mac) {
		t.Errorf("option 124 read: %v, %v", got, err)
	}
	for _, bad := range []string{"", "000000", "000000d2", "000000d3 0006 00005e005301", "000000d2 0006 00005e0053", "000000d2 0005 00005e005301", "000000d2 0006 00005e005301 00"} {
		if got, err := ParseVendorClass(unhex(t, bad)); err == nil {
			t.Errorf("option 16 %q accepted: %v", bad, got)
		}
	}
	for _, bad := range []string{"", "000000d3 07 06 00005e005301", "000000d2 07 06 00005e0053", "000000d2 06 05 00005e0053", "000000d2 07 05 00005e005301"} {
		if got, err := ParseVendorClassDHCPv4(unhex(t, bad)); err == nil {
			t.Errorf("option 124 %q accepted: %v", bad, got)
		}
	}
}

func TestFromDHCPv4(t *testing.T) {
	for _, tt := range []struct {
		wire, want string
		err        error
	}{
		{wire: "000000d2 03 ca0131", want: "ca0131"},
		{wire: "00000009 02 0102 000000d2 03 ca0131", want: "ca0131"},
		{wire: "000000d2 00", want: ""},
		{wire: "", err: ErrNoNTT},
		{wire: "00000009 02 0102", err: ErrNoNTT},
		{wire: "000000d2 04 ca0131", err: ErrTruncated},
		{wire: "000000d2", err: ErrTruncated},
	} {
		got, err := FromDHCPv4(unhex(t, tt.wire))
		if !errors.Is(err, tt.err) || !bytes.Equal(got, unhex(t, tt.want)) {
			t.Errorf("%q: % x, %v", tt.wire, got, err)
			continue
		}
		if err == nil && strings.HasPrefix(tt.wire, "000000d2") {
			if back, err := ToDHCPv4(got); err != nil || !bytes.Equal(back, unhex(t, tt.wire)) {
				t.Errorf("%q: framed again % x, %v", tt.wire, back, err)
			}
		}
	}
}

// fuzz checks what holds for any octets: the suboptions that are found are
// canonical, so that they encode to what they were found in; they are no more than
// the octets can hold; and what was understood is in range and survives the wire.
// Info is not canonical: suboptions come in any order, and may be repeated.
func fuzz(t *testing.T, wire []byte, parse func([]byte) ([]Suboption, error), encode func([]Suboption) ([]byte, error)) {
	subs, err := parse(wire)
	back, encErr := encode(subs)
	if encErr != nil || !bytes.HasPrefix(wire, back) || err == nil && len(back) != len(wire) {
		t.Fatalf("% x became % x, %v (%v)", wire, back, encErr, err)
	}
	if len(subs) > maxSuboptions {
		t.Fatalf("%d suboptions", len(subs))
	}
	info, errs := Interpret(subs)
	if len(errs)+len(info.Unknown) > len(subs) {
		t.Fatalf("%d suboptions are %+v and %v", len(subs), info, errs)
	}
	checkInfo(t, info)
	canonical, err := info.Suboptions()
	if err != nil {
		t.Fatalf("understood and not encoded: %+v: %v", info, err)
	}
	if back, err = encode(canonical); err != nil {
		t.Fatal(err)
	}
	if len(back) > len(wire) {
		t.Fatalf("% x grew to % x", wire, back)
	}
	again, err := parse(back)
	if err != nil {
		t.Fatal(err)
	}
	info2, errs := Interpret(again)
	if errs != nil || !cmp.Equal(info, info2, cmpopts.EquateEmpty()) {
		t.Fatalf("%+v became %+v, %v", info, info2, errs)
	}
}

var (
	number   = regexp.MustCompile(`^[0-9]{1,32}$`)
	hostName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*$`)
)

// checkInfo holds i to what its fields promise, which is what makes them fit for a
// log, a page and a telephone's configuration.
func checkInfo(t *testing.T, i Info) {
	t.Helper()
	if i.MAC != nil && !validMAC(i.MAC) {
		t.Fatalf("MAC % x", []byte(i.MAC))
	}
	seen := map[string]bool{}
	for _, n := range i.Numbers {
		if !number.MatchString(n) || seen[n] {
			t.Fatalf("numbers %q", i.Numbers)
		}
		seen[n] = true
	}
	if i.Main != "" && i.Main != i.Numbers[0] {
		t.Fatalf("main number %q of %q", i.Main, i.Numbers)
	}
	for _, name := range []string{i.Domain, i.Host} {
		if name != "" && (!hostName.MatchString(name) || len(name) > 253) {
			t.Fatalf("name %q", name)
		}
	}
	for _, s := range i.Unknown {
		switch s.Code {
		case CodeMAC, CodeMain, CodeNumber, CodeDomain, CodeHost:
			t.Fatalf("suboption %d is known", s.Code)
		}
	}
}

func FuzzDHCPv6(f *testing.F) {
	f.Fuzz(func(t *testing.T, wire []byte) { fuzz(t, wire, ParseDHCPv6, EncodeDHCPv6) })
}

// FuzzDHCPv4 does it inside and outside of the framing of option 125, which is
// not canonical: there may be other enterprises beside NTT.
func FuzzDHCPv4(f *testing.F) {
	f.Fuzz(func(t *testing.T, wire []byte) {
		fuzz(t, wire, ParseDHCPv4, EncodeDHCPv4)
		inner, err := FromDHCPv4(wire)
		if err != nil {
			if inner != nil {
				t.Fatalf("an error and % x", inner)
			}
			return
		}
		fuzz(t, inner, ParseDHCPv4, EncodeDHCPv4)
		if len(inner) > 250 { // more than one option holds: there was no need to ask for it
			return
		}
		framed, err := ToDHCPv4(inner)
		if err != nil || !bytes.Contains(wire, framed) {
			t.Fatalf("% x from % x is framed as % x, %v", inner, wire, framed, err)
		}
	})
}

// FuzzVendorClass: options 16 and 124 are canonical.
func FuzzVendorClass(f *testing.F) {
	f.Fuzz(func(t *testing.T, option []byte) {
		if mac, err := ParseVendorClass(option); err == nil {
			if again := VendorClass(mac).ToBytes(); !validMAC(mac) || !bytes.Equal(again, option) {
				t.Fatalf("option 16 % x is %v, which is % x", option, mac, again)
			}
		}
		mac, err := ParseVendorClassDHCPv4(option)
		if err != nil {
			return
		}
		again, err := VendorClassDHCPv4(mac)
		if err != nil || !bytes.Contains(option, again) { // beside other enterprises
			t.Fatalf("option 124 % x is %v, which is % x, %v", option, mac, again, err)
		}
	})
}

func TestDescribe(t *testing.T) {
	for _, tt := range []struct {
		code         int
		data         string
		called, text string
		ok           bool
	}{
		{201, "\x02\x00\x5e\x00\x53\x01", "terminal's MAC address", "02:00:5e:00:53:01", true},
		{202, "0312345678", "main telephone number", "0312345678", true},
		{203, "0312345679", "further telephone number", "0312345679", true},
		{204, "\x07example\x02jp\x00", "SIP domain", "example.jp", true},
		{210, "\x02fw\x07example\x00", "firmware server", "fw.example", true},
		{201, "\x02", "", "", false},
		{209, "?", "", "", false},
		{-1, "", "", "", false},
	} {
		called, text, ok := Describe(Enterprise, tt.code, []byte(tt.data))
		if called != tt.called || text != tt.text || ok != tt.ok {
			t.Errorf("Describe(%d, %q) = %q, %q, %v", tt.code, tt.data, called, text, ok)
		}
	}
	if _, _, ok := Describe(9, CodeMAC, make([]byte, 6)); ok {
		t.Error("another enterprise's suboption is described")
	}
}
