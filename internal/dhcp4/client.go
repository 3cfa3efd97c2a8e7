package dhcp4

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"sofutobanku/internal/bucket"
	"sofutobanku/internal/counters"
	"sofutobanku/internal/statefile"
)

// Socket is a client's socket on one link, a Conn but in tests.
type Socket interface {
	// Read blocks for the next message; net.ErrClosed after Close.
	Read(b []byte) (n int, from netip.AddrPort, err error)
	// Broadcast sends from no address to every server of the link.
	Broadcast(payload []byte) error
	// Unicast sends from an address of this machine to a server.
	Unicast(payload []byte, own, server netip.Addr) error
	// Check tells who else has an address, nil for nobody; see Conn. With an error the
	// address is taken.
	Check(ctx context.Context, ip netip.Addr, strict bool, random float64) (net.HardwareAddr, error)
	Close() error
}

// Config is fixed for a Client's life.
type Config struct {
	MAC   [6]byte // of the device, the client's identity
	Class []byte  // option 124, its data, nil for none
	List  []byte  // the codes of the options to ask for

	// StrictRFC takes every delay of RFC 2131 and RFC 5227.
	StrictRFC bool
	// LeaseFile keeps the address over restarts; empty means not kept.
	LeaseFile string

	Rand     *rand.Rand // nil: seeded by the system
	Counters *counters.Set
	Log      *slog.Logger // nil: discarded
	// Trace is told of the moments of an exchange, for a timeline; may be nil.
	Trace func(event, detail string)
	// OnEvent is told of each change, from Run's goroutine. It must not block.
	OnEvent func(Event)
}

// Event is the client's whole picture after a change. It is the receiver's to keep and
// not to change.
type Event struct {
	Lease *Lease // nil: none
	Err   *Error // what keeps the lease or its renewal, nil: nothing
}

// Lease is what a server granted.
type Lease struct {
	Address netip.Prefix // with the length of its mask, 32 when none was told
	Server  netip.Addr
	T1, T2,
	Until time.Time // the zero Time is never
	Routes []Route // by way of hosts in Address alone, see RFC 3442
	SIP    []netip.Addr
	Vendor []Vendor
}

// The codes of Error.
const (
	NoAnswer = "NoAnswer" // nothing usable came for three transmissions
	Refused  = "Refused"  // a server said no
	Conflict = "Conflict" // somebody else has the address that is offered
	Expired  = "Expired"  // the lease ended without having been renewed
)

// Error is what keeps the lease.
type Error struct{ Code, Text string }

func (e *Error) Error() string { return "dhcp4: " + e.Code + ": " + e.Text }

// Client is a DHCPv4 client. Its methods may be called from any goroutine, Run once; what
// is called before Run takes effect when it starts.
type Client struct {
	cfg     Config
	log     *slog.Logger
	rand    *rand.Rand
	packets chan packet
	wake    chan struct{}

	mu    sync.Mutex
	queue []func()
	ended bool

	// The rest belongs to Run's goroutine.
	ctx   context.Context
	link  *link
	lease *Lease
	// unverified: the link went away since the lease was granted.
	unverified bool
	known      netip.Addr // the address to ask for, invalid for none
	onDisk     netip.Addr // what the lease file has
	err        *Error
	ex         *exchange
	checking   context.CancelFunc // nil when no address is being checked
	checked    context.Context    // of that
	refused    int                // exchanges in a row that ended with a NAK or a conflict
	limiter    bucket.Bucket
}

// link is a socket and its reader.
type link struct {
	Socket
	done   chan struct{}
	reader sync.WaitGroup
}

type packet struct {
	link *link
	data []byte
	from netip.AddrPort
	at   time.Time
}

// New returns a client that does nothing until Run and LinkUp.
func New(cfg Config) *Client {
	c := &Client{
		limiter: bucket.Bucket{Burst: limiterBurst, Interval: limiterInterval},
		cfg:     cfg, log: cfg.Log, rand: cfg.Rand,
		packets: make(chan packet), wake: make(chan struct{}, 1),
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if c.rand == nil {
		var seed [32]byte
		crand.Read(seed[:])
		c.rand = rand.New(rand.NewChaCha8(seed))
	}
	return c
}

// LinkUp says that s's link works. A socket of before is closed, a lease of before is
// verified. The client closes s.
func (c *Client) LinkUp(s Socket) {
	if !c.do(func() { c.linkUp(s) }) {
		s.Close()
	}
}

// LinkDown stops sending and closes the socket; a lease ages on.
func (c *Client) LinkDown() { c.do(c.linkDown) }

// Renew asks again at once, whatever the client waits for.
func (c *Client) Renew() { c.do(func() { c.renewNow(time.Now()) }) }

// Restart forgets the lease, in the lease file too, and begins anew.
func (c *Client) Restart() {
	c.do(func() {
		c.stop()
		c.lease, c.err, c.refused = nil, nil, 0
		c.know(netip.Addr{})
		c.publish()
	})
}

// do lets Run's goroutine call f, and reports false when Run is over.
func (c *Client) do(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false
	}
	c.queue = append(c.queue, f)
	select {
	case c.wake <- struct{}{}:
	default:
	}
	return true
}

// Run is the client's work until ctx ends; it returns ctx's error.
func (c *Client) Run(ctx context.Context) error {
	c.ctx = ctx
	defer c.end()
	c.load()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.wake:
			c.mu.Lock()
			queue := c.queue
			c.queue = nil
			c.mu.Unlock()
			for _, f := range queue {
				f()
			}
		case p := <-c.packets:
			if p.link == c.link {
				c.receive(p)
			}
		case <-timer.C:
		}
		timer.Stop()
		if next := c.work(time.Now()); !next.IsZero() {
			timer.Reset(time.Until(next))
		}
	}
}

// end closes what is open and refuses further calls.
func (c *Client) end() {
	c.mu.Lock()
	c.ended = true
	queue := c.queue
	c.queue = nil
	c.mu.Unlock()
	// A socket that was handed over and never taken must be closed too.
	for _, f := range queue {
		f()
	}
	c.linkDown()
}

func (c *Client) linkUp(s Socket) {
	c.linkDown()
	l := &link{Socket: s, done: make(chan struct{})}
	c.link, c.refused = l, 0
	c.unverified = c.lease != nil
	l.reader.Go(func() { c.read(l) })
}

func (c *Client) linkDown() {
	c.stop()
	if c.link == nil {
		return
	}
	c.link.Close()
	close(c.link.done)
	c.link.reader.Wait()
	c.link = nil
}

// stop ends what is under way.
func (c *Client) stop() {
	c.ex = nil
	if c.checking != nil {
		c.checking()
		c.checking, c.checked = nil, nil
	}
}

// renewNow replaces what is under way by a fresh exchange.
func (c *Client) renewNow(now time.Time) {
	c.refused = 0
	switch {
	case c.link == nil || c.checking != nil || c.ex != nil && c.ex.kind == requesting:
		// Not possible, or an address is being given at this moment.
	case c.lease == nil || c.unverified:
		c.ex = nil
	case over(c.lease.T2, now):
		c.start(rebinding, now)
	default:
		c.start(renewing, now)
	}
}

// work brings about what the link, the lease and the time ask for, and returns when there
// is more to do, the zero Time for never.
func (c *Client) work(now time.Time) (next time.Time) {
	l := c.lease
	if l != nil && over(l.Until, now) {
		c.log.Warn("dhcp4: lease expired", "address", l.Address)
		c.count("dhcp4.lease.expired")
		c.trace("expired", l.Address.Addr().String())
		c.lose(&Error{Expired, fmt.Sprintf("the lease of %v ended, and nobody renewed it", l.Address.Addr())})
		l = nil
	}
	soonest := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	if l != nil {
		soonest(l.Until)
	}
	if c.link == nil || c.checking != nil {
		return next
	}
	c.advance(now)
	if c.ex != nil {
		soonest(c.ex.next)
		soonest(c.ex.end)
	}
	if l := c.lease; l != nil && !c.unverified {
		for _, t := range []time.Time{l.T1, l.T2} {
			if !over(t, now) {
				soonest(t)
			}
		}
	}
	return next
}

// advance starts, repeats or ends an exchange.
func (c *Client) advance(now time.Time) {
	l, bound := c.lease, c.lease != nil && !c.unverified
	if c.ex != nil && over(c.ex.end, now) {
		c.count("dhcp4.unanswered." + names[c.ex.kind])
		again := c.ex.kind == requesting || c.ex.kind == rebooting
		c.ex = nil
		if again {
			c.start(discovering, now)
		}
	}
	switch ex := c.ex; {
	case bound && over(l.T2, now) && (ex == nil || ex.kind == renewing):
		c.start(rebinding, now)
	case bound && over(l.T1, now) && ex == nil:
		c.start(renewing, now)
	case ex != nil || bound:
	case c.known.IsValid() && c.refused == 0:
		c.start(rebooting, now)
	default:
		c.start(discovering, now)
	}
	if c.ex != nil && !now.Before(c.ex.next) {
		c.transmit(now)
	}
}

// lose ends the lease, with why, and what was under way for it.
func (c *Client) lose(why *Error) {
	if c.ex != nil && (c.ex.kind == renewing || c.ex.kind == rebinding || c.ex.kind == rebooting) {
		c.ex = nil
	}
	c.lease, c.err = nil, why
	c.publish()
}

// report notes what keeps the lease, and publishes it when it is new.
func (c *Client) report(e *Error) {
	if c.err != nil && *c.err == *e {
		return
	}
	c.err = e
	c.publish()
}

func (c *Client) publish() {
	if c.cfg.OnEvent != nil {
		c.cfg.OnEvent(Event{Lease: c.lease, Err: c.err})
	}
}

// over tells whether t, the zero Time of which is never, has come.
func over(t, now time.Time) bool { return !t.IsZero() && !now.Before(t) }

func (c *Client) count(name string) { c.cfg.Counters.Add(name) }

func (c *Client) trace(event, detail string) {
	if c.cfg.Trace != nil {
		c.cfg.Trace("dhcp4-"+event, detail)
	}
}

// read hands messages over until the link is closed. Any other error is waited out: an
// interface that goes down and comes back reports one.
func (c *Client) read(l *link) {
	buf := make([]byte, maxMessage+1)
	for {
		n, from, err := l.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			c.count("dhcp4.read.error")
			c.log.Debug("dhcp4: read", "err", err)
			pause := time.NewTimer(time.Second)
			select {
			case <-pause.C:
			case <-l.done:
				pause.Stop()
				return
			}
			continue
		}
		select {
		case c.packets <- packet{link: l, data: slices.Clone(buf[:n]), from: from, at: time.Now()}:
		case <-l.done:
			return
		}
	}
}

// The lease file has the MAC address of the client and the address that it was given. The
// rest is told again with it, so that the file changes when the address does.
const maxFile = 256

// load reads the lease file. What is no lease file of ours is put aside.
func (c *Client) load() {
	if c.cfg.LeaseFile == "" || c.lease != nil || c.known.IsValid() {
		return
	}
	err := statefile.Load(c.cfg.LeaseFile, maxFile, func(b []byte) error {
		mac, ip, err := parseFile(b)
		if err == nil && mac == c.cfg.MAC {
			c.known, c.onDisk = ip, ip
		}
		return err
	}, c.log)
	if err == nil && c.known.IsValid() {
		c.log.Info("dhcp4: address read, to be asked for again", "address", c.known)
	}
}

func parseFile(b []byte) (mac [6]byte, ip netip.Addr, err error) {
	hw, address, ok := strings.Cut(strings.TrimSuffix(string(b), "\n"), " ")
	if !ok {
		return mac, ip, errors.New("not a MAC address and an IPv4 address")
	}
	parsed, err := net.ParseMAC(hw)
	if err != nil || len(parsed) != 6 {
		return mac, ip, fmt.Errorf("MAC address %q", hw)
	}
	if ip, err = netip.ParseAddr(address); err != nil || !ip.Is4() || !host(ip) {
		return mac, ip, fmt.Errorf("address %q", address)
	}
	return [6]byte(parsed), ip, nil
}

// know notes, on disk too, the address to ask for the next time; an invalid one is none.
func (c *Client) know(ip netip.Addr) {
	c.known = ip
	if c.cfg.LeaseFile == "" || c.onDisk == ip {
		return
	}
	var err error
	if ip.IsValid() {
		err = statefile.Write(c.cfg.LeaseFile, fmt.Appendf(nil, "%v %v\n", net.HardwareAddr(c.cfg.MAC[:]), ip), true)
	} else if err = os.Remove(c.cfg.LeaseFile); errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		c.count("dhcp4.lease-file.write-error")
		c.log.Warn("dhcp4: address not kept over a restart", "err", err)
		return
	}
	c.onDisk = ip
}
