package dhcp4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"sofutobanku/internal/checksum"
)

// Ports of RFC 2131 4.1.
const (
	clientPort = 68
	serverPort = 67
)

// Sizes of headers without options, in bytes.
const (
	ipLen  = 20
	udpLen = 8
)

// Conn is a client's socket on one device. One goroutine may read while another
// sends or closes.
type Conn struct {
	f   *os.File
	ifi *net.Interface
	mac [6]byte
	buf [2048]byte // of Read; what is longer was not asked for

	mu     sync.Mutex
	udp    int // of Unicast, -1 for none
	closed bool
}

// Listen opens a socket on an Ethernet device, which takes CAP_NET_RAW. It is handed
// UDP datagrams to port 68 alone. The error wraps the system's.
func Listen(ifi *net.Interface) (*Conn, error) {
	c, err := listen(ifi)
	if err != nil {
		return nil, fmt.Errorf("dhcp4: listen on %s: %w", ifi.Name, err)
	}
	return c, nil
}

// filter takes IPv4 that is UDP, no later fragment, and to the client's port. The
// packet begins with its IP header. It is written in the kernel's form: package bpf, which
// would make it of words, takes 10 kB.
var filter = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 9}, // the protocol
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.IPPROTO_UDP, Jf: 6},
	{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 6}, // flags and fragment offset
	{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: 0x1fff, Jt: 4},
	{Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH, K: 0}, // the header's length
	{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_IND, K: 2},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: clientPort, Jf: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: 1 << 16},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
}

func listen(ifi *net.Interface) (*Conn, error) {
	if len(ifi.HardwareAddr) != 6 {
		return nil, fmt.Errorf("its address %q is not an Ethernet one", ifi.HardwareAddr)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	c := &Conn{f: os.NewFile(uintptr(fd), "dhcp4"), ifi: ifi, mac: [6]byte(ifi.HardwareAddr), udp: -1}
	// With protocol 0 nothing comes before the filter is there.
	err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1)
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_IP), Ifindex: ifi.Index})
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func htons(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

// Close closes the socket; a Read that waits returns an error that wraps net.ErrClosed.
func (c *Conn) Close() error {
	c.mu.Lock()
	c.closeUDP()
	c.closed = true
	c.mu.Unlock()
	return c.f.Close()
}

// closeUDP is called with mu held.
func (c *Conn) closeUDP() {
	if c.udp >= 0 {
		unix.Close(c.udp)
	}
	c.udp = -1
}

// SetReadDeadline is when a Read that waits returns os.ErrDeadlineExceeded.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.f.SetReadDeadline(t) }

// Read waits for a datagram whose checksums are right and returns its payload.
func (c *Conn) Read(b []byte) (n int, from netip.AddrPort, err error) {
	packet, beside := c.buf[:], make([]byte, 128)
	rc, err := c.f.SyscallConn()
	for err == nil {
		var oob int
		waited := rc.Read(func(fd uintptr) bool {
			n, oob, _, _, err = unix.Recvmsg(int(fd), packet, beside, 0)
			return !errors.Is(err, unix.EAGAIN)
		})
		if waited != nil {
			err = waited
		}
		if err != nil {
			break
		}
		if payload, from, ok := unpack(packet[:n], unsummed(beside[:oob])); ok {
			return copy(b, payload), from, nil
		}
	}
	c.mu.Lock()
	if c.closed {
		err = net.ErrClosed
	}
	c.mu.Unlock()
	return 0, from, fmt.Errorf("dhcp4: %s: %w", c.ifi.Name, err)
}

// unsummed tells whether UDP's checksum was left to hardware that the packet never saw,
// as between virtual machines.
func unsummed(beside []byte) bool {
	messages, err := unix.ParseSocketControlMessage(beside)
	if err != nil {
		return false
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_PACKET && m.Header.Type == unix.PACKET_AUXDATA && len(m.Data) >= 4 {
			return binary.NativeEndian.Uint32(m.Data)&unix.TP_STATUS_CSUMNOTREADY != 0
		}
	}
	return false
}

// unpack takes the headers off a datagram to the client's port. Its UDP checksum is not
// looked at when it is unsummed.
func unpack(p []byte, unsummed bool) (payload []byte, from netip.AddrPort, ok bool) {
	if len(p) < ipLen || p[0]>>4 != 4 {
		return nil, from, false
	}
	header, total := int(p[0]&15)*4, int(binary.BigEndian.Uint16(p[2:]))
	if header < ipLen || total < header+udpLen || total > len(p) || p[9] != unix.IPPROTO_UDP || checksum.Of(p[:header]) != 0 {
		return nil, from, false
	}
	// Not in one piece: what is longer than 576 bytes was not asked for.
	if binary.BigEndian.Uint16(p[6:])&0x3fff != 0 {
		return nil, from, false
	}
	u := p[header:total] // the rest pads the frame
	n := int(binary.BigEndian.Uint16(u[4:]))
	if n < udpLen || n > len(u) || binary.BigEndian.Uint16(u[2:]) != clientPort {
		return nil, from, false
	}
	u = u[:n]
	// 0: the sender made none (RFC 768).
	if !unsummed && binary.BigEndian.Uint16(u[6:]) != 0 && checksum.Of(pseudo(p[12:20], n), u) != 0 {
		return nil, from, false
	}
	return u[udpLen:], netip.AddrPortFrom(netip.AddrFrom4([4]byte(p[12:16])), binary.BigEndian.Uint16(u)), true
}

// Broadcast sends a message to the servers of the link, from no address.
func (c *Conn) Broadcast(payload []byte) error {
	to := &unix.SockaddrLinklayer{
		Protocol: htons(unix.ETH_P_IP), Ifindex: c.ifi.Index, Halen: 6, Addr: [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
	}
	rc, err := c.f.SyscallConn()
	if err == nil {
		err2 := rc.Control(func(fd uintptr) { err = unix.Sendto(int(fd), pack(payload), 0, to) })
		if err == nil {
			err = err2
		}
	}
	if err != nil {
		return fmt.Errorf("dhcp4: broadcast on %s: %w", c.ifi.Name, err)
	}
	return nil
}

// Unicast sends a message from an address to a server, by the kernel's routes on the
// device. The error wraps unix.EADDRNOTAVAIL when the kernel does not have the address.
// Read hears the answer. The socket stays open for it, or the kernel would tell the
// server that nobody listens.
func (c *Conn) Unicast(payload []byte, own, server netip.Addr) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closeUDP()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err == nil {
		c.udp = fd
		err = unix.BindToDevice(fd, c.ifi.Name)
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Port: clientPort, Addr: own.As4()})
	}
	if err == nil {
		err = unix.Sendto(fd, payload, 0, &unix.SockaddrInet4{Port: serverPort, Addr: server.As4()})
	}
	if err != nil {
		return fmt.Errorf("dhcp4: from %v to %v on %s: %w", own, server, c.ifi.Name, err)
	}
	return nil
}

// pack puts a message to all servers in a datagram.
func pack(payload []byte) []byte {
	n := udpLen + len(payload)
	p := make([]byte, ipLen+n)
	p[0] = 4<<4 | ipLen/4
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	p[8] = 64 // TTL
	p[9] = unix.IPPROTO_UDP
	copy(p[16:], []byte{255, 255, 255, 255})
	binary.BigEndian.PutUint16(p[10:], checksum.Of(p[:ipLen]))
	u := p[ipLen:]
	binary.BigEndian.PutUint16(u, clientPort)
	binary.BigEndian.PutUint16(u[2:], serverPort)
	binary.BigEndian.PutUint16(u[4:], uint16(n))
	copy(u[udpLen:], payload)
	sum := checksum.Of(pseudo(p[12:20], n), u)
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(u[6:], sum)
	return p
}

// pseudo is UDP's pseudo header (RFC 768), of both addresses and the length.
func pseudo(addresses []byte, n int) []byte {
	return append(slices.Clone(addresses), 0, unix.IPPROTO_UDP, byte(n>>8), byte(n))
}
