package isp

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"layeh.com/radius"

	"sofutobanku/internal/capture"
	"sofutobanku/internal/pcapng"
)

// recording reads one of the captures, whose subscriber is not that of the tests.
func recording(t *testing.T, name string) *Recording {
	t.Helper()
	r, err := ReadRecording(filepath.Join("testdata/captures", name+".pcapng"))
	mustNot(t, err)
	return r
}

// TestReplayDHCP: the recorded answers, with what is the asker's own.
func TestReplayDHCP(t *testing.T) {
	r := recording(t, "next")
	s, k, j, _ := dhcpFixture(r.Kind, r.Apply)
	other := []byte{0x00, 0x00, 0x5e, 0x00, 0x53, 0x77}
	duid := opt(1, []byte{0, 3, 0, 1}, other)
	pd := opt(25, u32(0x01020304, 0, 0))
	ask := func(kind byte, options ...[]byte) string {
		return describe(s.handle(dhcp(kind, append(options, optElapsed, optORO)...), clientPeer))
	}
	const given = `
  1 00030001` + "00005e005377" + `
  2 0003000100005e0053aa
  IA_PD 01020304 T1=7200 T2=10800
    2001:db8:1234:5600::/56 12600/14400`
	hasPrefix := func(what, got, want string) {
		t.Helper()
		if !strings.HasPrefix(got, want) {
			t.Errorf("%s: got\n%s\nwant\n%s", what, got, want)
		}
	}
	hasPrefix("Solicit", ask(1, duid, pd), "ADVERTISE 0a0b0c"+given)
	if k.table() != "" {
		t.Errorf("routes after an Advertise: %s", k.table())
	}
	anyServer := opt(2, []byte{0, 2, 0, 0, 0, 9, 1})
	request := ask(3, duid, anyServer, pd)
	hasPrefix("Request", request, "REPLY 0a0b0c"+given)
	if diff := cmp.Diff("2001:db8:1234:5600::/56 via fe80::200:5eff:fe00:5301", k.table()); diff != "" {
		t.Errorf("routes: %s", diff)
	}
	// The capture has no Renew, nor an Information-request.
	if got := ask(5, duid, anyServer, pd); got != request {
		t.Errorf("Renew: %s\nwant %s", got, request)
	}
	if got := ask(11, duid); got != "(nothing)" {
		t.Errorf("Information-request: %s", got)
	}
	// Whoever has no DUID-LL, or no IA_PD, is answered all the same.
	hasPrefix("without a MAC", ask(1, opt(1, []byte{0, 2, 0, 0, 0, 9, 1}), pd), "ADVERTISE 0a0b0c\n  1 000200000009"+"01")
	hasPrefix("without IA_PD", ask(3, duid, anyServer), "REPLY 0a0b0c\n  1 0003")
	if got := ask(8, duid, anyServer, pd); got != "(nothing)" || k.table() != "" {
		t.Errorf("Release: %s, routes %s", got, k.table())
	}
	if w := strings.Join(wrongs(j), "\n"); !strings.Contains(w, "no DUID-LL") {
		t.Errorf("said: %s", w)
	}

	// The terminal's MAC address is replaced where it is the subscriber's.
	r.replies[dhcpv6.MessageTypeSolicit] = [][]byte{dhcp(2, optServer, opt(17, u32(210), opt(201, r.mac), opt(201, serverMAC)))}
	if got, want := ask(1, duid, pd), "  vendor 210\n    201 00005e005377\n    201 00005e0053aa"; !strings.Contains(got, want) {
		t.Errorf("got %s\nwant %s", got, want)
	}
	// Different answers to one question come in their order, the last for ever after.
	r.replies[dhcpv6.MessageTypeSolicit] = [][]byte{dhcp(2, optServer), dhcp(2, opt(7, []byte{9})), {2}}
	s.played = nil
	for _, want := range []string{"ADVERTISE 0a0b0c\n  2 0003000100005e0053aa", "ADVERTISE 0a0b0c\n  7 09", "(nothing)", "(nothing)"} {
		if got := ask(1, duid, pd); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestReplayRA(t *testing.T) {
	r := recording(t, "dns-in-ra")
	if r.Kind != NextRA {
		t.Fatalf("kind %s", r.Kind)
	}
	again := bytes.Clone(r.ras[0])
	again[6], again[7] = 0, 0
	r.ras = append(r.ras, again)
	j, _ := testJournal()
	conn := newFakeICMP()
	a := newAdvertiser(testSettings(r.Kind, r.Apply), j, conn, serverMAC, testRand())
	a.send(allNodes)
	a.played++ // a solicitation was answered
	a.send(clientAddr)
	const rest = " hops=64 life=LIFE reach=5m0s retrans=10s lladdr=00:00:5e:00:53:aa mtu=1500 prefix=2001:db8:1234:5600::/64 L=true A=true 3h30m0s/4h0m0s option 25"
	want := []string{
		"ff02::1 M=false O=true" + strings.Replace(rest, "LIFE", "30m0s", 1),
		"fe80::200:5eff:fe00:5301 M=false O=true" + strings.Replace(rest, "LIFE", "0s", 1),
	}
	if diff := cmp.Diff(want, conn.got(t)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	none := &Recording{}
	newAdvertiser(testSettings(Next, none.Apply), j, conn, serverMAC, testRand()).send(allNodes)
	if got := conn.got(t); len(got) > 0 {
		t.Errorf("without one: %q", got)
	}
}

func TestReplayRADIUS(t *testing.T) {
	for _, tt := range []struct{ name, want, log string }{
		{"next", "Access-Accept", "tunnel 2001:db8:0:b::1919 2001:db8:1234:5600:1111:1111:1111:1111 192.0.2.1"},
		{"cross", "Access-Accept", "tunnel 2001:db8:0:b::1919 2001:db8:1234:5600:c0:2:100:0 192.0.2.1"},
		{"accept-as-text", "Access-Accept", "tunnel 2001:db8:0:b::1919 2001:db8:1234:5600:c0:2:900:0 192.0.2.9"},
		{"signed-accept", "Access-Accept", "tunnel 2001:db8:0:b::1919 2001:db8:1234:5600:1111:1111:1111:1111 192.0.2.1"},
		{"rejected", "Access-Reject unknown number", ""},
		{"radius-silent", "(nothing)", ""},
	} {
		r := recording(t, tt.name)
		s, k, _ := radiusFixture(r.Kind, r.Apply)
		request := nextRequest()
		reply := s.handle(request, source)
		if got := outcome(t, reply, request); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
		if got := strings.Join(k.log, "\n"); got != tt.log {
			t.Errorf("%s: the BR: %s, want %s", tt.name, got, tt.log)
		}
		if tt.name == "signed-accept" {
			b := bytes.Clone(reply)
			at := findMessageAuthenticator(b)
			if at == 0 || !bytes.Equal(b[at:at+16], messageAuthenticator(b, at, [16]byte(request[4:20]), []byte("shared"))) {
				t.Errorf("Message-Authenticator at %d of %x", at, b)
			}
		}
	}
}

// TestReplayDifferences: whoever asks otherwise than the recorded unit is told so.
func TestReplayDifferences(t *testing.T) {
	attrs := func(b []byte) radius.Attributes {
		p, err := radius.Parse(b, nil)
		mustNot(t, err)
		return p.Attributes
	}
	unit := attrs(nextRequest())
	for _, tt := range []struct {
		name string
		got  []byte
		want []string
	}{
		{"same", nextRequest(), nil},
		{"another line of the same unit", nextRequest(set(0, av{1, []byte(strings.Replace(nextUser, "1234", "4321", 1))}), set(1, vsa(1, "00:00:5e:00:53:99")), set(5, av{60, make([]byte, 16)})), nil},
		{"MAC in another form", nextRequest(set(1, vsa(1, "00005e005399"))), []string{"attribute 2 is Vendor-Specific of 22197: 1 of 12 bytes, the recording's is Vendor-Specific of 22197: 1 of 17 bytes"}},
		{"model", nextRequest(set(3, vsa(3, "\x1b[2J"))), []string{`attribute 4 is Vendor-Specific of 22197: 3 "\x1b[2J", the recording's is Vendor-Specific of 22197: 3 "model 1"`}},
		{"CHAP identifier", nextRequest(set(6, av{3, chapOf(2, "pass", testChallenge)})), []string{"attribute 7 is CHAP-Password 2, the recording's is CHAP-Password 1"}},
		{"one less", nextRequest(without(6)), []string{"attribute 7 is nothing, the recording's is CHAP-Password 1"}},
	} {
		if diff := cmp.Diff(tt.want, differences(unit, attrs(tt.got))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestRecordingErrors(t *testing.T) {
	if _, err := ReadRecording("testdata/captures/next.want"); !errors.Is(err, pcapng.ErrFormat) || !strings.Contains(err.Error(), "next.want") {
		t.Errorf("a text: %v", err)
	}
	if _, err := ReadRecording("none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	file, err := capture.ReadFile("testdata/captures/next.pcapng")
	mustNot(t, err)
	if _, err := NewRecording(file.Frames[:1]); !errors.Is(err, errNoLine) { // a solicitation
		t.Errorf("no answer: %v", err)
	}
	// The answers to another subscriber are not this one's.
	more := append([]capture.Frame{}, file.Frames...)
	for _, f := range file.Frames {
		if f.Kind == capture.DHCPv6 && f.Payload[0] == 7 {
			f.DstMAC = serverMAC
			more = append(more, f)
		}
	}
	r, err := NewRecording(more)
	mustNot(t, err)
	if want := "1 router advertisements, 1 answers to SOLICIT, 1 answers to REQUEST, 1 answers of RADIUS"; r.String() != want {
		t.Errorf("got %s, want %s", r, want)
	}
}

// FuzzRecording: whatever a capture holds, a line can be made of it or is refused, and
// what is asked of it is answered with what can be read, or not.
func FuzzRecording(f *testing.F) {
	f.Fuzz(func(t *testing.T, file []byte) {
		read, _ := capture.Read(bytes.NewReader(file))
		r, err := NewRecording(read.Frames)
		if err != nil {
			return
		}
		l, _, _, _ := lineFixture(t.Context(), r.Kind)
		defer l.dhcp.close()
		var fault error
		if l.set.change(func(c *Config) { r.Apply(c); fault = c.Check() }); fault != nil {
			t.Fatal(fault)
		}
		l.ra.send(allNodes)
		for _, b := range [][]byte{
			dhcp(1, optClient, optElapsed, optORO, optPD), dhcp(3, optClient, optServer, optElapsed, optORO, optPD),
			dhcp(5, optClient, optServer, optElapsed, optORO, optHeld), dhcp(11, optElapsed, optORO),
		} {
			if reply := l.dhcp.handle(b, clientPeer); reply != nil {
				m, err := parseMessage(reply)
				if err != nil || m.xid != [3]byte{0x0a, 0x0b, 0x0c} {
					t.Fatalf("answered %x: %v", reply, err)
				}
				if id, ok := m.one(dhcpv6.OptionClientID); ok && !bytes.Equal(id, optClient[4:]) {
					t.Fatalf("answered to %x", id)
				}
			}
		}
		if reply := l.radius.handle(nextRequest(), netip.AddrPortFrom(clientAddr, 1)); reply != nil {
			outcome(t, reply, nextRequest())
		}
		if _, err := json.Marshal(l.State()); err != nil {
			t.Fatal(err)
		}
		_ = r.String()
	})
}
