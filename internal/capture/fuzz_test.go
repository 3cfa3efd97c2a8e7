package capture

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sofutobanku/internal/pcapng"
)

// FuzzDecode: what is read of a packet can be written and reads the same. Redacted it is
// of the same kind and length, and what was redacted twice still is.
func FuzzDecode(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > maxPacket {
			return
		}
		f, err := FromPacket(pcapng.Packet{Time: begin, Data: b})
		if err != nil {
			return
		}
		wire := f.Encode()
		again, err := FromPacket(pcapng.Packet{Time: begin, Data: wire})
		if err != nil {
			t.Fatalf("%v, written: %v", &f, err)
		}
		if f.Kind < DHCPv6 {
			f.Payload = append([]byte(nil), f.Payload...)
			copy(f.Payload[2:4], again.Payload[2:4]) // the checksum may have been wrong
		}
		if diff := cmp.Diff(f, again, netipCompare); diff != "" {
			t.Fatalf("written and read again (-want +got):\n%s", diff)
		}
		r := NewRedactor(testVendors)
		for range 2 {
			redacted := r.Frame(f)
			b := redacted.Encode()
			if len(b) != len(wire) {
				t.Fatalf("redacted: %d bytes of %d", len(b), len(wire))
			}
			if !bytes.Equal(wire, f.Encode()) {
				t.Fatal("redacting changed the frame itself")
			}
			if f, err = FromPacket(pcapng.Packet{Time: begin, Data: b}); err != nil || f.Kind != redacted.Kind {
				t.Fatalf("redacted: %v, %v", &f, err)
			}
			wire = b
			_ = f.String()
		}
	})
}
