package dhcp6

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
)

// summary is what a message carries, for a person.
func summary(m sent) []string {
	s := []string{m.MessageType.String()}
	for _, o := range m.Options.Options {
		switch o := o.(type) {
		case *dhcpv6.OptIAPD:
			s = append(s, "IA_PD")
			for _, p := range o.Options.Prefixes() {
				s = append(s, p.Prefix.String()+" "+p.PreferredLifetime.String()+" "+p.ValidLifetime.String())
			}
		default:
			s = append(s, fmt.Sprint(uint16(o.Code())))
		}
	}
	return s
}

func TestFullLife(t *testing.T) {
	s := newServer(1)
	s.with[dhcpv6.MessageTypeReply] = []dhcpv6.Option{
		option(22, netip.MustParseAddr("2001:db8::5060").AsSlice()...),
		option(23, slices.Concat(netip.MustParseAddr("2001:db8::53").AsSlice(), netip.MustParseAddr("2001:db8:1::53").AsSlice())...),
		option(24, []byte("\x05flets\x07example\x00\x04iptv\x07example\x00")...),
		option(31, netip.MustParseAddr("2001:db8::123").AsSlice()...),
		option(17, 0, 0, 0x7f, 0xd9, 0, 1, 0, 1, 'x'),
	}
	run(t, config(), func(b *bench) {
		b.c.SetMode(ModePD)
		b.up(time.Second)
		var got [][]string
		msgs := b.since()
		for _, m := range msgs {
			got = append(got, summary(m))
		}
		want := [][]string{
			// 1 client id, 2 server id, 6 ORO, 8 elapsed time, 16 vendor class, 20 reconfigure accept
			{"SOLICIT", "1", "IA_PD", "8", "6", "20"},
			{"REQUEST", "1", "2", "IA_PD", "2001:db8:0:100::/56 3h30m0s 4h0m0s", "8", "6", "20", "16"},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		if msgs[1].at != rtt {
			t.Errorf("Request after %v, want at once", msgs[1].at)
		}
		if oro := msgs[0].Options.RequestedOptions(); !slices.Equal(oro, dhcpv6.OptionCodes(orderORO)) {
			t.Errorf("ORO %v", oro)
		}
		ev := b.last()
		bound := b.began.Add(2 * rtt)
		wantEvent := Event{
			Lease: &Lease{
				Server: s.duid, ServerAddr: netip.MustParseAddr("fe80::1"), Verified: true,
				Prefixes: []Prefix{{Prefix: netip.MustParsePrefix("2001:db8:0:100::/56"), Preferred: bound.Add(12600 * time.Second), Valid: bound.Add(14400 * time.Second)}},
				T1:       bound.Add(7200 * time.Second), T2: bound.Add(10800 * time.Second),
			},
			Info: &Info{
				DNS:     []netip.Addr{netip.MustParseAddr("2001:db8::53"), netip.MustParseAddr("2001:db8:1::53")},
				SNTP:    []netip.Addr{netip.MustParseAddr("2001:db8::123")},
				SIP:     []netip.Addr{netip.MustParseAddr("2001:db8::5060")},
				Domains: []string{"flets.example", "iptv.example"},
				Vendor:  []Vendor{{Enterprise: 0x7fd9, Data: []byte{0, 1, 0, 1, 'x'}}},
			},
		}
		if diff := cmp.Diff(wantEvent, ev, addrComparer, prefixComparer); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}

		// A month of renewals: one message each 7200 s, the lease never lost.
		b.pass(30 * 24 * time.Hour)
		msgs = b.since()
		if len(msgs) != 30*12-1 && len(msgs) != 30*12 {
			t.Errorf("%d messages in 30 days", len(msgs))
		}
		for i, m := range msgs {
			if m.MessageType != dhcpv6.MessageTypeRenew {
				t.Fatalf("message %d: %v", i, m.MessageType)
			}
		}
		p := msgs[0].Options.OneIAPD().Options.Prefixes()[0]
		if p.PreferredLifetime != 12600*time.Second || p.ValidLifetime != 14400*time.Second {
			t.Errorf("Renew carries the lifetimes %v and %v, want the lease's own", p.PreferredLifetime, p.ValidLifetime)
		}
		if msgs[0].GetOneOption(dhcpv6.OptionVendorClass) == nil || msgs[0].GetOneOption(dhcpv6.OptionServerID) == nil {
			t.Errorf("Renew lacks an option: %v", msgs[0])
		}
		if b.lost() {
			t.Error("the lease was lost on the way")
		}
	}, s)
}

var (
	addrComparer   = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	prefixComparer = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
)

func TestTrace(t *testing.T) {
	run(t, config(), func(b *bench) {
		b.bound()
		want := []string{"solicit", "advertise from fe80::1%wan", "request", "reply from fe80::1%wan"}
		if diff := cmp.Diff(want, b.traced); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}, newServer(1))
}

// What must hold of every message whatever happens.
func TestMessageRules(t *testing.T) {
	s := newServer(1)
	cfg := config()
	cfg.HintLength = 56
	cfg.SolicitOptions = []dhcpv6.Option{option(15, 0, 1, 'x')}
	cfg.Release = true
	run(t, cfg, func(b *bench) {
		b.bound()
		b.do(func() { s.dead = true })
		b.pass(12 * time.Hour) // renew, rebind, expiry, solicit
		b.do(func() { s.dead = false })
		b.c.Restart()
		b.pass(time.Second)
		b.c.SetMode(ModeOff)
		b.c.Restart()
		b.c.SetMode(ModeInfo)
		b.pass(time.Minute)
		b.c.SetMode(ModePD)
		b.pass(time.Minute)
		b.stop()
		b.stop = func() {}
		kinds := map[dhcpv6.MessageType]int{}
		for _, m := range b.since() {
			kinds[m.MessageType]++
			for _, never := range []dhcpv6.OptionCode{dhcpv6.OptionIANA, dhcpv6.OptionIATA, dhcpv6.OptionRapidCommit} {
				if m.GetOneOption(never) != nil {
					t.Errorf("%v carries %v", m.MessageType, never)
				}
			}
			if got := m.GetOneOption(dhcpv6.OptionClientID).ToBytes(); string(got) != string(ourDUID) {
				t.Errorf("%v: client id % x", m.MessageType, got)
			}
			toOne := map[dhcpv6.MessageType]bool{dhcpv6.MessageTypeRequest: true, dhcpv6.MessageTypeRenew: true, dhcpv6.MessageTypeRelease: true}
			if has := m.GetOneOption(dhcpv6.OptionServerID) != nil; has != toOne[m.MessageType] {
				t.Errorf("%v: server id: %v", m.MessageType, has)
			}
			isSolicit := m.MessageType == dhcpv6.MessageTypeSolicit
			if has := m.GetOneOption(15) != nil; has != isSolicit {
				t.Errorf("%v: Solicit's own option: %v", m.MessageType, has)
			}
			if has := m.GetOneOption(16) != nil; has != (!isSolicit && m.MessageType != dhcpv6.MessageTypeRelease) {
				t.Errorf("%v: Request's own option: %v", m.MessageType, has)
			}
			if isSolicit {
				p := m.Options.OneIAPD().Options.Prefixes()
				if len(p) != 1 || p[0].Prefix.String() != "::/56" || p[0].ValidLifetime != 0 {
					t.Errorf("hint %v", p)
				}
			}
			if m.MessageType == dhcpv6.MessageTypeInformationRequest && m.Options.OneIAPD() != nil {
				t.Error("Information-request with an IA_PD")
			}
		}
		for _, k := range []dhcpv6.MessageType{
			dhcpv6.MessageTypeSolicit, dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRenew,
			dhcpv6.MessageTypeRebind, dhcpv6.MessageTypeInformationRequest, dhcpv6.MessageTypeRelease,
		} {
			if kinds[k] == 0 {
				t.Errorf("no %v came up in this test", k)
			}
		}
	}, s)
}

// TestRetransmission compares each kind's pace with RFC 8415 7.6 and 15.
func TestRetransmission(t *testing.T) {
	for _, tt := range []struct {
		name     string
		prepare  func(*bench, *server) // until the first transmission of what is to be timed
		what     dhcpv6.MessageType
		irt, mrt time.Duration
		count    int // transmissions to look at
		firstPos bool
		after    string // what is sent then, empty: not looked at
	}{
		{
			name:    "Solicit",
			prepare: func(b *bench, s *server) { s.dead = true; b.c.SetMode(ModePD); b.up(0) },
			what:    dhcpv6.MessageTypeSolicit, irt: time.Second, mrt: 3600 * time.Second, count: 20, firstPos: true,
		},
		{
			name: "Solicit with SOL_MAX_RT 60",
			prepare: func(b *bench, s *server) {
				s.with[dhcpv6.MessageTypeAdvertise] = []dhcpv6.Option{option(dhcpv6.OptionSolMaxRT, 0, 0, 0, 60)}
				s.refuse[dhcpv6.MessageTypeSolicit] = iana.StatusNoPrefixAvail
				b.c.SetMode(ModePD)
				b.up(0)
			},
			what: dhcpv6.MessageTypeSolicit, irt: time.Second, mrt: 60 * time.Second, count: 20, firstPos: true,
		},
		{
			name: "Solicit with SOL_MAX_RT out of range",
			prepare: func(b *bench, s *server) {
				s.with[dhcpv6.MessageTypeAdvertise] = []dhcpv6.Option{option(dhcpv6.OptionSolMaxRT, 0, 0, 0, 59)}
				s.refuse[dhcpv6.MessageTypeSolicit] = iana.StatusNoPrefixAvail
				b.c.SetMode(ModePD)
				b.up(0)
			},
			what: dhcpv6.MessageTypeSolicit, irt: time.Second, mrt: 3600 * time.Second, count: 16, firstPos: true,
		},
		{
			name: "Request",
			prepare: func(b *bench, s *server) {
				s.silent[dhcpv6.MessageTypeRequest] = true
				b.c.SetMode(ModePD)
				b.up(0)
			},
			what: dhcpv6.MessageTypeRequest, irt: time.Second, mrt: 30 * time.Second, count: 10, after: "SOLICIT",
		},
		{
			name:    "Renew",
			prepare: func(b *bench, s *server) { b.bound(); b.do(func() { s.dead = true }); b.pass(7199 * time.Second) },
			what:    dhcpv6.MessageTypeRenew, irt: 10 * time.Second, mrt: 600 * time.Second, count: 11, after: "REBIND",
		},
		{
			name:    "Rebind",
			prepare: func(b *bench, s *server) { b.bound(); b.do(func() { s.dead = true }); b.pass(10799 * time.Second) },
			what:    dhcpv6.MessageTypeRebind, irt: 10 * time.Second, mrt: 600 * time.Second, count: 11, after: "SOLICIT",
		},
		{
			name:    "Information-request",
			prepare: func(b *bench, s *server) { s.dead = true; b.c.SetMode(ModeInfo); b.up(0) },
			what:    dhcpv6.MessageTypeInformationRequest, irt: time.Second, mrt: 3600 * time.Second, count: 20,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(1)
			run(t, config(), func(b *bench) {
				tt.prepare(b, s)
				b.pass(24 * time.Hour)
				msgs := b.since()
				first := slices.IndexFunc(msgs, func(m sent) bool { return m.MessageType == tt.what })
				if first < 0 {
					t.Fatalf("none sent: %d messages", len(msgs))
				}
				msgs = msgs[first:]
				if other := slices.IndexFunc(msgs, func(m sent) bool { return m.MessageType != tt.what }); other >= 0 {
					if got := msgs[other].MessageType.String(); tt.after == "" || got != tt.after {
						t.Fatalf("%s after %d", got, other)
					}
					msgs = msgs[:other]
				}
				if tt.after != "" && abs(len(msgs)-tt.count) > 1 || len(msgs) < tt.count-1 {
					t.Fatalf("%d transmissions, want %d", len(msgs), tt.count)
				}
				if tt.name == "Request" && len(msgs) != 10 {
					t.Fatalf("%d Requests, want REQ_MAX_RC 10", len(msgs))
				}
				var prev time.Duration
				for i := range len(msgs) - 1 {
					if msgs[i+1].TransactionID != msgs[0].TransactionID {
						t.Fatalf("transmission %d: another transaction id", i+1)
					}
					rt := msgs[i+1].at - msgs[i].at
					low, high := tt.irt*9/10, tt.irt*11/10
					if prev > 0 {
						low, high = prev*19/10, prev*21/10
					} else if tt.firstPos {
						low = tt.irt + 1
					}
					if high > tt.mrt { // RT is capped to MRT with its own RAND
						low, high = min(low, tt.mrt*9/10), max(tt.mrt*11/10, 0)
					}
					if rt < low || rt > high {
						t.Fatalf("RT %d is %v, want %v to %v", i+1, rt, low, high)
					}
					prev = rt
					// The elapsed time tells since the first transmission.
					want := min((msgs[i+1].at - msgs[0].at).Round(10*time.Millisecond), 655350*time.Millisecond)
					if got := msgs[i+1].Options.ElapsedTime(); got != want {
						t.Fatalf("elapsed time %v, want %v", got, want)
					}
				}
				if e := msgs[0].Options.ElapsedTime(); e != 0 {
					t.Fatalf("first elapsed time %v", e)
				}
			}, s)
		})
	}
}

func abs(n int) int { return max(n, -n) }

// RAND is what keeps a street of routers from soliciting in step after a power
// cut, so its range is looked at over many draws.
func TestTimeoutRange(t *testing.T) {
	for rand, want := range map[float64][3]time.Duration{
		-0.1: {900 * time.Millisecond, 1710 * time.Millisecond, 27 * time.Second},
		0:    {time.Second, 2 * time.Second, 30 * time.Second},
		0.1:  {1100 * time.Millisecond, 2310 * time.Millisecond, 33 * time.Second},
	} {
		first := timeout(0, time.Second, 30*time.Second, rand)
		second := timeout(first, time.Second, 30*time.Second, rand)
		capped := timeout(29*time.Second, time.Second, 30*time.Second, rand)
		if got := [3]time.Duration{first, second, capped}; got != want {
			t.Errorf("RAND %v: %v, want %v", rand, got, want)
		}
	}
	c := New(Config{})
	for range 10000 {
		if j := jitter(c.rand); j < -0.1 || j > 0.1 {
			t.Fatalf("RAND %v", j)
		}
		if j := positiveJitter(c.rand); j <= 0 || j > 0.1 {
			t.Fatalf("RAND of the first Solicit %v", j)
		}
	}
}

// A whole day with nobody there must stay quiet.
func TestDeadServerDay(t *testing.T) {
	for _, tt := range []struct {
		name    string
		mode    Mode
		bound   bool
		atMost  int
		atLeast int
	}{
		{"soliciting", ModePD, false, 40, 20},
		{"information", ModeInfo, false, 40, 20},
		{"a lease that runs out", ModePD, true, 70, 30},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(1)
			run(t, config(), func(b *bench) {
				if tt.bound {
					b.bound()
					b.messages()
				}
				b.do(func() { s.dead = true })
				if !tt.bound {
					b.c.SetMode(tt.mode)
					b.up(0)
				}
				b.pass(24 * time.Hour)
				if n := len(b.messages()); n > tt.atMost || n < tt.atLeast {
					t.Errorf("%d messages in 24 h, want %d to %d", n, tt.atLeast, tt.atMost)
				}
				if b.errCode() == "" || b.last().Lease != nil {
					t.Errorf("last event %+v, want no lease and an error", b.last())
				}
			}, s)
		})
	}
}

// A server that offers and refuses, or lends for moments, cannot make the client
// send more than it should.
func TestHostileServerDay(t *testing.T) {
	for _, tt := range []struct {
		name   string
		script func(*server)
		atMost int
	}{
		{"offers and refuses", func(s *server) { s.refuse[dhcpv6.MessageTypeRequest] = iana.StatusNoPrefixAvail }, 100},
		{"offers and grants lifetimes of 0", func(s *server) {
			s.edit = func(req *dhcpv6.Message, answer []byte) []byte {
				if req.MessageType == dhcpv6.MessageTypeRequest {
					m, _ := dhcpv6.MessageFromBytes(answer)
					p := m.Options.OneIAPD().Options.Prefixes()[0]
					p.PreferredLifetime, p.ValidLifetime = 0, 0
					return m.ToBytes()
				}
				return answer
			}
		}, 100},
		{"NotOnLink", func(s *server) { s.refuse[dhcpv6.MessageTypeRequest] = iana.StatusNotOnLink }, 100},
		{"UnspecFail", func(s *server) { s.refuse[dhcpv6.MessageTypeRequest] = iana.StatusUnspecFail }, 400},
		{"UseMulticast", func(s *server) { s.refuse[dhcpv6.MessageTypeRequest] = iana.StatusUseMulticast }, 400},
		{"offers and stays silent", func(s *server) { s.silent[dhcpv6.MessageTypeRequest] = true }, 400},
		{"leases of one second", func(s *server) { s.t1, s.t2, s.prefixes = 1, 1, []lent{{"2001:db8:0:100::/56", 1, 1}} }, 24*3600 + 20},
		{"leases to renew each second", func(s *server) { s.t1, s.t2 = 1, 1 }, 24 * 3600 / 5},
		{"NoBinding forever", func(s *server) {
			s.t1, s.t2 = 1, 2
			s.refuse[dhcpv6.MessageTypeRenew] = iana.StatusNoBinding
			s.refuse[dhcpv6.MessageTypeRebind] = iana.StatusNoBinding
		}, 24 * 3600 / 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(1)
			tt.script(s)
			run(t, config(), func(b *bench) {
				b.c.SetMode(ModePD)
				b.up(24 * time.Hour)
				if n := len(b.messages()); n > tt.atMost || n == 0 {
					t.Errorf("%d messages in 24 h, want at most %d", n, tt.atMost)
				}
			}, s)
		})
	}
}

func TestPrefixChanges(t *testing.T) {
	const old, moved = "2001:db8:0:100::/56", "2001:db8:0:200::/56"
	for _, tt := range []struct {
		name   string
		change func(s, s2 *server)
		wait   time.Duration
		want   []string // all prefixes then
		server byte
	}{
		{"at T1, the old one withdrawn", func(s, _ *server) {
			s.prefixes = []lent{{old, 0, 0}, {moved, 12600, 14400}}
		}, 7201 * time.Second, []string{moved}, 1},
		{"at T1, the old one deprecated", func(s, _ *server) {
			s.prefixes = []lent{{old, 0, 600}, {moved, 12600, 14400}}
		}, 7201 * time.Second, []string{moved, old + " deprecated"}, 1},
		{"at T1, the old one not mentioned", func(s, _ *server) {
			s.prefixes = []lent{{moved, 12600, 14400}}
		}, 7201 * time.Second, []string{moved, old}, 1},
		{"the old one not mentioned, and over", func(s, _ *server) {
			s.prefixes = []lent{{moved, 12600, 14400}}
		}, 14401 * time.Second, []string{moved}, 1},
		{"a second one beside the old", func(s, _ *server) {
			s.prefixes = []lent{{"2001:db8:0:1000::/52", 12600, 14400}, {old, 12600, 14400}}
		}, 7201 * time.Second, []string{old, "2001:db8:0:1000::/52"}, 1},
		{"at T2, by another server", func(s, s2 *server) {
			s.dead, s2.dead = true, false
			s2.prefixes = []lent{{old, 0, 0}, {moved, 12600, 14400}}
		}, 10801 * time.Second, []string{moved}, 2},
		{"at T2, the same by another server", func(s, s2 *server) {
			s.dead, s2.dead = true, false
		}, 10801 * time.Second, []string{old}, 2},
		{"nine more", func(s, _ *server) {
			for i := range 9 {
				s.prefixes = append(s.prefixes, lent{netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 1, byte(9 - i)}), 48).String(), 12600, 14400})
			}
		}, 7201 * time.Second, []string{old, "2001:db8:103::/48", "2001:db8:104::/48", "2001:db8:105::/48", "2001:db8:106::/48", "2001:db8:107::/48", "2001:db8:108::/48", "2001:db8:109::/48"}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, s2 := newServer(1), newServer(2)
			s2.dead = true
			run(t, config(), func(b *bench) {
				b.bound()
				b.do(func() { tt.change(s, s2) })
				b.pass(tt.wait)
				var got []string
				for _, p := range b.last().Lease.Prefixes {
					d := ""
					if p.Deprecated {
						d = " deprecated"
					}
					got = append(got, p.Prefix.String()+d)
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
				if b.lost() {
					t.Error("there was a moment without a lease")
				}
				if want := newServer(tt.server).duid; string(b.last().Lease.Server) != string(want) {
					t.Errorf("server % x, want % x", b.last().Lease.Server, want)
				}
			}, s, s2)
		})
	}
}

func TestDeprecationIsAnEvent(t *testing.T) {
	s := newServer(1)
	run(t, config(), func(b *bench) {
		b.bound()
		b.do(func() { s.dead = true })
		b.pass(12590 * time.Second)
		if b.last().Lease.Prefixes[0].Deprecated {
			t.Fatal("deprecated early")
		}
		b.pass(20 * time.Second)
		if !b.last().Lease.Prefixes[0].Deprecated {
			t.Fatal("the end of the preferred lifetime is not told")
		}
		b.pass(1800 * time.Second)
		if b.last().Lease != nil || b.errCode() != Expired && b.errCode() != NoAnswer {
			t.Fatalf("after the valid lifetime: %+v", b.last())
		}
		b.wantCount("dhcp6.lease.expired", 1)
		// The line comes back: the next Solicit gets it.
		b.do(func() { s.dead = false })
		b.pass(time.Hour)
		b.wantPrefix("2001:db8:0:100::/56")
		if b.errCode() != "" {
			t.Errorf("error left: %v", b.last().Err)
		}
	}, s)
}

func TestNoBinding(t *testing.T) {
	const same, other = "2001:db8:0:100::/56", "2001:db8:0:200::/56"
	for _, tt := range []struct {
		name     string
		script   func(*server)
		at       time.Duration
		want     string
		messages []string
		lost     bool
	}{
		{"on Renew, the same again", func(s *server) { s.refuse[dhcpv6.MessageTypeRenew] = iana.StatusNoBinding },
			7201 * time.Second, same, []string{"RENEW", "REQUEST"}, false},
		{"on Renew, another one", func(s *server) {
			s.refuse[dhcpv6.MessageTypeRenew] = iana.StatusNoBinding
			s.prefixes = []lent{{other, 12600, 14400}}
		}, 7201 * time.Second, other, []string{"RENEW", "REQUEST"}, false},
		{"said of the whole message", func(s *server) {
			s.status[dhcpv6.MessageTypeRenew] = iana.StatusNoBinding
			s.edit = func(req *dhcpv6.Message, answer []byte) []byte {
				if req.MessageType != dhcpv6.MessageTypeRenew {
					return answer
				}
				m, _ := dhcpv6.MessageFromBytes(answer)
				m.Options.Del(dhcpv6.OptionIAPD)
				return m.ToBytes()
			}
		}, 7201 * time.Second, same, []string{"RENEW", "REQUEST"}, false},
		{"on Renew, then nothing", func(s *server) {
			s.refuse[dhcpv6.MessageTypeRenew] = iana.StatusNoBinding
			s.silent[dhcpv6.MessageTypeRequest] = true
		}, 7201500 * time.Millisecond, "", []string{"RENEW", "REQUEST", "REQUEST"}, true},
		{"on Renew, then refused, then one to have", func(s *server) {
			s.refuse[dhcpv6.MessageTypeRenew] = iana.StatusNoBinding
			n := 0
			s.edit = func(req *dhcpv6.Message, answer []byte) []byte {
				m, _ := dhcpv6.MessageFromBytes(answer)
				if req.MessageType == dhcpv6.MessageTypeRequest {
					if n++; n == 1 {
						m.Options.OneIAPD().Options.Options = dhcpv6.Options{statusOption(iana.StatusNoPrefixAvail, "")}
					}
				}
				return m.ToBytes()
			}
		}, 7210 * time.Second, same, []string{"RENEW", "REQUEST", "SOLICIT", "REQUEST"}, true},
		{"NotOnLink", func(s *server) { s.refuse[dhcpv6.MessageTypeRenew] = iana.StatusNotOnLink },
			7201 * time.Second, same, []string{"RENEW", "SOLICIT", "REQUEST"}, true},
		{"withdrawn", func(s *server) {
			s.edit = func(req *dhcpv6.Message, answer []byte) []byte {
				m, _ := dhcpv6.MessageFromBytes(answer)
				if req.MessageType == dhcpv6.MessageTypeRenew {
					p := m.Options.OneIAPD().Options.Prefixes()[0]
					p.PreferredLifetime, p.ValidLifetime = 0, 0
				}
				return m.ToBytes()
			}
		}, 7201 * time.Second, same, []string{"RENEW", "SOLICIT", "REQUEST"}, true},
		{"UnspecFail is tried again later", func(s *server) { s.refuse[dhcpv6.MessageTypeRenew] = iana.StatusUnspecFail },
			7215 * time.Second, same, []string{"RENEW", "RENEW"}, false},
		{"NoPrefixAvail is tried again later", func(s *server) { s.refuse[dhcpv6.MessageTypeRenew] = iana.StatusNoPrefixAvail },
			7215 * time.Second, same, []string{"RENEW", "RENEW"}, false},
		{"UseMulticast is tried again later", func(s *server) {
			s.status[dhcpv6.MessageTypeRenew] = iana.StatusUseMulticast
			s.refuse[dhcpv6.MessageTypeRenew] = 0
		},
			7215 * time.Second, same, []string{"RENEW", "RENEW"}, false},
		{"on Rebind", func(s *server) {
			s.silent[dhcpv6.MessageTypeRenew] = true
			s.refuse[dhcpv6.MessageTypeRebind] = iana.StatusNoBinding
			s.t1, s.t2 = 7200, 7205
		}, 7206 * time.Second, same, []string{"RENEW", "REBIND", "REQUEST"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(1)
			if tt.name == "on Rebind" {
				s.t1, s.t2 = 7200, 7205
			}
			run(t, config(), func(b *bench) {
				b.bound()
				b.messages()
				b.do(func() { tt.script(s) })
				b.pass(tt.at - time.Second)
				b.wantPrefix(tt.want)
				b.wantMessages(tt.messages...)
				if b.lost() != tt.lost {
					t.Errorf("lease lost: %v, want %v", b.lost(), tt.lost)
				}
			}, s)
		})
	}
}

func TestNoPrefixAvail(t *testing.T) {
	s := newServer(1)
	s.refuse[dhcpv6.MessageTypeSolicit] = iana.StatusNoPrefixAvail
	run(t, config(), func(b *bench) {
		b.c.SetMode(ModePD)
		b.up(10 * time.Second)
		want := &Error{Code: NoPrefixAvail, Text: "as scripted", Server: netip.MustParseAddr("fe80::1%wan")}
		if diff := cmp.Diff(want, b.last().Err, addrComparer); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		if len(b.events) != 1 {
			t.Errorf("%d events of one and the same error", len(b.events))
		}
		b.wantMessages("SOLICIT", "SOLICIT", "SOLICIT", "SOLICIT")
		b.do(func() { clear(s.refuse) })
		b.pass(time.Minute)
		b.wantPrefix("2001:db8:0:100::/56")
		if b.errCode() != "" {
			t.Error("the error outlived its cause")
		}
	}, s)
}

func TestStrictRFC(t *testing.T) {
	for _, tt := range []struct {
		name  string
		prefs []byte
		late  []time.Duration
		want  byte // the server that is asked
		after time.Duration
		least time.Duration
	}{
		{"one server: the first RT is waited out", []byte{0}, []time.Duration{rtt}, 1, 2200 * time.Millisecond, time.Second},
		{"the highest preference", []byte{3, 200, 7}, []time.Duration{rtt, 2 * rtt, 3 * rtt}, 2, 2200 * time.Millisecond, time.Second},
		{"the first of equals", []byte{5, 5}, []time.Duration{2 * rtt, rtt}, 2, 2200 * time.Millisecond, time.Second},
		{"255 at once", []byte{0, 255}, []time.Duration{rtt, 2 * rtt}, 2, time.Second + 3*rtt, 0},
		{"none within the first RT: then the first that comes", []byte{0}, []time.Duration{1500 * time.Millisecond}, 1, 3 * time.Second, 1500 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var servers []*server
			for i, p := range tt.prefs {
				s := newServer(byte(i + 1))
				s.pref, s.delay = p, tt.late[i]
				servers = append(servers, s)
			}
			cfg := config()
			cfg.StrictRFC = true
			run(t, cfg, func(b *bench) {
				b.c.SetMode(ModePD)
				b.up(10 * time.Second)
				msgs := b.since()
				if msgs[0].at == 0 || msgs[0].at > time.Second {
					t.Errorf("first Solicit after %v, want a random delay up to 1 s", msgs[0].at)
				}
				i := slices.IndexFunc(msgs, func(m sent) bool { return m.MessageType == dhcpv6.MessageTypeRequest })
				if i < 0 {
					t.Fatal("no Request")
				}
				if got := msgs[i].GetOneOption(dhcpv6.OptionServerID).ToBytes(); string(got) != string(newServer(tt.want).duid) {
					t.Errorf("asked % x, want server %d", got, tt.want)
				}
				if d := msgs[i].at - msgs[0].at; d < tt.least || msgs[i].at > tt.after {
					t.Errorf("asked at %v, %v after the Solicit", msgs[i].at, d)
				}
			}, servers...)
		})
	}
}

func TestRelease(t *testing.T) {
	for _, tt := range []struct {
		name     string
		release  bool
		silent   bool
		messages []string
		atMost   time.Duration
	}{
		{"not asked for", false, false, nil, 0},
		{"confirmed", true, false, []string{"RELEASE"}, rtt},
		{"not confirmed", true, true, []string{"RELEASE", "RELEASE"}, 1500 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(1)
			s.silent[dhcpv6.MessageTypeRelease] = tt.silent
			cfg := config()
			cfg.Release = tt.release
			run(t, cfg, func(b *bench) {
				b.bound()
				b.messages()
				began := time.Now()
				b.stop()
				b.stop = func() {}
				if d := time.Since(began); d > tt.atMost {
					t.Errorf("took %v, want at most %v", d, tt.atMost)
				}
				b.wantMessages(tt.messages...)
			}, s)
		})
	}
}

func TestInformation(t *testing.T) {
	dns := option(23, netip.MustParseAddr("2001:db8::53").AsSlice()...)
	for _, tt := range []struct {
		name    string
		options []dhcpv6.Option
		again   time.Duration // 0: never
	}{
		{"no refresh time: a day", []dhcpv6.Option{dns}, 86400 * time.Second},
		{"an hour", []dhcpv6.Option{dns, option(32, 0, 0, 14, 16)}, 3600 * time.Second},
		{"a second: the minimum of 600", []dhcpv6.Option{dns, option(32, 0, 0, 0, 1)}, 600 * time.Second},
		{"infinity", []dhcpv6.Option{dns, option(32, 0xff, 0xff, 0xff, 0xff)}, 0},
		{"malformed: a day", []dhcpv6.Option{option(32, 1, 2, 3), dns}, 86400 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(1)
			s.with[dhcpv6.MessageTypeReply] = tt.options
			run(t, config(), func(b *bench) {
				b.c.SetMode(ModeInfo)
				b.up(time.Second)
				b.wantMessages("INFORMATION-REQUEST")
				if ev := b.last(); ev.Info == nil || len(ev.Info.DNS) != 1 || ev.Lease != nil {
					t.Fatalf("event %+v", ev)
				}
				if tt.again == 0 {
					b.pass(365 * 24 * time.Hour)
					b.wantMessages()
					return
				}
				b.pass(tt.again - 2*time.Second)
				b.wantMessages()
				b.pass(2 * time.Second)
				b.wantMessages("INFORMATION-REQUEST")
			}, s)
		})
	}
}

func TestModes(t *testing.T) {
	t.Run("information, then a prefix after all", func(t *testing.T) {
		run(t, config(), func(b *bench) {
			b.c.SetMode(ModeInfo)
			b.up(time.Second)
			b.c.SetMode(ModePD)
			b.pass(time.Second)
			b.wantMessages("INFORMATION-REQUEST", "SOLICIT", "REQUEST")
			b.wantPrefix("2001:db8:0:100::/56")
		}, newServer(1))
	})
	t.Run("nobody delegates, then information", func(t *testing.T) {
		s := newServer(1)
		s.silent[dhcpv6.MessageTypeSolicit] = true
		run(t, config(), func(b *bench) {
			b.c.SetMode(ModePD)
			b.up(2 * time.Second)
			b.c.SetMode(ModeInfo)
			b.pass(time.Hour)
			b.wantMessages("SOLICIT", "SOLICIT", "INFORMATION-REQUEST")
		}, s)
	})
	t.Run("a prefix that is being requested is kept", func(t *testing.T) {
		run(t, config(), func(b *bench) {
			b.c.SetMode(ModePD)
			b.up(rtt + rtt/2)
			b.c.SetMode(ModeInfo)
			b.pass(7210 * time.Second)
			b.wantMessages("SOLICIT", "REQUEST", "RENEW")
			b.wantPrefix("2001:db8:0:100::/56")
		}, newServer(1))
	})
	t.Run("and when it is lost, information", func(t *testing.T) {
		s := newServer(1)
		run(t, config(), func(b *bench) {
			b.bound()
			b.c.SetMode(ModeInfo)
			b.do(func() {
				s.silent[dhcpv6.MessageTypeRenew] = true
				s.silent[dhcpv6.MessageTypeRebind] = true
			})
			b.pass(14400 * time.Second)
			got := b.messages()
			if got[len(got)-1] != "INFORMATION-REQUEST" || b.last().Lease != nil {
				t.Errorf("%v, %+v", got, b.last())
			}
		}, s)
	})
	t.Run("off sends nothing, and the lease ages", func(t *testing.T) {
		run(t, config(), func(b *bench) {
			b.bound()
			b.messages()
			b.c.SetMode(ModeOff)
			b.pass(14390 * time.Second)
			b.wantPrefix("2001:db8:0:100::/56")
			b.pass(20 * time.Second)
			b.wantPrefix("")
			b.wantMessages()
			b.c.SetMode(ModePD)
			b.pass(time.Second)
			b.wantPrefix("2001:db8:0:100::/56")
		}, newServer(1))
	})
}

func TestLink(t *testing.T) {
	s := newServer(1)
	run(t, config(), func(b *bench) {
		b.bound()
		b.messages()
		first := b.conn
		b.c.LinkDown()
		b.pass(time.Hour)
		b.wantMessages()
		b.wantPrefix("2001:db8:0:100::/56")
		select {
		case <-first.closed:
		default:
			t.Error("the connection is open after LinkDown")
		}
		// The lease is in use while it is verified, and verified in one round trip.
		b.conn = b.newConn()
		b.c.LinkUp(b.conn)
		synctest.Wait()
		if l := b.last().Lease; l == nil || l.Verified {
			t.Fatalf("lease after LinkUp: %+v", l)
		}
		b.pass(rtt)
		if l := b.last().Lease; l == nil || !l.Verified {
			t.Fatalf("lease after Rebind: %+v", l)
		}
		b.wantMessages("REBIND")
		// What the old connection still delivers is not taken; a second LinkUp
		// closes the connection before.
		second := b.conn
		b.up(time.Second)
		select {
		case <-second.closed:
		default:
			t.Error("the connection before is open after LinkUp")
		}
		b.wantMessages("REBIND")
		// The link comes back after the lease is over.
		b.c.LinkDown()
		b.pass(5 * time.Hour)
		b.wantPrefix("")
		b.up(time.Second)
		b.wantMessages("SOLICIT", "REQUEST")
		b.wantPrefix("2001:db8:0:100::/56")
	}, s)
}

func TestLinkUpAfterEnd(t *testing.T) {
	run(t, config(), func(b *bench) {
		b.up(0)
		b.stop()
		b.stop = func() {}
		late := b.newConn()
		b.c.LinkUp(late)
		for _, c := range []*conn{b.conn, late} {
			select {
			case <-c.closed:
			default:
				t.Error("a connection is open after the end of Run")
			}
		}
	})
}

func TestAnotherLine(t *testing.T) {
	for _, tt := range []struct {
		name     string
		script   func(*server)
		mode     Mode
		messages []string
		within   time.Duration
		want     string
	}{
		{"silent to an unknown Rebind", func(s *server) { s.silent[dhcpv6.MessageTypeRebind] = true }, ModePD,
			[]string{"REBIND", "REBIND", "SOLICIT", "REQUEST"}, 3500 * time.Millisecond, "2001:db8:0:900::/56"},
		{"says NoBinding", func(s *server) { s.refuse[dhcpv6.MessageTypeRebind] = iana.StatusNoBinding }, ModePD,
			[]string{"REBIND", "REQUEST"}, 2 * rtt, "2001:db8:0:900::/56"},
		{"names another prefix only", func(s *server) {}, ModePD, []string{"REBIND"}, rtt, "2001:db8:0:900::/56"},
		{"withdraws the old one", func(s *server) { s.prefixes = []lent{{"2001:db8:0:100::/56", 0, 0}} }, ModePD,
			[]string{"REBIND", "SOLICIT"}, 2 * rtt, ""},
		{"has no prefix", func(s *server) {
			s.silent[dhcpv6.MessageTypeRebind] = true
			s.refuse[dhcpv6.MessageTypeSolicit] = iana.StatusNoPrefixAvail
		}, ModePD, []string{"REBIND", "REBIND", "SOLICIT"}, 3500 * time.Millisecond, ""},
		{"has router advertisements alone", func(s *server) {
			s.silent[dhcpv6.MessageTypeRebind] = true
		}, ModeInfo, []string{"REBIND", "REBIND", "INFORMATION-REQUEST"}, 3500 * time.Millisecond, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(1)
			run(t, config(), func(b *bench) {
				b.bound()
				b.c.LinkDown()
				b.pass(time.Minute)
				b.messages()
				b.do(func() {
					*s = *newServer(9)
					s.prefixes = []lent{{"2001:db8:0:900::/56", 12600, 14400}}
					tt.script(s)
				})
				b.c.SetMode(tt.mode)
				b.up(tt.within)
				b.wantMessages(tt.messages...)
				b.wantPrefix(tt.want)
				if l := b.last().Lease; l != nil && len(l.Prefixes) != 1 {
					t.Errorf("something of the other line stays: %v", l.Prefixes)
				}
			}, s)
		})
	}
}

// The carrier's advertisements tell only later that nobody delegates here.
func TestAnotherLineTurnsOutWithoutDelegation(t *testing.T) {
	s := newServer(1)
	run(t, config(), func(b *bench) {
		b.bound()
		b.c.LinkDown()
		b.do(func() {
			s.silent[dhcpv6.MessageTypeRebind] = true
			s.silent[dhcpv6.MessageTypeSolicit] = true
		})
		b.up(10 * time.Second)
		b.wantPrefix("2001:db8:0:100::/56")
		b.messages()
		b.c.SetMode(ModeInfo)
		b.pass(time.Second)
		b.wantPrefix("")
		b.wantMessages("INFORMATION-REQUEST")
	}, s)
}

// A line that is dead while the router restarts: the lease is used on, and both
// ways to a new one are open.
func TestUnansweredVerification(t *testing.T) {
	s := newServer(1)
	run(t, config(), func(b *bench) {
		b.bound()
		b.do(func() { s.dead = true })
		b.up(time.Hour)
		b.wantPrefix("2001:db8:0:100::/56")
		if b.last().Lease.Verified || b.errCode() != NoAnswer {
			t.Errorf("%+v", b.last())
		}
		b.do(func() { s.dead = false })
		b.pass(time.Hour)
		if !b.last().Lease.Verified || b.lost() || b.errCode() != "" {
			t.Errorf("%+v, lost %v", b.last(), b.lost())
		}
	}, s)
}

func TestCommands(t *testing.T) {
	s := newServer(1)
	run(t, config(), func(b *bench) {
		b.bound()
		b.messages()
		b.c.Renew()
		b.pass(time.Second)
		b.wantMessages("RENEW")

		// Other options are renewed at once, the same ones are not.
		b.c.SetRequestOptions([]dhcpv6.Option{vendorOpt})
		b.pass(time.Second)
		b.wantMessages()
		b.c.SetRequestOptions([]dhcpv6.Option{option(16, 0, 0, 0, 9, 0, 1, 'x')})
		b.pass(time.Second)
		msgs := b.since()
		if len(msgs) != 1 || string(msgs[0].GetOneOption(16).ToBytes()) != "\x00\x00\x00\x09\x00\x01x" {
			t.Errorf("sent %v", msgs)
		}

		b.c.Restart()
		synctest.Wait()
		b.pass(time.Second)
		b.wantMessages("SOLICIT", "REQUEST")
		if !b.lost() {
			t.Error("Restart kept the lease")
		}

		// While nobody answers, Renew asks again without waiting.
		b.do(func() { s.dead = true })
		b.c.Restart()
		b.pass(30 * time.Minute)
		b.messages()
		b.c.Renew()
		synctest.Wait()
		b.wantMessages("SOLICIT")

		// However often it is pressed, the bucket holds.
		for range 1000 {
			b.c.Renew()
			synctest.Wait()
		}
		if n := len(b.messages()); n > limiterBurst {
			t.Errorf("%d messages at once", n)
		}
		if b.counters.Get("dhcp6.sent.limited") == 0 {
			t.Error("the limit is not counted")
		}
	}, s)
}

func TestOptionsChangeDuringRequest(t *testing.T) {
	run(t, config(), func(b *bench) {
		b.c.SetMode(ModePD)
		b.up(rtt + rtt/2)
		b.c.SetRequestOptions([]dhcpv6.Option{option(16, 0, 0, 0, 9, 0, 1, 'x')})
		b.pass(time.Second)
		b.wantMessages("SOLICIT", "REQUEST", "RENEW")
	}, newServer(1))
}

func TestInformationIsKeptOverABareReply(t *testing.T) {
	s := newServer(1)
	s.with[dhcpv6.MessageTypeReply] = []dhcpv6.Option{option(23, netip.MustParseAddr("2001:db8::53").AsSlice()...)}
	run(t, config(), func(b *bench) {
		b.bound()
		b.do(func() { s.with = map[dhcpv6.MessageType][]dhcpv6.Option{} })
		b.pass(7210 * time.Second)
		if i := b.last().Info; i == nil || len(i.DNS) != 1 {
			t.Errorf("info %+v", i)
		}
		b.do(func() {
			s.with[dhcpv6.MessageTypeReply] = []dhcpv6.Option{option(31, netip.MustParseAddr("2001:db8::123").AsSlice()...)}
		})
		b.pass(7210 * time.Second)
		if i := b.last().Info; len(i.DNS) != 0 || len(i.SNTP) != 1 {
			t.Errorf("info %+v", i)
		}
	}, s)
}

// The address may not be usable at the very first moment: the system refuses,
// and a whole second is not lost over it.
func TestSendError(t *testing.T) {
	run(t, config(), func(b *bench) {
		b.c.SetMode(ModePD)
		b.conn = b.newConn()
		b.conn.fail = 2
		b.c.LinkUp(b.conn)
		b.pass(400 * time.Millisecond)
		b.wantPrefix("2001:db8:0:100::/56")
		b.wantCount("dhcp6.send.error", 2)
	}, newServer(1))
}

func TestSendErrorForever(t *testing.T) {
	run(t, config(), func(b *bench) {
		b.c.SetMode(ModePD)
		b.conn = b.newConn()
		b.conn.fail = 1 << 30
		b.c.LinkUp(b.conn)
		b.pass(24 * time.Hour)
		if n := b.counters.Get("dhcp6.send.error"); n > 60 {
			t.Errorf("%d attempts in a day", n)
		}
	}, newServer(1))
}

func TestConfigErrors(t *testing.T) {
	for _, cfg := range []Config{{}, {DUID: make([]byte, 131)}, {DUID: ourDUID, HintLength: 129}, {DUID: ourDUID, HintLength: -1}} {
		if err := New(cfg).Run(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "dhcp6: ") {
			t.Errorf("%+v: error %v", cfg, err)
		}
	}
}
