package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"syscall"

	"sofutobanku/internal/cli"
	"sofutobanku/internal/config"
	"sofutobanku/internal/control"
	"sofutobanku/internal/probe"
)

// path is what pmtu learned of one way.
type path struct {
	Name     string     `json:"name"`
	Target   netip.Addr `json:"target"`
	Answered bool       `json:"answered"`
	RTTMS    float64    `json:"rtt_ms"`
	MTU      int        `json:"mtu"`   // of the path, in bytes; 0 when nothing answered
	Tried    int        `json:"tried"` // the largest that was tried
	Trouble  string     `json:"trouble,omitempty"`
}

func runPMTU(args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("pmtu", flag.ContinueOnError)
	fs.Usage = func() {
		fmt.Fprintln(fs.Output(), `sofu-proto pmtu [INTERFACE] [FLAGS]: the largest packet that passes there and back, to the BR and
through the tunnel of a running line (INTERFACE is wan unless given), or to any host`)
		fs.PrintDefaults()
	}
	var p place
	p.flags(fs)
	to := fs.String("target", "", "measure to this IPv4 or IPv6 `ADDRESS` instead")
	by := fs.String("I", "", "to --target by this `DEV`")
	asJSON := fs.Bool("json", false, "print JSON, a line for each path")
	iface, err := parse(fs, args, "wan", stderr)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ways, err := p.ways(ctx, iface, *to, *by)
	if err != nil {
		return err
	}
	failed := false
	for _, w := range ways {
		found, err := probe.Measure(ctx, probe.Raw, w.Way, w.most)
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return cli.Exit(cli.Failed, errors.New("pmtu: interrupted"))
		}
		r := path{
			Name: w.name, Target: w.Target, Answered: found.Answered, RTTMS: milliseconds(found.RTT),
			MTU: found.MTU, Tried: w.most, Trouble: found.Trouble,
		}
		failed = failed || !r.Answered && !w.mayBeSilent || r.Answered && r.MTU < w.most
		if *asJSON {
			json.NewEncoder(stdout).Encode(r)
			continue
		}
		fmt.Fprintln(stdout, r.text(w.mayBeSilent))
	}
	if failed {
		return cli.Exit(cli.NotUp, nil)
	}
	return nil
}

// text is a sentence on a path.
func (p path) text(mayBeSilent bool) string {
	where := fmt.Sprintf("%s, %s: ", p.Name, p.Target)
	trouble := ""
	if p.Trouble != "" {
		trouble = " (" + p.Trouble + ")"
	}
	switch {
	case !p.Answered && mayBeSilent:
		return where + "no echo comes back, which it need not" + trouble
	case !p.Answered:
		return where + "no echo comes back" + trouble
	case p.MTU < p.Tried:
		return where + fmt.Sprintf("packets of %d bytes pass there and back, those of %d do not%s", p.MTU, p.Tried, trouble)
	}
	return where + fmt.Sprintf("packets of %d bytes, the most that this end sends, pass there and back in %.1f ms", p.MTU, p.RTTMS)
}

// measured is a way with a name and the largest packet that it should carry.
type measured struct {
	probe.Way
	name        string
	most        int
	mayBeSilent bool // no echo is no fault
}

// ways are those to measure: the line's two, or the one to target.
func (p *place) ways(ctx context.Context, iface, target, device string) ([]measured, error) {
	if target != "" {
		w, err := wayTo(target, device)
		return []measured{w}, err
	}
	s, err := readStatus(ctx, control.Path(p.run, iface))
	if err != nil {
		return nil, fmt.Errorf("pmtu: where the tunnel's ends are is known by a running line (or say --target ADDRESS): %w", err)
	}
	t := s.Tunnel
	if t == nil {
		return nil, cli.Exit(cli.NotUp, fmt.Errorf("pmtu: the line %s has no tunnel yet: see sofu-proto status", iface))
	}
	mtu := 1500
	if ifi, err := net.InterfaceByName(s.WAN.Device); err == nil {
		mtu = ifi.MTU
	}
	if s.WAN.MTU > 0 {
		mtu = min(mtu, s.WAN.MTU)
	}
	ways := []measured{{
		Way: probe.Way{Source: t.Local, Target: t.Remote}, name: "to the BR", most: mtu, mayBeSilent: true,
	}}
	// A section that cannot be read leaves what the carrier names.
	echo := netip.Addr{}
	if section, err := config.Load(p.config, iface); err == nil {
		echo = section.Common(p.device).EchoTarget
	}
	if l, err := readLine(p.config, iface, p.device); !echo.IsValid() && err == nil && s.Auth != nil {
		echo = l.Told(s.Auth.Attributes).EchoTarget
	}
	if !echo.IsValid() {
		return ways, nil
	}
	return append(ways, measured{
		Way: probe.Way{Device: t.Device, Source: t.IPv4, Target: echo}, name: "IPv4 through the tunnel", most: t.MTU,
	}), nil
}

// wayTo is the way to any host, as the routes have it.
func wayTo(target, device string) (measured, error) {
	a, err := netip.ParseAddr(target)
	if err != nil {
		return measured{}, cli.Exit(cli.Usage, fmt.Errorf("pmtu: --target: %w", err))
	}
	if device == "" {
		device = a.Zone()
	}
	a = a.WithZone("")
	network := "udp4"
	if a.Is6() {
		network = "udp6"
	}
	// Nothing is sent: the kernel chooses the source.
	conn, err := net.DialUDP(network, nil, &net.UDPAddr{IP: a.AsSlice(), Port: 9, Zone: device})
	if err != nil {
		return measured{}, fmt.Errorf("pmtu: %w", err)
	}
	defer conn.Close()
	source := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap().WithZone("")
	w := measured{Way: probe.Way{Device: device, Source: source, Target: a}, name: "to the host", most: 1500}
	if mtu := mtuOf(source, device); mtu > 0 {
		w.most = mtu
	}
	return w, nil
}

// mtuOf is the MTU of a device, or of the one that has the address.
func mtuOf(source netip.Addr, device string) int {
	devices, _ := net.Interfaces()
	for _, d := range devices {
		addrs, _ := d.Addrs()
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			if err == nil && p.Addr().Unmap() == source && (device == "" || device == d.Name) || d.Name == device {
				return d.MTU
			}
		}
	}
	return 0
}
