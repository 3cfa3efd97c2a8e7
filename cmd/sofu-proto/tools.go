package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"sofutobanku/internal/cli"
)

// toolCommands are those of cmd/sofu-tools: a package of its own, as flash is scarce.
var toolCommands = []string{"check", "report", "rtsol", "probe", "ping6", "traceroute6", "pmtu", "nd", "capture", "learn", "phone"}

// useTools is the command that replaces this program by sofu-tools, which is beside it or
// where its package puts it. No other place is looked at: this may be root.
func useTools(name string) cli.Command {
	return func(args []string, _, _ io.Writer) error {
		places := []string{"/usr/sbin/sofu-tools"}
		if self, err := os.Executable(); err == nil {
			places = append([]string{filepath.Join(filepath.Dir(self), "sofu-tools")}, places...)
		}
		for _, tools := range places {
			err := syscall.Exec(tools, append([]string{"sofu-tools", name}, args...), os.Environ())
			if !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s: %w", tools, err)
			}
		}
		return cli.Exit(cli.NoTools, fmt.Errorf("%s needs the package sofutobanku-tools: opkg install sofutobanku-tools, or apk add sofutobanku-tools", name))
	}
}
