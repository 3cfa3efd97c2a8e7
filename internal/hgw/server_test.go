package hgw

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
)

const (
	solicit  = dhcpv6.MessageTypeSolicit
	request  = dhcpv6.MessageTypeRequest
	confirm  = dhcpv6.MessageTypeConfirm
	renew    = dhcpv6.MessageTypeRenew
	rebind   = dhcpv6.MessageTypeRebind
	release  = dhcpv6.MessageTypeRelease
	decline  = dhcpv6.MessageTypeDecline
	inform   = dhcpv6.MessageTypeInformationRequest
	lost     = "00:00:5e:00:53:10 fe80::200:5eff:fe00:5310 []"
	holds60  = "00:00:5e:00:53:10 fe80::200:5eff:fe00:5310 [2001:db8:0:1f0::/60 "
	advert60 = "PD 1 T1=10 T2=16 2001:db8:0:1f0::/60 12600 14400"
)

func TestExchange(t *testing.T) {
	const (
		sip    = "22 20010db8000000000000000000005060"
		dns    = "23 20010db8000000000000000000000053"
		domain = "24 05666c657473076578616d706c6500046970747607" + "6578616d706c6500"
		sntp   = "31 20010db8000000000000000000000123"
		vendor = "17 000000d2" + "00ca000a30333132333435363738" + "00cc0009076578616d706c6500"
	)
	tests := []struct {
		name string
		kind dhcpv6.MessageType
		opts []dhcpv6.Option
		want string
	}{
		{"solicit", solicit, []dhcpv6.Option{pd(1)}, "ADVERTISE; " + advert60},
		{"all information", solicit, []dhcpv6.Option{pd(1), oro(17, 22, 23, 24, 31)}, "ADVERTISE; " + advert60 + "; " + strings.Join([]string{sip, dns, sntp, domain, vendor}, "; ")},
		{"some", solicit, []dhcpv6.Option{pd(1), oro(31, 23, 99)}, "ADVERTISE; " + advert60 + "; " + dns + "; " + sntp},
		{"the vendor's by option 16", solicit, []dhcpv6.Option{pd(1), class}, "ADVERTISE; " + advert60 + "; " + vendor},
		{"a longer wait is not wanted", solicit, []dhcpv6.Option{pd(1), oro(82)}, "ADVERTISE; " + advert60 + "; 82 0000003c"},
		{"rapid commit", solicit, []dhcpv6.Option{pd(1), option(dhcpv6.OptionRapidCommit)}, "ADVERTISE; " + advert60},
		{"no IA", solicit, []dhcpv6.Option{oro(23)}, "ADVERTISE; " + dns},
		{"information", inform, []dhcpv6.Option{oro(23, 22)}, "REPLY; " + sip + "; " + dns},
		{"address before a lease", confirm, []dhcpv6.Option{na(1, "2001:db8:0:1ef::1")}, "REPLY; Success"},
		{"address of another link", confirm, []dhcpv6.Option{na(1, "2001:db8:0:1ef::1", "2001:db8:0:2ef::1")}, "REPLY; NotOnLink"},
		{"release of nothing", release, []dhcpv6.Option{pd(1)}, "REPLY; Success; PD 1 T1=0 T2=0 NoBinding"},
		{"request", request, []dhcpv6.Option{pd(1), oro(23)}, "REPLY; " + advert60 + "; " + dns},
		{"renew", renew, []dhcpv6.Option{pd(1, "2001:db8:0:1f0::/60")}, "REPLY; " + advert60},
		{"rebind", rebind, []dhcpv6.Option{pd(1, "2001:db8:0:1f0::/60")}, "REPLY; " + advert60},
		{"decline of what is not held", decline, []dhcpv6.Option{na(1, "2001:db8:0:1ef::1")}, "REPLY; Success; NA 1 T1=0 T2=0 NoBinding"},
		{"renew of something else", renew, []dhcpv6.Option{pd(1, "2001:db8:0:1::/64", "2001:db8:0:2f0::/60")},
			"REPLY; PD 1 T1=10 T2=16 2001:db8:0:1::/64 0 0 2001:db8:0:2f0::/60 0 0 2001:db8:0:1f0::/60 12600 14400"},
		{"release", release, []dhcpv6.Option{pd(1, "2001:db8:0:1f0::/60")}, "REPLY; Success"},
		{"rebind of what was given back", rebind, []dhcpv6.Option{pd(1, "2001:db8:0:1f0::/60")}, "REPLY; " + advert60},
	}
	run(t, Config{}, func(b *bench) {
		for _, test := range tests {
			if got := b.ask(test.kind, test.opts...); got != test.want {
				t.Errorf("%s:\n got %s\nwant %s", test.name, got, test.want)
			}
		}
		// An odd port is answered where it is.
		odd := netip.AddrPortFrom(addrA.Addr(), 49152)
		got := b.send(message4(duidA, solicit, pd(1)), odd)
		if len(got) != 1 || got[0].peer != odd {
			t.Fatalf("%v", got)
		}
		m, err := dhcpv6.MessageFromBytes(got[0].data)
		if err != nil {
			t.Fatal(err)
		}
		if id := m.Options.ClientID(); id == nil || string(id.ToBytes()) != string(duidA) {
			t.Errorf("client identifier %v", id)
		}
		if id := m.Options.ServerID(); id == nil || string(id.ToBytes()) != string(port) {
			t.Errorf("server identifier %v", id)
		}
		if m.TransactionID != [3]byte{1, 2, 3} {
			t.Errorf("transaction %v", m.TransactionID)
		}
	})
}

// Who gets what of several IAs, in this message and after another.
func TestIAs(t *testing.T) {
	tests := []struct {
		name          string
		before, asked []dhcpv6.Option
		want          string // of the answer, what each IA got
		held          string // afterwards
	}{
		{"one prefix", nil, []dhcpv6.Option{pd(1)}, "PD 1 /60", "/60"},
		{"an address alone", nil, []dhcpv6.Option{na(1)}, "NA 1 /128", "/128"},
		{"address and prefix", nil, []dhcpv6.Option{na(1), pd(1)}, "NA 1 /128; PD 1 /60", "/60 /128"},
		{"prefix and address", nil, []dhcpv6.Option{pd(1), na(1)}, "PD 1 /60; NA 1 /128", "/60 /128"},
		{"two prefixes", nil, []dhcpv6.Option{pd(7), pd(3)}, "PD 7 /60; PD 3 /64", "/60 /64"},
		{"a hint of a /64 does not make it the second", nil, []dhcpv6.Option{pd(1, "::/64")}, "PD 1 /60", "/60"},
		{"three prefixes", nil, []dhcpv6.Option{pd(1), pd(2), pd(3)}, "PD 1 /60; PD 2 /64; PD 3 NoPrefixAvail", "/60 /64"},
		{"two prefixes and an address", nil, []dhcpv6.Option{pd(1), pd(2), na(9)}, "PD 1 /60; PD 2 NoPrefixAvail; NA 9 /128", "/60 /128"},
		{"two addresses", nil, []dhcpv6.Option{na(1), na(2)}, "NA 1 /128; NA 2 NoAddrsAvail", "/128"},
		{"one IAID twice", nil, []dhcpv6.Option{pd(1), pd(1)}, "PD 1 /60", "/60"},
		{"the other order", []dhcpv6.Option{pd(1), pd(2)}, []dhcpv6.Option{pd(2), pd(1)}, "PD 2 /64; PD 1 /60", "/60 /64"},
		{"one of two", []dhcpv6.Option{pd(1), pd(2)}, []dhcpv6.Option{pd(2)}, "PD 2 /64", "/60 /64"},
		{"apart", []dhcpv6.Option{pd(1)}, []dhcpv6.Option{na(1)}, "NA 1 /128", "/60 /128"},
		{"a second one, later", []dhcpv6.Option{pd(1)}, []dhcpv6.Option{pd(2, "::/64")}, "PD 2 /64", "/60 /64"},
		{"another IAID", []dhcpv6.Option{pd(1)}, []dhcpv6.Option{pd(2)}, "PD 2 /60", "/60"},
		{"an address in place of the second", []dhcpv6.Option{pd(1), pd(2)}, []dhcpv6.Option{na(1)}, "NA 1 /128", "/60 /128"},
		{"a second in place of the address", []dhcpv6.Option{pd(1), na(1)}, []dhcpv6.Option{pd(1), pd(2)}, "PD 1 /60; PD 2 /64", "/60 /64"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			run(t, Config{}, func(b *bench) {
				if test.before != nil {
					b.ask(request, test.before...)
				}
				// Each is shortened to what this is about.
				short := strings.NewReplacer("T1=10 T2=16 ", "", "T1=0 T2=0 ", "", "2001:db8:0:1f0::/60 12600 14400", "/60", "2001:db8:0:1ef::/64 12600 14400", "/64",
					"2001:db8:0:1ef::1 12600 14400", "/128", "REPLY; ", "", "ADVERTISE; ", "")
				if got := short.Replace(b.ask(solicit, test.asked...)); got != test.want {
					t.Errorf("Solicit: %s, want %s", got, test.want)
				}
				if got := short.Replace(b.ask(request, test.asked...)); got != test.want {
					t.Errorf("Request: %s, want %s", got, test.want)
				}
				var held []string
				for _, p := range b.events[len(b.events)-1].Prefixes {
					held = append(held, p.Prefix.String()[strings.Index(p.Prefix.String(), "/"):])
				}
				if got := strings.Join(held, " "); got != test.held {
					t.Errorf("held: %s, want %s", got, test.held)
				}
			})
		})
	}
}

func TestTimes(t *testing.T) {
	tests := []struct {
		name             string
		preferred, valid uint32
		accept           bool
		t1, t2           uint32
	}{
		{"usual", 12600, 14400, false, 10, 16},
		{"usual, told of changes", 12600, 14400, true, 1800, 2880},
		{"short", 1000, 2000, true, 500, 800},
		{"very short", 15, 20, false, 7, 12},
		{"deprecated", 0, 2000, true, 1000, 1600},
		{"for ever", infinity, infinity, true, 1800, 2880},
		{"one second", 1, 1, true, 0, 0},
	}
	for _, test := range tests {
		if t1, t2 := times(test.preferred, test.valid, test.accept); t1 != test.t1 || t2 != test.t2 {
			t.Errorf("%s: %d and %d, want %d and %d", test.name, t1, t2, test.t1, test.t2)
		}
	}
}

// Lifetimes are what is left of the line's, whenever that is asked.
func TestLifetimes(t *testing.T) {
	run(t, Config{}, func(b *bench) {
		tests := []struct {
			after time.Duration
			want  string
		}{
			{0, "12600 14400"},
			{1500 * time.Millisecond, "12598 14398"},
			{12000 * time.Second, "598 2398"},
			{1000 * time.Second, "0 1398"},
			{1398 * time.Second, "NoPrefixAvail"}, // half a second is left
		}
		for _, test := range tests {
			b.pass(test.after)
			if got := b.ask(solicit, pd(1)); !strings.HasSuffix(got, " "+test.want) {
				t.Errorf("after %v more: %s, want %s", test.after, got, test.want)
			}
		}
		b.set(Upstream{Prefix: gave(lineP, 0, 0).Prefix})
		up := usual(lineP)
		up.Prefix.Preferred, up.Prefix.Valid = time.Time{}, time.Time{}
		b.set(up)
		if got := b.ask(request, pd(1)); !strings.HasSuffix(got, " 4294967295 4294967295") {
			t.Errorf("for ever: %s", got)
		}
		b.pass(30 * 24 * time.Hour)
		if got := b.last(); got != holds60+"4294967295]" {
			t.Errorf("a month later: %s", got)
		}
		up.Prefix.Deprecated = true
		b.set(up)
		if got := b.ask(renew, pd(1)); !strings.HasSuffix(got, " 0 4294967295") {
			t.Errorf("deprecated: %s", got)
		}
		b.set(usual(netip.MustParsePrefix("2001:db8::/60")))
		if got := b.ask(solicit, pd(1), na(1)); got != "ADVERTISE; PD 1 T1=0 T2=0 NoPrefixAvail; NA 1 T1=0 T2=0 NoAddrsAvail" {
			t.Errorf("no room: %s", got)
		}
	})
}

func TestExpiry(t *testing.T) {
	run(t, Config{}, func(b *bench) {
		b.bound()
		b.pass(time.Hour)
		b.ask(renew, pd(1, "2001:db8:0:1f0::/60"))
		b.set(usual(lineP)) // the line prolongs, the HGW does not ask again
		b.pass(14400*time.Second - time.Hour - time.Second)
		if got := b.last(); got != holds60+"1]" {
			t.Errorf("just before its end: %s", got)
		}
		b.pass(time.Second)
		if got := b.last(); got != lost {
			t.Errorf("at its end: %s", got)
		}
		// The port is free.
		if got := b.askAs(duidB, addrB, request, pd(1)); !strings.Contains(got, "/60") {
			t.Errorf("another: %s", got)
		}
	})
}

func TestPrefixChange(t *testing.T) {
	run(t, Config{}, func(b *bench) {
		b.ask(request, pd(1), na(1))
		b.set(usual(lineQ))
		if got := b.last(); got != lost {
			t.Errorf("at once: %s", got)
		}
		want := "REPLY; PD 1 T1=10 T2=16 2001:db8:0:1f0::/60 0 0 2001:db8:0:2f0::/60 12600 14400; " +
			"NA 1 T1=10 T2=16 2001:db8:0:1ef::1 0 0 2001:db8:0:2ef::1 12600 14400"
		if got := b.ask(renew, pd(1, "2001:db8:0:1f0::/60"), na(1, "2001:db8:0:1ef::1")); got != want {
			t.Errorf(" got %s\nwant %s", got, want)
		}
		if got := b.last(); got != holds60[:len(holds60)-len("2001:db8:0:1f0::/60 ")]+"2001:db8:0:2f0::/60 14400, 2001:db8:0:2ef::1/128 14400]" {
			t.Errorf("afterwards: %s", got)
		}
		// What the HGW forgot to name is taken back too, once.
		b.set(usual(lineP))
		if got := b.ask(renew, pd(1)); !strings.Contains(got, "2001:db8:0:2f0::/60 0 0 2001:db8:0:1f0::/60 12600") {
			t.Errorf("not named: %s", got)
		}
		if got := b.ask(renew, pd(1)); strings.Contains(got, " 0 0") {
			t.Errorf("again: %s", got)
		}
	})
}

func TestPrefixLost(t *testing.T) {
	run(t, Config{}, func(b *bench) {
		b.bound()
		b.set(Upstream{Info: lineInfo()})
		if got := b.last(); got != lost {
			t.Errorf("at once: %s", got)
		}
		// It comes back before the HGW heard of anything.
		b.set(usual(lineP))
		if got := b.last(); got != holds60+"14400]" {
			t.Errorf("back: %s", got)
		}
		b.set(Upstream{})
		if got := b.ask(renew, pd(1, "2001:db8:0:1f0::/60")); got != "REPLY; PD 1 T1=0 T2=0 2001:db8:0:1f0::/60 0 0" {
			t.Errorf("renew: %s", got)
		}
		if got := b.ask(rebind, pd(1)); got != "REPLY; PD 1 T1=0 T2=0 NoPrefixAvail" {
			t.Errorf("rebind: %s", got)
		}
		b.set(usual(lineP))
		if got := b.last(); got != lost {
			t.Errorf("the HGW knows that it has nothing: %s", got)
		}
		b.bound()
		// The line shortens its lease: never longer than that.
		b.set(gave(lineP, time.Minute, 2*time.Minute))
		if got := b.last(); got != holds60+"120]" {
			t.Errorf("shortened: %s", got)
		}
	})
}

func TestSecondClient(t *testing.T) {
	run(t, Config{}, func(b *bench) {
		b.bound()
		other := func(kind dhcpv6.MessageType, opts ...dhcpv6.Option) string {
			t.Helper()
			return b.askAs(duidB, addrB, kind, opts...)
		}
		for _, test := range []struct {
			kind dhcpv6.MessageType
			want string
		}{
			{solicit, "ADVERTISE; PD 1 T1=0 T2=0 NoPrefixAvail; NA 1 T1=0 T2=0 NoAddrsAvail"},
			{request, "REPLY; PD 1 T1=0 T2=0 NoPrefixAvail; NA 1 T1=0 T2=0 NoAddrsAvail"},
			{renew, "REPLY; PD 1 T1=0 T2=0 NoBinding; NA 1 T1=0 T2=0 NoBinding"},
			{rebind, "REPLY; PD 1 T1=0 T2=0 NoBinding; NA 1 T1=0 T2=0 NoBinding"},
			{release, "REPLY; Success; PD 1 T1=0 T2=0 NoBinding; NA 1 T1=0 T2=0 NoBinding"},
		} {
			if got := other(test.kind, pd(1, "2001:db8:0:1f0::/60"), na(1)); got != test.want {
				t.Errorf("%v: %s, want %s", test.kind, got, test.want)
			}
		}
		if n := b.counted.Get("hgw.refused.other-client"); n != 8 {
			t.Errorf("%d counted", n)
		}
		if got := b.last(); got != holds60+"14400]" {
			t.Errorf("%s", got)
		}

		// The carrier was lost: until somebody asks, what was held stays.
		b.s.LinkDown()
		b.pass(time.Minute)
		b.up()
		if got := b.last(); got != holds60+"14340]" {
			t.Errorf("%s", got)
		}
		if got := other(solicit, pd(1)); !strings.Contains(got, "/60") {
			t.Errorf("another box: %s", got)
		}
		if got := other(request, pd(1)); !strings.Contains(got, "/60") {
			t.Errorf("another box: %s", got)
		}
		if got := b.last(); got != "00:00:5e:00:53:11 fe80::b [2001:db8:0:1f0::/60 14340]" {
			t.Errorf("%s", got)
		}
		if got := b.ask(renew, pd(1)); !strings.Contains(got, "NoBinding") {
			t.Errorf("the one of before: %s", got)
		}
	})
}

func TestDecline(t *testing.T) {
	run(t, Config{}, func(b *bench) {
		b.ask(request, na(1))
		if got := b.ask(decline, na(1, "2001:db8:0:1ef::1")); got != "REPLY; Success" {
			t.Errorf("%s", got)
		}
		if got := b.ask(request, na(1)); !strings.Contains(got, " 2001:db8:0:1ef::2 ") {
			t.Errorf("%s", got)
		}
		for range 300 {
			b.ask(decline, na(1))
			b.pass(time.Second)
			if got := b.ask(request, na(1)); strings.Contains(got, "1ef:: ") || !strings.Contains(got, "1ef::") {
				t.Fatalf("%s", got)
			}
		}
	})
}

// How the HGW's MAC address becomes known, message by message.
func TestMAC(t *testing.T) {
	ask := func(duid []byte, from string, kind dhcpv6.MessageType, opts ...dhcpv6.Option) func(*bench) {
		return func(b *bench) { b.askAs(duid, netip.MustParseAddrPort("["+from+"]:546"), kind, append(opts, pd(1))...) }
	}
	replug := func(b *bench) { b.s.LinkDown(); b.up() }
	wrong := option(dhcpv6.OptionVendorClass, 0, 0, 0, 210, 0, 6, 1, 0, 0x5e, 0, 0x53, 0x10) // a group
	uuid := []byte{0, 4, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	const ll, privacy = "fe80::200:5eff:fe00:5330", "fe80::1234:5678:9abc:def0"
	tests := []struct {
		name  string
		steps []func(*bench)
		want  string
	}{
		{"vendor class", []func(*bench){ask(duidA, ll, solicit, class)}, "00:00:5e:00:53:20"},
		{"of the enterprise that is not known", []func(*bench){ask(duidA, ll, solicit, option(dhcpv6.OptionVendorClass, 0, 0, 0, 9, 0, 6, 2, 0, 0, 0, 0, 1))}, "00:00:5e:00:53:10"},
		{"a group's address", []func(*bench){ask(duidA, ll, solicit, wrong)}, "00:00:5e:00:53:10"},
		{"DUID-LL", []func(*bench){ask(duidA, privacy, solicit)}, "00:00:5e:00:53:10"},
		{"DUID-LLT", []func(*bench){ask([]byte{0, 1, 0, 1, 1, 2, 3, 4, 0, 0, 0x5e, 0, 0x53, 0x31}, ll, solicit)}, "00:00:5e:00:53:31"},
		{"DUID-LL of another kind of hardware", []func(*bench){ask([]byte{0, 3, 0, 6, 0, 0, 0x5e, 0, 0x53, 0x31}, ll, solicit)}, "00:00:5e:00:53:30"},
		{"DUID-LL of a group", []func(*bench){ask([]byte{0, 3, 0, 1, 1, 0, 0x5e, 0, 0x53, 0x31}, ll, solicit)}, "00:00:5e:00:53:30"},
		{"DUID-LL of zeros", []func(*bench){ask([]byte{0, 3, 0, 1, 0, 0, 0, 0, 0, 0}, ll, solicit)}, "00:00:5e:00:53:30"},
		{"DUID-UUID", []func(*bench){ask(uuid, ll, solicit)}, "00:00:5e:00:53:30"},
		{"nothing", []func(*bench){ask(uuid, privacy, solicit)}, ""},
		{"the vendor class comes later", []func(*bench){ask(duidA, ll, solicit), ask(duidA, ll, request, class)}, "00:00:5e:00:53:20"},
		{"the vendor class goes again", []func(*bench){ask(duidA, ll, solicit, class), ask(duidA, ll, request)}, "00:00:5e:00:53:20"},
		{"a second client asks", []func(*bench){ask(duidA, ll, solicit), ask(duidB, ll, solicit, class)}, "00:00:5e:00:53:10"},
		{"a second client takes", []func(*bench){ask(duidA, ll, solicit), ask(duidB, ll, request)}, "00:00:5e:00:53:11"},
		{"a second client while another holds", []func(*bench){ask(duidA, ll, request), ask(duidB, ll, request, class)}, "00:00:5e:00:53:10"},
		{"another box", []func(*bench){ask(duidA, ll, request), replug, ask(duidB, ll, solicit)}, "00:00:5e:00:53:11"},
		{"two other boxes", []func(*bench){ask(duidA, ll, request), replug, ask(duidB, ll, solicit), ask(uuid, ll, solicit)}, "00:00:5e:00:53:11"},
		{"nobody else", []func(*bench){ask(duidA, ll, request), replug}, "00:00:5e:00:53:10"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			run(t, Config{}, func(b *bench) {
				for _, step := range test.steps {
					step(b)
				}
				if got := b.events[len(b.events)-1].MAC.String(); got != test.want {
					t.Errorf("%q, want %q", got, test.want)
				}
			})
		})
	}
}

func TestLastSeen(t *testing.T) {
	run(t, Config{}, func(b *bench) {
		b.bound()
		b.pass(time.Minute)
		b.ask(solicit, pd(1))
		b.pass(time.Minute)
		b.askAs(duidB, addrB, solicit, pd(1))
		if got := time.Since(b.events[len(b.events)-1].LastSeen); got != time.Minute {
			t.Errorf("%v ago", got)
		}
	})
}

func TestDelegation(t *testing.T) {
	tests := []struct{ line, delegated, link string }{
		{"2001:db8::/56", "2001:db8:0:f0::/60", "2001:db8:0:ef::/64"},
		{"2001:db8:1234:ab00::/56", "2001:db8:1234:abf0::/60", "2001:db8:1234:abef::/64"},
		{"2001:db8:1234:abff::/56", "2001:db8:1234:abf0::/60", "2001:db8:1234:abef::/64"},
		{"2001:db8:1234::/48", "2001:db8:1234:fff0::/60", "2001:db8:1234:ffef::/64"},
		{"2001:db8:0:20::/59", "2001:db8:0:30::/60", "2001:db8:0:2f::/64"},
		{"2001:db8::/60", "invalid Prefix", "invalid Prefix"},
		{"2001:db8::/64", "invalid Prefix", "invalid Prefix"},
		{"192.0.2.0/24", "invalid Prefix", "invalid Prefix"},
	}
	for _, test := range tests {
		delegated, link, ok := Delegation(netip.MustParsePrefix(test.line))
		if delegated.String() != test.delegated || link.String() != test.link || ok != delegated.IsValid() {
			t.Errorf("%s: %v, %v, %v", test.line, delegated, link, ok)
		}
	}
	if _, _, ok := Delegation(netip.Prefix{}); ok {
		t.Error("of nothing")
	}
}
