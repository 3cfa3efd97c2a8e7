package echo

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"sofutobanku/internal/counters"
	"sofutobanku/internal/link/linktest"
)

const patience = 10 * time.Second

// network is two namespaces; the device "other" stands beside the one in use.
//
//	ours: tun 192.0.2.2/24 ------- far 192.0.2.1/24 :beyond, which has 198.51.100.1 too
//	      other (up, no route by it)
type network struct{ ours, beyond *linktest.Namespace }

func newNetwork(t *testing.T) network {
	n := network{linktest.New(t), linktest.New(t)}
	n.ours.Veth("tun", net.HardwareAddr{0, 0, 0x5e, 0, 0x53, 1}, n.beyond, "far", net.HardwareAddr{0, 0, 0x5e, 0, 0x53, 2})
	n.ours.Veth("other", net.HardwareAddr{0, 0, 0x5e, 0, 0x53, 3}, n.beyond, "far2", net.HardwareAddr{0, 0, 0x5e, 0, 0x53, 4})
	for _, dev := range []string{"far", "far2"} {
		n.beyond.Up(dev)
	}
	for _, dev := range []string{"tun", "other"} {
		n.ours.Up(dev)
		n.ours.WaitUp(dev)
	}
	n.ours.Address("tun", "192.0.2.2/24")
	n.beyond.Address("far", "192.0.2.1/24")
	n.beyond.Address("lo", "198.51.100.1/32")
	n.beyond.Sysctl("ipv4/ip_forward", "1")
	n.ours.IP("route", "add", "default", "via", "192.0.2.1")
	return n
}

func (n network) ping(t *testing.T, target string, timeout time.Duration, c *counters.Set) (rtt time.Duration, err error) {
	return n.pingBy(t, "tun", target, timeout, c)
}

func (n network) pingBy(t *testing.T, device, target string, timeout time.Duration, c *counters.Set) (rtt time.Duration, err error) {
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	n.ours.Do(func() {
		rtt, err = Ping(ctx, Config{Device: device, Source: source, Target: netip.MustParseAddr(target), Counters: c})
	})
	return rtt, err
}

func TestPingRealHost(t *testing.T) {
	n := newNetwork(t)
	var c counters.Set
	rtt, err := n.ping(t, "198.51.100.1", patience, &c)
	if err != nil || rtt <= 0 || rtt > patience {
		t.Fatalf("Ping = %v, %v", rtt, err)
	}
	if c.Get("echo.received.reply") != 1 {
		t.Errorf("counters: %v", c.Snapshot())
	}
}

func TestPingUnreachable(t *testing.T) {
	n := newNetwork(t)
	// The router has no route there.
	_, err := n.ping(t, "203.0.113.1", time.Second, nil)
	if err == nil || !strings.Contains(err.Error(), "destination unreachable: network, from 192.0.2.1") || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	// The packets leave by the device named, whatever the routes say.
	_, err = n.pingBy(t, "other", "198.51.100.1", 300*time.Millisecond, nil)
	if err == nil {
		t.Error("answered, although the device leads nowhere")
	}
	_, err = n.pingBy(t, "missing", "198.51.100.1", patience, nil)
	if !errors.Is(err, unix.ENODEV) {
		t.Errorf("missing device: %v, want ENODEV", err)
	}
	n.ours.Down("tun")
	_, err = n.ping(t, "198.51.100.1", 300*time.Millisecond, nil)
	if err == nil || !strings.Contains(err.Error(), "sending: ") {
		t.Errorf("device down: %v", err)
	}
}

// The far end is silent at first, as before its side of a tunnel is set up.
func TestPingUntilAnswered(t *testing.T) {
	n := newNetwork(t)
	n.beyond.Sysctl("ipv4/icmp_echo_ignore_all", "1")
	type result struct {
		rtt time.Duration
		err error
	}
	var c counters.Set
	done := make(chan result, 1)
	begin := time.Now()
	go func() {
		rtt, err := n.ping(t, "198.51.100.1", patience, &c)
		done <- result{rtt, err}
	}()
	for c.Get("echo.sent.request") < 2 && time.Since(begin) < patience {
		time.Sleep(time.Millisecond)
	}
	n.beyond.Sysctl("ipv4/icmp_echo_ignore_all", "0")
	if r := <-done; r.err != nil || r.rtt >= time.Since(begin) {
		t.Errorf("Ping = %v, %v", r.rtt, r.err)
	}
	if got := c.Get("echo.sent.request"); got < 3 {
		t.Errorf("answered at request %d, want the third or later", got)
	}
}

// Forged replies on the wire: only the true one, sent last, counts.
func TestPingHostileReplies(t *testing.T) {
	n := newNetwork(t)
	n.beyond.Sysctl("ipv4/icmp_echo_ignore_all", "1")
	var listen, forge *icmp.PacketConn
	var err, err2 error
	n.beyond.Do(func() {
		listen, err = icmp.ListenPacket("ip4:icmp", "198.51.100.1")
		forge, err2 = icmp.ListenPacket("ip4:icmp", "192.0.2.1")
	})
	n.beyond.Must(errors.Join(err, err2))
	defer listen.Close()
	defer forge.Close()
	go func() {
		b := make([]byte, 1500)
		for {
			size, to, err := listen.ReadFrom(b)
			if err != nil {
				return
			}
			if size < 24 || ipv4.ICMPType(b[0]) != ipv4.ICMPTypeEcho {
				continue
			}
			good := reply(b[:size])
			bad := append([]byte(nil), good...)
			bad[3]++
			for _, m := range []struct {
				conn *icmp.PacketConn
				data []byte
			}{
				{forge, good},                          // from another host
				{listen, bad},                          // checksum
				{listen, edit(good, 4, good[4]^1)},     // identifier
				{listen, edit(good, 7, good[7]+100)},   // sequence number
				{listen, edit(good, 10, good[10]^255)}, // content
				{listen, edit(good, 0, 3)},             // an error about nothing
				{listen, good},
			} {
				if _, err := m.conn.WriteTo(m.data, to); err != nil {
					return
				}
			}
		}
	}()
	var c counters.Set
	if _, err := n.ping(t, "198.51.100.1", patience, &c); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"source", "checksum", "identifier", "sequence", "content", "error-of-another"} {
		if c.Get("echo.drop."+name) == 0 {
			t.Errorf("echo.drop.%s was not counted: %v", name, c.Snapshot())
		}
	}
}
