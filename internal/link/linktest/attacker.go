package linktest

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sofutobanku/internal/checksum"
)

// Attacker is a neighbour on a segment: it hears every frame and sends any.
type Attacker struct {
	t      *testing.T
	fd     int
	target net.HardwareAddr
}

// NewAttacker taps a device of the calling thread's namespace, which must be up. What it
// sends to one host goes to target.
func NewAttacker(t *testing.T, device string, target net.HardwareAddr) (*Attacker, error) {
	dev, err := net.InterfaceByName(device)
	if err != nil {
		return nil, err
	}
	// What this side sends is heard by sockets for all protocols alone.
	proto := binary.NativeEndian.Uint16([]byte{unix.ETH_P_ALL >> 8, unix.ETH_P_ALL & 0xff})
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(proto))
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { unix.Close(fd) })
	return &Attacker{t, fd, target}, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: proto, Ifindex: dev.Index})
}

// Datagram is an IPv6 packet with one header and a payload.
type Datagram struct {
	From, To         netip.Addr
	HopLimit         byte
	Protocol         byte   // unix.IPPROTO_UDP or unix.IPPROTO_ICMPV6
	SrcPort, DstPort uint16 // of UDP
	Payload          []byte
}

// Answer is a datagram in answer to d, as its receiver would send it.
func (d Datagram) Answer(from netip.Addr, payload []byte) Datagram {
	return Datagram{From: from, To: d.From, HopLimit: 64, Protocol: unix.IPPROTO_UDP, SrcPort: d.DstPort, DstPort: d.SrcPort, Payload: payload}
}

// Send puts a frame with d on the segment.
func (a *Attacker) Send(d Datagram) {
	a.t.Helper()
	if _, err := unix.Write(a.fd, a.frame(d)); err != nil {
		a.t.Fatalf("send a forged packet: %v", err)
	}
}

// Flood sends n of the datagrams, in turn, at rate in a second or as fast as the machine
// can, and returns how long that took.
func (a *Attacker) Flood(datagrams []Datagram, n, rate int) time.Duration {
	a.t.Helper()
	frames := make([][]byte, len(datagrams))
	for i, d := range datagrams {
		frames[i] = a.frame(d)
	}
	start := time.Now()
	for i := range n {
		// A sleep takes a millisecond, in which ten packets or so are due.
		if early := time.Duration(i)*time.Second/time.Duration(rate) - time.Since(start); early > 0 {
			time.Sleep(early)
		}
		if _, err := unix.Write(a.fd, frames[i%len(frames)]); err != nil && err != unix.ENOBUFS {
			a.t.Fatal(err)
		}
	}
	return time.Since(start)
}

func (a *Attacker) frame(d Datagram) []byte {
	body := append([]byte{}, d.Payload...)
	sum := 2 // offset of the checksum
	if d.Protocol == unix.IPPROTO_UDP {
		body = binary.BigEndian.AppendUint16(nil, d.SrcPort)
		body = binary.BigEndian.AppendUint16(body, d.DstPort)
		body = binary.BigEndian.AppendUint16(body, uint16(8+len(d.Payload)))
		body = append(append(body, 0, 0), d.Payload...)
		sum = 6
	}
	from, to := d.From.As16(), d.To.As16()
	pseudo := append(append(from[:], to[:]...), 0, 0, byte(len(body)>>8), byte(len(body)), 0, 0, 0, d.Protocol)
	binary.BigEndian.PutUint16(body[sum:], checksum.Of(pseudo, body))

	dst := a.target
	if d.To.IsMulticast() {
		dst = append(net.HardwareAddr{0x33, 0x33}, to[12:]...)
	}
	f := append(append([]byte{}, dst...), 0x02, 0, 0, 0, 0, 0x66, unix.ETH_P_IPV6>>8, unix.ETH_P_IPV6&0xff)
	f = append(f, 0x60, 0, 0, 0, byte(len(body)>>8), byte(len(body)), d.Protocol, d.HopLimit)
	return append(append(append(f, from[:]...), to[:]...), body...)
}

// Heard waits for a UDP datagram on the segment, of either side, from one port and to
// another; 0 is any.
func (a *Attacker) Heard(sport, dport uint16) (d Datagram) {
	a.t.Helper()
	tv := unix.Timeval{Sec: 1}
	if err := unix.SetsockoptTimeval(a.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		a.t.Fatal(err)
	}
	frame := make([]byte, 1<<16)
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		n, err := unix.Read(a.fd, frame)
		if err == unix.EAGAIN || err == unix.EINTR {
			continue
		}
		if err != nil {
			a.t.Fatalf("listen on the segment: %v", err)
		}
		const ip, udp = 14, 14 + 40
		if n < udp+8 || binary.BigEndian.Uint16(frame[12:]) != unix.ETH_P_IPV6 || frame[ip+6] != unix.IPPROTO_UDP {
			continue
		}
		d = Datagram{
			From: netip.AddrFrom16([16]byte(frame[ip+8:])), To: netip.AddrFrom16([16]byte(frame[ip+24:])),
			HopLimit: 64, Protocol: unix.IPPROTO_UDP,
			SrcPort: binary.BigEndian.Uint16(frame[udp:]), DstPort: binary.BigEndian.Uint16(frame[udp+2:]),
			Payload: append([]byte{}, frame[udp+8:n]...),
		}
		if (sport == 0 || d.SrcPort == sport) && (dport == 0 || d.DstPort == dport) {
			return d
		}
	}
	a.t.Fatalf("nothing was sent from port %d to port %d", sport, dport)
	return d
}

// Forget drops what was heard before now.
func (a *Attacker) Forget() {
	a.t.Helper()
	frame := make([]byte, 1<<16)
	for {
		switch _, _, err := unix.Recvfrom(a.fd, frame, unix.MSG_DONTWAIT); err {
		case nil, unix.EINTR:
		case unix.EAGAIN:
			return
		default:
			a.t.Fatalf("listen on the segment: %v", err)
		}
	}
}
