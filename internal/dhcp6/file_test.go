package dhcp6

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"sofutobanku/internal/statefile"
)

// restart ends the client of b and begins another one after a while.
func (b *bench) restart(cfg Config, down time.Duration) {
	b.stop()
	b.pass(down)
	b.messages()
	b.do(func() { b.events = nil })
	b.begin(cfg)
}

func TestRestart(t *testing.T) {
	const prefix = "2001:db8:0:100::/56"
	for _, tt := range []struct {
		name     string
		down     time.Duration
		change   func(*server, *Config)
		atOnce   bool // the lease is there, not verified, before any answer
		messages []string
		want     string
	}{
		{"verified by Rebind", time.Minute, nil, true, []string{"REBIND"}, prefix},
		{"almost over", 14300 * time.Second, nil, true, []string{"REBIND"}, prefix},
		{"over", 14401 * time.Second, nil, false, []string{"SOLICIT", "REQUEST"}, prefix},
		{"the server forgot it", time.Minute, func(s *server, _ *Config) {
			s.refuse[dhcpv6.MessageTypeRebind] = iana.StatusNoBinding
		}, true, []string{"REBIND", "REQUEST"}, prefix},
		{"another prefix now", time.Minute, func(s *server, _ *Config) {
			s.prefixes[0].prefix = "2001:db8:0:200::/56"
		}, true, []string{"REBIND"}, "2001:db8:0:200::/56"},
		{"no Rebind with this server", time.Minute, func(s *server, _ *Config) {
			s.silent[dhcpv6.MessageTypeRebind] = true
		}, true, []string{"REBIND", "REBIND", "SOLICIT", "REQUEST"}, prefix},
		{"another client identifier", time.Minute, func(_ *server, c *Config) { c.DUID = otherDUID }, false, []string{"SOLICIT", "REQUEST"}, prefix},
		{"another IAID", time.Minute, func(_ *server, c *Config) { c.IAID = 2 }, false, []string{"SOLICIT", "REQUEST"}, prefix},
		{"no lease file any more", time.Minute, func(_ *server, c *Config) { c.LeaseFile = "" }, false, []string{"SOLICIT", "REQUEST"}, prefix},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(1)
			s.with[dhcpv6.MessageTypeReply] = []dhcpv6.Option{option(23, netip.MustParseAddr("2001:db8::53").AsSlice()...)}
			cfg := config()
			cfg.LeaseFile = filepath.Join(t.TempDir(), "run", "wan.lease")
			run(t, cfg, func(b *bench) {
				b.bound()
				if tt.change != nil {
					b.do(func() { tt.change(s, &cfg) })
				}
				b.restart(cfg, tt.down)
				b.c.SetMode(ModePD)
				b.pass(0)
				ev := b.last()
				if got := ev.Lease != nil && !ev.Lease.Verified; got != tt.atOnce {
					t.Fatalf("lease from the file: %v, want %v", got, tt.atOnce)
				}
				if tt.atOnce {
					if left, want := time.Until(ev.Lease.Prefixes[0].Valid), 14400*time.Second-tt.down; (left - want).Abs() > 2*time.Second {
						t.Errorf("%v left of it, want %v", left, want)
					}
					if ev.Info == nil || len(ev.Info.DNS) != 1 {
						t.Errorf("information from the file %+v", ev.Info)
					}
				}
				b.up(5 * time.Second)
				b.wantMessages(tt.messages...)
				b.wantPrefix(tt.want)
				if !b.last().Lease.Verified {
					t.Error("not verified")
				}
			}, s)
		})
	}
}

func TestFileIsNotReadForInformation(t *testing.T) {
	cfg := config()
	cfg.LeaseFile = filepath.Join(t.TempDir(), "wan.lease")
	run(t, cfg, func(b *bench) {
		b.bound()
		b.restart(cfg, time.Minute)
		b.c.SetMode(ModeInfo)
		b.up(time.Second)
		b.wantMessages("INFORMATION-REQUEST")
		b.wantPrefix("")
	}, newServer(1))
}

func TestReconfigureKeyOutlivesRestart(t *testing.T) {
	key := []byte("sixteen octets!!")
	s := newServer(1)
	s.with[dhcpv6.MessageTypeReply] = []dhcpv6.Option{authOption(rkapKey, 7, key)}
	cfg := config()
	cfg.LeaseFile = filepath.Join(t.TempDir(), "wan.lease")
	run(t, cfg, func(b *bench) {
		b.bound()
		b.do(func() { s.with = nil })
		b.restart(cfg, time.Minute)
		b.bound()
		b.messages()
		b.inject(reconfigureMessage(s.duid, ourDUID, dhcpv6.MessageTypeRenew, key, 7), s.addr)
		b.wantCount("dhcp6.drop.reconfigure-replay", 1)
		b.inject(reconfigureMessage(s.duid, ourDUID, dhcpv6.MessageTypeRenew, key, 8), s.addr)
		b.wantMessages("RENEW")
	}, s)
}

// Renewals do not wear out flash. In RAM the file is kept fresher than that.
func TestFileIsWrittenSeldom(t *testing.T) {
	for name, tt := range map[string]struct {
		dir         string
		least, most int64 // writes in a day of renewals
	}{
		"on a disk": {t.TempDir(), 1, 1},
		"in RAM":    {tmpfs(t), 10, 13}, // once per half lifetime
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(1)
			s.t1, s.t2 = 600, 10800
			cfg := config()
			cfg.LeaseFile = filepath.Join(tt.dir, "wan.lease")
			if inRAM := tt.most > 1; statefile.InRAM(cfg.LeaseFile) != inRAM {
				t.Skipf("%s: in RAM: %v", tt.dir, !inRAM)
			}
			run(t, cfg, func(b *bench) {
				b.bound()
				b.wantCount("dhcp6.lease-file.written", 1)
				b.pass(24 * time.Hour) // 144 renewals, each moves the expiry
				n := b.counters.Get("dhcp6.lease-file.written")
				if n := int64(n); n < tt.least || n > tt.most {
					t.Errorf("written %d times in a day, want %d to %d", n, tt.least, tt.most)
				}
				// A changed prefix is written at once.
				b.do(func() { s.prefixes = []lent{{"2001:db8:0:100::/56", 0, 0}, {"2001:db8:0:200::/56", 12600, 14400}} })
				b.c.Renew()
				b.pass(time.Second)
				b.wantCount("dhcp6.lease-file.written", n+1)
				// The end writes the true expiry once.
				b.pass(700 * time.Second)
				b.stop()
				b.stop = func() {}
				b.wantCount("dhcp6.lease-file.written", n+2)
				if entries, _ := os.ReadDir(filepath.Dir(cfg.LeaseFile)); len(entries) != 1 {
					t.Errorf("left beside the file: %v", entries)
				}
				if fi, err := os.Stat(cfg.LeaseFile); err != nil || fi.Mode().Perm() != 0o600 {
					t.Errorf("mode %v, %v", fi.Mode(), err)
				}
			}, s)
		})
	}
}

// tmpfs is a folder in RAM, where there is one.
func tmpfs(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "sofu-proto-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestFileGoesWithTheLease(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(*bench, *server)
		want bool
	}{
		{"Run ends", func(b *bench, _ *server) { b.stop(); b.stop = func() {} }, true},
		{"Restart", func(b *bench, s *server) { b.do(func() { s.dead = true }); b.c.Restart(); b.pass(time.Second) }, false},
		{"expiry", func(b *bench, s *server) { b.do(func() { s.dead = true }); b.pass(5 * time.Hour) }, false},
		{"NotOnLink", func(b *bench, s *server) {
			b.do(func() {
				s.refuse[dhcpv6.MessageTypeRenew] = iana.StatusNotOnLink
				s.silent[dhcpv6.MessageTypeSolicit] = true
			})
			b.c.Renew()
			b.pass(time.Second)
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(1)
			cfg := config()
			cfg.LeaseFile = filepath.Join(t.TempDir(), "wan.lease")
			run(t, cfg, func(b *bench) {
				b.bound()
				tt.end(b, s)
				if _, err := os.Stat(cfg.LeaseFile); (err == nil) != tt.want {
					t.Errorf("file there: %v, want %v", err == nil, tt.want)
				}
			}, s)
		})
	}
	t.Run("Release", func(t *testing.T) {
		cfg := config()
		cfg.LeaseFile, cfg.Release = filepath.Join(t.TempDir(), "wan.lease"), true
		run(t, cfg, func(b *bench) {
			b.bound()
			b.stop()
			b.stop = func() {}
			if _, err := os.Stat(cfg.LeaseFile); err == nil {
				t.Error("the file of a released lease is there")
			}
		}, newServer(1))
	})
}

func TestJunkFile(t *testing.T) {
	for name, content := range map[string]string{
		"empty": "", "not JSON": "\x00\xff\x00", "half": `{"version":1,"duid":"0003`, "an array": "[]", "another version": `{"version":2}`,
		"too long":        "{" + strings.Repeat(" ", 70000) + "}",
		"a prefix of all": `{"version":1,"duid":"0003000100005e005301","iaid":1,"server":"0001","prefixes":[{"prefix":"::/0","preferred":1,"valid":1}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config()
			cfg.LeaseFile = filepath.Join(t.TempDir(), "wan.lease")
			if err := os.WriteFile(cfg.LeaseFile, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			run(t, cfg, func(b *bench) {
				b.bound()
				b.wantMessages("SOLICIT", "REQUEST")
				b.wantCount("dhcp6.lease-file.bad", 1)
				if got, err := os.ReadFile(cfg.LeaseFile + ".bad"); err != nil || string(got) != content {
					t.Errorf("not put aside: %v", err)
				}
			}, newServer(1))
		})
	}
}

// A lease file that cannot be written costs a warning, not the line.
func TestFileTrouble(t *testing.T) {
	cfg := config()
	cfg.LeaseFile = "/proc/version/wan.lease"
	run(t, cfg, func(b *bench) {
		b.bound()
		b.wantCount("dhcp6.lease-file.bad", 1)
		b.wantCount("dhcp6.lease-file.write-error", 1)
	}, newServer(1))
}

// What each version of the program has written is read, by its successors too. The
// files are what the program of that version wrote, and in later ones what it might.
func TestVersions(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		file, err, prefix string
	}{
		{"0.1.0.lease", "", "2001:db8:0:100::/56"},
		{"0.1.0-forever.lease", "", "2001:db8:0:100::/56"},
		{"later-members.lease", "", "2001:db8:0:100::/56"},
		{"later-version.lease", "version 2, known: 1", ""},
		{"later-types.lease", "cannot unmarshal", ""},
	} {
		t.Run(tt.file, func(t *testing.T) {
			b, err := os.ReadFile(filepath.Join("testdata", "versions", tt.file))
			if err != nil {
				t.Fatal(err)
			}
			_, l, err := parseLease(b, ourDUID, 1, now)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil || l == nil {
				t.Fatalf("got %v, %v", l, err)
			}
			if got := l.bindings[0].Prefix.String(); got != tt.prefix || len(l.key) != 16 || l.replay != 7 {
				t.Errorf("got %s, a key of %d octets, replay %d", got, len(l.key), l.replay)
			}
		})
	}
}

func sample(now time.Time) *lease {
	l := &lease{server: otherDUID, serverAddr: netip.MustParseAddr("fe80::1"), key: []byte("sixteen octets!!"), replay: 1 << 63}
	l.take(&ia{Prefixes: []iaPrefix{
		{12600, 14400, netip.MustParsePrefix("2001:db8:0:100::/56")},
		{0, 600, netip.MustParsePrefix("2001:db8:0:200::/56")},
		{infinity, infinity, netip.MustParsePrefix("2001:db8:0:300::/56")},
	}}, now)
	return l
}

// The clock of a router without a battery.
func TestWrongClock(t *testing.T) {
	saved := time.Now()
	b, err := json.Marshal(onDisk(sample(saved), nil, ourDUID, 1, saved))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		now  time.Time
		want []time.Duration // left of each valid lifetime, -1: never
	}{
		{"right", saved.Add(time.Minute), []time.Duration{14340 * time.Second, -1, 540 * time.Second}},
		{"in 1970", time.Unix(60, 0), []time.Duration{unknownAge, -1, unknownAge}},
		{"an hour behind", saved.Add(-time.Hour), []time.Duration{unknownAge, -1, unknownAge}},
		{"far ahead", saved.AddDate(50, 0, 0), []time.Duration{-1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, l, err := parseLease(b, ourDUID, 1, tt.now)
			if err != nil {
				t.Fatal(err)
			}
			var got []time.Duration
			for _, p := range l.public().Prefixes {
				left := time.Duration(-1)
				if !p.Valid.IsZero() {
					left = p.Valid.Sub(tt.now).Round(2 * time.Second)
				}
				got = append(got, left)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// FuzzLeaseFile: what is taken from a file is in range, and is the same after
// being written and read again. The text itself may differ: JSON has white space,
// unknown members, and any order.
func FuzzLeaseFile(f *testing.F) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f.Fuzz(func(t *testing.T, b []byte) {
		file, l, err := parseLease(b, ourDUID, 1, now)
		if err != nil || l == nil {
			return
		}
		if len(l.bindings) > maxPrefixes || l.verified || l.serverAddr.Zone() != "" {
			t.Fatalf("lease %+v", l)
		}
		if file.Info != nil {
			for _, d := range file.Info.Domains {
				if !fitForResolver.MatchString(d) {
					t.Fatalf("domain %q", d)
				}
			}
		}
		for _, p := range l.public().Prefixes {
			if !delegable(p.Prefix) || over(p.Valid, now) || p.Valid.Sub(now) > infinity*time.Second {
				t.Fatalf("prefix %+v", p)
			}
		}
		// What was read is what would be written and read again.
		next := onDisk(l, file.Info, ourDUID, 1, now)
		wire, err := json.Marshal(next)
		if err != nil {
			t.Fatal(err)
		}
		_, again, err := parseLease(wire, ourDUID, 1, now)
		if err != nil {
			t.Fatalf("%s: %v", wire, err)
		}
		second := cmpopts.EquateApproxTime(time.Second)
		if again == nil {
			return // its last second was cut by the file's resolution
		}
		if len(again.bindings) == len(l.bindings) {
			if diff := cmp.Diff(l.public(), again.public(), second, addrComparer, prefixComparer, cmpopts.IgnoreFields(Prefix{}, "Deprecated")); diff != "" {
				t.Fatalf("-first +second:\n%s", diff)
			}
		}
		if !bytes.Equal(l.key, again.key) || l.replay != again.replay {
			t.Fatal("the key changed")
		}
	})
}
