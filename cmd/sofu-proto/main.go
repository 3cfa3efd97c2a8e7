package main

import (
	"io"
	"os"
	"runtime"
	"runtime/debug"

	"sofutobanku/internal/cli"
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

func main() {
	// A few packets an hour: threads for more would wait, and each costs memory.
	runtime.GOMAXPROCS(1)
	// Collect the garbage at one megabyte, not at four.
	debug.SetGCPercent(25)
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	p := cli.Program{Name: "sofu-proto", Usage: usage, Commands: map[string]cli.Command{
		"up": up, "run": runUnderNetifd, "status": showStatus,
	}}
	for _, name := range toolCommands {
		p.Commands[name] = useTools(name)
	}
	return p.Run(args, stdout, stderr)
}
