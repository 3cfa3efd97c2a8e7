package main

import (
	"strings"
	"testing"

	"sofutobanku/internal/cli"
)

// TestArguments: what cannot be meant is refused before a packet is sent, with an exit
// status of its own and words that say what is wanted.
func TestArguments(t *testing.T) {
	for _, tt := range []struct {
		args string
		code int
		says string
	}{
		{"", cli.Usage, "sofu-tools finds out"},
		{"nonsense", cli.Usage, `unknown command "nonsense"`},
		{"rtsol", cli.Usage, "which device?"},
		{"rtsol lo extra", cli.Usage, `unexpected argument "extra"`},
		{"rtsol no-such-dev", cli.Failed, "rtsol: no-such-dev: "},
		{"rtsol -h", cli.OK, "-watch"},
		{"nd no-such-dev", cli.Failed, "there is no device no-such-dev"},
		{"ping6", cli.Usage, "which address?"},
		{"ping6 192.0.2.1", cli.Usage, `"192.0.2.1" is no IPv6 address`},
		{"ping6 example.jp", cli.Usage, "is no IPv6 address"},
		{"ping6 fe80::1", cli.Usage, "fe80::1%wan"},
		{"ping6 ff02::1%no-such-dev", cli.Failed, "no-such-dev"},
		{"ping6 ::1 -s 7", cli.Usage, "-s 7: want 8 to 65000"},
		{"ping6 ::1 -S nonsense", cli.Usage, "-S: "},
		{"traceroute6 ff02::1%lo", cli.Usage, "no single way"},
		{"traceroute6 ::1 -m 256", cli.Usage, "-m 256: want 1 to 255"},
		{"traceroute6 ::1 -q 0", cli.Usage, "-q 0: want 1 to 10"},
		{"pmtu --target nonsense", cli.Usage, "--target: "},
		{"pmtu --run-dir /nonexistent", cli.Failed, "is known by a running line"},
		{"probe", cli.Usage, "which exchange?"},
		{"probe dhcp7", cli.Usage, "which exchange?"},
		{"probe dhcp6 --config /nonexistent", cli.Config, "/nonexistent"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			var out strings.Builder
			if code := run(strings.Fields(tt.args), &out, &out); code != tt.code || !strings.Contains(out.String(), tt.says) {
				t.Errorf("exit status %d, want %d and %q:\n%s", code, tt.code, tt.says, out.String())
			}
		})
	}
}

// TestThisHost: echo requests to the loopback address, as the whole commands do it.
func TestThisHost(t *testing.T) {
	for args, want := range map[string]string{
		"ping6 ::1 -c 1":              "1 sent, 1 answered",
		"ping6 ::1 -c 1 --json":       `{"hosts":0,"received":1,"sent":1}`,
		"traceroute6 ::1 -q 1":        " 1  ::1  ",
		"traceroute6 ::1 -q 1 --json": `{"answers":[{"from":"::1",`,
		"nd lo":                       "neighbours:",
		"nd lo --json -p":             `{` + "\n" + `  "prefixes": [`,
	} {
		t.Run(args, func(t *testing.T) {
			var out strings.Builder
			if code := run(strings.Fields(args), &out, &out); code != cli.OK || !strings.Contains(out.String(), want) {
				t.Errorf("exit status %d, want %q:\n%s", code, want, out.String())
			}
		})
	}
}
