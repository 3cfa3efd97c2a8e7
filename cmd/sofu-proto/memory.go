package main

import (
	"time"

	"sofutobanku/internal/status"
)

// quiet is how long nothing must have happened to the line for a burst of work to be
// over.
const quiet = 5 * time.Second

// afterBursts returns an OnEvent that passes events on to next, which may be nil, and
// calls do whenever a burst of them is over.
func afterBursts(do func(), next func(status.Event)) func(status.Event) {
	over := time.AfterFunc(quiet, do)
	return func(e status.Event) {
		over.Reset(quiet)
		if next != nil {
			next(e)
		}
	}
}
