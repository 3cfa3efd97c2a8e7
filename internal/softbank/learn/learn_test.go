package learn

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sofutobanku/internal/capture"
	"sofutobanku/internal/config"
	"sofutobanku/internal/softbank"
)

var update = flag.Bool("update", false, "write the golden files anew")

var (
	unitMAC    = mac("00:00:5e:00:53:4a")
	terminal   = mac("00:00:5e:00:53:4b")
	carrierMAC = mac("00:00:5e:00:53:aa")
	unitLL     = netip.MustParseAddr("fe80::200:5eff:fe00:534a")
	carrierLL  = netip.MustParseAddr("fe80::1")
	prefix     = netip.MustParsePrefix("2001:db8:12:3400::/56")
	begin      = time.Date(2026, 11, 1, 3, 4, 5, 0, time.UTC)

	authenticator, challenge = [16]byte{1, 2, 3}, [16]byte{4, 5, 6}
)

func mac(s string) net.HardwareAddr {
	m, err := net.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return m
}

// section reads an interface.
func section(t *testing.T, uci string) *config.Section {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "network"), []byte(uci), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := config.Load(dir, "wan")
	if err != nil {
		t.Fatalf("%v in\n%s", err, uci)
	}
	return s
}

// options reads the RADIUS options of an interface.
func options(t *testing.T, uci string) softbank.Options {
	t.Helper()
	s := section(t, uci)
	o := softbank.FromSection(s)
	if err := s.Err(); err != nil {
		t.Fatalf("%v in\n%s", err, uci)
	}
	return o
}

// uci is an interface of a line with more options, a line each.
func uci(line, more string) string {
	text := "config interface 'wan'\n\toption line '" + line + "'\n\toption shared_secret 'SHARED-SECRET'\n\toption password 'PASSWORD'\n"
	if !strings.Contains(more, "auth_server") {
		more += "\nauth_server 2001:db8:a::1812"
	}
	for option := range strings.Lines(more) {
		if name, value, _ := strings.Cut(strings.TrimSpace(option), " "); name != "" {
			text += "\toption " + name + " '" + strings.ReplaceAll(value, "'", `'\''`) + "'\n"
		}
	}
	return text
}

// world is what of a unit's surroundings matters.
type world struct {
	terminal net.HardwareAddr // suboption 201, nil for none
	ra       bool             // the prefix is advertised, not delegated
}

func (w world) request() softbank.Request {
	r := softbank.Request{Prefix: prefix, TerminalMAC: w.terminal, WANMAC: unitMAC}
	if w.ra {
		r.Prefix = netip.PrefixFrom(prefix.Addr(), 64)
	}
	return r
}

func opt6(code uint16, parts ...[]byte) []byte {
	data := bytes.Join(parts, nil)
	b := binary.BigEndian.AppendUint16(nil, code)
	return append(binary.BigEndian.AppendUint16(b, uint16(len(data))), data...)
}

func x(s string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		panic(err)
	}
	return b
}

func frame(kind capture.Kind, up bool, src, dst netip.AddrPort, payload ...[]byte) capture.Frame {
	f := capture.Frame{Time: begin, Kind: kind, SrcMAC: carrierMAC, DstMAC: unitMAC, Src: src.Addr(), Dst: dst.Addr(),
		SrcPort: src.Port(), DstPort: dst.Port(), HopLimit: 64, Payload: bytes.Join(payload, nil)}
	if up {
		f.SrcMAC, f.DstMAC = unitMAC, carrierMAC
	}
	return f
}

// dhcp6 is a message of the unit.
func dhcp6(typ byte, opts ...[]byte) capture.Frame {
	return frame(capture.DHCPv6, true, netip.AddrPortFrom(unitLL, 546), netip.MustParseAddrPort("[ff02::1:2]:547"),
		[]byte{typ, 1, 2, 3}, bytes.Join(opts, nil))
}

// The options of sofu-proto's own messages.
var (
	clientID = opt6(1, x("00030001"), unitMAC)
	serverID = opt6(2, x("00030001"), carrierMAC)
	elapsed  = opt6(8, x("0000"))
	oro      = opt6(6, x("0011 0016 0017 0018 001f"))
	accept   = opt6(20)
	class    = opt6(16, x("000000d2 0006"), unitMAC)
	iaPD     = opt6(25, x("00000001 00000000 00000000"))
	leased   = opt6(26, x("00003138 00003840 38"), prefix.Addr().AsSlice())
	iaLeased = opt6(25, x("00000001 00000000 00000000"), leased)
)

// surroundings are the packets of a line before RADIUS.
func (w world) surroundings() []capture.Frame {
	ra := x("86000000 40c00708 00000000 00000000")
	if w.ra {
		ra = slices.Concat(x("86000000 40400708 00000000 00000000 0304 40c0 00003840 00003138 00000000"), prefix.Addr().AsSlice())
	}
	list := []capture.Frame{frame(capture.RouterAdvertisement, false, netip.AddrPortFrom(carrierLL, 0), netip.MustParseAddrPort("[ff02::1]:0"), ra)}
	if w.ra {
		return append(list, dhcp6(information, clientID, elapsed, oro, accept, class))
	}
	vendor := opt6(17, x("000000d2"))
	if w.terminal != nil {
		vendor = opt6(17, x("000000d2"), opt6(201, w.terminal), opt6(202, []byte("0312345678")))
	}
	return append(list, dhcp6(solicit, clientID, iaPD, elapsed, oro, accept),
		dhcp6(request, clientID, serverID, iaLeased, elapsed, oro, accept, class),
		frame(capture.DHCPv6, false, netip.AddrPortFrom(carrierLL, 547), netip.AddrPortFrom(unitLL, 546),
			[]byte{7, 1, 2, 3}, clientID, serverID, iaLeased, vendor))
}

// asking are the Access-Request that o makes, and its Accept.
func (w world) asking(t *testing.T, o softbank.Options) []capture.Frame {
	t.Helper()
	b, err := o.AccessRequest(w.request(), 7, authenticator, challenge)
	if err != nil {
		t.Fatal(err)
	}
	return exchange(o.Source(w.request().Prefix), o.Servers[0], b, codeAccept)
}

func exchange(src netip.Addr, server netip.AddrPort, b []byte, code byte) []capture.Frame {
	from := netip.AddrPortFrom(src, 40000)
	answer := slices.Concat([]byte{code, b[1], 0, 20}, make([]byte, 16))
	return []capture.Frame{frame(capture.RADIUS, true, from, server, b), frame(capture.RADIUS, false, server, from, answer)}
}

// learnText is what Learn makes, as text.
func learnText(frames []capture.Frame, device, comment string) (string, error) {
	l, err := Learn(frames, device, comment)
	if err != nil {
		return "", err
	}
	return l.Text(), nil
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", strings.ReplaceAll(name, " ", "-")+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// TestRoundTrip: what sofu-proto asks with some options is learned, and asked again with
// what was learned, byte for byte. What is printed is in testdata, to be read.
func TestRoundTrip(t *testing.T) {
	phone := world{terminal: terminal}
	for _, tt := range []struct {
		name, line, options string
		world
	}{
		{"next", "next", "", phone},
		{"next without telephone", "next", "", world{ra: true}},
		{"next whose terminal is the unit", "next", "", world{terminal: unitMAC}},
		{"cross", "cross", "", world{}},
		{"cross with its LAN address", "cross", "mac 00:00:5e:00:53:99", world{}},
		{"servers", "next", "auth_server [2001:db8:a::1]:11812", phone},
		{"mac", "next", "mac 00:00:5e:00:53:99", phone},
		{"upper-colon", "next", "mac_format upper-colon", phone},
		{"lower-hyphen", "next", "mac_format lower-hyphen", phone},
		{"upper-hyphen", "cross", "mac_format upper-hyphen", world{}},
		{"lower-plain", "cross", "mac_format lower-plain", world{}},
		{"upper-plain", "next", "mac_format upper-plain", phone},
		{"user name", "next", "username someone's@example.jp", phone},
		{"user name on cross", "cross", "username 2001:0db8:0012:3400:1111:1111:1111:1111", world{}},
		{"iid", "next", "iid 2222:0:0:1", phone},
		{"iid and auth_iid", "next", "iid 2222:0:0:1\nauth_iid ::3", phone},
		{"auth_iid", "cross", "auth_iid 0:c0:2:1", world{}},
		{"unit", "next", "manufacturer maker of things\nmodel m-1.0,\"V2\"\nhwrev it's new", phone},
		{"packed", "next", "vsa_packing single", phone},
		{"separate", "cross", "vsa_packing separate", world{}},
		{"chap_ident", "cross", "chap_ident 255", world{}},
		{"signed", "next", "send_message_authenticator 1", phone},
		{"all at once", "cross", "mac 00:00:5e:00:53:99\nmac_format upper-plain\nusername u\nauth_iid ::9\nmanufacturer a\nmodel b\nhwrev c\nvsa_packing separate\nchap_ident 3\nsend_message_authenticator 1", world{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := options(t, uci(tt.line, tt.options))
			frames := append(tt.surroundings(), tt.asking(t, o)...)
			text, err := learnText(frames, "eth1", "")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, tt.name, text)
			again := options(t, text)
			want, _ := o.AccessRequest(tt.request(), 7, authenticator, challenge)
			other := tt.request()
			other.WANMAC = mac("00:00:5e:00:53:77") // asked by another router
			got, err := again.AccessRequest(other, 7, authenticator, challenge)
			if err != nil {
				t.Fatalf("%v in\n%s", err, text)
			}
			if !bytes.Equal(want, got) {
				t.Errorf("the unit asks\n%x, and with what was learned\n%x is asked:\n%s", want, got, text)
			}
			if a, b := o.Source(prefix), again.Source(prefix); a != b || !slices.Equal(o.Servers, again.Servers) {
				t.Errorf("from %v to %v, learned: from %v to %v", a, o.Servers, b, again.Servers)
			}
			// So it does of a redacted capture, but for the values.
			r := capture.NewRedactor(Vendors())
			for i := range frames {
				frames[i] = r.Frame(frames[i])
			}
			redacted, err := learnText(frames, "eth1", capture.Redacted)
			if err != nil {
				t.Fatal(err)
			}
			if a, b := names(text), names(redacted); !slices.Equal(a, b) {
				t.Errorf("options %v, of the redacted capture %v", a, b)
			}
		})
	}
}

// names are the options in a text.
func names(text string) []string {
	var list []string
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) > 1 && (f[0] == "option" || f[0] == "list") {
			list = append(list, f[1])
		}
	}
	return list
}

// TestOdd: units that differ in what no option makes.
func TestOdd(t *testing.T) {
	phone := world{terminal: terminal}
	// request makes an Access-Request of attributes in hex.
	packet := func(attrs ...string) []byte {
		body := x(strings.Join(attrs, ""))
		b := append([]byte{1, 7, 0, byte(20 + len(body))}, authenticator[:]...)
		return append(b, body...)
	}
	name := "0129" + hex.EncodeToString([]byte("2001:0db8:0012:3400:1111:1111:1111:1111"))
	sub := func(code byte, value string) string {
		return hex.EncodeToString(append([]byte{code, byte(2 + len(value))}, value...))
	}
	vs := func(subs ...string) string {
		s := strings.Join(subs, "")
		return hex.EncodeToString([]byte{26, byte(6 + len(s)/2), 0, 0, 0x56, 0xb5}) + s
	}
	chapChallenge, chap := "3c12"+hex.EncodeToString(challenge[:]), "031301"+strings.Repeat("00", 16)
	four := []string{vs(sub(1, "00:00:5e:00:53:4b")), vs(sub(2, "foxconn")), vs(sub(3, "e-wmta2.3,V5.0.0.1.rc35")), vs(sub(4, "hw_rev_2.00"))}
	src := netip.MustParseAddr("2001:db8:12:3400:1111:1111:1111:1111")
	server := netip.MustParseAddrPort("[2001:db8:a::1812]:1812")
	asks := func(src netip.Addr, attrs ...string) []capture.Frame {
		return exchange(src, server, packet(attrs...), codeAccept)
	}
	next := asks(src, append(append([]string{name}, four...), chapChallenge, chap)...)

	for _, tt := range []struct {
		name   string
		frames []capture.Frame
	}{
		{"order", append(phone.surroundings(), asks(src, append([]string{chap, chapChallenge, name}, four...)...)...)},
		{"more attributes", append(phone.surroundings(), asks(src, append(append([]string{name}, four...), chapChallenge, chap, "0406c0000201", "2004"+"abcd", vs(sub(5, "serial 4711")))...)...)},
		{"sub-attributes", append(phone.surroundings(), asks(src, name, four[1], four[0], vs(sub(3, "\x1b[2J"), sub(4, "")), chapChallenge, chap)...)},
		{"mac in no form", append(phone.surroundings(), asks(src, name, vs(sub(1, "0000.5e00.534b")), four[1], four[2], four[3], chapChallenge, chap)...)},
		{"short challenge", append(phone.surroundings(), asks(src, append(append([]string{name}, four...), "3c06"+"01020304", "0305"+"010203")...)...)},
		{"no vendor", append(phone.surroundings(), asks(src, name, chapChallenge, chap)...)},
		{"another net", append(phone.surroundings(), asks(netip.MustParseAddr("2001:db8:12:3401:1111:1111:1111:1111"), append(append([]string{name}, four...), chapChallenge, chap)...)...)},
		{"user name in capitals", append(phone.surroundings(), asks(src, append(append([]string{"0129" + hex.EncodeToString([]byte("2001:0DB8:0012:3400:1111:1111:1111:1111"))}, four...), chapChallenge, chap)...)...)},
		{"rejected", append(phone.surroundings(), exchange(src, server, next[0].Payload, codeReject)...)},
		{"not answered", append(phone.surroundings(), next[0])},
		{"no RADIUS", phone.surroundings()},
		{"two units", append(append(phone.surroundings(), next...), func() capture.Frame {
			f := dhcp6(solicit, opt6(1, x("00030001"), terminal), iaPD, elapsed, oro)
			f.SrcMAC = terminal
			return f
		}())},
		{"another DHCPv6", append(append([]capture.Frame{
			dhcp6(solicit, opt6(1, x("00010001 01020304"), unitMAC), elapsed, opt6(6, x("0017 0018")), opt6(3, x("00000000 00000000 00000000")), opt6(14), opt6(16, x("000000d2 0006"), terminal),
				opt6(25, x("5e00534a 00000e10 00001518"), opt6(26, x("00000000 00000000 38"), make([]byte, 16)))),
			dhcp6(request, opt6(1, x("00010001 01020304"), unitMAC), iaLeased, serverID, elapsed),
			dhcp6(release, opt6(1, x("0002 000000d2 01"))),
		}, phone.surroundings()[2:]...), next...)},
		{"information only", append([]capture.Frame{phone.surroundings()[0], dhcp6(information, clientID, elapsed, oro, accept, class)}, next...)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text, err := learnText(tt.frames, "", "")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, "odd "+tt.name, text)
			if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' }) {
				t.Errorf("it could disturb a terminal: %q", text)
			}
			s := section(t, text)
			if s.Common("eth1"); strings.Contains(text, "option line") {
				softbank.FromSection(s)
			}
			if err := s.Err(); err != nil {
				t.Errorf("it is no configuration: %v\n%s", err, text)
			}
			// What is to be published names nobody.
			_, report, _ := strings.Cut(text, "for a bug report")
			for _, id := range []string{"53:4a", "53:4b", "5e00534", "2001:db8:12", "0db8:0012", "4711", hex.EncodeToString([]byte("4711"))} {
				if strings.Contains(report, id) {
					t.Errorf("the report holds %q:\n%s", id, report)
				}
			}
		})
	}
	if _, err := learnText(phone.surroundings()[:1], "", ""); !errors.Is(err, ErrNothing) {
		t.Errorf("an advertisement alone: %v", err)
	}
}

// FuzzText: whatever a capture holds, what is printed is a configuration of one line
// each that disturbs no terminal.
func FuzzText(f *testing.F) {
	f.Fuzz(func(t *testing.T, query, ask, told []byte) {
		w := world{terminal: terminal}
		frames := w.surroundings()
		dhcp := frames[2]
		dhcp.Payload = append([]byte{1, 0, 0, 0}, ask...)
		reply := frames[3]
		reply.Payload = append([]byte{7, 0, 0, 0}, told...)
		src := netip.MustParseAddr("2001:db8:12:3400:1111:1111:1111:1111")
		b := slices.Concat([]byte{1, 7, 0, 0}, authenticator[:], query)
		if len(b) > 4096 || len(ask) > 2000 || len(told) > 2000 {
			return
		}
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		candidates := append(exchange(src, netip.MustParseAddrPort("[2001:db8:a::1]:1812"), b, codeAccept), dhcp, reply)
		frames = nil
		for _, f := range candidates {
			if f, err := capture.FromPacket(f.Packet()); err == nil {
				frames = append(frames, f)
			}
		}
		text, err := learnText(frames, "eth1", "")
		if err != nil {
			if !errors.Is(err, ErrNothing) {
				t.Fatal(err)
			}
			return
		}
		for line := range strings.Lines(text) {
			if strings.ContainsFunc(strings.Trim(line, "\t\n"), func(r rune) bool { return r < ' ' || r == 0x7f || r == 0xfffd }) {
				t.Fatalf("line %q", line)
			}
		}
		s := section(t, text)
		s.Common("eth1")
		if strings.Contains(text, "option line") {
			softbank.FromSection(s)
		}
		if err := s.Err(); err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
	})
}
