//go:build lab

package lab

import (
	"errors"
	"fmt"
	stdnet "net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sofutobanku/internal/state"
	"sofutobanku/internal/status"
	"sofutobanku/lab/netifd"
	"sofutobanku/lab/realisp"
	"sofutobanku/lab/topo"
)

// The scenarios of this file go OpenWrt's way: a double of netifd (package netifd)
// reads the configuration, runs files/lib/netifd/proto/sofutobanku.sh, which makes it
// start sofu-proto, and does in the router's kernel what both tell it by ubus. What
// netifd would have mistaken ends the test.

func TestMain(m *testing.M) {
	netifd.Tool()
	os.Exit(m.Run())
}

// openWrt is a router with interfaces wan, lan and, once it is up, wan_4.
type openWrt struct {
	*netifd.Netifd
	t          *testing.T
	lab        *topo.Lab
	ns         *topo.NS
	dir        string
	inspection *inspection
	read       int // of the log: what logged does not look at
}

// lanUCI is a LAN that takes a part of the delegated prefix.
const lanUCI = `
config interface 'lan'
	option proto 'static'
	option device 'lan0'
	option ip6assign '64'
`

// startOpenWrt starts one whose netifd has the options that change makes of the usual
// ones.
func startOpenWrt(t *testing.T, lab *topo.Lab, ns *topo.NS, c realisp.Config, uci string, change ...func(*openWrt, *netifd.Options)) *openWrt {
	t.Helper()
	o := &openWrt{t: t, lab: lab, ns: ns, dir: lab.Dir("openwrt")}
	o.configure(uci)
	o.inspection = newInspection(t, o.dir, uci, o.seen)
	opt := netifd.Options{
		Script: "../files/lib/netifd/proto/sofutobanku.sh",
		Config: o.dir,
		Programs: map[string][]string{
			"/usr/sbin/sofu-proto": {bin("sofu-proto"), "--config", o.dir, "--run-dir", o.path("run"), "--state-dir", o.path("state"), "-v"},
		},
		Secrets: []string{c.SharedSecret, c.Password},
		Check:   o.inspection.call,
	}
	for _, f := range change {
		f(o, &opt)
	}
	o.Netifd = netifd.Start(t, lab, ns, opt)
	t.Cleanup(o.inspection.finish)
	return o
}

func (o *openWrt) path(name string) string { return filepath.Join(o.dir, name) }

func (o *openWrt) configure(uci string) { o.lab.WriteFile(o.dir, "network", uci+lanUCI) }

// call is a person's `ubus call`.
func (o *openWrt) call(path, method string) {
	o.t.Helper()
	if err := o.Call(path, method); err != nil {
		o.t.Fatal(err)
	}
}

func (o *openWrt) wan(method string) {
	o.t.Helper()
	if method == "down" {
		o.inspection.look()
	}
	o.call("network.interface.wan", method)
}

func (o *openWrt) daemonStatus() (status.Status, error) { return statusOf(o.path("run/wan.sock")) }

// await waits until ok says nil.
func (o *openWrt) await(what string, ok func() error) {
	o.t.Helper()
	o.lab.Eventually(patience, what, func() error {
		if err := ok(); err != nil {
			return fmt.Errorf("%w\nnetifd's log ends:\n%s", err, tail(o.Log(), 40))
		}
		return nil
	})
}

// awaitDaemon waits until the daemon's status is as ok wants it.
func (o *openWrt) awaitDaemon(what string, ok func(status.Status) bool) (s status.Status) {
	o.t.Helper()
	o.await(what, func() (err error) {
		if s, err = o.daemonStatus(); err == nil && !ok(s) {
			err = errors.New("sofu-proto says:\n" + string(s.JSON()))
		}
		return err
	})
	return s
}

// awaitUp waits until both interfaces are up and the tunnel is as c hands it out,
// proven by an echo.
func (o *openWrt) awaitUp(c realisp.Config) {
	o.t.Helper()
	o.awaitTunnel(c)
	o.awaitDaemon("an echo through it", func(s status.Status) bool { return s.Tunnel != nil && s.Tunnel.EchoMS != nil })
}

// awaitTunnel waits until both interfaces are up, the tunnel is as c hands it out, and
// no error is shown.
func (o *openWrt) awaitTunnel(c realisp.Config) {
	o.t.Helper()
	o.await(fmt.Sprintf("the tunnel from %v with %v to %v", c.CE(), c.IPv4, c.BR), func() error { return o.tunnelUp(c) })
}

// tunnelUp tells what is missing of the tunnel that c hands out.
func (o *openWrt) tunnelUp(c realisp.Config) error {
	s, err := o.daemonStatus()
	if err != nil {
		return err
	}
	if t := s.Tunnel; s.State != state.Up || s.Error != nil || t == nil || t.Local != c.CE() || t.IPv4 != c.IPv4 || t.Remote != c.BR {
		return errors.New("sofu-proto says:\n" + string(s.JSON()))
	}
	for _, name := range []string{"wan", "wan_4"} {
		if s, ok := o.Status(name); !ok || !s.Up || len(s.Errors) > 0 || name == "wan" && string(s.Data["error"]) != "{}" {
			return fmt.Errorf("%s: %+v", name, s)
		}
	}
	return nil
}

// awaitError waits until an interface shows what is wrong: in its log, under data, and
// if it should be listed there, in netifd's list of errors, which LuCI shows and which
// is empty while the link is up.
func (o *openWrt) awaitError(name string, listed bool, words ...string) {
	o.t.Helper()
	o.await(fmt.Sprintf("%s to show %q", name, words), func() error {
		s, _ := o.Status(name)
		if !has(string(s.Data["error"]), words) || listed && !has(fmt.Sprint(s.Errors), words) || s.Up && len(s.Errors) > 0 {
			return fmt.Errorf("%s: up %v, data.error %s, errors %v", name, s.Up, s.Data["error"], s.Errors)
		}
		return o.logged(name, words...)
	})
}

// logged tells whether logread has a new line of an interface with these words.
func (o *openWrt) logged(name string, words ...string) error {
	for line := range strings.Lines(o.Log()[o.read:]) {
		if _, line, _ = strings.Cut(line, " "); strings.HasPrefix(line, name+": ") && has(line, words) {
			return nil
		}
	}
	return fmt.Errorf("no line of %s in the log has %q", name, words)
}

func has(text string, words []string) bool {
	return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) })
}

// awaitDown waits until an interface is down for good, or there is none of that name.
func (o *openWrt) awaitDown(name string) (s netifd.Status) {
	o.t.Helper()
	o.await(name+" to be down", func() error {
		var ok bool
		if s, ok = o.Status(name); ok && (s.Up || s.Pending || s.Autostart) {
			return fmt.Errorf("%s: %+v", name, s)
		}
		if busy := o.Busy(); len(busy) > 0 {
			return fmt.Errorf("between up and down: %v", busy)
		}
		return nil
	})
	return s
}

// check is the system of a line that is up.
func (o *openWrt) check(net realisp.Network, c realisp.Config) {
	o.t.Helper()
	contains := func(command string, wants ...string) {
		o.t.Helper()
		out := o.ns.Run("sh", "-c", command)
		for _, want := range wants {
			if !strings.Contains(out, want) {
				o.t.Errorf("%s has no %q:\n%s", command, want, out)
			}
		}
	}
	contains("ip -d link show sofu-wan_4", "ip6tnl ipip6 remote "+c.BR.String()+" local "+c.CE().String(), "encaplimit none", "hoplimit 64", "mtu 1460")
	contains("ip -4 addr show dev sofu-wan_4", "inet "+c.IPv4.String()+"/32")
	contains("ip -6 addr show dev sofu-wan_4", c.CE().String()+"/128 scope global", "deprecated")
	contains("ip -4 route show default", "default dev sofu-wan_4")
	contains("ip -6 route show default", "via fe80::1 dev wan0")
	contains("cat /proc/sys/net/ipv6/conf/wan0/accept_ra", "0\n")
	s, _ := o.Status("wan")
	if len(s.DNS) == 0 {
		o.t.Errorf("no DNS server: %+v", s)
	}
	// firewall4 lets protocol 4 in from the BR on the WAN device.
	if rule := string(s.Data["firewall"]); !strings.Contains(rule, c.BR.String()) || !strings.Contains(rule, `"wan0"`) {
		o.t.Errorf("firewall rules: %s", rule)
	}
	if c.Line != realisp.NextRA {
		contains("ip -6 addr show dev lan0", c.Prefix.Addr().Next().String()+"/64 scope global")
		contains("ip -6 route show type unreachable", "unreachable "+c.Prefix.String())
		if want := []netifd.AddressStatus{{Address: c.Prefix.Addr().String(), Mask: c.Prefix.Bits()}}; !cmp.Equal(s.Prefixes, want) {
			o.t.Errorf("prefixes %v, want %v", s.Prefixes, want)
		}
	}
	checkLAN(o.t, o.lab, net, c)
	checkIPv4(o.t, net, c.IPv4)
}

// leftovers is what is in the router but the LAN's address, which netifd deprecates
// for two hours.
func leftovers(ns *topo.NS) []string {
	return slices.DeleteFunc(strings.Split(picture(ns), "\n"), func(line string) bool { return strings.Contains(line, "lan0") })
}

// forEachOpenWrt runs a scenario against every simulated line and one of real servers.
func forEachOpenWrt(t *testing.T, scenario func(t *testing.T, lab *topo.Lab, net realisp.Network, c carrier)) {
	for _, line := range realisp.Lines {
		t.Run(string(line)+"/simulated", func(t *testing.T) {
			lab, net := newLine(t)
			scenario(t, lab, net, startSimulated(t, lab, net, line))
		})
	}
	t.Run("next/real", func(t *testing.T) {
		lab, net := newLine(t)
		scenario(t, lab, net, real{realisp.Start(lab, net, dictionary, realisp.Default(realisp.Next))})
	})
}

// TestOpenWrt: up, renumbered, and gone without a trace.
func TestOpenWrt(t *testing.T) {
	forEachOpenWrt(t, func(t *testing.T, lab *topo.Lab, net realisp.Network, c carrier) {
		net.Router.Up("lan0")
		before := leftovers(net.Router)
		o := startOpenWrt(t, lab, net.Router, c.Now(), c.UCI())
		o.awaitUp(c.Now())
		o.check(net, c.Now())
		events := o.Events("wan")

		c.Renumber(func(n *realisp.Config) {
			n.Prefix = netip.PrefixFrom(netip.MustParseAddr("2001:db8:56:7800::"), n.Prefix.Bits())
			n.IPv4 = netip.MustParseAddr("192.0.2.99")
			n.BR = netip.MustParseAddr("2001:db8:b0::2999")
		})
		o.wan("renew")
		o.awaitUp(c.Now())
		o.check(net, c.Now())
		if more := o.Events("wan")[len(events):]; slices.Contains(more, "ifdown") {
			t.Errorf("wan went down for a new prefix: %v", more)
		}

		o.wan("down")
		o.awaitDown("wan")
		if _, ok := o.Status("wan_4"); ok {
			t.Error("wan_4 is left")
		}
		if pid := o.DaemonPID("wan"); pid != 0 {
			t.Errorf("the daemon %d is left", pid)
		}
		net.Router.Run("ip", "link", "set", realisp.WAN, "down") // as it was
		if diff := cmp.Diff(before, leftovers(net.Router)); diff != "" {
			t.Errorf("what was left behind (-before +after):\n%s", diff)
		}
	})
}

// openWrtLife is a NEXT line that is up.
func openWrtLife(t *testing.T, flags ...string) (*topo.Lab, realisp.Network, *simulated, *openWrt) {
	lab, net := newLine(t)
	net.Router.Up("lan0")
	isp := startSimulated(t, lab, net, realisp.Next, flags...)
	o := startOpenWrt(t, lab, net.Router, isp.Now(), isp.UCI())
	o.awaitUp(isp.Now())
	return lab, net, isp, o
}

// TestOpenWrtRenew: a renewal that brings nothing new moves nothing.
func TestOpenWrtRenew(t *testing.T) {
	_, net, isp, o := openWrtLife(t)
	before, events, events4 := o.awaitDaemon("a status", func(status.Status) bool { return true }), o.Events("wan"), o.Events("wan_4")
	pid := o.DaemonPID("wan")
	o.wan("renew")
	o.awaitDaemon("the Renew and its answer", func(s status.Status) bool {
		return s.Counters["dhcp6.sent.renew"] > before.Counters["dhcp6.sent.renew"] &&
			s.Counters["radius.sent.access-request"] > before.Counters["radius.sent.access-request"]
	})
	o.awaitUp(isp.Now())
	o.check(net, isp.Now())
	if now := o.DaemonPID("wan"); now != pid {
		t.Errorf("the daemon was %d and is %d", pid, now)
	}
	if diff := cmp.Diff(events, o.Events("wan")); diff != "" {
		t.Errorf("events of wan:\n%s", diff)
	}
	if diff := cmp.Diff(events4, o.Events("wan_4")); diff != "" {
		t.Errorf("events of wan_4:\n%s", diff)
	}
}

// TestOpenWrtRestart: start over, by restart-handler.
func TestOpenWrtRestart(t *testing.T) {
	_, net, isp, o := openWrtLife(t)
	before := o.awaitDaemon("a status", func(status.Status) bool { return true }).Counters["dhcp6.sent.solicit"]
	events := len(o.Events("wan"))
	o.wan("restart")
	o.awaitDaemon("a new Solicit", func(s status.Status) bool { return s.Counters["dhcp6.sent.solicit"] > before })
	o.await("wan to go and come", func() error {
		more := o.Events("wan")[events:]
		if i := slices.Index(more, "ifdown"); i < 0 || !slices.Contains(more[i:], "ifup") {
			return fmt.Errorf("events: %v", more)
		}
		return nil
	})
	o.awaitUp(isp.Now())
	o.check(net, isp.Now())
}

// TestOpenWrtReload: a changed option is in effect after a reload, an unchanged
// configuration is left alone.
func TestOpenWrtReload(t *testing.T) {
	_, net, isp, o := openWrtLife(t)
	pid := o.DaemonPID("wan")
	o.call("network", "reload")
	o.awaitUp(isp.Now())
	if now := o.DaemonPID("wan"); now != pid {
		t.Errorf("the daemon was %d and is %d, though nothing changed", pid, now)
	}
	o.configure(isp.UCI() + "\toption mtu '1400'\n")
	o.call("network", "reload")
	o.await("an MTU of 1400", func() error {
		if out, err := net.Router.Try("ip", "link", "show", "sofu-wan_4"); err != nil || !strings.Contains(out, "mtu 1400") {
			return errors.New(out)
		}
		return nil
	})
	o.awaitUp(isp.Now())
}

// TestOpenWrtMoves: only the prefix, only the IPv4 address, only the BR is another.
func TestOpenWrtMoves(t *testing.T) {
	_, net, isp, o := openWrtLife(t)
	for _, change := range []func(*realisp.Config){
		func(c *realisp.Config) { c.IPv4 = netip.MustParseAddr("192.0.2.99") },
		func(c *realisp.Config) { c.BR = netip.MustParseAddr("2001:db8:b0::2999") },
		func(c *realisp.Config) { c.Prefix = netip.MustParsePrefix("2001:db8:56:7800::/56") },
	} {
		events := len(o.Events("wan_4"))
		isp.Renumber(change)
		o.wan("renew")
		o.awaitUp(isp.Now())
		o.check(net, isp.Now())
		if more := o.Events("wan_4")[events:]; slices.Contains(more, "ifdown") {
			t.Errorf("wan_4 went down: %v", more)
		}
	}
}

// TestOpenWrtReconfigure: the carrier renumbers and says so.
func TestOpenWrtReconfigure(t *testing.T) {
	_, net, isp, o := openWrtLife(t)
	isp.Renumber(renumbered)
	isp.ctl("reconfigure renew")
	o.awaitUp(isp.Now())
	o.check(net, isp.Now())
}

// TestOpenWrtKilled: the daemon is killed. The line is back within seconds.
func TestOpenWrtKilled(t *testing.T) {
	_, net, isp, o := openWrtLife(t)
	pid := o.DaemonPID("wan")
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	o.await("another daemon", func() error {
		if now := o.DaemonPID("wan"); now == pid || now == 0 {
			return fmt.Errorf("the daemon is %d", now)
		}
		return nil
	})
	o.awaitUp(isp.Now())
	o.check(net, isp.Now())
}

// TestOpenWrtFrozen: a daemon that does not end by SIGTERM does not hold up ifdown.
func TestOpenWrtFrozen(t *testing.T) {
	lab, net := newLine(t)
	net.Router.Up("lan0")
	before := leftovers(net.Router)
	isp := startSimulated(t, lab, net, realisp.Next)
	o := startOpenWrt(t, lab, net.Router, isp.Now(), isp.UCI())
	o.awaitUp(isp.Now())
	if err := syscall.Kill(o.DaemonPID("wan"), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	o.wan("down")
	o.awaitDown("wan")
	if _, ok := o.Status("wan_4"); ok {
		t.Error("wan_4 is left")
	}
	// The next one puts away what the killed one could not.
	o.wan("up")
	o.awaitUp(isp.Now())
	o.wan("down")
	o.awaitDown("wan")
	net.Router.Run("ip", "link", "set", realisp.WAN, "down")
	if diff := cmp.Diff(before, leftovers(net.Router)); diff != "" {
		t.Errorf("what was left behind (-before +after):\n%s", diff)
	}
}

// TestOpenWrtCable: netifd takes the interface down without a carrier, and up with one.
func TestOpenWrtCable(t *testing.T) {
	_, net, isp, o := openWrtLife(t)
	net.ISP.Down(realisp.Port)
	o.await("wan to be down", func() error {
		if s, _ := o.Status("wan"); s.Up || s.Pending {
			return fmt.Errorf("%+v", s)
		}
		if _, ok := o.Status("wan_4"); ok {
			return errors.New("wan_4 is there")
		}
		return nil
	})
	net.ISP.Up(realisp.Port)
	o.awaitUp(isp.Now())
	o.check(net, isp.Now())
}

// TestOpenWrtHopeless: a configuration that cannot work is said, not tried again and
// again, and works once it is mended and a person says ifup.
func TestOpenWrtHopeless(t *testing.T) {
	lab, net := newLine(t)
	net.Router.Up("lan0")
	isp := startSimulated(t, lab, net, realisp.Next)
	o := startOpenWrt(t, lab, net.Router, isp.Now(), strings.Replace(isp.UCI(), "'next'", "'nxet'", 1))
	s := o.awaitDown("wan")
	if len(s.Errors) != 1 || !strings.Contains(strings.Join(s.Errors[0].Data, "\n"), "nxet") {
		t.Errorf("errors: %+v", s.Errors)
	}
	if err := o.logged("wan", "option 'line'", "nxet", "next, cross"); err != nil {
		t.Error(err)
	}
	started := strings.Count(o.Log(), "interface wan: starts ")
	time.Sleep(2 * time.Second)
	if now := strings.Count(o.Log(), "interface wan: starts "); started != 1 || now != started {
		t.Errorf("started %d times, then %d times", started, now)
	}
	// A mended configuration alone does not bring it up: netifd was told not to.
	o.configure(isp.UCI())
	o.call("network", "reload")
	o.awaitDown("wan")
	o.wan("up")
	o.awaitUp(isp.Now())
}

// TestOpenWrtRejected: RADIUS says no. IPv6 stays, the reason is shown, and a yes is
// taken at once when the user asks again.
func TestOpenWrtRejected(t *testing.T) {
	lab, net := newLine(t)
	net.Router.Up("lan0")
	isp := startSimulated(t, lab, net, realisp.Next)
	isp.ctl("reject contract ended")
	o := startOpenWrt(t, lab, net.Router, isp.Now(), isp.UCI())
	o.awaitError("wan", false, "AUTH_REJECTED", "contract ended")
	if s, _ := o.Status("wan"); !s.Up {
		t.Errorf("%+v", s)
	}
	checkLAN(t, lab, net, isp.Now())
	if _, ok := o.Status("wan_4"); ok {
		t.Error("there is a wan_4")
	}
	isp.ctl("accept")
	o.wan("renew")
	o.awaitUp(isp.Now())
	o.check(net, isp.Now())
}

// TestOpenWrtTrouble: what this router can have wrong is said where a person looks,
// everything goes on that can, and nobody has to do more than mend it.
func TestOpenWrtTrouble(t *testing.T) {
	lab, net := newLine(t)
	net.Router.Up("lan0")
	// Without a BR: it would need the module that is taken away here.
	isp := startSimulated(t, lab, net, realisp.Next, "--no-br")
	o := startOpenWrt(t, lab, net.Router, isp.Now(), isp.UCI())
	o.awaitTunnel(isp.Now())

	var refused atomic.Int64
	refuse := func(what string, status int) (mend func()) {
		refused.Store(0)
		o.Refuse(func(call string) int {
			if strings.Contains(call, what) {
				refused.Add(1)
				return status
			}
			return 0
		})
		return func() { o.Refuse(nil) }
	}
	for _, tt := range []struct {
		name   string
		cause  func() (mend func())
		listed bool // see awaitError
		ipv6   bool // goes on
		words  []string
	}{
		{"another DHCPv6 client", o.takeDHCPPort, true, false,
			[]string{"DHCP_SOCKET", "address already in use", "no other DHCPv6 client runs on wan0"}},
		{"no ip6_tunnel", o.unloadTunnel, false, true,
			[]string{"NO_IP6TNL", "kmod-ip6-tunnel"}},
		{"netifd refuses an update", func() func() { return refuse(`"action":0,"interface":"wan",`, 9) }, false, false,
			[]string{"UBUS", "notify_proto: refused: unknown error"}},
		{"netifd refuses an interface", func() func() { return refuse("call network add_dynamic ", 2) }, false, true,
			[]string{"UBUS", "add_dynamic: refused: invalid argument"}},
	} {
		t.Log(tt.name)
		o.read = len(o.Log())
		o.wan("down")
		o.awaitDown("wan")
		mend := tt.cause()
		o.wan("up")
		if mend == nil {
			t.Logf("%s: not here", tt.name)
			continue
		}
		o.awaitError("wan", tt.listed, tt.words...)
		if s := o.awaitDaemon("the same error", func(s status.Status) bool { return s.Error != nil && s.Error.Code == tt.words[0] }); s.State == state.Up {
			t.Errorf("%s: status: %s", tt.name, s.JSON())
		}
		if s, _ := o.Status("wan"); s.Up != tt.ipv6 {
			t.Errorf("%s: wan is up: %v", tt.name, s.Up)
		}
		if tt.ipv6 {
			checkLAN(t, lab, net, isp.Now())
		}
		o.await("the error of wan_4, if there is one", func() error {
			if s, ok := o.Status("wan_4"); ok && !has(fmt.Sprint(s.Errors), []string{"TUNNEL", "kmod-ip6-tunnel"}) {
				return fmt.Errorf("%+v", s)
			}
			return nil
		})
		if n := refused.Load(); n > 20 {
			t.Errorf("%s: tried %d times", tt.name, n)
		}
		mend()
		o.awaitTunnel(isp.Now())
	}

	t.Log("netifd refuses to move the tunnel")
	o.read = len(o.Log())
	mend := refuse(`"interface":"wan_4"`, 9)
	isp.Renumber(renumbered)
	isp.ctl("reconfigure renew")
	o.awaitError("wan", false, "UBUS", "notify_proto: refused: unknown error")
	mend()
	o.awaitTunnel(isp.Now())

	t.Log("no ubus") // so there is nobody else to tell
	o.read = len(o.Log())
	pid := o.DaemonPID("wan")
	mend = o.RemoveUbus()
	isp.Renumber(func(c *realisp.Config) {
		c.Prefix, c.IPv4 = netip.MustParsePrefix("2001:db8:9a:bc00::/56"), netip.MustParseAddr("192.0.2.77")
	})
	isp.ctl("reconfigure renew")
	o.await("the error", func() error { return o.logged("wan", "UBUS", "executable file not found", "needs OpenWrt's ubus") })
	o.awaitDaemon("the error", func(s status.Status) bool { return s.Error != nil && s.Error.Code == "UBUS" })
	mend()
	o.awaitTunnel(isp.Now())
	if now := o.DaemonPID("wan"); now != pid {
		t.Errorf("the daemon was %d and is %d", pid, now)
	}

	t.Log("no device") // until it is put in again
	o.read = len(o.Log())
	shelf := lab.NS("shelf")
	net.Router.Run("ip", "link", "set", realisp.WAN, "netns", shelf.Netns())
	o.await("NO_DEVICE", func() error {
		if s, _ := o.Status("wan"); s.Up || s.Available || !has(fmt.Sprint(s.Errors), []string{"NO_DEVICE"}) {
			return fmt.Errorf("%+v", s)
		}
		if _, ok := o.Status("wan_4"); ok {
			return errors.New("wan_4 is there")
		}
		return o.logged("wan", "NO_DEVICE", "there is no network device wan0")
	})
	shelf.Run("ip", "link", "set", realisp.WAN, "netns", net.Router.Netns())
	o.awaitTunnel(isp.Now())
	checkLAN(t, lab, net, isp.Now())
}

// takeDHCPPort is another DHCPv6 client.
func (o *openWrt) takeDHCPPort() (mend func()) {
	o.t.Helper()
	var conn stdnet.PacketConn
	if err := o.ns.Do(func() (err error) {
		conn, err = stdnet.ListenPacket("udp6", "[::]:546")
		return err
	}); err != nil {
		o.t.Fatal(err)
	}
	return func() { conn.Close() }
}

// unloadTunnel makes the kernel one without ip6_tunnel, unless others use it too.
func (o *openWrt) unloadTunnel() (mend func()) {
	o.t.Helper()
	const loader = "/proc/sys/kernel/modprobe"
	if os.Getenv("LAB_KERNEL") != "uml" {
		return nil
	}
	modprobe, err := os.ReadFile(loader)
	if err != nil {
		o.t.Fatal(err)
	}
	mend = func() {
		if err := os.WriteFile(loader, modprobe, 0); err != nil {
			o.t.Error(err)
		}
	}
	o.t.Cleanup(mend)
	if err := os.WriteFile(loader, []byte("/bin/false"), 0); err != nil {
		o.t.Fatal(err)
	}
	o.ns.Run("rmmod", "ip6_tunnel")
	return mend
}

// TestOpenWrtReloadMidway: the configuration changes while the carrier's answer is on
// its way.
func TestOpenWrtReloadMidway(t *testing.T) {
	lab, net := newLine(t)
	net.Router.Up("lan0")
	isp := startSimulated(t, lab, net, realisp.Next)
	isp.ctl("silent dhcp6")
	isp.ctl("silent radius")
	o := startOpenWrt(t, lab, net.Router, isp.Now(), isp.UCI())
	for _, tt := range []struct{ asked, silent, options string }{
		{"dhcp6.sent.solicit", "dhcp6", "\toption mtu '1400'\n"},
		{"radius.sent.access-request", "radius", ""},
	} {
		s := o.awaitDaemon(tt.asked, func(s status.Status) bool { return s.Counters[tt.asked] > 0 })
		if s.State == state.Up {
			t.Errorf("status: %s", s.JSON())
		}
		pid := o.DaemonPID("wan")
		o.configure(isp.UCI() + tt.options)
		o.call("network", "reload")
		isp.ctl("speak %s", tt.silent)
		o.await("another daemon", func() error {
			if now := o.DaemonPID("wan"); now == pid || now == 0 {
				return fmt.Errorf("the daemon was %d and is %d", pid, now)
			}
			return nil
		})
	}
	o.awaitUp(isp.Now())
	o.check(net, isp.Now())
}

// TestOpenWrtExpiry: the lease ends without a server: IPv4 goes with its prefix.
func TestOpenWrtExpiry(t *testing.T) {
	_, net, isp, o := openWrtLife(t, "--t1", "5s", "--t2", "8s", "--preferred", "10s", "--valid", "12s")
	isp.ctl("silent dhcp6")
	o.await("the end of the lease", func() error {
		if s, _ := o.Status("wan"); len(s.Prefixes) > 0 {
			return fmt.Errorf("prefixes %v", s.Prefixes)
		}
		if _, ok := o.Status("wan_4"); ok {
			return errors.New("wan_4 is there")
		}
		return nil
	})
	isp.ctl("speak dhcp6")
	o.wan("renew")
	o.awaitUp(isp.Now())
	checkIPv4(t, net, isp.IPv4)
}

// TestOpenWrtTwo: two lines at once do not meet.
func TestOpenWrtTwo(t *testing.T) {
	_, net, isp, o := openWrtLife(t)
	net.Router.Dummy("dead0")
	o.configure(isp.UCI() + strings.NewReplacer("'wan'", "'spare'", "'wan0'", "'dead0'").Replace(isp.UCI()))
	o.call("network", "reload")
	o.awaitError("spare", true, "NO_RA", "dead0")
	if o.DaemonPID("spare") == 0 {
		t.Error("it does not run")
	}
	o.awaitUp(isp.Now())
	o.check(net, isp.Now())
}

// TestOpenWrtExtendPrefix: the /64 of a line without a delegated prefix is the LAN's.
func TestOpenWrtExtendPrefix(t *testing.T) {
	lab, net := newLine(t)
	net.Router.Up("lan0")
	isp := startSimulated(t, lab, net, realisp.NextRA)
	o := startOpenWrt(t, lab, net.Router, isp.Now(), isp.UCI()+"\toption extendprefix '1'\n")
	o.awaitUp(isp.Now())
	s, _ := o.Status("wan")
	if want := []netifd.AddressStatus{{Address: isp.Prefix.Addr().String(), Mask: 64}}; !cmp.Equal(s.Prefixes, want) {
		t.Errorf("prefixes %v, want %v", s.Prefixes, want)
	}
	if out := net.Router.Run("ip", "-6", "route", "get", isp.Prefix.Addr().Next().Next().String()); !strings.Contains(out, "dev lan0") {
		t.Errorf("hosts of the /64 are looked for elsewhere than on the LAN: %s", out)
	}
	checkIPv4(t, net, isp.IPv4)
}

// TestOpenWrtByHand: the tunnel for who knows its ends and has IPv6 from elsewhere.
func TestOpenWrtByHand(t *testing.T) {
	_, net, isp, o := openWrtLife(t)
	// The line stays, the tunnel is taken over by hand.
	isp.ctl("reject maintenance")
	o.configure(isp.UCI() + fmt.Sprintf(`
config interface 'tun'
	option proto 'sofutobanku4'
	option local '%v'
	option remote '%v'
	option ipaddr '%v'
	option metric '7'
`, isp.CE(), isp.BR, isp.IPv4))
	o.wan("down")
	o.awaitDown("wan")
	o.call("network", "reload")
	o.wan("up")
	o.await("both interfaces", func() error {
		for _, name := range []string{"wan", "tun"} {
			if s, _ := o.Status(name); !s.Up {
				return fmt.Errorf("%s: %+v", name, s)
			}
		}
		return nil
	})
	if _, ok := o.Status("wan_4"); ok {
		t.Error("wan_4 is there too")
	}
	if out := net.Router.Run("ip", "-4", "route"); !strings.Contains(out, "default dev sofu-tun proto static scope link metric 7") {
		t.Errorf("routes:\n%s", out)
	}
	checkIPv4(t, net, isp.IPv4)
}
