package icmp6

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"sofutobanku/internal/link/linktest"
)

// The topology:
//
//	host v0 ══ r0 router r1 ══ f0 far
//	 2001:db8:1::2  :1   2001:db8:2::1  ::2
type world struct {
	host, router, far *linktest.Namespace
}

func newWorld(t *testing.T) world {
	t.Helper()
	w := world{linktest.New(t), linktest.New(t), linktest.New(t)}
	mac := func(n byte) net.HardwareAddr { return net.HardwareAddr{2, 0, 0x5e, 0, 0x53, n} }
	w.host.Veth("v0", mac(1), w.router, "r0", mac(2))
	w.router.Veth("r1", mac(3), w.far, "f0", mac(4))
	for _, d := range []struct {
		ns            *linktest.Namespace
		dev, own, via string
	}{
		{w.host, "v0", "2001:db8:1::2/64", "2001:db8:1::1"}, {w.router, "r0", "2001:db8:1::1/64", ""},
		{w.router, "r1", "2001:db8:2::1/64", ""}, {w.far, "f0", "2001:db8:2::2/64", "2001:db8:2::1"},
	} {
		d.ns.Sysctl("ipv6/conf/"+d.dev+"/accept_dad", "0")
		d.ns.IP("addr", "add", d.own, "dev", d.dev, "nodad")
		d.ns.Up(d.dev)
		if d.via != "" {
			d.ns.IP("-6", "route", "add", "default", "via", d.via)
		}
	}
	w.router.IP("-6", "route", "add", "prohibit", "2001:db8:bad::/48")
	w.router.Sysctl("ipv6/conf/all/forwarding", "1")
	// New devices carry nothing for some time.
	w.host.Do(func() {
		s, err := Listen("", netip.Addr{})
		if err != nil {
			t.Error(err)
			return
		}
		defer s.Close()
		for range 50 {
			cfg := PingConfig{Target: netip.MustParseAddr("2001:db8:2::2"), Count: 1, Wait: 100 * time.Millisecond, Size: 8}
			if _, n, _ := Ping(t.Context(), s, cfg, func(Reply) {}); n == 1 {
				return
			}
		}
		t.Error("the far host is not reached")
	})
	return w
}

func (w world) socket(t *testing.T) *Socket {
	t.Helper()
	var s *Socket
	var err error
	w.host.Do(func() { s, err = Listen("v0", netip.Addr{}) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestPing(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		name, target string
		size         int
		want         string
	}{
		{"host", "2001:db8:2::2", 56, "2 of 2: 2001:db8:2::2 hop limit 63"},
		{"large", "2001:db8:2::2", 3000, "2 of 2: 2001:db8:2::2 hop limit 63"},
		{"refused", "2001:db8:bad::1", 56, "0 of 2: 2001:db8:1::1 administratively prohibited"},
		{"nobody", "2001:db8:2::3", 56, "0 of 2:"},
		{"the link", "ff02::1%v0", 56, "2 of 2: fe80::5eff:fe00:5302%v0 router hop limit 64"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := w.socket(t)
			said := map[string]bool{}
			sent, received, err := 0, 0, error(nil)
			// By the name of the device, which is in that namespace.
			w.host.Do(func() {
				cfg := PingConfig{Target: netip.MustParseAddr(tt.target), Count: 2, Interval: 500 * time.Millisecond, Wait: time.Second, Size: tt.size}
				if tt.name == "the link" {
					linkLocal(t, s, cfg.Target)
				}
				sent, received, err = Ping(t.Context(), s, cfg, func(r Reply) {
					line := r.From.String()
					if r.Router {
						line += " router"
					}
					if m := r.Meaning(); m != "" {
						line += " " + m
					} else {
						line += fmt.Sprintf(" hop limit %d", r.HopLimit)
					}
					if r.RTT <= 0 || r.RTT > time.Second {
						line += " after " + r.RTT.String()
					}
					said[line] = true
				})
			})
			if err != nil {
				t.Fatal(err)
			}
			got := fmt.Sprintf("%d of %d:", received, sent)
			for line := range said {
				got += " " + line
			}
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// linkLocal waits until the host has a link-local address to send from.
func linkLocal(t *testing.T, s *Socket, to netip.Addr) {
	for deadline := time.Now().Add(5 * time.Second); s.Send(to, 0, make([]byte, 8), 0) != nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Error("no link-local address")
			return
		}
	}
}

func TestTrace(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct{ target, want string }{
		{"2001:db8:2::2", "1 2001:db8:1::1 hop limit exceeded in transit\n2 2001:db8:2::2\nreached true"},
		{"2001:db8:bad::1", "1 2001:db8:1::1 administratively prohibited\nreached false"},
		{"2001:db8:1::1", "1 2001:db8:1::1\nreached true"},
		{"2001:db8:1::99", "1 \n2 \n3 \nreached false"},
	} {
		t.Run(tt.target, func(t *testing.T) {
			var lines []string
			var reached bool
			var err error
			w.host.Do(func() {
				cfg := TraceConfig{Target: netip.MustParseAddr(tt.target), MaxHops: 3, Queries: 2, Wait: 500 * time.Millisecond, Size: 32}
				reached, err = Trace(t.Context(), w.socket(t), cfg, func(h Hop) {
					line := fmt.Sprint(h.HopLimit, " ")
					if p := h.Probes[0]; p.From.IsValid() {
						line += strings.TrimSpace(p.From.String() + " " + p.Meaning())
					}
					lines = append(lines, line)
				})
			})
			if err != nil {
				t.Fatal(err)
			}
			lines = append(lines, fmt.Sprint("reached ", reached))
			if got := strings.Join(lines, "\n"); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

// TestUnprivileged: the ping socket does what the raw one does.
func TestUnprivileged(t *testing.T) {
	w := newWorld(t)
	w.host.Sysctl("ipv4/ping_group_range", "0 2147483647")
	var lines []string
	var err error
	w.host.Do(func() {
		// On this thread alone, which ends with Do.
		if err = unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_NET_RAW, 0, 0, 0); err != nil {
			return
		}
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		if err = unix.Capget(&hdr, &data[0]); err != nil {
			return
		}
		for _, set := range []*uint32{&data[0].Effective, &data[0].Permitted, &data[0].Inheritable} {
			*set &^= 1 << unix.CAP_NET_RAW
		}
		if err = unix.Capset(&hdr, &data[0]); err != nil {
			return
		}
		var s *Socket
		if s, err = Listen("", netip.Addr{}); err != nil {
			return
		}
		defer s.Close()
		_, err = Trace(t.Context(), s, TraceConfig{Target: netip.MustParseAddr("2001:db8:2::2"), MaxHops: 3, Queries: 1, Wait: time.Second, Size: 8}, func(h Hop) {
			lines = append(lines, fmt.Sprint(h.HopLimit, " ", h.Probes[0].From, " ", h.Probes[0].Meaning()))
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"1 2001:db8:1::1 hop limit exceeded in transit", "2 2001:db8:2::2 "}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// liar is a Conn whose answers are forged.
type liar struct {
	Conn
	give func(sent) []Answer
	have []Answer
}

type sent struct {
	seq  uint16
	data []byte
}

func (l *liar) Send(_ netip.Addr, seq uint16, data []byte, _ int) error {
	l.have = append(l.have, l.give(sent{seq, data})...)
	return nil
}

func (l *liar) Receive(deadline time.Time) (Answer, error) {
	if len(l.have) == 0 {
		time.Sleep(time.Until(deadline))
		return Answer{}, os.ErrDeadlineExceeded
	}
	a := l.have[0]
	l.have = l.have[1:]
	return a, nil
}

// TestForged: what repeats no request that waits is no answer, and a link full of
// hosts is bounded.
func TestForged(t *testing.T) {
	from := netip.MustParseAddr("fe80::bad")
	for name, give := range map[string]func(sent) []Answer{
		"another sequence number": func(s sent) []Answer { return []Answer{{From: from, Type: echoReply, Seq: s.seq + 2, Data: s.data}} },
		"other data": func(s sent) []Answer {
			return []Answer{{From: from, Type: echoReply, Seq: s.seq, Data: make([]byte, len(s.data))}}
		},
		"cut data": func(s sent) []Answer { return []Answer{{From: from, Type: echoReply, Seq: s.seq, Data: s.data[:20]}} },
	} {
		t.Run(name, func(t *testing.T) {
			_, received, err := Ping(t.Context(), &liar{give: give}, PingConfig{
				Target: netip.MustParseAddr("2001:db8::1"), Count: 1, Wait: 50 * time.Millisecond, Size: 56,
			}, func(r Reply) { t.Errorf("taken: %+v", r) })
			if received != 0 || err != nil {
				t.Errorf("%d received, %v", received, err)
			}
		})
	}
	told := 0
	flood := &liar{give: func(s sent) []Answer {
		var out []Answer
		for i := range 5000 {
			out = append(out, Answer{From: netip.AddrFrom16([16]byte{0xfe, 0x80, 14: byte(i >> 8), 15: byte(i)}), Type: echoReply, Seq: s.seq, Data: s.data})
		}
		return out
	}}
	if _, _, err := Ping(t.Context(), flood, PingConfig{Target: netip.MustParseAddr("ff02::1%v0"), Count: 1, Wait: 50 * time.Millisecond, Size: 8}, func(Reply) { told++ }); err != nil || told != perRequest {
		t.Errorf("told of %d, %v", told, err)
	}
}

// TestEnd: a context that ends is the end.
func TestEnd(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	silent := &liar{give: func(sent) []Answer { return nil }}
	sent, received, err := Ping(ctx, silent, PingConfig{Target: netip.MustParseAddr("2001:db8::1"), Interval: time.Hour, Size: 8}, nil)
	if sent != 1 || received != 0 || err != nil {
		t.Errorf("%d sent, %d received, %v", sent, received, err)
	}
}

func TestSizes(t *testing.T) {
	for _, size := range []int{7, MaxSize + 1} {
		if _, _, err := Ping(t.Context(), nil, PingConfig{Size: size}, nil); err == nil {
			t.Errorf("Ping with %d bytes", size)
		}
		if _, err := Trace(t.Context(), nil, TraceConfig{Size: size}, nil); err == nil {
			t.Errorf("Trace with %d bytes", size)
		}
	}
}
