package softbank

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"layeh.com/radius"
	"layeh.com/radius/rfc2865"
	"layeh.com/radius/rfc2868"
	"layeh.com/radius/rfc2869"

	"sofutobanku/internal/state"
)

// maxAttributes bounds what is kept of one answer. The carrier's own gateway
// gets some dozens.
const maxAttributes = 128

// Grant is what an Access-Accept gives. Addresses that did not come, or that no
// host can have, are invalid or missing.
type Grant struct {
	IPv4 netip.Addr // the line's address, always valid
	BR   netip.Addr // the tunnel's far end, always valid

	Server netip.AddrPort
	// RTT is the time from the last transmission of the request to the answer.
	RTT time.Duration

	DNS4, DNS6, NTP []netip.Addr
	// EchoTarget is whom the carrier wants pinged through the tunnel (211), and
	// EchoSwitch (210) and EchoInterval (212) are what it says beside it: raw,
	// their meaning is not known, nil when they did not come.
	EchoTarget               netip.Addr
	EchoSwitch, EchoInterval *uint32
	// RequestTime is attribute 176, raw: perhaps after how long to ask again.
	RequestTime *uint32
	// Message is what the server says to a person, printable, mostly empty.
	Message string

	// Attributes is all that came: first enterprise 22197's by type, then the
	// standard ones by type.
	Attributes []state.Attribute
}

// Counters of what is odd in an authentic answer, and therefore not used.
const (
	countAttrMalformed = "radius.attribute.malformed"   // a length or value that does not fit its type
	countAttrDuplicate = "radius.attribute.duplicate"   // a second valid value; the first one is used
	countAttrOverflow  = "radius.attribute.overflow"    // more than anybody needs
	countAttrVendor    = "radius.attribute.not-ours"    // of another enterprise
	countAttrAddress   = "radius.attribute.not-a-host"  // a well-formed address that no host can have
	countAttrEcho      = "radius.attribute.echo-target" // an echo target that is the line itself
)

// collect reads the sub-attributes of enterprise 22197 out of attrs. Each
// oddity is told to count.
func collect(attrs radius.Attributes, count func(string)) []sub {
	var all []sub
	for _, avp := range attrs {
		if avp.Type != rfc2865.VendorSpecific_Type {
			continue
		}
		if len(avp.Attribute) < 4 {
			count(countAttrMalformed)
			continue
		}
		if binary.BigEndian.Uint32(avp.Attribute) != vendorID {
			count(countAttrVendor)
			continue
		}
		subs, err := walk(avp.Attribute[4:])
		if err != nil {
			count(countAttrMalformed)
		}
		all = append(all, subs...)
	}
	if len(all) > maxAttributes {
		count(countAttrOverflow)
		all = all[:maxAttributes]
	}
	return all
}

// parseAccept makes a Grant of the attributes of an authentic Access-Accept.
// The error is a reason that continues a sentence about the server.
func parseAccept(attrs radius.Attributes, count func(string)) (*Grant, error) {
	subs := collect(attrs, count)
	g := &Grant{Message: message(attrs, subs)}

	// addr returns the first good address of a type; bad is the first one that
	// came and was none.
	addr := func(typ byte) (good netip.Addr, bad string) {
		for _, s := range subs {
			if s.typ != typ {
				continue
			}
			a, ok := readAddr(s.value, definitions[typ].kind)
			switch {
			case !ok:
				count(countAttrMalformed)
			case !host(a):
				count(countAttrAddress)
			case good.IsValid():
				count(countAttrDuplicate)
				continue
			default:
				good = a
				continue
			}
			if bad == "" {
				bad = show(typ, s.value)
			}
		}
		return good, bad
	}
	addrs := func(types ...byte) (list []netip.Addr) {
		for _, typ := range types {
			if a, _ := addr(typ); a.IsValid() {
				list = append(list, a)
			}
		}
		return list
	}
	number := func(typ byte) (first *uint32) {
		for _, s := range subs {
			if s.typ != typ {
				continue
			}
			n, ok := readInteger(s.value)
			switch {
			case !ok:
				count(countAttrMalformed)
			case first != nil:
				count(countAttrDuplicate)
			default:
				first = &n
			}
		}
		return first
	}

	badIPv4, badBR := "", ""
	g.IPv4, badIPv4 = addr(typeIPv4)
	g.BR, badBR = addr(typeBR)
	g.DNS6 = addrs(typeDNS6First, typeDNS6Second)
	g.DNS4 = addrs(typeDNS4First, typeDNS4Second)
	g.NTP = addrs(typeNTP6)
	g.EchoTarget, _ = addr(typeCheckIPv4)
	if g.EchoTarget.IsValid() && g.EchoTarget == g.IPv4 {
		count(countAttrEcho)
		g.EchoTarget = netip.Addr{}
	}
	g.EchoSwitch = number(typeCheckSwitch)
	g.EchoInterval = number(typeCheckInterval)
	g.RequestTime = number(typeRequestTime)
	g.Attributes = list(attrs, subs, count)

	for _, need := range []struct {
		typ  byte
		what string
		addr netip.Addr
		bad  string
	}{
		{typeIPv4, "the line's IPv4 address", g.IPv4, badIPv4},
		{typeBR, "the address of the tunnel's far end", g.BR, badBR},
	} {
		switch {
		case need.addr.IsValid():
		case need.bad != "":
			return nil, fmt.Errorf("accepted this line, but %s (attribute %d) is %s, which no host can have", need.what, need.typ, need.bad)
		default:
			return nil, fmt.Errorf("accepted this line, but did not send %s (attribute %d): check option 'line' and options 'manufacturer', 'model' and 'hwrev'", need.what, need.typ)
		}
	}
	return g, nil
}

// message returns what an answer says to a person: the standard Reply-Message
// attributes and the carrier's own.
func message(attrs radius.Attributes, subs []sub) string {
	said := ""
	add := func(value []byte) {
		if t := trim(value); t != "" {
			if said != "" {
				said += " "
			}
			said += t
		}
	}
	for _, avp := range attrs {
		if avp.Type == rfc2865.ReplyMessage_Type {
			add(avp.Attribute)
		}
	}
	for _, s := range subs {
		if s.typ == typeReplyMessage {
			add(s.value)
		}
	}
	return strings.TrimRight(printable(said), " ")
}

// list shows what came.
func list(attrs radius.Attributes, subs []sub, count func(string)) []state.Attribute {
	var l []state.Attribute
	for _, s := range byType(subs) {
		l = append(l, state.Attribute{Name: name(s.typ), Value: show(s.typ, s.value)})
	}
	var standard []sub
	for _, avp := range attrs {
		switch avp.Type {
		// The first are the subs and other enterprises', the rest is cryptography.
		case rfc2865.VendorSpecific_Type, rfc2869.MessageAuthenticator_Type, rfc2868.TunnelPassword_Type:
		default:
			standard = append(standard, sub{byte(avp.Type), avp.Attribute})
		}
	}
	for _, s := range byType(standard) {
		if len(l) >= maxAttributes {
			count(countAttrOverflow)
			break
		}
		a := state.Attribute{Name: "Attr-" + strconv.Itoa(int(s.typ)), Value: showHex(s.value)}
		switch radius.Type(s.typ) {
		case rfc2865.ReplyMessage_Type:
			a = state.Attribute{Name: "Reply-Message", Value: printable(trim(s.value))}
		case rfc2865.SessionTimeout_Type:
			if len(s.value) == 4 {
				a = state.Attribute{Name: "Session-Timeout", Value: strconv.FormatUint(uint64(binary.BigEndian.Uint32(s.value)), 10)}
			}
		}
		l = append(l, a)
	}
	return l
}
