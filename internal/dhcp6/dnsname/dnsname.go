package dnsname

import (
	"errors"
	"fmt"
	"strings"
)

// Limits of RFC 1035 2.3.4, in octets.
const (
	maxLabel = 63
	maxName  = 255 // the length octets and the root label included
)

// Errors of Parse and Append, wrapped with the place.
var (
	ErrTruncated = errors.New("truncated name")
	ErrPointer   = errors.New("compressed name")
	ErrLabel     = errors.New("label too long, empty, or with a character that is no letter, digit, '-' or '_'")
	ErrTooLong   = errors.New("name of more than 255 octets")
)

// Parse reads the name that b begins with and returns it without a trailing
// dot, and what follows it in b. The root alone is the empty string.
func Parse(b []byte) (name string, rest []byte, err error) {
	var s strings.Builder
	for i := 0; i < len(b); {
		n := int(b[i])
		switch {
		case n == 0:
			return s.String(), b[i+1:], nil
		case n >= 0xc0:
			return "", nil, fmt.Errorf("octet %d: %w", i, ErrPointer)
		case n > maxLabel:
			return "", nil, fmt.Errorf("octet %d: length %d: %w", i, n, ErrLabel)
		}
		if i+1+n+1 > maxName {
			return "", nil, ErrTooLong
		}
		if i+1+n > len(b) {
			return "", nil, ErrTruncated
		}
		label := string(b[i+1 : i+1+n])
		if !valid(label) {
			return "", nil, fmt.Errorf("octet %d: %w", i, ErrLabel)
		}
		if s.Len() > 0 {
			s.WriteByte('.')
		}
		s.WriteString(label)
		i += 1 + n
	}
	return "", nil, ErrTruncated
}

// Append adds the wire form of name, with or without its trailing dot, to b.
func Append(b []byte, name string) ([]byte, error) {
	name = strings.TrimSuffix(name, ".")
	if name == "" {
		return append(b, 0), nil
	}
	if len(name)+2 > maxName {
		return nil, ErrTooLong
	}
	for label := range strings.SplitSeq(name, ".") {
		if !valid(label) {
			return nil, fmt.Errorf("label %q: %w", label, ErrLabel)
		}
		b = append(b, byte(len(label)))
		b = append(b, label...)
	}
	return append(b, 0), nil
}

// valid tells whether label is one that the package lets through.
func valid(label string) bool {
	if len(label) == 0 || len(label) > maxLabel {
		return false
	}
	for _, c := range []byte(label) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}
