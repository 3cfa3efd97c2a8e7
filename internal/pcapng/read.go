package pcapng

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"time"
)

// Limits of what is read.
const (
	maxBlock      = 1 << 20 // bytes
	maxInterfaces = 64
)

// ErrFormat is wrapped by the errors of a Reader for what is no capture file.
var ErrFormat = errors.New("not a capture file")

// Reader reads a capture file, packet by packet.
type Reader struct {
	r     *bufio.Reader
	order binary.ByteOrder

	interfaces []device // of this section
	comment    string

	classic bool   // pcap
	unit    uint64 // of its times, a fraction of a second
}

// device is an interface of a pcapng section.
type device struct {
	linkType uint16
	unit     uint64 // of its packets' times, a fraction of a second
}

// NewReader reads the beginning of a pcapng or pcap file.
func NewReader(r io.Reader) (*Reader, error) {
	rd := &Reader{r: bufio.NewReader(r)}
	magic, err := rd.r.Peek(4)
	if err != nil {
		return nil, fmt.Errorf("pcapng: %w: shorter than 4 bytes", ErrFormat)
	}
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		rd.order = order
		switch order.Uint32(magic) {
		case blockSection:
			typ, body, err := rd.block()
			if err == nil && typ != blockSection {
				err = ErrFormat
			}
			if err == nil {
				err = rd.section(body)
			}
			if err != nil {
				return nil, fmt.Errorf("pcapng: %w", err)
			}
			return rd, nil
		case 0xa1b2c3d4, 0xa1b23c4d:
			rd.classic, rd.unit = true, 1e6
			if order.Uint32(magic) == 0xa1b23c4d {
				rd.unit = 1e9
			}
			var head [24]byte
			if _, err := io.ReadFull(rd.r, head[:]); err != nil {
				return nil, fmt.Errorf("pcap: %w: header: %w", ErrFormat, err)
			}
			// The upper half tells of checksums that were captured too.
			rd.interfaces = []device{{linkType: uint16(order.Uint32(head[20:]))}}
			return rd, nil
		}
	}
	return nil, fmt.Errorf("pcapng: %w: it begins with % x", ErrFormat, magic)
}

// Comment is what the file says of itself, "" when it says nothing.
func (rd *Reader) Comment() string { return rd.comment }

// Next returns the next packet, and io.EOF after the last one. A file that ends within
// a packet gives io.ErrUnexpectedEOF; after an error there are no more packets.
func (rd *Reader) Next() (Packet, error) {
	if rd.classic {
		return rd.record()
	}
	for {
		typ, body, err := rd.block()
		if err != nil {
			if err != io.EOF {
				err = fmt.Errorf("pcapng: %w", err)
			}
			return Packet{}, err
		}
		var p Packet
		found := false
		switch typ {
		case blockSection:
			err = rd.section(body)
		case blockInterface:
			err = rd.device(body)
		case blockSimple:
			p, err = rd.simple(body)
			found = true
		case blockEnhanced:
			p, err = rd.enhanced(body)
			found = true
		}
		if err != nil {
			return Packet{}, fmt.Errorf("pcapng: %w", err)
		}
		if found {
			return p, nil
		}
	}
}

// record reads a packet of a pcap file.
func (rd *Reader) record() (Packet, error) {
	var head [16]byte
	if _, err := io.ReadFull(rd.r, head[:]); err != nil {
		if err != io.EOF {
			err = fmt.Errorf("pcap: %w", err)
		}
		return Packet{}, err
	}
	n := rd.order.Uint32(head[8:])
	if n > maxBlock {
		return Packet{}, fmt.Errorf("pcap: %w: a packet of %d bytes", ErrFormat, n)
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(rd.r, data); err != nil {
		return Packet{}, fmt.Errorf("pcap: %w", io.ErrUnexpectedEOF)
	}
	return Packet{
		Time: moment(uint64(rd.order.Uint32(head[:]))*rd.unit+uint64(rd.order.Uint32(head[4:])), rd.unit),
		Data: data, LinkType: rd.interfaces[0].linkType, Cut: rd.order.Uint32(head[12:]) > n,
	}, nil
}

// block reads a block of a pcapng file and returns what stands between its lengths.
func (rd *Reader) block() (typ uint32, body []byte, err error) {
	head, err := rd.r.Peek(12)
	if err != nil {
		if err == io.EOF && len(head) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	typ = rd.order.Uint32(head)
	if typ == blockSection { // which may be of another byte order than the last
		switch uint32(byteOrder) {
		case binary.LittleEndian.Uint32(head[8:]):
			rd.order = binary.LittleEndian
		case binary.BigEndian.Uint32(head[8:]):
			rd.order = binary.BigEndian
		default:
			return 0, nil, fmt.Errorf("%w: a section of no byte order", ErrFormat)
		}
	}
	n := rd.order.Uint32(head[4:])
	if n < 12 || n%4 != 0 || n > maxBlock {
		return 0, nil, fmt.Errorf("%w: a block of %d bytes", ErrFormat, n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(rd.r, b); err != nil {
		return 0, nil, io.ErrUnexpectedEOF
	}
	if rd.order.Uint32(b[n-4:]) != n {
		return 0, nil, fmt.Errorf("%w: a block of two lengths", ErrFormat)
	}
	return typ, b[8 : n-4], nil
}

func (rd *Reader) section(b []byte) error {
	if len(b) < 16 {
		return fmt.Errorf("%w: a section header of %d bytes", ErrFormat, len(b))
	}
	if v := rd.order.Uint16(b[4:]); v != 1 {
		return fmt.Errorf("%w: version %d", ErrFormat, v)
	}
	rd.interfaces = nil
	rd.options(b[16:], func(code uint16, value []byte) {
		if code == optComment && rd.comment == "" {
			rd.comment = string(value)
		}
	})
	return nil
}

func (rd *Reader) device(b []byte) error {
	if len(b) < 8 || len(rd.interfaces) == maxInterfaces {
		return fmt.Errorf("%w: interface %d of %d bytes", ErrFormat, len(rd.interfaces), len(b))
	}
	d := device{linkType: rd.order.Uint16(b), unit: 1e6}
	rd.options(b[8:], func(code uint16, value []byte) {
		if code == optResolution && len(value) == 1 {
			d.unit = resolution(value[0])
		}
	})
	rd.interfaces = append(rd.interfaces, d)
	return nil
}

// resolution reads an interface's resolution: a power of 10, or of 2.
func resolution(v byte) uint64 {
	switch {
	case v&0x80 == 0 && v <= 18:
		return uint64(math.Pow10(int(v)))
	case v&0x80 != 0 && v&0x7f < 63:
		return 1 << (v & 0x7f)
	}
	return 1e6
}

// moment is a number of units since 1970.
func moment(n, unit uint64) time.Time {
	part := float64(n%unit) / float64(unit)
	return time.Unix(int64(n/unit), int64(part*1e9)).Round(time.Microsecond).UTC()
}

// simple is a packet without a time, of the first interface.
func (rd *Reader) simple(b []byte) (Packet, error) {
	if len(b) < 4 || len(rd.interfaces) == 0 {
		return Packet{}, fmt.Errorf("%w: a packet without an interface", ErrFormat)
	}
	whole := uint64(rd.order.Uint32(b))
	n := min(whole, uint64(len(b)-4))
	return Packet{Time: time.Unix(0, 0).UTC(), Data: b[4 : 4+n], LinkType: rd.interfaces[0].linkType, Cut: n < whole}, nil
}

func (rd *Reader) enhanced(b []byte) (Packet, error) {
	if len(b) < 20 {
		return Packet{}, fmt.Errorf("%w: a packet block of %d bytes", ErrFormat, len(b))
	}
	i, n := rd.order.Uint32(b), rd.order.Uint32(b[12:])
	if int64(i) >= int64(len(rd.interfaces)) || int64(n) > int64(len(b)-20) {
		return Packet{}, fmt.Errorf("%w: a packet of %d bytes and interface %d", ErrFormat, n, i)
	}
	d := rd.interfaces[i]
	p := Packet{
		Time: moment(uint64(rd.order.Uint32(b[4:]))<<32|uint64(rd.order.Uint32(b[8:])), d.unit),
		Data: b[20 : 20+n : 20+n], LinkType: d.linkType, Cut: rd.order.Uint32(b[16:]) > n,
	}
	rd.options(b[min(len(b), 20+int(n)+int(-n&3)):], func(code uint16, value []byte) {
		if d := Direction(0); code == optFlags && len(value) == 4 {
			if d = Direction(rd.order.Uint32(value) & 3); d <= Outbound {
				p.Direction = d
			}
		}
	})
	return p, nil
}

// options calls f for each option. What is behind a malformed one is left alone: no
// packet depends on it.
func (rd *Reader) options(b []byte, f func(code uint16, value []byte)) {
	for len(b) >= 4 {
		code, n := rd.order.Uint16(b), int(rd.order.Uint16(b[2:]))
		if code == 0 || n > len(b)-4 {
			return
		}
		f(code, b[4:4+n])
		b = b[min(len(b), 4+n+-n&3):]
	}
}
