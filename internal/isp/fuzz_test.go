package isp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
)

// FuzzCommand: whatever the operator types, the line has a configuration that can
// be served, and a command that fails changes nothing.
func FuzzCommand(f *testing.F) {
	f.Fuzz(func(t *testing.T, first, second string) {
		for _, kind := range kinds {
			l, _, _, _ := lineFixture(t.Context(), kind)
			for _, line := range []string{first, second} {
				before := fmt.Sprintf("%+v", l.set.get())
				err := l.Command(t.Context(), line, io.Discard)
				c := l.set.get()
				if fault := c.Check(); fault != nil {
					t.Fatalf("%s: %q made %v", kind, line, fault)
				}
				if after := fmt.Sprintf("%+v", c); err != nil && after != before {
					t.Fatalf("%s: %q failed (%v) and changed\n%s to\n%s", kind, line, err, before, after)
				}
			}
			if _, err := json.Marshal(l.State()); err != nil {
				t.Fatal(err)
			}
			l.dhcp.close()
		}
	})
}

// FuzzAccount: what is accepted of a subscriber's file has both secrets, and what is
// said against it shows none of its values.
func FuzzAccount(f *testing.F) {
	path := filepath.Join(f.TempDir(), "account.json")
	f.Fuzz(func(t *testing.T, text []byte) {
		mustNot(t, os.WriteFile(path, text, 0o600))
		for _, kind := range kinds {
			a, err := ReadAccount(path, kind)
			if err == nil {
				if len(a.sharedSecret) == 0 || len(a.password) == 0 {
					t.Fatal("no secrets")
				}
				continue
			}
			var in map[string]any
			if json.Unmarshal(text, &in) != nil {
				continue
			}
			for key, v := range in {
				if s, ok := v.(string); ok && len(s) > 20 && strings.Contains(err.Error(), s) && !strings.Contains(key, s) {
					t.Fatalf("%v shows %q", err, s)
				}
			}
		}
	})
}

// TestJournalIsBounded: a packet that is wrong in thousands of ways is worth some
// lines of a screen each, which cannot be told from somebody else's.
func TestJournalIsBounded(t *testing.T) {
	var out bytes.Buffer
	j := NewJournal(&out, false, false)
	s := newDHCPServer(testSettings(Next), j, newFakeUDP(), newFakeKernel(), serverMAC, testRand())
	defer s.close()
	pd := append([]byte{0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0}, bytes.Repeat([]byte{0, 26, 0, 0}, 10_000)...)
	oro := bytes.Repeat([]byte{0x12, 0x34}, 12_000)
	packet := dhcp(solicit, optClient, optElapsed, opt(25, pd), opt(6, oro))
	if reply := s.handle(packet, clientPeer); reply != nil {
		t.Errorf("answered: %x", reply)
	}
	_, faults := j.snapshot()
	if len(faults) == 0 || !strings.Contains(out.String(), "IA prefix of 0 bytes") {
		t.Fatalf("not said:\n%s", out.String())
	}
	for line := range strings.Lines(out.String()) {
		if len(line) > maxText+100 || strings.ContainsFunc(strings.TrimSuffix(line, "\n"), func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("line of %d bytes: %.200q", len(line), line)
		}
	}
	if n := strings.Count(out.String(), "\n"); n > 10 {
		t.Errorf("%d lines", n)
	}
}
