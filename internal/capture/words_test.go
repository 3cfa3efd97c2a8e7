package capture

import (
	"net/netip"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestWords: addresses and numbers in words.
func TestWords(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", ""},
		{"rejected: no such line.", "rejected: no such line."},
		{"3c:ab:cd:12:34:56", "00:00:5e:00:53:01"},
		{"MAC 3C-AB-CD-12-34-56.", "MAC 00:00:5e:00:53:01."},
		{"3cabcd123456, 3cab.cd12.3456", "00005e005301, 00:00:5e:00:53:01"},
		{"DUID 000300013cabcd123456", "DUID 0003000100005e005301"},
		{"DUID 000200009d0102030405", "DUID (left out)"},
		{"240b:c0de:1234:5600:1111:1111:1111:1111", "2001:db8:1:100:1111:1111:1111:1111"},
		{"2001:0db8:0012:3400:0000:0000:0000:0001", "2001:0db8:0001:0100:0000:0000:0000:0001"},
		{`User-Name "240b:c0de:1234:5600"`, `User-Name "2001:0db8:0001:0100"`},
		{"from [240b:c0de:1234:5600::1]:1812: no", "from [2001:db8:1:100::1]:1812: no"},
		{"240B:C0DE:1234:5600::/56 (3 h)", "2001:db8:1:100::/56 (3 h)"},
		{"fe80::3eab:cdff:fe12:3456%wan0", "fe80::200:5eff:fe00:5301%wan0"},
		{"fe80::1: gone", "fe80::1: gone"},
		{"126.77.88.99:1812, 126.77.88.99", "192.0.2.1:1812, 192.0.2.1"},
		{"240b:c0de:1234:5600:7e:4d58:6300:0", "2001:db8:1:100:c0:2:100:0"}, // of 126.77.88.99
		{"0398765432 is 03-9876-5432, +81398765432", "0000000001 is 0000000001, +00000000002"},
		{"hw_rev_2.00, 1.2.3, 14400 s", "hw_rev_2.00, 1.2.3, 14400 s"},
		{"on 2026-04-01 12:34:56, 0398-76-5432", "on 2026-04-01 12:34:56, 0000000001"},
		{"ip:126.77.88.99, mac=3c:ab:cd:12:34:56, tel:0398765432", "ip:192.0.2.1, mac=00:00:5e:00:53:01, tel:0000000001"},
		{"33:33:ff:12:34:56", "(left out)"},
		{"tel03-9876-5432", "(left out)"},
		{"host126.77.88.99.example", "(left out)"},
		{"0x7e4d5863", "(left out)"},
		{"240b:c0de:1234:5600:1111", "(left out)"},
		{"a-240b:c0de::1", "(left out)"},
		{"日本 sofu-wan_4", "日本 sofu-wan_4"},
	} {
		if got := NewRedactor(nil).Words(tt.text); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.text, got, tt.want)
		}
	}
}

// TestWordsAgree: what stands for an address does so in words and by itself.
func TestWordsAgree(t *testing.T) {
	r := NewRedactor(nil)
	a, p := netip.MustParseAddr("240b:c0de:1234:5601::7"), netip.MustParsePrefix("240b:c0de:1234:5600::/56")
	if got, want := r.Words(a.String()+" "+p.String()), r.Addr(a).String()+" "+r.Prefix(p).String(); got != want || !r.Prefix(p).Contains(r.Addr(a)) {
		t.Errorf("%s, want %s", got, want)
	}
	if got := r.Words("0398765432"); got != r.Number("0398765432") {
		t.Errorf("%s, want %s", got, r.Number("0398765432"))
	}
	if r.Addr(netip.Addr{}).IsValid() || r.Prefix(netip.Prefix{}).IsValid() {
		t.Error("nothing became something")
	}
}

// FuzzWords: whatever stands around them, no spelling of an identity is left.
func FuzzWords(f *testing.F) {
	identities := []string{
		"240b:10:1200:3400::1", "240b:0010:1200:3400:1111:1111:1111:1111", "240b:0010:1200:3400", "126.77.88.99", "3c:ab:cd:12:34:56",
		"3C-AB-CD-12-34-56", "3cab.cd12.3456", "3cabcd123456", "fe80::3eab:cdff:fe12:3456", "0398765432", "03-9876-5432", "000300013cabcd123456",
		"240b:10:1200:3400:7e:4d58:6300:0", "7e4d5863",
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		for _, identity := range identities {
			// What is around it must not spell one itself.
			if !utf8.ValidString(before+after) || strings.Contains(before+after, "(left out)") {
				return
			}
			got := NewRedactor(nil).Words(before + identity + after)
			if strings.Contains(got, identity) {
				t.Errorf("%q: %q", before+identity+after, got)
			}
		}
	})
}
