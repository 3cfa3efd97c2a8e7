package dissect

import (
	"encoding/binary"
	"fmt"
	"net"
	"strings"
)

// suboptions reads what an enterprise defined: codes and lengths have size bytes each.
func (vendor Vendor) suboptions(enterprise uint32, b []byte, size int) []Field {
	var out []Field
	for len(b) > 0 {
		if len(b) < 2*size {
			return append(out, Field{Name: "malformed to the end", Value: hexOf(b)})
		}
		code, _ := unsigned(b[:size])
		n, _ := unsigned(b[size : 2*size])
		if uint32(len(b)-2*size) < n {
			return append(out, Field{Name: "malformed to the end", Value: hexOf(b)})
		}
		data := b[2*size : 2*size+int(n)]
		b = b[2*size+int(n):]
		f, ok := Field{}, false
		if vendor != nil {
			f, ok = vendor(enterprise, int(code), data)
		}
		if !ok {
			f = Field{Name: fmt.Sprintf("suboption %d", code), Value: hexOf(data)}
		}
		f.Value = quoted([]byte(f.Value))
		out = append(out, f)
	}
	return out
}

var messages6 = map[byte]string{
	1: "Solicit", 2: "Advertise", 3: "Request", 4: "Confirm", 5: "Renew", 6: "Rebind", 7: "Reply",
	8: "Release", 9: "Decline", 10: "Reconfigure", 11: "Information-Request", 12: "Relay-Forward", 13: "Relay-Reply",
}

// maxDepth is of options within options: none that is in order has more than three.
const maxDepth = 8

// DHCPv6 puts a message between client and server (RFC 8415 8) in words.
func DHCPv6(b []byte, vendor Vendor) Field {
	f := Field{Name: "DHCPv6"}
	if len(b) < 4 {
		f.Value = "malformed: " + hexOf(b)
		return f
	}
	f.Value = name(messages6, b[0])
	f.Fields = append([]Field{{Name: "transaction id", Value: hexOf(b[1:4])}}, vendor.options6(b[4:], 0)...)
	return f
}

func name[K byte | uint16 | uint32](names map[K]string, k K) string {
	if s, ok := names[k]; ok {
		return s
	}
	return fmt.Sprint(k)
}

func (vendor Vendor) options6(b []byte, depth int) []Field {
	var out []Field
	for len(b) > 0 {
		if len(b) < 4 || len(b)-4 < int(binary.BigEndian.Uint16(b[2:])) || depth == maxDepth {
			return append(out, Field{Name: "malformed to the end", Value: hexOf(b)})
		}
		code, n := binary.BigEndian.Uint16(b), 4+int(binary.BigEndian.Uint16(b[2:]))
		o, known := vendor.option6(code, depth+1)
		out = append(out, o.field(int(code), known, b[4:n]))
		b = b[n:]
	}
	return out
}

func (vendor Vendor) option6(code uint16, depth int) (o option, known bool) {
	// inner reads head bytes by read, and options after them.
	inner := func(head int, read reading) reading {
		return func(b []byte) (Field, bool) {
			if len(b) < head {
				return Field{}, false
			}
			f, ok := read(b[:head])
			f.Fields = append(f.Fields, vendor.options6(b[head:], depth)...)
			return f, ok
		}
	}
	switch code {
	case 1:
		o = option{"client identifier", duid}
	case 2:
		o = option{"server identifier", duid}
	case 3:
		o = option{"IA_NA", inner(12, association)}
	case 4:
		o = option{"IA_TA", inner(4, iaid)}
	case 5:
		o = option{"IA address", inner(24, func(b []byte) (Field, bool) {
			return Field{Value: address(b[:16]), Fields: lifetimes(b[16:])}, true
		})}
	case 6:
		o = option{"option request", codes(2)}
	case 7:
		o = option{"preference", number}
	case 8:
		o = option{"elapsed time", func(b []byte) (Field, bool) {
			n, _ := unsigned(b)
			return Field{Value: milliseconds(10 * n)}, len(b) == 2
		}}
	case 11:
		o = option{"authentication", authentication}
	case 12:
		o = option{"server unicast", addresses(16)}
	case 13:
		o = option{"status", least(2, func(b []byte) Field {
			return Field{Value: strings.TrimSpace(name(statuses, binary.BigEndian.Uint16(b)) + " " + quoted(b[2:]))}
		})}
	case 14:
		o = option{"rapid commit", nothing}
	case 16:
		o = option{"vendor class", least(4, func(b []byte) Field {
			return Field{Value: enterprise(b), Fields: opaque(b[4:], 2)}
		})}
	case 17:
		o = option{"vendor options", least(4, func(b []byte) Field {
			return Field{Value: enterprise(b), Fields: vendor.suboptions(binary.BigEndian.Uint32(b), b[4:], 2)}
		})}
	case 19:
		o = option{"reconfigure message", func(b []byte) (Field, bool) {
			if len(b) != 1 {
				return Field{}, false
			}
			return value(name(messages6, b[0]))
		}}
	case 20:
		o = option{"reconfigure accept", nothing}
	case 21:
		o = option{"SIP server domains", domains}
	case 22:
		o = option{"SIP servers", addresses(16)}
	case 23:
		o = option{"DNS servers", addresses(16)}
	case 24:
		o = option{"domain search list", domains}
	case 25:
		o = option{"IA_PD", inner(12, association)}
	case 26:
		o = option{"IA prefix", inner(25, func(b []byte) (Field, bool) {
			return Field{Value: prefix(b[9:], b[8]), Fields: lifetimes(b)}, true
		})}
	case 31:
		o = option{"SNTP servers", addresses(16)}
	case 32:
		o = option{"information refresh time", seconds}
	case 56:
		o = option{"NTP servers", raw}
	case 82:
		o = option{"SOL_MAX_RT", seconds}
	case 83:
		o = option{"INF_MAX_RT", seconds}
	}
	return o, o.name != ""
}

var statuses = map[uint16]string{
	0: "Success", 1: "UnspecFail", 2: "NoAddrsAvail", 3: "NoBinding", 4: "NotOnLink", 5: "UseMulticast", 6: "NoPrefixAvail",
}

var duids = map[uint16]string{1: "DUID-LLT", 2: "DUID-EN", 3: "DUID-LL", 4: "DUID-UUID"}

func duid(b []byte) (Field, bool) {
	if len(b) < 3 {
		return Field{}, false
	}
	f := Field{Value: name(duids, binary.BigEndian.Uint16(b)) + " " + hexOf(b)}
	// RFC 8415 11.4, on Ethernet.
	if len(b) == 10 && binary.BigEndian.Uint32(b) == 3<<16|1 {
		f.Value = "DUID-LL " + net.HardwareAddr(b[4:]).String()
	}
	return f, true
}

func iaid(b []byte) (Field, bool) {
	return Field{Value: "IAID " + fmt.Sprint(binary.BigEndian.Uint32(b))}, true
}

func association(b []byte) (Field, bool) {
	f, ok := iaid(b)
	f.Fields = []Field{
		{Name: "T1", Value: lifetime(binary.BigEndian.Uint32(b[4:]), 4)},
		{Name: "T2", Value: lifetime(binary.BigEndian.Uint32(b[8:]), 4)},
	}
	return f, ok
}

func lifetimes(b []byte) []Field {
	return []Field{
		{Name: "preferred lifetime", Value: lifetime(binary.BigEndian.Uint32(b), 4)},
		{Name: "valid lifetime", Value: lifetime(binary.BigEndian.Uint32(b[4:]), 4)},
	}
}

// codes reads a list of options by their numbers, of size bytes each.
func codes(size int) reading {
	return func(b []byte) (Field, bool) {
		var s []string
		ok := len(b)%size == 0
		for ; len(b) >= size; b = b[size:] {
			n, _ := unsigned(b[:size])
			s = append(s, fmt.Sprint(n))
		}
		f, _ := value(strings.Join(s, " "))
		return f, ok
	}
}

// authentication is RFC 8415 21.11. The key and the digests of the reconfigure key
// protocol are a secret and what it could be guessed from.
func authentication(b []byte) (Field, bool) {
	if len(b) < 11 {
		return Field{}, false
	}
	protocol := "protocol " + fmt.Sprint(b[0])
	if b[0] == 3 {
		protocol = "reconfigure key"
	}
	rest, _ := hidden(b[11:])
	return Field{Value: protocol, Fields: []Field{
		{Name: "algorithm", Value: fmt.Sprint(b[1])},
		{Name: "replay detection", Value: hexOf(b[3:11])},
		{Name: "information", Value: rest.Value},
	}}, true
}

func enterprise(b []byte) string {
	return fmt.Sprintf("enterprise %d", binary.BigEndian.Uint32(b))
}

// opaque reads data that each have their length, of size bytes, before them.
func opaque(b []byte, size int) []Field {
	var out []Field
	for len(b) > 0 {
		n, ok := unsigned(b[:min(size, len(b))])
		if !ok || len(b) < size || uint32(len(b)-size) < n {
			return append(out, Field{Name: "malformed to the end", Value: hexOf(b)})
		}
		out = append(out, Field{Name: "data", Value: hexOf(b[size : size+int(n)])})
		b = b[size+int(n):]
	}
	return out
}

var messages4 = map[byte]string{1: "Discover", 2: "Offer", 3: "Request", 4: "Decline", 5: "Ack", 6: "Nak", 7: "Release", 8: "Inform"}

// magic4 goes before the options (RFC 2131 3).
const magic4 = 0x63825363

// DHCPv4 puts a message (RFC 2131 2) in words.
func DHCPv4(b []byte, vendor Vendor) Field {
	f := Field{Name: "DHCPv4"}
	if len(b) < 240 || binary.BigEndian.Uint32(b[236:]) != magic4 {
		f.Value = "malformed: " + hexOf(b)
		return f
	}
	add := func(name, value string) { f.Fields = append(f.Fields, Field{Name: name, Value: value}) }
	add("transaction id", hexOf(b[4:8]))
	for _, a := range []struct {
		name string
		at   int
	}{{"client's address", 12}, {"your address", 16}, {"next server", 20}, {"relay", 24}} {
		if s := address(b[a.at : a.at+4]); s != "0.0.0.0" {
			add(a.name, s)
		}
	}
	if b[1] == 1 && b[2] == 6 {
		add("client's hardware address", net.HardwareAddr(b[28:34]).String())
	}
	for rest := b[240:]; len(rest) > 0 && rest[0] != 255; {
		if rest[0] == 0 {
			rest = rest[1:]
			continue
		}
		if len(rest) < 2 || len(rest)-2 < int(rest[1]) {
			add("malformed to the end", hexOf(rest))
			break
		}
		code, data := rest[0], rest[2:2+int(rest[1])]
		rest = rest[2+len(data):]
		if code == 53 && len(data) == 1 {
			f.Value = name(messages4, data[0])
			continue
		}
		o, known := vendor.option4(code)
		f.Fields = append(f.Fields, o.field(int(code), known, data))
	}
	return f
}

func (vendor Vendor) option4(code byte) (o option, known bool) {
	switch code {
	case 1:
		o = option{"subnet mask", addresses(4)}
	case 3:
		o = option{"routers", addresses(4)}
	case 6:
		o = option{"DNS servers", addresses(4)}
	case 12:
		o = option{"host name", text}
	case 15:
		o = option{"domain name", text}
	case 50:
		o = option{"requested address", addresses(4)}
	case 51:
		o = option{"lease time", seconds}
	case 54:
		o = option{"server identifier", addresses(4)}
	case 55:
		o = option{"parameter request list", codes(1)}
	case 56:
		o = option{"message", text}
	case 57:
		o = option{"maximum message size", number}
	case 58:
		o = option{"T1", seconds}
	case 59:
		o = option{"T2", seconds}
	case 60:
		o = option{"vendor class", text}
	case 61:
		o = option{"client identifier", raw}
	case 120:
		o = option{"SIP servers", func(b []byte) (Field, bool) {
			switch {
			case len(b) > 1 && b[0] == 0:
				return domains(b[1:])
			case len(b) > 1 && b[0] == 1:
				return addresses(4)(b[1:])
			}
			return Field{}, false
		}}
	case 121:
		o = option{"classless routes", routes4}
	case 124:
		o = option{"vendor classes", func(b []byte) (Field, bool) { return vendors4(b, opaque1) }}
	case 125:
		o = option{"vendor options", func(b []byte) (Field, bool) {
			return vendors4(b, func(enterprise uint32, b []byte) []Field { return vendor.suboptions(enterprise, b, 1) })
		}}
	}
	return o, o.name != ""
}

func opaque1(_ uint32, b []byte) []Field { return opaque(b, 1) }

// vendors4 reads, for each enterprise, its number, a length and its data (RFC 3925).
func vendors4(b []byte, read func(enterprise uint32, b []byte) []Field) (Field, bool) {
	var f Field
	for len(b) > 0 {
		if len(b) < 5 || len(b)-5 < int(b[4]) {
			return Field{}, false
		}
		n := 5 + int(b[4])
		f.Fields = append(f.Fields, Field{Name: enterprise(b), Fields: read(binary.BigEndian.Uint32(b), b[5:n])})
		b = b[n:]
	}
	return f, true
}

// routes4 is RFC 3442: of each destination only the bytes that its length needs.
func routes4(b []byte) (Field, bool) {
	var f Field
	for len(b) > 0 {
		bits := int(b[0])
		n := (bits + 7) / 8
		if bits > 32 || len(b) < 1+n+4 {
			return Field{}, false
		}
		var a [4]byte
		copy(a[:], b[1:1+n])
		f.Fields = append(f.Fields, Field{Name: fmt.Sprintf("%s/%d", address(a[:]), bits), Value: "via " + address(b[1+n:1+n+4])})
		b = b[1+n+4:]
	}
	return f, true
}
