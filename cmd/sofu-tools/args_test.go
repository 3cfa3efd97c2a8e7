package main

import (
	"strings"
	"testing"
)

// TestArguments: what cannot be meant is refused before a packet is sent, with an exit
// status of its own and words that say what is wanted.
func TestArguments(t *testing.T) {
	for _, tt := range []struct {
		args string
		code int
		says string
	}{
		{"", exitUsage, "sofu-tools finds out"},
		{"nonsense", exitUsage, `unknown command "nonsense"`},
		{"rtsol", exitUsage, "which device?"},
		{"rtsol lo extra", exitUsage, `unexpected argument "extra"`},
		{"rtsol no-such-dev", exitFailed, "rtsol: no-such-dev: "},
		{"rtsol -h", exitOK, "-watch"},
		{"nd no-such-dev", exitFailed, "there is no device no-such-dev"},
		{"ping6", exitUsage, "which address?"},
		{"ping6 192.0.2.1", exitUsage, `"192.0.2.1" is no IPv6 address`},
		{"ping6 example.jp", exitUsage, "is no IPv6 address"},
		{"ping6 fe80::1", exitUsage, "fe80::1%wan"},
		{"ping6 ff02::1%no-such-dev", exitFailed, "no-such-dev"},
		{"ping6 ::1 -s 7", exitUsage, "-s 7: want 8 to 65000"},
		{"ping6 ::1 -S nonsense", exitUsage, "-S: "},
		{"traceroute6 ff02::1%lo", exitUsage, "no single way"},
		{"traceroute6 ::1 -m 256", exitUsage, "-m 256: want 1 to 255"},
		{"traceroute6 ::1 -q 0", exitUsage, "-q 0: want 1 to 10"},
		{"pmtu --target nonsense", exitUsage, "--target: "},
		{"pmtu --run-dir /nonexistent", exitFailed, "is known by a running line"},
		{"probe", exitUsage, "which exchange?"},
		{"probe dhcp7", exitUsage, "which exchange?"},
		{"probe dhcp6 --config /nonexistent", exitConfig, "/nonexistent"},
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
			if code := run(strings.Fields(args), &out, &out); code != exitOK || !strings.Contains(out.String(), want) {
				t.Errorf("exit status %d, want %q:\n%s", code, want, out.String())
			}
		})
	}
}
