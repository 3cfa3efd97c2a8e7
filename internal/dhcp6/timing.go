package dhcp6

import (
	"math/rand/v2"
	"time"
)

// The transmission parameters of RFC 8415 7.6.
const (
	solMaxDelay = time.Second
	solTimeout  = time.Second
	solMaxRT    = 3600 * time.Second
	reqTimeout  = time.Second
	reqMaxRT    = 30 * time.Second
	reqMaxRC    = 10
	cnfTimeout  = time.Second
	cnfMaxRT    = 4 * time.Second
	cnfMaxRD    = 10 * time.Second
	renTimeout  = 10 * time.Second
	renMaxRT    = 600 * time.Second
	rebTimeout  = 10 * time.Second
	rebMaxRT    = 600 * time.Second
	infMaxDelay = time.Second
	infTimeout  = time.Second
	infMaxRT    = 3600 * time.Second
	relTimeout  = time.Second
)

// Information refresh time: IRT_DEFAULT and IRT_MINIMUM.
const (
	refreshDefault = 86400 * time.Second
	refreshMinimum = 600 * time.Second
)

// Ours, where the RFC leaves the number open.
const (
	// verifyTimeout is how long a known lease is asked for before a Solicit goes
	// out too; the RFC's CNF_MAX_RD would keep a router on a new line waiting.
	verifyTimeout = 2500 * time.Millisecond
	// releaseTimeout bounds the Release at the end of a daemon.
	releaseTimeout = 1500 * time.Millisecond
	// reconfigureInterval is the least time between two Reconfigure messages
	// without authentication.
	reconfigureInterval = 60 * time.Second
	// minRenew is the earliest T1 whatever the server says.
	minRenew = 5 * time.Second
	// silentAfter is the number of unanswered transmissions that is reported.
	silentAfter = 3
	// sendRetry is the wait after a first transmission that the system refused,
	// doubled for each further one.
	sendRetry = 100 * time.Millisecond
)

// timeout is the next retransmission timeout (RFC 8415 section 15) after prev,
// 0 before the first. maximum 0 means none. rand is RAND, -0.1 to 0.1.
func timeout(prev, initial, maximum time.Duration, rand float64) time.Duration {
	part := func(d time.Duration) time.Duration { return time.Duration(rand * float64(d)) }
	rt := initial + part(initial)
	if prev > 0 {
		rt = 2*prev + part(prev)
	}
	if maximum > 0 && rt > maximum {
		rt = maximum + part(maximum)
	}
	return rt
}

// Timeout is the next retransmission timeout (RFC 8415 15) after prev, 0 before the
// first; maximum 0 means none.
func Timeout(prev, initial, maximum time.Duration, r *rand.Rand) time.Duration {
	return timeout(prev, initial, maximum, jitter(r))
}

// jitter is RAND: uniform in -0.1 to 0.1.
func jitter(r *rand.Rand) float64 { return r.Float64()*0.2 - 0.1 }

// positiveJitter is RAND of a first Solicit: above 0, at most 0.1, so that the
// whole IRT is waited out (RFC 8415 18.2.1).
func positiveJitter(r *rand.Rand) float64 { return 0.1 * (1 - r.Float64()) }

// The bucket of RFC 8415 14.1 with its suggested size: 20 messages, refilled by one
// a second.
const (
	limiterBurst    = 20
	limiterInterval = time.Second
)
