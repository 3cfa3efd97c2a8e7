package dhcp6

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv6"
)

// raw is a DHCPv6 option by its octets, so that a wrong one can be written.
func raw(code uint16, data ...byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, code)
	b = binary.BigEndian.AppendUint16(b, uint16(len(data)))
	return append(b, data...)
}

func rawPrefix(prefix string, preferred, valid uint32) []byte {
	p := netip.MustParsePrefix(prefix)
	b := binary.BigEndian.AppendUint32(nil, preferred)
	b = binary.BigEndian.AppendUint32(b, valid)
	b = append(b, byte(p.Bits()))
	return raw(26, append(b, p.Addr().AsSlice()...)...)
}

func rawIA(id, t1, t2 uint32, options ...[]byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, id)
	b = binary.BigEndian.AppendUint32(b, t1)
	b = binary.BigEndian.AppendUint32(b, t2)
	return raw(25, append(b, bytes.Join(options, nil)...)...)
}

var goodIA = rawIA(1, 7200, 10800, rawPrefix("2001:db8:0:100::/56", 12600, 14400))

// rewrite replaces the options of an answer; the header stays.
func rewrite(answer []byte, options ...[]byte) []byte {
	return append(slices.Clone(answer[:4]), bytes.Join(options, nil)...)
}

// A malformed option beside a good prefix must cost only itself, in the
// Advertise and in the Reply.
func TestMalformedOptionBesideGoodPrefix(t *testing.T) {
	bad200 := rawPrefix("2001:db8:0:300::/56", 12600, 14400)
	bad200[4+8] = 200
	host := rawPrefix("2001:db8:0:100::/56", 12600, 14400)
	host[len(host)-1] = 1
	for _, tt := range []struct {
		name    string
		options [][]byte // beside the identifiers
		bad     uint64   // options counted, of Advertise and Reply together
	}{
		{"nothing malformed", [][]byte{goodIA}, 0},
		{"DNS of 17 octets before it", [][]byte{raw(23, make([]byte, 17)...), goodIA}, 2},
		{"DNS of no octets", [][]byte{raw(23), goodIA}, 2},
		{"empty status", [][]byte{raw(13), goodIA}, 2},
		{"status of one octet", [][]byte{goodIA, raw(13, 0)}, 2},
		{"empty preference", [][]byte{raw(7), goodIA}, 2},
		{"vendor class without data", [][]byte{raw(16, 0, 0, 0, 9), goodIA}, 0},
		{"vendor option without enterprise", [][]byte{raw(17, 0), goodIA}, 2},
		{"domain list with a pointer to itself", [][]byte{raw(24, 0xc0, 0), goodIA}, 2},
		{"FQDN cut", [][]byte{raw(39), goodIA}, 0},
		{"IA_NA cut", [][]byte{raw(3, 1), goodIA}, 0},
		{"authentication cut", [][]byte{raw(11, 3, 1), goodIA}, 2},
		{"another client identifier after ours", [][]byte{raw(1, 9, 9), goodIA}, 0},
		{"IA_PD cut before the good one", [][]byte{raw(25, 0, 0, 0, 1), goodIA}, 2},
		{"IA_PD of another IAID before", [][]byte{rawIA(2, 0, 0, rawPrefix("2001:db8:0:900::/56", 1, 1)), goodIA}, 0},
		{"IA_PD with T1 beyond T2 before", [][]byte{rawIA(1, 9, 8, rawPrefix("2001:db8:0:900::/56", 100, 100)), goodIA}, 0},
		{"option beyond the end after it", [][]byte{goodIA, {0, 23, 0xff, 0xff, 1}}, 2},
		{"half a header after it", [][]byte{goodIA, {0, 23, 0}}, 2},
		{"many empty options", [][]byte{bytes.Repeat(raw(999), 500), goodIA}, 0},
		{"prefix length 200 beside it", [][]byte{rawIA(1, 0, 0, bad200, rawPrefix("2001:db8:0:100::/56", 12600, 14400))}, 2},
		{"prefix option cut beside it", [][]byte{rawIA(1, 0, 0, raw(26, 1, 2, 3), rawPrefix("2001:db8:0:100::/56", 12600, 14400))}, 2},
		{"option beyond the end of the IA_PD", [][]byte{rawIA(1, 0, 0, rawPrefix("2001:db8:0:100::/56", 12600, 14400), []byte{0, 26, 0, 99, 1})}, 2},
		{"preferred beyond valid beside it", [][]byte{rawIA(1, 0, 0, rawPrefix("2001:db8:0:300::/56", 2, 1), rawPrefix("2001:db8:0:100::/56", 12600, 14400))}, 2},
		{"multicast prefix beside it", [][]byte{rawIA(1, 0, 0, rawPrefix("ff00:db8::/56", 9, 9), rawPrefix("2001:db8:0:100::/56", 12600, 14400))}, 2},
		{"link-local prefix beside it", [][]byte{rawIA(1, 0, 0, rawPrefix("fe80::/64", 9, 9), rawPrefix("2001:db8:0:100::/56", 12600, 14400))}, 2},
		{"everything delegated beside it", [][]byte{rawIA(1, 0, 0, rawPrefix("::/0", 9, 9), rawPrefix("2000::/3", 9, 9), rawPrefix("2001:db8:0:100::/56", 12600, 14400))}, 2},
		{"bits beyond the length", [][]byte{rawIA(1, 0, 0, host)}, 0},
		{"the same prefix twice", [][]byte{rawIA(1, 0, 0, rawPrefix("2001:db8:0:100::/56", 12600, 14400), rawPrefix("2001:db8:0:100::/56", 1, 1))}, 0},
		{"malformed option inside the prefix option", [][]byte{rawIA(1, 0, 0, raw(26, append(slices.Clone(rawPrefix("2001:db8:0:100::/56", 12600, 14400)[4:]), 0, 13, 0xff)...))}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(1)
			s.edit = func(_ *dhcpv6.Message, answer []byte) []byte {
				return rewrite(answer, append([][]byte{raw(1, ourDUID...), raw(2, s.duid...)}, tt.options...)...)
			}
			run(t, config(), func(b *bench) {
				b.c.SetMode(ModePD)
				b.up(time.Second)
				b.wantMessages("SOLICIT", "REQUEST")
				l := b.last().Lease
				if l == nil || len(l.Prefixes) != 1 {
					t.Fatalf("lease %+v", l)
				}
				b.wantPrefix("2001:db8:0:100::/56")
				b.wantCount("dhcp6.drop.option", tt.bad)
			}, s)
		})
	}
}

// Whatever comes that is not the answer is dropped, counted, and changes nothing.
func TestHostileMessages(t *testing.T) {
	s := newServer(1)
	good := func(req *dhcpv6.Message) []byte { return s.answer(req) }
	for _, tt := range []struct {
		name    string
		make    func(req *dhcpv6.Message) []byte // in answer to a Renew
		counter string
	}{
		{"empty", func(*dhcpv6.Message) []byte { return nil }, "truncated"},
		{"three octets", func(*dhcpv6.Message) []byte { return []byte{7, 1, 2} }, "truncated"},
		{"header alone", func(r *dhcpv6.Message) []byte { return good(r)[:4] }, "client-id"},
		{"8193 octets", func(r *dhcpv6.Message) []byte { return append(good(r), make([]byte, 8193)...) }, "too-big"},
		{"60000 octets", func(r *dhcpv6.Message) []byte { return append(good(r), make([]byte, 60000)...) }, "too-big"},
		{"another transaction", func(r *dhcpv6.Message) []byte { b := good(r); b[3]++; return b }, "transaction-id"},
		{"an Advertise", func(r *dhcpv6.Message) []byte { b := good(r); b[0] = 2; return b }, "unexpected"},
		{"a Solicit", func(r *dhcpv6.Message) []byte { b := good(r); b[0] = 1; return b }, "type"},
		{"a Relay-reply", func(r *dhcpv6.Message) []byte { b := good(r); b[0] = 13; return b }, "type"},
		{"no client identifier", func(r *dhcpv6.Message) []byte { return rewrite(good(r), raw(2, s.duid...), goodIA) }, "client-id"},
		{"another client's", func(r *dhcpv6.Message) []byte {
			return rewrite(good(r), raw(1, otherDUID...), raw(2, s.duid...), goodIA)
		}, "client-id"},
		{"empty client identifier", func(r *dhcpv6.Message) []byte { return rewrite(good(r), raw(1), raw(2, s.duid...), goodIA) }, "client-id"},
		{"no server identifier", func(r *dhcpv6.Message) []byte { return rewrite(good(r), raw(1, ourDUID...), goodIA) }, "no-server-id"},
		{"server identifier of 131 octets", func(r *dhcpv6.Message) []byte {
			return rewrite(good(r), raw(1, ourDUID...), raw(2, make([]byte, 131)...), goodIA)
		}, "no-server-id"},
		{"another server's", func(r *dhcpv6.Message) []byte {
			return rewrite(good(r), raw(1, ourDUID...), raw(2, otherDUID...), goodIA)
		}, "server-id"},
		{"no IA_PD", func(r *dhcpv6.Message) []byte { return rewrite(good(r), raw(1, ourDUID...), raw(2, s.duid...)) }, "no-ia"},
		{"IA_PD of another IAID", func(r *dhcpv6.Message) []byte {
			return rewrite(good(r), raw(1, ourDUID...), raw(2, s.duid...), rawIA(2, 0, 0, rawPrefix("2001:db8:0:900::/56", 100, 100)))
		}, "no-ia"},
		{"T1 beyond T2", func(r *dhcpv6.Message) []byte {
			return rewrite(good(r), raw(1, ourDUID...), raw(2, s.duid...), rawIA(1, 101, 100, rawPrefix("2001:db8:0:900::/56", 100, 100)))
		}, "no-ia"},
		{"an empty IA_PD", func(r *dhcpv6.Message) []byte {
			return rewrite(good(r), raw(1, ourDUID...), raw(2, s.duid...), rawIA(1, 0, 0))
		}, "no-ia"},
		{"only a prefix of length 200", func(r *dhcpv6.Message) []byte {
			p := rawPrefix("2001:db8:0:900::/56", 100, 100)
			p[4+8] = 200
			return rewrite(good(r), raw(1, ourDUID...), raw(2, s.duid...), rawIA(1, 0, 0, p))
		}, "no-ia"},
		{"withdraws a prefix that is not ours", func(r *dhcpv6.Message) []byte {
			return rewrite(good(r), raw(1, ourDUID...), raw(2, s.duid...), rawIA(1, 0, 0, rawPrefix("2001:db8:0:900::/56", 0, 0)))
		}, "no-ia"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			run(t, config(), func(b *bench) {
				b.bound()
				before, events := b.last(), len(b.events)
				b.do(func() { s.dead = true })
				b.c.Renew()
				synctest.Wait()
				msgs := b.since()
				req := msgs[len(msgs)-1].Message
				b.do(func() { s.dead = false })
				b.inject(tt.make(req), s.addr)
				b.wantCount("dhcp6.drop."+tt.counter, 1)
				if diff := cmp.Diff(before, b.last(), addrComparer, prefixComparer); diff != "" || len(b.events) != events {
					t.Fatalf("the picture changed (-before +after):\n%s", diff)
				}
				// The exchange goes on: the true answer, from any address and port, is taken.
				b.inject(good(req), netip.MustParseAddrPort("[2001:db8::547]:1"))
				if len(b.events) != events+1 || b.last().Lease == nil {
					t.Fatal("the answer after it is not taken")
				}
				// The same once more is a duplicate.
				b.inject(good(req), s.addr)
				b.wantCount("dhcp6.drop.unexpected", map[bool]uint64{true: 2, false: 1}[tt.counter == "unexpected"])
				if len(b.events) != events+1 {
					t.Fatal("a duplicate changed something")
				}
			}, s)
		})
	}
}

func TestUnsolicitedMessages(t *testing.T) {
	s := newServer(1)
	run(t, config(), func(b *bench) {
		b.up(0) // ModeOff: nothing is under way
		for _, typ := range []dhcpv6.MessageType{2, 7, 10} {
			m := &dhcpv6.Message{MessageType: typ}
			m.AddOption(option(1, ourDUID...))
			m.AddOption(option(2, s.duid...))
			b.inject(m.ToBytes(), s.addr)
		}
		b.wantCount("dhcp6.drop.unexpected", 2)
		b.wantCount("dhcp6.drop.reconfigure-unbound", 1)
		b.c.SetMode(ModePD)
		b.pass(0)
		// A Reply to a Solicit: Rapid Commit was not asked for.
		req := b.since()[0].Message
		m := &dhcpv6.Message{MessageType: dhcpv6.MessageTypeReply, TransactionID: req.TransactionID}
		m.AddOption(option(1, ourDUID...))
		m.AddOption(option(2, s.duid...))
		m.AddOption(option(14))
		b.inject(append(m.ToBytes(), goodIA...), s.addr)
		b.wantCount("dhcp6.drop.unexpected", 3)
		b.wantPrefix("")
	}, s)
}

// broken is a connection whose reads fail a while, as on an interface that goes
// down and comes back.
type broken struct {
	*conn
	errors int
}

func (c *broken) ReadFrom(b []byte) (int, netip.AddrPort, error) {
	if c.errors > 0 {
		c.errors--
		return 0, netip.AddrPort{}, &net.OpError{Op: "read", Err: errors.New("network is down")}
	}
	return c.conn.ReadFrom(b)
}

func TestReadErrorsAreWaitedOut(t *testing.T) {
	run(t, config(), func(b *bench) {
		b.c.SetMode(ModePD)
		b.conn = b.newConn()
		b.c.LinkUp(&broken{b.conn, 3})
		b.pass(10 * time.Second)
		b.wantPrefix("2001:db8:0:100::/56")
		b.wantCount("dhcp6.read.error", 3)
		// One that fails for ever can still be closed.
		b.c.LinkUp(&broken{b.newConn(), 1 << 30})
		b.pass(3500 * time.Millisecond)
		b.c.LinkDown()
		b.pass(0)
		if n := b.counters.Get("dhcp6.read.error"); n < 6 || n > 8 {
			t.Errorf("%d reads that failed", n)
		}
	}, newServer(1))
}

func TestReconfigure(t *testing.T) {
	key := []byte("sixteen octets!!")
	const renew, rebind, info = dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeRebind, dhcpv6.MessageTypeInformationRequest
	ours := newServer(1)
	message := func(what dhcpv6.MessageType, key []byte, replay uint64) func() []byte {
		return func() []byte { return reconfigureMessage(ours.duid, ourDUID, what, key, replay) }
	}
	for _, tt := range []struct {
		name    string
		noKey   bool // the Reply carried none
		unauth  bool // AcceptUnauthReconfigure
		refuse  bool // ReconfigureAccept is off
		from    string
		message func() []byte
		want    string // what is sent, empty for nothing
		counter string
	}{
		{name: "Renew", message: message(renew, key, 8), want: "RENEW"},
		{name: "Rebind", message: message(rebind, key, 8), want: "REBIND"},
		{name: "Information-request", message: message(info, key, 8), want: "INFORMATION-REQUEST"},
		{name: "from another address and port", from: "[2001:db8::1]:9", message: message(renew, key, 8), want: "RENEW"},
		{name: "another key", message: message(renew, []byte("sixteen octets??"), 8), counter: "reconfigure-auth"},
		{name: "a bit flipped", message: func() []byte {
			b := message(renew, key, 8)()
			b[1] ^= 1
			return b
		}, counter: "reconfigure-auth"},
		{name: "digest cut", message: func() []byte {
			m, _ := dhcpv6.MessageFromBytes(message(renew, key, 8)())
			a := m.GetOneOption(dhcpv6.OptionAuth).(*dhcpv6.OptionGeneric)
			a.OptionData = a.OptionData[:27]
			return m.ToBytes()
		}, counter: "reconfigure-auth"},
		{name: "another algorithm", message: func() []byte {
			m, _ := dhcpv6.MessageFromBytes(message(renew, key, 8)())
			m.GetOneOption(dhcpv6.OptionAuth).(*dhcpv6.OptionGeneric).OptionData[1] = 2
			return m.ToBytes()
		}, counter: "reconfigure-auth"},
		{name: "replayed", message: message(renew, key, 7), counter: "reconfigure-replay"},
		{name: "from before", message: message(renew, key, 1), counter: "reconfigure-replay"},
		{name: "no proof where there is a key", unauth: true, message: message(renew, nil, 0), counter: "reconfigure-auth"},
		{name: "another server's", message: func() []byte {
			return reconfigureMessage(otherDUID, ourDUID, renew, key, 8)
		}, counter: "reconfigure-server"},
		{name: "for another client", message: func() []byte {
			return reconfigureMessage(ours.duid, otherDUID, renew, key, 8)
		}, counter: "client-id"},
		{name: "an unknown message type in it", message: message(1, key, 8), counter: "reconfigure-type"},
		{name: "not accepted by configuration", refuse: true, message: message(renew, key, 8), counter: "reconfigure-auth"},
		{name: "unauthenticated, not accepted", noKey: true, message: message(renew, nil, 0), counter: "reconfigure-auth"},
		{name: "unauthenticated Renew", noKey: true, unauth: true, message: message(renew, nil, 0), want: "RENEW"},
		{name: "unauthenticated Rebind", noKey: true, unauth: true, message: message(rebind, nil, 0), want: "REBIND"},
		{name: "with a proof for which the key is not known", noKey: true, unauth: true, message: message(renew, key, 8), want: "RENEW"},
		{name: "unauthenticated Information-request", noKey: true, unauth: true, message: message(info, nil, 0), counter: "reconfigure-auth"},
		{name: "unauthenticated from afar", noKey: true, unauth: true, from: "[2001:db8::1]:547", message: message(renew, nil, 0), counter: "reconfigure-source"},
		{name: "unauthenticated of another server", noKey: true, unauth: true, message: func() []byte {
			return reconfigureMessage(otherDUID, ourDUID, renew, nil, 0)
		}, counter: "reconfigure-server"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(1)
			if !tt.noKey {
				s.with[dhcpv6.MessageTypeReply] = []dhcpv6.Option{authOption(rkapKey, 7, key)}
			}
			cfg := config()
			cfg.AcceptUnauthReconfigure, cfg.ReconfigureAccept = tt.unauth, !tt.refuse
			run(t, cfg, func(b *bench) {
				b.bound()
				b.messages()
				from := s.addr
				if tt.from != "" {
					from = netip.MustParseAddrPort(tt.from)
				}
				b.inject(tt.message(), from)
				b.pass(time.Second)
				if tt.want == "" {
					b.wantMessages()
					b.wantCount("dhcp6.drop."+tt.counter, 1)
					return
				}
				b.wantMessages(tt.want)
				b.wantCount("dhcp6.received.reconfigure", 1)
				if b.lost() || b.last().Lease == nil {
					t.Error("the lease was lost over it")
				}
			}, s)
		})
	}
}

func TestReconfigureSequence(t *testing.T) {
	key := []byte("sixteen octets!!")
	s := newServer(1)
	s.with[dhcpv6.MessageTypeReply] = []dhcpv6.Option{authOption(rkapKey, 7, key)}
	run(t, config(), func(b *bench) {
		message := func(replay uint64) []byte {
			return reconfigureMessage(s.duid, ourDUID, dhcpv6.MessageTypeRenew, key, replay)
		}
		b.bound()
		b.messages()
		b.do(func() { s.with = nil }) // the key came once
		first := message(8)
		b.inject(first, s.addr)
		b.pass(time.Second)
		b.wantMessages("RENEW")
		b.inject(first, s.addr)
		b.wantCount("dhcp6.drop.reconfigure-replay", 1)
		// A second one before the first is done is not taken.
		b.do(func() { s.dead = true })
		b.inject(message(9), s.addr)
		b.inject(message(10), s.addr)
		b.wantCount("dhcp6.drop.reconfigure-busy", 1)
		b.do(func() { s.dead = false })
		b.pass(20 * time.Second)
		b.wantMessages("RENEW", "RENEW")
		b.inject(message(1<<63), s.addr)
		b.pass(time.Second)
		b.wantMessages("RENEW")
		// While a lease is sought or verified it means nothing.
		b.do(func() { s.dead = true })
		b.up(time.Second)
		b.inject(message(1<<63+1), s.addr)
		b.wantCount("dhcp6.drop.reconfigure-unbound", 1)
	}, s)
}

func TestUnauthenticatedReconfigureRate(t *testing.T) {
	s := newServer(1)
	cfg := config()
	cfg.AcceptUnauthReconfigure = true
	run(t, cfg, func(b *bench) {
		b.bound()
		b.messages()
		m := reconfigureMessage(s.duid, ourDUID, dhcpv6.MessageTypeRenew, nil, 0)
		for range 600 { // ten minutes, one a second
			b.inject(m, s.addr)
			b.pass(time.Second)
		}
		if n := len(b.messages()); n != 10 {
			t.Errorf("%d Renews in ten minutes, want 10", n)
		}
		b.wantCount("dhcp6.drop.reconfigure-rate", 590)
	}, s)
}
