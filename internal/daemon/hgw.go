package daemon

import (
	"context"
	"net"
	"net/netip"
	"reflect"
	"sync"
	"time"

	"sofutobanku/internal/hgw"
	"sofutobanku/internal/link"
	"sofutobanku/internal/state"
	"sofutobanku/internal/status"
)

// Codes of state.HGW's errors that only this machine can cause.
const (
	ErrHGWSocket = "HGW_SOCKET" // UDP port 547 of the port is not free, or no raw socket could be had
	ErrHGWApply  = "HGW_APPLY"  // the system refused the forwarding or a route
)

// gateway is the home gateway behind the router, and its server.
type gateway struct {
	server *hgw.Server
	port   link.State
	index  int        // of the device that the server has sockets on, 0 for none
	source netip.Addr // link-local, that they send from
	tried  bool       // in vain, for sockets; another try is under way
	told   hgw.Upstream
}

// newGateway returns a gateway whose server does nothing yet.
func (d *Daemon) newGateway() *gateway {
	cfg := *d.cfg.HGW
	cfg.Rand, cfg.Counters, cfg.Log = d.cfg.Rand(), d.cfg.Counters, d.cfg.Log
	cfg.OnEvent = func(ev hgw.Event) { d.mail.post("hgw", func() { d.onHGW(ev) }) }
	return &gateway{server: hgw.New(cfg)}
}

// onHGW takes the picture of the home gateway. What the line gives for its telephone it
// gives for its MAC address.
func (d *Daemon) onHGW(ev hgw.Event) {
	d.session.HGW(ev)
	d.mu.Lock()
	d.hgwSeen = ev
	d.notify()
	d.mu.Unlock()
	if d.dhcp != nil {
		d.dhcp.SetRequestOptions(d.cfg.DHCP(d.seen.MAC, ev.MAC).RequestOptions)
	}
}

// onPort takes the new state of the port to the home gateway.
func (d *Daemon) onPort(l link.State) {
	g := d.gateway
	g.port = l
	d.session.Port(l)
	d.reapply = true
	d.mu.Lock()
	d.hgwCarrier = l.Up
	d.notify()
	d.mu.Unlock()
	// Even one that is back already: another may be plugged in.
	if !l.Up {
		g.down()
	}
	g.tried = false
}

func (g *gateway) down() {
	if g.index != 0 {
		g.server.LinkDown()
		g.index = 0
	}
}

// settleHGW sees to it that the server has sockets where the port works and is the home
// gateway's alone, and knows what the line gives.
func (d *Daemon) settleHGW(h *state.HGW) {
	if h == nil {
		return
	}
	g, l := d.gateway, d.gateway.port
	if up := d.session.Upstream(); !reflect.DeepEqual(up, g.told) {
		g.told = up
		g.server.SetUpstream(up)
	}
	works := h.Forward && l.Up && l.LinkLocal.IsValid()
	if !works || l.Index != g.index || l.LinkLocal != g.source {
		g.down()
	}
	if !works {
		d.hgwFaults.socket = nil
		d.repaired("hgw-socket")
	}
	if !works || g.index != 0 || g.tried {
		return
	}
	sockets, err := d.cfg.Network.ListenHGW(&net.Interface{Index: l.Index, Name: l.Name, MTU: l.MTU, HardwareAddr: l.MAC}, l.LinkLocal)
	if err != nil {
		g.tried = true
		d.failed("cannot open a socket", &d.hgwFaults.socket, state.Error{Code: ErrHGWSocket, Text: err.Error() + ": check that no other DHCPv6 server runs on " + l.Name}, err)
		d.later("hgw-socket", func() { g.tried = false })
		return
	}
	d.hgwFaults.socket = nil
	d.repaired("hgw-socket")
	g.index, g.source = l.Index, l.LinkLocal
	g.server.LinkUp(sockets)
}

// serveHGW runs the server and watches its port until ctx ends.
func (d *Daemon) serveHGW(ctx context.Context, clients *sync.WaitGroup, failed func(error)) {
	clients.Go(func() { d.gateway.server.Run(ctx) })
	clients.Go(func() {
		failed(d.cfg.Network.Watch(ctx, d.cfg.Line.HGWDevice, d.linkNews("port", func(l link.State, _ time.Time) { d.onPort(l) })))
	})
}

// hgwStatus is what the State does not tell of the home gateway. d.mu is held.
func (d *Daemon) hgwStatus(h *status.HGW, now time.Time) {
	h.Carrier, h.MAC = d.hgwCarrier, d.hgwSeen.MAC.String()
	if t := d.hgwSeen.LastSeen; !t.IsZero() {
		ago := int64(now.Sub(t) / time.Second)
		h.LastSeen = &ago
	}
	h.Forwarding = d.cfg.Forwarding()
}
