package capture

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"sofutobanku/internal/pcapng"
)

const (
	// maxPacket is the longest packet that is taken, in bytes.
	maxPacket = 0xffff
	// maxPorts bounds the filter, whose jumps are short.
	maxPorts = 16
)

// Socket takes packets off a device. It only listens. It is for one goroutine.
type Socket struct {
	file *os.File // a socket; the type for its deadline
	b    []byte
}

// Open opens a packet socket on an Ethernet device, which takes CAP_NET_RAW. radius are
// the RADIUS servers' ports, at most 16. With promiscuous set the device takes in frames
// for other machines too, until the socket is closed. The error wraps the system's.
func Open(device *net.Interface, radius []uint16, promiscuous bool) (*Socket, error) {
	s, err := open(device, radius, promiscuous)
	if err != nil {
		return nil, fmt.Errorf("capture: device %s: %w", device.Name, err)
	}
	return s, nil
}

func open(device *net.Interface, radius []uint16, promiscuous bool) (*Socket, error) {
	if len(device.HardwareAddr) != 6 {
		return nil, errors.New("it has no MAC address: an Ethernet device is accepted")
	}
	if len(radius) > maxPorts {
		return nil, fmt.Errorf("%d RADIUS ports: at most %d are accepted", len(radius), maxPorts)
	}
	code, err := filter(radius)
	if err != nil {
		return nil, err
	}
	// With protocol 0 nothing is received before the filter is in its place.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := prepare(fd, device.Index, code, promiscuous); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &Socket{file: os.NewFile(uintptr(fd), "packet socket"), b: make([]byte, maxPacket)}, nil
}

func prepare(fd, device int, code []bpf.RawInstruction, promiscuous bool) error {
	filter := make([]unix.SockFilter, len(code))
	for i, c := range code {
		filter[i] = unix.SockFilter{Code: c.Op, Jt: c.Jt, Jf: c.Jf, K: c.K}
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog); err != nil {
		return os.NewSyscallError("filter", err)
	}
	// All protocols, since only so sent packets come too.
	all := binary.NativeEndian.Uint16([]byte{unix.ETH_P_ALL >> 8, unix.ETH_P_ALL})
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: device}); err != nil {
		return os.NewSyscallError("bind", err)
	}
	if !promiscuous {
		return nil
	}
	m := unix.PacketMreq{Ifindex: int32(device), Type: unix.PACKET_MR_PROMISC}
	return os.NewSyscallError("promiscuous", unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &m))
}

// Close ends the capture.
func (s *Socket) Close() error { return s.file.Close() }

// Next waits for a packet; ctx's cause is its error when ctx ends before one comes. The
// packet is the caller's.
func (s *Socket) Next(ctx context.Context) (pcapng.Packet, error) {
	if ctx.Err() != nil {
		return pcapng.Packet{}, context.Cause(ctx)
	}
	stop := context.AfterFunc(ctx, func() { _ = s.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	rc, err := s.file.SyscallConn()
	if err != nil {
		return pcapng.Packet{}, err
	}
	for {
		var n int
		var from unix.Sockaddr
		readErr := rc.Read(func(fd uintptr) bool {
			n, from, err = unix.Recvfrom(int(fd), s.b, unix.MSG_TRUNC)
			return err != unix.EAGAIN && err != unix.EINTR
		})
		switch {
		case ctx.Err() != nil:
			return pcapng.Packet{}, context.Cause(ctx)
		case readErr != nil:
			return pcapng.Packet{}, fmt.Errorf("capture: %w", readErr)
		case errors.Is(err, unix.ENETDOWN): // said once, when the device goes down
			continue
		case err != nil:
			return pcapng.Packet{}, fmt.Errorf("capture: %w", os.NewSyscallError("receive", err))
		}
		p := pcapng.Packet{Time: time.Now(), Direction: pcapng.Inbound, LinkType: pcapng.Ethernet, Cut: n > len(s.b)}
		if a, ok := from.(*unix.SockaddrLinklayer); ok && a.Pkttype == unix.PACKET_OUTGOING {
			p.Direction = pcapng.Outbound
		}
		p.Data = append([]byte(nil), s.b[:min(n, len(s.b))]...)
		return p, nil
	}
}

// Lost is how many packets came too fast to be taken since it was asked last.
func (s *Socket) Lost() uint32 {
	rc, err := s.file.SyscallConn()
	if err != nil {
		return 0
	}
	var stats *unix.TpacketStats
	if rc.Control(func(fd uintptr) {
		stats, err = unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS)
	}) != nil || err != nil {
		return 0
	}
	return stats.Drops
}
