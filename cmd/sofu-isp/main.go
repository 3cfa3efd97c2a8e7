// Command sofu-isp is a simulated SoftBank Hikari line: what a router's WAN port
// sees of the carrier, in one process and one network namespace.
package main

import (
	"context"
	crand "crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sofutobanku/internal/control"
	"sofutobanku/internal/isp"
)

// Exit codes.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

// socketDir holds the control sockets, one a device.
const socketDir = "/run/sofu-isp"

const usage = `sofu-isp simulates a SoftBank Hikari line: router advertisements, DHCPv6 prefix
delegation, RADIUS, the BR that carries IPv4 in IPv6, and the telephone network's
DHCPv4. It runs as root in one network namespace, serves one subscriber on one device, and says what is wrong
with what the subscriber sends.

  sofu-isp sample FILE                     write an account with random secrets (mode 0600)
  sofu-isp --device DEV --config FILE [--line next|next-ra|cross] [flags]
  sofu-isp --device DEV --config FILE --replay CAPTURE [flags]
  sofu-isp ctl [--socket PATH] COMMAND…    command a running one
  sofu-isp help

A line in two namespaces:

  ip netns add isp; ip netns add router
  ip link add isp0 netns isp type veth peer name wan0 netns router
  sofu-isp sample account.json
  ip netns exec isp sofu-isp --device isp0 --config account.json
  (the router's end: wan0 in namespace router; put the secrets of account.json there)

account.json: shared_secret and password; where the gateway differs from the
line's own also username, manufacturer, model, hwrev, mac (verbatim), vsa_packing
(separate or single), chap_ident.

Commands of ctl:
%s
Exit codes: 0 ended by a signal or quit, all removed; 1 an error; 2 wrong usage.

Flags:
`

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	var err error
	switch {
	case len(args) > 0 && args[0] == "ctl":
		err = ctl(args[1:], stdout)
	case len(args) > 0 && args[0] == "sample":
		err = sample(args[1:])
	case len(args) > 0 && args[0] == "help":
		err = flag.ErrHelp
	default:
		err = serve(args, stdout)
	}
	var bad usageError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, flag.ErrHelp):
		printUsage(stdout)
		return exitOK
	case errors.As(err, &bad):
		fmt.Fprintf(stderr, "sofu-isp: %v (sofu-isp help tells more)\n", err)
		return exitUsage
	default:
		fmt.Fprintf(stderr, "sofu-isp: %v\n", err)
		return exitError
	}
}

// usageError is a mistake in the arguments.
type usageError struct{ error }

func badUsage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func printUsage(w io.Writer) {
	fmt.Fprintf(w, usage, isp.CommandHelp())
	_, fs := newFlags()
	fs.SetOutput(w)
	fs.PrintDefaults()
}

// options are the flags as given.
type options struct {
	line, device, config, socket, replay string
	json                                 bool
	apply                                []func(*isp.Config) error // what overrides the line's defaults
}

// newFlags returns the flags; a flag that is not given leaves the line's default.
func newFlags() (*options, *flag.FlagSet) {
	o := &options{}
	fs := flag.NewFlagSet("sofu-isp", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&o.device, "device", "", "the carrier's end of the line, for example isp0")
	fs.StringVar(&o.line, "line", "", "next (PD), next-ra (a /64 by RA) or cross (PD, 10 Gbit/s) (default next, or the recording's)")
	fs.StringVar(&o.replay, "replay", "", "capture `FILE` whose carrier's answers are played back, whoever asks")
	fs.StringVar(&o.config, "config", "", "JSON file of mode 0600 with the account")
	fs.StringVar(&o.socket, "socket", "", "control socket (default "+socketDir+"/DEVICE.sock)")
	fs.BoolVar(&o.json, "json", false, "print events as lines of JSON")

	d := isp.Default(isp.Next)
	value := func(name, help, def string, set func(c *isp.Config, s string) error) {
		if def != "" {
			help += " (default " + def + ")"
		}
		fs.Func(name, help, func(s string) error {
			// Read now, so that the error names the flag.
			if err := set(new(isp.Config), s); err != nil {
				return err
			}
			o.apply = append(o.apply, func(c *isp.Config) error { return set(c, s) })
			return nil
		})
	}
	addr := func(name, help string, field func(*isp.Config) *netip.Addr) {
		value(name, help, field(&d).String(), func(c *isp.Config, s string) (err error) {
			*field(c), err = netip.ParseAddr(s)
			return err
		})
	}
	addrs := func(name, help string, field func(*isp.Config) *[]netip.Addr) {
		value(name, help+", separated by commas; empty: none", fmt.Sprint(*field(&d)), func(c *isp.Config, s string) error {
			var list []netip.Addr
			for f := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == ',' }) {
				a, err := netip.ParseAddr(f)
				if err != nil {
					return err
				}
				list = append(list, a)
			}
			*field(c) = list
			return nil
		})
	}
	text := func(name, help string, field func(*isp.Config) *string) {
		value(name, help, *field(&d), func(c *isp.Config, s string) error { *field(c) = s; return nil })
	}
	duration := func(name, help string, field func(*isp.Config) *time.Duration) {
		value(name, help, field(&d).String(), func(c *isp.Config, s string) (err error) {
			*field(c), err = time.ParseDuration(s)
			return err
		})
	}
	boolean := func(name, help string, field func(*isp.Config) *bool, on bool) {
		fs.BoolFunc(name, help, func(s string) error {
			if s != "true" {
				return errors.New("takes no value")
			}
			o.apply = append(o.apply, func(c *isp.Config) error { *field(c) = on; return nil })
			return nil
		})
	}

	value("prefix", "the line's prefix", d.Prefix.String()+", its /64 on next-ra", func(c *isp.Config, s string) (err error) {
		c.Prefix, err = netip.ParsePrefix(s)
		return err
	})
	addr("ipv4", "the line's IPv4 address", func(c *isp.Config) *netip.Addr { return &c.IPv4 })
	addr("br", "IPv6 address of the BR", func(c *isp.Config) *netip.Addr { return &c.BR })
	addr("echo", "address of an IPv4 host behind the BR", func(c *isp.Config) *netip.Addr { return &c.Echo })
	value("iid", "interface id of the tunnel's far end", "1111:1111:1111:1111, on cross from the IPv4 address", func(c *isp.Config, s string) error {
		iid, err := isp.ParseIID(s)
		c.IID = &iid
		return err
	})
	value("radius", "address of the RADIUS server, port optional", d.RADIUS.String(), func(c *isp.Config, s string) error {
		if a, err := netip.ParseAddr(s); err == nil {
			c.RADIUS = netip.AddrPortFrom(a, 1812)
			return nil
		}
		ap, err := netip.ParseAddrPort(s)
		c.RADIUS = ap
		return err
	})
	addr("link-local", "the carrier router's address on the device", func(c *isp.Config) *netip.Addr { return &c.LinkLocal })
	duration("ra-delay", "wait before the answer to a router solicitation", func(c *isp.Config) *time.Duration { return &c.RADelay })
	duration("ra-interval", "longest time between unsolicited RAs, 0: none", func(c *isp.Config) *time.Duration { return &c.RAInterval })
	duration("ra-lifetime", "router lifetime", func(c *isp.Config) *time.Duration { return &c.RALifetime })
	duration("t1", "DHCPv6 T1", func(c *isp.Config) *time.Duration { return &c.T1 })
	duration("t2", "DHCPv6 T2", func(c *isp.Config) *time.Duration { return &c.T2 })
	duration("preferred", "preferred lifetime of the prefix", func(c *isp.Config) *time.Duration { return &c.Preferred })
	duration("valid", "valid lifetime of the prefix", func(c *isp.Config) *time.Duration { return &c.Valid })
	value("dhcp-source-port", "UDP port that DHCPv6 answers come from", "547", func(c *isp.Config, s string) error {
		_, err := fmt.Sscanf(s+"\n", "%d\n", &c.DHCPSourcePort)
		return err
	})
	boolean("hold", "leave every other DUID and IAID unanswered while a lease lasts", func(c *isp.Config) *bool { return &c.Hold }, true)
	boolean("no-rkap", "hand out no reconfigure key", func(c *isp.Config) *bool { return &c.RKAP }, false)
	boolean("no-phone", "no Hikari Denwa: no option 17, no telephone network", func(c *isp.Config) *bool { return &c.Phone }, false)
	value("terminal", "MAC address in option 17", d.Terminal.String(), func(c *isp.Config, s string) (err error) {
		c.Terminal, err = net.ParseMAC(s)
		return err
	})
	text("number", "telephone number in option 17", func(c *isp.Config) *string { return &c.Number })
	text("sip-domain", "SIP domain in option 17", func(c *isp.Config) *string { return &c.Domain })
	text("firmware-host", "host name in option 17", func(c *isp.Config) *string { return &c.Host })
	addrs("dns", "DNS servers", func(c *isp.Config) *[]netip.Addr { return &c.DNS })
	addrs("sip", "SIP servers", func(c *isp.Config) *[]netip.Addr { return &c.SIP })
	addrs("sntp", "SNTP servers", func(c *isp.Config) *[]netip.Addr { return &c.SNTP })
	boolean("message-authenticator", "sign RADIUS answers with a Message-Authenticator too", func(c *isp.Config) *bool { return &c.MessageAuthenticator }, true)
	boolean("no-br", "no BR: addresses are granted, IPv4 is not carried", func(c *isp.Config) *bool { return &c.NoBR }, true)
	boolean("forward", "let this namespace forward IPv4 and IPv6", func(c *isp.Config) *bool { return &c.Forward }, true)
	boolean("lenient", "say what is wrong, and answer all the same", func(c *isp.Config) *bool { return &c.Lenient }, true)
	return o, fs
}

// serve is a line until a signal comes.
func serve(args []string, stdout io.Writer) error {
	o, fs := newFlags()
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return usageError{err}
	}
	switch {
	case fs.NArg() > 0:
		return badUsage("unexpected argument %q", fs.Arg(0))
	case o.device == "":
		return badUsage("--device is missing")
	case o.config == "":
		return badUsage("--config is missing (sofu-isp sample FILE writes one)")
	}
	var recording *isp.Recording
	if o.replay != "" {
		var err error
		if recording, err = isp.ReadRecording(o.replay); err != nil {
			return err
		}
	}
	switch {
	case o.line != "":
	case recording != nil:
		o.line = string(recording.Kind)
	default:
		o.line = string(isp.Next)
	}
	c := isp.Default(isp.Kind(o.line))
	c.Device = o.device
	if recording != nil {
		recording.Apply(&c)
	}
	for _, f := range o.apply {
		if err := f(&c); err != nil {
			return usageError{err}
		}
	}
	if err := c.Check(); err != nil {
		return usageError{err}
	}
	var err error
	if c.Account, err = isp.ReadAccount(o.config, c.Kind); err != nil {
		return err
	}
	if o.socket == "" {
		o.socket = socketOf(o.device)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	var seed [32]byte
	crand.Read(seed[:]) // never fails
	line, err := isp.Open(c, isp.NewJournal(stdout, o.json, isTerminal(stdout)), seed)
	if err != nil {
		return err
	}
	return line.Run(ctx, o.socket)
}

func socketOf(device string) string { return filepath.Join(socketDir, device+".sock") }

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// ctl sends one command to a running line.
func ctl(args []string, stdout io.Writer) error {
	fs := flag.NewFlagSet("sofu-isp ctl", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	path := fs.String("socket", "", "")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return usageError{err}
	}
	if fs.NArg() == 0 {
		return badUsage("ctl: no command")
	}
	if *path == "" {
		found, _ := filepath.Glob(socketOf("*")) // a constant pattern is never bad
		if len(found) != 1 {
			return badUsage("ctl: %d sockets in %s: name one by --socket", len(found), socketDir)
		}
		*path = found[0]
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return control.Call(ctx, *path, strings.Join(fs.Args(), " "), stdout)
}

// sample writes an account with random secrets.
func sample(args []string) error {
	if len(args) != 1 || strings.HasPrefix(args[0], "-") {
		return badUsage("sample: one file name is due")
	}
	f, err := os.OpenFile(args[0], os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(f)
	enc.SetIndent("", "  ")
	return errors.Join(enc.Encode(map[string]string{
		"shared_secret": crand.Text(),
		"password":      crand.Text(),
	}), f.Close())
}
