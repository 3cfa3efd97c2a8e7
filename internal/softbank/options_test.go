package softbank

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sofutobanku/internal/config"
)

func TestAddressesAndUserName(t *testing.T) {
	next, cross := Defaults(NEXT), Defaults(CROSS)
	newCross := Defaults(CROSS)
	newCross.IID, newCross.IIDFromIPv4 = ones, false
	named := Defaults(NEXT)
	named.Username = "verbatim@Example"
	granted := netip.MustParseAddr("192.0.2.7")

	type result struct{ Source, Local, UserName string }
	const bad = "invalid IP"
	for _, tt := range []struct {
		name   string
		o      Options
		prefix string
		ipv4   netip.Addr
		want   result
	}{
		{"next /56", next, "2001:db8:12:3400::/56", granted, result{
			"2001:db8:12:3400:1111:1111:1111:1111", "2001:db8:12:3400:1111:1111:1111:1111",
			"2001:0db8:0012:3400:1111:1111:1111:1111"}},
		{"next needs no grant", next, "2001:db8:12:3400::/56", netip.Addr{}, result{
			"2001:db8:12:3400:1111:1111:1111:1111", "2001:db8:12:3400:1111:1111:1111:1111",
			"2001:0db8:0012:3400:1111:1111:1111:1111"}},
		{"next /64 of a router advertisement", next, "2001:db8:0:1::/64", granted, result{
			"2001:db8:0:1:1111:1111:1111:1111", "2001:db8:0:1:1111:1111:1111:1111",
			"2001:0db8:0000:0001:1111:1111:1111:1111"}},
		{"cross /56", cross, "2001:db8:12:3400::/56", granted, result{
			"2001:db8:12:3400:1111:1111:1111:1111", "2001:db8:12:3400:c0:2:700:0",
			"2001:0db8:0012:3400"}},
		{"cross before the grant", cross, "2001:db8:12:3400::/56", netip.Addr{}, result{
			"2001:db8:12:3400:1111:1111:1111:1111", bad, "2001:0db8:0012:3400"}},
		{"cross, newer unit", newCross, "2001:db8:12:3400::/56", netip.Addr{}, result{
			"2001:db8:12:3400:1111:1111:1111:1111", "2001:db8:12:3400:1111:1111:1111:1111",
			"2001:0db8:0012:3400"}},
		{"cross /48", cross, "2001:db8:12::/48", granted, result{
			"2001:db8:12:0:1111:1111:1111:1111", "2001:db8:12:0:c0:2:700:0", "2001:0db8:0012:0000"}},
		{"cross /64", cross, "2001:db8:12:34ab::/64", granted, result{
			"2001:db8:12:34ab:1111:1111:1111:1111", "2001:db8:12:34ab:c0:2:700:0", "2001:0db8:0012:34ab"}},
		{"bits behind the prefix do not count", cross, "2001:db8:12:34ff:dead::1/56", granted, result{
			"2001:db8:12:3400:1111:1111:1111:1111", "2001:db8:12:3400:c0:2:700:0", "2001:0db8:0012:3400"}},
		{"username verbatim", named, "2001:db8:12:3400::/56", granted, result{
			"2001:db8:12:3400:1111:1111:1111:1111", "2001:db8:12:3400:1111:1111:1111:1111", "verbatim@Example"}},
		{"too long", next, "2001:db8::/65", granted, result{bad, bad, ""}},
		{"IPv4", cross, "192.0.2.0/24", granted, result{bad, bad, ""}},
		{"mapped IPv4", cross, "::ffff:192.0.2.0/120", granted, result{bad, bad, ""}},
		{"no prefix", next, "", granted, result{bad, bad, ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			prefix, _ := netip.ParsePrefix(tt.prefix)
			got := result{tt.o.Source(prefix).String(), tt.o.Local(prefix, tt.ipv4).String(), tt.o.UserName(prefix)}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestMACFormat(t *testing.T) {
	got := map[MACFormat]string{}
	for _, f := range []MACFormat{LowerColon, UpperColon, LowerHyphen, UpperHyphen, LowerPlain, UpperPlain} {
		got[f] = f.Format(mac("00:00:5e:00:53:0a"))
	}
	want := map[MACFormat]string{
		"lower-colon":  "00:00:5e:00:53:0a",
		"upper-colon":  "00:00:5E:00:53:0A",
		"lower-hyphen": "00-00-5e-00-53-0a",
		"upper-hyphen": "00-00-5E-00-53-0A",
		"lower-plain":  "00005e00530a",
		"upper-plain":  "00005E00530A",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWhichMAC(t *testing.T) {
	set := Defaults(NEXT)
	set.MAC = mac("00:00:5e:00:53:cc")
	noTerminal := testRequest
	noTerminal.TerminalMAC = nil
	odd := testRequest
	odd.TerminalMAC = odd.TerminalMAC[:5]
	for _, tt := range []struct {
		name string
		o    Options
		req  Request
		want string
	}{
		{"next takes the terminal's", Defaults(NEXT), testRequest, "00:00:5e:00:53:0a"},
		{"next without a telephone", Defaults(NEXT), noTerminal, "00:00:5e:00:53:0b"},
		{"next with a strange terminal", Defaults(NEXT), odd, "00:00:5e:00:53:0b"},
		{"cross takes the WAN's", Defaults(CROSS), testRequest, "00:00:5e:00:53:0b"},
		{"the user's", set, testRequest, "00:00:5e:00:53:cc"},
		{"none", Defaults(CROSS), Request{}, ""},
	} {
		if got := tt.o.mac(tt.req).String(); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

// section loads the options, one a line, as the section of an interface.
func section(t *testing.T, options string) *config.Section {
	t.Helper()
	dir := t.TempDir()
	text := "config interface 'wan'\n\toption proto 'sofutobanku'\n" + options
	if err := os.WriteFile(filepath.Join(dir, "network"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := config.Load(dir, "wan")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const needed = `
	list auth_server '2001:db8:a::1'
	option shared_secret 'the-shared-secret'
	option password 'the-chap-password'
`

func TestFromSection(t *testing.T) {
	base := func(line Line, change func(*Options)) Options {
		o := testOptions(line, serverA)
		if change != nil {
			change(&o)
		}
		return o
	}
	for _, tt := range []struct {
		name, options string
		want          Options
	}{
		{"next", needed + "option line next", base(NEXT, nil)},
		{"cross", needed + "option line cross", base(CROSS, nil)},
		{"servers, one of them twice", needed + `
			option line next
			list auth_server '[2001:db8:b::1]:1645'
			list auth_server '[2001:db8:a::1]:1812'`,
			base(NEXT, func(o *Options) {
				o.Servers = append(o.Servers, netip.MustParseAddrPort("[2001:db8:b::1]:1645"))
			})},
		{"cross, newer unit", needed + "option line cross\noption iid 1111:1111:1111:1111",
			base(CROSS, func(o *Options) { o.IID, o.IIDFromIPv4 = ones, false })},
		{"cross, said aloud", needed + "option line cross\noption iid ipv4\noption auth_iid ::5",
			base(CROSS, func(o *Options) { o.AuthIID = InterfaceID{7: 5} })},
		{"the source follows the tunnel", needed + "option line next\noption iid ::9",
			base(NEXT, func(o *Options) { o.IID = InterfaceID{7: 9}; o.AuthIID = o.IID })},
		{"everything", needed + `
			option line next
			option mac 00:00:5e:00:53:cc
			option mac_format upper-hyphen
			option username someone
			option iid 1:2:3:4
			option auth_iid ::7
			option manufacturer maker
			option model thing
			option hwrev first
			option vsa_packing single
			option chap_ident 255
			option require_message_authenticator 1
			option send_message_authenticator 1`,
			base(NEXT, func(o *Options) {
				o.MAC = mac("00:00:5e:00:53:cc")
				o.MACFormat = UpperHyphen
				o.Username = "someone"
				o.IID = InterfaceID{0, 1, 0, 2, 0, 3, 0, 4}
				o.AuthIID = InterfaceID{7: 7}
				o.Manufacturer, o.Model, o.HWRevision = "maker", "thing", "first"
				o.SinglePacking = true
				o.CHAPIdent = 255
				o.RequireMessageAuthenticator, o.SendMessageAuthenticator = true, true
			})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := section(t, tt.options)
			got := FromSection(s)
			if err := s.Err(); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestFromSectionErrors(t *testing.T) {
	long := strings.Repeat("x", 248)
	for _, tt := range []struct {
		name, options string
		want          []string // parts of the error
	}{
		{"nothing", "", []string{
			"option 'line': missing", "option 'auth_server': missing",
			"option 'shared_secret': missing", "option 'password': missing", "BB unit"}},
		{"line", needed + "option line third", []string{"option 'line': value 'third': accepted: next, cross"}},
		{"server", needed + "option line next\nlist auth_server 192.0.2.1", []string{"option 'auth_server': value '192.0.2.1'"}},
		{"servers", needed + "option line next\n" +
			strings.Repeat("list auth_server 2001:db8::1\n", 1) +
			"list auth_server '2001:db8::2 2001:db8::3 2001:db8::4 2001:db8::5 2001:db8::6 2001:db8::7 2001:db8::8 2001:db8::9'",
			[]string{"at most 8 servers"}},
		{"next derives nothing", needed + "option line next\noption iid ipv4", []string{"option 'iid': value 'ipv4'", "cross only"}},
		{"sizes", needed + "option line next\noption manufacturer " + long + "\noption username " + long + long, []string{
			"option 'manufacturer'", "1 to 247 bytes", "option 'username'", "1 to 253 bytes"}},
		{"packed", needed + "option line cross\noption manufacturer " + long[:200] + "\noption model " + long[:30], []string{
			"option 'vsa_packing'", "accepted: separate, as mac, manufacturer, model and hwrev are 258 bytes, and 241 fit into a single one"}},
		{"format", needed + "option line next\noption mac_format dots", []string{"lower-colon, upper-colon"}},
		{"ident", needed + "option line next\noption chap_ident 256", []string{"option 'chap_ident': value '256': accepted: 0 to 255"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := section(t, tt.options)
			FromSection(s)
			err := s.Err()
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error without %q:\n%v", want, err)
				}
			}
			for _, secret := range []string{testSecret, testPassword} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("error shows a secret:\n%v", err)
				}
			}
		})
	}
}
