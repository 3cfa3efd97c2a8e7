package report

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sofutobanku/internal/check"
	"sofutobanku/internal/state"
	"sofutobanku/internal/status"
)

var update = flag.Bool("update", false, "write the golden files anew")

// world is a line with all that tells whose it is. None of it is of the ranges for
// documentation, from which the report takes what it puts in its place.
type world struct {
	secret, password, user string
	mac, terminal          net.HardwareAddr
	prefix                 netip.Prefix
	br, server, dns        netip.Addr
	ipv4, host             netip.Addr
	number                 string
	credential             []byte // in an attribute that nobody knows
}

func newWorld(r *rand.Rand) world {
	letters := func(n int) string {
		const from = "abcdefghjkmnpqrstuvwxyzABCDEFGHJKMNPQRSTUVWXYZ23456789!#$%&/()=?+*'\"\\ :"
		b := make([]byte, n)
		for i := range b {
			b[i] = from[r.IntN(len(from))]
		}
		b[0], b[n-1] = 'x', 'y' // no white space around it
		return string(b)
	}
	octets := func(first byte, n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		b[0] = first
		return b
	}
	addr6 := func() netip.Addr { return netip.AddrFrom16([16]byte(octets(0x24, 16))) }
	prefix := octets(0x24, 16)
	clear(prefix[7:])
	return world{
		secret: letters(8 + r.IntN(20)), password: letters(8 + r.IntN(20)), user: letters(12),
		mac: octets(0x3c, 6), terminal: octets(0x58, 6),
		prefix: netip.PrefixFrom(netip.AddrFrom16([16]byte(prefix)), 56),
		br:     addr6(), server: addr6(), dns: addr6(),
		ipv4: netip.AddrFrom4([4]byte(octets(126, 4))), host: netip.AddrFrom4([4]byte(octets(60, 4))),
		number:     "03" + fmt.Sprintf("%08d", 10000000+r.IntN(80000000)),
		credential: octets(0x7a, 8+r.IntN(16)),
	}
}

// ce is the line's end of the tunnel as NEXT has it, cross as CROSS has it.
func (w world) ce() netip.Addr {
	b := w.prefix.Addr().As16()
	for i := 8; i < 16; i++ {
		b[i] = 0x11
	}
	return netip.AddrFrom16(b)
}

func (w world) cross() netip.Addr {
	b, v4 := w.prefix.Addr().As16(), w.ipv4.As4()
	copy(b[9:], v4[:])
	return netip.AddrFrom16(b)
}

func (w world) eui64(prefix netip.Addr) netip.Addr {
	b, m := prefix.As16(), w.mac
	copy(b[8:], []byte{m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]})
	return netip.AddrFrom16(b)
}

// identities are the spellings of all that must not be in a report.
func (w world) identities() map[string]string {
	list := map[string]string{}
	for what, s := range map[string]string{"secret": w.secret, "password": w.password, "user name": w.user} {
		list[what] = s
		list[what+" in hex"] = hex.EncodeToString([]byte(s))
		list[what+" in base64"] = base64.StdEncoding.EncodeToString([]byte(s))
	}
	list["credential"] = hex.EncodeToString(w.credential)
	for what, m := range map[string]net.HardwareAddr{"MAC": w.mac, "terminal's MAC": w.terminal} {
		s := m.String()
		list[what] = s
		list[what+" with hyphens"] = strings.ReplaceAll(s, ":", "-")
		list[what+" plain"] = hex.EncodeToString(m)
		list[what+" with dots"] = fmt.Sprintf("%x.%x.%x", []byte(m[:2]), []byte(m[2:4]), []byte(m[4:]))
		list[what+"'s last half"] = s[9:]
		list[what+" as EUI-64"] = fmt.Sprintf("%x:%x", []byte{0xfe, m[3]}, []byte(m[4:]))
	}
	p := w.prefix.Addr().As16()
	list["prefix"] = strings.TrimSuffix(w.prefix.Masked().Addr().String(), "::")
	list["prefix expanded"] = w.prefix.Addr().StringExpanded()[:17]
	list["prefix, half of it"] = strings.Join(strings.Split(w.prefix.Addr().String(), ":")[:2], ":") + ":"
	list["prefix in hex"] = hex.EncodeToString(p[:7])
	for what, a := range map[string]netip.Addr{"BR": w.br, "server": w.server, "DNS server": w.dns} {
		list[what] = a.String()
		list[what] = a.String()
		list[what+" expanded"] = a.StringExpanded()
		list[what+"'s prefix"] = strings.Join(strings.Split(a.String(), ":")[:3], ":")
		b := a.As16()
		list[what+" in hex"] = hex.EncodeToString(b[:])
	}
	for what, a := range map[string]netip.Addr{"IPv4": w.ipv4, "host": w.host} {
		list[what] = a.String()
		b := a.As4()
		list[what+" in hex"] = hex.EncodeToString(b[:])
	}
	v4 := w.ipv4.As4()
	list["IPv4 in an interface identifier"] = fmt.Sprintf("%x:%x:%x:0", v4[0], int(v4[1])<<8|int(v4[2]), int(v4[3])<<8)
	list["number"] = w.number
	list["number with hyphens"] = w.number[:2] + "-" + w.number[2:6] + "-" + w.number[6:]
	list["number, international"] = w.number[1:]
	return list
}

// gossip is a text with everything in it that a program may say of a line.
func (w world) gossip(r *rand.Rand) string {
	v4 := w.ipv4.As4()
	words := []string{
		"from", "[" + w.server.String() + "]:1812", "User-Name", `"` + w.ce().StringExpanded() + `"`, `"` + w.ce().StringExpanded()[:19] + `"`,
		w.mac.String(), strings.ToUpper(w.mac.String()), strings.ReplaceAll(w.terminal.String(), ":", "-"), hex.EncodeToString(w.mac),
		"0x" + hex.EncodeToString(v4[:]), "DUID-LL", "00030001" + hex.EncodeToString(w.mac), w.ipv4.String() + ":53", w.host.String() + ",",
		w.eui64(netip.MustParseAddr("fe80::")).String() + "%wan0:", w.eui64(w.prefix.Addr()).String() + "/64", w.prefix.String(), w.cross().String() + ".",
		"(" + w.br.String() + ")", w.number, w.number[:2] + "-" + w.number[2:6] + "-" + w.number[6:], "+81" + w.number[1:],
		w.secret, w.password, hex.EncodeToString([]byte(w.password)), base64.StdEncoding.EncodeToString([]byte(w.secret)), "lifetime 1800 s",
		"<" + w.dns.String() + ">", "tel:" + w.number, "mac=" + w.mac.String(), "ip:" + w.ipv4.String(), w.user,
		fmt.Sprintf("%x.%x.%x", []byte(w.mac[:2]), []byte(w.mac[2:4]), []byte(w.mac[4:])), hex.EncodeToString(w.credential),
	}
	r.Shuffle(len(words), func(i, j int) { words[i], words[j] = words[j], words[i] })
	return strings.Join(words, " ")
}

func (w world) facts(r *rand.Rand) Facts {
	now := time.Date(2026, 4, 1, 12, 0, 0, 0, time.UTC)
	seconds := int64(1000)
	ms := 21.5
	hide := func(b []byte) string { return "0x" + hex.EncodeToString(b) }
	p := w.prefix.Addr().As16()
	unit := w.eui64(netip.MustParseAddr("fe80::"))
	delegated, address := netip.PrefixFrom(w.prefix.Addr(), 60), netip.PrefixFrom(w.eui64(w.prefix.Addr()), 128)
	s := &status.Status{
		Interface: "wan", State: state.Up, Since: now.Add(-time.Hour), Error: &status.Error{Code: "AUTH_REJECTED", Text: w.gossip(r)},
		WAN: status.WAN{
			Device: "eth1", MTU: 1500, DNS: []netip.Addr{w.dns}, NTP: []netip.Addr{w.dns}, Domains: []string{"example.jp", w.gossip(r)},
			Addresses: []status.Address{{Address: netip.PrefixFrom(w.eui64(w.prefix.Addr()), 64), Valid: &seconds}},
			Routers:   []status.Router{{Address: w.eui64(netip.MustParseAddr("fe80::")), Valid: &seconds}},
		},
		Prefix: &status.Prefix{Prefix: w.prefix, Preferred: &seconds, Valid: &seconds},
		Tunnel: &status.Tunnel{Device: "sofu-wan_4", Local: w.cross(), Remote: w.br, IPv4: w.ipv4, MTU: 1460, EchoMS: &ms},
		Auth: &status.Auth{Server: netip.AddrPortFrom(w.server, 1812), RTTMS: 20.5, Attributes: []status.Attribute{
			{Name: "known", Value: w.ipv4.String()}, {Name: "known", Value: w.br.String()}, {Name: "known", Value: w.gossip(r)},
			{Name: "Attr-120", Value: hide(w.credential)}, {Name: "Attr-121", Value: string(w.secret)}, {Name: "Attr-122", Value: hide([]byte{0, 0, 14, 16})},
			{Name: "Attr-123", Value: hide(p[:])}, {Name: "Attr-124", Value: hide(w.ipv4.AsSlice())}, {Name: "Attr-125", Value: w.gossip(r)},
		}},
		Phone: &status.Phone{Numbers: []string{w.number}, Domain: "ims.example", SIP: []netip.Addr{w.dns}},
		HGW: &status.HGW{
			Device: "lan4", Carrier: true, MAC: w.terminal.String(), LinkLocal: &unit, Prefix: &delegated, Address: &address, Forwarding: "nft",
			Error: &status.Error{Code: "HGW_APPLY", Text: w.gossip(r)},
		},
		Counters: map[string]uint64{"dhcp6.sent.solicit": 1},
		Events:   []status.Event{{MS: 12.5, Name: "access-reject", Detail: w.gossip(r)}, {MS: 1234567.5, Name: "link-up"}},
	}
	return Facts{
		Now: now, System: check.System{Program: "sofu-tools 0.1.0", Release: "OpenWrt 24.10.1 r28597-0425664679", Kernel: "Linux 6.6.86"},
		Check: check.Report{Interface: "wan", Checks: []check.Check{
			{Name: "auth", Verdict: check.Fail, Seen: w.gossip(r), Remedy: w.gossip(r)},
			{Name: "system", Verdict: check.OK, Seen: "OpenWrt 24.10.1 r28597-0425664679"},
		}, Cause: &check.Cause{Name: "auth", Text: w.gossip(r)}},
		Options: []Option{
			{Name: "line", Value: "next"}, {Name: "auth_server", Value: w.server.String()}, {Name: "mac", Value: w.mac.String()},
			{Name: "clientid", Value: "00030001" + hex.EncodeToString(w.mac)}, {Name: "zone", Value: w.gossip(r)}, {Name: "password", Secret: true},
		},
		Status: s,
		Known:  func(name string) bool { return name == "known" },
		Vendor: []Value{
			{Name: "NTT suboption 202", Data: []byte(w.number), Known: true},
			{Name: "NTT suboption 250", Data: w.credential}, {Name: "NTT suboption 251", Data: []byte{7}},
			{Name: "NTT suboption 252", Data: w.mac}, {Name: "NTT suboption 253", Data: []byte("1234")},
		},
		Secrets: []string{w.secret, w.password, w.user},
	}
}

func write(t *testing.T, f Facts) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, f); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestNothingSurvives: of many lines, in a report there is neither a secret nor whose line
// it is, whatever the programs and the carrier say of it.
func TestNothingSurvives(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 1))
		w := newWorld(r)
		got := write(t, w.facts(r))
		lower := strings.ToLower(got)
		for what, s := range w.identities() {
			if strings.Contains(lower, strings.ToLower(s)) {
				t.Errorf("seed %d: the %s is in it: %q\n%s", seed, what, s, got)
			}
		}
		if t.Failed() {
			return
		}
	}
}

// TestConsistent: what was equal is, and what was in the prefix is.
func TestConsistent(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	w := newWorld(r)
	f := w.facts(r)
	f.Check.Checks[0].Seen = fmt.Sprintf("%s %s %s %s", w.ipv4, w.br, w.mac, w.eui64(w.prefix.Addr()))
	got := write(t, f)
	seen := lineAfter(t, got, "fail  auth      ")
	words := strings.Fields(seen)
	for _, want := range []string{"option mac '" + words[2] + "'", "IPv4     " + words[0], "BR " + words[1], "address  " + words[3] + "/64"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q:\n%s", want, got)
		}
	}
	prefix, _, _ := strings.Cut(lineAfter(t, got, "  prefix   "), " ")
	if p := netip.MustParsePrefix(prefix); !p.Contains(netip.MustParseAddr(words[3])) {
		t.Errorf("%s is not in %s", words[3], p)
	}
}

func lineAfter(t *testing.T, text, mark string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, mark)
	if !ok {
		t.Fatalf("no %q:\n%s", mark, text)
	}
	line, _, _ := strings.Cut(rest, "\n")
	return line
}

// TestForm: what a person reads, of a line and of nothing.
func TestForm(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 1))
	w := newWorld(r)
	f := w.facts(r)
	f.Status.HGW.Error.Text = "no route to " + w.prefix.String()
	f.Status.Error.Text = "radius: [" + w.server.String() + "]:1812 rejected this line"
	f.Check.Checks[0].Seen, f.Check.Checks[0].Remedy, f.Check.Cause.Text = f.Status.Error.Text, "check option password", "rejected"
	f.Options[4].Value, f.Status.WAN.Domains[1], f.Status.Events[0].Detail = "wan", "iptv.example", "from "+w.server.String()
	f.Status.Auth.Attributes[2].Value, f.Status.Auth.Attributes[8].Value = "welcome", "some text"
	golden(t, "line.txt", write(t, f))
	f.Unknown = true
	if got := write(t, f); !strings.Contains(got, hex.EncodeToString(w.credential)) || !strings.Contains(got, "ATTENTION") {
		t.Errorf("what is unknown is not shown:\n%s", got)
	}
	golden(t, "nothing.txt", write(t, Facts{Now: f.Now, Check: check.Judge(check.Facts{Interface: "wan", Now: f.Now})}))
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := "testdata/" + name
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}
