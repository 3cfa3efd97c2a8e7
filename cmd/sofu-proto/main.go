package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"runtime/debug"
	"slices"

	"sofutobanku/internal/version"
)

// Exit codes. They are stable and part of the help text.
const (
	exitOK      = 0
	exitFailed  = 1
	exitUsage   = 2
	exitConfig  = 3
	exitRunning = 4
	exitNotUp   = 5
	exitNoTools = 69 // EX_UNAVAILABLE of sysexits.h
)

const usage = `sofu-proto brings up a SoftBank Hikari line: IPv6 by RA and DHCPv6, IPv4 by
RADIUS and an IPv4-in-IPv6 tunnel.

  sofu-proto up --config DIR --interface NAME [--device DEV] [--lan DEV] …
        bring the line up on this Linux machine and keep it up, in the foreground
  sofu-proto run --interface NAME --device DEV
        the same under OpenWrt's netifd, which starts it
  sofu-proto status [--interface NAME] [--json] [--watch]
        show a running line
  sofu-proto version
        print version, Go version and platform
  sofu-proto check|report …
        why does it not work? The package sofutobanku-tools has these

Each command explains its flags with -h.

Exit codes: 0 done; 1 failed; 2 wrong usage; 3 the configuration cannot work;
4 the interface already has a running sofu-proto; 5 the line is not up (status);
69 the package sofutobanku-tools is not installed.
`

// exitError is an error with an exit code of its own.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func main() {
	// A few packets an hour: threads for more would wait, and each costs memory.
	runtime.GOMAXPROCS(1)
	// Collect the garbage at one megabyte, not at four.
	debug.SetGCPercent(25)
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	commands := map[string]func([]string, io.Writer, io.Writer) error{
		"up": up, "run": runUnderNetifd, "status": showStatus, "version": showVersion,
	}
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return exitUsage
	}
	if args[0] == "-h" || args[0] == "--help" || args[0] == "help" {
		fmt.Fprint(stdout, usage)
		return exitOK
	}
	command, ok := commands[args[0]]
	if !ok && slices.Contains(toolCommands, args[0]) {
		command, args, ok = useTools, append([]string{""}, args...), true // the command itself is an argument there
	}
	if !ok {
		fmt.Fprintf(stderr, "sofu-proto: unknown command %q: see sofu-proto -h\n", args[0])
		return exitUsage
	}
	err := command(args[1:], stdout, stderr)
	var coded *exitError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.As(err, &coded):
		if coded.err != nil {
			fmt.Fprintf(stderr, "sofu-proto: %v\n", coded.err)
		}
		return coded.code
	}
	fmt.Fprintf(stderr, "sofu-proto: %v\n", err)
	if errors.Is(err, fs.ErrPermission) {
		fmt.Fprintln(stderr, "sofu-proto: run it as root")
	}
	return exitFailed
}

// parse parses the flags of one command, which takes no other arguments.
func parse(fs *flag.FlagSet, args []string, stderr io.Writer) error {
	fs.SetOutput(stderr)
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return &exitError{code: exitUsage} // the flag set already said what is wrong
	}
	if fs.NArg() > 0 {
		return &exitError{exitUsage, fmt.Errorf("%s: unexpected argument %q: see sofu-proto %s -h", fs.Name(), fs.Arg(0), fs.Name())}
	}
	return nil
}

func showVersion(args []string, stdout, stderr io.Writer) error {
	if err := parse(flag.NewFlagSet("version", flag.ContinueOnError), args, stderr); err != nil {
		return err
	}
	_, err := fmt.Fprintln(stdout, version.Text("sofu-proto"))
	return err
}
