package dnsname

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
)

// fit is a name that cannot be more than that in a resolver's file, a script, a
// log or a page.
var fit = regexp.MustCompile(`^([A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*)?$`)

// FuzzParse: a name is fit for everybody, within RFC 1035's limits, and canonical:
// it is written again as the very octets that it was read from.
func FuzzParse(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		name, rest, err := Parse(b)
		if err != nil {
			if name != "" || rest != nil {
				t.Fatalf("an error and %q, %q", name, rest)
			}
			return
		}
		if !fit.MatchString(name) || len(name) > 253 {
			t.Fatalf("name %q", name)
		}
		read := b[:len(b)-len(rest)]
		if len(read) > maxName || !bytes.HasSuffix(b, rest) {
			t.Fatalf("%d octets read, %q left of %q", len(read), rest, b)
		}
		if again, err := Append(nil, name); err != nil || !bytes.Equal(again, read) {
			t.Fatalf("%q is written as %q, %v; it was %q", name, again, err, read)
		}
	})
}

// FuzzAppend: what is written of any text is read as that text, up to its final
// dot; what cannot be is refused and not cut or escaped.
func FuzzAppend(f *testing.F) {
	f.Fuzz(func(t *testing.T, name string) {
		before := []byte("before")
		b, err := Append(before, name)
		want := strings.TrimSuffix(name, ".")
		if ok := fit.MatchString(want) && len(want) <= 253; ok != (err == nil) {
			t.Fatalf("%q: %v", name, err)
		}
		if err != nil {
			return
		}
		wire, found := bytes.CutPrefix(b, before)
		got, rest, err := Parse(wire)
		if !found || err != nil || got != want || len(rest) > 0 {
			t.Fatalf("%q is written as %q, and read as %q, %q, %v", name, wire, got, rest, err)
		}
	})
}
