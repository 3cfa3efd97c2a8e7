package kernel

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// FuzzJournal: what is understood of a journal is the same after being written and
// read again, is written the same each time, and names no setting but the WAN
// device's. The text itself may differ: JSON has white space, unknown members, and
// any order.
func FuzzJournal(f *testing.F) {
	opts := cmp.Options{cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMade(b)
		if err != nil {
			if diff := cmp.Diff(made{}, m, opts); diff != "" {
				t.Fatalf("an error and %s", diff)
			}
			return
		}
		if n := len(m.Addresses) + len(m.Routes) + len(m.Sysctls); n > len(b) {
			t.Fatalf("%d bytes hold %d items", len(b), n)
		}
		a := Applier{opt: Options{Device: "wan"}, procSys: "/proc/sys", made: m}
		for name := range m.Sysctls {
			if path := a.sysctlPath(name); !strings.HasPrefix(path, "/proc/sys/net/ipv6/") || path != filepath.Clean(path) {
				t.Fatalf("sysctl %q is %s", name, path)
			}
		}
		if r := m.Resolv; r != nil && (r.Mode&^0o777 != 0 || len(r.Old) > maxResolv) {
			t.Fatalf("resolv file of mode %v, %d bytes", r.Mode, len(r.Old))
		}
		wire, err := json.MarshalIndent(m, "", "\t")
		if err != nil {
			t.Fatal(err)
		}
		again, err := decodeMade(wire)
		if err != nil {
			t.Fatalf("%s: %v", wire, err)
		}
		if diff := cmp.Diff(m, again, opts); diff != "" {
			t.Fatalf("-first +second:\n%s", diff)
		}
		if twice, err := json.MarshalIndent(again, "", "\t"); err != nil || !bytes.Equal(wire, twice) {
			t.Fatalf("%s is written as %s, %v", wire, twice, err)
		}
	})
}
