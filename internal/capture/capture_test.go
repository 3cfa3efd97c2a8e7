package capture

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/net/bpf"

	"sofutobanku/internal/checksum"
	"sofutobanku/internal/link/linktest"
	"sofutobanku/internal/pcapng"
)

var netipCompare = cmpopts.EquateComparable(netip.Addr{})

// TestFrame: frames survive encoding, with the checksums that the wire wants.
func TestFrame(t *testing.T) {
	for _, f := range theLine() {
		p := f.Packet()
		got, err := FromPacket(p)
		if err != nil {
			t.Fatalf("%v: %v", &f, err)
		}
		if f.Kind < DHCPv6 { // the checksum is a part of the payload
			copy(f.Payload[2:4], got.Payload[2:4])
		}
		if diff := cmp.Diff(f, got, netipCompare); diff != "" {
			t.Errorf("%v (-want +got):\n%s", &f, diff)
		}
		ip := p.Data[headerEther:]
		pseudo, body, proto := append(f.Src.AsSlice(), f.Dst.AsSlice()...), ip[min(len(ip), headerIPv6):], ip[6]
		if f.Src.Is4() {
			if checksum.Of(ip[:headerIPv4]) != 0 {
				t.Errorf("%v: header checksum", &f)
			}
			body, proto = ip[headerIPv4:], ip[9]
		}
		pseudo = append(binary.BigEndian.AppendUint32(pseudo, uint32(len(body))), 0, 0, 0, proto)
		if checksum.Of(pseudo, body) != 0 {
			t.Errorf("%v: checksum", &f)
		}
	}
}

// others are frames that are none of the kinds.
func others() map[string][]byte {
	frame := func(i int) []byte { f := theLine()[i]; return f.Encode() }
	edit := func(b []byte, at int, to ...byte) []byte { copy(b[at:], to); return b }
	vlan := frame(0)
	vlan = append(vlan[:12:12], append(x("81000001"), vlan[12:]...)...)
	pppoe := frame(0)
	pppoe = append(pppoe[:12:12], append(x("8864 1100 0001 0042 0057"), pppoe[14:]...)...)
	mld := frame(0)
	mld = edit(mld, headerEther+6, 0)
	return map[string][]byte{
		"empty": nil, "short": frame(0)[:14], "VLAN": vlan, "PPPoE": pppoe, "ARP": edit(frame(0), 12, 8, 6),
		"multicast listener": mld, "redirect": edit(frame(0), headerEther+headerIPv6, 137),
		"TCP": edit(frame(4), headerEther+6, 6), "IPv4 in IPv6": edit(frame(4), headerEther+6, 4),
		"DNS":         edit(edit(frame(4), headerEther+headerIPv6, 0x30, 0, 0, 53), headerEther+headerIPv6+8, 0x12),
		"IPv4 DNS":    edit(frame(6), headerEther+headerIPv4, 0x30, 0, 0, 53),
		"fragment":    edit(frame(6), headerEther+6, 0x20),
		"IPv4 ICMP":   edit(frame(6), headerEther+9, 1),
		"IPv6 is not": edit(frame(0), headerEther, 0x40),
	}
}

// TestFilter: the kernel hands over what is of the kinds, and nothing else.
func TestFilter(t *testing.T) {
	raw, err := filter([]uint16{1812, 11812})
	if err != nil {
		t.Fatal(err)
	}
	code, ok := bpf.Disassemble(raw)
	if !ok {
		t.Fatal("the filter cannot be read")
	}
	if diff := cmp.Diff([]bpf.Instruction{bpf.LoadExtension{Num: bpf.ExtVLANTagPresent}}, code[:1]); diff != "" {
		t.Errorf("VLAN tags first: %s", diff)
	}
	vm, err := bpf.NewVM(code[2:]) // which does not know VLAN tags
	if err != nil {
		t.Fatal(err)
	}
	take := func(b []byte) bool {
		n, err := vm.Run(b)
		if err != nil {
			t.Fatal(err)
		}
		return n > 0
	}
	for _, f := range theLine() {
		if !take(f.Encode()) {
			t.Errorf("not taken: %v", &f)
		}
	}
	asks := theLine()[8]
	asks.DstPort = 11812
	if !take(asks.Encode()) {
		t.Error("the second RADIUS port is not taken")
	}
	asks.DstPort = 1813
	if take(asks.Encode()) {
		t.Error("another port than the RADIUS ports is taken")
	}
	for name, b := range others() {
		if _, err := FromPacket(pcapng.Packet{Data: b}); !errors.Is(err, errOther) {
			t.Errorf("%s: %v", name, err)
		}
		// Where the filter runs a VLAN's tag is not in the packet. Versions are left to decode.
		if name != "VLAN" && name != "IPv6 is not" && take(b) {
			t.Errorf("%s is taken", name)
		}
	}
	if _, err := filter(make([]uint16, maxPorts)); err != nil {
		t.Errorf("with the most ports: %v", err)
	}
}

// packets is a Source, which ends ctx when there are no more.
type packets struct {
	list []pcapng.Packet
	end  context.CancelFunc
}

func (p *packets) Next(ctx context.Context) (pcapng.Packet, error) {
	if len(p.list) == 0 {
		p.end()
		return pcapng.Packet{}, context.Cause(ctx)
	}
	next := p.list[0]
	p.list = p.list[1:]
	return next, nil
}

// TestRecord writes a line as it came and redacted, and reads it back.
func TestRecord(t *testing.T) {
	var all []pcapng.Packet
	for _, f := range theLine() {
		all = append(all, f.Packet())
	}
	for _, b := range others() {
		all = append(all, pcapng.Packet{Time: begin, Data: b})
	}
	cut := all[5]
	cut.Data = cut.Data[:len(cut.Data)-1]
	all = append(all, cut)
	for name, tt := range map[string]struct {
		redactor     *Redactor
		limit        int64
		written, bad int
		err          error
		comment      string
	}{
		"whole":    {nil, 1 << 20, len(theLine()) + 1, 1, nil, ""},
		"redacted": {NewRedactor(testVendors), 1 << 20, len(theLine()), 1, nil, Redacted},
		"limited":  {nil, 1000, 5, 0, ErrLimit, ""},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var out bytes.Buffer
			noticed := 0
			written, bad, err := Record(ctx, &packets{all, cancel}, &out, Recording{
				Device: "wan0", Limit: tt.limit, Redactor: tt.redactor, Notice: func(Frame) { noticed++ }})
			if written != tt.written || bad != tt.bad || !errors.Is(err, tt.err) || err == nil != (tt.err == nil) {
				t.Errorf("got %d written, %d bad, %v; want %d, %d, %v", written, bad, err, tt.written, tt.bad, tt.err)
			}
			if int64(out.Len()) > tt.limit+200 {
				t.Errorf("%d bytes", out.Len())
			}
			file, err := Read(&out)
			if err != nil || file.Comment != tt.comment || len(file.Frames)+file.Bad != written || file.Others != 0 || noticed != len(file.Frames) {
				t.Errorf("read: %d frames, %d noticed, %d bad, %d others, %q, %v", len(file.Frames), noticed, file.Bad, file.Others, file.Comment, err)
			}
			if tt.redactor == nil {
				if diff := cmp.Diff(theLine()[:len(file.Frames)], file.Frames, netipCompare); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

func TestReadFileErrors(t *testing.T) {
	classic := append(x("d4c3b2a1 0200 0400 00000000 00000000 ffff0000 71000000"), append(x("00000000 00000000 04000000 04000000"), 1, 2, 3, 4)...)
	for name, tt := range map[string]struct {
		content []byte
		want    string
	}{
		"cooked": {classic, "link type 113: Ethernet is accepted"},
		"text":   {[]byte("interface wan"), "not a capture file: it begins with 69 6e 74 65"},
		"empty":  {nil, "not a capture file: shorter than 4 bytes"},
	} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, tt.content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadFile(path); err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	if _, err := ReadFile(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// TestSocket takes packets off a real device: what is of the kinds, sent and received,
// and nothing else; and another process's socket still gets its own.
func TestSocket(t *testing.T) {
	ns := linktest.New(t)
	far := linktest.New(t)
	ns.Veth("wan", macR, far, "isp", macC)
	for _, end := range []struct {
		*linktest.Namespace
		device string
	}{{ns, "wan"}, {far, "isp"}} {
		end.Sysctl("ipv6/conf/"+end.device+"/accept_dad", "0")
		end.Sysctl("ipv6/conf/"+end.device+"/accept_ra", "0")
		end.Up(end.device)
	}
	ns.Address("wan", "fe80::1/64")
	far.Address("isp", "fe80::2/64")
	ns.WaitUp("wan")
	far.WaitUp("isp")

	var sock *Socket
	var err error
	ifi := ns.Interface("wan")
	ns.Do(func() { sock, err = Open(ifi, []uint16{1812}, false) })
	ns.Must(err)
	defer sock.Close()
	send := func(from *linktest.Namespace, to, payload string) {
		t.Helper()
		from.Do(func() {
			var c net.Conn
			if c, err = net.Dial("udp6", to); err == nil {
				defer c.Close()
				_, err = c.Write([]byte(payload))
			}
		})
		from.Must(err)
	}
	send(ns, "[fe80::2%wan]:5353", "no business of ours")
	send(ns, "[fe80::2%wan]:547", "\x01abc\x00\x08\x00\x02\x00\x00")
	send(far, "[fe80::1%isp]:546", "\x02abc\x00\x07\x00\x01\x0a")
	send(far, "[fe80::1%isp]:546", "\x0aabc")

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var got []string
	for len(got) < 3 {
		p, err := sock.Next(ctx)
		if err != nil {
			t.Fatalf("after %q: %v", got, err)
		}
		f, err := FromPacket(p)
		if err != nil {
			t.Fatalf("%x: %v", p.Data, err)
		}
		if f.Kind == DHCPv6 { // the kernel asks for neighbours too
			got = append(got, fmt.Sprintf("%d %v", f.Direction, &f))
		}
	}
	want := []string{
		"2 fe80::1 > fe80::2: DHCPv6 Solicit, 10 bytes",
		"1 fe80::2 > fe80::1: DHCPv6 Advertise, 9 bytes",
		"1 fe80::2 > fe80::1: DHCPv6 Reconfigure, 4 bytes",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := sock.Lost(); n != 0 {
		t.Errorf("%d lost", n)
	}
	// What ends a capture ends it at once, and a second time too.
	ended, stop := context.WithCancelCause(t.Context())
	time.AfterFunc(50*time.Millisecond, func() { stop(io.EOF) })
	for range 2 {
		for err = nil; err == nil; {
			_, err = sock.Next(ended)
		}
		if err != io.EOF {
			t.Errorf("ended: %v", err)
		}
	}
}

// TestPromiscuous: the device is so while the socket is open, and not after.
func TestPromiscuous(t *testing.T) {
	ns := linktest.New(t)
	ns.Veth("wan", macR, ns, "isp", macC)
	ifi := ns.Interface("wan")
	for _, want := range []bool{false, true} {
		var sock *Socket
		var err error
		ns.Do(func() { sock, err = Open(ifi, nil, want) })
		ns.Must(err)
		is := func() bool { return bytes.Contains(ns.IP("-d", "link", "show", "wan"), []byte("promiscuity 1")) }
		if is() != want {
			t.Errorf("open: promiscuous %v, want %v", is(), want)
		}
		if err := sock.Close(); err != nil || is() {
			t.Errorf("closed: promiscuous %v, error %v", is(), err)
		}
	}
}

func TestOpenErrors(t *testing.T) {
	lo := &net.Interface{Index: 1, Name: "lo"}
	if _, err := Open(lo, nil, false); err == nil || !strings.Contains(err.Error(), "device lo: it has no MAC address") {
		t.Errorf("lo: %v", err)
	}
	dev := &net.Interface{Index: 1 << 30, Name: "none", HardwareAddr: macR}
	if _, err := Open(dev, nil, false); err == nil || !strings.Contains(err.Error(), "device none") {
		t.Errorf("no device: %v", err)
	}
	if _, err := Open(dev, make([]uint16, maxPorts+1), false); err == nil || !strings.Contains(err.Error(), "at most 16") {
		t.Errorf("ports: %v", err)
	}
}
