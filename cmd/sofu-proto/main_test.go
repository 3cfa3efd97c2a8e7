package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"sofutobanku/internal/cli"
	"sofutobanku/internal/config"
	"sofutobanku/internal/control"
	"sofutobanku/internal/dhcp4"
	"sofutobanku/internal/dhcp6"
	"sofutobanku/internal/ntt"
	"sofutobanku/internal/softbank"
	"sofutobanku/internal/state"
	"sofutobanku/internal/status"
)

// call runs a command line and returns its exit code and output.
func call(args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = run(args, &out, &err)
	return code, out.String(), err.String()
}

func TestCommandLine(t *testing.T) {
	for _, tt := range []struct {
		name           string
		args           []string
		code           int
		stdout, stderr string // a part of each
	}{
		{"nothing", nil, cli.Usage, "", "sofu-proto up"},
		{"help", []string{"-h"}, cli.OK, "Exit codes", ""},
		{"unknown command", []string{"dance"}, cli.Usage, "", `unknown command "dance": see sofu-proto -h`},
		{"help of a command", []string{"up", "-h"}, cli.OK, "", "-config DIR"},
		{"unknown flag", []string{"up", "--dance"}, cli.Usage, "", "-dance"},
		{"stray argument", []string{"status", "wan"}, cli.Usage, "", `unexpected argument "wan"`},
		{"version", []string{"version"}, cli.OK, "sofu-proto ", ""},
		{"nobody runs", []string{"status", "--run-dir", "/nonexistent"}, cli.Failed, "", "/nonexistent/wan.sock"},
		{"no configuration", []string{"up", "--config", "/nonexistent"}, cli.Config, "", "/nonexistent/network"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, stdout, stderr := call(tt.args...)
			if code != tt.code || !strings.Contains(stdout, tt.stdout) || !strings.Contains(stderr, tt.stderr) {
				t.Errorf("code %d, want %d\nstdout: %s\nstderr: %s", code, tt.code, stdout, stderr)
			}
		})
	}
}

// writeConfig writes the interface section wan and returns its folder.
func writeConfig(t *testing.T, options string) string {
	dir := t.TempDir()
	text := "config interface 'wan'\n" + options
	if err := os.WriteFile(filepath.Join(dir, "network"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// All that is wrong is said at once, with no secret in it.
func TestBadConfiguration(t *testing.T) {
	dir := writeConfig(t, `
	option line 'nxet'
	option auth_server '192.0.2.1'
	option password 'geheim'
	option mtu '70000'
`)
	code, _, stderr := call("up", "--config", dir)
	if code != cli.Config {
		t.Errorf("exit code %d, want %d", code, cli.Config)
	}
	for _, want := range []string{"'line'", "nxet", "'auth_server'", "192.0.2.1", "'shared_secret'", "'mtu'", "70000", "'device'", dir + "/network"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("no %s in:\n%s", want, stderr)
		}
	}
	if strings.Contains(stderr, "geheim") {
		t.Errorf("a secret in:\n%s", stderr)
	}
}

// running answers on the control socket as a daemon would.
func running(t *testing.T, s status.Status) (runDir string) {
	runDir = t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		done <- control.Serve(ctx, control.Path(runDir, "wan"), func(_ context.Context, request string, w io.Writer) error {
			if request == "watch" {
				w.Write(s.JSON())
			}
			_, err := w.Write(s.JSON())
			return err
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	for range 500 {
		if _, err := os.Stat(control.Path(runDir, "wan")); err == nil {
			return runDir
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("no socket after 5 s")
	return ""
}

func TestStatus(t *testing.T) {
	s := status.Of(state.State{Phase: state.Up, WAN: state.WAN{Device: "eth1"}}, time.Now())
	s.Interface = "wan"
	dir := running(t, s)

	code, stdout, _ := call("status", "--run-dir", dir)
	if code != cli.OK || !strings.HasPrefix(stdout, "wan: up") || strings.Contains(stdout, "\x1b") {
		t.Errorf("code %d: %q", code, stdout)
	}
	code, stdout, _ = call("status", "--run-dir", dir, "--json")
	if code != cli.OK || stdout != string(s.JSON()) {
		t.Errorf("code %d: %s", code, stdout)
	}
	// The daemon ends while it is watched.
	code, stdout, stderr := call("status", "--run-dir", dir, "--json", "--watch")
	if code != cli.Failed || strings.Count(stdout, "\n") != 2 || !strings.Contains(stderr, "the daemon ended") {
		t.Errorf("code %d: %s%s", code, stdout, stderr)
	}
}

func TestStatusOfALineThatIsNotUp(t *testing.T) {
	dir := running(t, status.Of(state.State{Phase: state.IPv6}, time.Now()))
	if code, stdout, _ := call("status", "--run-dir", dir); code != cli.NotUp || !strings.Contains(stdout, "ipv6") {
		t.Errorf("code %d, want %d: %s", code, cli.NotUp, stdout)
	}
}

func TestLock(t *testing.T) {
	path, log := filepath.Join(t.TempDir(), "run", "wan.lock"), slog.New(slog.DiscardHandler)
	other := holder(t, os.Args[0], path, "")
	if _, err := lock(path, log); err == nil || err.(*cli.Error).Code != cli.Running {
		t.Errorf("locked twice: %v", err)
	}
	other.Process.Kill()
	other.Wait()
	unlock, err := lock(path, log)
	if err != nil {
		t.Fatalf("after the end of the other: %v", err)
	}
	unlock()
	// What is no file does not keep the daemon from starting.
	for _, make := range []func() error{
		func() error { return os.Mkdir(path, 0o700) },
		func() error { return os.Symlink("/dev/null", path) },
		func() error { return unix.Mkfifo(path, 0o600) },
	} {
		if err := errors.Join(os.Remove(path), os.RemoveAll(path+".bad"), make()); err != nil {
			t.Fatal(err)
		}
		if unlock, err = lock(path, log); err != nil {
			t.Fatal(err)
		}
		unlock()
		if _, err := os.Lstat(path + ".bad"); err != nil {
			t.Error(err)
		}
	}
}

// What the line is told by DHCPv6: DUID-LL of the device, the five options that
// the carrier allows, and NTT's vendor class.
func TestDHCPConfig(t *testing.T) {
	dir := writeConfig(t, `
	option device 'eth1'
	option line 'next'
	option auth_server '2001:db8::1'
	option shared_secret 'a'
	option password 'b'
`)
	section, err := config.Load(dir, "wan")
	if err != nil {
		t.Fatal(err)
	}
	l, err := newLine(section, "", "/state", nil)
	if err != nil {
		t.Fatal(err)
	}
	c := l.dhcpConfig([]byte{0, 0, 0x5e, 0, 0x53, 1}, nil)
	if diff := cmp.Diff([]byte{0, 3, 0, 1, 0, 0, 0x5e, 0, 0x53, 1}, c.DUID); diff != "" {
		t.Errorf("DUID (-want +got):\n%s", diff)
	}
	var oro []int
	for _, code := range c.ORO {
		oro = append(oro, int(code))
	}
	if diff := cmp.Diff([]int{17, 22, 23, 24, 31}, oro); diff != "" {
		t.Errorf("ORO (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff("000000d2000600005e005301", hex.EncodeToString(c.RequestOptions[0].ToBytes())); diff != "" {
		t.Errorf("option 16 (-want +got):\n%s", diff)
	}
	if c.IAID != 1 || c.Release || !c.ReconfigureAccept || c.AcceptUnauthReconfigure || len(c.SolicitOptions) != 0 || c.LeaseFile != "/state/wan.lease" {
		t.Errorf("%+v", c)
	}
}

func TestVendorClassInSolicit(t *testing.T) {
	l := &softbankLine{inSolicit: true}
	c := l.dhcpConfig([]byte{0, 0, 0x5e, 0, 0x53, 1}, nil)
	if len(c.SolicitOptions) != 1 || c.SolicitOptions[0].Code() != 16 {
		t.Errorf("Solicit carries %v", c.SolicitOptions)
	}
	if c.LeaseFile != "" {
		t.Errorf("without a directory for state the lease is kept in %s", c.LeaseFile)
	}
}

// One of the two has the telephone line: this router, or the home gateway.
func TestHGWOptions(t *testing.T) {
	number, err := ntt.EncodeDHCPv6([]ntt.Suboption{{Code: 202, Data: []byte("0312345678")}})
	if err != nil {
		t.Fatal(err)
	}
	info := &dhcp6.Info{Vendor: []dhcp6.Vendor{{Enterprise: ntt.Enterprise, Data: number}}}
	own, learnt := net.HardwareAddr{0, 0, 0x5e, 0, 0x53, 1}, net.HardwareAddr{0, 0, 0x5e, 0, 0x53, 2}
	for _, tt := range []struct {
		name, options string
		class         string // of the terminal, once a home gateway was seen
		served, joins bool
		wrong         string
	}{
		{"none", "", "000000d2000600005e005302", false, true, ""},
		{"learnt", "option hgw_device lan4", "000000d2000600005e005302", true, false, ""},
		{"given", "option hgw_device lan4\n\toption hgw_mac 00:00:5e:00:53:03", "000000d2000600005e005303", true, false, ""},
		{"phone 0", "option hgw_device lan4\n\toption phone 0", "000000d2000600005e005302", true, false, ""},
		{"phone 1", "option hgw_device lan4\n\toption phone 1", "", false, false, "option 'phone': value '1': accepted: 0 or auto beside hgw_device"},
		{"the WAN", "option hgw_device eth1", "", false, false, "option 'hgw_device': value 'eth1': accepted: the device of a port"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := writeConfig(t, `
	option device eth1
	option line next
	list auth_server 2001:db8::1
	option shared_secret a
	option password b
	`+tt.options+"\n")
			_, l, err := loadLine(dir, "wan", "", "/state", nil)
			if tt.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wrong) {
					t.Errorf("error %v, want %s", err, tt.wrong)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if c := l.hgwConfig(); (c != nil) != tt.served || c != nil && c.LeaseFile != "/state/wan.hgw" {
				t.Errorf("server %+v", c)
			}
			if got := l.joinsPhone(info); got != tt.joins {
				t.Errorf("joins the telephone network: %v", got)
			}
			if got := hex.EncodeToString(l.dhcpConfig(own, learnt).RequestOptions[0].ToBytes()); got != tt.class {
				t.Errorf("option 16 %s, want %s", got, tt.class)
			}
			if got := hex.EncodeToString(l.dhcpConfig(own, nil).RequestOptions[0].ToBytes()); l.hgwMAC == nil && got != "000000d2000600005e005301" {
				t.Errorf("option 16 before one was seen %s", got)
			}
		})
	}
}

func TestPhone(t *testing.T) {
	sip, sip4 := netip.MustParseAddr("2001:db8::5060"), netip.MustParseAddr("203.0.113.5")
	vendor, err := ntt.EncodeDHCPv6([]ntt.Suboption{{Code: 202, Data: []byte("0312345678")}})
	if err != nil {
		t.Fatal(err)
	}
	vendor4, err := ntt.EncodeDHCPv4([]ntt.Suboption{
		{Code: 202, Data: []byte("0312345678")}, {Code: 203, Data: []byte("0312345679")}, {Code: 204, Data: []byte("\x02ne\x02jp\x00")},
	})
	if err != nil {
		t.Fatal(err)
	}
	info := &dhcp6.Info{SIP: []netip.Addr{sip}, Vendor: []dhcp6.Vendor{{Enterprise: 9}, {Enterprise: ntt.Enterprise, Data: vendor}}}
	lease := &dhcp4.Lease{SIP: []netip.Addr{sip4}, Vendor: []dhcp4.Vendor{{Enterprise: 9}, {Enterprise: ntt.Enterprise, Data: vendor4}}}
	other := &dhcp6.Info{Vendor: []dhcp6.Vendor{{Enterprise: 9, Data: vendor}}}
	for _, tt := range []struct {
		name   string
		option string
		info   *dhcp6.Info
		lease  *dhcp4.Lease
		joins  bool
		want   string
	}{
		{"no information", "auto", nil, nil, false, "null"},
		{"another enterprise", "auto", other, nil, false, "null"},
		{"joined all the same", "1", other, nil, true, "null"},
		{"NTT's", "auto", info, nil, true, `{"numbers":["0312345678"],"domain":"","sip":["2001:db8::5060"],"sip4":[],"address":null,"dscp":32,"error":null}`},
		{"not to be joined", "0", info, nil, false, `{"numbers":["0312345678"],"domain":"","sip":["2001:db8::5060"],"sip4":[],"address":null,"dscp":32,"error":null}`},
		{"both", "auto", info, lease, true, `{"numbers":["0312345678","0312345679"],"domain":"ne.jp","sip":["2001:db8::5060"],"sip4":["203.0.113.5"],"address":null,"dscp":32,"error":null}`},
		{"DHCPv4 alone, and nothing in it", "1", nil, &dhcp4.Lease{}, true, `{"numbers":[],"domain":"","sip":[],"sip4":[],"address":null,"dscp":32,"error":null}`},
	} {
		l := &softbankLine{phone: tt.option, dscp: 32}
		b, err := json.Marshal(l.phoneData(tt.info, tt.lease))
		if string(b) != tt.want || err != nil {
			t.Errorf("%s: %s, %v\nwant %s", tt.name, b, err, tt.want)
		}
		if got := l.joinsPhone(tt.info); got != tt.joins {
			t.Errorf("%s: joined: %v", tt.name, got)
		}
	}
	l := &softbankLine{iface: "wan", dscp: 32, stateDir: "/run/x", log: slog.New(slog.DiscardHandler)}
	l.common.Device = "eth1"
	p := l.phoneData(info, lease)
	p.Address = new(netip.MustParsePrefix("198.51.100.2/30"))
	want := []string{
		"INTERFACE=wan", "DEVICE=eth1", "PHONE_NUMBERS=0312345678 0312345679", "PHONE_DOMAIN=ne.jp", "PHONE_ADDRESS=198.51.100.2/30",
		"PHONE_SIP4=203.0.113.5", "PHONE_SIP6=2001:db8::5060", "PHONE_DSCP=32",
	}
	if got := l.hookEnv(p); !slices.Equal(got, want) {
		t.Errorf("a user's program is told %q", got)
	}
	if got := l.hookEnv(nil); len(got) != len(want) || got[2] != "PHONE_NUMBERS=" {
		t.Errorf("a user's program is told %q", got)
	}
	mac := net.HardwareAddr{2, 0, 0x5e, 0, 0x53, 1}
	c := l.dhcp4Config(mac)
	if string(c.Class) != "\x00\x00\x00\xd2\x07\x06"+string(mac) || string(c.List) != "\x01\x03xy}" || c.LeaseFile != "/run/x/wan.phone" {
		t.Errorf("DHCPv4: %+v", c)
	}
	l.stateDir = ""
	if c := l.dhcp4Config(net.HardwareAddr{1, 0, 0, 0, 0, 0}); c.Class != nil || c.LeaseFile != "" {
		t.Errorf("of no station: %+v", c)
	}
}

func TestAskErrorCodes(t *testing.T) {
	for err, want := range map[error]string{
		&softbank.SilentError{}:           errAuthSilent,
		&softbank.RejectError{}:           errAuthRejected,
		&softbank.BadAuthenticatorError{}: errAuthSecret,
		&softbank.AnswerError{}:           errAuthFailed,
		io.ErrUnexpectedEOF:               errAuthFailed,
	} {
		if got := askError(err).Code; got != want {
			t.Errorf("%T: %s, want %s", err, got, want)
		}
	}
}
