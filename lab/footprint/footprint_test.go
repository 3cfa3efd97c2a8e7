//go:build lab

package main

import (
	"cmp"
	"testing"
	"time"

	"sofutobanku/lab/topo"
)

// TestFootprint holds the budgets of memory and of wake-ups, on a line that is idle
// for a shorter time than that of `make bench` and may wake up as often.
func TestFootprint(t *testing.T) {
	for _, s := range subjects(20*time.Second, 1) {
		t.Run(cmp.Or(s.emulator, "native"), func(t *testing.T) {
			table, over := measure(topo.New(t), s)
			t.Logf("\n%s", table)
			for _, what := range over {
				t.Error(what)
			}
		})
	}
}
