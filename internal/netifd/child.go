package netifd

import (
	"context"
	"crypto/md5"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"sofutobanku/internal/state"
)

// childProto is the protocol handler of the child.
const childProto = "sofutobanku4"

// TunnelDevice is the device that the protocol handler makes for child: a name too long for
// the kernel is cut, and gets four digits of its MD5 to stay a name of its own.
func TunnelDevice(child string) string {
	const most = 15
	name := "sofu-" + child
	if len(name) <= most {
		return name
	}
	return name[:most-4] + fmt.Sprintf("%x", md5.Sum([]byte(child)))[:4]
}

// childTimeout is how long the child may take to come up or to go. netifd gives a
// handler's teardown 5 s; both take some tenths of a second on a slow router.
const childTimeout = 6 * time.Second

// The pauses between two looks at a child that comes or goes.
const (
	firstLook = 20 * time.Millisecond
	lastLook  = 320 * time.Millisecond
)

// presence is whether there is a child.
type presence int

const (
	unknown presence = iota // nobody asked yet
	absent
	leaving // told to go
	there
)

// ChildError is a child that does not come up, or cannot be made.
type ChildError struct{ text string }

func (e *ChildError) Error() string { return "netifd: " + e.text }

// Code is the code under which the status shows the error.
func (e *ChildError) Code() string { return "NO_IPV4_INTERFACE" }

// removeStale removes the child that a predecessor left, once.
func (a *Applier) removeStale() error {
	if a.child != unknown {
		return nil
	}
	s, found, err := a.look()
	switch {
	case err != nil:
		return err
	case !found:
		a.child = absent
		return nil
	case s.Configured:
		return &ChildError{fmt.Sprintf("interface %s is in the configuration: IPv4 needs that name, rename or delete the section", a.opt.Child)}
	}
	return a.removeChild()
}

// applyChild gives the child the tunnel t; nil takes the child away.
func (a *Applier) applyChild(t *state.Tunnel) error {
	if t == nil {
		if a.child == there {
			return a.removeChild()
		}
		return nil
	}
	want := *t
	want.LocalOnWAN = false // the kernel's concern
	switch {
	case a.tunnel != nil && *a.tunnel == want:
		return nil
	case a.child == unknown:
		return nil // removeStale said why
	case a.child == there:
		s, found, err := a.look()
		switch {
		case err != nil:
			return err
		case !found: // a person took it away
			a.child, a.tunnel = absent, nil
		case s.Up:
			return a.moveChild(want)
		default:
			// It had its time. Its handler does not try again by itself.
			if err := a.removeChild(); err != nil {
				return err
			}
		}
	}
	return a.addChild(want)
}

// addChild makes the child and waits until it is up.
func (a *Applier) addChild(t state.Tunnel) error {
	if a.child == leaving {
		gone := false
		if _, err := a.await(func(_ status, found bool) bool { gone = !found; return gone }); err != nil {
			return err
		}
		if !gone {
			return &ChildError{fmt.Sprintf("interface %s was told to go and is still there", a.opt.Child)}
		}
		a.child = absent
	}
	config := dynamic{
		Name: a.opt.Child, Proto: childProto,
		Local: t.Local, Remote: t.Remote, IPAddr: t.IPv4, MTU: t.MTU, TTL: t.TTL, EncapLimit: encapLimit(t),
		Zone: a.opt.Zone, Metric: a.opt.Metric, IP4Table: a.opt.IP4Table,
	}
	if a.opt.NoDefaultRoute {
		config.DefaultRoute = new(bool)
	}
	a.child = there // at least possibly
	if _, err := a.call(a.opt.Context, callTimeout, "network", "add_dynamic", config); err != nil {
		return err
	}
	s, err := a.await(func(s status, found bool) bool { return found && (s.Up || s.Ended) })
	if err != nil {
		return err
	}
	if !s.Up {
		return a.whyDown(s)
	}
	a.tunnel = &t
	return nil
}

// whyDown finds out why the child does not come up.
func (a *Applier) whyDown(s status) error {
	if a.opt.CheckTunnel != nil {
		if err := a.opt.CheckTunnel(); err != nil {
			return err
		}
	}
	if s.Error != "" {
		return &ChildError{fmt.Sprintf("interface %s does not come up: %s", a.opt.Child, s.Error)}
	}
	return &ChildError{fmt.Sprintf("interface %s is not up after %v. A slow router may need longer: it is looked at again. Should it stay so, see `logread -e %[1]s`; netifd has to be restarted once after the package was installed (/etc/init.d/network restart)", a.opt.Child, childTimeout)}
}

// moveChild gives a child that is up the tunnel t.
func (a *Applier) moveChild(t state.Tunnel) error {
	device := update{
		Interface: a.opt.Child, LinkUp: true, IfName: a.opt.TunnelDevice,
		Tunnel: &tunnel{
			Mode: "ipip6", Local: t.Local, Remote: t.Remote, MTU: t.MTU, TTL: t.TTL,
			Data: tunnelData{EncapLimit: encapLimit(t)},
		},
	}
	all := device
	all.IPAddr = []ipAddr{{IPAddr: t.IPv4, Mask: "32"}}
	// Deprecated, or it would become the source of the router's own traffic.
	all.IP6Addr = []ipAddr{{IPAddr: t.Local, Mask: "128", Preferred: new(int32), Offlink: true}}
	all.Routes = []ipRoute{{Target: netip.IPv4Unspecified(), Netmask: "0"}}

	updates := []update{device, all}
	if had := a.tunnel; had != nil {
		other := *had
		if other.IPv4 = t.IPv4; other == t {
			updates = updates[1:]
		}
	}
	a.tunnel = nil
	for _, u := range updates {
		if err := a.notify(u); err != nil {
			return err
		}
	}
	a.tunnel = &t
	return nil
}

// removeChild tells netifd to remove the child, which it does some time later.
func (a *Applier) removeChild() error {
	a.tunnel = nil
	_, err := a.call(a.opt.Context, callTimeout, "network.interface."+a.opt.Child, "remove", nil)
	switch {
	case exitCode(err) == notFound:
		a.child = absent
	case err == nil, exitCode(err) == invalidArgument: // the latter: was told already
		a.child = leaving
	default:
		return err
	}
	return nil
}

// look asks netifd for the child.
func (a *Applier) look() (s status, found bool, err error) {
	object := "network.interface." + a.opt.Child
	reply, err := a.call(a.opt.Context, callTimeout, object, "status", nil)
	if exitCode(err) == notFound {
		return s, false, nil
	}
	if err == nil {
		if s, err = decodeStatus(reply); err != nil {
			err = &CallError{object, "status", fmt.Errorf("answer not understood: %w", err)}
		}
	}
	return s, true, err
}

// await looks at the child until enough says so or it had its time, and returns
// what it saw last.
func (a *Applier) await(enough func(s status, found bool) bool) (status, error) {
	end := time.Now().Add(childTimeout)
	for pause := firstLook; ; pause = min(2*pause, lastLook) {
		s, found, err := a.look()
		if err != nil || enough(s, found) || !time.Now().Add(pause).Before(end) {
			return s, err
		}
		select {
		case <-time.After(pause):
		case <-a.opt.Context.Done():
			return s, fmt.Errorf("netifd: interface %s: %w", a.opt.Child, context.Cause(a.opt.Context))
		}
	}
}

func encapLimit(t state.Tunnel) string {
	if t.EncapLimit < 0 {
		return "ignore"
	}
	return strconv.Itoa(t.EncapLimit)
}
