package dhcp4

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sofutobanku/internal/counters"
	"sofutobanku/internal/link/linktest"
	"sofutobanku/lab/realisp"
)

// said is a program's output, for a test to read meanwhile.
type said struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// TestKea: a server that others wrote, over a real link: an address, a renewal from it, a
// restart, and nothing for who brings no vendor class.
func TestKea(t *testing.T) {
	client, carrier := linktest.New(t), linktest.New(t)
	mac := net.HardwareAddr{2, 0, 0x5e, 0, 0x53, 1}
	client.Veth("wan", mac, carrier, "lan", net.HardwareAddr{2, 0, 0x5e, 0, 0x53, 2})
	client.Up("wan")
	carrier.IP("addr", "add", realisp.PhoneGateway.String()+"/30", "dev", "lan")
	carrier.Up("lan")
	carrier.WaitUp("lan")
	dir := t.TempDir()
	conf := realisp.Default(realisp.Next).PhoneConf("lan", dir)
	if err := os.WriteFile(filepath.Join(dir, "kea.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	var out said
	server := carrier.Command("kea-dhcp4", "-c", filepath.Join(dir, "kea.conf"))
	server.Env = append(os.Environ(), "KEA_PIDFILE_DIR="+dir, "KEA_LOCKFILE_DIR=none")
	server.Stdout, server.Stderr = &out, &out
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Process.Signal(syscall.SIGTERM)
		server.Wait()
		if t.Failed() {
			t.Logf("kea-dhcp4: %s", out.String())
		}
	})
	eventually(t, "a server", func() bool { return bytes.Contains([]byte(out.String()), []byte("DHCP4_STARTED")) })

	class := append([]byte{0, 0, 0, 210, 7, 6}, mac...)
	file := filepath.Join(dir, "wan.phone")
	var counted counters.Set
	// connect runs a client until f returns.
	connect := func(class []byte, f func(c *Client, last func() Event)) {
		t.Helper()
		var mu sync.Mutex
		var ev Event
		c := New(Config{
			MAC: [6]byte(mac), Class: class, List: []byte{1, 3, 120, 121, 125}, LeaseFile: file, Counters: &counted,
			OnEvent: func(e Event) { mu.Lock(); defer mu.Unlock(); ev = e },
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- c.Run(ctx) }()
		client.Do(func() {
			s, err := Listen(client.Interface("wan"))
			if err != nil {
				t.Error(err)
				return
			}
			c.LinkUp(inNamespace{s, client})
		})
		f(c, func() Event { mu.Lock(); defer mu.Unlock(); return ev })
		cancel()
		<-done
	}
	connect(nil, func(_ *Client, last func() Event) {
		time.Sleep(300 * time.Millisecond)
		if ev := last(); ev.Lease != nil {
			t.Errorf("without a vendor class: %+v", ev.Lease)
		}
	})
	connect(class, func(c *Client, last func() Event) {
		eventually(t, "an address", func() bool { return last().Lease != nil })
		l := *last().Lease
		if left := time.Until(l.Until); left < 14390*time.Second || left > 14400*time.Second || time.Until(l.T1) > 7200*time.Second {
			t.Errorf("for %v, renewed after %v", left, time.Until(l.T1))
		}
		l.T1, l.T2, l.Until = time.Time{}, time.Time{}, time.Time{}
		if len(l.Vendor) == 1 && bytes.Contains(l.Vendor[0].Data, []byte(realisp.PhoneNumber)) {
			l.Vendor = nil
		}
		want := Lease{
			Address: realisp.PhoneAddress, Server: realisp.PhoneGateway,
			Routes: []Route{{realisp.PhoneRoute, realisp.PhoneGateway}}, SIP: []netip.Addr{realisp.PhoneSIP},
		}
		if diff := cmp.Diff(want, l, addrs, prefixes); diff != "" {
			t.Errorf("lease (-want +got):\n%s", diff)
		}
		client.IP("addr", "add", realisp.PhoneAddress.String(), "dev", "wan")
		n := counted.Get("dhcp4.received.ack")
		c.Renew()
		eventually(t, "a renewal", func() bool { return counted.Get("dhcp4.received.ack") == n+1 })
	})
	discovers := counted.Get("dhcp4.sent.discover")
	connect(class, func(_ *Client, last func() Event) {
		eventually(t, "the address again", func() bool { return last().Lease != nil })
	})
	if counted.Get("dhcp4.sent.discover") != discovers || counted.Get("dhcp4.sent.reboot") != 1 || counted.Get("dhcp4.send.unicast-error") != 0 {
		t.Errorf("%v", counted.Snapshot())
	}
}

// inNamespace is a socket whose device is in another namespace than the test is.
type inNamespace struct {
	*Conn
	ns *linktest.Namespace
}

func (s inNamespace) Unicast(p []byte, own, server netip.Addr) (err error) {
	s.ns.Do(func() { err = s.Conn.Unicast(p, own, server) })
	return err
}

func (s inNamespace) Check(ctx context.Context, ip netip.Addr, strict bool, random float64) (mac net.HardwareAddr, err error) {
	s.ns.Do(func() { mac, err = s.Conn.Check(ctx, ip, strict, random) })
	return mac, err
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s", what)
		}
	}
}
