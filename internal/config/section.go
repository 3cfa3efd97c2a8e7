package config

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Section is one interface section. Its getters return the option's value, or
// the default when the option is absent; a value that is not accepted is
// remembered for [Section.Err], and the default returned. A Section is for one
// goroutine.
type Section struct {
	file, name string
	values     func(opt string) []string // one of an option, more of a list, nil without it
	errs       []error
}

// Name is the name of the interface.
func (s *Section) Name() string { return s.name }

// Err is everything that the getters found wrong, one error a line in the order
// in which the options were read, or nil.
func (s *Section) Err() error { return errors.Join(s.errs...) }

// Invalid records that the option's value is not accepted, for rules that the
// getters do not know; accepted says what would be. The value is quoted in the
// error: of a secret use the getter alone.
func (s *Section) Invalid(opt, accepted string) {
	s.invalid(opt, strings.Join(s.values(opt), " "), accepted)
}

func (s *Section) invalid(opt, value, accepted string) {
	hint := ""
	for _, v := range s.values(opt) {
		// A forgotten quote makes the following lines part of the value, and one
		// of them may hold a secret.
		if first, _, found := strings.Cut(strings.TrimSpace(v), "\n"); found {
			value, hint = first, " (and further lines: is a quote missing?)"
			break
		}
	}
	const most = 80
	if len(value) > most {
		value = strings.ToValidUTF8(value[:most], "") + "…"
	}
	value = strconv.Quote(value)
	value = value[1 : len(value)-1]
	s.fail(opt, fmt.Sprintf("value '%s'%s: accepted: %s", value, hint, accepted))
}

func (s *Section) fail(opt, text string) {
	err := fmt.Errorf("%s: interface '%s': option '%s': %s", s.file, s.name, opt, text)
	// Two packages may read the same option.
	if !slices.ContainsFunc(s.errs, func(e error) bool { return e.Error() == err.Error() }) {
		s.errs = append(s.errs, err)
	}
}

// Require records an error if the option is absent; what says what belongs
// there and where it comes from. It tells whether the option is present.
func (s *Section) Require(opt, what string) bool {
	if s.Has(opt) {
		return true
	}
	s.fail(opt, "missing, but required: "+what)
	return false
}

// Has tells whether the option is present and not empty.
func (s *Section) Has(opt string) bool {
	return strings.TrimSpace(strings.Join(s.values(opt), "")) != ""
}

// scalar is the one value of an option without white space around it; ok is
// false if it is absent or, which is an error, a list of several.
func (s *Section) scalar(opt string) (v string, ok bool) {
	values := s.values(opt)
	if len(values) > 1 {
		s.invalid(opt, strings.Join(values, " "), "one value, not a list")
		return "", false
	}
	v = strings.TrimSpace(strings.Join(values, ""))
	return v, v != ""
}

// String accepts anything on one line.
func (s *Section) String(opt, def string) string {
	v, ok := s.scalar(opt)
	if !ok {
		return def
	}
	if strings.Contains(v, "\n") {
		s.invalid(opt, v, "a value on one line")
		return def
	}
	return v
}

// maxList bounds the values of a list: what is done with each, and said of each
// that is wrong, must not grow with a damaged file.
const maxList = 64

// List returns the values of a list, at most 64. As in netifd one option with
// several values between white space is a list too. A value that is repeated in
// list lines counts once.
func (s *Section) List(opt string) []string {
	list := strings.Fields(strings.Join(s.values(opt), " "))
	if len(list) > maxList {
		s.Invalid(opt, fmt.Sprintf("at most %d values", maxList))
		list = list[:maxList]
	}
	return list
}

// Bool accepts what OpenWrt's scripts accept.
func (s *Section) Bool(opt string, def bool) bool {
	v, ok := s.scalar(opt)
	if !ok {
		return def
	}
	switch v {
	case "1", "on", "yes", "true", "enabled":
		return true
	case "0", "off", "no", "false", "disabled":
		return false
	}
	s.invalid(opt, v, "1, on, yes, true, enabled or 0, off, no, false, disabled")
	return def
}

// Int accepts a decimal number, or a hexadecimal one behind 0x, from lo to hi.
func (s *Section) Int(opt string, def, lo, hi int) int {
	return int(s.number(opt, int64(def), int64(lo), int64(hi), ""))
}

// Uint32 accepts what Int accepts, from 0 to 4294967295.
func (s *Section) Uint32(opt string, def uint32) uint32 {
	return uint32(s.number(opt, int64(def), 0, math.MaxUint32, ""))
}

// number is Int for any range; words, each with a comma behind it, are what the
// caller accepts besides.
func (s *Section) number(opt string, def, lo, hi int64, words string) int64 {
	v, ok := s.scalar(opt)
	if !ok {
		return def
	}
	digits, base := v, 10
	if h, ok := strings.CutPrefix(v, "0x"); ok {
		digits, base = h, 16
	}
	n, err := strconv.ParseInt(digits, base, 64)
	if err != nil || n < lo || n > hi {
		s.invalid(opt, v, fmt.Sprintf("%s%d to %d", words, lo, hi))
		return def
	}
	return n
}

// Enum accepts one of values.
func (s *Section) Enum(opt, def string, values ...string) string {
	v, ok := s.scalar(opt)
	if !ok {
		return def
	}
	if !slices.Contains(values, v) {
		s.invalid(opt, v, strings.Join(values, ", "))
		return def
	}
	return v
}

// Addr4 accepts a unicast IPv4 address; without one the result is invalid.
func (s *Section) Addr4(opt string) netip.Addr {
	v, ok := s.scalar(opt)
	if !ok {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(v)
	// 240.0.0.0/4 is reserved and ends in the broadcast address.
	if err != nil || !a.Is4() || !unicast(a) || a.As4()[0] >= 240 {
		s.invalid(opt, v, "an IPv4 address like 192.0.2.1")
		return netip.Addr{}
	}
	return a
}

// Addr6 accepts a unicast IPv6 address without a zone; without one the result
// is invalid.
func (s *Section) Addr6(opt string) netip.Addr {
	v, ok := s.scalar(opt)
	if !ok {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(v)
	if err != nil || !unicast6(a) {
		s.invalid(opt, v, "an IPv6 address like 2001:db8::1")
		return netip.Addr{}
	}
	return a
}

// AddrPorts6 accepts a list of IPv6 addresses, each as 2001:db8::1 with port
// def, or as [2001:db8::1]:1812 with a port of its own from 1 to 65535. Bad
// ones are left out.
func (s *Section) AddrPorts6(opt string, def uint16) []netip.AddrPort {
	var list []netip.AddrPort
	for _, v := range s.List(opt) {
		ap, ok := parseAddrPort6(v, def)
		if !ok {
			s.invalid(opt, v, fmt.Sprintf("IPv6 addresses like 2001:db8::1 or, with a port, [2001:db8::1]:%d", def))
			continue
		}
		list = append(list, ap)
	}
	return list
}

func parseAddrPort6(v string, def uint16) (ap netip.AddrPort, ok bool) {
	ap, err := netip.ParseAddrPort(v)
	if err != nil {
		if strings.HasPrefix(v, "[") && strings.HasSuffix(v, "]") {
			v = v[1 : len(v)-1]
		}
		a, err := netip.ParseAddr(v)
		if err != nil {
			return ap, false
		}
		ap = netip.AddrPortFrom(a, def)
	}
	return ap, unicast6(ap.Addr()) && ap.Port() != 0
}

func unicast6(a netip.Addr) bool {
	return a.Is6() && !a.Is4In6() && a.Zone() == "" && unicast(a)
}

func unicast(a netip.Addr) bool { return !a.IsUnspecified() && !a.IsMulticast() }

// MAC accepts an Ethernet address of one device as 00:00:5e:00:53:01,
// 00-00-5e-00-53-01 or 00005e005301; without one the result is nil.
func (s *Section) MAC(opt string) net.HardwareAddr {
	v, ok := s.scalar(opt)
	if !ok {
		return nil
	}
	mac, err := net.ParseMAC(v)
	if len(v) == 12 {
		mac, err = hex.DecodeString(v)
	}
	if err != nil || len(mac) != 6 || mac[0]&1 != 0 || [6]byte(mac) == [6]byte{} {
		s.invalid(opt, v, "the MAC address of one device (not a multicast one, not zero), like 00:00:5e:00:53:01")
		return nil
	}
	return mac
}

// Hex accepts lo to hi bytes as pairs of hexadecimal digits, which may be
// separated by colons; without them the result is nil.
func (s *Section) Hex(opt string, lo, hi int) []byte {
	v, ok := s.scalar(opt)
	if !ok {
		return nil
	}
	b, err := hex.DecodeString(v)
	if groups := strings.Split(v, ":"); len(groups) > 1 &&
		!slices.ContainsFunc(groups, func(g string) bool { return len(g) != 2 }) {
		b, err = hex.DecodeString(strings.Join(groups, ""))
	}
	if err != nil || len(b) < lo || len(b) > hi {
		s.invalid(opt, v, fmt.Sprintf("%d to %d bytes as pairs of hexadecimal digits", lo, hi))
		return nil
	}
	return b
}

// IID accepts an IPv6 interface identifier, the lower half of an address, as
// four groups 1111:1111:1111:1111 or as the address ::1111:1111:1111:1111. Zero
// is refused: it makes the subnet-router anycast address (RFC 4291 2.6.1).
func (s *Section) IID(opt string, def [8]byte) [8]byte {
	return s.iid(opt, def, "")
}

// iid is IID; words, each with a comma behind it, are what the caller accepts
// besides.
func (s *Section) iid(opt string, def [8]byte, words string) [8]byte {
	v, ok := s.scalar(opt)
	if !ok {
		return def
	}
	text := v
	if strings.Count(v, ":") == 3 && !strings.Contains(v, "::") {
		text = "::" + v
	}
	a, err := netip.ParseAddr(text)
	if err == nil && a.Is6() && a.Zone() == "" {
		b := a.As16()
		iid := [8]byte(b[8:])
		if [8]byte(b[:8]) == [8]byte{} && iid != [8]byte{} {
			return iid
		}
	}
	s.invalid(opt, v, words+"an interface identifier like 1111:1111:1111:1111 or ::1")
	return def
}

// Secret accepts lo to hi bytes of any kind, which no error ever shows. White
// space around them belongs to the secret.
func (s *Section) Secret(opt string, lo, hi int) Secret {
	if !s.Has(opt) {
		return Secret{}
	}
	values := s.values(opt)
	switch n := len(values[0]); {
	case len(values) > 1:
		s.fail(opt, "value '"+mask+"': accepted: one value, not a list")
		return Secret{}
	case n < lo || n > hi:
		s.fail(opt, fmt.Sprintf("value '%s': accepted: %d to %d bytes", mask, lo, hi))
		return Secret{}
	}
	return NewSecret(values[0])
}
