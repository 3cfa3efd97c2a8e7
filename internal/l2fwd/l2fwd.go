package l2fwd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Options says how a Forwarder works.
type Options struct {
	// Name of the nft table, 1 to 31 letters, digits and underscores: no other
	// Forwarder of this network namespace may have it. Its last 15 bytes are what the
	// filters bear.
	Name string
	Log  *slog.Logger // nil: discarded
	// Exec runs a program, found as the shell finds it, and returns its standard
	// output; nil for Exec.
	Exec func(ctx context.Context, stdin string, args ...string) ([]byte, error)
}

// The ways of forwarding, as Set names them.
const (
	NFT = "nft"
	TC  = "tc"
)

// Error tells that this system can forward in neither way.
type Error struct {
	NFT, TC error // why not
}

func (e *Error) Error() string {
	return fmt.Sprintf("l2fwd: neither nft nor tc can forward IPv4 and ARP between two devices (on OpenWrt install the package kmod-nft-netdev or kmod-sched-core): nft: %v; tc: %v", e.NFT, e.TC)
}

// Unwrap returns both reasons.
func (e *Error) Unwrap() []error { return []error{e.NFT, e.TC} }

// Code is the code under which the status shows the error.
func (e *Error) Code() string { return "HGW_FORWARD" }

// Forwarder forwards in the network namespace of the thread that calls. Its methods
// must not be called at the same time.
type Forwarder struct {
	opt    Options
	log    *slog.Logger
	cookie [cookieLen]byte

	// What is forwarded between, and how; "" for nothing.
	pair   pair
	method string
	listed string       // what nft said of the table when it was made
	socket int          // holds the devices promiscuous, -1 for none
	qdiscs map[int]bool // the devices, by their index, whose qdisc was made for the filters
}

// device is one of the two.
type device struct {
	name  string
	index int
}

type pair [2]device

// New changes nothing yet.
func New(o Options) *Forwarder {
	f := &Forwarder{opt: o, log: o.Log, cookie: cookie(o.Name), socket: -1}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	if f.opt.Exec == nil {
		f.opt.Exec = Exec
	}
	return f
}

// Set forwards between the devices a and b and no others, and returns how: NFT or
// TC. It looks at what the kernel has, and if that is as it should be changes
// nothing; what a process that was killed left, what somebody took away and what
// belonged to a device that was replaced is made anew. With an error nothing is
// forwarded: an *Error if it cannot be on this system, one that is a unix.ENODEV if
// a device is missing.
func (f *Forwarder) Set(a, b string) (method string, err error) {
	if strings.Trim(f.opt.Name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != "" ||
		len(f.opt.Name) < 1 || len(f.opt.Name) > 31 {
		return "", fmt.Errorf("l2fwd: name %q: want 1 to 31 letters, digits and underscores", f.opt.Name)
	}
	p, err := lookUp(a, b)
	if err != nil {
		if f.method != "" {
			err = errors.Join(err, f.remove())
		}
		return "", err
	}
	if p == f.pair && f.intact() {
		return f.method, nil
	}
	// Not released first: a device that is in both pairs stays promiscuous.
	if err := f.hold(p); err != nil {
		return "", errors.Join(err, f.remove())
	}
	f.pair, f.method = p, ""
	nftErr := f.setNFT()
	if nftErr == nil {
		f.method = NFT
		if err := f.setTC(pair{}); err != nil {
			f.log.Debug("filters of an earlier process stay", "error", err)
		}
	} else {
		tcErr := f.setTC(p)
		if tcErr != nil {
			return "", errors.Join(&Error{nftErr, tcErr}, f.remove())
		}
		f.method = TC
		if err := f.deleteTable(); err != nil {
			f.log.Debug("the table of an earlier process stays", "error", err)
		}
		f.log.Debug("nft does not forward between two devices, tc does", "error", nftErr)
	}
	f.log.Info("IPv4 and ARP are forwarded between two devices", "devices", []string{a, b}, "by", f.method)
	return f.method, nil
}

// intact tells whether the kernel still has what was made.
func (f *Forwarder) intact() bool {
	switch f.method {
	case NFT:
		now, err := f.list()
		return err == nil && now == f.listed
	case TC:
		ok, err := f.hasTC(f.pair)
		return err == nil && ok
	}
	return false
}

// Close ends the forwarding and removes all of it, also what a killed process of the
// same name left. The Forwarder can be used again.
func (f *Forwarder) Close() error { return f.remove() }

func (f *Forwarder) remove() error {
	f.pair, f.method = pair{}, ""
	f.release()
	return errors.Join(f.deleteTable(), f.setTC(pair{}))
}

// lookUp finds the devices.
func lookUp(a, b string) (pair, error) {
	s, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return pair{}, fmt.Errorf("l2fwd: packet socket: %w", err)
	}
	defer unix.Close(s)
	var p pair
	for i, name := range []string{a, b} {
		r, err := unix.NewIfreq(name)
		if err == nil {
			err = unix.IoctlIfreq(s, unix.SIOCGIFINDEX, r)
		}
		if err != nil {
			return pair{}, fmt.Errorf("l2fwd: device %s: %w", name, err)
		}
		p[i] = device{name, int(r.Uint32())}
	}
	if p[0].index == p[1].index {
		return pair{}, fmt.Errorf("l2fwd: device %s: cannot forward to itself", a)
	}
	return p, nil
}

// hold keeps the devices promiscuous, and no others any more, by a packet socket of
// no protocol, to which the kernel gives nothing.
func (f *Forwarder) hold(p pair) error {
	s, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("l2fwd: packet socket: %w", err)
	}
	for _, d := range p {
		m := &unix.PacketMreq{Ifindex: int32(d.index), Type: unix.PACKET_MR_PROMISC}
		if err := unix.SetsockoptPacketMreq(s, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, m); err != nil {
			unix.Close(s)
			return fmt.Errorf("l2fwd: device %s promiscuous: %w", d.name, err)
		}
	}
	f.release()
	f.socket = s
	return nil
}

func (f *Forwarder) release() {
	if f.socket >= 0 {
		unix.Close(f.socket)
		f.socket = -1
	}
}

// execTimeout is how long a program may take; nft takes milliseconds.
const execTimeout = 10 * time.Second

func (f *Forwarder) exec(stdin string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), execTimeout)
	defer cancel()
	out, err := f.opt.Exec(ctx, stdin, args...)
	return string(out), err
}

// Exec runs a program and returns its standard output. The error of one that failed
// has the first line of what it said.
func Exec(ctx context.Context, stdin string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) && len(failed.Stderr) > 0 {
		said, _, _ := strings.Cut(string(failed.Stderr), "\n")
		return nil, fmt.Errorf("%w (%s)", err, said)
	}
	return out, err
}
