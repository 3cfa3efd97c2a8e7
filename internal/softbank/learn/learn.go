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

// Lesson is what a capture tells of the unit in it.
type Lesson struct {
	// Remarks are what it rests on, for a person.
	Remarks []string `json:"remarks"`
	// Options are those of the interface.
	Options []Option `json:"options"`
	// Profile is the line whose profile the unit was compared with, "" when the capture
	// has no RADIUS.
	Profile softbank.Line `json:"profile"`
	// Differences are what the unit does otherwise. They hold no address and no number,
	// so that they can be published.
	Differences []string `json:"differences"`
}

// Option is an option of an interface. Several values are a list.
type Option struct {
	Name   string   `json:"name"`
	Values []string `json:"values"`
}

// finding is what a capture tells of the unit in it, before it is put in words.
type finding struct {
	unit  net.HardwareAddr // on the wire
	asked bool             // a RADIUS request was seen, and so the following
	o     softbank.Options
	// common are the options that are none of softbank.Options.
	common []Option
	// odd is what differs from the profile and no option can make.
	odd []string
	// answers are how often which answer to an Access-Request came.
	answers map[string]int
}

// Learn tells what frames tell. device names the WAN's device, "" for a placeholder;
// comment is what the capture says of itself.
func Learn(frames []capture.Frame, device, comment string) (*Lesson, error) {
	f, err := from(frames)
	if err != nil {
		return nil, err
	}
	redactor := capture.NewRedactor(Vendors())
	public := make([]capture.Frame, len(frames))
	for i, f := range frames {
		public[i] = redactor.Frame(f)
	}
	p, err := from(public)
	if err != nil {
		return nil, err
	}
	l := &Lesson{Profile: f.o.Line, Options: f.options(device), Differences: p.differences()}
	say := func(format string, args ...any) { l.Remarks = append(l.Remarks, fmt.Sprintf(format, args...)) }
	say("Learned from %d packets: %s.", len(frames), summary(frames))
	if comment == capture.Redacted {
		say("The capture is redacted: the addresses below stand for others.")
	}
	switch {
	case !f.asked:
		say("No RADIUS request is among them: line, auth_server and what belongs to it are missing.")
	case len(f.answers) == 0:
		say("The RADIUS request was not answered: it may not be what the line wants.")
	case f.answers["Access-Accept"] == 0:
		say("No RADIUS request was accepted: it may not be what the line wants.")
	}
	say("The two secrets are in no capture: put them in, and the WAN's device.")
	say("clientid keeps the unit's lease: never connect both at once.")
	return l, nil
}

// Text is the lesson as a file of UCI: the interface, and all else in comments.
func (l *Lesson) Text() string {
	var b strings.Builder
	for _, r := range l.Remarks {
		fmt.Fprintf(&b, "# %s\n", r)
	}
	b.WriteString("config interface 'wan'\n")
	for _, o := range l.Options {
		keyword := "option"
		if o.Name == "auth_server" {
			keyword = "list"
		}
		for _, v := range o.Values {
			fmt.Fprintf(&b, "\t%s %s '%s'\n", keyword, o.Name, strings.ReplaceAll(v, "'", `'\''`))
		}
	}
	with := fmt.Sprintf("profile '%s'", l.Profile)
	if l.Profile == "" {
		with = "own DHCPv6"
	}
	fmt.Fprintf(&b, "#\n# What differs from sofu-proto's %s, for a bug report (addresses are\n# replaced, and what is not known is zeros):\n", with)
	for _, d := range l.Differences {
		fmt.Fprintf(&b, "#   %s\n", d)
	}
	if len(l.Differences) == 0 {
		b.WriteString("#   nothing\n")
	}
	return b.String()
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

// from reads what is in frames, which are in the order of time.
func from(frames []capture.Frame) (*finding, error) {
	l := &finding{answers: map[string]int{}}
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

func (l *finding) oddf(format string, args ...any) {
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

func (l *finding) network(frames []capture.Frame) network {
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

// options are those of the interface.
func (l *finding) options(device string) []Option {
	list := []Option{option("proto", "sofutobanku"), option("device", cmp.Or(device, "eth1"))}
	if l.asked {
		servers := Option{Name: "auth_server"}
		for _, s := range l.o.Servers {
			text := s.String()
			if s.Port() == authPort {
				text = s.Addr().String()
			}
			servers.Values = append(servers.Values, text)
		}
		list = append(list, option("line", string(l.o.Line)), servers, option("shared_secret", SharedSecret), option("password", Password))
		list = append(list, l.radiusOptions()...)
	}
	return append(list, l.common...)
}

func option(name, value string) Option { return Option{name, []string{value}} }

// The placeholders of what no capture holds.
const (
	SharedSecret = "SHARED-SECRET"
	Password     = "PASSWORD"
)

// radiusOptions are the options in which o differs from the line's defaults.
func (l *finding) radiusOptions() []Option {
	var list []Option
	d, o := softbank.Defaults(l.o.Line), l.o
	add := func(name, value, def string) {
		if value != def {
			list = append(list, option(name, value))
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

// differences are what differs from the profile.
func (l *finding) differences() []string {
	options := l.common
	if l.asked {
		options = append(l.radiusOptions(), options...)
	}
	list := []string{}
	for _, o := range options {
		if !slices.Contains(personal, o.Name) {
			list = append(list, fmt.Sprintf("option %s '%s'", o.Name, o.Values[0]))
		}
	}
	return append(list, l.odd...)
}

// usable tells whether an option can have the value.
func usable(v string) bool {
	return v != "" && utf8.ValidString(v) && v == strings.TrimSpace(v) &&
		!strings.ContainsFunc(v, func(r rune) bool { return !unicode.IsPrint(r) })
}

// secret is a Secret of a text that is none.
func secret(s string) config.Secret { return config.NewSecret(s) }
