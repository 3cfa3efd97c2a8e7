package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sofutobanku/internal/check"
	"sofutobanku/internal/cli"
	"sofutobanku/internal/control"
	"sofutobanku/internal/link/linktest"
)

const lineConfig = `config interface 'wan'
	option proto 'sofutobanku'
	option device 'wan0'
	option line 'next'
	list auth_server '240b:c0de::1812'
	option shared_secret 'a shared secret'
	option password 'battery staple'
	option username 'somebody'
	option mac '3c:ab:cd:12:34:56'
	option frobnicate 'x'
`

// newPlace is a machine of its own, in which a WAN device has no cable, and a daemon that
// answers with doc, "" for none.
func newPlace(t *testing.T, uci, doc string) (ns *linktest.Namespace, args []string) {
	t.Helper()
	ns, far := linktest.New(t), linktest.New(t)
	ns.Veth("wan0", net.HardwareAddr{0, 0, 0x5e, 0, 0x53, 1}, far, "far", net.HardwareAddr{0, 0, 0x5e, 0, 0x53, 2})
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "network"), []byte(uci), 0o600); err != nil {
		t.Fatal(err)
	}
	if doc != "" {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() {
			done <- control.Serve(ctx, control.Path(dir, "wan"), func(_ context.Context, _ string, w io.Writer) error {
				_, err := io.WriteString(w, doc)
				return err
			})
		}()
		t.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
		for { // until it listens
			if control.Call(ctx, control.Path(dir, "wan"), "status", io.Discard) == nil {
				break
			}
			if len(done) > 0 {
				t.Fatal(<-done)
			}
		}
	}
	return ns, []string{"wan", "--config", dir, "--run-dir", dir, "--state-dir", dir}
}

func runIn(ns *linktest.Namespace, args ...string) (code int, out, errors string) {
	var stdout, stderr bytes.Buffer
	ns.Do(func() { code = run(args, &stdout, &stderr) })
	return code, stdout.String(), stderr.String()
}

// down is what a daemon says of a line without a carrier.
const down = `{"interface":"wan","state":"down","since":"2026-04-01T12:00:00Z","error":{"code":"NO_CARRIER","text":"wan0 has no link"},
"wan":{"device":"wan0"},"auth":{"server":"[240b:c0de::1812]:1812","attributes":[{"name":"SoftBankBB-Attr-120","value":"0x7369702070617373776f7264"}]},
"events":[{"ms":1,"name":"access-request","detail":"to [240b:c0de::1812]:1812 from 3c:ab:cd:12:34:56 with battery staple"}]}` + "\n"

func TestCheckCommand(t *testing.T) {
	for _, tt := range []struct {
		name, uci, doc, cause string
	}{
		{"no cable", lineConfig, down, "link"},
		{"no cable and no daemon", lineConfig, "", "link"},
		{"a wrong option", strings.Replace(lineConfig, "'next'", "'nxet'", 1), down, "config"},
		{"a daemon that answers with nonsense", lineConfig, "nonsense\n", "link"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ns, args := newPlace(t, tt.uci, tt.doc)
			code, out, said := runIn(ns, append([]string{"check", "--json"}, args...)...)
			var r check.Report
			if err := json.Unmarshal([]byte(out), &r); err != nil || code != cli.NotUp || said != "" {
				t.Fatalf("exit status %d, %v, %q:\n%s", code, err, said, out)
			}
			if r.Interface != "wan" || r.Cause == nil || r.Cause.Name != tt.cause {
				t.Errorf("%s", out)
			}
			code, out, _ = runIn(ns, append([]string{"check"}, args...)...)
			if code != cli.NotUp || !strings.Contains(out, "wan: most likely it is this: "+tt.cause+": ") {
				t.Errorf("exit status %d:\n%s", code, out)
			}
		})
	}
}

// TestWhichInterface: LuCI names it by a flag, a person by a word.
func TestWhichInterface(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, "wan"},
		{[]string{"-x", "spare"}, "spare"},
		{[]string{"spare", "-x"}, "spare"},
		{[]string{"-x", "--interface", "spare"}, "spare"},
		{[]string{"--interface", "spare", "spare"}, "spare"},
		{[]string{"--interface", "spare", "other"}, ""},
		{[]string{"spare", "other"}, ""},
	} {
		fs := flag.NewFlagSet("check", flag.ContinueOnError)
		fs.Bool("x", false, "")
		if got, err := new(place).parse(fs, tt.args, io.Discard); got != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("%v: %q, %v, want %q", tt.args, got, err, tt.want)
		}
	}
}

func TestReportCommand(t *testing.T) {
	ns, args := newPlace(t, lineConfig, down)
	code, out, said := runIn(ns, append([]string{"report"}, args...)...)
	if code != cli.OK || said != "" {
		t.Fatalf("exit status %d: %s", code, said)
	}
	for _, secret := range []string{"a shared secret", "battery staple", "somebody", "240b:c0de", "3c:ab:cd", "7369702070", "frobnicate"} {
		if strings.Contains(out, secret) {
			t.Errorf("%q is in the report:\n%s", secret, out)
		}
	}
	for _, want := range []string{
		"option line 'next'", "option mac '00:00:5e:00:53:01'", "option shared_secret (set, left out)", "option username (set, left out)",
		"NO_CARRIER", "fail  link", "from 00:00:5e:00:53:01 with (secret)", "SoftBankBB-Attr-120: 12 bytes, left out",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in the report:\n%s", want, out)
		}
	}

	file := filepath.Join(t.TempDir(), "report")
	if code, out, said := runIn(ns, append([]string{"report", "-o", file, "--unknown"}, args...)...); code != cli.OK || out != "" {
		t.Fatalf("exit status %d: %s%s", code, out, said)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if b, err := os.ReadFile(file); err != nil || !bytes.Contains(b, []byte("SoftBankBB-Attr-120: 0x7369702070617373776f7264")) {
		t.Errorf("%v:\n%s", err, b)
	}
	if code, _, said := runIn(ns, append([]string{"report", "-o", file}, args...)...); code != cli.Failed || !strings.Contains(said, "file exists") {
		t.Errorf("over a file that is there: exit status %d, %s", code, said)
	}
}

// The secrets of a configuration that is wrong are left out too.
func TestReportOfWrongConfiguration(t *testing.T) {
	long := strings.Repeat("longer than it may be ", 10)
	ns, args := newPlace(t, strings.Replace(lineConfig, "'a shared secret'", "'"+long+"'", 1)+"\tlist password 'second word'\n", "")
	code, out, _ := runIn(ns, append([]string{"report"}, args...)...)
	if code != cli.OK || strings.Contains(out, "longer") || strings.Contains(out, "second") || strings.Contains(out, "battery") {
		t.Errorf("exit status %d:\n%s", code, out)
	}
}
