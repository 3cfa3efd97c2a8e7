//go:build lab

package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sofutobanku/internal/control"
	"sofutobanku/internal/isp"
	"sofutobanku/lab/realisp"
)

// TestCapturedLine: a line is captured while it comes up, on the router itself and to
// nobody's harm; sofu-isp plays the capture back, and a router with the interface that
// was learned from it comes up on that as it did on the line.
func TestCapturedLine(t *testing.T) {
	for _, redact := range []bool{false, true} {
		for _, line := range realisp.Lines {
			name := string(line)
			if redact {
				if line != realisp.Cross { // one of them will do
					continue
				}
				name += "/redacted"
			}
			t.Run(name, func(t *testing.T) {
				lab, net := newLine(t)
				c := startSimulated(t, lab, net, line)
				file := filepath.Join(lab.Dir("capture"), "line.pcapng")
				args := []string{bin("sofu-tools"), "capture", "wan0", "-o", file}
				if redact {
					args = append(args, "-redact")
				}
				tap := net.Router.Start(args...)
				tap.WaitFor(patience, "listening on wan0")
				r := startRouter(t, lab, net.Router, c.UCI())
				r.awaitUp(c.Now())
				tap.Signal(syscall.SIGINT)
				if code := tap.Wait(patience); code != 0 {
					t.Fatalf("exit status %d of the capture:\n%s", code, tap.Output())
				}
				for _, want := range []string{"router advertisement", "RADIUS Access-Request", "RADIUS Access-Accept"} {
					if !strings.Contains(tap.Output(), want) {
						t.Errorf("no %s was captured:\n%s", want, tap.Output())
					}
				}
				r.Signal(syscall.SIGTERM)
				r.Wait(patience)
				c.isp.Stop()

				learned := net.Router.Run(bin("sofu-tools"), "learn", file)
				uci := strings.NewReplacer("SHARED-SECRET", c.SharedSecret, "PASSWORD", c.Password, "'eth1'", "'wan0'").Replace(learned)
				account, err := json.Marshal(map[string]string{"shared_secret": c.SharedSecret, "password": c.Password})
				if err != nil {
					t.Fatal(err)
				}
				dir := lab.Dir("replay")
				config := lab.WriteFile(dir, "account", string(account))
				if err := os.Chmod(config, 0o600); err != nil {
					t.Fatal(err)
				}
				socket := filepath.Join(dir, "sock")
				net.ISP.Start(bin("sofu-isp"), "--device", realisp.Port, "--config", config, "--socket", socket,
					"--replay", file, "--forward")
				state := func() (s isp.State, err error) {
					ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
					defer cancel()
					var b bytes.Buffer
					if err := control.Call(ctx, socket, "state", &b); err != nil {
						return s, err
					}
					return s, json.Unmarshal(b.Bytes(), &s)
				}
				var s isp.State
				lab.Eventually(patience, "sofu-isp to play", func() error { s, err = state(); return err })

				want := c.Now()
				if redact { // which is another line then
					want.Prefix, want.IPv4, want.BR = s.Prefix, s.IPv4, s.BR
					if want.Prefix == c.Now().Prefix || want.BR == c.Now().BR {
						t.Errorf("not redacted: prefix %v, BR %v", want.Prefix, want.BR)
					}
				}
				again := startRouter(t, lab, net.Router, uci)
				again.awaitUp(want)
				checkIPv4(t, net, want.IPv4)
				if s, err = state(); err != nil || len(s.Wrong) > 0 {
					t.Errorf("%v: the second router asked otherwise: %+v\n%s", err, s.Wrong, learned)
				}
			})
		}
	}
}
