package topo

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// TB is what a Lab needs of a test; *testing.T is one, and Main makes one for
// programs that are not tests.
type TB interface {
	Helper()
	Logf(format string, args ...any)
	Fatalf(format string, args ...any) // does not return
	Failed() bool
	Cleanup(func()) // run in reverse order after success, failure and panic
}

// Lab is one network. Its methods must be called from the test's goroutine.
type Lab struct {
	tb  TB
	dir string
	ns  []*NS

	mu    sync.Mutex // guards procs, which the reaping goroutines look at too
	procs []*Process
}

// New makes an empty Lab that ends with tb.
func New(tb TB) *Lab {
	tb.Helper()
	dir, err := os.MkdirTemp("", "lab-")
	if err != nil {
		tb.Fatalf("lab: %v", err)
	}
	l := &Lab{tb: tb, dir: dir}
	tb.Cleanup(l.close)
	return l
}

// close ends the processes, the youngest first, then whatever they left running
// in the namespaces, then the namespaces.
func (l *Lab) close() {
	l.mu.Lock()
	procs := l.procs
	l.mu.Unlock()
	for i := len(procs) - 1; i >= 0; i-- {
		procs[i].Stop()
	}
	for _, n := range l.ns {
		if err := n.close(); err != nil {
			l.tb.Logf("lab: %v", err)
		}
	}
	if l.tb.Failed() {
		for _, p := range procs {
			l.tb.Logf("what %s in %s said:\n%s", p.name, p.ns.name, indent(tail(p.Output(), 25)))
		}
	}
	if err := os.RemoveAll(l.dir); err != nil {
		l.tb.Logf("lab: %v", err)
	}
}

// Fatalf ends the test.
func (l *Lab) Fatalf(format string, args ...any) {
	l.tb.Helper()
	l.tb.Fatalf(format, args...)
}

// Logf logs in the test.
func (l *Lab) Logf(format string, args ...any) {
	l.tb.Helper()
	l.tb.Logf(format, args...)
}

// Dir returns a new directory inside the Lab's own, readable by every user
// (servers drop their privileges).
func (l *Lab) Dir(name string) string {
	l.tb.Helper()
	if err := os.Chmod(l.dir, 0o755); err != nil {
		l.tb.Fatalf("lab: %v", err)
	}
	dir, err := os.MkdirTemp(l.dir, name+"-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		l.tb.Fatalf("lab: %v", err)
	}
	return dir
}

// WriteFile writes a file that every user may read, and returns its path.
func (l *Lab) WriteFile(dir, name, content string) string {
	l.tb.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		l.tb.Fatalf("lab: %v", err)
	}
	return path
}

// poll is how often Eventually looks.
const poll = 20 * time.Millisecond

// Eventually waits until ok returns nil, and ends the test with its last error
// when that takes longer than within, or when a process of the Lab that should be
// there has ended. what completes the sentence "waiting for …".
func (l *Lab) Eventually(within time.Duration, what string, ok func() error) {
	l.tb.Helper()
	deadline := time.Now().Add(within)
	for {
		err := ok()
		if err == nil {
			return
		}
		if p := l.lost(); p != nil {
			l.tb.Fatalf("waiting for %s: %s in %s has ended (%v):\n%s",
				what, p.name, p.ns.name, p.err, indent(tail(p.Output(), 20)))
		}
		if time.Now().After(deadline) {
			l.tb.Fatalf("waiting for %s: not within %v: %v", what, within, err)
		}
		time.Sleep(poll)
	}
}

// lost returns a process that ended although nobody stopped it or waits for it.
func (l *Lab) lost() *Process {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.procs {
		if p.unexpectedlyOver() {
			return p
		}
	}
	return nil
}

// Main runs f as a test's body in a program: it prints what f logs to standard
// error, cleans up when f ends, fails, panics or the program gets SIGINT or
// SIGTERM, and returns why f failed.
func Main(f func(TB)) (err error) {
	tb := &program{}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	defer tb.cleanUp()
	done := make(chan struct{})
	go func() {
		select {
		case s := <-signals:
			tb.cleanUp()
			fmt.Fprintln(os.Stderr, "stopped by", s)
			os.Exit(1)
		case <-done:
		}
	}()
	defer close(done)
	defer func() {
		switch p := recover().(type) {
		case nil:
		case fatal:
			err = errors.New(string(p))
		default:
			tb.failed = true
			tb.cleanUp()
			panic(p)
		}
	}()
	f(tb)
	return nil
}

// program is Main's TB.
type program struct {
	failed   bool
	mu       sync.Mutex
	cleanups []func()
}

// fatal is what Fatalf panics with, for Main to catch.
type fatal string

func (*program) Helper() {}

func (*program) Logf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

func (p *program) Fatalf(format string, args ...any) {
	p.failed = true
	panic(fatal(fmt.Sprintf(format, args...)))
}

func (p *program) Failed() bool { return p.failed }

func (p *program) Cleanup(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cleanups = append(p.cleanups, f)
}

// cleanUp runs what is left of the cleanups; a second caller waits for the first.
func (p *program) cleanUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.cleanups) > 0 {
		f := p.cleanups[len(p.cleanups)-1]
		p.cleanups = p.cleanups[:len(p.cleanups)-1]
		f()
	}
}

// tail returns the last n lines of s.
func tail(s string, n int) string {
	lines := strings.SplitAfter(s, "\n")
	if len(lines) <= n {
		return s
	}
	return "…\n" + strings.Join(lines[len(lines)-n:], "")
}

func indent(s string) string {
	if s == "" {
		return "    (nothing)"
	}
	return "    " + strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n    ")
}
