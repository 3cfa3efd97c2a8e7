package icmp6

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"time"
)

// Hop is what one hop limit brought.
type Hop struct {
	HopLimit int
	Probes   []Probe
}

// Probe is one request with a hop limit; From is invalid when nobody answered.
type Probe struct {
	Answer
	RTT time.Duration
}

// TraceConfig is what Trace does.
type TraceConfig struct {
	Target  netip.Addr
	MaxHops int // 1 to 255
	Queries int // for each hop limit
	Wait    time.Duration
	Size    int // of the data, in bytes, 8 to 65000
}

// TimeExceeded is the ICMPv6 type of the one error that does not end a trace.
const TimeExceeded = 3

// Trace sends requests with ever larger hop limits until the target answers, or
// somebody says that it cannot be reached, and tells of each hop. All requests of a
// hop limit are on their way together.
func Trace(ctx context.Context, conn Conn, cfg TraceConfig, tell func(Hop)) (reached bool, err error) {
	if cfg.Size < MinSize || cfg.Size > MaxSize {
		return false, fmt.Errorf("icmp6: %d bytes of data, want %d to %d", cfg.Size, MinSize, MaxSize)
	}
	data := make([]byte, cfg.Size)
	binary.BigEndian.PutUint64(data, rand.Uint64())
	for limit := 1; limit <= cfg.MaxHops && ctx.Err() == nil; limit++ {
		hop := Hop{HopLimit: limit, Probes: make([]Probe, cfg.Queries)}
		var start []time.Time
		first := uint16(limit) << 8 // at most 255 queries
		for i := range cfg.Queries {
			start = append(start, time.Now())
			if err := conn.Send(cfg.Target, first|uint16(i), data, limit); err != nil {
				return false, err
			}
		}
		end := false
		for deadline, left := time.Now().Add(cfg.Wait), cfg.Queries; left > 0 && ctx.Err() == nil; {
			a, err := conn.Receive(earlier(deadline, time.Now().Add(100*time.Millisecond)))
			if errors.Is(err, os.ErrDeadlineExceeded) {
				if time.Now().Before(deadline) {
					continue
				}
				break
			}
			if err != nil {
				return false, err
			}
			i := int(a.Seq &^ first)
			if a.Seq&0xff00 != first || i >= cfg.Queries || hop.Probes[i].From.IsValid() || !bytes.HasPrefix(data, a.Data) {
				continue
			}
			hop.Probes[i] = Probe{a, time.Since(start[i])}
			left--
			reached = reached || a.Type == echoReply
			end = end || a.Type != TimeExceeded
		}
		tell(hop)
		if end {
			return reached, nil
		}
	}
	return reached, nil
}

// Meaning is what an answer says, in words: "" for an echo reply.
func (a Answer) Meaning() string {
	if a.Type == echoReply {
		return ""
	}
	if a.Type == 2 {
		return fmt.Sprintf("packet too big, MTU %d", a.Info)
	}
	for _, m := range meanings {
		if m.typ == a.Type && m.code == a.Code {
			return m.text
		}
	}
	return fmt.Sprintf("ICMPv6 type %d code %d", a.Type, a.Code)
}

// meanings are RFC 4443's errors.
var meanings = []struct {
	typ, code byte
	text      string
}{
	{1, 0, "no route to the destination"},
	{1, 1, "administratively prohibited"},
	{1, 2, "beyond the scope of the source address"},
	{1, 3, "address unreachable"},
	{1, 4, "port unreachable"},
	{1, 5, "source address failed ingress policy"},
	{1, 6, "the route rejects it"},
	{3, 0, "hop limit exceeded in transit"},
	{3, 1, "fragment reassembly time exceeded"},
	{4, 0, "erroneous header field"},
	{4, 1, "unknown next header"},
	{4, 2, "unknown IPv6 option"},
}
