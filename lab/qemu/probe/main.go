// Command probe finds what an emulator of user programs (qemu-user) does otherwise
// than a kernel of the emulated machine would. It speaks netlink by itself, so that
// no library can be to blame, and prints a line for each fault that it looked for:
//
//	attributes no
//	errno yes: …
//
// lab/qemu/run leaves out the tests that such a fault breaks. Run on a kernel
// without an emulator, it finds nothing.
package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

func main() {
	// Nothing here is to touch the machine.
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		fmt.Fprintln(os.Stderr, "probe: a network namespace of its own:", err)
		os.Exit(1)
	}
	if err := loopback(); err != nil {
		fmt.Fprintln(os.Stderr, "probe: the loopback device:", err)
		os.Exit(1)
	}
	for _, fault := range []struct {
		name string
		look func() error
	}{
		{"attributes", attributes},
		{"errno", errno},
		{"linkprop", linkprop},
		{"multicast", multicast},
		{"ancillary", ancillary},
		{"offender", offender},
		{"neighbours", neighbours},
		{"packetopt", packetOptions},
		{"dontfrag", dontFragment},
		{"exec", execSelf},
	} {
		if err := fault.look(); err != nil {
			fmt.Printf("%s yes: %s\n", fault.name, strings.ReplaceAll(err.Error(), "\n", "; "))
		} else {
			fmt.Printf("%s no\n", fault.name)
		}
	}
}

var native = binary.NativeEndian

// foreign is the other byte order.
func foreign() binary.ByteOrder {
	if native.Uint16([]byte{0, 1}) == 1 {
		return binary.LittleEndian
	}
	return binary.BigEndian
}

// attribute is a netlink attribute whose header has the byte order order. A
// kernel takes its own alone.
func attribute(order binary.ByteOrder, typ uint16, value []byte) []byte {
	b := make([]byte, 4, 4+len(value)+3)
	order.PutUint16(b, uint16(4+len(value)))
	order.PutUint16(b[2:], typ)
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func interfaceMessage(index int32) []byte {
	b := make([]byte, unix.SizeofIfInfomsg)
	native.PutUint32(b[4:], uint32(index))
	return b
}

// ask sends one request and returns the first answer. What the kernel refuses is an
// error.
func ask(typ uint16, flags uint16, body []byte) ([]byte, error) {
	s, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer unix.Close(s)
	if err := unix.Bind(s, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, err
	}
	m := make([]byte, unix.SizeofNlMsghdr, unix.SizeofNlMsghdr+len(body))
	native.PutUint32(m, uint32(cap(m)))
	native.PutUint16(m[4:], typ)
	native.PutUint16(m[6:], unix.NLM_F_REQUEST|flags)
	native.PutUint32(m[8:], 1)
	if err := unix.Sendto(s, append(m, body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, fmt.Errorf("not even sent: %w", err)
	}
	answer := make([]byte, 1<<16)
	n, _, err := unix.Recvfrom(s, answer, 0)
	if err != nil {
		return nil, err
	}
	if n < unix.SizeofNlMsghdr+4 {
		return nil, fmt.Errorf("an answer of %d bytes", n)
	}
	if native.Uint16(answer[4:]) == unix.NLMSG_ERROR {
		if code := int32(native.Uint32(answer[unix.SizeofNlMsghdr:])); code != 0 {
			return nil, unix.Errno(-code)
		}
	}
	return answer[:min(n, int(native.Uint32(answer)))], nil
}

func request(typ uint16, flags uint16, body []byte) error {
	_, err := ask(typ, flags, body)
	return err
}

// attributes: attributes have the byte order of this machine on the way to the
// kernel and back.
func attributes() error { return errors.Join(sent(), received()) }

// sent asks for a device, as it has to be done here, and then with the inner
// attribute in the other byte order, which no kernel of this machine would take.
func sent() error {
	add := func(order binary.ByteOrder, dev string) error {
		kind := attribute(order, unix.IFLA_INFO_KIND, []byte("veth"))
		body := append(interfaceMessage(0), attribute(native, unix.IFLA_IFNAME, []byte(dev+"\x00"))...)
		return request(unix.RTM_NEWLINK, unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL,
			append(body, attribute(native, unix.IFLA_LINKINFO, kind)...))
	}
	err := add(native, "right0")
	if err == nil {
		return nil
	}
	return fmt.Errorf("a new veth is %s, with an inner attribute in the wrong byte order it is %s",
		said(err), said(add(foreign(), "wrong0")))
}

// received asks for the loopback device and goes through the attributes of the
// answer.
func received() error {
	b, err := ask(unix.RTM_GETLINK, 0, interfaceMessage(1))
	if err != nil {
		return err
	}
	b = b[unix.SizeofNlMsghdr+unix.SizeofIfInfomsg:]
	for len(b) >= 4 {
		n := int(native.Uint16(b))
		if n < 4 || n > len(b) {
			return fmt.Errorf("the loopback device's last %d bytes, %x, begin with a length of %d, in the wrong byte order %d",
				len(b), b, n, foreign().Uint16(b))
		}
		b = b[min(len(b), (n+3)&^3):]
	}
	return nil
}

func said(err error) string {
	if err == nil {
		return "taken"
	}
	return "refused (" + err.Error() + ")"
}

// errno: the kernel's error codes are numbers of this architecture. Removing an
// address that is not there is EADDRNOTAVAIL, 99 on most, 126 on MIPS.
func errno() error {
	body := make([]byte, unix.SizeofIfAddrmsg)
	body[0], body[1] = unix.AF_INET, 32
	native.PutUint32(body[4:], 1)
	err := request(unix.RTM_DELADDR, unix.NLM_F_ACK, append(body, attribute(native, unix.IFA_LOCAL, []byte{192, 0, 2, 1})...))
	if errors.Is(err, unix.EADDRNOTAVAIL) {
		return nil
	}
	var code unix.Errno
	errors.As(err, &code)
	return fmt.Errorf("to remove an address that is not there is error %d, here it is %d", int(code), int(unix.EADDRNOTAVAIL))
}

// linkprop: RTM_NEWLINKPROP, an alternative name for a device, reaches the kernel.
func linkprop() error {
	name := attribute(native, unix.IFLA_ALT_IFNAME, []byte("probe\x00"))
	return request(unix.RTM_NEWLINKPROP, unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL,
		append(interfaceMessage(1), attribute(native, unix.IFLA_PROP_LIST|unix.NLA_F_NESTED, name)...))
}

// multicast: a group is joined by the option that all protocols have (RFC 3678),
// which package net and golang.org/x/net use.
func multicast() error {
	s, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	// struct group_req: the interface, then a struct sockaddr_storage aligned as a
	// pointer is.
	offset := 4
	if unix.SizeofPtr == 8 {
		offset = 8
	}
	b := make([]byte, offset+128)
	native.PutUint32(b, 1)
	native.PutUint16(b[offset:], unix.AF_INET6)
	copy(b[offset+8:], []byte{0xff, 1, 15: 0x42})
	return os.NewSyscallError("MCAST_JOIN_GROUP", unix.SetsockoptString(s, unix.IPPROTO_IPV6, unix.MCAST_JOIN_GROUP, string(b)))
}

// ancillary: what comes beside a packet has the byte order of this machine, here the
// interface (RFC 3542 6.2).
func ancillary() error {
	s, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	if err := unix.SetsockoptInt(s, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1); err != nil {
		return err
	}
	if err := unix.Bind(s, &unix.SockaddrInet6{Addr: [16]byte{15: 1}}); err != nil {
		return err
	}
	to, err := unix.Getsockname(s)
	if err != nil {
		return err
	}
	if err := unix.Sendto(s, nil, 0, to); err != nil {
		return err
	}
	oob := make([]byte, 100)
	_, n, _, _, err := unix.Recvmsg(s, nil, oob, 0)
	if err != nil {
		return err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil {
		return err
	}
	if len(messages) != 1 || len(messages[0].Data) != unix.SizeofInet6Pktinfo {
		return fmt.Errorf("beside the packet came %v, not one struct in6_pktinfo", messages)
	}
	if index := native.Uint32(messages[0].Data[16:]); index != 1 {
		return fmt.Errorf("the packet came by interface %d, not by 1", index)
	}
	return nil
}

// offender: who refused a packet stands behind the error in the socket's queue
// (IPV6_RECVERR), here this host, of a datagram to a port where nobody listens.
func offender() error {
	s, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	if err := unix.SetsockoptInt(s, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1); err != nil {
		return err
	}
	if err := unix.Sendto(s, nil, 0, &unix.SockaddrInet6{Addr: [16]byte{15: 1}, Port: 9}); err != nil {
		return err
	}
	oob := make([]byte, 200)
	_, n, _, _, err := unix.Recvmsg(s, nil, oob, unix.MSG_ERRQUEUE)
	if err != nil {
		return err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil {
		return err
	}
	// struct sock_extended_err, then a struct sockaddr_in6.
	if len(messages) != 1 || len(messages[0].Data) < 16+unix.SizeofSockaddrInet6 {
		return fmt.Errorf("beside the error came %v, not one struct sock_extended_err with an address", messages)
	}
	if a := messages[0].Data[24:40]; [16]byte(a) != [16]byte{15: 1} {
		return fmt.Errorf("the datagram was refused by %x, not by ::1", a)
	}
	return nil
}

// neighbours: RTM_GETNEIGH, the neighbour cache, reaches the kernel.
func neighbours() error {
	return request(unix.RTM_GETNEIGH, unix.NLM_F_DUMP, make([]byte, unix.SizeofNdMsg))
}

// packetOptions: a packet socket has the options of packet(7).
func packetOptions() error {
	s, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	return errors.Join(
		os.NewSyscallError("PACKET_AUXDATA", unix.SetsockoptInt(s, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1)),
		os.NewSyscallError("PACKET_ADD_MEMBERSHIP", unix.SetsockoptPacketMreq(s, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP,
			&unix.PacketMreq{Ifindex: 1, Type: unix.PACKET_MR_ALLMULTI})),
	)
}

// dontFragment: a datagram may be kept from being fragmented (RFC 3542 11.2).
func dontFragment() error {
	s, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	return os.NewSyscallError("IPV6_DONTFRAG", unix.SetsockoptInt(s, unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG, 1))
}

// loopback is up in a namespace that has just been made, and has its addresses.
func loopback() error {
	s, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	r, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, r)
}

// execSelf: a program of this architecture can be started.
func execSelf() error {
	if len(os.Args) > 1 {
		os.Exit(0)
	}
	return exec.Command("/proc/self/exe", "again").Run()
}
