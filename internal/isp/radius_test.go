package isp

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/md5"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"layeh.com/radius"
)

// av is an attribute by hand.
type av struct {
	t byte
	b []byte
}

var testChallenge = []byte("0123456789abcdef")

// vsa is a Vendor-Specific of these sub-attributes, given as type and text.
func vsa(subs ...any) av {
	b := u32(22197)
	for i := 0; i < len(subs); i += 2 {
		v := subs[i+1].(string)
		b = append(b, byte(subs[i].(int)), byte(2+len(v)))
		b = append(b, v...)
	}
	return av{26, b}
}

func chapOf(id byte, password string, challenge []byte) []byte {
	sum := md5.Sum(append(append([]byte{id}, password...), challenge...))
	return append([]byte{id}, sum[:]...)
}

// accessRequest is a packet with identifier 7.
func accessRequest(attrs ...av) []byte {
	b := append([]byte{1, 7, 0, 0}, bytes.Repeat([]byte{0x5a}, 16)...)
	for _, a := range attrs {
		b = append(b, a.t, byte(2+len(a.b)))
		b = append(b, a.b...)
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	return b
}

const (
	nextUser  = "2001:0db8:1234:5600:1111:1111:1111:1111"
	crossUser = "2001:0db8:1234:5600"
	termMAC   = "00:00:5e:00:53:f0"
)

// nextRequest is a right request of a NEXT line; edit may change it.
func nextRequest(edit ...func([]av) []av) []byte {
	a := []av{
		{1, []byte(nextUser)},
		vsa(1, termMAC), vsa(2, "maker"), vsa(3, "model 1"), vsa(4, "rev 2"),
		{60, testChallenge},
		{3, chapOf(1, "pass", testChallenge)},
	}
	for _, f := range edit {
		a = f(a)
	}
	return accessRequest(a...)
}

func crossRequest(edit ...func([]av) []av) []byte {
	a := []av{
		{1, []byte(crossUser)},
		{3, chapOf(0, "pass", testChallenge)},
		vsa(1, "00:00:5e:00:53:77", 2, "maker", 3, "model 1", 4, "rev 2"),
		{60, testChallenge},
	}
	for _, f := range edit {
		a = f(a)
	}
	return accessRequest(a...)
}

// set replaces attribute i.
func set(i int, a av) func([]av) []av { return func(l []av) []av { l[i] = a; return l } }

// without removes attribute i.
func without(i int) func([]av) []av {
	return func(l []av) []av { return append(append([]av(nil), l[:i]...), l[i+1:]...) }
}

func radiusFixture(kind Kind, edit ...func(*Config)) (*radiusServer, *fakeKernel, *Journal) {
	j, _ := testJournal()
	k := newFakeKernel()
	set := testSettings(kind, edit...)
	b := &br{j: j, kernel: k}
	return &radiusServer{set: set, j: j, prefix: func() netip.Prefix { return set.get().Prefix }, grant: b.grant}, k, j
}

// source is the tunnel's local address of the test line.
var source = netip.MustParseAddrPort("[2001:db8:1234:5600:1111:1111:1111:1111]:40000")

// outcome is an answer for people; secret signs it.
func outcome(t *testing.T, reply, request []byte) string {
	t.Helper()
	if reply == nil {
		return "(nothing)"
	}
	if !radius.IsAuthenticResponse(reply, request, []byte("shared")) {
		t.Error("the answer is not signed with the shared secret")
	}
	p, err := radius.Parse(reply, nil)
	mustNot(t, err)
	if p.Identifier != request[1] {
		t.Errorf("identifier %d, want %d", p.Identifier, request[1])
	}
	out := fmt.Sprintf("%v", p.Code)
	for _, a := range p.Attributes {
		if a.Type == 18 {
			out += " " + string(a.Attribute)
		}
	}
	return out
}

// TestRADIUSStrict: each wrong request, and what is said of it. The Reply-Message
// of the rejection begins with the first of it.
func TestRADIUSStrict(t *testing.T) {
	fullVSA := func(l []av) []av {
		return append(append(append([]av(nil), l[:1]...), vsa(1, termMAC, 2, "maker", 3, "model 1", 4, "rev 2")), l[5:]...)
	}
	tests := []struct {
		name string
		kind Kind
		msg  []byte
		from string
		edit func(*Config)
		want []string
	}{
		{name: "right", msg: nextRequest()},
		{name: "right, cross", kind: Cross, msg: crossRequest()},
		{name: "right, RA-only, any MAC", kind: NextRA, msg: nextRequest(set(1, vsa(1, "00:00:5e:00:53:01")))},
		{name: "cross from another address of the prefix", kind: Cross, msg: crossRequest(), from: "2001:db8:1234:5601::1"},
		{name: "compressed User-Name", msg: nextRequest(set(0, av{1, []byte("2001:db8:1234:5600:1111:1111:1111:1111")})),
			want: []string{`User-Name "2001:db8:1234:5600:1111:1111:1111:1111": groups of four digits, none left out, are due: "` + nextUser + `"`}},
		{name: "upper-case User-Name", msg: nextRequest(set(0, av{1, []byte(strings.ToUpper(nextUser))})),
			want: []string{`User-Name "` + strings.ToUpper(nextUser) + `": lower-case digits are due`}},
		{name: "User-Name of another line", msg: nextRequest(set(0, av{1, []byte("2001:0db8:9999:5600:1111:1111:1111:1111")})),
			want: []string{`User-Name "2001:0db8:9999:5600:1111:1111:1111:1111" is outside of the line's prefix 2001:db8:1234:5600::/56`}},
		{name: "User-Name of cross", msg: nextRequest(set(0, av{1, []byte(crossUser)})),
			want: []string{`User-Name "` + crossUser + `": all eight groups of the tunnel's local address is due (` + nextUser + `)`}},
		{name: "User-Name of next", kind: Cross, msg: crossRequest(set(0, av{1, []byte(nextUser)})),
			want: []string{`User-Name "` + nextUser + `": the first four groups of the prefix is due (` + crossUser + `)`}},
		{name: "configured User-Name", msg: nextRequest(), edit: func(c *Config) { c.Account.userName = "me" },
			want: []string{`User-Name "` + nextUser + `": as configured is due (me)`}},
		{name: "order of cross", msg: nextRequest(func(l []av) []av { return append(l[:1:1], l[6], l[1], l[2], l[3], l[4], l[5]) }),
			want: []string{"attributes in the order User-Name, CHAP-Password, Vendor-Specific, CHAP-Challenge: User-Name, Vendor-Specific, CHAP-Challenge, CHAP-Password is due"}},
		{name: "order of next", kind: Cross, msg: crossRequest(func(l []av) []av { return []av{l[0], l[2], l[3], l[1]} }),
			want: []string{"attributes in the order User-Name, Vendor-Specific, CHAP-Challenge, CHAP-Password: User-Name, CHAP-Password, Vendor-Specific, CHAP-Challenge is due"}},
		{name: "VSAs apart", msg: nextRequest(func(l []av) []av { return append(l[:4:4], l[5], l[4], l[6]) }),
			want: []string{"attributes in the order User-Name, Vendor-Specific, CHAP-Challenge, Vendor-Specific, CHAP-Password: User-Name, Vendor-Specific, CHAP-Challenge, CHAP-Password is due"}},
		{name: "packed VSAs on next", msg: nextRequest(fullVSA),
			want: []string{"VSA packing: 1 Vendor-Specific attributes with [4] sub-attributes, four with one each are due"}},
		{name: "separate VSAs on cross", kind: Cross, msg: crossRequest(func(l []av) []av {
			return append(l[:2:2], vsa(1, "00:00:5e:00:53:77"), vsa(2, "maker"), vsa(3, "model 1"), vsa(4, "rev 2"), l[3])
		}), want: []string{"VSA packing: 4 Vendor-Specific attributes, one that holds all sub-attributes is due"}},
		{name: "VSA values", msg: nextRequest(set(2, vsa(2, "other")), set(3, vsa(3, "")), set(4, vsa(4, "rev 3"))),
			want: []string{`VSA 2 (manufacturer) is "other", "maker" is due`, `VSA 3 (model) is "", "model 1" is due`, `VSA 4 (hardware revision) is "rev 3", "rev 2" is due`}},
		{name: "VSA missing, twice, unknown", msg: nextRequest(set(2, vsa(1, termMAC)), set(3, vsa(9, "x"))),
			want: []string{"VSA 1 is there twice", "VSA 2 (manufacturer) is missing", "VSA 3 (model) is missing", "VSA 9 is there: the line's gateway sends 1 to 4"}},
		{name: "another vendor", msg: nextRequest(set(4, av{26, append(u32(9), 4, 3, 'x')})),
			want: []string{"Vendor-Specific of vendor 9, 22197 is due", "VSA packing: 3 Vendor-Specific attributes with [1 1 1] sub-attributes, four with one each are due", "VSA 4 (hardware revision) is missing"}},
		{name: "bad VSA lengths", msg: nextRequest(set(3, av{26, []byte{1, 2}}), set(4, av{26, append(u32(22197), 4, 99)})),
			want: []string{"Vendor-Specific of 2 bytes has no room for the vendor", "Vendor-Specific with a sub-attribute of bad length",
				"VSA packing: 3 Vendor-Specific attributes with [1 1 0] sub-attributes, four with one each are due", "VSA 3 (model) is missing", "VSA 4 (hardware revision) is missing"}},
		{name: "own MAC instead of the terminal's", msg: nextRequest(set(1, vsa(1, "00:00:5e:00:53:01"))),
			want: []string{`VSA 1 (MAC address) is "00:00:5e:00:53:01", "00:00:5e:00:53:f0" is due`}},
		{name: "form of the MAC", kind: Cross, msg: crossRequest(set(2, vsa(1, "00-00-5E-00-53-77", 2, "maker", 3, "model 1", 4, "rev 2"))),
			want: []string{`VSA 1 (MAC address) is "00-00-5E-00-53-77", six lower-case bytes with colons are due`}},
		{name: "configured MAC", msg: nextRequest(), edit: func(c *Config) { c.Account.mac = "00005E005301" },
			want: []string{`VSA 1 (MAC address) is "00:00:5e:00:53:f0", "00005E005301" is due`}},
		{name: "hostile text", msg: nextRequest(set(2, vsa(2, "\x1b[31m\n"))),
			want: []string{`VSA 2 (manufacturer) is "\x1b[31m\n", "maker" is due`}},
		{name: "CHAP identifier", msg: nextRequest(set(6, av{3, chapOf(0, "pass", testChallenge)})), want: []string{"CHAP identifier 0, 1 is due"}},
		{name: "password", msg: nextRequest(set(6, av{3, chapOf(1, "guess", testChallenge)})),
			want: []string{"CHAP-Password is wrong: another password, or computed over something else than identifier, password, challenge"}},
		{name: "short CHAP-Password", msg: nextRequest(set(6, av{3, []byte{1, 2}})), want: []string{"CHAP-Password of 2 bytes, 17 are due"}},
		{name: "short challenge", msg: nextRequest(set(5, av{60, []byte("abc")}), set(6, av{3, chapOf(1, "pass", []byte("abc"))})),
			want: []string{"CHAP-Challenge of 3 bytes, 16 are due"}},
		{name: "no challenge", msg: nextRequest(without(5), set(5, av{3, chapOf(1, "pass", bytes.Repeat([]byte{0x5a}, 16))})),
			want: []string{"CHAP-Challenge is missing"}},
		{name: "no CHAP-Password", msg: nextRequest(without(6)), want: []string{"CHAP-Password is missing", "no CHAP-Password"}},
		{name: "no VSA", msg: nextRequest(func(l []av) []av { return append(l[:1:1], l[5:]...) }), want: []string{"Vendor-Specific is missing"}},
		{name: "two User-Names", msg: nextRequest(func(l []av) []av { return append(l[:1:1], l...) }), want: []string{"2 User-Name attributes, 1 is due"}},
		{name: "NAS attributes", msg: nextRequest(func(l []av) []av {
			return append(l, av{4, []byte{192, 0, 2, 1}}, av{95, make([]byte, 16)}, av{32, []byte("x")}, av{200, nil})
		}), want: []string{"NAS-IP-Address is there: the line's gateway sends no such attribute", "NAS-IPv6-Address is there: the line's gateway sends no such attribute",
			"NAS-Identifier is there: the line's gateway sends no such attribute", "attribute 200 is there: the line's gateway sends no such attribute"}},
		{name: "source", msg: nextRequest(), from: "2001:db8:1234:5600::1",
			want: []string{"source address 2001:db8:1234:5600::1: the tunnel's local address 2001:db8:1234:5600:1111:1111:1111:1111 is due"}},
		{name: "source, cross", kind: Cross, msg: crossRequest(), from: "2001:db8:ffff::1",
			want: []string{"source address 2001:db8:ffff::1 is outside of the line's prefix 2001:db8:1234:5600::/56"}},
		{name: "interface id by flag", msg: nextRequest(), edit: func(c *Config) { c.IID = &IID{7: 9} },
			want: []string{`User-Name "` + nextUser + `": all eight groups of the tunnel's local address is due (2001:0db8:1234:5600:0000:0000:0000:0009)`,
				"source address 2001:db8:1234:5600:1111:1111:1111:1111: the tunnel's local address 2001:db8:1234:5600::9 is due"}},
		{name: "nothing at all", msg: accessRequest(),
			want: []string{"User-Name is missing", "Vendor-Specific is missing", "CHAP-Challenge is missing", "CHAP-Password is missing",
				`User-Name "": all eight groups of the tunnel's local address is due (` + nextUser + `)`, "no CHAP-Password"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.kind == "" {
				tt.kind = Next
			}
			s, k, j := radiusFixture(tt.kind)
			if tt.edit != nil {
				mustNot(t, s.set.change(tt.edit))
			}
			from := source
			if tt.from != "" {
				from = netip.AddrPortFrom(netip.MustParseAddr(tt.from), 40000)
			}
			reply := s.handle(tt.msg, from)
			if diff := cmp.Diff(tt.want, wrongs(j)); diff != "" {
				t.Errorf("what was wrong (-want +got):\n%s", diff)
			}
			want := "Access-Accept"
			if tt.want != nil {
				want = "Access-Reject " + tt.want[0]
			}
			if got := outcome(t, reply, tt.msg); !strings.HasPrefix(got, want) {
				t.Errorf("answer %q, want %q", got, want)
			}
			if granted := len(k.log) > 0; granted != (tt.want == nil) {
				t.Errorf("BR: %v", k.log)
			}
			for _, secret := range []string{"shared", "\"pass\""} {
				if strings.Contains(strings.Join(wrongs(j), " "), secret) {
					t.Errorf("a secret is said: %v", wrongs(j))
				}
			}
		})
	}
}

// TestRADIUSAccept compares an Accept, both packings, byte by byte.
func TestRADIUSAccept(t *testing.T) {
	subs := []string{
		"cc06c0000201",                         // 204 IPv4 192.0.2.1
		"cf1220010db80000000b0000000000001919", // 207 BR
		"c61220010db800000053000000000000000a", // 198 DNS
		"c71220010db800000053000000000000000b", // 199 DNS
		"cd06c6336435", "ce06c6336436",         // 205, 206 DNS 198.51.100.53, .54
		"cb1220010db800000123000000000000000c", // 203 NTP
		"d306c6336401",                         // 211 echo 198.51.100.1
		"fa04cafe",                             // 250, which nobody knows
	}
	tests := []struct {
		kind Kind
		msg  []byte
		want []string
		log  string
	}{
		{Next, nextRequest(), subs, "tunnel 2001:db8:0:b::1919 2001:db8:1234:5600:1111:1111:1111:1111 192.0.2.1"},
		{Cross, crossRequest(), []string{strings.Join(subs, "")}, "tunnel 2001:db8:0:b::1919 2001:db8:1234:5600:c0:2:100:0 192.0.2.1"},
	}
	for _, tt := range tests {
		t.Run(string(tt.kind), func(t *testing.T) {
			s, k, _ := radiusFixture(tt.kind)
			for range 2 { // the second is a retransmission: the tunnel stays
				p, err := radius.Parse(s.handle(tt.msg, source), nil)
				mustNot(t, err)
				var got []string
				for _, a := range p.Attributes {
					if a.Type != 26 || !bytes.HasPrefix(a.Attribute, u32(22197)) {
						t.Errorf("attribute %d %x", a.Type, a.Attribute)
						continue
					}
					got = append(got, fmt.Sprintf("%x", a.Attribute[4:]))
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("attributes (-want +got):\n%s", diff)
				}
			}
			if diff := cmp.Diff([]string{tt.log}, k.log); diff != "" {
				t.Errorf("BR (-want +got):\n%s", diff)
			}
		})
	}
}

// TestRADIUSBehaviour: what commands and flags change.
func TestRADIUSBehaviour(t *testing.T) {
	withMA := func(secret string) []byte {
		b := nextRequest(func(l []av) []av { return append([]av{{80, make([]byte, 16)}}, l...) })
		h := hmac.New(md5.New, []byte(secret))
		h.Write(b)
		copy(b[22:], h.Sum(nil))
		return b
	}
	tests := []struct {
		name string
		edit func(*Config)
		msg  []byte
		fail error // of the BR
		want string
	}{
		{name: "reject", edit: func(c *Config) { c.Reject = "go away" }, msg: nextRequest(), want: "Access-Reject go away"},
		{name: "a long message", edit: func(c *Config) { c.Reject = strings.Repeat("é", 200) }, msg: nextRequest(),
			want: "Access-Reject " + strings.Repeat("é", 125) + "…"},
		{name: "silent", edit: func(c *Config) { c.SilentRADIUS = true }, msg: nextRequest(), want: "(nothing)"},
		{name: "BR fails", fail: errors.New("no"), msg: nextRequest(), want: "Access-Reject the BR is out of order"},
		{name: "lenient form", edit: func(c *Config) { c.Lenient = true }, msg: accessRequest(av{3, chapOf(9, "pass", bytes.Repeat([]byte{0x5a}, 16))}), want: "Access-Accept"},
		{name: "lenient password", edit: func(c *Config) { c.Lenient = true }, msg: nextRequest(set(6, av{3, chapOf(1, "x", testChallenge)})),
			want: "Access-Reject CHAP-Password is wrong: another password, or computed over something else than identifier, password, challenge"},
		{name: "right Message-Authenticator", msg: withMA("shared"), want: "Access-Accept"},
		{name: "wrong Message-Authenticator", msg: withMA("other"), want: "(nothing)"},
		{name: "short Message-Authenticator", msg: nextRequest(func(l []av) []av { return append(l, av{80, []byte{1}}) }), want: "(nothing)"},
		{name: "padding", msg: append(nextRequest(), 0, 0, 0), want: "Access-Accept"},
		{name: "a response", msg: append([]byte{2}, nextRequest()[1:]...), want: "(nothing)"},
		{name: "empty", msg: nil, want: "(nothing)"},
		{name: "cut", msg: nextRequest()[:50], want: "(nothing)"},
		{name: "bad attribute length", msg: accessRequest(av{1, []byte("x")}, av{60, nil})[:23], want: "(nothing)"},
		{name: "attribute of length 1", msg: append([]byte{1, 7, 0, 22}, append(make([]byte, 16), 1, 1)...), want: "(nothing)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, k, _ := radiusFixture(Next)
			k.fail = tt.fail
			if tt.edit != nil {
				mustNot(t, s.set.change(tt.edit))
			}
			got := outcome(t, s.handle(tt.msg, source), tt.msg)
			if got != tt.want {
				t.Errorf("answer %q, want %q", got, tt.want)
			}
		})
	}
	t.Run("no prefix yet", func(t *testing.T) {
		s, _, _ := radiusFixture(Next)
		s.prefix = func() netip.Prefix { return netip.Prefix{} }
		for _, user := range []string{"", nextUser} { // by the line's form, and configured
			mustNot(t, s.set.change(func(c *Config) { c.Account.userName = user }))
			if got := outcome(t, s.handle(nextRequest(), source), nextRequest()); got != "Access-Reject no prefix is delegated to this line yet" {
				t.Errorf("answer %q", got)
			}
		}
	})
}

// TestRADIUSMessageAuthenticator recomputes the one in answers.
func TestRADIUSMessageAuthenticator(t *testing.T) {
	for _, reject := range []string{"", "no"} {
		s, _, _ := radiusFixture(Next, func(c *Config) { c.MessageAuthenticator, c.Reject = true, reject })
		req := nextRequest()
		reply := s.handle(req, source)
		outcome(t, reply, req)
		if reply[20] != 80 || reply[21] != 18 {
			t.Fatalf("first attribute of %x", reply)
		}
		got := bytes.Clone(reply[22:38])
		b := bytes.Clone(reply)
		copy(b[4:20], req[4:20])
		clear(b[22:38])
		h := hmac.New(md5.New, []byte("shared"))
		h.Write(b)
		if !hmac.Equal(got, h.Sum(nil)) {
			t.Errorf("reject %q: wrong Message-Authenticator", reject)
		}
	}
}

// TestBR: another BR, IPv4 or prefix is another tunnel, a failed one is made
// anew.
func TestBR(t *testing.T) {
	j, _ := testJournal()
	k := newFakeKernel()
	b := &br{j: j, kernel: k}
	a := netip.MustParseAddr
	grant := func(ipv4, br, ce string) error { return b.grant(a(ipv4), a(br), a(ce)) }
	mustNot(t, grant("192.0.2.1", "2001:db8::b", "2001:db8:1::1"))
	mustNot(t, grant("192.0.2.1", "2001:db8::b", "2001:db8:1::1"))
	k.fail = errors.New("no")
	if grant("192.0.2.2", "2001:db8::b", "2001:db8:1::1") == nil || b.state() != nil {
		t.Error("a failed grant is held for a good one")
	}
	k.fail = nil
	mustNot(t, grant("192.0.2.2", "2001:db8::b", "2001:db8:1::1"))
	if diff := cmp.Diff([]string{"tunnel 2001:db8::b 2001:db8:1::1 192.0.2.1", "tunnel 2001:db8::b 2001:db8:1::1 192.0.2.2"}, k.log); diff != "" {
		t.Error(diff)
	}
	mustNot(t, (&br{j: j}).grant(a("192.0.2.1"), a("2001:db8::b"), a("2001:db8::1"))) // --no-br
}

// TestRADIUSRun: the loop over a conn.
func TestRADIUSRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, _ := radiusFixture(Next)
		conn := newFakeUDP()
		s.conn = conn
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.run(ctx) }()
		for _, b := range [][]byte{{1, 2, 3}, nextRequest()} {
			conn.in <- packet{b, source}
		}
		synctest.Wait()
		out := conn.got()
		if len(out) != 1 || out[0].peer != source || outcome(t, out[0].b, nextRequest()) != "Access-Accept" {
			t.Errorf("answers %v", out)
		}
		// The same once more is a retransmission for a while, whatever changed.
		s.set.c.Reject = "no"
		for _, want := range []string{"Access-Accept", "Access-Reject no"} {
			conn.in <- packet{nextRequest(), source}
			synctest.Wait()
			if out := conn.got(); len(out) != 1 || outcome(t, out[0].b, nextRequest()) != want {
				t.Errorf("answers %v, want %s", out, want)
			}
			time.Sleep(duplicateTime)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// FuzzRADIUS: no packet may end the server; what it answers is a signed packet,
// and what it reads is what was written.
func FuzzRADIUS(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, kind := range kinds {
			s, _, _ := radiusFixture(kind, func(c *Config) { c.MessageAuthenticator = kind == Next })
			if reply := s.handle(b, source); reply != nil {
				outcome(t, reply, b)
			}
		}
		p, err := radius.Parse(b, nil)
		if err != nil {
			return
		}
		again, err := p.MarshalBinary()
		mustNot(t, err)
		if !bytes.Equal(again, b[:len(again)]) {
			t.Errorf("%x became %x", b, again)
		}
	})
}
