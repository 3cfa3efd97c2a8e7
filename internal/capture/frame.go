package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"sofutobanku/internal/checksum"
	"sofutobanku/internal/pcapng"
)

// Kind is what a frame carries.
type Kind byte

// The kinds.
const (
	RouterSolicitation Kind = iota
	RouterAdvertisement
	NeighbourSolicitation
	NeighbourAdvertisement
	DHCPv6
	DHCPv4
	RADIUS
)

var kindNames = [...]string{
	"router solicitation", "router advertisement", "neighbour solicitation", "neighbour advertisement",
	"DHCPv6", "DHCPv4", "RADIUS",
}

// String is the kind in words.
func (k Kind) String() string { return kindNames[k] }

// Numbers of the protocols.
const (
	etherIPv4    = 0x0800
	etherIPv6    = 0x86dd
	protoUDP     = 17
	protoICMPv6  = 58
	typeRS       = 133 // of ICMPv6, and the three that follow
	typeNA       = 136
	cookieDHCPv4 = 0x63825363
	headerEther  = 14
	headerIPv4   = 20
	headerIPv6   = 40
	headerUDP    = 8
	headerDHCPv6 = 4
	headerDHCPv4 = 240 // the cookie included
	headerRADIUS = 20
	maxRADIUS    = 4096
	portDHCPv4   = 67 // and 68
	portDHCPv6   = 546
)

// Frame is a packet of one of the kinds.
type Frame struct {
	Time      time.Time
	Direction pcapng.Direction

	SrcMAC, DstMAC   net.HardwareAddr
	Src, Dst         netip.Addr
	SrcPort, DstPort uint16 // of UDP
	HopLimit         uint8

	Kind Kind
	// Payload is the ICMPv6 message with its checksum as it came, or what UDP carries.
	Payload []byte
}

// errOther is returned for what is none of the kinds.
var errOther = errors.New("another protocol")

// errMalformed is returned for what should be of one of the kinds and cannot be read.
var errMalformed = errors.New("malformed")

// decode reads an Ethernet frame. Checksums are not looked at: what a machine sends is
// captured before its network card fills them in. The frame shares b.
func decode(b []byte) (Frame, error) {
	var f Frame
	if len(b) < headerEther {
		return f, errOther
	}
	f.DstMAC, f.SrcMAC = net.HardwareAddr(b[:6:6]), net.HardwareAddr(b[6:12:12])
	proto := byte(0)
	switch ip := b[headerEther:]; binary.BigEndian.Uint16(b[12:]) {
	case etherIPv6:
		if len(ip) < headerIPv6 || ip[0]>>4 != 6 {
			return f, errOther
		}
		n := int(binary.BigEndian.Uint16(ip[4:]))
		if n > len(ip)-headerIPv6 {
			return f, errMalformed
		}
		f.Src, f.Dst = netip.AddrFrom16([16]byte(ip[8:24])), netip.AddrFrom16([16]byte(ip[24:40]))
		proto, f.HopLimit = ip[6], ip[7]
		b = ip[headerIPv6 : headerIPv6+n : headerIPv6+n]
	case etherIPv4:
		if len(ip) < headerIPv4 || ip[0]>>4 != 4 {
			return f, errOther
		}
		head, n := 4*int(ip[0]&15), int(binary.BigEndian.Uint16(ip[2:]))
		if head < headerIPv4 || n < head || n > len(ip) {
			return f, errMalformed
		}
		if binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 { // a fragment
			return f, errOther
		}
		f.Src, f.Dst = netip.AddrFrom4([4]byte(ip[12:16])), netip.AddrFrom4([4]byte(ip[16:20]))
		proto, f.HopLimit = ip[9], ip[8]
		b = ip[head:n:n]
	default:
		return f, errOther
	}
	switch {
	case proto == protoICMPv6 && f.Src.Is6():
		return f.icmpv6(b)
	case proto == protoUDP:
		if len(b) < headerUDP {
			return f, errMalformed
		}
		f.SrcPort, f.DstPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
		n := int(binary.BigEndian.Uint16(b[4:]))
		if n < headerUDP || n > len(b) {
			return f, errMalformed
		}
		return f.udp(b[headerUDP:n:n])
	}
	return f, errOther
}

func (f Frame) icmpv6(b []byte) (Frame, error) {
	if len(b) < 8 || b[0] < typeRS || b[0] > typeNA {
		return f, errOther
	}
	f.Kind, f.Payload = Kind(b[0]-typeRS), b
	if f.options() == nil {
		return f, errMalformed
	}
	return f, nil
}

// options are those of neighbour discovery: an empty list without any, nil when they
// cannot be read.
func (f *Frame) options() []Option {
	fixed := [...]int{8, 16, 24, 24}[f.Kind]
	if len(f.Payload) < fixed {
		return nil
	}
	list, err := neighbourOptions(f.Payload[fixed:])
	if err != nil {
		return nil
	}
	return append([]Option{}, list...)
}

func (f Frame) udp(b []byte) (Frame, error) {
	f.Payload = b
	either := func(lo uint16) bool {
		return f.SrcPort == lo || f.SrcPort == lo+1 || f.DstPort == lo || f.DstPort == lo+1
	}
	switch {
	case f.Src.Is4() && either(portDHCPv4):
		if len(b) < headerDHCPv4 || binary.BigEndian.Uint32(b[headerDHCPv4-4:]) != cookieDHCPv4 {
			return f, errMalformed
		}
		if _, err := DHCPv4Options(b[headerDHCPv4:]); err != nil {
			return f, errMalformed
		}
		f.Kind = DHCPv4
		return f, nil
	case f.Src.Is4():
		return f, errOther
	case either(portDHCPv6):
		if len(b) < headerDHCPv6 {
			return f, errMalformed
		}
		if _, err := DHCPv6Options(b[headerDHCPv6:]); err != nil {
			return f, errMalformed
		}
		f.Kind = DHCPv6
		return f, nil
	case isRADIUS(b):
		f.Kind = RADIUS
		return f, nil
	}
	return f, errOther
}

// isRADIUS tells RADIUS by its form, since its port is not everywhere the same: an
// access message, whose length is the packet's and whose attributes fill it.
func isRADIUS(b []byte) bool {
	if len(b) < headerRADIUS || len(b) > maxRADIUS || int(binary.BigEndian.Uint16(b[2:])) != len(b) {
		return false
	}
	if code := b[0]; code < 1 || code > 3 && code != 11 {
		return false
	}
	_, err := Attributes(b[headerRADIUS:])
	return err == nil
}

// Encode writes f as an Ethernet frame with right lengths and checksums. The MAC
// addresses have 6 bytes, and the payload is of f's kind.
func (f *Frame) Encode() []byte {
	be := binary.BigEndian
	payload := append([]byte(nil), f.Payload...)
	proto := byte(protoICMPv6)
	if f.Kind >= DHCPv6 {
		proto = protoUDP
		head := be.AppendUint16(nil, f.SrcPort)
		head = be.AppendUint16(head, f.DstPort)
		head = be.AppendUint16(head, uint16(headerUDP+len(payload)))
		payload = append(append(head, 0, 0), payload...)
	}
	sum := 2 // where the checksum is
	if proto == protoUDP {
		sum = 6
	}
	payload[sum], payload[sum+1] = 0, 0
	pseudo := append(f.Src.AsSlice(), f.Dst.AsSlice()...)
	pseudo = be.AppendUint32(pseudo, uint32(len(payload)))
	pseudo = append(pseudo, 0, 0, 0, proto)
	c := checksum.Of(pseudo, payload)
	if c == 0 && proto == protoUDP { // where it means that there is none
		c = 0xffff
	}
	be.PutUint16(payload[sum:], c)

	b := append(append([]byte(nil), f.DstMAC...), f.SrcMAC...)
	if f.Src.Is4() {
		b = be.AppendUint16(b, etherIPv4)
		ip := []byte{0x45, 0}
		ip = be.AppendUint16(ip, uint16(headerIPv4+len(payload)))
		ip = append(ip, 0, 0, 0, 0, f.HopLimit, proto, 0, 0)
		ip = append(append(ip, f.Src.AsSlice()...), f.Dst.AsSlice()...)
		be.PutUint16(ip[10:], checksum.Of(ip))
		return append(append(b, ip...), payload...)
	}
	b = be.AppendUint16(b, etherIPv6)
	b = append(b, 0x60, 0, 0, 0)
	b = be.AppendUint16(b, uint16(len(payload)))
	b = append(b, proto, f.HopLimit)
	b = append(append(b, f.Src.AsSlice()...), f.Dst.AsSlice()...)
	return append(b, payload...)
}

var dhcpv6Names = map[byte]string{
	1: "Solicit", 2: "Advertise", 3: "Request", 4: "Confirm", 5: "Renew", 6: "Rebind", 7: "Reply", 8: "Release",
	9: "Decline", 10: "Reconfigure", 11: "Information-request", 12: "Relay-forward", 13: "Relay-reply",
}

var dhcpv4Names = map[byte]string{
	1: "DISCOVER", 2: "OFFER", 3: "REQUEST", 4: "DECLINE", 5: "ACK", 6: "NAK", 7: "RELEASE", 8: "INFORM",
}

var radiusNames = map[byte]string{1: "Access-Request", 2: "Access-Accept", 3: "Access-Reject", 11: "Access-Challenge"}

// Name is what f is, for a person.
func (f *Frame) Name() string {
	name := ""
	switch f.Kind {
	case DHCPv6:
		name = dhcpv6Names[f.Payload[0]]
	case RADIUS:
		name = radiusNames[f.Payload[0]]
	case DHCPv4:
		list, _ := DHCPv4Options(f.Payload[headerDHCPv4:])
		for _, o := range list {
			if o.Code == 53 && len(o.Data) == 1 {
				name = dhcpv4Names[o.Data[0]]
			}
		}
	}
	if name == "" {
		return f.Kind.String()
	}
	return f.Kind.String() + " " + name
}

// Accepts tells whether f is an Access-Accept.
func (f *Frame) Accepts() bool { return f.Kind == RADIUS && f.Payload[0] == 2 }

// String is one line for a person: who, to whom, and what.
func (f *Frame) String() string {
	return fmt.Sprintf("%v > %v: %s, %d bytes", f.Src, f.Dst, f.Name(), len(f.Payload))
}
