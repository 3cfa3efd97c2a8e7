package softbank

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sofutobanku/internal/counters"
)

// freeradius is the server's whole configuration: directory, port, secret.
const freeradius = `
prefix = /usr
libdir = /usr/lib/freeradius
raddbdir = %[1]s
logdir = %[1]s
db_dir = %[1]s
run_dir = %[1]s
pidfile = %[1]s/pid
max_request_time = 5
cleanup_delay = 2
security {
	reject_delay = 0
	status_server = no
}
client line {
	ipv6addr = ::1
	secret = "%[3]s"
	require_message_authenticator = no
}
modules {
	chap {
	}
	files {
		filename = %[1]s/users
		acctusersfile = %[1]s/none
		preproxy_usersfile = %[1]s/none
	}
}
server line {
	listen {
		type = auth
		ipv6addr = ::1
		port = %[2]d
	}
	authorize {
		chap
		files
	}
	authenticate {
		Auth-Type CHAP {
			chap
		}
	}
}
`

// users are the lines that the server knows, with our dictionary's names in
// what they must send and what they get.
const users = `
2001:0db8:0012:3400:1111:1111:1111:1111	Cleartext-Password := "the-chap-password", SoftBankBB-MAC == "00:00:5e:00:53:0a", SoftBankBB-Manufacturer == "foxconn", SoftBankBB-Model == "e-wmta2.3,V5.0.0.1.rc35", SoftBankBB-HW-Revision == "hw_rev_2.00"
	SoftBankBB-IPv4-Address = 192.0.2.7,
	SoftBankBB-BR-IPv6-Address = 2001:db8:b0::1919,
	SoftBankBB-DNS-IPv6-1 = 2001:db8::53,
	SoftBankBB-DNS-IPv6-2 = 2001:db8::54,
	SoftBankBB-DNS-IPv4-1 = 198.51.100.1,
	SoftBankBB-DNS-IPv4-2 = 198.51.100.2,
	SoftBankBB-NTP-IPv6 = 2001:db8::123,
	SoftBankBB-Config-Request-Time = 86400,
	SoftBankBB-ICMP-Check-Switch = 1,
	SoftBankBB-ICMP-Check-IPv4 = 198.51.100.3,
	SoftBankBB-ICMP-Check-Interval = 10,
	SoftBankBB-IPv6-Firewall-1 = "allow",
	SoftBankBB-Reply-Message = "welcome",
	Attr-26.22197.190 = 0x0102ff,
	Reply-Message = "next"

2001:0db8:0012:3400	Cleartext-Password := "the-chap-password", SoftBankBB-MAC == "00:00:5e:00:53:0b", SoftBankBB-Manufacturer == "NTT-AT", SoftBankBB-Model == "BAPP", SoftBankBB-HW-Revision == "hw_rev_1.00"
	SoftBankBB-IPv4-Address = 192.0.2.8,
	SoftBankBB-BR-IPv6-Address = 2001:db8:b0::2999,
	Message-Authenticator = 0x00

DEFAULT	Auth-Type := Reject
	Reply-Message = "unknown line"
`

// startFreeRADIUS runs Debian's server in the foreground on a free port of ::1,
// until the test ends.
func startFreeRADIUS(t *testing.T) netip.AddrPort {
	t.Helper()
	const program = "/usr/sbin/freeradius"
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("%v: this test needs Debian's package freeradius", err)
	}
	probe, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback})
	if err != nil {
		t.Fatal(err)
	}
	addr := probe.LocalAddr().(*net.UDPAddr).AddrPort()
	must(probe.Close())

	dir := t.TempDir()
	ours, err := filepath.Abs("dictionary.softbankbb")
	must(err)
	for name, text := range map[string]string{
		"radiusd.conf": fmt.Sprintf(freeradius, dir, addr.Port(), testSecret),
		"users":        users,
		"none":         "",
		// Beside all the server's own dictionaries, one of which has the same
		// enterprise under another name.
		"dictionary": "$INCLUDE /usr/share/freeradius/dictionary\n$INCLUDE " + ours + "\n",
	} {
		must(os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	cmd := exec.Command(program, "-f", "-x", "-s", "-l", "stdout", "-d", dir, "-D", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan bool, 1)
	read := make(chan struct{})
	var log strings.Builder // until read is closed, the goroutine's
	go func() {
		defer close(read)
		scan := bufio.NewScanner(out)
		for scan.Scan() {
			fmt.Fprintln(&log, scan.Text())
			if strings.Contains(scan.Text(), "Ready to process requests") {
				ready <- true
			}
		}
		_, _ = io.Copy(io.Discard, out)
	}()
	stop := func() {
		_ = cmd.Process.Kill()
		<-read
		_ = cmd.Wait()
	}
	select {
	case <-ready:
	case <-read:
		_ = cmd.Wait()
		t.Fatalf("freeradius ended:\n%s", log.String())
	case <-time.After(20 * time.Second):
		stop()
		t.Fatalf("freeradius is not ready after 20 s:\n%s", log.String())
	}
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Logf("freeradius said:\n%s", log.String())
		}
	})
	return netip.AddrPortFrom(netip.IPv6Loopback(), addr.Port())
}

// onLoopback dials from ::1, as the line's own address is not on this machine.
func onLoopback(ctx context.Context, _ netip.Addr, server netip.AddrPort) (net.Conn, error) {
	return Dial(ctx, netip.IPv6Loopback(), server)
}

// TestFreeRADIUS exchanges real packets with an implementation of RADIUS and
// CHAP that is not ours.
func TestFreeRADIUS(t *testing.T) {
	server := startFreeRADIUS(t)
	ask := func(t *testing.T, o Options, set *counters.Set) (*Grant, error) {
		t.Helper()
		c := NewClient(ClientConfig{Options: o, Dial: onLoopback, Rand: rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0)), Counters: set})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		return c.Ask(ctx, testRequest)
	}
	next, cross := testOptions(NEXT, server), testOptions(CROSS, server)

	const nextGrant = `ipv4 192.0.2.7
br 2001:db8:b0::1919
dns4 [198.51.100.1 198.51.100.2]
dns6 [2001:db8::53 2001:db8::54]
ntp [2001:db8::123]
echo 198.51.100.3
switch 1
interval 10
request-time 86400
message next welcome
  SoftBankBB-Reply-Message: welcome
  SoftBankBB-Config-Request-Time: 86400
  SoftBankBB-Attr-190: 0x0102ff
  SoftBankBB-DNS-IPv6-1: 2001:db8::53
  SoftBankBB-DNS-IPv6-2: 2001:db8::54
  SoftBankBB-NTP-IPv6: 2001:db8::123
  SoftBankBB-IPv4-Address: 192.0.2.7
  SoftBankBB-DNS-IPv4-1: 198.51.100.1
  SoftBankBB-DNS-IPv4-2: 198.51.100.2
  SoftBankBB-BR-IPv6-Address: 2001:db8:b0::1919
  SoftBankBB-ICMP-Check-Switch: 1
  SoftBankBB-ICMP-Check-IPv4: 198.51.100.3
  SoftBankBB-ICMP-Check-Interval: 10
  SoftBankBB-IPv6-Firewall-1: allow
  Reply-Message: next
`
	const crossGrant = `ipv4 192.0.2.8
br 2001:db8:b0::2999
  SoftBankBB-IPv4-Address: 192.0.2.8
  SoftBankBB-BR-IPv6-Address: 2001:db8:b0::2999
`
	for _, tt := range []struct {
		name   string
		o      Options
		change func(*Options)
		want   string
	}{
		{"next", next, func(*Options) {}, nextGrant},
		{"next, packed", next, func(o *Options) { o.SinglePacking = true }, nextGrant},
		{"next, request signed", next, func(o *Options) { o.SendMessageAuthenticator = true }, nextGrant},
		{"cross", cross, func(*Options) {}, crossGrant},
		{"cross, answer signed", cross, func(o *Options) { o.RequireMessageAuthenticator = true }, crossGrant},
		{"cross, all signed", cross, func(o *Options) {
			o.RequireMessageAuthenticator, o.SendMessageAuthenticator, o.CHAPIdent = true, true, 77
		}, crossGrant},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.change(&tt.o)
			var set counters.Set
			g, err := ask(t, tt.o, &set)
			if err != nil {
				t.Fatalf("%v %v", err, set.Snapshot())
			}
			if got := render(g); got != tt.want {
				t.Errorf("got:\n%swant:\n%s", got, tt.want)
			}
			if g.Server != server || g.RTT <= 0 {
				t.Errorf("server %s, RTT %v", g.Server, g.RTT)
			}
			for name := range set.Snapshot() {
				if !strings.HasPrefix(name, "radius.sent.access-request") && name != countAccept {
					t.Errorf("counted %s", name)
				}
			}
		})
	}

	t.Run("wrong password", func(t *testing.T) {
		o := next
		o.Password = o.SharedSecret
		_, err := ask(t, o, nil)
		var reject *RejectError
		if !errors.As(err, &reject) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("unknown line", func(t *testing.T) {
		o := next
		o.Username = "somebody"
		_, err := ask(t, o, nil)
		var reject *RejectError
		if !errors.As(err, &reject) || reject.Message != "unknown line" {
			t.Errorf("error %v", err)
		}
	})
	t.Run("another model", func(t *testing.T) {
		o := cross
		o.Model = next.Model
		_, err := ask(t, o, nil)
		var reject *RejectError
		if !errors.As(err, &reject) || reject.Message != "unknown line" {
			t.Errorf("error %v", err)
		}
	})
	t.Run("wrong shared secret", func(t *testing.T) {
		o := next
		o.SharedSecret = o.Password
		var set counters.Set
		c := NewClient(ClientConfig{Options: o, Dial: onLoopback, Rand: rand.New(rand.NewPCG(1, 1)), Counters: &set})
		// The answer is unbelievable at once; the waiting is tested elsewhere,
		// in virtual time.
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() {
			for set.Get("radius.drop.authenticator") == 0 && ctx.Err() == nil {
				time.Sleep(time.Millisecond)
			}
			cancel()
		}()
		if _, err := c.Ask(ctx, testRequest); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
		if set.Get("radius.drop.authenticator") == 0 {
			t.Errorf("counters %v", set.Snapshot())
		}
	})
	t.Run("closed port", func(t *testing.T) {
		probe, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback})
		if err != nil {
			t.Fatal(err)
		}
		closed := probe.LocalAddr().(*net.UDPAddr).AddrPort()
		must(probe.Close())
		o := next
		o.Servers = []netip.AddrPort{closed, server}
		var set counters.Set
		start := time.Now()
		g, err := ask(t, o, &set)
		if err != nil || g.Server != server || set.Get("radius.error.refused") == 0 {
			t.Errorf("grant %+v, error %v, %v after %v", g, err, set.Snapshot(), time.Since(start))
		}
	})
}
