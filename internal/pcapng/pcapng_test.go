package pcapng

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var begin = time.Date(2026, 11, 1, 3, 4, 5, 678901000, time.UTC)

func sample() []Packet {
	return []Packet{
		{Time: begin, Direction: Outbound, Data: []byte("\x33\x33\x00\x00\x00\x02\x00\x00\x5e\x00\x53\x01\x86\xdd-----"), LinkType: Ethernet},
		{Time: begin.Add(time.Second), Direction: Inbound, Data: []byte("four"), LinkType: Ethernet},
		{Time: begin.Add(2 * time.Second), Data: []byte{}, LinkType: Ethernet},
	}
}

func write(t *testing.T, packets []Packet) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, Header{Device: "wan0", Application: "test 1", Comment: "a comment"})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range packets {
		n := b.Len()
		if err := w.Write(p); err != nil {
			t.Fatal(err)
		}
		if b.Len()-n != Size(p) {
			t.Errorf("%d bytes written, told: %d", b.Len()-n, Size(p))
		}
	}
	return b.Bytes()
}

// readAll reads a file to its end or first error.
func readAll(b []byte) (packets []Packet, comment string, err error) {
	r, err := NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, "", err
	}
	for {
		p, err := r.Next()
		if err != nil {
			if err == io.EOF {
				err = nil
			}
			return packets, r.Comment(), err
		}
		packets = append(packets, p)
	}
}

func TestRoundTrip(t *testing.T) {
	b := write(t, sample())
	got, comment, err := readAll(b)
	if err != nil || comment != "a comment" {
		t.Errorf("comment %q, error %v", comment, err)
	}
	if diff := cmp.Diff(sample(), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// Broken off within a packet, it is whole up to there.
	got, _, err = readAll(b[:len(b)-1])
	if diff := cmp.Diff(sample()[:2], got); diff != "" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("broken off: %v\n%s", err, diff)
	}
	// Two files in one are one file (section 4.1).
	if got, _, err = readAll(append(bytes.Clone(b), b...)); len(got) != 6 || err != nil {
		t.Errorf("twice: %d packets, %v", len(got), err)
	}
}

// unhex reads lines of hex; what is behind a # is for the reader.
func unhex(text string) []byte {
	var b []byte
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		part, err := hex.DecodeString(strings.Join(strings.Fields(line), ""))
		if err != nil {
			panic(err)
		}
		b = append(b, part...)
	}
	return b
}

// TestRead reads files as other programs write them.
func TestRead(t *testing.T) {
	at := time.Unix(0x60000000, 250000000).UTC()
	for name, tt := range map[string]struct {
		file string
		want []Packet
	}{
		"pcap": {`d4c3b2a1 0200 0400 00000000 00000000 00000400 01000000
			00000060 90d00300 02000000 02000000 aabb
			00000060 90d00300 01000000 09000000 cc`,
			[]Packet{{Time: at, Data: []byte{0xaa, 0xbb}, LinkType: 1}, {Time: at, Data: []byte{0xcc}, LinkType: 1, Cut: true}}},
		"pcap, big-endian, nanoseconds": {`a1b23c4d 0002 0004 00000000 00000000 00040000 00000071
			60000000 0ee6b280 00000001 00000001 aa`,
			[]Packet{{Time: at, Data: []byte{0xaa}, LinkType: 0x71}}},
		"pcapng, big-endian, other blocks": {`
			0a0d0d0a 0000001c 1a2b3c4d 0001 0000 ffffffffffffffff 0000001c
			00000001 0000001c 0001 0000 00000000 0009 0001 82 000000 0000001c # a quarter of a second
			00000005 0000000c 0000000c                                         # statistics
			00000001 00000014 0071 0000 00000000 00000014
			00000006 00000024 00000000 00000001 80000001 00000001 00000009 aa 000000 00000024
			00000003 00000014 00000001 bb 000000 00000014`,
			[]Packet{{Time: at, Data: []byte{0xaa}, LinkType: 1, Cut: true}, {Time: time.Unix(0, 0).UTC(), Data: []byte{0xbb}, LinkType: 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, _, err := readAll(unhex(tt.file))
			if err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	const section = "0a0d0d0a 1c000000 4d3c2b1a 0100 0000 ffffffffffffffff 1c000000 "
	const device = "01000000 14000000 0100 0000 00000000 14000000 "
	for name, tt := range map[string]struct{ file, want string }{
		"empty":                 {"", "shorter than 4 bytes"},
		"another file":          {"7f454c46 00000000", "it begins with 7f 45 4c 46"},
		"pcap, short":           {"d4c3b2a1 0200", "header"},
		"pcap, huge packet":     {"d4c3b2a1 0200 0400 00000000 00000000 00000400 01000000 00000060 00000000 00001000 01000000 aa", "unexpected EOF"},
		"pcap, endless packet":  {"d4c3b2a1 0200 0400 00000000 00000000 00000400 01000000 00000060 00000000 ffffffff 01000000 aa", "a packet of 4294967295 bytes"},
		"no byte order":         {"0a0d0d0a 1c000000 00000000", "no byte order"},
		"another version":       {strings.Replace(section, "0100 0000", "0200 0000", 1), "version 2"},
		"short section":         {"0a0d0d0a 10000000 4d3c2b1a 10000000", "a section header of 4 bytes"},
		"packet of no device":   {section + "06000000 20000000 00000000 00000000 00000000 00000000 00000000 20000000", "interface 0"},
		"simple packet of none": {section + "03000000 10000000 00000000 10000000", "without an interface"},
		"packet beyond":         {section + device + "06000000 20000000 00000000 00000000 00000000 01000000 00000000 20000000", "a packet of 1 bytes"},
		"short packet":          {section + device + "06000000 10000000 00000000 10000000", "a packet block of 4 bytes"},
		"short device":          {section + "01000000 10000000 01000000 10000000", "interface 0 of 4 bytes"},
		"many devices":          {section + strings.Repeat(device, 65), "interface 64"},
		"odd block":             {section + "05000000 0d000000 00000000", "a block of 13 bytes"},
		"endless block":         {section + "05000000 fcffffff 00000000", "a block of 4294967292 bytes"},
		"two lengths":           {section + "05000000 0c000000 10000000", "two lengths"},
		"cut block":             {section + "05000000 10000000 10000000", "unexpected EOF"},
	} {
		if _, _, err := readAll(unhex(tt.file)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// TestOtherReader has tcpdump read what we write.
func TestOtherReader(t *testing.T) {
	tcpdump, err := exec.LookPath("tcpdump")
	if err != nil {
		t.Skip("no tcpdump")
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, write(t, sample()[:2]), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(tcpdump, "-tt", "-e", "-n", "-r", file).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := "1793502245.678901 00:00:5e:00:53:01 > 33:33:00:00:00:02"
	if !strings.Contains(string(out), want) || !strings.Contains(string(out), "1793502246.678901") {
		t.Errorf("tcpdump says:\n%s\nwant %q and a second packet", out, want)
	}
}

// FuzzRead: whatever a file holds, what is read of it can be written, and reads the
// same. The bounds are the reader's.
func FuzzRead(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		packets, _, err := readAll(b)
		if err != nil && !errors.Is(err, ErrFormat) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("an error of another kind: %v", err)
		}
		for i := range packets {
			p := &packets[i]
			if len(p.Data) > maxBlock || p.Direction > Outbound {
				t.Fatalf("%+v", p)
			}
			p.Cut, p.LinkType = false, Ethernet // which is what the writer says of all
			if y := p.Time.Year(); y < 1970 || y > 9999 {
				p.Time = begin
			}
			p.Data = append([]byte{}, p.Data...)
		}
		again, comment, err := readAll(write(t, packets))
		if err != nil || comment != "a comment" {
			t.Fatalf("%q, %v", comment, err)
		}
		if diff := cmp.Diff(packets, again); diff != "" {
			t.Error(diff)
		}
	})
}
