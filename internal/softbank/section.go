package softbank

import (
	"fmt"
	"slices"

	"sofutobanku/internal/config"
)

// authPort is RFC 2865's.
const authPort = 1812

// FromSection reads the carrier's options. What is missing or not accepted is
// recorded in s, for its Err.
//
//	line           next or cross; required
//	auth_server    IPv6 addresses, [address]:port for a port other than 1812; required
//	shared_secret  of RADIUS, 1 to 128 bytes; required
//	password       of CHAP, 1 to 253 bytes; required
//	mac            sent as attribute 1; default see Options.MAC
//	mac_format     lower-colon, upper-colon, lower-hyphen, upper-hyphen, lower-plain, upper-plain
//	username       1 to 253 bytes, verbatim; default made from the prefix
//	iid            interface identifier of the tunnel's local address, on cross also ipv4
//	auth_iid       interface identifier of the address from which is asked; default iid's
//	manufacturer, model, hwrev   attributes 2 to 4, 1 to 247 bytes
//	vsa_packing    separate or single
//	chap_ident     0 to 255
//	require_message_authenticator, send_message_authenticator   booleans, default 0
func FromSection(s *config.Section) Options {
	s.Require("line", "next (1 Gbit/s) or cross (10 Gbit/s), as the contract says")
	o := Defaults(Line(s.Enum("line", string(NEXT), string(NEXT), string(CROSS))))

	const bbUnit = "it can be read off the line's own BB unit"
	if s.Require("auth_server", bbUnit) {
		for _, server := range s.AddrPorts6("auth_server", authPort) {
			if !slices.Contains(o.Servers, server) {
				o.Servers = append(o.Servers, server)
			}
		}
		if len(o.Servers) > MaxServers {
			s.Invalid("auth_server", fmt.Sprintf("at most %d servers", MaxServers))
		}
	}
	if s.Require("shared_secret", bbUnit) {
		o.SharedSecret = s.Secret("shared_secret", 1, 128)
	}
	if s.Require("password", bbUnit) {
		o.Password = s.Secret("password", 1, maxValue)
	}

	o.MAC = s.MAC("mac")
	o.MACFormat = MACFormat(s.Enum("mac_format", string(o.MACFormat),
		string(LowerColon), string(UpperColon), string(LowerHyphen), string(UpperHyphen), string(LowerPlain), string(UpperPlain)))
	o.Username = stringUpTo(s, "username", "", maxValue)

	switch {
	case s.String("iid", "") != "ipv4":
		if s.Has("iid") {
			o.IID, o.IIDFromIPv4 = s.IID("iid", ones), false
			o.AuthIID = o.IID
		}
	case o.Line == CROSS:
		o.IID, o.IIDFromIPv4 = InterfaceID{}, true
	default:
		s.Invalid("iid", "an interface identifier like 1111:1111:1111:1111; ipv4 is for line cross only, as on next the address is asked for by it")
	}
	o.AuthIID = s.IID("auth_iid", o.AuthIID)

	o.Manufacturer = stringUpTo(s, "manufacturer", o.Manufacturer, maxSub)
	o.Model = stringUpTo(s, "model", o.Model, maxSub)
	o.HWRevision = stringUpTo(s, "hwrev", o.HWRevision, maxSub)
	packing := map[bool]string{false: "separate", true: "single"}
	o.SinglePacking = s.Enum("vsa_packing", packing[o.SinglePacking], packing[false], packing[true]) == packing[true]
	if n := len("00:00:5e:00:53:01") + len(o.Manufacturer) + len(o.Model) + len(o.HWRevision); o.SinglePacking && n > maxPacked {
		s.Invalid("vsa_packing", fmt.Sprintf("separate, as mac, manufacturer, model and hwrev are %d bytes, and %d fit into a single one", n, maxPacked))
	}
	o.CHAPIdent = byte(s.Int("chap_ident", int(o.CHAPIdent), 0, 255))
	o.RequireMessageAuthenticator = s.Bool("require_message_authenticator", false)
	o.SendMessageAuthenticator = s.Bool("send_message_authenticator", false)
	return o
}

// stringUpTo reads an option of at most most bytes.
func stringUpTo(s *config.Section, opt, def string, most int) string {
	v := s.String(opt, def)
	if len(v) > most {
		s.Invalid(opt, fmt.Sprintf("1 to %d bytes", most))
		return def
	}
	return v
}
