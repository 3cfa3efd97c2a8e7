package softbank

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxValue is the longest value of an attribute and of what is shown of one.
	maxValue = 253
	// maxSub is the longest value of a sub-attribute: beside it are the
	// enterprise number, the type and the length.
	maxSub = maxValue - 4 - 2
	// maxPacked is the most that four values in one attribute may have together.
	maxPacked = maxValue - 4 - 4*2
)

// kind is how the value of an attribute is read.
type kind int

const (
	octets kind = iota
	text
	integer
	ipv4
	ipv6
)

// The sub-attributes of enterprise 22197 that a Grant is made of.
const (
	typeReplyMessage  = 18
	typeRequestTime   = 176
	typeDNS6First     = 198
	typeDNS6Second    = 199
	typeNTP6          = 203
	typeIPv4          = 204
	typeDNS4First     = 205
	typeDNS4Second    = 206
	typeBR            = 207
	typeCheckSwitch   = 210
	typeCheckIPv4     = 211
	typeCheckInterval = 212
)

type definition struct {
	name string
	kind kind
}

// definitions is dictionary.softbankbb for showing what came; the generated
// accessors know neither names nor numbers. A test compares the two.
var definitions = map[byte]definition{
	1:                 {"SoftBankBB-MAC", text},
	2:                 {"SoftBankBB-Manufacturer", text},
	3:                 {"SoftBankBB-Model", text},
	4:                 {"SoftBankBB-HW-Revision", text},
	5:                 {"SoftBankBB-Request-5", octets},
	6:                 {"SoftBankBB-Request-6", octets},
	typeReplyMessage:  {"SoftBankBB-Reply-Message", text},
	typeRequestTime:   {"SoftBankBB-Config-Request-Time", integer},
	typeDNS6First:     {"SoftBankBB-DNS-IPv6-1", ipv6},
	typeDNS6Second:    {"SoftBankBB-DNS-IPv6-2", ipv6},
	typeNTP6:          {"SoftBankBB-NTP-IPv6", ipv6},
	typeIPv4:          {"SoftBankBB-IPv4-Address", ipv4},
	typeDNS4First:     {"SoftBankBB-DNS-IPv4-1", ipv4},
	typeDNS4Second:    {"SoftBankBB-DNS-IPv4-2", ipv4},
	typeBR:            {"SoftBankBB-BR-IPv6-Address", ipv6},
	typeCheckSwitch:   {"SoftBankBB-ICMP-Check-Switch", integer},
	typeCheckIPv4:     {"SoftBankBB-ICMP-Check-IPv4", ipv4},
	typeCheckInterval: {"SoftBankBB-ICMP-Check-Interval", integer},
	214:               {"SoftBankBB-IPv6-Firewall-1", text},
	215:               {"SoftBankBB-IPv6-Firewall-2", text},
}

// name returns the dictionary's name of sub-attribute typ, or one made of its
// number.
func name(typ byte) string {
	if d, ok := definitions[typ]; ok {
		return d.name
	}
	return "SoftBankBB-Attr-" + strconv.Itoa(int(typ))
}

// Describe is how a sub-attribute of an enterprise is called, and its value in words; ok
// is false of another enterprise.
func Describe(enterprise uint32, code int, value []byte) (called, shown string, ok bool) {
	if enterprise != vendorID || code < 0 || code > 255 {
		return "", "", false
	}
	return name(byte(code)), show(byte(code), value), true
}

// show writes the value of sub-attribute typ for a person: printable and at
// most maxValue bytes. What is not of the kind that the dictionary says, is
// text when it is printable, else hex.
func show(typ byte, value []byte) string {
	k := definitions[typ].kind
	switch k {
	case integer:
		if n, ok := readInteger(value); ok {
			return strconv.FormatUint(uint64(n), 10)
		}
	case ipv4, ipv6:
		if a, ok := readAddr(value, k); ok {
			return a.String()
		}
	}
	if t := trim(value); k != octets && t != "" && t == printable(t) {
		return t
	}
	return showHex(value)
}

// showHex writes value as hex, its end cut off beyond maxValue.
func showHex(value []byte) string {
	if keep := (maxValue - len("0x…")) / 2; len(value) > keep {
		return "0x" + hex.EncodeToString(value[:keep]) + "…"
	}
	return "0x" + hex.EncodeToString(value)
}

// trim returns value as a string without the zeros and white space that some
// servers put around text.
func trim(value []byte) string { return strings.Trim(string(value), "\x00 \t\r\n") }

// printable returns s with everything that could disturb a terminal or a log
// replaced by '?', and at most maxValue bytes of it.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		// A rune that is no valid UTF-8 is RuneError here, and so printable.
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			r = '?'
		}
		if b.Len()+utf8.RuneLen(r) > maxValue {
			break
		}
		b.WriteRune(r)
	}
	return b.String()
}

// readInteger reads four bytes in network order or, because nobody has told in
// which form the carrier sends numbers, decimal digits. Four digits are text: in
// binary they would be 25 years of seconds.
func readInteger(value []byte) (uint32, bool) {
	t := string(value)
	if len(value) != 4 {
		t = trim(value)
	}
	if n, err := strconv.ParseUint(t, 10, 32); err == nil {
		return uint32(n), true
	}
	if len(value) != 4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(value), true
}

// readAddr reads an address of kind ipv4 or ipv6 in its binary or its text
// form. Text is tried first: sixteen characters can be both, and what they are
// in binary begins with 0x30 to 0x3a or 0x61 to 0x66, from where no address was
// ever assigned.
func readAddr(value []byte, k kind) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(trim(value)); err == nil && a.Zone() == "" && a.Is4() == (k == ipv4) {
		return a, true
	}
	a, ok := netip.AddrFromSlice(value)
	return a, ok && a.Is4() == (k == ipv4)
}

// host tells whether a can be the address of one host on the Internet or in a
// private network.
func host(a netip.Addr) bool {
	if a.Is4() {
		first := a.As4()[0]
		return a.IsGlobalUnicast() && first != 0 && first < 240
	}
	return a.IsGlobalUnicast() && !a.Is4In6()
}

// sub is one sub-attribute of enterprise 22197.
type sub struct {
	typ   byte
	value []byte
}

// errMalformed is what a walk ends with when it could not read to the end.
var errMalformed = errors.New("sub-attribute's length does not fit")

// walk reads the sub-attributes that one Vendor-Specific attribute of the
// enterprise packs, after the enterprise number. With a malformed one come all
// that stood before it, and errMalformed. The values are parts of b.
func walk(b []byte) (subs []sub, err error) {
	for len(b) > 0 {
		if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
			return subs, errMalformed
		}
		subs = append(subs, sub{typ: b[0], value: b[2:b[1]]})
		b = b[b[1]:]
	}
	return subs, nil
}

// byType sorts subs by type, those of one type as they came.
func byType(subs []sub) []sub {
	subs = slices.Clone(subs)
	sort.SliceStable(subs, func(x, y int) bool { return subs[x].typ < subs[y].typ })
	return subs
}
