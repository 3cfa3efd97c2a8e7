package hgw

import (
	"bytes"
	"crypto/md5"
	crand "crypto/rand"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"sofutobanku/internal/dhcp6"
)

// The answers are limited: 20 at once, and 5 a second in the long run.
const (
	limiterBurst    = 20
	limiterInterval = 200 * time.Millisecond
)

// When a client is to renew at the latest, in seconds: one that can be told of a change
// (Reconfigure), and one that must ask. Before that it renews after 0.5 and 0.8 of the
// preferred lifetime (RFC 8415 14.2).
const (
	maxT1, maxT2       = 30 * 60, 48 * 60
	askingT1, askingT2 = 10, 16
)

// Reconfigure's retransmission (RFC 8415 7.6).
const (
	recTimeout = 2 * time.Second
	recMaxRC   = 8
)

const (
	infinity   = 0xffffffff // the lifetime that never ends (RFC 8415 7.7)
	solMaxRT   = 60         // seconds, the least that is allowed (RFC 8415 21.24)
	clientPort = dhcpv6.DefaultClientPort
)

// The slots of what the HGW may hold, in the order of Event.Prefixes. The last two are
// of the same /64, so that one of them at most is held.
const (
	slotDelegated = iota // the /60
	slotLink             // the /64
	slotAddress          // an address in that /64
	slots
)

// client is the HGW as far as it is known.
type client struct {
	// What the packets told that came first since the link came up, bound or not.
	unheard bool   // none came yet
	of      []byte // whose packets they were: a DUID, nil for a client without
	mac     net.HardwareAddr
	by      int // how the MAC address is known, the best is 0
	seen    time.Time

	// duid is whose the slots are, nil when none is held. open: another may take over.
	duid     []byte
	open     bool
	addr     netip.Addr // whence the last message of a holder came; kept when nothing is held
	port     uint16
	slots    [slots]slot
	told     [md5.Size]byte // digest of the information in the last Reply
	key      []byte         // what a Reconfigure is proven by (RFC 8415 20.4), nil: not accepted
	replay   uint64         // the last one used
	declined byte           // addresses that the HGW found taken

	// confirmed: the line told a prefix since Run began. Before that, what the lease
	// file holds stands.
	confirmed bool
}

// slot is one IA of the HGW.
type slot struct {
	held  bool
	iaid  uint32
	told  netip.Prefix // what the HGW has, as far as it was told; invalid for nothing
	until moment       // the end of what it has or had
}

// reconfigure is a Reconfigure that was not answered yet.
type reconfigure struct {
	packet []byte // nil: there is none
	sent   int
	rt     time.Duration
	next   moment
}

// upstream is an Upstream with moments, and with what follows from it.
type upstream struct {
	Upstream
	router           moment // the end of RouterUntil, in the past without a router
	preferred, valid moment
	offers           [slots]netip.Prefix // what the line has for each slot
	options          dhcpv6.Options      // the information
	digest           [md5.Size]byte      // of it
}

// offer is what the line has for a slot, invalid for nothing.
func (s *Server) offer(slot int) netip.Prefix {
	if s.now >= s.up.valid {
		return netip.Prefix{}
	}
	return s.up.offers[slot]
}

// offers is what of a line's prefix is for each slot.
func (c *client) offers(line netip.Prefix) (to [slots]netip.Prefix) {
	delegated, link, ok := Delegation(line)
	if ok {
		a := link.Addr().As16()
		a[15] = 1 + c.declined%254
		to = [slots]netip.Prefix{delegated, link, netip.PrefixFrom(netip.AddrFrom16(a), 128)}
	}
	return to
}

// event is the present picture.
func (s *Server) event() Event {
	c := &s.client
	ev := Event{MAC: slices.Clone(c.mac), LinkLocal: c.addr, LastSeen: c.seen}
	for i, sl := range c.slots {
		if sl.held && sl.told.IsValid() && (!c.confirmed || sl.told == s.offer(i)) {
			ev.Prefixes = append(ev.Prefixes, Binding{sl.told, s.time(sl.until)})
		}
	}
	return ev
}

// setUpstream takes what the line gave, and tells the HGW what is new.
func (s *Server) setUpstream(up Upstream) {
	c := &s.client
	before, told, confirmed := s.offer(slotDelegated), s.up.digest, c.confirmed
	s.up = upstream{
		Upstream: up, router: s.now, preferred: s.moment(up.Prefix.Preferred), valid: s.moment(up.Prefix.Valid),
		offers: c.offers(up.Prefix.Prefix), options: up.Info.Options(),
	}
	if up.Router {
		s.up.router = s.moment(up.RouterUntil)
	}
	if up.Prefix.Deprecated {
		s.up.preferred = s.now
	}
	s.up.digest = md5.Sum(s.up.options.ToBytes())
	after := s.offer(slotDelegated)
	c.confirmed = c.confirmed || after.IsValid()
	changed := before != after || told != s.up.digest || confirmed != c.confirmed
	shorter := false
	for i := range c.slots {
		if sl := &c.slots[i]; sl.held && after.IsValid() && sl.told == s.offer(i) && s.up.valid < sl.until {
			shorter = shorter || sl.until-s.up.valid > second
			sl.until = s.up.valid
		}
	}
	if s.link == nil {
		return
	}
	s.readvertise()
	if changed {
		s.advertiseSoon(s.now)
	}
	if changed && s.stale() || shorter {
		s.askToRenew()
	}
}

// stale tells whether the HGW was told otherwise than it would be now.
func (s *Server) stale() bool {
	c := &s.client
	if c.duid == nil || !c.confirmed {
		return false
	}
	for i, sl := range c.slots {
		if sl.held && sl.told != s.offer(i) {
			return true
		}
	}
	return c.told != s.up.digest
}

// age ends what is over.
func (s *Server) age() {
	c := &s.client
	for i := range c.slots {
		if sl := &c.slots[i]; sl.held && s.now >= sl.until {
			s.log.Info("hgw: lease expired", "prefix", sl.told)
			s.count("hgw.lease.expired")
			*sl = slot{}
			s.released()
		}
	}
}

// released notes that a slot was freed.
func (s *Server) released() {
	c := &s.client
	if !slices.ContainsFunc(c.slots[:], func(sl slot) bool { return sl.held }) {
		c.duid, c.key = nil, nil
		s.reconfigure = reconfigure{}
	}
	s.dirty = true
}

// receive takes a DHCPv6 message.
func (s *Server) receive(p packet) {
	switch {
	case len(p.data) > maxMessage:
		s.drop(p, "too-big", nil)
		return
	case len(p.data) < dhcpv6.MessageHeaderSize:
		s.drop(p, "truncated", nil)
		return
	case !p.from.Addr().IsLinkLocalUnicast():
		s.drop(p, "source", nil)
		return
	}
	name := clientMessage(dhcpv6.MessageType(p.data[0]))
	if name == "" {
		s.drop(p, "type", nil)
		return
	}
	if s.limiter.Take(s.clock) > 0 {
		s.drop(p, "limited", nil)
		return
	}
	m, bad, err := decode(p.data)
	for _, e := range bad {
		s.drop(p, "option", e)
	}
	if err != nil {
		s.drop(p, "identifier", err)
		return
	}
	if why := s.refuse(&m); why != "" {
		s.drop(p, why, nil)
		return
	}
	c := &s.client
	foreign := c.duid != nil && !bytes.Equal(c.duid, m.clientID) && !c.open
	if !foreign {
		s.heard(&m, p)
	}
	s.count("hgw.received." + name)
	r, why := s.reply(&m, foreign, p)
	if why != "" {
		s.drop(p, why, nil)
		return
	}
	name = "reply"
	if r.MessageType == dhcpv6.MessageTypeAdvertise {
		name = "advertise"
	}
	s.send(r.ToBytes(), p.from, name)
}

// clientMessage names the messages that a server takes, "" another one.
func clientMessage(t dhcpv6.MessageType) string {
	switch t {
	case dhcpv6.MessageTypeSolicit:
		return "solicit"
	case dhcpv6.MessageTypeRequest:
		return "request"
	case dhcpv6.MessageTypeConfirm:
		return "confirm"
	case dhcpv6.MessageTypeRenew:
		return "renew"
	case dhcpv6.MessageTypeRebind:
		return "rebind"
	case dhcpv6.MessageTypeRelease:
		return "release"
	case dhcpv6.MessageTypeDecline:
		return "decline"
	case dhcpv6.MessageTypeInformationRequest:
		return "information-request"
	}
	return ""
}

// serverID is the DUID-LL of the port.
func (s *Server) serverID() []byte { return append([]byte{0, 3, 0, 1}, s.link.MAC...) }

// refuse is what RFC 8415 16 has a server discard m for, "" for nothing.
func (s *Server) refuse(m *message) (why string) {
	switch m.kind {
	case dhcpv6.MessageTypeSolicit, dhcpv6.MessageTypeConfirm, dhcpv6.MessageTypeRebind:
		if m.serverID != nil {
			return "server-id"
		}
	case dhcpv6.MessageTypeInformationRequest:
		if len(m.ias) > 0 {
			return "ia"
		}
	default:
		if m.serverID == nil {
			return "no-server-id"
		}
	}
	if m.serverID != nil && !bytes.Equal(m.serverID, s.serverID()) {
		return "other-server"
	}
	if m.clientID == nil && m.kind != dhcpv6.MessageTypeInformationRequest {
		return "no-client-id"
	}
	return ""
}

// heard notes a message that is the HGW's, and the MAC address that it tells.
func (s *Server) heard(m *message, p packet) {
	c := &s.client
	c.seen = s.clock
	first := c.mac == nil || c.unheard
	c.unheard = false
	if mac, by := s.identify(m, p.from.Addr()); mac != nil && (first || bytes.Equal(c.of, m.clientID)) {
		s.learn(m.clientID, mac, by)
	}
}

// learn takes a MAC address, unless a better source told one of the same client.
func (s *Server) learn(of []byte, mac net.HardwareAddr, by int) {
	c := &s.client
	if c.mac != nil && bytes.Equal(c.of, of) && by > c.by {
		return
	}
	if !bytes.Equal(c.mac, mac) {
		s.log.Info("hgw: home gateway", "mac", mac.String())
		s.dirty = true
	}
	c.mac, c.of, c.by = mac, bytes.Clone(of), by
}

// identify is the MAC address in a message: by its vendor class (0), its DUID (1), or its
// source (2); nil when it is nowhere.
func (s *Server) identify(m *message, from netip.Addr) (mac net.HardwareAddr, by int) {
	if m.vendorClass != nil && s.cfg.Terminal != nil {
		if mac, err := s.cfg.Terminal(m.vendorClass); err == nil && station(mac) {
			return mac, 0
		}
	}
	d := m.clientID
	switch {
	case len(d) == 10 && bytes.HasPrefix(d, []byte{0, 3, 0, 1}): // DUID-LL on Ethernet
		mac = d[4:]
	case len(d) == 14 && bytes.HasPrefix(d, []byte{0, 1, 0, 1}): // DUID-LLT
		mac = d[8:]
	}
	if station(mac) {
		return bytes.Clone(mac), 1
	}
	a := from.As16()
	mac = net.HardwareAddr{a[8] ^ 2, a[9], a[10], a[13], a[14], a[15]}
	if a[11] == 0xff && a[12] == 0xfe && station(mac) {
		return mac, 2
	}
	return nil, 0
}

// station tells whether mac is the address of one station.
func station(mac net.HardwareAddr) bool {
	return len(mac) == 6 && mac[0]&1 == 0 && !bytes.Equal(mac, make([]byte, 6))
}

// reply makes the answer to m; why is for what m is to be dropped for. foreign: another
// HGW has the port's lease.
func (s *Server) reply(m *message, foreign bool, p packet) (r *dhcpv6.Message, why string) {
	c := &s.client
	r = &dhcpv6.Message{MessageType: dhcpv6.MessageTypeReply, TransactionID: m.xid}
	if m.clientID != nil {
		r.AddOption(option(dhcpv6.OptionClientID, m.clientID...))
	}
	r.AddOption(option(dhcpv6.OptionServerID, s.serverID()...))

	switch m.kind {
	case dhcpv6.MessageTypeInformationRequest:
		if s.up.Info == nil { // an answer now would have the HGW wait for a day
			return nil, "not-yet"
		}
	case dhcpv6.MessageTypeRelease, dhcpv6.MessageTypeDecline:
		r.AddOption(statusOption(iana.StatusSuccess))
		for i := range m.ias {
			if foreign || !s.free(&m.ias[i], m) {
				a := answer{ia: &m.ias[i], status: iana.StatusNoBinding}
				r.AddOption(a.option())
			}
		}
		return r, ""
	case dhcpv6.MessageTypeConfirm:
		status, why := s.confirm(m)
		if why == "" {
			r.AddOption(statusOption(status))
		}
		return r, why
	default:
		if c.duid != nil && !c.confirmed {
			return nil, "not-yet" // the line is about to be known
		}
		if m.kind == dhcpv6.MessageTypeSolicit {
			r.MessageType = dhcpv6.MessageTypeAdvertise
		}
		s.answerIAs(m, r, foreign, p)
	}
	s.inform(m, r)
	return r, ""
}

// free gives back what a of m holds, and reports false when that is nothing.
func (s *Server) free(a *ia, m *message) bool {
	c := &s.client
	for i := range c.slots {
		sl := &c.slots[i]
		if !sl.held || sl.iaid != a.id || (i == slotAddress) != (a.code == dhcpv6.OptionIANA) || !bytes.Equal(c.duid, m.clientID) {
			continue
		}
		if i == slotAddress && m.kind == dhcpv6.MessageTypeDecline {
			c.declined++
			s.up.offers = c.offers(s.up.Prefix.Prefix)
		}
		s.log.Info("hgw: given back", "prefix", sl.told)
		*sl = slot{}
		s.released()
		return true
	}
	return false
}

// confirm tells whether the addresses in m are of this link (RFC 8415 18.3.3).
func (s *Server) confirm(m *message) (status iana.StatusCode, why string) {
	link := s.offer(slotLink)
	if !link.IsValid() {
		return 0, "not-yet"
	}
	n := 0
	for _, a := range m.ias {
		if a.code != dhcpv6.OptionIANA {
			continue
		}
		for _, l := range a.leases {
			n++
			if !link.Contains(l.Addr()) {
				status = iana.StatusNotOnLink
			}
		}
	}
	if n == 0 {
		return 0, "no-address"
	}
	return status, ""
}

// assign decides which slot each IA of m is of, -1 for none.
func (s *Server) assign(m *message) []int {
	old := s.client.slots
	if !bytes.Equal(s.client.duid, m.clientID) {
		old = [slots]slot{}
	}
	of := make([]int, len(m.ias))
	var taken [slots]bool
	take := func(i, slot int) { of[i], taken[slot] = slot, true }
	// The address comes first, since the /64 is either that or a delegation.
	for i := range m.ias {
		of[i] = -1
		if m.ias[i].code == dhcpv6.OptionIANA && !taken[slotAddress] {
			take(i, slotAddress)
		}
	}
	for _, known := range []bool{true, false} {
		for i, a := range m.ias {
			if a.code != dhcpv6.OptionIAPD || of[i] >= 0 {
				continue
			}
			held := func(slot int) bool { return old[slot].held && old[slot].iaid == a.id }
			switch {
			case known && held(slotDelegated):
				take(i, slotDelegated)
			case known && held(slotLink) && !taken[slotAddress]:
				take(i, slotLink)
			case known:
			// A later message for a second prefix says so by its length: another IAID
			// alone is also what a client has after it lost its memory.
			case !taken[slotDelegated] && !(old[slotDelegated].held && a.hint == 64):
				take(i, slotDelegated)
			case !taken[slotLink] && !taken[slotAddress]:
				take(i, slotLink)
			}
		}
	}
	return of
}

// answerIAs answers the IAs of a Solicit, Request, Renew or Rebind (RFC 8415 18.3.1,
// 18.3.2, 18.3.4, 18.3.5). A Renew and a Rebind make a binding that is not there.
func (s *Server) answerIAs(m *message, r *dhcpv6.Message, foreign bool, p packet) {
	c := &s.client
	again := m.kind == dhcpv6.MessageTypeRenew || m.kind == dhcpv6.MessageTypeRebind
	valid := s.seconds(s.up.valid)
	preferred := min(s.seconds(s.up.preferred), valid)
	var given [slots]*ia
	for i, slot := range s.assign(m) {
		a := answer{ia: &m.ias[i]}
		var offered netip.Prefix
		if !foreign && slot >= 0 && valid > 0 {
			offered = s.offer(slot)
		}
		if again && !foreign {
			// What is no longer the line's is over.
			gone := a.ia.leases
			if slot >= 0 && c.slots[slot].held && c.slots[slot].told.IsValid() && !slices.Contains(gone, c.slots[slot].told) {
				gone = append(gone, c.slots[slot].told)
			}
			for _, l := range gone {
				if l != offered {
					a.add(l, 0, 0)
				}
			}
		}
		switch {
		case offered.IsValid():
			a.t1, a.t2 = times(preferred, valid, m.accept)
			a.add(offered, preferred, valid)
			given[slot] = a.ia
		case foreign:
			s.count("hgw.refused.other-client")
			fallthrough
		case len(a.leases) == 0:
			a.status = iana.StatusNoPrefixAvail
			if foreign && again {
				a.status = iana.StatusNoBinding
			} else if a.ia.code == dhcpv6.OptionIANA {
				a.status = iana.StatusNoAddrsAvail
			}
		}
		r.AddOption(a.option())
	}
	if m.accept {
		r.AddOption(option(dhcpv6.OptionReconfAccept))
	}
	if slices.Contains(m.requested, dhcpv6.OptionSolMaxRT) {
		r.AddOption(option(dhcpv6.OptionSolMaxRT, 0, 0, 0, solMaxRT))
	}
	if m.kind != dhcpv6.MessageTypeSolicit && !foreign {
		s.bind(m, r, given, valid, p)
	}
}

// seconds is how long it is until m, for the wire: never more than that.
func (s *Server) seconds(m moment) uint32 {
	if m == never {
		return infinity
	}
	return uint32(max(0, min((m-s.now)/second, infinity-1)))
}

// times are T1 and T2 of a lease with these lifetimes.
func times(preferred, valid uint32, accept bool) (t1, t2 uint32) {
	base := uint64(preferred)
	if base == 0 {
		base = uint64(valid)
	}
	t1, t2 = askingT1, askingT2
	if accept {
		t1, t2 = maxT1, maxT2
	}
	return uint32(min(uint64(t1), base/2)), uint32(min(uint64(t2), base*8/10))
}

// bind notes what a Reply gives, and adds the key to it for who accepts Reconfigure.
func (s *Server) bind(m *message, r *dhcpv6.Message, given [slots]*ia, valid uint32, p packet) {
	c := &s.client
	mine := bytes.Equal(c.duid, m.clientID)
	if !mine {
		if given == [slots]*ia{} {
			return // who got nothing holds nothing
		}
		c.duid, c.key, c.slots = bytes.Clone(m.clientID), nil, [slots]slot{}
		if mac, by := s.identify(m, p.from.Addr()); mac != nil {
			s.learn(m.clientID, mac, by)
		}
	}
	c.open = false
	c.addr, c.port = p.from.Addr(), p.from.Port()
	// What was taken back is gone; the IA keeps its slot until its time is over.
	for i := range c.slots {
		sl, offered := &c.slots[i], s.offer(i)
		fresh := sl.told != offered || !sl.held
		if fresh {
			sl.told = netip.Prefix{}
		}
		if given[i] == nil {
			continue
		}
		if fresh {
			s.log.Info("hgw: delegated", "prefix", offered, "to", c.addr)
		}
		*sl = slot{held: true, iaid: given[i].id, told: offered, until: never}
		if valid != infinity {
			sl.until = s.now + moment(valid)*second
		}
	}
	if given[slotAddress] != nil {
		c.slots[slotLink] = slot{}
	}
	if given[slotLink] != nil {
		c.slots[slotAddress] = slot{}
	}
	c.told = s.up.digest
	s.reconfigure = reconfigure{}
	switch {
	case !m.accept:
		c.key = nil
	case c.key == nil || m.kind == dhcpv6.MessageTypeRequest:
		// RFC 8415 20.4.1: where an exchange begins, not with every renewal.
		if c.key == nil {
			c.key = make([]byte, keyLen)
			crand.Read(c.key)
			s.nextReplay()
		}
		r.AddOption(dhcp6.KeyOption(c.replay, c.key))
	}
	s.dirty = true
}

// nextReplay returns a replay detection value above all before, those of an earlier run too.
func (s *Server) nextReplay() uint64 {
	s.client.replay = max(s.client.replay+1, uint64(max(0, s.clock.UnixNano())))
	return s.client.replay
}

// inform adds the information that m asks for. A vendor class asks for the vendor's.
func (s *Server) inform(m *message, r *dhcpv6.Message) {
	for _, o := range s.up.options {
		if slices.Contains(m.requested, o.Code()) || o.Code() == dhcpv6.OptionVendorOpts && m.vendorClass != nil {
			r.AddOption(o)
		}
	}
}

// askToRenew begins to tell the HGW to renew at once (RFC 8415 18.3.11), if it accepts
// that.
func (s *Server) askToRenew() {
	c := &s.client
	if c.duid == nil || c.key == nil || s.link == nil {
		return
	}
	r := &dhcpv6.Message{MessageType: dhcpv6.MessageTypeReconfigure} // the transaction id is 0
	r.AddOption(option(dhcpv6.OptionClientID, c.duid...))
	r.AddOption(option(dhcpv6.OptionServerID, s.serverID()...))
	r.AddOption(option(dhcpv6.OptionReconfMessage, byte(dhcpv6.MessageTypeRenew)))
	s.reconfigure = reconfigure{packet: dhcp6.Sign(r, s.nextReplay(), c.key), next: s.now}
	s.dirty = true
}

// retransmit sends a Reconfigure that is due.
func (s *Server) retransmit() {
	re, c := &s.reconfigure, &s.client
	if re.packet == nil || s.now < re.next {
		return
	}
	if re.sent == recMaxRC {
		s.count("hgw.unanswered.reconfigure")
		s.log.Warn("hgw: the home gateway does not answer Reconfigure", "address", c.addr)
		*re = reconfigure{}
		return
	}
	// Clients listen on port 546; one that asks from another may do so there too.
	s.send(re.packet, netip.AddrPortFrom(c.addr, clientPort), "reconfigure")
	if c.port != 0 && c.port != clientPort {
		s.send(re.packet, netip.AddrPortFrom(c.addr, c.port), "reconfigure")
	}
	re.sent++
	re.rt = dhcp6.Timeout(re.rt, recTimeout, 0, s.rand)
	re.next = s.now + moment(re.rt)
}

// send sends a message of this name.
func (s *Server) send(b []byte, to netip.AddrPort, name string) {
	if err := s.link.DHCP.WriteTo(b, to); err != nil {
		s.count("hgw.send.error")
		s.log.Debug("hgw: send", "to", to, "err", err)
		return
	}
	s.count("hgw.sent." + name)
}
