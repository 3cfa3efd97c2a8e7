package echo

import (
	"bytes"
	"log/slog"
	"testing"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"

	"sofutobanku/internal/counters"
)

// FuzzReceive: whatever comes from wherever, an answer is only what another decoder
// reads as the reply to one of our requests, with its content; it is canonical, so
// there is one for each request. Everything else is counted once.
func FuzzReceive(f *testing.F) {
	nonce := []byte("sixteen octets!!")
	f.Fuzz(func(t *testing.T, b []byte, fromTarget, mend bool) {
		from := router
		if fromTarget {
			from = target
		}
		if mend && len(b) >= 4 { // the checksum
			b = edit(b, 0)
		}
		var set counters.Set
		p := &ping{Config: Config{Source: source, Target: target, Counters: &set, Log: slog.New(slog.DiscardHandler)}, id: 0x1234, nonce: nonce}
		for seq := range uint16(3) {
			p.sent = append(p.sent, request{seq, time.Unix(int64(seq), 0)})
		}
		r, ok := p.receive(message{data: b, from: from})
		total := uint64(0)
		for _, n := range set.Snapshot() {
			total += n
		}
		if !ok {
			if total != 1 {
				t.Fatalf("counted: %v", set.Snapshot())
			}
			return
		}
		if total != 0 || !fromTarget {
			t.Fatalf("an answer from %v that counts %v", from, set.Snapshot())
		}
		m, err := icmp.ParseMessage(1, b)
		if err != nil || m.Type != ipv4.ICMPTypeEchoReply || m.Code != 0 {
			t.Fatalf("% x is %+v, %v", b, m, err)
		}
		e := m.Body.(*icmp.Echo)
		if e.ID != int(p.id) || e.Seq != int(r.seq) || r.seq > 2 || !bytes.Equal(e.Data, nonce) {
			t.Fatalf("% x is %+v", b, e)
		}
		if again := marshal(*m); !bytes.Equal(again, b) {
			t.Fatalf("% x became % x", b, again)
		}
	})
}
