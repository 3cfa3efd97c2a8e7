// Package luci has no code of its own: the pages for LuCI are JavaScript. Here is
// tested that they and the program accept the same.
package luci

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sofutobanku/internal/config"
	"sofutobanku/internal/softbank"
	"sofutobanku/internal/status"
)

// What the form accepts or refuses, the program does too: test/values.json is what
// the test of the form types in.
func TestValues(t *testing.T) {
	text, err := os.ReadFile("test/values.json")
	if err != nil {
		t.Fatal(err)
	}
	var tables map[string]struct {
		Base  map[string]any
		Cases [][]any
	}
	if err := json.Unmarshal(text, &tables); err != nil {
		t.Fatal(err)
	}
	table := tables["sofutobanku"]
	if len(table.Cases) < 100 {
		t.Fatalf("only %d cases", len(table.Cases))
	}
	for _, c := range table.Cases {
		option, value, accepted := c[0].(string), c[1], c[2] == true
		values := map[string]any{}
		for k, v := range table.Base {
			values[k] = v
		}
		if len(c) > 3 {
			for k, v := range c[3].(map[string]any) {
				values[k] = v
			}
		}
		values[option] = value
		err := load(t, values)
		if accepted && err != nil || !accepted && (err == nil || !strings.Contains(err.Error(), "'"+option+"'")) {
			t.Errorf("%s %.80q: the form accepts it: %v, the program says %v", option, value, accepted, err)
		}
	}
}

// The documents that the status page is tested with are of the program.
func TestStatus(t *testing.T) {
	for _, file := range []string{"test/status.json", "test/hgw.json"} {
		t.Run(file, func(t *testing.T) { checkStatus(t, file) })
	}
}

func checkStatus(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var s status.Status
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		t.Fatal(err)
	}
	var want, got any
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(s.JSON(), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("as the program has it (-want +got):\n%s", diff)
	}
}

// load reads an interface with these options as the program does.
func load(t *testing.T, values map[string]any) error {
	t.Helper()
	var b strings.Builder
	b.WriteString("config interface 'wan'\n")
	for k, v := range values {
		if list, ok := v.([]any); ok {
			for _, item := range list {
				fmt.Fprintf(&b, "\tlist %s '%s'\n", k, item)
			}
			continue
		}
		fmt.Fprintf(&b, "\toption %s '%s'\n", k, v)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "network"), []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	section, err := config.Load(dir, "wan")
	if err != nil {
		t.Fatal(err)
	}
	section.Common("")
	softbank.FromSection(section)
	for _, name := range []string{"solicit_vendor_class", "sourcefilter", "extendprefix"} {
		section.Bool(name, false)
	}
	phone := section.Enum("phone", "auto", "auto", "0", "1")
	section.Int("phone_dscp", 32, 0, 63)
	section.MAC("hgw_mac")
	section.String("hgw_zone", "")
	switch hgw := section.Device("hgw_device"); {
	case hgw == "":
	case hgw == values["device"]:
		section.Invalid("hgw_device", "another")
	case phone == "1":
		section.Invalid("phone", "auto or 0")
	}
	section.String("zone", "")
	section.String("ip4table", "")
	return section.Err()
}
