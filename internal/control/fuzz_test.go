package control

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"unicode"

	"golang.org/x/sys/unix"
)

// pair is a connected pair of unix sockets.
func pair(t *testing.T) (client, server *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var conns [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		c, err := net.FileConn(f)
		f.Close() // c has one of its own
		if err != nil {
			t.Fatal(err)
		}
		conns[i] = c.(*net.UnixConn)
	}
	return conns[0], conns[1]
}

// FuzzRequest: of whatever a client sends, the handler gets the first line if that
// is short enough, and nothing else.
func FuzzRequest(f *testing.F) {
	f.Fuzz(func(t *testing.T, sent []byte) {
		if len(sent) > 1<<16 { // more than a socket takes without a reader
			return
		}
		client, server := pair(t)
		defer client.Close()
		if _, err := client.Write(sent); err != nil {
			t.Fatal(err)
		}
		if err := client.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		var got []string
		serveConn(t.Context(), server, func(_ context.Context, line string, w io.Writer) error {
			got = append(got, line)
			return nil
		})
		want, _, complete := strings.Cut(string(sent), "\n")
		if !complete || len(want)+1 > MaxLine {
			if got != nil {
				t.Fatalf("%q is no request, and the handler got %q", sent, got)
			}
			return
		}
		if want = strings.TrimRight(want, "\r"); len(got) != 1 || got[0] != want {
			t.Fatalf("the handler got %q, want %q", got, want)
		}
	})
}

// FuzzAnswer: whatever a daemon answers, what the client writes and what it fails
// with are together what came. A failure of any text is one line of it that fits,
// and that a terminal can be shown.
func FuzzAnswer(f *testing.F) {
	f.Fuzz(func(t *testing.T, answer []byte, text string) {
		check := func(answer []byte) error {
			var out bytes.Buffer
			failure, err := copyAnswer(&out, bytes.NewReader(answer))
			if err != nil {
				t.Fatal(err)
			}
			if failure != nil {
				out.WriteString(errorPrefix + failure.Error() + "\n")
			}
			if !bytes.Equal(out.Bytes(), answer) {
				t.Fatalf("%q became %q", answer, out.Bytes())
			}
			return failure
		}
		check(answer)
		line := errorLine(text)
		if len(line) > MaxLine || strings.ContainsFunc(strings.TrimSuffix(line, "\n"), func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Fatalf("error line %q", line)
		}
		if len(answer) > 0 && answer[len(answer)-1] != '\n' {
			answer = append(bytes.Clone(answer), '\n')
		}
		if failure := check(append(bytes.Clone(answer), line...)); failure == nil || errorPrefix+failure.Error()+"\n" != line {
			t.Fatalf("after %q the line %q is failure %v", answer, line, failure)
		}
	})
}
