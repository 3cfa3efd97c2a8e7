package hook

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// log is a Log for a test to read.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (h *Hook) idle() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.running
}

func wait(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not %s", what)
		}
	}
}

// program is a script that writes its environment to a file.
func program(t *testing.T, mode os.FileMode, more string) (path, out string) {
	dir := t.TempDir()
	path, out = filepath.Join(dir, "user"), filepath.Join(dir, "out")
	if err := os.WriteFile(path, fmt.Appendf(nil, "#!/bin/sh\necho \"$A\" \"$#\" \"$SECRET\" >>%s\n%s\n", out, more), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path, out
}

func read(t *testing.T, file string) string {
	b, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(b)
}

func TestTell(t *testing.T) {
	t.Setenv("SECRET", "hunter2")
	path, out := program(t, 0o755, "")
	var said log
	h := &Hook{Path: path, Log: slog.New(slog.NewTextHandler(&said, nil))}
	for _, a := range []string{"1; rm -rf /", "1; rm -rf /", "$(2)", "1; rm -rf /"} {
		h.Tell([]string{"A=" + a})
		wait(t, "idle", h.idle)
	}
	if got, want := read(t, out), "1; rm -rf / 0 \n$(2) 0 \n1; rm -rf / 0 \n"; got != want {
		t.Errorf("told %q, want %q", got, want)
	}
	if n := strings.Count(said.String(), "was told"); n != 3 {
		t.Errorf("logged %q", said.String())
	}
}

// While the program runs news wait, and only the last one is told.
func TestLatest(t *testing.T) {
	path, out := program(t, 0o755, "while test ! -e \"$0.go\"; do sleep 0.01; done")
	h := &Hook{Path: path, Log: slog.New(slog.DiscardHandler)}
	h.Tell([]string{"A=0"})
	wait(t, "started", func() bool { return read(t, out) != "" })
	for i := range 100 {
		h.Tell([]string{fmt.Sprintf("A=%d", i+1)})
	}
	if err := os.WriteFile(path+".go", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wait(t, "idle", h.idle)
	if got := read(t, out); got != "0 0 \n100 0 \n" {
		t.Errorf("told %q", got)
	}
}

// What another user may have put there is not run, and what is not there is no error.
func TestRefused(t *testing.T) {
	for _, test := range []struct {
		mode   os.FileMode
		says   string
		change func(path string) error
	}{
		{0o775, "want a file to which nobody but", nil},
		{0o757, "want a file to which nobody but", nil},
		{0o644, "permission denied", nil},
		{0o755, "want a file to which nobody but", func(p string) error { return os.Chown(p, 1, 1) }},
		{0o755, "want a file", func(p string) error { os.Remove(p); return os.Mkdir(p, 0o755) }},
		{0o755, "", os.Remove},
	} {
		path, out := program(t, test.mode, "")
		if test.change != nil {
			if err := test.change(path); err != nil {
				t.Fatal(err)
			}
		}
		var said log
		h := &Hook{Path: path, Log: slog.New(slog.NewTextHandler(&said, nil))}
		h.Tell([]string{"A=1"})
		wait(t, "idle", h.idle)
		if got := read(t, out); got != "" || !strings.Contains(said.String(), test.says) || (test.says == "") != (said.String() == "") {
			t.Errorf("mode %v: told %q, said %q", test.mode, got, said.String())
		}
	}
	(&Hook{}).Tell([]string{"A=1"})
}
