package dhcp4

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// The parameters of RFC 5227 1.1, and ours for a link on which everybody is some
// milliseconds away.
const (
	probeWait    = time.Second // before the first, at random
	probes       = 3
	probeMin     = time.Second // between two, at random
	probeMax     = 2 * time.Second
	announceWait = 2 * time.Second // after the last one

	quickPause = 70 * time.Millisecond
)

// arpLen is the size of an ARP packet for IPv4 on Ethernet.
const arpLen = 28

// Check asks the link whether somebody has an address (RFC 5227 2.1) and returns who has,
// nil when nobody answered. It takes a fifth of a second, with strict up to 7 s: random,
// from 0 to 1, says where in their ranges the pauses are. When nobody has it, the link is
// told that it is this device's now. The error wraps the system's, or is ctx's.
func (c *Conn) Check(ctx context.Context, ip netip.Addr, strict bool, random float64) (net.HardwareAddr, error) {
	owner, err := c.check(ctx, ip, strict, random)
	if err != nil {
		err = fmt.Errorf("dhcp4: check %v on %s: %w", ip, c.ifi.Name, err)
	}
	return owner, err
}

func (c *Conn) check(ctx context.Context, ip netip.Addr, strict bool, random float64) (net.HardwareAddr, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), "arp")
	defer f.Close()
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ARP), Ifindex: c.ifi.Index}); err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { f.SetReadDeadline(time.Unix(1, 0)) })()
	send := func(sender netip.Addr) error {
		to := &unix.SockaddrLinklayer{
			Protocol: htons(unix.ETH_P_ARP), Ifindex: c.ifi.Index, Halen: 6, Addr: [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		}
		return unix.Sendto(fd, arpRequest(c.mac, sender, ip), 0, to)
	}
	pause := func(n int) time.Duration {
		switch {
		case !strict && n == 0:
			return 0
		case !strict:
			return quickPause
		case n == 0:
			return time.Duration(random * float64(probeWait))
		case n == probes:
			return announceWait
		}
		return probeMin + time.Duration(random*float64(probeMax-probeMin))
	}
	b := make([]byte, 256)
	for n := 0; n <= probes; n++ {
		f.SetReadDeadline(time.Now().Add(pause(n)))
		for {
			got, err := f.Read(b)
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return nil, err
			}
			if mac, ok := conflict(b[:got], c.mac, ip); ok {
				return mac, nil
			}
		}
		if n < probes {
			if err := send(netip.IPv4Unspecified()); err != nil {
				return nil, err
			}
		}
	}
	return nil, send(ip)
}

// arpRequest asks who has ip (RFC 826); with ip as the sender it announces it.
func arpRequest(own [6]byte, sender, ip netip.Addr) []byte {
	b := []byte{0, 1, unix.ETH_P_IP >> 8, unix.ETH_P_IP & 0xff, 6, 4, 0, 1}
	b = append(append(b, own[:]...), sender.AsSlice()...)
	return append(append(b, 0, 0, 0, 0, 0, 0), ip.AsSlice()...)
}

// conflict tells whether an ARP packet says that another device has ip, or is about to
// take it (RFC 5227 2.1.1).
func conflict(b []byte, own [6]byte, ip netip.Addr) (net.HardwareAddr, bool) {
	if len(b) < arpLen || binary.BigEndian.Uint64(b)>>16 != 0x0001_0800_0604 {
		return nil, false
	}
	op := binary.BigEndian.Uint16(b[6:])
	mac, sender, target := [6]byte(b[8:]), netip.AddrFrom4([4]byte(b[14:])), netip.AddrFrom4([4]byte(b[24:]))
	if mac == own || op != 1 && op != 2 {
		return nil, false
	}
	if sender == ip || op == 1 && sender.IsUnspecified() && target == ip {
		return mac[:], true
	}
	return nil, false
}
