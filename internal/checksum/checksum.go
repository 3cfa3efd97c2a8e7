// Package checksum is the Internet checksum (RFC 1071).
package checksum

import "encoding/binary"

// Of is the checksum of parts, one behind the other, of which only the last may have an
// odd length. Of what holds its own checksum it is 0.
func Of(parts ...[]byte) uint16 {
	var sum uint32
	for _, b := range parts {
		for ; len(b) > 1; b = b[2:] {
			sum += uint32(binary.BigEndian.Uint16(b))
		}
		if len(b) == 1 {
			sum += uint32(b[0]) << 8
		}
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
