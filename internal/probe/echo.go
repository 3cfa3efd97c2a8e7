package probe

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"sofutobanku/internal/checksum"
)

// Way is from where to where an echo is asked for.
type Way struct {
	Device string     // the packets leave by it; "" for where the route goes
	Source netip.Addr // an address of this machine, of the target's family
	Target netip.Addr
}

// Path is what Measure learned.
type Path struct {
	Answered bool
	RTT      time.Duration // of the first answer
	// MTU is the size of the largest packet that was answered, with its IP header,
	// in bytes; Most is the largest that was tried.
	MTU, Most int
	// Trouble is what was last heard in place of a first answer, "" for nothing.
	Trouble string
}

// Conn sends ICMP or ICMPv6 messages to one target and receives what comes. A message
// that does not fit is an error, never a fragment.
type Conn interface {
	Write(message []byte) error
	Read(b []byte) (n int, from netip.Addr, err error)
	SetReadDeadline(time.Time) error
	Close() error
}

// Dial opens a Conn.
type Dial func(Way) (Conn, error)

// Sizes in bytes, of whole packets.
const (
	smallest = 128 // of the first request: what every path carries
	icmpLen  = 8
)

// Patience with an answer.
const (
	firstWait = 500 * time.Millisecond // for the answer to one of the first requests
	firstSent = 4
	sizeWait  = 200 * time.Millisecond // beside four round trips, for requests of one round
	perRound  = 8
	rounds    = 6
	maxErrors = 16 // of a socket that is being read
)

// usual are the path MTUs of common links and tunnels.
var usual = []int{1280, 1400, 1420, 1440, 1452, 1454, 1460, 1480, 1492, 1500}

// Measure asks target for echoes, and when it answers, for ever larger ones up to most
// bytes, none of which is fragmented: most below 1280 (or of 0) asks no further. It takes
// at most four seconds. The error is that no socket could be had.
func Measure(ctx context.Context, dial Dial, w Way, most int) (Path, error) {
	conn, err := dial(w)
	if err != nil {
		return Path{}, fmt.Errorf("probe: a socket from %s to %s: %w", w.Source, w.Target, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })()
	m := &measurement{Way: w, conn: conn, ctx: ctx, id: uint16(rand.Uint32()), header: 20}
	m.request, m.reply, m.errors = 8, 0, troubles4
	if w.Target.Is6() {
		m.request, m.reply, m.errors, m.header = 128, 129, troubles6, 40
	}
	for n := 0; n < firstSent && !m.path.Answered && ctx.Err() == nil; n++ {
		m.round([]int{smallest}, firstWait)
	}
	if m.path.Answered && most > smallest {
		m.path.Most = most
		m.search(most)
	}
	return m.path, nil
}

// measurement is one Measure.
type measurement struct {
	Way
	conn           Conn
	ctx            context.Context
	request, reply byte // ICMP types
	errors         map[byte]string
	id             uint16
	header         int // of IP, in bytes

	seq  uint16
	sent []sent
	path Path
}

type sent struct {
	seq      uint16
	size     int
	at       time.Time
	answered bool
}

// search narrows the MTU down: the sizes of a round are on their way together.
func (m *measurement) search(most int) {
	sizes := slices.DeleteFunc(slices.Clone(usual), func(s int) bool { return s >= most })
	sizes = append(sizes, most)
	for range rounds {
		m.round(sizes, sizeWait+4*m.path.RTT)
		low, high := m.path.MTU, most+1
		for _, s := range m.sent {
			if s.size > low && s.size < high {
				high = s.size
			}
		}
		if high-low <= 1 || m.ctx.Err() != nil {
			return
		}
		sizes = sizes[:0]
		for i := 1; i <= perRound; i++ {
			if s := low + (high-low)*i/(perRound+1); s > low && !slices.Contains(sizes, s) {
				sizes = append(sizes, s)
			}
		}
	}
}

// round sends a request of each size twice and waits for the answers.
func (m *measurement) round(sizes []int, wait time.Duration) {
	want := len(m.sent)
	for range 2 {
		for _, size := range sizes {
			if slices.ContainsFunc(m.sent[want:], func(s sent) bool { return s.size == size && s.answered }) {
				continue
			}
			m.send(size)
		}
		if m.receive(time.Now().Add(wait/2), sizes) {
			return
		}
	}
}

func (m *measurement) send(size int) {
	m.seq++
	b := make([]byte, max(size-m.header, icmpLen))
	b[0] = m.request
	binary.BigEndian.PutUint16(b[4:], m.id)
	binary.BigEndian.PutUint16(b[6:], m.seq)
	m.fill(b[icmpLen:], m.seq)
	if m.header == 20 {
		binary.BigEndian.PutUint16(b[2:], checksum.Of(b)) // of ICMPv6 the kernel makes it
	}
	m.sent = append(m.sent, sent{seq: m.seq, size: size, at: time.Now()})
	if err := m.conn.Write(b); err != nil && !errors.Is(err, unix.EMSGSIZE) {
		m.trouble("sending: " + cause(err).Error())
	}
}

func (m *measurement) trouble(text string) {
	if !m.path.Answered {
		m.path.Trouble = text
	}
}

// cause is what the system said, without the names of calls and addresses.
func cause(err error) error {
	if errno := unix.Errno(0); errors.As(err, &errno) {
		return errno
	}
	return err
}

// fill makes the content of a request, which its answer repeats.
func (m *measurement) fill(b []byte, seq uint16) {
	for i := range b {
		b[i] = byte(i) ^ byte(seq) ^ byte(m.id>>8) ^ byte(m.id)
	}
}

// receive reads until all sizes are answered, or until.
func (m *measurement) receive(until time.Time, sizes []int) (all bool) {
	buf := make([]byte, 64<<10)
	for failed := 0; failed < maxErrors; {
		if m.ctx.Err() != nil || m.conn.SetReadDeadline(until) != nil {
			return false
		}
		n, from, err := m.conn.Read(buf)
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) || !time.Now().Before(until) {
				return false
			}
			m.trouble(cause(err).Error())
			failed++ // an ICMP error that the socket was told of, or worse
			continue
		}
		m.take(buf[:n], from)
		all = true
		for _, size := range sizes {
			all = all && slices.ContainsFunc(m.sent, func(s sent) bool { return s.size == size && s.answered })
		}
		if all {
			return true
		}
	}
	return false
}

// take judges a message.
func (m *measurement) take(b []byte, from netip.Addr) {
	if len(b) < icmpLen {
		return
	}
	if text := m.errors[b[0]]; text != "" && m.quotes(b[icmpLen:]) {
		if m.header == 20 && b[0] == 3 && b[1] == 4 || m.header == 40 && b[0] == 2 {
			return // too big: that is what is measured
		}
		m.trouble(fmt.Sprintf("%s (code %d) from %s", text, b[1], from.WithZone("")))
		return
	}
	if b[0] != m.reply || b[1] != 0 || binary.BigEndian.Uint16(b[4:]) != m.id || from.WithZone("").Unmap() != m.Target.WithZone("") {
		return
	}
	i := slices.IndexFunc(m.sent, func(s sent) bool { return s.seq == binary.BigEndian.Uint16(b[6:]) })
	if i < 0 {
		return
	}
	s := &m.sent[i]
	content := make([]byte, max(s.size-m.header, icmpLen)-icmpLen)
	m.fill(content, s.seq)
	if !bytes.Equal(content, b[icmpLen:]) {
		return
	}
	s.answered = true
	if !m.path.Answered {
		m.path.Answered, m.path.RTT, m.path.Most = true, time.Since(s.at), s.size
	}
	m.path.MTU = max(m.path.MTU, s.size)
}

// quotes tells whether b, which an ICMP error quotes, is a request of this measurement.
func (m *measurement) quotes(b []byte) bool {
	var protocol byte
	var to netip.Addr
	header := m.header
	switch {
	case len(b) >= 40 && b[0]>>4 == 6 && m.header == 40:
		protocol, to = b[6], netip.AddrFrom16([16]byte(b[24:]))
	case len(b) >= 20 && b[0]>>4 == 4 && m.header == 20:
		protocol, to = b[9], netip.AddrFrom4([4]byte(b[16:]))
		header = int(b[0]&15) * 4
	}
	if header < 20 || len(b) < header+icmpLen || to != m.Target.WithZone("") {
		return false
	}
	return (protocol == unix.IPPROTO_ICMP || protocol == unix.IPPROTO_ICMPV6) &&
		b[header] == m.request && binary.BigEndian.Uint16(b[header+4:]) == m.id
}

// The errors of ICMP (RFC 792) and ICMPv6 (RFC 4443).
var (
	troubles4 = map[byte]string{3: "destination unreachable", 11: "time exceeded", 12: "parameter problem"}
	troubles6 = map[byte]string{1: "destination unreachable", 2: "packet too big", 3: "time exceeded", 4: "parameter problem"}
)
