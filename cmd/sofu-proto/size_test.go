package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The budget of the binary for the smallest routers (mipsle, soft float), in
// bytes: as the flash holds it (xz, as squashfs compresses) and as memory does.
// Whoever needs more says in docs/dependencies.md for what.
const (
	maxRaw = 5_000_000
	maxXZ  = 1_110_000
)

func TestSize(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sofu-proto")
	build := exec.Command("go", "build", "-trimpath", "-gcflags=all=-l", "-ldflags", "-s -w", "-o", file, ".")
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
	if info.Size() > maxRaw || len(packed) > maxXZ {
		t.Errorf("%d bytes, %d as xz: the budget is %d, %d", info.Size(), len(packed), maxRaw, maxXZ)
	}
}
