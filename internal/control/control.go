package control

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
)

const (
	// MaxLine is the longest request in bytes, the newline included.
	MaxLine = 4096

	maxConns       = 16               // clients served at the same time
	maxPath        = 107              // bytes of sockaddr_un's sun_path, less the final NUL
	requestTimeout = 5 * time.Second  // for a client to send its line
	writeTimeout   = 10 * time.Second // for a client to take one piece of the answer
	acceptPause    = 100 * time.Millisecond

	errorPrefix = "error: "
)

// DefaultDir holds the sockets of the daemons.
const DefaultDir = "/var/run/sofu-proto"

// Path is the socket in dir of the daemon for an interface.
func Path(dir, iface string) string { return filepath.Join(dir, iface+".sock") }

// Handler answers one request line (its newline removed) by writing to w. ctx
// ends when the client leaves or the server stops, and a Write fails when the
// client does not take it. An error is sent to the client and makes its Call
// fail.
type Handler func(ctx context.Context, line string, w io.Writer) error

// Serve answers requests on a unix socket at path (at most 107 bytes) until ctx
// ends, then removes the socket, waits for the handlers and returns nil. The
// socket has mode 0600; a missing directory is made with mode 0700. A socket
// that a dead process left is removed, one that somebody listens on is an error.
func Serve(ctx context.Context, path string, h Handler) error {
	l, err := listen(path)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	defer l.Close()

	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel() // before the wait, so that the handlers end
	slots := make(chan struct{}, maxConns)
	for {
		conn, err := l.AcceptUnix()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("control: accept on %s: %w", path, err)
		case err != nil:
			// Out of descriptors or memory for now: the daemon's own work
			// must not end because of it.
			select {
			case <-ctx.Done():
			case <-time.After(acceptPause):
			}
			continue
		}
		select {
		case slots <- struct{}{}:
			wg.Go(func() {
				defer func() { <-slots }()
				serveConn(ctx, conn, h)
			})
		default:
			refuse(conn, "too many clients")
		}
	}
}

// listen makes the socket.
func listen(path string) (*net.UnixListener, error) {
	if len(path) > maxPath {
		return nil, fmt.Errorf("control: socket path %s: %d bytes, at most %d are possible", path, len(path), maxPath)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	// Between bind and chmod the umask decides; the credentials check of
	// serveConn covers that moment.
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("control: %w", err)
	}
	return l, nil
}

// removeStale removes the socket at path if nobody listens on it.
func removeStale(path string) error {
	fi, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("control: %w", err)
	}
	if fi.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("control: %s exists and is no socket: remove it, or choose another path", path)
	}
	conn, err := dial(path)
	switch {
	case err == nil:
		conn.Close()
		return fmt.Errorf("control: another process listens on %s", path)
	case !errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("control: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("control: stale socket: %w", err)
	}
	return nil
}

// serveConn reads one request and lets h answer it.
func serveConn(ctx context.Context, conn *net.UnixConn, h Handler) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	defer conn.Close()

	if err := checkPeer(conn); err != nil {
		refuse(conn, err.Error())
		return
	}
	conn.SetReadDeadline(time.Now().Add(requestTimeout))
	r := bufio.NewReaderSize(conn, MaxLine)
	line, err := r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		refuse(conn, fmt.Sprintf("request longer than %d bytes", MaxLine))
		return
	case errors.Is(err, os.ErrDeadlineExceeded):
		refuse(conn, fmt.Sprintf("no request within %v", requestTimeout))
		return
	case err != nil: // it left
		return
	}
	request := strings.TrimRight(string(line), "\r\n")

	// Nothing more is expected: the next byte or the end means that the
	// client is done with the answer.
	conn.SetReadDeadline(time.Time{})
	go func() {
		r.ReadByte()
		cancel()
	}()

	w := &answer{conn: conn}
	if err := h(ctx, request, w); err != nil && ctx.Err() == nil {
		w.fail(err)
	}
}

// answer is a client's end as the handler sees it. A handler may write from
// several goroutines.
type answer struct {
	conn net.Conn
	mu   sync.Mutex
	open bool // the last byte written was no newline
}

func (a *answer) Write(b []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(b) == 0 {
		return 0, nil
	}
	a.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	n, err := a.conn.Write(b)
	if n > 0 {
		a.open = b[n-1] != '\n'
	}
	return n, err
}

// fail ends the answer with an error line.
func (a *answer) fail(err error) {
	text := errorLine(err.Error())
	if a.open {
		text = "\n" + text
	}
	a.Write([]byte(text))
}

// errorLine is text as the one line that ends a failed answer: printable, as what
// it quotes may come from anywhere, and short enough for copyAnswer.
func errorLine(text string) string {
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
	if most := MaxLine - len(errorPrefix+"…\n"); len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return errorPrefix + text + "\n"
}

// refuse tells a client why it is not served and hangs up.
func refuse(conn net.Conn, why string) {
	conn.SetWriteDeadline(time.Now().Add(time.Second))
	io.WriteString(conn, errorLine(why))
	conn.Close()
}

// checkPeer refuses everybody but root and the user this process runs as.
func checkPeer(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return err
	}
	if credErr != nil {
		return credErr
	}
	if !allowed(cred.Uid, uint32(os.Geteuid())) {
		return fmt.Errorf("user %d may not use this socket", cred.Uid)
	}
	return nil
}

// allowed tells whether a process of user peer may command one of user own.
func allowed(peer, own uint32) bool { return peer == 0 || peer == own }

// dial connects to the socket at path, which never blocks. net.Dial would bring
// the resolver and TCP into the program.
func dial(path string) (*net.UnixConn, error) {
	return net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
}

// Call sends line, which must hold no newline and be shorter than MaxLine, to
// the daemon that serves path and copies its answer to w until the daemon ends
// it or ctx ends. A failed command is an error with the daemon's own text; the
// rest of its answer is in w all the same.
func Call(ctx context.Context, path, line string, w io.Writer) error {
	if strings.ContainsAny(line, "\r\n") || len(line)+1 > MaxLine {
		return fmt.Errorf("control: a request is one line of less than %d bytes", MaxLine)
	}
	conn, err := dial(path)
	switch {
	case err == nil:
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("control: nobody answers on %s: is it running? (%w)", path, err)
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("control: no permission to use %s: run as root (%w)", path, err)
	default:
		return fmt.Errorf("control: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()

	conn.SetWriteDeadline(time.Now().Add(requestTimeout))
	// A server that refuses at once may have hung up already: what it said is
	// worth more than the failed write.
	_, sendErr := io.WriteString(conn, line+"\n")
	failure, err := copyAnswer(w, conn)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case failure != nil:
		return failure
	case sendErr != nil:
		return fmt.Errorf("control: %s: %w", path, sendErr)
	case err != nil:
		return fmt.Errorf("control: %s: %w", path, err)
	}
	return nil
}

// copyAnswer copies r to w as it comes. An error line is held back: at the end
// it is the failure, before anything else it was text like any other.
func copyAnswer(w io.Writer, r io.Reader) (failure, err error) {
	br := bufio.NewReaderSize(r, MaxLine)
	var held []byte
	start := true // at the start of a line
	for {
		part, err := br.ReadSlice('\n')
		if len(part) > 0 {
			if held != nil {
				if _, err := w.Write(held); err != nil {
					return nil, err
				}
				held = nil
			}
			if start && part[len(part)-1] == '\n' && bytes.HasPrefix(part, []byte(errorPrefix)) {
				held = bytes.Clone(part)
			} else if _, err := w.Write(part); err != nil {
				return nil, err
			}
			start = part[len(part)-1] == '\n'
		}
		switch {
		case err == nil, errors.Is(err, bufio.ErrBufferFull):
		case held != nil: // the end, or a hang-up right after the error line
			return errors.New(strings.TrimSuffix(strings.TrimPrefix(string(held), errorPrefix), "\n")), nil
		case err == io.EOF:
			return nil, nil
		default:
			return nil, err
		}
	}
}
