package learn

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"sofutobanku/internal/capture"
	"sofutobanku/internal/softbank"
)

// orders are the attributes of an Access-Request on each line.
var orders = map[softbank.Line][]uint16{
	softbank.NEXT:  {attrUserName, attrVendorSpecific, attrCHAPChallenge, attrCHAPPassword},
	softbank.CROSS: {attrUserName, attrCHAPPassword, attrVendorSpecific, attrCHAPChallenge},
}

// message is an Access-Request as it is on the wire.
type message struct {
	frame    capture.Frame
	attrs    []capture.Option
	order    []uint16 // of the attributes' types, without repetition and signature
	subs     []capture.Option
	packing  []int // how many of subs are in each Vendor-Specific
	name     string
	password []byte // CHAP's: identifier and response
}

func read(f capture.Frame) message {
	m := message{frame: f}
	m.attrs, _ = capture.Attributes(f.Payload[header:]) // a capture.Frame's can be read
	for _, a := range m.attrs {
		if a.Code != attrSignature && (len(m.order) == 0 || m.order[len(m.order)-1] != a.Code) {
			m.order = append(m.order, a.Code)
		}
		switch {
		case a.Code == attrUserName:
			m.name = string(a.Data)
		case a.Code == attrCHAPPassword:
			m.password = a.Data
		case a.Code == attrVendorSpecific && len(a.Data) >= 4 && binary.BigEndian.Uint32(a.Data) == enterprise:
			subs, _ := capture.Attributes(a.Data[4:])
			m.subs = append(m.subs, subs...)
			m.packing = append(m.packing, len(subs))
		}
	}
	return m
}

// sub is the value of a sub-attribute.
func (m *message) sub(code uint16) string {
	for _, s := range m.subs {
		if s.Code == code {
			return string(s.Data)
		}
	}
	return ""
}

// radius learns from the unit's Access-Requests.
func (l *finding) radius(frames, requests []capture.Frame, net network) {
	if len(requests) == 0 {
		return
	}
	l.asked = true
	// The first that was accepted, or else the first.
	best := requests[0]
	for i := len(requests) - 1; i >= 0; i-- {
		for _, f := range frames {
			if !answers(f, requests[i]) {
				continue
			}
			if f.Payload[0] == codeAccept {
				best = requests[i]
			}
			l.answers[strings.TrimPrefix(f.Name(), "RADIUS ")]++
		}
	}
	m := read(best)
	o := softbank.Defaults(lineOf(&m))
	o.SharedSecret, o.Password = secret(SharedSecret), secret(Password)
	for _, f := range requests {
		at := netip.AddrPortFrom(f.Dst, f.DstPort)
		if !slices.Contains(o.Servers, at) && len(o.Servers) < softbank.MaxServers {
			o.Servers = append(o.Servers, at)
		}
		if again := read(f); len(again.password) > 0 && len(m.password) > 0 && again.password[0] != m.password[0] {
			l.oddf("Access-Request: the CHAP identifier changes, from %d to %d", m.password[0], again.password[0])
		}
	}
	// A line's own prefix, or what the unit asks from.
	prefix := net.prefix
	if !prefix.Contains(best.Src) {
		prefix = netip.PrefixFrom(best.Src, 64).Masked()
	}

	l.unitOf(&o, &m, net)
	l.nameOf(&o, &m, prefix)
	if len(m.password) == 17 {
		o.CHAPIdent = m.password[0]
	} else {
		l.oddf("Access-Request: a CHAP-Password of %d bytes, 17 are usual", len(m.password))
	}
	o.SendMessageAuthenticator = len(m.attrs) > 0 && m.attrs[0].Code == attrSignature
	l.o = o
	l.verify(&m, softbank.Request{Prefix: prefix, TerminalMAC: net.terminal, WANMAC: l.unit})
}

// answers tells whether f is an answer to the request q.
func answers(f, q capture.Frame) bool {
	return f.Kind == capture.RADIUS && f.Payload[0] != codeRequest && f.Payload[1] == q.Payload[1] &&
		f.Src == q.Dst && f.Dst == q.Src && f.SrcPort == q.DstPort && f.DstPort == q.SrcPort
}

// lineOf tells the line by the order of the attributes, which no option changes, and
// when it is neither's, by the User-Name.
func lineOf(m *message) softbank.Line {
	for line, order := range orders {
		if slices.Equal(m.order, order) {
			return line
		}
	}
	if len(m.name) == 19 {
		return softbank.CROSS
	}
	return softbank.NEXT
}

// unitOf learns what the unit says of itself.
func (l *finding) unitOf(o *softbank.Options, m *message, told network) {
	mac, format, ok := readMAC(m.sub(1))
	switch {
	case !ok:
		l.oddf("Access-Request: sub-attribute 1 of %d bytes is no MAC address in a form that mac_format has", len(m.sub(1)))
	default:
		o.MACFormat = format
		// What sofu-proto sends by itself is the terminal's, or its own, which is
		// not the unit's.
		if o.Line == softbank.CROSS || !bytes.Equal(mac, told.terminal) {
			o.MAC = mac
		}
		if o.Line == softbank.NEXT && told.terminal != nil && o.MAC != nil {
			l.oddf("Access-Request: sub-attribute 1 is not the terminal's MAC address that DHCPv6 told")
		}
		if o.Line == softbank.CROSS && bytes.Equal(mac, l.unit) {
			l.oddf("Access-Request: sub-attribute 1 is the MAC address that the unit has on the line")
		}
	}
	for _, v := range []struct {
		code  uint16
		field *string
	}{{2, &o.Manufacturer}, {3, &o.Model}, {4, &o.HWRevision}} {
		if s := m.sub(v.code); usable(s) { // verify tells of another one
			*v.field = s
		}
	}
	switch {
	case slices.Equal(m.packing, []int{4}):
		o.SinglePacking = true
	case slices.Equal(m.packing, []int{1, 1, 1, 1}):
		o.SinglePacking = false
	case len(m.packing) > 0:
		l.oddf("Access-Request: Vendor-Specific attributes with %v sub-attributes", m.packing)
	}
}

// readMAC reads a MAC address in one of the forms that requests have.
func readMAC(s string) (net.HardwareAddr, softbank.MACFormat, bool) {
	mac, err := hex.DecodeString(strings.NewReplacer(":", "", "-", "").Replace(s))
	// A group address, or none, is refused by the option.
	if err != nil || len(mac) != 6 || mac[0]&1 != 0 || bytes.Equal(mac, make([]byte, 6)) {
		return nil, "", false
	}
	for _, f := range []softbank.MACFormat{softbank.LowerColon, softbank.UpperColon, softbank.LowerHyphen,
		softbank.UpperHyphen, softbank.LowerPlain, softbank.UpperPlain} {
		if f.Format(mac) == s {
			return mac, f, true
		}
	}
	return nil, "", false
}

// nameOf learns the User-Name, and the address from which is asked.
func (l *finding) nameOf(o *softbank.Options, m *message, prefix netip.Prefix) {
	src := m.frame.Src
	if a, err := netip.ParseAddr(m.name); err == nil && o.Line == softbank.NEXT && a.StringExpanded() == m.name {
		if iid := lower(a); iid != (softbank.InterfaceID{}) {
			o.IID, o.AuthIID = iid, iid
		}
	}
	if iid := lower(src); iid != (softbank.InterfaceID{}) {
		o.AuthIID = iid
	}
	if o.Source(prefix) != src {
		l.oddf("Access-Request: it comes from another /64 than the first of the delegated prefix")
	}
	if b := lower(src); b[0] == 0 && [3]byte(b[5:]) == [3]byte{} && b != (softbank.InterfaceID{}) && binary.BigEndian.Uint32(b[1:]) > 0xffff {
		l.oddf("Access-Request: the address that it comes from is made of an IPv4 address, which auth_iid cannot follow")
	}
	if o.UserName(prefix) == m.name {
		return
	}
	if !usable(m.name) {
		l.oddf("Access-Request: a User-Name of %d bytes, which no option can make", len(m.name))
		return
	}
	o.Username = m.name
	if strings.Count(m.name, ":") > 1 {
		l.oddf("Access-Request: the User-Name looks like an address in another form than the line's: option username will not follow a new prefix")
	}
}

// lower is the interface identifier of a.
func lower(a netip.Addr) softbank.InterfaceID {
	b := a.As16()
	return softbank.InterfaceID(b[8:])
}

// verify compares what sofu-proto would send with what the unit sent.
func (l *finding) verify(m *message, req softbank.Request) {
	var authenticator, challenge [16]byte
	copy(authenticator[:], m.frame.Payload[4:])
	for _, a := range m.attrs {
		if a.Code == attrCHAPChallenge {
			copy(challenge[:], a.Data)
		}
	}
	b, err := l.o.AccessRequest(req, m.frame.Payload[1], authenticator, challenge)
	if err != nil {
		l.oddf("sofu-proto cannot make such a request: %v", err)
		return
	}
	mine := read(capture.Frame{Kind: capture.RADIUS, Payload: b})
	if !slices.Equal(m.order, mine.order) {
		l.oddf("Access-Request: attributes %v in this order, sofu-proto's are %v", m.order, mine.order)
	}
	theirs, ours := describe(m.attrs), describe(mine.attrs)
	for _, d := range theirs {
		if !slices.Contains(ours, d) {
			l.oddf("Access-Request: has %s, sofu-proto's has not", d)
		}
	}
	for _, d := range ours {
		if !slices.Contains(theirs, d) {
			l.oddf("Access-Request: has no %s, sofu-proto's has", d)
		}
	}
	if a, b := codesOf(m.subs), codesOf(mine.subs); len(a) == len(b) && !slices.Equal(a, b) {
		l.oddf("Access-Request: sub-attributes in the order %v, sofu-proto's is %v", a, b)
	}
}

// describe names attributes and their values, but for those that are made of a secret.
func describe(attrs []capture.Option) []string {
	var list []string
	value := func(what string, code uint16, b []byte) {
		text := "0x" + hex.EncodeToString(b)
		if s := string(b); usable(s) {
			text = fmt.Sprintf("%q", s)
		}
		list = append(list, fmt.Sprintf("%s %d %s", what, code, text))
	}
	for _, a := range attrs {
		switch {
		case a.Code == attrCHAPPassword, a.Code == attrCHAPChallenge, a.Code == attrSignature, a.Code == 2:
			list = append(list, fmt.Sprintf("attribute %d of %d bytes", a.Code, len(a.Data)))
		case a.Code == attrVendorSpecific && len(a.Data) >= 4 && binary.BigEndian.Uint32(a.Data) == enterprise:
			subs, err := capture.Attributes(a.Data[4:])
			for _, s := range subs {
				value("sub-attribute", s.Code, s.Data)
			}
			if err != nil {
				list = append(list, "a Vendor-Specific attribute that cannot be read to its end")
			}
		default:
			value("attribute", a.Code, a.Data)
		}
	}
	return list
}
