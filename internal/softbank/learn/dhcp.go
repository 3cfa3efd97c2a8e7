package learn

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"

	"sofutobanku/internal/capture"
	"sofutobanku/internal/ntt"
)

// The messages of a DHCPv6 client.
const (
	solicit     = 1
	request     = 3
	renew       = 5
	rebind      = 6
	release     = 8
	information = 11
)

var messageNames = map[byte]string{
	solicit: "Solicit", request: "Request", renew: "Renew", rebind: "Rebind", release: "Release", information: "Information-request",
}

// own are the options that sofu-proto sends in each of the client's messages, in their
// order.
var own = map[byte][]uint16{
	solicit:     {1, 25, 8, 6, 20},
	request:     {1, 2, 25, 8, 6, 20, 16},
	renew:       {1, 2, 25, 8, 6, 20, 16},
	rebind:      {1, 25, 8, 6, 20, 16},
	release:     {1, 2, 25, 8},
	information: {1, 8, 6, 20, 16},
}

// ownORO are the options that it requests.
var ownORO = []uint16{17, 22, 23, 24, 31}

// clientMessage tells whether f is a message of a DHCPv6 client.
func clientMessage(f capture.Frame) bool {
	return f.Kind == capture.DHCPv6 && own[f.Payload[0]] != nil
}

// dhcpv6 learns from the unit's messages.
func (l *finding) dhcpv6(asks []capture.Frame, net network) {
	set := func(name, value string) {
		i := slices.IndexFunc(l.common, func(o Option) bool { return o.Name == name })
		switch {
		case i < 0:
			l.common = append(l.common, option(name, value))
		case l.common[i].Values[0] != value:
			l.oddf("DHCPv6: %s changes from '%s' to '%s'", name, l.common[i].Values[0], value)
		}
	}
	seen := map[byte]bool{}
	for _, f := range asks {
		typ := f.Payload[0]
		name := messageNames[typ]
		list := options6(f.Payload[4:])
		expected := own[typ]
		for _, o := range list {
			switch {
			case o.Code == 1 && (len(o.Data) < 3 || len(o.Data) > 130):
				l.oddf("%s: a client identifier of %d bytes", name, len(o.Data))
			case o.Code == 1:
				set("clientid", hex.EncodeToString(o.Data))
				if !bytes.HasPrefix(o.Data, []byte{0, 3, 0, 1}) {
					l.oddf("DHCPv6: the client identifier is no DUID-LL of Ethernet but of type %d, %d bytes long", binary.BigEndian.Uint16(o.Data), len(o.Data))
				} else if !bytes.Equal(o.Data[4:], l.unit) {
					l.oddf("DHCPv6: the client identifier has another MAC address than the unit has on the line")
				}
			case o.Code == 25 && len(o.Data) >= 12:
				if id := binary.BigEndian.Uint32(o.Data); id != 1 {
					set("iaid", fmt.Sprint(id))
				}
				if typ == solicit && l.hint(set, o.Data[4:]) {
					expected = []uint16{1, 8, 25, 6, 20} // as ours is with such a wish
				}
			case o.Code == 6:
				if oro := codes(o.Data); !slices.Equal(oro, ownORO) {
					l.oddf("%s: requested options %v, sofu-proto's are %v", name, oro, ownORO)
				}
			case o.Code == 16:
				if typ == solicit {
					set("solicit_vendor_class", "1")
					expected = append(slices.Clone(expected), 16)
				}
				if mac, err := ntt.ParseVendorClass(o.Data); err != nil {
					l.oddf("%s: a vendor class that is not NTT's with one MAC address: %d bytes", name, len(o.Data))
				} else if !bytes.Equal(mac, l.unit) {
					l.oddf("DHCPv6: the vendor class has another MAC address than the unit has on the line")
				}
			}
		}
		if typ == release {
			set("norelease", "0")
		}
		if !seen[typ] {
			seen[typ] = true
			l.compare(name, codesOf(list), expected)
		}
	}
	if seen[information] && !seen[solicit] && !seen[request] && !seen[renew] && !seen[rebind] && net.managed {
		set("reqprefix", "no")
	}
}

// hint learns the wish for a length in a Solicit's IA_PD, b being its times and options,
// and tells whether there is one.
func (l *finding) hint(set func(name, value string), b []byte) (wish bool) {
	if binary.BigEndian.Uint64(b) != 0 {
		l.oddf("Solicit: T1 %d and T2 %d, sofu-proto's are 0", binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:]))
	}
	for _, o := range options6(b[8:]) {
		p, ok := iaPrefix(o)
		if !ok || !p.Addr().IsUnspecified() || p.Bits() < 48 || binary.BigEndian.Uint64(o.Data) != 0 {
			l.oddf("Solicit: the IA_PD holds option %d of %d bytes that is no wish for a length of 48 to 64", o.Code, len(o.Data))
			continue
		}
		set("reqprefix", fmt.Sprint(p.Bits()))
		wish = true
	}
	return wish
}

// compare tells how the options of a message differ from ours.
func (l *finding) compare(name string, got, want []uint16) {
	var more, less []uint16
	for _, c := range got {
		if !slices.Contains(want, c) {
			more = append(more, c)
		}
	}
	for _, c := range want {
		if !slices.Contains(got, c) {
			less = append(less, c)
		}
	}
	if len(more) > 0 {
		l.oddf("%s: has options %v, sofu-proto's has not", name, more)
	}
	if len(less) > 0 {
		l.oddf("%s: lacks options %v of sofu-proto's", name, less)
	}
	both := func(list, other []uint16) []uint16 {
		return slices.DeleteFunc(slices.Clone(list), func(c uint16) bool { return !slices.Contains(other, c) })
	}
	if g, w := both(got, want), both(want, got); !slices.Equal(g, w) {
		l.oddf("%s: options in the order %v, sofu-proto's is %v", name, g, w)
	}
}

func codes(b []byte) []uint16 {
	var list []uint16
	for ; len(b) >= 2 && len(list) < 64; b = b[2:] {
		list = append(list, binary.BigEndian.Uint16(b))
	}
	return list
}

func codesOf(list []capture.Option) []uint16 {
	var out []uint16
	for _, o := range list[:min(len(list), 64)] {
		out = append(out, o.Code)
	}
	return out
}
