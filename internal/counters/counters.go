// Package counters counts what the daemon saw and dropped, by name.
//
// A name is "<package>.<what>.<why>", for example "ra.drop.hop-limit" or
// "dhcp6.sent.solicit", so that a reader of the status knows where to look.
package counters

import (
	"maps"
	"sync"
)

// maxNames bounds the set: a name is always a constant of the program, so more
// than this means that a name was built from a packet's content.
const maxNames = 512

// Set is a group of named counters. The zero value is ready, a nil *Set counts
// nothing, and all methods may be called from several goroutines.
type Set struct {
	mu sync.Mutex
	m  map[string]uint64
}

// Add counts one more of name.
func (s *Set) Add(name string) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m == nil {
		s.m = make(map[string]uint64)
	}
	if _, ok := s.m[name]; !ok && len(s.m) >= maxNames {
		name = "counters.overflow"
	}
	s.m[name]++
}

// Get returns how often name was counted.
func (s *Set) Get(name string) uint64 {
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.m[name]
}

// Snapshot returns a copy of all counters that are not zero.
func (s *Set) Snapshot() map[string]uint64 {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.m)
}
