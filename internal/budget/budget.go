// Package budget holds the programs to the sizes that the file budget in the folder of each
// allows: they share the flash of small routers with all else. Whoever needs more says in
// docs/footprint.md for what. It is for tests.
package budget

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Sizes of a program in bytes, for the smallest routers (mipsle, soft float).
type Sizes struct {
	Stripped int // as memory holds it
	XZ       int // as the flash does: xz -9, as squashfs compresses
	Package  int // the larger of .ipk and .apk
}

// Of reads the budget of the program in folder.
func Of(t testing.TB, folder string) (s Sizes) {
	t.Helper()
	file := filepath.Join(folder, "budget")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(string(text), "stripped %d\nxz %d\nipk %d\n", &s.Stripped, &s.XZ, &s.Package); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return s
}

// Hold builds the program in folder as it ships, and fails when it is larger than its
// budget. flags is the file with the flags of the build.
func Hold(t testing.TB, folder, flags string) {
	t.Helper()
	text, err := os.ReadFile(flags)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "program")
	args := append([]string{"build"}, strings.Split(strings.TrimSpace(string(text)), "\n")...)
	build := exec.Command("go", append(args, "-o", file, ".")...)
	build.Dir = folder
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=mipsle", "GOMIPS=softfloat")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := exec.Command("xz", "--stdout", "-9", file).Output()
	if err != nil {
		t.Fatalf("xz: %v", err)
	}
	t.Logf("mipsle softfloat: %d bytes, %d as xz", info.Size(), len(packed))
	if most := Of(t, folder); int(info.Size()) > most.Stripped || len(packed) > most.XZ {
		t.Errorf("the budget is %d bytes, %d as xz", most.Stripped, most.XZ)
	}
}
