package isp

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

// lineFixture is a line without sockets and kernel.
func lineFixture(ctx context.Context, kind Kind) (*Line, *fakeKernel, *fakeUDP, *fakeICMP) {
	j, _ := testJournal()
	k, udp, icmp := newFakeKernel(), newFakeUDP(), newFakeICMP()
	c := testSettings(kind, func(c *Config) { c.RAInterval = 0 }).c
	l := New(c, j, [32]byte{}, Network{MAC: serverMAC, RA: icmp, DHCP: udp, Kernel: k})
	l.ctx, l.quit = ctx, func() {}
	return l, k, udp, icmp
}

func (l *Line) try(t *testing.T, line string) string {
	t.Helper()
	var b strings.Builder
	if err := l.Command(t.Context(), line, &b); err != nil {
		return "error: " + err.Error()
	}
	return b.String()
}

func TestCommandErrors(t *testing.T) {
	l, _, _, _ := lineFixture(t.Context(), Next)
	before := fmt.Sprintf("%+v", l.set.get())
	for line, want := range map[string]string{
		"dance":                `no command "dance"; try help`,
		"prefix":               "usage: prefix P",
		"prefix 2001:db8::":    `netip.ParsePrefix("2001:db8::"): no '/'`,
		"prefix 2001:db8::/96": "prefix 2001:db8::/96: an IPv6 prefix of length 40 to 64 with no bits set behind it is accepted",
		"ipv4 2001:db8::1":     "ipv4 2001:db8::1: an IPv4 unicast address is accepted",
		"ipv4 1 2":             "usage: ipv4 ADDR",
		"br 192.0.2.1":         "BR 192.0.2.1: a global IPv6 unicast address is accepted",
		"accept all":           "usage: accept",
		"silent":               "usage: silent ra|dhcp6|dhcp4|radius|all",
		"silent dns":           "usage: silent ra|dhcp6|dhcp4|radius|all",
		"reconfigure now":      "usage: reconfigure [renew|rebind|info] [unauth]",
		"reconfigure":          "dhcp6: no client was given anything yet",
		"ra-lifetime -1":       `"-1": a number of seconds from 0 to 4294967295 is accepted`,
		"ra-lifetime 70000":    "RA lifetime 19h26m40s: 0 to 65535 s are accepted",
		"lifetimes 5":          "usage: lifetimes PREFERRED VALID [T1 T2]",
		"lifetimes 9 9 8 7":    "T1 8s is later than T2 7s",
		"refuse Success":       "usage: refuse STATUS",
		"refuse":               "usage: refuse STATUS",
		"grant all":            "usage: grant",
		"lifetimes 5 4":        "preferred lifetime 5s is longer than the valid lifetime 4s",
		"drop-bindings":        "there is no lease",
		"quit now":             "usage: quit",
		"state all":            "usage: state",
	} {
		if got := l.try(t, line); got != "error: "+want {
			t.Errorf("%s: got %q\nwant %q", line, got, want)
		}
	}
	if diff := cmp.Diff(before, fmt.Sprintf("%+v", l.set.get())); diff != "" {
		t.Errorf("a failed command changed something:\n%s", diff)
	}
}

func TestCommandHelp(t *testing.T) {
	l, _, _, _ := lineFixture(t.Context(), Next)
	help := l.try(t, "help")
	for _, c := range commands() {
		if !strings.Contains(help, "  "+c.name) || c.help == "" {
			t.Errorf("%s is not explained", c.name)
		}
	}
}

// TestCommands: each one's effect, through the parts.
func TestCommands(t *testing.T) {
	l, k, _, _ := lineFixture(t.Context(), Next)
	do := func(lines ...string) {
		t.Helper()
		for _, line := range lines {
			if got := l.try(t, line); got != "" {
				t.Fatalf("%s: %s", line, got)
			}
		}
	}
	ask := func() string {
		return describe(l.dhcp.handle(dhcp(request, optClient, optServer, optElapsed, optPD), clientPeer))
	}
	auth := func() string { return outcome(t, l.radius.handle(nextRequest(), source), nextRequest()) }

	if got := auth(); got != "Access-Reject no prefix is delegated to this line yet" {
		t.Errorf("before a prefix: %s", got)
	}
	do("lifetimes 100 200")
	if got := ask(); !strings.Contains(got, "T1=50 T2=80\n    2001:db8:1234:5600::/56 100/200") {
		t.Errorf("lifetimes: %s", got)
	}
	do("lifetimes 100 200 60 90")
	if got := ask(); !strings.Contains(got, "T1=60 T2=90\n    2001:db8:1234:5600::/56 100/200") {
		t.Errorf("lifetimes with T1 and T2: %s", got)
	}
	do("refuse NotOnLink")
	if got := ask(); !strings.HasSuffix(got, "T1=0 T2=0\n    NotOnLink") {
		t.Errorf("refuse: %s", got)
	}
	do("grant", "silent dhcp6")
	if got := ask(); got != "(nothing)" {
		t.Errorf("silent dhcp6: %s", got)
	}
	do("speak all", "reject  not   today")
	if got := auth(); got != "Access-Reject not today" {
		t.Errorf("reject: %s", got)
	}
	do("reject")
	if got := auth(); got != "Access-Reject rejected by the operator" {
		t.Errorf("reject: %s", got)
	}
	do("accept", "ipv4 192.0.2.77", "br 2001:db8::77")
	if got := auth(); got != "Access-Accept" {
		t.Errorf("accept: %s", got)
	}
	if want := "tunnel 2001:db8::77 2001:db8:1234:5600:1111:1111:1111:1111 192.0.2.77"; k.log[len(k.log)-1] != want {
		t.Errorf("BR: %q, want %q", k.log[len(k.log)-1], want)
	}
	do("silent radius")
	if got := auth(); got != "(nothing)" {
		t.Errorf("silent radius: %s", got)
	}
	do("speak radius", "prefix 2001:db8:77::/56")
	if got := auth(); got != "Access-Accept" {
		t.Errorf("the old prefix is in use until the client renews: %s", got)
	}
	ask()
	if got := auth(); !strings.HasPrefix(got, "Access-Reject User-Name") {
		t.Errorf("the old name with the new prefix: %s", got)
	}
	do("reconfigure rebind unauth", "silent all", "phone refuse")
	if !l.set.get().RefusePhone {
		t.Error("phone refuse")
	}
	do("phone grant")
	if l.set.get().RefusePhone {
		t.Error("phone grant")
	}
	var state struct {
		Prefix, IPv4, BR string
		Silent           []string
		Lease            struct{ Prefix, Client, IAID, Via string }
		Tunnel           struct{ BR, CE, IPv4 string }
		Counters         map[string]int
		Wrong            []struct{ Text string }
	}
	mustNot(t, json.Unmarshal([]byte(l.try(t, "state")), &state))
	if state.Prefix != "2001:db8:77::/56" || state.IPv4 != "192.0.2.77" || strings.Join(state.Silent, " ") != "dhcp4 dhcp6 ra radius" ||
		state.Lease.Prefix != "2001:db8:77::/56" || state.Lease.Client != "DUID-LL 00:00:5e:00:53:01" || state.Lease.Via != clientAddr.String() ||
		state.Tunnel.CE != "2001:db8:1234:5600:1111:1111:1111:1111" || state.Counters["radius.accept"] != 2 || len(state.Wrong) == 0 {
		t.Errorf("state: %+v", state)
	}
	if text := l.try(t, "state"); strings.Contains(text, "\"pass\"") || strings.Contains(text, "shared") {
		t.Error("a secret in the state")
	}
	do("drop-bindings")
	if k.table() != "" {
		t.Errorf("routes: %s", k.table())
	}
	do("speak all", "fail-over")
	if got := ask(); got != "(nothing)" {
		t.Errorf("a Request for the server that failed: %s", got)
	}
	quits := 0
	l.quit = func() { quits++ }
	if do("quit"); quits != 1 {
		t.Error("quit does not")
	}
}

// TestCommandPrefixRA: an RA-only line's new /64 is routed and told at once.
func TestCommandPrefixRA(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		l, k, _, icmp := lineFixture(ctx, NextRA)
		go l.ra.run(ctx)
		synctest.Wait()
		if got := l.try(t, "prefix 2001:db8:77::/64"); got != "" {
			t.Fatal(got)
		}
		synctest.Wait()
		if diff := cmp.Diff([]string{"route 2001:db8:77::/64 via invalid IP", "unroute 2001:db8:1234:5600::/64"}, k.log); diff != "" {
			t.Errorf("kernel (-want +got):\n%s", diff)
		}
		if got := icmp.got(t); len(got) != 1 || !strings.Contains(got[0], "prefix=2001:db8:77::/64") || !strings.HasSuffix(got[0], "5600::/64 L=true A=true 0s/0s") {
			t.Errorf("told %q", got)
		}
		if got := l.try(t, "ra-lifetime 0"); got != "" {
			t.Fatal(got)
		}
		synctest.Wait()
		if got := icmp.got(t); len(got) != 1 || !strings.Contains(got[0], "life=0s") {
			t.Errorf("told %q", got)
		}
		cancel()
		synctest.Wait()
	})
}
