package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sofutobanku/internal/cli"
	"sofutobanku/internal/control"
	"sofutobanku/internal/daemon"
	"sofutobanku/internal/kernel"
	"sofutobanku/internal/netifd"
	"sofutobanku/internal/state"
	"sofutobanku/internal/status"
)

// predecessorPatience is how long a predecessor gets to remove what it made; it
// is what netifd itself gives.
const predecessorPatience = 5 * time.Second

// runUnderNetifd is what OpenWrt's netifd starts for an interface.
func runUnderNetifd(args []string, _, stderr io.Writer) error {
	fs := flag.NewFlagSet("run", flag.ContinueOnError)
	dir := fs.String("config", "/etc/config", "`DIR` of the UCI file named network")
	iface := fs.String("interface", "wan", "logical `NAME` of the interface")
	device := fs.String("device", "", "WAN `DEV` as netifd resolved it, instead of option device")
	runDir := fs.String("run-dir", control.DefaultDir, "`DIR` of the control socket and the lock")
	stateDir := fs.String("state-dir", defaultStateDir, "`DIR` of the lease and of what was made in the kernel")
	hookFile := fs.String("hook", defaultHook, "`PROGRAM` to run when what the line tells of its telephone changes")
	verbose := fs.Bool("v", false, "log more")
	if _, err := cli.Parse(fs, args, 0, stderr); err != nil {
		return err
	}
	log := newLog(stderr, *verbose)
	ctx, stop := untilSignal()
	defer stop()

	unlock, err := takeOver(ctx, filepath.Join(*runDir, *iface+".lock"), log)
	if err != nil {
		return err
	}
	defer unlock()

	child := *iface + "_4"
	o := netifd.Options{
		Context: ctx, Interface: *iface, Child: child, TunnelDevice: netifd.TunnelDevice(child), HGWChild: *iface + "_hgw",
		Call: netifd.Exec, Log: log,
	}
	section, l, err := loadLine(*dir, *iface, *device, "", log)
	stateHome := confine(*stateDir, log)
	if err == nil {
		l.stateDir = stateHome
		o.SourceFilter = section.Bool("sourcefilter", true)
		o.ExtendPrefix = section.Bool("extendprefix", false)
		o.IP4Table = section.String("ip4table", "")
		o.Zone = section.String("zone", "")
		o.HGWZone = section.String("hgw_zone", "lan")
		err = section.Err()
	}
	if exhausted(err) {
		return err
	}
	if err != nil {
		// Nothing but another configuration helps, and netifd would start us again
		// at once for ever.
		return cli.Exit(cli.Config, errors.Join(err, netifd.New(o).Fail("CONFIG", err.Error())))
	}
	if o.Zone == "" {
		if o.Zone, err = firewallZone(ctx, *iface); err != nil {
			return err
		}
	}
	forward := newForwarder(*iface, log)
	hold, err := kernel.New(kernel.Options{
		Device: l.common.Device, TunnelName: cut("s4-" + *iface), KeepLink: true, Forward: forward,
		StrictRFC: l.common.StrictRFC, StateDir: l.stateDir, Log: log,
	})
	if err != nil {
		return err
	}
	cfg := l.daemonConfig()
	cfg.Forwarding = forward.by
	l.tell(&cfg, *hookFile)
	var d *daemon.Daemon
	o.Device, o.Metric, o.NoDefaultRoute = l.common.Device, l.common.Metric, !l.common.DefaultRoute
	o.Kernel, o.CheckTunnel = hold, hold.CheckTunnel
	o.Data = func(st state.State) map[string]any { return ifstatusData(string(l.options.Line), st, d.Phone(st)) }
	cfg.Interface, cfg.Tunnel, cfg.Applier = *iface, o.TunnelDevice, netifd.New(o)
	cfg.OnEvent = afterBursts(debug.FreeOSMemory, nil)
	d = daemon.New(cfg)
	return serve(ctx, d, control.Path(*runDir, *iface), log)
}

// cut makes a device name of s: at most 15 bytes.
func cut(s string) string { return s[:min(15, len(s))] }

// ifstatusData is what `ifstatus` shows beside what netifd knows by itself.
// Nothing in it changes by itself: each change makes the firewall reload.
func ifstatusData(lineName string, st state.State, phone *status.Phone) map[string]any {
	data := map[string]any{"line": lineName, "ntp": st.WAN.NTP}
	if phone != nil {
		data["phone"] = phone
	}
	if t := st.Tunnel; t != nil {
		data["ipv4"], data["br"] = t.IPv4, t.Remote
	}
	return data
}

// firewallZone is the zone of an interface as the firewall's own program says, ""
// when it says none: the tunnel's interface belongs there too. The error is one that
// is over the next time.
func firewallZone(ctx context.Context, iface string) (string, error) {
	for _, fw := range []string{"fw4", "fw3"} {
		out, err := exec.CommandContext(ctx, fw, "-q", "network", iface).Output()
		if err == nil {
			return strings.TrimSpace(string(out)), nil
		}
		if exhausted(err) {
			return "", fmt.Errorf("ask the firewall: %w", err)
		}
	}
	return "", nil
}

// exhausted tells that err is of what the system has not enough of now. What it keeps
// from being read is no fault of its own, and netifd starts us again.
func exhausted(err error) bool {
	return slices.ContainsFunc([]error{unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EAGAIN}, func(e error) bool { return errors.Is(err, e) })
}

// takeOver is lock for one that netifd started: `network restart` may leave a
// predecessor behind, which has to end first.
func takeOver(ctx context.Context, path string, log *slog.Logger) (unlock func(), err error) {
	deadline := time.Now().Add(2 * predecessorPatience)
	for asked := false; ; time.Sleep(50 * time.Millisecond) {
		unlock, err = lock(path, log)
		var coded *cli.Error
		if !errors.As(err, &coded) || coded.Code != cli.Running || time.Now().After(deadline) || ctx.Err() != nil {
			return unlock, err
		}
		signal := syscall.SIGTERM
		if time.Until(deadline) < predecessorPatience {
			signal = syscall.SIGKILL
		}
		if asked && signal == syscall.SIGTERM {
			continue
		}
		pid, err := lockHolder(path)
		if err != nil {
			log.Warn("who holds the lock?", "error", err)
			continue
		}
		log.Warn("ending the predecessor", "pid", pid, "signal", signal.String())
		asked = true
		if err := unix.Kill(pid, signal); err != nil && !errors.Is(err, unix.ESRCH) {
			return nil, fmt.Errorf("end the sofu-proto with process id %d: %w", pid, err)
		}
	}
}

// lockHolder is the process that holds the lock, if it is one of this program.
func lockHolder(path string) (int, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	held := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &held); err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	pid := int(held.Pid)
	if held.Type == unix.F_UNLCK || pid <= 1 {
		return 0, fmt.Errorf("%s: nobody has the lock whom this process could see", path)
	}
	// By its name: the file behind it may have been replaced by an upgrade.
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return 0, err
	}
	own, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		return 0, err
	}
	if string(name) != string(own) {
		return 0, fmt.Errorf("%s is locked by process %d, which is %s", path, pid, strings.TrimSpace(string(name)))
	}
	return pid, nil
}
