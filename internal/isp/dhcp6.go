package isp

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/md5"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
)

// Reconfigure's retransmission (RFC 8415 7.6).
const (
	recTimeout = 2 * time.Second
	recMaxRC   = 8
)

// clientPort is where DHCPv6 clients listen (RFC 8415 7.2).
const clientPort = 546

// routes is the kernel's table, as far as the line needs it. An invalid via
// means that the prefix is on the device's own link.
type routes interface {
	Route(p netip.Prefix, via netip.Addr) error
	Unroute(p netip.Prefix) error
}

// PacketConn is a UDP socket. ReadFrom returns net.ErrClosed after Close.
type PacketConn interface {
	ReadFrom(b []byte) (n int, from netip.AddrPort, err error)
	WriteTo(b []byte, to netip.AddrPort) error
	Close() error
}

// dhcpServer delegates the line's one prefix to its one subscriber.
type dhcpServer struct {
	set    *settings
	j      *Journal
	conn   PacketConn
	routes routes
	duid   []byte

	mu      sync.Mutex
	rand    *rand.Rand
	lease   *lease
	peer    *peer // the last client that was given anything
	recon   *reconfigure
	replays uint64 // the last replay detection value
	closed  bool
	played  map[dhcpv6.MessageType]int // answers of Config.Recording, by the question
}

// lease is a delegated prefix.
type lease struct {
	duid   []byte
	iaid   [4]byte
	prefix netip.Prefix
	via    netip.Addr
	until  time.Time   // zero: never ends
	timer  *time.Timer // nil when it never ends
}

// peer is whom a Reconfigure can be sent to.
type peer struct {
	duid   []byte
	addr   netip.Addr
	accept bool     // it sent Reconfigure Accept
	key    [16]byte // what RKAP signs with (RFC 8415 20.4)
	keyed  bool     // it was given the key
}

// reconfigure is a Reconfigure that no answer came to yet.
type reconfigure struct {
	packet []byte
	to     netip.AddrPort
	sent   int
	timer  *time.Timer
}

func newDHCPServer(set *settings, j *Journal, conn PacketConn, r routes, mac net.HardwareAddr, rnd *rand.Rand) *dhcpServer {
	return &dhcpServer{
		set: set, j: j, conn: conn, routes: r, rand: rnd,
		duid: append([]byte{0, 3, 0, 1}, mac...),
		// Above every value of an earlier run, since a client keeps its key.
		replays: uint64(time.Now().UnixNano()),
	}
}

// run serves until ctx ends or the conn fails.
func (s *dhcpServer) run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { s.conn.Close() })
	defer stop()
	defer s.conn.Close()
	defer s.close()
	b := make([]byte, 65536)
	for {
		n, from, err := s.conn.ReadFrom(b)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("dhcp6: %w", err)
		case err != nil:
			s.j.say(partDHCP, "read-error", "%v", err)
			if !pause(ctx) {
				return nil
			}
			continue
		}
		if reply := s.handle(b[:n], from); reply != nil {
			if err := s.conn.WriteTo(reply, from); err != nil {
				s.j.say(partDHCP, "send-error", "to %v: %v", from, err)
			}
		}
	}
}

// close stops the timers and withdraws the route.
func (s *dhcpServer) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.stopReconfigure()
	s.drop()
}

// handle answers one packet; nil: with nothing.
func (s *dhcpServer) handle(b []byte, from netip.AddrPort) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.set.get()
	addr := from.Addr().WithZone("")
	m, err := parseMessage(b)
	if err != nil {
		s.j.wrong(partDHCP, "malformed", "from %v: %v", addr, err)
		return nil
	}
	kind := map[dhcpv6.MessageType]string{
		dhcpv6.MessageTypeSolicit:            "solicit",
		dhcpv6.MessageTypeRequest:            "request",
		dhcpv6.MessageTypeConfirm:            "confirm",
		dhcpv6.MessageTypeRenew:              "renew",
		dhcpv6.MessageTypeRebind:             "rebind",
		dhcpv6.MessageTypeRelease:            "release",
		dhcpv6.MessageTypeDecline:            "decline",
		dhcpv6.MessageTypeInformationRequest: "information",
	}[m.kind]
	if kind == "" {
		s.j.wrong(partDHCP, "malformed", "from %v: message type %d is no client's", addr, uint8(m.kind))
		return nil
	}
	wrong := func(format string, args ...any) {
		s.j.wrong(partDHCP, kind, "from %v: %s", addr, fmt.Sprintf(format, args...))
	}
	duid, hasID := m.one(dhcpv6.OptionClientID)
	if hasID && (len(duid) < 3 || len(duid) > 130) { // RFC 8415 11.1: 1 to 128 bytes after the type
		wrong("client identifier of %d bytes", len(duid))
		return nil
	}
	s.j.say(partDHCP, kind, "from %v port %d, %s, ORO %v", addr, from.Port(), duidText(duid), codes(m.requested()))

	// What RFC 8415 16 has every server discard.
	server, hasServer := m.one(dhcpv6.OptionServerID)
	switch m.kind {
	case dhcpv6.MessageTypeConfirm:
		wrong("Confirm holds no address to confirm: a delegated prefix is verified by Rebind (RFC 8415 18.2.12)")
		return nil
	case dhcpv6.MessageTypeDecline:
		wrong("a delegated prefix cannot be declined (RFC 8415 18.2.8)")
		return nil
	case dhcpv6.MessageTypeSolicit, dhcpv6.MessageTypeRebind:
		if hasServer {
			wrong("a server identifier is there (RFC 8415 16)")
			return nil
		}
	case dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeRelease:
		if !hasServer {
			wrong("no server identifier (RFC 8415 16)")
			return nil
		}
	}
	if hasServer && !bytes.Equal(server, s.duid) && c.Recording == nil {
		s.j.say(partDHCP, "other-server", "from %v: it is for %s", addr, duidText(server))
		return nil
	}
	if !hasID && m.kind != dhcpv6.MessageTypeInformationRequest {
		wrong("no client identifier (RFC 8415 16)")
		return nil
	}
	if !addr.Is6() || !addr.IsLinkLocalUnicast() {
		wrong("the source is not link-local (RFC 8415 18.2)")
		return nil
	}

	faults := m.faults()
	for _, f := range faults {
		wrong("%s", f)
	}
	if len(faults) > 0 && !c.Lenient {
		s.j.say(partDHCP, "ignored", "%s from %v: the line would not answer this", m.kind, addr)
		return nil
	}
	if !m.has(dhcpv6.OptionElapsedTime) {
		wrong("no elapsed time option (RFC 8415 21.9), answered all the same")
	}
	if c.SilentDHCP {
		s.j.say(partDHCP, "silent", "%s from %v: not answered", m.kind, addr)
		return nil
	}
	if s.recon != nil && s.peer != nil && bytes.Equal(s.peer.duid, duid) {
		switch m.kind {
		case dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeRebind, dhcpv6.MessageTypeInformationRequest:
			s.stopReconfigure()
		}
	}
	var reply *dhcpv6.Message
	if c.Recording != nil {
		reply = s.replayed(c, m, duid, addr)
	} else {
		reply = s.reply(c, m, duid, addr)
	}
	if reply == nil {
		return nil
	}
	return reply.ToBytes()
}

// reply makes the answer to a message that deserves one.
func (s *dhcpServer) reply(c Config, m *message, duid []byte, addr netip.Addr) *dhcpv6.Message {
	r := &dhcpv6.Message{MessageType: dhcpv6.MessageTypeReply, TransactionID: m.xid}
	if m.kind == dhcpv6.MessageTypeSolicit {
		r.MessageType = dhcpv6.MessageTypeAdvertise
	}
	if duid != nil {
		add(r, dhcpv6.OptionClientID, duid)
	}
	add(r, dhcpv6.OptionServerID, s.duid)

	said := ""
	for i, b := range m.get(dhcpv6.OptionIAPD) {
		ia, _ := parseIAPD(b) // its faults were said
		if len(b) < 12 {
			continue
		}
		var out *dhcpv6.OptIAPD
		if i > 0 { // the lenient server's answer to a second one
			out = status(ia.iaid, iana.StatusNoPrefixAvail, "one prefix a line")
		} else if out = s.answerIA(c, m.kind, ia, duid, addr); out == nil {
			return nil
		}
		said += iaText(out)
		r.AddOption(out)
	}
	if m.has(dhcpv6.OptionIANA) { // lenient: no address, the prefix counts
		for _, b := range m.get(dhcpv6.OptionIANA) {
			if len(b) >= 12 {
				na := &dhcpv6.OptIANA{IaId: [4]byte(b)}
				na.Options.Add(&dhcpv6.OptStatusCode{StatusCode: iana.StatusNoAddrsAvail, StatusMessage: "no addresses on this line"})
				r.AddOption(na)
			}
		}
	}
	if m.kind == dhcpv6.MessageTypeRelease {
		r.AddOption(&dhcpv6.OptStatusCode{StatusCode: iana.StatusSuccess})
		s.j.say(partDHCP, "reply", "to %v: released%s", addr, said)
		return r
	}
	given := s.addInformation(c, m, r)
	said += s.addReconfigure(c, m, r, duid, addr)
	kind := "reply"
	if m.kind == dhcpv6.MessageTypeSolicit {
		kind = "advertise"
	}
	s.j.say(partDHCP, kind, "to %v:%s options %v", addr, said, given)
	return r
}

// answerIA decides over the IA_PD of a message; nil: no answer at all.
func (s *dhcpServer) answerIA(c Config, kind dhcpv6.MessageType, ia iaPD, duid []byte, addr netip.Addr) *dhcpv6.OptIAPD {
	mine := s.lease != nil && bytes.Equal(s.lease.duid, duid) && s.lease.iaid == ia.iaid
	switch kind {
	case dhcpv6.MessageTypeRelease:
		if !mine {
			return status(ia.iaid, iana.StatusNoBinding, "no such binding")
		}
		s.j.say(partDHCP, "released", "%v", s.lease.prefix)
		s.drop()
		return &dhcpv6.OptIAPD{IaId: ia.iaid}
	case dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeRebind:
		if !mine {
			return status(ia.iaid, iana.StatusNoBinding, "no such binding")
		}
	}
	if c.Refuse != iana.StatusSuccess {
		return status(ia.iaid, c.Refuse, "refused by the operator")
	}
	if c.Kind == NextRA {
		return status(ia.iaid, iana.StatusNoPrefixAvail, "this line gives its prefix by RA")
	}
	if s.lease != nil && !mine {
		if c.Hold {
			s.j.wrong(partDHCP, "held", "%v is bound to %s IAID %x: another DUID or IAID is not answered before that ends", s.lease.prefix, duidText(s.lease.duid), s.lease.iaid)
			return nil
		}
		if kind != dhcpv6.MessageTypeSolicit {
			s.j.wrong(partDHCP, "taken-over", "%v goes from %s IAID %x to %s IAID %x: two clients on one line fight", s.lease.prefix, duidText(s.lease.duid), s.lease.iaid, duidText(duid), ia.iaid)
		}
	}
	out := &dhcpv6.OptIAPD{IaId: ia.iaid, T1: c.T1, T2: c.T2}
	addPrefix := func(p netip.Prefix, preferred, valid time.Duration) {
		out.Options.Add(&dhcpv6.OptIAPrefix{
			PreferredLifetime: preferred,
			ValidLifetime:     valid,
			Prefix:            &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 128)},
		})
	}
	// RFC 8415 18.3.4: what the client holds and the line no longer has, a few
	// of them at most, goes with lifetimes of 0.
	if kind == dhcpv6.MessageTypeRenew || kind == dhcpv6.MessageTypeRebind {
		for _, p := range ia.prefixes[:min(len(ia.prefixes), 4)] {
			if p.prefix != c.Prefix {
				addPrefix(p.prefix, 0, 0)
			}
		}
	}
	addPrefix(c.Prefix, c.Preferred, c.Valid)
	if kind != dhcpv6.MessageTypeSolicit {
		if err := s.bind(c, duid, ia.iaid, addr); err != nil {
			s.j.say(partDHCP, "route-error", "%v", err)
			return status(ia.iaid, iana.StatusNoPrefixAvail, "no route to you")
		}
	}
	return out
}

// bind makes or prolongs the lease and its route.
func (s *dhcpServer) bind(c Config, duid []byte, iaid [4]byte, via netip.Addr) error {
	if s.lease != nil && s.lease.prefix != c.Prefix {
		s.drop()
	}
	if err := s.routes.Route(c.Prefix, via); err != nil {
		return err
	}
	if s.lease != nil {
		s.lease.stop()
	}
	l := &lease{duid: duid, iaid: iaid, prefix: c.Prefix, via: via}
	if c.Valid < infinite {
		l.until = time.Now().Add(c.Valid)
		l.timer = time.AfterFunc(c.Valid, func() { s.expire(l) })
	}
	s.lease = l
	return nil
}

func (l *lease) stop() {
	if l.timer != nil {
		l.timer.Stop()
	}
}

// expire ends l unless it was replaced meanwhile.
func (s *dhcpServer) expire(l *lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lease == l && !s.closed {
		s.j.say(partDHCP, "expired", "%v of %s", l.prefix, duidText(l.duid))
		s.drop()
	}
}

// drop forgets the lease and withdraws its route.
func (s *dhcpServer) drop() {
	if s.lease == nil {
		return
	}
	s.lease.stop()
	if err := s.routes.Unroute(s.lease.prefix); err != nil {
		s.j.say(partDHCP, "route-error", "%v", err)
	}
	s.lease = nil
}

// addInformation adds the options that m asks for, and returns their codes.
func (s *dhcpServer) addInformation(c Config, m *message, r *dhcpv6.Message) []uint16 {
	var given []uint16
	seen := make(map[dhcpv6.OptionCode]bool)
	for _, code := range m.requested() {
		if seen[code] {
			continue
		}
		seen[code] = true
		var opt dhcpv6.Option
		switch code {
		case dhcpv6.OptionVendorOpts:
			if !c.Phone {
				continue
			}
			mac, err := m.vendorClass()
			if err != nil {
				// In Solicit, the terminal's class is not due.
				if m.kind != dhcpv6.MessageTypeSolicit {
					s.j.wrong(partDHCP, "vendor-class", "%v", err)
				}
				continue
			}
			s.j.say(partDHCP, "vendor-class", "Hikari Denwa information for the terminal %v", mac)
			opt = s.vendorInformation(c)
		case optSIPServers:
			if len(c.SIP) > 0 {
				opt = &dhcpv6.OptionGeneric{OptionCode: code, OptionData: addresses(c.SIP)}
			}
		case dhcpv6.OptionDNSRecursiveNameServer:
			if len(c.DNS) > 0 {
				opt = &dhcpv6.OptionGeneric{OptionCode: code, OptionData: addresses(c.DNS)}
			}
		case dhcpv6.OptionDomainSearchList:
			var b []byte
			for _, d := range c.Domains {
				if name, err := wireName(d); err == nil { // Config.Check saw to it
					b = append(b, name...)
				}
			}
			if len(b) > 0 {
				opt = &dhcpv6.OptionGeneric{OptionCode: code, OptionData: b}
			}
		case dhcpv6.OptionSNTPServerList:
			if len(c.SNTP) > 0 {
				opt = &dhcpv6.OptionGeneric{OptionCode: code, OptionData: addresses(c.SNTP)}
			}
		}
		if opt != nil {
			r.AddOption(opt)
			given = append(given, uint16(code))
		}
	}
	return given
}

// vendorInformation is option 17 with the Hikari Denwa information, in another
// order each time: clients must not rely on one.
func (s *dhcpServer) vendorInformation(c Config) dhcpv6.Option {
	domain, _ := wireName(c.Domain) // Config.Check saw to both
	host, _ := wireName(c.Host)
	o := &dhcpv6.OptVendorOpts{EnterpriseNumber: enterpriseNTT, VendorOpts: dhcpv6.Options{
		&dhcpv6.OptionGeneric{OptionCode: 201, OptionData: c.Terminal},
		&dhcpv6.OptionGeneric{OptionCode: 202, OptionData: []byte(c.Number)},
		&dhcpv6.OptionGeneric{OptionCode: 204, OptionData: domain},
		&dhcpv6.OptionGeneric{OptionCode: 210, OptionData: host},
	}}
	s.rand.Shuffle(len(o.VendorOpts), func(i, j int) {
		o.VendorOpts[i], o.VendorOpts[j] = o.VendorOpts[j], o.VendorOpts[i]
	})
	return o
}

// addReconfigure remembers the client for a Reconfigure, and hands out the key.
func (s *dhcpServer) addReconfigure(c Config, m *message, r *dhcpv6.Message, duid []byte, addr netip.Addr) string {
	accept := m.has(optReconfAccept)
	if accept {
		add(r, optReconfAccept, nil)
	}
	if m.kind == dhcpv6.MessageTypeSolicit || duid == nil {
		return ""
	}
	if s.peer == nil || !bytes.Equal(s.peer.duid, duid) {
		s.stopReconfigure()
		s.peer = &peer{duid: duid}
	}
	s.peer.addr, s.peer.accept = addr, accept
	// RFC 8415 20.4.1: the key goes out where an exchange begins, not with
	// every renewal.
	if !accept || !c.RKAP || (m.kind != dhcpv6.MessageTypeRequest && m.kind != dhcpv6.MessageTypeInformationRequest) {
		return ""
	}
	binary.BigEndian.PutUint64(s.peer.key[:8], s.rand.Uint64())
	binary.BigEndian.PutUint64(s.peer.key[8:], s.rand.Uint64())
	s.peer.keyed = true
	add(r, optAuth, s.auth(1, s.peer.key[:]))
	return " reconfigure key,"
}

// auth is the content of an RKAP authentication option (RFC 8415 20.4, 21.11):
// kind 1 carries the key, kind 2 an HMAC-MD5.
func (s *dhcpServer) auth(kind byte, value []byte) []byte {
	s.replays++
	b := []byte{3, 1, 0}
	b = binary.BigEndian.AppendUint64(b, s.replays)
	b = append(b, kind)
	return append(b, value...)
}

// reconfigure asks the client to come (RFC 8415 18.3.11) by Renew (5), Rebind
// (6) or Information-request (11), signed with its key unless unauth is set.
func (s *dhcpServer) reconfigure(what dhcpv6.MessageType, unauth bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.peer == nil {
		return errors.New("dhcp6: no client was given anything yet")
	}
	if !unauth && !s.peer.accept {
		return fmt.Errorf("dhcp6: %s sent no Reconfigure Accept option (`unauth` sends one all the same)", duidText(s.peer.duid))
	}
	if !unauth && !s.peer.keyed {
		return fmt.Errorf("dhcp6: %s was given no reconfigure key in this run (`unauth` sends one without)", duidText(s.peer.duid))
	}
	m := &dhcpv6.Message{MessageType: dhcpv6.MessageTypeReconfigure} // the transaction id is 0
	add(m, dhcpv6.OptionClientID, s.peer.duid)
	add(m, dhcpv6.OptionServerID, s.duid)
	add(m, optReconfMessage, []byte{byte(what)})
	if !unauth {
		// The digest covers the message with zeros in its own place.
		a := &dhcpv6.OptionGeneric{OptionCode: optAuth, OptionData: s.auth(2, make([]byte, md5.Size))}
		m.AddOption(a)
		h := hmac.New(md5.New, s.peer.key[:])
		h.Write(m.ToBytes())
		copy(a.OptionData[len(a.OptionData)-md5.Size:], h.Sum(nil))
	}
	s.stopReconfigure()
	rec := &reconfigure{packet: m.ToBytes(), to: netip.AddrPortFrom(s.peer.addr, clientPort)}
	s.recon = rec
	signed := "signed with the client's key"
	if unauth {
		signed = "not authenticated"
	}
	s.j.say(partDHCP, "reconfigure", "to %v: asks for %s, %s", rec.to.Addr(), what, signed)
	return s.sendReconfigure(rec)
}

// sendReconfigure sends rec and sets its timer: twice the time each round.
func (s *dhcpServer) sendReconfigure(rec *reconfigure) error {
	rec.timer = time.AfterFunc(recTimeout<<rec.sent, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.recon != rec {
			return
		}
		if rec.sent == recMaxRC {
			s.recon = nil
			s.j.wrong(partDHCP, "reconfigure", "%v never answered", rec.to.Addr())
			return
		}
		if err := s.sendReconfigure(rec); err != nil {
			s.j.say(partDHCP, "send-error", "%v", err)
		}
	})
	rec.sent++
	if err := s.conn.WriteTo(rec.packet, rec.to); err != nil {
		return fmt.Errorf("dhcp6: reconfigure to %v: %w", rec.to.Addr(), err)
	}
	return nil
}

func (s *dhcpServer) stopReconfigure() {
	if s.recon != nil {
		s.recon.timer.Stop()
		s.recon = nil
	}
}

// forget drops the lease without a word to the client; tells whether there was
// one.
func (s *dhcpServer) forget() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	had := s.lease != nil
	s.drop()
	return had
}

// failOver replaces the server by another one that shares its leases, and
// nothing else: it has another DUID and knows nobody's key.
func (s *dhcpServer) failOver() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopReconfigure()
	s.peer = nil
	s.duid = bytes.Clone(s.duid)
	s.duid[len(s.duid)-1]++
}

// LeaseState is a delegated prefix in State.
type LeaseState struct {
	Prefix netip.Prefix `json:"prefix"`
	Client string       `json:"client"`
	IAID   string       `json:"iaid"`
	Via    netip.Addr   `json:"via"`
	Until  *time.Time   `json:"until,omitempty"`
}

// delegated returns the lease, nil without one.
func (s *dhcpServer) delegated() *LeaseState {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lease == nil {
		return nil
	}
	l := &LeaseState{
		Prefix: s.lease.prefix,
		Client: duidText(s.lease.duid),
		IAID:   fmt.Sprintf("%x", s.lease.iaid),
		Via:    s.lease.via,
	}
	if !s.lease.until.IsZero() {
		l.Until = new(s.lease.until)
	}
	return l
}

func add(m *dhcpv6.Message, code dhcpv6.OptionCode, data []byte) {
	m.AddOption(&dhcpv6.OptionGeneric{OptionCode: code, OptionData: data})
}

func status(iaid [4]byte, code iana.StatusCode, text string) *dhcpv6.OptIAPD {
	ia := &dhcpv6.OptIAPD{IaId: iaid}
	ia.Options.Add(&dhcpv6.OptStatusCode{StatusCode: code, StatusMessage: text})
	return ia
}

// iaText is an IA_PD for people, empty where it holds nothing.
func iaText(ia *dhcpv6.OptIAPD) string {
	text := ""
	for _, p := range ia.Options.Prefixes() {
		text += fmt.Sprintf(" %v (preferred %v, valid %v),", p.Prefix, p.PreferredLifetime, p.ValidLifetime)
	}
	if st := ia.Options.Status(); st != nil {
		text += fmt.Sprintf(" %v,", st.StatusCode)
	}
	return text
}

func addresses(list []netip.Addr) []byte {
	var b []byte
	for _, a := range list {
		b = append(b, a.AsSlice()...)
	}
	return b
}

// codes are option codes for people, a few of them at most.
func codes(list []dhcpv6.OptionCode) []uint16 {
	out := make([]uint16, 0, len(list))
	for _, c := range list[:min(len(list), 16)] {
		out = append(out, uint16(c))
	}
	return out
}
