package isp

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"time"

	"sofutobanku/internal/control"
)

// Line is a whole simulated line.
type Line struct {
	set    *settings
	j      *Journal
	kernel System
	ra     *advertiser
	dhcp   *dhcpServer
	radius *radiusServer
	phone  *phoneServer // nil without a telephone network
	br     *br
	since  time.Time
	quit   context.CancelFunc // set by Run
	ctx    context.Context    // Run's, for commands
}

// System is what a line needs of the kernel that it runs on, which is a Kernel.
type System interface {
	routes
	tunneler
	// Watch calls up whenever the line's device came back, until ctx ends.
	Watch(ctx context.Context, up func(error)) error
	Close() error
}

// Network is what a line stands on, closed by it when it ends.
type Network struct {
	MAC    net.HardwareAddr // of the carrier's router
	RA     RAConn
	DHCP   PacketConn // where clients send to, from the router's link-local address
	RADIUS PacketConn
	Phone  PacketConn // of DHCPv4, nil for none
	Kernel System
}

// Open makes all that the line needs in the calling thread's network namespace:
// addresses, sockets, routes. Run removes it.
func Open(c Config, j *Journal, seed [32]byte) (_ *Line, err error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	k, err := OpenKernel(c.Device, c.LinkLocal)
	if err != nil {
		return nil, err
	}
	var conns []interface{ Close() error }
	defer func() {
		if err != nil {
			for _, conn := range conns {
				conn.Close()
			}
			err = errors.Join(err, k.Close())
		}
	}()
	own := []netip.Addr{c.RADIUS.Addr()}
	if !c.NoBR {
		if err := k.CheckTunnel(c.BR, c.farEnd(c.Prefix, c.IPv4)); err != nil {
			return nil, err
		}
		if err := k.PrepareBR(c.BR); err != nil {
			return nil, err
		}
		own = append(own, c.Echo)
	}
	for _, a := range own {
		if err := k.AddLocal(a); err != nil {
			return nil, err
		}
	}
	if c.Forward {
		if err := k.Forward(); err != nil {
			return nil, err
		}
	}
	if c.Kind == NextRA {
		if err := k.Route(c.Prefix, netip.Addr{}); err != nil {
			return nil, err
		}
	}

	ifi, err := net.InterfaceByName(c.Device)
	if err != nil {
		return nil, fmt.Errorf("device %s: %w", c.Device, err)
	}
	raw, err := listenRA(ifi, c.LinkLocal)
	if err != nil {
		return nil, err
	}
	conns = append(conns, raw)
	udp, err := listenDHCP(ifi, c.LinkLocal, c.DHCPSourcePort)
	if err != nil {
		return nil, err
	}
	conns = append(conns, udp)
	auth, err := listenUDP(c.RADIUS)
	if err != nil {
		return nil, err
	}
	conns = append(conns, auth)
	n := Network{MAC: ifi.HardwareAddr, RA: raw, DHCP: udp, RADIUS: auth, Kernel: k}
	if c.Phone && c.Recording == nil {
		if err := k.AddNetwork(netip.PrefixFrom(c.PhoneGateway(), c.PhoneAddress.Bits())); err != nil {
			return nil, err
		}
		for _, a := range c.SIP4 {
			if err := k.AddLocal(a); err != nil {
				return nil, err
			}
		}
		if n.Phone, err = listenPhone(ifi); err != nil {
			return nil, err
		}
	}
	return New(c, j, seed, n), nil
}

// New returns a line on a network of the caller's, which does nothing before
// Run. c has passed its Check.
func New(c Config, j *Journal, seed [32]byte, n Network) *Line {
	l := &Line{set: &settings{c: c}, j: j, kernel: n.Kernel, since: time.Now()}
	src := rand.NewChaCha8(seed)
	l.ra = newAdvertiser(l.set, j, n.RA, n.MAC, rand.New(src))
	// Each part has a generator of its own: they are not safe to share.
	var second [32]byte
	src.Read(second[:])
	l.dhcp = newDHCPServer(l.set, j, n.DHCP, n.Kernel, n.MAC, rand.New(rand.NewChaCha8(second)))
	if n.Phone != nil {
		l.phone = &phoneServer{set: l.set, j: j, conn: n.Phone}
	}
	l.br = &br{j: j}
	if !c.NoBR {
		l.br.kernel = n.Kernel
	}
	grant := l.br.grant
	if c.Recording != nil { // whose BR may be another each time
		grant = func(ipv4, addr, ce netip.Addr) error {
			if err := l.br.prepare(addr); err != nil {
				return err
			}
			return l.br.grant(ipv4, addr, ce)
		}
	}
	l.radius = &radiusServer{set: l.set, j: j, conn: n.RADIUS, prefix: l.prefixInUse, grant: grant}
	return l
}

// prefixInUse is the prefix that the subscriber has, invalid without one.
func (l *Line) prefixInUse() netip.Prefix {
	if c := l.set.get(); c.Kind == NextRA {
		return c.Prefix
	}
	if d := l.dhcp.delegated(); d != nil {
		return d.Prefix
	}
	return netip.Prefix{}
}

// Run serves until ctx ends, `quit` is commanded or a part fails, then removes
// everything. Commands are taken on a control socket at socket, unless it is "".
func (l *Line) Run(ctx context.Context, socket string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l.ctx, l.quit = ctx, cancel
	c := l.set.get()
	l.j.say(partLine, "start", "%s on %s: prefix %v, IPv4 %v, BR %v, RADIUS %v", c.Kind, c.Device, c.Prefix, c.IPv4, c.BR, c.RADIUS)
	if c.Recording != nil {
		l.j.say(partLine, "recording", "%v", c.Recording)
	}
	parts := []func(context.Context) error{
		l.ra.run,
		l.dhcp.run,
		l.radius.run,
		func(ctx context.Context) error {
			return l.kernel.Watch(ctx, func(err error) {
				if err != nil {
					l.j.say(partLine, "restore-error", "%v", err)
				}
				l.j.say(partLine, "device-up", "%s is up again", c.Device)
				l.ra.advertise()
			})
		},
	}
	if l.phone != nil {
		parts = append(parts, l.phone.run)
	}
	if socket != "" {
		parts = append(parts, func(ctx context.Context) error { return control.Serve(ctx, socket, l.Command) })
	}
	ends := make(chan error)
	for _, run := range parts {
		go func() { ends <- run(ctx) }()
	}
	var errs []error
	for range parts { // the first that ends, ends all
		errs = append(errs, <-ends)
		cancel()
	}
	errs = append(errs, l.kernel.Close())
	err := errors.Join(errs...)
	if err == nil {
		l.j.say(partLine, "stop", "all that was made is removed")
	}
	return err
}

// State is everything about the line, for `sofu-isp ctl … state`.
type State struct {
	Line     Kind              `json:"line"`
	Device   string            `json:"device"`
	Since    time.Time         `json:"since"`
	Prefix   netip.Prefix      `json:"prefix"` // that the next lease gets
	IPv4     netip.Addr        `json:"ipv4"`   // that the next Access-Accept grants
	BR       netip.Addr        `json:"br"`
	RADIUS   netip.AddrPort    `json:"radius"`
	Echo     netip.Addr        `json:"echo"`
	Lenient  bool              `json:"lenient"`
	Reject   string            `json:"reject,omitempty"`
	Silent   []string          `json:"silent"`
	RA       int64             `json:"ra_lifetime"` // seconds
	Lease    *LeaseState       `json:"lease"`
	Phone    *PhoneState       `json:"phone"`
	Tunnel   *BRState          `json:"tunnel"`
	Counters map[string]uint64 `json:"counters"`
	Wrong    []Event           `json:"wrong"` // the last ones, the latest at the end
}

// State returns the line as it is now.
func (l *Line) State() State {
	c := l.set.get()
	counts, wrong := l.j.snapshot()
	s := State{
		Line: c.Kind, Device: c.Device, Since: l.since,
		Prefix: c.Prefix, IPv4: c.IPv4, BR: c.BR, RADIUS: c.RADIUS, Echo: c.Echo,
		Lenient: c.Lenient, Reject: c.Reject, Silent: []string{},
		RA:    int64(c.RALifetime / time.Second),
		Lease: l.dhcp.delegated(), Tunnel: l.br.state(),
		Counters: counts, Wrong: wrong,
	}
	if l.phone != nil {
		s.Phone = l.phone.lease()
	}
	for _, p := range silences {
		if *p.field(&c) {
			s.Silent = append(s.Silent, p.name)
		}
	}
	if s.Wrong == nil {
		s.Wrong = []Event{}
	}
	slices.Sort(s.Silent)
	return s
}
