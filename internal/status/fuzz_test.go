package status

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode"
)

// FuzzText: of whatever document a daemon answers with, the text has nothing that
// steers a terminal, and no more lines than the document has values. What is read
// of the document is the same after being written and read again; the document may
// differ: JSON has white space, unknown members, and any order.
func FuzzText(f *testing.F) {
	f.Fuzz(func(t *testing.T, doc []byte) {
		var s Status
		if err := json.Unmarshal(doc, &s); err != nil {
			return
		}
		wire := s.JSON()
		var again Status
		if err := json.Unmarshal(wire, &again); err != nil || !bytes.Equal(again.JSON(), wire) {
			t.Fatalf("%s became %s, %v", wire, again.JSON(), err)
		}
		var b bytes.Buffer
		if err := s.WriteText(&b, now, false); err != nil {
			t.Fatal(err)
		}
		for _, e := range s.Events {
			b.WriteString(e.Line() + "\n")
		}
		lines := strings.SplitAfter(b.String(), "\n")
		for _, line := range lines {
			if strings.ContainsFunc(strings.TrimSuffix(line, "\n"), func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Fatalf("line %q", line)
			}
		}
		if len(lines) > len(doc)+10 {
			t.Fatalf("%d bytes became %d lines", len(doc), len(lines))
		}
	})
}
