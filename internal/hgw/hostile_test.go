package hgw

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
)

// bare is a message of these options and no others.
func bare(kind dhcpv6.MessageType, opts ...dhcpv6.Option) []byte {
	m := dhcpv6.Message{MessageType: kind, TransactionID: dhcpv6.TransactionID{1, 2, 3}}
	for _, o := range opts {
		m.AddOption(o)
	}
	return m.ToBytes()
}

// What must be dropped and counted, and change nothing. A second client asks, so that
// whatever is believed would be seen.
func TestHostile(t *testing.T) {
	id := option(dhcpv6.OptionClientID, duidB...)
	server := option(dhcpv6.OptionServerID, port...)
	other := option(dhcpv6.OptionServerID, duidB...)
	long := option(dhcpv6.OptionClientID, make([]byte, 131)...)
	ask := pd(1, "2001:db8:0:1f0::/60")
	tests := []struct {
		name string
		data []byte
		from string // "" for a link-local one
		want string // the counter, after "hgw.drop."
	}{
		{"empty", nil, "", "truncated"},
		{"three octets", []byte{1, 2, 3}, "", "truncated"},
		{"8193 octets", append(bare(solicit, id), make([]byte, 8192)...), "", "too-big"},
		{"global source", bare(solicit, id, ask), "2001:db8::1", "source"},
		{"no source", bare(solicit, id, ask), "::", "source"},
		{"multicast source", bare(solicit, id, ask), "ff02::1", "source"},
		{"message type 0", bare(0, id, ask), "", "type"},
		{"Advertise", bare(dhcpv6.MessageTypeAdvertise, id, server), "", "type"},
		{"Reply", bare(dhcpv6.MessageTypeReply, id, server, ask), "", "type"},
		{"Reconfigure", bare(dhcpv6.MessageTypeReconfigure, id, server), "", "type"},
		{"Relay-forward", append([]byte{12, 0}, make([]byte, 32)...), "", "type"},
		{"Relay-reply", append([]byte{13, 0}, make([]byte, 32)...), "", "type"},
		{"Leasequery", bare(14, id, ask), "", "type"},
		{"unknown type", bare(255, id, ask), "", "type"},
		{"no client identifier", bare(solicit, ask), "", "no-client-id"},
		{"no client identifier in a Request", bare(request, server, ask), "", "no-client-id"},
		{"empty client identifier", bare(solicit, option(dhcpv6.OptionClientID), ask), "", "identifier"},
		{"client identifier of 131 octets", bare(solicit, long, ask), "", "identifier"},
		{"two client identifiers", bare(request, id, option(dhcpv6.OptionClientID, duidA...), server, ask), "", "identifier"},
		{"server identifier of 131 octets", bare(request, id, option(dhcpv6.OptionServerID, make([]byte, 131)...), ask), "", "identifier"},
		{"two server identifiers", bare(request, id, server, other, ask), "", "identifier"},
		{"Solicit to one server", bare(solicit, id, server, ask), "", "server-id"},
		{"Rebind to one server", bare(rebind, id, server, ask), "", "server-id"},
		{"Confirm to one server", bare(confirm, id, server, na(1, "2001:db8:0:1ef::1")), "", "server-id"},
		{"Request to all", bare(request, id, ask), "", "no-server-id"},
		{"Renew to all", bare(renew, id, ask), "", "no-server-id"},
		{"Release to all", bare(release, id, ask), "", "no-server-id"},
		{"Decline to all", bare(decline, id, na(1)), "", "no-server-id"},
		{"Request to another", bare(request, id, other, ask), "", "other-server"},
		{"Renew to another", bare(renew, id, other, ask), "", "other-server"},
		{"Release to another", bare(release, option(dhcpv6.OptionClientID, duidA...), other, ask), "", "other-server"},
		{"information from another", bare(inform, id, other), "", "other-server"},
		{"information and a lease", bare(inform, id, ask), "", "ia"},
		{"Confirm of a prefix", bare(confirm, id, ask), "", "no-address"},
		{"Confirm of nothing", bare(confirm, id, na(1)), "", "no-address"},
	}
	run(t, Config{}, func(b *bench) {
		b.bound(accept, class)
		picture := b.last()
		for _, test := range tests {
			b.pass(time.Second)
			from := addrB
			if test.from != "" {
				from = netip.AddrPortFrom(netip.MustParseAddr(test.from), 546)
			}
			before := b.counted.Snapshot()
			if got := b.send(test.data, from); len(got) != 0 {
				t.Errorf("%s: answered by %s", test.name, show(t, got[0].data))
			}
			var drops []string
			for name, n := range b.counted.Snapshot() {
				if n != before[name] && strings.HasPrefix(name, "hgw.drop.") {
					drops = append(drops, strings.TrimPrefix(name, "hgw.drop."))
				}
			}
			if !slices.Equal(drops, []string{test.want}) {
				t.Errorf("%s: counted %v, want %s", test.name, drops, test.want)
			}
		}
		b.pass(time.Second)
		want := strings.Replace(picture, "14400", fmt.Sprint(left(b.s.up.Prefix.Valid)), 1)
		if got := b.last(); got != want {
			t.Errorf("%s, before: %s", got, picture)
		}
		if got := b.ask(renew, pd(1, "2001:db8:0:1f0::/60"), accept); !strings.Contains(got, "2001:db8:0:1f0::/60") || strings.Contains(got, "key") {
			t.Errorf("afterwards: %s", got)
		}
	})
}

// A malformed option costs only itself.
func TestMalformedOptions(t *testing.T) {
	const pdHead = "0019" // IA_PD
	raw := func(s string) []byte {
		b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	many := func(n int, o string) string { return strings.Repeat(o, n) }
	tests := []struct {
		name, opts string
		drops      uint64
		want       string
	}{
		{"IA_PD of 11 octets", pdHead + "000b" + many(11, "00"), 1, "ADVERTISE"},
		{"IA_NA of 11 octets", "0003000b" + many(11, "00"), 1, "ADVERTISE"},
		{"ORO of an odd length", "0006 0003 001700", 1, "ADVERTISE"},
		{"vendor class of 3 octets", "0010 0003 000000", 1, "ADVERTISE"},
		{"option beyond the end", "0006 0004 0017", 1, "ADVERTISE"},
		{"half an option", "0006 00", 1, "ADVERTISE"},
		{"prefix of 129 bits", pdHead + "0029 00000001 00000000 00000000 001a0019 00000000 00000000 81" + many(16, "00"), 1, "ADVERTISE; " + advert60},
		{"prefix of 24 octets", pdHead + "0028 00000001 00000000 00000000 001a0018" + many(24, "00"), 1, "ADVERTISE; " + advert60},
		{"prefix beyond its IA", pdHead + "0014 00000001 00000000 00000000 001a0019 00000000", 1, "ADVERTISE; " + advert60},
		{"address of 23 octets", "0003 0027 00000001 00000000 00000000 00050017" + many(23, "00"), 1, "ADVERTISE; NA 1 T1=10 T2=16 2001:db8:0:1ef::1 12600 14400"},
		{"address in an IA_PD", pdHead + "0028 00000001 00000000 00000000 00050018" + many(24, "01"), 0, "ADVERTISE; " + advert60},
		{"five IAs of each kind", func() string {
			var s string
			for i := range 5 {
				s += pdHead + fmt.Sprintf("000c 0000000%d 00000000 00000000", i+1)
				s += fmt.Sprintf("0003000c 0000000%d 00000000 00000000", i+1)
			}
			return s
		}(), 6, "ADVERTISE; " + advert60 + "; NA 1 T1=10 T2=16 2001:db8:0:1ef::1 12600 14400; PD 2 T1=0 T2=0 NoPrefixAvail; NA 2 T1=0 T2=0 NoAddrsAvail"},
		{"65 requested options", "0006 0082" + many(65, "0017"), 1, "ADVERTISE; 23 20010db8000000000000000000000053"},
		{"a thousand options", many(1000, "ffff0000"), 0, "ADVERTISE"},
		{"a thousand malformed ones", many(1000, "00100000"), 8, "ADVERTISE"},
	}
	run(t, Config{}, func(b *bench) {
		for _, test := range tests {
			b.pass(time.Second)
			b.set(usual(lineP))
			before := b.counted.Get("hgw.drop.option")
			got := b.send(append(bare(solicit, option(dhcpv6.OptionClientID, duidA...)), raw(test.opts)...), addrA)
			if len(got) != 1 {
				t.Errorf("%s: %d answers", test.name, len(got))
				continue
			}
			if got := show(t, got[0].data); got != test.want {
				t.Errorf("%s:\n got %s\nwant %s", test.name, got, test.want)
			}
			if n := b.counted.Get("hgw.drop.option") - before; n != test.drops {
				t.Errorf("%s: %d options dropped, want %d", test.name, n, test.drops)
			}
		}
		// A Renew is not made to tell of more than it was asked about.
		var opts []string
		for i := range 100 {
			opts = append(opts, fmt.Sprintf("2001:db8:0:%x::/64", 0x1000+i))
		}
		got := b.send(message4(duidA, renew, pd(1, opts...)), addrA)
		if len(got) != 1 || len(got[0].data) > 500 {
			t.Errorf("%d answers", len(got))
		}
	})
}

// A flood is answered within bounds, remembers nothing, and ends with itself.
func TestFlood(t *testing.T) {
	for _, kind := range []dhcpv6.MessageType{solicit, request, renew, inform} {
		t.Run(kind.String(), func(t *testing.T) {
			run(t, Config{}, func(b *bench) {
				b.bound()
				b.events = slices.Grow(b.events, 1000)
				b.pass(10 * time.Second)
				opts := []dhcpv6.Option{pd(1), na(1), oro(17, 22, 23, 24, 31), accept, class}
				if kind == inform {
					opts = opts[2:]
				}
				var before, after runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&before)
				answers, duid := 0, bytes.Clone(duidB)
				for i := range 10000 {
					duid[8], duid[9] = byte(i>>8), byte(i)
					answers += len(b.send(message4(duid, kind, opts...), netip.AddrPortFrom(addrB.Addr(), uint16(1+i))))
					if i%1000 == 999 {
						b.pass(time.Second)
					}
				}
				if answers < limiterBurst || answers > limiterBurst+10*5 {
					t.Errorf("%d answers in ten seconds", answers)
				}
				if n := b.counted.Get("hgw.drop.limited"); n != uint64(10000-answers) {
					t.Errorf("%d answered, %d counted as not", answers, n)
				}
				b.sent = nil
				runtime.GC()
				runtime.ReadMemStats(&after)
				if more := int64(after.HeapAlloc) - int64(before.HeapAlloc); more > 256<<10 {
					t.Errorf("%d bytes more", more)
				}
				b.pass(5 * time.Second)
				if got := b.ask(renew, pd(1)); !strings.Contains(got, "/60") {
					t.Errorf("afterwards: %s", got)
				}
				if got := b.events[len(b.events)-1].MAC; !bytes.Equal(got, hgwMAC) {
					t.Errorf("MAC address %v", got)
				}
			})
		})
	}
}

// FuzzMessage: whatever comes, the server stands, answers one message by one at most, and
// that is one which the library can read. What the first client holds stays its own.
func FuzzMessage(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte, own bool) {
		s, conn := fuzzed()
		p := packet{link: s.link, data: message4(duidA, request, pd(1), na(2), accept), from: addrA}
		s.receive(p)
		held := s.client.slots
		if !held[slotDelegated].held || len(conn.sent) != 1 {
			t.Fatal("not bound")
		}
		conn.sent = nil
		p.data, p.from = data, addrB
		if own {
			p.from = addrA
		}
		s.receive(p)
		s.work()
		if len(conn.sent) > 1 {
			t.Fatalf("%d answers", len(conn.sent))
		}
		for _, b := range conn.sent {
			m, err := dhcpv6.MessageFromBytes(b)
			if err != nil {
				// A client identifier goes back as it came, and the library looks inside.
				if id, _, _ := decode(data); id.clientID != nil {
					if _, err := dhcpv6.DUIDFromBytes(id.clientID); err != nil {
						continue
					}
				}
				t.Fatalf("% x: %v", b, err)
			}
			if len(b) > 2048 || string(m.TransactionID[:]) != string(data[1:4]) {
				t.Fatalf("%d octets, %v", len(b), m)
			}
		}
		if m, _, err := decode4(data); (err != nil || !bytes.Equal(m.clientID, duidA)) && s.client.slots != held {
			t.Fatalf("%+v became %+v", held, s.client.slots)
		}
		var taken int
		for i, sl := range s.client.slots {
			if !sl.held {
				continue
			}
			taken++
			if sl.told != s.offer(i) || sl.until > s.up.valid {
				t.Fatalf("slot %d: %+v", i, sl)
			}
		}
		if s.client.slots[slotLink].held && s.client.slots[slotAddress].held || (taken == 0) != (s.client.duid == nil) {
			t.Fatalf("%+v", s.client)
		}
	})
}

// decode4 is decode for what may be too short for it.
func decode4(b []byte) (message, []error, error) {
	if len(b) < 4 {
		return message{}, nil, errLength
	}
	return decode(b)
}

// fuzzed is a server that no goroutine runs, and whose sockets keep what is sent.
func fuzzed() (*Server, *keeper) {
	s := New(Config{})
	s.began = time.Now()
	s.tick()
	k := &keeper{}
	s.link = &link{Sockets: Sockets{DHCP: k, RA: k, MAC: portMAC}}
	s.setUpstream(usual(lineP))
	return s, k
}

type keeper struct{ sent [][]byte }

func (k *keeper) ReadFrom([]byte) (int, netip.AddrPort, error) { select {} }
func (k *keeper) ReadRS([]byte) (int, netip.Addr, int, error)  { select {} }
func (k *keeper) WriteRA([]byte) error                         { return nil }
func (k *keeper) Close() error                                 { return nil }
func (k *keeper) WriteTo(b []byte, _ netip.AddrPort) error     { k.sent = append(k.sent, b); return nil }
