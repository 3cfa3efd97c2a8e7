package check

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"sofutobanku/internal/dhcp6"
	"sofutobanku/internal/firewall"
	"sofutobanku/internal/link/linktest"
	"sofutobanku/internal/probe"
	"sofutobanku/internal/status"
)

// asked are sources of a good line that note what they are asked; with stuck they answer
// when their time is over.
func asked(t *testing.T, stuck bool) (Sources, func() []string) {
	var mu sync.Mutex
	var log []string
	f := good(t)
	note := func(ctx context.Context, format string, args ...any) error {
		mu.Lock()
		log = append(log, fmt.Sprintf(format, args...))
		mu.Unlock()
		if !stuck {
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	}
	return Sources{
			Line:   func() (Line, error) { return f.Line, nil },
			Status: func(context.Context) (status.Status, error) { return *f.Status, nil },
			Lease:  func() (*dhcp6.Saved, error) { return f.Lease, nil },
			Kernel: func(_ context.Context, device, tunnel string) (Kernel, error) {
				return f.Kernel, note(t.Context(), "kernel %s %s", device, tunnel)
			},
			Ruleset: func(ctx context.Context) (*firewall.Ruleset, error) { return f.Rules, note(ctx, "rules") },
			System:  func() System { return f.System },
			LookAround: func(ctx context.Context, device string) (probe.Segment, error) {
				return *f.Segment, note(ctx, "look around %s", device)
			},
			Measure: func(ctx context.Context, w probe.Way, most int) (probe.Path, error) {
				if w.Target == br {
					return *f.BR, note(ctx, "measure %v %d", w, most)
				}
				return *f.IPv4, note(ctx, "measure %v %d", w, most)
			},
			DNS: func(ctx context.Context, a netip.AddrPort) (time.Duration, error) {
				return time.Millisecond, note(ctx, "dns %s", a)
			},
			Clock: func(ctx context.Context, a netip.AddrPort) (time.Duration, error) { return 0, note(ctx, "clock %s", a) },
		}, func() []string {
			slices.Sort(log)
			return log
		}
}

func TestGather(t *testing.T) {
	s, log := asked(t, false)
	told := 0
	f := Gather(t.Context(), "wan", s, func(done, all int) {
		if told++; done != told || all != 7 {
			t.Errorf("progress %d of %d, want %d of 7", done, all, told)
		}
	})
	want := []string{
		"clock [2001:db8:a0::123]:123", "dns 198.51.100.53:53", "dns [2001:db8:a0::53]:53", "kernel eth1 sofu-wan_4", "look around eth1",
		"measure { 2001:db8:12:3400:1111:1111:1111:1111 2001:db8:b0::1919} 1500", "measure {sofu-wan_4 192.0.2.7 198.51.100.1} 1460", "rules",
	}
	if diff := cmp.Diff(want, log()); diff != "" || told != 7 {
		t.Errorf("asked (-want +got), progress told %d times:\n%s", told, diff)
	}
	f.Now = now
	if r := Judge(f); r.Cause != nil {
		t.Errorf("cause %+v", r.Cause)
	}
}

// TestGatherStuck: a network that answers nothing costs no more than its time.
func TestGatherStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := asked(t, true)
		s.Kernel = func(context.Context, string, string) (Kernel, error) { return good(t).Kernel, nil }
		start := time.Now()
		f := Gather(t.Context(), "wan", s, nil)
		if took := time.Since(start); took > within {
			t.Errorf("it took %v", took)
		}
		for what, err := range map[string]error{"rules": f.RulesErr, "segment": f.SegmentErr, "BR": f.BRErr, "IPv4": f.IPv4Err, "DNS": f.DNS[0].Err, "clock": f.ClockTrouble} {
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
}

// TestGatherLittle: without a daemon, and without a device, there is less to ask.
func TestGatherLittle(t *testing.T) {
	s, log := asked(t, false)
	s.Status = func(context.Context) (status.Status, error) { return status.Status{}, errors.New("nobody") }
	f := Gather(t.Context(), "wan", s, nil)
	if diff := cmp.Diff([]string{"kernel eth1 ", "look around eth1", "rules"}, log()); diff != "" || f.Status != nil {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	s, log = asked(t, false)
	s.Status = func(context.Context) (status.Status, error) { return status.Status{}, errors.New("nobody") }
	s.Line = func() (Line, error) { return Line{}, errors.New("no file") }
	f = Gather(t.Context(), "wan", s, nil)
	if len(log()) > 0 || f.LineErr == nil || f.StatusErr == nil {
		t.Errorf("asked %v", log())
	}
}

func TestReadSystem(t *testing.T) {
	for name, want := range map[string]string{
		"DISTRIB_ID='OpenWrt'\nDISTRIB_DESCRIPTION='OpenWrt 24.10.1 r28597'\n": "OpenWrt 24.10.1 r28597",
		"": "",
	} {
		root := t.TempDir()
		write(t, filepath.Join(root, "etc/openwrt_release"), name)
		if got := readSystem(root, "p"); got.Release != want || got.Program != "p" || got.Kernel == "" {
			t.Errorf("%q: %+v", name, got)
		}
	}
}

func TestFindModule(t *testing.T) {
	dir := "lib/modules/" + release()
	for _, tt := range []struct {
		name, file, content string
		want                Module
	}{
		{"loaded", "sys/module/ip6_tunnel/refcnt", "", ModuleThere},
		{"built in", dir + "/modules.builtin", "kernel/net/ipv6/ipv6.ko\nkernel/net/ipv6/ip6_tunnel.ko\n", ModuleThere},
		{"a file, as OpenWrt has it", dir + "/ip6_tunnel.ko", "", ModuleThere},
		{"a packed file, as Debian has it", dir + "/kernel/net/ipv6/ip6_tunnel.ko.xz", "", ModuleThere},
		{"another one", dir + "/modules.builtin", "kernel/net/ipv6/my_ip6_tunnel.ko\n", ModuleMissing},
		{"no modules at all", "etc/x", "", ModuleUnknown},
	} {
		root := t.TempDir()
		write(t, filepath.Join(root, tt.file), tt.content)
		if got := findModule(root); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestReadRuleset: what a real nft prints of real rules.
func TestReadRuleset(t *testing.T) {
	ns := linktest.New(t)
	file := filepath.Join(t.TempDir(), "rules")
	write(t, file, `table inet fw4 {
 chain input {
  type filter hook input priority filter; policy drop;
  ct state vmap { established : accept, related : accept }
  meta nfproto ipv6 meta l4proto 4 ip6 saddr 2001:db8:b0::1919 counter accept comment "!fw4: ubus"
 }
 chain mangle_forward {
  type filter hook forward priority mangle; policy accept;
  oifname "wan-4" tcp flags & (fin | syn | rst) == syn tcp option maxseg size set rt mtu
 }
}
`)
	var empty, full *firewall.Ruleset
	var err error
	ns.Do(func() {
		if empty, err = readRuleset(t.Context()); err != nil {
			return
		}
		var said []byte
		if said, err = exec.Command("nft", "-f", file).CombinedOutput(); err != nil {
			err = fmt.Errorf("%w: %s", err, said)
			return
		}
		full, err = readRuleset(t.Context())
	})
	ns.Must(err)
	other := firewall.Packet{Device: "wan0", Source: host, Destination: ce, Protocol: 4}
	fromBR := other
	fromBR.Source = br
	if a, _ := full.Input(fromBR); a != firewall.Accepted || !full.ClampsMSS() || full.Empty() || !empty.Empty() {
		t.Errorf("from the BR: %v, segment sizes: %v, empty: %v and %v", a, full.ClampsMSS(), full.Empty(), empty.Empty())
	}
	if a, _ := full.Input(other); a != firewall.Dropped {
		t.Errorf("from another: %v", a)
	}
}

// TestReadKernel: a device, a tunnel's address, the default route, as the kernel has them.
func TestReadKernel(t *testing.T) {
	ns, far := linktest.New(t), linktest.New(t)
	ns.Veth("wan", mac, far, "far", net.HardwareAddr{0, 0, 0x5e, 0, 0x53, 2})
	far.Up("far")
	ns.Up("wan")
	ns.Address("wan", "2001:db8::2/64")
	ns.IP("-6", "route", "add", "default", "from", "2001:db8::/56", "via", "fe80::1", "dev", "wan")
	var k, none Kernel
	var err, errNone error
	ns.Do(func() {
		k, err = readKernel(t.Context(), "wan", "tun")
		none, errNone = readKernel(t.Context(), "away", "")
	})
	ns.Must(err)
	ns.Must(errNone)
	if !k.Link.Up || !k.Link.LinkLocal.IsValid() || k.Link.MTU != 1500 || k.Addresses[netip.MustParseAddr("2001:db8::2")] != "wan" || !k.DefaultRoute || k.Tunnel != nil {
		t.Errorf("%+v", k)
	}
	if none.Link.Exists || none.Link.Name != "away" || none.DefaultRoute {
		t.Errorf("of no device: %+v", none)
	}
}
