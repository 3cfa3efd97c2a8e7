package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"sofutobanku/internal/capture"
	"sofutobanku/internal/cli"
	"sofutobanku/internal/softbank/learn"
)

// maxLearn bounds what is kept in memory of a live capture, in frames.
const maxLearn = 2000

func runLearn(args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("learn", flag.ContinueOnError)
	fs.Usage = func() {
		fmt.Fprintln(fs.Output(), "sofu-proto learn FILE|DEV [FLAGS]: print the interface that asks as the unit in a capture does,\n"+
			"and what differs from the built-in profile. Of a device it takes in what passes, until\n"+
			"RADIUS has accepted a unit")
		fs.PrintDefaults()
	}
	var t tap
	t.flags(fs)
	asJSON := fs.Bool("json", false, "print JSON")
	name, err := parse(fs, args, "", stderr)
	if err != nil {
		return err
	}
	if name == "" {
		return cli.Exit(cli.Usage, errors.New("learn: of which file or device? sofu-proto learn FILE|DEV"))
	}
	var file capture.File
	if _, statErr := os.Stat(name); statErr == nil {
		if file, err = capture.ReadFile(name); err != nil {
			// What came before may do.
			fmt.Fprintf(stderr, "sofu-tools: %v\n", err)
		}
	} else if file.Frames, err = t.listen(name, stderr); err != nil {
		return err
	}
	lesson, err := learn.Learn(file.Frames, "", file.Comment)
	if errors.Is(err, learn.ErrNothing) {
		return cli.Exit(cli.NotUp, fmt.Errorf("learn: %s: %w", name, err))
	}
	if err != nil {
		return err
	}
	if *asJSON {
		enc := json.NewEncoder(stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(lesson)
	}
	_, err = io.WriteString(stdout, lesson.Text())
	return err
}

// listen takes frames off a device until one accepts a unit, or until the time is over.
func (t *tap) listen(name string, stderr io.Writer) ([]capture.Frame, error) {
	sock, device, err := t.open(name)
	if err != nil {
		return nil, err
	}
	defer sock.Close()
	ctx, stop := t.until()
	defer stop()
	t.announce(stderr, device)
	var frames []capture.Frame
	err = collect(ctx, sock, func(f capture.Frame) bool {
		notice(stderr)(f)
		frames = append(frames, f)
		return !f.Accepts() && len(frames) < maxLearn
	})
	return frames, err
}

// collect hands over what of src can be read until ctx ends or take returns false.
func collect(ctx context.Context, src capture.Source, take func(capture.Frame) bool) error {
	for {
		p, err := src.Next(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		if f, err := capture.FromPacket(p); err == nil && !take(f) {
			return nil
		}
	}
}
