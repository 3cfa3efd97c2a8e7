//go:build lab

package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sofutobanku/internal/control"
	"sofutobanku/internal/state"
	"sofutobanku/internal/status"
	"sofutobanku/lab/realisp"
	"sofutobanku/lab/topo"
)

// The scenarios of this file bring sofu-proto up on a line that each carrier
// plays in turn:
//
//	host behind the router                                        IPv4 host
//	    lan0 ── [ router: sofu-proto ] wan0 ═══ isp0 [ isp ] ── inet0 198.51.100.1
//
//	simulated: sofu-isp in isp
//	real:      radvd, Kea, FreeRADIUS and the kernel's ip6tnl in isp

// patience is how long anything may take that takes seconds on an idle machine.
const patience = 60 * time.Second

// carrier is a line that a router connects to.
type carrier interface {
	// UCI is the router's configuration.
	UCI() string
	// Now is what the line hands out at present.
	Now() realisp.Config
	// Renumber makes it hand out something else.
	Renumber(func(*realisp.Config))
}

// real is a line of servers that others wrote.
type real struct{ *realisp.ISP }

func (r real) Now() realisp.Config              { return r.Config }
func (r real) Renumber(f func(*realisp.Config)) { r.Change(f) }

// simulated is a line of sofu-isp.
type simulated struct {
	realisp.Config
	t      *testing.T
	socket string
	isp    *topo.Process
	radius netip.Addr
}

func startSimulated(t *testing.T, lab *topo.Lab, net realisp.Network, line realisp.Line, flags ...string) *simulated {
	t.Helper()
	s := &simulated{Config: realisp.Default(line), t: t, radius: netip.MustParseAddr("2001:db8:a0::1812")}
	dir := lab.Dir("isp")
	account, err := json.Marshal(map[string]string{"shared_secret": s.SharedSecret, "password": s.Password})
	if err != nil {
		t.Fatal(err)
	}
	s.socket = filepath.Join(dir, "sock")
	file := lab.WriteFile(dir, "account", string(account))
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	s.isp = net.ISP.Start(append([]string{bin("sofu-isp"), "--device", realisp.Port, "--line", string(line),
		"--config", file, "--socket", s.socket, "--prefix", s.Prefix.String(), "--ipv4", s.IPv4.String(),
		"--br", s.BR.String(), "--radius", s.radius.String(), "--echo", "198.51.100.254", "--forward"}, flags...)...)
	lab.Eventually(patience, "sofu-isp to listen", func() error { return s.try("state") })
	return s
}

func (s *simulated) try(command string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return control.Call(ctx, s.socket, command, new(bytes.Buffer))
}

// ctl is a command to sofu-isp.
func (s *simulated) ctl(command string, args ...any) {
	s.t.Helper()
	if err := s.try(fmt.Sprintf(command, args...)); err != nil {
		s.t.Fatalf("sofu-isp: %s: %v", command, err)
	}
}

func (s *simulated) Now() realisp.Config { return s.Config }

func (s *simulated) Renumber(f func(*realisp.Config)) {
	f(&s.Config)
	s.ctl("ipv4 %s", s.IPv4)
	s.ctl("br %s", s.BR)
	s.ctl("prefix %s", s.Prefix)
}

func (s *simulated) UCI() string {
	line := s.Line
	if line == realisp.NextRA {
		line = realisp.Next
	}
	return fmt.Sprintf(`config interface 'wan'
	option proto 'sofutobanku'
	option device 'wan0'
	option line '%s'
	option auth_server '%s'
	option shared_secret '%s'
	option password '%s'
`, line, s.radius, s.SharedSecret, s.Password)
}

func bin(name string) string { return filepath.Join(os.Getenv("LAB_BIN"), name) }

// router is a running sofu-proto.
type router struct {
	t    *testing.T
	lab  *topo.Lab
	ns   *topo.NS
	dir  string
	more []string // flags
	*topo.Process
	inspection *inspection
}

func startRouter(t *testing.T, lab *topo.Lab, ns *topo.NS, uci string) *router {
	t.Helper()
	return startRouterWith(t, lab, ns, uci, "-v")
}

func startRouterWith(t *testing.T, lab *topo.Lab, ns *topo.NS, uci string, flags ...string) *router {
	t.Helper()
	r := &router{t: t, lab: lab, ns: ns, dir: lab.Dir("router"), more: flags}
	lab.WriteFile(r.dir, "network", uci)
	r.start()
	r.inspection = newInspection(t, r.dir, uci, r.seen)
	t.Cleanup(r.inspection.finish)
	return r
}

func (r *router) start() {
	r.Process = r.ns.Start(append([]string{bin("sofu-proto"), "up", "--config", r.dir, "--interface", "wan", "--lan", "lan0",
		"--resolv", r.path("resolv.conf"), "--run-dir", r.path("run"), "--state-dir", r.path("state"), "--timeline"}, r.more...)...)
}

func (r *router) path(name string) string { return filepath.Join(r.dir, name) }

func (r *router) status() (status.Status, error) { return statusOf(r.path("run/wan.sock")) }

// await waits until the status is as ok wants it.
func (r *router) await(what string, ok func(status.Status) bool) (s status.Status) {
	r.t.Helper()
	r.lab.Eventually(patience, what, func() (err error) {
		if s, err = r.status(); err != nil {
			return err
		}
		if !ok(s) {
			return errors.New("the router says:\n" + string(s.JSON()) + "its log ends:\n" + tail(r.Output(), 15))
		}
		return nil
	})
	return s
}

// awaitUp waits until the line is up as c hands it out, proven by an echo.
func (r *router) awaitUp(c realisp.Config) status.Status {
	r.t.Helper()
	return r.await(fmt.Sprintf("the tunnel from %v with %v to %v", c.CE(), c.IPv4, c.BR), func(s status.Status) bool {
		t := s.Tunnel
		return s.State == state.Up && t != nil && t.Local == c.CE() && t.IPv4 == c.IPv4 && t.Remote == c.BR && t.EchoMS != nil
	})
}

// picture is all that a router may change in its namespace.
func picture(ns *topo.NS) string {
	return ns.Run("sh", "-c", `ip -o addr show; ip -4 route show table all; ip -6 route show table all | sort
		ip -o link show | sed 's/ qdisc [a-z]*//'; grep . /proc/sys/net/ipv6/conf/wan0/* 2>/dev/null | grep -v stable_secret`)
}

func tail(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n") + "\n"
}

// forEachLine runs a scenario against every line of every carrier.
func forEachLine(t *testing.T, scenario func(t *testing.T, lab *topo.Lab, net realisp.Network, c carrier)) {
	for _, line := range realisp.Lines {
		t.Run(string(line)+"/simulated", func(t *testing.T) {
			lab, net := newLine(t)
			scenario(t, lab, net, startSimulated(t, lab, net, line))
		})
		t.Run(string(line)+"/real", func(t *testing.T) {
			lab, net := newLine(t)
			scenario(t, lab, net, real{realisp.Start(lab, net, dictionary, realisp.Default(line))})
		})
	}
}

// newLine is a line with nobody on it yet, and a router with a LAN.
func newLine(t *testing.T) (*topo.Lab, realisp.Network) {
	lab := topo.New(t)
	net := realisp.NewNetwork(lab, topo.Cable{})
	net.Router.Dummy("lan0")
	return lab, net
}

// TestLine: up, everything where it belongs, IPv4 both ways, renumbered, and gone
// without a trace.
func TestLine(t *testing.T) {
	forEachLine(t, func(t *testing.T, lab *topo.Lab, net realisp.Network, c carrier) {
		before := picture(net.Router)
		r := startRouter(t, lab, net.Router, c.UCI())
		s := r.awaitUp(c.Now())
		checkStatus(t, c.Now(), s)
		checkKernel(t, net.Router, c.Now())
		checkIPv4(t, net, c.Now().IPv4)
		checkLAN(t, lab, net, c.Now())
		checkResolv(t, r, s)

		index := tunnelIndex(net.Router)
		c.Renumber(func(n *realisp.Config) {
			n.Prefix = netip.PrefixFrom(netip.MustParseAddr("2001:db8:56:7800::"), n.Prefix.Bits())
			n.IPv4 = netip.MustParseAddr("192.0.2.99")
			n.BR = netip.MustParseAddr("2001:db8:b0::2999")
		})
		r.Signal(syscall.SIGUSR1)
		r.awaitUp(c.Now())
		checkKernel(t, net.Router, c.Now())
		checkIPv4(t, net, c.Now().IPv4)
		checkLAN(t, lab, net, c.Now())
		if now := tunnelIndex(net.Router); now != index {
			t.Errorf("the tunnel device was made anew: index %s, was %s", now, index)
		}

		r.Signal(syscall.SIGTERM)
		if code := r.Wait(patience); code != 0 {
			t.Errorf("exit status %d after SIGTERM:\n%s", code, tail(r.Output(), 15))
		}
		if diff := cmp.Diff(strings.Split(before, "\n"), strings.Split(picture(net.Router), "\n")); diff != "" {
			t.Errorf("what the router left behind (-before +after):\n%s", diff)
		}
	})
}

func checkStatus(t *testing.T, c realisp.Config, s status.Status) {
	t.Helper()
	if s.Error != nil || s.Interface != "wan" || s.WAN.Device != "wan0" || s.WAN.MTU != 1500 || s.Tunnel.MTU != 1460 || s.Auth == nil {
		t.Errorf("status: %s", s.JSON())
	}
	if len(s.WAN.Routers) != 1 || s.WAN.Routers[0].Address != netip.MustParseAddr("fe80::1") {
		t.Errorf("routers: %+v", s.WAN.Routers)
	}
	if c.Line == realisp.NextRA {
		if s.Prefix != nil || len(s.WAN.Addresses) != 2 {
			t.Errorf("a /64 line: prefix %+v, addresses %+v", s.Prefix, s.WAN.Addresses)
		}
	} else if s.Prefix == nil || s.Prefix.Prefix != c.Prefix || *s.Prefix.Valid > 14400 || *s.Prefix.Valid < 14000 {
		t.Errorf("prefix: %+v, want %v", s.Prefix, c.Prefix)
	}
	if c.Line != realisp.NextRA && (s.Phone == nil || len(s.Phone.Numbers) == 0) {
		t.Errorf("no telephone number: %s", s.JSON())
	}
	if len(s.WAN.DNS) == 0 {
		t.Error("no DNS server")
	}
	for name := range s.Counters {
		// On its bridge Kea hears each message twice, and answers each: what is
		// dropped are the second answers.
		twice := name == "dhcp6.drop.unexpected" || name == "dhcp6.drop.transaction-id"
		// A line without delegation refuses the Solicit that went out beside the RS.
		refused := name == "dhcp6.drop.no-prefix" && c.Line == realisp.NextRA
		// Kea's telephone network offers a default route.
		route := name == "dhcp4.drop.option"
		if strings.Contains(name, ".drop.") && !twice && !refused && !route {
			t.Errorf("dropped on a line in order: %s", name)
		}
	}
}

func tunnelIndex(ns *topo.NS) string {
	index, _, _ := strings.Cut(ns.Run("ip", "-o", "link", "show", "wan-4"), ":")
	return index
}

// checkKernel: the tunnel without encapsulation limit, its local end deprecated
// and in its place, the kernel's own router discovery off, and no packet to an
// unused part of the prefix can loop.
func checkKernel(t *testing.T, ns *topo.NS, c realisp.Config) {
	t.Helper()
	contains := func(command string, wants ...string) {
		t.Helper()
		out := ns.Run("sh", "-c", command)
		for _, want := range wants {
			if !strings.Contains(out, want) {
				t.Errorf("%s has no %q:\n%s", command, want, out)
			}
		}
	}
	contains("ip -d link show wan-4", "ip6tnl ipip6 remote "+c.BR.String()+" local "+c.CE().String(), "encaplimit none", "mtu 1460")
	contains("ip -4 addr show wan-4", "inet "+c.IPv4.String()+"/32")
	contains("ip -4 route show default", "default dev wan-4")
	contains("ip -6 route show default", "default via fe80::1 dev wan0")
	contains("cat /proc/sys/net/ipv6/conf/wan0/accept_ra", "0\n")
	if c.Line == realisp.NextRA {
		contains("ip -6 addr show dev wan0", c.CE().String()+"/128 scope global nodad deprecated")
		return
	}
	contains("ip -6 addr show dev wan-4", c.CE().String()+"/128 scope global nodad deprecated")
	contains("ip -6 route show type unreachable", "unreachable "+c.Prefix.String())
	contains("ip -6 addr show dev lan0", c.Prefix.Addr().Next().String()+"/64")
}

// checkLAN: the delegated prefix is routed to the router.
func checkLAN(t *testing.T, lab *topo.Lab, net realisp.Network, c realisp.Config) {
	t.Helper()
	if c.Line == realisp.NextRA {
		return
	}
	lab.Eventually(10*time.Second, "the LAN's address to be reachable", func() error {
		out, err := net.ISP.Try("ping", "-6", "-n", "-c", "1", "-W", "1", c.Prefix.Addr().Next().String())
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

func checkResolv(t *testing.T, r *router, s status.Status) {
	t.Helper()
	text, err := os.ReadFile(r.path("resolv.conf"))
	if err != nil {
		t.Error(err)
	}
	for _, dns := range s.WAN.DNS {
		if !bytes.Contains(text, []byte("nameserver "+dns.String()+"\n")) {
			t.Errorf("resolv.conf lacks %v:\n%s", dns, text)
		}
	}
}
