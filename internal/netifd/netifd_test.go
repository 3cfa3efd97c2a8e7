package netifd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"sofutobanku/internal/state"
)

// Whatever States come in whatever order, and whatever calls fail: when an Apply
// succeeds, netifd and its kernel have what the State says, no more and no less.
func TestAnyStory(t *testing.T) {
	for seed := range uint64(100) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 0))
			some := func() bool { return rnd.IntN(2) == 0 }
			s := newScenario(t, func(o *Options) {
				o.SourceFilter, o.ExtendPrefix = some(), some()
				if some() {
					o.Metric = 10
				}
			})
			s.netifd.seen = nil
			failing := false
			s.netifd.fail = func([]string) (error, bool) {
				switch {
				case !failing || rnd.IntN(3) > 0:
					return nil, false
				case some():
					return context.DeadlineExceeded, some()
				}
				return ubusStatus(9), some()
			}
			s.a.Prepare()
			for step := range 30 {
				time.Sleep(time.Duration(rnd.IntN(400)) * time.Second)
				if rnd.IntN(8) == 0 {
					s.netifd.childClock()
					s.netifd.child.iface = nil // by a person
				}
				st := randomState(rnd)
				s.phone = nil
				if some() {
					s.phone = []string{"0312345678"}
				}
				failing = rnd.IntN(4) == 0
				err := s.a.Apply(st)
				failing = false
				// A person took the child away, and nothing in the State tells.
				gone := st.Tunnel != nil && (s.netifd.child.iface == nil || s.netifd.child.going)
				if err != nil || gone {
					time.Sleep(time.Second)
					st = nextTunnel(st)
					if err := s.a.Apply(st); err != nil {
						t.Fatalf("seed %d, step %d: %v", seed, step, err)
					}
				}
				check(t, fmt.Sprintf("seed %d, step %d", seed, step), &s.opt, s.netifd, s.kernel, st)
				phone := string(s.netifd.parent.data["phone"])
				if (s.phone != nil) != strings.Contains(phone, "0312345678") {
					t.Errorf("seed %d, step %d: data.phone %s", seed, step, phone)
				}
				if t.Failed() {
					t.FailNow()
				}
				// Nothing more to say until something changes.
				s.netifd.seen = func(args []string, _ string, _ error) {
					t.Errorf("seed %d, step %d: a call for the same State: %v", seed, step, args)
				}
				if err := s.a.Apply(st); err != nil {
					t.Errorf("seed %d, step %d: %v", seed, step, err)
				}
				s.netifd.seen = nil
			}
			if err := s.a.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func nextTunnel(st state.State) state.State {
	if st.Tunnel != nil {
		tn := *st.Tunnel
		tn.TTL++
		st.Tunnel = &tn
	}
	return st
}

func randomState(rnd *rand.Rand) state.State {
	some := func() bool { return rnd.IntN(2) == 0 }
	until := func() time.Time {
		if rnd.IntN(10) == 0 {
			return time.Time{}
		}
		// Not while an Apply takes its time, or nobody could say what is right.
		return in([]int{-5, 20 + rnd.IntN(5000)}[min(1, rnd.IntN(8))])
	}
	pick := func(list ...string) string { return list[rnd.IntN(len(list))] }
	st := state.State{Phase: state.IPv6, WAN: state.WAN{Device: "eth1", MTU: 1280 + rnd.IntN(3)*100}}
	if some() {
		st.Error = &state.Error{Code: "AUTH_SILENT", Text: "no answer"}
	}
	if some() {
		st.Prefix = &state.Prefix{Prefix: netip.MustParsePrefix(pick("2001:db8:1100::/56", "2001:db8:2200::/56")), Preferred: until(), Valid: until()}
		st.OwnAddresses = []netip.Addr{st.Prefix.Prefix.Addr().Next()}
	}
	for _, n := range rnd.Perm(5)[:rnd.IntN(5)] {
		a := state.Address{
			Prefix:    netip.MustParsePrefix(fmt.Sprintf("2001:db8:3300:%d::5/%s", n, pick("64", "64", "128"))),
			Preferred: until(), Valid: until(), Deprecated: some(),
		}
		if n == 4 {
			a = state.Address{Prefix: netip.MustParsePrefix("2001:db8:3300:4::1/128"), Valid: until(), Deprecated: true, NoDAD: true}
		}
		st.WAN.Addresses = append(st.WAN.Addresses, a)
	}
	for n := range rnd.IntN(4) {
		st.WAN.Routers = append(st.WAN.Routers, state.Router{Addr: netip.MustParseAddr(fmt.Sprintf("fe80::%d", n+1+rnd.IntN(2)*10)), Preference: rnd.IntN(3) - 1, Until: until()})
	}
	for n := range rnd.IntN(3) {
		r := state.Route{Prefix: netip.MustParsePrefix(fmt.Sprintf("2001:db8:f%d::/48", n)), Preference: rnd.IntN(3) - 1, Until: until()}
		if some() {
			r.Via = router1
		}
		st.WAN.Routes = append(st.WAN.Routes, r)
	}
	for n := range rnd.IntN(3) {
		st.WAN.DNS = append(st.WAN.DNS, netip.MustParseAddr(fmt.Sprintf("2001:db8::%d", n+rnd.IntN(2)*10)))
		st.WAN.Domains = append(st.WAN.Domains, fmt.Sprintf("d%d.example", n))
	}
	if rnd.IntN(3) > 0 {
		st.Phase = state.Up
		st.Tunnel = &state.Tunnel{
			Local: netip.MustParseAddr(pick("2001:db8:1100::b", "2001:db8:2200::b")), Remote: br1,
			IPv4: netip.MustParseAddr(pick("192.0.2.1", "198.51.100.7")), MTU: 1460, TTL: 64, EncapLimit: rnd.IntN(3) - 1, LocalOnWAN: some(),
		}
	}
	return st
}

func TestToldToEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithCancel(t.Context())
		s := newScenario(t, func(o *Options) { o.Context = ctx })
		s.prepare()
		s.netifd.seen = nil
		if err := s.a.Apply(nextUp()); err != nil {
			t.Fatal(err)
		}
		// SIGTERM comes with the first of several calls.
		var sent []string
		s.netifd.seen = func(args []string, _ string, _ error) {
			sent = append(sent, args[2])
			end()
		}
		st := nextUp()
		st.Tunnel.Remote = br2
		for _, st := range []state.State{st, nextUp()} {
			if err := s.a.Apply(st); err != nil {
				t.Errorf("error %v", err)
			}
		}
		if err := s.a.Fail("CODE", "text"); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
		if err := s.a.Close(); err != nil {
			t.Error(err)
		}
		if err := s.a.Close(); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([]string{"set_data"}, sent); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
	})
}

func TestToldToEndAtTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithCancel(t.Context())
		s := newScenario(t, func(o *Options) { o.Context = ctx })
		s.netifd.seen = func(args []string, _ string, _ error) { t.Errorf("call %v", args) }
		end()
		if err := s.a.Prepare(); err != nil {
			t.Errorf("error %v", err)
		}
	})
}

// While the child comes up, too, the end is not waited for.
func TestToldToEndWhileChildComesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithCancel(t.Context())
		s := newScenario(t, func(o *Options) { o.Context = ctx })
		s.prepare()
		time.AfterFunc(10*time.Millisecond, end)
		start := time.Now()
		if err := s.a.Apply(nextUp()); err != nil {
			t.Errorf("error %v", err)
		}
		if d := time.Since(start); d > 10*time.Millisecond {
			t.Errorf("took %v", d)
		}
		s.netifd.seen = func(args []string, _ string, _ error) { t.Errorf("after the end: %v", args) }
		s.a.Close()
	})
}

func TestHangingChild(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScenario(t, nil)
		s.prepare()
		s.netifd.fail = func([]string) (error, bool) {
			if s.netifd.child.iface != nil {
				s.netifd.child.busy = time.Now().Add(time.Hour)
			}
			return nil, false
		}
		start := time.Now()
		err := s.a.Apply(nextUp())
		if _, ok := errors.AsType[*ChildError](err); !ok || !strings.Contains(err.Error(), "not up after 6s") {
			t.Errorf("error %v", err)
		}
		if d := time.Since(start); d > childTimeout {
			t.Errorf("Apply took %v", d)
		}
		// It does not go either.
		err = s.a.Apply(nextUp())
		if _, ok := errors.AsType[*ChildError](err); !ok || !strings.Contains(err.Error(), "still there") {
			t.Errorf("error %v", err)
		}
		s.netifd.fail = nil
		s.netifd.child.busy = time.Now()
		if err := s.a.Apply(nextUp()); err != nil {
			t.Error(err)
		}
	})
}

func TestConfiguredChildIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScenario(t, nil)
		s.netifd.child.iface = &iface{up: true}
		err := s.a.Prepare()
		e, ok := errors.AsType[*ChildError](err)
		if !ok || e.Code() != "NO_IPV4_INTERFACE" || !strings.Contains(e.Error(), "wan_4") {
			t.Errorf("error %v", err)
		}
		if !s.kernel.prepared {
			t.Error("the kernel was not prepared")
		}
		st := nextUp()
		if err := s.a.Apply(st); !errors.As(err, &e) {
			t.Errorf("error %v", err)
		}
		if s.netifd.child.going || s.netifd.child.tunnel != "" || !s.netifd.parent.up {
			t.Errorf("child %+v, parent up %v", s.netifd.child, s.netifd.parent.up)
		}
	})
}

func TestInterfaceGoesDownMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScenario(t, nil)
		s.prepare()
		s.netifd.fail = func(args []string) (error, bool) {
			if args[2] == "notify_proto" {
				return ubusStatus(permissionDenied), false
			}
			return nil, false
		}
		for _, st := range []state.State{nextLine(), {Phase: state.Starting}} {
			if err := s.a.Apply(st); err != nil {
				t.Errorf("error %v", err)
			}
		}
		s.netifd.fail = nil
		st := nextUp()
		if err := s.a.Apply(st); err != nil {
			t.Error(err)
		}
		check(t, "not down after all", &s.opt, s.netifd, s.kernel, st)
	})
}

// What comes from the wire cannot make a message that netifd refuses, or that does
// more than it says.
func TestHostileState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScenario(t, nil)
		s.prepare()
		st := nextUp()
		ip, prefix := netip.MustParseAddr, netip.MustParsePrefix
		st.WAN.DNS = []netip.Addr{
			ip("fe80::53%eth1"), {}, ip("::1"), ip("127.0.0.1"), ip("ff02::1"), ip("::"), ip("2001:db8::53"), ip("2001:db8::53"), ip("::ffff:192.0.2.53"),
		}
		st.WAN.Domains = []string{"a.example\nnameserver 192.0.2.66", "", "-x.example", "ok.example.", strings.Repeat("a", 64), "ok.example", "two words"}
		st.WAN.Addresses = []state.Address{
			{}, {Prefix: prefix("192.0.2.1/24")}, {Prefix: prefix("ff02::1/64")}, {Prefix: prefix("::/64")},
			{Prefix: prefix("2001:db8:3300::5/64"), Preferred: in(900), Valid: in(600)},
			{Prefix: prefix("2001:db8:3300::5/64"), Valid: in(600)},
			{Prefix: prefix("2001:db8:3301::5/64"), Valid: in(-1)},
		}
		st.WAN.Routers = []state.Router{{}, {Addr: ip("192.0.2.1")}, {Addr: ip("fe80::1%eth1")}, {Addr: router1}, {Addr: router2, Until: in(0)}}
		st.WAN.Routes = []state.Route{{}, {Prefix: prefix("192.0.2.0/24")}, {Prefix: prefix("2001:db8:f::5/48"), Via: router1, Until: in(1)}}
		for n := range 400 {
			st.WAN.Routes = append(st.WAN.Routes, state.Route{Prefix: prefix(fmt.Sprintf("2001:db8:%x::/48", n+0x1000)), Via: router1})
		}
		st.OwnAddresses = append(st.OwnAddresses, netip.Addr{})
		st.Prefix = &state.Prefix{Prefix: prefix("2001:db8:1100:1:2:3:4:5/56"), Deprecated: true}
		st.Error = &state.Error{Code: strings.Repeat("X", 100), Text: "<b>\x00\x1b[31m\n" + strings.Repeat("長", 5000)}
		var sent update
		var data struct{ Error problem }
		var length int
		s.netifd.seen = func(args []string, _ string, _ error) {
			var err error
			switch args[2] {
			case "notify_proto":
				length = len(args[3])
				err = json.Unmarshal([]byte(args[3]), &sent)
			case "set_data":
				err = json.Unmarshal([]byte(args[3]), &data)
			}
			if err != nil {
				t.Error(err)
			}
		}
		if err := s.a.Apply(st); err != nil {
			t.Fatal(err)
		}
		if length > maxMessage/2 || len(sent.Routes6) != maxRoutes {
			t.Errorf("%d routes in %d bytes", len(sent.Routes6), length)
		}
		if e := data.Error; len(e.Code) > maxCode || len(e.Text) > maxText || !strings.HasPrefix(e.Text, "<b> [31m 長") {
			t.Errorf("data.error %+v", e)
		}
		infinite, end := int32(math.MaxInt32), int32(600)
		via := router1
		source, other := prefix("2001:db8:1100::/56"), prefix("2001:db8:3300::/64")
		sent.Routes6 = sent.Routes6[:5]
		want := update{
			Interface: "wan", LinkUp: true,
			IP6Addr:   []ipAddr{{IPAddr: ip("2001:db8:3300::5"), Mask: "64", Preferred: &end, Valid: &end, Offlink: true}},
			IP6Prefix: []string{"2001:db8:1100::/56,0,2147483647"},
			DNS:       []netip.Addr{ip("fe80::53"), ip("2001:db8::53"), ip("192.0.2.53")},
			Search:    []string{"ok.example"},
			Routes6: []ipRoute{
				{Target: other.Addr(), Netmask: "64", Metric: 256, Valid: 600},
				{Target: ip("::"), Netmask: "0", Gateway: &via, Metric: 512, Valid: infinite, Source: &source},
				{Target: ip("::"), Netmask: "0", Gateway: &via, Metric: 512, Valid: infinite, Source: &other},
				{Target: ip("2001:db8:f::"), Netmask: "48", Gateway: &via, Metric: 512, Valid: 1, Source: &source},
				{Target: ip("2001:db8:f::"), Netmask: "48", Gateway: &via, Metric: 512, Valid: 1, Source: &other},
			},
		}
		same := cmp.Options{cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })}
		if diff := cmp.Diff(want, sent, same); diff != "" {
			t.Errorf("update (-want +got):\n%s", diff)
		}
	})
}

// On which device the local address answers is no concern of netifd's.
func TestLocalOnWANIsTheKernels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScenario(t, nil)
		s.prepare()
		st := nextUp()
		if err := s.a.Apply(st); err != nil {
			t.Fatal(err)
		}
		s.netifd.seen = func(args []string, _ string, _ error) { t.Errorf("call %v", args) }
		tn := *st.Tunnel
		tn.LocalOnWAN = true
		st.Tunnel = &tn
		if err := s.a.Apply(st); err != nil {
			t.Error(err)
		}
	})
}

// A prefix that netifd cannot hand on is no reason to be down.
func TestLongPrefix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScenario(t, nil)
		s.prepare()
		st := nextLine()
		st.Prefix.Prefix = netip.MustParsePrefix("2001:db8:1100::/72")
		if err := s.a.Apply(st); err != nil {
			t.Error(err)
		}
		if p := s.netifd.parent; !p.up || len(p.prefixes) > 0 {
			t.Errorf("up %v, prefixes %v", p.up, p.prefixes)
		}
	})
}

func TestUnusableData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		s := newScenario(t, func(o *Options) {
			o.Log = slog.New(slog.NewTextHandler(&log, nil))
			o.Data = func(state.State) map[string]any {
				return map[string]any{"nothing": []int(nil), "nan": math.NaN(), "long": strings.Repeat("x", maxValue), "error": "mine", "firewall": "mine", "good": 1}
			}
		})
		s.prepare()
		st := nextLine()
		if err := s.a.Apply(st); err != nil {
			t.Error(err)
		}
		check(t, "data", &s.opt, s.netifd, s.kernel, st)
		got := map[string]string{}
		for k, v := range s.netifd.parent.data {
			got[k] = string(v)
		}
		if diff := cmp.Diff(map[string]string{"error": "{}", "firewall": "[]", "good": "1"}, got); diff != "" {
			t.Errorf("data (-want +got):\n%s", diff)
		}
		if !strings.Contains(log.String(), "key=nan") || !strings.Contains(log.String(), "key=long") || strings.Contains(log.String(), "xxx") {
			t.Errorf("log: %.300s", log.String())
		}
	})
}

func TestVanishedKeysAreEmptied(t *testing.T) {
	for v, want := range map[string]string{`{"a":1}`: "{}", "[1]": "[]", `"x"`: `""`, "true": "false", "12": "0", "null": "0"} {
		if got := string(empty(json.RawMessage(v))); got != want {
			t.Errorf("empty(%s) = %s, want %s", v, got, want)
		}
	}
}

func TestTooLongMessage(t *testing.T) {
	a := New(Options{Call: func(context.Context, ...string) ([]byte, error) { t.Error("called"); return nil, nil }})
	_, err := a.call(t.Context(), time.Second, "o", "m", strings.Repeat("x", maxMessage))
	if e, ok := errors.AsType[*CallError](err); !ok || e.Code() != "UBUS" || len(err.Error()) > 200 {
		t.Errorf("error %.300v", err)
	}
}

// The numbers of ubus are words to a person.
func TestStatusText(t *testing.T) {
	for status, want := range map[int]string{
		1: "refused: invalid command", 2: "refused: invalid argument", 9: "refused: unknown error", 13: "refused: system error",
		14: "m: exit status 14", -1: "m: exit status -1", 255: "does ubusd run?",
	} {
		a := New(Options{Call: func(context.Context, ...string) ([]byte, error) { return nil, ubusStatus(status) }})
		_, err := a.call(t.Context(), time.Second, "o", "m", nil)
		if err == nil || !strings.Contains(err.Error(), want) || exitCode(err) != status {
			t.Errorf("%d: %v, want %s", status, err, want)
		}
	}
}

func TestTunnelDevice(t *testing.T) {
	for child, want := range map[string]string{
		"wan_4": "sofu-wan_4", "internet_4": "sofu-internet_4",
		"hikari_primary_4": "sofu-hikarid323", "hikari_spare_4": "sofu-hikari9095",
	} {
		if got := TunnelDevice(child); got != want {
			t.Errorf("%s: %s, want %s", child, got, want)
		}
	}
}

// fakeUbus puts a program named ubus on the path.
func fakeUbus(t *testing.T, script string) {
	dir := t.TempDir()
	if script != "" {
		if err := os.WriteFile(filepath.Join(dir, "ubus"), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	path := os.Getenv("PATH")
	if script == "" {
		path = ""
	}
	t.Setenv("PATH", dir+":"+path)
}

func TestExec(t *testing.T) {
	t.Run("answers", func(t *testing.T) {
		fakeUbus(t, `printf '%s|' "$@"`)
		out, err := Exec(t.Context(), "call", "network", "status", `{"a": "b c"}`)
		if string(out) != `-S|call|network|status|{"a": "b c"}|` || err != nil {
			t.Errorf("%q, %v", out, err)
		}
	})
	t.Run("refuses", func(t *testing.T) {
		fakeUbus(t, `echo "Command failed: Not found" >&2; yes x | head -c 9999 >&2; exit 4`)
		_, err := Exec(t.Context(), "call")
		if exitCode(err) != notFound || !strings.Contains(err.Error(), "Not found") || len(err.Error()) > 2*maxError {
			t.Errorf("error %v", err)
		}
	})
	t.Run("talks without end", func(t *testing.T) {
		fakeUbus(t, `yes | head -c 1000000`)
		out, err := Exec(t.Context())
		if len(out) != maxReply || err != nil {
			t.Errorf("%d bytes, %v", len(out), err)
		}
	})
	t.Run("hangs", func(t *testing.T) {
		fakeUbus(t, `exec sleep 60`)
		a := New(Options{Call: Exec})
		start := time.Now()
		_, err := a.call(t.Context(), 100*time.Millisecond, "network", "status", nil)
		if !errors.Is(err, errNoAnswer) || time.Since(start) > 5*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
	t.Run("is not there", func(t *testing.T) {
		fakeUbus(t, "")
		a := New(Options{Call: Exec})
		_, err := a.call(t.Context(), time.Second, "network", "status", nil)
		if err == nil || !strings.Contains(err.Error(), "OpenWrt") {
			t.Errorf("error %v", err)
		}
	})
}

func TestDecodeStatus(t *testing.T) {
	for _, tt := range []struct {
		reply string
		want  status
		err   bool
	}{
		{`{"up": true, "pending": false, "dynamic": true}`, status{Up: true}, false},
		{`{"up": false, "pending": true, "errors": [{"code": "X"}]}`, status{}, false},
		{`{"up": false, "pending": false, "errors": [{"code": "OLD"}, {"subsystem": "s", "code": "TUNNEL", "data": ["no\nway", "x"]}]}`,
			status{Ended: true, Error: "TUNNEL: no way x"}, false},
		{`{"up": true, "dynamic": false}`, status{Up: true, Configured: true}, false},
		{``, status{}, true},
		{`{}`, status{}, true},
		{`[]`, status{}, true},
		{`{"up": "yes"}`, status{}, true},
		{`{"up": true`, status{}, true},
	} {
		got, err := decodeStatus([]byte(tt.reply))
		if got != tt.want || (err != nil) != tt.err {
			t.Errorf("%s: %+v, %v", tt.reply, got, err)
		}
	}
}

// FuzzStatus: what is understood of an answer is one printable line, and is the
// same after being written and read again. The answer may differ: JSON has white
// space, unknown members, and any order.
func FuzzStatus(f *testing.F) {
	f.Fuzz(func(t *testing.T, reply []byte) {
		s, err := decodeStatus(reply)
		if err != nil {
			if s != (status{}) {
				t.Errorf("an error and %+v", s)
			}
			return
		}
		if len(s.Error) > maxError || strings.ContainsFunc(s.Error, unprintable) || s.Up && s.Ended {
			t.Errorf("%+v", s)
		}
		again := map[string]any{"up": s.Up, "dynamic": !s.Configured}
		if s.Ended {
			code, data, _ := strings.Cut(s.Error, ":")
			again["errors"] = []any{map[string]any{"code": code, "data": []string{data}}}
		}
		b, err := json.Marshal(again)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decodeStatus(b); got != s || err != nil {
			t.Errorf("%s decodes to %+v, %v\nwant %+v", b, got, err, s)
		}
	})
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

// FuzzCut: of any text one printable line that fits, and that is not cut again.
func FuzzCut(f *testing.F) {
	f.Fuzz(func(t *testing.T, s string, n byte) {
		max := int(n) + 3
		got := cut(s, max)
		if len(got) > max || strings.ContainsFunc(got, unprintable) || strings.ToValidUTF8(got, "") != got {
			t.Errorf("cut(%q, %d) = %q", s, max, got)
		}
		if again := cut(got, max); again != got {
			t.Errorf("cut again: %q, before %q", again, got)
		}
	})
}
