package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"sofutobanku/internal/capture"
	"sofutobanku/internal/cli"
	"sofutobanku/internal/config"
	"sofutobanku/internal/softbank"
	"sofutobanku/internal/softbank/learn"
	"sofutobanku/internal/version"
)

// tap is where packets are taken, and for how long.
type tap struct {
	config  string
	seconds float64
	port    uint
	promisc bool
}

func (t *tap) flags(fs *flag.FlagSet) {
	fs.StringVar(&t.config, "config", "/etc/config", "`DIR` of the UCI file named network")
	fs.Float64Var(&t.seconds, "w", 600, "end after `SECONDS`, 0: with ctrl-C alone")
	fs.UintVar(&t.port, "port", 1812, "UDP `PORT` of the RADIUS server, beside those in the configuration")
	fs.BoolVar(&t.promisc, "promisc", false, "take in frames for other machines too: for a port that mirrors another")
}

// open opens the socket on a device, or on the device of an interface of the
// configuration.
func (t *tap) open(name string) (*capture.Socket, string, error) {
	if t.port == 0 || t.port > 65535 {
		return nil, "", cli.Exit(cli.Usage, fmt.Errorf("port %d: 1 to 65535 are accepted", t.port))
	}
	ports := []uint16{uint16(t.port)}
	dev, err := net.InterfaceByName(name)
	if section, confErr := config.Load(t.config, name); confErr == nil {
		for _, s := range softbank.FromSection(section).Servers {
			if !slices.Contains(ports, s.Port()) {
				ports = append(ports, s.Port())
			}
		}
		// What else is wrong with the section is nothing of ours.
		if device := section.Common("").Device; err != nil && device != "" {
			dev, err = net.InterfaceByName(device)
			name = device
		}
	}
	if err != nil {
		return nil, "", fmt.Errorf("%s is no device, nor an interface of %s whose device is there: %w", name, t.config, err)
	}
	sock, err := capture.Open(dev, ports, t.promisc)
	return sock, dev.Name, err
}

// until is a context that ends with a signal, or when the time is over.
func (t *tap) until() (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	if t.seconds <= 0 {
		return ctx, stop
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(t.seconds*float64(time.Second)))
	return ctx, func() { cancel(); stop() }
}

func (t *tap) announce(w io.Writer, device string) {
	end := "until ctrl-C"
	if t.seconds > 0 {
		end = fmt.Sprintf("for %v, or until ctrl-C", time.Duration(t.seconds*float64(time.Second)))
	}
	fmt.Fprintf(w, "listening on %s %s\n", device, end)
}

// notice tells of a packet.
func notice(w io.Writer) func(capture.Frame) {
	return func(f capture.Frame) { fmt.Fprintf(w, "%s %v\n", f.Time.Local().Format("15:04:05.000"), &f) }
}

func runCapture(args []string, stdout, stderr io.Writer) (err error) {
	fs := flag.NewFlagSet("capture", flag.ContinueOnError)
	fs.Usage = func() {
		fmt.Fprintln(fs.Output(), "sofu-proto capture [DEV|INTERFACE] [FLAGS]: write the packets by which a line comes up to a\n"+
			"file for Wireshark, learn and sofu-isp --replay. INTERFACE is wan unless given")
		fs.PrintDefaults()
	}
	var t tap
	t.flags(fs)
	out := fs.String("o", "", "`FILE` to write, which must not exist yet; without it standard output is written")
	limit := fs.Int64("s", 1_000_000, "end when the file has `BYTES`")
	redact := fs.Bool("redact", false, "replace what tells whose line it is, and secrets: see docs/capture.md")
	name, err := parse(fs, args, "wan", stderr)
	if err != nil {
		return err
	}
	if *limit <= 0 {
		return cli.Exit(cli.Usage, fmt.Errorf("-s %d: 1 and more are accepted", *limit))
	}
	if *out == "" && isTerminal(stdout) {
		return cli.Exit(cli.Usage, errors.New("a capture is nothing for a terminal: name a file by -o"))
	}
	sock, device, err := t.open(name)
	if err != nil {
		return err
	}
	defer sock.Close()
	to := "standard output"
	if *out != "" {
		to = *out
		// It holds addresses and numbers, so it is nobody else's.
		f, err := os.OpenFile(*out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		stdout = f
		defer func() { err = errors.Join(err, f.Close()) }()
	}
	rec := capture.Recording{Device: device, Application: version.Text("sofu-tools"), Limit: *limit, Notice: notice(stderr)}
	if *redact {
		rec.Redactor = capture.NewRedactor(learn.Vendors())
	}
	ctx, stop := t.until()
	defer stop()
	t.announce(stderr, device)
	written, bad, err := capture.Record(ctx, sock, stdout, rec)
	if err != nil && !errors.Is(err, capture.ErrLimit) {
		return err
	}
	fmt.Fprintf(stderr, "%d packets in %s", written, to)
	if bad > 0 && *redact {
		fmt.Fprintf(stderr, ", %d malformed ones left out", bad)
	} else if bad > 0 {
		fmt.Fprintf(stderr, ", %d of them malformed", bad)
	}
	if lost := sock.Lost(); lost > 0 {
		fmt.Fprintf(stderr, ", %d came too fast", lost)
	}
	fmt.Fprintln(stderr)
	switch {
	case err != nil:
		fmt.Fprintf(stderr, "%v: -s allows more\n", err)
	case written == 0:
		return cli.Exit(cli.NotUp, fmt.Errorf("capture: nothing passed %s", device))
	}
	return nil
}
