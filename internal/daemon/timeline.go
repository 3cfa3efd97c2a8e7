package daemon

import (
	"slices"
	"sync"
	"time"

	"sofutobanku/internal/bucket"
	"sofutobanku/internal/counters"
	"sofutobanku/internal/status"
)

// maxEvents is how much of the past the status shows.
const maxEvents = 64

// Whoever is on the link decides how often some moments come, and each is a line of
// the log: so many of a name may follow each other, and later one in each interval.
const (
	eventBurst    = 20
	eventInterval = 10 * time.Second
)

// timeline is the line's recent moments, counted from the last link-up.
type timeline struct {
	onEvent  func(status.Event) // may be nil
	counters *counters.Set      // of what came too soon

	mu     sync.Mutex
	zero   time.Time
	events []status.Event
	limits map[string]*bucket.Bucket // by name
}

// start begins a new timeline at t and forgets the one before.
func (tl *timeline) start(t time.Time) {
	tl.mu.Lock()
	defer tl.mu.Unlock()
	tl.zero, tl.events = t, nil
}

// add records that name happened at t.
func (tl *timeline) add(t time.Time, name, detail string) {
	tl.mu.Lock()
	defer tl.mu.Unlock()
	if tl.zero.IsZero() {
		tl.zero = t
	}
	if tl.limits[name] == nil {
		if tl.limits == nil {
			tl.limits = map[string]*bucket.Bucket{}
		}
		tl.limits[name] = &bucket.Bucket{Burst: eventBurst, Interval: eventInterval}
	}
	if tl.limits[name].Take(t) > 0 {
		tl.counters.Add("timeline.suppressed")
		return
	}
	e := status.Event{MS: status.Milliseconds(t.Sub(tl.zero)), Name: name, Detail: detail}
	if len(tl.events) == maxEvents {
		tl.events = slices.Delete(tl.events, 0, 1)
	}
	tl.events = append(tl.events, e)
	if tl.onEvent != nil {
		tl.onEvent(e)
	}
}

func (tl *timeline) list() []status.Event {
	tl.mu.Lock()
	defer tl.mu.Unlock()
	return slices.Clone(tl.events)
}

// at is t in milliseconds as the events have it, 0 before the first.
func (tl *timeline) at(t time.Time) float64 {
	tl.mu.Lock()
	defer tl.mu.Unlock()
	if tl.zero.IsZero() {
		return 0
	}
	return status.Milliseconds(t.Sub(tl.zero))
}
