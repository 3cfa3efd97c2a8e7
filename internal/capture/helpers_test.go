package capture

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"sofutobanku/internal/pcapng"
)

// A line whose identities are none of the documentation's, so that a redacted one shows:
// the router R of a subscriber, the carrier's router C.
var (
	macR = net.HardwareAddr{0x3c, 0xab, 0xcd, 0x12, 0x34, 0x56}
	macC = net.HardwareAddr{0xb8, 0xfe, 0xdc, 0x98, 0x76, 0x54}
	macT = net.HardwareAddr{0x3c, 0xab, 0xcd, 0x99, 0x88, 0x77} // the telephone's

	llR                      = netip.MustParseAddr("fe80::3eab:cdff:fe12:3456")
	llC                      = netip.MustParseAddr("fe80::bafe:dcff:fe98:7654")
	local                    = netip.MustParseAddr("240b:c0de:1234:5600:1111:1111:1111:1111")
	radius                   = netip.MustParseAddr("2404:feed:1:2::1812")
	br                       = netip.MustParseAddr("2404:feed:a:b::1919")
	dns                      = netip.MustParseAddr("2404:feed:3:4::53")
	granted, phone4, router4 = netip.MustParseAddr("126.77.88.99"), netip.MustParseAddr("118.177.55.66"), netip.MustParseAddr("118.177.55.65")
)

const (
	number = "0398765432"
	secret = "\xdeCHAPresponseorkey"
)

var begin = time.Date(2026, 11, 1, 3, 4, 5, 678000, time.UTC)

// udp makes a frame from R to C, or from C to R.
func udp(kind Kind, out bool, src, dst netip.AddrPort, payload ...[]byte) Frame {
	f := Frame{Time: begin, Direction: pcapng.Outbound, SrcMAC: macR, DstMAC: macC, HopLimit: 64, Kind: kind,
		Src: src.Addr(), Dst: dst.Addr(), SrcPort: src.Port(), DstPort: dst.Port(), Payload: bytes.Join(payload, nil)}
	if !out {
		f.Direction, f.SrcMAC, f.DstMAC = pcapng.Inbound, macC, macR
	}
	if f.Dst.Is6() && f.Dst.IsMulticast() {
		f.DstMAC = append(net.HardwareAddr{0x33, 0x33}, f.Dst.AsSlice()[12:]...)
	}
	return f
}

func icmp6(kind Kind, out bool, src, dst netip.Addr, payload ...[]byte) Frame {
	f := udp(kind, out, netip.AddrPortFrom(src, 0), netip.AddrPortFrom(dst, 0), payload...)
	f.HopLimit = 255
	f.Payload[0] = byte(kind) + typeRS
	b := f.Encode()
	copy(f.Payload, b[headerEther+headerIPv6:]) // the checksum
	return f
}

func opt6(code uint16, parts ...[]byte) []byte {
	data := bytes.Join(parts, nil)
	b := binary.BigEndian.AppendUint16(nil, code)
	b = binary.BigEndian.AppendUint16(b, uint16(len(data)))
	return append(b, data...)
}

func opt4(code byte, parts ...[]byte) []byte {
	data := bytes.Join(parts, nil)
	return append([]byte{code, byte(len(data))}, data...)
}

// attr is an attribute of RADIUS.
func attr(code byte, parts ...[]byte) []byte {
	data := bytes.Join(parts, nil)
	return append([]byte{code, byte(2 + len(data))}, data...)
}

func radiusPacket(code byte, attrs ...[]byte) []byte {
	body := bytes.Join(attrs, nil)
	b := []byte{code, 77, 0, 0}
	binary.BigEndian.PutUint16(b[2:], uint16(20+len(body)))
	return append(append(b, secret[:16]...), body...)
}

// x reads hex with white space.
func x(s string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		panic(err)
	}
	return b
}

func s(text string) []byte { return []byte(text) }

// theLine is a line that comes up, with all that could tell whose it is.
func theLine() []Frame {
	pd := func(parts ...[]byte) []byte {
		return opt6(25, append([][]byte{macR[2:], x("00001c20 00002a30")}, parts...)...)
	}
	prefix := opt6(26, x("00003138 00003840 38"), netip.MustParseAddr("240b:c0de:1234:5600::").AsSlice())
	duidR, duidC := opt6(1, x("0003 0001"), macR), opt6(2, x("0001 0001 2a2b2c2d"), macC)
	client, server := netip.AddrPortFrom(llR, 546), netip.AddrPortFrom(llC, 547)
	servers := netip.MustParseAddrPort("[ff02::1:2]:547")
	fullName := local.StringExpanded()
	discover := func(typ, op byte, yiaddr netip.Addr, opts ...[]byte) []byte {
		return bytes.Join(append([][]byte{{op, 1, 6, 0}, macR[2:], x("0000 8000 00000000"), yiaddr.AsSlice(), x("00000000 00000000"), macR, make([]byte, 10),
			append(s("server-name"), make([]byte, 53)...), make([]byte, 128), x("63825363"), opt4(53, []byte{typ})}, append(opts, []byte{255}, s("behind the end"))...), nil)
	}
	any4 := netip.IPv4Unspecified()
	bootpc := func(a netip.Addr) netip.AddrPort { return netip.AddrPortFrom(a, 68) }
	radiusPort := netip.AddrPortFrom(radius, 1812)
	asker := netip.AddrPortFrom(local, 40000)
	return []Frame{
		icmp6(RouterSolicitation, true, llR, netip.MustParseAddr("ff02::2"), x("85000000 00000000"), x("0101"), macR),
		icmp6(RouterAdvertisement, false, llC, netip.MustParseAddr("ff02::1"), x("86000000 40c00708 000493e0 00002710"),
			x("0101"), macC, x("0501 0000 000005dc"),
			x("0304 40c0 00003840 00003138 00000000"), netip.MustParseAddr("240b:c0de:aaaa:bbbb::").AsSlice(),
			x("1803 3000 00000708"), netip.MustParseAddr("240b:c0de:1234::").AsSlice(),
			x("1802 2808 00000708"), netip.MustParseAddr("240b:c0de:1234::").AsSlice()[:8],
			x("1903 0000 00000708"), dns.AsSlice(), x("f101 0000"), s("ABCD")),
		icmp6(NeighbourSolicitation, true, netip.IPv6Unspecified(), netip.MustParseAddr("ff02::1:ff12:3456"), x("87000000 00000000"), llR.AsSlice()),
		icmp6(NeighbourAdvertisement, false, llC, llR, x("88000000 e0000000"), llC.AsSlice(), x("0201"), macC),
		udp(DHCPv6, true, client, servers, x("01"), macR[3:], duidR, opt6(6, x("0011 0016 0017 0018 001f")), opt6(8, x("0000")), opt6(39, s("my-own-host-name")), pd()),
		udp(DHCPv6, false, server, client, x("07"), macR[3:], duidR, duidC, pd(prefix), opt6(11, x("03 01 00 0000000000000001 01"), s(secret[:16])),
			opt6(23, dns.AsSlice()), opt6(24, s("\x05flets\x02jp\x00")), opt6(13, x("0000"), s("for 3c:ab:cd:12:34:56.")),
			opt6(16, x("000000d2 0006"), macT), opt6(17, x("000000d2"), opt6(201, macT), opt6(202, s(number)), opt6(204, s("\x03ims\x02jp\x00")), opt6(250, s("customer 4711"))),
			opt6(999, s("nobody knows this"))),
		udp(DHCPv4, true, bootpc(any4), netip.MustParseAddrPort("255.255.255.255:67"), discover(1, 1, any4, opt4(61, []byte{1}, macR), opt4(12, s("my-own-host-name")),
			opt4(55, x("01037879 7d")), opt4(124, x("000000d2 07 06"), macT))),
		udp(DHCPv4, false, netip.AddrPortFrom(router4, 67), bootpc(phone4), discover(5, 2, phone4, opt4(1, x("fffffffc")), opt4(3, router4.AsSlice()), opt4(54, router4.AsSlice()),
			opt4(51, x("00003840")), opt4(120, []byte{1}, phone4.AsSlice()), opt4(121, x("20"), phone4.AsSlice(), router4.AsSlice()),
			opt4(125, x("000000d2 14"), opt4(201, macT), opt4(202, s(number))))),
		udp(RADIUS, true, asker, radiusPort, radiusPacket(1, attr(1, s(fullName)), attr(26, x("000056b5"), attr(1, s(macT.String()))), attr(26, x("000056b5"), attr(3, s("model-1.2"))),
			attr(26, x("000056b5"), attr(5, s("serial4711"))), attr(60, s(secret[:16])), attr(3, []byte{1}, s(secret[:16])), attr(80, s(secret[:16])))),
		udp(RADIUS, false, radiusPort, asker, radiusPacket(2, attr(26, x("000056b5"), attr(204, granted.AsSlice()), attr(207, br.AsSlice()), attr(206, s(granted.String())), attr(176, x("00015180")), attr(250, s("whatever"))),
			attr(18, s("welcome "+fullName+", "+br.String()+": [126.77.88.99]:1 3CAB-CD12-3456 or 3C-AB-CD-12-34-56, 3cabcd123456 of "+number)), attr(24, s("a class")))),
		udp(RADIUS, true, asker, radiusPort, radiusPacket(1, attr(1, s(fullName[:19])), attr(2, s(secret[:16])))),
		udp(RADIUS, true, netip.AddrPortFrom(netip.MustParseAddr("240b:c0de:1234:5600:7e:4d58:6300:0"), 1), radiusPort, radiusPacket(1, attr(1, s("Hanako.Yamada@example.jp")))),
	}
}

// testVendors is what a carrier's package would tell.
var testVendors = Vendors{
	210:   {201: MAC, 202: Digits, 204: Plain},
	22197: {1: Text, 3: Plain, 176: Plain, 204: Addr, 206: Addr, 207: Addr},
}

// identities are all that theLine has of them, in each form.
func identities() [][]byte {
	list := [][]byte{s(number), s(number[4:]), s(secret[:16]), s(secret[4:12]), s("my-own"), s("customer"), s("4711"), s("nobody"), s("whatever"), s("class"),
		s("server-name"), s("behind"), s("ABCD"), s("Hanako"), s("example"), granted.AsSlice(), phone4.AsSlice(), router4.AsSlice(), s(granted.String()),
		x("2a2b2c2d"), x("240bc0de"), x("2404feed"), s("240b"), s("2404"), s("c0de"), s("feed")}
	for _, m := range []net.HardwareAddr{macR, macC, macT} {
		plain := hex.EncodeToString(m)
		for _, text := range []string{plain, m.String(), strings.ReplaceAll(m.String(), ":", "-"), plain[6:], m.String()[9:]} {
			list = append(list, s(text), s(strings.ToUpper(text)))
		}
		list = append(list, m, m[3:], m[:3])
	}
	return list
}

// dump is frames for a person.
func dump(frames []Frame) string {
	var b strings.Builder
	for _, f := range frames {
		fmt.Fprintf(&b, "%v\n  %v > %v, ports %d > %d, hop limit %d\n", &f, f.SrcMAC, f.DstMAC, f.SrcPort, f.DstPort, f.HopLimit)
		for at := 0; at < len(f.Payload); at += 32 {
			line := f.Payload[at:min(at+32, len(f.Payload))]
			text := bytes.Map(func(r rune) rune {
				if r < ' ' || r > '~' {
					return '.'
				}
				return r
			}, line)
			fmt.Fprintf(&b, "  %-64x %s\n", line, text)
		}
	}
	return b.String()
}
