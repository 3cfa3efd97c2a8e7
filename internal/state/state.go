// Package state is the one picture of a line that everything else renders.
//
// A session (package line) makes a State out of what the wire said; an applier
// (package kernel, package netifd) makes the system look like it; status prints
// it. No carrier is named here: every protocol of the house shares it.
package state

import (
	"errors"
	"net/netip"
	"reflect"
	"time"
)

// Phase is how far a line has come.
type Phase string

// The phases, from nothing to everything.
const (
	// Down: the WAN device has no carrier, is down, or is gone.
	Down Phase = "down"
	// Starting: there is a link and no global IPv6 prefix yet.
	Starting Phase = "starting"
	// IPv6: there is a prefix, and no IPv4 yet.
	IPv6 Phase = "ipv6"
	// Up: the tunnel is configured too.
	Up Phase = "up"
)

// State is everything an applier must render. A State is a value: whoever
// publishes one never changes it, its slices included, afterwards.
//
// Every time in it is the moment at which something ends; the zero Time means
// never (an infinite lifetime). Such times carry Go's monotonic clock, so a step
// of the wall clock changes nothing.
type State struct {
	Phase Phase
	Error *Error
	WAN   WAN

	// Prefix is the delegated prefix (RFC 8415 IA_PD), nil without one.
	Prefix *Prefix

	// OwnAddresses are addresses that the router must answer for although no
	// link carries them (for example the source of the authentication before
	// there is a tunnel device). They are deprecated from the start, so that
	// they never become the source of the router's own traffic.
	OwnAddresses []netip.Addr

	// Tunnel is the IPv4-in-IPv6 tunnel (RFC 2473), nil without one.
	Tunnel *Tunnel

	// Auth is what the authentication said, nil before its first answer.
	Auth *Auth

	// Phone is the telephone network on the WAN, nil where it is not joined.
	Phone *Phone

	// HGW is a home gateway behind the router, nil without one.
	HGW *HGW
}

// Phone is an IPv4 network beside the line's own, which telephones use.
type Phone struct {
	Address netip.Prefix // on the WAN device, invalid before there is one
	Routes  []Route      // IPv4; never a default route
	Error   *Error       // what is wrong with it, and with nothing else
}

// HGW is a home gateway (HGW) that keeps its place on the line, on a port of its own
// behind the router.
type HGW struct {
	Device string // the router's port to it
	// Forward: IPv4 and ARP go between the WAN and Device at layer 2, untouched.
	Forward bool
	// Reserved is the part of State.Prefix that the HGW is given of, and no LAN. It is
	// invalid where there is none.
	Reserved netip.Prefix
	Routes   []Route // IPv6, on Device, by way of the HGW
	Error    *Error  // what is wrong with it, and with nothing else
}

// Error is what keeps a line from being up, in words for a person.
type Error struct {
	Code string // a stable upper-case identifier, for example "AUTH_REJECTED"
	Text string // one sentence: what happened and what to do
}

// ErrApply is the code of what an applier failed with and has no code for.
const ErrApply = "APPLY" // the system refused a part of the State

// ErrorOf is what an applier failed with. An error with a method Code() string has a
// code of its own; of several it is the first.
func ErrorOf(err error) Error {
	if e, ok := errors.AsType[interface {
		error
		Code() string
	}](err); ok {
		return Error{e.Code(), e.Error()}
	}
	return Error{ErrApply, err.Error()}
}

// Part names what is beside the line itself in a State.
type Part string

// The parts.
const (
	PartPhone Part = "phone" // State.Phone
	PartHGW   Part = "hgw"   // State.HGW
)

// PartError is what an applier failed with at one part alone. It is no reason to call
// the line anything but up.
type PartError struct {
	Part Part
	Err  error
}

func (e *PartError) Error() string { return e.Err.Error() }
func (e *PartError) Unwrap() error { return e.Err }

// Split takes the PartErrors out of joined errors: those of each part, and what is left.
func Split(err error) (parts map[Part]error, line error) {
	parts = map[Part]error{}
	var walk func(error)
	walk = func(err error) {
		switch e := err.(type) {
		case *PartError:
			parts[e.Part] = errors.Join(parts[e.Part], err)
		case interface{ Unwrap() []error }:
			for _, x := range e.Unwrap() {
				walk(x)
			}
		default:
			line = errors.Join(line, err)
		}
	}
	walk(err)
	return parts, line
}

// WAN is the uplink itself.
type WAN struct {
	Device    string
	Addresses []Address
	Routers   []Router // default routers, the preferred one first
	Routes    []Route  // more specific routes (RFC 4191) and on-link prefixes
	MTU       int      // of the link in bytes, 0 when unknown
	HopLimit  int      // for packets the router itself sends, 0 when unspecified
	DNS       []netip.Addr
	Domains   []string
	NTP       []netip.Addr
}

// Address is an address on the WAN device with its on-link prefix length.
type Address struct {
	Prefix    netip.Prefix
	Preferred time.Time // the zero Time is never, see State; for "deprecated now" see Deprecated
	Valid     time.Time
	// Deprecated: preferred lifetime 0 (RFC 4862 5.5.4).
	Deprecated bool
	// NoDAD: the address is the line's by the carrier's convention, so
	// duplicate address detection would only cost a second.
	NoDAD bool
}

// Router is a default router.
type Router struct {
	Addr       netip.Addr // link-local
	Preference int        // RFC 4191: 1 high, 0 medium, -1 low
	Until      time.Time
}

// Route is a route on the WAN; an invalid Via means on-link.
type Route struct {
	Prefix     netip.Prefix
	Via        netip.Addr
	Preference int // RFC 4191: 1 high, 0 medium, -1 low
	Until      time.Time
}

// Prefix is a delegated prefix.
type Prefix struct {
	Prefix     netip.Prefix
	Preferred  time.Time
	Valid      time.Time
	Deprecated bool // preferred lifetime 0
}

// Tunnel is an ip6tnl in mode ipip6 and the IPv4 it carries.
type Tunnel struct {
	Local  netip.Addr // this end (CE)
	Remote netip.Addr // the far end (BR)
	IPv4   netip.Addr // the line's IPv4 address, a /32
	MTU    int        // of the tunnel device in bytes
	TTL    int        // hop limit of the outer packet, 1 to 255
	// EncapLimit is the tunnel encapsulation limit option (RFC 2473 4.1.1),
	// 0 to 255, or negative for none.
	EncapLimit int
	// LocalOnWAN: Local belongs to a prefix that is on-link on the WAN, so the
	// router must answer neighbour solicitations for it there.
	LocalOnWAN bool
}

// Auth is the last answer of the authentication.
type Auth struct {
	Server     netip.AddrPort
	RTT        time.Duration
	Attributes []Attribute
}

// Attribute is a named value that the authentication server sent.
type Attribute struct {
	Name  string
	Value string
}

// Equal tells whether a and b would be rendered alike.
func (a State) Equal(b State) bool { return reflect.DeepEqual(a, b) }

// Expired tells whether a lifetime that ends at t is over at now; the zero Time
// never ends.
func Expired(t, now time.Time) bool { return !t.IsZero() && !now.Before(t) }

// Remaining is what is left at now of a lifetime that ends at t, never
// negative. ok is false when it never ends.
func Remaining(t, now time.Time) (left time.Duration, ok bool) {
	if t.IsZero() {
		return 0, false
	}
	return max(0, t.Sub(now)), true
}
