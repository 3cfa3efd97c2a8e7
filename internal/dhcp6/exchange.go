package dhcp6

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
)

// allServers is All_DHCP_Relay_Agents_and_Servers; a client always multicasts.
var allServers = netip.AddrPortFrom(netip.MustParseAddr("ff02::1:2"), dhcpv6.DefaultServerPort)

// kind is the kind of an exchange.
type kind int

const (
	solicit kind = iota
	request
	renew
	rebind
	verify // a Rebind with the times of a Confirm (RFC 8415 18.2.12)
	inform
	release
)

// kinds tells for each kind of exchange what it sends, and how often: IRT and
// MRT where they are constants, MRC where there is one.
var kinds = [...]struct {
	message  dhcpv6.MessageType
	name     string // of the counter and the trace
	irt, mrt time.Duration
	mrc      int
}{
	solicit: {message: dhcpv6.MessageTypeSolicit, name: "solicit", irt: solTimeout},
	request: {message: dhcpv6.MessageTypeRequest, name: "request", irt: reqTimeout, mrt: reqMaxRT, mrc: reqMaxRC},
	renew:   {message: dhcpv6.MessageTypeRenew, name: "renew", irt: renTimeout, mrt: renMaxRT},
	rebind:  {message: dhcpv6.MessageTypeRebind, name: "rebind", irt: rebTimeout, mrt: rebMaxRT},
	verify:  {message: dhcpv6.MessageTypeRebind, name: "rebind", irt: cnfTimeout, mrt: cnfMaxRT},
	inform:  {message: dhcpv6.MessageTypeInformationRequest, name: "information-request", irt: infTimeout},
	release: {message: dhcpv6.MessageTypeRelease, name: "release", irt: relTimeout},
}

// exchange is one message and its answer (RFC 8415 section 15).
type exchange struct {
	kind   kind
	xid    dhcpv6.TransactionID
	server []byte // whom it is for, nil for all
	ia     ia     // of Request, Renew, Rebind, Release

	began  time.Time     // the first transmission, for the elapsed time
	sent   int           // transmissions
	failed int           // transmissions that the system refused, before the first
	rt     time.Duration // RT
	next   time.Time     // when to transmit next
	end    time.Time     // MRD, zero for none

	reconfigured bool   // a Reconfigure asked for it
	best         *offer // the best Advertise so far (StrictRFC)
}

// offer is an Advertise that was chosen.
type offer struct {
	server     []byte
	preference uint8
	ia         ia
}

// start begins an exchange of kind k in place of the present one.
func (c *Client) start(k kind, now time.Time) {
	ex := &exchange{kind: k, next: now}
	v := c.rand.Uint32()
	ex.xid = dhcpv6.TransactionID{byte(v >> 16), byte(v >> 8), byte(v)}
	switch k {
	case solicit:
		if c.refused > 0 {
			// A server that offers and then refuses must not be asked in a circle.
			ex.next = now.Add(timeout(0, min(solTimeout<<min(c.refused-1, 12), c.solMaxRT), 0, jitter(c.rand)))
		} else if c.cfg.StrictRFC {
			ex.next = now.Add(c.delay(solMaxDelay))
		}
		ex.ia.ID = c.cfg.IAID
	case inform:
		if c.cfg.StrictRFC {
			ex.next = now.Add(c.delay(infMaxDelay))
		}
	case renew:
		c.renew = false
		ex.server, ex.ia, ex.end = c.lease.server, c.lease.ia(c.cfg.IAID), c.lease.t2
	case rebind:
		ex.ia, ex.end = c.lease.ia(c.cfg.IAID), c.lease.expiry()
	case verify:
		ex.ia, ex.end = c.lease.ia(c.cfg.IAID), now.Add(c.cfg.VerifyTimeout)
	case release:
		ex.server, ex.ia, ex.end = c.lease.server, c.lease.ia(c.cfg.IAID), now.Add(releaseTimeout)
	}
	c.ex = ex
}

// delay is a random delay of at most d.
func (c *Client) delay(d time.Duration) time.Duration {
	return time.Duration(c.rand.Float64() * float64(d))
}

// request asks o's server for what it offers.
func (c *Client) request(o *offer, now time.Time) {
	c.start(request, now)
	c.ex.server, c.ex.ia = o.server, o.ia
	c.ex.ia.T1, c.ex.ia.T2, c.ex.ia.Status = 0, 0, status{}
}

// transmit sends the exchange's message once more and sets when the next is due.
func (c *Client) transmit(now time.Time) {
	ex := c.ex
	k := kinds[ex.kind]
	switch {
	case ex.kind == solicit && ex.best != nil:
		c.request(ex.best, now)
		c.transmit(now)
		return
	case ex.kind == request && ex.sent > 0 && c.lease != nil && c.lease.unbound:
		// The server has no binding and did not take the request at once: the
		// prefix is not routed to us.
		c.lose(&Error{Code: iana.StatusNoBinding.String()})
	}
	if ex.sent == 0 {
		ex.began = now
	}
	if !c.send(now) {
		ex.failed++
		if ex.sent == 0 && ex.failed <= 6 {
			ex.next = now.Add(sendRetry << (ex.failed - 1))
			return
		}
	}
	ex.sent++
	irt, mrt, rand := k.irt, k.mrt, jitter(c.rand)
	switch ex.kind {
	case solicit:
		mrt = c.solMaxRT
		if ex.sent == 1 {
			rand = positiveJitter(c.rand)
		}
	case inform:
		mrt = c.infMaxRT
	}
	ex.rt = timeout(ex.rt, irt, mrt, rand)
	ex.next = now.Add(ex.rt)
	if ex.sent > silentAfter && (c.err == nil || c.err.Code == Expired) {
		c.report(silence(ex.kind))
	}
}

// send sends the exchange's message and tells whether the system took it.
func (c *Client) send(now time.Time) bool {
	ex := c.ex
	k := kinds[ex.kind]
	if c.limiter.Take(now) > 0 {
		c.count("dhcp6.sent.limited")
		return true
	}
	m := message{Type: k.message, XID: ex.xid, ClientID: c.cfg.DUID, ServerID: ex.server}
	elapsed := min(now.Sub(ex.began), 0xffff*10*time.Millisecond)
	options := []dhcpv6.Option{dhcpv6.OptElapsedTime(elapsed)}
	if ex.kind != inform {
		m.IAs = []ia{ex.ia}
	}
	if ex.kind == solicit && c.cfg.HintLength > 0 {
		// Not by message's encoding: that holds only prefixes that can be leased.
		m.IAs = nil
		options = append(options, hint(c.cfg.IAID, c.cfg.HintLength))
	}
	if ex.kind != release {
		if len(c.cfg.ORO) > 0 {
			options = append(options, dhcpv6.OptRequestedOption(c.cfg.ORO...))
		}
		if c.cfg.ReconfigureAccept {
			options = append(options, &dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionReconfAccept})
		}
		if ex.kind == solicit {
			options = append(options, c.cfg.SolicitOptions...)
		} else {
			options = append(options, c.cfg.RequestOptions...)
		}
	}
	if err := c.conn.WriteTo(m.encode(options...), allServers); err != nil {
		c.count("dhcp6.send.error")
		c.log.Debug("dhcp6: send", "message", k.name, "err", err)
		return false
	}
	c.count("dhcp6.sent." + k.name)
	detail := ""
	if ex.sent > 0 {
		detail = fmt.Sprintf("retransmission %d", ex.sent)
	}
	c.trace(k.name, detail)
	return true
}

// hint is an IA_PD that asks for a prefix of a length (RFC 8415 18.2.1).
func hint(iaid uint32, bits int) dhcpv6.Option {
	prefix := append(make([]byte, 8), byte(bits)) // lifetimes 0
	prefix = append(prefix, make([]byte, 16)...)
	opts := dhcpv6.Options{&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionIAPrefix, OptionData: prefix}}
	data := append(be.AppendUint32(nil, iaid), make([]byte, 8)...) // T1 and T2 0
	return &dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionIAPD, OptionData: append(data, opts.ToBytes()...)}
}

// unanswered ends the exchange that nobody answered in its time.
func (c *Client) unanswered() {
	k := c.ex.kind
	c.ex = nil
	c.count("dhcp6.unanswered." + kinds[k].name)
	switch k {
	case request:
		c.refused++
		c.log.Info("dhcp6: no usable answer to Request, soliciting again")
	case verify:
		c.log.Info("dhcp6: the known lease is not confirmed")
		if c.mode == ModeInfo {
			c.lose(silence(k))
			return
		}
		c.lease.unanswered = true
	}
}

// silence is the error of an exchange that nobody answers.
func silence(k kind) *Error {
	return &Error{Code: NoAnswer, Text: "no usable answer to " + kinds[k].name}
}

// drop counts a message that is not taken.
func (c *Client) drop(p packet, why string, err error) {
	c.count("dhcp6.drop." + why)
	c.log.Debug("dhcp6: message dropped", "from", p.from, "why", why, "err", err)
}

// receive takes a message from the network.
func (c *Client) receive(p packet) {
	m, bad, err := decode(p.data)
	switch {
	case err == errTooBig:
		c.drop(p, "too-big", err)
		return
	case err != nil:
		c.drop(p, "truncated", err)
		return
	}
	var handle func(packet, *message) (why string)
	switch m.Type {
	case dhcpv6.MessageTypeAdvertise:
		handle = c.advertise
	case dhcpv6.MessageTypeReply:
		handle = c.reply
	case dhcpv6.MessageTypeReconfigure:
		handle = c.reconfigure
	default:
		c.drop(p, "type", fmt.Errorf("message type %d", m.Type))
		return
	}
	// RFC 8415 16: both identifiers must be there, the client's must be ours.
	switch {
	case m.Type != dhcpv6.MessageTypeReconfigure && c.ex == nil:
		c.drop(p, "unexpected", nil)
		return
	case m.Type != dhcpv6.MessageTypeReconfigure && m.XID != c.ex.xid:
		c.drop(p, "transaction-id", nil)
		return
	case !bytes.Equal(m.ClientID, c.cfg.DUID):
		c.drop(p, "client-id", nil)
		return
	case m.ServerID == nil:
		c.drop(p, "no-server-id", nil)
		return
	}
	for _, e := range bad {
		c.count("dhcp6.drop.option")
		c.log.Debug("dhcp6: option dropped", "from", p.from, "err", e)
	}
	if why := handle(p, &m); why != "" {
		c.drop(p, why, nil)
	}
}

// own is the IA of ours in m that can be used, nil without one.
func (c *Client) own(m *message) *ia {
	i := slices.IndexFunc(m.IAs, func(a ia) bool { return a.ID == c.cfg.IAID && a.valid() })
	if i < 0 {
		return nil
	}
	m.IAs[i].canonical()
	return &m.IAs[i]
}

// limits takes SOL_MAX_RT and INF_MAX_RT, which count even in a message without
// a prefix (RFC 8415 18.2.9).
func (c *Client) limits(m *message) {
	if m.SolMaxRT != 0 {
		c.solMaxRT = time.Duration(m.SolMaxRT) * time.Second
	}
	if m.InfMaxRT != 0 {
		c.infMaxRT = time.Duration(m.InfMaxRT) * time.Second
	}
}

// advertise takes an Advertise (RFC 8415 18.2.9).
func (c *Client) advertise(p packet, m *message) (why string) {
	if c.ex.kind != solicit || c.ex.sent == 0 {
		return "unexpected"
	}
	c.count("dhcp6.received.advertise")
	c.limits(m)
	a := c.own(m)
	if s := worst(m, a); s.Code != iana.StatusSuccess && (a == nil || !a.grants()) {
		c.trace("advertise", fmt.Sprintf("%v from %v", s.Code, p.from.Addr()))
		if c.lease != nil && s.Code == iana.StatusNoPrefixAvail {
			// Nobody confirmed the known lease, and here is a server that has none.
			c.lose(statusError(s, p.from.Addr()))
		}
		c.report(statusError(s, p.from.Addr()))
		return "no-prefix"
	}
	if a == nil || !a.grants() {
		return "no-prefix"
	}
	c.trace("advertise", fmt.Sprintf("from %v", p.from.Addr()))
	o := &offer{server: m.ServerID, preference: m.Preference, ia: *a}
	if c.cfg.StrictRFC && c.ex.sent == 1 && o.preference < 255 {
		// The first RT is waited out for a better one; of equal ones the first.
		if c.ex.best == nil || o.preference > c.ex.best.preference {
			c.ex.best = o
		}
		return ""
	}
	c.request(o, p.at)
	return ""
}

// reply takes a Reply (RFC 8415 18.2.10).
func (c *Client) reply(p packet, m *message) (why string) {
	ex := c.ex
	if ex.kind == solicit || ex.sent == 0 {
		return "unexpected"
	}
	if ex.server != nil && !bytes.Equal(ex.server, m.ServerID) {
		return "server-id"
	}
	c.limits(m)
	from := p.from.Addr()
	if ex.kind == inform {
		if m.Status.Code != iana.StatusSuccess {
			c.report(statusError(m.Status, from))
			return "status"
		}
		c.received(p, m)
		c.inform(m, p.at)
		return ""
	}
	a := c.own(m)
	s := worst(m, a)
	if a != nil && a.grants() {
		// A prefix counts for more than a status beside it.
		c.received(p, m)
		c.bind(p, m, a)
		return ""
	}
	switch ex.kind {
	case request:
		switch s.Code {
		case iana.StatusUnspecFail, iana.StatusUseMulticast:
			// To be tried again, at the pace of the retransmission; we multicast
			// already.
			c.report(statusError(s, from))
			return "status"
		case iana.StatusSuccess:
			if a == nil {
				return "no-ia"
			}
			s.Code = iana.StatusNoPrefixAvail
		}
		c.received(p, m)
		c.refuse(s, from)
	default: // renew, rebind, verify
		withdrawn := a != nil && slices.ContainsFunc(a.Prefixes, func(q iaPrefix) bool {
			return slices.ContainsFunc(c.lease.bindings, func(b binding) bool { return b.Prefix == q.Prefix })
		})
		switch {
		case s.Code == iana.StatusNoBinding:
			// RFC 8415 18.2.10.1: asked for anew where the answer came from. The
			// prefix is used on until that is answered, which is at once or never.
			c.received(p, m)
			c.lease.unbound = true
			c.report(statusError(s, from))
			c.request(&offer{server: m.ServerID, ia: c.lease.ia(c.cfg.IAID)}, p.at)
		case s.Code == iana.StatusNotOnLink:
			c.received(p, m)
			c.lose(statusError(s, from))
		case withdrawn:
			c.received(p, m)
			c.withdraw(a, p.at)
		case s.Code != iana.StatusSuccess:
			c.report(statusError(s, from))
			return "status"
		default:
			return "no-ia"
		}
	}
	return ""
}

// received notes a Reply that means something.
func (c *Client) received(p packet, m *message) {
	c.count("dhcp6.received.reply")
	detail := fmt.Sprintf("from %v", p.from.Addr())
	if m.Status.Code != iana.StatusSuccess {
		detail = fmt.Sprintf("%v %s", m.Status.Code, detail)
	}
	c.trace("reply", detail)
}

// bind makes the prefixes of a Reply the lease.
func (c *Client) bind(p packet, m *message, a *ia) {
	now, k := p.at, c.ex.kind
	l := c.lease
	if l == nil || k == request {
		// Of a lease that was asked for anew nothing is left but its order.
		next := &lease{}
		if l != nil {
			next.bindings = l.bindings
		}
		l = next
	}
	renewed := k != request && c.lease.verified
	if !bytes.Equal(l.server, m.ServerID) {
		l.server, l.key, l.replay = m.ServerID, nil, 0
	}
	l.serverAddr = p.from.Addr().WithZone("")
	l.take(a, now)
	if !renewed {
		l.keepLatest()
	}
	if key, ok := m.Auth.rkap(rkapKey); ok && c.cfg.ReconfigureAccept {
		l.key, l.replay = bytes.Clone(key), m.Auth.Replay
	}
	c.lease, c.ex, c.err, c.refused = l, nil, nil, 0
	c.learn(m)
	c.log.Info("dhcp6: prefix delegated", "prefix", l.bindings[0].Prefix, "server", l.serverAddr, "renewed", renewed)
	c.publish()
	c.save(now, false)
}

// withdraw takes a Reply that ends prefixes and grants none.
func (c *Client) withdraw(a *ia, now time.Time) {
	t1, t2 := c.lease.t1, c.lease.t2
	c.lease.take(a, now)
	c.ex = nil
	if len(c.lease.bindings) == 0 {
		c.log.Warn("dhcp6: the server withdrew the prefix")
		c.lose(nil)
		return
	}
	// Nothing was prolonged: what is left keeps its times.
	c.lease.t1, c.lease.t2 = t1, t2
	if over(t1, now) {
		c.lease.t1 = now.Add(renTimeout)
	}
	c.publish()
	c.save(now, false)
}

// refuse takes a Reply to a Request that grants nothing.
func (c *Client) refuse(s status, from netip.Addr) {
	c.refused++
	c.ex = nil
	e := statusError(s, from)
	c.log.Info("dhcp6: request refused", "err", e)
	if c.lease != nil {
		c.lose(e)
		return
	}
	c.report(e)
}

// learn takes the information of a Reply. A Reply without any, as some servers
// answer a Renew, takes none away.
func (c *Client) learn(m *message) {
	if !m.Info.empty() {
		c.info = m.Info.clone()
	}
}

// inform takes the Reply to an Information-request (RFC 8415 18.2.10.4).
func (c *Client) inform(m *message, now time.Time) {
	refresh := refreshDefault
	if m.Refresh != 0 {
		refresh = max(refreshMinimum, time.Duration(m.Refresh)*time.Second)
	}
	c.informed, c.informAt = true, now.Add(refresh)
	if m.Refresh == infinity {
		c.informAt = time.Time{}
	}
	c.ex, c.err = nil, nil
	c.info = m.Info.clone()
	c.publish()
}

// reconfigure takes a Reconfigure (RFC 8415 16.11, 18.2.11).
func (c *Client) reconfigure(p packet, m *message) (why string) {
	l := c.lease
	switch {
	case l == nil || !l.verified:
		return "reconfigure-unbound"
	case !bytes.Equal(l.server, m.ServerID):
		return "reconfigure-server"
	case c.mode == ModeOff:
		return "reconfigure-unbound"
	case c.ex != nil && (c.ex.reconfigured || c.ex.kind == request || c.ex.kind == solicit):
		return "reconfigure-busy"
	}
	authenticated := c.cfg.ReconfigureAccept && l.key != nil
	if authenticated {
		_, ok := m.Auth.rkap(rkapDigest)
		switch {
		case !ok || !authentic(p.data, l.key):
			return "reconfigure-auth"
		case m.Auth.Replay <= l.replay:
			return "reconfigure-replay"
		}
	} else {
		switch {
		case !c.cfg.AcceptUnauthReconfigure:
			return "reconfigure-auth"
		case !p.from.Addr().IsLinkLocalUnicast() && p.from.Addr().WithZone("") != l.serverAddr:
			return "reconfigure-source"
		case m.ReconfigureMessage == dhcpv6.MessageTypeInformationRequest:
			return "reconfigure-auth"
		case !c.unauthAt.IsZero() && p.at.Sub(c.unauthAt) < reconfigureInterval:
			return "reconfigure-rate"
		}
	}
	switch m.ReconfigureMessage {
	case dhcpv6.MessageTypeRenew:
		c.renewNow(p.at)
	case dhcpv6.MessageTypeRebind:
		c.start(rebind, p.at)
	case dhcpv6.MessageTypeInformationRequest:
		c.start(inform, p.at)
		c.ex.server = m.ServerID
		c.ex.next = p.at
	default:
		return "reconfigure-type"
	}
	c.ex.reconfigured = true
	if authenticated {
		l.replay = m.Auth.Replay
	} else {
		c.unauthAt = p.at
	}
	c.count("dhcp6.received.reconfigure")
	c.trace("reconfigure", fmt.Sprintf("%s from %v", kinds[c.ex.kind].name, p.from.Addr()))
	return ""
}

// release gives the lease back and waits a moment for the confirmation
// (RFC 8415 18.2.7). A prefix that is not confirmed ends by itself.
func (c *Client) release() {
	if c.conn == nil {
		return
	}
	c.start(release, time.Now())
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case p := <-c.packets:
			m, _, err := decode(p.data)
			if err == nil && p.link == c.conn && m.Type == dhcpv6.MessageTypeReply && m.XID == c.ex.xid &&
				bytes.Equal(m.ClientID, c.cfg.DUID) && bytes.Equal(m.ServerID, c.ex.server) {
				c.received(p, &m)
				return
			}
			c.drop(p, "unexpected", err)
		case <-timer.C:
			now := time.Now()
			if over(c.ex.end, now) {
				c.count("dhcp6.unanswered.release")
				return
			}
			c.transmit(now)
			next := c.ex.next
			if c.ex.end.Before(next) {
				next = c.ex.end
			}
			timer.Reset(next.Sub(now))
		}
	}
}
