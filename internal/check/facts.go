package check

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"sofutobanku/internal/dhcp6"
	"sofutobanku/internal/firewall"
	"sofutobanku/internal/link"
	"sofutobanku/internal/probe"
	"sofutobanku/internal/state"
	"sofutobanku/internal/status"
)

// Line is what the configuration says, as far as a check goes by it.
type Line struct {
	Device     string
	DUID       []byte     // nil for the DUID-LL of the device
	EchoTarget netip.Addr // invalid for the carrier's
	Phone      bool       // the telephone network may be joined
	// Source is the address that asks for the IPv4 of a line with this prefix.
	Source func(prefix netip.Prefix) netip.Addr
	// Told is what the authentication's attributes say to an IPv4 host.
	Told func([]status.Attribute) Told
}

// Told is what a carrier tells by authentication.
type Told struct {
	EchoTarget netip.Addr   // IPv4, invalid when it is not told
	DNS        []netip.Addr // IPv4
}

// Module is whether the kernel has ip6_tunnel.
type Module int

// What is known of it.
const (
	ModuleUnknown Module = iota
	ModuleThere
	ModuleMissing
)

// Kernel is what the machine's kernel has.
type Kernel struct {
	Link         link.State
	Addresses    map[netip.Addr]string // of all devices, and the device
	DefaultRoute bool                  // of IPv6
	Tunnel       *Tunnel               // nil when there is no device of that name
	Module       Module
}

// Tunnel is a tunnel device.
type Tunnel struct {
	Name          string
	Up            bool
	Local, Remote netip.Addr
	MTU           int    // in bytes
	EncapLimit    int    // RFC 2473 4.1.1, negative for none
	Sent, Heard   uint64 // packets
}

// System is what the machine is.
type System struct {
	Program string // name and version
	Release string // of the operating system
	Kernel  string
}

// Sources are where facts come from. Each is called at most once for each argument, those
// with a context at the same time as others, and has to end with it.
type Sources struct {
	Line       func() (Line, error)
	Status     func(context.Context) (status.Status, error)
	Lease      func() (*dhcp6.Saved, error)
	Kernel     func(ctx context.Context, device, tunnel string) (Kernel, error)
	Ruleset    func(context.Context) (*firewall.Ruleset, error)
	System     func() System
	LookAround func(ctx context.Context, device string) (probe.Segment, error)
	Measure    func(ctx context.Context, w probe.Way, most int) (probe.Path, error)
	DNS        func(context.Context, netip.AddrPort) (time.Duration, error)
	Clock      func(context.Context, netip.AddrPort) (time.Duration, error)
}

// Facts is all that was found out. An error of what was not asked at all is nil.
type Facts struct {
	Interface string
	Now       time.Time
	System    System

	Line    Line
	LineErr error

	Status    *status.Status // nil without a daemon
	StatusErr error

	Lease *dhcp6.Saved // nil when nothing is kept

	Kernel    Kernel
	KernelErr error

	Rules    *firewall.Ruleset
	RulesErr error

	Segment    *probe.Segment
	SegmentErr error

	BR, IPv4     *probe.Path // nil when it was not asked
	BRErr        error
	IPv4Err      error
	Target       netip.Addr // of IPv4
	DNS          []Answer
	ClockServer  netip.Addr // invalid when none was asked
	ClockBehind  time.Duration
	ClockTrouble error
}

// Answer is that of one name server.
type Answer struct {
	Server netip.Addr
	RTT    time.Duration
	Err    error
}

// within is how long all of Gather may take.
const within = 8 * time.Second

const (
	dnsPort  = 53
	timePort = 123
)

// Gather finds the facts of an interface. progress is told how many of the questions that
// take time are answered; it may be nil.
func Gather(ctx context.Context, iface string, s Sources, progress func(done, all int)) Facts {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	f := Facts{Interface: iface, Now: time.Now(), System: s.System()}
	f.Line, f.LineErr = s.Line()
	if st, err := s.Status(ctx); err != nil {
		f.StatusErr = err
	} else {
		f.Status = &st
	}
	device, tunnel := f.Line.Device, ""
	if f.Status != nil {
		device = f.Status.WAN.Device // as netifd resolved it
		if f.Status.Tunnel != nil {
			tunnel = f.Status.Tunnel.Device
		}
	}
	if device == "" {
		return f
	}
	f.Line.Device = device
	f.Lease, _ = s.Lease() // it is not there, or it is
	f.Kernel, f.KernelErr = s.Kernel(ctx, device, tunnel)

	// Each question writes fields of its own.
	var questions []func()
	question := func(q func()) { questions = append(questions, q) }
	question(func() { f.Rules, f.RulesErr = s.Ruleset(ctx) })
	if f.Kernel.Link.Up {
		question(func() {
			seen, err := s.LookAround(ctx, device)
			f.Segment, f.SegmentErr = &seen, err
		})
	}
	if f.Status != nil {
		f.ask(ctx, s, question)
	}
	var (
		mu   sync.Mutex
		done int
		wg   sync.WaitGroup
	)
	for _, q := range questions {
		wg.Go(func() {
			q()
			mu.Lock()
			defer mu.Unlock()
			if done++; progress != nil {
				progress(done, len(questions))
			}
		})
	}
	wg.Wait()
	return f
}

// ask adds the questions that a running daemon's status gives rise to.
func (f *Facts) ask(ctx context.Context, s Sources, question func(func())) {
	st := f.Status
	told := f.told()
	if t := st.Tunnel; t != nil {
		question(func() {
			p, err := s.Measure(ctx, probe.Way{Source: t.Local, Target: t.Remote}, f.Kernel.Link.MTU)
			f.BR, f.BRErr = &p, err
		})
		f.Target = f.Line.EchoTarget
		if !f.Target.IsValid() {
			f.Target = told.EchoTarget
		}
		if f.Target.IsValid() {
			question(func() {
				p, err := s.Measure(ctx, probe.Way{Device: t.Device, Source: t.IPv4, Target: f.Target}, t.MTU)
				f.IPv4, f.IPv4Err = &p, err
			})
		}
	}
	if st.State == state.IPv6 || st.State == state.Up {
		servers := append([]netip.Addr{}, st.WAN.DNS...)
		if st.Tunnel != nil {
			servers = append(servers, told.DNS...)
		}
		f.DNS = make([]Answer, len(servers))
		for i, server := range servers {
			question(func() {
				rtt, err := s.DNS(ctx, netip.AddrPortFrom(server, dnsPort))
				f.DNS[i] = Answer{server, rtt, err}
			})
		}
		if len(st.WAN.NTP) > 0 {
			f.ClockServer = st.WAN.NTP[0]
			question(func() {
				f.ClockBehind, f.ClockTrouble = s.Clock(ctx, netip.AddrPortFrom(f.ClockServer, timePort))
			})
		}
	}
}

// told is what the authentication's last answer says.
func (f *Facts) told() Told {
	if f.Status == nil || f.Status.Auth == nil || f.Line.Told == nil {
		return Told{}
	}
	return f.Line.Told(f.Status.Auth.Attributes)
}
