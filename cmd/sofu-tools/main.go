package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sofutobanku/internal/check"
	"sofutobanku/internal/cli"
	"sofutobanku/internal/config"
	"sofutobanku/internal/control"
	"sofutobanku/internal/dhcp6"
	"sofutobanku/internal/privilege"
	"sofutobanku/internal/softbank"
	"sofutobanku/internal/status"
	"sofutobanku/internal/version"
)

const usage = `sofu-tools finds out why a line does not work. sofu-proto runs it: as

  sofu-proto check [INTERFACE] [--json]
        look at every link of the chain, from the cable to name service through the
        tunnel, and name the most likely cause
  sofu-proto report [INTERFACE] [-o FILE]
        all that a bug report needs in one text, without secrets and identities
  sofu-proto rtsol DEV [-1] [-w SECONDS] [--watch] [--json]
        solicit routers and print what they advertise, field by field
  sofu-proto probe dhcp6|dhcp4|radius [INTERFACE] [--json]
        one exchange, packet by packet
  sofu-proto ping6 ADDRESS [-c TIMES] [-s BYTES] [--json]
        ask for echoes; of ff02::1%DEV: who is on the link
  sofu-proto traceroute6 ADDRESS [--json]
        the routers on the way
  sofu-proto pmtu [INTERFACE] [--target ADDRESS] [--json]
        the largest packets that pass to the BR and through the tunnel
  sofu-proto nd [DEV] [-a] [-r] [-p] [--json]
        neighbours, default routers and prefixes, as the kernel knows them
  sofu-proto capture [DEV|INTERFACE] -o FILE [-redact] [-s BYTES] [-w SECONDS]
        write the packets by which a line comes up to a file for Wireshark and learn
  sofu-proto learn FILE|DEV
        print the interface that asks as the unit in a capture does
  sofu-proto phone asterisk|sipp [INTERFACE] [-number NUMBER]
        print what makes Asterisk or sipp a telephone on the line
  sofu-proto version
        print version, Go version and platform

Each command explains its flags with -h. Nothing takes a lease or gets in the way of
a running daemon.

Exit codes: 0 done, all is well; 1 failed; 2 wrong usage; 3 the configuration cannot work;
4 a running client would be disturbed; 5 nothing answers, or something is wrong with the
line; 6 nothing fails, and something is to be warned of.
`

func main() {
	// All of it reads what a network sends, and mostly as root. A kernel where not
	// every privilege can be given up is no reason not to look.
	if os.Geteuid() == 0 {
		_ = privilege.Confine()
	}
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	return cli.Program{Name: "sofu-tools", Usage: usage, Commands: map[string]cli.Command{
		"check": runCheck, "report": runReport, "rtsol": runRtsol, "probe": runProbe, "ping6": runPing6, "traceroute6": runTraceroute6,
		"pmtu": runPMTU, "nd": runND, "capture": runCapture, "learn": runLearn, "phone": runPhone,
	}}.Run(args, stdout, stderr)
}

// parse parses flags and at most one argument, which is def when it is not there.
func parse(fs *flag.FlagSet, args []string, def string, stderr io.Writer) (string, error) {
	rest, err := cli.Parse(fs, args, 1, stderr)
	if err != nil || len(rest) == 0 {
		return def, err
	}
	return rest[0], nil
}

// place says where the configuration and the files of a daemon are.
type place struct{ config, device, run, state string }

// flags adds what says so to fs.
func (p *place) flags(fs *flag.FlagSet) {
	fs.StringVar(&p.config, "config", "/etc/config", "`DIR` of the UCI file named network")
	fs.StringVar(&p.device, "device", "", "WAN `DEV`, instead of option device")
	fs.StringVar(&p.run, "run-dir", control.DefaultDir, "`DIR` of the daemon's control socket")
	fs.StringVar(&p.state, "state-dir", "/var/lib/sofu-proto", "`DIR` of the daemon's lease")
}

// sources are those of the interface.
func (p *place) sources(iface string) check.Sources {
	return check.Real(check.Sources{
		Line:   func() (check.Line, error) { return readLine(p.config, iface, p.device) },
		Status: func(ctx context.Context) (status.Status, error) { return readStatus(ctx, control.Path(p.run, iface)) },
		Lease:  func() (*dhcp6.Saved, error) { return dhcp6.ReadSaved(filepath.Join(p.state, iface+".lease")) },
	}, version.Text("sofu-tools"))
}

// statusWait is how long a daemon may take to tell its status.
const statusWait = 2 * time.Second

func readStatus(ctx context.Context, socket string) (s status.Status, err error) {
	ctx, cancel := context.WithTimeout(ctx, statusWait)
	defer cancel()
	var doc bytes.Buffer
	if err := control.Call(ctx, socket, "status", &doc); err != nil {
		return s, err
	}
	return s, json.Unmarshal(doc.Bytes(), &s)
}

// readLine reads a line's section. What can be told in spite of an error is told.
func readLine(dir, iface, device string) (check.Line, error) {
	section, err := config.Load(dir, iface)
	if err != nil {
		return check.Line{Device: device}, err
	}
	common := section.Common(device)
	options := softbank.FromSection(section)
	return check.Line{
		Device: common.Device, DUID: common.ClientID, EchoTarget: common.EchoTarget,
		Phone:  section.Enum("phone", "auto", "auto", "0", "1") != "0",
		Source: options.Source,
		Told: func(attributes []status.Attribute) check.Told {
			echo, dns := softbank.Told(attributes)
			return check.Told{EchoTarget: echo, DNS: dns}
		},
	}, section.Err()
}

// parse parses flags, and an interface that may be named by one of them too.
func (p *place) parse(fs *flag.FlagSet, args []string, stderr io.Writer) (iface string, err error) {
	p.flags(fs)
	named := fs.String("interface", "", "the same as INTERFACE, its `NAME`")
	iface, err = parse(fs, args, "", stderr)
	switch {
	case err != nil:
		return "", err
	case iface != "" && *named != "" && iface != *named:
		return "", cli.Exit(cli.Usage, fmt.Errorf("%s: which one, %s or %s?", fs.Name(), iface, *named))
	}
	return cmp.Or(iface, *named, "wan"), nil
}

func runCheck(args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("check", flag.ContinueOnError)
	fs.Usage = func() {
		fmt.Fprintln(fs.Output(), "sofu-proto check [INTERFACE] [FLAGS]: INTERFACE is wan unless given")
		fs.PrintDefaults()
	}
	var p place
	asJSON := fs.Bool("json", false, "print JSON")
	iface, err := p.parse(fs, args, stderr)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	r := check.Judge(check.Gather(ctx, iface, p.sources(iface), progress(stderr)))
	if ctx.Err() != nil {
		return cli.Exit(cli.Failed, errors.New("check: interrupted"))
	}
	if *asJSON {
		_, err = stdout.Write(r.JSON())
	} else {
		err = r.WriteText(stdout, isTerminal(stdout) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb")
	}
	if err != nil {
		return err
	}
	switch r.Worst() {
	case check.Fail:
		return cli.Exit(cli.NotUp, nil)
	case check.Warn:
		return cli.Exit(cli.Warned, nil)
	}
	return nil
}

// progress is a line on a terminal that is gone at the end, nil elsewhere.
func progress(w io.Writer) func(done, all int) {
	if !isTerminal(w) {
		return nil
	}
	return func(done, all int) {
		const home, erase = "\r", "\x1b[K"
		if done == all {
			fmt.Fprint(w, home+erase)
			return
		}
		fmt.Fprintf(w, "%schecking: %d of %d%s", home, done, all, erase)
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
