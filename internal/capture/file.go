package capture

import (
	"errors"
	"fmt"
	"io"
	"os"

	"sofutobanku/internal/pcapng"
)

// Limits of what is read of a file.
const (
	maxFile   = 64 << 20 // bytes
	maxFrames = 10_000   // a line comes up with some twenty
)

// File is what a capture file holds.
type File struct {
	Comment string // what it says of itself
	Frames  []Frame
	// Others are packets that are none of the kinds, Bad those that should be and
	// cannot be read.
	Others, Bad int
}

// ReadFile reads a pcapng or pcap file. The error names it; with one come the frames
// that could be read.
func ReadFile(path string) (File, error) {
	f, err := os.Open(path)
	if err != nil {
		return File{}, err
	}
	defer f.Close()
	file, err := Read(f)
	if err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return file, err
}

// Read reads a pcapng or pcap file of at most 64 MB and 10,000 frames. With an error come
// the frames that could be read.
func Read(r io.Reader) (File, error) {
	rd, err := pcapng.NewReader(io.LimitReader(r, maxFile))
	if err != nil {
		return File{}, err
	}
	file := File{Comment: rd.Comment()}
	for {
		p, err := rd.Next()
		switch {
		case err == io.EOF:
			return file, nil
		case err != nil:
			return file, err
		case p.LinkType != pcapng.Ethernet:
			return file, fmt.Errorf("link type %d: Ethernet is accepted, which is what a capture of one device has", p.LinkType)
		}
		f, err := FromPacket(p)
		switch {
		case err == nil && len(file.Frames) == maxFrames:
			return file, fmt.Errorf("more than %d packets", maxFrames)
		case err == nil:
			file.Frames = append(file.Frames, f)
		case errors.Is(err, errOther):
			file.Others++
		default:
			file.Bad++
		}
	}
}

// FromPacket reads one packet of a capture. The frame shares its data.
func FromPacket(p pcapng.Packet) (Frame, error) {
	f, err := decode(p.Data)
	f.Time, f.Direction = p.Time, p.Direction
	if err == nil && p.Cut {
		err = errMalformed // by chance it looks whole
	}
	return f, err
}

// Packet is f as a packet of a capture.
func (f *Frame) Packet() pcapng.Packet {
	return pcapng.Packet{Time: f.Time, Direction: f.Direction, Data: f.Encode(), LinkType: pcapng.Ethernet}
}
