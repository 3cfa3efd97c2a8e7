// Package bucket is the token bucket that RFC 8415 14.1 suggests against storms: so
// many at once, and then one in each interval.
package bucket

import "time"

// Bucket has Burst tokens, at least 1, when it is full, and gets one back in each
// Interval. It is full at first. It is not safe for concurrent use.
type Bucket struct {
	Burst    int
	Interval time.Duration

	full time.Time // when it is full again
}

// Take takes a token at now, which never goes back, and returns 0; or, from an empty
// bucket, how long there will be none.
func (b *Bucket) Take(now time.Time) (wait time.Duration) {
	full := b.full
	if full.Before(now) {
		full = now
	}
	if wait = full.Sub(now) - time.Duration(b.Burst-1)*b.Interval; wait > 0 {
		return wait
	}
	b.full = full.Add(b.Interval)
	return 0
}
