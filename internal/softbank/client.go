package softbank

import (
	"context"
	"crypto/hmac"
	"crypto/md5"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"time"

	"layeh.com/radius"
	"layeh.com/radius/rfc2865"
	"layeh.com/radius/rfc2869"

	"sofutobanku/internal/counters"
)

// The retransmission timers of RFC 5080 2.2.1. The line answers in some
// milliseconds, so IRT starts lower than the RFC's 2 s.
const (
	irt = 1 * time.Second
	mrt = 16 * time.Second
	// The transmissions to one server: with others to go to, sooner.
	mrcAlone   = 5 // 31 s
	mrcSeveral = 3 // 7 s
	// mrd is the end of an Ask, which servers that were not asked yet share.
	mrd = 60 * time.Second
)

// maxReadErrors is how many errors of a socket between two transmissions are
// taken for notices of ICMP; more means that the socket is broken.
const maxReadErrors = 16

// headerLen is the length of a RADIUS packet without attributes.
const headerLen = 20

// Why a reply was dropped. Each is counted as radius.drop.<reason>.
const (
	reasonMalformed              = "malformed"                // a length that does not fit (RFC 2865 3, 5)
	reasonCode                   = "code"                     // no answer to an Access-Request
	reasonIdentifier             = "identifier"               // another request's
	reasonAuthenticator          = "authenticator"            // not signed with our shared secret, or not about our request
	reasonMessageAuthenticator   = "message-authenticator"    // wrong, or several
	reasonNoMessageAuthenticator = "no-message-authenticator" // missing, though required
	reasonProxyState             = "proxy-state"              // Proxy-State that was not asked for, as Blast-RADIUS needs it (CVE-2024-3596)
)

// Counters of an exchange beside the drops.
const (
	countRequest      = "radius.sent.access-request"
	countRetransmit   = "radius.sent.retransmission"
	countAccept       = "radius.received.access-accept"
	countReject       = "radius.received.access-reject"
	countChallenge    = "radius.received.access-challenge"
	countUnusable     = "radius.received.unusable-accept"
	countRefused      = "radius.error.refused" // ICMP: nothing listens there
	countSocket       = "radius.error.socket"  // any other error of a socket
	countDial         = "radius.error.dial"    // no socket could be had
	countDropsByCause = "radius.drop."
)

// ClientConfig is what a Client needs. Servers, both secrets, Dial and Rand are
// required.
type ClientConfig struct {
	Options

	// Dial returns a socket connected to server, with the address local and any
	// port. nil: Dial, the function of this package. The socket must obey its
	// read deadline and be closable while it is read.
	Dial func(ctx context.Context, local netip.Addr, server netip.AddrPort) (net.Conn, error)
	// Rand makes authenticators, challenges and jitter: it must be
	// cryptographically strong.
	Rand     *rand.Rand
	Counters *counters.Set
	Log      *slog.Logger
	// Within is how long an Ask may take at most, 0 for a minute.
	Within time.Duration
	// Trace is told the notable moments: access-request, access-accept,
	// access-reject, access-challenge.
	Trace func(event, detail string)
}

// Dial is a UDP socket from local to server.
func Dial(_ context.Context, local netip.Addr, server netip.AddrPort) (net.Conn, error) {
	// Not a net.Dialer, which would bring the resolver and TCP into the program.
	conn, err := net.DialUDP("udp6", net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, 0)), net.UDPAddrFromAddrPort(server))
	if err != nil {
		return nil, err // a nil *net.UDPConn is not a nil net.Conn
	}
	return conn, nil
}

// Client asks the authentication servers of one line.
type Client struct {
	cfg ClientConfig

	// busy holds one element while an Ask is under way, which guards the rest
	// and cfg.Rand. A channel, so that whoever waits for it can give up.
	busy chan struct{}
	// answered is the server that answered last, and will be asked first.
	answered netip.AddrPort
	// signs are the servers that sent a valid Message-Authenticator.
	signs map[netip.AddrPort]bool
}

// NewClient returns a Client.
func NewClient(cfg ClientConfig) *Client {
	if cfg.Dial == nil {
		cfg.Dial = Dial
	}
	if cfg.Within == 0 {
		cfg.Within = mrd
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Trace == nil {
		cfg.Trace = func(string, string) {}
	}
	return &Client{cfg: cfg, busy: make(chan struct{}, 1), signs: make(map[netip.AddrPort]bool)}
}

// Ask asks the servers in turn, the one that answered last first, until one
// answers. It takes at most a minute, or ClientConfig.Within. A second Ask waits for the first one to
// return.
//
// The error is a *RejectError or an *AnswerError, which a server has signed; or,
// when no server gave an answer that could be believed, a *BadAuthenticatorError
// or a *SilentError; or it wraps what made sockets impossible, or ctx's cause.
func (c *Client) Ask(ctx context.Context, req Request) (*Grant, error) {
	select {
	case c.busy <- struct{}{}:
		defer func() { <-c.busy }()
	case <-ctx.Done():
		return nil, fmt.Errorf("radius: stopped waiting to ask: %w", context.Cause(ctx))
	}
	if len(c.cfg.Servers) == 0 || c.cfg.SharedSecret.Reveal() == "" || c.cfg.Password.Reveal() == "" {
		return nil, errors.New("radius: options 'auth_server', 'shared_secret' and 'password' are needed")
	}
	local := c.cfg.Source(req.Prefix)
	if !local.IsValid() {
		return nil, fmt.Errorf("radius: prefix %s: an IPv6 prefix of at most 64 bits is needed", req.Prefix)
	}

	var failed failure
	servers := c.order()
	end := time.Now().Add(c.cfg.Within)
	for i, server := range servers {
		x := exchange{
			Client:  c,
			server:  server,
			local:   local,
			failed:  &failed,
			end:     time.Now().Add(time.Until(end) / time.Duration(len(servers)-i)),
			mrc:     mrcSeveral,
			hasNext: i+1 < len(servers),
		}
		if len(servers) == 1 {
			x.mrc = mrcAlone
		}
		reply, rtt, err := x.run(ctx, req)
		switch {
		case ctx.Err() != nil && reply == nil:
			return nil, fmt.Errorf("radius: stopped asking %s: %w", server, context.Cause(ctx))
		case err != nil:
			return nil, err
		case reply != nil:
			c.answered = server
			return c.conclude(reply, server, rtt)
		}
	}
	return nil, failed.err(servers)
}

// order returns the servers as they are to be asked.
func (c *Client) order() []netip.AddrPort {
	servers := slices.Clone(c.cfg.Servers[:min(len(c.cfg.Servers), MaxServers)])
	if i := slices.Index(servers, c.answered); i > 0 {
		servers = slices.Concat(servers[i:], servers[:i])
	}
	return servers
}

// conclude makes a Grant or an error of an authentic answer.
func (c *Client) conclude(reply *radius.Packet, server netip.AddrPort, rtt time.Duration) (*Grant, error) {
	switch reply.Code {
	case radius.CodeAccessReject:
		err := &RejectError{Server: server, Message: message(reply.Attributes, collect(reply.Attributes, c.cfg.Counters.Add))}
		c.cfg.Counters.Add(countReject)
		c.cfg.Trace("access-reject", fmt.Sprintf("from %s %q", server, err.Message))
		return nil, err
	case radius.CodeAccessChallenge:
		c.cfg.Counters.Add(countChallenge)
		c.cfg.Trace("access-challenge", "from "+server.String())
		return nil, &AnswerError{server, "wants a further exchange (Access-Challenge), which no SoftBank line is known to do: check option 'auth_server'"}
	}
	c.cfg.Counters.Add(countAccept)
	g, err := parseAccept(reply.Attributes, c.cfg.Counters.Add)
	if err != nil {
		c.cfg.Counters.Add(countUnusable)
		c.cfg.Trace("access-accept", fmt.Sprintf("from %s: unusable", server))
		return nil, &AnswerError{server, err.Error()}
	}
	g.Server, g.RTT = server, rtt
	c.cfg.Trace("access-accept", fmt.Sprintf("from %s: %s, BR %s", server, g.IPv4, g.BR))
	return g, nil
}

// failure gathers why no server could be believed.
type failure struct {
	asked, badAuthenticator []netip.AddrPort
	drops                   []string
	refused                 bool
	dial                    error
}

func (f *failure) err(servers []netip.AddrPort) error {
	slices.Sort(f.drops)
	switch {
	case len(f.badAuthenticator) > 0:
		return &BadAuthenticatorError{f.badAuthenticator}
	case len(f.asked) == 0 && f.dial != nil:
		return f.dial
	}
	return &SilentError{Servers: servers, Drops: f.drops, Refused: f.refused}
}

// exchange is the asking of one server: one request, sent several times.
type exchange struct {
	*Client
	server  netip.AddrPort
	local   netip.Addr
	failed  *failure
	end     time.Time // of the exchange
	mrc     int
	hasNext bool // there is another server to go to

	secret  []byte
	request []byte
	sent    time.Time // when the request went out last
	refused bool      // since then the server's host said that nobody listens
	errs    int       // of the socket since then
}

// run sends the request until an authentic answer comes, which it returns, or
// it is time to go to the next server, where it returns nil. An error means that
// there is no point in asking anybody.
func (x *exchange) run(ctx context.Context, req Request) (*radius.Packet, time.Duration, error) {
	var err error
	x.secret = []byte(x.cfg.SharedSecret.Reveal())
	if x.request, err = x.cfg.encode(req, x.nonce()); err != nil {
		return nil, 0, err
	}
	conn, err := x.cfg.Dial(ctx, x.local, x.server)
	if err != nil {
		x.cfg.Counters.Add(countDial)
		x.failed.dial = fmt.Errorf("radius: no socket from %s to %s: %w", x.local, x.server, err)
		if errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.EACCES) {
			x.failed.dial = fmt.Errorf("radius: no route to %s: with option 'defaultroute' 0, or 'ip6table', it needs one of its own (config route6): %w", x.server, err)
		}
		return nil, 0, nil
	}
	defer conn.Close()
	// A read returns when its socket is closed.
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()

	x.failed.asked = append(x.failed.asked, x.server)
	rt := x.jitter(irt)
	for n := 1; ; n++ {
		x.send(conn, n)
		until := x.sent.Add(rt)
		if until.After(x.end) {
			until = x.end
		}
		reply := x.receive(ctx, conn, until)
		if reply != nil {
			return reply, time.Since(x.sent), nil
		}
		if ctx.Err() != nil || n == x.mrc || !time.Now().Before(x.end) || x.refused && x.hasNext {
			return nil, 0, nil
		}
		if rt = 2*rt + x.jitter(rt) - rt; rt > mrt {
			rt = x.jitter(mrt)
		}
	}
}

// jitter returns d + RAND*d with RAND from -0.1 to 0.1 (RFC 5080 2.2.1).
func (c *Client) jitter(d time.Duration) time.Duration {
	return d + time.Duration((c.cfg.Rand.Float64()-0.5)/5*float64(d))
}

func (c *Client) nonce() (n nonce) {
	fill := func(b []byte) {
		for ; len(b) > 0; b = b[8:] {
			binary.BigEndian.PutUint64(b, c.cfg.Rand.Uint64())
		}
	}
	fill(n.authenticator[:])
	fill(n.challenge[:])
	n.identifier = byte(c.cfg.Rand.Uint64() >> 56)
	return n
}

// send sends the request for the n-th time.
func (x *exchange) send(conn net.Conn, n int) {
	x.refused, x.errs = false, 0
	detail := fmt.Sprintf("to %s from %s", x.server, x.local)
	x.cfg.Counters.Add(countRequest)
	if n > 1 {
		detail += fmt.Sprintf(", transmission %d", n)
		x.cfg.Counters.Add(countRetransmit)
	}
	x.cfg.Trace("access-request", detail)
	x.sent = time.Now()
	if _, err := conn.Write(x.request); err != nil {
		// It may be an ICMP notice of before, and then nothing was sent.
		x.socketError(err)
		if _, err = conn.Write(x.request); err != nil {
			x.socketError(err)
		}
	}
}

// receive waits for an authentic answer, nil when none comes until then.
func (x *exchange) receive(ctx context.Context, conn net.Conn, until time.Time) *radius.Packet {
	// RFC 2865 3: what follows 4096 bytes cannot belong to the packet.
	buf := make([]byte, radius.MaxPacketLength)
	if err := conn.SetReadDeadline(until); err != nil {
		x.socketError(err)
	}
	for {
		n, err := conn.Read(buf)
		switch {
		case err == nil:
		case ctx.Err() != nil, errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		default:
			// Neither an ICMP notice, which anybody can send, nor a passing
			// failure of the network keeps a good answer from being read.
			if x.socketError(err); x.errs > maxReadErrors {
				select {
				case <-ctx.Done():
				case <-time.After(time.Until(until)):
				}
				return nil
			}
			continue
		}
		reply, reason := x.check(buf[:n])
		if reply != nil {
			return reply
		}
		x.drop(reason)
	}
}

func (x *exchange) socketError(err error) {
	x.errs++
	if errors.Is(err, syscall.ECONNREFUSED) {
		x.refused, x.failed.refused = true, true
		x.cfg.Counters.Add(countRefused)
	} else {
		x.cfg.Counters.Add(countSocket)
	}
	x.cfg.Log.Debug("radius: socket", "server", x.server, "err", err)
}

func (x *exchange) drop(reason string) {
	x.cfg.Counters.Add(countDropsByCause + reason)
	x.cfg.Log.Debug("radius: reply dropped", "server", x.server, "reason", reason)
	if reason == reasonAuthenticator {
		if !slices.Contains(x.failed.badAuthenticator, x.server) {
			x.failed.badAuthenticator = append(x.failed.badAuthenticator, x.server)
		}
	}
	if !slices.Contains(x.failed.drops, reason) {
		x.failed.drops = append(x.failed.drops, reason)
	}
}

// check returns the packet in b if it is an authentic answer to the request,
// or why it is none.
func (x *exchange) check(b []byte) (*radius.Packet, string) {
	if len(b) < headerLen {
		return nil, reasonMalformed
	}
	length := int(binary.BigEndian.Uint16(b[2:]))
	if length < headerLen || length > len(b) {
		return nil, reasonMalformed
	}
	b = b[:length] // the rest is padding (RFC 2865 3)
	switch radius.Code(b[0]) {
	case radius.CodeAccessAccept, radius.CodeAccessReject, radius.CodeAccessChallenge:
	default:
		return nil, reasonCode
	}
	if b[1] != x.request[1] {
		return nil, reasonIdentifier
	}
	if !radius.IsAuthenticResponse(b, x.request, x.secret) {
		return nil, reasonAuthenticator
	}
	p, err := radius.Parse(b, nil)
	if err != nil {
		return nil, reasonMalformed
	}
	switch signed, valid := x.messageAuthenticator(b); {
	case !valid:
		return nil, reasonMessageAuthenticator
	case signed:
		x.signs[x.server] = true
	case x.cfg.RequireMessageAuthenticator || x.signs[x.server]:
		return nil, reasonNoMessageAuthenticator
	default:
		if _, found := p.Lookup(rfc2865.ProxyState_Type); found {
			return nil, reasonProxyState
		}
	}
	return p, ""
}

// messageAuthenticator tells whether the reply b, whose attributes parse, has a
// Message-Authenticator, and if so whether it has one valid one (RFC 3579 3.2).
func (x *exchange) messageAuthenticator(b []byte) (signed, valid bool) {
	signedAt := 0
	for at := headerLen; at < len(b); at += int(b[at+1]) {
		if radius.Type(b[at]) != rfc2869.MessageAuthenticator_Type {
			continue
		}
		if signedAt != 0 || int(b[at+1]) != 2+md5.Size {
			return true, false
		}
		signedAt = at + 2
	}
	if signedAt == 0 {
		return false, true
	}
	// It is computed over the reply with the request's authenticator, and
	// itself zero.
	mac := hmac.New(md5.New, x.secret)
	mac.Write(b[:4])
	mac.Write(x.request[4:headerLen])
	mac.Write(b[headerLen:signedAt])
	mac.Write(make([]byte, md5.Size))
	mac.Write(b[signedAt+md5.Size:])
	return true, hmac.Equal(mac.Sum(nil), b[signedAt:signedAt+md5.Size])
}
