package ra

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"sofutobanku/internal/bucket"
	"sofutobanku/internal/counters"
)

// Timers of RFC 4861 10 and RFC 7559 2.
const (
	solicitMaxDelay  = time.Second     // MAX_RTR_SOLICITATION_DELAY
	solicitInterval  = 4 * time.Second // RTR_SOLICITATION_INTERVAL, IRT
	solicitCount     = 3               // MAX_RTR_SOLICITATIONS, without backoff
	solicitMaxPeriod = time.Hour       // MRT
)

// Changes may be told so many at once, and then one in each interval: every one makes
// work for the whole system, and whoever is on the link can cause it.
const (
	changeBurst    = 20
	changeInterval = time.Second
)

// errorPause is the time after which a failed read or send is tried again.
const errorPause = time.Second

// maxMessage is the longest message that is read, in bytes: an advertisement is
// never fragmented (RFC 6980), so the frame bounds it.
const maxMessage = 9216

// Config is what a Client is made with; each field may be left zero.
type Config struct {
	// Rand spreads the solicitations over time.
	Rand *rand.Rand
	// StrictRFC delays the first solicitation on a link by up to a second, as
	// RFC 4861 6.3.7 asks for.
	StrictRFC bool
	Counters  *counters.Set
	Log       *slog.Logger
	// Trace is told the notable moments: "router-solicitation" when one is
	// sent, "router-advertisement" when one answers it or says something new.
	Trace func(event, detail string)
	// OnChange is called by Run's goroutine, with everything that is known,
	// whenever any of it changes: something came, was prolonged by a second or
	// more, or ended; in a flood of changes once a second. It may call the Client's methods.
	OnChange func(Info)
}

// Conn receives and sends on one link. ReadRA may run beside the others.
type Conn interface {
	// ReadRA reads one ICMPv6 message into b; one that fills b may be longer.
	// hopLimit is -1 when it is not known. The error is net.ErrClosed after
	// Close.
	ReadRA(b []byte) (n int, from netip.Addr, hopLimit int, err error)
	// Solicit sends a router solicitation to all routers: from src with the
	// source link-layer address, or from the unspecified address without it
	// when src is not valid (RFC 4861 4.1).
	Solicit(src netip.Addr) error
	Close() error
}

// Client discovers the routers of a link. Make one with New.
type Client struct {
	cfg     Config
	packets chan packet
	wake    chan struct{} // something is in todo

	mu    sync.Mutex
	todo  []func() // for Run's goroutine, in order
	ended bool

	// The rest belongs to Run's goroutine.
	link      *link // nil while it is down
	readers   sync.WaitGroup
	source    netip.Addr
	linkMTU   int
	table     table
	published Info
	changes   bucket.Bucket
	publishAt time.Time // of a change that is held back, else zero
	hadRouter bool      // there was a default router at the last look

	soliciting bool
	sent       int           // since soliciting began
	period     time.Duration // between the last solicitation and the next
	nextSend   time.Time
	lastSent   time.Time
}

// link is one Conn and the life of its reader.
type link struct {
	conn Conn
	down chan struct{}
}

type packet struct {
	link     *link
	data     []byte
	from     netip.Addr
	hopLimit int
}

// New returns a Client that does nothing before Run.
func New(cfg Config) *Client {
	if cfg.Rand == nil {
		cfg.Rand = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Trace == nil {
		cfg.Trace = func(string, string) {}
	}
	if cfg.OnChange == nil {
		cfg.OnChange = func(Info) {}
	}
	return &Client{
		cfg: cfg, packets: make(chan packet), wake: make(chan struct{}, 1),
		changes: bucket.Bucket{Burst: changeBurst, Interval: changeInterval},
	}
}

// LinkUp tells that the link is there, and soliciting begins on conn, which the
// Client closes when the link goes down, comes up anew, or Run ends.
func (c *Client) LinkUp(conn Conn) {
	if !c.do(func() { c.linkUp(conn) }) {
		conn.Close()
	}
}

// LinkDown ends sending and receiving. What was learned ages on.
func (c *Client) LinkDown() { c.do(c.linkDown) }

// SetSource tells the link-local address to solicit from; it must be usable as
// a source now. An invalid one says that there is none. While no router has
// answered, a new source solicits at once.
func (c *Client) SetSource(ll netip.Addr) {
	c.do(func() {
		ll = ll.WithZone("")
		if ll == c.source {
			return
		}
		c.source = ll
		if ll.IsValid() && c.soliciting && c.sent > 0 {
			c.solicit(time.Now())
		}
	})
}

// SetLinkMTU tells the MTU of the link in bytes, 0 for unknown: an advertised
// one above it is not believed (RFC 4861 6.3.4).
func (c *Client) SetLinkMTU(mtu int) { c.do(func() { c.linkMTU = mtu }) }

// Solicit asks the routers again now, whatever is known of them.
func (c *Client) Solicit() { c.do(func() { c.solicit(time.Now()) }) }

// Forget drops all that was learned, and asks anew.
func (c *Client) Forget() {
	c.do(func() {
		c.table, c.hadRouter = nil, false
		c.solicit(time.Now())
	})
}

// do has f run by Run's goroutine; false tells that Run has ended. It never
// blocks, so that OnChange may call whatever calls it.
func (c *Client) do(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false
	}
	c.todo = append(c.todo, f)
	select {
	case c.wake <- struct{}{}:
	default:
	}
	return true
}

// Run is the client's work, until ctx ends; it then returns nil, and the Client
// cannot be used again. Call it once.
func (c *Client) Run(ctx context.Context) error {
	defer func() {
		c.mu.Lock()
		c.ended = true
		c.mu.Unlock()
		c.runTodo() // a Conn that was handed over is closed with the link
		c.linkDown()
		c.readers.Wait()
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.wake:
			c.runTodo()
		case p := <-c.packets:
			if p.link == c.link {
				c.receive(p, time.Now())
			}
		case <-timer.C:
		}
		now := time.Now()
		c.table.age(now)
		c.publish(c.table.info(now, c.linkMTU), now)
		c.work(now)
		timer.Stop()
		if next := c.deadline(now); !next.IsZero() {
			timer.Reset(next.Sub(now))
		}
	}
}

func (c *Client) runTodo() {
	c.mu.Lock()
	todo := c.todo
	c.todo = nil
	c.mu.Unlock()
	for _, f := range todo {
		f()
	}
}

func (c *Client) linkUp(conn Conn) {
	c.linkDown()
	l := &link{conn, make(chan struct{})}
	c.link = l
	c.readers.Go(func() { c.read(l) })
	var delay time.Duration
	if c.cfg.StrictRFC {
		delay = time.Duration(c.cfg.Rand.Int64N(int64(solicitMaxDelay)))
	}
	c.solicit(time.Now().Add(delay))
}

func (c *Client) linkDown() {
	if c.link == nil {
		return
	}
	close(c.link.down)
	if err := c.link.conn.Close(); err != nil {
		c.cfg.Log.Debug("closing the advertisement socket", "err", err)
	}
	c.link = nil
	c.soliciting = false
}

// read hands the messages of l to Run until l is down.
func (c *Client) read(l *link) {
	buf := make([]byte, maxMessage)
	for {
		n, from, hopLimit, err := l.conn.ReadRA(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			c.cfg.Counters.Add("ra.read.error")
			c.cfg.Log.Debug("reading router advertisements", "err", err)
			select {
			case <-l.down:
				return
			case <-time.After(errorPause):
			}
			continue
		}
		select {
		case <-l.down:
			return
		case c.packets <- packet{l, slices.Clone(buf[:n]), from.WithZone(""), hopLimit}:
		}
	}
}

// solicit begins to solicit at the moment first, unless the link is down.
func (c *Client) solicit(first time.Time) {
	c.soliciting = c.link != nil
	c.sent = 0
	c.period = solicitInterval
	c.nextSend = first
}

// work does what is due at now.
func (c *Client) work(now time.Time) {
	hasRouter := c.table.hasDefault(now)
	lost := c.hadRouter && !hasRouter
	c.hadRouter = hasRouter
	if c.link == nil {
		return
	}
	refresh := c.table.refresh(now)
	if lost || !c.soliciting && (!hasRouter || !refresh.IsZero() && !now.Before(refresh)) {
		// Nobody asked for this one, so whatever routers say does not make
		// it come in quick succession.
		first := c.lastSent.Add(solicitInterval)
		if first.Before(now) {
			first = now
		}
		c.solicit(first)
	}
	if !c.soliciting || now.Before(c.nextSend) {
		return
	}
	from := "::"
	if c.source.IsValid() {
		from = c.source.String()
	}
	if err := c.link.conn.Solicit(c.source); err != nil {
		c.cfg.Counters.Add("ra.send.error")
		c.cfg.Log.Debug("sending a router solicitation", "from", from, "err", err)
		c.nextSend = now.Add(errorPause)
		return
	}
	c.cfg.Counters.Add("ra.sent.solicitation")
	c.cfg.Trace("router-solicitation", "from "+from)
	c.sent++
	c.lastSent = now
	if c.sent >= solicitCount {
		// RFC 7559 2: RT = 2*RTprev + RAND*RTprev, and MRT + RAND*MRT above
		// it, RAND between -0.1 and 0.1.
		jitter := 0.2*c.cfg.Rand.Float64() - 0.1
		previous := c.period
		c.period = 2*previous + time.Duration(jitter*float64(previous))
		if c.period > solicitMaxPeriod {
			c.period = solicitMaxPeriod + time.Duration(jitter*float64(solicitMaxPeriod))
		}
	}
	c.nextSend = now.Add(c.period)
}

// deadline is when there is something to do next, the zero Time for never.
func (c *Client) deadline(now time.Time) time.Time {
	next := c.table.next(now)
	sooner := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	sooner(c.publishAt)
	switch {
	case c.soliciting:
		sooner(c.nextSend)
	case c.link != nil:
		sooner(c.table.refresh(now))
	}
	return next
}

// receive judges one message (RFC 4861 6.1.2) and takes it in.
func (c *Client) receive(p packet, now time.Time) {
	m, err := c.accept(p)
	isNew, isDefault := false, false
	if err == nil {
		c.table.age(now) // an expired router makes room for this one
		isNew, isDefault, err = c.table.hear(p.from, m, now, c.linkMTU, c.cfg.Counters.Add)
	}
	if err != nil {
		c.cfg.Counters.Add(err.Error())
		c.cfg.Log.Debug("router advertisement dropped", "from", p.from, "reason", err)
		return
	}
	c.cfg.Counters.Add("ra.received.advertisement")
	answer := c.soliciting && isDefault
	if answer {
		c.soliciting = false // RFC 4861 6.3.7
	}
	c.table.age(now)
	if isNew || answer || !sameShape(c.published, c.table.info(now, c.linkMTU)) {
		c.cfg.Trace("router-advertisement", m.describe(p.from))
	}
}

// accept makes the checks that need no memory of what came before. The error is
// a drop.
func (c *Client) accept(p packet) (message, error) {
	switch {
	case len(p.data) >= maxMessage:
		return message{}, dropTooLong
	case p.hopLimit != 255:
		return message{}, dropHopLimit
	case !p.from.Is6() || p.from.Is4In6() || !p.from.IsLinkLocalUnicast() || p.from == c.source:
		return message{}, dropSource
	}
	return decode(p.data, c.cfg.Counters.Add)
}

// publish tells info when it is not what was told last, and later when changes come
// in a flood.
func (c *Client) publish(info Info, now time.Time) {
	c.publishAt = time.Time{}
	if sameShape(c.published, info) && sameTimes(c.published, info) {
		return
	}
	if wait := c.changes.Take(now); wait > 0 {
		c.publishAt = now.Add(wait)
		return
	}
	c.published = info
	c.cfg.OnChange(info)
}

// describe is a message in a few words, for the user's timeline.
func (m message) describe(from netip.Addr) string {
	s := fmt.Sprintf("from %s, lifetime %d s", from, m.lifetime)
	if m.managed {
		s += ", managed"
	}
	if m.other {
		s += ", other"
	}
	if m.mtu != 0 {
		s += fmt.Sprintf(", MTU %d", m.mtu)
	}
	for _, p := range m.prefixes[:min(len(m.prefixes), 3)] {
		s += fmt.Sprintf(", prefix %s", p.prefix)
	}
	return s
}
