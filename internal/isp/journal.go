package isp

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"sofutobanku/internal/counters"
)

// The parts of the line, as they sign their events.
const (
	partLine   = "line"
	partRA     = "ra"
	partDHCP   = "dhcp6"
	partPhone  = "dhcp4"
	partRADIUS = "radius"
	partBR     = "br"
)

// Bounds of what State remembers of what was wrong, and of the text of an event in
// bytes: one packet can be wrong in thousands of ways.
const (
	keptFaults = 32
	maxText    = 1000
)

// Event is one thing that the line saw or did.
type Event struct {
	Time time.Time `json:"time"`
	Part string    `json:"part"`  // line, ra, dhcp6, dhcp4, radius or br
	Kind string    `json:"event"` // a fixed word, for example "solicit"
	Text string    `json:"text"`  // one line
	// Wrong: the other side did something that the line's rules forbid.
	Wrong bool `json:"wrong,omitempty"`
}

// Journal prints events, counts them, and remembers the last ones that were
// wrong. Its methods may be called from several goroutines.
type Journal struct {
	out    io.Writer
	json   bool
	colour bool

	mu     sync.Mutex
	counts counters.Set
	faults []Event
}

// NewJournal returns a journal that prints to out: a line for people, with ANSI
// colours if colour is set, or a JSON object each.
func NewJournal(out io.Writer, asJSON, colour bool) *Journal {
	return &Journal{out: out, json: asJSON, colour: colour && !asJSON}
}

// say notes an event.
func (j *Journal) say(part, kind, format string, args ...any) {
	j.note(Event{Part: part, Kind: kind, Text: fmt.Sprintf(format, args...)})
}

// wrong notes a fault of the other side.
func (j *Journal) wrong(part, kind, format string, args ...any) {
	j.note(Event{Part: part, Kind: kind, Text: fmt.Sprintf(format, args...), Wrong: true})
}

func (j *Journal) note(e Event) {
	e.Time = time.Now()
	e.Text = strings.ReplaceAll(e.Text, "\n", "; ")
	if len(e.Text) > maxText {
		e.Text = strings.ToValidUTF8(e.Text[:maxText], "") + "…"
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	name := e.Part + "." + e.Kind
	if e.Wrong {
		name += ".wrong"
		if len(j.faults) == keptFaults {
			j.faults = slices.Delete(j.faults, 0, 1)
		}
		j.faults = append(j.faults, e)
	}
	j.counts.Add(name)
	if j.json {
		b, err := json.Marshal(e)
		if err != nil { // an Event has nothing that could fail
			return
		}
		fmt.Fprintf(j.out, "%s\n", b)
		return
	}
	begin, mark, end := "", "", ""
	if e.Wrong {
		mark = "WRONG "
	}
	if j.colour {
		begin, end = "\x1b[36m", "\x1b[0m"
		if e.Wrong {
			begin = "\x1b[31m"
		}
	}
	fmt.Fprintf(j.out, "%s %s%-6s%s %-12s %s%s\n", e.Time.Format("15:04:05.000"), begin, e.Part, end, e.Kind, mark, e.Text)
}

// snapshot returns the counts and the last faults, the latest at the end.
func (j *Journal) snapshot() (map[string]uint64, []Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.counts.Snapshot(), slices.Clone(j.faults)
}
