package check

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"sofutobanku/internal/status"
)

// Verdict is how a link of the chain is.
type Verdict string

// The verdicts.
const (
	OK   Verdict = "ok"
	Warn Verdict = "warn" // it works, and something about it is not as it should be
	Fail Verdict = "fail" // the line, or a part of it, does not work for it
	Skip Verdict = "skip" // it cannot be told, for a reason that is no fault of its own
)

// Check is one link of the chain.
type Check struct {
	Name    string  `json:"name"` // stable
	Verdict Verdict `json:"verdict"`
	Seen    string  `json:"seen"`
	Remedy  string  `json:"remedy"` // what to do, "" for nothing
}

// Cause is the most likely reason of all that is wrong.
type Cause struct {
	Name string `json:"name"` // of the Check
	Text string `json:"text"`
}

// Report is the document of a check. Its keys are stable: keys are added, never renamed.
type Report struct {
	Interface string  `json:"interface"`
	Checks    []Check `json:"checks"`
	Cause     *Cause  `json:"cause,omitempty"` // nil when all is well
}

// Worst is Fail when something fails, else Warn when something is to be warned of,
// else OK.
func (r Report) Worst() Verdict {
	for _, v := range []Verdict{Fail, Warn} {
		if slices.ContainsFunc(r.Checks, func(c Check) bool { return c.Verdict == v }) {
			return v
		}
	}
	return OK
}

// cause is the first check that fails, else the first one that warns: the checks are in
// the order in which one thing leads to another.
func (r Report) cause() *Cause {
	worst := r.Worst()
	if worst == OK {
		return nil
	}
	c := r.Checks[slices.IndexFunc(r.Checks, func(c Check) bool { return c.Verdict == worst })]
	text := c.Seen
	if c.Remedy != "" {
		text += ": " + c.Remedy
	}
	return &Cause{c.Name, text}
}

// JSON is the document on one line, ended by a newline.
func (r Report) JSON() []byte {
	b, err := json.Marshal(r)
	if err != nil {
		panic(err) // every field marshals: only a change of the types gets here
	}
	return append(b, '\n')
}

// colours are SGR sequences of ECMA-48.
var colours = map[Verdict]string{OK: "\x1b[32m", Warn: "\x1b[33m", Fail: "\x1b[31m", Skip: "\x1b[2m"}

// WriteText writes r for a person; colour is for a terminal.
func (r Report) WriteText(w io.Writer, colour bool) error {
	var b strings.Builder
	paint := func(v Verdict, text string) string {
		if !colour {
			return text
		}
		return colours[v] + text + "\x1b[0m"
	}
	for _, c := range r.Checks {
		fmt.Fprintf(&b, "%s  %-9s %s\n", paint(c.Verdict, fmt.Sprintf("%-4s", c.Verdict)), c.Name, status.Printable(c.Seen))
		if c.Remedy != "" {
			fmt.Fprintf(&b, "                → %s\n", status.Printable(c.Remedy))
		}
	}
	if r.Cause == nil {
		fmt.Fprintf(&b, "\n%s: all is well\n", status.Printable(r.Interface))
	} else {
		fmt.Fprintf(&b, "\n%s: most likely it is this: %s: %s\n", status.Printable(r.Interface), r.Cause.Name, status.Printable(r.Cause.Text))
	}
	_, err := io.WriteString(w, b.String())
	return err
}
