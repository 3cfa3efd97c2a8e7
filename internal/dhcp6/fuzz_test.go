package dhcp6

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/insomniacslk/dhcp/dhcpv6"

	"sofutobanku/internal/counters"
)

// octetsComparer is for speed: the library compares thousands of octets one by one.
var octetsComparer = cmp.FilterValues(func(a, b []byte) bool { return len(a)+len(b) > 0 }, cmp.Comparer(bytes.Equal))

// FuzzMessage: what is kept of any octets is in range, is no more than they can
// hold, and is the same after being encoded and decoded again. The octets
// themselves may differ: options come in any order, unknown and malformed ones
// are left out, and a prefix has bits that mean nothing.
func FuzzMessage(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		m, bad, err := decode(b)
		if err != nil {
			return
		}
		if len(bad) > 8 {
			t.Fatalf("%d faults", len(bad))
		}
		checkMessage(t, &m, len(b))
		wire := m.encode()
		again, badAgain, err := decode(wire)
		if err != nil {
			t.Fatalf("% x encoded to % x: %v", b, wire, err)
		}
		if len(badAgain) > 0 {
			t.Fatalf("% x encoded to % x with faults %v (before %v)", b, wire, badAgain, bad)
		}
		if diff := cmp.Diff(m, again, cmpopts.EquateEmpty(), octetsComparer, addrComparer, prefixComparer); diff != "" {
			t.Fatalf("-first +second:\n%s", diff)
		}
		if _, err := dhcpv6.MessageFromBytes(wire); err != nil && m.Type != 12 && m.Type != 13 && !knownToFail(&m) {
			t.Fatalf("the library refuses % x: %v", wire, err)
		}
	})
}

// FuzzOption: the same of each option by itself, in a message that has one of
// its kind already.
func FuzzOption(f *testing.F) {
	f.Fuzz(func(t *testing.T, code uint16, b []byte) {
		if len(b) > 0xffff {
			return
		}
		for _, before := range [][]byte{nil, b} {
			var m message
			size := len(b)
			if before != nil {
				m.option(dhcpv6.OptionCode(code), before)
				size += len(before)
			}
			err := m.option(dhcpv6.OptionCode(code), b)
			checkMessage(t, &m, size)
			again, bad, decodeErr := decode(m.encode())
			if decodeErr != nil || bad != nil {
				t.Fatalf("option %d % x (%v) is encoded wrong: %v %v", code, b, err, bad, decodeErr)
			}
			if diff := cmp.Diff(m, again, cmpopts.EquateEmpty(), octetsComparer, addrComparer, prefixComparer); diff != "" {
				t.Fatalf("-first +second:\n%s", diff)
			}
		}
		// An authentication option and a vendor's are canonical: nothing of them
		// is lost.
		var m message
		if err := m.option(dhcpv6.OptionCode(code), b); err != nil {
			return
		}
		switch dhcpv6.OptionCode(code) {
		case dhcpv6.OptionAuth:
			if got := m.Auth.encode(); !bytes.Equal(got, b) {
				t.Fatalf("% x became % x", b, got)
			}
		case dhcpv6.OptionVendorOpts:
			if v := m.Info.Vendor[0]; !bytes.Equal(append(be.AppendUint32(nil, v.Enterprise), v.Data...), b) {
				t.Fatalf("% x became %+v", b, v)
			}
		}
	})
}

var fitForResolver = regexp.MustCompile(`^[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*$`)

// checkMessage holds m, decoded from size octets, to what its fields promise.
func checkMessage(t *testing.T, m *message, size int) {
	t.Helper()
	for _, id := range [][]byte{m.ClientID, m.ServerID} {
		if id != nil && (len(id) < 1 || len(id) > maxDUID) {
			t.Fatalf("DUID % x", id)
		}
	}
	for _, s := range []uint32{m.SolMaxRT, m.InfMaxRT} {
		if s != 0 && (s < 60 || s > 86400) {
			t.Fatalf("maximum retransmission time %d", s)
		}
	}
	held := 0
	checkStatus := func(s status) {
		t.Helper()
		held += len(s.Text)
		if len(s.Text) > maxText || strings.ContainsFunc(s.Text, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Fatalf("status text %q", s.Text)
		}
	}
	checkStatus(m.Status)
	if len(m.IAs) > maxIAs {
		t.Fatalf("%d IAs", len(m.IAs))
	}
	for _, a := range m.IAs {
		held += 12 + 29*len(a.Prefixes)
		checkStatus(a.Status)
		if len(a.Prefixes) > maxPrefixes {
			t.Fatalf("%d prefixes", len(a.Prefixes))
		}
		for _, p := range a.Prefixes {
			if !delegable(p.Prefix) || p.Preferred > p.Valid {
				t.Fatalf("prefix %+v", p)
			}
		}
	}
	if err := m.Info.check(); err != nil {
		t.Fatalf("%v in %+v", err, m.Info)
	}
	held += 16 * (len(m.Info.DNS) + len(m.Info.SNTP) + len(m.Info.SIP))
	for _, d := range m.Info.Domains {
		held += len(d) + 2
		if !fitForResolver.MatchString(d) || len(d) > 253 {
			t.Fatalf("domain %q", d)
		}
	}
	for _, v := range m.Info.Vendor {
		held += 4 + len(v.Data)
	}
	if m.Auth != nil {
		held += 11 + len(m.Auth.Info)
	}
	if held > size {
		t.Fatalf("%d octets hold %d: %+v", size, held, m)
	}
}

// knownToFail tells whether m carries what the library is stricter about than a
// client is allowed to be: the inside of DUIDs.
func knownToFail(m *message) bool {
	for _, id := range [][]byte{m.ClientID, m.ServerID} {
		if id == nil {
			continue
		}
		if _, err := dhcpv6.DUIDFromBytes(id); err != nil {
			return true
		}
	}
	for _, v := range m.Info.Vendor { // its inside is the carrier's
		if len(v.Data) > 0 {
			return true
		}
	}
	return false
}

// FuzzAuthentic: no octets are authentic by themselves, wherever their
// authentication option is; with the right digest in it they are; and with one
// bit of them changed they are not.
func FuzzAuthentic(f *testing.F) {
	key := []byte("not in any seed!")
	f.Fuzz(func(t *testing.T, raw []byte, bit uint16) {
		if authentic(raw, key) {
			t.Fatal("authentic without the key")
		}
		signed := bytes.Clone(raw)
		at := digestAt(signed)
		if at < 0 {
			return
		}
		clear(signed[at : at+md5.Size])
		h := hmac.New(md5.New, key)
		h.Write(signed)
		copy(signed[at:], h.Sum(nil))
		if !authentic(signed, key) {
			t.Fatalf("% x is signed", signed)
		}
		signed[int(bit/8)%len(signed)] ^= 1 << (bit % 8)
		if authentic(signed, key) {
			t.Fatalf("% x was changed in bit %d", signed, bit)
		}
	})
}

// digestAt is where the first digest in a message begins, -1 without one.
func digestAt(b []byte) int {
	for at := 4; at+4 <= len(b); {
		n := int(be.Uint16(b[at+2:]))
		if at+4+n > len(b) {
			return -1
		}
		if o := b[at+4 : at+4+n]; be.Uint16(b[at:]) == 11 && n == 28 && o[0] == 3 && o[1] == 1 && o[2] == 0 && o[11] == rkapDigest {
			return at + 4 + 12
		}
		at += 4 + n
	}
	return -1
}

// sink is a link on which nobody answers. It counts what is sent.
type sink struct{ sent int }

func (s *sink) ReadFrom([]byte) (int, netip.AddrPort, error) {
	return 0, netip.AddrPort{}, net.ErrClosed
}
func (s *sink) WriteTo([]byte, netip.AddrPort) error { s.sent++; return nil }
func (s *sink) Close() error                         { return nil }

// FuzzClient gives any octets to a client at each stage of its life. What does
// not come from its server about its exchange changes nothing but a counter.
// What does leaves it with a lease in order or none, which survives the lease
// file, and with something to do later and not at once for ever.
func FuzzClient(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, stage := range []kind{solicit, request, renew, verify, inform, -1} {
			fuzzClient(t, b, stage)
		}
	})
}

func fuzzClient(t *testing.T, b []byte, stage kind) {
	var set counters.Set
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	cfg := config()
	cfg.Counters, cfg.AcceptUnauthReconfigure = &set, true
	cfg.Rand = rand.New(rand.NewPCG(1, 2))
	c := New(cfg)
	wire := &sink{}
	c.conn, c.mode = &link{Conn: wire}, ModePD
	if stage != solicit && stage != request && stage != inform {
		c.lease = &lease{server: otherDUID, serverAddr: netip.MustParseAddr("fe80::1")}
		c.lease.take(&ia{ID: 1, Prefixes: []iaPrefix{{100, 200, netip.MustParsePrefix("2001:db8:0:100::/56")}}}, now)
		c.lease.verified = stage != verify
	}
	switch stage {
	case -1:
	case request:
		c.request(&offer{server: otherDUID, ia: ia{ID: 1}}, now)
	case inform:
		c.mode = ModeInfo
		fallthrough
	default:
		c.start(stage, now)
	}
	if c.ex != nil {
		c.ex.sent, c.ex.xid, c.ex.next = 1, dhcpv6.TransactionID{1, 2, 3}, now.Add(time.Second)
	}
	leaseWas, exWas := fmt.Sprintf("%+v", c.lease), fmt.Sprintf("%p %+v", c.ex, c.ex)
	c.receive(packet{link: c.conn, data: b, from: netip.MustParseAddrPort("[fe80::1]:547"), at: now})

	m, _, err := decode(b)
	if err != nil || !bytes.Equal(m.ClientID, ourDUID) || m.ServerID == nil ||
		stage != solicit && stage != verify && stage != inform && !bytes.Equal(m.ServerID, otherDUID) {
		dropped := false
		for name := range set.Snapshot() {
			dropped = dropped || strings.HasPrefix(name, "dhcp6.drop.")
		}
		if !dropped || fmt.Sprintf("%+v", c.lease) != leaseWas || fmt.Sprintf("%p %+v", c.ex, c.ex) != exWas {
			t.Fatalf("stage %d: a foreign message is not just dropped: % x", stage, b)
		}
		return
	}
	if l := c.lease; l != nil {
		checkLease(t, l, now)
		checkOnDisk(t, l, c.info, now)
	}
	// As Run does: work, then wait as long as it says.
	begin := now
	for range 50 {
		d, ok := c.work(now)
		if !ok {
			break
		}
		if d <= 0 {
			t.Fatalf("stage %d: the next wait is %v: % x", stage, d, b)
		}
		now = now.Add(d)
		if c.lease != nil {
			checkLease(t, c.lease, now)
		}
	}
	if most := limiterBurst + int(now.Sub(begin)/time.Second); wire.sent > most {
		t.Fatalf("stage %d: %d messages in %v: % x", stage, wire.sent, now.Sub(begin), b)
	}
}

// checkLease holds l to what Lease promises.
func checkLease(t *testing.T, l *lease, now time.Time) {
	t.Helper()
	bad := func(what any) {
		t.Helper()
		t.Fatalf("%v in lease %+v", what, l)
	}
	if n := len(l.bindings); n < 1 || n > maxPrefixes {
		bad("number of prefixes")
	}
	deprecated := false
	for _, b := range l.bindings {
		if !delegable(b.Prefix) || b.valid.Sub(now) > infinity*time.Second {
			bad(b)
		}
		if deprecated && !b.deprecated {
			bad("a deprecated prefix first")
		}
		deprecated = b.deprecated
	}
	if !l.t2.IsZero() && (l.t1.IsZero() || l.t1.After(l.t2)) {
		bad("T1 after T2")
	}
	if end := l.expiry(); l.t1.IsZero() && !end.IsZero() {
		bad("an end and no T1")
	}
}

// checkOnDisk: what is written is read again, to the second.
func checkOnDisk(t *testing.T, l *lease, info *Info, now time.Time) {
	t.Helper()
	b, err := json.MarshalIndent(onDisk(l, info, ourDUID, 1, now), "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	f, again, err := parseLease(b, ourDUID, 1, now)
	if err != nil {
		t.Fatalf("%v in %s", err, b)
	}
	if again == nil {
		t.Fatalf("no lease in %s", b)
	}
	opts := cmp.Options{cmpopts.EquateApproxTime(time.Second), addrComparer, prefixComparer, octetsComparer, cmpopts.EquateEmpty(),
		cmpopts.IgnoreFields(Lease{}, "T1", "T2", "Verified")} // asked anew after a restart
	if diff := cmp.Diff(l.public(), again.public(), opts); diff != "" {
		t.Fatalf("-lease +file:\n%s", diff)
	}
	if diff := cmp.Diff(info, f.Info, opts); diff != "" {
		t.Fatalf("-information +file:\n%s", diff)
	}
	if !bytes.Equal(l.key, again.key) || l.replay != again.replay {
		t.Fatal("the key changed")
	}
}
