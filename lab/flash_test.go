//go:build lab

package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"sofutobanku/lab/realisp"
)

// TestFlash: with a /var in RAM, as OpenWrt has it, and all else read-only, the daemon lives
// as ever. So it writes to nothing else.
func TestFlash(t *testing.T) {
	lab, net := newLine(t)
	isp := startSimulated(t, lab, net, realisp.Next)
	dir := lab.Dir("router")
	lab.WriteFile(dir, "network", isp.UCI())
	p := net.Router.Start("unshare", "--mount", "sh", "-euc", `mount -t tmpfs tmpfs /var
		mkdir /var/lib /var/run
		mount --bind "$1" "$1"
		mount -o remount,bind,ro "$1"
		mount -o remount,bind,ro /
		if touch /file || touch "$1/file"; then echo still writable; exit 1; fi
		shift
		exec "$@"`, "sh", dir,
		bin("sofu-proto"), "up", "--config", dir, "--timeline")
	p.WaitFor(patience, "echo-reply")
	p.Signal(syscall.SIGUSR1)
	p.WaitFor(patience, `renewed=true`)

	for file, want := range map[string]string{
		"lib/sofu-proto": "kernel-wan0.json wan.lease wan.phone", "run/sofu-proto": "wan.lock wan.sock",
	} {
		lab.Eventually(patience, "what is wanted in /var/"+file, func() error {
			entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/root/var/%s", p.PID(), file))
			var names []string
			for _, e := range entries {
				names = append(names, e.Name())
			}
			if got := strings.Join(names, " "); err != nil || got != want {
				return fmt.Errorf("%s (%v), want %s", got, err, want)
			}
			return nil
		})
	}
	p.Signal(syscall.SIGTERM)
	if code := p.Wait(patience); code != 0 || strings.Contains(p.Output(), "read-only") {
		t.Errorf("exit status %d:\n%s", code, p.Output())
	}
}

// TestStrangeFiles: what is no state file of ours is in the way of nothing, and warned of once.
func TestStrangeFiles(t *testing.T) {
	_, net, isp, r := life(t)
	r.awaitUp(isp.Now())
	stop := func() {
		t.Helper()
		r.Signal(syscall.SIGTERM)
		if code := r.Wait(patience); code != 0 {
			t.Errorf("exit status %d:\n%s", code, tail(r.Output(), 15))
		}
	}
	stop()
	for _, name := range []string{"state/wan.lease", "state/kernel-wan0.json", "run/wan.lock"} {
		if err := os.RemoveAll(r.path(name)); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(r.path(name), "x"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, warnings := range []int{3, 0} {
		r.start()
		r.awaitUp(isp.Now())
		checkIPv4(t, net, isp.Now().IPv4)
		if n := strings.Count(r.Output(), "put aside"); n != warnings {
			t.Errorf("%d warnings, want %d:\n%s", n, warnings, r.Output())
		}
		stop()
	}
}
