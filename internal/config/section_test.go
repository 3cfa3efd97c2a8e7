package config

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// section makes section wan with these lines.
func section(t *testing.T, lines ...string) *Section {
	t.Helper()
	s, err := parse("network", "config interface wan\n"+strings.Join(lines, "\n"), "wan")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestGetters gives each value to a getter as option o. A want that starts with
// "accepted: " is the end of the one error expected.
func TestGetters(t *testing.T) {
	str := func(s *Section) any { return s.String("o", "default") }
	list := func(s *Section) any { return s.List("o") }
	boolean := func(s *Section) any { return s.Bool("o", true) }
	integer := func(s *Section) any { return s.Int("o", 7, -5, 20) }
	u32 := func(s *Section) any { return s.Uint32("o", 7) }
	enum := func(s *Section) any { return s.Enum("o", "next", "next", "cross") }
	addr4 := func(s *Section) any { return s.Addr4("o") }
	addr6 := func(s *Section) any { return s.Addr6("o") }
	servers := func(s *Section) any { return s.AddrPorts6("o", 1812) }
	mac := func(s *Section) any { return s.MAC("o") }
	device := func(s *Section) any { return s.Device("o") }
	hexa := func(s *Section) any { return fmt.Sprintf("%x", s.Hex("o", 2, 3)) }
	iid := func(s *Section) any { return fmt.Sprintf("%x", s.IID("o", [8]byte{7: 7})) }
	secret := func(s *Section) any { return s.Secret("o", 2, 4).Reveal() }

	const (
		accBool = "accepted: 1, on, yes, true, enabled or 0, off, no, false, disabled"
		accInt  = "accepted: -5 to 20"
		acc4    = "accepted: an IPv4 address like 192.0.2.1"
		acc6    = "accepted: an IPv6 address like 2001:db8::1"
		accSrv  = "accepted: IPv6 addresses like 2001:db8::1 or, with a port, [2001:db8::1]:1812"
		accMAC  = "accepted: the MAC address of one device (not a multicast one, not zero), like 00:00:5e:00:53:01"
		accHex  = "accepted: 2 to 3 bytes as pairs of hexadecimal digits"
		accIID  = "accepted: an interface identifier like 1111:1111:1111:1111 or ::1"
		accSec  = "accepted: 2 to 4 bytes"
	)
	for _, tt := range []struct {
		get   func(*Section) any
		value string
		want  any
	}{
		{str, "", "default"},
		{str, "  \t", "default"},
		{str, " a b ", "a b"},
		{str, "a\nb", "accepted: a value on one line"},

		{list, "", []string{}},
		{list, "a", []string{"a"}},
		{list, " a  b\tc\nd ", []string{"a", "b", "c", "d"}},

		{boolean, "", true},
		{boolean, "0", false}, {boolean, "off", false}, {boolean, "no", false}, {boolean, "false", false}, {boolean, "disabled", false},
		{boolean, "1", true}, {boolean, "on", true}, {boolean, "yes", true}, {boolean, "true", true}, {boolean, "enabled", true},
		{boolean, "2", accBool}, {boolean, "On", accBool}, {boolean, "no yes", accBool},

		{integer, "", 7},
		{integer, "-5", -5}, {integer, "20", 20}, {integer, "0x0a", 10}, {integer, "010", 10}, {integer, " 3 ", 3},
		{integer, "-6", accInt}, {integer, "21", accInt}, {integer, "0x15", accInt}, {integer, "1.5", accInt},
		{integer, "a", accInt}, {integer, "0x", accInt}, {integer, "1 2", accInt}, {integer, "1_0", accInt},
		{integer, "99999999999999999999", accInt},

		{u32, "", uint32(7)},
		{u32, "0", uint32(0)}, {u32, "4294967295", uint32(4294967295)}, {u32, "0xffffffff", uint32(4294967295)},
		{u32, "4294967296", "accepted: 0 to 4294967295"}, {u32, "-1", "accepted: 0 to 4294967295"},

		{enum, "", "next"},
		{enum, "cross", "cross"},
		{enum, "CROSS", "accepted: next, cross"},

		{addr4, "", netip.Addr{}},
		{addr4, "192.0.2.1", netip.MustParseAddr("192.0.2.1")},
		{addr4, "192.0.2.256", acc4}, {addr4, "192.0.2.1/32", acc4}, {addr4, "0.0.0.0", acc4}, {addr4, "224.0.0.1", acc4},
		{addr4, "255.255.255.255", acc4}, {addr4, "2001:db8::1", acc4}, {addr4, "::ffff:192.0.2.1", acc4},

		{addr6, "", netip.Addr{}},
		{addr6, "2001:DB8::1", netip.MustParseAddr("2001:db8::1")},
		{addr6, "::1", netip.MustParseAddr("::1")},
		{addr6, "::", acc6}, {addr6, "ff02::1", acc6}, {addr6, "192.0.2.1", acc6}, {addr6, "::ffff:192.0.2.1", acc6},
		{addr6, "fe80::1%eth0", acc6}, {addr6, "2001:db8::1/64", acc6}, {addr6, "example.com", acc6},

		{servers, "", []netip.AddrPort(nil)},
		{servers, "2001:db8::1", []netip.AddrPort{netip.MustParseAddrPort("[2001:db8::1]:1812")}},
		{servers, "[2001:db8::1]", []netip.AddrPort{netip.MustParseAddrPort("[2001:db8::1]:1812")}},
		{servers, "[2001:db8::1]:1645 2001:db8::2", []netip.AddrPort{
			netip.MustParseAddrPort("[2001:db8::1]:1645"), netip.MustParseAddrPort("[2001:db8::2]:1812")}},
		{servers, "2001:db8::1:1812", []netip.AddrPort{netip.MustParseAddrPort("[2001:db8::1:1812]:1812")}},
		{servers, "[2001:db8::1]:0", accSrv}, {servers, "[2001:db8::1]:65536", accSrv}, {servers, "[2001:db8::1]:", accSrv},
		{servers, "[2001:db8::1", accSrv}, {servers, "2001:db8::1]", accSrv}, {servers, "[]", accSrv}, {servers, "[", accSrv},
		{servers, "[2001:db8::1]1812", accSrv}, {servers, "192.0.2.1:1812", accSrv}, {servers, "[ff02::1]:1812", accSrv},
		{servers, "[fe80::1%eth0]:1812", accSrv},

		{mac, "", net.HardwareAddr(nil)},
		{mac, "00:00:5e:00:53:01", net.HardwareAddr{0, 0, 0x5e, 0, 0x53, 1}},
		{mac, "00-00-5E-00-53-01", net.HardwareAddr{0, 0, 0x5e, 0, 0x53, 1}},
		{mac, "00005e005301", net.HardwareAddr{0, 0, 0x5e, 0, 0x53, 1}},
		{mac, "02:00:5e:00:53:01", net.HardwareAddr{2, 0, 0x5e, 0, 0x53, 1}},
		{mac, "01:00:5e:00:53:01", accMAC}, {mac, "ff:ff:ff:ff:ff:ff", accMAC}, {mac, "00:00:00:00:00:00", accMAC},
		{mac, "00:00:5e:00:53", accMAC}, {mac, "00:00:5e:00:53:01:02", accMAC}, {mac, "00:00-5e:00:53:01", accMAC},
		{mac, "0:0:5e:0:53:1", accMAC}, {mac, "00005e00530g", accMAC}, {mac, "00:00:5e:00:53:01:00:02", accMAC},

		{device, "", ""},
		{device, "lan4.7", "lan4.7"},
		{device, "a/b", "accepted: one network device like eth0, 1 to 15 characters"},
		{device, "@lan", "accepted: a network device like eth0 (not an alias of another interface)"},
		{hexa, "", ""},
		{hexa, "00FF", "00ff"}, {hexa, "00:ff:01", "00ff01"},
		{hexa, "00", accHex}, {hexa, "00ff0102", accHex}, {hexa, "00f", accHex}, {hexa, "0:0ff", accHex}, {hexa, "0x00ff", accHex},
		{hexa, ":", accHex}, {hexa, "00ff:01", accHex}, {hexa, "00:ff:", accHex},

		{iid, "", "0000000000000007"},
		{iid, "1111:1111:1111:1111", "1111111111111111"}, {iid, "::1111:1111:1111:1111", "1111111111111111"},
		{iid, "::1", "0000000000000001"}, {iid, "0:0:0:1", "0000000000000001"}, {iid, "AA:BBCC:DD00:0", "00aabbccdd000000"},
		{iid, "1", accIID}, {iid, "::", accIID}, {iid, "0:0:0:0", accIID}, {iid, "1:::1", accIID}, {iid, "1:1:1", accIID},
		{iid, "1:1:1:1:1", accIID}, {iid, "2001:db8::1", accIID}, {iid, "::1:1:1:1:1", accIID}, {iid, "::1%eth0", accIID},
		{iid, "11111:1:1:1", accIID}, {iid, "192.0.2.1", accIID}, {iid, "::1:0:0:0:0", accIID},

		{secret, "", ""},
		{secret, "ab", "ab"}, {secret, " a \t", " a \t"}, {secret, "\xff\x01'\"", "\xff\x01'\""},
		{secret, "a", accSec}, {secret, "abcde", accSec},
	} {
		s := section(t, "option o '"+strings.ReplaceAll(tt.value, "'", `'\''`)+"'")
		got := tt.get(s)
		if err := s.Err(); err != nil {
			text := err.Error()
			got = text[strings.Index(text, "accepted: "):]
			if strings.Count(text, "\n") > 0 {
				t.Errorf("%q: several errors: %s", tt.value, text)
			}
		}
		if diff := cmp.Diff(tt.want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
			cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.value, diff)
		}
	}
}

// TestErrors: every error names everything, in the order in which the options
// were read, each once, and without what must not be seen.
func TestErrors(t *testing.T) {
	s := section(t,
		"option line fast",
		"option mtu 70000",
		"option colour blue",
		"list auth_server 192.0.2.1",
		"list auth_server 2001:db8::1",
		"list auth_server [2001:db8::2]:99999",
		"option shared_secret opensesame",
		"list password open",
		"list password sesame",
		`option username "`+strings.Repeat("x", 78)+`日本"`,
		`option hwrev "a'b\"c"`)
	s.Enum("line", "next", "next", "cross")
	s.Int("mtu", 0, 576, 9000)
	s.Int("mtu", 0, 576, 9000)
	s.AddrPorts6("auth_server", 1812)
	if got := s.Secret("shared_secret", 1, 5); got.Reveal() != "" {
		t.Error("a secret that is too long was returned")
	}
	s.Secret("password", 1, 5)
	s.Require("iid", "the interface identifier, from the BB unit")
	s.Require("line", "the kind of line")
	s.Invalid("username", "a shorter one")
	s.Invalid("hwrev", "one without quotes")
	want := `network: interface 'wan': option 'line': value 'fast': accepted: next, cross
network: interface 'wan': option 'mtu': value '70000': accepted: 576 to 9000
network: interface 'wan': option 'auth_server': value '192.0.2.1': accepted: IPv6 addresses like 2001:db8::1 or, with a port, [2001:db8::1]:1812
network: interface 'wan': option 'auth_server': value '[2001:db8::2]:99999': accepted: IPv6 addresses like 2001:db8::1 or, with a port, [2001:db8::1]:1812
network: interface 'wan': option 'shared_secret': value '***': accepted: 1 to 5 bytes
network: interface 'wan': option 'password': value '***': accepted: one value, not a list
network: interface 'wan': option 'iid': missing, but required: the interface identifier, from the BB unit
network: interface 'wan': option 'username': value '` + strings.Repeat("x", 78) + `…': accepted: a shorter one
network: interface 'wan': option 'hwrev': value 'a'b\"c': accepted: one without quotes`
	if diff := cmp.Diff(want, fmt.Sprint(s.Err())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestForgottenQuote: the lines that a value swallowed may hold a secret, so no
// getter's error shows them, and no syntax error quotes the file.
// A damaged file must not keep the program busy: fifty thousand values that are
// all wrong took minutes.
func TestLongListIsCut(t *testing.T) {
	s := section(t, "option o '"+strings.Repeat("x ", 50_000)+"'")
	if list := s.AddrPorts6("o", 1812); list != nil {
		t.Errorf("servers %v", list)
	}
	want := "accepted: at most 64 values"
	if err := s.Err(); err == nil || !strings.Contains(err.Error(), want) || strings.Count(err.Error(), "\n") > maxList {
		t.Errorf("error %.300v, want %q and at most one for each of 64", err, want)
	}
}

func TestForgottenQuote(t *testing.T) {
	const swallowed = "'bad\n\toption password 'hunter2'\n\toption shared_secret hunter2'"
	s := section(t, "option o "+swallowed, "list l x", "list l "+swallowed, "option password 'hunter2\nhunter2'")
	s.Secret("password", 1, 2)
	for _, o := range []string{"o", "l"} {
		s.String(o, "")
		s.Bool(o, true)
		s.Int(o, 1, 1, 2)
		s.Enum(o, "a", "a")
		s.Addr4(o)
		s.Addr6(o)
		s.AddrPorts6(o, 1812)
		s.MAC(o)
		s.Hex(o, 1, 2)
		s.IID(o, [8]byte{})
		s.Secret(o, 100, 200)
		s.Invalid(o, "something else")
	}
	if s.Err() == nil || strings.Contains(s.Err().Error(), "hunter2") {
		t.Errorf("want errors without the secret, got:\n%v", s.Err())
	}
	for _, text := range []string{
		"config interface wan\n option password 'hunter2",
		"config interface wan\n option password hunter2 hunter2",
		"config interface wan\n hunter2",
		"config interface wan\n option password'hunter2!' x",
		"config interface wan hunter2",
		"config interface 'wan hunter2!'",
		"config 'hunter2 '",
		"option password hunter2",
		"config interface wan\n option password hunter2\n\x00",
		"config wan\n option password hunter2",
	} {
		if _, err := parse("network", text, "wan"); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: want an error without the secret, got: %v", text, err)
		}
	}
}

func TestNoErrors(t *testing.T) {
	s := section(t, "option a 1")
	s.Int("a", 0, 0, 1)
	s.Int("b", 0, 0, 1)
	if !s.Require("a", "") || s.Err() != nil || s.Name() != "wan" {
		t.Errorf("name %q, error %v", s.Name(), s.Err())
	}
}

func TestCommonTakesTheCallersDevice(t *testing.T) {
	s := section(t, "list device eth0", "list device eth1", "option mtu 1400")
	c := s.Common("eth2")
	if c.Device != "eth2" || c.MTU != 1400 || s.Err() != nil {
		t.Errorf("device %q, mtu %d, error %v", c.Device, c.MTU, s.Err())
	}
	s.Common("a/b")
	want := "network: interface 'wan': option 'device': value 'a/b': accepted: one network device like eth0, 1 to 15 characters"
	if fmt.Sprint(s.Err()) != want {
		t.Errorf("want %q, got %v", want, s.Err())
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "network")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	if _, err := Load(dir, "wan"); !os.IsNotExist(err) || !strings.Contains(err.Error(), file) {
		t.Errorf("no file: %v", err)
	}

	// As large as it may be, with other sections of all kinds.
	const wan = "config interface wan\n\toption device eth1\n\tlist l 1\n"
	var b strings.Builder
	for i := 0; b.Len() < maxFile-200; i++ {
		fmt.Fprintf(&b, "config interface\n\tlist l x\nconfig rule 'r%d'\n\toption device 'eth%d'\n", i, i)
	}
	others := b.String()
	text := others + wan
	text += strings.Repeat("#", maxFile-len(text))
	write(text)
	s, err := Load(dir, "wan")
	if err != nil {
		t.Fatal(err)
	}
	if got := s.String("device", ""); got != "eth1" {
		t.Errorf("device %q", got)
	}

	write(text + "#")
	want := file + ": longer than 1048576 bytes"
	if _, err := Load(dir, "wan"); fmt.Sprint(err) != want {
		t.Errorf("want %q, got %q", want, err)
	}

	write(wan + strings.Repeat("list l x\n", maxOptions-2))
	if _, err := Load(dir, "wan"); err != nil {
		t.Error(err)
	}
	write(wan + strings.Repeat("list l x\n", maxOptions-1))
	want = fmt.Sprintf("%s:1002: more than 1000 options in interface 'wan'", file)
	if _, err := Load(dir, "wan"); fmt.Sprint(err) != want {
		t.Errorf("want %q, got %q", want, err)
	}

	for _, iface := range []string{"", "@interface[0]", "../wan", "wan\nlan"} {
		if _, err := Load(dir, iface); err == nil {
			t.Errorf("interface %q was found", iface)
		}
	}
}
