//go:build lab

package netifd

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sofutobanku/lab/topo"
)

// The double does what it is a double of, seen with a toy handler.

func toy(t *testing.T, options string) (*topo.Lab, *topo.NS, *Netifd) {
	t.Helper()
	lab := topo.New(t)
	ns := lab.NS("router")
	ns.Dummy("wan0")
	dir := lab.Dir("config")
	lab.WriteFile(dir, "network", "config interface 'wan'\n\toption proto 'toy'\n\toption device 'wan0'\n"+options)
	n := Start(t, lab, ns, Options{
		Script: filepath.Join("testdata", "toy.sh"), Config: dir,
		Programs: map[string][]string{"/toy": {"/bin/sh"}},
	})
	return lab, ns, n
}

func logged(n *Netifd, what string, times int) func() error {
	return func() error {
		if got := strings.Count(n.Log(), what); got < times {
			return fmt.Errorf("%q is %d times in\n%s", what, got, n.Log())
		}
		return nil
	}
}

// TestRestarts: a daemon that ends is started again at once, and teardown is told why
// it ended.
func TestRestarts(t *testing.T) {
	lab, _, n := toy(t, "\toption what 'exit 7'\n")
	lab.Eventually(20*time.Second, "three starts", logged(n, "starts /bin/sh", 3))
	if err := logged(n, "wan: ERROR is 7", 2)(); err != nil {
		t.Error(err)
	}
}

func TestSignal(t *testing.T) {
	lab, _, n := toy(t, "\toption what 'kill -KILL $$'\n")
	lab.Eventually(20*time.Second, "two starts", logged(n, "starts /bin/sh", 2))
	if err := logged(n, "wan: ERROR is 0", 1)(); err != nil {
		t.Error(err)
	}
}

// TestBlocked: unless the handler forbids that, until ifup.
func TestBlocked(t *testing.T) {
	lab, _, n := toy(t, "\toption what 'exit 1'\n\toption block '1'\n")
	down := func() error {
		if s, _ := n.Status("wan"); s.Up || s.Pending || s.Autostart || len(n.Busy()) > 0 {
			return fmt.Errorf("%+v", s)
		}
		return nil
	}
	lab.Eventually(20*time.Second, "wan to be down", down)
	time.Sleep(time.Second)
	if got := strings.Count(n.Log(), "starts /bin/sh"); got != 1 {
		t.Errorf("started %d times", got)
	}
	if err := n.Call("network.interface.wan", "up"); err != nil {
		t.Error(err)
	}
	lab.Eventually(20*time.Second, "another start", logged(n, "starts /bin/sh", 2))
}

// TestStubborn: SIGTERM, and SIGKILL five seconds later.
func TestStubborn(t *testing.T) {
	lab, _, n := toy(t, "\toption what 'trap \"echo asked\" TERM; echo ready; while :; do sleep 0.1; done'\n")
	lab.Eventually(20*time.Second, "the daemon", logged(n, "wan: ready", 1))
	start := time.Now()
	if err := n.Call("network.interface.wan", "down"); err != nil {
		t.Error(err)
	}
	lab.Eventually(20*time.Second, "the daemon to be gone", func() error {
		if pid := n.DaemonPID("wan"); pid != 0 {
			return fmt.Errorf("it is %d", pid)
		}
		return nil
	})
	if took := time.Since(start); took < teardownTime || took > teardownTime+3*time.Second {
		t.Errorf("took %v", took)
	}
	if err := logged(n, "wan: asked", 1)(); err != nil {
		t.Error(err)
	}
}

// TestKill: a netifd that is killed leaves its daemon and its tunnels behind, its
// successor starts another daemon and makes the tunnel anew.
func TestKill(t *testing.T) {
	lab, ns, n := toy(t, "\toption what 'echo ready; exec sleep 1000'\n")
	lab.Eventually(20*time.Second, "the daemon", logged(n, "wan: ready", 1))
	pid := n.DaemonPID("wan")
	tunnel := func() {
		t.Helper()
		for _, message := range []string{`{"name":"wan_4","proto":"toy4"}`, `{"action":0,"interface":"wan_4","link-up":true,"ifname":"tun4",` + aTunnel + `}`} {
			path, method := "network", "add_dynamic"
			if strings.Contains(message, "action") {
				path, method = "network.interface", "notify_proto"
			}
			if err := n.Call(path, method, message); err != nil {
				t.Error(err)
			}
		}
		ns.Run("ip", "link", "show", "tun4")
	}
	tunnel()
	revive := n.Kill()
	if err := n.Call("network", "reload"); err == nil {
		t.Error("a dead one reloads")
	}
	ns.Run("ip", "link", "show", "tun4")
	if err := syscall.Kill(pid, 0); err != nil {
		t.Errorf("the daemon: %v", err)
	}
	revive()
	lab.Eventually(20*time.Second, "another daemon", logged(n, "wan: ready", 2))
	if now := n.DaemonPID("wan"); now == pid {
		t.Error("the daemon is the same")
	}
	tunnel()
}

// TestStopUbus: without ubusd the handler cannot have its daemon started, with another
// it can.
func TestStopUbus(t *testing.T) {
	lab, _, n := toy(t, "\toption what 'echo ready; exec sleep 1000'\n")
	lab.Eventually(20*time.Second, "the daemon", logged(n, "wan: ready", 1))
	restore := n.StopUbus()
	if err := syscall.Kill(n.DaemonPID("wan"), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(20*time.Second, "three tries", logged(n, "handler: setup", 4))
	if n.DaemonPID("wan") != 0 {
		t.Error("there is a daemon")
	}
	restore()
	lab.Eventually(20*time.Second, "another daemon", logged(n, "wan: ready", 2))
}

const (
	aTunnel   = `"tunnel":{"mode":"ipip6","local":"2001:db8::1","remote":"2001:db8::2","mtu":1460,"ttl":64,"data":{"encaplimit":"ignore"}}`
	bTunnel   = `"tunnel":{"mode":"ipip6","local":"2001:db8::1","remote":"2001:db8::3","mtu":1460,"ttl":64,"data":{"encaplimit":"ignore"}}`
	addresses = `"ipaddr":[{"ipaddr":"192.0.2.7","mask":"32"}],"routes":[{"target":"0.0.0.0","netmask":"0"}]`
)

// TestTunnel: the traps of a tunnel and of a dynamic interface.
func TestTunnel(t *testing.T) {
	lab, ns, n := toy(t, "\toption what 'sleep 1000'\n")
	must := func(path, method, message string) {
		t.Helper()
		if err := n.Call(path, method, message); err != nil {
			t.Fatal(err)
		}
	}
	update := func(more string) {
		t.Helper()
		must("network.interface", "notify_proto", `{"action":0,"interface":"wan_4","link-up":true,"keep":false,"ifname":"tun4",`+more+`}`)
	}
	violation := func(want string) {
		t.Helper()
		if got := strings.Join(n.TakeViolations(), "\n"); !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("violations %q, want %q", got, want)
		}
	}
	contains := func(want string, command ...string) {
		t.Helper()
		if out := ns.Run(command...); !strings.Contains(out, want) || want == "" && out != "" {
			t.Errorf("%s: no %q in\n%s", strings.Join(command, " "), want, out)
		}
	}
	add := func(metric string) {
		t.Helper()
		must("network", "add_dynamic", `{"name":"wan_4","proto":"toy4","metric":`+metric+`}`)
	}
	add("1")
	update(aTunnel + "," + addresses)
	violation("")
	contains("remote 2001:db8::2 local 2001:db8::1 hoplimit 64 encaplimit none", "ip", "-d", "link", "show", "tun4")
	contains("192.0.2.7/32", "ip", "addr", "show", "dev", "tun4")
	contains("default dev tun4 proto static scope link metric 1", "ip", "-4", "route")

	// Moved in one: what did not change is lost.
	update(bTunnel + "," + addresses)
	violation("192.0.2.7/32 is unchanged")
	contains("", "ip", "-4", "addr", "show", "dev", "tun4")
	// In two it is not.
	update(aTunnel)
	update(aTunnel + "," + addresses)
	violation("")
	contains("192.0.2.7/32", "ip", "addr", "show", "dev", "tun4")

	update(`"tunnel":{"mode":"ipip6","local":"2001:db8::1","remote":"2001:db8::2","mtu":"1400"}`)
	violation("mtu is a string")
	contains("encaplimit 0", "ip", "-d", "link", "show", "tun4")
	contains("mtu 14", "ip", "link", "show", "tun4")

	// The same again is nothing, a change is the end of it.
	add("1")
	violation("")
	must("network.interface", "notify_proto", `{"action":0,"interface":"wan","link-up":true,`+bTunnel+`,"ifname":"tun6"}`)
	violation("its addresses move onto the tunnel")
	gone := func() error {
		if _, ok := n.Status("wan_4"); ok {
			return errors.New("it is there")
		}
		return nil
	}
	must("network", "add_dynamic", `{"name":"wan_4","proto":"toy4","metric":2}`)
	violation("changes the living interface")
	lab.Eventually(10*time.Second, "wan_4 to be gone", gone)
	contains("", "sh", "-c", "ip -o link show tun4 2>/dev/null || :")

	// Added while it is removed is lost.
	add("1")
	must("network.interface.wan_4", "remove", "{}")
	add("1")
	lab.Eventually(10*time.Second, "wan_4 to be gone", gone)
	if err := n.Call("network.interface.wan_4", "remove"); err == nil {
		t.Error("removed though it is gone")
	}
}

// TestKeepAndReplace: keep adds, without keep what is not named goes, and a prefix
// goes to the LAN. A link that comes up clears errors.
func TestKeepAndReplace(t *testing.T) {
	lab, ns, n := toy(t, "\toption what 'sleep 1000'\n\nconfig interface 'lan'\n\toption proto 'static'\n\toption device 'lan0'\n\toption ip6assign '64'\n")
	ns.Dummy("lan0")
	update := func(more string) {
		t.Helper()
		if err := n.Call("network.interface", "notify_proto", `{"action":0,"interface":"wan","link-up":true,`+more+`}`); err != nil {
			t.Fatal(err)
		}
	}
	has := func(dev, what string, want bool) {
		t.Helper()
		if out := ns.Run("ip", "-6", "addr", "show", "dev", dev); strings.Contains(out, what) != want {
			t.Errorf("%s in %s: %v\n%s", what, dev, !want, out)
		}
	}
	lab.Eventually(10*time.Second, "lan to be up", func() error {
		if s, _ := n.Status("lan"); !s.Up {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	failed := func(want, violation string) {
		t.Helper()
		if err := n.Call("network.interface", "notify_proto", `{"action":3,"interface":"wan","error":["WRONG","why"]}`); err != nil {
			t.Fatal(err)
		}
		if v := strings.Join(n.TakeViolations(), "\n"); !strings.Contains(v, violation) || violation == "" && v != "" {
			t.Errorf("violations %q, want %q", v, violation)
		}
		update(`"keep":false,"ip6addr":[{"ipaddr":"2001:db8:f::1","mask":"64"}],"ip6prefix":["2001:db8:a::/56,1200,1800"]`)
		if s, _ := n.Status("wan"); fmt.Sprint(s.Errors) != want {
			t.Errorf("errors %v, want %s", s.Errors, want)
		}
	}
	failed("[]", "")
	failed("[{toy WRONG [why]}]", "nothing clears it")
	update(`"keep":true,"ip6addr":[{"ipaddr":"2001:db8:f::1","mask":"64"},{"ipaddr":"2001:db8:f::2","mask":"64"}]`)
	has("wan0", "2001:db8:f::1/64", true)
	has("wan0", "2001:db8:f::2/64", true)
	has("lan0", "2001:db8:a::1/64", true)
	update(`"keep":false,"ip6addr":[{"ipaddr":"2001:db8:f::1","mask":"64"}]`)
	has("wan0", "2001:db8:f::1/64", true)
	has("wan0", "2001:db8:f::2/64", false)
	has("lan0", "2001:db8:a::1/64 scope global deprecated", true)
	update(`"keep":false,"ip6addr":[{"ipaddr":"2001:db8:f::1","mask":64}]`)
	if v := n.TakeViolations(); len(v) != 1 {
		t.Errorf("violations %q", v)
	}
	if out := ns.Run("ip", "-6", "route", "show", "type", "unreachable"); out != "" {
		t.Errorf("left: %s", out)
	}
}
