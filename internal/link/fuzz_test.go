package link

import (
	"encoding/binary"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// FuzzEvent: of a message of the kernel, whatever is in it, only the loss of our
// own device or of its carrier is believed, and nothing beyond its end is read.
func FuzzEvent(f *testing.F) {
	f.Fuzz(func(t *testing.T, typ uint16, data []byte) {
		before := State{Name: "wan", Exists: true, Index: 2, Up: true, MTU: 1500}
		var told []State
		w := watcher{name: "wan", last: before, onChange: func(s State) { told = append(told, s) }}
		look := w.event(typ, slices.Clip(data))
		if len(told) == 0 {
			return
		}
		down := before
		down.Up = false
		lost := typ == unix.RTM_DELLINK && told[0].Equal(State{Name: "wan"}) || typ == unix.RTM_NEWLINK && told[0].Equal(down)
		// struct ifinfomsg: family, padding, type, index.
		if len(told) > 1 || !look || !lost || data[0] != unix.AF_UNSPEC || binary.NativeEndian.Uint32(data[4:]) != 2 {
			t.Fatalf("message %d % x: told %+v, look %v", typ, data, told, look)
		}
	})
}
