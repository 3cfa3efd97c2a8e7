package realisp

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
)

// Line is a kind of line.
type Line string

// The lines.
const (
	Next   Line = "next"    // 1 Gbit/s with a telephone: the prefix by DHCPv6
	NextRA Line = "next-ra" // 1 Gbit/s without: a /64 by RA
	Cross  Line = "cross"   // 10 Gbit/s: the prefix by DHCPv6
)

// Lines lists them.
var Lines = []Line{Next, NextRA, Cross}

// Config is what the line hands out.
type Config struct {
	Line   Line
	Prefix netip.Prefix // delegated, or on the link on NextRA
	IPv4   netip.Addr   // the line's own
	BR     netip.Addr

	// The account: what the router is expected to know.
	SharedSecret, Password string

	// The router on the port: its WAN MAC makes its link-local address, by which
	// the delegated prefix is routed. On NEXT it is also the MAC in its request.
	RouterMAC net.HardwareAddr
	// AuthMAC is the MAC expected in the request (attribute 1), in the lower-case
	// colon form.
	AuthMAC net.HardwareAddr

	T1, T2, Preferred, Valid time.Duration

	// Phone: there is a telephone network beside the line's own, which on PhoneClosed has
	// an address for nobody, and refuses who has one. Number is what DHCPv6 tells of it,
	// to whoever brings NTT's vendor class; with "" it tells nothing.
	Phone, PhoneClosed bool
	Number             string
}

// Addresses of the carrier that no Config changes.
var (
	RADIUS = netip.MustParseAddrPort("[2001:db8:a0::1812]:1812")
	// Host is an IPv4 host behind the BR.
	Host = netip.MustParseAddr("198.51.100.1")
	dns6 = netip.MustParseAddr("2001:db8:a0::53")
	sntp = netip.MustParseAddr("2001:db8:a0::123")
	sip  = netip.MustParseAddr("2001:db8:a0::5060")
)

// The telephone network.
var (
	PhoneAddress = netip.MustParsePrefix("203.0.113.2/30") // the router's
	PhoneGateway = netip.MustParseAddr("203.0.113.1")
	PhoneRoute   = netip.MustParsePrefix("203.0.113.128/25")
	PhoneSIP     = netip.MustParseAddr("203.0.113.129")
	PhoneSIP6    = sip
)

// What the telephone network tells besides.
const (
	PhoneNumber  = "0312345678"
	PhoneNumber2 = "0312345679"
	PhoneDomain  = "ims.example"
)

// routerMAC is the WAN MAC that NewNetwork gives its router.
var routerMAC = net.HardwareAddr{0x00, 0x00, 0x5e, 0x00, 0x53, 0x01}

// Default is a whole line for the router of NewNetwork.
func Default(line Line) Config {
	c := Config{
		Line:         line,
		Prefix:       netip.MustParsePrefix("2001:db8:12:3400::/56"),
		IPv4:         netip.MustParseAddr("192.0.2.7"),
		BR:           netip.MustParseAddr("2001:db8:b0::1919"),
		SharedSecret: "a made-up shared secret",
		Password:     "a made-up password",
		RouterMAC:    routerMAC,
		AuthMAC:      routerMAC,
		T1:           7200 * time.Second, T2: 10800 * time.Second,
		Preferred: 12600 * time.Second, Valid: 14400 * time.Second,
		Phone: line != NextRA, Number: PhoneNumber,
	}
	if line == NextRA {
		c.Prefix = netip.PrefixFrom(c.Prefix.Addr(), 64)
	}
	return c
}

// CE is the router's end of the tunnel, by the line's convention.
func (c Config) CE() netip.Addr {
	a := c.Prefix.Masked().Addr().As16()
	if c.Line == Cross {
		// 00AA:BBCC:DD00:0000 for A.B.C.D.
		ip := c.IPv4.As4()
		copy(a[8:], []byte{0, ip[0], ip[1], ip[2], ip[3], 0, 0, 0})
	} else {
		for i := 8; i < 16; i++ {
			a[i] = 0x11
		}
	}
	return netip.AddrFrom16(a)
}

// UserName is whom the line's account belongs to.
func (c Config) UserName() string {
	if c.Line == Cross {
		return c.Prefix.Masked().Addr().StringExpanded()[:len("xxxx:xxxx:xxxx:xxxx")]
	}
	return c.CE().StringExpanded()
}

// router is the router's link-local address (EUI-64).
func (c Config) router() netip.Addr {
	m := c.RouterMAC
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]})
}

// identity is what a router of this line says of itself: attributes 1 to 4.
func (c Config) identity() [4]string {
	if c.Line == Cross {
		return [4]string{c.AuthMAC.String(), "NTT-AT", "BAPP", "hw_rev_1.00"}
	}
	return [4]string{c.AuthMAC.String(), "foxconn", "e-wmta2.3,V5.0.0.1.rc35", "hw_rev_2.00"}
}

// radvdConf: with DHCPv6 the flags M and O and no prefix, without it the /64.
func (c Config) radvdConf(dev string) string {
	pd := "off"
	if c.Line != NextRA {
		pd = "on"
	}
	var b strings.Builder
	fmt.Fprintf(&b, `interface %s {
	AdvSendAdvert on;
	MinRtrAdvInterval 60;
	MaxRtrAdvInterval 180;
	AdvManagedFlag %s;
	AdvOtherConfigFlag on;
	AdvDefaultLifetime 1800;
	AdvReachableTime 300000;
	AdvRetransTimer 10000;
	AdvCurHopLimit 64;
	AdvLinkMTU 1500;
`, dev, pd)
	if c.Line == NextRA {
		fmt.Fprintf(&b, `	prefix %s {
		AdvOnLink on;
		AdvAutonomous on;
		AdvPreferredLifetime %d;
		AdvValidLifetime %d;
	};
`, c.Prefix, seconds(c.Preferred), seconds(c.Valid))
	}
	b.WriteString("};\n")
	return b.String()
}

func seconds(d time.Duration) int { return int(d / time.Second) }

// keaConf. The telephone's options (17) go to whoever sends NTT's vendor class
// (16); all others to whoever asks for them.
func (c Config) keaConf(dev, dir string) string {
	pool := ""
	if c.Line != NextRA {
		pool = fmt.Sprintf(`"pd-pools": [ { "prefix": "%s", "prefix-len": %d, "delegated-len": %[2]d } ],`,
			c.Prefix.Addr(), c.Prefix.Bits())
	}
	classes := ""
	if c.Phone && c.Number != "" {
		classes = fmt.Sprintf(`"client-classes": [ {
		"name": "telephone",
		"test": "vendor-class[210].exists",
		"option-data": [
			{ "name": "vendor-opts", "data": "210" },
			{ "space": "vendor-210", "name": "firmware-host", "data": "fw.example.jp", "always-send": true },
			{ "space": "vendor-210", "name": "main-number", "data": "%s", "always-send": true },
			{ "space": "vendor-210", "name": "terminal-mac", "csv-format": false, "data": "%x", "always-send": true },
			{ "space": "vendor-210", "name": "sip-domain", "data": "ntt-east.example.jp", "always-send": true }
		]
	} ],`, c.Number, []byte(c.AuthMAC))
	}
	return fmt.Sprintf(`{ "Dhcp6": {
	"interfaces-config": { "interfaces": [ "%[1]s" ] },
	"control-socket": { "socket-type": "unix", "socket-name": "%[2]s/kea.sock" },
	"data-directory": "%[2]s",
	"lease-database": { "type": "memfile", "persist": true, "name": "%[2]s/leases", "lfc-interval": 0 },
	"server-id": { "type": "LL", "htype": 1, "identifier": "00005E005300", "persist": false },
	"option-def": [
		{ "space": "vendor-210", "code": 201, "name": "terminal-mac", "type": "binary" },
		{ "space": "vendor-210", "code": 202, "name": "main-number", "type": "string" },
		{ "space": "vendor-210", "code": 204, "name": "sip-domain", "type": "fqdn" },
		{ "space": "vendor-210", "code": 210, "name": "firmware-host", "type": "fqdn" }
	],
	%[3]s
	"option-data": [
		{ "name": "sip-server-addr", "data": "%[4]s" },
		{ "name": "dns-servers", "data": "%[5]s" },
		{ "name": "domain-search", "data": "flets.example.jp, iptv.example.jp" },
		{ "name": "sntp-servers", "data": "%[6]s" }
	],
	"renew-timer": %[7]d, "rebind-timer": %[8]d, "preferred-lifetime": %[9]d, "valid-lifetime": %[10]d,
	"subnet6": [ { "id": 1, "interface": "%[1]s", %[11]s "subnet": "2001:db8::/32" } ],
	"loggers": [ { "name": "kea-dhcp6", "severity": "INFO", "output_options": [ { "output": "stdout" } ] } ]
} }
`, dev, dir, classes, sip, dns6, sntp,
		seconds(c.T1), seconds(c.T2), seconds(c.Preferred), seconds(c.Valid), pool)
}

// PhoneConf is the configuration of Kea's dhcp4 for the telephone network on a device; it
// keeps its files in dir. Who brings no vendor class of NTT's gets nothing. What is not to
// be taken from there is offered too: a default route, twice, and a name server.
func (c Config) PhoneConf(dev, dir string) string {
	subnet, pool := PhoneAddress.Masked(), fmt.Sprintf(`"pools": [ { "pool": "%[1]s - %[1]s" } ],`, PhoneAddress.Addr())
	if c.PhoneClosed {
		subnet, pool = netip.MustParsePrefix("203.0.113.64/30"), ""
	}
	return fmt.Sprintf(`{ "Dhcp4": {
	"interfaces-config": { "interfaces": [ "%[1]s" ], "dhcp-socket-type": "raw", "re-detect": false },
	"lease-database": { "type": "memfile", "persist": true, "name": "%[2]s/phone-leases", "lfc-interval": 0 },
	"control-socket": { "socket-type": "unix", "socket-name": "%[2]s/phone.sock" },
	"option-def": [
		{ "code": 120, "name": "sip", "type": "binary" },
		{ "code": 121, "name": "routes", "type": "binary" },
		{ "space": "vendor-210", "code": 201, "name": "terminal-mac", "type": "binary" },
		{ "space": "vendor-210", "code": 202, "name": "main-number", "type": "string" },
		{ "space": "vendor-210", "code": 203, "name": "further-number", "type": "string" },
		{ "space": "vendor-210", "code": 204, "name": "sip-domain", "type": "fqdn" }
	],
	"client-classes": [ { "name": "telephone", "test": "vendor-class[210].exists" } ],
	"authoritative": true,
	"renew-timer": 7200, "rebind-timer": 10800, "valid-lifetime": 14400,
	"decline-probation-period": 1, "expired-leases-processing": { "reclaim-timer-wait-time": 1 },
	"subnet4": [ {
		"id": 1, "interface": "%[1]s", "subnet": "%[3]s", "client-class": "telephone", %[4]s
		"option-data": [
			{ "name": "routers", "data": "%[5]s" },
			{ "name": "domain-name-servers", "data": "%[5]s", "always-send": true },
			{ "name": "sip", "csv-format": false, "data": "01%[6]x" },
			{ "name": "routes", "csv-format": false, "data": "%[7]x" },
			{ "name": "vivso-suboptions", "data": "210" },
			{ "space": "vendor-210", "name": "terminal-mac", "csv-format": false, "data": "%[8]x", "always-send": true },
			{ "space": "vendor-210", "name": "main-number", "data": "%[9]s", "always-send": true },
			{ "space": "vendor-210", "name": "further-number", "data": "%[10]s", "always-send": true },
			{ "space": "vendor-210", "name": "sip-domain", "data": "%[11]s", "always-send": true }
		]
	} ],
	"loggers": [ { "name": "kea-dhcp4", "severity": "INFO", "output_options": [ { "output": "stdout" } ] } ]
} }
`, dev, dir, subnet, pool, PhoneGateway, PhoneSIP.AsSlice(), append(classless(PhoneRoute), classless(netip.PrefixFrom(netip.IPv4Unspecified(), 0))...),
		[]byte(c.RouterMAC), PhoneNumber, PhoneNumber2, PhoneDomain)
}

// classless is a route through PhoneGateway as option 121 has it (RFC 3442).
func classless(p netip.Prefix) []byte {
	destination := append([]byte{byte(p.Bits())}, p.Addr().AsSlice()[:(p.Bits()+7)/8]...)
	return append(destination, PhoneGateway.AsSlice()...)
}

// radiusConf is FreeRADIUS's whole configuration besides the users.
func (c Config) radiusConf(dir string) string {
	return fmt.Sprintf(`
prefix = /usr
libdir = /usr/lib/freeradius
raddbdir = %[1]s
logdir = %[1]s
run_dir = %[1]s
db_dir = %[1]s
pidfile = %[1]s/radiusd.pid
max_request_time = 5
security {
	reject_delay = 0
}
client subscribers {
	ipv6addr = ::/0
	secret = "%[2]s"
}
modules {
	chap {
	}
	files {
		filename = %[1]s/users
	}
}
server carrier {
	listen {
		type = auth
		ipv6addr = %[3]s
		port = %[4]d
	}
	authorize {
		chap
		files
	}
	authenticate {
		Auth-Type CHAP {
			chap
		}
	}
}
`, dir, c.SharedSecret, RADIUS.Addr(), RADIUS.Port())
}

// radiusUsers: the one account, which has to introduce itself as the line's
// routers do, and a word for everybody else.
func (c Config) radiusUsers() string {
	id := c.identity()
	return fmt.Sprintf(`%s	Cleartext-Password := "%s", SoftBankBB-MAC == "%s", SoftBankBB-Manufacturer == "%s", SoftBankBB-Model == "%s", SoftBankBB-HW-Revision == "%s"
	SoftBankBB-IPv4-Address = %s,
	SoftBankBB-BR-IPv6-Address = %s,
	SoftBankBB-DNS-IPv6-1 = %s,
	SoftBankBB-DNS-IPv4-1 = %[10]s,
	SoftBankBB-ICMP-Check-Switch = 1,
	SoftBankBB-ICMP-Check-IPv4 = %[10]s,
	SoftBankBB-ICMP-Check-Interval = 60

DEFAULT	Auth-Type := Reject
	Reply-Message = "no such line, or not as it introduces itself"
`, c.UserName(), c.Password, id[0], id[1], id[2], id[3], c.IPv4, c.BR, dns6, Host)
}
