package dhcp4

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// kind is the kind of an exchange, named as RFC 2131 figure 5 names the states.
type kind int

const (
	discovering kind = iota
	requesting
	rebooting
	renewing
	rebinding
)

// names are those of the counters and the timeline.
var names = [...]string{"discover", "request", "reboot", "renew", "rebind"}

// Times of RFC 2131 4.1, 4.4.1, 4.4.5 and 3.1.
const (
	firstTimeout  = 4 * time.Second
	lastTimeout   = 64 * time.Second // with StrictRFC
	jitter        = time.Second      // to either side
	requestFor    = 60 * time.Second // a Request for what was offered
	leastRetry    = 60 * time.Second // of a renewal
	declinePause  = 10 * time.Second
	startDelayMin = time.Second
	startDelayMax = 10 * time.Second
)

// Ours, where the RFC leaves the number open.
const (
	// rebootFor is how long a known address is asked for before anybody's is.
	rebootFor    = 2500 * time.Millisecond
	rebootRepeat = time.Second
	silentAfter  = 3 // unanswered transmissions that are reported
	minLease     = 60
	minRenew     = 5 * time.Second
	sendRetry    = 500 * time.Millisecond // after the system refused to send
	// slowTimeout is lastTimeout where nobody may be there at all.
	slowTimeout = 8 * lastTimeout

	limiterBurst    = 20
	limiterInterval = time.Second
)

const forever = 1<<32 - 1

// exchange is one message and its answer.
type exchange struct {
	kind   kind
	xid    uint32
	own    netip.Addr // the address that is asked for, invalid for any
	server netip.Addr // whom it is for, invalid for all

	began time.Time
	sent  int
	pause time.Duration
	next  time.Time // when to transmit next
	end   time.Time // when nobody answered, zero for none
}

// start begins an exchange of kind k in place of the present one.
func (c *Client) start(k kind, now time.Time) {
	ex := &exchange{kind: k, xid: c.rand.Uint32(), own: c.known, next: now}
	switch k {
	case discovering:
		if c.refused > 0 {
			// A server that offers and then refuses must not be asked in a circle.
			ex.next = now.Add(declinePause<<min(c.refused-1, 6) + jitter + c.fuzz())
		} else if c.cfg.StrictRFC {
			ex.next = now.Add(startDelayMin + time.Duration(c.rand.Float64()*float64(startDelayMax-startDelayMin)))
		}
	case requesting:
		ex.end = now.Add(requestFor)
	case rebooting:
		ex.end = now.Add(rebootFor)
	case renewing:
		ex.server, ex.end = c.lease.Server, c.lease.T2
	case rebinding:
		ex.end = c.lease.Until
	}
	c.ex = ex
}

// fuzz is uniform in -1 s to 1 s.
func (c *Client) fuzz() time.Duration {
	return time.Duration((2*c.rand.Float64() - 1) * float64(jitter))
}

// transmit sends the exchange's message once more and sets when the next is due.
func (c *Client) transmit(now time.Time) {
	ex := c.ex
	if ex.sent == 0 {
		ex.began = now
	}
	if err := c.send(now); err != nil && ex.sent == 0 && ex.pause < firstTimeout {
		ex.pause = max(sendRetry, 2*ex.pause)
		ex.next = now.Add(ex.pause)
		return
	}
	if ex.sent == 0 {
		ex.pause = 0
	}
	ex.sent++
	switch ex.kind {
	case renewing, rebinding:
		// Half of what is left, and no end where the lease has none.
		wait := leastRetry
		if !ex.end.IsZero() {
			wait = max(wait, ex.end.Sub(now)/2)
		}
		ex.next = now.Add(wait)
	case rebooting:
		ex.next = now.Add(rebootRepeat)
	default:
		most := slowTimeout
		if c.cfg.StrictRFC {
			most = lastTimeout
		}
		ex.pause = min(max(firstTimeout, 2*ex.pause), most)
		ex.next = now.Add(ex.pause + c.fuzz())
	}
	if ex.sent > silentAfter && (c.err == nil || c.err.Code == Expired) {
		c.report(&Error{NoAnswer, fmt.Sprintf("no usable answer to %d messages (%s)", ex.sent-1, names[ex.kind])})
	}
}

// send sends the exchange's message.
func (c *Client) send(now time.Time) error {
	ex := c.ex
	if c.limiter.Take(now) > 0 {
		c.count("dhcp4.sent.limited")
		return nil
	}
	q := question{Type: request, XID: ex.xid, Elapsed: uint16(min(now.Sub(ex.began)/time.Second, 0xffff))}
	// RFC 2131 table 5.
	switch ex.kind {
	case discovering:
		q.Type, q.Requested = discover, ex.own
	case requesting:
		q.Requested, q.Server = ex.own, ex.server
	case rebooting:
		q.Requested = ex.own
	default:
		q.Own = ex.own
	}
	b := q.encode(c.cfg.MAC, c.cfg.Class, c.cfg.List)
	var err error
	sent := false
	if ex.kind == renewing {
		// The kernel may have lost the address; a server takes a broadcast too.
		if err = c.link.Unicast(b, ex.own, ex.server); err == nil {
			sent = true
		} else {
			c.count("dhcp4.send.unicast-error")
			c.log.Debug("dhcp4: unicast", "err", err)
		}
	}
	if !sent {
		err = c.link.Broadcast(b)
	}
	if err != nil {
		c.count("dhcp4.send.error")
		c.log.Debug("dhcp4: send", "message", names[ex.kind], "err", err)
		return err
	}
	c.count("dhcp4.sent." + names[ex.kind])
	// On a line without telephones they would follow for ever.
	switch {
	case ex.sent == 0:
		c.trace(names[ex.kind], "")
	case ex.sent <= silentAfter:
		c.trace(names[ex.kind], fmt.Sprintf("retransmission %d", ex.sent))
	}
	return nil
}

// receive takes a message from the network.
func (c *Client) receive(p packet) {
	if why := c.take(p); why != "" {
		c.count("dhcp4.drop." + why)
		c.log.Debug("dhcp4: message dropped", "from", p.from, "why", why)
	}
}

func (c *Client) take(p packet) (why string) {
	m, bad, err := decode(p.data)
	ex := c.ex
	switch {
	case err != nil:
		return err.Error()
	case m.MAC != c.cfg.MAC:
		return "hardware-address"
	case ex == nil || ex.sent == 0:
		return "unexpected"
	case m.XID != ex.xid:
		return "transaction-id"
	case !m.Server.IsValid():
		return "no-server"
	case ex.server.IsValid() && m.Server != ex.server:
		return "other-server"
	}
	for _, e := range bad {
		c.count("dhcp4.drop.option")
		c.log.Debug("dhcp4: option dropped", "from", p.from, "err", e)
	}
	switch {
	case m.Type == nak && ex.kind != discovering:
		c.count("dhcp4.received.nak")
		c.trace("nak", fmt.Sprintf("from %v", m.Server))
		c.nak(&m)
		return ""
	case m.Type == offer && ex.kind == discovering, m.Type == ack && ex.kind != discovering:
	case m.Type == offer || m.Type == ack || m.Type == nak:
		return "unexpected"
	default:
		return "type"
	}
	l, why := c.grant(&m, p.at)
	if why != "" {
		return why
	}
	if m.Type == offer {
		c.count("dhcp4.received.offer")
		c.trace("offer", fmt.Sprintf("%v from %v", m.Own, m.Server))
		c.start(requesting, p.at)
		c.ex.own, c.ex.server = m.Own, m.Server
		return ""
	}
	if m.Own != ex.own {
		return "address"
	}
	c.count("dhcp4.received.ack")
	c.trace("ack", fmt.Sprintf("%v from %v", l.Address, m.Server))
	c.ex = nil
	if c.lease != nil && c.lease.Address == l.Address {
		c.bind(l) // it is in use: whether somebody else has it was asked before
	} else {
		c.check(l)
	}
	return ""
}

// grant is what a message grants, at a moment.
func (c *Client) grant(m *message, now time.Time) (l *Lease, why string) {
	bits := m.Bits
	if bits == 0 {
		bits = 32
	}
	a := netip.PrefixFrom(m.Own, bits)
	switch {
	case !host(m.Own), bits < 31 && (m.Own == a.Masked().Addr() || m.Own == last(a)):
		return nil, "address"
	// What an Offer says of it may change until the Ack.
	case m.Lease < minLease && (m.Type == ack || m.Lease != 0):
		return nil, "lifetime"
	}
	l = &Lease{Address: a, Server: m.Server, SIP: m.SIP, Vendor: m.Vendor}
	for _, r := range m.Routes {
		// Another gateway could not be reached, and a route to the address's own network
		// is there.
		if r.Via.IsValid() && (!a.Contains(r.Via) || r.Via == m.Own) || r.Prefix == a.Masked() {
			c.count("dhcp4.drop.route")
			continue
		}
		l.Routes = append(l.Routes, r)
	}
	if m.Lease == forever {
		return l, ""
	}
	whole := seconds(m.Lease)
	t1, t2 := seconds(m.T1), seconds(m.T2)
	if t2 <= 0 || t2 >= whole {
		t2 = whole / 8 * 7
	}
	if t1 <= 0 || t1 >= t2 {
		t1 = min(whole/2, t2/2)
	}
	// RFC 2131 4.4.5: some fuzz, so that a town does not renew in step.
	early := func(d time.Duration) time.Duration { return d - time.Duration(c.rand.Float64()*float64(d)/50) }
	l.T1, l.T2, l.Until = now.Add(max(early(t1), minRenew)), now.Add(early(t2)), now.Add(whole)
	return l, ""
}

func seconds(n uint32) time.Duration { return time.Duration(n) * time.Second }

// last is the broadcast address of p.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}

// bind takes a lease into use.
func (c *Client) bind(l *Lease) {
	same := c.lease != nil && c.err == nil && c.lease.Address == l.Address &&
		slices.Equal(c.lease.Routes, l.Routes) && slices.Equal(c.lease.SIP, l.SIP) &&
		slices.EqualFunc(c.lease.Vendor, l.Vendor, func(a, b Vendor) bool {
			return a.Enterprise == b.Enterprise && string(a.Data) == string(b.Data)
		})
	c.lease, c.unverified, c.err, c.refused = l, false, nil, 0
	c.know(l.Address.Addr())
	if !same {
		c.publish()
	}
}

// check binds l unless somebody has its address (RFC 2131 4.4.1). A lease of before is
// kept until then.
func (c *Client) check(l *Lease) {
	ctx, cancel := context.WithCancel(c.ctx)
	c.checking = cancel
	ip, socket, random := l.Address.Addr(), c.link.Socket, c.rand.Float64()
	go func() {
		owner, err := socket.Check(ctx, ip, c.cfg.StrictRFC, random)
		cancelled := ctx.Err() != nil
		cancel()
		if cancelled {
			return
		}
		c.do(func() {
			if ctx != c.checked {
				return // the link went down meanwhile
			}
			c.checking, c.checked = nil, nil
			if err != nil {
				c.count("dhcp4.check.error")
				c.log.Warn("dhcp4: taken unchecked", "err", err)
			}
			if owner == nil {
				c.bind(l)
				return
			}
			c.decline(l, fmt.Sprintf("%v has the address %v already", owner, ip))
		})
	}()
	c.checked = ctx
}

// decline gives back an address that somebody else has (RFC 2131 4.4.4).
func (c *Client) decline(l *Lease, why string) {
	q := question{Type: decline, XID: c.rand.Uint32(), Requested: l.Address.Addr(), Server: l.Server, Text: "in use"}
	if err := c.link.Broadcast(q.encode(c.cfg.MAC, nil, nil)); err != nil {
		c.count("dhcp4.send.error")
	}
	c.count("dhcp4.sent.decline")
	c.trace("decline", why)
	c.log.Warn("dhcp4: address declined", "why", why)
	c.refused++
	c.know(netip.Addr{})
	c.lose(&Error{Conflict, why})
}

// nak takes a refusal: the address is no longer ours (RFC 2131 3.1, 3.2, 4.4.5).
func (c *Client) nak(m *message) {
	k := c.ex.kind
	c.ex = nil
	if k == requesting {
		c.refused++
	}
	c.know(netip.Addr{})
	text := fmt.Sprintf("the server %v refused the address", m.Server)
	if m.Text != "" {
		text += ": " + m.Text
	}
	c.lose(&Error{Refused, text})
}
