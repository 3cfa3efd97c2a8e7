package softbank

import (
	"context"
	"crypto/hmac"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"layeh.com/radius"
	"layeh.com/radius/rfc2865"

	"sofutobanku/internal/config"
	"sofutobanku/internal/counters"
	"sofutobanku/internal/softbank/vsa"
)

// The secrets of all tests here: TestSecretsNeverShow looks for them.
const (
	testSecret   = "the-shared-secret"
	testPassword = "the-chap-password"
)

var (
	serverA = netip.MustParseAddrPort("[2001:db8:a::1]:1812")
	serverB = netip.MustParseAddrPort("[2001:db8:b::1]:1812")

	testRequest = Request{
		Prefix:      netip.MustParsePrefix("2001:db8:12:3400::/56"),
		TerminalMAC: mac("00:00:5e:00:53:0a"),
		WANMAC:      mac("00:00:5e:00:53:0b"),
	}
)

func mac(s string) net.HardwareAddr {
	m, err := net.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return m
}

func testOptions(line Line, servers ...netip.AddrPort) Options {
	o := Defaults(line)
	o.Servers = servers
	o.SharedSecret = config.NewSecret(testSecret)
	o.Password = config.NewSecret(testPassword)
	return o
}

// steady is randomness without any: each byte is one more than the last.
type steady struct{ next byte }

func (s *steady) Uint64() uint64 {
	var b [8]byte
	for i := range b {
		b[i] = s.next
		s.next++
	}
	return binary.BigEndian.Uint64(b[:])
}

// constant is the same number always.
type constant uint64

func (c constant) Uint64() uint64 { return uint64(c) }

const (
	middle constant = 1 << 52   // Float64 is 0.5, which is no jitter
	most   constant = 1<<53 - 1 // Float64 is almost 1, which is the longest wait
)

// reply is what a server of a fakeNet does with a transmission: after the delay
// the client reads data, or err.
type reply struct {
	after time.Duration
	data  []byte
	err   error
}

// fakeNet is the network of a synctest bubble.
type fakeNet struct {
	t     *testing.T
	start time.Time
	// serve answers the n-th transmission (from 1) to server.
	serve func(server netip.AddrPort, n int, request []byte) []reply
	dial  func(server netip.AddrPort) error // may be nil
	write func(n int) error                 // may be nil; what the n-th Write returns

	mu       sync.Mutex
	timeline []string
	sent     map[netip.AddrPort][][]byte
	locals   []netip.Addr
	open     int
}

func newFakeNet(t *testing.T, serve func(server netip.AddrPort, n int, request []byte) []reply) *fakeNet {
	return &fakeNet{t: t, start: time.Now(), serve: serve, sent: make(map[netip.AddrPort][][]byte)}
}

func (f *fakeNet) Dial(_ context.Context, local netip.Addr, server netip.AddrPort) (net.Conn, error) {
	if f.dial != nil {
		if err := f.dial(server); err != nil {
			return nil, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open++
	f.locals = append(f.locals, local)
	return &fakeConn{net: f, server: server, in: make(chan reply, 1000), closed: make(chan struct{})}, nil
}

type fakeConn struct {
	net.Conn // nil: what is not implemented here is not to be called
	net      *fakeNet
	server   netip.AddrPort
	in       chan reply
	closed   chan struct{}
	once     sync.Once
	writes   int

	mu       sync.Mutex
	deadline time.Time
}

func (c *fakeConn) Write(b []byte) (int, error) {
	c.writes++
	if c.net.write != nil {
		if err := c.net.write(c.writes); err != nil {
			return 0, err
		}
	}
	b = append([]byte(nil), b...)
	c.net.mu.Lock()
	c.net.sent[c.server] = append(c.net.sent[c.server], b)
	n := len(c.net.sent[c.server])
	c.net.timeline = append(c.net.timeline, fmt.Sprintf("%v %s", time.Since(c.net.start), c.server.Addr()))
	c.net.mu.Unlock()
	for _, r := range c.net.serve(c.server, n, b) {
		time.AfterFunc(r.after, func() { c.in <- r })
	}
	return len(b), nil
}

func (c *fakeConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	return nil
}

func (c *fakeConn) Read(b []byte) (int, error) {
	c.mu.Lock()
	timer := time.NewTimer(time.Until(c.deadline))
	c.mu.Unlock()
	defer timer.Stop()
	select {
	case <-c.closed:
		return 0, net.ErrClosed
	case r := <-c.in:
		return copy(b, r.data), r.err
	case <-timer.C:
		return 0, os.ErrDeadlineExceeded
	}
}

func (c *fakeConn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.net.mu.Lock()
		c.net.open--
		c.net.mu.Unlock()
	})
	return nil
}

// errRefused is what a UDP socket returns after an ICMP port unreachable.
var errRefused = &net.OpError{Op: "read", Net: "udp", Err: os.NewSyscallError("read", syscall.ECONNREFUSED)}

// newTestClient returns a client on f without jitter, and its counters.
func newTestClient(f *fakeNet, o Options) (*Client, *counters.Set) {
	set := &counters.Set{}
	return NewClient(ClientConfig{Options: o, Dial: f.Dial, Rand: rand.New(middle), Counters: set}), set
}

// answer makes an authentic answer to request.
func answer(request []byte, code radius.Code, attrs radius.Attributes) []byte {
	p := radius.Packet{Code: code, Identifier: request[1], Secret: []byte(testSecret), Attributes: attrs}
	copy(p.Authenticator[:], request[4:headerLen])
	b, err := p.MarshalBinary()
	if err != nil {
		panic(err)
	}
	return sign(b, request, testSecret)
}

// answerSigned makes an authentic answer with a Message-Authenticator, whose
// bits in spoil are inverted before the whole is signed.
func answerSigned(request []byte, code radius.Code, attrs radius.Attributes, spoil ...byte) []byte {
	p := radius.Packet{Code: code, Identifier: request[1]}
	copy(p.Authenticator[:], request[4:headerLen])
	p.Add(80, make([]byte, md5.Size))
	p.Attributes = append(p.Attributes, attrs...)
	b, err := p.MarshalBinary()
	if err != nil {
		panic(err)
	}
	h := hmac.New(md5.New, []byte(testSecret))
	h.Write(b)
	copy(b[headerLen+2:], h.Sum(nil))
	for i, x := range spoil {
		b[headerLen+2+i] ^= x
	}
	return sign(b, request, testSecret)
}

// sign puts the Response Authenticator (RFC 2865 3) into b.
func sign(b, request []byte, secret string) []byte {
	h := md5.New()
	h.Write(b[:4])
	h.Write(request[4:headerLen])
	h.Write(b[headerLen:])
	h.Write([]byte(secret))
	copy(b[4:], h.Sum(nil))
	return b
}

// granted are the attributes of a plain Access-Accept.
func granted(extra ...*radius.AVP) radius.Attributes {
	var p radius.Packet
	must(vsa.SoftBankBBIPv4Address_Add(&p, net.IP{192, 0, 2, 7}))
	must(vsa.SoftBankBBBRIPv6Address_Add(&p, net.ParseIP("2001:db8:b0::1919")))
	return append(p.Attributes, extra...)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// vendor makes one Vendor-Specific attribute of the sub-attributes in hex.
func vendor(enterprise uint32, subs ...string) *radius.AVP {
	return &radius.AVP{
		Type:      rfc2865.VendorSpecific_Type,
		Attribute: append(binary.BigEndian.AppendUint32(nil, enterprise), unhex(subs...)...),
	}
}

// unhex reads hex with white space.
func unhex(parts ...string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(strings.Join(parts, " ")), ""))
	must(err)
	return b
}

// subHex writes a sub-attribute in hex.
func subHex(typ byte, value string) string {
	return hex.EncodeToString(append([]byte{typ, byte(2 + len(value))}, value...))
}
