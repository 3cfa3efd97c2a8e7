package hgw

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"

	"sofutobanku/internal/statefile"
)

// reconfigures are those among what was sent, and how many of them are authentic by key.
func reconfigures(b *bench, key []byte) (n, authentic int) {
	for _, d := range b.sent {
		if dhcpv6.MessageType(d.data[0]) != dhcpv6.MessageTypeReconfigure {
			continue
		}
		n++
		// The authentication option is the last one, and the digest its end.
		at := len(d.data) - md5.Size
		zeroed := append(bytes.Clone(d.data[:at]), make([]byte, md5.Size)...)
		h := hmac.New(md5.New, key)
		h.Write(zeroed)
		if hmac.Equal(h.Sum(nil), d.data[at:]) {
			authentic++
		}
	}
	return n, authentic
}

// keyOf is the key and the replay detection value in a Reply.
func keyOf(t *testing.T, data []byte) (key []byte, replay uint64) {
	t.Helper()
	m, err := dhcpv6.MessageFromBytes(data)
	if err != nil {
		t.Fatal(err)
	}
	o := m.GetOneOption(dhcpv6.OptionAuth).ToBytes()
	if len(o) != 28 || !bytes.Equal(o[:3], []byte{3, 1, 0}) || o[11] != 1 {
		t.Fatalf("authentication option %x", o)
	}
	return o[12:], be.Uint64(o[3:])
}

func TestRestart(t *testing.T) {
	const both = "00:00:5e:00:53:20 fe80::200:5eff:fe00:5310 [2001:db8:0:1f0::/60 14400, 2001:db8:0:1ef::1/128 14400]"
	const none = "00:00:5e:00:53:20 fe80::200:5eff:fe00:5310 []"
	tests := []struct {
		name  string
		off   time.Duration
		first string // before the line is known
		up    func() Upstream
		last  string // afterwards
		told  bool   // by Reconfigure
	}{
		{"nothing changed", 0, both, func() Upstream { return usual(lineP) }, both, false},
		{"another prefix", 0, both, func() Upstream { return usual(lineQ) }, none, true},
		{"other information", 0, both, func() Upstream { u := usual(lineP); u.Info.DNS = nil; return u }, both, true},
		{"a line without a prefix yet", 0, both, func() Upstream { return Upstream{} }, both, false},
		{"off for long", 5 * time.Hour, none, func() Upstream { return usual(lineP) }, none, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "hgw", "lease")
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, Config{LeaseFile: file})
				b.set(usual(lineP))
				b.up()
				got := b.send(message4(duidA, request, pd(1), na(1), accept, class), addrA)
				key, replay := keyOf(t, got[0].data)
				b.stop()
				if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
					t.Errorf("%v %v", info, err)
				}

				time.Sleep(test.off)
				b = newBench(t, Config{LeaseFile: file})
				defer b.stop()
				b.up()
				if got := b.last(); got != test.first {
					t.Errorf("before the line is known:\n got %s\nwant %s", got, test.first)
				}
				if got := b.ask(renew, pd(1), na(1)); got != "nothing" || b.counted.Get("hgw.drop.not-yet") != 1 {
					t.Errorf("%s", got)
				}
				b.sent = nil
				b.set(test.up())
				if got := b.last(); got != test.last {
					t.Errorf("afterwards:\n got %s\nwant %s", got, test.last)
				}
				n, authentic := reconfigures(b, key)
				if n > 1 || n != authentic || (n == 1) != test.told {
					t.Errorf("%d told, %d authentic", n, authentic)
				}
				if n == 1 {
					if got := be.Uint64(b.sent[0].data[len(b.sent[0].data)-25:]); got <= replay {
						t.Errorf("replay detection %d after %d", got, replay)
					}
				}
				if test.up().Prefix.Prefix.IsValid() {
					if got := b.ask(renew, pd(1), na(1)); !strings.Contains(got, "f0::/60 12600 14400") {
						t.Errorf("%s", got)
					}
				}
			})
		})
	}
}

// What is not worth a write to flash, and what a hostile HGW can cause of them.
func TestWrites(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lease")
	run(t, Config{LeaseFile: file}, func(b *bench) {
		written := func() uint64 { return b.counted.Get("hgw.lease-file.written") }
		b.bound()
		if n := written(); n != 1 {
			t.Errorf("%d writes for a binding", n)
		}
		// What the HGW was told is worth one.
		up := usual(lineP)
		up.Info.DNS = nil
		b.set(up)
		b.ask(renew, pd(1))
		b.pass(time.Duration(writePause))
		if n := written(); n != 2 {
			t.Errorf("%d writes after other information", n)
		}
		for range 1000 { // about six hours, in which the line renews twice
			b.pass(20 * time.Second)
			b.ask(renew, pd(1))
			if time.Since(b.began)%(7200*time.Second) < 20*time.Second {
				b.set(usual(lineP))
			}
		}
		most := uint64(3) // with what usual tells again
		if statefile.InRAM(file) {
			most += 3600*6/600 + 3
		}
		if n := written(); n > most {
			t.Errorf("%d writes for six hours of renewals, at most %d", n, most)
		}
		n, began := written(), time.Now()
		for range 1000 {
			b.ask(release, pd(1))
			b.pass(time.Second / 2)
			b.ask(request, pd(1))
			b.pass(time.Second / 2)
		}
		if most := uint64(time.Since(began)/time.Duration(writePause)) + 1; written()-n > most {
			t.Errorf("%d writes, at most %d", written()-n, most)
		}
		b.pass(time.Duration(writePause))
		f, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(f), "2001:db8:0:1f0::/60") {
			t.Errorf("the last state is not there: %s %v", f, err)
		}
	})
}

const goodFile = `{"version":1,"saved":"2000-01-01T00:00:00Z","mac":"00005e005310","mac_by":1,"mac_of":"0003000100005e005310",
	"link_local":"fe80::1","duid":"0003000100005e005310","reconfigure_key":"000102030405060708090a0b0c0d0e0f","replay":7,
	"leases":[{"iaid":1,"prefix":"2001:db8:0:1f0::/60","until":"2000-01-01T04:00:00Z"},{"iaid":2,"prefix":"2001:db8:0:1ef::/64","until":null}]}`

func TestBadLeaseFile(t *testing.T) {
	tests := []struct{ name, old, new, want string }{
		{"good", "", "", ""},
		{"not JSON", "{", "", "invalid character"},
		{"another version", `"version":1`, `"version":2`, "version 2, known: 1"},
		{"MAC of a group", `"mac":"00`, `"mac":"01`, "mac"},
		{"source of the MAC", `"mac_by":1`, `"mac_by":3`, "mac_by"},
		{"DUID too long", `"duid":"`, `"duid":"` + strings.Repeat("00", 130), "too long"},
		{"nobody", `"duid":"0003000100005e005310",`, "", "leases of nobody"},
		{"nowhere", `"fe80::1"`, `""`, "leases of nobody"},
		{"global address", `"fe80::1"`, `"2001:db8::1"`, "link_local"},
		{"zone", `"fe80::1"`, `"fe80::1%eth0"`, "link_local"},
		{"IPv4 address", `"fe80::1"`, `"169.254.0.1"`, "link_local"},
		{"short key", `"000102`, `"00`, "reconfigure key"},
		{"told", `"replay"`, `"told":"00","replay"`, "told"},
		{"length", `1f0::/60`, `1f0::/61`, "prefix 2001:db8:0:1f0::/61"},
		{"host bits", `1f0::/60`, `1f1::/60`, "prefix 2001:db8:0:1f1::/60"},
		{"multicast", `2001:db8:0:1f0::/60`, `ff00::/60`, "prefix ff00::/60"},
		{"IPv4", `2001:db8:0:1f0::/60`, `192.0.2.0/24`, "prefix 192.0.2.0/24"},
		{"no prefix", `2001:db8:0:1f0::/60`, ``, "prefix invalid"},
		{"one kind twice", `1ef::/64`, `1e0::/60`, "prefix 2001:db8:0:1e0::/60"},
		{"both of a /64", `1f0::/60`, `1ef::1/128`, "an address and the /64"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "lease")
			if err := os.WriteFile(file, []byte(strings.Replace(goodFile, test.old, test.new, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				var c client
				_, err := c.parse([]byte(strings.Replace(goodFile, test.old, test.new, 1)), time.Now(), 0)
				if err == nil && test.want != "" || err != nil && (test.want == "" || !strings.Contains(err.Error(), test.want)) {
					t.Errorf("%v, want %q", err, test.want)
				}
				b := newBench(t, Config{LeaseFile: file})
				defer b.stop()
				b.up()
				bad := b.counted.Get("hgw.lease-file.bad")
				if (bad == 1) != (test.want != "") || (b.last() == "none") != (test.want != "") {
					t.Errorf("counted %d, %s", bad, b.last())
				}
			})
		})
	}
}

// A router without a battery starts in the past.
func TestClockBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c client
		if _, err := c.parse([]byte(strings.ReplaceAll(goodFile, "2000-01-01", "2031-01-01")), time.Now(), 0); err != nil {
			t.Fatal(err)
		}
		if left := c.slots[slotDelegated].until; left != moment(unknownAge) {
			t.Errorf("%v are left", time.Duration(left))
		}
		if c.slots[slotLink].until != never {
			t.Errorf("until %v, want never", c.slots[slotLink].until)
		}
	})
}

// FuzzLeaseFile: whatever a file holds, what is made of it can be written and read again.
func FuzzLeaseFile(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		const now = moment(time.Hour) // since Run began
		clock := time.Date(2000, 1, 1, 1, 0, 0, 0, time.UTC)
		var c client
		if _, err := c.parse(b, clock, now); err != nil {
			return
		}
		if c.mac != nil && !station(c.mac) {
			t.Fatalf("MAC address %v", c.mac)
		}
		for i, sl := range c.slots {
			if sl.held && (sl.until <= now || sl.told.IsValid() && slotOf(sl.told.Bits()) != i) {
				t.Fatalf("slot %d: %+v", i, sl)
			}
		}
		wire, err := json.Marshal(c.onDisk(clock, now))
		if err != nil {
			t.Fatal(err)
		}
		var again client
		if _, err := again.parse(wire, clock, now); err != nil {
			t.Fatalf("%v in %s", err, wire)
		}
		if !c.onDisk(clock, now).same(again.onDisk(clock, now), time.Second) {
			t.Fatalf("%+v\n%+v", c, again)
		}
	})
}
