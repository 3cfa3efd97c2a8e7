package dhcp6

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"sofutobanku/internal/dhcp6/dnsname"
)

// Limits of what is kept of one message. The line gives one or two of each.
const (
	maxMessage  = 8192 // octets, longer ones are dropped
	maxIAs      = 4
	maxPrefixes = 8
	maxAddrs    = 16 // of each kind
	maxDomains  = 16
	maxVendors  = 8
	maxDUID     = 130 // RFC 8415 11.1: type and 128 octets
	maxText     = 200 // octets of a status message
)

// A delegated prefix shorter than minPrefixBits is no customer's, one longer
// than maxPrefixBits leaves no /64 for a link.
const (
	minPrefixBits = 24
	maxPrefixBits = 64
)

// infinity is the lifetime that never ends (RFC 8415 7.7).
const infinity = 0xffffffff

var be = binary.BigEndian

// message is what the client keeps of a DHCPv6 message. Absent and empty are
// the same. It holds no reference to the octets that it was decoded from.
type message struct {
	Type               dhcpv6.MessageType
	XID                dhcpv6.TransactionID
	ClientID, ServerID []byte
	Preference         uint8
	Status             status
	Auth               *auth
	ReconfigureMessage dhcpv6.MessageType // 0: absent
	Refresh            uint32             // information refresh time in seconds, 0: absent
	SolMaxRT, InfMaxRT uint32             // seconds, 0: absent or out of range
	IAs                []ia
	Info               Info
}

// status is a status code option; the zero value is Success.
type status struct {
	Code iana.StatusCode
	Text string
}

// ia is an IA_PD option (RFC 8415 21.21). Times are seconds.
type ia struct {
	ID       uint32
	T1, T2   uint32
	Prefixes []iaPrefix
	Status   status
}

// iaPrefix is an IA Prefix option (RFC 8415 21.22). Lifetimes are seconds.
type iaPrefix struct {
	Preferred, Valid uint32
	Prefix           netip.Prefix
}

// Errors of decode and of its options.
var (
	errHeader  = errors.New("shorter than a message header")
	errTooBig  = errors.New("longer than 8192 octets")
	errLength  = errors.New("wrong length")
	errNesting = errors.New("option beyond the end")
	errValue   = errors.New("value out of range")
	errTooMany = errors.New("more of a kind than are kept")
)

// decode reads a message. Each option that is malformed is left out and
// reported in bad, of which at most a few are kept; err is for a message of
// which nothing can be used.
func decode(b []byte) (m message, bad []error, err error) {
	switch {
	case len(b) < dhcpv6.MessageHeaderSize:
		return m, nil, errHeader
	case len(b) > maxMessage:
		return m, nil, errTooBig
	}
	m.Type = dhcpv6.MessageType(b[0])
	copy(m.XID[:], b[1:4])
	seen := make(map[dhcpv6.OptionCode]bool)
	bad = Walk(b[4:], func(code dhcpv6.OptionCode, data []byte) error {
		// Only these two may come more than once; of the others the first
		// well-formed one counts.
		if code == dhcpv6.OptionIAPD || code == dhcpv6.OptionVendorOpts {
			return m.option(code, data)
		}
		if seen[code] {
			return nil
		}
		err := m.option(code, data)
		if err == nil && len(seen) < 64 {
			seen[code] = true
		}
		return err
	})
	return m, bad, nil
}

// Walk calls f for each option in b and collects the faults, of which at most 8 are
// kept. An option that runs beyond the end is the last one.
func Walk(b []byte, f func(dhcpv6.OptionCode, []byte) error) (bad []error) {
	fault := func(err error) {
		if len(bad) < 8 {
			bad = append(bad, err)
		}
	}
	for len(b) > 0 {
		if len(b) < 4 {
			fault(errNesting)
			return bad
		}
		code, n := dhcpv6.OptionCode(be.Uint16(b)), int(be.Uint16(b[2:]))
		if n > len(b)-4 {
			fault(fmt.Errorf("option %d: %w", code, errNesting))
			return bad
		}
		if err := f(code, b[4:4+n]); err != nil {
			fault(fmt.Errorf("option %d: %w", code, err))
		}
		b = b[4+n:]
	}
	return bad
}

// option takes what is well-formed of one option into m.
func (m *message) option(code dhcpv6.OptionCode, b []byte) error {
	switch code {
	case dhcpv6.OptionClientID:
		return duid(&m.ClientID, b)
	case dhcpv6.OptionServerID:
		return duid(&m.ServerID, b)
	case dhcpv6.OptionPreference:
		if len(b) != 1 {
			return errLength
		}
		m.Preference = b[0]
	case dhcpv6.OptionStatusCode:
		return m.Status.decode(b)
	case dhcpv6.OptionAuth:
		a, err := decodeAuth(b)
		if err != nil {
			return err
		}
		m.Auth = a
	case dhcpv6.OptionReconfMessage:
		if len(b) != 1 {
			return errLength
		}
		m.ReconfigureMessage = dhcpv6.MessageType(b[0])
	case dhcpv6.OptionInformationRefreshTime:
		if len(b) != 4 {
			return errLength
		}
		m.Refresh = be.Uint32(b)
	case dhcpv6.OptionSolMaxRT:
		return maxRT(&m.SolMaxRT, b)
	case dhcpv6.OptionInfMaxRT:
		return maxRT(&m.InfMaxRT, b)
	case dhcpv6.OptionIAPD:
		return m.ia(b)
	case dhcpv6.OptionDNSRecursiveNameServer:
		return addrs(&m.Info.DNS, b)
	case dhcpv6.OptionSNTPServerList:
		return addrs(&m.Info.SNTP, b)
	case dhcpv6.OptionSIPServersIPv6AddressList:
		return addrs(&m.Info.SIP, b)
	case dhcpv6.OptionDomainSearchList:
		return domains(&m.Info.Domains, b)
	case dhcpv6.OptionVendorOpts:
		if len(b) < 4 {
			return errLength
		}
		if len(m.Info.Vendor) == maxVendors {
			return errTooMany
		}
		m.Info.Vendor = append(m.Info.Vendor, Vendor{Enterprise: be.Uint32(b), Data: bytes.Clone(b[4:])})
	}
	return nil
}

// ia takes an IA_PD option. A fault inside it costs only the option that has it.
func (m *message) ia(b []byte) error {
	if len(b) < 12 {
		return errLength
	}
	if len(m.IAs) == maxIAs {
		return errTooMany
	}
	a := ia{ID: be.Uint32(b), T1: be.Uint32(b[4:]), T2: be.Uint32(b[8:])}
	bad := Walk(b[12:], func(code dhcpv6.OptionCode, b []byte) error {
		switch code {
		case dhcpv6.OptionStatusCode:
			if a.Status.Code != iana.StatusSuccess {
				return nil
			}
			return a.Status.decode(b)
		case dhcpv6.OptionIAPrefix:
			p, err := decodePrefix(b)
			if err != nil {
				return err
			}
			if slices.ContainsFunc(a.Prefixes, func(q iaPrefix) bool { return q.Prefix == p.Prefix }) {
				return nil
			}
			if len(a.Prefixes) == maxPrefixes {
				return errTooMany
			}
			a.Prefixes = append(a.Prefixes, p)
		}
		return nil
	})
	m.IAs = append(m.IAs, a)
	return errors.Join(bad...)
}

// decodePrefix reads an IA Prefix option; options within it have no meaning for
// a client and are not looked at.
func decodePrefix(b []byte) (iaPrefix, error) {
	if len(b) < 25 {
		return iaPrefix{}, errLength
	}
	bits := int(b[8])
	if bits < minPrefixBits || bits > maxPrefixBits {
		return iaPrefix{}, fmt.Errorf("prefix length %d, accepted: %d to %d: %w", bits, minPrefixBits, maxPrefixBits, errValue)
	}
	p := iaPrefix{Preferred: be.Uint32(b), Valid: be.Uint32(b[4:])}
	// Bits beyond the length are to be ignored (RFC 8415 21.22).
	p.Prefix = netip.PrefixFrom(netip.AddrFrom16([16]byte(b[9:25])), bits).Masked()
	if !delegable(p.Prefix) {
		return iaPrefix{}, fmt.Errorf("prefix %v: %w", p.Prefix, errValue)
	}
	if p.Preferred > p.Valid {
		return iaPrefix{}, fmt.Errorf("prefix %v: preferred lifetime %d beyond the valid one, %d: %w", p.Prefix, p.Preferred, p.Valid, errValue)
	}
	return p, nil
}

// delegable tells whether p can be anybody's own prefix.
func delegable(p netip.Prefix) bool {
	a := p.Addr()
	return p.IsValid() && p == p.Masked() && p.Bits() >= minPrefixBits && p.Bits() <= maxPrefixBits &&
		usable(a) && !a.IsLinkLocalUnicast() && a.AsSlice()[0] != 0
}

// usable tells whether a is a station's IPv6 address.
func usable(a netip.Addr) bool {
	return a.Is6() && !a.Is4In6() && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast()
}

func duid(to *[]byte, b []byte) error {
	if len(b) < 1 || len(b) > maxDUID {
		return errLength
	}
	*to = bytes.Clone(b)
	return nil
}

// maxRT takes a SOL_MAX_RT or INF_MAX_RT option; outside 60 to 86400 seconds it
// is to be ignored (RFC 8415 21.24, 21.25).
func maxRT(to *uint32, b []byte) error {
	if len(b) != 4 {
		return errLength
	}
	v := be.Uint32(b)
	if v < 60 || v > 86400 {
		return errValue
	}
	*to = v
	return nil
}

// addrs takes a list of addresses; those that are no station's are left out.
func addrs(to *[]netip.Addr, b []byte) error {
	if len(b) == 0 || len(b)%16 != 0 {
		return errLength
	}
	var err error
	for ; len(b) > 0; b = b[16:] {
		a := netip.AddrFrom16([16]byte(b[:16]))
		switch {
		case !usable(a):
			err = errValue
		case slices.Contains(*to, a):
		case len(*to) == maxAddrs:
			return errTooMany
		default:
			*to = append(*to, a)
		}
	}
	return err
}

// domains takes a domain search list up to its first malformed name.
func domains(to *[]string, b []byte) error {
	for len(b) > 0 {
		name, rest, err := dnsname.Parse(b)
		if err != nil {
			return err
		}
		b = rest
		if name == "" || slices.Contains(*to, name) {
			continue
		}
		if len(*to) == maxDomains {
			return errTooMany
		}
		*to = append(*to, name)
	}
	return nil
}

func (s *status) decode(b []byte) error {
	if len(b) < 2 {
		return errLength
	}
	s.Code, s.Text = iana.StatusCode(be.Uint16(b)), printable(b[2:])
	return nil
}

// printable makes text from the network fit for a log line.
func printable(b []byte) string {
	b = bytes.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, b[:min(len(b), maxText)])
	return string(b)
}

// encode is the canonical form of m, with more options after its own.
func (m *message) encode(more ...dhcpv6.Option) []byte {
	out := dhcpv6.Message{MessageType: m.Type, TransactionID: m.XID}
	add := func(code dhcpv6.OptionCode, data []byte) {
		out.Options.Add(&dhcpv6.OptionGeneric{OptionCode: code, OptionData: data})
	}
	u32 := func(v uint32) []byte { return be.AppendUint32(nil, v) }
	if m.ClientID != nil {
		add(dhcpv6.OptionClientID, m.ClientID)
	}
	if m.ServerID != nil {
		add(dhcpv6.OptionServerID, m.ServerID)
	}
	if m.Preference != 0 {
		add(dhcpv6.OptionPreference, []byte{m.Preference})
	}
	if m.Status != (status{}) {
		add(dhcpv6.OptionStatusCode, m.Status.encode())
	}
	if m.Auth != nil {
		add(dhcpv6.OptionAuth, m.Auth.encode())
	}
	if m.ReconfigureMessage != 0 {
		add(dhcpv6.OptionReconfMessage, []byte{byte(m.ReconfigureMessage)})
	}
	if m.Refresh != 0 {
		add(dhcpv6.OptionInformationRefreshTime, u32(m.Refresh))
	}
	if m.SolMaxRT != 0 {
		add(dhcpv6.OptionSolMaxRT, u32(m.SolMaxRT))
	}
	if m.InfMaxRT != 0 {
		add(dhcpv6.OptionInfMaxRT, u32(m.InfMaxRT))
	}
	for _, a := range m.IAs {
		add(dhcpv6.OptionIAPD, a.encode())
	}
	for _, o := range m.Info.Options() {
		out.Options.Add(o)
	}
	for _, o := range more {
		out.Options.Add(o)
	}
	return out.ToBytes()
}

// Options are the options that tell i; i may be nil.
func (i *Info) Options() (out []dhcpv6.Option) {
	if i == nil {
		return nil
	}
	add := func(code dhcpv6.OptionCode, data []byte) {
		if data != nil {
			out = append(out, &dhcpv6.OptionGeneric{OptionCode: code, OptionData: data})
		}
	}
	addrs := func(list []netip.Addr) (b []byte) {
		for _, a := range list {
			b = append(b, a.AsSlice()...)
		}
		return b
	}
	add(dhcpv6.OptionSIPServersIPv6AddressList, addrs(i.SIP))
	add(dhcpv6.OptionDNSRecursiveNameServer, addrs(i.DNS))
	add(dhcpv6.OptionSNTPServerList, addrs(i.SNTP))
	var names []byte
	for _, d := range i.Domains {
		if b, err := dnsname.Append(names, d); err == nil {
			names = b
		}
	}
	add(dhcpv6.OptionDomainSearchList, names)
	for _, v := range i.Vendor {
		add(dhcpv6.OptionVendorOpts, append(be.AppendUint32(nil, v.Enterprise), v.Data...))
	}
	return out
}

func (a *ia) encode() []byte {
	var opts dhcpv6.Options
	for _, p := range a.Prefixes {
		b := be.AppendUint32(nil, p.Preferred)
		b = be.AppendUint32(b, p.Valid)
		b = append(b, byte(p.Prefix.Bits()))
		b = append(b, p.Prefix.Addr().AsSlice()...)
		opts.Add(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionIAPrefix, OptionData: b})
	}
	if a.Status != (status{}) {
		opts.Add(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionStatusCode, OptionData: a.Status.encode()})
	}
	b := be.AppendUint32(nil, a.ID)
	b = be.AppendUint32(b, a.T1)
	b = be.AppendUint32(b, a.T2)
	return append(b, opts.ToBytes()...)
}

func (s *status) encode() []byte {
	return append(be.AppendUint16(nil, uint16(s.Code)), s.Text...)
}
