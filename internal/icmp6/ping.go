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

// AllRouters are those of a link (RFC 4291 2.7.1).
var AllRouters = netip.MustParseAddr("ff02::2")

// Reply is an answer to a request of Ping.
type Reply struct {
	Answer
	Round  int // 1 for the first
	RTT    time.Duration
	Size   int  // of the data, in bytes
	Router bool // of a multicast target: it answered all routers' address too
	Again  bool // it answered this request before
}

// PingConfig is what Ping does.
type PingConfig struct {
	Target   netip.Addr
	Count    int           // of rounds; 0 until the context ends
	Interval time.Duration // between requests
	Wait     time.Duration // for the answers to the last
	Size     int           // of the data, in bytes, 8 to 65000
	HopLimit int           // of the requests, 0 is the system's own
}

// Sizes of a request's data, in bytes.
const (
	MinSize = 8
	MaxSize = 65000
)

// perRequest bounds the hosts on a link that are told of.
const perRequest = 1024

// Ping sends a request in each round, and tells of each answer. A multicast target of
// a link is asked together with the routers there, so that it is known who is one.
// sent is how many rounds there were, received how many of them were answered.
func Ping(ctx context.Context, conn Conn, cfg PingConfig, tell func(Reply)) (sent, received int, err error) {
	if cfg.Size < MinSize || cfg.Size > MaxSize {
		return 0, 0, fmt.Errorf("icmp6: %d bytes of data, want %d to %d", cfg.Size, MinSize, MaxSize)
	}
	p := &ping{conn: conn, cfg: cfg, tell: tell, nonce: rand.Uint64()}
	for sent = 1; ; sent++ {
		last := sent == cfg.Count
		wait := cfg.Interval
		if last {
			wait = cfg.Wait
		}
		answered, err := p.round(ctx, sent, wait, last)
		if answered {
			received++
		}
		if err != nil || last || ctx.Err() != nil {
			return sent, received, err
		}
	}
}

type ping struct {
	conn  Conn
	cfg   PingConfig
	tell  func(Reply)
	nonce uint64
}

// round sends one request and tells of what comes until the next is due. The last
// round ends with the answer, if there can be but one.
func (p *ping) round(ctx context.Context, n int, wait time.Duration, last bool) (answered bool, err error) {
	all := p.cfg.Target.IsLinkLocalMulticast()
	data := make([]byte, p.cfg.Size)
	for i := range data {
		data[i] = byte(i)
	}
	binary.BigEndian.PutUint64(data, p.nonce+uint64(n))
	routers := map[netip.Addr]bool{}
	// The sequence number's lowest bit tells whom a request was for.
	seq := uint16(2 * n)
	start := time.Now()
	if all {
		err = p.conn.Send(AllRouters.WithZone(p.cfg.Target.Zone()), seq|1, data, p.cfg.HopLimit)
	}
	if err = errors.Join(err, p.conn.Send(p.cfg.Target, seq, data, p.cfg.HopLimit)); err != nil {
		return false, err
	}
	seen := map[netip.Addr]int{}
	var order []Reply
	// Who is a router is known when all have answered, or some time after the first.
	deadline := start.Add(wait)
	for ctx.Err() == nil {
		a, err := p.conn.Receive(earlier(deadline, time.Now().Add(100*time.Millisecond)))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if time.Now().Before(deadline) {
				continue
			}
			break
		}
		if err != nil {
			return answered, err
		}
		rtt := time.Since(start)
		if a.Seq&^1 != seq || !bytes.HasPrefix(data, a.Data) || a.Type == echoReply && len(a.Data) != len(data) {
			continue // late, or somebody else's
		}
		if a.Seq&1 != 0 {
			routers[a.From] = a.Type == echoReply
			continue
		}
		answered = answered || a.Type == echoReply
		if len(order) == perRequest {
			continue
		}
		seen[a.From]++
		r := Reply{Answer: a, Round: n, RTT: rtt, Size: len(data), Again: seen[a.From] > 1}
		if !all {
			p.tell(r)
			if last {
				return answered, nil
			}
			continue
		}
		order = append(order, r)
	}
	for _, r := range order {
		r.Router = routers[r.From]
		p.tell(r)
	}
	return answered, nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
