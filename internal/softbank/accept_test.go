package softbank

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"layeh.com/radius"

	"sofutobanku/internal/counters"
)

// render writes what a Grant says, one thing a line.
func render(g *Grant) string {
	var b strings.Builder
	line := func(what string, v any) {
		if s := fmt.Sprint(v); s != "[]" && s != "" && s != "invalid IP" && s != "<nil>" {
			fmt.Fprintln(&b, what, s)
		}
	}
	number := func(n *uint32) any {
		if n == nil {
			return nil
		}
		return *n
	}
	line("ipv4", g.IPv4)
	line("br", g.BR)
	line("dns4", g.DNS4)
	line("dns6", g.DNS6)
	line("ntp", g.NTP)
	line("echo", g.EchoTarget)
	line("switch", number(g.EchoSwitch))
	line("interval", number(g.EchoInterval))
	line("request-time", number(g.RequestTime))
	line("message", g.Message)
	for _, a := range g.Attributes {
		line("  "+a.Name+":", a.Value)
	}
	return b.String()
}

const (
	sub204 = "cc06 c0000207"
	sub207 = "cf12 20010db800b0000000000000 00001919"
	plain  = "ipv4 192.0.2.7\nbr 2001:db8:b0::1919\n"
	shown  = "  SoftBankBB-IPv4-Address: 192.0.2.7\n  SoftBankBB-BR-IPv6-Address: 2001:db8:b0::1919\n"
)

func TestAccept(t *testing.T) {
	ours := func(subs ...string) radius.Attributes { return radius.Attributes{vendor(vendorID, subs...)} }
	for _, tt := range []struct {
		name     string
		attrs    radius.Attributes
		want     string // a Grant, or the error
		counters map[string]uint64
	}{
		{"one attribute each", radius.Attributes{vendor(vendorID, sub204), vendor(vendorID, sub207)}, plain + shown, nil},
		{"packed", ours(sub204, sub207), plain + shown, nil},
		{"all that is known", radius.Attributes{
			{Type: 18, Attribute: []byte("hello")},
			vendor(vendorID, sub207, "c612 20010db8 000000000000000000000053", "c712 20010db8 000000000000000000000054"),
			vendor(vendorID, "cb12 20010db8 000000000000000000000123", sub204, "cd06 c6336401", "ce06 c6336402"),
			vendor(vendorID, "d206 00000001", "d306 c6336403", "d406 0000000a", "b006 00015180"),
			vendor(vendorID, subHex(18, "world"), subHex(214, "allow all"), subHex(1, "00:00:5e:00:53:0a")),
			{Type: 27, Attribute: []byte{0, 0, 14, 16}},
		}, `ipv4 192.0.2.7
br 2001:db8:b0::1919
dns4 [198.51.100.1 198.51.100.2]
dns6 [2001:db8::53 2001:db8::54]
ntp [2001:db8::123]
echo 198.51.100.3
switch 1
interval 10
request-time 86400
message hello world
  SoftBankBB-MAC: 00:00:5e:00:53:0a
  SoftBankBB-Reply-Message: world
  SoftBankBB-Config-Request-Time: 86400
  SoftBankBB-DNS-IPv6-1: 2001:db8::53
  SoftBankBB-DNS-IPv6-2: 2001:db8::54
  SoftBankBB-NTP-IPv6: 2001:db8::123
  SoftBankBB-IPv4-Address: 192.0.2.7
  SoftBankBB-DNS-IPv4-1: 198.51.100.1
  SoftBankBB-DNS-IPv4-2: 198.51.100.2
  SoftBankBB-BR-IPv6-Address: 2001:db8:b0::1919
  SoftBankBB-ICMP-Check-Switch: 1
  SoftBankBB-ICMP-Check-IPv4: 198.51.100.3
  SoftBankBB-ICMP-Check-Interval: 10
  SoftBankBB-IPv6-Firewall-1: allow all
  Reply-Message: hello
  Session-Timeout: 3600
`, nil},
		{"addresses and numbers as text", ours(
			subHex(204, "192.0.2.7\x00"), subHex(207, "2001:db8:b0::1919"), subHex(212, "3600"), subHex(210, "1")),
			plain + "switch 1\ninterval 3600\n" + shown + "  SoftBankBB-ICMP-Check-Switch: 1\n  SoftBankBB-ICMP-Check-Interval: 3600\n", nil},
		{"text of sixteen characters", ours(sub204, subHex(207, "2001:db8:1:2::19")),
			"ipv4 192.0.2.7\nbr 2001:db8:1:2::19\n  SoftBankBB-IPv4-Address: 192.0.2.7\n  SoftBankBB-BR-IPv6-Address: 2001:db8:1:2::19\n", nil},
		{"binary that looks like other text", ours("cc06 3a3a3132" /* ::12 */, sub207, "d406 00000031" /* 1 */),
			"ipv4 58.58.49.50\nbr 2001:db8:b0::1919\ninterval 49\n  SoftBankBB-IPv4-Address: 58.58.49.50\n  SoftBankBB-BR-IPv6-Address: 2001:db8:b0::1919\n  SoftBankBB-ICMP-Check-Interval: 49\n", nil},
		{"unknown ones", ours(subHex(99, "abc"), sub204, sub207, "ff02", "6603ff"),
			plain + "  SoftBankBB-Attr-99: 0x616263\n  SoftBankBB-Attr-102: 0xff\n" + shown + "  SoftBankBB-Attr-255: 0x\n", nil},
		{"an empty one hides nothing", ours("d302", sub204, "c602", sub207),
			plain + "  SoftBankBB-DNS-IPv6-1: 0x\n" + shown + "  SoftBankBB-ICMP-Check-IPv4: 0x\n",
			map[string]uint64{"radius.attribute.malformed": 2}},
		{"a length of 1 hides only what follows in the same attribute", radius.Attributes{
			vendor(vendorID, sub204, "d401", "d306c6336403"), vendor(vendorID, sub207)}, plain + shown,
			map[string]uint64{"radius.attribute.malformed": 1}},
		{"too long a length", radius.Attributes{vendor(vendorID, "c6ff00"), vendor(vendorID, sub204, sub207, "d4")}, plain + shown,
			map[string]uint64{"radius.attribute.malformed": 2}},
		{"no enterprise number", append(ours(sub204, sub207), &radius.AVP{Type: 26, Attribute: []byte{0, 0, 0x56}}, vendor(vendorID)),
			plain + shown, map[string]uint64{"radius.attribute.malformed": 1}},
		{"other enterprises", radius.Attributes{vendor(311, "cc06 cb007101"), vendor(vendorID, sub204, sub207)}, plain + shown,
			map[string]uint64{"radius.attribute.not-ours": 1}},
		{"the first address counts", ours(sub204, sub207, "cc06 c0000208", "cf12 20010db800b0000000000000 00002999"),
			plain + strings.ReplaceAll(shown, "  SoftBankBB-BR", "  SoftBankBB-IPv4-Address: 192.0.2.8\n  SoftBankBB-BR") + "  SoftBankBB-BR-IPv6-Address: 2001:db8:b0::2999\n",
			map[string]uint64{"radius.attribute.duplicate": 2}},
		{"the first valid address counts", ours("cc05 c00002", "cc06 7f000001", sub204, sub207),
			plain + "  SoftBankBB-IPv4-Address: 0xc00002\n  SoftBankBB-IPv4-Address: 127.0.0.1\n" + shown,
			map[string]uint64{"radius.attribute.malformed": 1, "radius.attribute.not-a-host": 1}},
		{"bad optional ones", ours(sub204, sub207, "c603ff", "cd06 e0000001", "d305 010203", "d403 09", "d204 6f6e", "b006 00000001", "b006 00000002"),
			plain + "request-time 1\n" +
				"  SoftBankBB-Config-Request-Time: 1\n  SoftBankBB-Config-Request-Time: 2\n  SoftBankBB-DNS-IPv6-1: 0xff\n  SoftBankBB-IPv4-Address: 192.0.2.7\n  SoftBankBB-DNS-IPv4-1: 224.0.0.1\n" +
				"  SoftBankBB-BR-IPv6-Address: 2001:db8:b0::1919\n  SoftBankBB-ICMP-Check-Switch: on\n  SoftBankBB-ICMP-Check-IPv4: 0x010203\n  SoftBankBB-ICMP-Check-Interval: 0x09\n",
			map[string]uint64{"radius.attribute.malformed": 4, "radius.attribute.not-a-host": 1, "radius.attribute.duplicate": 1}},
		{"an echo to ourselves", ours(sub204, sub207, "d306 c0000207"), plain + shown + "  SoftBankBB-ICMP-Check-IPv4: 192.0.2.7\n",
			map[string]uint64{"radius.attribute.echo-target": 1}},
		{"terminals and logs are safe", append(ours(sub204, sub207, subHex(214, "a\x1b[31mb"), subHex(215, "日本")), &radius.AVP{Type: 25, Attribute: []byte("class")},
			&radius.AVP{Type: 69, Attribute: make([]byte, 20)}, &radius.AVP{Type: 18, Attribute: []byte("x\ny")}),
			plain + "message x?y\n" + shown + "  SoftBankBB-IPv6-Firewall-1: 0x611b5b33316d62\n  SoftBankBB-IPv6-Firewall-2: 日本\n  Reply-Message: x?y\n  Attr-25: 0x636c617373\n", nil},

		{"no IPv4", ours(sub207), "accepted this line, but did not send the line's IPv4 address (attribute 204): check option 'line' and options 'manufacturer', 'model' and 'hwrev'", nil},
		{"no BR", ours(sub204), "accepted this line, but did not send the address of the tunnel's far end (attribute 207): check option 'line' and options 'manufacturer', 'model' and 'hwrev'", nil},
		{"multicast", ours("cc06 e0000001", sub207), "accepted this line, but the line's IPv4 address (attribute 204) is 224.0.0.1, which no host can have",
			map[string]uint64{"radius.attribute.not-a-host": 1}},
		{"cut off", ours("cc05 c00002", sub207), "accepted this line, but the line's IPv4 address (attribute 204) is 0xc00002, which no host can have",
			map[string]uint64{"radius.attribute.malformed": 1}},
		{"link-local BR", ours(sub204, "cf12 fe80000000000000 0000000000000001"), "accepted this line, but the address of the tunnel's far end (attribute 207) is fe80::1, which no host can have",
			map[string]uint64{"radius.attribute.not-a-host": 1}},
		{"mapped BR", ours(sub204, "cf12 0000000000000000 0000ffff c0000201"), "accepted this line, but the address of the tunnel's far end (attribute 207) is ::ffff:192.0.2.1, which no host can have",
			map[string]uint64{"radius.attribute.not-a-host": 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var set counters.Set
			g, err := parseAccept(tt.attrs, set.Add)
			got := ""
			if err != nil {
				got = err.Error()
			} else {
				got = render(g)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.counters, set.Snapshot()); diff != "" {
				t.Errorf("counters (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAcceptBounds: a packet full of attributes is kept within bounds.
func TestAcceptBounds(t *testing.T) {
	attrs := radius.Attributes{vendor(vendorID, sub204, sub207)}
	for range 40 {
		attrs = append(attrs, vendor(vendorID, strings.Repeat("6302", 40)), &radius.AVP{Type: 25, Attribute: make([]byte, 253)})
	}
	var set counters.Set
	g, err := parseAccept(attrs, set.Add)
	if err != nil {
		t.Fatal(err)
	}
	if len(g.Attributes) != maxAttributes || set.Get("radius.attribute.overflow") != 2 {
		t.Errorf("%d attributes kept, %v", len(g.Attributes), set.Snapshot())
	}
	if got := showHex(make([]byte, 253)); len(got) != maxValue || !strings.HasSuffix(got, "00…") {
		t.Errorf("%d bytes: %s", len(got), got)
	}
}

func TestHost(t *testing.T) {
	for s, want := range map[string]bool{
		"192.0.2.1": true, "10.0.0.1": true, "100.64.0.1": true,
		"0.0.0.0": false, "0.1.2.3": false, "127.0.0.1": false, "169.254.1.1": false,
		"224.0.0.1": false, "240.0.0.1": false, "255.255.255.255": false,
		"2001:db8::1": true, "fd00::1": true,
		"::": false, "::1": false, "fe80::1": false, "ff02::1": false, "::ffff:192.0.2.1": false,
	} {
		if got := host(netip.MustParseAddr(s)); got != want {
			t.Errorf("host(%s) = %v", s, got)
		}
	}
	if host(netip.Addr{}) {
		t.Error("the zero address is a host")
	}
}
