package checksum

import "testing"

func TestOf(t *testing.T) {
	for _, tt := range []struct {
		parts []string
		want  uint16
	}{
		{nil, 0xffff},
		// RFC 1071 3.
		{[]string{"\x00\x01\xf2\x03\xf4\xf5\xf6\xf7"}, ^uint16(0xddf2)},
		{[]string{"\x00\x01\xf2\x03", "\xf4\xf5\xf6\xf7"}, ^uint16(0xddf2)},
		{[]string{"\x00\x01\xf2"}, ^uint16(0xf201)},
		{[]string{"\xff\xff\xff\xff\xff\xff"}, 0},
	} {
		var parts [][]byte
		for _, p := range tt.parts {
			parts = append(parts, []byte(p))
		}
		if got := Of(parts...); got != tt.want {
			t.Errorf("Of(%q) = %#04x, want %#04x", tt.parts, got, tt.want)
		}
	}
	// A sum of many carries.
	long := make([]byte, 65535)
	for i := range long {
		long[i] = 0xff
	}
	sum := Of(long[:65534])
	if got := Of(long[:65534], []byte{byte(sum >> 8), byte(sum)}); got != 0 {
		t.Errorf("with its own checksum: %#04x", got)
	}
}
