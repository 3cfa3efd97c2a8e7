package main

import (
	"bytes"
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
	"sofutobanku/internal/dissect"
	"sofutobanku/internal/link"
	"sofutobanku/internal/ra"
)

// heardAdvertisement is a router advertisement with what came beside it.
type heardAdvertisement struct {
	Time     time.Time  `json:"time"`
	From     netip.Addr `json:"from"`
	HopLimit int        `json:"hop_limit"`
	// Ignored is why a host must ignore it (RFC 4861 6.1.2), "" if it need not.
	Ignored       string        `json:"ignored,omitempty"`
	Advertisement dissect.Field `json:"advertisement"`

	raw []byte
}

// solicitEvery and solicitTimes are for people who wait; RFC 4861 10 has 4 s.
const (
	solicitEvery = time.Second
	solicitTimes = 3
)

// maxRouters bounds what is remembered of those who advertise.
const maxRouters = 64

func runRtsol(args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("rtsol", flag.ContinueOnError)
	fs.Usage = func() {
		fmt.Fprintln(fs.Output(), "sofu-proto rtsol DEV [FLAGS]: solicit routers and print what they advertise")
		fs.PrintDefaults()
	}
	first := fs.Bool("1", false, "end with the first advertisement")
	wait := fs.Float64("w", 4, "wait for `SECONDS`")
	watch := fs.Bool("watch", false, "do not end: print what changes, and solicit when the link comes up")
	asJSON := fs.Bool("json", false, "print JSON, a line for each advertisement")
	dev, err := parse(fs, args, "", stderr)
	if err != nil {
		return err
	}
	if dev == "" {
		return cli.Exit(cli.Usage, errors.New("rtsol: which device? sofu-tools rtsol DEV"))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if !*watch {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(*wait*float64(time.Second)))
		defer cancel()
	}
	last := map[netip.Addr][]byte{}
	heard := 0
	show := func(a heardAdvertisement) error {
		heard++
		if *watch {
			if was, known := last[a.From]; known && bytes.Equal(was, a.raw) || !known && len(last) == maxRouters {
				return nil
			}
			last[a.From] = a.raw
		}
		return a.write(stdout, *asJSON)
	}
	if *watch {
		err = watchRouters(ctx, dev, stderr, show)
	} else {
		err = solicitRouters(ctx, dev, *first, show)
	}
	switch {
	case err != nil:
		return err
	case heard == 0:
		return cli.Exit(cli.NotUp, fmt.Errorf("rtsol: no router advertised itself on %s", dev))
	}
	return nil
}

// solicitRouters solicits and shows what it hears until ctx ends, or the first.
func solicitRouters(ctx context.Context, dev string, first bool, show func(heardAdvertisement) error) error {
	ifi, err := net.InterfaceByName(dev)
	if err != nil {
		return fmt.Errorf("rtsol: %s: %w", dev, err)
	}
	conn, err := ra.Listen(ifi)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	solicit := func() error { return conn.Solicit(linkLocal(ifi)) }
	if err := solicit(); err != nil {
		return err
	}
	go func() {
		for range solicitTimes - 1 {
			select {
			case <-ctx.Done():
				return
			case <-time.After(solicitEvery):
				solicit() // the first did not fail; what changed meanwhile shows by silence
			}
		}
	}()
	b := make([]byte, 1<<16)
	for {
		n, from, hopLimit, err := conn.ReadRA(b)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("rtsol: %s: %w", dev, err)
		}
		a := heardAdvertisement{
			Time: time.Now(), From: from, HopLimit: hopLimit, Ignored: ignored(from, hopLimit),
			Advertisement: dissect.Advertisement(b[:n]), raw: bytes.Clone(b[:n]),
		}
		if err := show(a); err != nil || first {
			return err
		}
	}
}

// watchRouters is solicitRouters for as long as the link is up, whenever it is.
func watchRouters(ctx context.Context, dev string, stderr io.Writer, show func(heardAdvertisement) error) error {
	// Only the newest state counts.
	news := make(chan link.State, 1)
	watching, done := context.WithCancel(ctx)
	defer done()
	failed := make(chan error, 1)
	go func() {
		failed <- link.Watch(watching, dev, func(s link.State) {
			select {
			case <-news:
			default:
			}
			news <- s
		})
	}()
	var now link.State
	var ended chan error // nil while nobody solicits
	stop := func() {}
	defer func() { stop() }()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			if ctx.Err() != nil {
				return nil
			}
			return err
		case err := <-ended:
			if err != nil {
				return err
			}
			ended = nil
		case s := <-news:
			if s.Up == now.Up && s.Index == now.Index {
				continue
			}
			now = s
			stop()
			if ended != nil {
				<-ended // show is called by one at a time
				ended = nil
			}
			if !s.Up {
				fmt.Fprintf(stderr, "%s: the link is down\n", dev)
				continue
			}
			fmt.Fprintf(stderr, "%s: the link is up\n", dev)
			running, cancel := context.WithCancel(ctx)
			stop, ended = cancel, make(chan error, 1)
			go func(end chan<- error) { end <- solicitRouters(running, dev, false, show) }(ended)
		}
	}
}

// linkLocal is an address to solicit from, invalid without one.
func linkLocal(ifi *net.Interface) netip.Addr {
	addrs, _ := ifi.Addrs()
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is6() && p.Addr().IsLinkLocalUnicast() {
			return p.Addr()
		}
	}
	return netip.Addr{}
}

// ignored is what RFC 4861 6.1.2 says of what came beside an advertisement.
func ignored(from netip.Addr, hopLimit int) string {
	switch {
	case hopLimit != 255:
		return fmt.Sprintf("hop limit %d: it did not come from this link", hopLimit)
	case !from.IsLinkLocalUnicast():
		return "its source is not link-local"
	}
	return ""
}

func (a heardAdvertisement) write(w io.Writer, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(a)
	}
	fmt.Fprintf(w, "%s from %s, hop limit %d\n", a.Time.Format("15:04:05.000"), a.From, a.HopLimit)
	if a.Ignored != "" {
		fmt.Fprintf(w, "hosts must ignore it: %s\n", a.Ignored)
	}
	if err := a.Advertisement.Write(w); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w)
	return err
}
