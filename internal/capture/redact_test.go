package capture

import (
	"bytes"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sofutobanku/internal/pcapng"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestRedact: what is left of a line is in testdata/redacted.golden, to be read by a
// person, and no identity is.
func TestRedact(t *testing.T) {
	lines := theLine()
	before := dump(lines)
	for _, id := range identities() {
		found := false
		for _, f := range lines {
			found = found || bytes.Contains(f.Encode(), id)
		}
		if !found && len(id) > 3 && bytes.HasPrefix(id, []byte("240")) {
			t.Errorf("%q was not there at all", id)
		}
	}
	r := NewRedactor(testVendors)
	var redacted []Frame
	for _, f := range lines {
		was := f.Encode()
		f = r.Frame(f)
		b := f.Encode()
		if len(b) != len(was) {
			t.Errorf("%v: %d bytes became %d", &f, len(was), len(b))
		}
		again, err := FromPacket(pcapng.Packet{Data: b})
		if err != nil || again.Kind != f.Kind {
			t.Fatalf("%v: cannot be read any more: %v", &f, err)
		}
		for _, id := range identities() {
			if i := bytes.Index(b, id); i >= 0 {
				t.Errorf("%v: still has %q at %d", &f, id, i)
			}
		}
		redacted = append(redacted, f)
	}
	if after := dump(lines); after != before {
		t.Errorf("the frames themselves were changed:\n%s", cmp.Diff(before, after))
	}
	const file = "testdata/redacted.golden"
	got := dump(redacted)
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
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestRedactText: addresses and numbers in words, each of the same length as before.
func TestRedactText(t *testing.T) {
	for _, tt := range []struct {
		text, kept, all string // with words kept, and without
	}{
		{"", "", ""},
		{"rejected", "rejected", "xxxxxxxx"},
		{"3c:ab:cd:12:34:56", "00:00:5e:00:53:01", "00:00:5e:00:53:01"},
		{"3C-AB-CD-12-34-56.", "00-00-5E-00-53-01.", "00-00-5E-00-53-01."},
		{"3cabcd123456", "00005e005301", "00005e005301"},
		{"3cab.cd12.3456", "xxxx.xxxx.xxxx", "xxxx.xxxx.xxxx"},
		{"240b:c0de:1234:5600:1111:1111:1111:1111", "2001:0db8:0001:0100:1111:1111:1111:1111", "2001:0db8:0001:0100:1111:1111:1111:1111"},
		{"240b:c0de:1234:5600", "2001:0db8:0001:0100", "2001:0db8:0001:0100"},
		{"240B:C0DE:1234:5600", "2001:0DB8:0001:0100", "2001:0DB8:0001:0100"},
		{"from 240b:c0de:1234:5600::1: no", "from 2001:db8:1:100::1     : no", "xxxx 2001:db8:1:100::1     : xx"},
		{"240b:c::1", "xxxxxxxxx", "xxxxxxxxx"},
		{"126.77.88.99", "192.0.2.1   ", "192.0.2.1   "},
		{"126.77.88.99:1812", "xxx.xx.xx.xx:xxxx", "xxx.xx.xx.xx:xxxx"},
		{"hw_rev_2.00", "hw_rev_2.00", "xx_xxx_x.xx"},
		{"C0398765432", "C0000000001", "xxxxxxxxxxx"},
		{"039876543200", "000000000001", "000000000001"},
		{"01-00-5e-00-00-01", "xx-xx-xx-xx-xx-xx", "xx-xx-xx-xx-xx-xx"},
		{"日本", "日本", "xxxxxx"},
	} {
		for all, want := range map[bool]string{false: tt.kept, true: tt.all} {
			b := []byte(tt.text)
			NewRedactor(nil).text(b, all)
			if string(b) != want {
				t.Errorf("%q, all %v: got %q, want %q", tt.text, all, b, want)
			}
		}
	}
}

// TestRedactConsistently: what was equal or in one prefix still is, what differed still
// does.
func TestRedactConsistently(t *testing.T) {
	r := NewRedactor(nil)
	one := func(b []byte, f func([]byte)) string {
		b = bytes.Clone(b)
		f(b)
		return string(b)
	}
	seen := map[string]int{}
	for i := range 1000 {
		mac := []byte{0x3c, 0xab, 0xcd, 0, byte(i >> 8), byte(i)}
		v4 := []byte{126, 77, byte(i >> 8), byte(i)}
		v6 := append([]byte{0x24, 0x0b, 0xc0, 0xde, byte(i >> 8), byte(i), 0x56, 0, 0, 0}, 0, 0, 0, 0, 0, 1)
		all := func() []string {
			return []string{one(mac, r.mac), one(v4, r.addr4), one(v6, r.addr6), one(v4, r.blob), one(v6, r.duid)}
		}
		for _, v := range all() {
			seen[v]++
		}
		if a, b := all(), all(); !slices.Equal(a, b) {
			t.Fatalf("not the same twice: %x, %x", a, b)
		}
		// A /64 within the /56 stays within it.
		v6[7] = 7
		if a, b := one(v6, r.addr6), one(v6[:16], func(b []byte) { r.prefix6(b, 56) }); a[:7] != b[:7] || strings.Trim(b[7:], "\x00") != "" {
			t.Fatalf("%x is not in %x", a, b)
		}
	}
	for v, n := range seen {
		if n > 1 {
			t.Errorf("%x stands for %d", v, n)
		}
	}
	if len(seen) != 5000 {
		t.Errorf("%d values of 5000", len(seen))
	}
}
