package learn

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"sofutobanku/internal/capture"
	"sofutobanku/internal/config"
	"sofutobanku/internal/ntt"
	"sofutobanku/internal/softbank"
)

// What of RADIUS matters here (RFC 2865, RFC 2869).
const (
	codeRequest, codeAccept, codeReject = 1, 2, 3

	attrUserName       = 1
	attrCHAPPassword   = 3
	attrVendorSpecific = 26
	attrCHAPChallenge  = 60
	attrSignature      = 80 // Message-Authenticator

	header   = 20
	authPort = 1812
)

// enterprise is SoftBank BB's number.
const enterprise = 22197

// Vendors is what the values of NTT's and SoftBank's own options are, for a
// capture.Redactor. What is not in it is hidden.
func Vendors() capture.Vendors {
	return capture.Vendors{
		ntt.Enterprise: {
			ntt.CodeMAC: capture.MAC, ntt.CodeMain: capture.Digits, ntt.CodeNumber: capture.Digits,
			ntt.CodeDomain: capture.Plain, ntt.CodeHost: capture.Plain,
		},
		enterprise: {
			1: capture.Text, 2: capture.Plain, 3: capture.Plain, 4: capture.Plain, 18: capture.Text,
			176: capture.Plain, 198: capture.Addr, 199: capture.Addr, 203: capture.Addr, 204: capture.Addr,
			205: capture.Addr, 206: capture.Addr, 207: capture.Addr, 210: capture.Plain, 211: capture.Addr, 212: capture.Plain,
		},
	}
}

// ErrNothing is returned for a capture without a unit that connects.
var ErrNothing = errors.New("no packet of a unit that connects: a capture is needed that begins before the unit is switched on and ends when IPv4 works")

// setting is an option of an interface.
type setting struct{ name, value string }

// lesson is what a capture tells of the unit in it.
type lesson struct {
	unit  net.HardwareAddr // on the wire
	asked bool             // a RADIUS request was seen, and so the following
	o     softbank.Options
	// common are the options that are none of softbank.Options.
	common []setting
	// odd is what differs from the profile and no option can make.
	odd []string
	// answers are how often which answer to an Access-Request came.
	answers map[string]int
}

// Text is what frames tell, as a file of UCI: the interface, and in comments what it
// rests on and what differs from the built-in profile of the line. The latter holds no
// address and no number, so that it can be published. device names the WAN's device, ""
// for a placeholder; comment is what the capture says of itself.
func Text(frames []capture.Frame, device, comment string) (string, error) {
	l, err := from(frames)
	if err != nil {
		return "", err
	}
	redactor := capture.NewRedactor(Vendors())
	public := make([]capture.Frame, len(frames))
	for i, f := range frames {
		public[i] = redactor.Frame(f)
	}
	p, err := from(public)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, "# "+format+"\n", args...) }
	say("Learned from %d packets: %s.", len(frames), summary(frames))
	if strings.HasPrefix(comment, "redacted") {
		say("The capture is redacted: the addresses below stand for others.")
	}
	switch n := len(l.answers); {
	case !l.asked:
		say("No RADIUS request is among them: line, auth_server and what belongs to it are missing.")
	case n == 0:
		say("The RADIUS request was not answered: it may not be what the line wants.")
	case l.answers["Access-Accept"] == 0:
		say("No RADIUS request was accepted: it may not be what the line wants.")
	}
	say("The two secrets are in no capture: put them in, and the WAN's device.")
	say("clientid keeps the unit's lease: never connect both at once.")
	b.WriteString(l.stanza(device))
	b.WriteString(p.report())
	return b.String(), nil
}

// summary counts frames by what they are.
func summary(frames []capture.Frame) string {
	counts := map[string]int{}
	var names []string
	for _, f := range frames {
		name := f.Name()
		if counts[name] == 0 {
			names = append(names, name)
		}
		counts[name]++
	}
	for i, name := range names {
		names[i] = fmt.Sprintf("%d %s", counts[name], name)
	}
	return strings.Join(names, ", ")
}

// from reads the lesson of frames, which are in the order of time.
func from(frames []capture.Frame) (*lesson, error) {
	l := &lesson{answers: map[string]int{}}
	requests := slices.DeleteFunc(slices.Clone(frames), func(f capture.Frame) bool {
		return f.Kind != capture.RADIUS || f.Payload[0] != codeRequest
	})
	asks := slices.DeleteFunc(slices.Clone(frames), func(f capture.Frame) bool { return !clientMessage(f) })
	switch {
	case len(requests) > 0:
		l.unit = requests[0].SrcMAC
	case len(asks) > 0:
		l.unit = asks[0].SrcMAC
	default:
		return nil, ErrNothing
	}
	another := func(f capture.Frame) bool { return !bytes.Equal(f.SrcMAC, l.unit) }
	if slices.ContainsFunc(requests, another) || slices.ContainsFunc(asks, another) {
		l.oddf("Several devices ask; this is about the first that asked RADIUS, or else DHCPv6.")
	}
	requests, asks = slices.DeleteFunc(requests, another), slices.DeleteFunc(asks, another)
	net := l.network(frames)
	l.dhcpv6(asks, net)
	l.radius(frames, requests, net)
	return l, nil
}

func (l *lesson) oddf(format string, args ...any) {
	if s := fmt.Sprintf(format, args...); !slices.Contains(l.odd, s) && len(l.odd) < 40 {
		l.odd = append(l.odd, s)
	}
}

// network is what the carrier told the unit.
type network struct {
	prefix   netip.Prefix     // delegated, or advertised, or not valid
	terminal net.HardwareAddr // suboption 201, or nil
	managed  bool             // the advertisement's M
}

func (l *lesson) network(frames []capture.Frame) network {
	var n network
	delegated := false
	for _, f := range frames {
		switch {
		case f.Kind == capture.RouterAdvertisement:
			n.managed = n.managed || f.Payload[5]&0x80 != 0
			if p, ok := advertised(f); ok && !delegated {
				n.prefix = p
			}
		case f.Kind == capture.DHCPv6 && f.Payload[0] == 7 && bytes.Equal(f.DstMAC, l.unit):
			for _, o := range options6(f.Payload[4:]) {
				switch {
				case o.Code == 25 && len(o.Data) >= 12:
					for _, p := range options6(o.Data[12:]) {
						if prefix, ok := iaPrefix(p); ok && binary.BigEndian.Uint32(p.Data[4:]) > 0 {
							n.prefix, delegated = prefix, true
						}
					}
				case o.Code == 17 && len(o.Data) >= 4 && binary.BigEndian.Uint32(o.Data) == ntt.Enterprise:
					subs, _ := ntt.ParseDHCPv6(o.Data[4:])
					if info, _ := ntt.Interpret(subs); info.MAC != nil {
						n.terminal = info.MAC
					}
				}
			}
		}
	}
	return n
}

// advertised is the first prefix of a router advertisement.
func advertised(f capture.Frame) (netip.Prefix, bool) {
	for b := f.Payload[16:]; len(b) >= 8 && b[1] > 0 && len(b) >= 8*int(b[1]); b = b[8*int(b[1]):] {
		if b[0] == 3 && b[1] == 4 && b[2] == 64 {
			return netip.PrefixFrom(netip.AddrFrom16([16]byte(b[16:32])), 64).Masked(), true
		}
	}
	return netip.Prefix{}, false
}

// iaPrefix reads an IAPREFIX option of a length that a line can have.
func iaPrefix(o capture.Option) (netip.Prefix, bool) {
	if o.Code != 26 || len(o.Data) < 25 || o.Data[8] > 64 {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(netip.AddrFrom16([16]byte(o.Data[9:25])), int(o.Data[8])).Masked(), true
}

// options6 are the options that can be read.
func options6(b []byte) []capture.Option {
	list, _ := capture.DHCPv6Options(b)
	return list
}

// stanza is the interface.
func (l *lesson) stanza(device string) string {
	var b strings.Builder
	b.WriteString("config interface 'wan'\n")
	put := func(name, value string) {
		fmt.Fprintf(&b, "\toption %s '%s'\n", name, strings.ReplaceAll(value, "'", `'\''`))
	}
	put("proto", "sofutobanku")
	put("device", cmp.Or(device, "eth1"))
	if l.asked {
		put("line", string(l.o.Line))
		for _, s := range l.o.Servers {
			text := s.String()
			if s.Port() == authPort {
				text = s.Addr().String()
			}
			fmt.Fprintf(&b, "\tlist auth_server '%s'\n", text)
		}
		put("shared_secret", SharedSecret)
		put("password", Password)
		for _, s := range l.radiusSettings() {
			put(s.name, s.value)
		}
	}
	for _, s := range l.common {
		put(s.name, s.value)
	}
	return b.String()
}

// The placeholders of what no capture holds.
const (
	SharedSecret = "SHARED-SECRET"
	Password     = "PASSWORD"
)

// radiusSettings are the options in which o differs from the line's defaults.
func (l *lesson) radiusSettings() []setting {
	var list []setting
	d, o := softbank.Defaults(l.o.Line), l.o
	add := func(name, value, def string) {
		if value != def {
			list = append(list, setting{name, value})
		}
	}
	if o.MAC != nil {
		add("mac", o.MAC.String(), "")
	}
	add("mac_format", string(o.MACFormat), string(d.MACFormat))
	add("username", o.Username, "")
	if o.IID != d.IID {
		add("iid", iidText(o.IID), "")
		d.AuthIID = o.IID
	}
	add("auth_iid", iidText(o.AuthIID), iidText(d.AuthIID))
	add("manufacturer", o.Manufacturer, d.Manufacturer)
	add("model", o.Model, d.Model)
	add("hwrev", o.HWRevision, d.HWRevision)
	packing := map[bool]string{false: "separate", true: "single"}
	add("vsa_packing", packing[o.SinglePacking], packing[d.SinglePacking])
	add("chap_ident", fmt.Sprint(o.CHAPIdent), fmt.Sprint(d.CHAPIdent))
	if o.SendMessageAuthenticator {
		add("send_message_authenticator", "1", "")
	}
	return list
}

func iidText(iid softbank.InterfaceID) string {
	var parts []string
	for i := 0; i < 8; i += 2 {
		parts = append(parts, fmt.Sprintf("%x", binary.BigEndian.Uint16(iid[i:])))
	}
	return strings.Join(parts, ":")
}

// personal are options whose values are each subscriber's own, and no difference from a
// profile.
var personal = []string{"clientid", "mac"}

// report is what differs from the profile, in comments.
func (l *lesson) report() string {
	var b strings.Builder
	if !l.asked {
		fmt.Fprintf(&b, "#\n# What differs from sofu-proto's own DHCPv6, for a bug report:\n")
	} else {
		fmt.Fprintf(&b, "#\n# What differs from sofu-proto's profile '%s', for a bug report (addresses are\n# replaced, and what is not known is zeros):\n", l.o.Line)
	}
	n := 0
	say := func(s string) { n++; fmt.Fprintf(&b, "#   %s\n", s) }
	list := l.common
	if l.asked {
		list = append(l.radiusSettings(), list...)
	}
	for _, s := range list {
		if !slices.Contains(personal, s.name) {
			say(fmt.Sprintf("option %s '%s'", s.name, s.value))
		}
	}
	for _, s := range l.odd {
		say(s)
	}
	if n == 0 {
		say("nothing")
	}
	return b.String()
}

// usable tells whether an option can have the value.
func usable(v string) bool {
	return v != "" && utf8.ValidString(v) && v == strings.TrimSpace(v) &&
		!strings.ContainsFunc(v, func(r rune) bool { return !unicode.IsPrint(r) })
}

// secret is a Secret of a text that is none.
func secret(s string) config.Secret { return config.NewSecret(s) }
