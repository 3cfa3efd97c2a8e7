//go:build lab

package lab

import (
	"encoding/json"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sofutobanku/internal/state"
	"sofutobanku/internal/status"
	"sofutobanku/lab/realisp"
)

// TestLineMIPS: the program of the smallest routers, as it ships, on a NEXT line of
// the simulated carrier: up, IPv4 through the tunnel, status, and gone without a
// trace. It runs under an emulator; lab/qemu/README.md says why it is mipsle.
func TestLineMIPS(t *testing.T) {
	lab, net := newLine(t)
	before := picture(net.Router)
	isp := startSimulated(t, lab, net, realisp.Next)
	dir := lab.Dir("router")
	lab.WriteFile(dir, "network", isp.UCI())
	runDir := "--run-dir=" + dir + "/run"
	program := []string{"qemu-mipsel-static", bin("mipsle/sofu-proto")}
	p := net.Router.Start(append(program, "up", "--config", dir, "--interface", "wan", "--lan", "lan0",
		runDir, "--state-dir", dir+"/state", "--timeline", "-v")...)
	p.WaitFor(patience, "not every privilege is given up.*seccomp") // which the emulator lacks
	p.WaitFor(patience, "echo-reply")
	checkKernel(t, net.Router, isp.Now())
	checkIPv4(t, net, isp.IPv4)
	checkLAN(t, lab, net, isp.Now())

	var s status.Status
	if err := json.Unmarshal([]byte(net.Router.Run(append(program, "status", "--json", runDir)...)), &s); err != nil {
		t.Fatalf("status --json: %v", err)
	}
	if s.State != state.Up || s.Tunnel == nil || s.Tunnel.IPv4 != isp.IPv4 {
		t.Errorf("status: %s", s.JSON())
	}
	checkStatus(t, isp.Now(), s)

	p.Signal(syscall.SIGTERM)
	if code := p.Wait(patience); code != 0 {
		t.Errorf("exit status %d after SIGTERM:\n%s", code, tail(p.Output(), 15))
	}
	if diff := cmp.Diff(strings.Split(before, "\n"), strings.Split(picture(net.Router), "\n")); diff != "" {
		t.Errorf("what the router left behind (-before +after):\n%s", diff)
	}
}
