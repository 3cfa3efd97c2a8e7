package ntt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/insomniacslk/dhcp/dhcpv6"

	"sofutobanku/internal/dhcp6/dnsname"
)

// Enterprise is NTT's IANA enterprise number.
const Enterprise = 210

// Codes of the suboptions.
const (
	CodeMAC    = 201 // the terminal's MAC address, 6 octets
	CodeMain   = 202 // the main telephone number, ASCII digits
	CodeNumber = 203 // a further telephone number, may be repeated
	CodeDomain = 204 // the SIP domain, a name in DNS wire form
	CodeHost   = 210 // the firmware server's host name, in DNS wire form
)

// Limits that keep a hostile reply small.
const (
	maxSuboptions = 64
	maxDigits     = 32 // a national number has 10 or 11, E.164 allows 15
)

// Errors that the parsers and encoders wrap.
var (
	ErrTruncated = errors.New("truncated")
	ErrTooMany   = errors.New("more than 64 suboptions")
	ErrTooLong   = errors.New("does not fit its length field")
	ErrNoNTT     = errors.New("nothing of enterprise 210")
)

// Suboption is one suboption as it came.
type Suboption struct {
	Code uint16
	Data []byte
}

// ParseDHCPv6 splits the payload of a DHCPv6 option 17 (what follows the
// enterprise number) into suboptions. With an error, what was read before the
// fault is returned too.
func ParseDHCPv6(data []byte) ([]Suboption, error) {
	return parse(data, 4, func(h []byte) (uint16, int) {
		return binary.BigEndian.Uint16(h), int(binary.BigEndian.Uint16(h[2:]))
	})
}

// ParseDHCPv4 splits what follows the enterprise number and its length octet in
// a DHCPv4 option 125 (see FromDHCPv4) into suboptions. With an error, what was
// read before the fault is returned too.
func ParseDHCPv4(data []byte) ([]Suboption, error) {
	return parse(data, 2, func(h []byte) (uint16, int) { return uint16(h[0]), int(h[1]) })
}

// parse walks suboptions whose header of the given size head reads.
func parse(data []byte, header int, head func([]byte) (code uint16, n int)) ([]Suboption, error) {
	var subs []Suboption
	for at := 0; at < len(data); {
		if len(subs) == maxSuboptions {
			return subs, fmt.Errorf("ntt: %w", ErrTooMany)
		}
		if len(data)-at < header {
			return subs, fmt.Errorf("ntt: octet %d: suboption header: %w", at, ErrTruncated)
		}
		code, n := head(data[at:])
		if n > len(data)-at-header {
			return subs, fmt.Errorf("ntt: octet %d: suboption %d of %d octets: %w", at, code, n, ErrTruncated)
		}
		at += header
		subs = append(subs, Suboption{Code: code, Data: bytes.Clone(data[at : at+n : at+n])})
		at += n
	}
	return subs, nil
}

// EncodeDHCPv6 is the inverse of ParseDHCPv6.
func EncodeDHCPv6(subs []Suboption) ([]byte, error) {
	var b []byte
	for _, s := range subs {
		if len(s.Data) > 0xffff {
			return nil, fmt.Errorf("ntt: suboption %d of %d octets: %w", s.Code, len(s.Data), ErrTooLong)
		}
		b = binary.BigEndian.AppendUint16(b, s.Code)
		b = binary.BigEndian.AppendUint16(b, uint16(len(s.Data)))
		b = append(b, s.Data...)
	}
	return b, nil
}

// EncodeDHCPv4 is the inverse of ParseDHCPv4. Codes and lengths are 0 to 255.
func EncodeDHCPv4(subs []Suboption) ([]byte, error) {
	var b []byte
	for _, s := range subs {
		if s.Code > 0xff || len(s.Data) > 0xff {
			return nil, fmt.Errorf("ntt: suboption %d of %d octets: %w", s.Code, len(s.Data), ErrTooLong)
		}
		b = append(b, byte(s.Code), byte(len(s.Data)))
		b = append(b, s.Data...)
	}
	return b, nil
}

// FromDHCPv4 returns NTT's part of the data of a DHCPv4 option 124 or 125: each
// enterprise there has its number, a length octet and that many octets
// (RFC 3925 section 3). Parts of other enterprises are skipped.
func FromDHCPv4(option []byte) ([]byte, error) {
	for rest := option; len(rest) > 0; {
		if len(rest) < 5 || len(rest) < 5+int(rest[4]) {
			return nil, fmt.Errorf("ntt: vendor option: %w", ErrTruncated)
		}
		n := int(rest[4])
		if binary.BigEndian.Uint32(rest) == Enterprise {
			return rest[5 : 5+n : 5+n], nil
		}
		rest = rest[5+n:]
	}
	return nil, fmt.Errorf("ntt: vendor option: %w", ErrNoNTT)
}

// ToDHCPv4 frames payload, of at most 250 octets, as the data of a DHCPv4
// option 124 or 125.
func ToDHCPv4(payload []byte) ([]byte, error) {
	if len(payload) > 250 { // the option's own length octet counts number and length too
		return nil, fmt.Errorf("ntt: vendor option of %d octets: %w", len(payload), ErrTooLong)
	}
	b := binary.BigEndian.AppendUint32(nil, Enterprise)
	b = append(b, byte(len(payload)))
	return append(b, payload...), nil
}

// Info is what the known suboptions say.
type Info struct {
	MAC     net.HardwareAddr // of the telephone terminal, nil when not given
	Main    string           // the main telephone number, empty when not given
	Numbers []string         // all telephone numbers once each, Main first if there is one
	Domain  string           // the SIP domain, without a trailing dot
	Host    string           // the firmware server, without a trailing dot
	Unknown []Suboption      // the others, as they came
}

// Interpret reads the known suboptions. A malformed one, or one that contradicts
// an earlier one of its kind, is left out and reported; the others stand.
func Interpret(subs []Suboption) (Info, []error) {
	var info Info
	var further []string
	var errs []error
	// once keeps the first value of a suboption that may come once.
	once := func(have *string, value string) error {
		if *have != "" && *have != value {
			return errors.New("a second, different value")
		}
		*have = value
		return nil
	}
	for _, s := range subs {
		var err error
		var value string
		switch s.Code {
		case CodeMAC:
			switch {
			case !validMAC(s.Data):
				err = fmt.Errorf("% x is not a MAC address", truncate(s.Data))
			case info.MAC != nil && !bytes.Equal(info.MAC, s.Data):
				err = errors.New("a second, different value")
			default:
				info.MAC = bytes.Clone(s.Data)
			}
		case CodeMain:
			if value, err = digits(s.Data); err == nil {
				err = once(&info.Main, value)
			}
		case CodeNumber:
			if value, err = digits(s.Data); err == nil && !slices.Contains(further, value) {
				further = append(further, value)
			}
		case CodeDomain:
			if value, err = name(s.Data); err == nil {
				err = once(&info.Domain, value)
			}
		case CodeHost:
			if value, err = name(s.Data); err == nil {
				err = once(&info.Host, value)
			}
		default:
			info.Unknown = append(info.Unknown, Suboption{Code: s.Code, Data: bytes.Clone(s.Data)})
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("ntt: suboption %d: %w", s.Code, err))
		}
	}
	if info.Main != "" {
		info.Numbers = append(info.Numbers, info.Main)
	}
	for _, n := range further {
		if n != info.Main {
			info.Numbers = append(info.Numbers, n)
		}
	}
	return info, errs
}

// Suboptions is the inverse of Interpret in canonical form: the known ones by
// code, then the unknown ones in their order. It fails on a value that
// Interpret would not have let through.
func (i Info) Suboptions() ([]Suboption, error) {
	var subs []Suboption
	add := func(code uint16, data []byte) { subs = append(subs, Suboption{Code: code, Data: data}) }
	if i.MAC != nil {
		if !validMAC(i.MAC) {
			return nil, fmt.Errorf("ntt: terminal MAC %q", i.MAC)
		}
		add(CodeMAC, bytes.Clone(i.MAC))
	}
	if i.Main != "" {
		add(CodeMain, []byte(i.Main))
	}
	for _, n := range i.Numbers {
		if n != i.Main {
			add(CodeNumber, []byte(n))
		}
	}
	for _, s := range subs {
		if s.Code == CodeMAC {
			continue
		}
		if _, err := digits(s.Data); err != nil {
			return nil, fmt.Errorf("ntt: suboption %d: %w", s.Code, err)
		}
	}
	for _, n := range []struct {
		code uint16
		name string
	}{{CodeDomain, i.Domain}, {CodeHost, i.Host}} {
		if n.name == "" {
			continue
		}
		data, err := dnsname.Append(nil, n.name)
		if err != nil {
			return nil, fmt.Errorf("ntt: suboption %d: %w", n.code, err)
		}
		add(n.code, data)
	}
	for _, s := range i.Unknown {
		add(s.Code, bytes.Clone(s.Data))
	}
	return subs, nil
}

// Describe is how a suboption of an enterprise is called, and its value in words; ok is
// false of another enterprise, of an unknown suboption and of a malformed one.
func Describe(enterprise uint32, code int, data []byte) (called, shown string, ok bool) {
	if enterprise != Enterprise || code < 0 || code > 0xffff {
		return "", "", false
	}
	i, bad := Interpret([]Suboption{{uint16(code), data}})
	if len(bad) > 0 {
		return "", "", false
	}
	switch code {
	case CodeMAC:
		return "terminal's MAC address", i.MAC.String(), true
	case CodeMain:
		return "main telephone number", i.Main, true
	case CodeNumber:
		return "further telephone number", i.Numbers[0], true
	case CodeDomain:
		return "SIP domain", i.Domain, true
	case CodeHost:
		return "firmware server", i.Host, true
	}
	return "", "", false
}

// RequestedOptions are the only ones that the line accepts in a DHCPv6 option request.
func RequestedOptions() []dhcpv6.OptionCode {
	return []dhcpv6.OptionCode{
		dhcpv6.OptionVendorOpts, dhcpv6.OptionSIPServersIPv6AddressList, dhcpv6.OptionDNSRecursiveNameServer,
		dhcpv6.OptionDomainSearchList, dhcpv6.OptionSNTPServerList,
	}
}

// RequestedOptionsDHCPv4 are those that a telephone terminal asks for by DHCPv4: mask,
// router, SIP servers, classless routes, and NTT's own information.
func RequestedOptionsDHCPv4() []byte { return []byte{1, 3, 120, 121, 125} }

// VendorClass is the DHCPv6 option 16 by which a telephone terminal asks for
// NTT's information; mac is the terminal's.
func VendorClass(mac net.HardwareAddr) dhcpv6.Option {
	return &dhcpv6.OptVendorClass{EnterpriseNumber: Enterprise, Data: [][]byte{bytes.Clone(mac)}}
}

// VendorClassDHCPv4 is the data of the DHCPv4 option 124 that does the same.
func VendorClassDHCPv4(mac net.HardwareAddr) ([]byte, error) {
	if !validMAC(mac) {
		return nil, fmt.Errorf("ntt: terminal MAC %q", mac)
	}
	return ToDHCPv4(append([]byte{byte(len(mac))}, mac...))
}

// ParseVendorClass returns the MAC address in the data of a DHCPv6 option 16.
func ParseVendorClass(option []byte) (net.HardwareAddr, error) {
	if len(option) < 4 {
		return nil, fmt.Errorf("ntt: vendor class: %w", ErrTruncated)
	}
	if binary.BigEndian.Uint32(option) != Enterprise {
		return nil, fmt.Errorf("ntt: vendor class: %w", ErrNoNTT)
	}
	if len(option) != 12 || binary.BigEndian.Uint16(option[4:]) != 6 || !validMAC(option[6:]) {
		return nil, fmt.Errorf("ntt: vendor class: % x is not one MAC address of 6 octets", truncate(option[4:]))
	}
	return bytes.Clone(option[6:]), nil
}

// ParseVendorClassDHCPv4 returns the MAC address in the data of a DHCPv4
// option 124.
func ParseVendorClassDHCPv4(option []byte) (net.HardwareAddr, error) {
	data, err := FromDHCPv4(option)
	if err != nil {
		return nil, err
	}
	if len(data) != 7 || data[0] != 6 || !validMAC(data[1:]) {
		return nil, fmt.Errorf("ntt: vendor class: % x is not one MAC address of 6 octets", truncate(data))
	}
	return bytes.Clone(data[1:]), nil
}

// validMAC tells whether b is the address of one station.
func validMAC(b []byte) bool {
	return len(b) == 6 && b[0]&1 == 0 && !bytes.Equal(b, make([]byte, 6))
}

// digits reads a telephone number.
func digits(b []byte) (string, error) {
	if len(b) == 0 || len(b) > maxDigits {
		return "", fmt.Errorf("a telephone number of %d characters, accepted: 1 to %d", len(b), maxDigits)
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return "", errors.New("a telephone number of other characters than 0 to 9")
		}
	}
	return string(b), nil
}

// name reads exactly one domain name.
func name(b []byte) (string, error) {
	s, rest, err := dnsname.Parse(b)
	switch {
	case err != nil:
		return "", err
	case len(rest) > 0:
		return "", fmt.Errorf("%d octets after the name", len(rest))
	case s == "":
		return "", errors.New("an empty name")
	}
	return s, nil
}

// truncate keeps an error message short.
func truncate(b []byte) []byte { return b[:min(len(b), 16)] }
