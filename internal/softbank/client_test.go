package softbank

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"layeh.com/radius"

	"sofutobanku/internal/counters"
)

const rtt = 20 * time.Millisecond

// silent never answers.
func silent(netip.AddrPort, int, []byte) []reply { return nil }

// accepting answers each request with an Accept.
func accepting(_ netip.AddrPort, _ int, req []byte) []reply {
	return []reply{{after: rtt, data: answer(req, radius.CodeAccessAccept, granted())}}
}

func TestGrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeNet(t, accepting)
		var trace []string
		set := &counters.Set{}
		c := NewClient(ClientConfig{
			Options: testOptions(NEXT, serverA), Dial: f.Dial, Rand: rand.New(middle), Counters: set,
			Trace: func(event, detail string) { trace = append(trace, event+" "+detail) },
		})
		g, err := c.Ask(t.Context(), testRequest)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(g.IPv4, g.BR, g.Server, g.RTT); got != "192.0.2.7 2001:db8:b0::1919 [2001:db8:a::1]:1812 20ms" {
			t.Errorf("grant %s", got)
		}
		wantTrace := []string{
			"access-request to [2001:db8:a::1]:1812 from 2001:db8:12:3400:1111:1111:1111:1111",
			"access-accept from [2001:db8:a::1]:1812: 192.0.2.7, BR 2001:db8:b0::1919",
		}
		if diff := cmp.Diff(wantTrace, trace); diff != "" {
			t.Errorf("trace (-want +got):\n%s", diff)
		}
		wantCounters := map[string]uint64{"radius.sent.access-request": 1, "radius.received.access-accept": 1}
		if diff := cmp.Diff(wantCounters, set.Snapshot()); diff != "" {
			t.Errorf("counters (-want +got):\n%s", diff)
		}
		if f.open != 0 {
			t.Errorf("%d sockets left open", f.open)
		}
	})
}

// TestSchedule has the moments of all transmissions, without jitter.
func TestSchedule(t *testing.T) {
	refused := func(server netip.AddrPort, _ int, req []byte) []reply {
		if server == serverA {
			return []reply{{after: rtt, err: errRefused}}
		}
		return accepting(server, 1, req)
	}
	onlyB := func(server netip.AddrPort, n int, req []byte) []reply {
		if server == serverB {
			return accepting(server, n, req)
		}
		return nil
	}
	var eight []netip.AddrPort
	for i := range 8 {
		eight = append(eight, netip.AddrPortFrom(netip.MustParseAddr(fmt.Sprintf("2001:db8::%d", i+1)), 1812))
	}
	for _, tt := range []struct {
		name    string
		servers []netip.AddrPort
		serve   func(netip.AddrPort, int, []byte) []reply
		want    []string
		end     time.Duration
		err     string
	}{
		{"one silent server", []netip.AddrPort{serverA}, silent,
			[]string{"0s 2001:db8:a::1", "1s 2001:db8:a::1", "3s 2001:db8:a::1", "7s 2001:db8:a::1", "15s 2001:db8:a::1"},
			31 * time.Second,
			"radius: no answer from [2001:db8:a::1]:1812: check option 'auth_server'"},
		{"two silent servers", []netip.AddrPort{serverA, serverB}, silent,
			[]string{"0s 2001:db8:a::1", "1s 2001:db8:a::1", "3s 2001:db8:a::1",
				"7s 2001:db8:b::1", "8s 2001:db8:b::1", "10s 2001:db8:b::1"},
			14 * time.Second,
			"radius: no answer from [2001:db8:a::1]:1812, [2001:db8:b::1]:1812: check"},
		{"the second server answers", []netip.AddrPort{serverA, serverB}, onlyB,
			[]string{"0s 2001:db8:a::1", "1s 2001:db8:a::1", "3s 2001:db8:a::1", "7s 2001:db8:b::1"},
			7*time.Second + rtt, ""},
		{"the first server's port is closed", []netip.AddrPort{serverA, serverB}, refused,
			[]string{"0s 2001:db8:a::1", "1s 2001:db8:b::1"}, time.Second + rtt, ""},
		{"the only server's port is closed", []netip.AddrPort{serverA}, refused,
			[]string{"0s 2001:db8:a::1", "1s 2001:db8:a::1", "3s 2001:db8:a::1", "7s 2001:db8:a::1", "15s 2001:db8:a::1"},
			31 * time.Second,
			"radius: [2001:db8:a::1]:1812 is not listening (port unreachable): check option 'auth_server'"},
		{"an answer to the second transmission", []netip.AddrPort{serverA},
			func(s netip.AddrPort, n int, req []byte) []reply {
				if n == 2 {
					return accepting(s, n, req)
				}
				return nil
			},
			[]string{"0s 2001:db8:a::1", "1s 2001:db8:a::1"}, time.Second + rtt, ""},
		{"a late answer to the first transmission", []netip.AddrPort{serverA},
			func(_ netip.AddrPort, n int, req []byte) []reply {
				if n == 1 {
					return []reply{{after: 2 * time.Second, data: answer(req, radius.CodeAccessAccept, granted())}}
				}
				return nil
			},
			[]string{"0s 2001:db8:a::1", "1s 2001:db8:a::1"}, 2 * time.Second, ""},
		{"an ICMP error does not hide the answer", []netip.AddrPort{serverA},
			func(_ netip.AddrPort, n int, req []byte) []reply {
				return []reply{{after: rtt, err: errRefused}, {after: 2 * rtt, data: answer(req, radius.CodeAccessAccept, granted())}}
			},
			[]string{"0s 2001:db8:a::1"}, 2 * rtt, ""},
		{"eight silent servers", eight, silent, []string{
			"0s 2001:db8::1", "1s 2001:db8::1", "3s 2001:db8::1",
			"7s 2001:db8::2", "8s 2001:db8::2", "10s 2001:db8::2",
			"14s 2001:db8::3", "15s 2001:db8::3", "17s 2001:db8::3",
			"21s 2001:db8::4", "22s 2001:db8::4", "24s 2001:db8::4",
			"28s 2001:db8::5", "29s 2001:db8::5", "31s 2001:db8::5",
			"35s 2001:db8::6", "36s 2001:db8::6", "38s 2001:db8::6",
			"42s 2001:db8::7", "43s 2001:db8::7", "45s 2001:db8::7",
			"49s 2001:db8::8", "50s 2001:db8::8", "52s 2001:db8::8",
		}, 56 * time.Second, "radius: no answer from"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeNet(t, tt.serve)
				c, _ := newTestClient(f, testOptions(NEXT, tt.servers...))
				_, err := c.Ask(t.Context(), testRequest)
				if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.err)) {
					t.Errorf("error %v, want %q", err, tt.err)
				}
				if got := time.Since(f.start); got != tt.end {
					t.Errorf("took %v, want %v", got, tt.end)
				}
				if diff := cmp.Diff(tt.want, f.timeline); diff != "" {
					t.Errorf("transmissions (-want +got):\n%s", diff)
				}
				if tt.err != "" {
					var silent *SilentError
					if !errors.As(err, &silent) {
						t.Errorf("error is a %T", err)
					}
				}
			})
		})
	}
}

// TestJitter has the bounds of RFC 5080 2.2.1, with real randomness.
func TestJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(1, 2))
		first := map[time.Duration]bool{}
		for range 200 {
			f := newFakeNet(t, silent)
			c := NewClient(ClientConfig{Options: testOptions(NEXT, serverA), Dial: f.Dial, Rand: random})
			if _, err := c.Ask(t.Context(), testRequest); err == nil {
				t.Fatal("no error")
			}
			var at []time.Duration
			for _, line := range f.timeline {
				d, err := time.ParseDuration(strings.Fields(line)[0])
				must(err)
				at = append(at, d)
			}
			at = append(at, time.Since(f.start))
			if len(at) != mrcAlone+1 {
				t.Fatalf("transmissions: %v", f.timeline)
			}
			prev := irt / 2
			for i := 1; i < len(at); i++ {
				rt := at[i] - at[i-1]
				// IRT and MRT stand without the doubling.
				lo, hi := prev*19/10, prev*21/10
				if i == 1 {
					lo, hi = irt*9/10, irt*11/10
				}
				if hi > mrt {
					lo, hi = min(lo, mrt*9/10), mrt*11/10
				}
				if rt < lo || rt > hi {
					t.Fatalf("RT %d is %v, want %v to %v", i, rt, lo, hi)
				}
				prev = rt
			}
			first[at[1]] = true
		}
		if len(first) < 150 {
			t.Errorf("only %d different first timeouts in 200", len(first))
		}
	})
}

// TestTotal: even with the longest jitter an Ask ends after MRD at the latest, and
// every server has been asked.
func TestTotal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var servers []netip.AddrPort
		for i := range MaxServers + 3 {
			servers = append(servers, netip.AddrPortFrom(serverA.Addr(), uint16(1000+i)))
		}
		f := newFakeNet(t, silent)
		c := NewClient(ClientConfig{Options: testOptions(NEXT, servers...), Dial: f.Dial, Rand: rand.New(most)})
		if _, err := c.Ask(t.Context(), testRequest); err == nil {
			t.Fatal("no error")
		}
		if took := time.Since(f.start); took < mrd*9/10 || took > mrd {
			t.Errorf("took %v", took)
		}
		if len(f.sent) != MaxServers {
			t.Errorf("%d servers were asked", len(f.sent))
		}
	})
}

// TestWithin: an Ask that has less time takes no more, and says what it knows by then.
func TestWithin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeNet(t, silent)
		c := NewClient(ClientConfig{Options: testOptions(NEXT, serverA), Dial: f.Dial, Rand: rand.New(most), Within: 4 * time.Second})
		_, err := c.Ask(t.Context(), testRequest)
		if _, ok := errors.AsType[*SilentError](err); !ok {
			t.Errorf("%v", err)
		}
		if took := time.Since(f.start); took != 4*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// TestDescribe: what is ours is named, and what is not is left to others.
func TestDescribe(t *testing.T) {
	for _, tt := range []struct {
		enterprise   uint32
		code         int
		value        string
		called, text string
		ok           bool
	}{
		{22197, 204, "\xc0\x00\x02\x07", "SoftBankBB-IPv4-Address", "192.0.2.7", true},
		{22197, 250, "\x01\x02", "SoftBankBB-Attr-250", "0x0102", true},
		{210, 204, "", "", "", false},
		{22197, 300, "", "", "", false},
	} {
		called, text, ok := Describe(tt.enterprise, tt.code, []byte(tt.value))
		if called != tt.called || text != tt.text || ok != tt.ok {
			t.Errorf("Describe(%d, %d) = %q, %q, %v", tt.enterprise, tt.code, called, text, ok)
		}
	}
}

// TestPackets: retransmissions repeat a packet, and another server gets another.
func TestPackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeNet(t, silent)
		c := NewClient(ClientConfig{Options: testOptions(NEXT, serverA, serverB), Dial: f.Dial, Rand: rand.New(rand.NewPCG(1, 2))})
		for range 2 {
			if _, err := c.Ask(t.Context(), testRequest); err == nil {
				t.Fatal("no error")
			}
		}
		a, b := f.sent[serverA], f.sent[serverB]
		if len(a) != 6 || len(b) != 6 {
			t.Fatalf("%d and %d packets", len(a), len(b))
		}
		for _, group := range [][][]byte{a[:3], a[3:], b[:3], b[3:]} {
			for _, p := range group[1:] {
				if !bytes.Equal(group[0], p) {
					t.Error("a retransmission differs")
				}
			}
		}
		seen := map[string]string{}
		for name, p := range map[string][]byte{"a1": a[0], "a2": a[3], "b1": b[0], "b2": b[3]} {
			packet, err := radius.Parse(p, nil)
			must(err)
			for what, v := range map[string]string{
				"authenticator": string(packet.Authenticator[:]), "challenge": string(packet.Get(60)), "chap": string(packet.Get(3)),
			} {
				if other, ok := seen[v]; ok {
					t.Errorf("%s of %s is %s", what, name, other)
				}
				seen[v] = what + " of " + name
			}
		}
		for _, l := range f.locals {
			if l != c.cfg.Source(testRequest.Prefix) {
				t.Errorf("sent from %s", l)
			}
		}
	})
}

// TestLastAnswered: the server that answered last, a Reject included, comes
// first in the next Ask, the others follow in their order.
func TestLastAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		serverC := netip.MustParseAddrPort("[2001:db8:c::1]:1812")
		up := serverB
		code := radius.CodeAccessReject
		f := newFakeNet(t, func(server netip.AddrPort, _ int, req []byte) []reply {
			if server != up {
				return nil
			}
			return []reply{{after: rtt, data: answer(req, code, granted())}}
		})
		c, _ := newTestClient(f, testOptions(NEXT, serverA, serverB, serverC))
		asked := func() (order []string) {
			f.timeline = nil
			_, _ = c.Ask(t.Context(), testRequest)
			for _, line := range f.timeline {
				s := strings.Fields(line)[1]
				if len(order) == 0 || order[len(order)-1] != s {
					order = append(order, s)
				}
			}
			return order
		}
		got := [][]string{asked(), asked()}
		up, code = serverA, radius.CodeAccessAccept
		got = append(got, asked(), asked())
		want := [][]string{
			{"2001:db8:a::1", "2001:db8:b::1"},
			{"2001:db8:b::1"},
			{"2001:db8:b::1", "2001:db8:c::1", "2001:db8:a::1"},
			{"2001:db8:a::1"},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeNet(t, silent)
		c, _ := newTestClient(f, testOptions(NEXT, serverA, serverB))
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		_, err := c.Ask(ctx, testRequest)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		if took := time.Since(f.start); took != 1500*time.Millisecond {
			t.Errorf("took %v", took)
		}
		if len(f.sent[serverB]) != 0 || f.open != 0 {
			t.Errorf("%d packets to the next server, %d sockets open", len(f.sent[serverB]), f.open)
		}
	})
}

// TestAsksQueue: a second Ask waits for a first one that is being stopped.
func TestAsksQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeNet(t, func(_ netip.AddrPort, n int, req []byte) []reply {
			if n == 1 {
				return nil
			}
			return accepting(serverA, n, req)
		})
		c, _ := newTestClient(f, testOptions(NEXT, serverA))
		moved := errors.New("the prefix changed")
		ctx, cancel := context.WithCancelCause(t.Context())
		first := make(chan error)
		go func() {
			_, err := c.Ask(ctx, testRequest)
			first <- err
		}()
		synctest.Wait()
		time.AfterFunc(500*time.Millisecond, func() { cancel(moved) })
		go func() {
			_, err := c.Ask(t.Context(), testRequest)
			first <- err
		}()
		if err := <-first; !errors.Is(err, moved) {
			t.Errorf("first Ask: %v", err)
		}
		if err := <-first; err != nil {
			t.Errorf("second Ask: %v", err)
		}
		if diff := cmp.Diff([]string{"0s 2001:db8:a::1", "500ms 2001:db8:a::1"}, f.timeline); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// TestSockets: what can go wrong with sockets.
func TestSockets(t *testing.T) {
	for _, tt := range []struct {
		name     string
		f        *fakeNet
		want     string // of the error
		end      time.Duration
		counters map[string]uint64
	}{
		{"no address yet", &fakeNet{
			dial: func(netip.AddrPort) error { return syscall.EADDRNOTAVAIL },
		}, "radius: no socket from 2001:db8:12:3400:1111:1111:1111:1111 to [2001:db8:b::1]:1812: cannot assign requested address", 0,
			map[string]uint64{"radius.error.dial": 2}},
		{"no route", &fakeNet{
			dial: func(netip.AddrPort) error { return syscall.ENETUNREACH },
		}, "radius: no route to [2001:db8:b::1]:1812: with option 'defaultroute' 0, or 'ip6table', it needs one of its own (config route6): network is unreachable", 0,
			map[string]uint64{"radius.error.dial": 2}},
		{"no socket to the first", &fakeNet{
			dial: func(s netip.AddrPort) error {
				if s == serverA {
					return syscall.ENETUNREACH
				}
				return nil
			},
		}, "", rtt, map[string]uint64{
			"radius.error.dial": 1, "radius.sent.access-request": 1, "radius.received.access-accept": 1}},
		{"a notice of before keeps one write from sending", &fakeNet{
			write: func(n int) error {
				if n == 1 {
					return errRefused
				}
				return nil
			},
		}, "", rtt, map[string]uint64{
			"radius.error.refused": 1, "radius.sent.access-request": 1, "radius.received.access-accept": 1}},
		{"no route for a while", &fakeNet{
			write: func(n int) error {
				if n <= 2 {
					return syscall.ENETUNREACH
				}
				return nil
			},
		}, "", time.Second + rtt, map[string]uint64{
			"radius.error.socket": 2, "radius.sent.access-request": 2, "radius.sent.retransmission": 1,
			"radius.received.access-accept": 1}},
		{"a broken socket does not spin", &fakeNet{
			serve: func(netip.AddrPort, int, []byte) []reply {
				many := make([]reply, 100)
				for i := range many {
					many[i] = reply{err: syscall.EIO}
				}
				return many
			},
		}, "radius: no answer from", 14 * time.Second, map[string]uint64{
			"radius.error.socket": 2 * 3 * 17, "radius.sent.access-request": 6, "radius.sent.retransmission": 4}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeNet(t, accepting)
				f.dial, f.write = tt.f.dial, tt.f.write
				if tt.f.serve != nil {
					f.serve = tt.f.serve
				}
				c, set := newTestClient(f, testOptions(NEXT, serverA, serverB))
				_, err := c.Ask(t.Context(), testRequest)
				if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want)) {
					t.Errorf("error %v, want %q", err, tt.want)
				}
				if took := time.Since(f.start); took != tt.end {
					t.Errorf("took %v, want %v", took, tt.end)
				}
				if diff := cmp.Diff(tt.counters, set.Snapshot()); diff != "" {
					t.Errorf("counters (-want +got):\n%s", diff)
				}
				if f.open != 0 {
					t.Errorf("%d sockets left open", f.open)
				}
			})
		})
	}
}

func TestAskRefusesNonsense(t *testing.T) {
	f := newFakeNet(t, silent)
	for _, tt := range []struct {
		name   string
		change func(*Options, *Request)
		want   string
	}{
		{"no servers", func(o *Options, _ *Request) { o.Servers = nil }, "auth_server"},
		{"no secrets", func(o *Options, _ *Request) { *o = Defaults(NEXT); o.Servers = []netip.AddrPort{serverA} }, "shared_secret"},
		{"prefix", func(_ *Options, r *Request) { r.Prefix = netip.MustParsePrefix("2001:db8::/72") }, "prefix 2001:db8::/72"},
		{"MAC", func(_ *Options, r *Request) { r.TerminalMAC, r.WANMAC = nil, nil }, "option 'mac'"},
	} {
		o, req := testOptions(NEXT, serverA), testRequest
		tt.change(&o, &req)
		c, _ := newTestClient(f, o)
		if _, err := c.Ask(t.Context(), req); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one with %q", tt.name, err, tt.want)
		}
	}
}

// TestSecretsNeverShow prints everything there is to print, over all that an
// exchange can come to.
func TestSecretsNeverShow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		answers := []func(req []byte) []reply{
			func(req []byte) []reply { return accepting(serverA, 1, req) },
			func(req []byte) []reply {
				return []reply{{data: answer(req, radius.CodeAccessReject, nil)}}
			},
			func(req []byte) []reply {
				return []reply{{data: answer(req, radius.CodeAccessChallenge, nil)}}
			},
			func(req []byte) []reply {
				return []reply{{data: answer(req, radius.CodeAccessAccept, nil)}}
			},
			func(req []byte) []reply {
				b := answer(req, radius.CodeAccessAccept, granted())
				return []reply{{data: sign(b, req, "another")}, {data: b[:19]}, {err: errRefused}}
			},
			func([]byte) []reply { return nil },
		}
		for i, serve := range answers {
			f := newFakeNet(t, func(_ netip.AddrPort, _ int, req []byte) []reply { return serve(req) })
			set := &counters.Set{}
			cfg := ClientConfig{
				Options: testOptions(NEXT, serverA), Dial: f.Dial, Rand: rand.New(rand.NewPCG(1, uint64(i))), Counters: set,
				Log:   slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})),
				Trace: func(event, detail string) { fmt.Fprintln(&out, event, detail) },
			}
			c := NewClient(cfg)
			g, err := c.Ask(t.Context(), testRequest)
			fmt.Fprintf(&out, "%+v %#v %v %+v %#v %v\n", g, g, err, err, err, set.Snapshot())
			fmt.Fprintf(&out, "%v %+v %#v %v %+v %#v\n", cfg.Options, cfg.Options, cfg.Options, c.cfg.Options, c, c)
			cfg.Log.Info("options", "options", cfg.Options)
		}
		if !strings.Contains(out.String(), "reply dropped") || !strings.Contains(out.String(), "access-request") {
			t.Fatal("nothing was printed")
		}
		for _, secret := range []string{
			testSecret, testPassword,
			fmt.Sprintf("%x", testSecret), fmt.Sprintf("%x", testPassword),
			fmt.Sprint([]byte(testSecret)), fmt.Sprint([]byte(testPassword)),
		} {
			if i := strings.Index(out.String(), secret); i >= 0 {
				t.Errorf("a secret was printed: …%s", out.String()[max(0, i-100):i+10])
			}
		}
	})
}
