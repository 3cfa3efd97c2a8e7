package config

import (
	"net/netip"
	"strings"
	"time"
)

// ReqPrefix is where the line's prefix is to come from.
type ReqPrefix string

const (
	// ReqPrefixAuto asks for a prefix of any length; a line that delegates none
	// may advertise one.
	ReqPrefixAuto ReqPrefix = "auto"
	// ReqPrefixNo asks for none.
	ReqPrefixNo ReqPrefix = "no"
	// ReqPrefixLength asks for a prefix of Common.PrefixLength.
	ReqPrefixLength ReqPrefix = "length"
)

// Common are the options that no carrier has a say in. A field's comment names
// its option where the names differ, its unit, range and default.
type Common struct {
	// Device is the Linux network device of the WAN (option device, or its older
	// name ifname): 1 to 15 characters. Required.
	Device string

	// ReqPrefix is whether to ask for a delegated prefix (option reqprefix: auto,
	// no, or a length from 48 to 64). Default auto.
	ReqPrefix ReqPrefix
	// PrefixLength is the length that reqprefix asks for, 48 to 64, 0 without
	// ReqPrefixLength.
	PrefixLength int
	// IAID identifies the prefix's identity association to the server (RFC 8415
	// 4.2). Default 1.
	IAID uint32
	// ClientID is the DUID with its type (option clientid), 3 to 130 bytes in hex
	// (RFC 8415 11.1). Default empty: the DUID-LL of the MAC.
	ClientID []byte
	// NoRelease keeps the prefix on the way out instead of giving it back, since
	// a carrier may take long to hand out the next one. Default true.
	NoRelease bool
	// UnauthReconfigure: a Reconfigure of the lease's own server is obeyed though
	// it is not authenticated (option unauth_reconfigure), against RFC 8415
	// 16.11. Default false.
	UnauthReconfigure bool
	// StrictRFC keeps the waiting times of the RFCs that a line with one carrier
	// need not wait for (option strict_rfc). Default false.
	StrictRFC bool

	// InterfaceID is the lower half of the router's own WAN address made from an
	// advertised prefix (option ip6ifaceid: eui64, or an identifier like ::1).
	// Default zero, for eui64: made from the device's MAC.
	InterfaceID [8]byte

	// MTU of the tunnel in bytes, 576 to 9000. Default 0: derived from the
	// WAN's. 576 is what every IPv4 host takes (RFC 791 3.2), and nothing the WAN
	// carries is larger than a jumbo frame.
	MTU int
	// TTL is the hop limit of the tunnel's outer packets, 1 to 255. Default 64.
	TTL int
	// EncapLimit is the tunnel encapsulation limit (RFC 2473 4.1.1; option
	// encaplimit: 0 to 255, or ignore). Default -1, for ignore: the outer packets
	// carry no such option.
	EncapLimit int

	// DefaultRoute: IPv4 and IPv6 default routes are installed. Default true.
	DefaultRoute bool
	// Metric of the routes installed, 0 to 1073741824: a less preferred route gets a
	// higher one. Default 0.
	Metric int
	// PeerDNS: the name servers that the line names are used. Default true.
	PeerDNS bool

	// AuthInterval is how long an authentication holds before the next is asked
	// for (option auth_interval in seconds: 60 to 31536000, or 0). Default 86400,
	// a day; 0 is never.
	AuthInterval time.Duration
	// EchoTarget is the IPv4 host to which echo requests go through the tunnel
	// (option echo_target). Default invalid: none of the user's choice.
	EchoTarget netip.Addr
}

// Common reads the options of Common, whose names are the fields' in lower case
// where no comment says otherwise. A device, say of a command line flag, that is
// not empty is taken in the place of the section's.
func (s *Section) Common(device string) Common {
	c := Common{
		Device:            s.device(device),
		IAID:              s.Uint32("iaid", 1),
		ClientID:          s.Hex("clientid", 3, 130),
		NoRelease:         s.Bool("norelease", true),
		UnauthReconfigure: s.Bool("unauth_reconfigure", false),
		StrictRFC:         s.Bool("strict_rfc", false),
		MTU:               s.Int("mtu", 0, 576, 9000),
		TTL:               s.Int("ttl", 64, 1, 255),
		ReqPrefix:         ReqPrefixAuto,
		EncapLimit:        -1,
		DefaultRoute:      s.Bool("defaultroute", true),
		Metric:            s.Int("metric", 0, 0, 1<<30),
		PeerDNS:           s.Bool("peerdns", true),
		EchoTarget:        s.Addr4("echo_target"),
	}
	switch s.String("reqprefix", "auto") {
	case "auto":
	case "no":
		c.ReqPrefix = ReqPrefixNo
	default:
		c.ReqPrefix = ReqPrefixLength
		c.PrefixLength = int(s.number("reqprefix", 0, 48, 64, "auto, no, "))
	}
	if s.String("encaplimit", "ignore") != "ignore" {
		c.EncapLimit = int(s.number("encaplimit", -1, 0, 255, "ignore, "))
	}
	if s.String("ip6ifaceid", "eui64") != "eui64" {
		c.InterfaceID = s.iid("ip6ifaceid", [8]byte{}, "eui64, ")
	}
	seconds := int64(0)
	if s.String("auth_interval", "") != "0" {
		seconds = s.number("auth_interval", 86400, 60, 365*86400, "0, ")
	}
	c.AuthInterval = time.Duration(seconds) * time.Second
	return c
}

// device reads the WAN's network device, unless it is given.
func (s *Section) device(given string) string {
	opt := "device"
	switch {
	case given != "":
		return s.checkDevice(opt, given)
	case !s.Has(opt) && s.Has("ifname"):
		opt = "ifname"
	case !s.Require(opt, "the network device of the WAN, like eth0"):
		return ""
	}
	return s.Device(opt)
}

// Device accepts the name of a network device by the kernel's rule, "" when absent.
func (s *Section) Device(opt string) string {
	v, ok := s.scalar(opt)
	if !ok {
		return ""
	}
	return s.checkDevice(opt, v)
}

func (s *Section) checkDevice(opt, v string) string {
	switch {
	case v[0] == '@':
		s.invalid(opt, v, "a network device like eth0 (not an alias of another interface)")
		return ""
	case len(v) > 15 || v == "." || v == ".." || strings.ContainsFunc(v, func(r rune) bool {
		return r <= ' ' || r == '/' || r == ':' || r >= 0x7f
	}):
		s.invalid(opt, v, "one network device like eth0, 1 to 15 characters")
		return ""
	}
	return v
}
