package netifd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sofutobanku/internal/state"
)

// Kernel holds what netifd would hold too late or not at all: addresses that the
// line needs at once and without duplicate address detection, which netifd cannot
// be told to leave out, and the sysctls of the WAN device. It gets States with
// nothing else in them. A kernel.Applier is one.
type Kernel interface {
	Prepare() error
	Apply(state.State) error
	Close() error
}

// Options says what an Applier renders onto. Fail needs Interface and Call only.
type Options struct {
	// Context ends when netifd asked the process to end: from then on nothing is
	// sent. nil never ends.
	Context context.Context

	Interface    string // logical name of the interface, "wan"
	Child        string // logical name of the interface for IPv4, "wan_4"
	Device       string // the WAN device
	TunnelDevice string // the child's device, see TunnelDevice
	HGWChild     string // logical name of the interface on the home gateway's port, "wan_hgw"
	HGWZone      string // its firewall zone, "" for none

	// SourceFilter restricts routes by way of a router to packets whose source
	// the line gave, as odhcp6c does (its option sourcefilter).
	SourceFilter bool
	// ExtendPrefix hands the /64 of a line without a delegated prefix on to the
	// LAN (RFC 7278), as odhcp6c does (its option extendprefix).
	ExtendPrefix bool
	// Metric of the parent's routes. With 0, they get odhcp6c's: 384, 512 or 640
	// by the router's preference, and 256 on-link. A less preferred route to the
	// same destination gets the next free number. It is the child's metric too.
	Metric int

	// These the child inherits from the parent's section; netifd obeys them.
	Zone           string // firewall zone, "" for none
	IP4Table       string // "" for the main table
	NoDefaultRoute bool

	// Data returns what else ifstatus is to show under data. It holds no secret,
	// and nothing that changes by itself; null is nothing. The keys zone, error
	// and firewall are not its own. It may be nil.
	Data func(state.State) map[string]any

	// CheckTunnel tells what keeps the kernel from making a tunnel. It is asked
	// when the child does not come up, and may be nil.
	CheckTunnel func() error

	Kernel Kernel
	Call   func(ctx context.Context, args ...string) ([]byte, error) // Exec, but in tests
	Log    *slog.Logger                                              // nil: discarded
}

// Applier renders States. Its methods must not be called at the same time.
type Applier struct {
	opt    Options
	log    *slog.Logger
	closed bool
	failed bool

	// What netifd knows of the parent; sent and data are nil when nobody can say.
	linkUp bool // at least possibly
	sent   *view
	data   map[string]json.RawMessage
	keys   map[string]json.RawMessage // all that data may have there, with some value
	listed state.Error                // what its list of errors has since the link is down

	problem *state.Error // what the last Apply failed with

	// What it knows of the children. tunnel and hgwSent are nil when nobody can say.
	child   child
	tunnel  *state.Tunnel
	hgw     child
	hgwSent *view
}

// New returns an Applier that sends nothing yet.
func New(o Options) *Applier {
	a := &Applier{opt: o, log: o.Log, keys: map[string]json.RawMessage{}}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	if a.opt.Context == nil {
		a.opt.Context = context.Background()
	}
	a.child = child{Applier: a, name: o.Child, use: "IPv4", code: "NO_IPV4_INTERFACE"}
	a.hgw = child{Applier: a, name: o.HGWChild, use: "the home gateway", code: "HGW_APPLY"}
	return a
}

// Prepare puts away the child that a killed predecessor left, and prepares the
// kernel. Apply does what of it failed; what fails because Context ends is no error.
func (a *Applier) Prepare() error {
	err := a.child.removeStale()
	if a.opt.Context.Err() != nil {
		err = nil
	}
	return errors.Join(err, a.opt.Kernel.Prepare())
}

// Apply makes netifd look like st. One thing that fails does not keep the others
// from being done, unless nobody is there to do it; all errors are joined and shown
// in place of st.Error, and the next Apply tries again. It may take some seconds
// while the child comes up. What fails because Context ends is no error.
func (a *Applier) Apply(st state.State) error {
	if a.closed || a.failed {
		return errors.New("netifd: closed")
	}
	// The kernel first: the parent's update makes netifd copy the MTU to the LAN.
	errs := []error{a.opt.Kernel.Apply(kernelPart(st))}
	for _, step := range []func() error{
		a.child.removeStale,
		func() error { return a.unlessDown(a.applyParent(st)) },
		func() error { return a.applyTunnel(st.Tunnel) },
		func() error { return a.applyHGW(st.HGW) },
		func() error { return a.tell(st, errors.Join(errs...)) },
	} {
		err := step()
		errs = append(errs, err)
		if a.opt.Context.Err() != nil {
			return nil
		}
		if nobody(err) {
			break
		}
	}
	return errors.Join(errs...)
}

// tell shows what the steps of an Apply failed with, until they do not.
func (a *Applier) tell(st state.State, failed error) error {
	_, failed = state.Split(failed) // the others are told with their part
	if failed == nil && a.problem == nil {
		return nil
	}
	a.problem = nil
	if failed != nil {
		a.problem = new(state.ErrorOf(failed))
	}
	return errors.Join(a.applyData(a.dataOf(st)), a.applyError(st))
}

// wrong is the error to show.
func (a *Applier) wrong(st state.State) *state.Error {
	if a.problem != nil {
		return a.problem
	}
	return st.Error
}

// Close removes what the kernel holds. The parent is left to netifd, which is taking it
// down: an update in the middle of that would put the addresses back. The child is left
// to the protocol handler's teardown, which follows however this process ends.
func (a *Applier) Close() error {
	if a.closed {
		return nil
	}
	a.closed = true
	return a.opt.Kernel.Close()
}

// Bounds of an error in netifd's array of 15 strings, and in data.error.
const (
	maxCode  = 64 // bytes
	maxLine  = 300
	maxLines = 14
	maxText  = 1000
)

// words are an error as netifd's list has it: the code, and each line of the text.
func words(e state.Error) []string {
	out := []string{cut(e.Code, maxCode)}
	lines := strings.Split(strings.TrimSpace(e.Text), "\n")
	for i, l := range lines {
		if len(out) == maxLines && len(lines)-i > 1 {
			return append(out, fmt.Sprintf("… and %d more", len(lines)-i))
		}
		out = append(out, cut(l, maxLine))
	}
	return out
}

// Fail tells netifd an error that no waiting can mend: the interface goes down,
// shows it, and is not set up again before a person does (ifup). Each line of
// text is shown by itself. It may be called before the first Apply, or instead of
// any, or after Close.
func (a *Applier) Fail(code, text string) error {
	a.failed = true
	// In this order: the last one ends this process.
	for _, m := range []failure{{Action: notifyError, Error: words(state.Error{Code: code, Text: text})}, {Action: blockRestart}, {Action: setupFailed}} {
		m.Interface = a.opt.Interface
		if err := a.notify(m); err != nil {
			return err
		}
	}
	return nil
}

// kernelPart is what of st netifd must not be told.
func kernelPart(st state.State) state.State {
	part := state.State{Phase: st.Phase, OwnAddresses: st.OwnAddresses, WAN: state.WAN{
		Device: st.WAN.Device, MTU: st.WAN.MTU, HopLimit: st.WAN.HopLimit,
	}}
	if h := st.HGW; h != nil {
		part.HGW = &state.HGW{Device: h.Device, Forward: h.Forward}
	}
	for _, ad := range st.WAN.Addresses {
		if ad.NoDAD {
			part.WAN.Addresses = append(part.WAN.Addresses, ad)
		}
	}
	return part
}

// unlessDown leaves out that netifd denies updates, as it does while it takes the
// interface down itself, say for a lost carrier: this process goes with it.
func (a *Applier) unlessDown(err error) error {
	if exitCode(err) == permissionDenied {
		a.log.Debug("netifd takes the interface down", "error", err)
		return nil
	}
	return err
}

// applyParent tells netifd of the parent what it does not know yet.
func (a *Applier) applyParent(st state.State) error {
	now := time.Now()
	want := a.opt.render(st, now)
	if !want.up && a.linkUp {
		a.sent = nil
		if err := a.notify(update{Interface: a.opt.Interface}); err != nil {
			return err
		}
		a.linkUp, a.data = false, nil // with the link netifd drops the data
	}
	// Before the link comes up, so that what listens to that has it; and by itself,
	// so that the error is shown when netifd refuses the update.
	err := a.applyData(a.dataOf(st))
	switch {
	case nobody(err):
		return err
	case want.up:
		return errors.Join(err, a.applyView(want, now))
	}
	return errors.Join(err, a.applyError(st))
}

// applyView tells what the link has.
func (a *Applier) applyView(want *view, now time.Time) error {
	if a.sent != nil {
		want.addresses = inPlace(a.sent.addresses, want.addresses)
		if want.equal(a.sent) {
			return nil
		}
	}
	var updates []update
	if a.sent != nil && a.sent.within(want) {
		u := a.update(want, now)
		u.Keep, u.DNS, u.Search = true, nil, nil
		updates = append(updates, u)
	} else {
		if n := a.unmoved(want); n < len(want.addresses) {
			before := *want
			before.addresses = want.addresses[:n]
			updates = append(updates, a.update(&before, now))
		}
		updates = append(updates, a.update(want, now))
	}
	a.sent, a.linkUp, a.listed = nil, true, state.Error{} // whatever comes of it
	for _, u := range updates {
		if err := a.notify(u); err != nil {
			return err
		}
	}
	a.sent = want
	return nil
}

// applyData tells what ifstatus is to show under data.
func (a *Applier) applyData(data map[string]json.RawMessage) error {
	if sameData(a.data, data) {
		return nil
	}
	a.data = nil
	maps.Copy(a.keys, data)
	if _, err := a.call(a.opt.Context, callTimeout, "network.interface."+a.opt.Interface, "set_data", data); err != nil {
		return err
	}
	a.data = data
	return nil
}

// applyError puts an error into netifd's list while the link is down. Each takes
// the place of the one before (lasterror of the protocol handler), and the link
// coming up clears the list. Nothing else does: there is no call for no error.
func (a *Applier) applyError(st state.State) error {
	e := a.wrong(st)
	if a.linkUp || e == nil || *e == a.listed {
		return nil
	}
	if err := a.notify(failure{Action: notifyError, Interface: a.opt.Interface, Error: words(*e)}); err != nil {
		return err
	}
	a.listed = *e
	return nil
}

// unmoved is how many addresses of want can be sent at once: all, unless one that
// netifd has must move up, or nobody can say.
func (a *Applier) unmoved(want *view) (n int) {
	if !a.linkUp {
		return len(want.addresses)
	}
	var before []lifetime
	if a.sent != nil {
		before = a.sent.addresses
		for n < min(len(before), len(want.addresses)) && samePrefix(before[n], want.addresses[n]) {
			n++
		}
		if !slices.ContainsFunc(want.addresses[n:], func(l lifetime) bool { return index(before, l) >= 0 }) {
			return len(want.addresses)
		}
	}
	return n
}

// notify sends an update or a failure.
func (a *Applier) notify(message any) error {
	_, err := a.call(a.opt.Context, callTimeout, "network.interface", "notify_proto", message)
	return err
}

// update is v as netifd takes it, with what is left of its lifetimes at now.
func (a *Applier) update(v *view, now time.Time) update {
	u := update{Interface: a.opt.Interface, LinkUp: true, DNS: v.dns, Search: v.search}
	for _, ad := range v.addresses {
		preferred, valid := ad.seconds(now)
		u.IP6Addr = append(u.IP6Addr, ipAddr{
			IPAddr: ad.prefix.Addr(), Mask: mask(ad.prefix), Preferred: &preferred, Valid: &valid, Offlink: true,
		})
	}
	for _, p := range v.prefixes {
		preferred, valid := p.seconds(now)
		s := fmt.Sprintf("%s,%d,%d", p.prefix, preferred, valid)
		if v.reserved.IsValid() && p.prefix.Bits() < v.reserved.Bits() && p.prefix.Overlaps(v.reserved) {
			s += ",excluded=" + v.reserved.String()
		}
		u.IP6Prefix = append(u.IP6Prefix, s)
	}
	if v.phone.IsValid() {
		u.IPAddr = []ipAddr{{IPAddr: v.phone.Addr(), Mask: mask(v.phone)}}
	}
	for _, r := range v.routes4 {
		out := ipRoute{Target: r.Prefix.Addr(), Netmask: mask(r.Prefix), Metric: a.opt.Metric}
		if r.Via.IsValid() {
			out.Gateway = &r.Via
		}
		u.Routes = append(u.Routes, out)
	}
	for _, r := range v.routes {
		out := ipRoute{Target: r.target.Addr(), Netmask: mask(r.target), Metric: r.metric, Valid: seconds(r.until, now)}
		if r.via.IsValid() {
			out.Gateway = &r.via
		}
		if r.source.IsValid() {
			out.Source = &r.source
		}
		u.Routes6 = append(u.Routes6, out)
	}
	return u
}

func mask(p netip.Prefix) string { return fmt.Sprint(p.Bits()) }
