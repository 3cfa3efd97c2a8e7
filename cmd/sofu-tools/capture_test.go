package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"sofutobanku/internal/capture"
	"sofutobanku/internal/cli"
	"sofutobanku/internal/config"
	"sofutobanku/internal/link/linktest"
	"sofutobanku/internal/softbank"
	"sofutobanku/internal/softbank/learn"
)

var (
	unitMAC = net.HardwareAddr{0x3c, 0xab, 0xcd, 0x12, 0x34, 0x56}
	lineMAC = net.HardwareAddr{0xb8, 0xfe, 0xdc, 0x98, 0x76, 0x54}
)

// unit are the frames of a unit that connects.
func unit(t *testing.T) []capture.Frame {
	t.Helper()
	o := softbank.Defaults(softbank.CROSS)
	o.Password, o.Model = config.NewSecret("unknown"), "BAPP-2"
	prefix := netip.MustParsePrefix("240b:c0de:1234:5600::/56")
	b, err := o.AccessRequest(softbank.Request{Prefix: prefix, WANMAC: unitMAC}, 9, [16]byte{1}, [16]byte{2})
	if err != nil {
		t.Fatal(err)
	}
	client, server := netip.AddrPortFrom(o.Source(prefix), 1024), netip.MustParseAddrPort("[2404:feed::1812]:1812")
	up := capture.Frame{Kind: capture.RADIUS, SrcMAC: unitMAC, DstMAC: lineMAC, Src: client.Addr(), Dst: server.Addr(),
		SrcPort: client.Port(), DstPort: server.Port(), HopLimit: 64, Payload: b}
	down := capture.Frame{Kind: capture.RADIUS, SrcMAC: lineMAC, DstMAC: unitMAC, Src: server.Addr(), Dst: client.Addr(),
		SrcPort: server.Port(), DstPort: client.Port(), HopLimit: 60, Payload: append([]byte{2, 9, 0, 20}, make([]byte, 16)...)}
	solicit := capture.Frame{Kind: capture.DHCPv6, SrcMAC: unitMAC, DstMAC: net.HardwareAddr{0x33, 0x33, 0, 1, 0, 2}, HopLimit: 1,
		Src: netip.MustParseAddr("fe80::3eab:cdff:fe12:3456"), Dst: netip.MustParseAddr("ff02::1:2"), SrcPort: 546, DstPort: 547,
		Payload: append([]byte{1, 1, 2, 3, 0, 1, 0, 10, 0, 3, 0, 1}, unitMAC...)}
	return []capture.Frame{solicit, up, down}
}

// started is a writer that tells when somebody listens.
type started struct {
	bytes.Buffer
	listening chan struct{}
	once      sync.Once
}

func (s *started) Write(b []byte) (int, error) {
	n, err := s.Buffer.Write(b)
	if strings.Contains(s.Buffer.String(), "listening on") {
		s.once.Do(func() { close(s.listening) })
	}
	return n, err
}

// onTheWire runs sofu-tools in a namespace past whose device wan the unit's frames come as
// soon as it listens. The name WAN is an interface's in the configuration.
func onTheWire(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ours, far := linktest.New(t), linktest.New(t)
	ours.Veth("wan0", net.HardwareAddr{2, 0, 0, 0, 0, 1}, far, "isp0", net.HardwareAddr{2, 0, 0, 0, 0, 2})
	// No packets but ours.
	ours.Sysctl("ipv6/conf/wan0/disable_ipv6", "1")
	far.Sysctl("ipv6/conf/isp0/disable_ipv6", "1")
	ours.Up("wan0")
	far.Up("isp0")
	ours.WaitUp("wan0")
	far.WaitUp("isp0")
	fd := -1
	var err error
	far.Do(func() {
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err == nil {
			err = unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: far.Interface("isp0").Index})
		}
	})
	far.Must(err)
	defer unix.Close(fd)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "network"), []byte("config interface 'WAN'\n\toption device 'wan0'\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	var out bytes.Buffer
	log := &started{listening: make(chan struct{})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		ours.Do(func() { code = run(append(args, "-config", dir), &out, log) })
	}()
	select {
	case <-log.listening:
	case <-done:
	}
	for _, f := range unit(t) {
		if _, err := unix.Write(fd, f.Encode()); err != nil {
			t.Fatal(err)
		}
	}
	<-done
	return code, out.String(), log.String()
}

// TestCaptureAndLearn writes what passes a device to files and learns from them, and from
// the device itself.
func TestCaptureAndLearn(t *testing.T) {
	const wantUnit = `	option line 'cross'
	list auth_server '2404:feed::1812'
	option shared_secret 'SHARED-SECRET'
	option password 'PASSWORD'
	option mac '3c:ab:cd:12:34:56'
	option model 'BAPP-2'
	option clientid '000300013cabcd123456'
`
	code, text, log := onTheWire(t, "learn", "WAN", "-w", "60")
	if code != cli.OK || !strings.Contains(text, wantUnit) {
		t.Errorf("live: code %d\n%s\n%s\nwant\n%s", code, log, text, wantUnit)
	}

	size := 0 // that the frames take in a file
	dir := t.TempDir()
	for _, tt := range []struct {
		name  string
		flags []string
		want  string
	}{
		{"whole", nil, wantUnit},
		{"redacted", []string{"-redact"}, strings.NewReplacer("2404:feed::", "2001:db8:2::", "3c:ab:cd:12:34:56", "00:00:5e:00:53:01", "3cabcd123456", "00005e005301").Replace(wantUnit)},
	} {
		file := filepath.Join(dir, tt.name)
		if size == 0 {
			for _, f := range unit(t) {
				size += (len(f.Encode())+3)/4*4 + 44 // head, flags and lengths of a packet block
			}
		}
		args := append([]string{"capture", "WAN", "-o", file, "-s", fmt.Sprint(size - 1)}, tt.flags...)
		code, out, log := onTheWire(t, args...)
		if code != cli.OK || out != "" || !strings.Contains(log, "2 packets in "+file) || !strings.Contains(log, "-s allows more") {
			t.Errorf("%s: code %d, output %q, log\n%s", tt.name, code, out, log)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", tt.name, info, err)
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if tt.name == "redacted" && (bytes.Contains(b, unitMAC[3:]) || bytes.Contains(b, []byte("c0de"))) {
			t.Errorf("redacted:\n%q", b)
		}
		var learned, complaint bytes.Buffer
		if code := run([]string{"learn", file}, &learned, &complaint); code != cli.OK || !strings.Contains(learned.String(), tt.want) {
			t.Errorf("%s: code %d\n%s\n%s\nwant\n%s", tt.name, code, &complaint, &learned, tt.want)
		}
		learned.Reset()
		var lesson learn.Lesson
		if code := run([]string{"learn", file, "--json"}, &learned, &complaint); code != cli.OK || json.Unmarshal(learned.Bytes(), &lesson) != nil ||
			lesson.Profile != softbank.CROSS || !slices.Contains(lesson.Differences, "option model 'BAPP-2'") {
			t.Errorf("%s: code %d\n%s", tt.name, code, &learned)
		}
		// Broken off, it is good up to there.
		if err := os.WriteFile(file, b[:len(b)-3], 0o600); err != nil {
			t.Fatal(err)
		}
		complaint.Reset()
		if code := run([]string{"learn", file}, io.Discard, &complaint); code != cli.OK || !strings.Contains(complaint.String(), "unexpected EOF") {
			t.Errorf("%s: code %d, %s", tt.name, code, &complaint)
		}
	}
	if code, out, log := onTheWire(t, "capture", "wan0", "-w", "0.5"); code != cli.OK || !strings.Contains(log, "3 packets in standard output") || !strings.Contains(out, "BAPP-2") {
		t.Errorf("to standard output: code %d, %q\n%s", code, out, log)
	}
}

func TestCaptureErrors(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"capture", "-s", "0"}, cli.Usage, "-s 0: 1 and more are accepted"},
		{[]string{"capture", "wan0", "lan0"}, cli.Usage, `unexpected argument "lan0"`},
		{[]string{"capture", "-port", "65536"}, cli.Usage, "port 65536: 1 to 65535 are accepted"},
		{[]string{"capture", "nowhere", "-config", dir}, cli.Failed, "nowhere is no device, nor an interface of " + dir},
		{[]string{"capture", "lo"}, cli.Failed, "device lo: it has no MAC address"},
		{[]string{"learn"}, cli.Usage, "of which file or device?"},
		{[]string{"learn", "nowhere", "-config", dir}, cli.Failed, "nowhere is no device"},
		{[]string{"learn", empty}, cli.NotUp, "no packet of a unit that connects"},
	} {
		var out, log bytes.Buffer
		if code := run(tt.args, &out, &log); code != tt.code || !strings.Contains(log.String(), tt.want) || out.Len() > 0 {
			t.Errorf("%q: code %d, want %d; %q\n%s\nwant %q", tt.args, code, tt.code, &out, &log, tt.want)
		}
	}
	ours := linktest.New(t)
	ours.Veth("wan0", unitMAC, ours, "isp0", lineMAC)
	ours.Up("wan0")
	var log bytes.Buffer
	code := 0
	ours.Do(func() { code = run([]string{"capture", "wan0", "-o", empty, "-w", "0.1"}, io.Discard, &log) })
	if code != cli.Failed || !strings.Contains(log.String(), "file exists") {
		t.Errorf("an existing file: code %d\n%s", code, &log)
	}
	if _, err := os.Stat(filepath.Join(dir, "new")); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	ours.Sysctl("ipv6/conf/wan0/disable_ipv6", "1")
	log.Reset()
	ours.Do(func() {
		code = run([]string{"capture", "wan0", "-o", filepath.Join(dir, "new"), "-w", "0.1"}, io.Discard, &log)
	})
	if code != cli.NotUp || !strings.Contains(log.String(), "nothing passed wan0") {
		t.Errorf("silence: code %d\n%s", code, &log)
	}
}
