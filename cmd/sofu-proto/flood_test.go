package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/ndp"
	"golang.org/x/sys/unix"

	"sofutobanku/internal/control"
	"sofutobanku/internal/link/linktest"
	"sofutobanku/internal/status"
)

const (
	floodRate = 10_000 // packets a second
	floodTime = 2 * time.Second
)

// TestFlood floods the program at the rate of ten thousand packets a second, beside the
// simulated carrier in the segment, with every kind of packet that it throws away:
//
//	router: sofu-proto  wan0 ═══ isp0  sofu-isp, the attacker
//
// It needs no tunnel, so any kernel will do; lab's TestFlood has the whole line.
func TestFlood(t *testing.T) {
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", dir, ".", "../sofu-isp")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	router, carrier := linktest.New(t), linktest.New(t)
	mac := net.HardwareAddr{0, 0, 0x5e, 0, 0x53, 1}
	router.Veth("wan0", mac, carrier, "isp0", net.HardwareAddr{0, 0, 0x5e, 0, 0x53, 2})
	carrier.Up("isp0")
	var attacker *linktest.Attacker
	var err error
	carrier.Do(func() { attacker, err = linktest.NewAttacker(t, "isp0", mac) })
	carrier.Must(err)

	file := func(name string) string { return filepath.Join(dir, name) }
	account := []byte(`{"shared_secret": "shared", "password": "pass"}`)
	carrier.Must(os.WriteFile(file("account"), account, 0o600))
	carrier.Must(os.WriteFile(file("network"), []byte("config interface 'wan'\n option proto 'sofutobanku'\n"+
		" option device 'wan0'\n option line 'next'\n option auth_server '2001:db8:0:1812::1'\n"+
		" option shared_secret 'shared'\n option password 'pass'\n"), 0o600))
	start := func(n *linktest.Namespace, program string, args ...string) *exec.Cmd {
		var out bytes.Buffer
		cmd := n.Command(file(program), args...)
		cmd.Stdout, cmd.Stderr = &out, &out
		carrier.Must(cmd.Start())
		t.Cleanup(func() {
			cmd.Process.Signal(syscall.SIGTERM)
			if err := cmd.Wait(); err != nil || t.Failed() {
				t.Errorf("%s: %v\n%s", program, err, out.String())
			}
		})
		return cmd
	}
	start(carrier, "sofu-isp", "--device", "isp0", "--config", file("account"), "--socket", file("isp.sock"), "--no-br")
	ctl := func(command ...string) {
		t.Helper()
		waitFor(t, strings.Join(command, " "), func() error {
			return exec.Command(file("sofu-isp"), append([]string{"ctl", "--socket", file("isp.sock")}, command...)...).Run()
		})
	}
	ctl("state")
	daemon := start(router, "sofu-proto", "up", "--config", dir, "--run-dir", file("run"), "--state-dir", file("state")).Process.Pid

	now := func() (s status.Status, err error) {
		var b bytes.Buffer
		if err := control.Call(context.Background(), control.Path(file("run"), "wan"), "status", &b); err != nil {
			return s, err
		}
		return s, json.Unmarshal(b.Bytes(), &s)
	}
	var calm status.Status
	waitFor(t, "a lease, a router, a telephone and RADIUS's answer", func() (err error) {
		if calm, err = now(); err == nil && (calm.Prefix == nil || calm.Auth == nil || len(calm.WAN.Routers) == 0 || !joined(calm)) {
			err = fmt.Errorf("%s", calm.JSON())
		}
		return err
	})
	// What may not change: all but what is left of lifetimes, and the error, which may be
	// that the kernel has no tunnel.
	essence := func(s status.Status) string {
		s.Counters, s.Events, s.MS, s.Error, s.Auth = nil, nil, 0, nil, nil
		return regexp.MustCompile(`"(preferred|valid)":\d+`).ReplaceAllString(string(s.JSON()), `"$1":…`)
	}

	// A question that is open, for its port and its identifier.
	ctl("silent", "radius")
	attacker.Forget()
	carrier.Must(syscall.Kill(daemon, syscall.SIGUSR1))
	question := attacker.Heard(0, 1812)

	advertisement := func(ra ndp.RouterAdvertisement, from uint16, hopLimit byte) linktest.Datagram {
		b, err := ndp.MarshalMessage(&ra)
		carrier.Must(err)
		return linktest.Datagram{
			From: netip.AddrFrom16([16]byte{0xfe, 0x80, 8: 0xba, 9: 0xd, 14: byte(from >> 8), 15: byte(from)}),
			To:   netip.MustParseAddr("ff02::1"), HopLimit: hopLimit, Protocol: unix.IPPROTO_ICMPV6, Payload: b,
		}
	}
	self := netip.MustParseAddr("fe80::200:5eff:fe00:5301")
	dhcp := func(payload []byte) linktest.Datagram {
		return linktest.Datagram{From: netip.MustParseAddr("fe80::1"), To: self, HopLimit: 64, Protocol: unix.IPPROTO_UDP, SrcPort: 547, DstPort: 546, Payload: payload}
	}
	t.Log("| flood | counted as | packets | rate/s | counted | CPU | resident before | after |")
	for _, flood := range []struct {
		name, counter string
		of            func(i int) linktest.Datagram
	}{
		{"Access-Accepts with a wrong authenticator", "radius.drop.authenticator", func(i int) linktest.Datagram {
			reply := append([]byte{2, question.Payload[1], 0, 20}, make([]byte, 16)...)
			reply[4], reply[5] = byte(i), byte(i>>8)
			return question.Answer(question.To, reply)
		}},
		{"RAs with hop limit 254", "ra.drop.hop-limit", func(i int) linktest.Datagram {
			return advertisement(ndp.RouterAdvertisement{RouterLifetime: time.Hour}, uint16(i), 254)
		}},
		{"RAs that end routers that there never were", "ra.received.advertisement", func(i int) linktest.Datagram {
			return advertisement(ndp.RouterAdvertisement{}, uint16(i), 255)
		}},
		{"DHCPv6 Replies that nobody asked for", "dhcp6.drop.", func(i int) linktest.Datagram { return dhcp([]byte{7, byte(i), 0, byte(i >> 8)}) }},
		{"DHCPv6 rubbish of 1000 octets", "dhcp6.drop.", func(i int) linktest.Datagram { return dhcp(bytes.Repeat([]byte{byte(i)}, 1000)) }},
	} {
		datagrams := make([]linktest.Datagram, 1000)
		for i := range datagrams {
			datagrams[i] = flood.of(i)
		}
		before, err := now()
		carrier.Must(err)
		used := linktest.Used(t, daemon)
		const packets = int(floodRate * floodTime / time.Second)
		took := attacker.Flood(datagrams, packets, floodRate)
		var after status.Status
		waitFor(t, "an answer", func() (err error) { after, err = now(); return err })
		usedNow := linktest.Used(t, daemon)

		rate, busy := float64(packets)/took.Seconds(), (usedNow.CPU-used.CPU).Seconds()/took.Seconds()
		counted := count(after, flood.counter) - count(before, flood.counter)
		t.Logf("| %s | %s | %d | %.0f | %d | %.0f %% of a core | %d kB | %d kB |",
			flood.name, flood.counter, packets, rate, counted, 100*busy, used.Resident, usedNow.Resident)
		if rate < 0.9*floodRate {
			t.Errorf("%s: %.0f packets a second, want %d", flood.name, rate, floodRate)
		}
		// What finds the socket full is thrown away by the kernel, sooner still.
		if counted < uint64(packets)/10 {
			t.Errorf("%s: %d of %d were counted", flood.name, counted, packets)
		}
		if busy >= 1 {
			t.Errorf("%s: %.0f %% of a core", flood.name, 100*busy)
		}
		if grown := usedNow.Resident - used.Resident; grown > 6<<10 {
			t.Errorf("%s: memory grew by %d kB", flood.name, grown)
		}
		if sent := count(after, "dhcp6.sent.") + count(after, "ra.sent.") + count(after, "radius.sent.") -
			count(before, "dhcp6.sent.") - count(before, "ra.sent.") - count(before, "radius.sent."); sent > 5 {
			t.Errorf("%s: %d messages were sent", flood.name, sent)
		}
		if diff := cmp.Diff(essence(calm), essence(after)); diff != "" {
			t.Errorf("%s changed the State (-before +after):\n%s", flood.name, diff)
		}
	}
	ctl("speak", "radius")
	carrier.Must(syscall.Kill(daemon, syscall.SIGUSR1))
	waitFor(t, "the line as before", func() error {
		s, err := now()
		if err == nil && !cmp.Equal(calm.Error, s.Error) {
			err = fmt.Errorf("%s", s.JSON())
		}
		return err
	})
}

// count adds up the counters whose names begin like that.
func count(s status.Status, prefix string) (n uint64) {
	for _, name := range slices.Sorted(maps.Keys(s.Counters)) {
		if strings.HasPrefix(name, prefix) {
			n += s.Counters[name]
		}
	}
	return n
}

func waitFor(t *testing.T, what string, ok func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = ok(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}
