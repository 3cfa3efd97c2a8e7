package isp

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/mdlayher/ndp"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv6"
)

// What every line's advertisement says (RFC 4861 4.2).
const (
	raHopLimit  = 64
	raReachable = 300 * time.Second
	raRetrans   = 10 * time.Second
	raMTU       = 1500

	typeRS = 133 // ICMPv6 type of a router solicitation

	// oldPrefixRAs is how many advertisements take back a /64 that the line
	// no longer has.
	oldPrefixRAs = 3
	// pendingRAs bounds the answers that wait for Config.RADelay.
	pendingRAs = 64
)

var allNodes = netip.MustParseAddr("ff02::1")

// RAConn is ICMPv6 on the device. ReadFrom returns net.ErrClosed after Close.
type RAConn interface {
	ReadFrom(b []byte) (n int, from netip.Addr, hopLimit int, err error)
	WriteTo(b []byte, to netip.Addr) error
	Close() error
}

// advertiser is the carrier's router as its neighbours see it.
type advertiser struct {
	set  *settings
	j    *Journal
	conn RAConn
	mac  net.HardwareAddr // of the device
	rand *rand.Rand       // used by Run alone

	now     chan struct{} // one advertisement to all, at once
	gone    chan netip.Prefix
	pending atomic.Int32

	old     netip.Prefix // a /64 that is being taken back, Run's own
	oldLeft int
	played  int // solicitations that were answered by Config.Recording, Run's own
}

func newAdvertiser(set *settings, j *Journal, conn RAConn, mac net.HardwareAddr, r *rand.Rand) *advertiser {
	return &advertiser{
		set: set, j: j, conn: conn, mac: mac, rand: r,
		now:  make(chan struct{}, 1),
		gone: make(chan netip.Prefix, 1),
	}
}

// advertise tells all nodes soon.
func (a *advertiser) advertise() {
	select {
	case a.now <- struct{}{}:
	default:
	}
}

// withdraw takes back a /64 of an RA-only line: an advertisement now and a few
// later ones hold it with lifetimes of 0.
func (a *advertiser) withdraw(ctx context.Context, p netip.Prefix) {
	select {
	case a.gone <- p:
	case <-ctx.Done():
	}
}

// run serves until ctx ends or the conn fails.
func (a *advertiser) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	solicits := make(chan netip.Addr) // who is to be answered
	failed := make(chan error, 1)
	go func() {
		failed <- a.read(ctx, solicits)
		close(failed)
	}()
	defer func() { // leaves no reader behind
		cancel()
		a.conn.Close()
		for range failed {
		}
	}()

	timer := time.NewTimer(0) // the first one at once
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case to := <-solicits:
			a.send(to)
			a.played++
		case p := <-a.gone:
			a.old, a.oldLeft = p, oldPrefixRAs
			a.send(allNodes)
		case <-a.now:
			a.send(allNodes)
		case <-timer.C:
			c := a.set.get()
			if c.RAInterval == 0 {
				continue
			}
			a.send(allNodes)
			// RFC 4861 6.2.4: anew each time between MinRtrAdvInterval,
			// a third of the maximum by default, and the maximum.
			low := c.RAInterval / 3
			timer.Reset(low + time.Duration(a.rand.Int64N(int64(c.RAInterval-low)+1)))
		}
	}
}

// read checks solicitations and passes on whom to answer.
func (a *advertiser) read(ctx context.Context, solicits chan<- netip.Addr) error {
	answer := func(to netip.Addr) {
		defer a.pending.Add(-1)
		select {
		case solicits <- to:
		case <-ctx.Done():
		}
	}
	b := make([]byte, 1500)
	for {
		n, from, hopLimit, err := a.conn.ReadFrom(b)
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("ra: %w", err)
		}
		if err != nil { // an ICMP error, or the device is down: neither ends the service
			a.j.say(partRA, "read-error", "%v", err)
			if !pause(ctx) {
				return nil
			}
			continue
		}
		lladdr, err := checkRS(b[:n], from, hopLimit)
		if err != nil {
			a.j.wrong(partRA, "solicit", "%v", err)
			continue
		}
		c := a.set.get()
		if c.SilentRA {
			a.j.say(partRA, "solicit", "from %v: silent, not answered", from.WithZone(""))
			continue
		}
		to := from
		if from.IsUnspecified() { // RFC 4861 6.2.6
			to = allNodes
		}
		if lladdr != nil {
			a.j.say(partRA, "solicit", "from %v, link-layer address %v", from.WithZone(""), lladdr)
		} else {
			a.j.say(partRA, "solicit", "from %v", from.WithZone(""))
		}
		if a.pending.Add(1) > pendingRAs {
			a.pending.Add(-1)
			continue
		}
		if c.RADelay > 0 {
			time.AfterFunc(c.RADelay, func() { answer(to) })
		} else {
			answer(to)
		}
	}
}

// pause waits a moment after an error that may last; false: ctx ended.
func pause(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(100 * time.Millisecond):
		return true
	}
}

// checkRS checks a router solicitation as RFC 4861 6.1.1 asks and returns its
// source link-layer address, nil without one. The kernel checked the checksum.
func checkRS(b []byte, from netip.Addr, hopLimit int) (net.HardwareAddr, error) {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("router solicitation from %v: %w", from.WithZone(""), fmt.Errorf(format, args...))
	}
	switch {
	case len(b) < 8:
		return nil, bad("%d bytes, at least 8 are due", len(b))
	case b[0] != typeRS:
		return nil, bad("ICMPv6 type %d", b[0])
	case hopLimit != ndp.HopLimit:
		return nil, bad("hop limit %d, 255 is due", hopLimit)
	case b[1] != 0:
		return nil, bad("code %d, 0 is due", b[1])
	case !from.IsUnspecified() && !from.IsLinkLocalUnicast():
		// Not in 6.1.1, but nobody on this link has another address when it
		// solicits, and the answer would not find its way back.
		return nil, bad("neither :: nor link-local")
	}
	var lladdr net.HardwareAddr
	for o := b[8:]; len(o) > 0; {
		if len(o) < 2 || o[1] == 0 || len(o) < 8*int(o[1]) {
			return nil, bad("an option of bad length")
		}
		if o[0] == 1 && lladdr == nil {
			lladdr = net.HardwareAddr(append([]byte(nil), o[2:8]...))
		}
		o = o[8*int(o[1]):]
	}
	if from.IsUnspecified() && lladdr != nil {
		return nil, bad("a source link-layer address option without a source address")
	}
	return lladdr, nil
}

// message is the advertisement as it is now.
func (a *advertiser) message(c Config) *ndp.RouterAdvertisement {
	m := &ndp.RouterAdvertisement{
		CurrentHopLimit:      raHopLimit,
		ManagedConfiguration: c.Kind != NextRA,
		OtherConfiguration:   true,
		RouterLifetime:       c.RALifetime,
		ReachableTime:        raReachable,
		RetransmitTimer:      raRetrans,
		Options: []ndp.Option{
			&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: a.mac},
			ndp.NewMTU(raMTU),
		},
	}
	if c.Kind != NextRA {
		return m
	}
	prefix := func(p netip.Prefix, preferred, valid time.Duration) {
		m.Options = append(m.Options, &ndp.PrefixInformation{
			PrefixLength:                   uint8(p.Bits()),
			OnLink:                         true,
			AutonomousAddressConfiguration: true,
			PreferredLifetime:              preferred,
			ValidLifetime:                  valid,
			Prefix:                         p.Addr(),
		})
	}
	prefix(c.Prefix, c.Preferred, c.Valid)
	if a.oldLeft > 0 && a.old != c.Prefix {
		prefix(a.old, 0, 0)
	}
	return m
}

func (a *advertiser) send(to netip.Addr) {
	c := a.set.get()
	if c.SilentRA {
		return
	}
	if c.Recording != nil {
		if b := c.Recording.replayedRA(a.played, a.mac); b != nil && a.write(b, to) {
			a.j.say(partRA, "replay", "to %v: the recording's", to.WithZone(""))
		}
		return
	}
	m := a.message(c)
	b, err := ndp.MarshalMessage(m)
	if err != nil {
		a.j.say(partRA, "send-error", "%v", err)
		return
	}
	if !a.write(b, to) {
		return
	}
	if a.oldLeft > 0 && to == allNodes {
		a.oldLeft--
	}
	text := fmt.Sprintf("to %v: M=%d O=%d lifetime %v", to.WithZone(""), bit(m.ManagedConfiguration), bit(m.OtherConfiguration), m.RouterLifetime)
	for _, o := range m.Options {
		if p, ok := o.(*ndp.PrefixInformation); ok {
			text += fmt.Sprintf(", prefix %v/%d (%v, %v)", p.Prefix, p.PrefixLength, p.PreferredLifetime, p.ValidLifetime)
		}
	}
	a.j.say(partRA, "advertise", "%s", text)
}

// write sends an advertisement and tells whether it went.
func (a *advertiser) write(b []byte, to netip.Addr) bool {
	if err := a.conn.WriteTo(b, to); err != nil {
		// No carrier yet is the usual reason: the other side will solicit.
		a.j.say(partRA, "send-error", "to %v: %v", to.WithZone(""), err)
		return false
	}
	return true
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// zone is a device's number as an address zone. Package net remembers the names
// it saw for a minute, and a device of that name may be another one by then.
func zone(ifi *net.Interface) string { return strconv.Itoa(ifi.Index) }

// icmpConn is the RAConn of a device.
type icmpConn struct {
	pc  *ipv6.PacketConn
	ifi *net.Interface
	ll  netip.Addr
}

// listenRA opens the raw socket, bound to the device and its address ll.
func listenRA(ifi *net.Interface, ll netip.Addr) (RAConn, error) {
	ic, err := icmp.ListenPacket("ip6:ipv6-icmp", ll.WithZone(zone(ifi)).String())
	if err != nil {
		return nil, fmt.Errorf("ra: raw ICMPv6 socket: %w", err)
	}
	pc := ic.IPv6PacketConn()
	filter := new(ipv6.ICMPFilter)
	filter.SetAll(true)
	filter.Accept(ipv6.ICMPTypeRouterSolicitation)
	for _, err := range []error{
		pc.SetICMPFilter(filter),
		pc.SetChecksum(true, 2),
		pc.SetHopLimit(ndp.HopLimit),
		pc.SetMulticastHopLimit(ndp.HopLimit),
		pc.SetMulticastLoopback(false),
		pc.SetControlMessage(ipv6.FlagHopLimit|ipv6.FlagInterface, true),
		pc.JoinGroup(ifi, &net.IPAddr{IP: net.IPv6linklocalallrouters}),
	} {
		if err != nil {
			pc.Close()
			return nil, fmt.Errorf("ra: %w", err)
		}
	}
	return &icmpConn{pc, ifi, ll}, nil
}

func (c *icmpConn) ReadFrom(b []byte) (int, netip.Addr, int, error) {
	for {
		n, cm, src, err := c.pc.ReadFrom(b)
		if err != nil {
			return 0, netip.Addr{}, 0, err
		}
		ip, ok := src.(*net.IPAddr)
		if !ok || cm == nil || cm.IfIndex != c.ifi.Index {
			continue
		}
		from, ok := netip.AddrFromSlice(ip.IP)
		if !ok {
			continue
		}
		return n, from, cm.HopLimit, nil
	}
}

func (c *icmpConn) WriteTo(b []byte, to netip.Addr) error {
	_, err := c.pc.WriteTo(b, &ipv6.ControlMessage{Src: c.ll.AsSlice(), IfIndex: c.ifi.Index, HopLimit: ndp.HopLimit},
		&net.IPAddr{IP: to.AsSlice(), Zone: zone(c.ifi)})
	return err
}

func (c *icmpConn) Close() error { return c.pc.Close() }
