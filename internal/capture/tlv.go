package capture

import (
	"encoding/binary"
	"errors"
)

// Option is an option of DHCP or of neighbour discovery, or an attribute of RADIUS. Data
// is a part of what it was read from.
type Option struct {
	Code uint16
	Data []byte
}

// ErrOption is returned for options of which one does not fit.
var ErrOption = errors.New("an option runs past the end")

// walk reads a list of options with heads of the given size. read tells an option's
// code and the whole of its length, head included.
func walk(b []byte, head int, read func([]byte) (code uint16, n int)) (list []Option, err error) {
	for len(b) > 0 {
		if len(b) < head {
			return list, ErrOption
		}
		code, n := read(b)
		if n < head || n > len(b) {
			return list, ErrOption
		}
		list = append(list, Option{code, b[head:n:n]})
		b = b[n:]
	}
	return list, nil
}

// DHCPv6Options reads what follows the header of a DHCPv6 message or is in one of its
// options (RFC 8415 21.1). With an error come all that stood before the fault.
func DHCPv6Options(b []byte) ([]Option, error) {
	return walk(b, 4, func(b []byte) (uint16, int) {
		return binary.BigEndian.Uint16(b), 4 + int(binary.BigEndian.Uint16(b[2:]))
	})
}

// Attributes reads what follows the header of a RADIUS packet (RFC 2865 5), or the
// vendor in a Vendor-Specific attribute. With an error come all that stood before the
// fault.
func Attributes(b []byte) ([]Option, error) {
	return walk(b, 2, func(b []byte) (uint16, int) { return uint16(b[0]), int(b[1]) })
}

// suboptions reads suboptions of DHCPv4, whose lengths do not count the head.
func suboptions(b []byte) ([]Option, error) {
	return walk(b, 2, func(b []byte) (uint16, int) { return uint16(b[0]), 2 + int(b[1]) })
}

// neighbourOptions reads the options of neighbour discovery (RFC 4861 4.6).
func neighbourOptions(b []byte) ([]Option, error) {
	return walk(b, 2, func(b []byte) (uint16, int) { return uint16(b[0]), 8 * int(b[1]) })
}

// DHCPv4Options reads what follows the magic cookie of a DHCPv4 message (RFC 2131 3) up
// to the end option. With an error come all that stood before the fault.
func DHCPv4Options(b []byte) ([]Option, error) {
	var list []Option
	for len(b) > 0 && b[0] != 255 {
		if b[0] == 0 { // padding
			b = b[1:]
			continue
		}
		if len(b) < 2 || 2+int(b[1]) > len(b) {
			return list, ErrOption
		}
		n := 2 + int(b[1])
		list = append(list, Option{uint16(b[0]), b[2:n:n]})
		b = b[n:]
	}
	return list, nil
}
