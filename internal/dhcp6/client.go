package dhcp6

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"sofutobanku/internal/bucket"
	"sofutobanku/internal/counters"
)

// Conn is a client's socket on one link.
type Conn interface {
	// ReadFrom blocks for the next message; net.ErrClosed after Close.
	ReadFrom(b []byte) (n int, from netip.AddrPort, err error)
	// WriteTo sends to an address on the link, without a zone.
	WriteTo(b []byte, to netip.AddrPort) error
	Close() error
}

// Mode is what the client is to get.
type Mode int

// The modes.
const (
	// ModeOff sends nothing. A lease that is held ages.
	ModeOff Mode = iota
	// ModePD gets a prefix, and information with it.
	ModePD
	// ModeInfo gets information alone (RFC 8415 18.2.6). A lease that was
	// confirmed on this link, or a prefix that is being requested, is kept as
	// in ModePD until it is lost.
	ModeInfo
)

// Config is fixed for a Client's life but for RequestOptions.
type Config struct {
	DUID       []byte // the client identifier, 1 to 130 octets
	IAID       uint32 // of the one IA_PD
	HintLength int    // the prefix length to ask for, 1 to 128, or 0 for none

	// ORO is the Option Request option of every message but Release. It is sent
	// exactly so: whoever wants SOL_MAX_RT (82), INF_MAX_RT (83) or the refresh
	// time (32) requested names them.
	ORO []dhcpv6.OptionCode
	// RequestOptions are added to Request, Renew, Rebind, Information-request.
	RequestOptions []dhcpv6.Option
	// SolicitOptions are added to Solicit.
	SolicitOptions []dhcpv6.Option

	// ReconfigureAccept tells servers that they may send Reconfigure, and
	// accepts those that are authentic by the key of a Reply (RKAP).
	ReconfigureAccept bool
	// AcceptUnauthReconfigure also accepts one without proof from the lease's
	// server while no key is known: it renews or rebinds, at most every 60 s.
	AcceptUnauthReconfigure bool
	// Release gives the lease back when Run's context ends.
	Release bool
	// StrictRFC delays the first message and waits for further Advertise
	// messages as RFC 8415 says, see the package comment.
	StrictRFC bool
	// VerifyTimeout is how long a lease that was known before the link came up
	// is asked for by Rebind before a Solicit goes out too. The lease is kept
	// meanwhile, in ModeInfo it is given up. 0 means 2.5 s, with StrictRFC
	// CNF_MAX_RD (10 s).
	VerifyTimeout time.Duration

	// LeaseFile keeps the lease over restarts; empty means not kept. It holds
	// the reconfigure key, so it is readable by its owner alone.
	LeaseFile string

	Rand     *rand.Rand // nil: seeded by the system
	Counters *counters.Set
	Log      *slog.Logger
	// Trace is told of the moments of an exchange, for a timeline.
	Trace func(event, detail string)
	// OnEvent is told of each change, from Run's goroutine. It must not block.
	OnEvent func(Event)
}

// Event is the client's whole picture after a change. It is the receiver's to
// keep.
type Event struct {
	Lease *Lease // nil: none
	Info  *Info  // nil: nothing was told
	Err   *Error // what keeps the lease (or its renewal, or the information), nil: nothing
}

// The codes of Error beside the names of RFC 8415's status codes, which are
// UnspecFail, NoBinding, NotOnLink, UseMulticast and NoPrefixAvail.
const (
	NoAnswer      = "NoAnswer"      // nothing usable came for three transmissions
	Expired       = "Expired"       // the lease ended without having been renewed
	NoPrefixAvail = "NoPrefixAvail" // the server has no prefix for this client
)

// Error is what a server said against, or that none said anything.
type Error struct {
	Code   string
	Text   string     // the server's own words, printable ASCII, may be empty
	Server netip.Addr // invalid when no server said it
}

func (e *Error) Error() string {
	s := "dhcp6: " + e.Code
	if e.Text != "" {
		s += ": " + e.Text
	}
	if e.Server.IsValid() {
		s += " (from " + e.Server.String() + ")"
	}
	return s
}

// Client is a DHCPv6 client. Its methods may be called from any goroutine, Run
// once; what is called before Run takes effect when it starts.
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
	conn    *link
	mode    Mode
	loaded  bool
	lease   *lease
	info    *Info
	err     *Error
	ex      *exchange
	limiter bucket.Bucket

	informAt time.Time // when information is asked for again; see informed
	informed bool      // false: at once
	refused  int       // Requests refused or unanswered in a row
	renew    bool      // renew once bound: the options changed meanwhile

	solMaxRT, infMaxRT time.Duration
	unauthAt           time.Time // the last accepted Reconfigure without proof

	onDisk *leaseFile // what the lease file holds, nil for nothing of ours
}

// link is a connection and its reader.
type link struct {
	Conn
	done   chan struct{}
	reader sync.WaitGroup
}

type packet struct {
	link *link
	data []byte
	from netip.AddrPort
	at   time.Time
}

// New returns a client that does nothing until Run, LinkUp and SetMode.
func New(cfg Config) *Client {
	c := &Client{
		limiter: bucket.Bucket{Burst: limiterBurst, Interval: limiterInterval},
		cfg:     cfg, log: cfg.Log, rand: cfg.Rand,
		packets: make(chan packet), wake: make(chan struct{}, 1),
		solMaxRT: solMaxRT, infMaxRT: infMaxRT,
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if c.rand == nil {
		var seed [32]byte
		crand.Read(seed[:])
		c.rand = rand.New(rand.NewChaCha8(seed))
	}
	if c.cfg.VerifyTimeout == 0 {
		c.cfg.VerifyTimeout = verifyTimeout
		if cfg.StrictRFC {
			c.cfg.VerifyTimeout = cnfMaxRD
		}
	}
	return c
}

// LinkUp says that conn's link works. A connection of before is closed, a lease
// of before is verified. The client closes conn.
func (c *Client) LinkUp(conn Conn) {
	if !c.do(func() { c.linkUp(conn) }) {
		conn.Close()
	}
}

// LinkDown stops sending and closes the connection; a lease ages on.
func (c *Client) LinkDown() { c.do(c.linkDown) }

// SetMode changes what the client is to get.
func (c *Client) SetMode(m Mode) { c.do(func() { c.setMode(m) }) }

// Renew asks again at once, whatever the client waits for: it renews or rebinds
// a lease, else it solicits or asks for information.
func (c *Client) Renew() { c.do(func() { c.renewNow(time.Now()) }) }

// Restart forgets the lease, in the lease file too, and begins anew.
func (c *Client) Restart() { c.do(c.restart) }

// SetRequestOptions replaces Config.RequestOptions; a change renews a lease.
func (c *Client) SetRequestOptions(o []dhcpv6.Option) {
	o = slices.Clone(o)
	c.do(func() { c.setRequestOptions(o) })
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

// Run is the client's work until ctx ends; it returns ctx's error, or at once
// one about an unusable Config.
func (c *Client) Run(ctx context.Context) error {
	defer c.end()
	if n := len(c.cfg.DUID); n < 1 || n > maxDUID {
		return fmt.Errorf("dhcp6: client identifier of %d octets, accepted: 1 to %d", n, maxDUID)
	}
	if h := c.cfg.HintLength; h < 0 || h > 128 {
		return fmt.Errorf("dhcp6: prefix length %d to ask for, accepted: 0 to 128", h)
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			c.finish()
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
			if p.link == c.conn {
				c.receive(p)
			}
		case <-timer.C:
		}
		timer.Stop()
		if d, ok := c.work(time.Now()); ok {
			timer.Reset(d)
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
	// A connection that was handed over and never taken must be closed too; the
	// other calls only note something.
	c.mode = ModeOff
	for _, f := range queue {
		f()
	}
	c.linkDown()
}

// finish is what is left to do when ctx ends.
func (c *Client) finish() {
	if c.cfg.Release && c.lease != nil {
		c.release()
		c.unsave()
		return
	}
	c.save(time.Now(), true)
}

func (c *Client) linkUp(conn Conn) {
	c.linkDown()
	l := &link{Conn: conn, done: make(chan struct{})}
	c.conn = l
	c.refused, c.informed = 0, false
	l.reader.Go(func() { c.read(l) })
	if c.lease != nil {
		c.lease.verified, c.lease.unanswered = false, false
		c.publish()
	}
}

func (c *Client) linkDown() {
	c.ex = nil
	if c.conn == nil {
		return
	}
	c.conn.Close()
	close(c.conn.done)
	c.conn.reader.Wait()
	c.conn = nil
}

func (c *Client) setMode(m Mode) {
	if c.mode == m {
		return
	}
	c.mode = m
	if m == ModePD && !c.loaded {
		c.loaded = true
		if c.lease == nil {
			if c.load(time.Now()); c.lease != nil {
				c.publish()
			}
		}
	}
	if m == ModeInfo && c.lease != nil && c.lease.unanswered {
		c.lose(silence(verify))
	}
	if c.ex == nil {
		return
	}
	// An exchange for a lease goes on in either mode; the others are replaced.
	switch c.ex.kind {
	case solicit:
		if m != ModePD {
			c.ex = nil
		}
	case inform:
		if m == ModePD && c.lease == nil {
			c.ex = nil
		}
	}
	if m == ModeOff {
		c.ex = nil
	}
}

func (c *Client) setRequestOptions(o []dhcpv6.Option) {
	if slices.EqualFunc(c.cfg.RequestOptions, o, func(a, b dhcpv6.Option) bool {
		return a.Code() == b.Code() && string(a.ToBytes()) == string(b.ToBytes())
	}) {
		return
	}
	c.cfg.RequestOptions = o
	switch {
	case c.ex != nil && c.ex.kind == request:
		c.renew = true
	case c.ex == nil || c.ex.kind != solicit:
		c.renewNow(time.Now())
	}
}

func (c *Client) restart() {
	c.unsave()
	c.lease, c.info, c.err, c.ex = nil, nil, nil, nil
	c.refused, c.informed, c.renew, c.loaded = 0, false, false, true
	c.publish()
}

// renewNow replaces what is under way by a fresh exchange of its kind.
func (c *Client) renewNow(now time.Time) {
	c.refused, c.informed = 0, false
	switch {
	case c.conn == nil || c.mode == ModeOff:
	case c.ex != nil && c.ex.kind == request:
		// A prefix is being given at this moment.
	case c.lease == nil || !c.lease.verified:
		c.ex = nil // work starts anew what is wanted
		if c.lease != nil {
			c.lease.unanswered = false
		}
	case over(c.lease.t2, now):
		c.start(rebind, now)
	default:
		c.start(renew, now)
	}
}

// work brings about what the mode, the link, the lease and the time ask for, and
// returns after how long there is more to do.
func (c *Client) work(now time.Time) (next time.Duration, ok bool) {
	c.age(now)
	if c.conn != nil && c.mode != ModeOff {
		c.advance(now)
	}
	at := time.Time{}
	soonest := func(t time.Time) {
		if t.After(now) {
			at = earlier(at, t)
		}
	}
	if c.lease != nil {
		soonest(c.lease.nextAge())
	}
	if c.conn != nil && c.mode != ModeOff {
		if c.lease != nil {
			soonest(c.lease.t1)
			soonest(c.lease.t2)
		}
		if c.ex != nil {
			soonest(c.ex.next)
			soonest(c.ex.end)
		} else if c.mode == ModeInfo {
			soonest(c.informAt)
		}
	}
	return at.Sub(now), !at.IsZero()
}

// advance starts, repeats or ends an exchange.
func (c *Client) advance(now time.Time) {
	l := c.lease
	if ex := c.ex; ex != nil {
		mrc := kinds[ex.kind].mrc
		if over(ex.end, now) || mrc > 0 && ex.sent >= mrc && !now.Before(ex.next) {
			c.unanswered()
			l = c.lease
		}
	}
	bound := l != nil && l.verified
	switch ex := c.ex; {
	// Time passes over an exchange.
	case bound && over(l.t2, now) && (ex == nil || ex.kind == renew || ex.kind == inform):
		c.start(rebind, now)
	case bound && over(l.t1, now) && (ex == nil || ex.kind == inform):
		c.start(renew, now)
	case ex != nil:
	case bound && c.renew:
		c.start(renew, now)
	case l != nil && !bound && !l.unanswered:
		c.start(verify, now)
	case bound:
	case c.mode == ModePD:
		c.start(solicit, now)
	case !c.informed || over(c.informAt, now):
		c.start(inform, now)
	}
	if c.ex != nil && !now.Before(c.ex.next) {
		c.transmit(now)
	}
}

// age lets lifetimes end.
func (c *Client) age(now time.Time) {
	if c.lease == nil || !c.lease.age(now) {
		return
	}
	if len(c.lease.bindings) > 0 {
		c.publish()
		return
	}
	c.log.Warn("dhcp6: lease expired")
	c.trace("expired", "")
	c.count("dhcp6.lease.expired")
	c.lose(&Error{Code: Expired})
}

// lose ends the lease, with why, and what was under way for it.
func (c *Client) lose(why *Error) {
	c.lease, c.renew, c.informed = nil, false, false
	c.unsave()
	if c.ex != nil && c.ex.kind != solicit && c.ex.kind != request {
		c.ex = nil
	}
	c.err = why
	c.publish()
}

// report notes what keeps the lease, and publishes it when it is new.
func (c *Client) report(e *Error) {
	if c.err == e || c.err != nil && e != nil && *c.err == *e {
		return
	}
	c.err = e
	c.publish()
}

func (c *Client) publish() {
	if c.cfg.OnEvent == nil {
		return
	}
	ev := Event{Lease: c.lease.public(), Info: c.info.clone()}
	if c.err != nil {
		e := *c.err
		ev.Err = &e
	}
	c.cfg.OnEvent(ev)
}

// statusError is s as an Error.
func statusError(s status, from netip.Addr) *Error {
	code := s.Code.String()
	if code == "Unknown" {
		code = fmt.Sprintf("Status%d", s.Code)
	}
	return &Error{Code: code, Text: s.Text, Server: from}
}

// worst is the status of a or, when that is Success, of the whole message.
func worst(m *message, a *ia) status {
	if a != nil && a.Status.Code != iana.StatusSuccess {
		return a.Status
	}
	return m.Status
}

func (c *Client) count(name string) { c.cfg.Counters.Add(name) }

func (c *Client) trace(event, detail string) {
	if c.cfg.Trace != nil {
		c.cfg.Trace(event, detail)
	}
}

// read hands messages over until the link is closed. Any other error is waited
// out: an interface that goes down and comes back reports one.
func (c *Client) read(l *link) {
	buf := make([]byte, maxMessage+1)
	for {
		n, from, err := l.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			c.count("dhcp6.read.error")
			c.log.Debug("dhcp6: read", "err", err)
			pause := time.NewTimer(time.Second)
			select {
			case <-pause.C:
			case <-l.done:
				pause.Stop()
				return
			}
			continue
		}
		p := packet{link: l, data: slices.Clone(buf[:n]), from: from, at: time.Now()}
		select {
		case c.packets <- p:
		case <-l.done:
			return
		}
	}
}
