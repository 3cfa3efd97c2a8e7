package netifd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// callTimeout is how long netifd may take to answer; it takes milliseconds.
	callTimeout = 5 * time.Second

	maxReply = 64 << 10 // bytes of an answer that are read
	maxError = 200      // bytes of ubus's own words in an error

	// maxMessage is the longest message in bytes: the kernel refuses to execute a
	// program with an argument of 128 KiB.
	maxMessage = 120 << 10
)

// Exit codes of ubus, which are its status codes.
const (
	invalidArgument  = 2
	notFound         = 4
	permissionDenied = 6
	noUbusd          = 255 // not a status: ubus found nobody to ask
)

// statusText is what the statuses of ubus mean: under -S it does not say so.
var statusText = []string{
	"success", "invalid command", "invalid argument", "method not found", "not found", "no response", "permission denied",
	"timed out", "not supported", "unknown error", "connection failed", "out of memory", "message not understood", "system error",
}

// CallError is a call that netifd did not do, or may not have done. It tells
// nothing of the message.
type CallError struct {
	Object, Method string
	Err            error
}

func (e *CallError) Error() string {
	return fmt.Sprintf("netifd: ubus call %s %s: %v", e.Object, e.Method, e.Err)
}

func (e *CallError) Unwrap() error { return e.Err }

// Code is the code under which the status shows the error.
func (e *CallError) Code() string { return "UBUS" }

// Exec runs ubus with args and returns what it printed. The error of an ubus that
// ran and failed has a method ExitCode.
func Exec(ctx context.Context, args ...string) ([]byte, error) {
	// Without -S an ubus since 2022 turns the status of a failed method into
	// another exit code, and prints the whole message.
	cmd := exec.CommandContext(ctx, "ubus", append([]string{"-S"}, args...)...)
	out, errOut := bounded{max: maxReply}, bounded{max: 4 * maxError}
	cmd.Stdout, cmd.Stderr = &out, &errOut
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	switch {
	case err == nil:
		return out.b, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case len(errOut.b) > 0:
		return nil, fmt.Errorf("%w (%s)", err, cut(string(errOut.b), maxError))
	}
	return nil, err
}

// bounded keeps the first max bytes.
type bounded struct {
	b   []byte
	max int
}

func (b *bounded) Write(p []byte) (int, error) {
	b.b = append(b.b, p[:min(len(p), b.max-len(b.b))]...)
	return len(p), nil
}

// call calls a method of netifd. message is nil for one without arguments.
func (a *Applier) call(ctx context.Context, timeout time.Duration, object, method string, message any) ([]byte, error) {
	fail := func(err error) ([]byte, error) { return nil, &CallError{object, method, err} }
	args := []string{"call", object, method}
	if message != nil {
		b, err := encode(message)
		if err != nil {
			return fail(err)
		}
		if len(b) > maxMessage {
			return fail(fmt.Errorf("message of %d bytes: want at most %d", len(b), maxMessage))
		}
		args = append(args, string(b))
	}
	if err := context.Cause(ctx); err != nil {
		return fail(err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, errNoAnswer)
	defer cancel()
	out, err := a.opt.Call(ctx, args...)
	switch code := exitCode(err); {
	case err == nil:
		return out, nil
	case errors.Is(err, context.DeadlineExceeded):
		err = errNoAnswer
	case errors.Is(err, exec.ErrNotFound):
		err = fmt.Errorf("%w: this needs OpenWrt's ubus and netifd", err)
	case code == noUbusd:
		err = fmt.Errorf("does ubusd run? (%w)", err)
	case 0 < code && code < len(statusText):
		err = fmt.Errorf("refused: %s (%w)", statusText[code], err)
	}
	return fail(err)
}

var errNoAnswer = errors.New("no answer in time: does netifd run?")

// exitCode is that of an ubus which ran and failed, 0 of any other error.
func exitCode(err error) int {
	if e, ok := errors.AsType[interface {
		error
		ExitCode() int
	}](err); ok {
		return e.ExitCode()
	}
	return 0
}

// nobody tells whether err means that there is nobody to take a call: the next one
// would fail just so, or take as long.
func nobody(err error) bool {
	return errors.Is(err, errNoAnswer) || errors.Is(err, exec.ErrNotFound) || exitCode(err) == noUbusd
}

func encode(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// status is what netifd says of an interface, as far as it matters here.
type status struct {
	Up bool
	// Ended: its setup failed, and netifd will not try again by itself.
	Ended bool
	Error string // what the setup said of that, "" for nothing
	// Configured: the interface has a section of its own in the configuration.
	Configured bool
}

func decodeStatus(reply []byte) (status, error) {
	var s struct {
		Up      *bool `json:"up"`
		Pending bool  `json:"pending"`
		Dynamic *bool `json:"dynamic"`
		Errors  []struct {
			Code string   `json:"code"`
			Data []string `json:"data"`
		} `json:"errors"`
	}
	if err := json.Unmarshal(reply, &s); err != nil {
		return status{}, err
	}
	if s.Up == nil {
		return status{}, errors.New("no member up")
	}
	out := status{Up: *s.Up, Configured: s.Dynamic != nil && !*s.Dynamic}
	if n := len(s.Errors); n > 0 && !out.Up && !s.Pending {
		last := s.Errors[n-1]
		out.Ended, out.Error = true, cut(last.Code+": "+strings.Join(last.Data, " "), maxError)
	}
	return out, nil
}

// cut makes one printable line of at most n bytes of s.
func cut(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	s = strings.Join(strings.Fields(s), " ")
	if len(s) <= n {
		return s
	}
	const more = "…"
	n -= len(more)
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + more
}
