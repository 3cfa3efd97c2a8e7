package line

import (
	"fmt"
	"net/netip"
	"slices"

	"sofutobanku/internal/dhcp4"
	"sofutobanku/internal/hgw"
	"sofutobanku/internal/ra"
	"sofutobanku/internal/state"
)

// wan is the uplink as the routers advertise it and DHCPv6 informs about it.
func (s *Session) wan() state.WAN {
	w := state.WAN{Device: s.cfg.Device, MTU: s.ra.MTU, HopLimit: s.ra.HopLimit}
	iid := s.cfg.InterfaceID
	if iid == ([8]byte{}) {
		// Without a MAC there is no EUI-64, and no address of the router's own.
		iid, _ = ra.EUI64(s.link.MAC)
	}
	if iid != ([8]byte{}) {
		for _, a := range s.ra.Addresses(iid) {
			w.Addresses = append(w.Addresses, state.Address{
				Prefix: a.Prefix, Preferred: a.Preferred, Valid: a.Until, Deprecated: a.Deprecated,
			})
		}
	}
	for _, p := range s.ra.Prefixes {
		if p.OnLink && !p.Autonomous {
			w.Routes = append(w.Routes, state.Route{Prefix: p.Prefix, Until: p.OnLinkUntil})
		}
	}
	for _, r := range s.ra.Routers {
		w.Routers = append(w.Routers, state.Router{Addr: r.Addr, Preference: r.Preference, Until: r.Until})
	}
	for _, r := range s.ra.Routes {
		w.Routes = append(w.Routes, state.Route{Prefix: r.Prefix, Via: r.Via, Preference: r.Preference, Until: r.Until})
	}
	if info := s.dhcp.Info; info != nil {
		w.DNS = slices.Clone(info.DNS)
		w.Domains = slices.Clone(info.Domains)
		w.NTP = slices.Clone(info.SNTP)
	}
	for _, d := range s.ra.DNS {
		w.DNS = appendNew(w.DNS, d.Addr)
	}
	for _, d := range s.ra.Domains {
		w.Domains = appendNew(w.Domains, d.Name)
	}
	return w
}

// phoneState is the telephone network, nil where it is not joined.
func (s *Session) phoneState() *state.Phone {
	if !s.joined {
		return nil
	}
	p := &state.Phone{}
	if l := s.phone.Lease; l != nil {
		p.Address = l.Address
		for _, r := range l.Routes {
			p.Routes = append(p.Routes, state.Route{Prefix: r.Prefix, Via: r.Via})
		}
	}
	e := s.phone.Err
	if e == nil || !s.link.Up {
		return p
	}
	p.Error = &state.Error{Code: ErrPhoneSilent, Text: fmt.Sprintf("no DHCPv4 server of the telephone network answers on %s (%s): check that the contract has telephone service, or set option phone to 0", s.cfg.Device, e.Text)}
	switch e.Code {
	case dhcp4.Refused:
		p.Error = &state.Error{Code: ErrPhoneRefused, Text: e.Text + ": a telephone gateway that was there before may still hold the address"}
	case dhcp4.Conflict:
		p.Error = &state.Error{Code: ErrPhoneConflict, Text: e.Text + ": disconnect the other telephone gateway"}
	}
	return p
}

// hgwState is the home gateway, nil without one.
func (s *Session) hgwState() *state.HGW {
	if s.cfg.HGWDevice == "" {
		return nil
	}
	h := &state.HGW{Device: s.cfg.HGWDevice}
	for _, b := range s.hgw.Prefixes {
		h.Routes = append(h.Routes, state.Route{Prefix: b.Prefix, Via: s.hgw.LinkLocal, Until: b.Until})
	}
	up := s.Upstream()
	delegated, _, room := hgw.Delegation(up.Prefix.Prefix)
	if room {
		// Both are in the second half of all that ends like them.
		h.Reserved = netip.PrefixFrom(delegated.Addr(), delegated.Bits()-1).Masked()
	}
	switch {
	case s.port.Name == "": // nobody looked yet
	case !s.port.Exists:
		h.Error = &state.Error{Code: ErrHGWDevice, Text: fmt.Sprintf("there is no network device %s: check option hgw_device", h.Device)}
	case s.port.Enslaved:
		h.Error = &state.Error{Code: ErrHGWDevice, Text: fmt.Sprintf("%s belongs to a bridge: take it out of the bridge's ports, the home gateway needs a port of its own", h.Device)}
	case s.link.Exists && s.link.Index == s.port.Index:
		h.Error = &state.Error{Code: ErrHGWDevice, Text: fmt.Sprintf("%s is the WAN device: the home gateway needs a port of its own", h.Device)}
	default:
		h.Forward = s.link.Exists
		if _, _, ok := s.prefix(); ok && !room {
			h.Error = &state.Error{Code: ErrHGWNoPrefix, Text: "the line gives no prefix of which a /60 is left for the home gateway: it has IPv4 alone"}
		}
	}
	return h
}

// Upstream is what the home gateway is served from.
func (s *Session) Upstream() hgw.Upstream {
	up := hgw.Upstream{
		Info: s.dhcp.Info, Router: len(s.ra.Routers) > 0,
		HopLimit: s.ra.HopLimit, MTU: s.ra.MTU, Reachable: s.ra.Reachable, Retrans: s.ra.Retrans,
	}
	if p, onWAN, ok := s.prefix(); ok && !onWAN {
		up.Prefix = p
	}
	for i, r := range s.ra.Routers {
		if i == 0 || lasts(r.Until, up.RouterUntil) {
			up.RouterUntil = r.Until
		}
	}
	return up
}

func appendNew[T comparable](list []T, v T) []T {
	if slices.Contains(list, v) {
		return list
	}
	return append(list, v)
}

// err is what keeps the line from being up, the cause before its consequences.
func (s *Session) err() *state.Error {
	dev := s.cfg.Device
	_, _, ok := s.prefix()
	switch {
	case s.link.Name == "" && !s.link.Exists:
		return nil // nobody looked yet
	case !s.link.Exists:
		return &state.Error{Code: ErrNoDevice, Text: fmt.Sprintf("there is no network device %s: check option device", dev)}
	case !s.link.Up && !s.wasUp && !s.overdue:
		return nil // the device takes a moment to find its link
	case !s.link.Up:
		return &state.Error{Code: ErrNoCarrier, Text: fmt.Sprintf("%s has no link: check the cable to the ONU and that the ONU is powered", dev)}
	case s.link.DADFailed:
		return &state.Error{Code: ErrDADFailed, Text: fmt.Sprintf("another device on %s uses this router's link-local address: two devices have the same MAC address", dev)}
	case !ok && s.dhcp.Err != nil && s.dhcp.Err.Server.IsValid():
		return &state.Error{Code: ErrNoPrefix, Text: fmt.Sprintf("the DHCPv6 server gave no prefix (%v): if this router's MAC or DUID changed, the line may ignore it for up to the old lease's lifetime", s.dhcp.Err)}
	case !ok && s.overdue && len(s.ra.Routers) == 0:
		return &state.Error{Code: ErrNoRA, Text: fmt.Sprintf("no router and no DHCPv6 server answers on %s: check that it is the port to the ONU", dev)}
	case !ok && s.overdue:
		return &state.Error{Code: ErrNoPrefix, Text: fmt.Sprintf("a router answers on %s and no DHCPv6 server does: check that no other router or home gateway is connected to the same ONU, and the client id (option clientid)", dev)}
	case s.overdue && !s.routed():
		return &state.Error{Code: ErrNoRA, Text: fmt.Sprintf("no router advertises itself on %s: the line, or what is between it and the ONU, is out of order", dev)}
	}
	return s.askError
}
