//go:build lab

package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"sofutobanku/internal/status"
	"sofutobanku/lab/netifd"
	"sofutobanku/lab/realisp"
	"sofutobanku/lab/topo"
)

// The scenarios of this file put faults on a line that is in order, one after the
// other. After each, IPv4 has to work again within a time that is printed, as a table,
// and nothing may be left of it: what the system has is compared with what it had
// before. docs/reliability.md explains the times.

// faulty is a router on OpenWrt's way, its line, and the table.
type faulty struct {
	*testing.T
	lab     *topo.Lab
	net     realisp.Network
	isp     carrier
	o       *openWrt
	without []string // the system without the line
	with    []string // and with it
	table   strings.Builder
}

// newFaulty brings a line up. columns are the head of the table.
func newFaulty(t *testing.T, columns string, start func(*testing.T, *topo.Lab, realisp.Network) carrier, change ...func(*openWrt, *netifd.Options)) *faulty {
	lab, net := newLine(t)
	net.Router.Up("lan0")
	f := &faulty{T: t, lab: lab, net: net, isp: start(t, lab, net)}
	f.row(columns)
	f.row(strings.Join(slices.Repeat([]string{"---"}, strings.Count(columns, "|")+1), " | "))
	f.without = f.system()
	f.o = startOpenWrt(t, lab, net.Router, f.isp.Now(), f.isp.UCI(), change...)
	// It keeps its lease, and the file of a lock cannot be removed without a race.
	f.without = append(f.without, "file run/wan.lock", "file state/wan.lease", "file state/wan.phone")
	f.o.awaitUp(f.isp.Now())
	f.o.awaitDaemon("the telephone", joined)
	f.lab.Eventually(patience, "a system at rest", func() error {
		was := f.with
		f.with = f.system()
		return difference(was, f.with)
	})
	t.Cleanup(func() { t.Log("\n" + f.table.String()) })
	return f
}

func startReal(_ *testing.T, lab *topo.Lab, net realisp.Network) carrier {
	return real{realisp.Start(lab, net, dictionary, realisp.Default(realisp.Next))}
}

func startSofuISP(t *testing.T, lab *topo.Lab, net realisp.Network) carrier {
	return startSimulated(t, lab, net, realisp.Next)
}

func (f *faulty) row(format string, args ...any) {
	fmt.Fprintf(&f.table, "| "+format+" |\n", args...)
}

// What differs from one look to the next though nothing is wrong: the index of a
// device, its queue, and what is left of a lifetime; and of a tunnel its made-up
// link-local address.
var (
	volatile       = regexp.MustCompile(`^\d+: |@if\d+| qdisc [a-z]+|(?:valid_lft|preferred_lft|expires) \d+sec`)
	volatileTunnel = regexp.MustCompile(`fe80::[0-9a-f:]+|permaddr [0-9a-f:]+`)
)

// system is all that a router has of a line: addresses, routes, rules, devices and
// their settings, processes, the daemon's open files, and the names of files.
func (f *faulty) system() (lines []string) {
	f.Helper()
	for family, objects := range map[string]string{
		"-4": "addr show\nlink show\nroute show table all\nrule show\n",
		"-6": "addr show\nroute show table all\nrule show\ntunnel show\n",
	} {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		out, err := f.net.Router.TryInput(ctx, objects, "ip", family, "-o", "-d", "-batch", "-")
		cancel()
		if err != nil {
			f.Fatalf("ip %s: %v: %s", family, err, out)
		}
		for line := range strings.Lines(out) {
			if strings.Contains(line, "sofu-") {
				line = volatileTunnel.ReplaceAllString(line, "")
			}
			line = strings.ReplaceAll(line, f.isp.Now().IPv4.String(), "IPV4") // which a fault may change
			lines = append(lines, "ip "+strings.TrimSpace(volatile.ReplaceAllString(line, "")))
		}
	}
	lines = append(lines, f.sysctls()...)
	for _, name := range f.net.Router.Processes() {
		lines = append(lines, "process "+name)
	}
	if f.o == nil {
		return lines
	}
	if pid := f.o.DaemonPID("wan"); pid != 0 {
		open, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid)) // it may have ended
		// Port 68 is open from the first renewal of the telephone's address on.
		udp, _ := os.ReadFile(fmt.Sprintf("/proc/%d/net/udp", pid))
		lines = append(lines, fmt.Sprintf("open files %d", len(open)-strings.Count(string(udp), ":0044 00000000:0000")))
	}
	for _, name := range []string{"wan", "wan_4"} {
		s, _ := f.o.Status(name)
		if !s.Up {
			continue
		}
		s.Uptime = 0
		b, err := json.Marshal(s)
		if err != nil {
			f.Fatal(err)
		}
		lines = append(lines, "ifstatus "+strings.ReplaceAll(string(b), f.isp.Now().IPv4.String(), "IPV4"))
	}
	err := filepath.WalkDir(f.o.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() != "network" && d.Name() != "filler" {
			lines = append(lines, "file "+strings.TrimPrefix(path, f.o.dir+"/"))
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = nil // it goes while we look
		}
		return err
	})
	if err != nil {
		f.Error(err)
	}
	return lines
}

// sysctls are the settings of the WAN device.
func (f *faulty) sysctls() (lines []string) {
	f.Helper()
	err := f.net.Router.Do(func() error {
		for _, dir := range []string{"conf", "neigh"} {
			names, err := filepath.Glob("/proc/sys/net/ipv6/" + dir + "/" + realisp.WAN + "/*")
			if err != nil {
				return err
			}
			for _, name := range names {
				value, err := os.ReadFile(name)
				if filepath.Base(name) == "stable_secret" && err != nil {
					continue // there is none
				}
				if err != nil {
					return err
				}
				lines = append(lines, "sysctl "+name+" "+strings.TrimSpace(string(value)))
			}
		}
		return nil
	})
	if err != nil {
		f.Fatal(err)
	}
	return lines
}

// difference is an error that tells how two systems differ.
func difference(was, is []string) error {
	was, is = slices.Sorted(slices.Values(was)), slices.Sorted(slices.Values(is))
	if diff := cmp.Diff(was, is); diff != "" {
		return fmt.Errorf("-was +is:\n%s", diff)
	}
	return nil
}

// works tells what is missing until IPv4 works: the tunnel as the line has it now, no
// error anywhere, and an echo that another program sends through it.
func (f *faulty) works() error {
	if err := f.o.tunnelUp(f.isp.Now()); err != nil {
		return err
	}
	return f.echo()
}

func (f *faulty) echo() error {
	out, err := f.net.Router.Try("ping", "-n", "-c", "1", "-i", "0.2", "-w", "2", realisp.Host.String())
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// settled is how long the last of a fault may be there after IPv4 works: netifd's
// programs end, and an answer that came too late is waited for no longer.
const settled = 20 * time.Second

// traceless waits until the system is as it was before the fault.
func (f *faulty) traceless(after string) {
	f.Helper()
	f.lab.Eventually(settled, "no trace of: "+after, func() error { return difference(f.with, f.system()) })
}

// within waits until ok and returns how long that took. As long as it is not, a person
// says renew, every now and then; 0 for nobody.
func (f *faulty) within(bound, impatience time.Duration, what string, ok func() error) (took time.Duration, renewals int) {
	f.Helper()
	began := time.Now()
	f.lab.Eventually(bound, what, func() error {
		err := ok()
		if impatience > 0 && err != nil && time.Since(began) > time.Duration(renewals+1)*impatience {
			renewals++
			f.o.wan("renew")
		}
		return err
	})
	return time.Since(began), renewals
}

// healed waits until IPv4 works and nothing is left of a fault that ends now.
func (f *faulty) healed(bound time.Duration, fault string) time.Duration {
	f.Helper()
	took, _ := f.within(bound, 0, "IPv4 after: "+fault, f.works)
	f.traceless(fault)
	return took
}

// rewritten is healed for a daemon that could not write its files. What it can do
// without, it writes with the next renewal.
func (f *faulty) rewritten(bound time.Duration, fault string) time.Duration {
	f.Helper()
	took, _ := f.within(bound, 0, "IPv4 after: "+fault, f.works)
	f.o.wan("renew")
	f.traceless(fault)
	return took
}

// finish takes the line down, which must leave nothing.
func (f *faulty) finish() {
	f.Helper()
	f.o.wan("down")
	f.o.awaitDown("wan")
	f.net.Router.Run("ip", "link", "set", realisp.WAN, "down")              // as it was
	lan := func(line string) bool { return strings.Contains(line, "lan0") } // as netifd leaves it for two hours
	f.lab.Eventually(settled, "no trace of the line", func() error {
		return difference(slices.DeleteFunc(slices.Clone(f.without), lan), slices.DeleteFunc(f.system(), lan))
	})
}

// unplug takes the carrier away and waits until netifd has ended the daemon. cold is
// without the lease, as on the first day.
func (f *faulty) unplug(cold bool) {
	f.Helper()
	f.net.ISP.Down(realisp.Port)
	f.o.await("wan to be down", func() error {
		if s, _ := f.o.Status("wan"); s.Up || s.Pending || f.o.DaemonPID("wan") != 0 {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	if cold {
		if err := os.Remove(f.o.path("state/wan.lease")); err != nil {
			f.Fatal(err)
		}
	}
}

// status is the daemon's, without an answer the zero one.
func (f *faulty) status() status.Status {
	s, _ := f.o.daemonStatus()
	return s
}

// questions are what a router asks, by their counters.
var questions = [][2]string{
	{"ra.sent.solicitation", "RS"}, {"dhcp6.sent.solicit", "Solicit"}, {"dhcp6.sent.request", "Request"},
	{"dhcp6.sent.renew", "Renew"}, {"dhcp6.sent.rebind", "Rebind"}, {"radius.sent.access-request", "Access-Request"},
}

// asked tells how often each question was sent since before.
func asked(before, now status.Status) string {
	var list []string
	for _, q := range questions {
		if n := now.Counters[q[0]] - before.Counters[q[0]]; n > 0 {
			list = append(list, fmt.Sprintf("%d %s", n, q[1]))
		}
	}
	return strings.Join(list, ", ")
}

// answered tells what is missing until a router's renewal is complete.
func (f *faulty) answered(before status.Status) error {
	s, err := f.o.daemonStatus()
	for _, name := range []string{"dhcp6.received.reply", "radius.received.access-accept"} {
		if err == nil && s.Counters[name] <= before.Counters[name] {
			err = fmt.Errorf("no new %s: %s", name, s.JSON())
		}
	}
	return err
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f", d.Seconds()) }

// weather is a fault of the cable.
type weather struct {
	name     string
	up, down topo.Cable // what the router sends, and what the carrier sends
	bound    time.Duration
}

// bothWays is the same fault of what either sends.
func bothWays(name string, c topo.Cable, bound time.Duration) weather {
	return weather{name, c, c, bound}
}

// TestFaultsLoss: packets are lost.
func TestFaultsLoss(t *testing.T) {
	testWeather(t, []weather{
		bothWays("loss of 1 % each way", topo.Cable{Loss: 1}, 45*time.Second),
		bothWays("loss of 10 % each way", topo.Cable{Loss: 10}, 75*time.Second),
		bothWays("loss of 30 % each way", topo.Cable{Loss: 30}, 120*time.Second),
		{"loss of 60 % of the answers", topo.Cable{}, topo.Cable{Loss: 60}, 150 * time.Second},
	})
}

// TestFaultsCable: packets are late, doubled, overtaken and damaged.
func TestFaultsCable(t *testing.T) {
	testWeather(t, []weather{
		bothWays("500 ± 500 ms each way", topo.Cable{Delay: 500 * time.Millisecond, Jitter: 500 * time.Millisecond}, 60*time.Second),
		bothWays("half of the packets twice", topo.Cable{Duplicate: 50}, 45*time.Second),
		bothWays("half of the packets 100 ms late", topo.Cable{Delay: 100 * time.Millisecond, Reorder: 50}, 45*time.Second),
		bothWays("one wrong bit in 20 % each way", topo.Cable{Corrupt: 20}, 90*time.Second),
	})
}

// testWeather connects and renews in each weather.
func testWeather(t *testing.T, faults []weather) {
	const impatience = 15 * time.Second
	f := newFaulty(t, "fault | carrier to IPv4, s | asked | renewal, s | asked | bound of each, s | IPv4 after it, s", startReal)
	for _, w := range faults {
		f.unplug(true)
		f.net.Router.Netem(realisp.WAN, w.up)
		f.net.ISP.Netem(realisp.Port, w.down)
		f.net.ISP.Up(realisp.Port)
		connected, said := f.within(w.bound, impatience, "IPv4 with "+w.name, f.works)
		before := f.status()
		row := fmt.Sprintf("%s | %s | %s", w.name, seconds(connected), asked(status.Status{}, before)) + timesSaid(said)
		f.o.wan("renew")
		renewed, said := f.within(w.bound, impatience, "a renewal with "+w.name, func() error { return f.answered(before) })
		row += fmt.Sprintf(" | %s | %s", seconds(renewed), asked(before, f.status())) + timesSaid(said)

		f.net.Router.Netem(realisp.WAN, topo.Cable{})
		f.net.ISP.Netem(realisp.Port, topo.Cable{})
		f.row("%s | %.0f | %s", row, w.bound.Seconds(), seconds(f.healed(settled, w.name)))
	}
	f.finish()
}

func timesSaid(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("; renew said: %d", n)
}

// TestFaultsCarrier: the carrier's servers are stopped and started, while the line is
// up and while it connects.
func TestFaultsCarrier(t *testing.T) {
	f := newFaulty(t, "stopped and started | when | meanwhile | IPv4 after, s | bound, s", startReal)
	isp := f.isp.(real).ISP
	const bound = 45 * time.Second
	all := []realisp.Server{realisp.BR, realisp.FreeRADIUS, realisp.Kea, realisp.Radvd}
	for _, tt := range []struct {
		name    string
		servers []realisp.Server
		renews  string // the counter of what the router asks meanwhile,
		asks    string // and that of what a router that connects asks in vain
		goesOn  bool   // IPv4 meanwhile
	}{
		{"radvd", all[3:], "ra.sent.solicitation", "ra.sent.solicitation", false}, // it withdraws the route when it ends
		{"Kea", all[2:3], "dhcp6.sent.renew", "dhcp6.sent.solicit", true},
		{"FreeRADIUS", all[1:2], "radius.sent.access-request", "radius.sent.access-request", true},
		{"BR", all[:1], "radius.sent.access-request", "echo.sent.request", false},
		{"all", all, "dhcp6.sent.renew", "dhcp6.sent.solicit", false},
	} {
		before := f.status()
		for _, s := range tt.servers {
			isp.Stop(s)
		}
		f.o.wan("renew")
		f.o.awaitDaemon("a question", func(s status.Status) bool { return s.Counters[tt.renews] > before.Counters[tt.renews] })
		meanwhile := "IPv4 goes on"
		if tt.goesOn {
			if err := f.echo(); err != nil {
				t.Errorf("without %s: %v", tt.name, err)
			}
		} else {
			meanwhile = "no IPv4"
			f.o.await("the loss of IPv4", func() error {
				if f.echo() == nil {
					return errors.New("it works")
				}
				return nil
			})
		}
		for _, s := range tt.servers {
			isp.Restart(s)
		}
		took := f.healed(bound, tt.name+" restarted")
		f.within(bound, 0, "a renewal after "+tt.name+" was restarted", func() error { return f.answered(before) })
		f.row("%s | up | %s, %s | %s | %.0f", tt.name, meanwhile, asked(before, f.status()), seconds(took), bound.Seconds())

		f.unplug(true)
		for _, s := range tt.servers {
			isp.Stop(s)
		}
		f.net.ISP.Up(realisp.Port)
		f.o.awaitDaemon("a question and no answer", func(s status.Status) bool { return s.Counters[tt.asks] >= 2 })
		meanwhile = asked(status.Status{}, f.status())
		for _, s := range tt.servers {
			isp.Restart(s)
		}
		f.row("%s | connecting | %s | %s | %.0f", tt.name, meanwhile, seconds(f.healed(bound, tt.name+" late")), bound.Seconds())
	}
	f.finish()
}

// TestFaultsLink: the carrier comes and goes, and so does the device.
func TestFaultsLink(t *testing.T) {
	f := newFaulty(t, "fault | IPv4 after, s | bound, s", startReal)
	const bound = 45 * time.Second
	for _, tt := range []struct {
		name  string
		fault func()
	}{
		{"100 flaps at once", func() {
			for range 100 {
				f.net.ISP.Down(realisp.Port)
				f.net.ISP.Up(realisp.Port)
			}
		}},
		{"5 flaps, each when the daemon has begun", func() {
			for range 5 {
				f.unplug(false)
				f.net.ISP.Up(realisp.Port)
				f.o.await("a daemon", func() error {
					if f.o.DaemonPID("wan") == 0 {
						return errors.New("there is none")
					}
					return nil
				})
			}
		}},
		{"the device is away", func() {
			shelf := f.lab.NS("shelf")
			f.net.Router.Run("ip", "link", "set", realisp.WAN, "netns", shelf.Netns())
			f.lost()
			shelf.Run("ip", "link", "set", realisp.WAN, "netns", f.net.Router.Netns())
		}},
		{"the device is replaced by another", func() {
			mac := f.net.Router.MAC(realisp.WAN).String()
			f.net.Router.DelLink(realisp.WAN)
			f.lost()
			f.lab.Link(f.net.Router.Port(realisp.WAN, mac), f.net.ISP.Port(realisp.Port, ""), topo.Cable{})
			f.net.ISP.BridgePort(realisp.Bridge, realisp.Port)
			f.net.ISP.Up(realisp.Port)
		}},
	} {
		tt.fault()
		f.row("%s | %s | %.0f", tt.name, seconds(f.healed(bound, tt.name)), bound.Seconds())
	}
	f.finish()
}

// lost waits until nothing of the line is left on a router without its WAN device.
func (f *faulty) lost() {
	f.Helper()
	wan := func(line string) bool { return strings.Contains(line, realisp.WAN) || strings.Contains(line, "lan0") }
	f.lab.Eventually(settled, "no trace of the line", func() error {
		return difference(slices.DeleteFunc(slices.Clone(f.without), wan), slices.DeleteFunc(f.system(), wan))
	})
}

// killer kills daemons at moments that they tell of.
type killer struct {
	mu   sync.Mutex
	seen []string // the moments since ready, each once
	at   []string // the first is when the next one dies
	last int      // who is not to be killed: it has been, or will be by hand
}

var moment = regexp.MustCompile(` level=INFO msg=([a-z-]+) ms=`)

// use makes netifd tell of the moments: each event of the timeline as it is logged,
// and each call of ubus before it is answered.
func (k *killer) use(o *openWrt, opt *netifd.Options) {
	opt.Heard = func(pid int, line string) {
		if m := moment.FindStringSubmatch(line); m != nil {
			k.saw(pid, m[1])
		}
	}
	opt.Check = func(c netifd.Call) string {
		wrong := o.inspection.call(c)
		if c.Parent == "sofu-proto" {
			k.saw(c.PPID, callName(c.Args))
		}
		return wrong
	}
}

// callName is what a daemon's call of another program is for.
func callName(args []string) string {
	args = slices.DeleteFunc(slices.Clone(args), func(a string) bool { return strings.HasPrefix(a, "-") || a == "call" })
	name := strings.Join(args[:min(3, len(args))], " ")
	if m := regexp.MustCompile(`"action":\d+`).FindString(strings.Join(args, " ")); m != "" {
		name += " " + m
	}
	return name
}

func (k *killer) saw(pid int, what string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !slices.Contains(k.seen, what) {
		k.seen = append(k.seen, what)
	}
	if pid != k.last && len(k.at) > 0 && what == k.at[0] {
		k.at, k.last = k.at[1:], pid
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have been its last word
	}
}

// ready sets at which moments the daemons after the one of process id last die, one
// after the other.
func (k *killer) ready(last int, at ...string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.seen, k.at, k.last = nil, at, last
}

// moments are those seen since ready, calls of ubus or events.
func (k *killer) moments(calls bool) []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(k.seen), func(m string) bool { return strings.Contains(m, " ") != calls })
}

// done tells who is still to die.
func (k *killer) done() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.at) > 0 {
		return fmt.Errorf("nobody was killed at %s; seen: %v", k.at[0], k.seen)
	}
	return nil
}

// kill kills the daemon, cold with its lease removed before, and waits for the next.
func (f *faulty) kill(cold bool) (next int) {
	f.Helper()
	if cold {
		if err := os.Remove(f.o.path("state/wan.lease")); err != nil && !errors.Is(err, fs.ErrNotExist) {
			f.Fatal(err)
		}
	}
	pid := f.o.DaemonPID("wan")
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		f.Fatal(err)
	}
	f.o.await("another daemon", func() error {
		if next = f.o.DaemonPID("wan"); next == pid || next == 0 {
			return fmt.Errorf("the daemon was %d and is %d", pid, next)
		}
		return nil
	})
	return next
}

// killBound: the daemon is started at once, and the line takes the time of a connect
// and of verifying a lease (2.5 s) that may be from the line or not.
const killBound = 45 * time.Second

// killedAt kills the daemon, and then one after the other at each moment of their
// connects, the first of which is cold or not.
func (f *faulty) killedAt(k *killer, name string, cold bool, moments ...string) {
	f.Helper()
	k.ready(f.o.DaemonPID("wan"), moments...)
	f.kill(cold)
	f.lab.Eventually(time.Duration(len(moments))*patience, "a daemon to come to "+name, k.done)
	f.row("%s | %s | %.0f", name, seconds(f.healed(killBound, "killed at "+name)), killBound.Seconds())
}

// connects kills the daemon and returns how long the next one, cold or not, takes until
// IPv4 works, and the moments of that: events, or calls of other programs. wants are
// among them.
func (f *faulty) connects(k *killer, cold, calls bool, wants ...string) (took time.Duration, moments []string) {
	f.Helper()
	k.ready(0)
	f.kill(cold)
	took = f.healed(killBound, "killed")
	f.o.awaitUp(f.isp.Now())
	moments = k.moments(calls)
	for _, want := range wants {
		if !slices.Contains(moments, want) {
			f.Fatalf("no %s in %q", want, moments)
		}
	}
	return took, moments
}

// TestFaultsKilled: SIGKILL at each event of a connect without a lease.
func TestFaultsKilled(t *testing.T) {
	var k killer
	f := newFaulty(t, "killed at | IPv4 after, s | bound, s", startSofuISP, k.use)
	_, events := f.connects(&k, true, false, "link-up", "link-local", "router-solicitation", "router-advertisement",
		"solicit", "advertise", "request", "reply", "access-request", "access-accept", "tunnel-up", "echo-request", "echo-reply")
	for _, event := range events {
		f.killedAt(&k, event, true, event)
	}
	f.finish()
}

// TestFaultsKilledInARow: SIGKILL at each call of another program before that is
// answered; at moments that are spread evenly; and at each event of a connect with a
// lease, to one daemon after the other.
func TestFaultsKilledInARow(t *testing.T) {
	var k killer
	f := newFaulty(t, "killed at | IPv4 after, s | bound, s", startSofuISP, k.use)
	connect, calls := f.connects(&k, true, true, "ubus network add_dynamic", `ubus network.interface notify_proto "action":0`)
	for _, call := range calls {
		f.killedAt(&k, call, true, call)
	}
	const moments = 4
	for i := range moments {
		pid := f.kill(i%2 == 0)
		<-time.After(connect * time.Duration(i) / moments) // the moment itself
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		f.row("%d/%d of a connect | %s | %.0f", i, moments, seconds(f.healed(killBound, "killed")), killBound.Seconds())
	}
	_, events := f.connects(&k, false, false, "rebind", "reply", "access-accept", "echo-reply")
	f.killedAt(&k, "each in a row: "+strings.Join(events, ", "), false, events...)
	f.finish()
}

// TestFaultsNetifd: netifd and ubusd go and come back.
func TestFaultsNetifd(t *testing.T) {
	var k killer
	f := newFaulty(t, "fault | meanwhile | IPv4 after, s | bound, s", startSofuISP, k.use)
	const bound = 60 * time.Second
	for _, tt := range []struct {
		name  string
		fault func() (meanwhile string, mend func())
	}{
		{"netifd is killed", func() (string, func()) {
			revive := f.o.Kill()
			return f.meanwhile(), revive
		}},
		{"netifd is killed while the line connects", func() (string, func()) {
			f.kill(true)
			f.o.awaitDaemon("a Solicit", func(s status.Status) bool { return s.Counters["dhcp6.sent.solicit"] > 0 })
			return "", f.o.Kill()
		}},
		{"no ubus, and another IPv4 address", func() (string, func()) {
			restore := f.o.StopUbus()
			f.move()
			f.o.await("the error", func() error { return f.o.logged("wan", "cannot apply the state", "ubus") })
			return f.meanwhile(), restore
		}},
		{"no ubus, and the daemon is killed", func() (string, func()) {
			restore := f.o.StopUbus()
			pid := f.o.DaemonPID("wan")
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				f.Fatal(err)
			}
			tries := strings.Count(f.o.Log(), "interface wan: handler: setup")
			f.o.await("two tries to start it", func() error {
				if now := strings.Count(f.o.Log(), "interface wan: handler: setup"); now < tries+2 {
					return fmt.Errorf("%d tries", now-tries)
				}
				return nil
			})
			return f.meanwhile(), restore
		}},
	} {
		f.o.read = len(f.o.Log())
		meanwhile, mend := tt.fault()
		mend()
		f.row("%s | %s | %s | %.0f", tt.name, meanwhile, seconds(f.healed(bound, tt.name)), bound.Seconds())
	}
	f.finish()
}

// meanwhile tells what of the line works during a fault.
func (f *faulty) meanwhile() string {
	f.Helper()
	if err := f.echo(); err != nil {
		return "no IPv4"
	}
	return "IPv4 goes on"
}

// move has the line hand out another IPv4 address, and the daemon ask, in a way that
// needs no ubus.
func (f *faulty) move() {
	f.Helper()
	f.isp.Renumber(func(c *realisp.Config) {
		if c.IPv4 = c.IPv4.Next(); c.IPv4.As4()[3] > 20 {
			c.IPv4 = netip.MustParseAddr("192.0.2.10")
		}
	})
	if err := syscall.Kill(f.o.DaemonPID("wan"), syscall.SIGUSR1); err != nil {
		f.Fatal(err)
	}
}

// outcome waits until a daemon that starts with a fault has the line up, or gives up.
func (f *faulty) outcome(log int) (seen string) {
	f.Helper()
	f.o.await("the line, or a daemon that gives up", func() error {
		if m := regexp.MustCompile(`the daemon ended with status ([1-9]\d*)`).FindStringSubmatch(f.o.Log()[log:]); m != nil {
			seen = "no IPv4: ends with status " + m[1] + ", is started again"
			return nil
		}
		seen = "IPv4 works"
		return f.works()
	})
	return seen
}

// TestFaultsStorage: the directories for the lease and the journal, and for the lock and
// the control socket, are full or cannot be written, while the line is up and when the
// daemon starts for the first time.
func TestFaultsStorage(t *testing.T) {
	directories := []string{"state", "run"}
	f := newFaulty(t, "fault | when | meanwhile | IPv4 after, s | bound, s", startSofuISP, func(o *openWrt, _ *netifd.Options) {
		for _, name := range directories {
			if err := os.Mkdir(o.path(name), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := unix.Mount("tmpfs", o.path(name), "tmpfs", 0, "size=64k,mode=0700"); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := unix.Unmount(o.path(name), unix.MNT_DETACH); err != nil {
					t.Error(err)
				}
			})
		}
	})
	const bound = 45 * time.Second
	for _, tt := range []struct {
		name  string
		fault func(dir string) (mend func())
	}{
		{"full", f.fill},
		{"read-only", f.lock},
	} {
		for _, dir := range directories {
			name := dir + " directory " + tt.name
			// The lock is open for writing, which keeps the kernel from that.
			if dir != "run" || tt.name != "read-only" {
				mend := tt.fault(f.o.path(dir))
				f.move()
				f.within(bound, 0, "IPv4 moved with the "+name, f.works)
				mend()
				f.row("%s | up | IPv4 works, and moves | %s | %.0f", name, seconds(f.healed(bound, name)), bound.Seconds())
			}
			f.o.wan("down")
			f.o.awaitDown("wan")
			files, err := filepath.Glob(f.o.path(dir) + "/*")
			for _, file := range files {
				err = errors.Join(err, os.Remove(file))
			}
			if err != nil {
				t.Fatal(err)
			}
			mend := tt.fault(f.o.path(dir))
			log := len(f.o.Log())
			f.o.wan("up")
			meanwhile := f.outcome(log)
			mend()
			f.row("%s | starting | %s | %s | %.0f", name, meanwhile, seconds(f.rewritten(bound, name)), bound.Seconds())
		}
	}
	f.finish()
}

// fill leaves no room on the tmpfs of dir.
func (f *faulty) fill(dir string) (mend func()) {
	f.Helper()
	filler := filepath.Join(dir, "filler")
	w, err := os.OpenFile(filler, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		f.Fatal(err)
	}
	defer w.Close()
	for page := make([]byte, 4096); err == nil; {
		_, err = w.Write(page)
	}
	if !errors.Is(err, unix.ENOSPC) {
		f.Fatal(err)
	}
	return func() {
		if err := os.Remove(filler); err != nil {
			f.Fatal(err)
		}
	}
}

// lock makes the tmpfs of dir read-only.
func (f *faulty) lock(dir string) (mend func()) {
	f.Helper()
	remount := func(flags uintptr) {
		f.Helper()
		if err := unix.Mount("", dir, "", unix.MS_REMOUNT|flags, ""); err != nil {
			f.Fatal(err)
		}
	}
	remount(unix.MS_RDONLY)
	return func() { remount(0) }
}

// TestFaultsDescriptors: the daemon is out of file descriptors, while the line is up and
// when it starts.
func TestFaultsDescriptors(t *testing.T) {
	var limit string // the file with that of the next daemon
	f := newFaulty(t, "descriptors | when | meanwhile | IPv4 after, s | bound, s", startSofuISP, func(o *openWrt, opt *netifd.Options) {
		dir := o.lab.Dir("limited")
		limit = o.lab.WriteFile(dir, "limit", "1024")
		wrapper := o.lab.WriteFile(dir, "sofu-proto", fmt.Sprintf("#!/bin/sh\nulimit -n \"$(cat %s)\"\nexec %s \"$@\"\n", limit, bin("sofu-proto")))
		if err := os.Chmod(wrapper, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, program := range opt.Programs {
			program[0] = wrapper
		}
	})
	const bound = 60 * time.Second
	restrict := func(n uint64) {
		t.Helper()
		if pid := f.o.DaemonPID("wan"); pid != 0 {
			if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: n}, nil); err != nil && !errors.Is(err, unix.ESRCH) {
				t.Fatal(err)
			}
		}
	}
	pid := f.o.DaemonPID("wan")
	f.o.read = len(f.o.Log())
	restrict(3)
	f.move()
	f.o.await("the error", func() error { return f.o.logged("wan", "too many open files") })
	meanwhile := f.meanwhile()
	restrict(1024)
	f.row("none left | up | %s | %s | %.0f", meanwhile, seconds(f.rewritten(bound, "no descriptors")), bound.Seconds())
	if now := f.o.DaemonPID("wan"); now != pid {
		t.Errorf("the daemon was %d and is %d", pid, now)
	}
	for _, n := range []int{5, 7, 11, 15} {
		if err := os.WriteFile(limit, fmt.Append(nil, n), 0o644); err != nil {
			t.Fatal(err)
		}
		log, meanwhile := len(f.o.Log()), ""
		f.kill(true)
		f.o.await("a daemon without descriptors", func() error {
			for pattern, what := range map[string]string{
				`the daemon ended with status [1-9]`: "ends, is started again",
				`ERROR.*too many open files`:         "runs, tries again",
			} {
				if regexp.MustCompile(pattern).MatchString(f.o.Log()[log:]) {
					meanwhile = what
					return nil
				}
			}
			return errors.New("neither has it ended nor does it lack any")
		})
		if err := os.WriteFile(limit, []byte("1024"), 0o644); err != nil {
			t.Fatal(err)
		}
		restrict(1024)
		f.row("%d | starting | %s | %s | %.0f", n, meanwhile, seconds(f.rewritten(bound, fmt.Sprint(n, " descriptors"))), bound.Seconds())
	}
	f.finish()
}
