package isp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"layeh.com/radius"

	"sofutobanku/internal/capture"
)

// Recording is a line that was captured, to be played back: what its carrier answered to
// which question, whatever that was. Only what belongs to the asker is his own then: the
// transaction, his identifiers, his MAC address where the capture has its subscriber's,
// the signatures. It is not changed after it was made.
type Recording struct {
	// Kind is the line's, by the User-Name of the Access-Request, or by the prefix.
	Kind Kind

	linkLocal netip.Addr
	dhcpPort  int
	server    netip.AddrPort // RADIUS
	prefix    netip.Prefix   // the first
	mac       []byte         // the subscriber's

	ras     [][]byte
	replies map[dhcpv6.MessageType][][]byte // by the question
	request radius.Attributes               // of an Access-Request
	answers []radiusAnswer
}

// radiusAnswer is what was answered to an Access-Request.
type radiusAnswer struct {
	code           radius.Code
	attrs          radius.Attributes
	ipv4, br, echo netip.Addr // of an Access-Accept, or not valid when no line can have it
}

// ReadRecording reads a capture file, of which a broken end does not matter.
func ReadRecording(path string) (*Recording, error) {
	file, err := capture.ReadFile(path)
	if err != nil && len(file.Frames) == 0 {
		return nil, err
	}
	r, err := NewRecording(file.Frames)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// errNoLine: a capture without anything that a carrier answers.
var errNoLine = errors.New("no answer of a carrier is in it")

// NewRecording makes a recording of frames, which are in the order of time. The
// subscriber is who was answered first.
func NewRecording(frames []capture.Frame) (*Recording, error) {
	r := &Recording{replies: map[dhcpv6.MessageType][][]byte{}}
	asked := map[[3]byte]dhcpv6.MessageType{} // by transaction
	requests := map[byte]radius.Attributes{}  // by identifier
	for _, f := range frames {
		b := f.Payload
		switch {
		case f.Kind == capture.RouterAdvertisement:
			if !r.linkLocal.IsValid() && f.Src.IsLinkLocalUnicast() {
				r.linkLocal = f.Src
			}
			// One router is played, and each of its advertisements once.
			if f.Src == r.linkLocal && (len(r.ras) == 0 || !bytes.Equal(r.ras[len(r.ras)-1], b)) {
				r.ras = append(r.ras, b)
			}
		case f.Kind == capture.DHCPv6 && b[0] != byte(dhcpv6.MessageTypeAdvertise) && b[0] != byte(dhcpv6.MessageTypeReply):
			asked[[3]byte(b[1:])] = dhcpv6.MessageType(b[0])
		case f.Kind == capture.DHCPv6 && r.subscribes(f.DstMAC):
			question, ok := asked[[3]byte(b[1:])]
			if !ok {
				continue // whatever that was
			}
			r.replies[question] = append(r.replies[question], b)
			r.dhcpPort = int(f.SrcPort)
			if m, err := parseMessage(b); err == nil && !r.prefix.IsValid() {
				p, _ := delegates(m)
				r.prefix = p.prefix
			}
		case f.Kind == capture.RADIUS && b[0] == byte(radius.CodeAccessRequest):
			p, err := radius.Parse(b, nil)
			if err != nil {
				continue
			}
			requests[p.Identifier] = p.Attributes
			if len(r.answers) == 0 { // the last that nobody answered, or the first that somebody did
				r.ask(p.Attributes, netip.AddrPortFrom(f.Dst, f.DstPort))
			}
		case f.Kind == capture.RADIUS && r.subscribes(f.DstMAC):
			p, err := radius.Parse(b, nil)
			if err != nil || requests[p.Identifier] == nil {
				continue
			}
			if len(r.answers) == 0 {
				r.ask(requests[p.Identifier], netip.AddrPortFrom(f.Src, f.SrcPort))
			}
			r.answers = append(r.answers, newAnswer(p))
		}
	}
	if len(r.ras) == 0 && len(r.replies) == 0 && len(r.answers) == 0 {
		return nil, errNoLine
	}
	r.Kind = Next
	if name := string(r.request.Get(attrUserName)); len(name) == 19 && strings.Count(name, ":") == 3 {
		r.Kind = Cross
	} else if p, ok := r.advertised(); ok && !r.prefix.IsValid() {
		r.Kind, r.prefix = NextRA, p
	}
	return r, nil
}

// ask takes an Access-Request and where it went.
func (r *Recording) ask(attrs radius.Attributes, server netip.AddrPort) {
	r.request = attrs
	if check6("", server.Addr()) == nil && server.Port() != 0 {
		r.server = server
	}
}

// subscribes tells whether mac is the subscriber's, who is the first that it is asked of.
func (r *Recording) subscribes(mac []byte) bool {
	if r.mac == nil {
		r.mac = mac
	}
	return bytes.Equal(r.mac, mac)
}

// delegates is the prefix that a reply gives, if it does and a line can have it.
func delegates(m *message) (iaPrefix, bool) {
	for _, b := range m.get(dhcpv6.OptionIAPD) {
		ia, _ := parseIAPD(b) // its faults are the recording's
		for _, p := range ia.prefixes {
			if p.valid > 0 && playable(Next, p.prefix) {
				return p, true
			}
		}
	}
	return iaPrefix{}, false
}

// playable tells whether a line can have the prefix.
func playable(kind Kind, p netip.Prefix) bool {
	return checkPrefix(kind, p) == nil && p.Addr().IsGlobalUnicast()
}

// advertised is the first prefix that the router advertises for the link.
func (r *Recording) advertised() (netip.Prefix, bool) {
	for _, ra := range r.ras {
		for b := ra[16:]; len(b) >= 8; b = b[8*int(b[1]):] { // a capture.Frame's can be read
			if b[0] != 3 || b[1] != 4 {
				continue
			}
			if p := netip.PrefixFrom(netip.AddrFrom16([16]byte(b[16:32])), int(b[2])).Masked(); playable(NextRA, p) {
				return p, true
			}
		}
	}
	return netip.Prefix{}, false
}

func newAnswer(p *radius.Packet) radiusAnswer {
	a := radiusAnswer{code: p.Code, attrs: p.Attributes}
	for _, attr := range p.Attributes {
		if attr.Type != attrVendorSpecific || len(attr.Attribute) < 4 || binary.BigEndian.Uint32(attr.Attribute) != enterpriseSB {
			continue
		}
		subs, _ := capture.Attributes(attr.Attribute[4:])
		for _, s := range subs {
			addr, ok := netip.AddrFromSlice(s.Data)
			if text, err := netip.ParseAddr(strings.Trim(string(s.Data), "\x00 ")); err == nil {
				addr, ok = text, true
			}
			switch {
			case ok && s.Code == vsaIPv4 && check4("", addr) == nil && !a.ipv4.IsValid():
				a.ipv4 = addr
			case ok && s.Code == vsaBR && check6("", addr) == nil && !a.br.IsValid():
				a.br = addr
			case ok && s.Code == vsaEcho && check4("", addr) == nil && !a.echo.IsValid():
				a.echo = addr
			}
		}
	}
	return a
}

// Apply makes c the line of the recording, whose Kind is c's already, and which is
// lenient: whom the capture answered is answered. What it does not tell stays.
func (r *Recording) Apply(c *Config) {
	c.Recording, c.Lenient = r, true
	if r.linkLocal.IsValid() {
		c.LinkLocal = r.linkLocal
	}
	if r.prefix.IsValid() {
		c.Prefix = r.prefix
	}
	if r.server.IsValid() {
		c.RADIUS = r.server
	}
	if r.dhcpPort != 0 {
		c.DHCPSourcePort = r.dhcpPort
	}
	for _, a := range slices.Backward(r.answers) { // the first counts
		if a.ipv4.IsValid() && a.br.IsValid() {
			c.IPv4, c.BR = a.ipv4, a.br
			if a.echo.IsValid() {
				c.Echo = a.echo
			}
		}
	}
}

// String is what there is to play, for people.
func (r *Recording) String() string {
	text := fmt.Sprintf("%d router advertisements", len(r.ras))
	for _, kind := range slices.Sorted(maps.Keys(r.replies)) {
		text += fmt.Sprintf(", %d answers to %s", len(r.replies[kind]), kind)
	}
	return text + fmt.Sprintf(", %d answers of RADIUS", len(r.answers))
}

// at is the n-th of list, from 0, and the last one for ever after.
func at[T any](list []T, n int) T { return list[min(n, len(list)-1)] }

// replayedRA is the n-th advertisement, with the MAC address of our device, nil when
// there is none.
func (r *Recording) replayedRA(n int, mac []byte) []byte {
	if len(r.ras) == 0 {
		return nil
	}
	b := bytes.Clone(at(r.ras, n))
	clear(b[2:4]) // the checksum is the kernel's
	for o := b[16:]; len(o) >= 8; o = o[8*int(o[1]):] {
		if o[0] == 1 && o[1] == 1 {
			copy(o[2:8], mac)
		}
	}
	return b
}

// replayed is the recording's answer to a message from addr, nil where it has none. A
// Renew or Rebind that it does not have is answered as the Request was.
func (s *dhcpServer) replayed(c Config, m *message, duid []byte, addr netip.Addr) *dhcpv6.Message {
	r, kind := c.Recording, m.kind
	if kind == dhcpv6.MessageTypeRelease {
		s.drop()
	}
	if len(r.replies[kind]) == 0 && (kind == dhcpv6.MessageTypeRenew || kind == dhcpv6.MessageTypeRebind) {
		kind = dhcpv6.MessageTypeRequest
	}
	if len(r.replies[kind]) == 0 {
		s.j.say(partDHCP, "silent", "%s from %v: the recording has no answer to that", m.kind, addr)
		return nil
	}
	if s.played == nil {
		s.played = map[dhcpv6.MessageType]int{}
	}
	recorded, err := parseMessage(at(r.replies[kind], s.played[kind]))
	s.played[kind]++
	if err != nil {
		s.j.say(partDHCP, "silent", "%s from %v: the recording's answer cannot be read: %v", m.kind, addr, err)
		return nil
	}
	reply := &dhcpv6.Message{MessageType: recorded.kind, TransactionID: m.xid}
	ours := m.get(dhcpv6.OptionIAPD)
	for _, o := range recorded.options {
		data := bytes.Clone(o.OptionData)
		switch o.OptionCode {
		case dhcpv6.OptionClientID:
			if data = duid; duid == nil {
				continue
			}
		case dhcpv6.OptionServerID:
			s.duid = data // whom the client is to ask next
		case dhcpv6.OptionIAPD:
			if len(data) >= 4 && len(ours) > 0 && len(ours[0]) >= 4 {
				copy(data, ours[0][:4]) // the IAID
			}
		case dhcpv6.OptionVendorOpts:
			// The terminal is the router itself, or another.
			if mac, ok := duidLL(duid); ok {
				data = bytes.ReplaceAll(data, r.mac, mac)
			}
		}
		add(reply, o.OptionCode, data)
	}
	if p, ok := delegates(recorded); ok && recorded.kind == dhcpv6.MessageTypeReply && len(ours) > 0 {
		ia, _ := parseIAPD(ours[0]) // its faults were said
		c.Prefix, c.Valid = p.prefix, time.Duration(p.valid)*time.Second
		if err := s.bind(c, duid, ia.iaid, addr); err != nil {
			s.j.say(partDHCP, "route-error", "%v", err)
		}
	}
	s.j.say(partDHCP, "replay", "to %v: the recording's %s", addr, recorded.kind)
	return reply
}

// replayed is the recording's answer to p.
func (s *radiusServer) replayed(c Config, p *radius.Packet, from netip.AddrPort) []byte {
	r := c.Recording
	for _, d := range differences(r.request, p.Attributes) {
		s.j.wrong(partRADIUS, "request", "%s", d)
	}
	if len(r.answers) == 0 {
		s.j.say(partRADIUS, "silent", "request from %v: the recording has no answer to that", from)
		return nil
	}
	a := at(r.answers, s.played)
	s.played++
	prefix := s.prefix()
	if a.ipv4.IsValid() && a.br.IsValid() && prefix.IsValid() {
		if err := s.grant(a.ipv4, a.br, c.farEnd(prefix, a.ipv4)); err != nil {
			s.j.say(partRADIUS, "br-error", "%v", err)
		}
	}
	s.j.say(partRADIUS, "replay", "to %v: the recording's %v", from, a.code)
	reply := p.Response(a.code)
	signature := 0
	for i, attr := range a.attrs {
		value := attr.Attribute
		if attr.Type == attrMessageAuthenticator {
			signature, value = i+1, make([]byte, len(value))
		}
		reply.Add(attr.Type, value)
	}
	if signature > 0 {
		b, err := reply.MarshalBinary()
		if at := findMessageAuthenticator(b); err == nil && at > 0 {
			copy(reply.Attributes[signature-1].Attribute, messageAuthenticator(b, at, p.Authenticator, p.Secret))
		}
	}
	b, err := reply.Encode()
	if err != nil {
		s.j.say(partRADIUS, "send-error", "to %v: %v", from, err)
		return nil
	}
	return b
}

// differences are how a request departs from the recorded one, but for what is made of
// the subscriber's addresses and secrets.
func differences(recorded, got radius.Attributes) []string {
	var out []string
	a, b := outline(recorded), outline(got)
	for i := range max(len(a), len(b)) {
		was, is := "nothing", "nothing"
		if i < len(a) {
			was = a[i]
		}
		if i < len(b) {
			is = b[i]
		}
		if was != is {
			out = append(out, fmt.Sprintf("attribute %d is %s, the recording's is %s", i+1, is, was))
		}
	}
	return out
}

// outline is each attribute by its name, and what is the same for all who have the unit.
func outline(attrs radius.Attributes) []string {
	var list []string
	for _, a := range attrs {
		text := attrName(a.Type)
		switch b := a.Attribute; {
		case a.Type == attrCHAPPassword && len(b) > 0:
			text += fmt.Sprintf(" %d", b[0])
		case a.Type == attrUserName:
			text += fmt.Sprintf(" of %d bytes", len(b))
		case a.Type == attrVendorSpecific && len(b) >= 4:
			text += fmt.Sprintf(" of %d:", binary.BigEndian.Uint32(b))
			subs, _ := capture.Attributes(b[4:])
			for _, s := range subs {
				if s.Code == 1 { // a MAC address, of which the form counts
					text += fmt.Sprintf(" 1 of %d bytes", len(s.Data))
				} else {
					text += fmt.Sprintf(" %d %s", s.Code, quote(s.Data))
				}
			}
		}
		list = append(list, text)
	}
	return list
}
