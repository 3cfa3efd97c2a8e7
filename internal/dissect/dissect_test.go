package dissect

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/mdlayher/ndp"
	"layeh.com/radius"
	"layeh.com/radius/rfc2865"

	"sofutobanku/internal/dhcp6/dnsname"
)

// vendor is an enterprise that knows one code.
func vendor(enterprise uint32, code int, data []byte) (Field, bool) {
	return Field{Name: "colour", Value: string(data)}, enterprise == 210 && code == 7
}

var mac0 = net.HardwareAddr{0x02, 0, 0x5e, 0, 0x53, 1}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func name6(s string) []byte { return must(dnsname.Append(nil, s)) }

func advertisement() []byte {
	return must(ndp.MarshalMessage(&ndp.RouterAdvertisement{
		CurrentHopLimit: 64, ManagedConfiguration: true, OtherConfiguration: true, RouterSelectionPreference: ndp.High,
		RouterLifetime: 1800 * time.Second, ReachableTime: 300 * time.Second, RetransmitTimer: 10 * time.Second,
		Options: []ndp.Option{
			&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: mac0},
			ndp.NewMTU(1500),
			&ndp.PrefixInformation{
				PrefixLength: 64, OnLink: true, AutonomousAddressConfiguration: true,
				ValidLifetime: ndp.Infinity, PreferredLifetime: time.Hour, Prefix: netip.MustParseAddr("2001:db8:1:2::"),
			},
			&ndp.RouteInformation{PrefixLength: 48, Preference: ndp.Low, RouteLifetime: time.Minute, Prefix: netip.MustParseAddr("2001:db8:9::")},
			&ndp.RecursiveDNSServer{Lifetime: time.Hour, Servers: []netip.Addr{netip.MustParseAddr("2001:db8::53")}},
			&ndp.DNSSearchList{Lifetime: time.Hour, DomainNames: []string{"example.jp", "example.com"}},
			&ndp.RawOption{Type: 99, Length: 1, Value: []byte{1, 2, 3, 4, 5, 6}},
		},
	}))
}

func reply6() []byte {
	m := &dhcpv6.Message{MessageType: dhcpv6.MessageTypeReply, TransactionID: [3]byte{1, 2, 3}}
	m.AddOption(dhcpv6.OptClientID(&dhcpv6.DUIDLL{HWType: 1, LinkLayerAddr: mac0}))
	m.AddOption(dhcpv6.OptServerID(&dhcpv6.DUIDEN{EnterpriseNumber: 9, EnterpriseIdentifier: []byte{0xab}}))
	m.AddOption(&dhcpv6.OptIAPD{IaId: [4]byte{0, 0, 0, 1}, T1: 2 * time.Hour, T2: 3 * time.Hour, Options: dhcpv6.PDOptions{Options: dhcpv6.Options{
		&dhcpv6.OptIAPrefix{PreferredLifetime: 12600 * time.Second, ValidLifetime: 14400 * time.Second,
			Prefix: &net.IPNet{IP: net.ParseIP("2001:db8:1200::"), Mask: net.CIDRMask(56, 128)}},
		&dhcpv6.OptStatusCode{StatusCode: 0, StatusMessage: "fine\x1b[2J"},
	}}})
	generic := func(code int, b []byte) {
		m.AddOption(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionCode(code), OptionData: b})
	}
	generic(17, append([]byte{0, 0, 0, 210, 0, 7, 0, 3, 'r', 'e', 'd', 0, 8, 0, 1, 0xff}, 0, 9, 0, 5, 1))
	generic(16, []byte{0, 0, 0, 210, 0, 6, 2, 0, 0x5e, 0, 0x53, 1})
	generic(11, make([]byte, 28))
	generic(24, append(name6("flets.example"), name6("iptv.example")...))
	generic(31, netip.MustParseAddr("2001:db8::123").AsSlice())
	generic(23, []byte{1, 2})
	generic(999, nil)
	return m.ToBytes()
}

func ack4() []byte {
	m := must(dhcpv4.New(
		dhcpv4.WithTransactionID([4]byte{9, 8, 7, 6}), dhcpv4.WithHwAddr(mac0), dhcpv4.WithYourIP(net.IPv4(198, 51, 100, 2)),
		dhcpv4.WithMessageType(dhcpv4.MessageTypeAck), dhcpv4.WithLeaseTime(14400),
	))
	generic := func(code uint8, b ...byte) { m.UpdateOption(dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(code), b)) }
	generic(1, 255, 255, 255, 252)
	generic(120, 1, 198, 51, 100, 1)
	generic(121, 24, 203, 0, 113, 198, 51, 100, 1, 0, 198, 51, 100, 1)
	generic(124, 0, 0, 0, 210, 7, 6, 2, 0, 0x5e, 0, 0x53, 1)
	generic(125, 0, 0, 0, 210, 5, 7, 3, 'r', 'e', 'd')
	generic(200, 1)
	return m.ToBytes()
}

func accept() []byte {
	p := radius.New(radius.CodeAccessAccept, []byte("not-to-be-seen"))
	p.Identifier = 7
	must(0, rfc2865.UserName_SetString(p, "2001:0db8:1200:0000"))
	must(0, rfc2865.CHAPPassword_Set(p, []byte("secret-secret-abc")))
	p.Add(26, append(binary.BigEndian.AppendUint32(nil, 210), 7, 5, 'r', 'e', 'd', 9, 4, 1, 2))
	p.Add(26, []byte{0, 0, 0, 211, 9, 1})
	p.Add(200, []byte{1})
	return must(p.Encode())
}

func TestDissect(t *testing.T) {
	for _, tt := range []struct {
		name string
		got  Field
		want string
	}{
		{"advertisement", Advertisement(advertisement()), `
router advertisement
  hop limit for hosts: 64
  flags: managed (addresses by DHCPv6), other (the rest by DHCPv6)
  preference: high
  router lifetime: 1800 s (30m0s)
  reachable time: 300000 ms
  retransmission timer: 10000 ms
  source link-layer address: 02:00:5e:00:53:01
  MTU: 1500
  prefix information: 2001:db8:1:2::/64
    flags: on-link, autonomous
    valid lifetime: infinity
    preferred lifetime: 3600 s (1h0m0s)
  route information: 2001:db8:9::/48
    preference: low
    lifetime: 60 s
  recursive DNS servers: 2001:db8::53
    lifetime: 3600 s (1h0m0s)
  DNS search list: example.jp, example.com
    lifetime: 3600 s (1h0m0s)
  option 99: 010203040506
`},
		{"advertisement: hostile", Advertisement(append(make16(134, 1), 3, 1, 0, 0, 0, 0, 0, 0, 37, 2, 'a', 27, '[', 'm', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0)), `
router advertisement
  code: 1
  hop limit for hosts: unspecified
  flags: none
  preference: medium
  router lifetime: 0 s (no default router)
  reachable time: unspecified
  retransmission timer: unspecified
  prefix information: malformed: 000000000000
  captive portal: "a\x1b[m"
  malformed to the end: 0500
`},
		{"advertisement: PREF64", Advertisement(append(make16(134, 0), 38, 2, 2, 0x59, 0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0)), `
router advertisement
  hop limit for hosts: unspecified
  flags: none
  preference: medium
  router lifetime: 0 s (no default router)
  reachable time: unspecified
  retransmission timer: unspecified
  PREF64: 64:ff9b::/64
    lifetime: 600 s (10m0s)
`},
		{"no advertisement", Advertisement([]byte{133, 0}), `
router advertisement: malformed: 8500
`},
		{"DHCPv6", DHCPv6(reply6(), vendor), `
DHCPv6: Reply
  transaction id: 010203
  client identifier: DUID-LL 02:00:5e:00:53:01
  server identifier: DUID-EN 000200000009ab
  IA_PD: IAID 1
    T1: 7200 s (2h0m0s)
    T2: 10800 s (3h0m0s)
    IA prefix: 2001:db8:1200::/56
      preferred lifetime: 12600 s (3h30m0s)
      valid lifetime: 14400 s (4h0m0s)
    status: Success "fine\x1b[2J"
  vendor options: enterprise 210
    colour: red
    suboption 8: ff
    malformed to the end: 0009000501
  vendor class: enterprise 210
    data: 02005e005301
  authentication: protocol 0
    algorithm: 0
    replay detection: 0000000000000000
    information: 17 bytes, not shown
  domain search list: flets.example, iptv.example
  SNTP servers: 2001:db8::123
  DNS servers: malformed: 0102
  option 999: empty
`},
		{"DHCPv6: cut", DHCPv6([]byte{1, 0, 0, 1, 0, 8, 0, 2, 0, 9, 0, 14, 0, 1}, nil), `
DHCPv6: Solicit
  transaction id: 000001
  elapsed time: 90 ms
  malformed to the end: 000e0001
`},
		{"DHCPv4", DHCPv4(ack4(), vendor), `
DHCPv4: Ack
  transaction id: 09080706
  your address: 198.51.100.2
  client's hardware address: 02:00:5e:00:53:01
  subnet mask: 255.255.255.252
  lease time: 14400 s (4h0m0s)
  SIP servers: 198.51.100.1
  classless routes
    203.0.113.0/24: via 198.51.100.1
    0.0.0.0/0: via 198.51.100.1
  vendor classes
    enterprise 210
      data: 02005e005301
  vendor options
    enterprise 210
      colour: red
  option 200: 01
`},
		{"DHCPv4: short", DHCPv4([]byte{1, 2}, nil), `
DHCPv4: malformed: 0102
`},
		{"RADIUS", RADIUS(accept(), vendor), `
RADIUS: Access-Accept
  identifier: 7
  User-Name: 2001:0db8:1200:0000
  CHAP-Password: 17 bytes, not shown
  Vendor-Specific: enterprise 210
    colour: red
    attribute 9: 0102
  Vendor-Specific: enterprise 211
    malformed to the end: 0901
  option 200: 01
`},
		{"RADIUS: cut", RADIUS(append([]byte{2, 1, 0, 23}, append(make([]byte, 16), 1, 9, 'x')...), nil), `
RADIUS: Access-Accept
  identifier: 1
  malformed to the end: 3 bytes
`},
		{"RADIUS: length", RADIUS([]byte{2, 1, 0, 99, 1, 2, 3}, nil), `
RADIUS: malformed, 7 bytes
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b strings.Builder
			if err := tt.got.Write(&b); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.TrimPrefix(tt.want, "\n"), b.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// make16 is a message of 16 bytes that begins with b.
func make16(b ...byte) []byte { return append(b, make([]byte, 16-len(b))...) }

// FuzzDissect: nothing panics, what comes out can be shown on a terminal, and is not
// much more than what came in.
func FuzzDissect(f *testing.F) {
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		field := []func([]byte) Field{
			Advertisement,
			func(b []byte) Field { return DHCPv6(b, vendor) },
			func(b []byte) Field { return DHCPv4(b, vendor) },
			func(b []byte) Field { return RADIUS(b, vendor) },
		}[kind%4](b)
		var out strings.Builder
		if err := field.Write(&out); err != nil {
			t.Fatal(err)
		}
		for _, c := range []byte(out.String()) {
			if c != '\n' && (c < ' ' || c > '~') {
				t.Fatalf("byte %#x in\n%s", c, out.String())
			}
		}
		if most := 1000 + 100*len(b); out.Len() > most {
			t.Fatalf("%d bytes of text for %d", out.Len(), len(b))
		}
	})
}

func TestLifetime(t *testing.T) {
	for _, tt := range []struct {
		n    uint32
		size int
		want string
	}{{0, 4, "0 s"}, {119, 4, "119 s"}, {3600, 4, "3600 s (1h0m0s)"}, {0xffffffff, 4, "infinity"}, {0xffff, 2, "65535 s (18h12m15s)"}} {
		if got := lifetime(tt.n, tt.size); got != tt.want {
			t.Errorf("lifetime(%d) = %q, want %q", tt.n, got, tt.want)
		}
	}
}
