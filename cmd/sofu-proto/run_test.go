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
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sofutobanku/internal/state"
	"sofutobanku/internal/status"
)

// holdLock is the other self of the test binary: a predecessor that holds the lock
// named in the environment, and ends on SIGTERM or only on SIGKILL.
const holdLock = "SOFU_TEST_HOLD_LOCK"

func TestMain(m *testing.M) {
	if path, deaf := os.Getenv(holdLock), os.Getenv(holdLock+"_DEAF"); path != "" {
		if _, err := lock(path); err != nil {
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

// A daemon that netifd left behind is ended by the one that netifd starts.
func TestTakeOver(t *testing.T) {
	for _, deaf := range []string{"", "1"} {
		t.Run("deaf "+deaf, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "wan.lock")
			predecessor := exec.Command(os.Args[0])
			predecessor.Env = append(os.Environ(), holdLock+"="+path, holdLock+"_DEAF="+deaf)
			out, err := predecessor.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := predecessor.Start(); err != nil {
				t.Fatal(err)
			}
			defer predecessor.Process.Kill()
			if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
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

// Whatever stands in the lock file, no process of another program is ended.
func TestTakeOverOfSomethingElse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wan.lock")
	other := exec.Command("sleep", "60")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer other.Wait()
	defer other.Process.Kill()
	for _, content := range []string{"", "1\n", "-1\n", "x\n", "0\n", fmt.Sprintln(other.Process.Pid)} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if pid, err := lockHolder(path); err == nil {
			t.Errorf("%q names process %d", content, pid)
		}
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
