package hgw

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"time"
)

const second = moment(time.Second)

// Router constants of RFC 4861 10, and the variables of 6.2.1 as chosen here: a third
// and less of what is left of a router's lifetime in the worst case.
const (
	initialAdverts  = 3
	initialInterval = 16 * second
	minDelay        = 3 * second
	maxAnswerDelay  = second / 2
	maxInterval     = 200 * second
	minInterval     = 66 * second
	maxLifetime     = 1800 * second

	// sendRetry is the wait after an advertisement that the system refused.
	sendRetry = second
)

// What is advertised where the line says nothing.
const (
	defaultHopLimit  = 64
	defaultReachable = 300_000 // ms
	defaultRetrans   = 10_000  // ms
	defaultMTU       = 1500
)

// ICMPv6 types (RFC 4861 4).
const (
	typeRS = 133
	typeRA = 134
)

// adverts is the schedule of the advertisements.
type adverts struct {
	initial int // quick ones that are left
	next    moment
	last    moment // when the last one went out
	sent    []byte // it, nil for none
	until   moment // the end of the router's lifetime that it told
}

// routerUntil is until when the HGW may be told that this is a default router; now is
// for not at all.
func (s *Server) routerUntil() moment {
	return max(s.now, min(s.now+maxLifetime, s.up.router))
}

// advert is the advertisement as it is due now (RFC 4861 4.2), without its checksum.
func (s *Server) advert() []byte {
	in := func(v, lowest, highest, otherwise int64) uint32 {
		if v < lowest || v > highest {
			v = otherwise
		}
		return uint32(v)
	}
	const hour = 3600_000 // the most of RFC 4861 6.2.1
	up := &s.up
	be := binary.BigEndian
	const managedOther = 0xc0
	b := []byte{typeRA, 0, 0, 0, byte(in(int64(up.HopLimit), 1, 255, defaultHopLimit)), managedOther}
	b = be.AppendUint16(b, uint16((s.routerUntil()-s.now)/second))
	b = be.AppendUint32(b, in(int64(up.Reachable/time.Millisecond), 1, hour, defaultReachable))
	b = be.AppendUint32(b, in(int64(up.Retrans/time.Millisecond), 1, hour, defaultRetrans))
	b = append(append(b, 1, 1), s.link.MAC...) // source link-layer address
	return be.AppendUint32(append(b, 5, 1, 0, 0), in(int64(up.MTU), 1280, 1<<16-1, defaultMTU))
}

// advertise sends an advertisement that is due.
func (s *Server) advertise() {
	if s.now >= s.adverts.next {
		s.sendAdvert()
	}
}

// sendAdvert sends an advertisement and plans the next one (RFC 4861 6.2.4).
func (s *Server) sendAdvert() {
	a := &s.adverts
	b := s.advert()
	if err := s.link.RA.WriteRA(b); err != nil {
		s.count("hgw.send.error")
		s.log.Debug("hgw: router advertisement", "err", err)
		a.next = s.now + sendRetry
		return
	}
	s.count("hgw.sent.router-advertisement")
	a.sent, a.last, a.until = b, s.now, s.routerUntil()
	wait := minInterval + moment(s.rand.Int64N(int64(maxInterval-minInterval)+1))
	if a.initial > 0 {
		a.initial--
		wait = min(wait, initialInterval)
	}
	a.next = s.now + wait
}

// advertiseSoon plans an advertisement for at, or the first moment after it that RFC
// 4861 6.2.6 allows.
func (s *Server) advertiseSoon(at moment) {
	a := &s.adverts
	a.next = min(a.next, max(at, a.last+minDelay))
}

// readvertise plans an advertisement when the last one does not say what is so now.
func (s *Server) readvertise() {
	if s.link == nil {
		return
	}
	a := &s.adverts
	if a.sent == nil {
		return // it comes at once
	}
	b, until := s.advert(), s.routerUntil()
	copy(b[6:], a.sent[6:8]) // the lifetime shrinks by itself
	if !bytes.Equal(a.sent, b) || until < a.until-second ||
		// Of what was prolonged meanwhile the HGW must hear before it ends.
		until > s.now && a.until < a.next {
		s.advertiseSoon(s.now)
	}
}

// solicited takes a router solicitation. The answer goes to all nodes, as RFC 4861
// 6.2.6 has it in the usual case, so that no number of questions makes more of it.
func (s *Server) solicited(p packet) {
	if why := checkRS(p.data, p.from.Addr(), p.hopLimit); why != "" {
		s.drop(p, why, nil)
		return
	}
	s.count("hgw.received.router-solicitation")
	s.advertiseSoon(s.now + moment(s.rand.Int64N(int64(maxAnswerDelay))))
}

// checkRS is what a router solicitation is to be dropped for (RFC 4861 6.1.1), "" for
// nothing.
func checkRS(b []byte, from netip.Addr, hopLimit int) (why string) {
	switch {
	case hopLimit != 255:
		return "rs-hop-limit"
	case len(b) > maxMessage:
		return "rs-too-big"
	case len(b) < 8:
		return "rs-truncated"
	case b[0] != typeRS || b[1] != 0:
		return "rs-type"
	case !from.IsUnspecified() && !from.IsLinkLocalUnicast():
		return "rs-source"
	}
	for o := b[8:]; len(o) > 0; {
		if len(o) < 2 || o[1] == 0 || len(o) < 8*int(o[1]) {
			return "rs-option"
		}
		if o[0] == 1 && from.IsUnspecified() {
			return "rs-source"
		}
		o = o[8*int(o[1]):]
	}
	return ""
}
