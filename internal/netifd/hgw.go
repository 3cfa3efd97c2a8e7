package netifd

import (
	"errors"
	"net/netip"
	"time"

	"sofutobanku/internal/state"
)

// hgwProto is the protocol handler of the child on the home gateway's port.
const hgwProto = "sofutobankuhgw"

// applyHGW makes a child on the port to the home gateway, by which netifd brings the port
// up and the firewall knows it, and gives it the routes by way of the home gateway. What
// fails is no error of the line's.
func (a *Applier) applyHGW(h *state.HGW) error {
	err := a.stepHGW(h)
	if err == nil {
		return nil
	}
	a.hgwSent = nil
	if nobody(err) {
		return err
	}
	return &state.PartError{Part: state.PartHGW, Err: err}
}

func (a *Applier) stepHGW(h *state.HGW) error {
	c := &a.hgw
	if h == nil || !h.Forward {
		a.hgwSent = nil
		if c.presence == there {
			return c.remove()
		}
		return nil
	}
	if err := c.removeStale(); err != nil {
		return err
	}
	if c.presence != there {
		// Routes stay while the home gateway is off, as its lease does.
		s, err := c.add(dynamicPort{Name: c.name, Proto: hgwProto, Device: h.Device, ForceLink: true, Zone: a.opt.HGWZone})
		if err != nil {
			return err
		}
		if !s.Up {
			err = c.notUp(s)
			return errors.Join(err, c.remove())
		}
		a.hgwSent = &view{}
	}
	v := &view{}
	now := time.Now()
	for _, r := range h.Routes {
		if !state.Expired(r.Until, now) {
			a.opt.route(v, r.Prefix, netip.Prefix{}, r.Via, 0, r.Until)
		}
	}
	if a.hgwSent != nil && a.hgwSent.equal(v) {
		return nil
	}
	u := a.update(v, now)
	u.Interface, u.IfName = c.name, h.Device
	if err := a.notify(u); err != nil {
		if exitCode(err) == notFound { // a person took it away
			c.presence = absent
		}
		return err
	}
	a.hgwSent = v
	return nil
}
