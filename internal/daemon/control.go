package daemon

import (
	"context"
	"fmt"
	"io"
)

// Control answers one request of the control socket:
//
//	status   the status document, once
//	watch    the status document now and after each change, one on a line
//	renew    see Renew
//	restart  see Restart
func (d *Daemon) Control(ctx context.Context, request string, w io.Writer) error {
	switch request {
	case "status":
		s, _ := d.Status()
		_, err := w.Write(s.JSON())
		return err
	case "watch":
		return d.watch(ctx, w)
	case "renew":
		d.Renew()
	case "restart":
		d.Restart()
	default:
		return fmt.Errorf("unknown request %.20q: known are status, watch, renew, restart", request)
	}
	return nil
}

func (d *Daemon) watch(ctx context.Context, w io.Writer) error {
	for {
		s, changed := d.Status()
		if _, err := w.Write(s.JSON()); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}
