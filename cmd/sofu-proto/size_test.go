package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestSize holds the budget of the binary for the smallest routers (mipsle, soft
// float), in bytes: as memory holds it and as the flash does (xz, as squashfs
// compresses). Whoever needs more says in docs/footprint.md for what.
func TestSize(t *testing.T) {
	flags, err := os.ReadFile("goflags")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "sofu-proto")
	build := exec.Command("go", append(append([]string{"build"}, strings.Split(strings.TrimSpace(string(flags)), "\n")...), "-o", file, ".")...)
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
	budget, err := os.ReadFile("budget")
	if err != nil {
		t.Fatal(err)
	}
	var stripped, xz int
	if _, err := fmt.Sscanf(string(budget), "stripped %d\nxz %d\n", &stripped, &xz); err != nil {
		t.Fatalf("budget: %v", err)
	}
	if int(info.Size()) > stripped || len(packed) > xz {
		t.Errorf("the budget is %d bytes, %d as xz", stripped, xz)
	}
}
