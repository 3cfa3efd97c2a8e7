package echo

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"

	"sofutobanku/internal/checksum"
	"sofutobanku/internal/counters"
)

// The pauses between requests double from the first to the last.
const (
	firstPause = 200 * time.Millisecond
	lastPause  = 30 * time.Second
)

// outstanding is how many requests may still be answered: with the pauses above,
// those of the last seven minutes.
const outstanding = 16

// Config is one proof. Device, Source and Target are needed.
type Config struct {
	Device         string     // the packets leave and come by it
	Source, Target netip.Addr // IPv4; Source is an address of this host
	Rand           *rand.Rand // makes the identifier and the content; nil for one of its own
	Counters       *counters.Set
	Log            *slog.Logger
	// Dial opens the connection; nil for a raw socket, which takes CAP_NET_RAW.
	Dial func(device string, source netip.Addr) (Conn, error)
}

// Conn sends and receives ICMP messages without their IP header. ReadFrom may
// run beside the others.
type Conn interface {
	// ReadFrom blocks; its error ends the proof.
	ReadFrom(b []byte) (n int, from netip.Addr, err error)
	WriteTo(b []byte, to netip.Addr) error
	Close() error
}

// Ping sends an echo request at once, then again after 200 ms, 400 ms, 800 ms
// and so on up to every 30 s, until one is answered; rtt is the time from that
// one to its answer. It gives up when ctx ends: the error then wraps its cause,
// and says what else was heard of the requests, such as "destination
// unreachable: network, from 192.0.2.1". That the connection cannot be opened
// or read is an error at once; a request that cannot be sent is one lost.
func Ping(ctx context.Context, cfg Config) (rtt time.Duration, err error) {
	if !cfg.Source.Is4() || !cfg.Target.Is4() {
		return 0, fmt.Errorf("echo: from %s to %s: not IPv4 addresses", cfg.Source, cfg.Target)
	}
	if cfg.Dial == nil {
		cfg.Dial = dial
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	conn, err := cfg.Dial(cfg.Device, cfg.Source)
	if err != nil {
		return 0, fmt.Errorf("echo: opening a socket on %s from %s: %w", cfg.Device, cfg.Source, err)
	}
	p := &ping{
		Config: cfg,
		conn:   conn,
		id:     uint16(cfg.Rand.Uint32()),
		nonce:  binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, cfg.Rand.Uint64()), cfg.Rand.Uint64()),
	}
	return p.run(ctx)
}

type ping struct {
	Config
	conn  Conn
	id    uint16
	nonce []byte

	next    uint16    // sequence number of the next request
	sent    []request // the outstanding ones, the oldest first
	trouble string    // what was last heard that is not an answer
}

type request struct {
	seq uint16
	at  time.Time
}

type message struct {
	data []byte
	from netip.Addr
	at   time.Time
	err  error
}

func (p *ping) run(ctx context.Context) (time.Duration, error) {
	messages, stop, ended := make(chan message), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		p.read(messages, stop)
	}()
	defer func() {
		close(stop)
		p.conn.Close()
		<-ended
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	pause := firstPause
	for {
		select {
		case <-ctx.Done():
			why := ""
			if p.trouble != "" {
				why = " (" + p.trouble + ")"
			}
			return 0, fmt.Errorf("echo: no answer from %s to %d requests%s: %w", p.Target, p.next, why, context.Cause(ctx))
		case m := <-messages:
			if m.err != nil {
				return 0, fmt.Errorf("echo: receiving on %s: %w", p.Device, m.err)
			}
			if r, ok := p.receive(m); ok {
				p.Counters.Add("echo.received.reply")
				return m.at.Sub(r.at), nil
			}
		case <-timer.C:
			p.send()
			timer.Reset(pause)
			pause = min(2*pause, lastPause)
		}
	}
}

// read hands on what comes, until the connection fails or stop.
func (p *ping) read(messages chan<- message, stop <-chan struct{}) {
	buf := make([]byte, 2048)
	for {
		n, from, err := p.conn.ReadFrom(buf)
		m := message{data: slices.Clone(buf[:n]), from: from, at: time.Now(), err: err}
		select {
		case <-stop:
			return
		case messages <- m:
		}
		if err != nil {
			return
		}
	}
}

func (p *ping) send() {
	r := request{p.next, time.Now()}
	p.next++
	if len(p.sent) == outstanding {
		p.sent = slices.Delete(p.sent, 0, 1)
	}
	p.sent = append(p.sent, r)
	m := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: int(p.id), Seq: int(r.seq), Data: p.nonce}}
	b, err := m.Marshal(nil)
	if err == nil {
		err = p.conn.WriteTo(b, p.Target)
	}
	if err != nil {
		p.Counters.Add("echo.send.error")
		p.note(fmt.Sprintf("sending: %v", err))
		return
	}
	p.Counters.Add("echo.sent.request")
}

// note keeps what was heard for the error of a proof that fails.
func (p *ping) note(trouble string) {
	if p.trouble != trouble {
		p.trouble = trouble
		p.Log.Debug("echo", "target", p.Target, "trouble", trouble)
	}
}

// receive judges a message; ok is true for the answer to r.
func (p *ping) receive(m message) (r request, ok bool) {
	b := m.data
	reason := ""
	switch {
	case len(b) < 8:
		reason = "echo.drop.short"
	// A raw socket is handed messages before the kernel checks them.
	case checksum.Of(b) != 0:
		reason = "echo.drop.checksum"
	case ipv4.ICMPType(b[0]) != ipv4.ICMPTypeEchoReply:
		if text := troubles[b[0]]; text == "" {
			reason = "echo.drop.type"
		} else if !p.quotes(b[8:]) {
			reason = "echo.drop.error-of-another"
		} else {
			p.Counters.Add("echo.received.error")
			p.note(fmt.Sprintf("%s, from %s", describe(b[0], b[1]), m.from))
			return r, false
		}
	case b[1] != 0:
		reason = "echo.drop.code"
	case binary.BigEndian.Uint16(b[4:]) != p.id:
		reason = "echo.drop.identifier" // most likely another program's
	case m.from.Unmap() != p.Target:
		reason = "echo.drop.source"
	case !bytes.Equal(b[8:], p.nonce):
		reason = "echo.drop.content"
	default:
		if r, ok = p.request(binary.BigEndian.Uint16(b[6:])); ok {
			return r, true
		}
		reason = "echo.drop.sequence"
	}
	p.Counters.Add(reason)
	return r, false
}

func (p *ping) request(seq uint16) (request, bool) {
	i := slices.IndexFunc(p.sent, func(r request) bool { return r.seq == seq })
	if i < 0 {
		return request{}, false
	}
	return p.sent[i], true
}

// quotes tells whether b, the packet that an ICMP error quotes, is a request of
// ours: an IP header and at least 8 bytes (RFC 792).
func (p *ping) quotes(b []byte) bool {
	if len(b) < 20 || b[0]>>4 != 4 {
		return false
	}
	header := int(b[0]&15) * 4
	if header < 20 || len(b) < header+8 || b[9] != 1 ||
		netip.AddrFrom4([4]byte(b[12:])) != p.Source || netip.AddrFrom4([4]byte(b[16:])) != p.Target {
		return false
	}
	q := b[header:]
	_, ok := p.request(binary.BigEndian.Uint16(q[6:]))
	return ok && ipv4.ICMPType(q[0]) == ipv4.ICMPTypeEcho && binary.BigEndian.Uint16(q[4:]) == p.id
}

// troubles are the ICMP errors (RFC 792, RFC 1812 5.2.7).
var troubles = map[byte]string{
	3:  "destination unreachable",
	11: "time exceeded",
	12: "parameter problem",
}

// unreachable are the codes of destination unreachable.
var unreachable = map[byte]string{
	0: "network", 1: "host", 2: "protocol", 3: "port", 4: "fragmentation needed", 5: "source route failed",
	6: "network unknown", 7: "host unknown", 8: "source host isolated", 9: "network prohibited",
	10: "host prohibited", 11: "network for this type of service", 12: "host for this type of service",
	13: "administratively prohibited", 14: "host precedence violation", 15: "precedence cutoff",
}

func describe(typ, code byte) string {
	if detail := unreachable[code]; typ == 3 && detail != "" {
		return troubles[typ] + ": " + detail
	}
	if typ == 11 && code == 0 {
		return troubles[typ] // in transit, as always
	}
	return fmt.Sprintf("%s: code %d", troubles[typ], code)
}
