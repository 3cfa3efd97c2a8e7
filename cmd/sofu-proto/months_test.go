package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sofutobanku/internal/isp"
	"sofutobanku/internal/state"
)

// names are what a scenario calls the line's addresses.
var names = map[string]string{
	"A": "2001:db8:1234:5600::", "B": "2001:db8:b:bb00::", "C": "2001:db8:c:cc00::",
	"br1": "2001:db8:0:b::1919", "br2": "2001:db8:0:b::2999",
	"ip1": "192.0.2.1", "ip2": "192.0.2.77",
}

// farEnd is the tunnel's local end for a prefix and an IPv4 address of names, not valid
// for others.
func farEnd(kind isp.Kind, prefix, ipv4 string) netip.Addr {
	iid := "1111:1111:1111:1111"
	if kind == isp.Cross {
		iid = map[string]string{"ip1": "c0:2:100:0", "ip2": "c0:2:4d00:0"}[ipv4]
		if iid == "" {
			return netip.Addr{}
		}
	}
	return netip.MustParseAddr(strings.TrimSuffix(names[prefix], ":") + iid)
}

// nameOf is what a scenario calls an address, or the address itself.
func nameOf(a netip.Addr) string {
	for name, text := range names {
		if netip.MustParseAddr(text) == a {
			return name
		}
	}
	return a.String()
}

// render is a State at a moment as a scenario draws it, for example
//
//	up: A 4h, tunnel A ip1 br1, router
//
// for the prefix A which is valid for up to 4 hours from now, an IPv4-in-IPv6
// tunnel whose local end is the one for prefix A, with the IPv4 address ip1, to
// br1, and a default router.
func (w *world) render(st state.State, now time.Time) string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	prefix := prefixOf(st)
	if prefix.IsValid() {
		// Of an advertised one, the addresses that the line must have there tell.
		text := nameOf(prefix.Addr()) + " "
		if p := st.Prefix; p == nil {
			own := slices.IndexFunc(st.WAN.Addresses, func(a state.Address) bool { return a.NoDAD })
			text += class(st.WAN.Addresses[own].Valid, now)
		} else if text += class(p.Valid, now); p.Deprecated {
			text += " deprecated"
		}
		add("%s", text)
	}
	if t := st.Tunnel; t != nil {
		local, ipv4 := t.Local.String(), nameOf(t.IPv4)
		for _, name := range []string{"A", "B", "C"} {
			if farEnd(w.kind, name, ipv4) == t.Local {
				local = name
			}
		}
		add("tunnel %s %s %s", local, ipv4, nameOf(t.Remote))
	}
	if len(st.WAN.Routers) > 0 {
		add("router")
	}
	if st.Error != nil {
		add("%s", st.Error.Code)
	}
	return strings.TrimSpace(fmt.Sprintf("%s: %s", st.Phase, strings.Join(parts, ", ")))
}

// class is what is left of a lifetime, rounded up to hours, or days.
func class(until, now time.Time) string {
	up := func(unit time.Duration) int { return int((until.Sub(now) + unit - 1) / unit) }
	switch {
	case until.IsZero():
		return "for ever"
	case until.Sub(now) > 48*time.Hour:
		return fmt.Sprintf("%dd", up(24*time.Hour))
	}
	return fmt.Sprintf("%dh", up(time.Hour))
}

// do carries out a command of a scenario: one to the carrier, as sofu-isp ctl has
// them, or one to the router or the wire.
func (w *world) do(command string) { w.must(w.try(command)) }

// try is do, which may fail.
func (w *world) try(command string) error {
	w.record.note("DO %s", command)
	verb, args, _ := strings.Cut(command, " ")
	defer w.wait()
	if f := routerCommands[verb]; f != nil {
		return f(w, args)
	}
	for name, text := range names {
		if args == name {
			args = text
		}
	}
	if verb == "prefix" {
		args += map[bool]string{true: "/64", false: "/56"}[w.kind == isp.NextRA]
	}
	return w.line.Command(context.Background(), verb+" "+args, io.Discard)
}

// routerCommands are the commands to the router and the wire.
var routerCommands = map[string]func(w *world, args string) error{
	"link":    func(w *world, args string) error { w.setLink(args != "gone", args == "up"); return nil },
	"start":   func(w *world, _ string) error { w.start(); return nil },
	"stop":    func(w *world, _ string) error { w.stop(); return nil },
	"crash":   func(w *world, _ string) error { return w.crash() },
	"renew":   func(w *world, _ string) error { w.daemon.Renew(); return nil },
	"restart": func(w *world, _ string) error { w.daemon.Restart(); return nil },
	// The host behind the BR does not answer.
	"no-echo": func(w *world, _ string) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.noEcho = true
		return nil
	},
	// How the wall clock is set, while no daemon runs.
	"clock": func(w *world, args string) error {
		d, err := time.ParseDuration(args)
		if err != nil {
			return err
		}
		return w.setClock(d)
	},
	// How much later RADIUS answers.
	"slow-radius": func(w *world, args string) (err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.radius, err = time.ParseDuration(args)
		return err
	},
	// Which part of the packets is lost, doubled, or late.
	"noise": func(w *world, args string) (err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.noise, err = strconv.ParseFloat(args, 64)
		return err
	},
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// setClock sets the router's wall clock by d. Virtual time has only one clock, so
// what was written by the wall clock, which is the lease, is set back instead.
func (w *world) setClock(d time.Duration) error {
	b, err := os.ReadFile(w.leaseFile())
	if err != nil {
		return err
	}
	const quoted = `"` + time.RFC3339Nano + `"`
	b = regexp.MustCompile(`"\d{4}-\d\d-\d\dT[^"]*"`).ReplaceAllFunc(b, func(m []byte) []byte {
		at, err := time.Parse(quoted, string(m))
		w.must(err)
		return []byte(at.Add(-d).Format(quoted))
	})
	return os.WriteFile(w.leaseFile(), b, 0o600)
}

// live lets time pass.
func (w *world) live(d time.Duration) {
	time.Sleep(d)
	w.wait()
}

// The lines a scenario is for.
var (
	allLines   = []isp.Kind{isp.Next, isp.Cross, isp.NextRA}
	delegated  = []isp.Kind{isp.Next, isp.Cross}
	advertised = []isp.Kind{isp.NextRA}
)

// step is something that happens, the time that passes then, and the State after.
type step struct {
	do   string // commands of world.do, separated by semicolons
	wait time.Duration
	want string // as world.render draws it, ?h standing for any lifetime
}

const (
	second = time.Second
	minute = time.Minute
	hour   = time.Hour
	day    = 24 * hour
)

// Each scenario begins with a line that came up a minute ago: its lease was
// renewed then, its authentication too.
var scenarios = []struct {
	name  string
	lines []isp.Kind
	steps []step
}{
	{"the server is silent, and back before the prefix ends", delegated, []step{
		{"silent dhcp6", 2*hour + 30*minute, "up: A 2h, tunnel A ip1 br1, router"}, // after T1
		{"", 40 * minute, "up: A 1h, tunnel A ip1 br1, router"},                    // after T2
		{"", 25 * minute, "up: A 1h deprecated, tunnel A ip1 br1, router"},
		{"speak dhcp6", 11 * minute, "up: A 4h, tunnel A ip1 br1, router"},
	}},
	{"the server is silent for ten hours", delegated, []step{
		{"silent dhcp6", 3*hour + 50*minute, "up: A 1h deprecated, tunnel A ip1 br1, router"},
		{"", 10 * minute, "starting: router, NO_PREFIX"},
		{"", 6 * hour, "starting: router, NO_PREFIX"},
		{"speak dhcp6", 67 * minute, "up: A ?h, tunnel A ip1 br1, router"},
	}},
	{"another server takes over", delegated, []step{
		{"fail-over", 2*hour + 30*minute, "up: A 2h, tunnel A ip1 br1, router"}, // Renew is not answered
		{"", 35 * minute, "up: A 4h, tunnel A ip1 br1, router"},                 // Rebind is
		{"", 2 * day, "up: A 4h, tunnel A ip1 br1, router"},
	}},
	{"the binding is lost", delegated, []step{
		{"drop-bindings", hour, "up: A 3h, tunnel A ip1 br1, router"},
		{"", hour + minute, "up: A 4h, tunnel A ip1 br1, router"},
		{"drop-bindings; prefix B", hour, "up: A 3h, tunnel A ip1 br1, router"},
		{"", hour + minute, "up: B 4h, tunnel B ip1 br1, router"},
	}},
	{"the binding is lost, and RADIUS knows", delegated, []step{
		{"lifetimes 2592000 2592000; reconfigure renew", second, "up: A 30d, tunnel A ip1 br1, router"}, // T1 is after 15 days
		{"silent dhcp6; drop-bindings; prefix B", 27 * hour, "up: A 29d, tunnel A ip1 br1, router, AUTH_REJECTED"},
		{"speak dhcp6", 67 * minute, "up: B 30d, tunnel B ip1 br1, router"},
	}},
	{"there is no prefix for a day", delegated, []step{
		{"refuse NoPrefixAvail", 2*hour + 10*minute, "up: A 2h, tunnel A ip1 br1, router"},
		{"", hour + 30*minute, "up: A 1h deprecated, tunnel A ip1 br1, router"},
		{"", day, "starting: router, NO_PREFIX"},
		{"grant", 67 * minute, "up: A ?h, tunnel A ip1 br1, router"},
	}},
	{"the server fails", delegated, []step{
		{"refuse UnspecFail", 2*hour + 10*minute, "up: A 2h, tunnel A ip1 br1, router"},
		{"grant", 11 * minute, "up: A 4h, tunnel A ip1 br1, router"},
	}},
	{"the server wants what it already has", delegated, []step{
		{"refuse UseMulticast", 2*hour + 10*minute, "up: A 2h, tunnel A ip1 br1, router"},
		{"", 2 * hour, "starting: router, NO_PREFIX"},
		{"grant", 67 * minute, "up: A ?h, tunnel A ip1 br1, router"},
	}},
	{"the prefix is not on this link", delegated, []step{
		{"refuse NotOnLink", hour, "up: A 3h, tunnel A ip1 br1, router"},
		{"", hour + minute, "starting: router, NO_PREFIX"},
		{"grant", 67 * minute, "up: A ?h, tunnel A ip1 br1, router"},
	}},
	{"nobody knows the binding, nor takes a new one", delegated, []step{
		{"refuse NoBinding", 2*hour + minute, "starting: router, NO_PREFIX"},
		{"grant", 67 * minute, "up: A ?h, tunnel A ip1 br1, router"},
	}},
	{"short lifetimes", delegated, []step{
		{"lifetimes 600 1200; reconfigure renew", minute, "up: A 1h, tunnel A ip1 br1, router"},
		{"", day, "up: A 1h, tunnel A ip1 br1, router"},
		{"silent dhcp6", 11 * minute, "up: A 1h deprecated, tunnel A ip1 br1, router"},
		{"", 10 * minute, "starting: router, NO_PREFIX"},
		{"lifetimes 12600 14400 7200 10800; speak dhcp6", 21 * minute, "up: A 4h, tunnel A ip1 br1, router"},
	}},
	{"lifetimes of zero", delegated, []step{
		{"lifetimes 0 0; reconfigure renew", minute, "starting: router, NO_PREFIX"},
		{"", day, "starting: router, NO_PREFIX"},
		{"lifetimes 12600 14400 7200 10800", 67 * minute, "up: A ?h, tunnel A ip1 br1, router"},
	}},
	{"deprecated from the start", delegated, []step{
		{"lifetimes 0 14400; reconfigure renew", minute, "up: A 4h deprecated, tunnel A ip1 br1, router"},
		{"lifetimes 12600 14400 7200 10800; reconfigure renew", minute, "up: A 4h, tunnel A ip1 br1, router"},
	}},
	{"leases of 30 days", delegated, []step{
		{"lifetimes 2592000 2592000; reconfigure renew", minute, "up: A 30d, tunnel A ip1 br1, router"},
		{"", 14 * day, "up: A 16d, tunnel A ip1 br1, router"},
		{"", 6 * day, "up: A 25d, tunnel A ip1 br1, router"},
		{"silent dhcp6", 24*day + 23*hour, "up: A 1h, tunnel A ip1 br1, router"},
		{"", 2 * hour, "starting: router, NO_PREFIX"},
		{"speak dhcp6", 67 * minute, "up: A 30d, tunnel A ip1 br1, router"},
	}},
	{"leases that never end", delegated, []step{
		{"lifetimes 4294967295 4294967295; reconfigure renew", minute, "up: A for ever, tunnel A ip1 br1, router"},
		{"silent dhcp6", 10 * day, "up: A for ever, tunnel A ip1 br1, router"},
		{"speak dhcp6; prefix B; reconfigure rebind", minute, "up: B for ever, tunnel B ip1 br1, router"},
	}},
	{"a new prefix at T1", delegated, []step{
		{"prefix B", hour, "up: A 3h, tunnel A ip1 br1, router"},
		{"", hour + minute, "up: B 4h, tunnel B ip1 br1, router"},
	}},
	{"a new prefix at T2", delegated, []step{
		{"fail-over; prefix B", 2*hour + 30*minute, "up: A 2h, tunnel A ip1 br1, router"},
		{"", 35 * minute, "up: B 4h, tunnel B ip1 br1, router"},
	}},
	{"a new prefix after the old one ended", delegated, []step{
		{"silent dhcp6; prefix B", 5 * hour, "starting: router, NO_PREFIX"},
		{"speak dhcp6", 67 * minute, "up: B ?h, tunnel B ip1 br1, router"},
	}},
	{"a new prefix at once", delegated, []step{
		{"prefix B; reconfigure renew", minute, "up: B 4h, tunnel B ip1 br1, router"},
		{"prefix C; reconfigure rebind", minute, "up: C 4h, tunnel C ip1 br1, router"},
		{"prefix A; reconfigure renew", minute, "up: A 4h, tunnel A ip1 br1, router"},
	}},
	{"a new prefix while RADIUS is asked", delegated, []step{
		{"slow-radius 3s; renew", second, "up: A 4h, tunnel A ip1 br1, router"},
		{"slow-radius 0s; ipv4 ip2; prefix B; reconfigure renew", second, "up: B 4h, tunnel B ip2 br1, router"},
		{"", minute, "up: B 4h, tunnel B ip2 br1, router"}, // the Accept for A came after 2 s
	}},
	{"a new prefix while RADIUS rejects the old one", delegated, []step{
		{"slow-radius 3s; reject; renew", second, "up: A 4h, tunnel A ip1 br1, router"},
		{"slow-radius 0s; accept; prefix B; reconfigure renew", second, "up: B 4h, tunnel B ip1 br1, router"},
		{"", minute, "up: B 4h, tunnel B ip1 br1, router"},
	}},
	{"a new prefix that RADIUS rejects", delegated, []step{
		{"reject; prefix B; reconfigure renew", minute, "ipv6: B 4h, router, AUTH_REJECTED"},
		{"accept", 67 * minute, "up: B ?h, tunnel B ip1 br1, router"},
	}},
	{"a new prefix while RADIUS is silent", delegated, []step{
		// The old tunnel stays until its successor is refused.
		{"silent radius; prefix B; reconfigure renew", 20 * second, "ipv6: B 4h, tunnel A ip1 br1, router"},
		{"", minute, "ipv6: B 4h, router, AUTH_SILENT"},
		{"speak radius", 10 * minute, "up: B 4h, tunnel B ip1 br1, router"},
	}},

	{"a new /64", advertised, []step{
		{"prefix B", minute, "up: B 4h, tunnel B ip1 br1, router"},
		{"", 3 * day, "up: B 4h, tunnel B ip1 br1, router"},
		{"prefix A", minute, "up: A 4h, tunnel A ip1 br1, router"},
	}},
	{"a new /64 while RADIUS is asked", advertised, []step{
		{"slow-radius 3s; renew", second, "up: A 4h, tunnel A ip1 br1, router"},
		{"slow-radius 0s; ipv4 ip2; prefix B", second, "up: B 4h, tunnel B ip2 br1, router"},
		{"", minute, "up: B 4h, tunnel B ip2 br1, router"},
	}},
	{"a new /64 that RADIUS rejects", advertised, []step{
		{"reject; prefix B", minute, "ipv6: B 4h, router, AUTH_REJECTED"},
		{"accept", 67 * minute, "up: B 4h, tunnel B ip1 br1, router"},
	}},
	{"short lifetimes of the /64", advertised, []step{
		// Nobody takes an address away in less than two hours (RFC 4862 5.5.3 e).
		{"lifetimes 1800 3600", minute, "up: A 2h, tunnel A ip1 br1, router"},
		{"", day, "up: A 1h, tunnel A ip1 br1, router"},
		{"silent ra", 31 * minute, "starting: NO_PREFIX"}, // deprecated; by DHCPv6 there is none either
		{"speak ra", 11 * minute, "up: A 1h, tunnel A ip1 br1, router"},
		{"lifetimes 0 0", minute, "starting: router, NO_PREFIX"},
		{"lifetimes 12600 14400", minute, "up: A 4h, tunnel A ip1 br1, router"},
	}},
	{"a /64 of 30 days", advertised, []step{
		{"lifetimes 604800 2592000", day, "up: A 30d, tunnel A ip1 br1, router"},
		{"silent ra", 6 * day, "up: A 24d, tunnel A ip1 br1, NO_RA"},
		{"", 2 * day, "starting: NO_PREFIX"}, // deprecated
		{"speak ra", 11 * minute, "up: A 30d, tunnel A ip1 br1, router"},
	}},
	{"the server of the information is silent", advertised, []step{
		{"silent dhcp6", 3 * day, "up: A 4h, tunnel A ip1 br1, router"},
		{"speak dhcp6", day, "up: A 4h, tunnel A ip1 br1, router"},
	}},

	{"RADIUS is silent for a day", allLines, []step{
		{"silent radius", 30*hour + 30*minute, "up: A ?h, tunnel A ip1 br1, router, AUTH_SILENT"},
		{"speak radius", 90 * minute, "up: A ?h, tunnel A ip1 br1, router"},
	}},
	{"RADIUS is silent from the start", allLines, []step{
		{"stop; silent radius; start", 20 * second, "ipv6: A 4h, router"},
		{"", 15 * second, "ipv6: A 4h, router, AUTH_SILENT"},
		{"", 24*hour + 30*minute, "ipv6: A ?h, router, AUTH_SILENT"},
		{"speak radius", 90 * minute, "up: A ?h, tunnel A ip1 br1, router"},
	}},
	{"RADIUS rejects for a day", allLines, []step{
		{"reject", 30*hour + 30*minute, "up: A ?h, tunnel A ip1 br1, router, AUTH_REJECTED"},
		{"accept", 90 * minute, "up: A ?h, tunnel A ip1 br1, router"},
	}},
	{"RADIUS rejects from the start", allLines, []step{
		{"stop; reject; start", minute, "ipv6: A ?h, router, AUTH_REJECTED"},
		{"", 24*hour + 30*minute, "ipv6: A ?h, router, AUTH_REJECTED"},
		{"accept", 90 * minute, "up: A ?h, tunnel A ip1 br1, router"},
	}},
	{"another BR, another IPv4 address", allLines, []step{
		{"br br2", 28*hour + 30*minute, "up: A 4h, tunnel A ip1 br2, router"},
		{"ipv4 ip2", 28 * hour, "up: A 4h, tunnel A ip2 br2, router"},
		{"ipv4 ip1; br br1; renew", second, "up: A 4h, tunnel A ip1 br1, router"},
	}},

	{"the router falls silent", delegated, []step{
		{"silent ra", 35 * minute, "up: A 4h, tunnel A ip1 br1, NO_RA"},
		{"", 30*hour + 30*minute, "up: A 3h, tunnel A ip1 br1, NO_RA"},
		{"speak ra", 11 * minute, "up: A 3h, tunnel A ip1 br1, router"},
		{"ra-lifetime 0", minute, "up: A 3h, tunnel A ip1 br1, NO_RA"},
		{"ra-lifetime 1800", minute, "up: A 3h, tunnel A ip1 br1, router"},
	}},
	{"the router of a /64 falls silent", advertised, []step{
		{"silent ra", 35 * minute, "up: A 4h, tunnel A ip1 br1, NO_RA"},
		{"", 2 * hour, "up: A 2h, tunnel A ip1 br1, NO_RA"},
		{"", 2 * day, "starting: NO_PREFIX"},
		{"speak ra", 11 * minute, "up: A 4h, tunnel A ip1 br1, router"},
		{"ra-lifetime 0", minute, "up: A 4h, tunnel A ip1 br1, NO_RA"},
		{"ra-lifetime 1800", minute, "up: A 4h, tunnel A ip1 br1, router"},
	}},
	{"nobody answers after a restart of the router", delegated, []step{
		{"stop; silent all; start", 8 * second, "ipv6: A 4h"},
		{"", 5 * second, "ipv6: A 4h, NO_RA"},
		{"", 4 * hour, "starting: NO_RA"},
		{"speak all", 67 * minute, "up: A ?h, tunnel A ip1 br1, router"},
	}},
	{"the link is lost", allLines, []step{
		{"link down", minute, "down: A 4h, tunnel A ip1 br1, router, NO_CARRIER"},
		{"", hour, "down: A 3h, tunnel A ip1 br1, NO_CARRIER"},
		{"link up", second, "up: A 4h, tunnel A ip1 br1, router"},
		{"link down", 5 * hour, "down: NO_CARRIER"},
		{"link up", second, "up: A 4h, tunnel A ip1 br1, router"},
		{"link down; prefix B", hour, "down: A 3h, tunnel A ip1 br1, NO_CARRIER"},
		{"link up", 3 * second, "up: B 4h, tunnel B ip1 br1, router"},
		{"link gone", minute, "down: B 4h, tunnel B ip1 br1, router, NO_DEVICE"},
		{"link up", second, "up: B 4h, tunnel B ip1 br1, router"},
	}},
	{"renew and restart", allLines, []step{
		{"renew", second, "up: A 4h, tunnel A ip1 br1, router"},
		{"restart", second, "up: A 4h, tunnel A ip1 br1, router"},
		{"prefix B; br br2; ipv4 ip2; renew", second, "up: B 4h, tunnel B ip2 br2, router"},
		{"silent all; restart", 15 * second, "starting: NO_RA"},
		{"speak all", 67 * minute, "up: B ?h, tunnel B ip2 br2, router"},
	}},
	{"the daemon is started anew, and killed", allLines, []step{
		{"stop; start", second, "up: A 4h, tunnel A ip1 br1, router"},
		{"crash; start", second, "up: A 4h, tunnel A ip1 br1, router"},
		{"stop; prefix B; start", 3 * second, "up: B 4h, tunnel B ip1 br1, router"},
		{"crash; prefix A; start", 3 * second, "up: A 4h, tunnel A ip1 br1, router"},
	}},
	{"the binding is lost while the daemon is away", delegated, []step{
		// RADIUS is asked before the server has the binding again, and once more.
		{"crash; drop-bindings; start", 7 * second, "up: A 4h, tunnel A ip1 br1, router"},
	}},

	// The clock is set while the daemon is away, and the lease is read by it.
	{"the clock goes forward", delegated, []step{
		{"", 9 * minute, "up: A 4h, tunnel A ip1 br1, router"},
		{"silent dhcp6; stop; clock 1h; start", second, "up: A 3h, tunnel A ip1 br1, router"},
		{"stop; clock 5h; start", second, "starting: router"}, // over, as far as anybody knows
		{"speak dhcp6", 20 * second, "up: A 4h, tunnel A ip1 br1, router"},
	}},
	{"the clock goes back", delegated, []step{
		{"", 99 * minute, "up: A 3h, tunnel A ip1 br1, router"},
		{"silent dhcp6; crash; clock -1h; start", second, "up: A 4h, tunnel A ip1 br1, router"}, // looks younger
		{"crash; clock -26280h; start", second, "up: A 1h, tunnel A ip1 br1, router"},           // written in the future
		{"", 11 * minute, "starting: router, NO_PREFIX"},                                        // of unknown age: not for long
		{"speak dhcp6", 21 * minute, "up: A 4h, tunnel A ip1 br1, router"},
		{"stop; clock -26280h; start", second, "up: A 4h, tunnel A ip1 br1, router"},
	}},
}

func TestMonths(t *testing.T) {
	for _, tt := range scenarios {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, kind := range tt.lines {
				t.Run(string(kind), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						w := newWorld(t, kind, 1, "", nil)
						w.do("start")
						w.do("link up")
						w.steps([]step{{"", time.Minute, "up: A 4h, tunnel A ip1 br1, router"}})
						w.steps(tt.steps)
					})
				})
			}
		})
	}
}

// steps lives through steps.
func (w *world) steps(steps []step) {
	w.t.Helper()
	for _, s := range steps {
		if s.do != "" {
			for command := range strings.SplitSeq(s.do, "; ") {
				w.do(command)
			}
		}
		w.live(s.wait)
		got := w.render(w.applied(), time.Now())
		if strings.Contains(s.want, "?h") {
			got = regexp.MustCompile(`\d+[hd]`).ReplaceAllString(got, "?h")
		}
		if got != s.want {
			w.t.Errorf("%q, %v later:\n got %s\nwant %s", s.do, s.wait, got, s.want)
		}
	}
}

// The wall clock of a running router may be set at any moment, by NTP above all. So
// whatever ends in a State does so by the monotonic clock. It is looked for in real
// time, as a bubble's has none.
func TestTheWallClockMayBeSet(t *testing.T) {
	for _, kind := range []isp.Kind{isp.Next, isp.NextRA} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			w := newWorldOf(t, kind, 1, "", nil, func() { time.Sleep(10 * time.Millisecond) })
			look := func(phase state.Phase) {
				t.Helper()
				for end := time.Now().Add(10 * time.Second); w.applied().Phase != phase; time.Sleep(time.Millisecond) {
					if time.Now().After(end) {
						t.Fatalf("not %s after 10 s: %s", phase, w.render(w.applied(), time.Now()))
					}
				}
				n := 0
				moments(w.applied(), func(what any, until time.Time) {
					if n++; until == until.Round(0) {
						t.Errorf("%v ends by the wall clock", what)
					}
				})
				if n == 0 {
					t.Error("nothing ever ends")
				}
			}
			w.do("start")
			w.do("link up")
			look(state.Up)
			w.do("stop")
			w.do("silent dhcp6")
			w.do("silent radius")
			w.do("start")
			look(state.IPv6) // on a lease from the file, or an advertised prefix
		})
	}
}
