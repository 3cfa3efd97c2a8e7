package config

import (
	"net/url"
	"slices"
	"strings"
	"testing"

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
