package dissect

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// ndOptions are the options of neighbour discovery that an advertisement may carry;
// each is read without its type and length.
var ndOptions = map[byte]option{
	1:  {"source link-layer address", mac},
	3:  {"prefix information", ndPrefix},
	5:  {"MTU", ndMTU},
	14: {"nonce", raw},
	24: {"route information", ndRoute},
	25: {"recursive DNS servers", ndDNS},
	26: {"advertisement flags", raw},
	31: {"DNS search list", ndDomains},
	37: {"captive portal", func(b []byte) (Field, bool) { return text([]byte(strings.TrimRight(string(b), "\x00"))) }},
	38: {"PREF64", ndPREF64},
}

// Advertisement puts an ICMPv6 router advertisement (RFC 4861 4.2) in words.
func Advertisement(b []byte) Field {
	f := Field{Name: "router advertisement"}
	if len(b) < 16 || b[0] != 134 {
		f.Value = "malformed: " + hexOf(b)
		return f
	}
	add := func(name, value string) { f.Fields = append(f.Fields, Field{Name: name, Value: value}) }
	if b[1] != 0 {
		add("code", fmt.Sprint(b[1]))
	}
	add("hop limit for hosts", orUnspecified(b[4]))
	add("flags", flagNames(b[5], "managed (addresses by DHCPv6)", "other (the rest by DHCPv6)", "home agent", "", "", "proxy", "", ""))
	add("preference", preference(b[5]))
	switch n := binary.BigEndian.Uint16(b[6:]); n {
	case 0:
		add("router lifetime", "0 s (no default router)")
	default:
		add("router lifetime", lifetime(uint32(n), 2))
	}
	add("reachable time", milliseconds(binary.BigEndian.Uint32(b[8:])))
	add("retransmission timer", milliseconds(binary.BigEndian.Uint32(b[12:])))
	for rest := b[16:]; len(rest) > 0; {
		n := 0
		if len(rest) > 1 {
			n = int(rest[1]) * 8
		}
		if n == 0 || n > len(rest) {
			add("malformed to the end", hexOf(rest))
			break
		}
		o, known := ndOptions[rest[0]]
		f.Fields = append(f.Fields, o.field(int(rest[0]), known, rest[2:n]))
		rest = rest[n:]
	}
	return f
}

func orUnspecified(n byte) string {
	if n == 0 {
		return "unspecified"
	}
	return fmt.Sprint(n)
}

// flagNames are the names of the bits that are set, the highest first; a bit with an
// empty name belongs to something else.
func flagNames(b byte, names ...string) string {
	var set []string
	for i, name := range names {
		if b&(0x80>>i) == 0 {
			continue
		}
		if name != "" {
			set = append(set, name)
		}
	}
	if len(set) == 0 {
		return "none"
	}
	return strings.Join(set, ", ")
}

// preference is in the two bits of RFC 4191 2.1.
func preference(b byte) string {
	return [...]string{"medium", "high", "reserved", "low"}[b>>3&3]
}

func prefix(b []byte, bits byte) string {
	var a [16]byte
	copy(a[:], b)
	return fmt.Sprintf("%s/%d", address(a[:]), bits)
}

func ndPrefix(b []byte) (Field, bool) {
	if len(b) != 30 {
		return Field{}, false
	}
	return Field{Value: prefix(b[14:], b[0]), Fields: []Field{
		{Name: "flags", Value: flagNames(b[1], "on-link", "autonomous", "router address", "delegated by DHCPv6", "", "", "", "")},
		{Name: "valid lifetime", Value: lifetime(binary.BigEndian.Uint32(b[2:]), 4)},
		{Name: "preferred lifetime", Value: lifetime(binary.BigEndian.Uint32(b[6:]), 4)},
	}}, true
}

func ndMTU(b []byte) (Field, bool) {
	if len(b) != 6 {
		return Field{}, false
	}
	return number(b[2:])
}

func ndRoute(b []byte) (Field, bool) {
	if len(b) != 6 && len(b) != 14 && len(b) != 22 {
		return Field{}, false
	}
	return Field{Value: prefix(b[6:], b[0]), Fields: []Field{
		{Name: "preference", Value: preference(b[1])},
		{Name: "lifetime", Value: lifetime(binary.BigEndian.Uint32(b[2:]), 4)},
	}}, true
}

func ndDNS(b []byte) (Field, bool) { return withLifetime(b, addresses(16)) }

func ndDomains(b []byte) (Field, bool) { return withLifetime(b, domains) }

// withLifetime reads two reserved bytes, a lifetime, and the rest by read.
func withLifetime(b []byte, read reading) (Field, bool) {
	if len(b) < 6 {
		return Field{}, false
	}
	f, ok := read(b[6:])
	f.Fields = []Field{{Name: "lifetime", Value: lifetime(binary.BigEndian.Uint32(b[2:]), 4)}}
	return f, ok
}

// ndPREF64 is RFC 8781 4.
func ndPREF64(b []byte) (Field, bool) {
	if len(b) != 14 {
		return Field{}, false
	}
	n := binary.BigEndian.Uint16(b)
	bits := [8]byte{96, 64, 56, 48, 40, 32}[n&7]
	if bits == 0 {
		return Field{}, false
	}
	return Field{Value: prefix(b[2:], bits), Fields: []Field{{Name: "lifetime", Value: lifetime(uint32(n&^7), 2)}}}, true
}
