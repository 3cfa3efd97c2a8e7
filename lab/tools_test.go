//go:build lab

package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"sofutobanku/lab/realisp"
	"sofutobanku/lab/topo"
)

// tool runs a command of sofu-tools as people do, by sofu-proto, and returns what it
// printed and its exit status.
func tool(t *testing.T, ns *topo.NS, args ...string) (string, int) {
	t.Helper()
	out, err := ns.Try(append([]string{bin("sofu-proto")}, args...)...)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%q: %v", args, err)
	}
	if exit != nil {
		return out, exit.ExitCode()
	}
	return out, 0
}

// found is the first group of a pattern in a text.
func found(text, pattern string) string {
	m := regexp.MustCompile(`(?m)` + pattern).FindStringSubmatch(text)
	if m == nil {
		return "nothing"
	}
	return strings.TrimSpace(m[1])
}

// TestTools: the tools' findings on a line of real servers, beside those of the programs
// that Debian has for the same.
func TestTools(t *testing.T) {
	lab, net := newLine(t)
	isp := realisp.Start(lab, net, dictionary, realisp.Default(realisp.NextRA))
	r := startRouter(t, lab, net.Router, isp.UCI())
	r.awaitUp(isp.Config)
	ns := net.Router
	server := realisp.RADIUS.Addr().String()

	var table strings.Builder
	table.WriteString("\n| what | ours | Debian's | by |\n|---|---|---|---|")
	same := func(what, by, ours, theirs string) {
		fmt.Fprintf(&table, "\n| %s | %s | %s | %s |", what, ours, theirs, by)
		if ours != theirs || ours == "nothing" {
			t.Errorf("%s: ours %q, of %s %q", what, ours, by, theirs)
		}
	}
	defer func() { t.Log(table.String()) }()

	ours, code := tool(t, ns, "rtsol", realisp.WAN, "-1")
	theirs := ns.Run("rdisc6", "-1", realisp.WAN)
	if code != 0 {
		t.Fatalf("rtsol: exit status %d\n%s", code, ours)
	}
	for _, f := range []struct{ what, ours, theirs string }{
		{"router", `from (\S+), hop`, `^ from (\S+)$`},
		{"hop limit", `hop limit for hosts: (\d+)`, `Hop limit +: +(\d+)`},
		{"router lifetime", `router lifetime: (\d+) s`, `Router lifetime +: +(\d+)`},
		{"reachable time", `reachable time: (\d+) ms`, `Reachable time +: +(\d+)`},
		{"retransmission timer", `retransmission timer: (\d+) ms`, `Retransmit time +: +(\d+)`},
		{"MTU", `^  MTU: (\d+)`, `MTU +: +(\d+)`},
		{"prefix", `prefix information: (\S+)`, `Prefix +: +(\S+)`},
		{"its valid lifetime", `valid lifetime: (\d+) s`, `Valid time +: +(\d+)`},
		{"its preferred lifetime", `preferred lifetime: (\d+) s`, `Pref. time +: +(\d+)`},
		{"link-layer address", `source link-layer address: (\S+)`, `Source link-layer address: (\S+)`},
	} {
		same(f.what, "rdisc6", strings.ToLower(found(ours, f.ours)), strings.ToLower(found(theirs, f.theirs)))
	}

	ours, code = tool(t, ns, "ping6", server, "-c", "2", "-i", "0.2")
	theirs = ns.Run("ping", "-6", "-n", "-c", "2", "-i", "0.2", server)
	same("echoes of "+server, "ping", found(ours, `(\d+) answered`), found(theirs, `(\d+) received`))
	same("their hop limit", "ping", found(ours, `hop limit (\d+)`), found(theirs, `ttl=(\d+)`))
	if code != 0 {
		t.Errorf("ping6: exit status %d", code)
	}

	ours, _ = tool(t, ns, "ping6", "ff02::1%"+realisp.WAN, "-c", "1")
	theirs = ns.Run("ping", "-6", "-n", "-c", "2", "ff02::1%"+realisp.WAN)
	others := map[string]bool{}
	for _, m := range regexp.MustCompile(`from (\S+)%\S+: icmp_seq`).FindAllStringSubmatch(theirs, -1) {
		others[m[1]] = true
	}
	for _, a := range ns.Addrs(realisp.WAN) {
		delete(others, a.Addr().String()) // ping hears this host too
	}
	same("hosts on the link", "ping ff02::1", found(ours, `(\d+) on the link`), fmt.Sprint(len(others)))
	if !strings.Contains(ours, "fe80::1%wan0:") || !strings.Contains(ours, "a router") {
		t.Errorf("who is on the link:\n%s", ours)
	}

	ours, code = tool(t, ns, "traceroute6", server)
	theirs = ns.Run("traceroute6", "-n", server)
	same("first hop to "+server, "traceroute6", found(ours, `^ *1  (\S+)`), found(theirs, `^ *1  (\S+)`))
	same("hops", "traceroute6", fmt.Sprint(strings.Count(strings.TrimSpace(ours), "\n")+1), found(theirs, `(?s).*\n *(\d+) `))
	if code != 0 {
		t.Errorf("traceroute6: exit status %d\n%s", code, ours)
	}

	ours, code = tool(t, ns, "nd", realisp.WAN, "--json")
	var nd struct {
		Neighbours []struct {
			Address, MAC string
			Router       bool
		}
		Routers []struct{ Address string }
	}
	if err := json.Unmarshal([]byte(ours), &nd); err != nil || code != 0 || len(nd.Routers) == 0 {
		t.Fatalf("nd: %v, exit status %d\n%s", err, code, ours)
	}
	theirs = ns.Run("ip", "-6", "neigh", "show", "dev", realisp.WAN)
	for _, n := range nd.Neighbours {
		if n.Address == "fe80::1" {
			same("the router's MAC address", "ip neigh", n.MAC, found(theirs, `^fe80::1 lladdr (\S+)`))
			same("it is a router", "ip neigh", fmt.Sprint(n.Router), fmt.Sprint(strings.Contains(found(theirs, `^(fe80::1 .*)`), "router")))
		}
	}
	same("default router", "ip route", nd.Routers[0].Address, found(ns.Run("ip", "-6", "route", "show", "default"), `via (\S+)`))

	ours, code = tool(t, ns, "pmtu", "--run-dir", r.path("run"), "--config", r.dir)
	if code != 0 || !strings.Contains(ours, "IPv4 through the tunnel, 198.51.100.1: packets of 1460 bytes, the most") || !strings.Contains(ours, "to the BR") {
		t.Errorf("pmtu: exit status %d\n%s", code, ours)
	}
	if ours, code = tool(t, ns, "pmtu", "--target", server); code != 0 || !strings.Contains(ours, "packets of 1500 bytes") {
		t.Errorf("pmtu --target: exit status %d\n%s", code, ours)
	}
}

// TestProbe: each exchange spelled out, and its failures told apart.
func TestProbe(t *testing.T) {
	lab, net := newLine(t)
	isp := realisp.Start(lab, net, dictionary, realisp.Default(realisp.Next))
	r := startRouter(t, lab, net.Router, isp.UCI())
	r.awaitUp(isp.Config)
	ns := net.Router
	var table strings.Builder
	table.WriteString("\n| exchange | result | exit status |\n|---|---|---|")
	defer func() { t.Log(table.String()) }()
	try := func(what string, want string, status int, args ...string) string {
		t.Helper()
		out, code := tool(t, ns, append([]string{"probe"}, args...)...)
		fmt.Fprintf(&table, "\n| %s | %s | %d |", what, tail(out, 1)[:len(tail(out, 1))-1], code)
		if code != status || !strings.Contains(tail(out, 1), want) {
			t.Errorf("%s: exit status %d, want %d and %q\n%s", what, code, status, want, out)
		}
		for _, secret := range []string{isp.SharedSecret, isp.Password} {
			if strings.Contains(out, secret) {
				t.Errorf("%s: %q is printed", what, secret)
			}
		}
		return out
	}
	at := func(uci string) []string {
		dir := lab.Dir("probe")
		lab.WriteFile(dir, "network", uci)
		return []string{"--config", dir, "--run-dir", r.path("run"), "--state-dir", r.path("state"), "-w", "4"}
	}
	right := at(isp.UCI())
	out := try("radius", "accepted: IPv4 "+isp.IPv4.String(), 0, append([]string{"radius"}, right...)...)
	for _, want := range []string{"RADIUS: Access-Request\n", "RADIUS: Access-Accept\n", "  User-Name: " + isp.UserName(),
		"    SoftBankBB-IPv4-Address: " + isp.IPv4.String(), "  CHAP-Password: 17 bytes, not shown"} {
		if !strings.Contains(out, want) {
			t.Errorf("radius: %q is missing in\n%s", want, out)
		}
	}
	try("radius, another password", "rejected: ", 5, append([]string{"radius"}, at(strings.Replace(isp.UCI(), isp.Password, "another", 1))...)...)
	// FreeRADIUS says nothing to what is signed with another secret; it cannot know.
	try("radius, another shared secret", "wrong shared secret: ", 5, append([]string{"radius"}, at(strings.Replace(isp.UCI(), isp.SharedSecret, "another", 1))...)...)
	try("dhcp6 beside the running line", "a DHCPv6 client runs on wan0", 4, append([]string{"dhcp6"}, right...)...)
	isp.Stop(realisp.FreeRADIUS)
	try("radius, no server", "silence: ", 5, append([]string{"radius"}, right...)...)

	r.Signal(syscall.SIGTERM)
	r.Wait(patience)
	ns.Up(realisp.WAN)
	lab.Eventually(patience, "a link-local address", func() error {
		if ns.Run("ip", "-6", "addr", "show", "dev", realisp.WAN, "scope", "link", "-tentative") == "" {
			return errors.New("none yet")
		}
		return nil
	})
	out = try("dhcp6", "1 answered; no lease was taken", 0, append([]string{"dhcp6"}, right...)...)
	for _, want := range []string{"DHCPv6: Solicit\n", "DHCPv6: Advertise\n", "    IA prefix: " + isp.Prefix.String() + "\n", "  client identifier: DUID-LL "} {
		if !strings.Contains(out, want) {
			t.Errorf("dhcp6: %q is missing in\n%s", want, out)
		}
	}
	try("dhcp6 --information", "1 answered", 0, append([]string{"dhcp6", "--information"}, right...)...)
	isp.Stop(realisp.Kea)
	try("dhcp6, no server", "silence: ", 5, append([]string{"dhcp6"}, right...)...)
	try("radius, no running line", "which a running line has", 1, append([]string{"radius"}, right...)...)

	out = try("dhcp4", "1 answered; no lease was taken", 0, append([]string{"dhcp4"}, right...)...)
	for _, want := range []string{"DHCPv4: Discover\n", "  vendor classes\n    enterprise 210\n", "DHCPv4: Offer\n", "  your address: 203.0.113.2\n", "  lease time: 14400 s (4h0m0s)\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("dhcp4: %q is missing in\n%s", want, out)
		}
	}
	isp.Stop(realisp.KeaPhone)
	try("dhcp4, no server", "silence: ", 5, append([]string{"dhcp4"}, right...)...)
}

// TestRtsolWatch: what changes is shown, once, and the link's news.
func TestRtsolWatch(t *testing.T) {
	lab, net := newLine(t)
	isp := realisp.Start(lab, net, dictionary, realisp.Default(realisp.NextRA))
	net.Router.Up(realisp.WAN)
	p := net.Router.Start(bin("sofu-proto"), "rtsol", realisp.WAN, "--watch")
	p.WaitFor(patience, "prefix information: "+isp.Prefix.String())
	isp.Change(renumbered64)
	p.WaitFor(patience, "prefix information: "+isp.Prefix.String())
	net.Router.Down(realisp.WAN)
	p.WaitFor(patience, "wan0: the link is down")
	net.Router.Up(realisp.WAN)
	p.WaitFor(patience, "wan0: the link is up")
	isp.Change(func(c *realisp.Config) { c.Prefix = realisp.Default(realisp.NextRA).Prefix })
	lab.Eventually(patience, "the first prefix again", func() error {
		if n := strings.Count(p.Output(), "prefix information: "+isp.Prefix.String()); n != 2 {
			return fmt.Errorf("shown %d times", n)
		}
		return nil
	})
	p.Signal(syscall.SIGTERM)
	if code := p.Wait(patience); code != 0 {
		t.Errorf("exit status %d\n%s", code, p.Output())
	}
}

func renumbered64(c *realisp.Config) { c.Prefix = netip.MustParsePrefix("2001:db8:56:7800::/64") }
