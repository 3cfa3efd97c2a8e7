package netifd

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"sofutobanku/internal/state"
)

// advertised is what so many routers advertise, with so many prefixes and routes
// each, all of the longest text and each route from all of them.
func advertised(routers, each int, until time.Time) (wan state.WAN) {
	for r := range routers {
		via := netip.MustParseAddr(fmt.Sprintf("fe80::ffff:ffff:ffff:ff%02x", r))
		wan.Routers = append(wan.Routers, state.Router{Addr: via, Preference: 1, Until: until})
		for n := range each {
			wan.Addresses = append(wan.Addresses, state.Address{
				Prefix:    netip.MustParsePrefix(fmt.Sprintf("2001:db8:ff%02x:ff%02x:ffff:ffff:ffff:fff1/64", r, n)),
				Preferred: until, Valid: until,
			})
			wan.Routes = append(wan.Routes, state.Route{
				Prefix: netip.MustParsePrefix(fmt.Sprintf("2001:db8:eeee:ffff:ffff:ffff:ffff:ff%02x/128", n)), Via: via, Until: until,
			})
		}
	}
	return wan
}

// TestMostThatRoutersCanAdvertise: what package ra keeps of forged advertisements
// makes a message that netifd takes.
func TestMostThatRoutersCanAdvertise(t *testing.T) {
	now := time.Now()
	st := state.State{Phase: state.Up, WAN: advertised(16, 16, now.Add(0xfffffffe*time.Second))}
	// And as many routes as package dhcp4 takes.
	st.Phone = &state.Phone{Address: netip.MustParsePrefix("198.51.100.242/30")}
	for n := range 64 {
		st.Phone.Routes = append(st.Phone.Routes, state.Route{Prefix: netip.MustParsePrefix(fmt.Sprintf("203.113.113.%d/32", 100+n)), Via: netip.MustParseAddr("198.51.100.241")})
	}
	for _, extend := range []bool{false, true} {
		a := New(Options{Interface: "wan", SourceFilter: true, ExtendPrefix: extend})
		v := a.opt.render(st, now)
		b, err := encode(a.update(v, now))
		if err != nil || len(b) > maxMessage || len(v.routes) > maxRoutes {
			t.Errorf("%d bytes, %d routes, %v", len(b), len(v.routes), err)
		}
	}
}

// TestRoutesBeyondTheBoundCostNothing: a million routes, of a thousand sources by as
// many routes, took so long that the next advertisement was there before.
func TestRoutesBeyondTheBoundCostNothing(t *testing.T) {
	now := time.Now()
	o := Options{SourceFilter: true}
	v := o.render(state.State{Phase: state.Up, WAN: advertised(32, 32, now.Add(time.Hour))}, now)
	if took := time.Since(now); took > 5*time.Second || len(v.routes) != maxRoutes {
		t.Errorf("%d routes in %v", len(v.routes), took)
	}
}
