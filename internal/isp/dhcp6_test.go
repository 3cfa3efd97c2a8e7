package isp

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/md5"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv6"
)

// describe is an answer for people, one item a line.
func describe(b []byte) string {
	if b == nil {
		return "(nothing)"
	}
	m, err := dhcpv6.MessageFromBytes(b)
	if err != nil {
		return "undecodable: " + err.Error()
	}
	lines := []string{fmt.Sprintf("%v %x", m.MessageType, m.TransactionID[:])}
	var vendor []string
	for _, o := range m.Options.Options {
		switch o := o.(type) {
		case *dhcpv6.OptIAPD:
			lines = append(lines, fmt.Sprintf("  IA_PD %x T1=%d T2=%d", o.IaId, o.T1/time.Second, o.T2/time.Second))
			for _, p := range o.Options.Prefixes() {
				lines = append(lines, fmt.Sprintf("    %v %d/%d", p.Prefix, p.PreferredLifetime/time.Second, p.ValidLifetime/time.Second))
			}
			if st := o.Options.Status(); st != nil {
				lines = append(lines, fmt.Sprintf("    %v", st.StatusCode))
			}
		case *dhcpv6.OptVendorOpts:
			for _, s := range o.VendorOpts {
				vendor = append(vendor, fmt.Sprintf("    %d %x", s.Code(), s.ToBytes()))
			}
			slices.Sort(vendor) // the server shuffles
			lines = append(lines, fmt.Sprintf("  vendor %d", o.EnterpriseNumber))
			lines = append(lines, vendor...)
		default:
			lines = append(lines, fmt.Sprintf("  %d %x", o.Code(), o.ToBytes()))
		}
	}
	return strings.Join(lines, "\n")
}

// dhcpFixture is a server without a run loop.
func dhcpFixture(kind Kind, edit ...func(*Config)) (*dhcpServer, *fakeKernel, *Journal, *fakeUDP) {
	j, _ := testJournal()
	k, conn := newFakeKernel(), newFakeUDP()
	return newDHCPServer(testSettings(kind, edit...), j, conn, k, serverMAC, testRand()), k, j, conn
}

const (
	solicit     = 1
	request     = 3
	confirm     = 4
	renew       = 5
	rebind      = 6
	release     = 8
	decline     = 9
	information = 11
)

// TestDHCPStrict: what the line would leave unanswered, and what is said of it.
func TestDHCPStrict(t *testing.T) {
	tests := []struct {
		name string
		msg  []byte
		from netip.AddrPort // clientPeer if not set
		want []string
		// answered: said, and answered all the same.
		answered bool
	}{
		{name: "right Solicit", msg: dhcp(solicit, optClient, optElapsed, optORO, optPD, optAccept), answered: true},
		{name: "right Request", msg: dhcp(request, optClient, optServer, optElapsed, optORO, optPD, optClass), answered: true},
		{name: "option 39 in the ORO", msg: dhcp(solicit, optClient, optElapsed, opt(6, u16(17, 39, 23, 56)), optPD),
			want: []string{"ORO holds 39, 56: the line's spec allows only 17, 22, 23, 24, 31"}},
		{name: "odd ORO", msg: dhcp(solicit, optClient, optElapsed, opt(6, []byte{0, 23, 0}), optPD),
			want: []string{"ORO of 3 bytes: codes have 2"}},
		{name: "DUID-LLT", msg: dhcp(solicit, opt(1, []byte{0, 1, 0, 1, 1, 2, 3, 4}, clientMAC), optElapsed, optPD),
			want: []string{"client identifier 000100010102030400005e005301 (a DUID-LLT) is no DUID-LL of Ethernet (00030001 and the MAC)"}},
		{name: "DUID-UUID", msg: dhcp(solicit, opt(1, []byte{0, 4}, make([]byte, 16)), optElapsed, optPD),
			want: []string{"client identifier 000400000000000000000000000000000000 (a DUID-UUID) is no DUID-LL of Ethernet (00030001 and the MAC)"}},
		{name: "two client ids", msg: dhcp(solicit, optClient, optClient, optElapsed, optPD), want: []string{"2 client identifiers, 1 is due"}},
		{name: "no client id", msg: dhcp(solicit, optElapsed, optPD), want: []string{"no client identifier (RFC 8415 16)"}},
		{name: "huge client id", msg: dhcp(solicit, opt(1, make([]byte, 200)), optElapsed, optPD), want: []string{"client identifier of 200 bytes"}},
		{name: "empty client id", msg: dhcp(solicit, opt(1), optElapsed, optPD), want: []string{"client identifier of 0 bytes"}},
		{name: "IA_NA", msg: dhcp(solicit, optClient, optElapsed, optPD, opt(3, u32(1, 0, 0))),
			want: []string{"IA_NA is there: the line delegates a prefix and gives no address"}},
		{name: "IA_TA", msg: dhcp(solicit, optClient, optElapsed, optPD, opt(4, u32(1))),
			want: []string{"IA_TA is there: the line delegates a prefix and gives no address"}},
		{name: "rapid commit", msg: dhcp(solicit, optClient, optElapsed, optPD, opt(14)), want: []string{"Rapid Commit is there: the line does without"}},
		{name: "no IA_PD", msg: dhcp(solicit, optClient, optElapsed), want: []string{"0 IA_PD, 1 is due"}},
		{name: "two IA_PD", msg: dhcp(solicit, optClient, optElapsed, optPD, opt(25, u32(2, 0, 0))), want: []string{"2 IA_PD, 1 is due"}},
		{name: "short IA_PD", msg: dhcp(solicit, optClient, optElapsed, opt(25, u32(1, 0))), want: []string{"IA_PD of 8 bytes, at least 12 are due"}},
		{name: "short IAPREFIX", msg: dhcp(solicit, optClient, optElapsed, opt(25, u32(1, 0, 0), opt(26, u32(0, 0)))),
			want: []string{"IA prefix of 8 bytes, at least 25 are due"}},
		{name: "length 200", msg: dhcp(solicit, optClient, optElapsed, opt(25, u32(1, 0, 0), opt(26, u32(0, 0), []byte{200}, make([]byte, 16)))),
			want: []string{"IA prefix length 200"}},
		{name: "IA_PD overrun", msg: dhcp(solicit, optClient, optElapsed, opt(25, u32(1, 0, 0), []byte{0, 26, 0, 99})),
			want: []string{"IA_PD: an option runs past its end"}},
		{name: "several at once", msg: dhcp(solicit, optClient, optElapsed, opt(6, u16(1)), opt(14)),
			want: []string{"ORO holds 1: the line's spec allows only 17, 22, 23, 24, 31", "Rapid Commit is there: the line does without", "0 IA_PD, 1 is due"}},
		{name: "server id in Solicit", msg: dhcp(solicit, optClient, optServer, optElapsed, optPD), want: []string{"a server identifier is there (RFC 8415 16)"}},
		{name: "Request without server id", msg: dhcp(request, optClient, optElapsed, optPD), want: []string{"no server identifier (RFC 8415 16)"}},
		{name: "Confirm", msg: dhcp(confirm, optClient, optElapsed, optPD),
			want: []string{"Confirm holds no address to confirm: a delegated prefix is verified by Rebind (RFC 8415 18.2.12)"}},
		{name: "Decline", msg: dhcp(decline, optClient, optServer, optElapsed, optPD),
			want: []string{"a delegated prefix cannot be declined (RFC 8415 18.2.8)"}},
		{name: "Renew with lifetimes of 0", msg: dhcp(renew, optClient, optServer, optElapsed, opt(25, u32(1, 0, 0), prefixOpt("2001:db8:1234:5600::/56", 0, 0))),
			want: []string{"lifetimes of 2001:db8:1234:5600::/56 are 0: such a RENEW has been answered with nothing; send the lease's own"}},
		{name: "Renew of nothing", msg: dhcp(renew, optClient, optServer, optElapsed, optPD), want: []string{"IA_PD without the prefix that it is about"}},
		{name: "IA_PD in Information-request", msg: dhcp(information, optClient, optElapsed, optORO, optPD),
			want: []string{"IA_PD in an Information-request (RFC 8415 16.12)"}},
		{name: "global source", msg: dhcp(solicit, optClient, optElapsed, optPD), from: netip.MustParseAddrPort("[2001:db8::1]:546"),
			want: []string{"the source is not link-local (RFC 8415 18.2)"}},
		{name: "Request without elapsed time", msg: dhcp(request, optClient, optServer, optPD),
			want: []string{"no elapsed time option (RFC 8415 21.9), answered all the same"}, answered: true},
		{name: "option 17 without option 16", msg: dhcp(request, optClient, optServer, optElapsed, optORO, optPD),
			want: []string{"option 17 is asked for without option 16: no Hikari Denwa information for it"}, answered: true},
		{name: "option 16 without its inner length", msg: dhcp(request, optClient, optServer, optElapsed, optORO, optPD, opt(16, u32(210), clientMAC)),
			want: []string{"option 16 is 000000d200005e005301, 000000d2 0006 and a MAC are due: no Hikari Denwa information for it"}, answered: true},
		{name: "a server's message", msg: dhcp(7, optClient, optServer), want: []string{"message type 7 is no client's"}},
		{name: "unknown message", msg: dhcp(99), want: []string{"message type 99 is no client's"}},
		{name: "relay", msg: append([]byte{12, 0}, make([]byte, 32)...), want: []string{"a relay's message: there is no relay on this line"}},
		{name: "empty", msg: nil, want: []string{"0 bytes are no DHCPv6 message"}},
		{name: "cut", msg: dhcp(solicit, optClient)[:12], want: []string{"SOLICIT: an option runs past the end of the message"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, _, j, _ := dhcpFixture(Next)
			from := tt.from
			if !from.IsValid() {
				from = clientPeer
			}
			reply := s.handle(tt.msg, from)
			if (reply != nil) != tt.answered {
				t.Errorf("answer: %s", describe(reply))
			}
			var got []string
			for _, w := range wrongs(j) {
				got = append(got, strings.TrimPrefix(w, fmt.Sprintf("from %v: ", from.Addr())))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("what was wrong (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDHCPOtherServer(t *testing.T) {
	s, _, j, _ := dhcpFixture(Next)
	other := opt(2, []byte{0, 3, 0, 1}, clientMAC)
	if reply := s.handle(dhcp(request, optClient, other, optElapsed, optPD), clientPeer); reply != nil || wrongs(j) != nil {
		t.Errorf("answer %s, wrong %v", describe(reply), wrongs(j))
	}
}

const (
	wantIDs = "  1 0003000100005e005301\n  2 0003000100005e0053aa\n"
	wantIA  = "  IA_PD 00000001 T1=7200 T2=10800\n    2001:db8:1234:5600::/56 12600/14400\n"
	wantNTT = `  vendor 210
    201 00005e0053f0
    202 30333132333435363738
    204 03696d73076578616d706c6500
    210 086669726d7761726503696d73076578616d706c6500
`
)

// TestDHCPAnswers compares whole answers.
func TestDHCPAnswers(t *testing.T) {
	const info = "  22 20010db8000050600000000000000004\n" +
		"  23 20010db800000053000000000000000a20010db800000053000000000000000b\n" +
		"  24 05666c657473076578616d706c6500056970747666076578616d706c6500\n" +
		"  31 20010db800000123000000000000000a20010db800000123000000000000000b\n"
	bound := dhcp(request, optClient, optServer, optElapsed, optPD)
	tests := []struct {
		name   string
		kind   Kind
		before [][]byte
		edit   func(*Config) // after before
		msg    []byte
		want   string
		routes string
	}{
		{
			name: "Solicit",
			msg:  dhcp(solicit, optClient, optElapsed, optORO, optPD),
			want: "ADVERTISE 0a0b0c\n" + wantIDs + wantIA + info,
		},
		{
			name: "Solicit with option 16",
			msg:  dhcp(solicit, optClient, optElapsed, optORO, optPD, optClass),
			want: "ADVERTISE 0a0b0c\n" + wantIDs + wantIA + wantNTT + info,
		},
		{
			name:   "Request for everything",
			msg:    dhcp(request, optClient, optServer, optElapsed, optORO, optPD, optClass),
			want:   "REPLY 0a0b0c\n" + wantIDs + wantIA + wantNTT + info,
			routes: "2001:db8:1234:5600::/56 via fe80::200:5eff:fe00:5301",
		},
		{
			name:   "Request on a line without telephone",
			kind:   Cross,
			edit:   func(c *Config) { c.Phone = false },
			msg:    dhcp(request, optClient, optServer, optElapsed, opt(6, u16(17, 17)), optPD, optClass),
			want:   "REPLY 0a0b0c\n" + wantIDs + wantIA,
			routes: "2001:db8:1234:5600::/56 via fe80::200:5eff:fe00:5301",
		},
		{
			name:   "Renew",
			before: [][]byte{bound},
			msg:    dhcp(renew, optClient, optServer, optElapsed, optHeld),
			want:   "REPLY 0a0b0c\n" + wantIDs + wantIA,
			routes: "2001:db8:1234:5600::/56 via fe80::200:5eff:fe00:5301",
		},
		{
			name:   "Rebind after the prefix changed",
			before: [][]byte{bound},
			edit:   func(c *Config) { c.Prefix = netip.MustParsePrefix("2001:db8:9900::/56") },
			msg:    dhcp(rebind, optClient, optElapsed, optHeld),
			want: "REPLY 0a0b0c\n" + wantIDs + "  IA_PD 00000001 T1=7200 T2=10800\n" +
				"    2001:db8:1234:5600::/56 0/0\n    2001:db8:9900::/56 12600/14400\n",
			routes: "2001:db8:9900::/56 via fe80::200:5eff:fe00:5301",
		},
		{
			name: "Renew of an unknown binding",
			msg:  dhcp(renew, optClient, optServer, optElapsed, optHeld),
			want: "REPLY 0a0b0c\n" + wantIDs + "  IA_PD 00000001 T1=0 T2=0\n    NoBinding\n",
		},
		{
			name:   "Rebind with another IAID",
			before: [][]byte{bound},
			msg:    dhcp(rebind, optClient, optElapsed, opt(25, u32(2, 0, 0), prefixOpt("2001:db8:1234:5600::/56", 1, 2))),
			want:   "REPLY 0a0b0c\n" + wantIDs + "  IA_PD 00000002 T1=0 T2=0\n    NoBinding\n",
			routes: "2001:db8:1234:5600::/56 via fe80::200:5eff:fe00:5301",
		},
		{
			name:   "Release",
			before: [][]byte{bound},
			msg:    dhcp(release, optClient, optServer, optElapsed, optHeld),
			want:   "REPLY 0a0b0c\n" + wantIDs + "  IA_PD 00000001 T1=0 T2=0\n  13 0000\n",
		},
		{
			name: "Release of an unknown binding",
			msg:  dhcp(release, optClient, optServer, optElapsed, optHeld),
			want: "REPLY 0a0b0c\n" + wantIDs + "  IA_PD 00000001 T1=0 T2=0\n    NoBinding\n  13 0000\n",
		},
		{
			name: "Information-request",
			kind: NextRA,
			msg:  dhcp(information, optClient, optElapsed, opt(6, u16(23))),
			want: "REPLY 0a0b0c\n" + wantIDs + "  23 20010db800000053000000000000000a20010db800000053000000000000000b\n",
		},
		{
			name: "Information-request without a client id",
			kind: NextRA,
			msg:  dhcp(information, optElapsed, opt(6, u16(31))),
			want: "REPLY 0a0b0c\n  2 0003000100005e0053aa\n  31 20010db800000123000000000000000a20010db800000123000000000000000b\n",
		},
		{
			name: "Solicit on an RA-only line",
			kind: NextRA,
			msg:  dhcp(solicit, optClient, optElapsed, optPD),
			want: "ADVERTISE 0a0b0c\n" + wantIDs + "  IA_PD 00000001 T1=0 T2=0\n    NoPrefixAvail\n",
		},
		{
			name: "lenient: wrong DUID, IA_NA, two IA_PD, ORO",
			edit: func(c *Config) { c.Lenient = true },
			msg: dhcp(solicit, opt(1, []byte{0, 4}, make([]byte, 16)), optElapsed, opt(6, u16(39)), opt(3, u32(7, 0, 0)),
				optPD, opt(25, u32(2, 0, 0))),
			want: "ADVERTISE 0a0b0c\n  1 000400000000000000000000000000000000\n  2 0003000100005e0053aa\n" + wantIA +
				"  IA_PD 00000002 T1=0 T2=0\n    NoPrefixAvail\n" +
				"  3 000000070000000000000000000d001b00026e6f20616464726573736573206f6e2074686973206c696e65\n",
		},
		{
			name: "silent",
			edit: func(c *Config) { c.SilentDHCP = true },
			msg:  dhcp(solicit, optClient, optElapsed, optPD),
			want: "(nothing)\n",
		},
		{
			name:   "Solicit of another client while the line holds",
			before: [][]byte{bound},
			edit:   func(c *Config) { c.Hold = true },
			msg:    dhcp(solicit, opt(1, []byte{0, 3, 0, 1}, serverMAC), optElapsed, optPD),
			want:   "(nothing)\n",
			routes: "2001:db8:1234:5600::/56 via fe80::200:5eff:fe00:5301",
		},
		{
			name: "infinite lifetimes",
			edit: func(c *Config) { c.Preferred, c.Valid, c.T1, c.T2 = infinite, infinite, infinite, infinite },
			msg:  dhcp(request, optClient, optServer, optElapsed, optPD),
			want: "REPLY 0a0b0c\n" + wantIDs + "  IA_PD 00000001 T1=4294967295 T2=4294967295\n" +
				"    2001:db8:1234:5600::/56 4294967295/4294967295\n",
			routes: "2001:db8:1234:5600::/56 via fe80::200:5eff:fe00:5301",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.kind == "" {
				tt.kind = Next
			}
			s, k, j, _ := dhcpFixture(tt.kind)
			t.Cleanup(s.close)
			for _, b := range tt.before {
				if s.handle(b, clientPeer) == nil {
					t.Fatalf("no answer: %v", wrongs(j))
				}
			}
			if tt.edit != nil {
				mustNot(t, s.set.change(tt.edit))
			}
			got := describe(s.handle(tt.msg, clientPeer)) + "\n"
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("answer (-want +got):\n%s\nwrong: %v", diff, wrongs(j))
			}
			if diff := cmp.Diff(tt.routes, k.table()); diff != "" {
				t.Errorf("routes (-want +got):\n%s", diff)
			}
		})
	}
}

// TestDHCPFailOver: the second server renews nothing that is for the first, and
// prolongs its lease by Rebind.
func TestDHCPFailOver(t *testing.T) {
	s, _, _, _ := dhcpFixture(Next)
	defer s.close()
	s.handle(dhcp(request, optClient, optServer, optElapsed, optPD, optAccept), clientPeer)
	s.failOver()
	if got := describe(s.handle(dhcp(renew, optClient, optServer, optElapsed, optHeld), clientPeer)); got != "(nothing)" {
		t.Errorf("Renew for the first server: %s", got)
	}
	want := "REPLY 0a0b0c\n" + strings.Replace(wantIDs, "53aa", "53ab", 1) + strings.TrimSuffix(wantIA, "\n")
	if got := describe(s.handle(dhcp(rebind, optClient, optElapsed, optHeld), clientPeer)); got != want {
		t.Errorf("Rebind: %s\nwant: %s", got, want)
	}
	if err := s.reconfigure(dhcpv6.MessageTypeRenew, false); err == nil {
		t.Error("the second server signs with the first one's key")
	}
}

// TestDHCPTakeover: a second client takes the prefix, the first has no binding.
func TestDHCPTakeover(t *testing.T) {
	s, k, j, _ := dhcpFixture(Next)
	defer s.close()
	second := netip.MustParseAddrPort("[fe80::2]:546")
	s.handle(dhcp(request, optClient, optServer, optElapsed, optPD), clientPeer)
	s.handle(dhcp(request, opt(1, []byte{0, 3, 0, 1, 0, 0, 0x5e, 0, 0x53, 2}), optServer, optElapsed, optPD), second)
	if want := "2001:db8:1234:5600::/56 via fe80::2"; k.table() != want {
		t.Errorf("routes %q, want %q", k.table(), want)
	}
	want := []string{"2001:db8:1234:5600::/56 goes from DUID-LL 00:00:5e:00:53:01 IAID 00000001 to DUID-LL 00:00:5e:00:53:02 IAID 00000001: two clients on one line fight"}
	if diff := cmp.Diff(want, wrongs(j)); diff != "" {
		t.Error(diff)
	}
	if got := describe(s.handle(dhcp(renew, optClient, optServer, optElapsed, optHeld), clientPeer)); !strings.Contains(got, "NoBinding") {
		t.Errorf("the first one's Renew: %s", got)
	}
}

// TestDHCPNoRoute: a prefix that cannot be routed is not given.
func TestDHCPNoRoute(t *testing.T) {
	s, k, _, _ := dhcpFixture(Next)
	k.fail = errors.New("no such device")
	if got := describe(s.handle(dhcp(request, optClient, optServer, optElapsed, optPD), clientPeer)); !strings.Contains(got, "NoPrefixAvail") {
		t.Error(got)
	}
	if s.delegated() != nil {
		t.Error("a lease all the same")
	}
}

// TestDHCPVendorOrder: the suboptions come in more than one order.
func TestDHCPVendorOrder(t *testing.T) {
	s, _, _, _ := dhcpFixture(Next)
	orders := make(map[string]bool)
	for range 64 {
		orders[string(s.vendorInformation(s.set.get()).ToBytes())] = true
	}
	if len(orders) < 12 {
		t.Errorf("%d orders in 64 answers", len(orders))
	}
}

// TestDHCPRun: the loop over a conn, and the end of a lease in virtual time.
func TestDHCPRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, k, _, conn := dhcpFixture(Next)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.run(ctx) }()
		ask := func(b []byte) string {
			conn.in <- packet{b, clientPeer}
			synctest.Wait()
			out := conn.got()
			if len(out) != 1 || out[0].peer != clientPeer {
				t.Fatalf("%d answers: %v", len(out), out)
			}
			return describe(out[0].b)
		}
		ask(dhcp(request, optClient, optServer, optElapsed, optPD))
		for range 10 { // renewed at T1, it lasts
			time.Sleep(7200 * time.Second)
			if got := ask(dhcp(renew, optClient, optServer, optElapsed, optHeld)); !strings.Contains(got, "12600/14400") {
				t.Fatal(got)
			}
		}
		time.Sleep(14400*time.Second - time.Millisecond)
		synctest.Wait()
		if k.table() == "" || s.delegated() == nil {
			t.Error("the lease ended early")
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if k.table() != "" || s.delegated() != nil {
			t.Error("the lease outlived its valid lifetime")
		}
		ask(dhcp(request, optClient, optServer, optElapsed, optPD))
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if k.table() != "" {
			t.Errorf("left behind: %s", k.table())
		}
	})
}

// optionOf returns the content of an option of a sent packet.
func optionOf(t *testing.T, b []byte, code dhcpv6.OptionCode) []byte {
	t.Helper()
	m, err := parseMessage(b)
	mustNot(t, err)
	data, ok := m.one(code)
	if !ok {
		t.Fatalf("no option %d in %x", code, b)
	}
	return data
}

// TestReconfigure: the key, the signature, the rounds, and their end.
func TestReconfigure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, j, conn := dhcpFixture(Next)
		defer s.close()
		if err := s.reconfigure(dhcpv6.MessageTypeRenew, false); err == nil {
			t.Error("sent to nobody")
		}
		reply := s.handle(dhcp(request, optClient, optServer, optElapsed, optPD, optAccept), clientPeer)
		auth := optionOf(t, reply, 11)
		if len(auth) != 28 || !bytes.Equal(auth[:3], []byte{3, 1, 0}) || auth[11] != 1 {
			t.Fatalf("authentication option %x", auth)
		}
		if got := optionOf(t, reply, 20); len(got) != 0 {
			t.Errorf("reconfigure accept %x", got)
		}
		key := auth[12:]
		mustNot(t, s.reconfigure(dhcpv6.MessageTypeRenew, false))
		out := conn.got()
		if len(out) != 1 || out[0].peer != clientPeer {
			t.Fatalf("sent %v", out)
		}
		b := out[0].b
		if !bytes.Equal(b[:4], []byte{10, 0, 0, 0}) || !bytes.Equal(optionOf(t, b, 19), []byte{5}) {
			t.Errorf("reconfigure %x", b)
		}
		sig := optionOf(t, b, 11)
		if len(sig) != 28 || sig[11] != 2 || bytes.Compare(sig[3:11], auth[3:11]) <= 0 {
			t.Fatalf("authentication option %x after %x", sig, auth)
		}
		h := hmac.New(md5.New, key)
		h.Write(bytes.Replace(b, sig[12:], make([]byte, 16), 1))
		if !hmac.Equal(h.Sum(nil), sig[12:]) {
			t.Error("bad HMAC-MD5")
		}
		// Rounds at 2, 4, 8 … s, and an end when the client comes.
		time.Sleep(6*time.Second + time.Millisecond)
		synctest.Wait()
		if n := len(conn.got()); n != 2 {
			t.Errorf("%d more rounds in 6 s, want 2", n)
		}
		s.handle(dhcp(renew, optClient, optServer, optElapsed, optHeld), clientPeer)
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := len(conn.got()); n != 0 {
			t.Errorf("%d rounds after the answer", n)
		}
		// A Renew carried no Reconfigure Accept: the client does not want them any more.
		if err := s.reconfigure(dhcpv6.MessageTypeRenew, false); err == nil || !strings.Contains(err.Error(), "no Reconfigure Accept") {
			t.Errorf("error %v", err)
		}
		mustNot(t, s.reconfigure(dhcpv6.MessageTypeRebind, true))
		time.Sleep(time.Hour)
		synctest.Wait()
		out = conn.got()
		if len(out) != 8 {
			t.Errorf("%d rounds without an answer, want 8", len(out))
		}
		if m, _ := parseMessage(out[0].b); m.has(11) || !bytes.Equal(optionOf(t, out[0].b, 19), []byte{6}) {
			t.Errorf("unauthenticated rebind: %x", out[0].b)
		}
		if w := wrongs(j); len(w) != 1 || !strings.Contains(w[0], "never answered") {
			t.Errorf("wrong: %q", w)
		}
	})
}

// TestNoRKAP: without a key there is nothing to sign with.
func TestNoRKAP(t *testing.T) {
	s, _, _, conn := dhcpFixture(Next, func(c *Config) { c.RKAP = false })
	defer s.close()
	reply := s.handle(dhcp(request, optClient, optServer, optElapsed, optPD, optAccept), clientPeer)
	if m, _ := parseMessage(reply); m.has(11) || !m.has(20) {
		t.Error(describe(reply))
	}
	if err := s.reconfigure(dhcpv6.MessageTypeRenew, false); err == nil || !strings.Contains(err.Error(), "no reconfigure key") {
		t.Errorf("error %v", err)
	}
	mustNot(t, s.reconfigure(dhcpv6.MessageTypeRenew, true))
	if len(conn.got()) != 1 {
		t.Error("nothing sent")
	}
}

// FuzzDHCP: no packet may end the server, what it answers can be decoded, and
// what it reads is what was written.
func FuzzDHCP(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, lenient := range []bool{false, true} {
			s, _, _, _ := dhcpFixture(Next, func(c *Config) { c.Lenient = lenient })
			defer s.close()
			s.handle(dhcp(request, optClient, optServer, optElapsed, optPD, optAccept), clientPeer)
			if reply := s.handle(b, clientPeer); reply != nil {
				m, err := parseMessage(reply)
				mustNot(t, err)
				// A client's DUID is given back as it came, however odd.
				id, ok := m.one(dhcpv6.OptionClientID)
				if _, err := dhcpv6.DUIDFromBytes(id); ok && err != nil {
					continue
				}
				if _, err := dhcpv6.MessageFromBytes(reply); err != nil {
					t.Errorf("own answer %x: %v", reply, err)
				}
			}
		}
		m, err := parseMessage(b)
		if err != nil {
			return
		}
		again := &dhcpv6.Message{MessageType: m.kind, TransactionID: m.xid}
		for _, o := range m.options {
			again.AddOption(o)
		}
		m2, err := parseMessage(again.ToBytes())
		mustNot(t, err)
		if diff := cmp.Diff(fmt.Sprintf("%x", m.options), fmt.Sprintf("%x", m2.options)); diff != "" || m.kind != m2.kind || m.xid != m2.xid {
			t.Error(diff)
		}
	})
}
