package main

import (
	"context"
	crand "crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"

	"golang.org/x/sys/unix"

	"sofutobanku/internal/cli"
	"sofutobanku/internal/control"
	"sofutobanku/internal/daemon"
	"sofutobanku/internal/kernel"
	"sofutobanku/internal/privilege"
	"sofutobanku/internal/statefile"
	"sofutobanku/internal/status"
)

// defaultStateDir holds leases and what was made in the kernel. On OpenWrt /var
// is a tmpfs: flash is not written to.
const defaultStateDir = "/var/lib/sofu-proto"

// defaultHook is the program of a user who wants to know of the telephone.
const defaultHook = "/etc/sofu-proto.user"

func up(args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("up", flag.ContinueOnError)
	dir := fs.String("config", "/etc/config", "`DIR` of the UCI file named network")
	iface := fs.String("interface", "wan", "`NAME` of the config interface section")
	device := fs.String("device", "", "WAN `DEV`, instead of option device")
	lan := fs.String("lan", "", "LAN `DEV` that gets the first /64 of the delegated prefix")
	resolv := fs.String("resolv", "", "resolv.conf `FILE` to write the line's DNS servers to")
	tunnel := fs.String("tunnel", "", "device `NAME` of the tunnel (default: the interface's name with -4 behind it)")
	runDir := fs.String("run-dir", control.DefaultDir, "`DIR` of the control socket and the lock")
	stateDir := fs.String("state-dir", defaultStateDir, "`DIR` of the lease and of what was made in the kernel")
	hookFile := fs.String("hook", defaultHook, "`PROGRAM` to run when what the line tells of its telephone changes")
	timeline := fs.Bool("timeline", false, "print each moment of the line's life on standard output")
	verbose := fs.Bool("v", false, "log more")
	if _, err := cli.Parse(fs, args, 0, stderr); err != nil {
		return err
	}
	log := newLog(stderr, *verbose)
	ctx, stop := untilSignal()
	defer stop()
	if *tunnel == "" {
		*tunnel = *iface + "-4"
	}
	_, l, err := loadLine(*dir, *iface, *device, "", log)
	if err != nil {
		return cli.Exit(cli.Config, err)
	}
	unlock, err := lock(filepath.Join(*runDir, *iface+".lock"), log)
	if err != nil {
		return err
	}
	defer unlock()
	l.stateDir = confine(*stateDir, log)

	forward := newForwarder(*iface, log)
	applier, err := kernel.New(kernel.Options{
		Device: l.common.Device, LAN: *lan, ResolvFile: *resolv, TunnelName: *tunnel,
		DefaultRoute: l.common.DefaultRoute, Metric: l.common.Metric, PeerDNS: l.common.PeerDNS,
		StrictRFC: l.common.StrictRFC, StateDir: l.stateDir, Forward: forward, Log: log,
	})
	if err != nil {
		return err
	}
	cfg := l.daemonConfig()
	cfg.Forwarding = forward.by
	l.tell(&cfg, *hookFile)
	cfg.Interface, cfg.Tunnel, cfg.Applier = *iface, *tunnel, applier
	if *timeline {
		cfg.OnEvent = func(e status.Event) { fmt.Fprintln(stdout, e.Line()) }
	}
	cfg.OnEvent = afterBursts(debug.FreeOSMemory, cfg.OnEvent)
	return serve(ctx, daemon.New(cfg), control.Path(*runDir, *iface), log)
}

// confine gives up every privilege that is not needed from here on: no packet has
// been read yet. It returns the directory to keep state in, "" for none: what another
// user may have put there would be believed. The line is worth more than either.
func confine(stateDir string, log *slog.Logger) string {
	if err := privilege.Dir(stateDir); err != nil {
		log.Error("nothing will be kept over a restart", "error", err)
		stateDir = ""
	}
	if err := privilege.Confine(); err != nil {
		log.Warn("not every privilege is given up", "error", err)
	}
	return stateDir
}

func newLog(w io.Writer, verbose bool) *slog.Logger {
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

// untilSignal is a context that ends with SIGTERM or SIGINT. A renew is nothing before
// there is a daemon, and not the end.
func untilSignal() (context.Context, context.CancelFunc) {
	signal.Ignore(syscall.SIGUSR1, syscall.SIGUSR2)
	return signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
}

// serve runs d with its control socket, SIGUSR1 and SIGUSR2 until ctx ends.
func serve(ctx context.Context, d *daemon.Daemon, socket string, log *slog.Logger) error {
	usr := make(chan os.Signal, 1)
	signal.Notify(usr, syscall.SIGUSR1, syscall.SIGUSR2)
	go func() {
		for s := range usr {
			if s == syscall.SIGUSR1 {
				d.Renew()
			} else {
				d.Restart()
			}
		}
	}()
	go func() {
		// The line is worth more than its status.
		if err := control.Serve(ctx, socket, d.Control); err != nil && ctx.Err() == nil {
			log.Error("no control socket: status will not work", "error", err)
		}
	}()
	return d.Run(ctx)
}

// lock makes sure that one sofu-proto runs for an interface. The kernel drops the
// lock with the process, however that ends, and tells who has it, so that nothing needs
// to be written: a tmpfs may be full.
func lock(path string, log *slog.Logger) (unlock func(), err error) {
	if err := privilege.Dir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	// Else it would be in the way for ever, and netifd start us again for ever.
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
		as, err := statefile.PutAside(path)
		log.Warn("no file is in the place of the lock, put aside", "file", path, "as", as, "err", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil {
		f.Close()
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
			return nil, cli.Exit(cli.Running, fmt.Errorf("%s is locked: another sofu-proto runs for this interface; end it first", path))
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}

// newRand returns an unpredictable source of its own for each client: what it
// gives becomes transaction ids and CHAP challenges.
func newRand() *rand.Rand {
	var seed [32]byte
	crand.Read(seed[:]) // never fails, see its documentation
	return rand.New(rand.NewChaCha8(seed))
}
