package pcapng

import (
	"encoding/binary"
	"io"
	"time"
)

// Types of blocks.
const (
	blockInterface = 1
	blockSimple    = 3
	blockEnhanced  = 6
	blockSection   = 0x0a0d0d0a
)

// Codes of options.
const (
	optComment     = 1
	optApplication = 4 // of a section
	optName        = 2 // of an interface
	optResolution  = 9 // of an interface
	optFlags       = 2 // of a packet
)

// byteOrder is the number by which a reader finds out a section's byte order.
const byteOrder = 0x1a2b3c4d

// Ethernet is the link type of whole Ethernet frames.
const Ethernet = 1

// Direction is which way a packet went.
type Direction byte

// The directions. Not every capture tells.
const (
	Unknown Direction = iota
	Inbound
	Outbound
)

// Packet is one packet of a capture.
type Packet struct {
	Time      time.Time // to the microsecond
	Direction Direction
	Data      []byte
	LinkType  uint16 // what Data begins with; the Writer's is Ethernet
	Cut       bool   // Data is only the packet's beginning
}

// Header says what a file is about. What is empty is left out.
type Header struct {
	Device      string
	Application string
	Comment     string
}

// Writer writes a capture of Ethernet frames.
type Writer struct{ w io.Writer }

// NewWriter writes a file's beginning to w.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	le := binary.LittleEndian
	section := le.AppendUint32(nil, byteOrder)
	section = le.AppendUint32(section, 1)                  // version 1.0
	section = le.AppendUint64(section, 0xffffffffffffffff) // a length that is not known
	section = text(section, optComment, h.Comment)
	section = text(section, optApplication, h.Application)
	device := le.AppendUint32(nil, Ethernet) // and 16 reserved bits
	device = le.AppendUint32(device, 0)      // no limit of a packet's length
	device = text(device, optName, h.Device)
	_, err := w.Write(append(block(blockSection, end(section)), block(blockInterface, end(device))...))
	return &Writer{w}, err
}

// Write adds a packet to the file, in one call of the underlying Write.
func (w *Writer) Write(p Packet) error {
	_, err := w.w.Write(packet(p))
	return err
}

// Size is how many bytes Write adds to the file for p.
func Size(p Packet) int { return len(packet(p)) }

func packet(p Packet) []byte {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, 0) // the first interface
	at := uint64(p.Time.UnixMicro())
	b = le.AppendUint32(b, uint32(at>>32))
	b = le.AppendUint32(b, uint32(at))
	b = le.AppendUint32(b, uint32(len(p.Data))) // that are here
	b = le.AppendUint32(b, uint32(len(p.Data))) // that there were
	b = pad(append(b, p.Data...))
	if p.Direction != Unknown {
		b = option(b, optFlags, le.AppendUint32(nil, uint32(p.Direction)))
		b = end(b)
	}
	return block(blockEnhanced, b)
}

func block(typ uint32, body []byte) []byte {
	n := uint32(len(body) + 12)
	b := binary.LittleEndian.AppendUint32(nil, typ)
	b = binary.LittleEndian.AppendUint32(b, n)
	b = append(b, body...)
	return binary.LittleEndian.AppendUint32(b, n)
}

func text(b []byte, code uint16, s string) []byte {
	if s == "" {
		return b
	}
	return option(b, code, []byte(s[:min(len(s), 0xffff)]))
}

func option(b []byte, code uint16, value []byte) []byte {
	b = binary.LittleEndian.AppendUint16(b, code)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(value)))
	return pad(append(b, value...))
}

// end ends a list of options.
func end(b []byte) []byte { return append(b, 0, 0, 0, 0) }

// pad fills b up to a multiple of 4 bytes, as everything here is.
func pad(b []byte) []byte { return append(b, make([]byte, -len(b)&3)...) }
