package softbank

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"layeh.com/radius/dictionary"
)

// TestDefinitions compares what is shown of attributes with the dictionary.
func TestDefinitions(t *testing.T) {
	parser := dictionary.Parser{Opener: &dictionary.FileSystemOpener{}}
	dict, err := parser.ParseFile("dictionary.softbankbb")
	if err != nil {
		t.Fatal(err)
	}
	if len(dict.Vendors) != 1 || dict.Vendors[0].Number != vendorID {
		t.Fatalf("vendors: %v", dict.Vendors)
	}
	type entry struct {
		Name, Kind string
	}
	kinds := map[kind]string{octets: "octets", text: "string", integer: "integer", ipv4: "ipaddr", ipv6: "ipv6addr"}
	want, got := map[int]entry{}, map[int]entry{}
	for _, a := range dict.Vendors[0].Attributes {
		want[a.OID[0]] = entry{a.Name, a.Type.String()}
	}
	for typ, d := range definitions {
		got[int(typ)] = entry{d.name, kinds[d.kind]}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-dictionary +definitions):\n%s", diff)
	}
}

// TestGenerated runs the command of the go:generate line again, so that package
// vsa cannot fall behind the dictionary.
func TestGenerated(t *testing.T) {
	doc, err := os.ReadFile("vsa/doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, command, ok := strings.Cut(string(doc), "//go:generate ")
	if !ok {
		t.Fatal("vsa/doc.go has no go:generate line")
	}
	command, _, _ = strings.Cut(command, "\n")
	out := filepath.Join(t.TempDir(), "generated.go")
	args := strings.Fields(strings.Replace(command, "-output generated.go", "-output "+out, 1))
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = "vsa"
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, b)
	}
	want, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("vsa/generated.go")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("run go generate (-generated now +in the tree):\n%s", diff)
	}
}
