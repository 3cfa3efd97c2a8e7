package main

import (
	"bytes"
	"context"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sofutobanku/internal/cli"
	"sofutobanku/internal/control"
	"sofutobanku/internal/status"
)

func phoneStatus() *status.Phone {
	address := netip.MustParsePrefix("198.51.100.2/30")
	return &status.Phone{
		Numbers: []string{"0312345678", "0312345679"}, Domain: "sip.example", Address: &address, DSCP: 32,
		SIP4: []netip.Addr{netip.MustParseAddr("203.0.113.5"), netip.MustParseAddr("203.0.113.6")},
	}
}

const wantPJSIP = `; pjsip.conf for the telephone line of wan, as sofu-proto phone asterisk printed it.
; Calls come to the context from-wan, and go by Dial(PJSIP/NUMBER@wan).
; Further numbers of the line: 0312345679. The To header tells which one was called.

[wan-udp]
type=transport
protocol=udp
bind=198.51.100.2:5060
tos=128

[wan]
type=registration
transport=wan-udp
server_uri=sip:sip.example
client_uri=sip:0312345678@sip.example
contact_user=0312345678
outbound_proxy=sip:203.0.113.5:5060\;lr
expiration=3600
retry_interval=60
max_retries=10000

[wan]
type=aor
contact=sip:sip.example
outbound_proxy=sip:203.0.113.5:5060\;lr

[wan]
type=endpoint
transport=wan-udp
context=from-wan
aors=wan
disallow=all
allow=ulaw:20
from_user=0312345678
from_domain=sip.example
outbound_proxy=sip:203.0.113.5:5060\;lr
direct_media=no
media_address=198.51.100.2
bind_rtp_to_media_address=yes
tos_audio=128

[wan]
type=identify
endpoint=wan
match=203.0.113.5
match=203.0.113.6
`

// TestPhone asks a daemon's control socket.
func TestPhone(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*status.Phone)
		args   []string
		code   int
		want   string // of what is printed, "" for nothing
		says   string // on standard error
	}{
		{"Asterisk", nil, []string{"asterisk"}, cli.OK, wantPJSIP, ""},
		{"sipp", nil, []string{"sipp"}, cli.OK, "-i 198.51.100.2 -p 5060 -s 0312345678 -key domain sip.example -key expires 3600 203.0.113.5:5060\n", ""},
		{"another number", nil, []string{"sipp", "-number", "0312345679"}, cli.OK,
			"-i 198.51.100.2 -p 5060 -s 0312345679 -key domain sip.example -key expires 3600 203.0.113.5:5060\n", ""},
		{"no domain", func(p *status.Phone) { p.Domain = "" }, []string{"sipp"}, cli.OK,
			"-i 198.51.100.2 -p 5060 -s 0312345678 -key domain 203.0.113.5 -key expires 3600 203.0.113.5:5060\n", ""},
		{"a stranger's number", nil, []string{"sipp", "-number", "0312345670"}, cli.NotUp, "", "0312345678, 0312345679"},
		{"no address", func(p *status.Phone) { p.Address = nil }, []string{"sipp"}, cli.NotUp, "", "no address yet"},
		{"silence", func(p *status.Phone) { p.Address, p.Error = nil, &status.Error{Code: "PHONE_SILENT", Text: "nobody"} }, []string{"sipp"}, cli.NotUp, "", "PHONE_SILENT: nobody"},
		{"no server", func(p *status.Phone) { p.SIP4 = nil }, []string{"asterisk"}, cli.NotUp, "", "no SIP server"},
		{"no number", func(p *status.Phone) { p.Numbers = nil }, []string{"asterisk"}, cli.NotUp, "", "no telephone number"},
		{"for nobody", nil, []string{}, cli.Usage, "", "asterisk or sipp"},
		{"for somebody else", nil, []string{"fax"}, cli.Usage, "", "asterisk or sipp"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := status.Status{Interface: "wan", Phone: phoneStatus()}
			if test.change != nil {
				test.change(s.Phone)
			}
			dir := t.TempDir()
			serveStatus(t, dir, s)
			var out, errs bytes.Buffer
			code := run(append(append([]string{"phone"}, test.args...), "-run-dir", dir), &out, &errs)
			if code != test.code || !strings.Contains(errs.String(), test.says) {
				t.Errorf("exit code %d: %s", code, errs.String())
			}
			if diff := cmp.Diff(test.want, out.String()); diff != "" {
				t.Errorf("printed (-want +got):\n%s", diff)
			}
		})
	}
	if _, err := accountOf(nil, ""); err == nil {
		t.Error("a line without a telephone has an account")
	}
}

// serveStatus is a daemon's control socket in dir.
func serveStatus(t *testing.T, dir string, s status.Status) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	socket := control.Path(dir, "wan")
	go func() {
		done <- control.Serve(ctx, socket, func(_ context.Context, _ string, w io.Writer) error {
			_, err := w.Write(s.JSON())
			return err
		})
	}()
	t.Cleanup(func() { cancel(); <-done })
	for range 500 {
		if control.Call(ctx, socket, "status", io.Discard) == nil {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
	t.Fatal("no control socket")
}
