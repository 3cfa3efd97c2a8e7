package probe

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// Segment is who is on a link besides this machine.
type Segment struct {
	Routers    []Advertiser
	Neighbours []Neighbour
	Clients    []Client
}

// Advertiser is a router that advertised itself.
type Advertiser struct {
	Addr           netip.Addr // link-local
	MAC            string
	Lifetime       time.Duration // as a default router, 0 for none
	Managed, Other bool
}

// Neighbour answered an echo to all nodes or all routers of the link.
type Neighbour struct {
	Addr   netip.Addr
	MAC    string
	Router bool // it answered the one to all routers
}

// Client sent a message of a DHCPv6 client to the servers of the link.
type Client struct {
	Addr       netip.Addr
	MAC        string
	Delegation bool // it spoke of a prefix (IA_PD)
}

// maxOf bounds each list of a Segment.
const maxOf = 32

// LookAround solicits routers and asks all nodes and all routers of a device for an
// echo, twice, and listens meanwhile. It returns after enough when a router has
// advertised itself, else when ctx ends: a router may take three seconds (RFC 4861
// 6.2.6). It takes CAP_NET_RAW.
func LookAround(ctx context.Context, ifi *net.Interface, enough time.Duration) (Segment, error) {
	s := Segment{}
	listener, err := listen(ifi)
	if err != nil {
		return s, fmt.Errorf("probe: listening on %s: %w", ifi.Name, err)
	}
	defer listener.Close()
	defer context.AfterFunc(ctx, func() { listener.SetReadDeadline(time.Unix(1, 0)) })()
	id := uint16(rand.Uint32())
	ids := [2]uint16{id, id + 1}
	w := watcher{self: ifi.HardwareAddr, nodes: ids[0], routers: ids[1], segment: &s}
	start := time.Now()
	if err := call(ifi, ids); err != nil {
		return s, err
	}
	again := start.Add(enough / 2)
	buf := make([]byte, 2048)
	for failed := 0; ctx.Err() == nil; {
		until := start.Add(enough)
		switch {
		case time.Now().Before(again):
			until = again
		case !time.Now().Before(until) && len(s.Routers) > 0:
			return s, nil
		case !time.Now().Before(until):
			until = time.Now().Add(enough)
		}
		if err := listener.SetReadDeadline(until); err != nil {
			return s, err
		}
		n, mac, err := listener.read(buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			if !again.IsZero() && !time.Now().Before(again) {
				again = time.Time{}
				if err := call(ifi, ids); err != nil {
					return s, err
				}
			}
		case err != nil:
			if failed++; failed == maxErrors {
				return s, fmt.Errorf("probe: listening on %s: %w", ifi.Name, err)
			}
		default:
			w.take(buf[:n], mac)
		}
	}
	return s, nil
}

// call sends what is to be answered.
func call(ifi *net.Interface, ids [2]uint16) error {
	sock, err := net.ListenIP("ip6:58", &net.IPAddr{IP: net.IPv6unspecified})
	if err != nil {
		return fmt.Errorf("probe: a socket on %s: %w", ifi.Name, err)
	}
	defer sock.Close()
	pc := ipv6.NewPacketConn(sock)
	var nothing ipv6.ICMPFilter
	nothing.SetAll(true)
	err = errors.Join(bindToDevice(sock, ifi.Name), pc.SetICMPFilter(&nothing), pc.SetMulticastHopLimit(255), pc.SetMulticastLoopback(false))
	if err != nil {
		return err
	}
	// A solicitation is an ICMPv6 header and four octets of nothing (RFC 4861 4.1).
	solicitation := []byte{133, 0, 0, 0, 0, 0, 0, 0}
	echo := func(id uint16) []byte { return []byte{128, 0, 0, 0, byte(id >> 8), byte(id), 0, 0} }
	for _, m := range []struct {
		to      string
		message []byte
	}{{"ff02::2", solicitation}, {"ff02::1", echo(ids[0])}, {"ff02::2", echo(ids[1])}} {
		_, e := sock.WriteTo(m.message, &net.IPAddr{IP: net.ParseIP(m.to), Zone: ifi.Name})
		err = errors.Join(err, e)
	}
	if err != nil {
		return fmt.Errorf("probe: asking around on %s: %w", ifi.Name, err)
	}
	return nil
}

// watcher makes a Segment of the packets that are heard.
type watcher struct {
	self           net.HardwareAddr
	nodes, routers uint16 // identifiers of the echo requests
	segment        *Segment
}

const (
	headerLen = 40
	udpLen    = 8
	serverUDP = 547

	typeEchoReply     = 129
	typeAdvertisement = 134

	optIAPD = 25
)

// take judges an IPv6 packet that came from mac.
func (w *watcher) take(b []byte, mac net.HardwareAddr) {
	if len(b) < headerLen || b[0]>>4 != 6 || bytes.Equal(mac, w.self) {
		return
	}
	from := netip.AddrFrom16([16]byte(b[8:]))
	hopLimit, body := b[7], b[headerLen:]
	if n := int(binary.BigEndian.Uint16(b[4:])); n < len(body) {
		body = body[:n]
	}
	switch {
	case b[6] == unix.IPPROTO_ICMPV6 && len(body) >= 16 && body[0] == typeAdvertisement && body[1] == 0 && hopLimit == 255 && from.IsLinkLocalUnicast():
		a := Advertiser{
			Addr: from, MAC: mac.String(), Managed: body[5]&0x80 != 0, Other: body[5]&0x40 != 0,
			Lifetime: time.Duration(binary.BigEndian.Uint16(body[6:])) * time.Second,
		}
		put(&w.segment.Routers, a, func(o Advertiser) bool { return o.Addr == a.Addr })
	case b[6] == unix.IPPROTO_ICMPV6 && len(body) >= 8 && body[0] == typeEchoReply && body[1] == 0:
		id := binary.BigEndian.Uint16(body[4:])
		if id != w.nodes && id != w.routers {
			return
		}
		n := Neighbour{Addr: from, MAC: mac.String(), Router: id == w.routers}
		for _, o := range w.segment.Neighbours {
			n.Router = n.Router || o.Addr == n.Addr && o.Router
		}
		put(&w.segment.Neighbours, n, func(o Neighbour) bool { return o.Addr == n.Addr })
	case b[6] == unix.IPPROTO_UDP && len(body) >= udpLen+4 && binary.BigEndian.Uint16(body[2:]) == serverUDP:
		// Messages of clients (RFC 8415 7.3): Solicit to Information-request, but not
		// Advertise, Reply and Reconfigure.
		switch m := body[udpLen:]; m[0] {
		case 1, 3, 4, 5, 6, 8, 9, 11:
			c := Client{Addr: from, MAC: mac.String(), Delegation: hasOption(m[4:], optIAPD)}
			for _, o := range w.segment.Clients {
				c.Delegation = c.Delegation || o.MAC == c.MAC && o.Delegation
			}
			put(&w.segment.Clients, c, func(o Client) bool { return o.MAC == c.MAC })
		}
	}
}

// put replaces what is the same, else appends within bounds.
func put[T any](list *[]T, v T, same func(T) bool) {
	if i := slices.IndexFunc(*list, same); i >= 0 {
		(*list)[i] = v
	} else if len(*list) < maxOf {
		*list = append(*list, v)
	}
}

// hasOption walks the options of a DHCPv6 message.
func hasOption(b []byte, code uint16) bool {
	for len(b) >= 4 {
		n := 4 + int(binary.BigEndian.Uint16(b[2:]))
		if binary.BigEndian.Uint16(b) == code && n <= len(b) {
			return true
		}
		b = b[min(n, len(b)):]
	}
	return false
}

// packets is a packet socket that hears the IPv6 packets of a device which a watcher
// wants, those to all multicast addresses too.
type packets struct {
	*os.File
	raw syscall.RawConn
}

func listen(ifi *net.Interface) (*packets, error) {
	proto := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_IPV6))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), "packets")
	err = errors.Join(
		unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: unsafe.SliceData(filter)}),
		unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &unix.PacketMreq{Ifindex: int32(ifi.Index), Type: unix.PACKET_MR_ALLMULTI}),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: proto, Ifindex: ifi.Index}),
	)
	var p *packets
	if err == nil {
		raw, e := f.SyscallConn()
		p, err = &packets{f, raw}, e
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return p, nil
}

// filter is a classic BPF program over the IPv6 packet: ICMPv6 of the two types, and UDP
// to DHCPv6 servers. A busy line has much else.
var filter = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 6},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.IPPROTO_UDP, Jt: 4},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.IPPROTO_ICMPV6, Jf: 6},
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: headerLen},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: typeEchoReply, Jt: 3},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: typeAdvertisement, Jt: 2, Jf: 3},
	{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: headerLen + 2},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: serverUDP, Jf: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: 2048},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
}

// read is one packet that came from another machine, and whence.
func (p *packets) read(b []byte) (n int, mac net.HardwareAddr, err error) {
	again := p.raw.Read(func(fd uintptr) bool {
		var from unix.Sockaddr
		n, from, err = unix.Recvfrom(int(fd), b, 0)
		if l, ok := from.(*unix.SockaddrLinklayer); ok {
			mac = bytes.Clone(l.Addr[:min(int(l.Halen), len(l.Addr))])
		}
		return err != unix.EAGAIN
	})
	return n, mac, errors.Join(again, err)
}
