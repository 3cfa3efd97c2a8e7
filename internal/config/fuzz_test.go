package config

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
)

// statements scans text and drops the line numbers.
func statements(text string) ([]statement, error) {
	var list []statement
	err := scan(text, func(st statement) error {
		st.line = 0
		list = append(list, st)
		return nil
	})
	return list, err
}

// export writes statements as `uci export` does.
func export(list []statement) string {
	quote := func(v string) string { return "'" + strings.ReplaceAll(v, "'", `'\''`) + "'" }
	var b strings.Builder
	for _, st := range list {
		b.WriteString(st.keyword + " " + quote(st.name) + " " + quote(st.value) + "\n")
	}
	return b.String()
}

// model is what section wan holds by libuci's rules, empty values and repeated
// list values aside.
func model(list []statement) map[string][]string {
	m := make(map[string][]string)
	inside := false
	for _, st := range list {
		switch {
		case st.keyword == "config":
			inside = st.value == "wan"
		case !inside || st.value == "":
		case st.keyword == "option":
			m[st.name] = []string{st.value}
		case !slices.Contains(m[st.name], st.value):
			m[st.name] = append(m[st.name], st.value)
		}
	}
	return m
}

// FuzzScan: what is scanned, exported and scanned again is the same; so is what
// stands in the normal form; and go-uci makes of that what libuci would of the
// file.
func FuzzScan(f *testing.F) {
	f.Fuzz(func(t *testing.T, text string) {
		list, err := statements(text)
		if err != nil {
			return
		}
		again, err := statements(export(list))
		if err != nil {
			t.Fatalf("its export is refused: %v", err)
		}
		opts := cmp.AllowUnexported(statement{})
		if diff := cmp.Diff(list, again, opts); diff != "" {
			t.Fatalf("exported and scanned again (-first +again):\n%s", diff)
		}

		norm, err := normalize(text, "wan")
		if err != nil {
			return
		}
		inner, err := statements(norm)
		if err != nil {
			t.Fatalf("the normal form is refused: %v", err)
		}
		for i := range inner[1:] {
			st := &inner[1+i]
			if st.value, err = url.PathUnescape(st.value); err != nil {
				t.Fatal(err)
			}
		}
		want := model(list)
		if diff := cmp.Diff(want, model(inner), opts); diff != "" {
			t.Fatalf("normal form (-file +normal form):\n%s", diff)
		}
		s, err := parse("network", text, "wan")
		if err != nil {
			t.Fatalf("the normal form is refused by go-uci: %v", err)
		}
		got := make(map[string][]string)
		for opt := range want {
			got[opt] = s.values(opt)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("go-uci (-file +go-uci):\n%s", diff)
		}
	})
}

// FuzzGetters: of any values of an option each getter returns what its comment
// promises or the default, and what it says against them is one line that a
// terminal can be shown.
func FuzzGetters(f *testing.F) {
	f.Fuzz(func(t *testing.T, value, second string) {
		values := []string{value}
		if second != "" {
			values = append(values, second)
		}
		s := &Section{file: "network", name: "wan", values: func(string) []string { return values }}
		in := func(what string, v, lo, hi int) {
			t.Helper()
			if v < lo || v > hi {
				t.Errorf("%s %d", what, v)
			}
		}
		in("number", s.Int("o", 7, -5, 20), -5, 20)
		if v := s.String("o", ""); strings.Contains(v, "\n") || v != strings.TrimSpace(v) {
			t.Errorf("string %q", v)
		}
		if v := s.Enum("o", "next", "next", "cross"); v != "next" && v != "cross" {
			t.Errorf("one of two %q", v)
		}
		if a := s.Addr4("o"); a.IsValid() && (!a.Is4() || !unicast(a)) {
			t.Errorf("IPv4 address %v", a)
		}
		if a := s.Addr6("o"); a.IsValid() && !unicast6(a) {
			t.Errorf("IPv6 address %v", a)
		}
		servers := s.AddrPorts6("o", 1812)
		in("servers", len(servers), 0, maxList)
		for _, ap := range servers {
			if again, err := netip.ParseAddrPort(ap.String()); err != nil || again != ap || !unicast6(ap.Addr()) || ap.Port() == 0 {
				t.Errorf("server %v, %v", ap, err)
			}
		}
		if mac := s.MAC("o"); mac != nil {
			if len(mac) != 6 || mac[0]&1 != 0 {
				t.Errorf("MAC %v", mac)
			}
		}
		if b := s.Hex("o", 2, 3); b != nil {
			in("bytes", len(b), 2, 3)
		}
		if s.IID("o", [8]byte{7: 7}) == [8]byte{} {
			t.Error("an interface identifier of zeros")
		}
		if secret := s.Secret("o", 2, 40).Reveal(); secret != "" {
			in("length of a secret", len(secret), 2, 40)
			if secret != value {
				t.Errorf("secret %q", secret)
			}
		}

		c := s.Common("")
		in("length of the device's name", len(c.Device), 0, 15)
		if strings.ContainsFunc(c.Device, func(r rune) bool { return r <= ' ' || r > '~' || r == '/' }) {
			t.Errorf("device %q", c.Device)
		}
		if (c.ReqPrefix == ReqPrefixLength) != (c.PrefixLength != 0) && s.Err() == nil {
			t.Errorf("prefix %s of length %d", c.ReqPrefix, c.PrefixLength)
		}
		if c.PrefixLength != 0 {
			in("prefix length", c.PrefixLength, 48, 64)
		}
		if c.ClientID != nil {
			in("client id", len(c.ClientID), 3, 130)
		}
		if c.MTU != 0 {
			in("MTU", c.MTU, 576, 9000)
		}
		in("TTL", c.TTL, 1, 255)
		in("encapsulation limit", c.EncapLimit, -1, 255)
		in("metric", c.Metric, 0, 1<<30)
		in("seconds between authentications", int(c.AuthInterval.Seconds()), 0, 365*86400)
		if c.AuthInterval != 0 {
			in("seconds between authentications", int(c.AuthInterval.Seconds()), 60, 365*86400)
		}
		if s.Err() == nil {
			return
		}
		for line := range strings.SplitSeq(s.Err().Error(), "\n") {
			if len(line) > 1000 || strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("error %q", line)
			}
		}
	})
}
