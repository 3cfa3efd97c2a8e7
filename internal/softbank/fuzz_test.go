package softbank

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"layeh.com/radius"

	"sofutobanku/internal/config"
	"sofutobanku/internal/counters"
	"sofutobanku/internal/softbank/vsa"
)

// FuzzWalk decodes the sub-attributes of one attribute, which are canonical:
// encoded, they are what they were decoded from.
func FuzzWalk(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		subs, err := walk(b)
		encoded := pack(subs)
		if !bytes.HasPrefix(b, encoded) || (err == nil) != (len(encoded) == len(b)) {
			t.Fatalf("%x: read %d of %d bytes, error %v", b, len(encoded), len(b), err)
		}
		if len(subs) > len(b)/2 {
			t.Fatalf("%d sub-attributes in %d bytes", len(subs), len(b))
		}
		again, err := walk(encoded)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(subs, again, cmp.AllowUnexported(sub{})); diff != "" {
			t.Error(diff)
		}
	})
}

func pack(subs []sub) (b []byte) {
	for _, s := range subs {
		b = append(b, s.typ, byte(2+len(s.value)))
		b = append(b, s.value...)
	}
	return b
}

// FuzzShow: whatever came as a sub-attribute, what is shown of it is one printable
// line, and what it is read as is of its kind and reads the same when written.
func FuzzShow(f *testing.F) {
	f.Fuzz(func(t *testing.T, typ byte, value []byte) {
		checkShown(t, name(typ))
		checkShown(t, show(typ, value))
		checkShown(t, showHex(value))
		checkShown(t, message(nil, []sub{{typeReplyMessage, value}}))
		if n, ok := readInteger(value); ok {
			if again, ok := readInteger([]byte(strconv.FormatUint(uint64(n), 10))); !ok || again != n {
				t.Errorf("%q is %d, which is %d", value, n, again)
			}
		}
		for _, k := range []kind{ipv4, ipv6} {
			a, ok := readAddr(value, k)
			if !ok {
				continue
			}
			if a.Is4() != (k == ipv4) || a.Zone() != "" {
				t.Errorf("%q as kind %d is %v", value, k, a)
			}
			if again, ok := readAddr([]byte(a.String()), k); !ok || again != a {
				t.Errorf("%q is %v, which is %v", value, a, again)
			}
			if host(a) && (!a.IsGlobalUnicast() || a.Is4In6()) {
				t.Errorf("%v is a host", a)
			}
		}
	})
}

// FuzzOptions: what the configuration is accepted with makes a request that holds
// it and that another decoder reads, from an address of the line's prefix.
func FuzzOptions(f *testing.F) {
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, options string) {
		err := os.WriteFile(filepath.Join(dir, "network"), []byte("config interface 'wan'\n"+options), 0o600)
		must(err)
		s, err := config.Load(dir, "wan")
		if err != nil {
			return
		}
		o := FromSection(s)
		if s.Err() != nil {
			return
		}
		if n := len(o.Servers); n < 1 || n > MaxServers {
			t.Fatalf("%d servers", n)
		}
		if o.SharedSecret.Reveal() == "" || o.Password.Reveal() == "" {
			t.Fatal("no secrets")
		}
		for _, a := range []netip.Addr{o.Source(testRequest.Prefix), o.Local(testRequest.Prefix, netip.MustParseAddr("192.0.2.1"))} {
			if !testRequest.Prefix.Contains(a) || a == testRequest.Prefix.Addr() {
				t.Fatalf("address %v", a)
			}
		}
		b, err := o.encode(testRequest, nonce{identifier: 7})
		if err != nil {
			t.Fatal(err)
		}
		p, err := radius.Parse(b, nil)
		if err != nil {
			t.Fatalf("%x: %v", b, err)
		}
		subs := collect(p.Attributes, func(odd string) { t.Errorf("%s in %x", odd, b) })
		want := []string{o.MACFormat.Format(o.mac(testRequest)), o.Manufacturer, o.Model, o.HWRevision}
		for i, s := range subs {
			if i >= len(want) || int(s.typ) != i+1 || string(s.value) != want[i] {
				t.Fatalf("attribute %d %q of %x", s.typ, s.value, b)
			}
		}
		if got := p.Get(1); len(subs) != len(want) || string(got) != o.UserName(testRequest.Prefix) {
			t.Fatalf("%d attributes, User-Name %q", len(subs), got)
		}
	})
}

// FuzzAccept reads the attributes of an Access-Accept, makes an Accept of the
// Grant, and reads that: it must grant the same. The bytes may differ: attributes
// come in any order and packing, and values in binary or as text.
func FuzzAccept(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		attrs, err := radius.ParseAttributes(b)
		if err != nil || len(b) > radius.MaxPacketLength-headerLen {
			return
		}
		g, err := parseAccept(attrs, func(string) {})
		if err != nil {
			return
		}
		if !g.IPv4.Is4() || !host(g.IPv4) || !g.BR.Is6() || !host(g.BR) {
			t.Fatalf("granted %s, %s", g.IPv4, g.BR)
		}
		if len(g.Attributes) > maxAttributes {
			t.Fatalf("%d attributes", len(g.Attributes))
		}
		for _, a := range g.Attributes {
			checkShown(t, a.Name)
			checkShown(t, a.Value)
		}
		checkShown(t, g.Message)

		var set counters.Set
		again, err := parseAccept(encodeGrant(g), set.Add)
		if err != nil {
			t.Fatal(err)
		}
		if n := set.Snapshot(); n != nil {
			t.Errorf("our own encoding is odd: %v", n)
		}
		g.Attributes, again.Attributes = nil, nil
		if diff := cmp.Diff(render(g), render(again)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// checkShown fails when s could disturb a terminal.
func checkShown(t *testing.T, s string) {
	t.Helper()
	if len(s) > maxValue {
		t.Errorf("%d bytes: %q", len(s), s)
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			t.Errorf("%q is not printable", s)
		}
	}
}

// encodeGrant makes attributes of what a Grant says.
func encodeGrant(g *Grant) radius.Attributes {
	var p radius.Packet
	must(vsa.SoftBankBBIPv4Address_Add(&p, g.IPv4.AsSlice()))
	must(vsa.SoftBankBBBRIPv6Address_Add(&p, g.BR.AsSlice()))
	// Which of the two an address came in does not matter.
	for i, a := range g.DNS4 {
		if i == 0 {
			must(vsa.SoftBankBBDNSIPv41_Add(&p, a.AsSlice()))
		} else {
			must(vsa.SoftBankBBDNSIPv42_Add(&p, a.AsSlice()))
		}
	}
	for i, a := range g.DNS6 {
		if i == 0 {
			must(vsa.SoftBankBBDNSIPv61_Add(&p, a.AsSlice()))
		} else {
			must(vsa.SoftBankBBDNSIPv62_Add(&p, a.AsSlice()))
		}
	}
	for _, a := range g.NTP {
		must(vsa.SoftBankBBNTPIPv6_Add(&p, a.AsSlice()))
	}
	if g.EchoTarget.IsValid() {
		must(vsa.SoftBankBBICMPCheckIPv4_Add(&p, g.EchoTarget.AsSlice()))
	}
	// As text: four bytes that are digits would be read as such.
	for typ, n := range map[byte]*uint32{typeCheckSwitch: g.EchoSwitch, typeCheckInterval: g.EchoInterval, typeRequestTime: g.RequestTime} {
		if n != nil {
			p.Add(26, vendor(vendorID, subHex(typ, strconv.FormatUint(uint64(*n), 10))).Attribute)
		}
	}
	if g.Message != "" {
		p.Add(18, radius.Attribute(g.Message))
	}
	return p.Attributes
}

// FuzzReply checks whole replies: as they are, which nobody without the secret
// can get accepted, and signed, which must decode, encode and decode alike.
func FuzzReply(f *testing.F) {
	o := Defaults(NEXT)
	// Not the secret of the seeds' making.
	o.SharedSecret, o.Password = config.NewSecret("unguessable"), config.NewSecret(testPassword)
	request, err := o.encode(testRequest, nonce{identifier: 7})
	must(err)
	f.Fuzz(func(t *testing.T, b []byte) {
		x := exchange{
			Client: &Client{cfg: ClientConfig{Options: o}, signs: map[netip.AddrPort]bool{}},
			server: serverA, failed: &failure{}, secret: []byte("unguessable"), request: request,
		}
		if p, reason := x.check(b); p != nil || reason == "" {
			t.Fatalf("accepted unsigned: %x", b)
		}
		if len(b) < headerLen || len(b) > radius.MaxPacketLength {
			return
		}
		b = bytes.Clone(b)
		b[1] = request[1]
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		sign(b, request, "unguessable")
		p, reason := x.check(b)
		if (p == nil) == (reason == "") {
			t.Fatalf("packet %v, reason %q", p, reason)
		}
		if p == nil {
			if reason == reasonAuthenticator || reason == reasonIdentifier {
				t.Fatalf("dropped for its %s though signed", reason)
			}
			return
		}
		encoded, err := p.MarshalBinary()
		if err != nil || !bytes.Equal(encoded, b) {
			t.Fatalf("encoded again: %x, %v, want %x", encoded, err, b)
		}
		if again, reason := x.check(encoded); reason != "" || !cmp.Equal(p, again) {
			t.Fatalf("decoded again: %v %s", again, reason)
		}
		_ = message(p.Attributes, collect(p.Attributes, func(string) {}))
	})
}
