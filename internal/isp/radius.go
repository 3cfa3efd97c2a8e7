package isp

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/md5"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"layeh.com/radius"
)

// Sub-attributes of enterpriseSB in an Access-Accept.
const (
	vsaDNS6a, vsaDNS6b = 198, 199
	vsaNTP6            = 203
	vsaIPv4            = 204
	vsaDNS4a, vsaDNS4b = 205, 206
	vsaBR              = 207
	vsaEcho            = 211
	// vsaUnknown has no meaning: a client must live with it.
	vsaUnknown = 250
)

// duplicateTime is how long a request that comes again gets the answer that it got
// before, whatever has changed (RFC 5080 2.2.2).
const duplicateTime = 30 * time.Second

// radiusServer answers the Access-Requests of the line's one subscriber.
type radiusServer struct {
	set  *settings
	j    *Journal
	conn PacketConn
	// prefix is the one that is in use on the line, invalid without one.
	prefix func() netip.Prefix
	// grant makes the BR carry ipv4 to farEnd; an error is answered with a
	// Reject, since the subscriber would wait for nothing.
	grant  func(ipv4, br, farEnd netip.Addr) error
	played int // answers of Config.Recording
}

// run serves until ctx ends or the conn fails.
func (s *radiusServer) run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { s.conn.Close() })
	defer stop()
	defer s.conn.Close()
	b := make([]byte, 65536)
	var last answered
	for {
		n, from, err := s.conn.ReadFrom(b)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("radius: %w", err)
		case err != nil:
			s.j.say(partRADIUS, "read-error", "%v", err)
			if !pause(ctx) {
				return nil
			}
			continue
		}
		now := time.Now()
		if last.reply != nil && last.from == from && bytes.Equal(last.request, b[:n]) && now.Sub(last.at) < duplicateTime && !s.set.get().SilentRADIUS {
			s.j.say(partRADIUS, "duplicate", "from %v: answered as before", from)
		} else {
			last = answered{from, bytes.Clone(b[:n]), now, s.handle(b[:n], from)}
		}
		if last.reply != nil {
			if err := s.conn.WriteTo(last.reply, from); err != nil {
				s.j.say(partRADIUS, "send-error", "to %v: %v", from, err)
			}
		}
	}
}

// answered is the last request and its answer, nil for none.
type answered struct {
	from    netip.AddrPort
	request []byte
	at      time.Time
	reply   []byte
}

// handle answers one packet; nil: with nothing.
func (s *radiusServer) handle(b []byte, from netip.AddrPort) []byte {
	c := s.set.get()
	secret := c.Account.sharedSecret
	addr := from.Addr().Unmap().WithZone("")
	p, err := radius.Parse(b, secret)
	if err != nil {
		s.j.wrong(partRADIUS, "malformed", "from %v: %v", from, err)
		return nil
	}
	if p.Code != radius.CodeAccessRequest {
		s.j.wrong(partRADIUS, "malformed", "from %v: code %d, an Access-Request (1) is due", from, p.Code)
		return nil
	}
	b = b[:binary.BigEndian.Uint16(b[2:])] // RFC 2865 3: what follows is padding
	s.j.say(partRADIUS, "request", "from %v id %d, User-Name %s", from, p.Identifier, quote(p.Get(attrUserName)))
	if _, ok := p.Lookup(attrMessageAuthenticator); ok {
		// RFC 3579 3.2: silently discarded, for the client.
		at := findMessageAuthenticator(b)
		if at == 0 || !hmac.Equal(b[at:at+md5.Size], messageAuthenticator(b, at, p.Authenticator, secret)) {
			s.j.wrong(partRADIUS, "request", "Message-Authenticator is wrong: another shared secret? Not answered")
			return nil
		}
	}
	if c.SilentRADIUS {
		s.j.say(partRADIUS, "silent", "request from %v: not answered", from)
		return nil
	}

	if c.Recording != nil {
		return s.replayed(c, p, from)
	}
	prefix := s.prefix()
	sub := subscriber{kind: c.Kind, account: c.Account, prefix: prefix, mac: c.Account.mac}
	if sub.mac == "" && c.Kind == Next && c.Phone {
		sub.mac = c.Terminal.String() // as option 17 told the client
	}
	if prefix.IsValid() {
		sub.farEnd = c.farEnd(prefix, c.IPv4)
	}
	v := sub.checkRequest(p, addr)
	for _, f := range append(v.form, v.denied...) {
		s.j.wrong(partRADIUS, "request", "%s", f)
	}
	why := v.denied
	if !c.Lenient {
		why = append(v.form, v.denied...)
	}
	switch {
	case len(why) > 0:
		return s.reject(c, p, from, strings.Join(why, "; "))
	case c.Reject != "":
		return s.reject(c, p, from, c.Reject)
	case !prefix.IsValid(): // a configured User-Name does not need one, the tunnel does
		return s.reject(c, p, from, "no prefix is delegated to this line yet")
	}
	if err := s.grant(c.IPv4, c.BR, sub.farEnd); err != nil {
		s.j.say(partRADIUS, "br-error", "%v", err)
		return s.reject(c, p, from, "the BR is out of order")
	}
	s.j.say(partRADIUS, "accept", "to %v: IPv4 %v, BR %v", from, c.IPv4, c.BR)
	return s.encode(c, p.Response(radius.CodeAccessAccept), acceptAttributes(c), from)
}

// acceptAttributes are an Access-Accept's, packed as the request's are.
func acceptAttributes(c Config) radius.Attributes {
	var subs [][]byte
	sub := func(t byte, value []byte) {
		subs = append(subs, append([]byte{t, byte(2 + len(value))}, value...))
	}
	sub(vsaIPv4, c.IPv4.AsSlice())
	sub(vsaBR, c.BR.AsSlice())
	for i, a := range c.DNS[:min(2, len(c.DNS))] {
		sub([]byte{vsaDNS6a, vsaDNS6b}[i], a.AsSlice())
	}
	for i, a := range c.DNS4[:min(2, len(c.DNS4))] {
		sub([]byte{vsaDNS4a, vsaDNS4b}[i], a.AsSlice())
	}
	if c.NTP.IsValid() {
		sub(vsaNTP6, c.NTP.AsSlice())
	}
	sub(vsaEcho, c.Echo.AsSlice())
	sub(vsaUnknown, []byte{0xca, 0xfe})

	vendor := binary.BigEndian.AppendUint32(nil, enterpriseSB)
	var attrs radius.Attributes
	if c.Account.packed {
		attrs.Add(attrVendorSpecific, append(vendor, bytes.Join(subs, nil)...))
		return attrs
	}
	for _, b := range subs {
		attrs.Add(attrVendorSpecific, append(vendor[:4:4], b...))
	}
	return attrs
}

func (s *radiusServer) reject(c Config, p *radius.Packet, from netip.AddrPort, why string) []byte {
	s.j.say(partRADIUS, "reject", "to %v: %s", from, why)
	if len(why) > 253 {
		why = strings.ToValidUTF8(why[:250], "") + "…"
	}
	var attrs radius.Attributes
	attrs.Add(attrReplyMessage, []byte(why))
	return s.encode(c, p.Response(radius.CodeAccessReject), attrs, from)
}

// encode signs a response.
func (s *radiusServer) encode(c Config, r *radius.Packet, attrs radius.Attributes, from netip.AddrPort) []byte {
	if c.MessageAuthenticator {
		// First, so that a forger cannot slip anything in before it.
		r.Add(attrMessageAuthenticator, make([]byte, md5.Size))
	}
	r.Attributes = append(r.Attributes, attrs...)
	if c.MessageAuthenticator {
		b, err := r.MarshalBinary()
		if err == nil {
			r.Attributes[0].Attribute = messageAuthenticator(b, 22, r.Authenticator, r.Secret)
		}
	}
	b, err := r.Encode()
	if err != nil {
		s.j.say(partRADIUS, "send-error", "to %v: %v", from, err)
		return nil
	}
	return b
}
