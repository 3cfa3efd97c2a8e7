package echo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"

	"sofutobanku/internal/checksum"
	"sofutobanku/internal/counters"
)

var (
	source = netip.MustParseAddr("192.0.2.2")
	target = netip.MustParseAddr("198.51.100.1")
	router = netip.MustParseAddr("192.0.2.1")
)

// fakeConn is a path without a kernel: answer is called for each request.
type fakeConn struct {
	mu     sync.Mutex
	begin  time.Time
	times  []time.Duration
	in     chan message
	closed chan struct{}
	answer func(n int, request []byte) // n counts from 1
	fail   error
}

func newConn() *fakeConn {
	return &fakeConn{begin: time.Now(), in: make(chan message, 100), closed: make(chan struct{}), answer: func(int, []byte) {}}
}

func (f *fakeConn) ReadFrom(b []byte) (int, netip.Addr, error) {
	select {
	case <-f.closed:
		return 0, netip.Addr{}, net.ErrClosed
	case m := <-f.in:
		return copy(b, m.data), m.from, m.err
	}
}

func (f *fakeConn) WriteTo(b []byte, to netip.Addr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.times = append(f.times, time.Since(f.begin))
	if f.fail != nil {
		return f.fail
	}
	if to != target {
		return fmt.Errorf("sent to %s", to)
	}
	f.answer(len(f.times), b)
	return nil
}

func (f *fakeConn) Close() error { close(f.closed); return nil }

// after has the client receive data when d has passed.
func (f *fakeConn) after(d time.Duration, from netip.Addr, data []byte) {
	time.AfterFunc(d, func() { f.in <- message{data: data, from: from} })
}

func (f *fakeConn) config(c *counters.Set) Config {
	return Config{
		Device: "tun", Source: source, Target: target, Counters: c,
		Rand: rand.New(rand.NewPCG(1, 2)),
		Dial: func(device string, from netip.Addr) (Conn, error) {
			if device != "tun" || from != source {
				return nil, fmt.Errorf("dial %s from %s", device, from)
			}
			return f, nil
		},
	}
}

// reply makes the answer to a request.
func reply(request []byte) []byte {
	m, err := icmp.ParseMessage(1, request)
	if err != nil || m.Type != ipv4.ICMPTypeEcho || m.Code != 0 {
		panic(fmt.Sprintf("not a request: %x (%v)", request, err))
	}
	return marshal(icmp.Message{Type: ipv4.ICMPTypeEchoReply, Body: m.Body})
}

func marshal(m icmp.Message) []byte {
	b, err := m.Marshal(nil)
	if err != nil {
		panic(err)
	}
	return b
}

// edit changes bytes of a message and mends its checksum.
func edit(b []byte, at int, bytes ...byte) []byte {
	b = append([]byte(nil), b...)
	copy(b[at:], bytes)
	if len(b) >= 4 {
		b[2], b[3] = 0, 0
		sum := checksum.Of(b)
		b[2], b[3] = byte(sum>>8), byte(sum)
	}
	return b
}

// quote makes the ICMP error of a router about a request.
func quote(typ ipv4.ICMPType, code int, request []byte, change func(ip []byte)) []byte {
	ip := make([]byte, 20, 28)
	ip[0], ip[8], ip[9] = 0x45, 1, 1
	copy(ip[12:], source.AsSlice())
	copy(ip[16:], target.AsSlice())
	ip = append(ip, request[:8]...)
	if change != nil {
		change(ip)
	}
	return edit(append([]byte{byte(typ), byte(code), 0, 0, 0, 0, 0, 0}, ip...), 0)
}

func TestAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newConn(), &counters.Set{}
		f.answer = func(_ int, r []byte) { f.after(12*time.Millisecond, target, reply(r)) }
		rtt, err := Ping(t.Context(), f.config(c))
		if err != nil || rtt != 12*time.Millisecond {
			t.Errorf("Ping = %v, %v, want 12ms", rtt, err)
		}
		if diff := cmp.Diff([]time.Duration{0}, f.times); diff != "" {
			t.Errorf("requests (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(map[string]uint64{"echo.sent.request": 1, "echo.received.reply": 1}, c.Snapshot()); diff != "" {
			t.Errorf("counters (-want +got):\n%s", diff)
		}
		select {
		case <-f.closed:
		default:
			t.Error("the connection was left open")
		}
	})
}

// The tunnel's far end wakes up late: the time is that of the request which was
// answered.
func TestAnsweredLate(t *testing.T) {
	for name, tt := range map[string]struct {
		request int
		delay   time.Duration
	}{
		"the third request":                        {3, 15 * time.Millisecond},
		"the first, after the second and third":    {1, 900 * time.Millisecond},
		"the eighth":                               {8, 20 * time.Millisecond},
		"the first, after two minutes":             {1, 2 * time.Minute},
		"the fortieth, when most were forgotten":   {40, time.Millisecond},
		"the twentieth, seven minutes later still": {20, 7 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newConn()
				f.answer = func(n int, r []byte) {
					if n == tt.request {
						f.after(tt.delay, target, reply(r))
					}
				}
				rtt, err := Ping(t.Context(), f.config(nil))
				if err != nil || rtt != tt.delay {
					t.Errorf("Ping = %v, %v, want %v", rtt, err, tt.delay)
				}
			})
		})
	}
}

func TestRetransmission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newConn()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		_, err := Ping(ctx, f.config(nil))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want that of the context", err)
		}
		if want := "echo: no answer from 198.51.100.1 to 11 requests: context deadline exceeded"; err.Error() != want {
			t.Errorf("error %q, want %q", err, want)
		}
		ms := time.Millisecond
		want := []time.Duration{0, 200 * ms, 600 * ms, 1400 * ms, 3000 * ms, 6200 * ms, 12600 * ms, 25400 * ms, 51000 * ms, 81000 * ms, 111000 * ms}
		if diff := cmp.Diff(want, f.times); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// What is not the answer is counted, and does not keep the answer from counting.
func TestHostile(t *testing.T) {
	tests := []struct {
		name    string
		from    netip.Addr
		make    func(request []byte) []byte
		counter string
	}{
		{"empty", target, func([]byte) []byte { return nil }, "echo.drop.short"},
		{"7 bytes", target, func(r []byte) []byte { return edit(reply(r)[:7], 0) }, "echo.drop.short"},
		{"bad checksum", target, func(r []byte) []byte { b := reply(r); b[2] ^= 1; return b }, "echo.drop.checksum"},
		{"the request itself", target, func(r []byte) []byte { return r }, "echo.drop.type"},
		{"timestamp reply", target, func(r []byte) []byte { return edit(reply(r), 0, 14) }, "echo.drop.type"},
		{"redirect", router, func(r []byte) []byte { return quote(ipv4.ICMPTypeRedirect, 1, r, nil) }, "echo.drop.type"},
		{"code 1", target, func(r []byte) []byte { return edit(reply(r), 1, 1) }, "echo.drop.code"},
		{"another identifier", target, func(r []byte) []byte { return edit(reply(r), 4, r[4]^1) }, "echo.drop.identifier"},
		{"another source", router, reply, "echo.drop.source"},
		{"no source", netip.Addr{}, reply, "echo.drop.source"},
		{"a sequence number not sent", target, func(r []byte) []byte { return edit(reply(r), 6, 0x12, 0x34) }, "echo.drop.sequence"},
		{"content changed", target, func(r []byte) []byte { return edit(reply(r), 8, r[8]^1) }, "echo.drop.content"},
		{"content cut", target, func(r []byte) []byte { return edit(reply(r)[:len(r)-1], 0) }, "echo.drop.content"},
		{"content longer", target, func(r []byte) []byte { return edit(append(reply(r), 0), 0) }, "echo.drop.content"},
		{"no content", target, func(r []byte) []byte { return edit(reply(r)[:8], 0) }, "echo.drop.content"},
		{"as long as can be", target, func(r []byte) []byte { return edit(append(reply(r), make([]byte, 65535)...), 0)[:2048] }, "echo.drop.content"},
		{"error without a quote", router, func([]byte) []byte { return edit(make([]byte, 8), 0, 3) }, "echo.drop.error-of-another"},
		{"error with a cut quote", router, func(r []byte) []byte { return edit(quote(3, 0, r, nil)[:8+27], 0) }, "echo.drop.error-of-another"},
		{"error about IPv6", router, func(r []byte) []byte { return quote(3, 0, r, func(ip []byte) { ip[0] = 0x65 }) }, "echo.drop.error-of-another"},
		{"error with a short header", router, func(r []byte) []byte { return quote(3, 0, r, func(ip []byte) { ip[0] = 0x44 }) }, "echo.drop.error-of-another"},
		{"error with a header beyond the end", router, func(r []byte) []byte { return quote(3, 0, r, func(ip []byte) { ip[0] = 0x4f }) }, "echo.drop.error-of-another"},
		{"error about UDP", router, func(r []byte) []byte { return quote(3, 0, r, func(ip []byte) { ip[9] = 17 }) }, "echo.drop.error-of-another"},
		{"error about another source", router, func(r []byte) []byte { return quote(3, 0, r, func(ip []byte) { ip[15]++ }) }, "echo.drop.error-of-another"},
		{"error about another target", router, func(r []byte) []byte { return quote(3, 0, r, func(ip []byte) { ip[19]++ }) }, "echo.drop.error-of-another"},
		{"error about a reply", router, func(r []byte) []byte { return quote(3, 0, r, func(ip []byte) { ip[20] = 0 }) }, "echo.drop.error-of-another"},
		{"error about another identifier", router, func(r []byte) []byte { return quote(3, 0, r, func(ip []byte) { ip[24]++ }) }, "echo.drop.error-of-another"},
		{"error about a request not sent", router, func(r []byte) []byte { return quote(3, 0, r, func(ip []byte) { ip[26]++ }) }, "echo.drop.error-of-another"},
		{"error about our request", router, func(r []byte) []byte { return quote(3, 0, r, nil) }, "echo.received.error"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, c := newConn(), &counters.Set{}
				f.answer = func(n int, r []byte) {
					if n == 1 {
						f.after(time.Millisecond, tt.from, tt.make(r))
						return
					}
					f.after(2*time.Millisecond, target, reply(r))
				}
				rtt, err := Ping(t.Context(), f.config(c))
				if err != nil || rtt != 2*time.Millisecond {
					t.Errorf("Ping = %v, %v, want 2ms", rtt, err)
				}
				want := map[string]uint64{"echo.sent.request": 2, "echo.received.reply": 1, tt.counter: 1}
				if diff := cmp.Diff(want, c.Snapshot()); diff != "" {
					t.Errorf("counters (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// The error says what was heard last.
func TestTroubles(t *testing.T) {
	tests := []struct {
		name string
		set  func(f *fakeConn)
		want string
	}{
		{"network unreachable", errorOf(3, 0), "destination unreachable: network, from 192.0.2.1"},
		{"prohibited", errorOf(3, 13), "destination unreachable: administratively prohibited, from 192.0.2.1"},
		{"unknown code", errorOf(3, 200), "destination unreachable: code 200, from 192.0.2.1"},
		{"time exceeded", errorOf(11, 0), "time exceeded, from 192.0.2.1"},
		{"parameter problem", errorOf(12, 2), "parameter problem: code 2, from 192.0.2.1"},
		{"cannot send", func(f *fakeConn) { f.fail = errors.New("network is unreachable") }, "sending: network is unreachable"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newConn()
				tt.set(f)
				why := errors.New("the line went down")
				ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, why)
				defer cancel()
				_, err := Ping(ctx, f.config(nil))
				if want := "echo: no answer from 198.51.100.1 to 3 requests (" + tt.want + "): the line went down"; err == nil || err.Error() != want {
					t.Errorf("error %v, want %s", err, want)
				}
				if !errors.Is(err, why) {
					t.Errorf("%v does not wrap the context's cause", err)
				}
			})
		})
	}
}

func errorOf(typ ipv4.ICMPType, code int) func(f *fakeConn) {
	return func(f *fakeConn) {
		f.answer = func(_ int, r []byte) { f.after(time.Millisecond, router, quote(typ, code, r, nil)) }
	}
}

func TestFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newConn()
		broken := errors.New("no such device")
		f.in <- message{err: broken}
		if _, err := Ping(t.Context(), f.config(nil)); !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "echo: receiving on tun: ") {
			t.Errorf("read error: %v", err)
		}
		cfg := newConn().config(nil)
		cfg.Dial = func(string, netip.Addr) (Conn, error) { return nil, broken }
		if _, err := Ping(t.Context(), cfg); !errors.Is(err, broken) || !strings.Contains(err.Error(), "tun") {
			t.Errorf("dial error: %v", err)
		}
		cfg.Target = netip.MustParseAddr("2001:db8::1")
		if _, err := Ping(t.Context(), cfg); err == nil || errors.Is(err, broken) {
			t.Errorf("IPv6 target: %v", err)
		}
		cfg.Target = netip.Addr{}
		if _, err := Ping(t.Context(), cfg); err == nil || errors.Is(err, broken) {
			t.Errorf("no target: %v", err)
		}
	})
}

// A flood of rubbish neither stops the requests nor the answer.
func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newConn(), &counters.Set{}
		f.answer = func(n int, r []byte) {
			if n == 1 {
				go func() {
					for range 10000 {
						f.in <- message{data: edit(reply(r), 8, r[8]^1), from: target}
					}
				}()
			}
			if n == 3 {
				f.after(5*time.Millisecond, target, reply(r))
			}
		}
		rtt, err := Ping(t.Context(), f.config(c))
		if err != nil || rtt != 5*time.Millisecond {
			t.Errorf("Ping = %v, %v, want 5ms", rtt, err)
		}
		if got := c.Get("echo.drop.content"); got != 10000 {
			t.Errorf("%d dropped, want 10000", got)
		}
	})
}
