package hgw

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"sofutobanku/internal/dhcp6"
)

// Limits of what is kept of one message. An HGW sends one or two of each.
const (
	maxMessage   = 8192 // octets, longer ones are dropped
	maxIAs       = 4
	maxLeases    = 8 // of one IA
	maxRequested = 64
	maxDUID      = 130 // RFC 8415 11.1: type and 128 octets
)

var be = binary.BigEndian

// message is what the server keeps of a client's message. It refers to the octets that
// it was decoded from.
type message struct {
	kind               dhcpv6.MessageType
	xid                dhcpv6.TransactionID
	clientID, serverID []byte // nil: absent
	ias                []ia   // IA_NA and IA_PD, no two of one kind with one IAID
	requested          []dhcpv6.OptionCode
	vendorClass        []byte // nil: absent
	accept             bool   // Reconfigure Accept
}

// ia is an IA_NA or IA_PD (RFC 8415 21.4, 21.21) as a client sends it.
type ia struct {
	code   dhcpv6.OptionCode
	id     uint32
	leases []netip.Prefix // that it names, an address as a /128
	hint   int            // the first prefix length that it names, 0 for none
}

// Errors of decode and of its options.
var (
	errDUID    = errors.New("identifier of a wrong length")
	errLength  = errors.New("wrong length")
	errTooMany = errors.New("more of a kind than are kept")
)

// decode reads a client's message, of at least 4 octets. Each option that is malformed
// is left out and reported in bad; err is for a message that must not be used.
func decode(b []byte) (m message, bad []error, err error) {
	m.kind, m.xid = dhcpv6.MessageType(b[0]), dhcpv6.TransactionID(b[1:4])
	bad = dhcp6.Walk(b[4:], func(code dhcpv6.OptionCode, data []byte) error {
		switch code {
		case dhcpv6.OptionClientID, dhcpv6.OptionServerID:
			to := &m.clientID
			if code == dhcpv6.OptionServerID {
				to = &m.serverID
			}
			// Who has two identities, or one that is none, has none.
			if len(data) < 1 || len(data) > maxDUID || *to != nil && !bytes.Equal(*to, data) {
				err = errDUID
				return nil
			}
			*to = data
		case dhcpv6.OptionIANA, dhcpv6.OptionIAPD:
			return m.ia(code, data)
		case dhcpv6.OptionORO:
			if len(data)%2 != 0 {
				return errLength
			}
			for ; len(data) > 0; data = data[2:] {
				if len(m.requested) == maxRequested {
					return errTooMany
				}
				m.requested = append(m.requested, dhcpv6.OptionCode(be.Uint16(data)))
			}
		case dhcpv6.OptionVendorClass:
			if len(data) < 4 {
				return errLength
			}
			if m.vendorClass == nil {
				m.vendorClass = data
			}
		case dhcpv6.OptionReconfAccept:
			m.accept = true
		}
		return nil
	})
	return m, bad, err
}

// ia takes an IA_NA or IA_PD. A fault inside it costs only the option that has it.
func (m *message) ia(code dhcpv6.OptionCode, b []byte) error {
	if len(b) < 12 {
		return errLength
	}
	a := ia{code: code, id: be.Uint32(b)}
	if slices.ContainsFunc(m.ias, func(o ia) bool { return o.code == code && o.id == a.id }) {
		return nil
	}
	if len(m.ias) == maxIAs {
		return errTooMany
	}
	bad := dhcp6.Walk(b[12:], func(inner dhcpv6.OptionCode, b []byte) error {
		var p netip.Prefix
		switch {
		case inner == dhcpv6.OptionIAPrefix && code == dhcpv6.OptionIAPD:
			if len(b) < 25 || b[8] > 128 {
				return errLength
			}
			p = netip.PrefixFrom(netip.AddrFrom16([16]byte(b[9:25])), int(b[8])).Masked()
			if a.hint == 0 {
				a.hint = p.Bits()
			}
		case inner == dhcpv6.OptionIAAddr && code == dhcpv6.OptionIANA:
			if len(b) < 24 {
				return errLength
			}
			p = netip.PrefixFrom(netip.AddrFrom16([16]byte(b)), 128)
		default:
			return nil
		}
		// The unspecified address asks for any prefix of the length (RFC 8415 18.2.1).
		if p.Addr().IsUnspecified() || slices.Contains(a.leases, p) {
			return nil
		}
		if len(a.leases) == maxLeases {
			return errTooMany
		}
		a.leases = append(a.leases, p)
		return nil
	})
	m.ias = append(m.ias, a)
	return errors.Join(bad...)
}

// answer is an IA on its way back.
type answer struct {
	ia     *ia
	t1, t2 uint32 // seconds
	leases dhcpv6.Options
	status iana.StatusCode // 0, Success, is not told
}

// add gives the client p for so many seconds; 0 takes it back.
func (a *answer) add(p netip.Prefix, preferred, valid uint32) {
	code, data := dhcpv6.OptionIAAddr, p.Addr().AsSlice()
	if a.ia.code == dhcpv6.OptionIAPD {
		code = dhcpv6.OptionIAPrefix
		data = append([]byte{byte(p.Bits())}, data...)
		data = append(be.AppendUint32(be.AppendUint32(nil, preferred), valid), data...)
	} else {
		data = be.AppendUint32(be.AppendUint32(data, preferred), valid)
	}
	a.leases.Add(&dhcpv6.OptionGeneric{OptionCode: code, OptionData: data})
}

// option is a as an option.
func (a *answer) option() dhcpv6.Option {
	if a.status != iana.StatusSuccess {
		a.leases.Add(statusOption(a.status))
	}
	b := be.AppendUint32(nil, a.ia.id)
	b = be.AppendUint32(be.AppendUint32(b, a.t1), a.t2)
	return &dhcpv6.OptionGeneric{OptionCode: a.ia.code, OptionData: append(b, a.leases.ToBytes()...)}
}

func statusOption(code iana.StatusCode) dhcpv6.Option {
	return option(dhcpv6.OptionStatusCode, be.AppendUint16(nil, uint16(code))...)
}

func option(code dhcpv6.OptionCode, data ...byte) dhcpv6.Option {
	return &dhcpv6.OptionGeneric{OptionCode: code, OptionData: data}
}
