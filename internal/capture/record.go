package capture

import (
	"context"
	"errors"
	"fmt"
	"io"

	"sofutobanku/internal/pcapng"
)

// Source gives packets one after the other. A Socket is one.
type Source interface {
	// Next waits for a packet; ctx's cause is its error when ctx ends before one comes.
	Next(ctx context.Context) (pcapng.Packet, error)
}

// Recording is how Record writes a capture.
type Recording struct {
	Device, Application string
	// Limit is the most that is written, in bytes.
	Limit int64
	// Redactor takes out what tells whose line it is. nil: the packets are written as
	// they came.
	Redactor *Redactor
	// Notice is told of each packet that was written, as it is in the file. It may be
	// nil.
	Notice func(Frame)
}

// ErrLimit is what a Record ends with whose file is full.
var ErrLimit = errors.New("the file is full")

// Record writes the packets of src to w, whole after each of them, until ctx ends, which
// is no error, or the file is full, which is ErrLimit. It returns how many packets were
// written and how many of the kinds could not be read: they are written unless they are
// to be redacted.
func Record(ctx context.Context, src Source, w io.Writer, rec Recording) (written, bad int, err error) {
	h := pcapng.Header{Device: rec.Device, Application: rec.Application}
	if rec.Redactor != nil {
		h.Comment = Redacted
	}
	out, err := pcapng.NewWriter(w, h)
	if err != nil {
		return 0, 0, err
	}
	size := int64(0)
	for {
		p, err := src.Next(ctx)
		switch {
		case ctx.Err() != nil:
			return written, bad, nil
		case err != nil:
			return written, bad, err
		}
		f, err := FromPacket(p)
		if errors.Is(err, errOther) {
			continue
		}
		if err != nil {
			if bad++; rec.Redactor != nil { // nobody can vouch for it
				continue
			}
		} else if rec.Redactor != nil {
			f = rec.Redactor.Frame(f)
			p = f.Packet()
		}
		if size += int64(pcapng.Size(p)); size > rec.Limit {
			return written, bad, ErrLimit
		}
		if err := out.Write(p); err != nil {
			return written, bad, fmt.Errorf("capture: %w", err)
		}
		written++
		if err == nil && rec.Notice != nil {
			rec.Notice(f)
		}
	}
}
