package kernel

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sofutobanku/internal/state"
)

// RouteProtocol is the protocol number (rtm_protocol) of every route that an
// Applier makes, one that neither the kernel nor a known routing daemon uses.
const RouteProtocol = 72

// Options says what an Applier renders onto.
type Options struct {
	Device     string // the WAN device
	LAN        string // the device that gets the first /64 of a delegated prefix, "" for none
	TunnelName string // the name of the tunnel device, at most 15 bytes

	// ResolvFile is written when PeerDNS is set and the State has name
	// servers; "" for none.
	ResolvFile string
	PeerDNS    bool

	// DefaultRoute: make default routes, IPv6 by way of the WAN's routers and
	// IPv4 through the tunnel.
	DefaultRoute bool
	// Metric of the routes, 0 to MaxMetric. With 0, IPv6 routes get 512, which
	// wins over what the kernel itself learned (1024), and IPv4 ones 0. A less
	// preferred route to the same destination gets the next higher number.
	Metric int

	// StrictRFC keeps the pauses of duplicate address detection as RFC 4862 has
	// them, see quickRetrans.
	StrictRFC bool

	// KeepLink leaves it to somebody else to bring the WAN device up.
	KeepLink bool

	// Forward forwards IPv4 and ARP between two devices at layer 2 where the State wants
	// it (State.HGW). It may be nil where no State does.
	Forward Forwarder

	StateDir string       // where the journal is kept, "" for no journal
	Log      *slog.Logger // nil: discarded
}

// Forwarder forwards IPv4 and ARP between two devices at layer 2. A l2fwd.Forwarder is
// one.
type Forwarder interface {
	// Set makes it so, however often it is called, and says by what means.
	Set(a, b string) (method string, err error)
	// Close ends it, also what a killed process left. Set may follow.
	Close() error
}

// The RetransTimer (RFC 4861 10) in milliseconds: how long duplicate address
// detection waits for an objection. A carrier's router is milliseconds away, and
// so is whoever has a duplicate; where the kernel does no optimistic DAD (it does
// none on a router) the line is up most of a second sooner. It is set
// also because a kernel that once took the timer of 10 s that the carrier
// advertises keeps it, and then detects for 10 s.
const (
	quickRetrans  = "200" // a whole number of ticks at any HZ, or it would read back as another
	strictRetrans = "1000"
)

// MaxMetric is the highest Options.Metric.
const MaxMetric = 1 << 30

// NoTunnelError tells that the kernel cannot make ip6tnl devices. Everything
// else of the State was applied.
type NoTunnelError struct {
	Err error // what the kernel answered
}

func (e *NoTunnelError) Error() string {
	return "kernel: no ip6tnl device: this kernel lacks the module ip6_tunnel (on OpenWrt install the package kmod-ip6-tunnel, elsewhere try `modprobe ip6_tunnel`): " + e.Err.Error()
}

func (e *NoTunnelError) Unwrap() error { return e.Err }

// Code is the code under which the status shows the error.
func (e *NoTunnelError) Code() string { return "NO_IP6TNL" }

// Applier renders States in the network namespace in which New was called. Its
// methods must not be called at the same time.
type Applier struct {
	opt     Options
	log     *slog.Logger
	nl      *conn
	procSys string // /proc/sys, but in tests
	journal journal
	made    made
	hgw     int // index of the port to the home gateway, 0 without one
}

// New checks o, opens netlink and reads the journal, and changes nothing yet.
func New(o Options) (*Applier, error) {
	for _, d := range []struct{ what, name string }{{"device", o.Device}, {"LAN device", o.LAN}, {"tunnel name", o.TunnelName}} {
		if d.name == "" && d.what == "LAN device" {
			continue
		}
		if d.name == "" || len(d.name) > 15 || d.name == "." || d.name == ".." || strings.ContainsAny(d.name, "/: \t\r\n\v\f%") {
			return nil, fmt.Errorf("kernel: %s %q: want 1 to 15 bytes without slash, colon, percent sign or space", d.what, d.name)
		}
	}
	switch {
	case o.LAN == o.Device, o.TunnelName == o.Device, o.TunnelName == o.LAN:
		return nil, fmt.Errorf("kernel: device %q, LAN device %q and tunnel name %q: they must differ", o.Device, o.LAN, o.TunnelName)
	case o.TunnelName == "ip6tnl0":
		return nil, errors.New("kernel: tunnel name \"ip6tnl0\": that is the kernel's own fallback device")
	case o.Metric < 0 || o.Metric > MaxMetric:
		return nil, fmt.Errorf("kernel: metric %d: want 0 to %d", o.Metric, MaxMetric)
	}
	a := &Applier{opt: o, log: o.Log, procSys: "/proc/sys"}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if a.nl, err = dial(); err != nil {
		return nil, fmt.Errorf("kernel: netlink: %w", err)
	}
	a.journal = openJournal(o.StateDir, o.Device)
	a.made = a.journal.load(a.log)
	return a, nil
}

// Prepare puts away what a killed predecessor left, and makes the WAN device
// ready: the kernel's own router discovery off, optimistic DAD (RFC 4429) on
// where the kernel has it, the device up. It may be called again at any time,
// and should be when the device came back; Apply does so too when it sees
// another device of that name.
func (a *Applier) Prepare() error {
	var errs problems
	if !a.journal.current {
		// Removed and not kept: the line has to be asked again anyway before
		// anybody knows what of it is still true.
		a.journal.current = true
		wan, err := a.nl.link(a.opt.Device)
		errs.add(err)
		errs.add(a.reconcile(state.State{}, wan))
	}
	if err := a.CheckTunnel(); err != nil {
		a.log.Warn("there will be no IPv4", "error", err)
	}
	errs.add(a.prepareDevice())
	a.note()
	return errs.join()
}

// CheckTunnel makes a tunnel device and deletes it again, and returns what keeps
// the kernel from it. Prepare does so too: the kernel loads the module while
// nobody waits for it, and a person learns that it is missing before the line is
// up. The ends are of the discard-only prefix (RFC 6666).
func (a *Applier) CheckTunnel() error {
	if a.made.Tunnel != nil {
		return nil
	}
	l, err := a.ensureTunnel(&state.Tunnel{Local: netip.MustParseAddr("100::1"), Remote: netip.MustParseAddr("100::2"), MTU: 1460, EncapLimit: -1})
	if err != nil {
		return err
	}
	if err := a.nl.LinkDel(l); err != nil {
		return fmt.Errorf("kernel: delete tunnel %s, made to see if it can be: %w", a.opt.TunnelName, err)
	}
	a.made.Tunnel = nil
	return nil
}

func (a *Applier) prepareDevice() error {
	wan, err := a.nl.link(a.opt.Device)
	if err != nil {
		return err
	}
	if wan == nil {
		return fmt.Errorf("kernel: device %s: %w", a.opt.Device, unix.ENODEV)
	}
	if i := wan.Attrs().Index; i != a.made.Device {
		// Another device than the one of before: its settings are its own.
		a.made.Device, a.made.Up, a.made.Sysctls = i, false, nil
	}
	var errs problems
	errs.add(a.setSysctl("accept_ra", "0", true))
	errs.add(a.setSysctl("optimistic_dad", "1", false))
	errs.add(a.setSysctl("use_optimistic", "1", false))
	if a.opt.StrictRFC {
		errs.add(a.setSysctl("neigh/retrans_time_ms", strictRetrans, false))
	} else {
		errs.add(a.setSysctl("neigh/retrans_time_ms", quickRetrans, false))
		// RFC 4862 5.4.2: up to a second before the detection begins, against
		// many hosts starting at once on one link.
		errs.add(a.setSysctl("router_solicitation_delay", "0", false))
	}
	if !a.opt.KeepLink && !isUp(wan) {
		a.made.Up = true
		a.note()
		if err := a.nl.LinkSetUp(wan); err != nil {
			errs.addf("set device %s up: %w", a.opt.Device, err)
		}
	}
	return errs.join()
}

// Apply makes the system look like st. One thing that fails does not keep the
// others from being done; all errors are joined, and the next Apply tries
// again. A *NoTunnelError is among them on a kernel without ip6_tunnel, and a
// *state.PartError for what fails at the telephone network or the home gateway.
func (a *Applier) Apply(st state.State) error {
	var errs problems
	wan, err := a.nl.link(a.opt.Device)
	errs.add(err)
	if wan != nil && wan.Attrs().Index != a.made.Device {
		errs.add(a.prepareDevice())
	}
	errs.add(a.reconcile(st, wan))
	return errs.join()
}

// Close removes what the Applier made, puts back the sysctls and the resolv
// file, takes the WAN device down if Prepare brought it up, and closes netlink.
// If something could not be removed the journal stays, for the next process.
func (a *Applier) Close() error {
	if a.nl == nil {
		return nil
	}
	var errs problems
	wan, err := a.nl.link(a.opt.Device)
	errs.add(err)
	errs.add(a.reconcile(state.State{}, wan))
	if wan != nil && wan.Attrs().Index == a.made.Device {
		// Down first: no router advertisement comes in between.
		if a.made.Up {
			if err := a.nl.LinkSetDown(wan); err != nil {
				errs.addf("set device %s down: %w", a.opt.Device, err)
			}
		}
		for name := range a.made.Sysctls {
			errs.add(a.restoreSysctl(name))
		}
	}
	if errs == nil {
		errs.add(a.journal.remove())
	} else {
		errs.add(a.save())
	}
	a.nl.close()
	a.nl = nil
	return errs.join()
}

// reconcile is Apply without the preparation of the device; wan is nil when there
// is none.
func (a *Applier) reconcile(st state.State, wan netlink.Link) error {
	var errs problems
	var err error
	var lan netlink.Link
	if a.opt.LAN != "" {
		if lan, err = a.nl.link(a.opt.LAN); err != nil {
			return err
		}
	}
	if st.HGW != nil {
		port, err := a.nl.link(st.HGW.Device)
		errs.add(err)
		a.hgw = index(port)
	}
	tun, err := a.ensureTunnel(st.Tunnel)
	if err != nil {
		errs.add(err)
		st.Tunnel = nil
	}
	have, err := a.nl.list()
	if err != nil {
		errs.add(err)
		return errs.join()
	}
	t := targets{opt: a.opt, now: time.Now(), wan: index(wan), lan: index(lan), tun: index(tun), hgw: a.hgw}
	want := t.render(st)
	errs = append(errs, want.errs...)

	errs.add(a.addAddresses(want.addresses, have))
	if st.Tunnel != nil {
		errs.add(a.changeTunnel(tun, st.Tunnel))
	}
	if wan != nil && index(wan) == a.made.Device {
		errs.add(a.setWAN(st.WAN, wan.Attrs().MTU))
	}
	errs.add(a.addRoutes(want.routes, have))
	errs.add(a.setResolv(st.WAN))

	a.removeRoutes(want.routes, have, &errs)
	a.removeAddresses(want.addresses, have, &errs)
	if st.Tunnel == nil && tun != nil && a.ownTunnel(tun) {
		if err := a.nl.LinkDel(tun); err != nil && !gone(err) {
			errs.addf("delete tunnel %s: %w", a.opt.TunnelName, err)
		} else {
			a.log.Debug("tunnel deleted", "device", a.opt.TunnelName)
			a.made.Tunnel = nil
		}
	}
	// Last, since a program may have to do it.
	errs.add(a.forward(st.HGW))
	a.note()
	return errs.join()
}

func (a *Applier) addAddresses(want []wantAddress, have *actual) error {
	var errs problems
	type change struct {
		wantAddress
		replaces netip.Prefix // the same address of ours with another length
	}
	var adds []change
	for _, w := range want {
		h, ok := have.addresses[place{w.Index, w.Prefix.Addr()}]
		own := slices.Contains(a.made.Addresses, address{w.Index, h.prefix})
		switch {
		case !ok:
			adds = append(adds, change{wantAddress: w})
		case own && h.prefix != w.Prefix:
			adds = append(adds, change{w, h.prefix})
		case h.flags&unix.IFA_F_DADFAILED != 0:
			errs.addf("address %s dev %s: somebody else on the link uses it (duplicate address detection failed)", w.Prefix, a.name(w.Index))
		case !own && h.flags&unix.IFA_F_PERMANENT != 0:
			// Somebody configured it by hand: it serves as it is.
		case w.Prefix.Addr().Is4():
		case !sameLifetime(w.preferred, h.preferred) || !sameLifetime(w.valid, h.valid):
			// Also of an address that the kernel made before it was told not to
			// listen to routers: nobody else refreshes it now.
			w.Prefix, w.flags = h.prefix, h.flags&^(unix.IFA_F_OPTIMISTIC|unix.IFA_F_DEPRECATED)
			if err := a.nl.setAddress(w, false); err != nil {
				errs.addf("change address %s dev %s: %w", w.Prefix, a.name(w.Index), err)
			}
		}
	}
	for _, c := range adds {
		a.made.Addresses = append(a.made.Addresses, c.address)
	}
	a.note()
	for _, c := range adds {
		var err error
		if c.replaces.IsValid() {
			err = a.nl.deleteAddress(address{c.Index, c.replaces})
			delete(have.addresses, place{c.Index, c.Prefix.Addr()})
		}
		if err == nil {
			err = a.nl.setAddress(c.wantAddress, true)
		}
		if err != nil {
			a.made.Addresses = remove(a.made.Addresses, c.address)
			errs.add(a.blame(c.Index, c.Prefix, fmt.Errorf("kernel: add address %s dev %s: %w", c.Prefix, a.name(c.Index), err)))
			continue
		}
		a.log.Debug("address added", "address", c.Prefix, "device", a.name(c.Index))
		have.addresses[place{c.Index, c.Prefix.Addr()}] = haveAddress{prefix: c.Prefix}
	}
	return errs.join()
}

func (a *Applier) removeAddresses(want []wantAddress, have *actual, errs *problems) {
	for _, m := range slices.Clone(a.made.Addresses) {
		h, ok := have.addresses[place{m.Index, m.Prefix.Addr()}]
		if ok && h.prefix == m.Prefix {
			if slices.ContainsFunc(want, func(w wantAddress) bool { return w.address == m }) {
				continue
			}
			for _, w := range want {
				if w.Prefix.Addr() == m.Prefix.Addr() {
					a.nl.waitLocal(w.address)
				}
			}
			if err := a.nl.deleteAddress(m); err != nil && !gone(err) {
				errs.add(a.blame(m.Index, m.Prefix, fmt.Errorf("kernel: remove address %s dev %s: %w", m.Prefix, a.name(m.Index), err)))
				continue
			}
			a.log.Debug("address removed", "address", m.Prefix, "device", a.name(m.Index))
		}
		a.made.Addresses = remove(a.made.Addresses, m)
	}
}

func (a *Applier) addRoutes(want []route, have *actual) error {
	var errs problems
	type change struct {
		route
		replaces *route // ours, in the same place of the table
	}
	var adds []change
	for _, w := range want {
		if have.routes[w] {
			if !slices.Contains(a.made.Routes, w) {
				// Left by somebody with our protocol number and no journal.
				a.made.Routes = append(a.made.Routes, w)
			}
			continue
		}
		c := change{route: w}
		for _, m := range a.made.Routes {
			if have.routes[m] && m.Dst == w.Dst && m.Metric == w.Metric {
				c.replaces = &m
			}
		}
		adds = append(adds, c)
	}
	for _, c := range adds {
		a.made.Routes = append(a.made.Routes, c.route)
	}
	a.note()
	for _, c := range adds {
		// Replaced in one step where the place is ours. Elsewhere the kernel is
		// told to refuse: it would make a multipath route with a stranger's.
		if err := a.nl.setRoute(c.route, c.replaces != nil); err != nil {
			a.made.Routes = remove(a.made.Routes, c.route)
			if errors.Is(err, unix.EEXIST) {
				err = fmt.Errorf("%w (another route has this destination and metric %d: choose another metric)", err, c.Metric)
			}
			errs.add(a.blame(c.Index, c.Dst, fmt.Errorf("kernel: add route %s: %w", a.describe(c.route), err)))
			continue
		}
		a.log.Debug("route added", "route", a.describe(c.route))
		have.routes[c.route] = true
		if c.replaces != nil {
			delete(have.routes, *c.replaces)
		}
	}
	return errs.join()
}

func (a *Applier) removeRoutes(want []route, have *actual, errs *problems) {
	for _, m := range slices.Clone(a.made.Routes) {
		if have.routes[m] {
			if slices.Contains(want, m) {
				continue
			}
			if err := a.nl.deleteRoute(m); err != nil && !gone(err) {
				errs.add(a.blame(m.Index, m.Dst, fmt.Errorf("kernel: remove route %s: %w", a.describe(m), err)))
				continue
			}
			a.log.Debug("route removed", "route", a.describe(m))
		}
		a.made.Routes = remove(a.made.Routes, m)
	}
}

// blame tells the errors of State.Phone, which alone has IPv4 on the WAN, and of
// State.HGW, which alone has a port of its own, from the line's.
func (a *Applier) blame(index int, p netip.Prefix, err error) error {
	switch {
	case p.Addr().Is4() && index == a.made.Device:
		return &state.PartError{Part: state.PartPhone, Err: err}
	case a.hgw != 0 && index == a.hgw:
		return &state.PartError{Part: state.PartHGW, Err: err}
	}
	return err
}

// forward has IPv4 and ARP forwarded between the WAN and the home gateway's port, and no
// longer when h wants it no more.
func (a *Applier) forward(h *state.HGW) (err error) {
	switch {
	case h != nil && h.Forward:
		a.made.Forward = true
		a.note()
		_, err = a.opt.Forward.Set(a.opt.Device, h.Device)
	case a.made.Forward && a.opt.Forward != nil:
		err = a.opt.Forward.Close()
		a.made.Forward = err != nil
	}
	if err != nil {
		return &state.PartError{Part: state.PartHGW, Err: err}
	}
	return nil
}

// ensureTunnel returns the tunnel device, which it makes if there is none and t
// is not nil; an existing one keeps its shape until changeTunnel.
func (a *Applier) ensureTunnel(t *state.Tunnel) (netlink.Link, error) {
	name := a.opt.TunnelName
	l, err := a.nl.link(name)
	if err != nil {
		return nil, err
	}
	if l != nil {
		if t != nil && !a.ownTunnel(l) && tunnelDiffers(l, t) {
			return l, fmt.Errorf("kernel: tunnel %s: a device of this name (%s) exists and is not ours: delete it (ip link del %s) or choose another name", name, l.Type(), name)
		}
		return l, nil
	}
	a.made.Tunnel = nil
	if t == nil {
		return nil, nil
	}
	a.made.Tunnel = &madeTunnel{Name: name}
	a.note()
	if err := a.nl.LinkAdd(tunnelLink(name, t)); err != nil {
		a.made.Tunnel = nil
		switch {
		case errors.Is(err, unix.EOPNOTSUPP):
			return nil, &NoTunnelError{err}
		case errors.Is(err, unix.EEXIST):
			err = fmt.Errorf("%w (another device has these ends)", err)
		}
		return nil, fmt.Errorf("kernel: add tunnel %s local %s remote %s: %w", name, t.Local, t.Remote, err)
	}
	if l, err = a.nl.link(name); err == nil && l == nil {
		err = fmt.Errorf("kernel: tunnel %s: %w", name, unix.ENODEV)
	}
	if err != nil {
		return nil, err
	}
	a.made.Tunnel.Index = l.Attrs().Index
	a.log.Debug("tunnel added", "device", name, "local", t.Local, "remote", t.Remote)
	return l, nil
}

// changeTunnel gives the device l the shape of t, in place: its index, its
// addresses and the routes through it stay.
func (a *Applier) changeTunnel(l netlink.Link, t *state.Tunnel) error {
	if !tunnelDiffers(l, t) {
		return nil
	}
	// By name alone: with an index too, the name would ask to rename a device
	// that is up, which kernels before 6.2 refuse.
	n := tunnelLink(a.opt.TunnelName, t)
	if err := a.nl.LinkModify(n); err != nil {
		return fmt.Errorf("kernel: change tunnel %s local %s remote %s: %w", n.Name, t.Local, t.Remote, err)
	}
	a.log.Debug("tunnel changed", "device", n.Name, "local", t.Local, "remote", t.Remote)
	return nil
}

func (a *Applier) ownTunnel(l netlink.Link) bool {
	m := a.made.Tunnel
	return m != nil && l.Type() == "ip6tnl" && m.Name == l.Attrs().Name && (m.Index == 0 || m.Index == l.Attrs().Index)
}

// name is for messages.
func (a *Applier) name(index int) string {
	if name, ok := a.nl.names[index]; ok {
		return name
	}
	return fmt.Sprintf("(index %d)", index)
}

func (a *Applier) describe(r route) string {
	var b strings.Builder
	if r.Unreachable {
		b.WriteString("unreachable ")
	}
	b.WriteString(r.Dst.String())
	if r.Via.IsValid() {
		fmt.Fprintf(&b, " via %s", r.Via)
	}
	if r.Index != 0 {
		fmt.Fprintf(&b, " dev %s", a.name(r.Index))
	}
	fmt.Fprintf(&b, " metric %d", r.Metric)
	return b.String()
}

// gone tells that err of a removal means that there was nothing to remove.
func gone(err error) bool {
	return errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENOENT)
}

func remove[T comparable](s []T, v T) []T {
	return slices.DeleteFunc(s, func(x T) bool { return x == v })
}

func index(l netlink.Link) int {
	if l == nil {
		return 0
	}
	return l.Attrs().Index
}

func isUp(l netlink.Link) bool { return l.Attrs().Flags&net.FlagUp != 0 }

// problems collects errors.
type problems []error

func (p *problems) add(err error) {
	if err != nil {
		*p = append(*p, err)
	}
}

func (p *problems) addf(format string, args ...any) {
	p.add(fmt.Errorf("kernel: "+format, args...))
}

func (p problems) join() error { return errors.Join(p...) }
