package status

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sofutobanku/internal/state"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with testdata/name.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

var now = time.Date(2026, 4, 1, 12, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return now.Add(time.Duration(seconds) * time.Second) }

// upStatus is a line of which everything is known.
func upStatus() Status {
	s := Of(state.State{
		Phase: state.Up,
		WAN: state.WAN{
			Device: "eth1", MTU: 1500,
			Addresses: []state.Address{{Prefix: netip.MustParsePrefix("2001:db8::1/64"), Valid: at(600), Deprecated: true}},
			Routers:   []state.Router{{Addr: netip.MustParseAddr("fe80::1"), Until: at(1800)}},
			DNS:       []netip.Addr{netip.MustParseAddr("2001:db8::53")},
			Domains:   []string{"example.net"},
			NTP:       []netip.Addr{netip.MustParseAddr("2001:db8::123")},
		},
		Prefix: &state.Prefix{Prefix: netip.MustParsePrefix("2001:db8:1100::/56"), Preferred: at(12600), Valid: time.Time{}},
		Tunnel: &state.Tunnel{Local: netip.MustParseAddr("2001:db8:1100::b"), Remote: netip.MustParseAddr("2001:db8:b::1"),
			IPv4: netip.MustParseAddr("192.0.2.1"), MTU: 1460},
		HGW: &state.HGW{Device: "lan4", Routes: []state.Route{
			{Prefix: netip.MustParsePrefix("2001:db8:1100:f0::/60"), Via: netip.MustParseAddr("fe80::f0"), Until: at(14400)},
			{Prefix: netip.MustParsePrefix("2001:db8:1100:ef::1/128"), Via: netip.MustParseAddr("fe80::f0"), Until: at(14400)},
		}, Error: &state.Error{Code: "HGW_FORWARD", Text: "neither nft nor tc"}},
		Auth: &state.Auth{Server: netip.MustParseAddrPort("[2001:db8:a::1]:1812"), RTT: 20500 * time.Microsecond,
			Attributes: []state.Attribute{{Name: "Reply-Message", Value: "\x1b[31mwelcome"}}},
	}, now)
	echo := 21.25
	s.Interface, s.Since = "wan", at(-3700)
	s.Tunnel.Device, s.Tunnel.EchoMS = "wan-4", &echo
	address := netip.MustParsePrefix("198.51.100.2/30")
	s.Phone = &Phone{
		Numbers: []string{"0312345678"}, Domain: "example.ne.jp", SIP: []netip.Addr{}, SIP4: []netip.Addr{netip.MustParseAddr("203.0.113.5")},
		Address: &address, DSCP: 32, Error: &Error{Code: "PHONE_SILENT", Text: "no DHCPv4 server answers"},
	}
	ago := int64(75)
	s.HGW.MAC, s.HGW.Carrier, s.HGW.LastSeen, s.HGW.Forwarding = "00:00:5e:00:53:10", true, &ago, "nft"
	s.Counters = map[string]uint64{"ra.drop.hop-limit": 3, "ra.received.advertisement": 7}
	s.Events = []Event{{MS: 0, Name: "link-up"}, {MS: 12.5, Name: "advertise", Detail: "from fe80::1"}}
	s.MS = 3_700_000
	return s
}

func TestText(t *testing.T) {
	empty := Of(state.State{Phase: state.Down, WAN: state.WAN{Device: "eth1"},
		Error: &state.Error{Code: "NO_CARRIER", Text: "eth1 has no link\x1b[2J\nroot:x"}}, now)
	empty.Interface, empty.Since = "wan", now
	for name, s := range map[string]Status{"up.txt": upStatus(), "down.txt": empty} {
		var b bytes.Buffer
		if err := s.WriteText(&b, now, false); err != nil {
			t.Fatal(err)
		}
		golden(t, name, b.Bytes())
	}
}

func TestColourOnlyWhenAsked(t *testing.T) {
	for _, colour := range []bool{false, true} {
		var b bytes.Buffer
		if err := upStatus().WriteText(&b, now, colour); err != nil {
			t.Fatal(err)
		}
		if got := bytes.ContainsRune(b.Bytes(), '\x1b'); got != colour {
			t.Errorf("colour %v: escape sequences in the text: %v", colour, got)
		}
	}
}

func TestJSON(t *testing.T) {
	doc := upStatus().JSON()
	if bytes.IndexByte(doc, '\n') != len(doc)-1 {
		t.Errorf("the document is not one line: %q", doc)
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, doc, "", "  "); err != nil {
		t.Fatal(err)
	}
	golden(t, "up.json", indented.Bytes())

	var back Status
	if err := json.Unmarshal(doc, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(doc), string(back.JSON())); diff != "" {
		t.Errorf("decoded and encoded again (-want +got):\n%s", diff)
	}
}

// A program that reads the status finds every key at every time.
func TestJSONOfNothingHasAllKeys(t *testing.T) {
	var got map[string]any
	if err := json.Unmarshal(Of(state.State{}, now).JSON(), &got); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"interface", "state", "since", "error", "wan", "prefix", "tunnel", "auth", "phone", "counters", "events", "ms"} {
		if _, ok := got[key]; !ok {
			t.Errorf("key %q is missing", key)
		}
	}
	wan := got["wan"].(map[string]any)
	for _, key := range []string{"addresses", "routers", "dns", "domains", "ntp"} {
		if _, ok := wan[key].([]any); !ok {
			t.Errorf("wan.%s is %v, want an empty list", key, wan[key])
		}
	}
}

func TestForPeople(t *testing.T) {
	for _, tt := range []struct {
		d    time.Duration
		want string
	}{
		{-time.Second, "0 s"},
		{59 * time.Second, "59 s"},
		{61 * time.Second, "1 min 1 s"},
		{3*time.Hour + 30*time.Minute + 59*time.Second, "3 h 30 min"},
		{30 * 24 * time.Hour, "30 d 0 h"},
	} {
		if got := ForPeople(tt.d); got != tt.want {
			t.Errorf("ForPeople(%v) = %q, want %q", tt.d, got, tt.want)
		}
	}
}
