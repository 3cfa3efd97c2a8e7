package icmp6

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// ICMPv6 types (RFC 4443).
const (
	echoRequest = 128
	echoReply   = 129
)

// headerLen is of an echo message, in bytes.
const headerLen = 8

// Answer is what came back.
type Answer struct {
	From     netip.Addr // with the zone of a link-local one
	Type     byte       // of ICMPv6: 129 is the echo reply, below 128 are errors
	Code     byte
	Info     uint32 // of "packet too big": the MTU
	HopLimit int    // with which it came, 0 when unknown
	Seq      uint16 // of the request
	Data     []byte // behind the header of the echo message
}

// Conn sends echo requests and receives answers to them.
type Conn interface {
	// Send sends a request; hopLimit 0 is the system's own.
	Send(to netip.Addr, seq uint16, data []byte, hopLimit int) error
	// Receive waits for an answer, until deadline, when it returns
	// os.ErrDeadlineExceeded.
	Receive(deadline time.Time) (Answer, error)
	Close() error
}

// Socket is a Conn of the kernel. It is not safe for concurrent use.
type Socket struct {
	fd int
	id uint16
}

// Listen opens a Socket; source may be invalid, and device empty, for what the route
// says. The error wraps the system's.
func Listen(device string, source netip.Addr) (*Socket, error) {
	s, err := listen(device, source)
	if err != nil {
		return nil, fmt.Errorf("icmp6: a socket for echo requests: %w", err)
	}
	return s, nil
}

func listen(device string, source netip.Addr) (*Socket, error) {
	const flags = unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK
	s := &Socket{id: uint16(rand.Uint32())}
	var err error
	s.fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_RAW|flags, unix.IPPROTO_ICMPV6)
	raw := err == nil
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		s.fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|flags, unix.IPPROTO_ICMPV6)
	}
	if err != nil {
		return nil, err
	}
	set := func(option, value int) error { return unix.SetsockoptInt(s.fd, unix.IPPROTO_IPV6, option, value) }
	// This host is on the link too, which its owner knows.
	err = errors.Join(set(unix.IPV6_RECVERR, 1), set(unix.IPV6_RECVHOPLIMIT, 1), set(unix.IPV6_MULTICAST_LOOP, 0))
	if raw {
		// A bit that is set keeps a type out (RFC 3542 3.2); the words are the machine's.
		filter := make([]byte, 0, 32)
		for i := range 8 {
			word := ^uint32(0)
			if i == echoReply/32 {
				word &^= 1 << (echoReply % 32)
			}
			filter = binary.NativeEndian.AppendUint32(filter, word)
		}
		err = errors.Join(err, unix.SetsockoptString(s.fd, unix.IPPROTO_ICMPV6, unix.ICMPV6_FILTER, string(filter)))
	}
	if device != "" {
		err = errors.Join(err, unix.BindToDevice(s.fd, device))
	}
	if err == nil && (source.IsValid() || !raw) {
		to := &unix.SockaddrInet6{}
		if source.IsValid() {
			to.Addr = source.As16()
		}
		if to.ZoneId, err = zone(source); err == nil {
			err = unix.Bind(s.fd, to)
		}
	}
	if err == nil && !raw {
		// The kernel chose the identifier, as it does a port.
		var own unix.Sockaddr
		if own, err = unix.Getsockname(s.fd); err == nil {
			s.id = uint16(own.(*unix.SockaddrInet6).Port)
		}
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// zone is the index of an address's zone, 0 without one.
func zone(a netip.Addr) (uint32, error) {
	if a.Zone() == "" {
		return 0, nil
	}
	ifi, err := net.InterfaceByName(a.Zone())
	if err != nil {
		return 0, fmt.Errorf("%s: %w", a, err)
	}
	return uint32(ifi.Index), nil
}

// Close closes the socket.
func (s *Socket) Close() error { return unix.Close(s.fd) }

// Send implements Conn.
func (s *Socket) Send(to netip.Addr, seq uint16, data []byte, hopLimit int) error {
	index, err := zone(to)
	if err != nil {
		return fmt.Errorf("icmp6: %w", err)
	}
	var oob []byte
	if hopLimit > 0 {
		oob = (&ipv6.ControlMessage{HopLimit: hopLimit}).Marshal()
	}
	b := append([]byte{echoRequest, 0, 0, 0}, binary.BigEndian.AppendUint16(nil, s.id)...)
	b = append(binary.BigEndian.AppendUint16(b, seq), data...)
	send := func() error {
		return unix.Sendmsg(s.fd, b, oob, &unix.SockaddrInet6{Addr: to.As16(), ZoneId: index}, 0)
	}
	// A request before this one may have left its error on the socket.
	if err = send(); err != nil && s.pending() {
		err = send()
	}
	if err != nil {
		return fmt.Errorf("icmp6: echo request to %s: %w", to, err)
	}
	return nil
}

// pending tells whether an error was on the socket, which takes it off.
func (s *Socket) pending() bool {
	code, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil || code != 0 {
		return true
	}
	fds := []unix.PollFd{{Fd: int32(s.fd)}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0 && fds[0].Revents&unix.POLLERR != 0
}

// Receive implements Conn.
func (s *Socket) Receive(deadline time.Time) (Answer, error) {
	b, oob := make([]byte, 1<<16), make([]byte, 512)
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return Answer{}, os.ErrDeadlineExceeded
		}
		fds := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, int(left.Milliseconds())+1); err != nil && !errors.Is(err, unix.EINTR) {
			return Answer{}, fmt.Errorf("icmp6: waiting for an answer: %w", err)
		}
		for _, flags := range []int{unix.MSG_ERRQUEUE, 0} {
			n, oobn, _, from, err := unix.Recvmsg(s.fd, b, oob, flags|unix.MSG_DONTWAIT)
			if err != nil {
				continue // nothing there, or an error that is in the queue too
			}
			if a, ok := s.answer(b[:n], oob[:oobn], from, flags != 0); ok {
				return a, nil
			}
		}
	}
}

// answer reads a message and what came beside it. queued is what came by the error
// queue: the request itself, and beside it who said what of it.
func (s *Socket) answer(b, oob []byte, from unix.Sockaddr, queued bool) (Answer, bool) {
	if len(b) < headerLen || binary.BigEndian.Uint16(b[4:]) != s.id {
		return Answer{}, false
	}
	a := Answer{Type: b[0], Code: b[1], Seq: binary.BigEndian.Uint16(b[6:]), Data: append([]byte(nil), b[headerLen:]...)}
	if want := map[bool]byte{false: echoReply, true: echoRequest}[queued]; a.Type != want {
		return Answer{}, false
	}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return Answer{}, false
	}
	if sa, ok := from.(*unix.SockaddrInet6); ok {
		a.From = withZone(netip.AddrFrom16(sa.Addr), sa.ZoneId)
	}
	said := !queued
	for _, m := range messages {
		if m.Header.Level != unix.IPPROTO_IPV6 {
			continue
		}
		switch {
		case m.Header.Type == unix.IPV6_HOPLIMIT && len(m.Data) >= 4:
			a.HopLimit = int(binary.NativeEndian.Uint32(m.Data))
		case m.Header.Type == unix.IPV6_RECVERR && queued && len(m.Data) >= 16:
			// struct sock_extended_err, and the offender's address behind it.
			const originICMP6 = 3
			if m.Data[4] != originICMP6 || len(m.Data) < 16+unix.SizeofSockaddrInet6 {
				continue // this system's own
			}
			said = true
			a.Type, a.Code = m.Data[5], m.Data[6]
			a.Info = binary.NativeEndian.Uint32(m.Data[8:])
			offender := m.Data[16:]
			a.From = withZone(netip.AddrFrom16([16]byte(offender[8:24])), binary.NativeEndian.Uint32(offender[24:]))
		}
	}
	return a, said && a.From.IsValid()
}

// withZone gives a link-local address the name of its device.
func withZone(a netip.Addr, index uint32) netip.Addr {
	if !a.IsLinkLocalUnicast() {
		return a
	}
	if ifi, err := net.InterfaceByIndex(int(index)); err == nil {
		return a.WithZone(ifi.Name)
	}
	return a
}
