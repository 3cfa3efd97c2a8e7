package counters

import (
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSet(t *testing.T) {
	var s Set
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				s.Add("ra.drop.hop-limit")
			}
		})
	}
	wg.Wait()
	s.Add("dhcp6.sent.solicit")
	want := map[string]uint64{"ra.drop.hop-limit": 800, "dhcp6.sent.solicit": 1}
	if diff := cmp.Diff(want, s.Snapshot()); diff != "" {
		t.Errorf("snapshot (-want +got):\n%s", diff)
	}
	if got := s.Get("ra.drop.hop-limit"); got != 800 {
		t.Errorf("Get = %d, want 800", got)
	}
}

func TestNilSetCountsNothing(t *testing.T) {
	var s *Set
	s.Add("x")
	if s.Get("x") != 0 || s.Snapshot() != nil {
		t.Error("a nil set counted")
	}
}

func TestSetIsBounded(t *testing.T) {
	var s Set
	for i := range 2 * maxNames {
		s.Add(fmt.Sprint("name-", i))
	}
	if n := len(s.Snapshot()); n > maxNames+1 {
		t.Errorf("%d names kept, want at most %d", n, maxNames+1)
	}
}
