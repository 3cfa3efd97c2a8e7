package capture

import (
	"encoding/hex"
	"net"
	"net/netip"
	"strings"
	"time"
)

// Addr is what stands for an address; its zone goes.
func (r *Redactor) Addr(a netip.Addr) netip.Addr {
	b := a.AsSlice()
	r.addrs(b)
	a, _ = netip.AddrFromSlice(b)
	return a
}

// Prefix is what stands for an IPv6 prefix.
func (r *Redactor) Prefix(p netip.Prefix) netip.Prefix {
	if !p.IsValid() || p.Addr().Is4() {
		return netip.Prefix{}
	}
	b := p.Addr().As16()
	r.prefix6(b[:], p.Bits())
	return netip.PrefixFrom(netip.AddrFrom16(b), p.Bits())
}

// Number is what stands for a telephone number.
func (r *Redactor) Number(s string) string {
	b := []byte(s)
	r.digits(b)
	return string(b)
}

// leftOut stands for what may be an address in a form that is not known.
const leftOut = "(left out)"

// longNumber is how many digits may tell whose line it is: seconds and bytes have fewer.
const longNumber = 7

// Words replaces the addresses and telephone numbers in a text for people, which may get
// longer or shorter by it. What may be one in a form that is not known is left out.
func (r *Redactor) Words(s string) string {
	part := func(c byte) bool {
		return c == ':' || c == '.' || c == '-' || '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		j := i
		for j < len(s) && part(s[j]) {
			j++
		}
		if i == j {
			b.WriteByte(s[i])
			i++
			continue
		}
		// A full stop, a dash or a colon behind a word is none of it, a double colon is.
		word := strings.TrimLeft(s[i:j], ".-")
		b.WriteString(s[i : j-len(word)])
		end := strings.TrimRight(word, ".-")
		if strings.HasSuffix(end, ":") && !strings.HasSuffix(end, "::") {
			end = end[:len(end)-1]
		}
		b.WriteString(r.replace(end))
		b.WriteString(word[len(end):])
		i = j
	}
	return b.String()
}

// replace is what stands for one word.
func (r *Redactor) replace(s string) string {
	if isDate(s) {
		return s
	}
	if text, ok := r.station(s); ok {
		return text
	}
	// The client identifier of a station (RFC 8415 11.4).
	const duidLL = "00030001"
	if rest, ok := strings.CutPrefix(strings.ToLower(s), duidLL); ok {
		if text, ok := r.station(rest); ok {
			return duidLL + text
		}
	}
	// Four groups are a prefix.
	if len(s) == 19 && strings.Count(s, ":") == 3 && !strings.Contains(s, "::") {
		if a, err := netip.ParseAddr(s + "::"); err == nil {
			return r.Addr(a).StringExpanded()[:19]
		}
	}
	if a, err := netip.ParseAddr(s); err == nil {
		if expanded := a.StringExpanded(); strings.EqualFold(s, expanded) && s != a.String() {
			return r.Addr(a).StringExpanded()
		}
		return r.Addr(a).String()
	}
	if a, err := netip.ParseAddrPort(s); err == nil {
		return netip.AddrPortFrom(r.Addr(a.Addr()), a.Port()).String()
	}
	if number := strings.ReplaceAll(s, "-", ""); len(number) >= longNumber && digits(number) == len(number) {
		return r.Number(number)
	}
	if before, after, ok := strings.Cut(s, ":"); ok && !strings.Contains(after, ":") {
		return r.replace(before) + ":" + r.replace(after)
	}
	if strings.Contains(s, ":") || dotted(s) || hexRun(s) >= 8 || digits(s) >= longNumber {
		return leftOut
	}
	return s
}

// digits is how many decimal digits there are.
func digits(s string) (n int) {
	for i := range len(s) {
		if '0' <= s[i] && s[i] <= '9' {
			n++
		}
	}
	return n
}

// dotted tells what may have an IPv4 address in it: four labels and more, of which two that
// follow each other are numbers.
func dotted(s string) bool {
	labels := strings.Split(s, ".")
	number := func(label string) bool { return label != "" && strings.Trim(label, "0123456789") == "" }
	for i := range labels[1:] {
		if len(labels) > 3 && number(labels[i]) && number(labels[i+1]) {
			return true
		}
	}
	return false
}

// station replaces a MAC address in its usual forms.
func (r *Redactor) station(s string) (string, bool) {
	mac, err := net.ParseMAC(s)
	if len(s) == 12 {
		mac, err = hex.DecodeString(s)
	}
	// Those of groups are made of other addresses (RFC 2464 7).
	if err != nil || len(mac) != 6 || mac[0]&1 != 0 {
		return "", false
	}
	r.mac(mac)
	if len(s) == 12 {
		return hex.EncodeToString(mac), true
	}
	return mac.String(), true
}

// isDate tells 2026-04-01 and 12:34:56 from telephone numbers and addresses.
func isDate(s string) bool {
	for _, layout := range []string{time.DateOnly, time.TimeOnly} {
		if _, err := time.Parse(layout, s); err == nil && len(s) == len(layout) {
			return true
		}
	}
	return false
}

// hexRun is the length of the longest run of hexadecimal digits.
func hexRun(s string) (longest int) {
	n := 0
	for i := range len(s) {
		if c := s[i]; '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f' {
			n++
		} else {
			n = 0
		}
		longest = max(longest, n)
	}
	return longest
}
