package linktest

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// Usage is what a process has used so far.
type Usage struct {
	CPU      time.Duration
	Resident int // kB
}

// Used returns what a process has used.
func Used(t *testing.T, pid int) (u Usage) {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	// proc(5): what follows the name in parentheses begins with field 3.
	_, rest, _ := strings.Cut(string(stat), ") ")
	f := strings.Fields(rest)
	var user, system, pages int
	if _, err := fmt.Sscan(f[11]+" "+f[12]+" "+f[21], &user, &system, &pages); err != nil {
		t.Fatalf("%s: %v", stat, err)
	}
	const tick = 10 * time.Millisecond // USER_HZ is 100 on every architecture that Linux has
	return Usage{time.Duration(user+system) * tick, pages * os.Getpagesize() / 1024}
}
