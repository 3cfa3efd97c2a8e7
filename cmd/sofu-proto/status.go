package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"sofutobanku/internal/cli"
	"sofutobanku/internal/control"
	"sofutobanku/internal/state"
	"sofutobanku/internal/status"
)

func showStatus(args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("status", flag.ContinueOnError)
	iface := fs.String("interface", "wan", "logical `NAME` of the interface")
	asJSON := fs.Bool("json", false, "print JSON, with --watch one document a line")
	watch := fs.Bool("watch", false, "print again at each change, until interrupted")
	runDir := fs.String("run-dir", control.DefaultDir, "`DIR` of the control socket")
	if _, err := cli.Parse(fs, args, 0, stderr); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	colour := isTerminal(stdout)
	show := func(doc []byte) (status.Status, error) {
		var s status.Status
		if err := json.Unmarshal(doc, &s); err != nil {
			return s, fmt.Errorf("status: answer of the daemon: %w", err)
		}
		if *asJSON {
			_, err := stdout.Write(doc)
			return s, err
		}
		return s, s.WriteText(stdout, time.Now(), colour)
	}
	path := control.Path(*runDir, *iface)
	if *watch {
		return watchStatus(ctx, path, func(doc []byte) error {
			if colour && !*asJSON {
				io.WriteString(stdout, "\x1b[H\x1b[2J") // home, erase
			}
			_, err := show(doc)
			return err
		})
	}
	var doc bytes.Buffer
	if err := control.Call(ctx, path, "status", &doc); err != nil {
		return err
	}
	s, err := show(doc.Bytes())
	if err != nil {
		return err
	}
	if s.State != state.Up {
		return cli.Exit(cli.NotUp, nil)
	}
	return nil
}

// watchStatus hands each document of the daemon to show until ctx ends.
func watchStatus(ctx context.Context, path string, show func([]byte) error) error {
	pr, pw := io.Pipe()
	go func() { pw.CloseWithError(control.Call(ctx, path, "watch", pw)) }()
	defer pr.Close()
	r := bufio.NewReader(pr)
	for {
		doc, err := r.ReadBytes('\n')
		if ctx.Err() != nil {
			return nil
		}
		if err == io.EOF {
			return fmt.Errorf("status: the daemon ended")
		}
		if err != nil {
			return err
		}
		if err := show(doc); err != nil {
			return err
		}
	}
}

// isTerminal tells whether a person reads w and wants colours (no-color.org).
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
