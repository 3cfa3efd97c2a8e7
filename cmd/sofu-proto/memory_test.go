package main

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"sofutobanku/internal/status"
)

func TestAfterBursts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var mu sync.Mutex
		var done []time.Duration
		var passed []string
		event := afterBursts(func() {
			mu.Lock()
			defer mu.Unlock()
			done = append(done, time.Since(start))
		},
			func(e status.Event) { passed = append(passed, e.Name) })
		for _, e := range []struct {
			at   time.Duration
			name string
		}{{10 * time.Second, "link-up"}, {14 * time.Second, "advertise"}, {18 * time.Second, "reply"}, {time.Hour, "renew"}} {
			time.Sleep(e.at - time.Since(start))
			event(status.Event{Name: e.name})
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		// The first is for what a start costs.
		if diff := cmp.Diff([]time.Duration{quiet, 18*time.Second + quiet, time.Hour + quiet}, done); diff != "" {
			t.Errorf("called (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"link-up", "advertise", "reply", "renew"}, passed); diff != "" {
			t.Errorf("passed on (-want +got):\n%s", diff)
		}
	})
}
