package status

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"sofutobanku/internal/state"
)

// SGR sequences of ECMA-48, used only where the caller says that a person's
// terminal reads them.
const (
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	red    = "\x1b[31m"
	reset  = "\x1b[0m"
)

// WriteText writes s for a person. now is the reader's clock, for how long s is
// what it is; colour is for a terminal.
func (s Status) WriteText(w io.Writer, now time.Time, colour bool) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(t, "  %s\t%s\n", name, Printable(fmt.Sprintf(format, args...)))
	}
	fmt.Fprintf(t, "%s: %s for %s\n", Printable(s.Interface), s.paint(colour), ForPeople(now.Sub(s.Since)))
	if s.Error != nil {
		row("error", "%s: %s", s.Error.Code, s.Error.Text)
	}
	row("device", "%s%s", s.WAN.Device, ifSet(", link MTU %v", s.WAN.MTU))
	for _, a := range s.WAN.Addresses {
		row("address", "%s (%s)", a.Address, lifetimes(a.Preferred, a.Valid))
	}
	for _, r := range s.WAN.Routers {
		row("router", "%s (%s)", r.Address, lasting(r.Valid))
	}
	if p := s.Prefix; p != nil {
		row("prefix", "%s (%s)", p.Prefix, lifetimes(p.Preferred, p.Valid))
	}
	if u := s.Tunnel; u != nil {
		row("tunnel", "%s, MTU %d: %s to BR %s", u.Device, u.MTU, u.Local, u.Remote)
		row("IPv4", "%s%s", u.IPv4, echo(u.EchoMS))
	}
	if a := s.Auth; a != nil {
		row("auth", "%s answered in %.1f ms", a.Server, a.RTTMS)
	}
	if p := s.Phone; p != nil {
		row("phone", "%s%s", strings.Join(p.Numbers, ", "), ifSet(" at %v", p.Domain))
		if p.Address != nil {
			row("", "%v, SIP %s, DSCP %d", p.Address, strings.Join(texts(p.SIP4), ", "), p.DSCP)
		}
		if p.Error != nil {
			row("phone error", "%s: %s", p.Error.Code, p.Error.Text)
		}
	}
	if h := s.HGW; h != nil {
		row("HGW", "%s on %s%s", cmp.Or(h.MAC, "not seen yet"), h.Device, seen(h.LastSeen))
		if h.Prefix != nil {
			row("", "%s (%s) via %s", h.Prefix, lasting(h.Valid), h.LinkLocal)
		}
		if h.Address != nil {
			row("", "%s", h.Address)
		}
		row("", "IPv4 by %s", cmp.Or(h.Forwarding, "nothing"))
		if h.Error != nil {
			row("", "error %s: %s", h.Error.Code, h.Error.Text)
		}
	}
	for _, list := range []struct {
		name   string
		values []string
	}{{"DNS", texts(s.WAN.DNS)}, {"domains", s.WAN.Domains}, {"NTP", texts(s.WAN.NTP)}} {
		if len(list.values) > 0 {
			row(list.name, "%s", strings.Join(list.values, ", "))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Counters)) {
		if strings.Contains(name, ".drop.") {
			row("dropped", "%s: %d", name, s.Counters[name])
		}
	}
	return t.Flush()
}

func (s Status) paint(colour bool) string {
	text := Printable(string(s.State))
	if !colour {
		return text
	}
	c := yellow
	switch s.State {
	case state.Up:
		c = green
	case state.Down:
		c = red
	}
	return c + text + reset
}

// Line is the event as one line of a timeline.
func (e Event) Line() string {
	return strings.TrimRight(fmt.Sprintf("%9.1f ms  %-22s %s", e.MS, Printable(e.Name), Printable(e.Detail)), " ")
}

// ForPeople is d in its two largest units.
func ForPeople(d time.Duration) string {
	d = max(0, d)
	for _, u := range []struct {
		big, small         time.Duration
		bigName, smallName string
	}{{24 * time.Hour, time.Hour, "d", "h"}, {time.Hour, time.Minute, "h", "min"}, {time.Minute, time.Second, "min", "s"}} {
		if d >= u.big {
			return fmt.Sprintf("%d %s %d %s", d/u.big, u.bigName, d%u.big/u.small, u.smallName)
		}
	}
	return fmt.Sprintf("%d s", d/time.Second)
}

func lasting(l Lifetime) string {
	if l == nil {
		return "for ever"
	}
	return ForPeople(time.Duration(*l)*time.Second) + " left"
}

func seen(ago Lifetime) string {
	if ago == nil {
		return ""
	}
	return ", last seen " + ForPeople(time.Duration(*ago)*time.Second) + " ago"
}

func lifetimes(preferred, valid Lifetime) string {
	if preferred != nil && *preferred == 0 {
		return "deprecated, " + lasting(valid)
	}
	return lasting(valid)
}

func echo(ms *float64) string {
	if ms == nil {
		return ""
	}
	return fmt.Sprintf(", echo through the tunnel in %.1f ms", *ms)
}

// Printable keeps what the network said from steering the reader's terminal.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

func ifSet[T comparable](format string, v T) string {
	var zero T
	if v == zero {
		return ""
	}
	return fmt.Sprintf(format, v)
}

func texts[T fmt.Stringer](list []T) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = v.String()
	}
	return out
}
