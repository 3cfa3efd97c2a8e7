package dissect

import (
	"encoding/binary"
	"fmt"
)

var codesRADIUS = map[byte]string{
	1: "Access-Request", 2: "Access-Accept", 3: "Access-Reject", 4: "Accounting-Request", 5: "Accounting-Response",
	11: "Access-Challenge", 12: "Status-Server",
}

var attributes = map[byte]option{
	1:  {"User-Name", text},
	2:  {"User-Password", hidden},
	3:  {"CHAP-Password", hidden},
	4:  {"NAS-IP-Address", addresses(4)},
	18: {"Reply-Message", text},
	24: {"State", raw},
	25: {"Class", raw},
	27: {"Session-Timeout", seconds},
	28: {"Idle-Timeout", seconds},
	33: {"Proxy-State", raw},
	60: {"CHAP-Challenge", hidden},
	80: {"Message-Authenticator", hidden},
	95: {"NAS-IPv6-Address", addresses(16)},
}

// RADIUS puts a packet (RFC 2865 3) in words. The authenticators are not shown: with
// the rest of the exchange, the secrets could be guessed from them.
func RADIUS(b []byte, vendor Vendor) Field {
	f := Field{Name: "RADIUS"}
	if len(b) < 20 || int(binary.BigEndian.Uint16(b[2:])) < 20 || int(binary.BigEndian.Uint16(b[2:])) > len(b) {
		f.Value = fmt.Sprintf("malformed, %d bytes", len(b)) // with what is hidden below
		return f
	}
	f.Value = name(codesRADIUS, b[0])
	f.Fields = []Field{{Name: "identifier", Value: fmt.Sprint(b[1])}}
	for rest := b[20:binary.BigEndian.Uint16(b[2:])]; len(rest) > 0; {
		if len(rest) < 2 || rest[1] < 2 || int(rest[1]) > len(rest) {
			return Field{f.Name, f.Value, append(f.Fields, Field{Name: "malformed to the end", Value: fmt.Sprintf("%d bytes", len(rest))})}
		}
		typ, data := rest[0], rest[2:rest[1]]
		rest = rest[rest[1]:]
		if typ == 26 && len(data) >= 4 {
			f.Fields = append(f.Fields, Field{
				Name: "Vendor-Specific", Value: enterprise(data), Fields: vendor.specific(binary.BigEndian.Uint32(data), data[4:]),
			})
			continue
		}
		o, known := attributes[typ]
		f.Fields = append(f.Fields, o.field(int(typ), known, data))
	}
	return f
}

// specific reads the attributes of a vendor, whose length counts their two bytes of
// header too (RFC 2865 5.26).
func (vendor Vendor) specific(enterprise uint32, b []byte) []Field {
	var out []Field
	for len(b) > 0 {
		if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
			return append(out, Field{Name: "malformed to the end", Value: hexOf(b)})
		}
		f, ok := Field{}, false
		if vendor != nil {
			f, ok = vendor(enterprise, int(b[0]), b[2:b[1]])
		}
		if !ok {
			f = Field{Name: fmt.Sprintf("attribute %d", b[0]), Value: hexOf(b[2:b[1]])}
		}
		f.Value = quoted([]byte(f.Value))
		out = append(out, f)
		b = b[b[1]:]
	}
	return out
}
