package config

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the .want files; read them afterwards")

// golden runs show on each testdata/dir/*.uci and compares what it returns with
// the .want file beside it.
func golden(t *testing.T, dir string, show func(t *testing.T, text string) string) {
	files, err := filepath.Glob(filepath.Join("testdata", dir, "*.uci"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in %s: %v", dir, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".uci"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := show(t, string(text))
			wantFile := strings.TrimSuffix(file, ".uci") + ".want"
			if *update {
				if err := os.WriteFile(wantFile, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(wantFile)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", file, diff)
			}
		})
	}
}

// TestScan shows the values of each option in section wan, as they stand and,
// where that differs, as a list.
func TestScan(t *testing.T) {
	golden(t, "scan", func(t *testing.T, text string) string {
		s, err := parse("/etc/config/network", text, "wan")
		if err != nil {
			return fmt.Sprintln("error:", err)
		}
		var b strings.Builder
		for _, opt := range optionsOf(t, text, "wan") {
			fmt.Fprintf(&b, "%s = %q", opt, s.values(opt))
			if list := s.List(opt); !slices.Equal(list, s.values(opt)) {
				fmt.Fprintf(&b, ", as a list %q", list)
			}
			b.WriteByte('\n')
		}
		return b.String()
	})
}

// optionsOf names the options of a section that the file mentions, in order.
func optionsOf(t *testing.T, text, section string) []string {
	var names []string
	inside := false
	err := scan(text, func(st statement) error {
		if st.keyword == "config" {
			inside = st.value == section
		} else if inside && !slices.Contains(names, st.name) {
			names = append(names, st.name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestCommon shows Common, or all that is wrong.
func TestCommon(t *testing.T) {
	golden(t, "common", func(t *testing.T, text string) string {
		s, err := parse("/etc/config/network", text, "wan")
		if err != nil {
			t.Fatal(err)
		}
		c := s.Common("")
		if err := s.Err(); err != nil {
			return err.Error() + "\n"
		}
		var b strings.Builder
		v := reflect.ValueOf(c)
		for i := range v.NumField() {
			format := "%s: %v\n"
			switch v.Field(i).Kind() {
			case reflect.Array, reflect.Slice:
				if v.Type().Field(i).Name != "MAC" {
					format = "%s: %x\n"
				}
			}
			fmt.Fprintf(&b, format, v.Type().Field(i).Name, v.Field(i))
		}
		return b.String()
	})
}
