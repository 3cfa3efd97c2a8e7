package hgw

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"time"

	"sofutobanku/internal/dhcp6"
)

// Sockets are what the server has on the HGW's device. LinkUp takes them over.
type Sockets struct {
	DHCP dhcp6.Conn // of the servers' port and group, sending from the device's own link-local address
	RA   RAConn
	MAC  net.HardwareAddr // of the device, 6 octets
}

// RAConn is the router discovery of one device.
type RAConn interface {
	// ReadRS blocks for the next router solicitation, its ICMPv6 header included;
	// net.ErrClosed after Close. The checksum is right.
	ReadRS(b []byte) (n int, from netip.Addr, hopLimit int, err error)
	// WriteRA sends an ICMPv6 message, whose checksum is left to it, to all nodes.
	WriteRA(b []byte) error
	Close() error
}

// Close closes both sockets.
func (s Sockets) Close() error { return errors.Join(s.DHCP.Close(), s.RA.Close()) }

// link is a pair of sockets and their readers.
type link struct {
	Sockets
	done    chan struct{}
	readers sync.WaitGroup
}

// packet is a message from the network.
type packet struct {
	link     *link
	data     []byte
	from     netip.AddrPort
	hopLimit int
	solicit  bool // a router solicitation, else DHCPv6
}

// LinkUp says that the device works. Sockets of before are closed. Whoever asks first
// takes over what another HGW held before.
func (s *Server) LinkUp(sockets Sockets) {
	if !s.do(func() { s.linkUp(sockets) }) {
		sockets.Close()
	}
}

// LinkDown says that the carrier was lost, and closes the sockets. What the HGW holds
// ages on.
func (s *Server) LinkDown() { s.do(s.linkDown) }

// SetUpstream says what the line gave the router. Until it told of a first prefix, what
// the lease file holds stands.
func (s *Server) SetUpstream(up Upstream) { s.do(func() { s.setUpstream(up) }) }

// do lets Run's goroutine call f, and reports false when Run is over.
func (s *Server) do(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	s.queue = append(s.queue, f)
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return true
}

// Run is the server's work until ctx ends, whose error it returns. At the end the HGW
// is told that this is no router any more.
func (s *Server) Run(ctx context.Context) error {
	defer s.end()
	s.began = time.Now()
	s.tick()
	s.load()
	s.publish()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var p packet
		select {
		case <-ctx.Done():
			s.tick()
			s.finish()
			return ctx.Err()
		case <-s.wake:
		case p = <-s.packets:
		case <-timer.C:
		}
		s.tick()
		for _, f := range s.called(false) {
			f()
		}
		switch {
		case p.link == nil || p.link != s.link:
		case p.solicit:
			s.solicited(p)
		default:
			s.receive(p)
		}
		timer.Stop()
		if next := s.work(); next != never {
			timer.Reset(time.Duration(next - s.now))
		}
	}
}

// called takes what was handed to do; last: there will be no more.
func (s *Server) called(last bool) []func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	queue := s.queue
	s.queue, s.ended = nil, last
	return queue
}

// work does what is due, and returns when there is more to do.
func (s *Server) work() (next moment) {
	next = never
	s.age()
	if s.link != nil {
		s.advertise()
		s.retransmit()
		next = s.adverts.next
		if s.reconfigure.packet != nil {
			next = min(next, s.reconfigure.next)
		}
	}
	s.publish()
	for i := range s.client.slots {
		if sl := &s.client.slots[i]; sl.held {
			next = min(next, sl.until)
		}
	}
	if s.dirty && s.now >= s.writable {
		s.save(false)
	}
	if s.dirty {
		next = min(next, s.writable)
	}
	return next
}

func (s *Server) linkUp(sockets Sockets) {
	s.linkDown()
	l := &link{Sockets: sockets, done: make(chan struct{})}
	s.link = l
	s.client.open, s.client.unheard = true, true
	s.adverts = adverts{initial: initialAdverts, next: s.now}
	l.readers.Go(func() {
		s.read(l, func(b []byte) (p packet, n int, err error) {
			n, p.from, err = l.DHCP.ReadFrom(b)
			return p, n, err
		})
	})
	l.readers.Go(func() {
		s.read(l, func(b []byte) (p packet, n int, err error) {
			var from netip.Addr
			n, from, p.hopLimit, err = l.RA.ReadRS(b)
			p.from, p.solicit = netip.AddrPortFrom(from, 0), true
			return p, n, err
		})
	})
	if s.stale() {
		s.askToRenew()
	}
}

func (s *Server) linkDown() {
	s.reconfigure = reconfigure{}
	if s.link == nil {
		return
	}
	s.link.Close()
	close(s.link.done)
	s.link.readers.Wait()
	s.link = nil
}

// end closes what is open and refuses further calls.
func (s *Server) end() {
	// Sockets that were handed over and never taken must be closed too; the other calls
	// only note something.
	for _, f := range s.called(true) {
		f()
	}
	s.linkDown()
}

// finish is what is left to do when ctx ends.
func (s *Server) finish() {
	if s.link != nil {
		s.up.router = s.now
		s.sendAdvert()
	}
	s.save(true)
}

// read hands packets over until the link is closed. Any other error is waited out: a
// device that goes down and comes back reports one.
func (s *Server) read(l *link, next func([]byte) (packet, int, error)) {
	buf := make([]byte, maxMessage+1)
	for {
		p, n, err := next(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			s.count("hgw.read.error")
			s.log.Debug("hgw: read", "err", err)
			select {
			case <-time.After(time.Second):
				continue
			case <-l.done:
				return
			}
		}
		p.link, p.data = l, slices.Clone(buf[:n])
		p.from = netip.AddrPortFrom(p.from.Addr().WithZone(""), p.from.Port())
		select {
		case s.packets <- p:
		case <-l.done:
			return
		}
	}
}

// publish tells of the present picture when it is another one.
func (s *Server) publish() {
	ev := s.event()
	if reflect.DeepEqual(ev, s.published) {
		return
	}
	s.published = ev
	if s.cfg.OnEvent != nil {
		s.cfg.OnEvent(s.event())
	}
}

func (s *Server) count(name string) { s.cfg.Counters.Add(name) }

// drop counts a packet that is not taken.
func (s *Server) drop(p packet, why string, err error) {
	s.count("hgw.drop." + why)
	s.log.Debug("hgw: packet dropped", "from", p.from, "why", why, "err", err)
}
