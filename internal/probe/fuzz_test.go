package probe

import (
	"net"
	"net/netip"
	"testing"
)

// FuzzSegment: whatever is on a link, what is kept of it is bounded.
func FuzzSegment(f *testing.F) {
	f.Fuzz(func(t *testing.T, packet []byte) {
		var s Segment
		w := watcher{self: selfMAC, nodes: 1, routers: 2, segment: &s}
		for i := range byte(2 * maxOf) {
			w.take(packet, net.HardwareAddr{0, 0, 0x5e, 0, 0x53, i})
			if len(packet) > 23 {
				packet[23] = i
			}
		}
		if len(s.Routers) > maxOf || len(s.Neighbours) > maxOf || len(s.Clients) > maxOf {
			t.Errorf("kept %d routers, %d neighbours, %d clients", len(s.Routers), len(s.Neighbours), len(s.Clients))
		}
	})
}

// FuzzEcho: only what repeats a request is its answer.
func FuzzEcho(f *testing.F) {
	target := netip.MustParseAddr("2001:db8::1")
	f.Fuzz(func(t *testing.T, message []byte, v4 bool) {
		m := &measurement{Way: Way{Target: target}, id: 0x1234, header: 40, request: 128, reply: 129, errors: troubles6}
		if v4 {
			m.Target, m.header, m.request, m.reply, m.errors = netip.MustParseAddr("192.0.2.1"), 20, 8, 0, troubles4
		}
		m.sent = []sent{{seq: 1, size: smallest}}
		m.take(message, m.Target)
		if m.path.Answered && len(message) != smallest-m.header {
			t.Errorf("%x is an answer", message)
		}
	})
}
