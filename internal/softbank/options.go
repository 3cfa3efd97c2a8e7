package softbank

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"sofutobanku/internal/config"
)

// Line is the kind of a line; it chooses the defaults of Options and the order
// of a request's attributes.
type Line string

// The lines.
const (
	NEXT  Line = "next"  // 1 Gbit/s
	CROSS Line = "cross" // 10 Gbit/s
)

// MACFormat is how a MAC address is written in an Access-Request.
type MACFormat string

// The formats, by the letters' case and what separates the bytes.
const (
	LowerColon  MACFormat = "lower-colon"  // 00:00:5e:00:53:0a
	UpperColon  MACFormat = "upper-colon"  // 00:00:5E:00:53:0A
	LowerHyphen MACFormat = "lower-hyphen" // 00-00-5e-00-53-0a
	UpperHyphen MACFormat = "upper-hyphen" // 00-00-5E-00-53-0A
	LowerPlain  MACFormat = "lower-plain"  // 00005e00530a
	UpperPlain  MACFormat = "upper-plain"  // 00005E00530A
)

// Format writes mac in the format f.
func (f MACFormat) Format(mac net.HardwareAddr) string {
	letters, separator, _ := strings.Cut(string(f), "-")
	s := mac.String()
	switch separator {
	case "hyphen":
		s = strings.ReplaceAll(s, ":", "-")
	case "plain":
		s = hex.EncodeToString(mac)
	}
	if letters == "upper" {
		s = strings.ToUpper(s)
	}
	return s
}

// InterfaceID is the lower half of an IPv6 address (RFC 4291 2.5.1).
type InterfaceID = [8]byte

// ones is the interface identifier 1111:1111:1111:1111, the carrier's own.
var ones = InterfaceID{0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11}

// Options is all that the configuration says about the carrier. Defaults makes
// a line's own; every field can be changed from there.
type Options struct {
	Line Line

	// Servers are asked in turn, at most MaxServers of them.
	Servers      []netip.AddrPort
	SharedSecret config.Secret // of the RADIUS exchange
	Password     config.Secret // of CHAP

	// MAC is sent as attribute 1. When nil it is the telephone terminal's as
	// DHCPv6 told it on NEXT, and else the WAN's own.
	MAC       net.HardwareAddr
	MACFormat MACFormat

	// Username is sent verbatim when it is not empty.
	Username string

	// IID is the interface identifier of the tunnel's local address. IIDFromIPv4
	// derives it from the granted IPv4 address instead (CROSS only).
	IID         InterfaceID
	IIDFromIPv4 bool
	// AuthIID is the interface identifier of the address from which the
	// servers are asked.
	AuthIID InterfaceID

	Manufacturer string // attribute 2
	Model        string // attribute 3
	HWRevision   string // attribute 4

	// SinglePacking sends attributes 1 to 4 in one Vendor-Specific attribute
	// instead of one each.
	SinglePacking bool
	CHAPIdent     byte

	// RequireMessageAuthenticator drops replies without a Message-Authenticator
	// (RFC 3579 3.2) from the start; without it they are dropped once the
	// server has sent a valid one.
	RequireMessageAuthenticator bool
	// SendMessageAuthenticator puts one first into each request.
	SendMessageAuthenticator bool
}

// MaxServers is how many servers one Ask goes round.
const MaxServers = 8

// Defaults returns the options of a line without its servers and secrets.
func Defaults(line Line) Options {
	o := Options{
		Line:         NEXT,
		MACFormat:    LowerColon,
		IID:          ones,
		AuthIID:      ones,
		Manufacturer: "foxconn",
		Model:        "e-wmta2.3,V5.0.0.1.rc35",
		HWRevision:   "hw_rev_2.00",
		CHAPIdent:    1,
	}
	if line == CROSS {
		o.Line = CROSS
		o.IID = InterfaceID{}
		o.IIDFromIPv4 = true
		o.Manufacturer = "NTT-AT"
		o.Model = "BAPP"
		o.HWRevision = "hw_rev_1.00"
		o.SinglePacking = true
		o.CHAPIdent = 0
	}
	return o
}

// Source returns the address from which the servers are asked: AuthIID in the
// first /64 of prefix. It is invalid when prefix is no IPv6 prefix of at most
// 64 bits.
func (o *Options) Source(prefix netip.Prefix) netip.Addr {
	return join(prefix, o.AuthIID)
}

// Local returns the tunnel's local address in the first /64 of prefix. ipv4 is
// the granted address, which matters with IIDFromIPv4 only. The result is
// invalid when it cannot be told: ipv4 is needed and no IPv4 address, or prefix
// is no IPv6 prefix of at most 64 bits.
func (o *Options) Local(prefix netip.Prefix, ipv4 netip.Addr) netip.Addr {
	iid := o.IID
	if o.IIDFromIPv4 {
		if !ipv4.Is4() {
			return netip.Addr{}
		}
		// A.B.C.D becomes 00AA:BBCC:DD00:0000.
		b := ipv4.As4()
		iid = InterfaceID{0, b[0], b[1], b[2], b[3]}
	}
	return join(prefix, iid)
}

// UserName returns the User-Name of the line with this prefix, empty when
// prefix is no IPv6 prefix of at most 64 bits.
func (o *Options) UserName(prefix netip.Prefix) string {
	if o.Username != "" {
		return o.Username
	}
	if o.Line == CROSS {
		if a := join(prefix, InterfaceID{}); a.IsValid() {
			return groups(a, 4)
		}
		return ""
	}
	if a := o.Local(prefix, netip.Addr{}); a.IsValid() {
		return groups(a, 8)
	}
	return ""
}

// groups writes the first n groups of a, each with its leading zeros.
func groups(a netip.Addr, n int) string {
	b := a.As16()
	parts := make([]string, n)
	for i := range parts {
		parts[i] = fmt.Sprintf("%04x", binary.BigEndian.Uint16(b[2*i:]))
	}
	return strings.Join(parts, ":")
}

// join puts iid into the first /64 of prefix.
func join(prefix netip.Prefix, iid InterfaceID) netip.Addr {
	if !prefix.IsValid() || prefix.Bits() > 64 || prefix.Addr().Is4() || prefix.Addr().Is4In6() {
		return netip.Addr{}
	}
	b := prefix.Masked().Addr().As16()
	copy(b[8:], iid[:])
	return netip.AddrFrom16(b)
}

// mac returns the address for attribute 1, nil when there is none.
func (o *Options) mac(req Request) net.HardwareAddr {
	switch {
	case o.MAC != nil:
		return o.MAC
	case o.Line != CROSS && len(req.TerminalMAC) == 6:
		return req.TerminalMAC
	}
	return req.WANMAC
}
