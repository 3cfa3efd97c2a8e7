package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sofutobanku/internal/isp"
)

// TestMain lets the test binary be sofu-isp itself, in a network namespace of
// its own that has the two ends of a cable.
func TestMain(m *testing.M) {
	if os.Getenv("SOFU_ISP_TEST") == "" {
		os.Exit(m.Run())
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err == nil {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "isp0"
		err = h.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "wan0"})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(99)
	}
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func account(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "account.json")
	if code := run([]string{"sample", path}, os.Stdout, os.Stderr); code != exitOK {
		t.Fatalf("sample: exit %d", code)
	}
	return path
}

func TestSample(t *testing.T) {
	path := account(t)
	fi, err := os.Stat(path)
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", fi.Mode(), err)
	}
	for _, kind := range []isp.Kind{isp.Next, isp.NextRA, isp.Cross} {
		if _, err := isp.ReadAccount(path, kind); err != nil {
			t.Error(err)
		}
	}
	var a, b map[string]string
	for path, v := range map[string]*map[string]string{path: &a, account(t): &b} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, v); err != nil {
			t.Fatal(err)
		}
	}
	if a["password"] == b["password"] || a["shared_secret"] == b["shared_secret"] || a["password"] == a["shared_secret"] {
		t.Error("secrets repeat")
	}
	if code := run([]string{"sample", path}, os.Stdout, new(bytes.Buffer)); code != exitError {
		t.Errorf("an existing file was overwritten: exit %d", code)
	}
}

func TestUsage(t *testing.T) {
	config := account(t)
	open := filepath.Join(t.TempDir(), "open.json")
	if err := os.WriteFile(open, []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	line := []string{"--device", "isp0", "--config", config}
	tests := []struct {
		args []string
		code int
		want string // in standard error
	}{
		{nil, exitUsage, "--device is missing"},
		{[]string{"--device", "isp0"}, exitUsage, "--config is missing"},
		{append(line, "now"), exitUsage, `unexpected argument "now"`},
		{append(line, "--line", "adsl"), exitUsage, `line "adsl": next, next-ra and cross are accepted`},
		{append(line, "--prefix", "x"), exitUsage, `invalid value "x" for flag -prefix`},
		{append(line, "--prefix", "2001:db8::/96"), exitUsage, "of length 40 to 64"},
		{append(line, "--line", "next-ra", "--prefix", "2001:db8::/56"), exitUsage, "of length 64 to 64"},
		{append(line, "--ipv4", "2001:db8::1"), exitUsage, "an IPv4 unicast address is accepted"},
		{append(line, "--iid", "1:2"), exitUsage, "four groups"},
		{append(line, "--dhcp-source-port", "80x"), exitUsage, `invalid value "80x"`},
		{append(line, "--dns", "2001:db8::1,x"), exitUsage, "invalid value"},
		{append(line, "--t1", "20h"), exitUsage, "T1 20h0m0s is later than T2"},
		{append(line, "--secret", "x"), exitUsage, "flag provided but not defined"},
		{append(line, "--lenient=maybe"), exitUsage, "takes no value"},
		{[]string{"--device", "isp0", "--config", open}, exitError, "a file of mode 0600 is accepted"},
		{[]string{"--device", "isp0", "--config", "/nonexistent"}, exitError, "no such file"},
		{[]string{"--device", "nosuch0", "--config", config}, exitError, "device nosuch0"},
		{append(line, "--replay", "/nonexistent"), exitError, "no such file"},
		{append(line, "--replay", config), exitError, "account.json: pcapng: not a capture file"},
		{append(line, "--replay", "../../internal/isp/testdata/captures/next.pcapng", "--line", "next-ra"), exitUsage, "of length 64 to 64"},
		{[]string{"sample"}, exitUsage, "one file name"},
		{[]string{"sample", "/nonexistent/x"}, exitError, "no such file"},
		{[]string{"ctl"}, exitUsage, "no command"},
		{[]string{"ctl", "--sock", "x"}, exitUsage, "not defined"},
		{[]string{"ctl", "--socket", "/nonexistent/s", "state"}, exitError, "is it running?"},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			var out, errs bytes.Buffer
			if code := run(tt.args, &out, &errs); code != tt.code || !strings.Contains(errs.String(), tt.want) {
				t.Errorf("exit %d: %s; want %d: %s", code, &errs, tt.code, tt.want)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	for _, arg := range []string{"help", "--help", "-h"} {
		var out, errs bytes.Buffer
		if code := run([]string{arg}, &out, &errs); code != exitOK || errs.Len() > 0 {
			t.Errorf("%s: exit %d, %s", arg, code, &errs)
		}
		for _, want := range []string{"sample FILE", "reconfigure [renew|rebind|info] [unauth]", "Exit codes", "-dhcp-source-port"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s does not tell of %s", arg, want)
			}
		}
	}
}

// TestRun starts the program as a user does, commands it, and ends it by a
// signal and by quit.
func TestRun(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, end := range map[string]func(*exec.Cmd, string) error{
		"SIGTERM": func(cmd *exec.Cmd, _ string) error { return cmd.Process.Signal(syscall.SIGTERM) },
		"quit": func(_ *exec.Cmd, socket string) error {
			if code := run([]string{"ctl", "--socket", socket, "quit"}, os.Stdout, os.Stderr); code != exitOK {
				return fmt.Errorf("exit %d", code)
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "s")
			cmd := exec.Command(exe, "--device", "isp0", "--config", account(t), "--socket", socket, "--line", "cross", "--no-br",
				"--ipv4", "198.51.100.9", "--dns", "", "--radius", "2001:db8:1::9", "--forward", "--json")
			cmd.Env = append(os.Environ(), "SOFU_ISP_TEST=1")
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			cmd.Stderr = os.Stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Process.Kill()
			var state bytes.Buffer
			for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
				state.Reset()
				if run([]string{"ctl", "--socket", socket, "state"}, &state, new(bytes.Buffer)) == exitOK {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal("it does not answer")
				}
			}
			for _, want := range []string{`"line": "cross"`, `"ipv4": "198.51.100.9"`, `"radius": "[2001:db8:1::9]:1812"`} {
				if !strings.Contains(state.String(), want) {
					t.Errorf("no %s in %s", want, &state)
				}
			}
			var errs bytes.Buffer
			if code := run([]string{"ctl", "--socket", socket, "prefix", "x"}, os.Stdout, &errs); code != exitError || !strings.Contains(errs.String(), "ParsePrefix") {
				t.Errorf("a bad command: exit %d, %s", code, &errs)
			}
			if err := end(cmd, socket); err != nil {
				t.Fatal(err)
			}
			var kinds []string
			for lines := bufio.NewScanner(stdout); lines.Scan(); {
				var e isp.Event
				if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
					t.Errorf("%s: %v", lines.Text(), err)
				}
				kinds = append(kinds, e.Kind)
			}
			if len(kinds) < 2 || kinds[0] != "start" || kinds[len(kinds)-1] != "stop" {
				t.Errorf("events %q", kinds)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("exit: %v", err)
			}
			if _, err := os.Lstat(socket); err == nil {
				t.Error("the socket is left")
			}
		})
	}
}
