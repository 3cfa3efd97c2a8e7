package line

import (
	"fmt"
	"slices"

	"sofutobanku/internal/dhcp4"
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
