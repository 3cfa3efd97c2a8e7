package isp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
)

// command is one word of the control socket.
type command struct {
	name, args, help string
	run              func(l *Line, args []string, w io.Writer) error
}

// silences are the parts that can be told to be silent.
var silences = []struct {
	name  string
	field func(*Config) *bool
}{
	{"ra", func(c *Config) *bool { return &c.SilentRA }},
	{"dhcp6", func(c *Config) *bool { return &c.SilentDHCP }},
	{"dhcp4", func(c *Config) *bool { return &c.SilentPhone }},
	{"radius", func(c *Config) *bool { return &c.SilentRADIUS }},
}

// errUsage: the arguments do not fit the command.
var errUsage = errors.New("usage")

// commands are what the control socket understands.
func commands() []command {
	return []command{
		{"state", "", "print everything as JSON: leases, what was asked, what was wrong", func(l *Line, args []string, w io.Writer) error {
			if len(args) != 0 {
				return errUsage
			}
			enc := json.NewEncoder(w)
			enc.SetIndent("", "  ")
			return enc.Encode(l.State())
		}},
		{"prefix", "P", "the line has prefix P from now on; a lease learns it when it is renewed (see reconfigure), an RA-only line at once", (*Line).cmdPrefix},
		{"ipv4", "ADDR", "the next Access-Accept grants this IPv4 address", one(func(l *Line, s string) error {
			a, err := netip.ParseAddr(s)
			if err != nil {
				return err
			}
			return l.set.change(func(c *Config) { c.IPv4 = a })
		})},
		{"br", "ADDR", "the next Access-Accept names this BR", one(func(l *Line, s string) error {
			a, err := netip.ParseAddr(s)
			if err != nil {
				return err
			}
			if err := l.set.change(func(c *Config) { c.BR = a }); err != nil {
				return err
			}
			return l.br.prepare(a)
		})},
		{"reject", "[MESSAGE]", "reject every Access-Request, with this Reply-Message", func(l *Line, args []string, _ io.Writer) error {
			text := strings.Join(args, " ")
			if text == "" {
				text = "rejected by the operator"
			}
			return l.set.change(func(c *Config) { c.Reject = text })
		}},
		{"accept", "", "end of reject", none(func(l *Line) error {
			return l.set.change(func(c *Config) { c.Reject = "" })
		})},
		{"silent", "ra|dhcp6|dhcp4|radius|all", "answer nothing", one(func(l *Line, s string) error { return l.silence(s, true) })},
		{"speak", "ra|dhcp6|dhcp4|radius|all", "end of silent", one(func(l *Line, s string) error { return l.silence(s, false) })},
		{"reconfigure", "[renew|rebind|info] [unauth]", "send a Reconfigure (RFC 8415 18.3.11) to the last client, without authentication on unauth", (*Line).cmdReconfigure},
		{"ra-lifetime", "SECONDS", "the router lifetime of RAs, told at once; 0: no default router any more", one(func(l *Line, s string) error {
			d, err := parseSeconds(s)
			if err != nil {
				return err
			}
			if err := l.set.change(func(c *Config) { c.RALifetime = d }); err != nil {
				return err
			}
			l.ra.advertise()
			return nil
		})},
		{"lifetimes", "PREFERRED VALID [T1 T2]", "times in seconds from the next Reply (or RA) on; T1 and T2 become 0.5 and 0.8 of PREFERRED by themselves", (*Line).cmdLifetimes},
		{"refuse", "STATUS", "give no prefix but this: " + strings.Trim(fmt.Sprint(refusals), "[]"), one((*Line).cmdRefuse)},
		{"grant", "", "end of refuse", none(func(l *Line) error {
			return l.set.change(func(c *Config) { c.Refuse = iana.StatusSuccess })
		})},
		{"phone", "refuse|grant", "give no address in the telephone network, and take back the one that is given; or give one", one(func(l *Line, s string) error {
			if s != "refuse" && s != "grant" {
				return errUsage
			}
			return l.set.change(func(c *Config) { c.RefusePhone = s == "refuse" })
		})},
		{"fail-over", "", "another DHCPv6 server has the same leases from now on", none(func(l *Line) error {
			l.dhcp.failOver()
			return nil
		})},
		{"drop-bindings", "", "forget the lease and its route; the client learns it by NoBinding", none(func(l *Line) error {
			if !l.dhcp.forget() {
				return errors.New("there is no lease")
			}
			return nil
		})},
		{"quit", "", "remove everything and end", none(func(l *Line) error {
			l.quit()
			return nil
		})},
	}
}

// none makes a command without arguments.
func none(f func(*Line) error) func(*Line, []string, io.Writer) error {
	return func(l *Line, args []string, _ io.Writer) error {
		if len(args) != 0 {
			return errUsage
		}
		return f(l)
	}
}

// one makes a command with one argument.
func one(f func(*Line, string) error) func(*Line, []string, io.Writer) error {
	return func(l *Line, args []string, _ io.Writer) error {
		if len(args) != 1 {
			return errUsage
		}
		return f(l, args[0])
	}
}

// CommandHelp lists the commands for people.
func CommandHelp() string {
	var b strings.Builder
	for _, c := range commands() {
		fmt.Fprintf(&b, "  %-42s %s\n", strings.TrimSpace(c.name+" "+c.args), c.help)
	}
	fmt.Fprintf(&b, "  %-42s %s\n", "help", "this list")
	return b.String()
}

// Command runs one line of the control socket; it is a control.Handler.
func (l *Line) Command(_ context.Context, line string, w io.Writer) error {
	words := strings.Fields(line)
	if len(words) == 0 || words[0] == "help" {
		_, err := io.WriteString(w, CommandHelp())
		return err
	}
	for _, c := range commands() {
		if c.name != words[0] {
			continue
		}
		err := c.run(l, words[1:], w)
		if errors.Is(err, errUsage) {
			return fmt.Errorf("usage: %s", strings.TrimSpace(c.name+" "+c.args))
		}
		if err == nil && c.name != "state" {
			l.j.say(partLine, "command", "%s", quote([]byte(strings.Join(words, " "))))
		}
		return err
	}
	return fmt.Errorf("no command %q; try help", words[0])
}

func (l *Line) cmdPrefix(args []string, _ io.Writer) error {
	if len(args) != 1 {
		return errUsage
	}
	p, err := netip.ParsePrefix(args[0])
	if err != nil {
		return err
	}
	old := l.set.get()
	if err := l.set.change(func(c *Config) { c.Prefix = p }); err != nil {
		return err
	}
	if old.Kind != NextRA || old.Prefix == p {
		return nil
	}
	if err := l.kernel.Route(p, netip.Addr{}); err != nil {
		return err
	}
	if err := l.kernel.Unroute(old.Prefix); err != nil {
		return err
	}
	l.ra.withdraw(l.ctx, old.Prefix)
	return nil
}

func (l *Line) silence(what string, on bool) error {
	found := false
	err := l.set.change(func(c *Config) {
		for _, p := range silences {
			if what == p.name || what == "all" {
				*p.field(c) = on
				found = true
			}
		}
	})
	if err == nil && !found {
		return errUsage
	}
	return err
}

func (l *Line) cmdReconfigure(args []string, _ io.Writer) error {
	what, unauth := dhcpv6.MessageTypeRenew, false
	if l.set.get().Kind == NextRA { // nothing to renew there
		what = dhcpv6.MessageTypeInformationRequest
	}
	for _, a := range args {
		switch a {
		case "renew":
			what = dhcpv6.MessageTypeRenew
		case "rebind":
			what = dhcpv6.MessageTypeRebind
		case "info":
			what = dhcpv6.MessageTypeInformationRequest
		case "unauth":
			unauth = true
		default:
			return errUsage
		}
	}
	return l.dhcp.reconfigure(what, unauth)
}

// refusals are the status codes with which a server can refuse a prefix.
var refusals = []iana.StatusCode{
	iana.StatusUnspecFail, iana.StatusNoBinding, iana.StatusNotOnLink, iana.StatusUseMulticast, iana.StatusNoPrefixAvail,
}

func (l *Line) cmdRefuse(name string) error {
	for _, code := range refusals {
		if code.String() == name {
			return l.set.change(func(c *Config) { c.Refuse = code })
		}
	}
	return errUsage
}

func (l *Line) cmdLifetimes(args []string, _ io.Writer) error {
	if len(args) != 2 && len(args) != 4 {
		return errUsage
	}
	var times [4]time.Duration
	for i, s := range args {
		var err error
		if times[i], err = parseSeconds(s); err != nil {
			return err
		}
	}
	preferred, valid, t1, t2 := times[0], times[1], times[2], times[3]
	switch {
	case len(args) == 4:
	case preferred == infinite:
		t1, t2 = infinite, infinite
	default:
		t1, t2 = preferred/2, preferred/5*4
	}
	err := l.set.change(func(c *Config) { c.Preferred, c.Valid, c.T1, c.T2 = preferred, valid, t1, t2 })
	if err == nil && l.set.get().Kind == NextRA {
		l.ra.advertise()
	}
	return err
}

func parseSeconds(s string) (time.Duration, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%q: a number of seconds from 0 to 4294967295 is accepted", s)
	}
	return time.Duration(n) * time.Second, nil
}
