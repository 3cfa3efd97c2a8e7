package hgw

import (
	crand "crypto/rand"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"sofutobanku/internal/bucket"
	"sofutobanku/internal/counters"
	"sofutobanku/internal/dhcp6"
)

// Config is fixed for a Server's life.
type Config struct {
	// Terminal reads the MAC address of a telephone terminal in the data of a vendor
	// class option (RFC 8415 21.16), the enterprise number first. It may be nil.
	Terminal func(vendorClass []byte) (net.HardwareAddr, error)

	// LeaseFile keeps the binding over restarts; empty means not kept. It holds the
	// reconfigure key, so it is readable by its owner alone.
	LeaseFile string

	Rand     *rand.Rand // nil: seeded by the system
	Counters *counters.Set
	Log      *slog.Logger
	// OnEvent is told of each change, from Run's goroutine. It must not block.
	OnEvent func(Event)
}

// Upstream is what the line gave the router. Times are the end of something; the zero
// Time is never.
type Upstream struct {
	Prefix dhcp6.Prefix // Prefix.Prefix is invalid without one
	Info   *dhcp6.Info  // nil: nothing was told

	Router      bool      // there is a default router
	RouterUntil time.Time // the end of the last one
	// What the router advertises beside that, 0 for what it does not: 64, 1500 bytes,
	// 300 s and 10 s are told the HGW then.
	HopLimit, MTU      int
	Reachable, Retrans time.Duration
}

// Event is the whole picture after a change. It is the receiver's to keep.
type Event struct {
	// MAC is the HGW's, nil before it is known: by its vendor class, else by its DUID,
	// else by its link-local address.
	MAC net.HardwareAddr
	// LinkLocal is the HGW's address, without a zone; the way to all of Prefixes. It
	// is invalid before the HGW was bound.
	LinkLocal netip.Addr
	// Prefixes are the HGW's: a /60, a /64 or an address as a /128, in this order.
	Prefixes []Binding
	// LastSeen is when the last message came that could be the HGW's, zero for never.
	// It alone is reason for an Event too.
	LastSeen time.Time
}

// Binding is one prefix that the HGW holds.
type Binding struct {
	Prefix netip.Prefix
	Until  time.Time // zero: never
}

// Delegation is what of a line's prefix is the HGW's: the last /60, and the /64 right
// before that. ok is false when there is no room for both, in a /60 or a smaller one.
func Delegation(line netip.Prefix) (delegated, link netip.Prefix, ok bool) {
	const bits = 60
	if !line.IsValid() || !line.Addr().Is6() || line.Bits() >= bits {
		return netip.Prefix{}, netip.Prefix{}, false
	}
	a := line.Masked().Addr().As16()
	for i := line.Bits(); i < bits; i++ {
		a[i/8] |= 0x80 >> (i % 8)
	}
	delegated = netip.PrefixFrom(netip.AddrFrom16(a), bits)
	a[7]-- // of a last /60 in a /59 at least it is no less than 0x10
	return delegated, netip.PrefixFrom(netip.AddrFrom16(a), 64), true
}

// Server serves one HGW. Its methods may be called from any goroutine, Run once; what
// is called before Run takes effect when it starts.
type Server struct {
	cfg     Config
	log     *slog.Logger
	rand    *rand.Rand
	packets chan packet
	wake    chan struct{}

	mu    sync.Mutex
	queue []func()
	ended bool

	// The rest belongs to Run's goroutine.
	began       time.Time // moment 0
	clock       time.Time // when the present piece of work began
	now         moment    // the same
	link        *link
	up          upstream
	limiter     bucket.Bucket
	adverts     adverts
	client      client
	reconfigure reconfigure

	published Event
	dirty     bool       // the lease file may be out of date
	writable  moment     // when it may be written next
	onDisk    *leaseFile // what the lease file holds, nil for nothing of ours
}

// moment is a time since Run began. Upstream's times become moments when they come.
type moment time.Duration

const never = moment(math.MaxInt64)

// moment is t, of which the zero Time is never.
func (s *Server) moment(t time.Time) moment {
	if t.IsZero() {
		return never
	}
	return moment(t.Sub(s.began))
}

// time is the reverse.
func (s *Server) time(m moment) time.Time {
	if m == never {
		return time.Time{}
	}
	return s.began.Add(time.Duration(m))
}

// tick says that a piece of work begins.
func (s *Server) tick() {
	s.clock = time.Now()
	s.now = s.moment(s.clock)
}

// New returns a server that does nothing until Run, LinkUp and SetUpstream.
func New(cfg Config) *Server {
	s := &Server{
		cfg: cfg, log: cfg.Log, rand: cfg.Rand,
		packets: make(chan packet), wake: make(chan struct{}, 1),
		limiter: bucket.Bucket{Burst: limiterBurst, Interval: limiterInterval},
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.rand == nil {
		var seed [32]byte
		crand.Read(seed[:])
		s.rand = rand.New(rand.NewChaCha8(seed))
	}
	return s
}
