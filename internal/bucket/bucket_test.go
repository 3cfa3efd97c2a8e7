package bucket

import (
	"testing"
	"time"
)

func TestTake(t *testing.T) {
	b := Bucket{Burst: 20, Interval: time.Second}
	now := time.Now()
	for range 2 {
		for i := range 20 {
			if wait := b.Take(now); wait != 0 {
				t.Fatalf("token %d comes in %v", i, wait)
			}
		}
		if wait := b.Take(now.Add(300 * time.Millisecond)); wait != 700*time.Millisecond {
			t.Errorf("after the last, the next comes in %v, want 700ms", wait)
		}
		if wait := b.Take(now.Add(time.Second)); wait != 0 {
			t.Errorf("after a second the next comes in %v", wait)
		}
		now = now.Add(time.Minute) // full again
	}
	taken := 0
	for i := range 1000 {
		if b.Take(now.Add(time.Duration(i)*100*time.Millisecond)) == 0 {
			taken++
		}
	}
	if taken != 20+99 {
		t.Errorf("%d in 100 s, want a full bucket and one for each second after the first", taken)
	}
}
