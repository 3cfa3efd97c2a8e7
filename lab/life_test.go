//go:build lab

package lab

import (
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sofutobanku/internal/state"
	"sofutobanku/internal/status"
	"sofutobanku/lab/realisp"
	"sofutobanku/lab/topo"
)

// What happens to a line in its life, each against the simulated carrier of a NEXT
// line with a delegated prefix.

func life(t *testing.T, flags ...string) (*topo.Lab, realisp.Network, *simulated, *router) {
	lab, net := newLine(t)
	isp := startSimulated(t, lab, net, realisp.Next, flags...)
	return lab, net, isp, startRouter(t, lab, net.Router, isp.UCI())
}

func renumbered(c *realisp.Config) {
	c.Prefix = netip.MustParsePrefix("2001:db8:56:7800::/56")
	c.IPv4 = netip.MustParseAddr("192.0.2.99")
}

// The carrier renumbers and says so: nobody has to do anything.
func TestReconfigure(t *testing.T) {
	_, net, isp, r := life(t)
	r.awaitUp(isp.Now())
	isp.Renumber(renumbered)
	isp.ctl("reconfigure renew")
	r.awaitUp(isp.Now())
	checkIPv4(t, net, isp.IPv4)
}

// An unauthenticated Reconfigure counts only where the user said so.
func TestUnauthenticatedReconfigure(t *testing.T) {
	for option, obeyed := range map[string]bool{"0": false, "1": true} {
		t.Run("unauth_reconfigure "+option, func(t *testing.T) {
			lab, net := newLine(t)
			isp := startSimulated(t, lab, net, realisp.Next, "--no-rkap")
			r := startRouter(t, lab, net.Router, isp.UCI()+"\toption unauth_reconfigure '"+option+"'\n")
			old := isp.Now()
			r.awaitUp(old)
			isp.Renumber(renumbered)
			isp.ctl("reconfigure renew unauth")
			if obeyed {
				r.awaitUp(isp.Now())
				return
			}
			s := r.await("the Reconfigure to be dropped", func(s status.Status) bool {
				for name := range s.Counters {
					if strings.HasPrefix(name, "dhcp6.drop.reconfigure") {
						return true
					}
				}
				return false
			})
			if s.Prefix.Prefix != old.Prefix {
				t.Errorf("the prefix is %v", s.Prefix.Prefix)
			}
		})
	}
}

// RADIUS says no: IPv6 stays, the reason is shown, and a yes is taken at once when
// the user asks again.
func TestRejected(t *testing.T) {
	lab, net := newLine(t)
	isp := startSimulated(t, lab, net, realisp.Next)
	isp.ctl("reject contract ended")
	r := startRouter(t, lab, net.Router, isp.UCI())
	s := r.await("the rejection", func(s status.Status) bool { return s.Error != nil && s.Error.Code == "AUTH_REJECTED" })
	if s.State != state.IPv6 || s.Tunnel != nil || !strings.Contains(s.Error.Text, "contract ended") {
		t.Errorf("status: %s", s.JSON())
	}
	checkLAN(t, lab, net, isp.Now())
	isp.ctl("accept")
	r.Signal(syscall.SIGUSR1)
	r.awaitUp(isp.Now())
}

// A granted line whose RADIUS server then rejects, or is silent, goes on.
func TestRejectedLater(t *testing.T) {
	_, net, isp, r := life(t)
	r.awaitUp(isp.Now())
	isp.ctl("reject maintenance")
	r.Signal(syscall.SIGUSR1)
	s := r.await("the rejection", func(s status.Status) bool { return s.Error != nil })
	if s.State != state.Up || s.Error.Code != "AUTH_REJECTED" {
		t.Errorf("status: %s", s.JSON())
	}
	checkIPv4(t, net, isp.IPv4)
}

// RADIUS is silent for a while: nobody has to do anything.
func TestSilentRADIUS(t *testing.T) {
	lab, net := newLine(t)
	isp := startSimulated(t, lab, net, realisp.Next)
	isp.ctl("silent radius")
	r := startRouter(t, lab, net.Router, isp.UCI())
	r.await("two unanswered requests", func(s status.Status) bool { return s.Counters["radius.sent.access-request"] >= 2 })
	checkLAN(t, lab, net, isp.Now())
	isp.ctl("speak radius")
	r.awaitUp(isp.Now())
}

// The cable is pulled and put back: nothing is torn down meanwhile, and the lease
// is verified by Rebind.
func TestCable(t *testing.T) {
	_, net, isp, r := life(t)
	r.awaitUp(isp.Now())
	index := tunnelIndex(net.Router)
	net.ISP.Down(realisp.Port)
	s := r.await("the loss of the link", func(s status.Status) bool { return s.State == state.Down })
	if s.Tunnel == nil || s.Prefix == nil || s.Error == nil || s.Error.Code != "NO_CARRIER" {
		t.Errorf("status: %s", s.JSON())
	}
	net.ISP.Up(realisp.Port)
	r.awaitUp(isp.Now())
	r.await("the Rebind", func(s status.Status) bool { return s.Counters["dhcp6.sent.rebind"] > 0 })
	if now := tunnelIndex(net.Router); now != index {
		t.Errorf("the tunnel device was made anew: index %s, was %s", now, index)
	}
	checkIPv4(t, net, isp.IPv4)
}

// Another line is behind the same cable afterwards.
func TestCableToAnotherLine(t *testing.T) {
	_, net, isp, r := life(t)
	r.awaitUp(isp.Now())
	net.ISP.Down(realisp.Port)
	r.await("the loss of the link", func(s status.Status) bool { return s.State == state.Down })
	isp.Renumber(renumbered)
	isp.ctl("drop-bindings")
	net.ISP.Up(realisp.Port)
	r.awaitUp(isp.Now())
	checkIPv4(t, net, isp.IPv4)
}

// Killed without warning and started again: the old lease is verified, the old
// things in the kernel are its own, and in the end nothing is left.
func TestKilled(t *testing.T) {
	lab, net := newLine(t)
	before := picture(net.Router)
	isp := startSimulated(t, lab, net, realisp.Next)
	r := startRouter(t, lab, net.Router, isp.UCI())
	r.awaitUp(isp.Now())
	r.Signal(syscall.SIGKILL)
	r.Wait(patience)
	r.start()
	r.awaitUp(isp.Now())
	s := r.await("the Rebind", func(s status.Status) bool { return s.Counters["dhcp6.sent.rebind"] > 0 })
	if s.Counters["dhcp6.sent.solicit"] != 0 {
		t.Errorf("solicited though there was a lease: %s", s.JSON())
	}
	checkKernel(t, net.Router, isp.Now())
	checkIPv4(t, net, isp.IPv4)
	r.Signal(syscall.SIGTERM)
	r.Wait(patience)
	if diff := cmp.Diff(strings.Split(before, "\n"), strings.Split(picture(net.Router), "\n")); diff != "" {
		t.Errorf("what was left behind (-before +after):\n%s", diff)
	}
}

// The router's lifetime goes to 0: its route goes, and nothing else.
func TestLostRouter(t *testing.T) {
	_, net, isp, r := life(t)
	up := r.awaitUp(isp.Now())
	isp.ctl("ra-lifetime 0")
	s := r.await("no router", func(s status.Status) bool { return len(s.WAN.Routers) == 0 })
	if diff := cmp.Diff(up.Tunnel.Local, s.Tunnel.Local, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" || s.Prefix == nil {
		t.Errorf("more than the router was lost: %s", s.JSON())
	}
	if out := net.Router.Run("ip", "-6", "route", "show", "default"); out != "" {
		t.Errorf("a default route is left: %s", out)
	}
	isp.ctl("ra-lifetime 1800")
	r.await("the router", func(s status.Status) bool { return len(s.WAN.Routers) == 1 })
	checkIPv4(t, net, isp.IPv4)
}

// The server is gone until the lease has run out, and then returns.
func TestExpiry(t *testing.T) {
	_, net, isp, r := life(t, "--t1", "5s", "--t2", "8s", "--preferred", "10s", "--valid", "12s")
	r.awaitUp(isp.Now())
	isp.ctl("silent dhcp6")
	s := r.await("the end of the lease", func(s status.Status) bool { return s.Prefix == nil })
	if s.Tunnel != nil || s.State != state.Starting || len(s.WAN.Routers) != 1 {
		t.Errorf("status: %s", s.JSON())
	}
	if out := net.Router.Run("ip", "-6", "addr", "show", "dev", "lan0"); strings.Contains(out, "2001:db8:") {
		t.Errorf("the LAN still has an address of the prefix:\n%s", out)
	}
	isp.ctl("speak dhcp6")
	r.Signal(syscall.SIGUSR1)
	r.awaitUp(isp.Now())
}

// anew is whether each of events came after the last start over. To ask for less would be
// to meet what there was before: packets are sent and counted while that is taken down.
func anew(s status.Status, events ...string) bool {
	var since []string
	for _, e := range slices.Backward(s.Events) {
		if e.Name == "restart" {
			return !slices.ContainsFunc(events, func(name string) bool { return !slices.Contains(since, name) })
		}
		since = append(since, e.Name)
	}
	return false
}

// Start over: everything is asked anew.
func TestStartOver(t *testing.T) {
	_, net, isp, r := life(t)
	r.awaitUp(isp.Now())
	r.Signal(syscall.SIGUSR2)
	r.await("all of it anew", func(s status.Status) bool { return anew(s, "solicit", "tunnel-up") })
	r.awaitUp(isp.Now())
	checkIPv4(t, net, isp.IPv4)
}

// The server's port is another one than 547.
func TestOddPort(t *testing.T) {
	_, _, isp, r := life(t, "--dhcp-source-port", "10547")
	r.awaitUp(isp.Now())
}

// One interface, one sofu-proto.
func TestSecondOne(t *testing.T) {
	_, net, isp, r := life(t)
	r.awaitUp(isp.Now())
	second := net.Router.Start(bin("sofu-proto"), "up", "--config", r.dir, "--run-dir", r.path("run"), "--state-dir", r.path("state"))
	if code := second.Wait(patience); code != 4 {
		t.Errorf("exit status %d, want 4:\n%s", code, second.Output())
	}
	if _, err := r.status(); err != nil {
		t.Errorf("the first one: %v", err)
	}
}

// The WAN device is not there yet, comes, goes and comes back as another one.
func TestDeviceComesAndGoes(t *testing.T) {
	lab, net := newLine(t)
	isp := startSimulated(t, lab, net, realisp.Next)
	net.Router.Run("ip", "link", "set", realisp.WAN, "name", "away0")
	r := startRouter(t, lab, net.Router, isp.UCI())
	r.await("no device", func(s status.Status) bool { return s.Error != nil && s.State == state.Down })
	net.Router.Run("ip", "link", "set", "away0", "name", realisp.WAN)
	r.awaitUp(isp.Now())
	time.Sleep(100 * time.Millisecond)
	checkIPv4(t, net, isp.IPv4)
}
