//go:build lab

package lab

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sofutobanku/lab/realisp"
)

// attacker is a neighbour on the WAN's segment: it hears every frame of the cable
// and sends any.
type attacker struct {
	t   *testing.T
	fd  int
	mac net.HardwareAddr // the router's
}

// newAttacker taps the carrier's end of the router's cable.
func newAttacker(t *testing.T, nw realisp.Network) *attacker {
	t.Helper()
	a := &attacker{t: t, mac: nw.Router.MAC(realisp.WAN)}
	err := nw.ISP.Do(func() error {
		dev, err := net.InterfaceByName(realisp.Port)
		if err != nil {
			return err
		}
		// What this side sends is heard by sockets for all protocols alone.
		proto := binary.NativeEndian.Uint16([]byte{unix.ETH_P_ALL >> 8, unix.ETH_P_ALL & 0xff})
		a.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(proto))
		if err != nil {
			return err
		}
		t.Cleanup(func() { unix.Close(a.fd) })
		return unix.Bind(a.fd, &unix.SockaddrLinklayer{Protocol: proto, Ifindex: dev.Index})
	})
	if err != nil {
		t.Fatalf("a packet socket on %s: %v", realisp.Port, err)
	}
	return a
}

// datagram is an IPv6 packet with one header and a payload.
type datagram struct {
	from, to     netip.Addr
	hopLimit     byte
	protocol     byte   // unix.IPPROTO_UDP or unix.IPPROTO_ICMPV6
	sport, dport uint16 // of UDP
	payload      []byte
}

// send puts a frame with d on the cable, to the router.
func (a *attacker) send(d datagram) {
	a.t.Helper()
	if _, err := unix.Write(a.fd, a.frame(d)); err != nil {
		a.t.Fatalf("send a forged packet: %v", err)
	}
}

func (a *attacker) frame(d datagram) []byte {
	body := append([]byte{}, d.payload...)
	sum := 2 // offset of the checksum
	if d.protocol == unix.IPPROTO_UDP {
		body = binary.BigEndian.AppendUint16(nil, d.sport)
		body = binary.BigEndian.AppendUint16(body, d.dport)
		body = binary.BigEndian.AppendUint16(body, uint16(8+len(d.payload)))
		body = append(append(body, 0, 0), d.payload...)
		sum = 6
	}
	from, to := d.from.As16(), d.to.As16()
	pseudo := append(append(from[:], to[:]...), 0, 0, byte(len(body)>>8), byte(len(body)), 0, 0, 0, d.protocol)
	binary.BigEndian.PutUint16(body[sum:], checksum(append(pseudo, body...)))

	dst := a.mac
	if d.to.IsMulticast() {
		dst = append(net.HardwareAddr{0x33, 0x33}, to[12:]...)
	}
	f := append(append([]byte{}, dst...), 0x02, 0, 0, 0, 0, 0x66, unix.ETH_P_IPV6>>8, unix.ETH_P_IPV6&0xff)
	f = append(f, 0x60, 0, 0, 0, byte(len(body)>>8), byte(len(body)), d.protocol, d.hopLimit)
	return append(append(append(f, from[:]...), to[:]...), body...)
}

// checksum is the Internet checksum (RFC 1071).
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// heard waits for a UDP datagram on the cable, of either side, from one port and to
// another; 0 is any.
func (a *attacker) heard(sport, dport uint16) (d datagram) {
	a.t.Helper()
	tv := unix.Timeval{Sec: 1}
	if err := unix.SetsockoptTimeval(a.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		a.t.Fatal(err)
	}
	frame := make([]byte, 1<<16)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		n, err := unix.Read(a.fd, frame)
		if err == unix.EAGAIN || err == unix.EINTR {
			continue
		}
		if err != nil {
			a.t.Fatalf("listen on the cable: %v", err)
		}
		const ip, udp = 14, 14 + 40
		if n < udp+8 || binary.BigEndian.Uint16(frame[12:]) != unix.ETH_P_IPV6 || frame[ip+6] != unix.IPPROTO_UDP {
			continue
		}
		d = datagram{
			from: netip.AddrFrom16([16]byte(frame[ip+8:])), to: netip.AddrFrom16([16]byte(frame[ip+24:])),
			hopLimit: 64, protocol: unix.IPPROTO_UDP,
			sport: binary.BigEndian.Uint16(frame[udp:]), dport: binary.BigEndian.Uint16(frame[udp+2:]),
			payload: append([]byte{}, frame[udp+8:n]...),
		}
		if (sport == 0 || d.sport == sport) && (dport == 0 || d.dport == dport) {
			return d
		}
	}
	a.t.Fatalf("nothing was sent from port %d to port %d", sport, dport)
	return d
}

// forget drops what was heard before now.
func (a *attacker) forget() {
	frame := make([]byte, 1<<16)
	for {
		if _, _, err := unix.Recvfrom(a.fd, frame, unix.MSG_DONTWAIT); err != nil {
			return
		}
	}
}

// answer is a datagram in answer to d, as its receiver would send it.
func (d datagram) answer(from netip.Addr, payload []byte) datagram {
	return datagram{from: from, to: d.from, hopLimit: 64, protocol: unix.IPPROTO_UDP, sport: d.dport, dport: d.sport, payload: payload}
}
