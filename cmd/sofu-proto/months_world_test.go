package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mdlayher/ndp"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"

	"sofutobanku/internal/daemon"
	"sofutobanku/internal/dhcp4"
	"sofutobanku/internal/dhcp6"
	"sofutobanku/internal/echo"
	"sofutobanku/internal/isp"
	"sofutobanku/internal/link"
	"sofutobanku/internal/ra"
	"sofutobanku/internal/state"
)

// A world is a router and a carrier in virtual time:
//
//	daemon ── clients ── sockets ═══ wire ═══ sockets ── isp.Line
//	   │                                                    │
//	   └► State ► world.Apply (the router's kernel)         └► carrier (its kernel)
//
// The daemon is put together by sofu-proto itself, from a configuration file. The
// carrier is the one that the demo runs. Both kernels are the test's: what the
// applied State does not have, its sockets cannot use.
type world struct {
	t    *testing.T
	wait func()
	kind isp.Kind
	dir  string     // of the configuration, and of the lease
	rand *rand.Rand // the test's own

	line   *isp.Line
	server struct{ ra, dhcp, radius *socket }
	daemon *daemon.Daemon // nil while none runs
	end    func()
	links  chan link.State

	mu      sync.Mutex
	tape    func(what string, b []byte, from netip.AddrPort) // is told of every packet, nil for none
	dice    *rand.Rand                                       // of the wire
	link    link.State
	noise   float64       // the share of packets that are lost, doubled, or late
	radius  time.Duration // by which RADIUS answers later than others
	noEcho  bool          // nobody behind the BR answers
	clients map[netip.AddrPort]*socket
	state   state.State  // as applied last
	granted netip.Prefix // the last one with which the line was up
	changes int          // of state's shape
	drawn   string
	ending  *time.Timer // looks at what state still has
	counts  map[string]int
	routes  map[netip.Prefix]netip.Addr // the carrier's, with their gateways
	tunnel  [3]netip.Addr               // the BR's: BR, CE, IPv4
	faults  []string
	story   string // the record at the first of them
	record  ring
}

const (
	wanDevice    = "wan0"
	tunnelDevice = "wan-4"
	oneWay       = 5 * time.Millisecond // over the wire
)

var (
	wanMAC    = net.HardwareAddr{0, 0, 0x5e, 0, 0x53, 1}
	wanLL     = netip.MustParseAddr("fe80::200:5eff:fe00:5301")
	ispMAC    = net.HardwareAddr{0, 0, 0x5e, 0, 0x53, 0xaa}
	ispLL     = netip.MustParseAddr("fe80::1")
	raSocket  = netip.AddrPortFrom(wanLL, 0)
	dhcpPort  = netip.AddrPortFrom(wanLL, 546)
	radiusDst = isp.Default(isp.Next).RADIUS
)

// newWorld is a world whose carrier works, with the link down and no daemon yet.
// It ends with the test. The router is configured with options beside the necessary
// ones, the carrier by edit.
func newWorld(t *testing.T, kind isp.Kind, seed uint64, options string, edit func(*isp.Config)) *world {
	return newWorldOf(t, kind, seed, options, edit, synctest.Wait)
}

// newWorldOf is newWorld, in another time than a bubble's; wait waits until everybody
// has done what is to be done at this moment.
func newWorldOf(t *testing.T, kind isp.Kind, seed uint64, options string, edit func(*isp.Config), wait func()) *world {
	line := uint64(slices.Index(allLines, kind)) // no two lines have the same life
	w := &world{
		t: t, wait: wait, kind: kind, dir: stateDir(t),
		rand: rand.New(rand.NewPCG(seed, line)), dice: rand.New(rand.NewPCG(line, seed)),
		ending: time.NewTimer(0), links: make(chan link.State, 16),
		clients: map[netip.AddrPort]*socket{}, counts: map[string]int{}, routes: map[netip.Prefix]netip.Addr{},
		link: link.State{Exists: true, Index: 2, Name: wanDevice, MAC: wanMAC, MTU: 1500},
	}
	file := func(name, text string) string {
		path := filepath.Join(w.dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	lineName := kind
	if kind == isp.NextRA {
		lineName = isp.Next
	}
	file("network", fmt.Sprintf(`
config interface 'wan'
	option device '%s'
	option line '%s'
	option auth_server '%s'
	option shared_secret 'shared'
	option password 'pass'
%s`, wanDevice, lineName, radiusDst, options))
	account, err := isp.ReadAccount(file("account", `{"shared_secret": "shared", "password": "pass"}`), kind)
	if err != nil {
		t.Fatal(err)
	}
	c := isp.Default(kind)
	c.Device, c.Account = "isp0", account
	if edit != nil {
		edit(&c)
	}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	if kind == isp.NextRA {
		w.routes[c.Prefix] = netip.Addr{} // on-link
	}
	w.server.ra, w.server.dhcp, w.server.radius = newSocket(), newSocket(), newSocket()
	w.line = isp.New(c, isp.NewJournal(&w.record, false, false), [32]byte{byte(seed)}, isp.Network{
		MAC: ispMAC, RA: ispRA{w.server.ra, w}, DHCP: ispUDP{w.server.dhcp, w, netip.AddrPortFrom(ispLL, 547)},
		RADIUS: ispUDP{w.server.radius, w, radiusDst}, Kernel: carrier{w},
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- w.line.Run(ctx, "") }()
	w.wait()
	t.Cleanup(func() {
		w.stop()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the carrier: %v", err)
		}
		if len(w.faults) > 0 || t.Failed() {
			t.Errorf("%s\nwhat happened last:\n%s", strings.Join(w.faults, "\n"), cmp.Or(w.story, w.record.String()))
		}
	})
	return w
}

// stateDir is a folder in RAM, if there is such a file system, as on a router: the
// lease is synced to it every two hours.
func stateDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "sofu-proto-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// start starts the daemon.
func (w *world) start() {
	_, l, err := loadLine(w.dir, "wan", "", w.dir, slog.New(slog.DiscardHandler))
	if err != nil {
		w.t.Fatal(err)
	}
	l.rand = w.newRand
	l.dial = w.dialRADIUS
	cfg := l.daemonConfig()
	cfg.Interface, cfg.Tunnel, cfg.Applier = "wan", tunnelDevice, w
	cfg.Network = daemon.Network{Watch: w.watch, ListenRA: w.listenRA, ListenDHCP: w.listenDHCP, Echo: w.echo, ListenPhone: w.listenPhone}
	w.daemon = daemon.New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- w.daemon.Run(ctx) }()
	w.end = func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("the daemon: %v", err)
		}
	}
}

func (w *world) newRand() *rand.Rand {
	w.mu.Lock()
	defer w.mu.Unlock()
	return rand.New(rand.NewPCG(w.dice.Uint64(), 2))
}

// stop ends the daemon as SIGTERM does.
func (w *world) stop() {
	if w.daemon != nil {
		w.end()
		w.daemon = nil
	}
}

// crash ends the daemon without its last words: the lease file is as before.
func (w *world) crash() error {
	b, err := os.ReadFile(w.leaseFile())
	w.stop()
	switch {
	case err == nil:
		return os.WriteFile(w.leaseFile(), b, 0o600)
	case errors.Is(err, fs.ErrNotExist):
		return os.RemoveAll(w.leaseFile())
	}
	return err
}

func (w *world) leaseFile() string { return filepath.Join(w.dir, "wan.lease") }

// setLink sets the WAN device's state. Its link-local address takes a moment.
func (w *world) setLink(exists, up bool) {
	w.mu.Lock()
	if exists && !w.link.Exists {
		w.link.Index++ // a device that comes back is another one
	}
	w.link.Exists, w.link.Up, w.link.LinkLocal = exists, up, netip.Addr{}
	w.mu.Unlock()
	w.tellLink()
	if up {
		time.Sleep(200 * time.Millisecond)
		w.mu.Lock()
		w.link.LinkLocal = wanLL
		w.mu.Unlock()
		w.tellLink()
	}
	w.wait()
}

func (w *world) tellLink() {
	if w.daemon != nil {
		w.links <- w.linkState()
	}
}

func (w *world) linkState() link.State {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.link.Exists {
		return link.State{Name: wanDevice}
	}
	return w.link
}

func (w *world) watch(ctx context.Context, _ string, onChange func(link.State)) error {
	onChange(w.linkState())
	for {
		select {
		case l := <-w.links:
			onChange(l)
		case <-ctx.Done():
			return nil
		}
	}
}

func (w *world) count(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[what]++
}

func (w *world) counted() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.counts)
}

// fault notes what must not be. The first few tell the story.
func (w *world) fault(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faultLocked(format, args...)
}

func (w *world) faultLocked(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.record.note("FAULT %s", text)
	if w.story == "" {
		w.story = w.record.String()
	}
	if len(w.faults) < 10 {
		w.faults = append(w.faults, time.Now().Format(time.DateTime)+" "+text)
	}
}

// Apply is the router's kernel.
func (w *world) Apply(st state.State) error {
	now := time.Now()
	for _, what := range over(st, now) {
		w.fault("applied: %s", what)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts["apply"]++
	// Until a new prefix is granted or refused its IPv4, the tunnel stays where it was.
	// With no prefix at all it ends.
	prefix := prefixOf(st)
	if st.Phase == state.Up || !prefix.IsValid() {
		w.granted = prefix
	}
	if t := st.Tunnel; t != nil && !w.granted.Contains(t.Local) {
		w.faultLocked("the tunnel's local end %v with the prefix %v, %v being the last one that was up", t.Local, prefix, w.granted)
	}
	if shapeOf(w.state) != shapeOf(st) {
		w.changes++
	}
	w.state = st
	if text := w.render(st, now); text != w.drawn {
		w.drawn = text
		w.record.note("STATE %s", text)
	}
	// What ends has to be replaced when it does.
	w.ending.Stop()
	if end := firstEnd(st); !end.IsZero() {
		w.ending = time.AfterFunc(end.Sub(now)+2*time.Second, func() {
			for _, what := range over(w.applied(), time.Now()) {
				w.fault("still applied: %s", what)
			}
		})
	}
	return nil
}

func (w *world) Prepare() error { return nil }

func (w *world) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ending.Stop()
	w.state, w.granted = state.State{}, netip.Prefix{}
	return nil
}

func (w *world) applied() state.State {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state
}

// prefixOf is the line's prefix in a State, delegated or advertised.
func prefixOf(st state.State) netip.Prefix {
	if st.Prefix != nil {
		return st.Prefix.Prefix
	}
	for _, a := range st.WAN.Addresses {
		if a.NoDAD {
			p, _ := a.Prefix.Addr().Prefix(64)
			return p
		}
	}
	return netip.Prefix{}
}

// moments calls f with all that ends in a State, and when.
func moments(st state.State, f func(what any, until time.Time)) {
	if p := st.Prefix; p != nil {
		f(p.Prefix, p.Valid)
		if !p.Deprecated {
			f("the preference of the prefix", p.Preferred)
		}
	}
	for _, a := range st.WAN.Addresses {
		f(a.Prefix, a.Valid)
		if !a.Deprecated {
			f("the preference of an address", a.Preferred)
		}
	}
	for _, r := range st.WAN.Routers {
		f(r.Addr, r.Until)
	}
	for _, r := range st.WAN.Routes {
		f(r.Prefix, r.Until)
	}
}

// over names what is in a State although it has ended at now. Moments that are less
// than a second apart are one to the wire.
func over(st state.State, now time.Time) (list []string) {
	moments(st, func(what any, until time.Time) {
		if !until.IsZero() && now.Sub(until) >= time.Second {
			list = append(list, fmt.Sprintf("%v, which ended %v ago", what, now.Sub(until)))
		}
	})
	return list
}

// firstEnd is when the first thing in a State ends, zero for never.
func firstEnd(st state.State) (first time.Time) {
	moments(st, func(_ any, until time.Time) {
		if first.IsZero() || !until.IsZero() && until.Before(first) {
			first = until
		}
	})
	return first
}

// shape is a State without what a healthy line changes.
type shape struct {
	phase  state.Phase
	code   string
	prefix netip.Prefix
	tunnel state.Tunnel
	routed bool
}

func shapeOf(st state.State) shape {
	s := shape{phase: st.Phase, prefix: prefixOf(st), routed: len(st.WAN.Routers) > 0}
	if st.Error != nil {
		s.code = st.Error.Code
	}
	if st.Tunnel != nil {
		s.tunnel = *st.Tunnel
	}
	return s
}

// changed is how often the applied State changed in more than its lifetimes.
func (w *world) changed() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changes
}

// hasAddress tells whether the router answers for a.
func hasAddress(st state.State, a netip.Addr) bool {
	return slices.Contains(st.OwnAddresses, a) || st.Tunnel != nil && st.Tunnel.Local == a ||
		slices.ContainsFunc(st.WAN.Addresses, func(x state.Address) bool { return x.Prefix.Addr() == a })
}

// carry brings a packet over the wire to whatever socket to names when it gets
// there.
func (w *world) carry(what string, b []byte, from netip.AddrPort, extra time.Duration, to func() *socket) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[what]++
	if w.tape != nil {
		w.tape(what, b, from)
	}
	if !w.link.Up {
		return
	}
	p := packet{bytes.Clone(b), from}
	copies := 1
	delay := oneWay + extra
	if w.noise > 0 {
		switch r := w.dice.Float64() / w.noise; {
		case r < 0.5:
			copies = 0
		case r < 0.75:
			copies = 2
		case r < 1:
			delay += time.Duration(w.dice.Int64N(int64(10 * time.Second)))
		}
	}
	for i := range copies {
		time.AfterFunc(delay+time.Duration(i)*time.Millisecond, func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			if s := to(); s != nil && w.link.Up {
				s.put(p)
			}
		})
	}
}

// toServer is a server's socket.
func toServer(s *socket) func() *socket { return func() *socket { return s } }

// toClient is the socket that the router has at an address; w.mu is held when it
// is called.
func (w *world) toClient(at netip.AddrPort) func() *socket {
	return func() *socket { return w.clients[at] }
}

// open makes the router's socket with the address at. Of two with one address the
// newer one gets the packets.
func (w *world) open(at netip.AddrPort) *socket {
	s := newSocket()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clients[at] = s
	s.onClose = func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.clients[at] == s {
			delete(w.clients, at)
		}
	}
	return s
}

// packet is a packet with its source.
type packet struct {
	data []byte
	from netip.AddrPort
}

// socket is a queue of received packets, which loses what does not fit.
type socket struct {
	in      chan packet
	closed  chan struct{}
	once    sync.Once
	onClose func()
}

func newSocket() *socket {
	return &socket{in: make(chan packet, 64), closed: make(chan struct{}), onClose: func() {}}
}

func (s *socket) put(p packet) {
	select {
	case s.in <- p:
	default:
	}
}

func (s *socket) ReadFrom(b []byte) (int, netip.AddrPort, error) {
	select {
	case p := <-s.in:
		return copy(b, p.data), p.from, nil
	case <-s.closed:
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}

func (s *socket) Close() error {
	s.once.Do(func() { close(s.closed); s.onClose() })
	return nil
}

// routerRA is the router's ra.Conn.
type routerRA struct {
	*socket
	w *world
}

func (w *world) listenRA(*net.Interface) (ra.Conn, error) { return routerRA{w.open(raSocket), w}, nil }

func (c routerRA) ReadRA(b []byte) (int, netip.Addr, int, error) {
	n, from, err := c.ReadFrom(b)
	return n, from.Addr(), ndp.HopLimit, err
}

func (c routerRA) Solicit(src netip.Addr) error {
	m := &ndp.RouterSolicitation{}
	if src.IsValid() {
		m.Options = []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: wanMAC}}
	} else {
		src = netip.IPv6Unspecified()
	}
	b, err := ndp.MarshalMessage(m)
	if err == nil {
		c.w.carry("router solicitation", b, netip.AddrPortFrom(src, 0), 0, toServer(c.w.server.ra))
	}
	return err
}

// routerDHCP is the router's dhcp6.Conn.
type routerDHCP struct {
	*socket
	w *world
}

func (w *world) listenDHCP(*net.Interface, netip.Addr) (dhcp6.Conn, error) {
	return routerDHCP{w.open(dhcpPort), w}, nil
}

func (c routerDHCP) WriteTo(b []byte, _ netip.AddrPort) error {
	names := map[byte]string{1: "solicit", 3: "request", 5: "renew", 6: "rebind", 8: "release", 11: "information"}
	c.w.carry(names[b[0]], b, dhcpPort, 0, toServer(c.w.server.dhcp))
	return nil
}

// routerUDP is a connected UDP socket of the router.
type routerUDP struct {
	*socket
	w             *world
	local, remote netip.AddrPort

	mu       sync.Mutex
	deadline time.Time
}

// silentPhone is a telephone network on which nobody answers.
type silentPhone struct{ closed chan struct{} }

func (w *world) listenPhone(*net.Interface) (dhcp4.Socket, error) {
	return silentPhone{make(chan struct{})}, nil
}

func (p silentPhone) Read([]byte) (int, netip.AddrPort, error) {
	<-p.closed
	return 0, netip.AddrPort{}, net.ErrClosed
}
func (p silentPhone) Close() error                                 { close(p.closed); return nil }
func (p silentPhone) Broadcast([]byte) error                       { return nil }
func (p silentPhone) Unicast([]byte, netip.Addr, netip.Addr) error { return nil }
func (p silentPhone) Check(context.Context, netip.Addr, bool, float64) (net.HardwareAddr, error) {
	return nil, nil
}

// dialRADIUS fails as the kernel does without the address, or without a route.
func (w *world) dialRADIUS(ctx context.Context, local netip.Addr, server netip.AddrPort) (net.Conn, error) {
	st := w.applied()
	if !hasAddress(st, local) {
		// Whoever asks for a prefix that went this very moment is told so soon.
		time.Sleep(time.Millisecond)
		if ctx.Err() == nil {
			w.fault("a socket with the source %v, which is not applied", local)
		}
		return nil, syscall.EADDRNOTAVAIL
	}
	if len(st.WAN.Routers) == 0 {
		return nil, syscall.ENETUNREACH
	}
	w.mu.Lock()
	at := netip.AddrPortFrom(local, uint16(1024+w.dice.IntN(60000)))
	w.mu.Unlock()
	return &routerUDP{socket: w.open(at), w: w, local: at, remote: server}, nil
}

func (c *routerUDP) Write(b []byte) (int, error) {
	if len(c.w.applied().WAN.Routers) == 0 {
		return 0, syscall.ENETUNREACH
	}
	c.w.carry("access-request", b, c.local, 0, toServer(c.w.server.radius))
	return len(b), nil
}

func (c *routerUDP) Read(b []byte) (int, error) {
	c.mu.Lock()
	left := time.NewTimer(time.Until(c.deadline))
	c.mu.Unlock()
	defer left.Stop()
	select {
	case p := <-c.in:
		return copy(b, p.data), nil
	case <-c.closed:
		return 0, net.ErrClosed
	case <-left.C:
		return 0, os.ErrDeadlineExceeded
	}
}

func (c *routerUDP) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	return nil
}

func (c *routerUDP) SetDeadline(time.Time) error      { return errors.ErrUnsupported }
func (c *routerUDP) SetWriteDeadline(time.Time) error { return errors.ErrUnsupported }
func (c *routerUDP) LocalAddr() net.Addr              { return net.UDPAddrFromAddrPort(c.local) }
func (c *routerUDP) RemoteAddr() net.Addr             { return net.UDPAddrFromAddrPort(c.remote) }

// echo is echo.Ping through the applied tunnel.
func (w *world) echo(ctx context.Context, c echo.Config) (time.Duration, error) {
	c.Dial = func(device string, source netip.Addr) (echo.Conn, error) {
		if t := w.applied().Tunnel; t == nil || t.IPv4 != source || device != tunnelDevice {
			return nil, syscall.EADDRNOTAVAIL
		}
		return routerICMP{w.open(netip.AddrPortFrom(source, 0)), w, source}, nil
	}
	return echo.Ping(ctx, c)
}

// routerICMP is a raw ICMP socket on the router's tunnel. Behind the BR, whoever is
// asked answers.
type routerICMP struct {
	*socket
	w      *world
	source netip.Addr
}

func (c routerICMP) ReadFrom(b []byte) (int, netip.Addr, error) {
	n, from, err := c.socket.ReadFrom(b)
	return n, from.Addr(), err
}

func (c routerICMP) WriteTo(b []byte, to netip.Addr) error {
	if !c.w.tunnelWorks() {
		c.w.count("echo")
		return nil
	}
	m, err := icmp.ParseMessage(1, b)
	if err != nil {
		return err
	}
	m.Type = ipv4.ICMPTypeEchoReply
	answer, err := m.Marshal(nil)
	if err == nil {
		c.w.carry("echo", answer, netip.AddrPortFrom(to, 0), oneWay, c.w.toClient(netip.AddrPortFrom(c.source, 0)))
	}
	return err
}

// tunnelWorks tells whether IPv4 passes: both ends agree, and there are routes
// between them.
func (w *world) tunnelWorks() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.state.Tunnel
	if t == nil || w.noEcho || w.tunnel != [3]netip.Addr{t.Remote, t.Local, t.IPv4} || len(w.state.WAN.Routers) == 0 || !w.link.Up {
		return false
	}
	for p := range w.routes {
		if p.Contains(t.Local) {
			return true
		}
	}
	return false
}

// carrier is the carrier's kernel, an isp.System.
type carrier struct{ w *world }

func (c carrier) Route(p netip.Prefix, via netip.Addr) error {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	c.w.routes[p] = via
	return nil
}

func (c carrier) Unroute(p netip.Prefix) error {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	delete(c.w.routes, p)
	return nil
}

func (c carrier) PrepareBR(netip.Addr) error { return nil }

func (c carrier) Tunnel(br, ce, ipv4 netip.Addr) error {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	c.w.tunnel = [3]netip.Addr{br, ce, ipv4}
	return nil
}

func (c carrier) Watch(ctx context.Context, _ func(error)) error { <-ctx.Done(); return nil }
func (c carrier) Close() error                                   { return nil }

// ispRA is the carrier's isp.RAConn.
type ispRA struct {
	*socket
	w *world
}

func (c ispRA) ReadFrom(b []byte) (int, netip.Addr, int, error) {
	n, from, err := c.socket.ReadFrom(b)
	return n, from.Addr(), ndp.HopLimit, err
}

func (c ispRA) WriteTo(b []byte, to netip.Addr) error {
	if to == wanLL || to.IsMulticast() {
		c.w.carry("router advertisement", b, netip.AddrPortFrom(ispLL, 0), 0, c.w.toClient(raSocket))
	}
	return nil
}

// ispUDP is a socket of a carrier's server.
type ispUDP struct {
	*socket
	w    *world
	from netip.AddrPort
}

func (c ispUDP) WriteTo(b []byte, to netip.AddrPort) error {
	what, extra := "answer of DHCPv6", time.Duration(0)
	if c.from == radiusDst {
		c.w.mu.Lock()
		what, extra = "answer of RADIUS", c.w.radius
		c.w.mu.Unlock()
	}
	c.w.carry(what, b, c.from, extra, c.w.toClient(to))
	return nil
}

// ring keeps the last lines that were written to it.
type ring struct {
	mu    sync.Mutex
	lines []string
}

func (r *ring) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("ra     advertise ")) {
		return len(b), nil // every few minutes
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.lines) == 100 {
		r.lines = slices.Delete(r.lines, 0, 50)
	}
	r.lines = append(r.lines, string(b))
	return len(b), nil
}

func (r *ring) note(format string, args ...any) {
	fmt.Fprintf(r, "%s %s\n", time.Now().Format("15:04:05.000"), fmt.Sprintf(format, args...))
}

func (r *ring) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.lines, "")
}
