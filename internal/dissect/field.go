package dissect

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"sofutobanku/internal/dhcp6/dnsname"
)

// Field is a named value of a packet, with its parts.
type Field struct {
	Name   string  `json:"name"`
	Value  string  `json:"value,omitempty"`
	Fields []Field `json:"fields,omitempty"`
}

// Vendor tells what the option code of an enterprise (IANA's number) says; ok is
// false when it does not know. It is asked about the suboptions of DHCPv6's option
// 17, of DHCPv4's option 125, and of RADIUS's Vendor-Specific.
type Vendor func(enterprise uint32, code int, data []byte) (f Field, ok bool)

// Write writes f and its parts, one a line, each level two spaces further in.
func (f Field) Write(w io.Writer) error { return f.write(w, "") }

func (f Field) write(w io.Writer, indent string) error {
	colon := ""
	if f.Value != "" {
		colon = ": "
	}
	if _, err := fmt.Fprintln(w, indent+f.Name+colon+f.Value); err != nil {
		return err
	}
	for _, part := range f.Fields {
		if err := part.write(w, indent+"  "); err != nil {
			return err
		}
	}
	return nil
}

// reading puts the data of one option in a Field without a name; ok is false when
// the data have not the form that the option's RFC gives them.
type reading func(b []byte) (f Field, ok bool)

// option is how an option is called and read.
type option struct {
	name string
	read reading
}

// field puts an option in words. known is false for one without a name.
func (o option) field(number int, known bool, b []byte) Field {
	if !known {
		return Field{Name: fmt.Sprintf("option %d", number), Value: hexOf(b)}
	}
	f, ok := o.read(b)
	if !ok {
		f = Field{Value: "malformed: " + hexOf(b)}
	}
	f.Name = o.name
	return f
}

// least is a reading of n bytes or more.
func least(n int, read func(b []byte) Field) reading {
	return func(b []byte) (Field, bool) {
		if len(b) < n {
			return Field{}, false
		}
		return read(b), true
	}
}

func hexOf(b []byte) string {
	if len(b) == 0 {
		return "empty"
	}
	return hex.EncodeToString(b)
}

func value(s string) (Field, bool) { return Field{Value: s}, true }

// quoted keeps what a terminal would obey away from it.
func quoted(b []byte) string {
	q := strconv.QuoteToASCII(string(b))
	if s := string(b); q == `"`+s+`"` {
		return s
	}
	return q
}

// The readings.

func raw(b []byte) (Field, bool)  { return value(hexOf(b)) }
func text(b []byte) (Field, bool) { return value(quoted(b)) }

func nothing(b []byte) (Field, bool) { return Field{}, len(b) == 0 }

// hidden is for what a secret could be guessed from.
func hidden(b []byte) (Field, bool) { return value(fmt.Sprintf("%d bytes, not shown", len(b))) }

func mac(b []byte) (Field, bool) {
	f, _ := value(net.HardwareAddr(b).String())
	return f, len(b) == 6
}

func number(b []byte) (Field, bool) {
	n, ok := unsigned(b)
	f, _ := value(strconv.FormatUint(uint64(n), 10))
	return f, ok
}

func seconds(b []byte) (Field, bool) {
	n, ok := unsigned(b)
	f, _ := value(lifetime(n, len(b)))
	return f, ok
}

func unsigned(b []byte) (uint32, bool) {
	switch len(b) {
	case 1:
		return uint32(b[0]), true
	case 2:
		return uint32(binary.BigEndian.Uint16(b)), true
	case 4:
		return binary.BigEndian.Uint32(b), true
	}
	return 0, false
}

// lifetime of n seconds that were size bytes on the wire: all ones of four bytes are
// infinity.
func lifetime(n uint32, size int) string {
	if n == 0xffffffff && size == 4 {
		return "infinity"
	}
	s := strconv.FormatUint(uint64(n), 10) + " s"
	if n >= 120 {
		s += " (" + (time.Duration(n) * time.Second).String() + ")"
	}
	return s
}

func milliseconds(n uint32) string {
	if n == 0 {
		return "unspecified"
	}
	return strconv.FormatUint(uint64(n), 10) + " ms"
}

func address(b []byte) string {
	a, ok := netip.AddrFromSlice(b)
	if !ok {
		return hexOf(b)
	}
	return a.String()
}

// addresses is a reading of addresses of size bytes each.
func addresses(size int) reading {
	return func(b []byte) (Field, bool) {
		var s []string
		ok := len(b) > 0 && len(b)%size == 0
		for ; len(b) >= size; b = b[size:] {
			s = append(s, address(b[:size]))
		}
		f, _ := value(strings.Join(s, ", "))
		return f, ok
	}
}

// domains reads names in DNS's wire form, which zeros may follow.
func domains(b []byte) (Field, bool) {
	var names []string
	for len(b) > 0 {
		name, rest, err := dnsname.Parse(b)
		if err != nil {
			return Field{}, false
		}
		if name != "" {
			names = append(names, name)
		}
		b = rest
	}
	return Field{Value: strings.Join(names, ", ")}, len(names) > 0
}
