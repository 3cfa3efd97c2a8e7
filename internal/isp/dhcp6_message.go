package isp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/insomniacslk/dhcp/dhcpv6"
)

// enterpriseNTT is the IANA enterprise number of options 16 and 17.
const enterpriseNTT = 210

// Options without a type of their own in package dhcpv6.
const (
	optRapidCommit   = dhcpv6.OptionRapidCommit
	optAuth          = dhcpv6.OptionAuth
	optReconfMessage = dhcpv6.OptionReconfMessage
	optReconfAccept  = dhcpv6.OptionReconfAccept
	optSIPServers    = dhcpv6.OptionSIPServersIPv6AddressList
)

// message is a client's message with the options' content as it came: the codec
// of package dhcpv6 would refuse the whole message for one bad option, and hide
// how an option was encoded.
type message struct {
	kind    dhcpv6.MessageType
	xid     dhcpv6.TransactionID
	options []*dhcpv6.OptionGeneric
}

// rawOptions splits options without a look at their content.
func rawOptions(b []byte) ([]*dhcpv6.OptionGeneric, error) {
	var opts dhcpv6.Options
	err := opts.FromBytesWithParser(b, func(code dhcpv6.OptionCode, data []byte) (dhcpv6.Option, error) {
		return &dhcpv6.OptionGeneric{OptionCode: code, OptionData: slices.Clone(data)}, nil
	})
	if err != nil {
		return nil, err
	}
	out := make([]*dhcpv6.OptionGeneric, len(opts))
	for i, o := range opts {
		out[i] = o.(*dhcpv6.OptionGeneric)
	}
	return out, nil
}

// parseMessage reads a client/server message (RFC 8415 8).
func parseMessage(b []byte) (*message, error) {
	if len(b) < dhcpv6.MessageHeaderSize {
		return nil, fmt.Errorf("%d bytes are no DHCPv6 message", len(b))
	}
	m := &message{kind: dhcpv6.MessageType(b[0]), xid: dhcpv6.TransactionID(b[1:4])}
	if m.kind == dhcpv6.MessageTypeRelayForward || m.kind == dhcpv6.MessageTypeRelayReply {
		return nil, errors.New("a relay's message: there is no relay on this line")
	}
	var err error
	if m.options, err = rawOptions(b[4:]); err != nil {
		return nil, fmt.Errorf("%s: an option runs past the end of the message", m.kind)
	}
	return m, nil
}

// get returns the content of all options of code.
func (m *message) get(code dhcpv6.OptionCode) [][]byte {
	var out [][]byte
	for _, o := range m.options {
		if o.OptionCode == code {
			out = append(out, o.OptionData)
		}
	}
	return out
}

// one returns the content of the first option of code.
func (m *message) one(code dhcpv6.OptionCode) ([]byte, bool) {
	all := m.get(code)
	if len(all) == 0 {
		return nil, false
	}
	return all[0], true
}

// has tells whether there is an option of code.
func (m *message) has(code dhcpv6.OptionCode) bool {
	_, ok := m.one(code)
	return ok
}

// requested are the codes of the ORO.
func (m *message) requested() []dhcpv6.OptionCode {
	var codes []dhcpv6.OptionCode
	for _, b := range m.get(dhcpv6.OptionORO) {
		for ; len(b) >= 2; b = b[2:] {
			codes = append(codes, dhcpv6.OptionCode(binary.BigEndian.Uint16(b)))
		}
	}
	return codes
}

// iaPD is an IA_PD (RFC 8415 21.21) as a client sends it.
type iaPD struct {
	iaid     [4]byte
	prefixes []iaPrefix
}

// iaPrefix is an IAPREFIX (RFC 8415 21.22).
type iaPrefix struct {
	prefix           netip.Prefix
	preferred, valid uint32 // seconds
}

// parseIAPD reads the content of an IA_PD. Prefixes that make no sense are
// reported and left out.
func parseIAPD(b []byte) (iaPD, error) {
	if len(b) < 12 {
		return iaPD{}, fmt.Errorf("IA_PD of %d bytes, at least 12 are due", len(b))
	}
	ia := iaPD{iaid: [4]byte(b)}
	opts, err := rawOptions(b[12:])
	if err != nil {
		return ia, errors.New("IA_PD: an option runs past its end")
	}
	var errs []error
	for _, o := range opts {
		if o.OptionCode != dhcpv6.OptionIAPrefix {
			continue
		}
		d := o.OptionData
		if len(d) < 25 {
			errs = append(errs, fmt.Errorf("IA prefix of %d bytes, at least 25 are due", len(d)))
			continue
		}
		p := netip.PrefixFrom(netip.AddrFrom16([16]byte(d[9:])), int(d[8]))
		if !p.IsValid() {
			errs = append(errs, fmt.Errorf("IA prefix length %d", d[8]))
			continue
		}
		ia.prefixes = append(ia.prefixes, iaPrefix{
			prefix:    p.Masked(),
			preferred: binary.BigEndian.Uint32(d),
			valid:     binary.BigEndian.Uint32(d[4:]),
		})
	}
	return ia, errors.Join(errs...)
}

// duidText is a DUID for people.
func duidText(b []byte) string {
	if mac, ok := duidLL(b); ok {
		return "DUID-LL " + mac.String()
	}
	if len(b) > 32 {
		b = b[:32]
	}
	return fmt.Sprintf("DUID %x", b)
}

// duidLL returns the MAC address of a DUID-LL of Ethernet (RFC 8415 11.4).
func duidLL(b []byte) (net.HardwareAddr, bool) {
	if len(b) != 10 || binary.BigEndian.Uint32(b) != 0x00030001 {
		return nil, false
	}
	return net.HardwareAddr(b[4:]), true
}

// faults are all the ways in which m departs from what the line accepts of a
// client: the line answers such a message with nothing.
func (m *message) faults() []string {
	var out []string
	bad := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	info := m.kind == dhcpv6.MessageTypeInformationRequest

	ids := m.get(dhcpv6.OptionClientID)
	switch {
	case len(ids) > 1:
		bad("%d client identifiers, 1 is due", len(ids))
	case len(ids) == 1:
		if _, ok := duidLL(ids[0]); !ok {
			bad("client identifier %x%s is no DUID-LL of Ethernet (00030001 and the MAC)", ids[0][:min(len(ids[0]), 32)], duidKind(ids[0]))
		}
	}
	for _, b := range m.get(dhcpv6.OptionORO) {
		if len(b)%2 != 0 {
			bad("ORO of %d bytes: codes have 2", len(b))
		}
	}
	var odd []string
	for _, code := range m.requested() {
		switch code {
		case 17, 22, 23, 24, 31:
		default:
			odd = append(odd, fmt.Sprint(uint16(code)))
		}
	}
	if len(odd) > 0 {
		bad("ORO holds %s: the line's spec allows only 17, 22, 23, 24, 31", strings.Join(odd, ", "))
	}
	if m.has(dhcpv6.OptionIANA) {
		bad("IA_NA is there: the line delegates a prefix and gives no address")
	}
	if m.has(dhcpv6.OptionIATA) {
		bad("IA_TA is there: the line delegates a prefix and gives no address")
	}
	if m.has(optRapidCommit) {
		bad("Rapid Commit is there: the line does without")
	}
	pds := m.get(dhcpv6.OptionIAPD)
	switch {
	case info && len(pds) > 0:
		bad("IA_PD in an Information-request (RFC 8415 16.12)")
	case !info && len(pds) != 1:
		bad("%d IA_PD, 1 is due", len(pds))
	}
	for _, b := range pds {
		ia, err := parseIAPD(b)
		if err != nil {
			bad("%v", err)
		}
		if m.kind != dhcpv6.MessageTypeRenew && m.kind != dhcpv6.MessageTypeRebind {
			continue
		}
		if len(ia.prefixes) == 0 {
			bad("IA_PD without the prefix that it is about")
		}
		for _, p := range ia.prefixes {
			if p.preferred == 0 && p.valid == 0 {
				bad("lifetimes of %v are 0: such a %s has been answered with nothing; send the lease's own", p.prefix, m.kind)
			}
		}
	}
	return out
}

// duidKind names the kinds of DUID that clients come with by mistake.
func duidKind(b []byte) string {
	if len(b) < 2 {
		return ""
	}
	switch binary.BigEndian.Uint16(b) {
	case 1:
		return " (a DUID-LLT)"
	case 2:
		return " (a DUID-EN)"
	case 4:
		return " (a DUID-UUID)"
	}
	return ""
}

// vendorClass tells whether option 16 asks for the Hikari Denwa information,
// and else why not.
func (m *message) vendorClass() (net.HardwareAddr, error) {
	all := m.get(dhcpv6.OptionVendorClass)
	if len(all) == 0 {
		return nil, errors.New("option 17 is asked for without option 16: no Hikari Denwa information for it")
	}
	for _, b := range all {
		if len(b) == 12 && binary.BigEndian.Uint32(b) == enterpriseNTT && binary.BigEndian.Uint16(b[4:]) == 6 {
			return net.HardwareAddr(b[6:]), nil
		}
	}
	return nil, fmt.Errorf("option 16 is %x, 000000d2 0006 and a MAC are due: no Hikari Denwa information for it", all[0][:min(len(all[0]), 32)])
}
