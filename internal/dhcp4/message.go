package dhcp4

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
)

// Message types of RFC 2132 9.6.
const (
	discover = 1
	offer    = 2
	request  = 3
	decline  = 4
	ack      = 5
	nak      = 6
)

// Codes of options.
const (
	optMask        = 1
	optRequested   = 50
	optLease       = 51
	optOverload    = 52
	optType        = 53
	optServer      = 54
	optRequestList = 55
	optText        = 56
	optT1          = 58
	optT2          = 59
	optSIP         = 120 // RFC 3361
	optRoutes      = 121 // RFC 3442
	optClass       = 124 // RFC 3925
	optVendor      = 125 // RFC 3925
	optEnd         = 255
)

// The layout of RFC 2131 section 2, in bytes.
const (
	offSname   = 44
	offFile    = 108
	offOptions = 240
	minMessage = 300 // of BOOTP (RFC 1542 2.1); shorter ones were seen to be dropped
	maxMessage = 1500
)

var cookie = []byte{99, 130, 83, 99}

// Bounds of what a hostile server may tell.
const (
	maxRoutes = 64
	maxSIP    = 16
	maxVendor = 16
	maxText   = 128
	// minRoute is the length of the widest route that is taken. The default route is the
	// tunnel's, and a few wide ones would be another one.
	minRoute = 8
)

// Errors of decode that drop a whole message, named as the counters have them.
var (
	errTruncated = errors.New("truncated")
	errTooBig    = errors.New("too-big")
	errOp        = errors.New("op")
	errCookie    = errors.New("cookie")
	errHardware  = errors.New("hardware")
)

// Route is a classless route; an invalid Via means on-link.
type Route struct {
	Prefix netip.Prefix
	Via    netip.Addr
}

// Vendor is what one enterprise's part of option 125 holds.
type Vendor struct {
	Enterprise uint32
	Data       []byte
}

// message is what a client reads of a server's message. What is absent or malformed is
// zero.
type message struct {
	Type   byte
	XID    uint32
	MAC    [6]byte
	Own    netip.Addr // yiaddr
	Server netip.Addr // option 54
	Bits   int        // of the mask, 0 when there is none
	// In seconds, 0 when not told; 1<<32 - 1 is for ever.
	Lease, T1, T2 uint32
	Routes        []Route
	SIP           []netip.Addr
	Vendor        []Vendor
	Text          string // printable ASCII
}

// decode reads a message to a client. What of its options is malformed is left out and
// reported in bad.
func decode(b []byte) (m message, bad []error, err error) {
	switch {
	case len(b) > maxMessage:
		return m, nil, errTooBig
	case len(b) < offOptions:
		return m, nil, errTruncated
	case b[0] != 2: // BOOTREPLY
		return m, nil, errOp
	case b[1] != 1 || b[2] != 6: // Ethernet
		return m, nil, errHardware
	case !bytes.Equal(b[offOptions-4:offOptions], cookie):
		return m, nil, errCookie
	}
	m.XID = binary.BigEndian.Uint32(b[4:])
	m.MAC = [6]byte(b[28:])
	m.Own = netip.AddrFrom4([4]byte(b[16:]))

	// An option in pieces is put together, in this order of the places (RFC 3396).
	options := map[byte][]byte{}
	collect := func(b []byte) {
		if err := walk(b, options); err != nil {
			bad = append(bad, err)
		}
	}
	collect(b[offOptions:])
	if o := options[optOverload]; len(o) == 1 {
		if o[0]&1 != 0 {
			collect(b[offFile : offOptions-4])
		}
		if o[0]&2 != 0 {
			collect(b[offSname:offFile])
		}
	}
	for _, code := range []byte{
		optMask, optLease, optType, optServer, optText, optT1, optT2, optSIP, optRoutes, optVendor,
	} {
		if v, ok := options[code]; ok {
			if err := m.take(code, v); err != nil {
				bad = append(bad, fmt.Errorf("option %d: %w", code, err))
			}
		}
	}
	return m, bad, nil
}

// walk adds the options in b to those that there are.
func walk(b []byte, options map[byte][]byte) error {
	for len(b) > 0 && b[0] != optEnd {
		if b[0] == 0 { // a pad
			b = b[1:]
			continue
		}
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			return fmt.Errorf("option %d: truncated", b[0])
		}
		n := 2 + int(b[1])
		options[b[0]] = append(options[b[0]], b[2:n]...)
		b = b[n:]
	}
	return nil
}

// take reads one option.
func (m *message) take(code byte, v []byte) (err error) {
	n := len(v)
	switch code {
	case optMask, optLease, optServer, optT1, optT2:
		n = 4
	case optType:
		n = 1
	}
	if n != len(v) {
		return fmt.Errorf("%d octets instead of %d", len(v), n)
	}
	switch code {
	case optType:
		m.Type = v[0]
	case optServer:
		if a := netip.AddrFrom4([4]byte(v)); host(a) {
			m.Server = a
		} else {
			return fmt.Errorf("%v", a)
		}
	case optMask:
		mask := binary.BigEndian.Uint32(v)
		n := bits.LeadingZeros32(^mask)
		if mask<<n != 0 || n < minRoute {
			return fmt.Errorf("mask %08x", mask)
		}
		m.Bits = n
	case optLease:
		m.Lease = binary.BigEndian.Uint32(v)
	case optT1:
		m.T1 = binary.BigEndian.Uint32(v)
	case optT2:
		m.T2 = binary.BigEndian.Uint32(v)
	case optText:
		m.Text = printable(v[:min(len(v), maxText)])
	case optSIP:
		m.SIP, err = sip(v)
	case optRoutes:
		m.Routes, err = routes(v)
	case optVendor:
		m.Vendor, err = vendors(v)
	}
	return err
}

// host tells whether a can be one host's address on a network.
func host(a netip.Addr) bool {
	b := a.As4()
	return b[0] != 0 && b[0] != 127 && b[0] < 224
}

func printable(b []byte) string {
	return string(bytes.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, b))
}

// sip reads option 120. Names, its other encoding, would have to be looked up, and the
// phone network brings no name server.
func sip(v []byte) (out []netip.Addr, err error) {
	if len(v) < 5 || v[0] != 1 || len(v)%4 != 1 {
		return nil, fmt.Errorf("SIP servers: %d octets, no list of addresses", len(v))
	}
	for v = v[1:]; len(v) > 0; v = v[4:] {
		a := netip.AddrFrom4([4]byte(v))
		switch {
		case !host(a):
			err = fmt.Errorf("SIP server %v", a)
		case len(out) == maxSIP:
			return out, fmt.Errorf("more than %d SIP servers", maxSIP)
		case !slices.Contains(out, a):
			out = append(out, a)
		}
	}
	return out, err
}

// routes reads option 121. One that cannot be used is left out, and reported.
func routes(v []byte) (out []Route, err error) {
	for len(v) > 0 {
		n := int(v[0])
		octets := (n + 7) / 8
		if n > 32 || len(v) < 1+octets+4 {
			return out, errors.New("routes: truncated")
		}
		var dst [4]byte
		copy(dst[:], v[1:1+octets])
		r := Route{Prefix: netip.PrefixFrom(netip.AddrFrom4(dst), n).Masked()}
		if via := netip.AddrFrom4([4]byte(v[1+octets:])); !via.IsUnspecified() {
			r.Via = via
		}
		v = v[1+octets+4:]
		switch {
		case n < minRoute || !host(r.Prefix.Addr()) || r.Via.IsValid() && !host(r.Via):
			err = fmt.Errorf("route %v via %v", r.Prefix, r.Via)
		case len(out) == maxRoutes:
			return out, fmt.Errorf("more than %d routes", maxRoutes)
		// The first one to a destination counts: two would share the traffic.
		case !slices.ContainsFunc(out, func(x Route) bool { return x.Prefix == r.Prefix }):
			out = append(out, r)
		}
	}
	return out, err
}

// vendors reads option 125.
func vendors(v []byte) (out []Vendor, err error) {
	for len(v) > 0 {
		if len(v) < 5 || len(v) < 5+int(v[4]) {
			return out, errors.New("vendor options: truncated")
		}
		if len(out) == maxVendor {
			return out, fmt.Errorf("more than %d enterprises", maxVendor)
		}
		n := 5 + int(v[4])
		out = append(out, Vendor{binary.BigEndian.Uint32(v), bytes.Clone(v[5:n])})
		v = v[n:]
	}
	return out, nil
}

// question is a client's message.
type question struct {
	Type      byte
	XID       uint32
	Elapsed   uint16     // seconds
	Own       netip.Addr // ciaddr: an address that the client has, invalid for none
	Requested netip.Addr // option 50
	Server    netip.Addr // option 54
	Text      string     // option 56
}

// encode is q of a device with this MAC address. class is option 124's data, list the
// options that are asked for; neither is in a Decline (RFC 2131 table 5).
func (q question) encode(mac [6]byte, class, list []byte) []byte {
	b := make([]byte, offOptions, minMessage)
	b[0], b[1], b[2] = 1, 1, 6 // BOOTREQUEST, Ethernet
	binary.BigEndian.PutUint32(b[4:], q.XID)
	binary.BigEndian.PutUint16(b[8:], q.Elapsed)
	if q.Own.IsValid() {
		copy(b[12:], q.Own.AsSlice())
	} else if q.Type != decline {
		// A router's kernel would forward an answer to an address that it does not have
		// yet.
		b[10] = 0x80
	}
	copy(b[28:], mac[:])
	copy(b[offOptions-4:], cookie)
	add := func(code byte, v ...byte) {
		if len(v) > 0 && len(v) <= 255 {
			b = append(append(b, code, byte(len(v))), v...)
		}
	}
	add(optType, q.Type)
	if q.Requested.IsValid() {
		add(optRequested, q.Requested.AsSlice()...)
	}
	if q.Server.IsValid() {
		add(optServer, q.Server.AsSlice()...)
	}
	if q.Type == decline {
		add(optText, []byte(q.Text)...)
	} else {
		add(optRequestList, list...)
		add(optClass, class...)
	}
	b = append(b, optEnd)
	return append(b, make([]byte, max(0, minMessage-len(b)))...)
}
