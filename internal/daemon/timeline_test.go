package daemon

import (
	"testing"
	"time"

	"sofutobanku/internal/counters"
	"sofutobanku/internal/status"
)

// A flood of one kind of moments neither fills the log nor hides the other kinds.
func TestFloodOfEvents(t *testing.T) {
	said := map[string]int{}
	var counted counters.Set
	tl := timeline{onEvent: func(e status.Event) { said[e.Name]++ }, counters: &counted}
	start := time.Now()
	if ms := tl.at(start); ms != 0 {
		t.Errorf("%v ms since nothing happened", ms)
	}
	for i := range 10_000 {
		tl.add(start.Add(time.Duration(i)*10*time.Millisecond), "router-advertisement", "")
	}
	// A burst, and one in each interval that has passed since.
	n, suppressed := said["router-advertisement"], counted.Get("timeline.suppressed")
	if n != eventBurst+10-1 || suppressed != uint64(10_000-n) {
		t.Errorf("%d said, %d suppressed", n, suppressed)
	}
	tl.add(start, "link-down", "")
	if said["link-down"] != 1 {
		t.Error("another kind was suppressed")
	}
	for range 100 {
		tl.add(start.Add(time.Hour), "router-advertisement", "")
	}
	if ms := tl.at(start.Add(time.Hour)); ms != 3_600_000 {
		t.Errorf("%v ms after an hour", ms)
	}
	if n := said["router-advertisement"]; n != 2*eventBurst+10-1 {
		t.Errorf("%d said after an hour's rest", n)
	}
}
