package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"sofutobanku/internal/counters"
	"sofutobanku/internal/dhcp4"
	"sofutobanku/internal/dhcp6"
	"sofutobanku/internal/echo"
	"sofutobanku/internal/hgw"
	"sofutobanku/internal/line"
	"sofutobanku/internal/link"
	"sofutobanku/internal/ra"
	"sofutobanku/internal/state"
	"sofutobanku/internal/status"
)

const (
	// overdueAfter is how long a line in order takes at the very most from
	// link-up to a prefix; later than that the user is told what is missing.
	overdueAfter = 10 * time.Second

	// The pause after a failed authentication doubles from one to the other,
	// so that a rejected router asks at most 24 times a day in the long run.
	firstAskPause = 5 * time.Second
	lastAskPause  = time.Hour

	// The pause before a failed apply or a refused socket is tried again.
	firstRepairPause = time.Second
	lastRepairPause  = time.Minute
)

// Codes of state.Error that only this machine can cause.
const (
	ErrRASocket   = "RA_SOCKET"   // no raw ICMPv6 socket could be had
	ErrDHCPSocket = "DHCP_SOCKET" // UDP port 546 of the device is not free
)

// Applier makes the system look like a State. Where it shows State.Error to a
// person, it shows in place of that what an Apply failed with: see state.ErrorOf.
type Applier interface {
	Prepare() error
	Apply(state.State) error
	Close() error
}

// Request is what an authentication has to go by.
type Request struct {
	line.Question
	MAC  net.HardwareAddr // of the WAN device
	Info *dhcp6.Info      // what DHCPv6 told, nil when it told nothing yet
}

// Ask does one authentication.
type Ask func(context.Context, Request) (line.Grant, error)

// Network is the sockets, injected for tests. Real is the real one.
type Network struct {
	Watch      func(ctx context.Context, dev string, onChange func(link.State)) error
	ListenRA   func(*net.Interface) (ra.Conn, error)
	ListenDHCP func(*net.Interface, netip.Addr) (dhcp6.Conn, error)
	// ListenPhone opens the socket of the telephone network's DHCPv4 client.
	ListenPhone func(*net.Interface) (dhcp4.Socket, error)
	// ListenHGW opens the sockets on the port to a home gateway; they send from a
	// link-local address.
	ListenHGW func(*net.Interface, netip.Addr) (hgw.Sockets, error)
	Echo      func(context.Context, echo.Config) (time.Duration, error)
}

// Real is the network of the machine.
func Real() Network {
	return Network{
		Watch: link.Watch, ListenRA: ra.Listen, ListenDHCP: dhcp6.Listen, Echo: echo.Ping,
		ListenPhone: func(ifi *net.Interface) (dhcp4.Socket, error) { return dhcp4.Listen(ifi) },
		ListenHGW:   hgw.Listen,
	}
}

// Config is all that a daemon is made of.
type Config struct {
	Interface string // its logical name, "wan"
	Tunnel    string // device name of the tunnel, for the status
	Line      line.Config
	RA        ra.Config // without its callbacks, Rand, Counters and Log
	// DHCP gives the client's configuration for a device with this MAC address, without
	// the same. terminal is the home gateway's MAC address, nil without one.
	DHCP func(mac, terminal net.HardwareAddr) dhcp6.Config
	// DHCP4 gives the same of the telephone network's client, also without the MAC
	// address.
	DHCP4 func(mac net.HardwareAddr) dhcp4.Config
	// NewAsk gives what does the authentications, and tells trace of their
	// moments.
	NewAsk func(trace func(event, detail string)) Ask
	// AskError puts an error of an Ask in words.
	AskError func(error) state.Error
	// AskAgain is the pause after a granted authentication before it is asked
	// again; 0 never asks again by itself.
	AskAgain time.Duration
	// Phone is what DHCPv6 and DHCPv4, either of which may be nil, tell of the
	// telephone service, nil without one.
	Phone func(*dhcp6.Info, *dhcp4.Lease) *status.Phone
	// OnPhone is told of each change of that, nil for none. It must not block, and may
	// be nil.
	OnPhone func(*status.Phone)
	// HGW is the configuration of a home gateway's server on Line.HGWDevice, without its
	// callback, Rand, Counters and Log; nil without one.
	HGW *hgw.Config
	// Forwarding says by what means IPv4 and ARP are forwarded to it, "" for none. It is
	// asked where HGW is not nil.
	Forwarding func() string

	Applier  Applier
	Network  Network
	Rand     func() *rand.Rand // a new independent source for each client
	Counters *counters.Set
	Log      *slog.Logger
	OnEvent  func(status.Event) // each moment of the timeline; may be nil
}

// Daemon runs one line.
type Daemon struct {
	cfg      Config
	mail     *mailbox
	timeline timeline
	ra       *ra.Client
	ask      Ask

	// Owned by the goroutine of Run.
	session  *line.Session
	seen     link.State // the device as last reported
	link     link.State // the part of it that the clients were served with
	dhcp     *dhcp6.Client
	dhcpMAC  string
	stopDHCP func()
	dhcpMode dhcp6.Mode
	routed,
	dhcpFailed bool
	asking      *job[line.Question]
	echoing     *job[line.Echo]
	overdue     *time.Timer
	socketError *state.Error
	applied     state.State  // the last one that Apply was called for
	applyError  *state.Error // what it failed with
	phone       *phone
	phoneFaults faults
	phoneTold   *status.Phone // what OnPhone and the applier know
	gateway     *gateway      // nil without a home gateway
	hgwFaults   faults
	reapply     bool
	repairs     map[string]*repair

	// What the control socket shows and an authentication goes by.
	mu         sync.Mutex
	mac        net.HardwareAddr
	info       *dhcp6.Info
	phoneLease *dhcp4.Lease
	hgwSeen    hgw.Event
	hgwCarrier bool
	published  state.State
	since      time.Time
	echoMS     *float64
	changed    chan struct{} // closed and replaced at each change
}

// job is work that runs for one question at a time.
type job[Q comparable] struct {
	question Q
	cancel   context.CancelFunc
}

// New returns a daemon that does nothing before Run.
func New(cfg Config) *Daemon {
	d := &Daemon{
		cfg: cfg, mail: newMailbox(), session: line.New(cfg.Line),
		since: time.Now(), changed: make(chan struct{}), dhcpMode: dhcp6.ModeOff,
		repairs: map[string]*repair{},
	}
	d.timeline.counters = cfg.Counters
	d.timeline.onEvent = func(e status.Event) {
		cfg.Log.Info(e.Name, "ms", e.MS, "detail", e.Detail)
		if cfg.OnEvent != nil {
			cfg.OnEvent(e)
		}
	}
	rc := cfg.RA
	rc.Rand, rc.Counters, rc.Log, rc.Trace = cfg.Rand(), cfg.Counters, cfg.Log, d.trace
	rc.OnChange = func(info ra.Info) { d.mail.post("ra", func() { d.onRA(info) }) }
	d.ra = ra.New(rc)
	d.ask = cfg.NewAsk(d.trace)
	if cfg.HGW != nil {
		d.gateway = d.newGateway()
	}
	return d
}

// Renew asks router, DHCPv6 server and authentication again, keeping what there
// is meanwhile.
func (d *Daemon) Renew() {
	d.mail.post("renew", func() {
		d.event("renew", "")
		d.ra.Solicit()
		if d.dhcp != nil {
			d.dhcp.Renew()
		}
		if d.phone != nil {
			d.phone.client.Renew()
		}
		d.session.Renew()
	})
}

// Restart forgets the line and learns it anew.
func (d *Daemon) Restart() {
	d.mail.post("restart", func() {
		d.event("restart", "")
		d.session.Restart()
		d.overdue.Reset(overdueAfter)
		d.setInfo(nil)
		d.ra.Forget()
		if d.dhcp != nil {
			d.dhcp.Restart()
		}
		if d.phone != nil {
			d.phone.client.Restart()
		}
	})
}

// Run brings the line up and keeps it up until ctx ends, then removes all that
// it made. The error is one that another attempt cannot mend.
func (d *Daemon) Run(ctx context.Context) (err error) {
	// A device that is not there yet is no reason to give up: Apply prepares it
	// when it comes.
	if err := d.cfg.Applier.Prepare(); err != nil {
		d.applyFailed(err)
	}
	running, stop := context.WithCancel(ctx)
	var clients sync.WaitGroup
	clients.Go(func() { d.ra.Run(running) })
	failed := make(chan error, 2)
	watched := func(err error) {
		if err != nil && running.Err() == nil {
			failed <- err
		}
	}
	clients.Go(func() {
		watched(d.cfg.Network.Watch(running, d.cfg.Line.Device, d.linkNews("link", func(l link.State, at time.Time) { d.onLink(running, l, at) })))
	})
	if d.gateway != nil {
		d.serveHGW(running, &clients, watched)
	}
	d.overdue = time.AfterFunc(overdueAfter, d.postOverdue)
	defer func() {
		stop()
		d.overdue.Stop()
		for kind := range d.repairs {
			d.repaired(kind)
		}
		// A Release (option norelease 0) leaves from an address and over routes
		// that the applier is about to remove.
		if d.stopDHCP != nil {
			d.stopDHCP()
		}
		if d.phone != nil {
			d.phone.stop()
		}
		clients.Wait()
		err = errors.Join(err, d.cfg.Applier.Close())
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case <-d.mail.ready:
			for _, f := range d.mail.take() {
				f()
			}
			d.settle(running)
		}
	}
}

// linkNews takes the news of a device for on. A carrier that was lost is acted upon even
// when it is back before anybody took the news: what is behind it may be another.
func (d *Daemon) linkNews(kind string, on func(link.State, time.Time)) func(link.State) {
	var lost atomic.Bool
	return func(l link.State) {
		now := time.Now()
		if !l.Up {
			lost.Store(true)
		}
		d.mail.post(kind, func() {
			if lost.Swap(false) && l.Up {
				down := l
				down.Up, down.LinkLocal = false, netip.Addr{}
				on(down, now)
			}
			on(l, now)
		})
	}
}

// onRA takes what the routers advertise. A router that reappears ends the
// DHCPv6 client's long pauses: what kept the line away is over.
func (d *Daemon) onRA(info ra.Info) {
	if len(info.Routers) > 0 && !d.routed && d.dhcp != nil && d.dhcpFailed {
		d.dhcp.Renew()
	}
	d.routed = len(info.Routers) > 0
	d.session.RA(info)
}

func (d *Daemon) postOverdue() { d.mail.post("overdue", d.session.Overdue) }

// onLink lends the clients sockets on the device as it is now.
func (d *Daemon) onLink(ctx context.Context, l link.State, at time.Time) {
	was := d.link
	if d.seen.Up && (!l.Up || l.Index != d.seen.Index) {
		d.phoneDown()
	}
	d.seen, d.link = l, l
	d.session.Link(l)
	d.setMAC(l.MAC)
	// The kernel drops addresses and routes of a device that goes down or away.
	d.reapply = true
	if was.Up && (!l.Up || l.Index != was.Index) {
		d.timeline.add(at, "link-down", "")
		d.ra.LinkDown()
		d.dhcpDown()
		was = link.State{}
	}
	if len(l.MAC) > 0 {
		d.ensureDHCP(ctx, l.MAC)
	}
	if !l.Up {
		d.link.LinkLocal = netip.Addr{} // the device keeps it, its socket is gone
		d.socketError = nil
		d.repaired("relink")
		return
	}
	ifi := &net.Interface{Index: l.Index, Name: l.Name, MTU: l.MTU, HardwareAddr: l.MAC}
	if !was.Up {
		d.timeline.start(at)
		d.timeline.add(at, "link-up", l.Name)
		d.overdue.Reset(overdueAfter)
	}
	// DHCPv6 first: its answers take the line two round trips further, the
	// router's only one.
	var dhcpErr, raErr error
	if l.LinkLocal != was.LinkLocal {
		d.ra.SetSource(l.LinkLocal)
		d.dhcpDown()
		if l.LinkLocal.IsValid() && d.dhcp != nil {
			d.timeline.add(at, "link-local", l.LinkLocal.String())
			dhcpErr = d.dhcpUp(ifi, l.LinkLocal)
		}
	}
	d.ra.SetLinkMTU(l.MTU)
	if !was.Up {
		raErr = d.raUp(ifi)
	}
	switch {
	case raErr != nil:
		d.link = link.State{} // so that the next try begins at the beginning
		d.socketFailed(ctx, ErrRASocket, raErr)
	case dhcpErr != nil:
		d.link.LinkLocal = netip.Addr{}
		d.socketFailed(ctx, ErrDHCPSocket, fmt.Errorf("%w: check that no other DHCPv6 client runs on %s", dhcpErr, l.Name))
	default:
		d.socketError = nil
		d.repaired("relink")
	}
}

func (d *Daemon) raUp(ifi *net.Interface) error {
	conn, err := d.cfg.Network.ListenRA(ifi)
	if err == nil {
		d.ra.LinkUp(conn)
	}
	return err
}

func (d *Daemon) dhcpUp(ifi *net.Interface, ll netip.Addr) error {
	conn, err := d.cfg.Network.ListenDHCP(ifi, ll)
	if err == nil {
		d.dhcp.LinkUp(conn)
	}
	return err
}

func (d *Daemon) dhcpDown() {
	if d.dhcp != nil {
		d.dhcp.LinkDown()
	}
}

// ensureDHCP sees to it that there is a DHCPv6 client for a device with this MAC
// address. Its DUID is made of the address, so another one needs another client.
func (d *Daemon) ensureDHCP(ctx context.Context, mac net.HardwareAddr) {
	if d.dhcp != nil && d.dhcpMAC == mac.String() {
		return
	}
	if d.stopDHCP != nil {
		d.stopDHCP()
	}
	cfg := d.cfg.DHCP(mac, d.hgwSeen.MAC)
	cfg.Rand, cfg.Counters, cfg.Log, cfg.Trace = d.cfg.Rand(), d.cfg.Counters, d.cfg.Log, d.trace
	var c *dhcp6.Client
	cfg.OnEvent = func(ev dhcp6.Event) {
		d.mail.post("dhcp6", func() {
			if d.dhcp == c {
				d.dhcpFailed = ev.Err != nil
				d.setInfo(ev.Info)
				d.session.DHCP(ev)
			}
		})
	}
	c = dhcp6.New(cfg)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := c.Run(ctx); err != nil && ctx.Err() == nil {
			d.cfg.Log.Error("no DHCPv6", "error", err)
		}
	}()
	d.stopDHCP = func() { cancel(); <-done }
	d.dhcp, d.dhcpMAC, d.dhcpMode = c, mac.String(), dhcp6.ModeOff
}
