//go:build lab

package topo_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"sofutobanku/lab/topo"
)

// pair is two machines with a cable, addresses 2001:db8::a and ::b.
func pair(tb topo.TB, c topo.Cable) (lab *topo.Lab, a, b *topo.NS) {
	lab = topo.New(tb)
	a, b = lab.NS("a"), lab.NS("b")
	lab.Link(a.Port("eth0", "00:00:5e:00:53:0a"), b.Port("eth0", ""), c)
	a.Addr("eth0", "2001:db8::a/64")
	b.Addr("eth0", "2001:db8::b/64")
	a.Up("eth0")
	b.Up("eth0")
	return lab, a, b
}

func TestCable(t *testing.T) {
	const delay = 10 * time.Millisecond
	_, a, b := pair(t, topo.Cable{Delay: delay})
	if got := a.MAC("eth0").String(); got != "00:00:5e:00:53:0a" {
		t.Errorf("MAC %s", got)
	}
	out := a.Run("ping", "-c", "20", "-i", "0.02", "-q", "2001:db8::b")
	fields := strings.Split(out[strings.LastIndex(out, "= ")+2:], "/")
	best, err := strconv.ParseFloat(fields[0], 64)
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	// Only the least is the cable's; the rest is how busy this machine is.
	if best < 20 || best > 30 {
		t.Errorf("best round trip %v ms, want a little over 20:\n%s", best, out)
	}

	b.Netem("eth0", topo.Cable{Loss: 100})
	if out, err := a.Try("ping", "-c", "1", "-W", "0.2", "2001:db8::b"); err == nil {
		t.Errorf("an answer although all are lost:\n%s", out)
	}
	b.Netem("eth0", topo.Cable{})
	a.Run("ping", "-c", "1", "-W", "5", "2001:db8::b")

	b.Down("eth0")
	if out, err := a.Try("ping", "-c", "1", "-W", "0.2", "2001:db8::b"); err == nil {
		t.Errorf("an answer although the other end is down:\n%s", out)
	}
}

// TestTunnel: IPv4 in IPv6 between two machines, full size.
func TestTunnel(t *testing.T) {
	_, a, b := pair(t, topo.Cable{})
	ends := [2]netip.Addr{netip.MustParseAddr("2001:db8::a"), netip.MustParseAddr("2001:db8::b")}
	a.Tunnel("tun", ends[0], ends[1], 1460)
	b.Tunnel("tun", ends[1], ends[0], 1460)
	a.Addr("tun", "192.0.2.1/32")
	b.Addr("tun", "192.0.2.2/32")
	a.Route("192.0.2.2/32", "", "tun")
	b.Route("192.0.2.1/32", "", "tun")
	a.Run("ping", "-c", "1", "-W", "5", "-M", "do", "-s", "1432", "192.0.2.2")
	b.Run("ping", "-c", "1", "-W", "5", "-M", "do", "-s", "1432", "192.0.2.1")
}

// TestDo: a socket that was opened inside stays inside.
func TestDo(t *testing.T) {
	_, a, b := pair(t, topo.Cable{})
	var conn net.PacketConn
	if err := b.Do(func() (err error) {
		conn, err = net.ListenPacket("udp6", "[2001:db8::b]:7")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := a.Do(func() error {
		c, err := net.Dial("udp6", "[2001:db8::b]:7")
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("hello"))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 10)
	if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	n, from, err := conn.ReadFrom(buf)
	if err != nil || string(buf[:n]) != "hello" || !strings.HasPrefix(from.String(), "[2001:db8::a]") {
		t.Errorf("%q from %v: %v", buf[:n], from, err)
	}
	if _, err := net.ListenPacket("udp6", "[2001:db8::b]:7"); err == nil {
		t.Error("the address is here too")
	}
}

func TestProcess(t *testing.T) {
	lab, a, _ := pair(t, topo.Cable{})
	p := a.Start("sh", "-c", `trap 'echo bye; exit 3' TERM; echo "first 1"; echo "second 2"; while :; do sleep 0.05; done`)
	if got := p.WaitFor(5*time.Second, `^second (\d)$`); got[1] != "2" {
		t.Errorf("%q", got)
	}
	p.Stop()
	if got, want := p.Output(), "first 1\nsecond 2\nbye\n"; got != want {
		t.Errorf("output %q, want %q", got, want)
	}
	if got := a.Start("sh", "-c", "exit 7").Wait(5 * time.Second); got != 7 {
		t.Errorf("exit status %d, want 7", got)
	}
	if out, err := a.Try("sh", "-c", "echo out; echo err >&2; exit 5"); err == nil || out != "out\nerr\n" {
		t.Errorf("%q, %v", out, err)
	}
	// Neither is missed: one was stopped, the other waited for.
	lab.Eventually(time.Second, "nothing", func() error { return nil })
}

// TestFailures: what a test is told when its lab goes wrong.
func TestFailures(t *testing.T) {
	for name, test := range map[string]struct {
		body func(lab *topo.Lab, a *topo.NS)
		want []string
	}{
		"never": {func(lab *topo.Lab, _ *topo.NS) {
			lab.Eventually(50*time.Millisecond, "the sun", func() error { return errors.New("it rains") })
		}, []string{"waiting for the sun", "50ms", "it rains"}},
		"a server died": {func(lab *topo.Lab, a *topo.NS) {
			a.Start("sh", "-c", "echo no such option; exit 1")
			lab.Eventually(20*time.Second, "the sun", func() error { return errors.New("it rains") })
		}, []string{"waiting for the sun", "sh in a has ended", "exit status 1", "no such option"}},
		"a server is silent": {func(_ *topo.Lab, a *topo.NS) {
			a.Start("sh", "-c", "echo unexpected; exec sleep 100").WaitFor(300*time.Millisecond, "^ready$")
		}, []string{"sh in a to say \"^ready$\"", "unexpected"}},
		"a command": {func(_ *topo.Lab, a *topo.NS) { a.Run("sh", "-c", "echo oh; exit 4") },
			[]string{"exit status 4", "oh"}},
		"no such program": {func(_ *topo.Lab, a *topo.NS) { a.Start("no-such-program") },
			[]string{"no-such-program", "not found"}},
		"no such device": {func(_ *topo.Lab, a *topo.NS) { a.Up("eth9") }, []string{"eth9 in a"}},
		"no address":     {func(_ *topo.Lab, a *topo.NS) { a.Addr("eth0", "2001:db8::/200") }, []string{"2001:db8::/200"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := topo.Main(func(tb topo.TB) {
				lab, a, _ := pair(tb, topo.Cable{})
				test.body(lab, a)
			})
			if err == nil {
				t.Fatal("no failure")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no %q in: %v", want, err)
				}
			}
		})
	}
}

// TestNothingStays: after success, failure and panic, even what hides in a
// session of its own.
func TestNothingStays(t *testing.T) {
	for name, end := range map[string]func(topo.TB){
		"success": func(topo.TB) {},
		"failure": func(tb topo.TB) { tb.Fatalf("enough") },
		"panic":   func(topo.TB) { panic("enough") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir())
			before, pids := namespaces(t), []int(nil)
			func() {
				defer func() {
					if r := recover(); (r != nil) != (name == "panic") {
						t.Errorf("recovered %v", r)
					}
				}()
				err := topo.Main(func(tb topo.TB) {
					lab, a, _ := pair(tb, topo.Cable{})
					stubborn := a.Start("sh", "-c", `trap '' TERM; echo ready; while :; do sleep 0.05; done`)
					stubborn.WaitFor(5*time.Second, "ready")
					hidden := a.Run("setsid", "-f", "sh", "-c", `echo $$; exec >/dev/null 2>&1; exec sleep 1000`)
					pid, err := strconv.Atoi(strings.TrimSpace(hidden))
					if err != nil {
						t.Error(err)
					}
					pids = append(pids, stubborn.PID(), pid)
					lab.WriteFile(lab.Dir("files"), "file", "")
					end(tb)
				})
				if (err != nil) != (name == "failure") {
					t.Errorf("error %v", err)
				}
			}()
			if after := namespaces(t); fmt.Sprint(before) != fmt.Sprint(after) {
				t.Errorf("namespaces before %v, after %v", before, after)
			}
			for _, pid := range pids {
				if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err == nil {
					t.Errorf("process %d is still there", pid)
				}
			}
			if left, _ := filepath.Glob(os.Getenv("TMPDIR") + "/*"); len(left) > 0 {
				t.Errorf("files left: %v", left)
			}
		})
	}
}

func namespaces(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob("/run/netns/*")
	if err != nil {
		t.Fatal(err)
	}
	return names
}
