//go:build lab

package lab

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/mdlayher/ndp"
	"golang.org/x/sys/unix"
	"layeh.com/radius"

	"sofutobanku/internal/link/linktest"
	"sofutobanku/internal/status"
	"sofutobanku/lab/realisp"
)

var (
	carrierRouter = netip.MustParseAddr("fe80::1")
	stranger      = netip.MustParseAddr("fe80::bad:1")
	allNodes      = netip.MustParseAddr("ff02::1")
)

// A forgery is packets and the counter that says why they were not believed.
type forgery struct {
	name    string
	packets []datagram
	counter string
}

// siege is a router on a line in order, and an attacker beside it.
type siege struct {
	t        *testing.T
	isp      *simulated
	router   *router
	attacker *linktest.Attacker
	self     netip.Addr // the router's link-local address
	calm     string     // the State before the attack
	table    strings.Builder
}

func newSiege(t *testing.T, log string) (realisp.Network, *siege) {
	lab, nw := newLine(t)
	isp := startSimulated(t, lab, nw, realisp.Next, "--message-authenticator")
	s := &siege{t: t, isp: isp, attacker: newAttacker(t, nw), router: startRouterWith(t, lab, nw.Router, isp.UCI(), log)}
	s.calm = essence(s.router.awaitUp(isp.Now()))
	for _, a := range nw.Router.Addrs(realisp.WAN) {
		if a.Addr().IsLinkLocalUnicast() {
			s.self = a.Addr()
		}
	}
	return nw, s
}

// essence is all of a status that no attacker may change.
func essence(s status.Status) string {
	var routers []string
	for _, r := range s.WAN.Routers {
		routers = append(routers, r.Address.String())
	}
	return fmt.Sprintf("%s\nprefix %v\ntunnel %v %v %v %d\nrouters %v\nmtu %d\ndns %v\ndomains %v\nntp %v\n",
		s.State, s.Prefix.Prefix, s.Tunnel.Local, s.Tunnel.Remote, s.Tunnel.IPv4, s.Tunnel.MTU,
		routers, s.WAN.MTU, s.WAN.DNS, s.WAN.Domains, s.WAN.NTP)
}

// throw sends the forgeries in one go, for a question is open only for a while, waits
// until each was counted, and looks at the State.
func (s *siege) throw(forgeries []forgery) {
	s.t.Helper()
	before, err := s.router.status()
	if err != nil {
		s.t.Fatal(err)
	}
	want := before.Counters
	for _, f := range forgeries {
		want[f.counter]++
		for _, p := range f.packets {
			s.attacker.Send(p)
		}
		fmt.Fprintf(&s.table, "| %s | %s |\n", f.name, f.counter)
	}
	now := s.router.await("the forgeries to be counted", func(now status.Status) bool {
		for _, f := range forgeries {
			if now.Counters[f.counter] < want[f.counter] {
				return false
			}
		}
		return true
	})
	s.unchanged("one of these", now)
}

func (s *siege) unchanged(what string, now status.Status) {
	s.t.Helper()
	if diff := cmp.Diff(s.calm, essence(now)); diff != "" {
		s.t.Errorf("%s changed the State (-before +after):\n%s", what, diff)
	}
	// Whoever is on the link may advertise prefixes (RFC 4862), within bounds.
	if n := len(now.WAN.Addresses); n > 16 {
		s.t.Errorf("%s: %d addresses", what, n)
	}
}

// TestAttack: a neighbour on the segment forges what the line's servers send.
// Nothing of it is believed, each rejection is counted by its reason.
func TestAttack(t *testing.T) {
	nw, s := newSiege(t, "-v")
	s.throw(s.advertisements())
	s.throw(s.reconfigures())
	s.isp.ctl("silent dhcp6")
	s.attacker.Forget()
	s.router.Signal(syscall.SIGUSR1)
	s.throw(s.replies(s.attacker.Heard(546, 547)))
	s.isp.ctl("speak dhcp6")
	s.router.awaitUp(s.isp.Now())

	s.isp.ctl("silent radius")
	s.attacker.Forget()
	s.router.Signal(syscall.SIGUSR1)
	s.throw(s.answers(s.attacker.Heard(0, 1812)))
	s.isp.ctl("speak radius")
	s.router.Signal(syscall.SIGUSR1)
	s.unchanged("all of it", s.router.awaitUp(s.isp.Now()))
	checkIPv4(t, nw, s.isp.IPv4)
	t.Log("\n| forged | counted as |\n|---|---|\n" + s.table.String())
}

// advertisement is one that would be believed, from a stranger, until change.
func advertisement(change func(*ndp.RouterAdvertisement, *datagram)) datagram {
	ra := &ndp.RouterAdvertisement{CurrentHopLimit: 64, RouterLifetime: 30 * time.Minute}
	d := datagram{From: stranger, To: allNodes, HopLimit: 255, Protocol: unix.IPPROTO_ICMPV6}
	change(ra, &d)
	b, err := ndp.MarshalMessage(ra)
	if err != nil {
		panic(err) // the test's own mistake
	}
	d.Payload = b
	return d
}

// advertisements are forged router advertisements. Those from the stranger have a
// router lifetime of 0 where they are well-formed: they must take nothing away.
func (s *siege) advertisements() []forgery {
	goodbye := func(options ...ndp.Option) datagram {
		return advertisement(func(ra *ndp.RouterAdvertisement, _ *datagram) { ra.RouterLifetime, ra.Options = 0, options })
	}
	var thousand []datagram
	for i := range 25 {
		var options []ndp.Option
		for j := range 40 { // as many as an Ethernet frame holds
			options = append(options, &ndp.PrefixInformation{
				PrefixLength: 64, OnLink: true, AutonomousAddressConfiguration: true,
				PreferredLifetime: time.Hour, ValidLifetime: time.Hour,
				Prefix: netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0xba, 0xd, byte(i), byte(j)}),
			})
		}
		thousand = append(thousand, goodbye(options...))
	}
	return []forgery{
		{"RA with hop limit 254", []datagram{advertisement(func(_ *ndp.RouterAdvertisement, d *datagram) { d.HopLimit = 254 })}, "ra.drop.hop-limit"},
		{"RA from a global address", []datagram{advertisement(func(_ *ndp.RouterAdvertisement, d *datagram) { d.From = netip.MustParseAddr("2001:db8::bad") })}, "ra.drop.source"},
		{"RA of another router with lifetime 0", []datagram{goodbye()}, "ra.received.advertisement"},
		{"RA with MTU 68", []datagram{goodbye(ndp.NewMTU(68))}, "ra.option.mtu-range"},
		{"RA with MTU 65535", []datagram{goodbye(ndp.NewMTU(65535))}, "ra.option.mtu-range"},
		{"RAs with a thousand prefixes", thousand, "ra.option.too-many"},
	}
}

// reconfigures are forged from a genuine one, which they replay or change.
func (s *siege) reconfigures() []forgery {
	s.attacker.Forget()
	before, err := s.router.status()
	if err != nil {
		s.t.Fatal(err)
	}
	s.isp.ctl("reconfigure renew")
	genuine := s.attacker.Heard(547, 546)
	const replies = "dhcp6.received.reply"
	s.router.await("the answer to the Renew that was asked for", func(now status.Status) bool {
		return now.Counters[replies] > before.Counters[replies]
	})
	forged := func(change func(*dhcpv6.Message)) []datagram {
		d := genuine
		m, err := dhcpv6.MessageFromBytes(genuine.Payload)
		if err != nil {
			s.t.Fatal(err)
		}
		change(m)
		d.Payload = m.ToBytes()
		return []datagram{d}
	}
	return []forgery{
		{"Reconfigure, replayed", []datagram{genuine}, "dhcp6.drop.reconfigure-replay"},
		{"Reconfigure without authentication", forged(func(m *dhcpv6.Message) { m.Options.Del(dhcpv6.OptionAuth) }), "dhcp6.drop.reconfigure-auth"},
		{"Reconfigure with the counter changed", forged(func(m *dhcpv6.Message) {
			o := m.GetOneOption(dhcpv6.OptionAuth)
			b := o.ToBytes()
			b[10]++ // the last octet of the replay detection value (RFC 8415 21.11)
			m.UpdateOption(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionAuth, OptionData: b})
		}), "dhcp6.drop.reconfigure-auth"},
		{"Reconfigure for another client", forged(func(m *dhcpv6.Message) { m.UpdateOption(dhcpv6.OptClientID(strangeDUID)) }), "dhcp6.drop.client-id"},
		{"Reconfigure of another server", forged(func(m *dhcpv6.Message) { m.UpdateOption(dhcpv6.OptServerID(strangeDUID)) }), "dhcp6.drop.reconfigure-server"},
	}
}

var strangeDUID = &dhcpv6.DUIDEN{EnterpriseNumber: 32473, EnterpriseIdentifier: []byte("stranger")}

// replies are forged answers to a Renew.
func (s *siege) replies(renew datagram) []forgery {
	asked, err := dhcpv6.MessageFromBytes(renew.Payload)
	if err != nil || asked.MessageType != dhcpv6.MessageTypeRenew {
		s.t.Fatalf("heard %v, want a Renew (%v)", asked, err)
	}
	forged := func(typ dhcpv6.MessageType, change func(*dhcpv6.Message)) []datagram {
		m := &dhcpv6.Message{MessageType: typ, TransactionID: asked.TransactionID}
		m.AddOption(dhcpv6.OptClientID(asked.Options.ClientID()))
		m.AddOption(dhcpv6.OptServerID(asked.Options.ServerID()))
		m.AddOption(&dhcpv6.OptIAPD{IaId: asked.Options.OneIAPD().IaId, T1: time.Hour, T2: 2 * time.Hour, Options: dhcpv6.PDOptions{Options: dhcpv6.Options{
			&dhcpv6.OptIAPrefix{PreferredLifetime: 3 * time.Hour, ValidLifetime: 4 * time.Hour, Prefix: &ipNet},
		}}})
		change(m)
		return []datagram{renew.Answer(carrierRouter, m.ToBytes())}
	}
	reply, advertise := dhcpv6.MessageTypeReply, dhcpv6.MessageTypeAdvertise
	half := forged(reply, func(*dhcpv6.Message) {})
	half[0].Payload = half[0].Payload[:3]
	return []forgery{
		{"Reply with another transaction id", forged(reply, func(m *dhcpv6.Message) { m.TransactionID[0]++ }), "dhcp6.drop.transaction-id"},
		{"Reply of another server", forged(reply, func(m *dhcpv6.Message) { m.UpdateOption(dhcpv6.OptServerID(strangeDUID)) }), "dhcp6.drop.server-id"},
		{"Reply for another client", forged(reply, func(m *dhcpv6.Message) { m.UpdateOption(dhcpv6.OptClientID(strangeDUID)) }), "dhcp6.drop.client-id"},
		{"Reply without server id", forged(reply, func(m *dhcpv6.Message) { m.Options.Del(dhcpv6.OptionServerID) }), "dhcp6.drop.no-server-id"},
		{"Reply that ends in its transaction id", half, "dhcp6.drop.truncated"},
		{"Advertise with another transaction id", forged(advertise, func(m *dhcpv6.Message) { m.TransactionID[0]++ }), "dhcp6.drop.transaction-id"},
		{"Advertise that nobody asked for", forged(advertise, func(*dhcpv6.Message) {}), "dhcp6.drop.unexpected"},
	}
}

var ipNet = net.IPNet{IP: net.ParseIP("2001:db8:bad::"), Mask: net.CIDRMask(56, 128)}

// answers are forged answers to an Access-Request. Some are signed with the line's
// secret: what a collision of MD5 gives to one who has it not (Blast-RADIUS,
// CVE-2024-3596).
func (s *siege) answers(request datagram) []forgery {
	secret := []byte(s.isp.SharedSecret)
	forged := func(code radius.Code, identifier byte, attributes []byte, sign func(reply []byte)) []datagram {
		b := append([]byte{byte(code), identifier, 0, 0}, request.Payload[4:20]...)
		b = append(b, attributes...)
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		sign(b)
		return []datagram{request.Answer(request.To, b)}
	}
	right := func(b []byte) {
		h := md5.New()
		h.Write(b)
		h.Write(secret)
		copy(b[4:], h.Sum(nil))
	}
	id := request.Payload[1]
	grant := []byte{26, 12, 0, 0, 0x56, 0xb5, 204, 6, 203, 0, 113, 66} // 22197: IPv4 203.0.113.66
	proxyState := append([]byte{33, 10}, "12345678"...)
	signed := append(append([]byte{80, 18}, make([]byte, 16)...), grant...)
	otherRequest := func(b []byte) {
		b[4]++
		right(b)
	}
	cut := forged(radius.CodeAccessAccept, id, grant, right)
	cut[0].Payload = cut[0].Payload[:25]
	return []forgery{
		{"Access-Accept with a wrong authenticator", forged(radius.CodeAccessAccept, id, grant, func([]byte) {}), "radius.drop.authenticator"},
		{"Access-Accept signed for another request", forged(radius.CodeAccessAccept, id, grant, otherRequest), "radius.drop.authenticator"},
		{"Access-Accept with another identifier", forged(radius.CodeAccessAccept, id+1, grant, right), "radius.drop.identifier"},
		{"Access-Reject turned into an Access-Accept", forged(radius.CodeAccessReject, id, grant, func(b []byte) { right(b); b[0] = byte(radius.CodeAccessAccept) }), "radius.drop.authenticator"},
		{"Accounting-Response, rightly signed", forged(radius.CodeAccountingResponse, id, grant, right), "radius.drop.code"},
		{"Access-Accept, rightly signed, with Proxy-State and no Message-Authenticator", forged(radius.CodeAccessAccept, id, append(proxyState, grant...), right), "radius.drop.no-message-authenticator"},
		{"Access-Accept, rightly signed, with a wrong Message-Authenticator", forged(radius.CodeAccessAccept, id, signed, right), "radius.drop.message-authenticator"},
		{"Access-Accept, rightly signed, with two Message-Authenticators", forged(radius.CodeAccessAccept, id, append(append([]byte{}, signed...), signed...), func(b []byte) {
			h := hmac.New(md5.New, secret)
			h.Write(b)
			copy(b[22:], h.Sum(nil))
			right(b)
		}), "radius.drop.message-authenticator"},
		{"Access-Accept that is shorter than it says", cut, "radius.drop.malformed"},
	}
}

// TestFlood: ten thousand packets of every kind that can be thrown away, on the whole line,
// at ten thousand a second where the lab kernel can; cmd/sofu-proto has it at that rate.
func TestFlood(t *testing.T) {
	const packets = 10_000           // of each kind
	nw, s := newSiege(t, "-v=false") // as it runs on a router
	table := []string{"| flood | packets | in | rate | CPU time of sofu-proto | resident before | after |", "|---|---|---|---|---|---|---|"}
	udp := func(payload []byte) datagram {
		return datagram{From: carrierRouter, To: s.self, HopLimit: 64, Protocol: unix.IPPROTO_UDP, SrcPort: 547, DstPort: 546, Payload: payload}
	}
	for _, flood := range []struct {
		name string
		of   func(i int) datagram
	}{
		{"RAs with hop limit 254", func(int) datagram {
			return advertisement(func(_ *ndp.RouterAdvertisement, d *datagram) { d.HopLimit = 254 })
		}},
		{"RAs that end a thousand routers that there never were", func(i int) datagram {
			return advertisement(func(ra *ndp.RouterAdvertisement, d *datagram) {
				ra.RouterLifetime = 0
				d.From = netip.AddrFrom16([16]byte{0xfe, 0x80, 8: 0xba, 9: 0xd, 14: byte(i >> 8), 15: byte(i)})
			})
		}},
		{"DHCPv6 Replies", func(i int) datagram { return udp([]byte{7, byte(i), 0, byte(i >> 8)}) }},
		{"DHCPv6 rubbish", func(i int) datagram { return udp(bytes.Repeat([]byte{byte(i)}, 1000)) }},
	} {
		datagrams := make([]datagram, 1000)
		for i := range datagrams {
			datagrams[i] = flood.of(i)
		}
		before := linktest.Used(t, s.router.PID())
		took := s.attacker.Flood(datagrams, packets, 10_000)
		s.unchanged(flood.name, s.router.await("an answer after "+flood.name, func(status.Status) bool { return true }))
		after := linktest.Used(t, s.router.PID())
		table = append(table, fmt.Sprintf("| %s | %d | %.1f s | %.0f/s | %v | %d kB | %d kB |", flood.name, packets,
			took.Seconds(), packets/took.Seconds(), after.CPU-before.CPU, before.Resident, after.Resident))
		if grown := after.Resident - before.Resident; grown > 6<<10 {
			t.Errorf("%s: memory grew by %d kB", flood.name, grown)
		}
	}
	// What came is thrown away, and the daemon rests again.
	s.router.lab.Eventually(patience, "the daemon to rest", func() error {
		quiet := linktest.Used(t, s.router.PID())
		time.Sleep(time.Second)
		if busy := linktest.Used(t, s.router.PID()).CPU - quiet.CPU; busy > 50*time.Millisecond {
			return fmt.Errorf("%v of CPU time in a second", busy)
		}
		return nil
	})
	s.router.Signal(syscall.SIGUSR1)
	s.unchanged("all of it", s.router.awaitUp(s.isp.Now()))
	checkIPv4(t, nw, s.isp.IPv4)
	t.Log("\n" + strings.Join(table, "\n"))
}
