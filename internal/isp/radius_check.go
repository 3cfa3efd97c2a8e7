package isp

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"layeh.com/radius"
)

// Attributes of RFC 2865 and RFC 2869 that this line knows.
const (
	attrUserName             = 1
	attrCHAPPassword         = 3
	attrReplyMessage         = 18
	attrVendorSpecific       = 26
	attrCHAPChallenge        = 60
	attrMessageAuthenticator = 80
)

// enterpriseSB is SoftBank BB's IANA enterprise number. Its sub-attributes 1 to
// 4 are the request's.
const enterpriseSB = 22197

// vsaNames of the request's sub-attributes.
var vsaNames = map[byte]string{1: "MAC address", 2: "manufacturer", 3: "model", 4: "hardware revision"}

func attrName(t radius.Type) string {
	switch t {
	case attrUserName:
		return "User-Name"
	case attrCHAPPassword:
		return "CHAP-Password"
	case attrVendorSpecific:
		return "Vendor-Specific"
	case attrCHAPChallenge:
		return "CHAP-Challenge"
	case attrMessageAuthenticator:
		return "Message-Authenticator"
	case 2:
		return "User-Password"
	case 4:
		return "NAS-IP-Address"
	case 5:
		return "NAS-Port"
	case 32:
		return "NAS-Identifier"
	case 61:
		return "NAS-Port-Type"
	case 95:
		return "NAS-IPv6-Address"
	default:
		return fmt.Sprintf("attribute %d", t)
	}
}

// subscriber is what a request is checked against.
type subscriber struct {
	kind    Kind
	account Account
	prefix  netip.Prefix // invalid: none is in use
	farEnd  netip.Addr   // the tunnel address that the CE must use
	mac     string       // VSA 1 verbatim, "": any of its form
}

// verdict is what a request deserves: form holds what the line's own gateway
// would never send, denied is why the account is not proven. Neither holds a
// secret.
type verdict struct {
	form   []string
	denied []string
}

// checkRequest reads an Access-Request as strictly as the line does.
func (sub *subscriber) checkRequest(p *radius.Packet, from netip.Addr) verdict {
	var v verdict
	form := func(format string, args ...any) { v.form = append(v.form, fmt.Sprintf(format, args...)) }
	denied := func(format string, args ...any) { v.denied = append(v.denied, fmt.Sprintf(format, args...)) }

	// Which attributes, and in which order.
	due := []string{"User-Name", "Vendor-Specific", "CHAP-Challenge", "CHAP-Password"}
	if sub.kind == Cross {
		due = []string{"User-Name", "CHAP-Password", "Vendor-Specific", "CHAP-Challenge"}
	}
	var order []string
	counts := make(map[string]int)
	for _, a := range p.Attributes {
		if a.Type == attrMessageAuthenticator {
			continue // no known gateway sends it; RFC 3579 lets any client
		}
		name := attrName(a.Type)
		counts[name]++
		if !slices.Contains(due, name) {
			if counts[name] == 1 {
				form("%s is there: the line's gateway sends no such attribute", name)
			}
			continue
		}
		if len(order) == 0 || order[len(order)-1] != name {
			order = append(order, name)
		}
	}
	complete := true
	for _, name := range due {
		switch n := counts[name]; {
		case n == 0:
			form("%s is missing", name)
			complete = false
		case n > 1 && name != "Vendor-Specific":
			form("%d %s attributes, 1 is due", n, name)
		}
	}
	if complete && !slices.Equal(order, due) {
		form("attributes in the order %s: %s is due", strings.Join(order, ", "), strings.Join(due, ", "))
	}

	v.form = append(v.form, sub.checkVSAs(p)...)
	v.form = append(v.form, sub.checkUserName(string(p.Get(attrUserName)))...)
	if sub.account.userName == "" && !sub.prefix.IsValid() {
		denied("no prefix is delegated to this line yet")
	}

	// The source.
	switch {
	case !sub.prefix.IsValid():
	case sub.kind != Cross && from != sub.farEnd:
		form("source address %v: the tunnel's local address %v is due", from, sub.farEnd)
	case !sub.prefix.Contains(from):
		form("source address %v is outside of the line's prefix %v", from, sub.prefix)
	}

	// CHAP (RFC 2865 5.3, 5.40).
	challenge, ok := p.Lookup(attrCHAPChallenge)
	if !ok { // RFC 2865 2.2: the Request Authenticator stands in
		challenge = p.Authenticator[:]
	} else if len(challenge) != 16 {
		form("CHAP-Challenge of %d bytes, 16 are due", len(challenge))
	}
	password, ok := p.Lookup(attrCHAPPassword)
	switch {
	case !ok:
		denied("no CHAP-Password")
	case len(password) != 17:
		denied("CHAP-Password of %d bytes, 17 are due", len(password))
	default:
		if password[0] != sub.account.chapIdent {
			form("CHAP identifier %d, %d is due", password[0], sub.account.chapIdent)
		}
		h := md5.New()
		h.Write(password[:1])
		h.Write(sub.account.password)
		h.Write(challenge)
		if !hmac.Equal(h.Sum(nil), password[1:]) {
			denied("CHAP-Password is wrong: another password, or computed over something else than identifier, password, challenge")
		}
	}
	return v
}

// checkVSAs checks the sub-attributes of enterpriseSB and how they are packed.
func (sub *subscriber) checkVSAs(p *radius.Packet) []string {
	var out []string
	bad := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	values := make(map[byte][]byte)
	var holds []int // sub-attributes in each Vendor-Specific
	for _, a := range p.Attributes {
		if a.Type != attrVendorSpecific {
			continue
		}
		b := a.Attribute
		if len(b) < 4 {
			bad("Vendor-Specific of %d bytes has no room for the vendor", len(b))
			continue
		}
		if vendor := binary.BigEndian.Uint32(b); vendor != enterpriseSB {
			bad("Vendor-Specific of vendor %d, %d is due", vendor, enterpriseSB)
			continue
		}
		n := 0
		for b = b[4:]; len(b) > 0; {
			if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
				bad("Vendor-Specific with a sub-attribute of bad length")
				break
			}
			t := b[0]
			if _, ok := values[t]; ok {
				bad("VSA %d is there twice", t)
			}
			values[t] = b[2:b[1]]
			b = b[b[1]:]
			n++
		}
		holds = append(holds, n)
	}
	if len(holds) == 0 {
		return out // "missing" was said
	}
	switch {
	case sub.account.packed && len(holds) != 1:
		bad("VSA packing: %d Vendor-Specific attributes, one that holds all sub-attributes is due", len(holds))
	case !sub.account.packed && (len(holds) != 4 || slices.Max(holds) > 1):
		bad("VSA packing: %d Vendor-Specific attributes with %v sub-attributes, four with one each are due", len(holds), holds)
	}
	for t := byte(1); t <= 4; t++ {
		got, ok := values[t]
		if !ok {
			bad("VSA %d (%s) is missing", t, vsaNames[t])
			continue
		}
		if t > 1 {
			if want := sub.account.vsa[t-2]; string(got) != want {
				bad("VSA %d (%s) is %s, %q is due", t, vsaNames[t], quote(got), want)
			}
			continue
		}
		mac, err := net.ParseMAC(string(got))
		switch {
		case sub.mac != "" && string(got) != sub.mac:
			bad("VSA 1 (MAC address) is %s, %q is due", quote(got), sub.mac)
		case sub.mac == "" && (err != nil || len(mac) != 6 || mac.String() != string(got)):
			bad("VSA 1 (MAC address) is %s, six lower-case bytes with colons are due", quote(got))
		}
	}
	others := make([]byte, 0, len(values))
	for t := range values {
		if t < 1 || t > 4 {
			others = append(others, t)
		}
	}
	slices.Sort(others)
	for _, t := range others {
		bad("VSA %d is there: the line's gateway sends 1 to 4", t)
	}
	return out
}

// checkUserName checks the User-Name's form and that it is this line's.
func (sub *subscriber) checkUserName(got string) []string {
	var want, form string
	switch {
	case sub.account.userName != "":
		want, form = sub.account.userName, "as configured"
	case !sub.prefix.IsValid():
		return nil // the missing prefix is said
	case sub.kind == Cross:
		full := sub.prefix.Masked().Addr().StringExpanded()
		want, form = full[:19], "the first four groups of the prefix"
	default:
		want, form = sub.farEnd.StringExpanded(), "all eight groups of the tunnel's local address"
	}
	if got == want {
		return nil
	}
	q := quote([]byte(got))
	if got != "" && strings.EqualFold(got, want) {
		return []string{fmt.Sprintf("User-Name %s: lower-case digits are due", q)}
	}
	if a, err := netip.ParseAddr(got); err == nil && sub.account.userName == "" {
		switch {
		case !sub.prefix.Contains(a):
			return []string{fmt.Sprintf("User-Name %s is outside of the line's prefix %v", q, sub.prefix)}
		case a == sub.farEnd && sub.kind != Cross:
			return []string{fmt.Sprintf("User-Name %s: groups of four digits, none left out, are due: %q", q, want)}
		}
	}
	return []string{fmt.Sprintf("User-Name %s: %s is due (%s)", q, form, want)}
}

// quote is hostile bytes for a log line.
func quote(b []byte) string {
	const most = 64
	if len(b) > most {
		return fmt.Sprintf("%q… (%d bytes)", b[:most], len(b))
	}
	return fmt.Sprintf("%q", b)
}

// messageAuthenticator computes the attribute of RFC 3579 3.2 over packet, an
// encoded packet whose own one, if any, starts at byte at, and whose
// authenticator is to be that of the request.
func messageAuthenticator(packet []byte, at int, request [16]byte, secret []byte) []byte {
	b := bytes.Clone(packet)
	copy(b[4:20], request[:])
	clear(b[at : at+md5.Size])
	h := hmac.New(md5.New, secret)
	h.Write(b)
	return h.Sum(nil)
}

// findMessageAuthenticator returns where the value of a well-formed
// Message-Authenticator starts in an encoded packet, 0 without one.
func findMessageAuthenticator(packet []byte) int {
	for at := 20; at+2 <= len(packet); {
		n := int(packet[at+1])
		if n < 2 || at+n > len(packet) {
			return 0
		}
		if packet[at] == attrMessageAuthenticator && n == 2+md5.Size {
			return at + 2
		}
		at += n
	}
	return 0
}
