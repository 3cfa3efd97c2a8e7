package isp

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestDefaultsCheck(t *testing.T) {
	for _, kind := range kinds {
		c := Default(kind)
		c.Device = "isp0"
		if err := c.Check(); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func TestCheck(t *testing.T) {
	p, a := netip.MustParsePrefix, netip.MustParseAddr
	tests := []struct {
		kind Kind
		edit func(*Config)
		want string
	}{
		{"adsl", func(*Config) {}, `line "adsl": next, next-ra and cross are accepted`},
		{Next, func(c *Config) { c.Device = "" }, "no device named"},
		{Next, func(c *Config) { c.LinkLocal = a("2001:db8::1") }, "link-local address 2001:db8::1: an address in fe80::/10 is accepted"},
		{Next, func(c *Config) { c.Prefix = p("2001:db8::1/56") }, "prefix 2001:db8::1/56: an IPv6 prefix of length 40 to 64 with no bits set behind it is accepted"},
		{Next, func(c *Config) { c.Prefix = p("2001:db8::/32") }, "prefix 2001:db8::/32: an IPv6 prefix of length 40 to 64 with no bits set behind it is accepted"},
		{Next, func(c *Config) { c.Prefix = p("10.0.0.0/8") }, "prefix 10.0.0.0/8: an IPv6 prefix of length 40 to 64 with no bits set behind it is accepted"},
		{NextRA, func(c *Config) { c.Prefix = p("2001:db8::/56") }, "prefix 2001:db8::/56: an IPv6 prefix of length 64 to 64 with no bits set behind it is accepted"},
		{Next, func(c *Config) { c.IPv4 = a("2001:db8::1") }, "ipv4 2001:db8::1: an IPv4 unicast address is accepted"},
		{Next, func(c *Config) { c.BR = a("fe80::1") }, "BR fe80::1: a global IPv6 unicast address is accepted"},
		{Next, func(c *Config) { c.RADIUS = netip.MustParseAddrPort("[2001:db8::1]:0") }, "RADIUS server [2001:db8::1]:0: no port"},
		{Next, func(c *Config) { c.Echo = a("127.0.0.1") }, "echo host 127.0.0.1: an IPv4 unicast address is accepted"},
		{Next, func(c *Config) { c.Terminal = nil }, "terminal MAC : 6 bytes are accepted"},
		{Next, func(c *Config) { c.Domain = "a..b" }, `name "a..b": labels of 1 to 63 bytes are accepted`},
		{Next, func(c *Config) { c.Host = strings.Repeat("a.", 130) + "b" }, `name "` + strings.Repeat("a.", 130) + `b" is longer than 253 bytes`},
		{Next, func(c *Config) { c.RALifetime = 65536 * time.Second }, "RA lifetime 18h12m16s: 0 to 65535 s are accepted"},
		{Next, func(c *Config) { c.Valid = 1 }, "preferred lifetime 3h30m0s is longer than the valid lifetime 1ns"},
		{Next, func(c *Config) { c.T1 = c.T2 + 1 }, "T1 3h0m0.000000001s is later than T2 3h0m0s"},
		{Next, func(c *Config) { c.DHCPSourcePort = 70000 }, "DHCPv6 source port 70000: 1 to 65535 are accepted"},
		{Next, func(c *Config) { c.RAInterval = time.Millisecond }, "RA interval 1ms, delay 0s: an interval of at least 1 s (or 0) and no negative delay are accepted"},
	}
	for _, tt := range tests {
		c := Default(tt.kind)
		c.Device = "isp0"
		tt.edit(&c)
		if err := c.Check(); err == nil || err.Error() != tt.want {
			t.Errorf("got %v\nwant %s", err, tt.want)
		}
	}
}

func TestFarEnd(t *testing.T) {
	iid, err := ParseIID("0:c0:2:1")
	mustNot(t, err)
	ipv4 := netip.MustParseAddr("198.51.100.7")
	for _, tt := range []struct {
		kind   Kind
		iid    *IID
		prefix string
		want   string
	}{
		{Next, nil, "2001:db8:1:ab00::/56", "2001:db8:1:ab00:1111:1111:1111:1111"},
		{NextRA, nil, "2001:db8:1:ab01::/64", "2001:db8:1:ab01:1111:1111:1111:1111"},
		{Cross, nil, "2001:db8:1:ab00::/56", "2001:db8:1:ab00:c6:3364:700:0"},
		{Cross, &allOnes, "2001:db8:1:ab00::/56", "2001:db8:1:ab00:1111:1111:1111:1111"},
		{Next, &iid, "2001:db8:1:ab00::/56", "2001:db8:1:ab00:0:c0:2:1"},
	} {
		c := Config{Kind: tt.kind, IID: tt.iid}
		if got := c.farEnd(netip.MustParsePrefix(tt.prefix), ipv4); got != netip.MustParseAddr(tt.want) {
			t.Errorf("%s: got %v, want %s", tt.kind, got, tt.want)
		}
	}
	for _, bad := range []string{"", "1", "::", "1::1:1", "1:2:3:4:5", "1:2:3:g", "11111:1:1:1", "1:2:192.0.2.1"} {
		if _, err := ParseIID(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestReadAccount(t *testing.T) {
	const both = `"shared_secret":"S3CRET","password":"PASSW0RD"`
	tests := []struct {
		name, text string
		mode       os.FileMode
		want       string // of the error
	}{
		{"least", `{` + both + `}`, 0o600, ""},
		{"read-only", `{` + both + `}`, 0o400, ""},
		{"readable by all", `{` + both + `}`, 0o644, "mode -rw-r--r--: it holds secrets, a file of mode 0600 is accepted"},
		{"no secret", `{"password":"PASSW0RD"}`, 0o600, `key "shared_secret" is missing`},
		{"no password", `{"shared_secret":"S3CRET"}`, 0o600, `key "password" is missing`},
		{"unknown key", `{` + both + `,"passwort":"PASSW0RD"}`, 0o600, `unknown key "passwort"`},
		{"type", `{"shared_secret":["S3CRET"],"password":"x"}`, 0o600, `key "shared_secret": a JSON array is not accepted here`},
		{"number out of range", `{` + both + `,"chap_ident":300}`, 0o600, `key "chap_ident": a JSON number is not accepted here`},
		{"packing", `{` + both + `,"vsa_packing":"S3CRET"}`, 0o600, `key "vsa_packing": separate and single are accepted`},
		{"no JSON", `S3CRET`, 0o600, "no JSON object (see `sofu-isp sample`)"},
		{"empty", ``, 0o600, "no JSON object (see `sofu-isp sample`)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "account.json")
			mustNot(t, os.WriteFile(path, []byte(tt.text), 0o600))
			mustNot(t, os.Chmod(path, tt.mode))
			_, err := ReadAccount(path, Next)
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && (err == nil || err.Error() != path+": "+tt.want):
				t.Errorf("got %v\nwant %s: %s", err, path, tt.want)
			}
		})
	}
	if _, err := ReadAccount("/nonexistent", Next); err == nil {
		t.Error("no error for a file that is not there")
	}
	if _, err := ReadAccount(t.TempDir(), Next); err == nil {
		t.Error("no error for a directory")
	}
}

// TestAccountDefaults: what a line's own gateway sends, and what a file changes.
func TestAccountDefaults(t *testing.T) {
	path := filepath.Join(t.TempDir(), "account.json")
	read := func(text string, kind Kind) Account {
		mustNot(t, os.WriteFile(path, []byte(text), 0o600))
		a, err := ReadAccount(path, kind)
		mustNot(t, err)
		return a
	}
	const least = `{"shared_secret":"s","password":"p"}`
	secrets := Account{sharedSecret: []byte("s"), password: []byte("p")}
	next, cross, changed := secrets, secrets, secrets
	next.vsa, next.chapIdent = [3]string{"foxconn", "e-wmta2.3,V5.0.0.1.rc35", "hw_rev_2.00"}, 1
	cross.vsa, cross.packed = [3]string{"NTT-AT", "BAPP", "hw_rev_1.00"}, true
	changed.vsa, changed.chapIdent, changed.packed, changed.userName, changed.mac = [3]string{"a", "b", ""}, 9, false, "u", "00-11"
	for _, tt := range []struct {
		name      string
		got, want Account
	}{
		{"next", read(least, Next), next},
		{"next-ra", read(least, NextRA), next},
		{"cross", read(least, Cross), cross},
		{"changed", read(`{"shared_secret":"s","password":"p","manufacturer":"a","model":"b","hwrev":"","chap_ident":9,"vsa_packing":"separate","username":"u","mac":"00-11"}`, Cross), changed},
	} {
		if diff := cmp.Diff(tt.want, tt.got, cmp.AllowUnexported(Account{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestJournal(t *testing.T) {
	out := new(lockedBuffer)
	j := NewJournal(out, true, true)
	j.say(partRA, "solicit", "from %s", "x")
	j.wrong(partDHCP, "solicit", "bad \x1b[31m")
	var got []Event
	for line := range strings.Lines(out.String()) {
		var e Event
		mustNot(t, json.Unmarshal([]byte(line), &e))
		if time.Since(e.Time) > time.Minute {
			t.Errorf("time %v", e.Time)
		}
		e.Time = time.Time{}
		got = append(got, e)
	}
	want := []Event{{Part: "ra", Kind: "solicit", Text: "from x"}, {Part: "dhcp6", Kind: "solicit", Text: "bad \x1b[31m", Wrong: true}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("JSON (-want +got):\n%s", diff)
	}
	for range 2 * keptFaults {
		j.wrong(partRADIUS, "request", "again")
	}
	counts, faults := j.snapshot()
	if len(faults) != keptFaults || faults[0].Text != "again" {
		t.Errorf("%d faults kept", len(faults))
	}
	if diff := cmp.Diff(map[string]uint64{"ra.solicit": 1, "dhcp6.solicit.wrong": 1, "radius.request.wrong": 2 * keptFaults}, counts); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	for colour, want := range map[bool]string{
		false: " ra     solicit      from x\n dhcp6  request      WRONG no\n",
		true:  " \x1b[36mra    \x1b[0m solicit      from x\n \x1b[31mdhcp6 \x1b[0m request      WRONG no\n",
	} {
		out := new(lockedBuffer)
		j := NewJournal(out, false, colour)
		j.say(partRA, "solicit", "from x")
		j.wrong(partDHCP, "request", "no")
		text := ""
		for line := range strings.Lines(out.String()) {
			if _, err := time.Parse("15:04:05.000", line[:12]); err != nil {
				t.Error(err)
			}
			text += line[12:]
		}
		if text != want {
			t.Errorf("got %q, want %q", text, want)
		}
	}
}
