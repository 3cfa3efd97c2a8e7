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
	"time"

	"sofutobanku/internal/cli"
	"sofutobanku/internal/icmp6"
)

// target6 reads an IPv6 address to which echo requests may go. The device of a
// link-local one is its zone.
func target6(command, s string) (netip.Addr, error) {
	if s == "" {
		return netip.Addr{}, cli.Exit(cli.Usage, fmt.Errorf("%s: which address? sofu-tools %s ADDRESS", command, command))
	}
	a, err := netip.ParseAddr(s)
	if err != nil || !a.Is6() || a.Is4In6() {
		return netip.Addr{}, cli.Exit(cli.Usage, fmt.Errorf("%s: %q is no IPv6 address", command, s))
	}
	if (a.IsLinkLocalUnicast() || a.IsLinkLocalMulticast() || a.IsInterfaceLocalMulticast()) && a.Zone() == "" {
		return netip.Addr{}, cli.Exit(cli.Usage, fmt.Errorf("%s: %s is on each link another: say on which, as %s%%wan", command, a, a))
	}
	if a.Zone() != "" {
		if _, err := net.InterfaceByName(a.Zone()); err != nil {
			return netip.Addr{}, fmt.Errorf("%s: %s: %w", command, a, err)
		}
	}
	return a, nil
}

// echoFlags are those that ping6 and traceroute6 share.
type echoFlags struct {
	device, source string
	size           int
	wait           float64
	asJSON         bool
}

func (f *echoFlags) flags(fs *flag.FlagSet, wait float64) {
	fs.StringVar(&f.device, "I", "", "send by this `DEV`, not where the route goes")
	fs.StringVar(&f.source, "S", "", "send from this `ADDRESS` of this machine")
	fs.IntVar(&f.size, "s", 56, "`BYTES` of data in a request, 8 to 65000")
	fs.Float64Var(&f.wait, "w", wait, "wait for an answer for `SECONDS`")
	fs.BoolVar(&f.asJSON, "json", false, "print JSON, a line each")
}

// begin parses the arguments and opens the socket.
func (f *echoFlags) begin(fs *flag.FlagSet, args []string, stderr io.Writer) (target netip.Addr, conn *icmp6.Socket, err error) {
	arg, err := parse(fs, args, "", stderr)
	if err != nil {
		return target, nil, err
	}
	if target, err = target6(fs.Name(), arg); err != nil {
		return target, nil, err
	}
	if f.size < icmp6.MinSize || f.size > icmp6.MaxSize {
		return target, nil, cli.Exit(cli.Usage, fmt.Errorf("%s: -s %d: want %d to %d", fs.Name(), f.size, icmp6.MinSize, icmp6.MaxSize))
	}
	var source netip.Addr
	if f.source != "" {
		if source, err = netip.ParseAddr(f.source); err != nil {
			return target, nil, cli.Exit(cli.Usage, fmt.Errorf("%s: -S: %w", fs.Name(), err))
		}
	}
	conn, err = icmp6.Listen(f.device, source)
	return target, conn, err
}

func duration(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// echoAnswer is an icmp6.Answer as JSON.
type echoAnswer struct {
	From     netip.Addr `json:"from"`
	RTTMS    float64    `json:"rtt_ms"`
	HopLimit int        `json:"hop_limit,omitempty"`
	Router   bool       `json:"router,omitempty"`
	// Error is what was said instead of an answer, "" for an answer.
	Error string `json:"error,omitempty"`
}

func runPing6(args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("ping6", flag.ContinueOnError)
	fs.Usage = func() {
		fmt.Fprintln(fs.Output(), "sofu-proto ping6 ADDRESS [FLAGS]: ask for echoes; of ff02::1%DEV: who is on the link, a line each")
		fs.PrintDefaults()
	}
	var f echoFlags
	f.flags(fs, 1)
	count := fs.Int("c", 3, "send so many requests, `0` until ctrl-C")
	interval := fs.Float64("i", 1, "`SECONDS` between requests")
	hopLimit := fs.Int("t", 0, "hop `LIMIT` of the requests, 1 to 255")
	target, conn, err := f.begin(fs, args, stderr)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var best, worst, sum time.Duration
	answers := 0
	onLink := map[netip.Addr]bool{}
	cfg := icmp6.PingConfig{
		Target: target, Count: *count, Interval: duration(*interval), Wait: duration(f.wait), Size: f.size, HopLimit: *hopLimit,
	}
	sent, received, err := icmp6.Ping(ctx, conn, cfg, func(r icmp6.Reply) {
		if r.Meaning() == "" {
			answers++
			sum += r.RTT
			worst = max(worst, r.RTT)
			if best == 0 || r.RTT < best {
				best = r.RTT
			}
		}
		if target.IsMulticast() {
			if onLink[r.From] {
				return
			}
			onLink[r.From] = true
		}
		a := echoAnswer{r.From, milliseconds(r.RTT), r.HopLimit, r.Router, r.Meaning()}
		switch {
		case f.asJSON:
			json.NewEncoder(stdout).Encode(a)
		case a.Error != "":
			fmt.Fprintf(stdout, "%s: %s\n", a.From, a.Error)
		default:
			who := ""
			if a.Router {
				who = ", a router"
			}
			again := ""
			if r.Again {
				again = ", once more"
			}
			fmt.Fprintf(stdout, "%s: %d bytes in %.3f ms, hop limit %d%s%s\n", a.From, r.Size, a.RTTMS, a.HopLimit, who, again)
		}
	})
	if err != nil {
		return err
	}
	if f.asJSON {
		json.NewEncoder(stdout).Encode(map[string]any{"sent": sent, "received": received, "hosts": len(onLink)})
	} else {
		fmt.Fprintf(stdout, "%d sent, %d answered", sent, received)
		if target.IsMulticast() {
			fmt.Fprintf(stdout, ", %d on the link", len(onLink))
		}
		if answers > 0 {
			fmt.Fprintf(stdout, "; ms: %.3f least, %.3f mean, %.3f most", milliseconds(best), milliseconds(sum/time.Duration(answers)), milliseconds(worst))
		}
		fmt.Fprintln(stdout)
	}
	if received == 0 {
		return cli.Exit(cli.NotUp, nil)
	}
	return nil
}

func runTraceroute6(args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("traceroute6", flag.ContinueOnError)
	fs.Usage = func() {
		fmt.Fprintln(fs.Output(), "sofu-proto traceroute6 ADDRESS [FLAGS]: the routers on the way, by echo requests")
		fs.PrintDefaults()
	}
	var f echoFlags
	f.flags(fs, 2)
	most := fs.Int("m", 30, "hop `LIMIT` to end at, 1 to 255")
	queries := fs.Int("q", 3, "send so many `REQUESTS` with each hop limit, 1 to 10")
	target, conn, err := f.begin(fs, args, stderr)
	if err != nil {
		return err
	}
	defer conn.Close()
	switch {
	case target.IsMulticast():
		return cli.Exit(cli.Usage, errors.New("traceroute6: there is no single way to a multicast address"))
	case *most < 1 || *most > 255:
		return cli.Exit(cli.Usage, fmt.Errorf("traceroute6: -m %d: want 1 to 255", *most))
	case *queries < 1 || *queries > 10:
		return cli.Exit(cli.Usage, fmt.Errorf("traceroute6: -q %d: want 1 to 10", *queries))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cfg := icmp6.TraceConfig{Target: target, MaxHops: *most, Queries: *queries, Wait: duration(f.wait), Size: f.size}
	reached, err := icmp6.Trace(ctx, conn, cfg, func(h icmp6.Hop) { writeHop(stdout, h, f.asJSON) })
	if err != nil {
		return err
	}
	if !reached {
		return cli.Exit(cli.NotUp, nil)
	}
	return nil
}

// writeHop writes a hop: each answering address once, and its times.
func writeHop(w io.Writer, h icmp6.Hop, asJSON bool) {
	if asJSON {
		answers := []*echoAnswer{} // null: no answer
		for _, p := range h.Probes {
			var a *echoAnswer
			if p.From.IsValid() {
				a = &echoAnswer{From: p.From, RTTMS: milliseconds(p.RTT), Error: p.Meaning()}
			}
			answers = append(answers, a)
		}
		json.NewEncoder(w).Encode(map[string]any{"hop": h.HopLimit, "answers": answers})
		return
	}
	line := fmt.Sprintf("%2d", h.HopLimit)
	var last netip.Addr
	said := ""
	for _, p := range h.Probes {
		if !p.From.IsValid() {
			line += "  *"
			continue
		}
		if p.From != last {
			line += "  " + p.From.String()
			last = p.From
		}
		line += fmt.Sprintf("  %.3f ms", milliseconds(p.RTT))
		// That a hop limit ran out is what a trace is made of.
		if m := p.Meaning(); m != "" && (p.Type != icmp6.TimeExceeded || p.Code != 0) {
			said = "  " + m
		}
	}
	fmt.Fprintln(w, line+said)
}
