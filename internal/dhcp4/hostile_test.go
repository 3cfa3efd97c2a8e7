package dhcp4

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

// TestHostile: whatever comes while a lease is held, or is renewed, is dropped for the
// reason that the counter names, and the lease stays.
func TestHostile(t *testing.T) {
	ackOf := func(m *dhcpv4.DHCPv4, f ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
		return reply(m, dhcpv4.MessageTypeAck, first, f...)
	}
	edit := func(m *dhcpv4.DHCPv4, f func(b []byte) []byte) []byte { return f(ackOf(m).ToBytes()) }
	for _, test := range []struct {
		why    string
		forged func(m *dhcpv4.DHCPv4) []byte // in answer to m, a renewal
	}{
		{"truncated", func(m *dhcpv4.DHCPv4) []byte { return edit(m, func(b []byte) []byte { return b[:239] }) }},
		{"truncated", func(*dhcpv4.DHCPv4) []byte { return nil }},
		{"too-big", func(*dhcpv4.DHCPv4) []byte { return make([]byte, 1<<16) }},
		{"op", func(m *dhcpv4.DHCPv4) []byte { return edit(m, func(b []byte) []byte { b[0] = 1; return b }) }},
		{"hardware", func(m *dhcpv4.DHCPv4) []byte { return edit(m, func(b []byte) []byte { b[2] = 16; return b }) }},
		{"cookie", func(m *dhcpv4.DHCPv4) []byte { return edit(m, func(b []byte) []byte { b[236] = 0; return b }) }},
		{"hardware-address", func(m *dhcpv4.DHCPv4) []byte { return edit(m, func(b []byte) []byte { b[33]++; return b }) }},
		{"transaction-id", func(m *dhcpv4.DHCPv4) []byte { return edit(m, func(b []byte) []byte { b[7]++; return b }) }},
		{"no-server", func(m *dhcpv4.DHCPv4) []byte { return ackOf(m, with(optServer, 1, 2)).ToBytes() }},
		{"no-server", func(m *dhcpv4.DHCPv4) []byte { return ackOf(m, with(optServer, 255, 255, 255, 255)).ToBytes() }},
		{"other-server", func(m *dhcpv4.DHCPv4) []byte { return ackOf(m, with(optServer, 203, 0, 113, 66)).ToBytes() }},
		{"other-server", func(m *dhcpv4.DHCPv4) []byte {
			return reply(m, dhcpv4.MessageTypeNak, netip.IPv4Unspecified(), with(optServer, 203, 0, 113, 66)).ToBytes()
		}},
		{"unexpected", func(m *dhcpv4.DHCPv4) []byte { return reply(m, dhcpv4.MessageTypeOffer, second).ToBytes() }},
		{"type", func(m *dhcpv4.DHCPv4) []byte { return ackOf(m, with(optType, 9)).ToBytes() }},
		{"type", func(m *dhcpv4.DHCPv4) []byte { return ackOf(m, with(optType, 5, 5)).ToBytes() }},
		{"address", func(m *dhcpv4.DHCPv4) []byte { return reply(m, dhcpv4.MessageTypeAck, second).ToBytes() }},
		{"address", func(m *dhcpv4.DHCPv4) []byte {
			return reply(m, dhcpv4.MessageTypeAck, netip.IPv4Unspecified()).ToBytes()
		}},
		{"address", func(m *dhcpv4.DHCPv4) []byte {
			return reply(m, dhcpv4.MessageTypeAck, netip.MustParseAddr("198.51.100.3")).ToBytes()
		}},
		{"lifetime", func(m *dhcpv4.DHCPv4) []byte { return ackOf(m, with(optLease, 0, 0, 0, 59)).ToBytes() }},
		{"lifetime", func(m *dhcpv4.DHCPv4) []byte { return ackOf(m, with(optLease, 0, 0, 0)).ToBytes() }},
	} {
		t.Run(test.why, func(t *testing.T) {
			run(t, "", func(b *bench) {
				b.pass(time.Second)
				before := b.event()
				var renewal *dhcpv4.DHCPv4
				b.set(func() { b.answer = func(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 { renewal = m; return nil } })
				b.c.Renew()
				b.pass(0)
				b.sock.hear(test.forged(renewal))
				b.pass(0)
				if n := b.counters.Get("dhcp4.drop." + test.why); n != 1 {
					t.Errorf("not counted: %v", b.counters.Snapshot())
				}
				if diff := cmp.Diff(before, b.event(), addrs, prefixes); diff != "" {
					t.Errorf("changed (-before +after):\n%s", diff)
				}
				// And what was under way goes on.
				b.sock.hear(ackOf(renewal).ToBytes())
				b.pass(0)
				if n := b.counters.Get("dhcp4.received.ack"); n != 2 {
					t.Errorf("%d Acks taken", n)
				}
				b.sock.hear(ackOf(renewal).ToBytes())
				b.pass(0)
				if n := b.counters.Get("dhcp4.drop.unexpected"); n == 0 {
					t.Error("a second one was taken")
				}
			})
		})
	}
}

// A flood neither grows anything nor makes the client send more than it may.
func TestFlood(t *testing.T) {
	run(t, "", func(b *bench) {
		b.set(func() { b.answer = nil })
		b.pass(0)
		for i := range 1000 {
			m, err := dhcpv4.New(dhcpv4.WithHwAddr(ownMAC[:]))
			if err != nil {
				t.Fatal(err)
			}
			binary.BigEndian.PutUint32(m.TransactionID[:], uint32(i))
			b.sock.hear(reply(m, dhcpv4.MessageTypeOffer, first).ToBytes())
		}
		for range 1000 {
			b.c.Renew()
		}
		if log := b.pass(time.Second); len(log) > limiterBurst+1 {
			t.Errorf("%d messages in a second", len(log))
		}
		if n := b.counters.Get("dhcp4.drop.transaction-id"); n != 1000 {
			t.Errorf("%d dropped", n)
		}
		if b.event().Lease != nil {
			t.Error("there is a lease")
		}
	})
}

// What in a good message is malformed is left out, and the rest stands.
func TestOptions(t *testing.T) {
	m, err := dhcpv4.New(dhcpv4.WithHwAddr(ownMAC[:]))
	if err != nil {
		t.Fatal(err)
	}
	prefix := netip.MustParsePrefix
	for _, test := range []struct {
		name string
		code byte
		data []byte
		bad  int
		want message
	}{
		{"mask with holes", optMask, []byte{255, 0, 255, 0}, 1, message{}},
		{"wide mask", optMask, []byte{254, 0, 0, 0}, 1, message{}},
		{"short mask", optMask, []byte{255}, 1, message{}},
		{"mask", optMask, []byte{255, 255, 255, 252}, 0, message{Bits: 30}},
		{"mask of one", optMask, []byte{255, 255, 255, 255}, 0, message{Bits: 32}},
		{"SIP names", optSIP, []byte{0, 1, 'a', 0, 0}, 1, message{}},
		{"SIP cut", optSIP, []byte{1, 203, 0, 113}, 1, message{}},
		{"SIP multicast", optSIP, []byte{1, 224, 0, 0, 1, 203, 0, 113, 5}, 1, message{SIP: []netip.Addr{netip.MustParseAddr("203.0.113.5")}}},
		{"SIP flood", optSIP, append([]byte{1}, counting(40)...), 1, message{SIP: addresses(maxSIP)}},
		{"route cut", optRoutes, []byte{24, 203, 0, 113, 198, 51}, 1, message{}},
		{"route of 33 bits", optRoutes, []byte{33, 203, 0, 113, 0, 0, 198, 51, 100, 1}, 1, message{}},
		{"default route in halves", optRoutes, []byte{1, 0, 198, 51, 100, 1, 1, 128, 198, 51, 100, 1}, 1, message{}},
		{"host bits", optRoutes, []byte{20, 203, 0, 0x7f, 0, 0, 0, 0}, 0, message{Routes: []Route{{Prefix: prefix("203.0.112.0/20")}}}},
		{"one twice", optRoutes, []byte{8, 10, 198, 51, 100, 1, 8, 10, 198, 51, 100, 2}, 0, message{Routes: []Route{{prefix("10.0.0.0/8"), netip.MustParseAddr("198.51.100.1")}}}},
		{"loopback", optRoutes, []byte{8, 127, 198, 51, 100, 1}, 1, message{}},
		{"vendor cut", optVendor, []byte{0, 0, 0, 210, 9, 1}, 1, message{}},
		{"two vendors", optVendor, []byte{0, 0, 0, 1, 0, 0, 0, 0, 210, 1, 7}, 0, message{Vendor: []Vendor{{1, []byte{}}, {210, []byte{7}}}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := reply(m, dhcpv4.MessageTypeNak, netip.IPv4Unspecified(), with(test.code, test.data...))
			got, bad, err := decode(r.ToBytes())
			if err != nil || len(bad) != test.bad {
				t.Errorf("%v, %v", bad, err)
			}
			test.want.Type, test.want.XID, test.want.MAC = nak, binary.BigEndian.Uint32(m.TransactionID[:]), ownMAC
			test.want.Own, test.want.Server = netip.IPv4Unspecified(), server
			if diff := cmp.Diff(test.want, got, addrs, prefixes); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// counting is n addresses, one after the other.
func counting(n int) (b []byte) {
	for _, a := range addresses(n) {
		b = append(b, a.AsSlice()...)
	}
	return b
}

func addresses(n int) (out []netip.Addr) {
	for a := netip.MustParseAddr("203.0.113.1"); len(out) < n; a = a.Next() {
		out = append(out, a)
	}
	return out
}

// An option in pieces, and options in the fields of BOOTP.
func TestPieces(t *testing.T) {
	b := make([]byte, offOptions)
	b[0], b[1], b[2] = 2, 1, 6
	copy(b[offOptions-4:], cookie)
	copy(b[offFile:], []byte{optLease, 4, 0, 0, 0, 99, optText, 2, 'c', 'd', optEnd})
	copy(b[offSname:], []byte{optT1, 4, 0, 0, 0, 9, optText, 1, 'e', optEnd})
	b = append(b, 0, optText, 1, 'a', optText, 1, 'b', optOverload, 1, 3, optEnd, optLease, 4, 9, 9, 9, 9)
	m, bad, err := decode(b)
	if err != nil || len(bad) != 0 || m.Text != "abcde" || m.Lease != 99 || m.T1 != 9 {
		t.Errorf("%+v, %v, %v", m, bad, err)
	}
}

// FuzzDecode: no panic; what is told is within its bounds; the same message says the same.
func FuzzDecode(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		m, bad, err := decode(b)
		if err != nil {
			if !slices.ContainsFunc([]error{errTruncated, errTooBig, errOp, errCookie, errHardware}, func(e error) bool { return errors.Is(err, e) }) {
				t.Errorf("an error without a counter: %v", err)
			}
			return
		}
		if len(m.Routes) > maxRoutes || len(m.SIP) > maxSIP || len(m.Vendor) > maxVendor || len(m.Text) > maxText || len(bad) > 20 {
			t.Errorf("%d routes, %d SIP servers, %d enterprises, %d of text, %d errors", len(m.Routes), len(m.SIP), len(m.Vendor), len(m.Text), len(bad))
		}
		for _, r := range m.Routes {
			if r.Prefix.Bits() < minRoute || r.Prefix != r.Prefix.Masked() || r.Via.IsValid() && !host(r.Via) {
				t.Errorf("route %v", r)
			}
		}
		for _, c := range []byte(m.Text) {
			if c < ' ' || c > '~' {
				t.Errorf("text %q", m.Text)
			}
		}
		again, _, _ := decode(b)
		if diff := cmp.Diff(m, again, addrs, prefixes); diff != "" {
			t.Errorf("a second look:\n%s", diff)
		}
	})
}
