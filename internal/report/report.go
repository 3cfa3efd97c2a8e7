package report

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"sofutobanku/internal/capture"
	"sofutobanku/internal/check"
	"sofutobanku/internal/status"
)

// Facts is what a report is made of.
type Facts struct {
	Now     time.Time
	Check   check.Report
	System  check.System
	Options []Option
	Status  *status.Status // nil without a daemon
	// Known tells the attributes of the authentication whose meaning is known.
	Known func(name string) bool
	// Vendor is what the carrier sent by DHCP for itself.
	Vendor []Value
	// Secrets appear nowhere in the report, in no spelling.
	Secrets []string
	// Unknown has values shown whose meaning is not known.
	Unknown bool
}

// Option is an option of the configuration that is set. Of a secret one there is no value.
type Option struct {
	Name, Value string
	Secret      bool
}

// Value is something that the carrier sent.
type Value struct {
	Name  string
	Data  []byte
	Known bool // and shown elsewhere
}

const preface = `Report of sofu-proto, to be attached to a bug report. Secrets are left out; addresses, MAC
addresses and telephone numbers are replaced by others, the same by the same.
`

const warning = `ATTENTION: it holds values that nobody knows the meaning of. They may be credentials.
`

// Write writes the report of f.
func Write(w io.Writer, f Facts) error {
	r := &writer{Redactor: capture.NewRedactor(nil), secrets: spellings(f.Secrets)}
	// The line's own numbers first, so that they are the same in each report of it.
	s := r.status(f.Status)

	r.text.WriteString(preface)
	if f.Unknown {
		r.text.WriteString(warning)
	}
	r.head("system")
	r.line("%s", f.Now.UTC().Format(time.RFC3339))
	for _, text := range []string{f.System.Program, f.System.Release, f.System.Kernel} {
		if text != "" {
			r.line("%s", text)
		}
	}
	r.head("check")
	if err := r.check(f.Check).WriteText(&r.text, false); err != nil {
		return err
	}
	r.head("configuration")
	for _, o := range f.Options {
		if o.Secret {
			r.line("option %s (set, left out)", o.Name)
		} else {
			r.line("option %s '%s'", o.Name, r.words(o.Value))
		}
	}
	r.head("state")
	if s == nil {
		r.line("no daemon runs")
	} else {
		if err := s.WriteText(&r.text, f.Now, false); err != nil {
			return err
		}
		r.head("events")
		for _, e := range s.Events {
			r.line("%s", e.Line())
		}
		r.head("counters")
		for _, name := range slices.Sorted(maps.Keys(s.Counters)) {
			r.line("%8d %s", s.Counters[name], name)
		}
		r.head("what the authentication sent")
		r.attributes(f)
	}
	r.head("what DHCP sent for the carrier's own use")
	for _, v := range f.Vendor {
		switch {
		case v.Known:
			r.line("%s: %d bytes, known", v.Name, len(v.Data))
		case f.Unknown || small(v.Data):
			r.line("%s: 0x%x", v.Name, v.Data)
		default:
			r.line("%s: %d bytes, left out", v.Name, len(v.Data))
		}
	}
	_, err := io.WriteString(w, r.hide(r.text.String()))
	return err
}

type writer struct {
	*capture.Redactor
	secrets []string
	text    strings.Builder
}

func (r *writer) head(name string) { fmt.Fprintf(&r.text, "\n== %s\n", name) }

func (r *writer) line(format string, args ...any) {
	r.text.WriteString(status.Printable(fmt.Sprintf(format, args...)) + "\n")
}

// words is a text without secrets and identities. The secrets first, in which there may be
// what looks like an address.
func (r *writer) words(s string) string { return r.Words(r.hide(s)) }

func (r *writer) hide(s string) string {
	for _, secret := range r.secrets {
		s = strings.ReplaceAll(s, secret, "(secret)")
	}
	return s
}

// shortest is the length in bytes of a secret that is looked for in text: a shorter one
// is in many words by chance.
const shortest = 4

// spellings are the forms in which secrets are looked for, the longest first.
func spellings(secrets []string) (list []string) {
	for _, s := range secrets {
		if len(s) < shortest {
			continue
		}
		quoted := strconv.Quote(s)
		h := hex.EncodeToString([]byte(s))
		list = append(list, s, quoted[1:len(quoted)-1], h, strings.ToUpper(h),
			base64.StdEncoding.EncodeToString([]byte(s)), base64.RawURLEncoding.EncodeToString([]byte(s)),
			url.QueryEscape(s), url.PathEscape(s), status.Printable(s))
	}
	slices.SortFunc(list, func(a, b string) int { return len(b) - len(a) })
	return slices.Compact(list)
}

// check is what was found, without what tells whose line it is. What the system is
// has numbers, and no identity in it.
func (r *writer) check(c check.Report) check.Report {
	out := check.Report{Interface: r.words(c.Interface)}
	for _, one := range c.Checks {
		if one.Name != "system" {
			one.Seen, one.Remedy = r.words(one.Seen), r.words(one.Remedy)
		}
		out.Checks = append(out.Checks, one)
	}
	if c.Cause != nil {
		out.Cause = &check.Cause{Name: c.Cause.Name, Text: r.words(c.Cause.Text)}
	}
	return out
}

// status is s without what tells whose line it is.
func (r *writer) status(s *status.Status) *status.Status {
	if s == nil {
		return nil
	}
	out := &status.Status{Interface: r.words(s.Interface), State: s.State, Since: s.Since, Counters: s.Counters, MS: s.MS}
	if p := s.Prefix; p != nil {
		out.Prefix = &status.Prefix{Prefix: r.Prefix(p.Prefix), Preferred: p.Preferred, Valid: p.Valid}
	}
	if t := s.Tunnel; t != nil {
		out.Tunnel = &status.Tunnel{
			Device: r.words(t.Device), IPv4: r.Addr(t.IPv4), Local: r.Addr(t.Local), Remote: r.Addr(t.Remote), MTU: t.MTU, EchoMS: t.EchoMS,
		}
	}
	if p := s.Phone; p != nil {
		out.Phone = &status.Phone{Domain: r.words(p.Domain), SIP: r.addrs(p.SIP), SIP4: r.addrs(p.SIP4), DSCP: p.DSCP}
		if p.Address != nil {
			out.Phone.Address = new(netip.PrefixFrom(r.Addr(p.Address.Addr()), p.Address.Bits()))
		}
		if p.Error != nil {
			out.Phone.Error = &status.Error{Code: p.Error.Code, Text: r.words(p.Error.Text)}
		}
		for _, number := range p.Numbers {
			out.Phone.Numbers = append(out.Phone.Numbers, r.Number(number))
		}
	}
	if h := s.HGW; h != nil {
		out.HGW = &status.HGW{
			Device: r.words(h.Device), Carrier: h.Carrier, MAC: r.words(h.MAC), Valid: h.Valid, LastSeen: h.LastSeen, Forwarding: h.Forwarding,
		}
		if h.LinkLocal != nil {
			out.HGW.LinkLocal = new(r.Addr(*h.LinkLocal))
		}
		if h.Prefix != nil {
			out.HGW.Prefix = new(r.Prefix(*h.Prefix))
		}
		if h.Address != nil {
			out.HGW.Address = new(netip.PrefixFrom(r.Addr(h.Address.Addr()), h.Address.Bits()))
		}
		if h.Error != nil {
			out.HGW.Error = &status.Error{Code: h.Error.Code, Text: r.words(h.Error.Text)}
		}
	}
	if e := s.Error; e != nil {
		out.Error = &status.Error{Code: e.Code, Text: r.words(e.Text)}
	}
	out.WAN = status.WAN{Device: r.words(s.WAN.Device), MTU: s.WAN.MTU, DNS: r.addrs(s.WAN.DNS), NTP: r.addrs(s.WAN.NTP)}
	for _, a := range s.WAN.Addresses {
		masked := netip.PrefixFrom(r.Addr(a.Address.Addr()), a.Address.Bits())
		out.WAN.Addresses = append(out.WAN.Addresses, status.Address{Address: masked, Preferred: a.Preferred, Valid: a.Valid})
	}
	for _, router := range s.WAN.Routers {
		out.WAN.Routers = append(out.WAN.Routers, status.Router{Address: r.Addr(router.Address), Valid: router.Valid})
	}
	for _, d := range s.WAN.Domains {
		out.WAN.Domains = append(out.WAN.Domains, r.words(d))
	}
	if a := s.Auth; a != nil {
		out.Auth = &status.Auth{Server: netip.AddrPortFrom(r.Addr(a.Server.Addr()), a.Server.Port()), RTTMS: a.RTTMS}
	}
	for _, e := range s.Events {
		out.Events = append(out.Events, status.Event{MS: e.MS, Name: e.Name, Detail: r.words(e.Detail)})
	}
	return out
}

func (r *writer) addrs(list []netip.Addr) (out []netip.Addr) {
	for _, a := range list {
		out = append(out, r.Addr(a))
	}
	return out
}

// attributes writes those of the authentication.
func (r *writer) attributes(f Facts) {
	if f.Status.Auth == nil {
		return
	}
	for _, a := range f.Status.Auth.Attributes {
		raw, isHex := strings.CutPrefix(a.Value, "0x")
		data, err := hex.DecodeString(strings.TrimSuffix(raw, "…"))
		switch {
		case f.Known != nil && f.Known(a.Name):
			r.line("%s: %s", a.Name, r.words(a.Value))
		case f.Unknown || isHex && err == nil && small(data):
			r.line("%s: %s", a.Name, a.Value)
		case isHex && err == nil:
			r.line("%s: %d bytes, left out", a.Name, len(data))
		default:
			r.line("%s: text of %d bytes, left out", a.Name, len(a.Value))
		}
	}
}

// small tells a number that is neither an address nor four digits: a flag, a count, a
// time in seconds below half a year.
func small(data []byte) bool {
	switch len(data) {
	case 0, 1:
		return true
	case 4:
		return data[0] == 0
	}
	return false
}
