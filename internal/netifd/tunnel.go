package netifd

import (
	"crypto/md5"
	"fmt"
	"net/netip"
	"strconv"

	"sofutobanku/internal/state"
)

// tunnelProto is the protocol handler of the child with the tunnel.
const tunnelProto = "sofutobanku4"

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

// applyTunnel gives the child the tunnel t; nil takes the child away.
func (a *Applier) applyTunnel(t *state.Tunnel) error {
	if t == nil {
		if a.child.presence == there {
			a.tunnel = nil
			return a.child.remove()
		}
		return nil
	}
	want := *t
	want.LocalOnWAN = false // the kernel's concern
	switch {
	case a.tunnel != nil && *a.tunnel == want:
		return nil
	case a.child.presence == unknown:
		return nil // removeStale said why
	case a.child.presence == there:
		s, found, err := a.child.look()
		switch {
		case err != nil:
			return err
		case !found: // a person took it away
			a.child.presence, a.tunnel = absent, nil
		case s.Up:
			return a.moveTunnel(want)
		default:
			// It had its time. Its handler does not try again by itself.
			a.tunnel = nil
			if err := a.child.remove(); err != nil {
				return err
			}
		}
	}
	return a.addTunnel(want)
}

// addTunnel makes the child and waits until it is up.
func (a *Applier) addTunnel(t state.Tunnel) error {
	config := dynamicTunnel{
		Name: a.opt.Child, Proto: tunnelProto,
		Local: t.Local, Remote: t.Remote, IPAddr: t.IPv4, MTU: t.MTU, TTL: t.TTL, EncapLimit: encapLimit(t),
		Zone: a.opt.Zone, Metric: a.opt.Metric, IP4Table: a.opt.IP4Table,
	}
	if a.opt.NoDefaultRoute {
		config.DefaultRoute = new(bool)
	}
	s, err := a.child.add(config)
	if err != nil {
		return err
	}
	if !s.Up {
		if a.opt.CheckTunnel != nil {
			if err := a.opt.CheckTunnel(); err != nil {
				return err
			}
		}
		return a.child.notUp(s)
	}
	a.tunnel = &t
	return nil
}

// moveTunnel gives a child that is up the tunnel t.
func (a *Applier) moveTunnel(t state.Tunnel) error {
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

func encapLimit(t state.Tunnel) string {
	if t.EncapLimit < 0 {
		return "ignore"
	}
	return strconv.Itoa(t.EncapLimit)
}
