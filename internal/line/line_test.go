package line

import (
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sofutobanku/internal/dhcp4"
	"sofutobanku/internal/dhcp6"
	"sofutobanku/internal/hgw"
	"sofutobanku/internal/link"
	"sofutobanku/internal/ra"
	"sofutobanku/internal/state"
)

// fixed is a carrier whose two interface identifiers are easy to read: …::a asks,
// …::b ends the tunnel.
type fixed struct{}

func (fixed) Source(p netip.Prefix) netip.Addr {
	return ra.SLAAC(netip.PrefixFrom(p.Addr(), 64), [8]byte{7: 0xa})
}
func (fixed) Local(p netip.Prefix, _ netip.Addr) netip.Addr {
	return ra.SLAAC(netip.PrefixFrom(p.Addr(), 64), [8]byte{7: 0xb})
}

var (
	epoch   = time.Now()
	mac     = net.HardwareAddr{0x00, 0x00, 0x5e, 0x00, 0x53, 0x01}
	router  = netip.MustParseAddr("fe80::1")
	ipv4    = netip.MustParseAddr("192.0.2.1")
	br      = netip.MustParseAddr("2001:db8:b::1")
	target  = netip.MustParseAddr("198.51.100.1")
	first   = netip.MustParsePrefix("2001:db8:1100::/56")
	second  = netip.MustParsePrefix("2001:db8:2200::/56")
	shared  = netip.MustParsePrefix("2001:db8:3300::/64")
	upLink  = link.State{Exists: true, Up: true, Index: 2, Name: "wan0", MAC: mac, MTU: 1500}
	managed = ra.Info{Managed: true, Other: true, MTU: 1500, Routers: []ra.Router{{Addr: router, Until: at(1800)}}}
	slaac   = ra.Info{Other: true, MTU: 1500, Routers: managed.Routers, Prefixes: []ra.Prefix{
		{Prefix: shared, OnLink: true, OnLinkUntil: at(600), Autonomous: true, Preferred: at(300), Until: at(600)}}}
	grant = Grant{IPv4: ipv4, BR: br, EchoTarget: target}
)

func at(seconds int) time.Time { return epoch.Add(time.Duration(seconds) * time.Second) }

func lease(p netip.Prefix) dhcp6.Event {
	return dhcp6.Event{
		Lease: &dhcp6.Lease{Prefixes: []dhcp6.Prefix{{Prefix: p, Preferred: at(12600), Valid: at(14400)}}},
		Info:  &dhcp6.Info{DNS: []netip.Addr{netip.MustParseAddr("2001:db8::53")}},
	}
}

func newSession(source PrefixSource) *Session {
	return New(Config{Device: "wan0", Carrier: fixed{}, PrefixSource: source, TTL: 64, EncapLimit: -1})
}

// grantNow answers the question that s asks at present.
func grantNow(t *testing.T, s *Session, g Grant) {
	t.Helper()
	q := s.Wants().Ask
	if q == nil {
		t.Fatal("nothing is asked")
	}
	s.Granted(*q, g)
}

// up is a session that went all the way with a delegated prefix.
func up(t *testing.T) *Session {
	t.Helper()
	s := newSession(PrefixAuto)
	s.Link(upLink)
	s.RA(managed)
	s.DHCP(lease(first))
	grantNow(t, s, grant)
	return s
}

func want(t *testing.T, what string, want, got any) {
	t.Helper()
	opts := cmp.Options{
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
		cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
		cmpopts.EquateEmpty(),
	}
	if diff := cmp.Diff(want, got, opts); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestDelegatedLineComesUp(t *testing.T) {
	s := newSession(PrefixAuto)
	s.Link(upLink)
	want(t, "wants with a link", Wants{DHCP: dhcp6.ModePD}, s.Wants())
	if got := s.State().Phase; got != state.Starting {
		t.Errorf("phase with a link = %s", got)
	}

	s.DHCP(lease(first)) // before the RA: the order cannot matter
	want(t, "wants with a lease and no route", Wants{DHCP: dhcp6.ModePD}, s.Wants())
	question := &Question{Prefix: first, Source: netip.MustParseAddr("2001:db8:1100::a"), Round: 1}
	s.RA(managed)
	want(t, "wants with RA and lease", Wants{DHCP: dhcp6.ModePD, Ask: question}, s.Wants())
	ipv6 := state.State{
		Phase: state.IPv6,
		WAN: state.WAN{Device: "wan0", MTU: 1500, Routers: []state.Router{{Addr: router, Until: at(1800)}},
			DNS: []netip.Addr{netip.MustParseAddr("2001:db8::53")}},
		Prefix:       &state.Prefix{Prefix: first, Preferred: at(12600), Valid: at(14400)},
		OwnAddresses: []netip.Addr{netip.MustParseAddr("2001:db8:1100::a")},
	}
	want(t, "state before the grant", ipv6, s.State())

	grantNow(t, s, grant)
	all := ipv6
	all.Phase = state.Up
	all.Auth = &state.Auth{}
	all.Tunnel = &state.Tunnel{Local: netip.MustParseAddr("2001:db8:1100::b"), Remote: br, IPv4: ipv4, MTU: 1460, TTL: 64, EncapLimit: -1}
	want(t, "state when up", all, s.State())
	want(t, "echo", &Echo{Source: ipv4, Target: target, Local: all.Tunnel.Local, Remote: br}, s.Wants().Echo)
}

func TestAdvertisedLineComesUp(t *testing.T) {
	s := newSession(PrefixAuto)
	s.Link(upLink)
	s.RA(slaac)
	want(t, "wants", Wants{DHCP: dhcp6.ModeInfo, Ask: &Question{Prefix: shared, Source: netip.MustParseAddr("2001:db8:3300::a"), Round: 1}}, s.Wants())
	grantNow(t, s, grant)
	own := func(a string) state.Address {
		return state.Address{Prefix: netip.PrefixFrom(netip.MustParseAddr(a), 128), Valid: at(600), Deprecated: true, NoDAD: true}
	}
	want(t, "state", state.State{
		Phase: state.Up,
		WAN: state.WAN{Device: "wan0", MTU: 1500, Routers: []state.Router{{Addr: router, Until: at(1800)}},
			Addresses: []state.Address{
				{Prefix: netip.MustParsePrefix("2001:db8:3300::200:5eff:fe00:5301/64"), Preferred: at(300), Valid: at(600)},
				own("2001:db8:3300::a"), own("2001:db8:3300::b"),
			}},
		Tunnel: &state.Tunnel{Local: netip.MustParseAddr("2001:db8:3300::b"), Remote: br, IPv4: ipv4, MTU: 1460, TTL: 64, EncapLimit: -1, LocalOnWAN: true},
		Auth:   &state.Auth{},
	}, s.State())
}

func TestNewPrefixMovesTheTunnel(t *testing.T) {
	s := up(t)
	s.DHCP(lease(second))
	st := s.State()
	if st.Phase != state.IPv6 || st.Tunnel == nil || st.Tunnel.Local != netip.MustParseAddr("2001:db8:1100::b") {
		t.Errorf("before the new grant: phase %s, tunnel %+v: the old one must stay", st.Phase, st.Tunnel)
	}
	if w := s.Wants(); w.Echo != nil {
		t.Errorf("an echo through the old tunnel is wanted: %+v", w.Echo)
	}
	grantNow(t, s, grant)
	if st = s.State(); st.Phase != state.Up || st.Tunnel.Local != netip.MustParseAddr("2001:db8:2200::b") {
		t.Errorf("after the new grant: phase %s, tunnel %+v", st.Phase, st.Tunnel)
	}
}

func TestRefusal(t *testing.T) {
	why := state.Error{Code: "AUTH_REJECTED", Text: "no"}

	t.Run("for the same prefix leaves the tunnel", func(t *testing.T) {
		s := up(t)
		s.Renew()
		s.Refused(*s.Wants().Ask, why)
		st := s.State()
		want(t, "error", &why, st.Error)
		if st.Phase != state.Up || st.Tunnel == nil {
			t.Errorf("phase %s, tunnel %+v", st.Phase, st.Tunnel)
		}
		grantNow(t, s, grant)
		want(t, "error after a grant", (*state.Error)(nil), s.State().Error)
	})
	t.Run("for a new prefix removes it", func(t *testing.T) {
		s := up(t)
		s.DHCP(lease(second))
		s.Refused(*s.Wants().Ask, why)
		if st := s.State(); st.Tunnel != nil || st.Phase != state.IPv6 || st.Prefix.Prefix != second {
			t.Errorf("phase %s, tunnel %+v, prefix %+v", st.Phase, st.Tunnel, st.Prefix)
		}
	})
}

// A prefix that ended takes its tunnel along for good: the next one may be
// another line's.
func TestGrantEndsWithItsPrefix(t *testing.T) {
	s := up(t)
	s.DHCP(dhcp6.Event{})
	s.DHCP(lease(second))
	if st := s.State(); st.Tunnel != nil {
		t.Errorf("tunnel %+v with prefix %v", st.Tunnel, st.Prefix.Prefix)
	}
	grantNow(t, s, grant)
	if st := s.State(); st.Phase != state.Up {
		t.Errorf("phase %s", st.Phase)
	}
}

func TestLateAnswersAreIgnored(t *testing.T) {
	s := up(t)
	before := s.State()
	old := *s.Wants().Ask
	s.DHCP(lease(second))
	s.Granted(old, Grant{IPv4: netip.MustParseAddr("192.0.2.99"), BR: br})
	s.Refused(old, state.Error{Code: "AUTH_SILENT"})
	st := s.State()
	want(t, "tunnel", before.Tunnel, st.Tunnel)
	want(t, "error", (*state.Error)(nil), st.Error)
}

func TestOneThingChangesOneThing(t *testing.T) {
	otherBR, otherIPv4 := netip.MustParseAddr("2001:db8:b::2"), netip.MustParseAddr("192.0.2.2")
	lost := managed
	lost.Routers = nil
	for _, tt := range []struct {
		name string
		do   func(t *testing.T, s *Session)
		want func(*state.State)
	}{
		{"new BR", func(t *testing.T, s *Session) { s.Renew(); grantNow(t, s, Grant{IPv4: ipv4, BR: otherBR}) },
			func(st *state.State) { st.Tunnel.Remote = otherBR }},
		{"new IPv4", func(t *testing.T, s *Session) { s.Renew(); grantNow(t, s, Grant{IPv4: otherIPv4, BR: br}) },
			func(st *state.State) { st.Tunnel.IPv4 = otherIPv4 }},
		{"lost router", func(t *testing.T, s *Session) { s.RA(lost) },
			func(st *state.State) { st.WAN.Routers = nil }},
		{"renewed lease", func(t *testing.T, s *Session) {
			ev := lease(first)
			ev.Lease.Prefixes[0].Valid = at(20000)
			s.DHCP(ev)
		}, func(st *state.State) { st.Prefix.Valid = at(20000) }},
		{"expired lease", func(t *testing.T, s *Session) { s.DHCP(dhcp6.Event{}) }, func(st *state.State) {
			st.Phase, st.Prefix, st.OwnAddresses, st.Tunnel, st.Auth, st.WAN.DNS = state.Starting, nil, nil, nil, nil, nil
		}},
		{"link down", func(t *testing.T, s *Session) { s.Link(link.State{Exists: true, Name: "wan0", MAC: mac, MTU: 1500}) },
			func(st *state.State) {
				st.Phase = state.Down
				st.Error = &state.Error{Code: ErrNoCarrier, Text: "wan0 has no link: check the cable to the ONU and that the ONU is powered"}
			}},
		{"link down and up", func(t *testing.T, s *Session) { s.Link(link.State{Exists: true}); s.Link(upLink) }, func(*state.State) {}},
		{"smaller MTU advertised", func(t *testing.T, s *Session) {
			i := managed
			i.MTU = 1400
			s.RA(i)
		}, func(st *state.State) { st.WAN.MTU, st.Tunnel.MTU = 1400, 1360 }},
		{"restart", func(t *testing.T, s *Session) { s.Restart() }, func(st *state.State) {
			*st = state.State{Phase: state.Starting, WAN: state.WAN{Device: "wan0"}}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := up(t)
			expected := s.State()
			tt.want(&expected)
			tt.do(t, s)
			want(t, "state", expected, s.State())
		})
	}
}

func TestWithoutLinkNothingIsAsked(t *testing.T) {
	s := up(t)
	s.Link(link.State{Exists: true})
	if w := s.Wants(); w.Ask != nil || w.Echo != nil {
		t.Errorf("wants %+v", w)
	}
	s.Link(upLink)
	if w := s.Wants(); w.Ask == nil || w.Ask.Round != 2 {
		t.Errorf("after the link returned the carrier must be asked anew, wants %+v", w)
	}
}

func TestPrefixSource(t *testing.T) {
	managedWithPrefix := slaac
	managedWithPrefix.Managed = true
	noPrefix := dhcp6.Event{Err: &dhcp6.Error{}}
	for _, tt := range []struct {
		name     string
		source   PrefixSource
		ra       ra.Info
		dhcp     dhcp6.Event
		overdue  bool
		wantMode dhcp6.Mode
		want     netip.Prefix
	}{
		{"auto, lease wins over a /64", PrefixAuto, slaac, lease(first), false, dhcp6.ModeInfo, first},
		{"auto, M=1 with a /64 waits for the lease", PrefixAuto, managedWithPrefix, dhcp6.Event{}, false, dhcp6.ModePD, netip.Prefix{}},
		{"auto, M=1 with a /64, the server has none", PrefixAuto, managedWithPrefix, noPrefix, false, dhcp6.ModePD, shared},
		{"auto, M=1 with a /64, the server is silent", PrefixAuto, managedWithPrefix, dhcp6.Event{}, true, dhcp6.ModePD, shared},
		{"no takes the /64 though M=1", PrefixRA, managedWithPrefix, dhcp6.Event{}, false, dhcp6.ModeInfo, shared},
		{"a length takes no /64", PrefixPD, slaac, dhcp6.Event{}, true, dhcp6.ModePD, netip.Prefix{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSession(tt.source)
			s.Link(upLink)
			s.RA(tt.ra)
			s.DHCP(tt.dhcp)
			if tt.overdue {
				s.Overdue()
			}
			w := s.Wants()
			if w.DHCP != tt.wantMode {
				t.Errorf("DHCP mode %v, want %v", w.DHCP, tt.wantMode)
			}
			var got netip.Prefix
			if w.Ask != nil {
				got = w.Ask.Prefix
			}
			if got != tt.want {
				t.Errorf("asks for %v, want %v", got, tt.want)
			}
		})
	}
}

func TestChoiceOfAdvertisedPrefix(t *testing.T) {
	older, newer := netip.MustParsePrefix("2001:db8:1::/64"), netip.MustParsePrefix("2001:db8:2::/64")
	advertise := func(s *Session, olderEnds, newerEnds int) netip.Prefix {
		i := ra.Info{}
		for p, ends := range map[netip.Prefix]int{older: olderEnds, newer: newerEnds} {
			if ends > 0 {
				i.Prefixes = append(i.Prefixes, ra.Prefix{Prefix: p, Autonomous: true, Preferred: at(ends), Until: at(2 * ends)})
			}
		}
		slices.SortFunc(i.Prefixes, func(a, b ra.Prefix) int { return a.Prefix.Addr().Compare(b.Prefix.Addr()) })
		s.RA(i)
		p, _, _ := s.prefix()
		return p.Prefix
	}
	s := newSession(PrefixAuto)
	s.Link(upLink)
	for _, step := range []struct {
		what         string
		older, newer int // seconds until each is deprecated, 0: not advertised
		renew        bool
		want         netip.Prefix
	}{
		{"alone", 3600, 0, false, older},
		{"another one, that lasts a little longer", 3600, 3700, false, older},
		{"two routers in turn", 3800, 3700, false, older},
		{"not advertised again for more than half an hour", 3800, 5601, false, newer},
		{"and it is again", 5700, 5601, false, newer},
		{"renewed: the one that lasts longer", 5700, 5601, true, older},
		{"gone", 0, 5601, false, newer},
	} {
		if step.renew {
			s.Renew()
		}
		if got := advertise(s, step.older, step.newer); got != step.want {
			t.Errorf("%s: %v, want %v", step.what, got, step.want)
		}
	}
}

func TestErrorsNameTheCause(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(*Session)
		want string
	}{
		{"no device", func(s *Session) { s.Link(link.State{Name: "wan0"}) }, ErrNoDevice},
		{"nobody looked yet", func(*Session) {}, ""},
		{"no carrier yet", func(s *Session) { s.Link(link.State{Exists: true}) }, ""},
		{"no carrier", func(s *Session) { s.Link(link.State{Exists: true}); s.Overdue() }, ErrNoCarrier},
		{"lost carrier", func(s *Session) { s.Link(upLink); s.Link(link.State{Exists: true}) }, ErrNoCarrier},
		{"duplicate MAC", func(s *Session) { l := upLink; l.DADFailed = true; s.Link(l) }, ErrDADFailed},
		{"early", func(s *Session) { s.Link(upLink) }, ""},
		{"nothing answers", func(s *Session) { s.Link(upLink); s.Overdue() }, ErrNoRA},
		{"no DHCPv6 server", func(s *Session) { s.Link(upLink); s.RA(managed); s.Overdue() }, ErrNoPrefix},
		{"the server has no prefix", func(s *Session) {
			s.Link(upLink)
			s.DHCP(dhcp6.Event{Err: &dhcp6.Error{Code: dhcp6.NoPrefixAvail, Server: router}})
		}, ErrNoPrefix},
		{"no router", func(s *Session) { s.Link(upLink); s.DHCP(lease(first)); s.Overdue() }, ErrNoRA},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSession(PrefixAuto)
			tt.do(s)
			got := ""
			if e := s.State().Error; e != nil {
				got = e.Code
			}
			if got != tt.want {
				t.Errorf("error %q, want %q", got, tt.want)
			}
		})
	}
}

// A published State is a value: what comes later must not reach into it.
func TestStatesAreNotShared(t *testing.T) {
	s := up(t)
	st := s.State()
	dns := st.WAN.DNS[0]
	s.dhcp.Info.DNS[0] = netip.MustParseAddr("2001:db8::bad")
	if st.WAN.DNS[0] != dns {
		t.Error("a State shares its DNS servers with the session")
	}
}

func TestPhone(t *testing.T) {
	number := func(i *dhcp6.Info) bool { return i != nil && len(i.SIP) > 0 }
	never := func(*dhcp6.Info) bool { return false }
	always := func(*dhcp6.Info) bool { return true }
	told := lease(first)
	told.Info.SIP = []netip.Addr{netip.MustParseAddr("2001:db8::5060")}
	network := netip.MustParsePrefix("203.0.113.0/24")
	via := netip.MustParseAddr("198.51.100.1")
	granted := dhcp4.Event{Lease: &dhcp4.Lease{Address: netip.MustParsePrefix("198.51.100.2/30"), Routes: []dhcp4.Route{{Prefix: network, Via: via}}}}
	failed := func(code string) dhcp4.Event { return dhcp4.Event{Err: &dhcp4.Error{Code: code, Text: "why"}} }
	code := func(c string) func(*state.Phone) bool {
		return func(p *state.Phone) bool { return p != nil && p.Error != nil && p.Error.Code == c }
	}
	none := func(p *state.Phone) bool { return p == nil }
	for _, test := range []struct {
		name   string
		joins  func(*dhcp6.Info) bool
		events func(s *Session)
		wanted bool
		is     func(*state.Phone) bool
	}{
		{"nothing told yet", number, func(*Session) {}, false, none},
		{"always", always, func(*Session) {}, true, func(p *state.Phone) bool { return p != nil && !p.Address.IsValid() && p.Error == nil }},
		{"no number", number, func(s *Session) { s.DHCP(lease(first)) }, false, none},
		{"not configured", nil, func(s *Session) { s.DHCP(told) }, false, none},
		{"never, though there is a number", never, func(s *Session) { s.DHCP(told) }, false, none},
		{"a number", number, func(s *Session) { s.DHCP(told) }, true, func(p *state.Phone) bool { return p != nil }},
		{"IPv6 is lost", number, func(s *Session) { s.DHCP(told); s.Phone(granted); s.DHCP(dhcp6.Event{}) }, true, func(p *state.Phone) bool {
			return p.Address == granted.Lease.Address && slices.Equal(p.Routes, []state.Route{{Prefix: network, Via: via}}) && p.Error == nil
		}},
		{"the number is lost", number, func(s *Session) { s.DHCP(told); s.Phone(granted); s.DHCP(lease(first)) }, false, none},
		{"restarted", number, func(s *Session) { s.DHCP(told); s.Phone(granted); s.Restart() }, false, none},
		{"silence", always, func(s *Session) { s.Phone(failed(dhcp4.NoAnswer)) }, true, code(ErrPhoneSilent)},
		{"over", always, func(s *Session) { s.Phone(failed(dhcp4.Expired)) }, true, code(ErrPhoneSilent)},
		{"refused", always, func(s *Session) { s.Phone(failed(dhcp4.Refused)) }, true, code(ErrPhoneRefused)},
		{"somebody has it", always, func(s *Session) { s.Phone(failed(dhcp4.Conflict)) }, true, code(ErrPhoneConflict)},
		{"no link", always, func(s *Session) { s.Phone(failed(dhcp4.NoAnswer)); s.Link(link.State{Exists: true}) }, true, func(p *state.Phone) bool { return p.Error == nil }},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := New(Config{Device: "wan0", Carrier: fixed{}, TTL: 64, EncapLimit: -1, Phone: test.joins})
			s.Link(upLink)
			test.events(s)
			if got := s.Wants().Phone; got != test.wanted {
				t.Errorf("wanted: %v", got)
			}
			st := s.State()
			if !test.is(st.Phone) {
				t.Errorf("%+v", st.Phone)
			}
			if st.Error != nil && st.Error.Code != ErrNoCarrier {
				t.Errorf("the line's error: %+v", st.Error)
			}
		})
	}
	// Whatever becomes of the telephone, the line stays as it is.
	s := up(t)
	s.cfg.Phone, s.joined = always, true
	s.Phone(failed(dhcp4.NoAnswer))
	if st := s.State(); st.Phase != state.Up || st.Error != nil || s.Wants().Echo == nil {
		t.Errorf("%+v", st)
	}
}

// A home gateway's State follows from its port, the line's prefix, and what its server
// says; none of it is the line's error.
func TestHGW(t *testing.T) {
	port := link.State{Exists: true, Up: true, Index: 4, Name: "lan4"}
	unit := netip.MustParseAddr("fe80::f0")
	for _, tt := range []struct {
		name string
		do   func(s *Session)
		want state.HGW
	}{
		{"nobody looked yet", func(s *Session) { s.Port(link.State{}) }, state.HGW{}},
		{"no device", func(s *Session) { s.Port(link.State{Name: "lan4"}) },
			state.HGW{Error: &state.Error{Code: ErrHGWDevice, Text: "there is no network device lan4: check option hgw_device"}}},
		{"in a bridge", func(s *Session) {
			p := port
			p.Enslaved = true
			s.Port(p)
		}, state.HGW{Error: &state.Error{Code: ErrHGWDevice, Text: "lan4 belongs to a bridge: take it out of the bridge's ports, the home gateway needs a port of its own"}}},
		{"the WAN", func(s *Session) {
			p := port
			p.Index = upLink.Index
			s.Port(p)
		}, state.HGW{Error: &state.Error{Code: ErrHGWDevice, Text: "lan4 is the WAN device: the home gateway needs a port of its own"}}},
		{"nothing asked yet", func(*Session) {}, state.HGW{Forward: true}},
		{"unplugged", func(s *Session) {
			p := port
			p.Up = false
			s.Port(p)
		}, state.HGW{Forward: true}},
		{"holds a prefix", func(s *Session) {
			s.HGW(hgw.Event{LinkLocal: unit, Prefixes: []hgw.Binding{{Prefix: netip.MustParsePrefix("2001:db8:1100:f0::/60"), Until: at(14400)}}})
		}, state.HGW{Forward: true, Routes: []state.Route{{Prefix: netip.MustParsePrefix("2001:db8:1100:f0::/60"), Via: unit, Until: at(14400)}}}},
		{"no WAN device", func(s *Session) { s.Link(link.State{Name: "wan0"}) }, state.HGW{}},
		{"a prefix too small", func(s *Session) { s.DHCP(lease(shared)) },
			state.HGW{Forward: true, Error: &state.Error{Code: ErrHGWNoPrefix, Text: "the line gives no prefix of which a /60 is left for the home gateway: it has IPv4 alone"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := New(Config{Device: "wan0", Carrier: fixed{}, TTL: 64, EncapLimit: -1, HGWDevice: "lan4"})
			s.Link(upLink)
			s.RA(managed)
			s.DHCP(lease(first))
			s.Port(port)
			tt.do(s)
			expected := tt.want
			expected.Device = "lan4"
			if tt.name != "a prefix too small" {
				expected.Reserved = netip.MustParsePrefix("2001:db8:1100:e0::/59")
			}
			want(t, "home gateway", &expected, s.State().HGW)
		})
	}
}

// What a home gateway is served from is what the line has, and no more.
func TestUpstream(t *testing.T) {
	s := New(Config{Device: "wan0", Carrier: fixed{}, HGWDevice: "lan4"})
	want(t, "of nothing", hgw.Upstream{}, s.Upstream())
	s.Link(upLink)
	two := managed
	two.Reachable, two.Retrans, two.HopLimit = 300*time.Second, 10*time.Second, 64
	two.Routers = append([]ra.Router{{Addr: netip.MustParseAddr("fe80::2"), Until: at(600)}}, managed.Routers...)
	s.RA(two)
	s.DHCP(lease(first))
	want(t, "of a delegated line", hgw.Upstream{
		Prefix: lease(first).Lease.Prefixes[0], Info: lease(first).Info,
		Router: true, RouterUntil: at(1800), HopLimit: 64, MTU: 1500, Reachable: 300 * time.Second, Retrans: 10 * time.Second,
	}, s.Upstream())
	s.DHCP(dhcp6.Event{})
	s.RA(slaac)
	if up := s.Upstream(); up.Prefix.Prefix.IsValid() || up.Info != nil || !up.Router {
		t.Errorf("of an advertised /64: %+v", up)
	}
}
