//go:build lab

package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	stdnet "net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"sofutobanku/internal/check"
	"sofutobanku/internal/status"
	"sofutobanku/lab/realisp"
	"sofutobanku/lab/topo"
)

// The scenarios of this file break a line, each in one way, and let `sofu-proto check`
// find out what it is: the cause that it names has to be the right one. A table tells
// what was broken and what was said.

// checked is a line that is broken and mended, and the table.
type checked struct {
	*testing.T
	lab   *topo.Lab
	net   realisp.Network
	isp   *simulated
	r     *router
	names []stdnet.PacketConn // of the name servers
	env   []string            // of check
	table *table
}

// nameServer6 is the one that DHCPv6 tells. RADIUS tells of others: sofu-isp of two, the
// line of real servers of its one IPv4 host.
const nameServer6 = "2001:db8:a0::53"

func nameServers(net realisp.Network) map[string]*topo.NS {
	return map[string]*topo.NS{nameServer6: net.ISP, "198.51.100.53": net.Inet, "198.51.100.54": net.Inet, realisp.Host.String(): net.Inet}
}

// newChecked makes a line with name servers, and a router's device that is up, as netifd
// would have it. Nothing runs on the router yet.
func newChecked(t *testing.T, b *table, flags ...string) *checked {
	c := newNetwork(t, b)
	c.net.ISP.Addr("core", nameServer6+"/128")
	c.answerNames()
	c.isp = startSimulated(t, c.lab, c.net, realisp.Next, append([]string{"--dns", nameServer6}, flags...)...)
	return c
}

// newNetwork is the same without a carrier, which has to be there before answerNames.
func newNetwork(t *testing.T, b *table) *checked {
	lab, net := newLine(t)
	c := &checked{T: t, lab: lab, net: net, table: b}
	net.Router.Up(realisp.WAN)
	net.Inet.Addr("inet0", "198.51.100.53/32")
	net.Inet.Addr("inet0", "198.51.100.54/32")
	t.Cleanup(c.silenceNames)
	return c
}

// answerNames starts name servers that know nothing, and say so.
func (c *checked) answerNames() {
	c.Helper()
	for server, ns := range nameServers(c.net) {
		err := ns.Do(func() error {
			conn, err := stdnet.ListenPacket("udp", stdnet.JoinHostPort(server, "53"))
			if err != nil {
				return err
			}
			c.names = append(c.names, conn)
			go func() {
				b := make([]byte, 512)
				for {
					n, from, err := conn.ReadFrom(b)
					if err != nil {
						return
					}
					if n > 2 {
						b[2] |= 0x80 // an answer
						conn.WriteTo(b[:n], from)
					}
				}
			}()
			return nil
		})
		if err != nil {
			c.Fatal(err)
		}
	}
}

func (c *checked) silenceNames() {
	for _, conn := range c.names {
		conn.Close()
	}
	c.names = nil
}

// runCheck runs `sofu-proto check` and returns its report; the exit status has to fit.
func runCheck(t *testing.T, ns *topo.NS, dir string, env []string) (r check.Report, took time.Duration) {
	t.Helper()
	start := time.Now()
	p := ns.StartEnv(env, bin("sofu-proto"), "check", "wan", "--json", "--config", dir, "--run-dir", dir+"/run", "--state-dir", dir+"/state")
	code := p.Wait(patience)
	took = time.Since(start)
	if err := json.Unmarshal([]byte(p.Output()), &r); err != nil {
		t.Fatalf("check: %v\n%s", err, p.Output())
	}
	if want := map[check.Verdict]int{check.OK: 0, check.Warn: 6, check.Fail: 5}[r.Worst()]; code != want {
		t.Errorf("exit status %d, want %d: %s", code, want, p.Output())
	}
	if took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	return r, took
}

// says lets check find out what is wrong, which has to be want, "" for nothing.
func (c *checked) says(what, want string, verdict check.Verdict) {
	c.Helper()
	r, took := runCheck(c.T, c.net.Router, c.r.dir, c.env)
	c.table.row(c.T, what, want, verdict, r, took)
	c.useTools(what, want == "")
}

// useTools runs the other tools, all at once, on the line as it is: each ends in time with
// an exit status of its help text, without a panic and without a secret, and with success
// on a line with which nothing is wrong.
func (c *checked) useTools(what string, good bool) {
	c.Helper()
	captured := c.lab.Dir("capture") + "/file"
	at := []string{"--config", c.r.dir, "--run-dir", c.r.path("run"), "--state-dir", c.r.path("state")}
	tools := []struct {
		name string
		args []string
		// others: a running line, or one without Hikari Denwa, is no success for it.
		others bool
	}{
		{"rtsol", []string{"rtsol", realisp.WAN, "-1", "-w", "3"}, false},
		{"nd", []string{"nd"}, false},
		{"ping6", []string{"ping6", "ff02::1%" + realisp.WAN, "-c", "1"}, false},
		{"traceroute6", []string{"traceroute6", realisp.RADIUS.Addr().String(), "-q", "1", "-w", "1", "-m", "3"}, false},
		{"pmtu", append([]string{"pmtu"}, at...), false},
		{"probe radius", append([]string{"probe", "radius", "-w", "3"}, at...), false},
		{"probe dhcp6", append([]string{"probe", "dhcp6", "-w", "3"}, at...), true},
		{"probe dhcp4", append([]string{"probe", "dhcp4", "-w", "3"}, at...), true},
		{"report", append([]string{"report"}, at...), false},
		// What the others did, from before the first to after the last.
		{"capture", []string{"capture", realisp.WAN, "-o", captured}, false},
		{"learn", []string{"learn", captured}, true},
	}
	start := func(args []string) *topo.Process {
		return c.net.Router.StartEnv(c.env, append([]string{bin("sofu-proto")}, args...)...)
	}
	running := make([]*topo.Process, len(tools))
	capture, learn := len(tools)-2, len(tools)-1
	running[capture] = start(tools[capture].args)
	c.lab.Eventually(patience, "capture to listen, or to say why not", func() error {
		if running[capture].Output() == "" {
			return errors.New("it is silent")
		}
		return nil
	})
	for i, tool := range tools[:capture] {
		running[i] = start(tool.args)
	}
	if c.table.tools.Len() == 0 {
		c.table.tools.WriteString("\n| what is wrong |")
		for _, tool := range tools {
			fmt.Fprintf(&c.table.tools, " %s |", tool.name)
		}
		c.table.tools.WriteString("\n|---" + strings.Repeat("|---", len(tools)) + "|")
	}
	fmt.Fprintf(&c.table.tools, "\n| %s |", what)
	for i, tool := range tools {
		switch i {
		case capture:
			running[i].Stop()
		case learn:
			running[i] = start(tool.args)
		}
		code := running[i].Wait(patience)
		fmt.Fprintf(&c.table.tools, " %d |", code)
		out := running[i].Output()
		if !slices.Contains([]int{0, 1, 3, 4, 5}, code) || good && !tool.others && code != 0 || strings.Contains(out, "goroutine ") {
			c.Errorf("%s: %s: exit status %d\n%s", what, tool.name, code, out)
		}
		account := realisp.Default(realisp.Next)
		for _, secret := range []string{account.SharedSecret, account.Password} {
			if strings.Contains(out, secret) {
				c.Errorf("%s: %s shows %q", what, tool.name, secret)
			}
		}
	}
}

// table is what was broken, and what was said.
type table struct {
	strings.Builder
	tools strings.Builder // exit statuses of the other tools
}

func newTable(t *testing.T) *table {
	b := &table{}
	b.WriteString("\n| what is wrong | verdict | cause | seen | seconds |\n|---|---|---|---|---|")
	t.Cleanup(func() { t.Log(b.String() + "\n" + b.tools.String()) })
	return b
}

func (b *table) row(t *testing.T, what, want string, verdict check.Verdict, r check.Report, took time.Duration) {
	t.Helper()
	name, seen := "", ""
	if r.Cause != nil {
		name = r.Cause.Name
	}
	for _, one := range r.Checks {
		if one.Name == name {
			seen = one.Seen
		}
	}
	fmt.Fprintf(b, "\n| %s | %s | %s | %s | %.1f |", what, r.Worst(), name, seen, took.Seconds())
	if name != want || r.Worst() != verdict {
		var text strings.Builder
		if err := r.WriteText(&text, false); err != nil {
			t.Error(err)
		}
		t.Errorf("%s: cause %q with %s, want %q with %s:\n%s", what, name, r.Worst(), want, verdict, &text)
	}
}

// drop drops what matches a tc filter when it comes in by a device.
func drop(ns *topo.NS, device string, filter ...string) (mend func()) {
	ns.Run("tc", "qdisc", "add", "dev", device, "clsact")
	ns.Run(append(append([]string{"tc", "filter", "add", "dev", device, "ingress", "protocol", "ipv6"}, filter...), "action", "drop")...)
	return func() { ns.Run("tc", "qdisc", "del", "dev", device, "clsact") }
}

// Filters of tc by the protocol behind the IPv6 header.
var (
	ofTunnel = []string{"u32", "match", "u8", "4", "0xff", "at", "6"}
	// The tunnel encapsulation limit is a destination option.
	ofEncapLimit = []string{"u32", "match", "u8", "60", "0xff", "at", "6"}
)

// firewall is a double of nft that knows these rules of the input chain, whose policy is
// to drop, and of the forward chain: the lab kernel has no nftables.
func (c *checked) firewall(input, forward string) (mend func()) {
	c.Helper()
	dir := c.lab.Dir("nft")
	rules := c.lab.WriteFile(dir, "rules", fmt.Sprintf(`{"nftables":[
{"chain":{"family":"inet","table":"fw4","name":"input","hook":"input","prio":0,"policy":"drop"}},
{"rule":{"family":"inet","table":"fw4","chain":"input","expr":[%s]}},
{"chain":{"family":"inet","table":"fw4","name":"forward","hook":"forward","prio":0,"policy":"accept"}},
{"rule":{"family":"inet","table":"fw4","chain":"forward","expr":[%s]}}]}`, input, forward))
	program := c.lab.WriteFile(dir, "nft", "#!/bin/sh\n[ \"$*\" = '-j list ruleset' ] && exec cat "+rules+"\n")
	if err := os.Chmod(program, 0o755); err != nil {
		c.Fatal(err)
	}
	c.env = []string{"PATH=" + dir + ":" + os.Getenv("PATH")}
	return func() { c.env = nil }
}

const (
	acceptAnswers = `{"vmap":{"key":{"ct":{"key":"state"}},"data":{"set":[["established",{"accept":null}],["related",{"accept":null}]]}}}`
	acceptAll     = `{"accept":null}`
	dropAll       = `{"drop":null}`
	clampMSS      = `{"mangle":{"key":{"tcp option":{"name":"maxseg","field":"size"}},"value":{"rt":{"key":"mtu"}}}}`
)

// TestCheckLines: nothing is wrong with a line that is up, of any kind and of any carrier.
func TestCheckLines(t *testing.T) {
	all := newTable(t)
	for _, line := range realisp.Lines {
		telephone := func(s status.Status) bool { return joined(s) || line == realisp.NextRA }
		t.Run(string(line)+"/simulated", func(t *testing.T) {
			c := newNetwork(t, all)
			c.net.ISP.Addr("core", nameServer6+"/128")
			c.answerNames()
			isp := startSimulated(t, c.lab, c.net, line, "--dns", nameServer6)
			c.r = startRouter(t, c.lab, c.net.Router, isp.UCI())
			c.r.awaitUp(isp.Now())
			c.r.await("the telephone", telephone)
			c.says("nothing on "+t.Name(), "", check.OK)
		})
		t.Run(string(line)+"/real", func(t *testing.T) {
			c := newNetwork(t, all)
			isp := realisp.Start(c.lab, c.net, dictionary, realisp.Default(line))
			c.answerNames()
			c.r = startRouter(t, c.lab, c.net.Router, isp.UCI())
			c.r.awaitUp(isp.Config)
			c.r.await("the telephone", telephone)
			c.says("nothing on "+t.Name(), "", check.OK)
		})
	}
}

// TestCheckOpenWrt: the same on OpenWrt's way, where netifd ends the daemon of a line
// without a carrier.
func TestCheckOpenWrt(t *testing.T) {
	c := newChecked(t, newTable(t))
	c.net.Router.Up("lan0")
	o := startOpenWrt(t, c.lab, c.net.Router, c.isp.Now(), c.isp.UCI())
	says := func(what, want string, verdict check.Verdict) {
		t.Helper()
		r, took := runCheck(t, c.net.Router, o.dir, nil)
		c.table.row(t, what, want, verdict, r, took)
	}
	o.awaitUp(c.isp.Now())
	o.awaitDaemon("the telephone", joined)
	says("nothing", "", check.OK)

	c.net.ISP.Down(realisp.Port)
	o.await("no daemon", func() error {
		if pid := o.DaemonPID("wan"); pid != 0 {
			return fmt.Errorf("the daemon is %d", pid)
		}
		return nil
	})
	says("no carrier", "link", check.Fail)
	c.net.ISP.Up(realisp.Port)
	o.awaitUp(c.isp.Now())

	c.isp.ctl("reject no contract")
	o.wan("down")
	o.awaitDown("wan")
	c.net.Router.Up(realisp.WAN)
	says("ifdown", "daemon", check.Fail)
	o.wan("up")
	o.awaitError("wan", false, "AUTH_REJECTED")
	says("rejected", "auth", check.Fail)
	c.isp.ctl("accept")

	o.configure(strings.Replace(c.isp.UCI(), "'next'", "'nxet'", 1))
	o.call("network", "reload")
	o.awaitDown("wan")
	says("an option that cannot be", "config", check.Fail)
}

// TestReport: of a line whose addresses are none of the documentation's, nothing is in a
// report, nor are its secrets.
func TestReport(t *testing.T) {
	c := newChecked(t, nil, "--number", "0398765432", "--terminal", "58:ab:cd:12:34:56")
	c.isp.Renumber(func(n *realisp.Config) {
		n.Prefix, n.IPv4 = netip.MustParsePrefix("240b:10:1200:3400::/56"), netip.MustParseAddr("126.77.88.99")
	})
	c.r = startRouter(t, c.lab, c.net.Router, c.isp.UCI())
	s := c.r.awaitUp(c.isp.Now())
	p := c.net.Router.Start(bin("sofu-proto"), "report", "--config", c.r.dir, "--run-dir", c.r.path("run"), "--state-dir", c.r.path("state"))
	if code := p.Wait(patience); code != 0 {
		t.Fatalf("exit status %d:\n%s", code, p.Output())
	}
	for _, want := range []string{"wan: up for", "option shared_secret (set, left out)", "NTT suboption 202", "SoftBankBB-Attr-250: 2 bytes, left out", "echo-reply", "ok    ipv4"} {
		if !strings.Contains(p.Output(), want) {
			t.Errorf("no %q", want)
		}
	}
	identities := []string{"240b:10:1200:34", "126.77.88.99", "0398765432"}
	for _, one := range identities {
		if !bytes.Contains(s.JSON(), []byte(one)) {
			t.Errorf("%q is not in the status: there is nothing to leave out", one)
		}
	}
	for _, one := range append(identities, c.isp.SharedSecret, c.isp.Password, "240b:", "126.77", "58:ab:cd", "12:34:56", "7e4d5863") {
		if strings.Contains(p.Output(), one) {
			t.Errorf("%q is in the report", one)
		}
	}
	if t.Failed() {
		t.Log(p.Output())
	}
}

// TestCheckUp: a line that is up is broken and mended in one way after the other.
func TestCheckUp(t *testing.T) {
	c := newChecked(t, newTable(t))
	router, isp := c.net.Router, c.net.ISP
	c.r = startRouter(t, c.lab, router, c.isp.UCI())
	up := func() {
		c.r.awaitUp(c.isp.Now())
		c.r.await("the telephone", joined)
	}
	phone := func(code string) func(status.Status) bool {
		return func(s status.Status) bool {
			return s.Phone != nil && s.Phone.Address == nil && s.Phone.Error != nil && s.Phone.Error.Code == code
		}
	}
	refuse := func() {
		c.isp.ctl("phone refuse")
		c.r.Signal(syscall.SIGUSR1)
		c.r.await("no telephone", phone("PHONE_REFUSED"))
	}
	grant := func() {
		c.isp.ctl("phone grant")
		c.r.Signal(syscall.SIGUSR1)
	}
	run := func(argv ...string) func() { return func() { router.Run(argv...) } }
	again := func() { // start over
		before := c.r.await("a status", func(status.Status) bool { return true }).Counters
		c.r.Signal(syscall.SIGUSR2)
		c.r.await("all of it anew", func(s status.Status) bool {
			for _, name := range []string{"dhcp6.sent.solicit", "radius.sent.access-request", "dhcp4.received.ack"} {
				if s.Counters[name] == before[name] {
					return false
				}
			}
			return true
		})
		up()
	}
	up()
	for _, tt := range []struct {
		name    string
		wrong   func() (mend func())
		cause   string
		verdict check.Verdict
	}{
		{"nothing", func() func() { return func() {} }, "", check.OK},
		{"no carrier", func() func() {
			isp.Down(realisp.Port)
			c.r.await("the loss of the link", func(s status.Status) bool { return s.State == "down" })
			return func() { isp.Up(realisp.Port); up() }
		}, "link", check.Fail},
		{"no device of that name", func() func() {
			run("ip", "link", "set", realisp.WAN, "down")()
			run("ip", "link", "set", realisp.WAN, "name", "away0")()
			c.r.await("the loss of the device", func(s status.Status) bool { return s.State == "down" })
			return func() { run("ip", "link", "set", "away0", "name", realisp.WAN)(); router.Up(realisp.WAN); up() }
		}, "link", check.Fail},
		{"the router steps down", func() func() {
			c.isp.ctl("ra-lifetime 0")
			c.r.await("no router", func(s status.Status) bool { return len(s.WAN.Routers) == 0 })
			return func() { c.isp.ctl("ra-lifetime 1800"); up() }
		}, "router", check.Fail},
		{"the router is silent", func() func() { c.isp.ctl("silent ra"); return func() { c.isp.ctl("speak ra") } }, "router", check.Warn},
		{"the default route is gone", func() func() {
			run("ip", "-6", "route", "del", "default")()
			return again
		}, "source", check.Fail},
		{"rejected while up", func() func() {
			c.isp.ctl("reject maintenance")
			c.r.Signal(syscall.SIGUSR1)
			c.r.await("the rejection", func(s status.Status) bool { return s.Error != nil })
			return func() {
				c.isp.ctl("accept")
				c.r.Signal(syscall.SIGUSR1)
				c.r.await("no error", func(s status.Status) bool { return s.Error == nil })
			}
		}, "auth", check.Warn},
		{"the tunnel's device is gone", func() func() { run("ip", "link", "del", "wan-4")(); return again }, "tunnel", check.Fail},
		{"the tunnel's device is down", func() func() { run("ip", "link", "set", "wan-4", "down")(); return again }, "tunnel", check.Fail},
		{"the tunnel's MTU is too large", func() func() { run("ip", "link", "set", "wan-4", "mtu", "1500")(); return again }, "tunnel", check.Warn},
		{"the firewall drops protocol 4", func() func() {
			mend := drop(router, realisp.WAN, ofTunnel...)
			c.firewall(dropAll, clampMSS)
			return func() { mend(); c.env = nil }
		}, "firewall", check.Fail},
		{"the firewall accepts answers alone", func() func() { return c.firewall(acceptAnswers, clampMSS) }, "firewall", check.Warn},
		{"a firewall that leaves segment sizes alone", func() func() { return c.firewall(acceptAll, acceptAll) }, "mss", check.Warn},
		{"a firewall in order", func() func() { return c.firewall(acceptAll, clampMSS) }, "", check.OK},
		{"the far end is silent", func() func() { return drop(isp, realisp.Port, "flower", "dst_ip", c.isp.BR.String()) }, "br", check.Fail},
		{"protocol 4 is dropped on the way", func() func() { return drop(isp, realisp.Port, ofTunnel...) }, "ipv4", check.Fail},
		{"a hop of MTU 1280", func() func() { return drop(isp, realisp.Port, "basic", "match", "cmp(u16 at 4 layer 1 gt 1240)") }, "mtu", check.Warn},
		{"no name server answers", func() func() { c.silenceNames(); return c.answerNames }, "dns", check.Fail},
		{"no name server answers by IPv6", func() func() { return drop(isp, realisp.Port, "flower", "dst_ip", nameServer6) }, "dns", check.Warn},
		{"the telephone network refuses", func() func() { refuse(); return func() { grant(); up() } }, "phone", check.Fail},
		{"somebody has the telephone's address", func() func() {
			refuse()
			own := realisp.PhoneAddress.Addr().String() + "/32"
			isp.Addr(realisp.Port, own)
			grant()
			c.r.await("the conflict", phone("PHONE_CONFLICT"))
			return func() {
				isp.DelAddr(realisp.Port, own)
				c.r.Signal(syscall.SIGUSR1)
				up()
			}
		}, "phone", check.Fail},
		{"another client asks for a prefix", func() func() {
			stop := c.solicitAsAnother()
			return stop
		}, "segment", check.Warn},
		{"the daemon was ended", func() func() {
			c.r.Signal(syscall.SIGTERM)
			c.r.Wait(patience)
			return func() { c.r.start(); up() }
		}, "daemon", check.Fail},
	} {
		mend := tt.wrong()
		c.says(tt.name, tt.cause, tt.verdict)
		mend()
	}
	c.says("nothing any more", "", check.OK)
}

// solicitAsAnother is another router on the segment that asks for a prefix.
func (c *checked) solicitAsAnother() (stop func()) {
	c.Helper()
	c.net.ISP.Run("ip", "link", "add", "link", realisp.Port, "name", "other0", "type", "macvlan", "mode", "bridge")
	c.net.ISP.Up("other0")
	var conn stdnet.Conn
	c.lab.Eventually(patience, "an address of the other router", func() error {
		return c.net.ISP.Do(func() (err error) {
			conn, err = stdnet.Dial("udp6", "[ff02::1:2%other0]:547")
			return err
		})
	})
	over := make(chan struct{})
	go func() {
		for {
			select {
			case <-over:
				return
			case <-time.After(300 * time.Millisecond):
				conn.Write([]byte{1, 0, 0, 7, 0, 25, 0, 12, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0}) // Solicit, IA_PD
			}
		}
	}()
	return func() {
		close(over)
		conn.Close()
		c.net.ISP.DelLink("other0")
	}
}

// TestCheckStart: a line that does not come up.
func TestCheckStart(t *testing.T) {
	all := newTable(t)
	for _, tt := range []struct {
		name    string
		carrier string              // a command to it
		change  func(string) string // of the configuration
		drop    []string            // a filter at the carrier
		cause   string
		verdict check.Verdict            // Fail unless it is said
		until   func(status.Status) bool // when it is looked at
	}{
		{name: "no router and no server", carrier: "silent all", cause: "router"},
		{name: "no router advertises itself", carrier: "silent ra", cause: "router"},
		{name: "no DHCPv6 server", carrier: "silent dhcp6", cause: "lease"},
		{name: "no prefix is left", carrier: "refuse NoPrefixAvail", cause: "lease"},
		{name: "a DUID of another kind", change: option("clientid", "0004000102030405060708090a0b0c0d0e0f"), cause: "duid"},
		{name: "RADIUS is silent", carrier: "silent radius", cause: "auth",
			until: func(s status.Status) bool { return s.Counters["radius.sent.access-request"] > 1 }},
		{name: "rejected", carrier: "reject no contract", cause: "auth",
			until: func(s status.Status) bool { return s.Error != nil }},
		{name: "another password", change: replace("made-up password", "wrong password"), cause: "auth",
			until: func(s status.Status) bool { return s.Error != nil }},
		{name: "another shared secret", change: replace("made-up shared secret", "wrong secret"), cause: "auth",
			until: func(s status.Status) bool { return s.Counters["radius.sent.access-request"] > 1 }},
		{name: "another server", change: replace("2001:db8:a0::1812", "2001:db8:a0::1813"), cause: "auth",
			until: func(s status.Status) bool { return s.Counters["radius.sent.access-request"] > 1 }},
		{name: "an encapsulation limit, and a far end that drops it", change: option("encaplimit", "4"), drop: ofEncapLimit, cause: "tunnel",
			until: func(s status.Status) bool { return s.Tunnel != nil }},
		{name: "an encapsulation limit", change: option("encaplimit", "4"), cause: "tunnel", verdict: check.Warn,
			until: func(s status.Status) bool { return s.Tunnel != nil && s.Tunnel.EchoMS != nil }},
		{name: "no telephone network", carrier: "silent dhcp4", cause: "phone",
			until: func(s status.Status) bool { return s.Phone != nil && s.Phone.Error != nil }},
		{name: "an option that cannot be", change: replace("'next'", "'nxet'"), cause: "config"},
		{name: "another device", change: replace("'wan0'", "'wan9'"), cause: "link"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newChecked(t, all)
			if tt.carrier != "" {
				c.isp.ctl("%s", tt.carrier)
			}
			if tt.drop != nil {
				drop(c.net.ISP, realisp.Port, tt.drop...)
			}
			if tt.verdict == "" {
				tt.verdict = check.Fail
			}
			uci := c.isp.UCI()
			if tt.change != nil {
				uci = tt.change(uci)
			}
			if tt.cause == "config" {
				dir := c.lab.Dir("router")
				c.lab.WriteFile(dir, "network", uci)
				r, took := runCheck(t, c.net.Router, dir, nil)
				all.row(t, tt.name, tt.cause, tt.verdict, r, took)
				return
			}
			c.r = startRouter(t, c.lab, c.net.Router, uci)
			until := tt.until
			if until == nil {
				until = func(s status.Status) bool { return s.State == "down" || s.Counters["dhcp6.sent.solicit"] > 0 }
			}
			c.r.await("what is to be looked at", until)
			c.says(tt.name, tt.cause, tt.verdict)
		})
	}
}

func option(name, value string) func(string) string {
	return func(uci string) string { return uci + "\toption " + name + " '" + value + "'\n" }
}

func replace(old, with string) func(string) string {
	return func(uci string) string { return strings.Replace(uci, old, with, 1) }
}

// TestCheckClient: another DHCPv6 client of this machine has the port.
func TestCheckClient(t *testing.T) {
	c := newChecked(t, newTable(t))
	var conn stdnet.PacketConn
	if err := c.net.Router.Do(func() (err error) {
		conn, err = stdnet.ListenPacket("udp6", "[::]:546")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c.r = startRouter(t, c.lab, c.net.Router, c.isp.UCI())
	c.r.await("the error", func(s status.Status) bool { return s.Error != nil && s.Error.Code == "DHCP_SOCKET" })
	c.says("another DHCPv6 client on this machine", "daemon", check.Fail)
}

// TestCheckRenewal: the server is gone, and the lease goes to its end.
func TestCheckRenewal(t *testing.T) {
	c := newChecked(t, newTable(t), "--t1", "8s", "--t2", "12s", "--preferred", "14s", "--valid", "60s")
	c.r = startRouter(t, c.lab, c.net.Router, c.isp.UCI())
	c.r.awaitUp(c.isp.Now())
	c.isp.ctl("silent dhcp6")
	c.r.await("a lease that is over soon", func(s status.Status) bool { return s.Prefix != nil && *s.Prefix.Preferred == 0 })
	c.says("the lease is not renewed", "lease", check.Warn)
}

// TestCheckHeld: the router has another MAC address than before, and the line holds the
// prefix for the former.
func TestCheckHeld(t *testing.T) {
	c := newChecked(t, newTable(t), "--hold")
	c.r = startRouter(t, c.lab, c.net.Router, c.isp.UCI())
	c.r.awaitUp(c.isp.Now())
	c.r.Signal(syscall.SIGTERM)
	c.r.Wait(patience)
	c.net.Router.Run("ip", "link", "set", realisp.WAN, "down", "address", "00:00:5e:00:53:77")
	c.net.Router.Up(realisp.WAN)
	c.r.start()
	c.r.await("a Solicit", func(s status.Status) bool { return s.Counters["dhcp6.sent.solicit"] > 0 })
	c.says("another MAC address than before", "duid", check.Fail)
}

// TestCheckModule: the kernel has no ip6_tunnel.
func TestCheckModule(t *testing.T) {
	c := newChecked(t, newTable(t), "--no-br")
	mend := unloadModule(t, c.net.Router)
	if mend == nil {
		t.Skip("this kernel is not the test's own")
	}
	defer mend()
	c.r = startRouter(t, c.lab, c.net.Router, c.isp.UCI())
	c.r.await("the error", func(s status.Status) bool { return s.Error != nil && s.Error.Code == "NO_IP6TNL" })
	c.says("the kernel has no ip6_tunnel", "module", check.Fail)
}

// TestCheckRival: another router on the line has the only prefix that there is. On a line
// of real servers, in order, check also finds nothing wrong.
func TestCheckRival(t *testing.T) {
	lab, net := newLine(t)
	isp := realisp.Start(lab, net, dictionary, realisp.Default(realisp.Next))
	rival := lab.NS("rival")
	lab.Link(rival.Port(realisp.WAN, "00:00:5e:00:53:99"), net.ISP.Port("rival0", ""), topo.Cable{})
	net.ISP.Run("ip", "link", "set", "rival0", "master", realisp.Bridge)
	net.ISP.Up("rival0")
	rival.Forward()
	other := startRouter(t, lab, rival, isp.UCI())
	other.await("its prefix", func(s status.Status) bool { return s.Prefix != nil })

	net.Router.Up(realisp.WAN)
	r := startRouter(t, lab, net.Router, isp.UCI())
	r.await("a link", func(s status.Status) bool { return s.Counters["dhcp6.sent.solicit"] > 1 })
	report, took := runCheck(t, net.Router, r.dir, nil)
	newTable(t).row(t, "another router has the prefix", "segment", check.Fail, report, took)
}

// unloadModule makes the kernel one without ip6_tunnel, nil where it is not ours.
func unloadModule(t *testing.T, ns *topo.NS) (mend func()) {
	t.Helper()
	o := openWrt{t: t, ns: ns}
	return o.unloadTunnel()
}

// TestToolsConfined: what reads packets for a person has no more privileges than the
// daemon.
func TestToolsConfined(t *testing.T) {
	lab, net := newLine(t)
	net.Router.Up(realisp.WAN)
	p := net.Router.Start(bin("sofu-proto"), "rtsol", realisp.WAN, "--watch")
	lab.Eventually(patience, "sofu-tools to be confined", func() error {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
		if err == nil && !bytes.Contains(b, []byte("NoNewPrivs:\t1\nSeccomp:\t2\n")) {
			err = errors.New(string(b))
		}
		return err
	})
	i := &inspection{t: t, found: map[string]int{}}
	i.process(p.PID(), map[string]string{})
}
