package isp

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// phoneServer gives the line's one subscriber an address in the telephone network, by
// DHCPv4 (RFC 2131).
type phoneServer struct {
	set  *settings
	j    *Journal
	conn PacketConn

	mu    sync.Mutex
	mac   net.HardwareAddr // who has the address, nil for nobody
	until time.Time
}

// PhoneState is the lease of the telephone network.
type PhoneState struct {
	MAC     string       `json:"mac"`
	Address netip.Prefix `json:"address"`
	Until   time.Time    `json:"until"`
}

// everybody is where answers go to a client that has no address yet.
var everybody = netip.AddrPortFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), 68)

// run serves until ctx ends or the conn fails.
func (s *phoneServer) run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { s.conn.Close() })
	defer stop()
	defer s.conn.Close()
	b := make([]byte, 65536)
	for {
		n, from, err := s.conn.ReadFrom(b)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("dhcp4: %w", err)
		case err != nil:
			s.j.say(partPhone, "read-error", "%v", err)
			if !pause(ctx) {
				return nil
			}
			continue
		}
		if reply, to := s.handle(b[:n], from); reply != nil {
			if err := s.conn.WriteTo(reply, to); err != nil {
				s.j.say(partPhone, "send-error", "to %v: %v", to, err)
			}
		}
	}
}

// handle answers one packet, nil: with nothing, and says where to.
func (s *phoneServer) handle(b []byte, from netip.AddrPort) ([]byte, netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.set.get()
	m, err := dhcpv4.FromBytes(b)
	if err != nil {
		s.j.wrong(partPhone, "malformed", "from %v: %v", from, err)
		return nil, from
	}
	kind := map[dhcpv4.MessageType]string{
		dhcpv4.MessageTypeDiscover: "discover", dhcpv4.MessageTypeRequest: "request",
		dhcpv4.MessageTypeDecline: "decline", dhcpv4.MessageTypeRelease: "release",
	}[m.MessageType()]
	if kind == "" || m.OpCode != dhcpv4.OpcodeBootRequest {
		s.j.wrong(partPhone, "malformed", "from %v: %v is no client's", from, m.MessageType())
		return nil, from
	}
	mac := m.ClientHWAddr
	own, asked, server := ipv4Of(m.ClientIPAddr), ipv4Of(m.RequestedIPAddress()), ipv4Of(m.ServerIdentifier())
	s.j.say(partPhone, kind, "from %v, %v, has %v, asks for %v of %v", from, mac, own, asked, server)
	if server.IsValid() && server != c.PhoneGateway() {
		s.j.say(partPhone, "other-server", "from %v: it is for %v", mac, server)
		return nil, from
	}
	faults := phoneFaults(m, kind)
	for _, f := range faults {
		s.j.wrong(partPhone, kind, "from %v: %s", mac, f)
	}
	if len(faults) > 0 && !c.Lenient {
		s.j.say(partPhone, "ignored", "%s from %v: the line would not answer this", kind, mac)
		return nil, from
	}
	if c.SilentPhone {
		s.j.say(partPhone, "silent", "%s from %v: not answered", kind, mac)
		return nil, from
	}
	mine := s.mac != nil && bytes.Equal(s.mac, mac)
	answer := dhcpv4.MessageTypeAck
	switch kind {
	case "release", "decline":
		if kind == "decline" {
			s.j.wrong(partPhone, "declined", "%v says that somebody else has %v", mac, asked)
		}
		if mine {
			s.mac = nil
		}
		return nil, from
	case "discover":
		if c.RefusePhone {
			s.j.say(partPhone, "refused", "%v: not answered", mac)
			return nil, from
		}
		answer = dhcpv4.MessageTypeOffer
	default:
		if ip := c.PhoneAddress.Addr(); c.RefusePhone || own.IsValid() && own != ip || !own.IsValid() && asked != ip {
			answer = dhcpv4.MessageTypeNak
		}
	}
	r, err := dhcpv4.NewReplyFromRequest(m, dhcpv4.WithMessageType(answer),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(c.PhoneGateway().AsSlice())))
	if err != nil {
		s.j.wrong(partPhone, "malformed", "from %v: %v", mac, err)
		return nil, from
	}
	to := everybody
	if answer == dhcpv4.MessageTypeNak {
		s.j.say(partPhone, "nak", "to %v", mac)
		return r.ToBytes(), to
	}
	if own.IsValid() {
		to = netip.AddrPortFrom(own, 68)
		r.ClientIPAddr = own.AsSlice()
	}
	s.fill(c, r, m)
	if answer == dhcpv4.MessageTypeAck {
		if s.mac != nil && !mine && time.Now().Before(s.until) {
			s.j.wrong(partPhone, "taken-over", "%v goes from %v to %v", c.PhoneAddress, s.mac, mac)
		}
		s.mac, s.until = slices.Clone(mac), time.Now().Add(c.PhoneLease)
	}
	s.j.say(partPhone, answer.String(), "%v to %v", c.PhoneAddress, mac)
	return r.ToBytes(), to
}

// fill adds to r all that m asks for and the line has.
func (s *phoneServer) fill(c Config, r, m *dhcpv4.DHCPv4) {
	r.YourIPAddr = c.PhoneAddress.Addr().AsSlice()
	seconds := func(d time.Duration) []byte { return binary.BigEndian.AppendUint32(nil, uint32(d/time.Second)) }
	set := func(code uint8, data []byte) {
		r.UpdateOption(dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(code), data))
	}
	set(51, seconds(c.PhoneLease))
	set(58, seconds(c.PhoneLease/2))
	set(59, seconds(c.PhoneLease/4*3))
	for _, code := range m.ParameterRequestList() {
		switch code.Code() {
		case 1:
			set(1, net.CIDRMask(c.PhoneAddress.Bits(), 32))
		case 120:
			list := []byte{1}
			for _, a := range c.SIP4 {
				list = append(list, a.AsSlice()...)
			}
			set(120, list)
		case 121:
			var list []byte
			for _, p := range c.PhoneRoutes {
				list = append(list, byte(p.Bits()))
				list = append(list, p.Addr().AsSlice()[:(p.Bits()+7)/8]...)
				list = append(list, c.PhoneGateway().AsSlice()...)
			}
			set(121, list)
		case 125:
			domain, _ := wireName(c.Domain) // Config.Check saw to both
			host, _ := wireName(c.Host)
			var info []byte
			for _, sub := range []struct {
				code byte
				data []byte
			}{{210, host}, {202, []byte(c.Number)}, {203, []byte(c.SecondNumber)}, {201, c.Terminal}, {204, domain}} {
				if len(sub.data) > 0 {
					info = append(append(info, sub.code, byte(len(sub.data))), sub.data...)
				}
			}
			set(125, append(binary.BigEndian.AppendUint32(nil, enterpriseNTT), append([]byte{byte(len(info))}, info...)...))
		}
	}
}

// phoneFaults is what the telephone network would not answer.
func phoneFaults(m *dhcpv4.DHCPv4, kind string) (faults []string) {
	bad := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	if len(m.ClientHWAddr) != 6 {
		bad("hardware address %v", m.ClientHWAddr)
	}
	if kind == "decline" || kind == "release" {
		return faults
	}
	// RFC 3925 3: the enterprise, the length, and in it the class with a length of its own.
	class := m.Options.Get(dhcpv4.OptionVendorIdentifyingVendorClass)
	want := append([]byte{0, 0, 0, enterpriseNTT, 7, 6}, m.ClientHWAddr...)
	if !bytes.Equal(class, want) {
		bad("vendor class (option 124) % x instead of % x", class, want)
	}
	var asked []uint8
	for _, code := range m.ParameterRequestList() {
		asked = append(asked, code.Code())
	}
	slices.Sort(asked)
	if !slices.Equal(asked, []uint8{1, 3, 120, 121, 125}) {
		bad("asks for the options %v, not for 1, 3, 120, 121 and 125", asked)
	}
	return faults
}

func ipv4Of(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	if a = a.Unmap(); !a.Is4() || a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}

// lease is who has the address, nil for nobody.
func (s *phoneServer) lease() *PhoneState {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mac == nil || time.Now().After(s.until) {
		return nil
	}
	return &PhoneState{MAC: s.mac.String(), Address: s.set.get().PhoneAddress, Until: s.until}
}
