package isp

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
)

// The subscriber of all tests.
var (
	clientMAC  = net.HardwareAddr{0x00, 0x00, 0x5e, 0x00, 0x53, 0x01}
	serverMAC  = net.HardwareAddr{0x00, 0x00, 0x5e, 0x00, 0x53, 0xaa}
	clientAddr = netip.MustParseAddr("fe80::200:5eff:fe00:5301")
	clientPeer = netip.AddrPortFrom(clientAddr, 546)
)

func testRand() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

// lockedBuffer is a journal's output that a test may read meanwhile.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// testSettings is a line with an account.
func testSettings(kind Kind, edit ...func(*Config)) *settings {
	c := Default(kind)
	c.Device = "isp0"
	c.Account = Account{
		sharedSecret: []byte("shared"),
		password:     []byte("pass"),
		vsa:          [3]string{"maker", "model 1", "rev 2"},
		packed:       kind == Cross,
	}
	if kind != Cross {
		c.Account.chapIdent = 1
	}
	for _, f := range edit {
		f(&c)
	}
	return &settings{c: c}
}

func testJournal() (*Journal, *lockedBuffer) {
	out := new(lockedBuffer)
	return NewJournal(out, false, false), out
}

// wrongs are the texts of the faults that j noted.
func wrongs(j *Journal) []string {
	_, events := j.snapshot()
	var out []string
	for _, e := range events {
		out = append(out, e.Text)
	}
	return out
}

// fakeKernel notes what it is told, as text.
type fakeKernel struct {
	mu   sync.Mutex
	now  map[string]string // what exists
	fail error
	log  []string
}

func newFakeKernel() *fakeKernel { return &fakeKernel{now: make(map[string]string)} }

func (k *fakeKernel) Route(p netip.Prefix, via netip.Addr) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail != nil {
		return k.fail
	}
	k.now[p.String()] = fmt.Sprintf("via %v", via)
	k.log = append(k.log, fmt.Sprintf("route %v via %v", p, via))
	return nil
}

func (k *fakeKernel) Unroute(p netip.Prefix) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.now, p.String())
	k.log = append(k.log, fmt.Sprintf("unroute %v", p))
	return nil
}

func (k *fakeKernel) Tunnel(br, ce, ipv4 netip.Addr) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail != nil {
		return k.fail
	}
	k.log = append(k.log, fmt.Sprintf("tunnel %v %v %v", br, ce, ipv4))
	return nil
}

func (k *fakeKernel) PrepareBR(br netip.Addr) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.log = append(k.log, fmt.Sprintf("prepare %v", br))
	return nil
}

func (k *fakeKernel) Watch(ctx context.Context, _ func(error)) error { <-ctx.Done(); return nil }
func (k *fakeKernel) Close() error                                   { return nil }

// table is what exists, a line each.
func (k *fakeKernel) table() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var lines []string
	for p, v := range k.now {
		lines = append(lines, p+" "+v)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// packet is a UDP payload and the other end's address.
type packet struct {
	b    []byte
	peer netip.AddrPort
}

// fakeUDP is a PacketConn on channels.
type fakeUDP struct {
	in     chan packet
	out    chan packet
	closed chan struct{}
	once   sync.Once
}

func newFakeUDP() *fakeUDP {
	return &fakeUDP{in: make(chan packet), out: make(chan packet, 64), closed: make(chan struct{})}
}

func (c *fakeUDP) ReadFrom(b []byte) (int, netip.AddrPort, error) {
	select {
	case p := <-c.in:
		return copy(b, p.b), p.peer, nil
	case <-c.closed:
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}

func (c *fakeUDP) WriteTo(b []byte, to netip.AddrPort) error {
	select {
	case <-c.closed:
		return net.ErrClosed
	case c.out <- packet{bytes.Clone(b), to}:
		return nil
	}
}

func (c *fakeUDP) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

// got returns what was sent meanwhile.
func (c *fakeUDP) got() []packet {
	var out []packet
	for {
		select {
		case p := <-c.out:
			out = append(out, p)
		default:
			return out
		}
	}
}

// opt is a DHCPv6 option, by hand.
func opt(code uint16, parts ...[]byte) []byte {
	data := bytes.Join(parts, nil)
	b := binary.BigEndian.AppendUint16(nil, code)
	b = binary.BigEndian.AppendUint16(b, uint16(len(data)))
	return append(b, data...)
}

// dhcp is a DHCPv6 message with transaction id 0a0b0c, by hand.
func dhcp(kind byte, options ...[]byte) []byte {
	return append([]byte{kind, 0x0a, 0x0b, 0x0c}, bytes.Join(options, nil)...)
}

func u16(v ...uint16) []byte {
	var b []byte
	for _, x := range v {
		b = binary.BigEndian.AppendUint16(b, x)
	}
	return b
}

func u32(v ...uint32) []byte {
	var b []byte
	for _, x := range v {
		b = binary.BigEndian.AppendUint32(b, x)
	}
	return b
}

// prefixOpt is an IAPREFIX.
func prefixOpt(p string, preferred, valid uint32) []byte {
	x := netip.MustParsePrefix(p)
	return opt(26, u32(preferred, valid), []byte{byte(x.Bits())}, x.Addr().AsSlice())
}

// The options of a right client.
var (
	optClient  = opt(1, []byte{0, 3, 0, 1}, clientMAC)
	optServer  = opt(2, []byte{0, 3, 0, 1}, serverMAC)
	optElapsed = opt(8, u16(0))
	optORO     = opt(6, u16(17, 22, 23, 24, 31))
	optPD      = opt(25, u32(1, 0, 0))
	optClass   = opt(16, u32(210), u16(6), clientMAC)
	optAccept  = opt(20)
	optHeld    = opt(25, u32(1, 0, 0), prefixOpt("2001:db8:1234:5600::/56", 12600, 14400))
)

func mustNot(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
