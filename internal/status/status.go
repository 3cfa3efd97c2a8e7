// Package status is what a person or a program reads of a running line: the JSON
// document that `sofu-proto status --json` prints, and its text form.
//
// It is protocol-neutral, holds no secret, and turns the moments of a State into
// the seconds that are left when it is asked.
package status

import (
	"encoding/json"
	"net/netip"
	"time"

	"sofutobanku/internal/state"
)

// Status is the document. Its keys are stable: keys are added, never renamed.
type Status struct {
	Interface string            `json:"interface"`
	State     state.Phase       `json:"state"`
	Since     time.Time         `json:"since"` // when State became what it is
	Error     *Error            `json:"error"` // null when there is none
	WAN       WAN               `json:"wan"`
	Prefix    *Prefix           `json:"prefix"` // null without a delegation
	Tunnel    *Tunnel           `json:"tunnel"` // null without one
	Auth      *Auth             `json:"auth"`   // null before the first answer
	Phone     *Phone            `json:"phone"`  // null without Hikari Denwa
	HGW       *HGW              `json:"hgw"`    // null without a home gateway behind the router
	Counters  map[string]uint64 `json:"counters"`
	Events    []Event           `json:"events"` // the last ones, oldest first
	// MS is now on the clock of the events: milliseconds since the link came up, 0
	// before it did.
	MS float64 `json:"ms"`
}

// Error names what is wrong: Code is stable, Text is for people.
type Error struct {
	Code string `json:"code"`
	Text string `json:"text"`
}

// Lifetime is what is left in whole seconds; nil is for ever.
type Lifetime = *int64

// Address is an address with its prefix length and what is left of it.
type Address struct {
	Address   netip.Prefix `json:"address"`
	Preferred Lifetime     `json:"preferred"`
	Valid     Lifetime     `json:"valid"`
}

// Router is a default router and what is left of its lifetime.
type Router struct {
	Address netip.Addr `json:"address"`
	Valid   Lifetime   `json:"valid"`
}

// WAN is the uplink.
type WAN struct {
	Device    string       `json:"device"`
	Addresses []Address    `json:"addresses"`
	Routers   []Router     `json:"routers"`
	MTU       int          `json:"mtu"` // as advertised, 0 when it was not
	DNS       []netip.Addr `json:"dns"`
	Domains   []string     `json:"domains"`
	NTP       []netip.Addr `json:"ntp"`
}

// Prefix is the delegated prefix.
type Prefix struct {
	Prefix    netip.Prefix `json:"prefix"`
	Preferred Lifetime     `json:"preferred"`
	Valid     Lifetime     `json:"valid"`
}

// Tunnel is the IPv4-in-IPv6 tunnel.
type Tunnel struct {
	Device string     `json:"device"`
	Local  netip.Addr `json:"local"`
	Remote netip.Addr `json:"remote"`
	IPv4   netip.Addr `json:"ipv4"`
	MTU    int        `json:"mtu"`
	// EchoMS is the round trip of the last IPv4 echo through it in
	// milliseconds, null before one came back.
	EchoMS *float64 `json:"echo_ms"`
}

// Auth is the authentication's last answer. Attributes may repeat a name.
type Auth struct {
	Server     netip.AddrPort `json:"server"`
	RTTMS      float64        `json:"rtt_ms"`
	Attributes []Attribute    `json:"attributes"`
}

// Attribute is one value that the authentication server sent.
type Attribute struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Phone is what the line says of its telephone service, by DHCPv6 and, where the
// telephone network is joined, by DHCPv4.
type Phone struct {
	Numbers []string      `json:"numbers"` // the main one first
	Domain  string        `json:"domain"`
	SIP     []netip.Addr  `json:"sip"`     // servers, by IPv6
	SIP4    []netip.Addr  `json:"sip4"`    // servers, by IPv4
	Address *netip.Prefix `json:"address"` // of this router there, null without one
	DSCP    int           `json:"dscp"`    // that its packets are expected to bear
	Error   *Error        `json:"error"`   // of this alone, null when there is none
}

// HGW is the home gateway behind the router.
type HGW struct {
	Device    string        `json:"device"`     // the router's port to it
	Carrier   bool          `json:"carrier"`    // it is plugged in and on
	MAC       string        `json:"mac"`        // "" before it spoke
	LinkLocal *netip.Addr   `json:"link_local"` // null before it was given a prefix
	Prefix    *netip.Prefix `json:"prefix"`     // delegated to it, null without one
	Address   *netip.Prefix `json:"address"`    // a /128 or a /64 beside that, null without one
	Valid     Lifetime      `json:"valid"`      // of the prefix
	LastSeen  Lifetime      `json:"last_seen"`  // how long ago it spoke last, null for never
	// Forwarding is what forwards IPv4 and ARP between it and the WAN: "nft", "tc", or
	// "" for nothing.
	Forwarding string `json:"forwarding"`
	Error      *Error `json:"error"` // of this alone, null when there is none
}

// Event is a moment of the line's life.
type Event struct {
	// MS is milliseconds since the link came up.
	MS     float64 `json:"ms"`
	Name   string  `json:"name"`
	Detail string  `json:"detail,omitempty"`
}

// Of renders st at now. What a State does not hold is left for the caller.
func Of(st state.State, now time.Time) Status {
	s := Status{
		State: st.Phase,
		WAN: WAN{
			Device: st.WAN.Device, MTU: st.WAN.MTU, DNS: filled(st.WAN.DNS), Domains: filled(st.WAN.Domains),
			NTP: filled(st.WAN.NTP), Addresses: []Address{}, Routers: []Router{},
		},
		Counters: map[string]uint64{}, Events: []Event{},
	}
	if st.Error != nil {
		s.Error = &Error{Code: st.Error.Code, Text: st.Error.Text}
	}
	for _, a := range st.WAN.Addresses {
		s.WAN.Addresses = append(s.WAN.Addresses, Address{a.Prefix, preferred(a.Preferred, a.Deprecated, now), left(a.Valid, now)})
	}
	for _, r := range st.WAN.Routers {
		s.WAN.Routers = append(s.WAN.Routers, Router{r.Addr, left(r.Until, now)})
	}
	if p := st.Prefix; p != nil {
		s.Prefix = &Prefix{p.Prefix, preferred(p.Preferred, p.Deprecated, now), left(p.Valid, now)}
	}
	if t := st.Tunnel; t != nil {
		s.Tunnel = &Tunnel{Local: t.Local, Remote: t.Remote, IPv4: t.IPv4, MTU: t.MTU}
	}
	if h := st.HGW; h != nil {
		s.HGW = &HGW{Device: h.Device}
		if h.Error != nil {
			s.HGW.Error = &Error{Code: h.Error.Code, Text: h.Error.Text}
		}
		for _, r := range h.Routes {
			s.HGW.LinkLocal = &r.Via
			if s.HGW.Prefix == nil && r.Prefix.Bits() < 64 {
				s.HGW.Prefix, s.HGW.Valid = &r.Prefix, left(r.Until, now)
			} else {
				s.HGW.Address = &r.Prefix
			}
		}
	}
	if a := st.Auth; a != nil {
		s.Auth = &Auth{Server: a.Server, RTTMS: Milliseconds(a.RTT), Attributes: []Attribute{}}
		for _, attr := range a.Attributes {
			s.Auth.Attributes = append(s.Auth.Attributes, Attribute(attr))
		}
	}
	return s
}

// Milliseconds is d in milliseconds with microsecond precision.
func Milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// JSON is the document on one line, ended by a newline.
func (s Status) JSON() []byte {
	b, err := json.Marshal(s)
	if err != nil {
		// Every field marshals: only a change of the types above gets here.
		panic(err)
	}
	return append(b, '\n')
}

// filled is list, [] in JSON rather than null when it is empty.
func filled[T any](list []T) []T { return append([]T{}, list...) }

func left(t, now time.Time) Lifetime {
	d, ok := state.Remaining(t, now)
	if !ok {
		return nil
	}
	s := int64(d / time.Second)
	return &s
}

func preferred(t time.Time, deprecated bool, now time.Time) Lifetime {
	if deprecated {
		return new(int64)
	}
	return left(t, now)
}
