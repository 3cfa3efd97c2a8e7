package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestUpToDate: what is in docs is what the programs say now.
func TestUpToDate(t *testing.T) {
	h, err := ask()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]byte{"../sofu-proto.8": h.page(), "../sofu-proto.bash": h.completion()} {
		got, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(got), "\n")); diff != "" {
			t.Errorf("%s is out of date: go run ./docs/manual (-want +got):\n%s", name, diff)
		}
	}
}

// TestPage: every command and every flag is in the page, and nothing of it is taken for a
// request of roff.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../sofu-proto.8")
	if err != nil {
		t.Fatal(err)
	}
	requests := map[string]bool{`.\"`: true, ".TH": true, ".SH": true, ".SS": true, ".B": true, ".br": true, ".PP": true, ".TP": true, ".I": true, ".BR": true}
	for _, line := range strings.Split(string(page), "\n") {
		if word, _, _ := strings.Cut(line, " "); strings.HasPrefix(word, ".") && !requests[word] || strings.HasPrefix(line, "'") {
			t.Errorf("%q is a request", line)
		}
	}
	for _, want := range []string{".SS check", ".SS up", ".SS learn", `.B \-watch`, ".SH EXIT STATUS", ".B 69"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("%q is missing", want)
		}
	}
}

// TestCompletion: bash takes it, and completes.
func TestCompletion(t *testing.T) {
	for line, want := range map[string]string{
		"sofu-proto ch":                  "check",
		"sofu-proto probe d":             "dhcp6 dhcp4",
		"sofu-proto rtsol -w":            "-w -watch",
		"sofu-proto up --device lo":      "lo",
		"sofu-proto nd lo":               "lo",
		"sofu-proto status -":            "-interface -json -run-dir -watch",
		"sofu-proto nonsense -":          "",
		"sofu-proto learn /etc/debian_v": "/etc/debian_version",
	} {
		script := `set -eu; . ../sofu-proto.bash; read -ra COMP_WORDS <<<"$1"; COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMPREPLY=(); _sofu_proto || true; echo "${COMPREPLY[*]}"`
		out, err := exec.Command("bash", "-c", script, "bash", line).CombinedOutput()
		got := strings.TrimSpace(string(out))
		if err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", line, got, err, want)
		}
	}
}
