package ra

import (
	"encoding/binary"
	"net/netip"
	"strings"
)

// infinity is the lifetime on the wire that never ends.
const infinity = 0xffffffff

// Types and options of the messages (RFC 4861 4, RFC 4191 2.3, RFC 8106 5).
const (
	typeAdvertisement = 134

	optPrefix = 3
	optMTU    = 5
	optRoute  = 24
	optDNS    = 25
	optDomain = 31
)

// drop is the reason to drop a whole message; it is its counter's name too.
type drop string

func (d drop) Error() string { return string(d) }

const (
	dropHopLimit    drop = "ra.drop.hop-limit"
	dropSource      drop = "ra.drop.source"
	dropTooLong     drop = "ra.drop.too-long"
	dropShort       drop = "ra.drop.short"
	dropType        drop = "ra.drop.type"
	dropCode        drop = "ra.drop.code"
	dropZeroOption  drop = "ra.drop.option-length-zero"
	dropOverrun     drop = "ra.drop.option-overrun"
	dropManyRouters drop = "ra.drop.too-many-routers"
)

// Counters of options that were skipped in a message that was used.
const (
	badPrefix = "ra.option.prefix-malformed"
	badMTU    = "ra.option.mtu-malformed"
	badRoute  = "ra.option.route-malformed"
	badDNS    = "ra.option.dns-malformed"
	badDomain = "ra.option.domain-malformed"
)

// message is a router advertisement as it stands on the wire: well-formed, its
// values not yet judged. Lifetimes are in seconds.
type message struct {
	hopLimit           uint8
	managed, other     bool
	preference         int // 1 high, 0 medium, -1 low
	lifetime           uint16
	reachable, retrans uint32 // milliseconds
	mtu                uint32 // bytes; 0: no such option
	prefixes           []prefixOption
	routes             []routeOption
	dns                []dnsOption
	domains            []domainOption
}

type prefixOption struct {
	prefix             netip.Prefix
	onLink, autonomous bool
	valid, preferred   uint32
}

type routeOption struct {
	prefix     netip.Prefix
	preference int
	lifetime   uint32
}

type dnsOption struct {
	addr     netip.Addr
	lifetime uint32
}

type domainOption struct {
	name     string
	lifetime uint32
}

// decode reads an ICMPv6 router advertisement (RFC 4861 4.2) and makes the
// checks of RFC 4861 6.1.2 that the bytes alone allow; its error is a drop. A
// malformed option is skipped and handed to count as a counter's name.
func decode(b []byte, count func(name string)) (message, error) {
	var m message
	if len(b) < 16 {
		return m, dropShort
	}
	if b[0] != typeAdvertisement {
		return m, dropType
	}
	if b[1] != 0 {
		return m, dropCode
	}
	m.hopLimit = b[4]
	m.managed = b[5]&0x80 != 0
	m.other = b[5]&0x40 != 0
	m.preference, _ = preference(b[5])
	m.lifetime = binary.BigEndian.Uint16(b[6:])
	m.reachable = binary.BigEndian.Uint32(b[8:])
	m.retrans = binary.BigEndian.Uint32(b[12:])

	for rest := b[16:]; len(rest) > 0; {
		if len(rest) < 2 {
			return message{}, dropOverrun
		}
		n := int(rest[1]) * 8
		if n == 0 {
			return message{}, dropZeroOption
		}
		if n > len(rest) {
			return message{}, dropOverrun
		}
		if bad := m.option(rest[:n]); bad != "" {
			count(bad)
		}
		rest = rest[n:]
	}
	return m, nil
}

// option adds one option, whose length field equals len(o), to m. It returns
// the counter of what is wrong with it, "" when nothing is. Unknown options are
// ignored (RFC 4861 6.2.7).
func (m *message) option(o []byte) (bad string) {
	switch o[0] {
	case optPrefix:
		if len(o) != 32 || o[2] > 128 {
			return badPrefix
		}
		m.prefixes = append(m.prefixes, prefixOption{
			prefix:     prefixOf(o[16:], o[2]),
			onLink:     o[3]&0x80 != 0,
			autonomous: o[3]&0x40 != 0,
			valid:      binary.BigEndian.Uint32(o[4:]),
			preferred:  binary.BigEndian.Uint32(o[8:]),
		})
	case optMTU:
		if len(o) != 8 || binary.BigEndian.Uint32(o[4:]) == 0 {
			return badMTU
		}
		m.mtu = binary.BigEndian.Uint32(o[4:])
	case optRoute:
		// The prefix field holds 0, 8 or 16 bytes, at least what the prefix
		// needs. The reserved preference voids the option (RFC 4191 2.3).
		pref, ok := preference(o[3])
		if len(o) > 24 || o[2] > 128 || int(o[2]) > (len(o)-8)*8 || !ok {
			return badRoute
		}
		m.routes = append(m.routes, routeOption{
			prefix:     prefixOf(o[8:], o[2]),
			preference: pref,
			lifetime:   binary.BigEndian.Uint32(o[4:]),
		})
	case optDNS:
		if len(o) < 24 || len(o)%16 != 8 {
			return badDNS
		}
		for a := o[8:]; len(a) > 0; a = a[16:] {
			m.dns = append(m.dns, dnsOption{
				addr:     netip.AddrFrom16([16]byte(a[:16])),
				lifetime: binary.BigEndian.Uint32(o[4:]),
			})
		}
	case optDomain:
		if len(o) < 16 {
			return badDomain
		}
		lifetime := binary.BigEndian.Uint32(o[4:])
		for names := o[8:]; len(names) > 0 && names[0] != 0; {
			name, n := domain(names)
			if name != "" {
				m.domains = append(m.domains, domainOption{name, lifetime})
			} else {
				bad = badDomain
			}
			names = names[n:]
		}
	}
	return bad
}

// preference reads the two bits of RFC 4191 2.1; ok is false for the reserved
// value, which a router's own preference takes for medium.
func preference(flags byte) (pref int, ok bool) {
	switch flags >> 3 & 3 {
	case 1:
		return 1, true
	case 3:
		return -1, true
	case 2:
		return 0, false
	}
	return 0, true
}

// prefixOf takes the first bits of b, at most 16 bytes, for a prefix.
func prefixOf(b []byte, bits uint8) netip.Prefix {
	var a [16]byte
	copy(a[:], b)
	return netip.PrefixFrom(netip.AddrFrom16(a), int(bits)).Masked()
}

// domain reads one name in DNS wire form (RFC 1035 3.1, never compressed) and
// the number of bytes it takes. The name is "" when it is not one that may be
// written to a resolver's file; the bytes are all that is left when the end of
// the name cannot be known.
func domain(b []byte) (name string, n int) {
	var labels []string
	ok := true
	for {
		if n >= len(b) || b[n] > 63 || n+1+int(b[n]) > len(b) {
			return "", len(b)
		}
		label := b[n+1 : n+1+int(b[n])]
		n += 1 + len(label)
		if len(label) == 0 {
			break
		}
		for _, c := range label {
			ok = ok && (c == '-' || c == '_' || '0' <= c && c <= '9' ||
				'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z')
		}
		labels = append(labels, strings.ToLower(string(label)))
	}
	name = strings.Join(labels, ".")
	if !ok || len(name) > 253 {
		return "", n
	}
	return name, n
}
