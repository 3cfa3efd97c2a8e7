package main

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"sofutobanku/internal/capture"
	"sofutobanku/internal/isp"
	"sofutobanku/internal/pcapng"
	"sofutobanku/internal/softbank/learn"
)

var updateCaptures = flag.Bool("update-captures", false, "make the captures and what they lead to anew")

// captures is where the captures are that make test replays, each NAME.pcapng (or
// .pcap) with NAME.want, what a router makes of it.
const captures = "../../internal/isp/testdata/captures"

// taped is what passes the wire of a world, as a capture on it would have it.
type taped struct {
	frames []capture.Frame
	asker  netip.AddrPort // of RADIUS, the last one
}

func (tp *taped) packet(what string, b []byte, from netip.AddrPort) {
	f := capture.Frame{
		Time: time.Now().UTC(), Direction: pcapng.Outbound, SrcMAC: wanMAC, DstMAC: ispMAC, HopLimit: 64,
		Src: from.Addr(), SrcPort: from.Port(), Payload: bytes.Clone(b),
	}
	to := netip.MustParseAddrPort("[ff02::1:2]:547")
	switch what {
	case "echo":
		return
	case "router solicitation":
		f.Kind, f.HopLimit, to = capture.RouterSolicitation, 255, netip.MustParseAddrPort("[ff02::2]:0")
	case "router advertisement":
		f.Kind, f.HopLimit, to = capture.RouterAdvertisement, 255, netip.MustParseAddrPort("[ff02::1]:0")
	case "access-request":
		f.Kind, to, tp.asker = capture.RADIUS, radiusDst, from
	case "answer of RADIUS":
		f.Kind, to = capture.RADIUS, tp.asker
	case "answer of DHCPv6":
		f.Kind, to = capture.DHCPv6, dhcpPort
	default: // a message of our DHCPv6
		f.Kind = capture.DHCPv6
	}
	if strings.HasPrefix(what, "answer") || what == "router advertisement" {
		f.Direction, f.SrcMAC, f.DstMAC = pcapng.Inbound, ispMAC, wanMAC
	}
	f.Dst, f.DstPort = to.Addr(), to.Port()
	if f.Dst.IsMulticast() {
		f.DstMAC = append([]byte{0x33, 0x33}, f.Dst.AsSlice()[12:]...)
	}
	f.SrcMAC, f.DstMAC = bytes.Clone(f.SrcMAC), bytes.Clone(f.DstMAC)
	tp.frames = append(tp.frames, f)
}

// record is newWorld with a tape on the wire.
func record(t *testing.T, kind isp.Kind, options string, edit func(*isp.Config)) (*world, *taped) {
	w, tp := newWorld(t, kind, 1, options, edit), new(taped)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tape = tp.packet
	return w, tp
}

// aWholeLife is one in which the router says everything it has to say to DHCPv6.
func (w *world) aWholeLife() {
	for _, step := range []struct {
		do   string
		wait time.Duration
	}{
		{"start", 0}, {"link up", 2*time.Hour + 5*time.Minute}, {"silent dhcp6", 3*time.Hour + 10*time.Minute},
		{"speak dhcp6", time.Hour}, {"stop", time.Second}, {"", 0},
	} {
		if step.do != "" {
			w.do(step.do)
		}
		w.live(step.wait)
	}
}

// asks are what the router sends in frames, each once, without what is new each time.
func asks(t *testing.T, frames []capture.Frame) []string {
	t.Helper()
	var list []string
	for _, f := range frames {
		if f.Direction != pcapng.Outbound || f.Kind != capture.DHCPv6 && f.Kind != capture.RADIUS {
			continue
		}
		b := bytes.Clone(f.Payload)
		var opts []capture.Option
		var err error
		if f.Kind == capture.DHCPv6 {
			clear(b[1:4]) // the transaction
			opts, err = capture.DHCPv6Options(b[4:])
		} else {
			b[1] = 0 // the identifier, and the authenticator
			clear(b[4:20])
			opts, err = capture.Attributes(b[20:])
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range opts {
			switch {
			case f.Kind == capture.DHCPv6 && o.Code == 8, f.Kind == capture.RADIUS && (o.Code == 60 || o.Code == 80):
				clear(o.Data) // the elapsed time, the challenge, the signature
			case f.Kind == capture.RADIUS && o.Code == 3:
				clear(o.Data[1:])
			}
		}
		text := fmt.Sprintf("%v > %v %s %x", f.Src, netip.AddrPortFrom(f.Dst, f.DstPort), f.Name(), b)
		if !slices.Contains(list, text) {
			list = append(list, text)
		}
	}
	slices.Sort(list)
	return list
}

// configure gives the daemon that is started next the interface that was learned.
func (w *world) configure(l *learn.Lesson) {
	text := strings.NewReplacer(learn.SharedSecret, "shared", learn.Password, "pass", "'eth1'", "'"+wanDevice+"'").Replace(l.Text())
	w.must(os.WriteFile(filepath.Join(w.dir, "network"), []byte(text), 0o600))
}

// TestLearnOurselves: what sofu-proto says on each line, with options and without, leads
// to an interface with which it says the same again; and to its own profile nothing of it
// is new but what the options say.
func TestLearnOurselves(t *testing.T) {
	for _, tt := range []struct {
		kind    isp.Kind
		options string
		report  []string // what is reported of it
	}{
		{isp.Next, "", []string{}},
		{isp.Cross, "", []string{"Access-Request: sub-attribute 1 is the MAC address that the unit has on the line"}},
		{isp.NextRA, "", []string{}},
		{isp.Next, "\toption norelease '0'\n\toption iaid '0x5e005301'\n\toption reqprefix '56'\n\toption solicit_vendor_class '1'\n",
			[]string{"option iaid '1577079553'", "option reqprefix '56'", "option solicit_vendor_class '1'", "option norelease '0'"}},
		{isp.Next, "\toption clientid '0003000100005e0053aa'\n\toption mac '00:00:5e:00:53:bb'\n\toption mac_format 'upper-hyphen'\n\toption model 'X \"1\"'\n" +
			"\toption vsa_packing 'single'\n\toption chap_ident '77'\n\toption send_message_authenticator '1'\n\toption iid '2:0:0:1'\n",
			[]string{"option mac_format 'upper-hyphen'", "option iid 'abc:0:0:1'", "option model 'X \"1\"'", "option vsa_packing 'single'", "option chap_ident '77'",
				"option send_message_authenticator '1'", "DHCPv6: the client identifier has another MAC address than the unit has on the line",
				"Access-Request: sub-attribute 1 is not the terminal's MAC address that DHCPv6 told"}},
		{isp.Cross, "\toption username 'me@example.jp'\n\toption auth_iid '::3'\n\toption manufacturer 'm'\n\toption hwrev 'r'\n\toption vsa_packing 'separate'\n",
			[]string{"option username 'xx@xxxxxxx.xx'", "option auth_iid '0:0:0:3'", "option manufacturer 'm'", "option hwrev 'r'", "option vsa_packing 'separate'",
				"Access-Request: sub-attribute 1 is the MAC address that the unit has on the line"}},
	} {
		t.Run(fmt.Sprint(tt.kind, tt.options), func(t *testing.T) {
			t.Parallel()
			live := func(configure func(*world)) []capture.Frame {
				var frames []capture.Frame
				synctest.Test(t, func(t *testing.T) {
					w, tp := record(t, tt.kind, tt.options, func(c *isp.Config) {
						c.Lenient = true
						iid, err := isp.ParseIID("2:0:0:1")
						if err != nil {
							t.Fatal(err)
						}
						if strings.Contains(tt.options, "option iid") {
							c.IID = &iid
						}
					})
					configure(w)
					w.aWholeLife()
					frames = tp.frames
				})
				return frames
			}
			first := live(func(*world) {})
			lesson, err := learn.Learn(first, "", "")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.report, lesson.Differences); diff != "" {
				t.Errorf("differences (-want +got):\n%s", diff)
			}
			again := live(func(w *world) { w.configure(lesson) })
			want := asks(t, first)
			if diff := cmp.Diff(want, asks(t, again)); diff != "" {
				t.Errorf("asked (-first +again):\n%s\n%s", lesson.Text(), diff)
			}
			kinds := map[string]bool{}
			for _, f := range first {
				kinds[f.Name()] = true
			}
			for _, name := range []string{"Solicit", "Request", "Renew", "Rebind"} {
				if tt.kind != isp.NextRA && !kinds["DHCPv6 "+name] {
					t.Errorf("no %s in that life", name)
				}
			}
		})
	}
}

// makers make the captures: from a line that comes up, what the known users' reports
// tell otherwise. None is a real subscriber's.
var makers = []struct {
	name string
	kind isp.Kind
	edit func(frames []capture.Frame) []capture.Frame // nil: as it is
}{
	{"next", isp.Next, nil},
	{"cross", isp.Cross, nil},
	{"next-ra", isp.NextRA, nil},
	{"lease-of-30-days", isp.Next, replies(func(b []byte) []byte {
		return replace(b, "00001c2000002a30", "0013c6800020f580", "00003138000038402038", "00000000000000000000", "0000313800003840", "00278d0000278d00")
	})},
	{"dhcp-from-another-port", isp.Next, each(func(f *capture.Frame) {
		if f.SrcPort == 547 {
			f.SrcPort = 49153
		}
	})},
	{"unknown-suboptions", isp.Next, replies(func(b []byte) []byte {
		return slices.Concat(b, []byte{0, 17, 0, 14, 0, 0, 0, 210, 1, 44, 0, 6}, []byte("sofuto"))
	})},
	{"accept-as-text", isp.Cross, accepts("cc0b3139322e302e322e39", "cf14323030313a6462383a303a623a3a31393139", "d30e3139382e35312e3130302e31")},
	{"accept-of-unknown-attributes", isp.Next, accepts("cc06c0000209", "cf1220010db800000000000000000000b001", "b006000151 80", "d20600000001", "d6056c6f67", "e004abcd")},
	{"rejected", isp.Next, each(func(f *capture.Frame) {
		if f.Accepts() {
			f.Payload = slices.Concat([]byte{3, f.Payload[1], 0, 20 + 16}, f.Payload[4:20], []byte{18, 16}, []byte("unknown number"))
		}
	})},
	{"radius-silent", isp.Next, drop(func(f *capture.Frame) bool { return f.Kind == capture.RADIUS && f.Payload[0] != 1 })},
	{"dhcp-silent", isp.Next, drop(func(f *capture.Frame) bool {
		return f.Kind == capture.RADIUS || f.Kind == capture.DHCPv6 && f.Direction == pcapng.Inbound
	})},
	{"no-router", isp.Next, drop(func(f *capture.Frame) bool { return f.Kind != capture.RouterSolicitation && f.Kind != capture.DHCPv6 })},
	{"dns-in-ra", isp.NextRA, each(func(f *capture.Frame) {
		if f.Kind == capture.RouterAdvertisement {
			f.Payload = slices.Concat(f.Payload, unhex("1903000000000e10 20010db8000000530000000000000001"))
		}
	})},
	{"another-unit", isp.Cross, each(func(f *capture.Frame) {
		if f.Kind == capture.RADIUS && f.Payload[0] == 1 {
			f.Payload = bytes.Replace(f.Payload, []byte("BAPP"), []byte("OGW9"), 1)
			f.Payload = bytes.Replace(f.Payload, []byte(wanMAC.String()), []byte("00:00:5E:00:53:EE"), 1)
		}
	})},
	{"signed-accept", isp.Next, each(func(f *capture.Frame) {
		if f.Accepts() {
			f.Payload = slices.Concat(f.Payload[:20], []byte{80, 18}, make([]byte, 16), f.Payload[20:])
			binary.BigEndian.PutUint16(f.Payload[2:], uint16(len(f.Payload)))
		}
	})},
	{"tcpdump", isp.Next, nil}, // a pcap file
	{"redacted", isp.Cross, func(frames []capture.Frame) []capture.Frame {
		r := capture.NewRedactor(learn.Vendors())
		for i := range frames {
			frames[i] = r.Frame(frames[i])
		}
		return frames
	}},
}

// each edits every frame.
func each(edit func(*capture.Frame)) func([]capture.Frame) []capture.Frame {
	return func(frames []capture.Frame) []capture.Frame {
		for i := range frames {
			edit(&frames[i])
		}
		return frames
	}
}

// replies edits the Replies and Advertises of DHCPv6.
func replies(edit func([]byte) []byte) func([]capture.Frame) []capture.Frame {
	return each(func(f *capture.Frame) {
		if f.Kind == capture.DHCPv6 && f.Direction == pcapng.Inbound {
			f.Payload = edit(f.Payload)
		}
	})
}

// drop leaves frames out.
func drop(which func(*capture.Frame) bool) func([]capture.Frame) []capture.Frame {
	return func(frames []capture.Frame) []capture.Frame {
		return slices.DeleteFunc(frames, func(f capture.Frame) bool { return which(&f) })
	}
}

// accepts replaces the attributes of an Access-Accept by one of sub-attributes in hex.
func accepts(subs ...string) func([]capture.Frame) []capture.Frame {
	return each(func(f *capture.Frame) {
		if f.Accepts() {
			body := slices.Concat(unhex("000056b5"), unhex(strings.Join(subs, "")))
			f.Payload = slices.Concat([]byte{2, f.Payload[1], 0, byte(22 + len(body))}, f.Payload[4:20], []byte{26, byte(2 + len(body))}, body)
		}
	})
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		panic(err)
	}
	return b
}

// replace replaces pairs of hex.
func replace(b []byte, pairs ...string) []byte {
	for i := 0; i < len(pairs); i += 2 {
		b = bytes.ReplaceAll(b, unhex(pairs[i]), unhex(pairs[i+1]))
	}
	return b
}

// makeCaptures writes the captures.
func makeCaptures(t *testing.T) {
	for _, m := range makers {
		var frames []capture.Frame
		synctest.Test(t, func(t *testing.T) {
			w, tp := record(t, m.kind, "", nil)
			w.do("start")
			w.do("link up")
			w.live(30 * time.Second)
			frames = tp.frames
		})
		if m.edit != nil {
			frames = m.edit(frames)
		}
		var b bytes.Buffer
		out, err := pcapng.NewWriter(&b, pcapng.Header{Device: wanDevice, Comment: "made from the simulated line; no subscriber's"})
		classic := unhex("a1b2c3d4 0002 0004 00000000 00000000 00040000 00000001")
		for _, f := range frames {
			p := f.Packet()
			if err == nil {
				err = out.Write(p)
			}
			be := binary.BigEndian
			classic = be.AppendUint32(classic, uint32(p.Time.Unix()))
			classic = be.AppendUint32(classic, uint32(p.Time.Nanosecond()/1000))
			classic = be.AppendUint32(classic, uint32(len(p.Data)))
			classic = append(be.AppendUint32(classic, uint32(len(p.Data))), p.Data...)
		}
		file, content := m.name+".pcapng", b.Bytes()
		if m.name == "tcpdump" {
			file, content = m.name+".pcap", classic
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(captures, file), content, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestReplay has every capture played to a router that is configured as was learned from
// it, and compares what comes of it.
func TestReplay(t *testing.T) {
	if *updateCaptures {
		makeCaptures(t)
	}
	files, err := filepath.Glob(filepath.Join(captures, "*.pcap*"))
	if err != nil || len(files) < len(makers) {
		t.Fatalf("%d captures, %v", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			recording, err := isp.ReadRecording(file)
			if err != nil {
				t.Fatal(err)
			}
			read, err := capture.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := recording.String() + "\n"
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, recording.Kind, 1, "", recording.Apply)
				lesson, err := learn.Learn(read.Frames, "", read.Comment)
				if err != nil {
					t.Fatal(err)
				}
				if lesson.Profile != "" {
					w.configure(lesson)
				}
				w.do("start")
				w.do("link up")
				w.live(3 * time.Minute)
				got += outcome(w)
			})
			want := strings.TrimSuffix(file, filepath.Ext(file)) + ".want"
			if *updateCaptures {
				if err := os.WriteFile(want, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			b, err := os.ReadFile(want)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(b), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// outcome is what became of a line, for a person.
func outcome(w *world) string {
	var b strings.Builder
	st := w.applied()
	now := time.Now()
	left := func(t time.Time) string {
		if t.IsZero() {
			return "ever"
		}
		return t.Sub(now).Round(10 * time.Minute).String()
	}
	fmt.Fprintf(&b, "%s\n", st.Phase)
	if e := st.Error; e != nil {
		fmt.Fprintf(&b, "error %s: %s\n", e.Code, e.Text)
	}
	for _, r := range st.WAN.Routers {
		fmt.Fprintf(&b, "router %v\n", r.Addr)
	}
	if p := st.Prefix; p != nil {
		fmt.Fprintf(&b, "prefix %v, preferred for %s, valid for %s\n", p.Prefix, left(p.Preferred), left(p.Valid))
	}
	for _, a := range st.WAN.Addresses {
		fmt.Fprintf(&b, "address %v, valid for %s\n", a.Prefix, left(a.Valid))
	}
	fmt.Fprintf(&b, "DNS %v %v, NTP %v\n", st.WAN.DNS, st.WAN.Domains, st.WAN.NTP)
	if t := st.Tunnel; t != nil {
		fmt.Fprintf(&b, "tunnel %v > %v, %v, works: %v\n", t.Local, t.Remote, t.IPv4, w.tunnelWorks())
	}
	if st.Auth != nil {
		for _, a := range st.Auth.Attributes {
			fmt.Fprintf(&b, "attribute %s: %s\n", a.Name, a.Value)
		}
	}
	for _, e := range w.line.State().Wrong {
		fmt.Fprintf(&b, "the carrier: %s: %s\n", e.Part, e.Text)
	}
	return b.String()
}
