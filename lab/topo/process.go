package topo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

// commandLimit is how long Run and Try let a command take.
const commandLimit = 60 * time.Second

// Process is something that Start started.
type Process struct {
	name string
	ns   *NS
	cmd  *exec.Cmd
	out  output
	done chan struct{} // closed when it has ended
	err  error         // how, valid after done

	mu       sync.Mutex
	awaited  bool // its end is no surprise
	followed int  // how much of out WaitFor has passed
}

// output collects what a process writes. The writes come from one goroutine of
// package exec, the reads from the test.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// outputLimit bounds what is kept of one process.
const outputLimit = 4 << 20

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.buf.Len() < outputLimit {
		o.buf.Write(p)
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// command makes a command that runs in a process group of its own.
func (n *NS) command(argv []string) *exec.Cmd {
	n.lab.tb.Helper()
	if len(argv) == 0 {
		n.lab.tb.Fatalf("lab: no command")
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// A grandchild that keeps our pipe open must not keep us.
	cmd.WaitDelay = time.Second
	return cmd
}

// Start starts a process that is meant to stay until the Lab ends: Eventually
// fails at once when it does not. Its standard output and error are kept.
func (n *NS) Start(argv ...string) *Process {
	n.lab.tb.Helper()
	return n.StartEnv(nil, argv...)
}

// StartEnv is Start with variables ("KEY=value") added to the environment.
func (n *NS) StartEnv(env []string, argv ...string) *Process {
	n.lab.tb.Helper()
	p := &Process{name: argv[0], ns: n, cmd: n.command(argv), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	if err := n.Do(p.cmd.Start); err != nil {
		n.lab.tb.Fatalf("lab: starting %s in %s: %v", p.name, n.name, err)
	}
	n.lab.mu.Lock()
	n.lab.procs = append(n.lab.procs, p)
	n.lab.mu.Unlock()
	go func() {
		p.err = p.cmd.Wait()
		if p.err == nil {
			p.err = errors.New("exit status 0")
		}
		close(p.done)
	}()
	return p
}

// Output is what the process has written so far.
func (p *Process) Output() string { return p.out.String() }

// PID is its process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends it a signal.
func (p *Process) Signal(s os.Signal) {
	p.ns.lab.tb.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.ns.lab.tb.Fatalf("lab: %v to %s in %s: %v", s, p.name, p.ns.name, err)
	}
}

func (p *Process) expectEnd() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.awaited = true
}

func (p *Process) unexpectedlyOver() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.done:
		return !p.awaited
	default:
		return false
	}
}

// Stop ends the process and its process group: SIGTERM, and SIGKILL when that
// does not help within five seconds.
func (p *Process) Stop() {
	p.expectEnd()
	select {
	case <-p.done:
		return // its number may be another process's by now
	default:
	}
	_ = syscall.Kill(p.PID(), syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
	}
	_ = syscall.Kill(-p.PID(), syscall.SIGKILL) // also what outlived it; there may be nothing
	<-p.done
}

// Wait waits for the process to end by itself and returns its exit status.
func (p *Process) Wait(within time.Duration) int {
	p.ns.lab.tb.Helper()
	p.expectEnd()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(within):
		p.ns.lab.tb.Fatalf("%s in %s has not ended within %v", p.name, p.ns.name, within)
		return -1
	}
}

// WaitFor waits until the output that no WaitFor passed before has a line that
// matches the regular expression, and returns the submatches.
func (p *Process) WaitFor(within time.Duration, pattern string) []string {
	p.ns.lab.tb.Helper()
	re := regexp.MustCompile(pattern)
	var match []string
	p.ns.lab.Eventually(within, fmt.Sprintf("%s in %s to say %q", p.name, p.ns.name, pattern), func() error {
		out := p.Output()[p.followed:]
		for line := range strings.Lines(out) {
			if !strings.HasSuffix(line, "\n") {
				break // not yet the whole of it
			}
			p.followed += len(line)
			if match = re.FindStringSubmatch(strings.TrimSuffix(line, "\n")); match != nil {
				return nil
			}
		}
		return errors.New("it has said:\n" + indent(tail(p.Output(), 20)))
	})
	return match
}

// Try runs a command to its end and returns its standard output and error
// together, and an error that tells the exit status.
func (n *NS) Try(argv ...string) (string, error) {
	n.lab.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	return n.TryInput(ctx, "", argv...)
}

// TryInput is Try with a standard input and a context that kills the command's
// process group when it ends.
func (n *NS) TryInput(ctx context.Context, stdin string, argv ...string) (string, error) {
	n.lab.tb.Helper()
	cmd := n.command(argv)
	var out output
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &out
	if err := n.Do(cmd.Start); err != nil {
		return "", err
	}
	stop := context.AfterFunc(ctx, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	err := cmd.Wait()
	stop()
	return out.String(), errors.Join(err, ctx.Err())
}

// Run is Try, and ends the test when the command fails.
func (n *NS) Run(argv ...string) string {
	n.lab.tb.Helper()
	out, err := n.Try(argv...)
	if err != nil {
		n.lab.tb.Fatalf("%s in %s: %v\n%s", strings.Join(argv, " "), n.name, err, indent(out))
	}
	return out
}
