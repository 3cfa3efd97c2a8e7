package main

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sofutobanku/internal/cli"
	"sofutobanku/internal/state"
	"sofutobanku/internal/status"
)

// holdLock is the other self of the test binary: a predecessor that holds the lock
// named in the environment, and ends on SIGTERM or only on SIGKILL.
const holdLock = "SOFU_TEST_HOLD_LOCK"

func TestMain(m *testing.M) {
	if path, deaf := os.Getenv(holdLock), os.Getenv(holdLock+"_DEAF"); path != "" {
		if _, err := lock(path, slog.New(slog.DiscardHandler)); err != nil {
			panic(err)
		}
		ctx, _ := untilSignal()
		os.Stdout.WriteString("locked\n")
		<-ctx.Done()
		if deaf != "" {
			time.Sleep(time.Minute)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// holder starts a process of program that holds the lock.
func holder(t *testing.T, program, path, deaf string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), holdLock+"="+path, holdLock+"_DEAF="+deaf)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return cmd
}

// A daemon that netifd left behind is ended by the one that netifd starts.
func TestTakeOver(t *testing.T) {
	for _, deaf := range []string{"", "1"} {
		t.Run("deaf "+deaf, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "wan.lock")
			predecessor := holder(t, os.Args[0], path, deaf)
			start := time.Now()
			unlock, err := takeOver(context.Background(), path, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			defer unlock()
			if took := time.Since(start); deaf == "" && took > predecessorPatience {
				t.Errorf("took %v though the predecessor ends when asked", took)
			}
			err = predecessor.Wait()
			if want := deaf != ""; (err != nil) != want {
				t.Errorf("the predecessor ended with %v", err)
			}
		})
	}
}

// Whoever has the lock, no process of another program is ended.
func TestTakeOverOfSomethingElse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wan.lock")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if pid, err := lockHolder(path); err == nil {
		t.Errorf("nobody's lock is held by process %d", pid)
	}
	// A process has the name of the file that was executed.
	other := filepath.Join(t.TempDir(), "other")
	if err := os.Symlink(os.Args[0], other); err != nil {
		t.Fatal(err)
	}
	cmd := holder(t, other, path, "")
	if pid, err := lockHolder(path); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("process %d, which is other", cmd.Process.Pid)) {
		t.Errorf("process %d, %v", pid, err)
	}
}

// What there is not enough of now is no fault of the configuration.
func TestExhausted(t *testing.T) {
	for err, want := range map[error]bool{
		fmt.Errorf("a section: %w", os.NewSyscallError("memfd_create", syscall.EMFILE)):    true,
		&exec.Error{Name: "fw4", Err: &os.PathError{Op: "fork/exec", Err: syscall.ENOMEM}}: true,
		&exec.Error{Name: "fw4", Err: exec.ErrNotFound}:                                    false,
		&os.PathError{Op: "open", Path: "network", Err: syscall.ENOENT}:                    false,
		cli.Exit(cli.Config, os.ErrInvalid):                                                false,
	} {
		if got := exhausted(err); got != want {
			t.Errorf("%v: %v, want %v", err, got, want)
		}
	}
	if exhausted(nil) {
		t.Error("no error is one")
	}
}

func TestIfstatusData(t *testing.T) {
	got := ifstatusData("next", state.State{
		WAN:    state.WAN{NTP: []netip.Addr{netip.MustParseAddr("2001:db8::123")}},
		Tunnel: &state.Tunnel{IPv4: netip.MustParseAddr("192.0.2.1"), Remote: netip.MustParseAddr("2001:db8:b::1")},
	}, &status.Phone{Domain: "example.ne.jp"})
	var keys []string
	for _, k := range []string{"line", "ntp", "phone", "ipv4", "br"} {
		if _, ok := got[k]; ok {
			keys = append(keys, k)
		}
	}
	if diff := cmp.Diff("line ntp phone ipv4 br", strings.Join(keys, " ")); diff != "" || len(got) != 5 {
		t.Errorf("%v", got)
	}
}

func TestDeviceNamesFit(t *testing.T) {
	if got := cut("sofu-internet_4"); got != "sofu-internet_4" {
		t.Errorf("%q", got)
	}
	if got := cut("sofu-internet2_4"); got != "sofu-internet2_" {
		t.Errorf("%q", got)
	}
	if got := cut("sofu-wan_4"); got != "sofu-wan_4" {
		t.Errorf("%q", got)
	}
}
