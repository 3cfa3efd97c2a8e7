package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sofutobanku/internal/cli"
)

// TestTools: a command of sofu-tools is handed over to the one beside this program, with
// its arguments and its exit status, and to none that is found elsewhere. Without one a
// person is told what to install.
func TestTools(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	program, tools := filepath.Join(dir, "sofu-proto"), filepath.Join(dir, "sofu-tools")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	script := func(path, text string) {
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	try := func(args ...string) (int, string) {
		cmd := exec.Command(program, args...)
		cmd.Env = []string{"PATH=" + elsewhere + ":" + os.Getenv("PATH")}
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return cmd.ProcessState.ExitCode(), string(out)
	}
	script(filepath.Join(elsewhere, "sofu-tools"), "echo the wrong one\n")
	if _, err := os.Stat("/usr/sbin/sofu-tools"); err != nil {
		code, out := try("check", "--json")
		if code != cli.NoTools || strings.Count(out, "\n") != 1 || !strings.Contains(out, "check needs the package sofutobanku-tools: opkg install") {
			t.Errorf("exit status %d: %s", code, out)
		}
	}
	script(tools, `echo "$@"`+"\nexit 6\n")
	for _, command := range toolCommands {
		if code, out := try(command, "wan", "--json"); code != 6 || out != command+" wan --json\n" {
			t.Errorf("%s: exit status %d: %q", command, code, out)
		}
	}
	if err := os.Chmod(tools, 0o644); err != nil {
		t.Fatal(err)
	}
	if code, out := try("check"); code != cli.Failed || !strings.Contains(out, tools+": permission denied") {
		t.Errorf("of a file that is no program: exit status %d: %s", code, out)
	}
}
