package line

import (
	"net/netip"
	"slices"
	"time"

	"sofutobanku/internal/dhcp4"
	"sofutobanku/internal/dhcp6"
	"sofutobanku/internal/hgw"
	"sofutobanku/internal/link"
	"sofutobanku/internal/ra"
	"sofutobanku/internal/state"
)

// tunnelOverhead is the outer IPv6 header of RFC 2473 without the encapsulation
// limit option, in bytes.
const tunnelOverhead = 40

// staleBy is by how much longer another advertised prefix must last than the one
// in use to replace it. It is the longest that a router leaves between two
// advertisements (RFC 4861 6.2.1): what differs by less may just not have been
// advertised again yet, and two routers in turn must not make the line flap.
const staleBy = 30 * time.Minute

// Codes of state.Error. They are stable: LuCI and users' scripts know them.
const (
	ErrNoDevice  = "NO_DEVICE"  // the WAN device does not exist
	ErrNoCarrier = "NO_CARRIER" // it has no link
	ErrDADFailed = "DAD_FAILED" // the link-local address is a duplicate
	ErrNoRA      = "NO_RA"      // no router advertised itself
	ErrNoPrefix  = "NO_PREFIX"  // no prefix was delegated or advertised

	// Of the telephone network alone, see state.Phone.
	ErrPhoneSilent   = "PHONE_SILENT"   // no DHCPv4 server answers
	ErrPhoneRefused  = "PHONE_REFUSED"  // it gives no address
	ErrPhoneConflict = "PHONE_CONFLICT" // somebody else has the address that it gives

	// Of the home gateway alone, see state.HGW.
	ErrHGWDevice   = "HGW_DEVICE"    // its port does not exist, or belongs to a bridge
	ErrHGWNoPrefix = "HGW_NO_PREFIX" // the line's prefix leaves none for it
)

// Carrier is what a session must know of the carrier.
type Carrier interface {
	// Source is the address in the line's prefix that asks for the IPv4.
	Source(prefix netip.Prefix) netip.Addr
	// Local is the tunnel's local end for a granted IPv4 address.
	Local(prefix netip.Prefix, ipv4 netip.Addr) netip.Addr
}

// PrefixSource says where the line's prefix comes from.
type PrefixSource int

const (
	// PrefixAuto solicits a delegation and takes an advertised /64 where the
	// line has none.
	PrefixAuto PrefixSource = iota
	// PrefixRA takes an advertised /64 and asks DHCPv6 for information only.
	PrefixRA
	// PrefixPD takes a delegated prefix only.
	PrefixPD
)

// Config is what the user decided about a line.
type Config struct {
	Device       string
	Carrier      Carrier
	PrefixSource PrefixSource
	// InterfaceID of the SLAAC address; all zero takes the EUI-64 of the device.
	InterfaceID [8]byte
	MTU         int // of the tunnel in bytes, 0 derives it from the WAN's
	TTL         int // hop limit of the outer packet, 1 to 255
	EncapLimit  int // RFC 2473 4.1.1; negative for none
	// EchoTarget proves the path through the tunnel; invalid takes what the
	// carrier names.
	EchoTarget netip.Addr
	// Phone tells by what DHCPv6 said, nil before it said anything, whether the line's
	// telephone network is to be joined. Nil never joins it.
	Phone func(*dhcp6.Info) bool
	// HGWDevice is the port to a home gateway that is served, "" for none.
	HGWDevice string
}

// Grant is what an authentication gave.
type Grant struct {
	IPv4, BR   netip.Addr
	EchoTarget netip.Addr   // invalid when the carrier names none
	DNS        []netip.Addr // used where neither DHCPv6 nor the RA brought any
	Auth       state.Auth
}

// Question is what an authentication must ask. Two equal Questions are one: the
// asker of the first goes on.
type Question struct {
	Prefix netip.Prefix
	Source netip.Addr
	// Round goes up when the same question must be asked again at once.
	Round int
}

// Echo is the IPv4 echo that proves the tunnel.
type Echo struct {
	Source, Target netip.Addr
	// Local and Remote are the tunnel's ends: a moved tunnel is proven anew.
	Local, Remote netip.Addr
}

// Wants is the work that the present inputs ask for. It is a value to compare:
// what is wanted and not running is started, what runs and is not wanted ends.
type Wants struct {
	DHCP  dhcp6.Mode
	Phone bool // an address of the telephone network
	Ask   *Question
	Echo  *Echo
}

// Session is one line. It is not safe for concurrent use.
type Session struct {
	cfg Config

	link    link.State
	wasUp   bool // the link was up at least once
	ra      ra.Info
	dhcp    dhcp6.Event
	chosen  netip.Prefix // of the advertised ones; invalid takes the best
	overdue bool         // a line in order would have got further by now

	round    int
	grant    *Grant
	granted  Question // what grant answered
	askError *state.Error

	joined bool // the telephone network is to be joined
	phone  dhcp4.Event

	port link.State // to the home gateway
	hgw  hgw.Event
}

// New returns the session of a line of which nothing is known yet.
func New(cfg Config) *Session {
	return &Session{cfg: cfg, joined: cfg.Phone != nil && cfg.Phone(nil)}
}

// Link takes the WAN device's new state. What is known of the line outlives a
// lost carrier, to be verified when it returns.
func (s *Session) Link(l link.State) {
	if l.Up && !s.link.Up {
		s.wasUp, s.overdue = true, false
		s.Renew()
	}
	s.link = l
}

// RA takes all that the routers advertise now.
func (s *Session) RA(info ra.Info) {
	s.ra = info
	best, _ := s.best()
	if now, ok := s.advertised(); !ok || !now.Preferred.IsZero() && lasts(best.Preferred, now.Preferred.Add(staleBy)) {
		s.chosen = best.Prefix
	} else {
		s.chosen = now.Prefix
	}
	s.forget()
}

// DHCP takes the DHCPv6 client's whole present picture.
func (s *Session) DHCP(ev dhcp6.Event) {
	s.dhcp = ev
	s.forget()
	// What was once told holds until something else is: a line without IPv6 may have a
	// telephone.
	if ev.Info != nil && s.cfg.Phone != nil {
		s.joined = s.cfg.Phone(ev.Info)
	}
}

// Phone takes the DHCPv4 client's whole present picture.
func (s *Session) Phone(ev dhcp4.Event) { s.phone = ev }

// Port takes the new state of the port to the home gateway.
func (s *Session) Port(l link.State) { s.port = l }

// HGW takes the whole present picture of the home gateway.
func (s *Session) HGW(ev hgw.Event) { s.hgw = ev }

// forget drops the grant of a prefix that ended without a successor: the line may
// come back as another one.
func (s *Session) forget() {
	if _, _, ok := s.prefix(); !ok {
		s.grant = nil
	}
}

// Overdue says that a line in order would have a link and a prefix by now.
func (s *Session) Overdue() { s.overdue = true }

// Granted takes the answer to q. An answer to an older question is ignored.
func (s *Session) Granted(q Question, g Grant) {
	if !s.asks(q) {
		return
	}
	s.grant, s.granted, s.askError = &g, q, nil
}

// Refused takes the failure of q. An IPv4 that was granted for the same prefix
// stays in use: the far end is stateless, and silence says nothing about it.
func (s *Session) Refused(q Question, why state.Error) {
	if !s.asks(q) {
		return
	}
	s.askError = &why
	if s.grant != nil && s.granted.Prefix != q.Prefix {
		s.grant = nil
	}
}

// Renew asks the carrier again at once, and takes the advertised prefix that
// lasts longest.
func (s *Session) Renew() {
	s.round++
	s.chosen = netip.Prefix{}
}

// Restart forgets all that was learned but the state of the device.
func (s *Session) Restart() {
	was := *s
	*s = *New(s.cfg)
	s.link, s.wasUp, s.round = was.link, was.wasUp, was.round+1
	s.port, s.hgw = was.port, was.hgw
}

func (s *Session) asks(q Question) bool {
	now := s.question()
	return now != nil && *now == q
}

// prefix is the line's prefix in use. onWAN tells that it is on-link on the WAN.
func (s *Session) prefix() (p dhcp6.Prefix, onWAN, ok bool) {
	if s.dhcp.Lease != nil && s.cfg.PrefixSource != PrefixRA {
		usable := func(p dhcp6.Prefix) bool { return !p.Deprecated }
		prefixes := s.dhcp.Lease.Prefixes
		if i := slices.IndexFunc(prefixes, usable); i >= 0 {
			return prefixes[i], false, true
		}
		if len(prefixes) > 0 {
			return prefixes[0], false, true
		}
	}
	if p, ok := s.advertised(); ok && s.raOnly() {
		return dhcp6.Prefix{Prefix: p.Prefix, Preferred: p.Preferred, Valid: p.Until, Deprecated: p.Deprecated}, true, true
	}
	return dhcp6.Prefix{}, false, false
}

// raOnly tells that the line's prefix is the advertised one.
func (s *Session) raOnly() bool {
	switch s.cfg.PrefixSource {
	case PrefixRA:
		return true
	case PrefixPD:
		return false
	}
	// M=1 promises addresses by DHCPv6 (RFC 4861 4.2); a server that has none,
	// or that stays silent, leaves the advertised prefix.
	return !s.ra.Managed || s.overdue || s.dhcp.Err != nil
}

// advertised is the prefix in use of those that routers advertise for autonomous
// use.
func (s *Session) advertised() (ra.Prefix, bool) {
	for _, p := range s.ra.Prefixes {
		if p.Prefix == s.chosen && usable(p) {
			return p, true
		}
	}
	return s.best()
}

// best is the advertised prefix that is preferred longest.
func (s *Session) best() (best ra.Prefix, ok bool) {
	for _, p := range s.ra.Prefixes {
		if usable(p) && (!ok || lasts(p.Preferred, best.Preferred)) {
			best, ok = p, true
		}
	}
	return best, ok
}

func usable(p ra.Prefix) bool { return p.Autonomous && !p.Deprecated }

// lasts tells that a ends later than b; the zero Time never ends.
func lasts(a, b time.Time) bool {
	return !b.IsZero() && (a.IsZero() || a.After(b))
}

func (s *Session) question() *Question {
	p, _, ok := s.prefix()
	if !ok || !s.link.Up || !s.routed() {
		return nil
	}
	return &Question{Prefix: p.Prefix, Source: s.cfg.Carrier.Source(p.Prefix), Round: s.round}
}

// Wants is the work to do now.
func (s *Session) Wants() Wants {
	w := Wants{DHCP: s.dhcpMode(), Phone: s.joined, Ask: s.question()}
	st := s.State()
	if t := st.Tunnel; t != nil && st.Phase == state.Up {
		target := s.cfg.EchoTarget
		if !target.IsValid() {
			target = s.grant.EchoTarget
		}
		if target.IsValid() {
			w.Echo = &Echo{Source: t.IPv4, Target: target, Local: t.Local, Remote: t.Remote}
		}
	}
	return w
}

func (s *Session) dhcpMode() dhcp6.Mode {
	_, advertised := s.advertised()
	switch {
	case s.cfg.PrefixSource == PrefixRA,
		s.cfg.PrefixSource == PrefixAuto && advertised && !s.ra.Managed:
		return dhcp6.ModeInfo
	}
	return dhcp6.ModePD
}

// State is the present picture of the line.
func (s *Session) State() state.State {
	st := state.State{Phase: state.Starting, WAN: s.wan(), Error: s.err(), Phone: s.phoneState(), HGW: s.hgwState()}
	p, onWAN, ok := s.prefix()
	if ok {
		st.Phase = state.IPv6
		source := s.cfg.Carrier.Source(p.Prefix)
		if onWAN {
			st.WAN.Addresses = append(st.WAN.Addresses, ownOnWAN(source, p.Valid))
		} else {
			st.Prefix = &state.Prefix{Prefix: p.Prefix, Preferred: p.Preferred, Valid: p.Valid, Deprecated: p.Deprecated}
			st.OwnAddresses = []netip.Addr{source}
		}
	}
	if g := s.grant; g != nil && ok {
		// A grant for the prefix before this one stays until the new one is
		// granted or refused, so that the tunnel moves and is never torn down.
		local := s.cfg.Carrier.Local(s.granted.Prefix, g.IPv4)
		st.Tunnel = &state.Tunnel{
			Local: local, Remote: g.BR, IPv4: g.IPv4,
			MTU: s.tunnelMTU(), TTL: s.cfg.TTL, EncapLimit: s.cfg.EncapLimit,
			LocalOnWAN: onWAN,
		}
		if onWAN && !hasAddress(st.WAN.Addresses, local) {
			st.WAN.Addresses = append(st.WAN.Addresses, ownOnWAN(local, p.Valid))
		}
		auth := g.Auth
		st.Auth = &auth
		if s.granted.Prefix == p.Prefix {
			st.Phase = state.Up
		}
		if len(st.WAN.DNS) == 0 {
			st.WAN.DNS = slices.Clone(g.DNS)
		}
	}
	if !s.link.Up {
		st.Phase = state.Down
	}
	return st
}

// ownOnWAN is an address that the WAN must answer for, and that the router's own
// traffic must not use.
func ownOnWAN(a netip.Addr, valid time.Time) state.Address {
	return state.Address{Prefix: netip.PrefixFrom(a, 128), Valid: valid, Deprecated: true, NoDAD: true}
}

// routed tells whether anything beyond the link can be reached.
func (s *Session) routed() bool { return len(s.ra.Routers)+len(s.ra.Routes) > 0 }

func hasAddress(addrs []state.Address, a netip.Addr) bool {
	return slices.ContainsFunc(addrs, func(x state.Address) bool { return x.Prefix.Addr() == a })
}

func (s *Session) tunnelMTU() int {
	if s.cfg.MTU != 0 {
		return s.cfg.MTU
	}
	mtu := s.link.MTU
	if s.ra.MTU != 0 && (mtu == 0 || s.ra.MTU < mtu) {
		mtu = s.ra.MTU
	}
	return mtu - tunnelOverhead
}
