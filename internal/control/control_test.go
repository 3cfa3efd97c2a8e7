package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the test binary be the client of another user.
func TestMain(m *testing.M) {
	if path := os.Getenv("CONTROL_TEST_CALL"); path != "" {
		if err := Call(context.Background(), path, "hello", os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// serve starts a server with h and returns its path. It is stopped, and must
// stop cleanly, at the end of the test.
func serve(t *testing.T, h Handler) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run", "s")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, path, h) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("Serve did not end")
		}
	})
	for range 1000 {
		if conn, err := net.Dial("unix", path); err == nil {
			conn.Close()
			return path
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("the server did not start")
	return ""
}

func echo(_ context.Context, line string, w io.Writer) error {
	_, err := fmt.Fprintf(w, "you said %q\n", line)
	return err
}

func TestCall(t *testing.T) {
	tests := []struct {
		name    string
		line    string
		handler Handler
		want    string
		wantErr string
	}{
		{name: "answer", line: "status --json", handler: echo, want: "you said \"status --json\"\n"},
		{name: "empty request", line: "", handler: echo, want: "you said \"\"\n"},
		{
			name: "longest request",
			line: strings.Repeat("x", MaxLine-1),
			handler: func(_ context.Context, line string, w io.Writer) error {
				_, err := fmt.Fprint(w, len(line))
				return err
			},
			want: "4095",
		},
		{name: "empty answer", line: "x", handler: func(context.Context, string, io.Writer) error { return nil }},
		{
			name:    "error",
			line:    "x",
			handler: func(context.Context, string, io.Writer) error { return errors.New("no such command") },
			wantErr: "no such command",
		},
		{
			name: "error after an answer without a newline",
			line: "x",
			handler: func(_ context.Context, _ string, w io.Writer) error {
				io.WriteString(w, "half")
				return errors.New("broke")
			},
			want:    "half\n",
			wantErr: "broke",
		},
		{
			name:    "error of several lines",
			line:    "x",
			handler: func(context.Context, string, io.Writer) error { return errors.New("one\ntwo\r\n") },
			wantErr: "one; two",
		},
		{
			name: "text that looks like an error and is none",
			line: "x",
			handler: func(_ context.Context, _ string, w io.Writer) error {
				_, err := io.WriteString(w, "error: not really\nerror: nor this\nend\n")
				return err
			},
			want: "error: not really\nerror: nor this\nend\n",
		},
		{
			name: "large answer",
			line: "x",
			handler: func(_ context.Context, _ string, w io.Writer) error {
				_, err := w.Write(bytes.Repeat([]byte("0123456789abcdef"), 1<<16))
				return err
			},
			want: strings.Repeat("0123456789abcdef", 1<<16),
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := serve(t, tt.handler)
			var got strings.Builder
			err := Call(t.Context(), path, tt.line, &got)
			if msg := fmt.Sprint(err); (err != nil || tt.wantErr != "") && msg != tt.wantErr {
				t.Errorf("error %q, want %q", msg, tt.wantErr)
			}
			if got.String() != tt.want {
				t.Errorf("answer of %d bytes, want %d: %.60q", got.Len(), len(tt.want), got.String())
			}
		})
	}
}

func TestCallRefusesBadLines(t *testing.T) {
	for _, line := range []string{"two\nlines", "cr\r", strings.Repeat("x", MaxLine)} {
		if err := Call(t.Context(), "/nonexistent", line, io.Discard); err == nil || !strings.Contains(err.Error(), "one line") {
			t.Errorf("%.10q: %v", line, err)
		}
	}
}

func TestCallNobodyListens(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale")
	leaveSocket(t, stale)
	for _, path := range []string{filepath.Join(dir, "missing"), stale} {
		err := Call(t.Context(), path, "status", io.Discard)
		if err == nil || !strings.Contains(err.Error(), "is it running?") || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error %v", path, err)
		}
	}
}

// leaveSocket makes a socket file as a killed server leaves it.
func leaveSocket(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
}

func TestServeModes(t *testing.T) {
	path := serve(t, echo)
	for p, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		fi, err := os.Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		if got := fi.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", p, got, want)
		}
	}
}

func TestServePaths(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale")
	leaveSocket(t, stale)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, path, wantErr string }{
		{"stale socket", stale, ""},
		{"a file", file, "is no socket"},
		{"in use", serve(t, echo), "another process listens"},
		{"too long", filepath.Join(dir, strings.Repeat("x", 108)), "at most 107"},
		{"directory is a file", filepath.Join(file, "s"), "not a directory"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			err := Serve(ctx, tt.path, echo)
			if tt.wantErr == "" {
				if err != nil {
					t.Fatal(err)
				}
				if _, err := os.Lstat(tt.path); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("the socket is still there: %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
				t.Errorf("error %v, want %q", err, tt.wantErr)
			}
		})
	}
	if b, _ := os.ReadFile(file); string(b) != "precious" {
		t.Error("a file in the way was touched")
	}
}

// TestHostileClients: none of these may reach the handler, and the server must
// serve the next one.
func TestHostileClients(t *testing.T) {
	var calls atomic.Int32
	path := serve(t, func(ctx context.Context, line string, w io.Writer) error {
		if line == "ping" {
			_, err := io.WriteString(w, "pong\n")
			return err
		}
		calls.Add(1)
		return nil
	})
	tests := []struct {
		name string
		send string
		shut bool   // close the sending side after it
		want string // the answer
	}{
		{name: "huge line", send: strings.Repeat("A", 1<<20), want: "error: request longer than 4096 bytes\n"},
		{name: "one byte too long", send: strings.Repeat("A", MaxLine), want: "error: request longer than 4096 bytes\n"},
		{name: "no newline, then the end", send: "status", shut: true},
		{name: "nothing, then the end", shut: true},
		{name: "slow: no newline for ever", send: "stat", want: "error: no request within 5s\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn, err := net.Dial("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(9 * time.Second))
			io.WriteString(conn, tt.send) // may fail: the server hangs up early
			if tt.shut {
				conn.(*net.UnixConn).CloseWrite()
			}
			got, _ := io.ReadAll(conn) // a reset is fine after the text
			if string(got) != tt.want {
				t.Errorf("answer %q, want %q", got, tt.want)
			}
		})
	}
	if n := calls.Load(); n != 0 {
		t.Errorf("the handler was called %d times", n)
	}
	var got strings.Builder
	if err := Call(t.Context(), path, "ping", &got); err != nil || got.String() != "pong\n" {
		t.Errorf("after all of them: %q, %v", got.String(), err)
	}
}

func TestTooManyClients(t *testing.T) {
	path := serve(t, echo)
	var conns []net.Conn
	hold := func() {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	for range maxConns {
		hold()
	}
	// A connection that has ended, as that by which serve saw the server, may have
	// kept one of these from its slot: what came free is filled too.
	err := Call(t.Context(), path, "x", io.Discard)
	for range 3 {
		if err == nil {
			hold()
			err = Call(t.Context(), path, "x", io.Discard)
		}
	}
	if err == nil || err.Error() != "too many clients" {
		t.Errorf("one more client: %v", err)
	}
	for _, c := range conns {
		c.Close()
	}
	for i := 0; ; i++ { // the slots come free as the server notices
		err := Call(t.Context(), path, "x", io.Discard)
		if err == nil {
			break
		}
		if i == 1000 {
			t.Fatalf("still refused: %v", err)
		}
		time.Sleep(time.Millisecond)
	}
}

// lineWriter hands each Write on.
type lineWriter chan string

func (w lineWriter) Write(b []byte) (int, error) { w <- string(b); return len(b), nil }

// TestWatch: a stream reaches the client piece by piece, and the handler's
// context ends as soon as the client leaves.
func TestWatch(t *testing.T) {
	next, left := make(chan string), make(chan struct{})
	path := serve(t, func(ctx context.Context, _ string, w io.Writer) error {
		defer close(left)
		for {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case s := <-next:
				if _, err := io.WriteString(w, s); err != nil {
					return err
				}
			}
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	lines, done := make(lineWriter), make(chan error, 1)
	go func() { done <- Call(ctx, path, "watch", lines) }()
	for _, want := range []string{"one\n", "two\n", "three\n"} {
		next <- want
		if got := <-lines; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Call: %v", err)
	}
	select {
	case <-left:
	case <-time.After(5 * time.Second):
		t.Error("the handler did not learn that the client left")
	}
}

// TestServeEndsWithWatchers: a client that stays does not keep the server.
func TestServeEndsWithWatchers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ctx, cancel := context.WithCancel(t.Context())
	started := make(chan struct{})
	served := make(chan error, 1)
	go func() {
		served <- Serve(ctx, path, func(ctx context.Context, _ string, w io.Writer) error {
			close(started)
			<-ctx.Done()
			return nil
		})
	}()
	called := make(chan error, 1)
	go func() {
		for {
			err := Call(t.Context(), path, "watch", io.Discard)
			if err == nil || !strings.Contains(err.Error(), "is it running?") {
				called <- err
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	<-started
	cancel()
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if err := <-called; err != nil {
		t.Errorf("Call: %v", err)
	}
}

// TestOtherUser: the socket's mode was opened to everybody, and still only root
// and the own user are served.
func TestOtherUser(t *testing.T) {
	path := serve(t, echo)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// Neither the test binary nor the socket may be hidden by a directory.
	open := filepath.Join(t.TempDir(), "call")
	b, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(open, b, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, open} {
		os.Chmod(p, 0o777)
		for dir := filepath.Dir(p); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	for uid, want := range map[uint32]string{0: "you said \"hello\"\n", 65534: "user 65534 may not use this socket\n"} {
		cmd := exec.Command(open)
		cmd.Env = append(os.Environ(), "CONTROL_TEST_CALL="+path)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		out, _ := cmd.CombinedOutput()
		if string(out) != want {
			t.Errorf("user %d: %q, want %q", uid, out, want)
		}
	}
}

func TestAllowed(t *testing.T) {
	for _, tt := range []struct {
		peer, own uint32
		want      bool
	}{{0, 0, true}, {0, 1000, true}, {1000, 1000, true}, {1000, 0, false}, {1001, 1000, false}} {
		if got := allowed(tt.peer, tt.own); got != tt.want {
			t.Errorf("allowed(%d, %d) = %v", tt.peer, tt.own, got)
		}
	}
}
