package link

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sofutobanku/internal/link/linktest"
)

var (
	ourMAC   = net.HardwareAddr{0x00, 0x00, 0x5e, 0x00, 0x53, 0x01}
	theirMAC = net.HardwareAddr{0x00, 0x00, 0x5e, 0x00, 0x53, 0x02}
)

const (
	ourLinkLocal = "fe80::200:5eff:fe00:5301"
	patience     = 10 * time.Second
)

// watching is a Watch of the device "wan" in a namespace.
type watching struct {
	*testing.T
	states chan State
	cancel context.CancelFunc
	ended  chan error
}

func start(t *testing.T, ns *linktest.Namespace) *watching {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &watching{t, make(chan State), cancel, make(chan error, 1)}
	go ns.Do(func() {
		w.ended <- Watch(ctx, "wan", func(s State) {
			select {
			case w.states <- s:
			case <-ctx.Done():
			}
		})
	})
	t.Cleanup(w.stop)
	return w
}

// stop ends the Watch and waits for it; it may be called twice.
func (w *watching) stop() {
	w.cancel()
	select {
	case err, ok := <-w.ended:
		if ok && err != nil {
			w.Errorf("Watch: %v, want nil", err)
		}
		if ok {
			close(w.ended)
		}
	case <-time.After(patience):
		w.Error("Watch did not end with its context")
	}
}

// until returns all states up to the first for which ok holds.
func (w *watching) until(what string, ok func(State) bool) []State {
	w.Helper()
	var seen []State
	timeout := time.After(patience)
	for {
		select {
		case s := <-w.states:
			seen = append(seen, s)
			if ok(s) {
				return seen
			}
		case err := <-w.ended:
			w.Fatalf("Watch ended while waiting for %s: %v", what, err)
		case <-timeout:
			w.Fatalf("no %s within %v; seen: %+v", what, patience, seen)
		}
	}
}

func (w *watching) one(what string, ok func(State) bool) State {
	w.Helper()
	seen := w.until(what, ok)
	return seen[len(seen)-1]
}

// quiet fails for a state that nothing was the reason for.
func (w *watching) quiet(d time.Duration) {
	w.Helper()
	select {
	case s := <-w.states:
		w.Errorf("unexpected state %+v", s)
	case <-time.After(d):
	}
}

func usable(s State) bool { return s.Up && s.LinkLocal.IsValid() }
func gone(s State) bool   { return !s.Exists }

// pair makes the device in ns, and its peer far, up in a namespace beyond.
func pair(t *testing.T, ns *linktest.Namespace) (beyond *linktest.Namespace) {
	beyond = linktest.New(t)
	ns.Veth("wan", ourMAC, beyond, "far", theirMAC)
	beyond.Up("far")
	return beyond
}

// A device comes, comes up, has its address, loses its carrier, gets it back,
// goes down, and is removed; then another one comes.
func TestLifeOfADevice(t *testing.T) {
	ns := linktest.New(t)
	w := start(t, ns)
	first := w.one("first state", func(State) bool { return true })
	if diff := cmp.Diff(fmt.Sprint(State{Name: "wan"}), fmt.Sprint(first)); diff != "" {
		t.Errorf("missing device (-want +got):\n%s", diff)
	}

	beyond := pair(t, ns)
	s := w.one("device", func(s State) bool { return s.Exists })
	if s.Up || s.LinkLocal.IsValid() || s.MTU != 1500 || s.MAC.String() != ourMAC.String() || s.Index != ns.Link("wan").Attrs().Index {
		t.Errorf("new device: %+v", s)
	}
	index := s.Index

	ns.Up("wan")
	seen := w.until("usable address", usable)
	if got := seen[len(seen)-1].LinkLocal.String(); got != ourLinkLocal {
		t.Errorf("address %s, want %s", got, ourLinkLocal)
	}
	if !seen[0].Up || seen[0].LinkLocal.IsValid() {
		t.Errorf("want carrier before the tentative address is usable: %+v", seen)
	}

	beyond.Down("far")
	w.one("lost carrier", func(s State) bool { return s.Exists && !s.Up })
	beyond.Up("far")
	w.one("carrier", usable)

	ns.Must(ns.Netlink.LinkSetMTU(ns.Link("wan"), 1400))
	w.one("MTU", func(s State) bool { return s.MTU == 1400 && usable(s) })

	ns.Down("wan")
	s = w.one("device down, address gone", func(s State) bool { return s.Exists && !s.Up && !s.LinkLocal.IsValid() })
	ns.Must(ns.Netlink.LinkDel(ns.Link("wan")))
	w.one("removed device", gone)

	pair(t, ns)
	ns.Up("wan")
	if s := w.one("usable address of another device", usable); s.Index == index {
		t.Errorf("index %d again", index)
	}
	w.quiet(200 * time.Millisecond)
}

func TestThereFromTheStart(t *testing.T) {
	ns := linktest.New(t)
	pair(t, ns)
	ns.Up("wan")
	start(t, ns).until("usable address", usable)
	// Another one finds all of it at once.
	w := start(t, ns)
	if s := <-w.states; !usable(s) {
		t.Errorf("first state %+v", s)
	}
}

func TestRename(t *testing.T) {
	ns := linktest.New(t)
	pair(t, ns)
	w := start(t, ns)
	s := w.one("device", func(s State) bool { return s.Exists })
	ns.Must(ns.Netlink.LinkSetName(ns.Link("wan"), "old"))
	w.one("renamed device", gone)
	ns.Up("old") // no business of ours
	ns.Must(ns.Netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "new", MTU: 1480}, PeerName: "new-peer"}))
	w.quiet(200 * time.Millisecond)
	ns.Must(ns.Netlink.LinkSetName(ns.Link("new"), "wan"))
	if other := w.one("device of that name", func(s State) bool { return s.Exists }); other.Index == s.Index || other.MTU != 1480 {
		t.Errorf("got %+v, had %+v", other, s)
	}
	// Only an alternative name: not the device that was asked for.
	ns.Must(ns.Netlink.LinkDel(ns.Link("wan")))
	w.one("removed device", gone)
	ns.Must(ns.Netlink.LinkAddAltName(ns.Link("old"), "wan"))
	w.quiet(200 * time.Millisecond)
}

// A bridge that lets its port go tells of it as if a link was deleted.
func TestBridgePort(t *testing.T) {
	ns := linktest.New(t)
	pair(t, ns)
	ns.Up("wan")
	ns.Must(ns.Netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br"}}))
	w := start(t, ns)
	w.until("usable address", usable)
	ns.Must(ns.Netlink.LinkSetMaster(ns.Link("wan"), ns.Link("br")))
	w.until("port of a bridge", func(s State) bool { return s.Exists && s.Enslaved })
	ns.Must(ns.Netlink.LinkSetNoMaster(ns.Link("wan")))
	w.until("no port any more", func(s State) bool { return s.Exists && !s.Enslaved })
	timeout := time.After(300 * time.Millisecond)
	for {
		select {
		case s := <-w.states:
			if !s.Exists {
				t.Fatalf("told as gone: %+v", s)
			}
		case <-timeout:
			return
		}
	}
}

// Another host has our address.
func TestDuplicateAddress(t *testing.T) {
	ns := linktest.New(t)
	beyond := pair(t, ns)
	beyond.Address("far", ourLinkLocal+"/64")
	w := start(t, ns)
	ns.Up("wan")
	s := w.one("failed detection", func(s State) bool { return s.DADFailed })
	if s.LinkLocal.IsValid() {
		t.Errorf("the duplicate is used: %+v", s)
	}
	ns.Address("wan", "fe80::99/64")
	s = w.one("another address", usable)
	if s.LinkLocal.String() != "fe80::99" || !s.DADFailed {
		t.Errorf("got %+v", s)
	}
	// What is in use stays in use when there is a choice.
	ns.Address("wan", "fe80::98/64")
	ns.Address("wan", "fe80::9a/64")
	w.quiet(300 * time.Millisecond)
	a, err := netlink.ParseAddr("fe80::99/64")
	ns.Must(err)
	ns.Must(ns.Netlink.AddrDel(ns.Link("wan"), a))
	w.one("one of the others", func(s State) bool {
		return usable(s) && s.LinkLocal.String() != "fe80::99" && s.LinkLocal.String() != ourLinkLocal
	})
}

// With optimistic detection (RFC 4429) the address is usable at once, although
// detection takes seconds here.
func TestOptimisticAddress(t *testing.T) {
	ns := linktest.New(t)
	pair(t, ns)
	ns.Sysctl("ipv6/conf/wan/optimistic_dad", "1")
	ns.Sysctl("ipv6/conf/wan/use_optimistic", "1")
	ns.Sysctl("ipv6/conf/wan/dad_transmits", "5")
	w := start(t, ns)
	begin := time.Now()
	ns.Up("wan")
	w.until("usable address", usable)
	if d := time.Since(begin); d > 4*time.Second {
		t.Errorf("usable after %v, that is after the detection", d)
	}
	addrs, err := ns.Netlink.AddrList(ns.Link("wan"), netlink.FAMILY_V6)
	ns.Must(err)
	if len(addrs) != 1 || addrs[0].Flags&unix.IFA_F_OPTIMISTIC == 0 {
		t.Errorf("the test is void, the address is not optimistic: %+v", addrs)
	}
}

// A carrier that is back before anybody looks was lost all the same.
func TestShortLossIsTold(t *testing.T) {
	ns := linktest.New(t)
	beyond := pair(t, ns)
	ns.Up("wan")
	w := start(t, ns)
	w.until("usable address", usable)
	// Watch is kept busy by a state that nobody takes.
	ns.Must(ns.Netlink.LinkSetMTU(ns.Link("wan"), 1400))
	time.Sleep(100 * time.Millisecond)
	beyond.Down("far")
	waitFlags(t, ns, false)
	beyond.Up("far")
	waitFlags(t, ns, true)
	seen := w.until("carrier", func(s State) bool { return s.Up && s.MTU == 1400 })
	seen = append(seen, w.until("lost carrier", func(s State) bool { return !s.Up })...)
	seen = append(seen, w.until("carrier", func(s State) bool { return s.Up })...)
	var ups []string
	for _, s := range seen {
		ups = append(ups, fmt.Sprint(s.Up))
	}
	if got := strings.Join(ups, " "); got != "true false true" {
		t.Errorf("up: %s, want one loss: %+v", got, seen)
	}
}

func waitFlags(t *testing.T, ns *linktest.Namespace, up bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); carries(ns.Link("wan").Attrs().RawFlags) != up; {
		if time.Now().After(deadline) {
			t.Fatalf("the device does not get to up=%t", up)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// More events than the kernel keeps: nothing is missed in the end.
func TestTooManyEvents(t *testing.T) {
	ns := linktest.New(t)
	pair(t, ns)
	ns.Up("wan")
	w := start(t, ns)
	w.until("usable address", usable)
	ns.Must(ns.Netlink.LinkSetMTU(ns.Link("wan"), 1400)) // keeps Watch busy, as above
	time.Sleep(100 * time.Millisecond)
	ns.Must(ns.Netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "noise"}}))
	for i := range 3000 {
		ns.Must(ns.Netlink.LinkSetMTU(ns.Link("noise"), 1300+i%2))
	}
	ns.Must(ns.Netlink.LinkSetMTU(ns.Link("wan"), 1300))
	if drops := socketDrops(t, ns); drops == 0 {
		t.Error("the test is void, the kernel dropped no event")
	}
	w.until("last MTU", func(s State) bool { return s.MTU == 1300 })
	w.quiet(100 * time.Millisecond)
	ns.Down("wan")
	w.until("later event", func(s State) bool { return !s.Up })
}

// socketDrops is how many messages netlink sockets of the namespace lost.
func socketDrops(t *testing.T, ns *linktest.Namespace) (drops int) {
	t.Helper()
	var b []byte
	var err error
	ns.Do(func() { b, err = os.ReadFile("/proc/thread-self/net/netlink") })
	ns.Must(err)
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 10 && f[8] != "0" {
			var n int
			if _, err := fmt.Sscan(f[8], &n); err == nil {
				drops += n
			}
		}
	}
	return drops
}

// Nothing is left behind: no goroutine, no file descriptor.
func TestNoLeak(t *testing.T) {
	ns := linktest.New(t)
	pair(t, ns)
	once := func() {
		w := start(t, ns)
		<-w.states
		w.stop()
	}
	once()
	goroutines, files := runtime.NumGoroutine(), openFiles(t)
	for range 20 {
		once()
	}
	for deadline := time.Now().Add(patience); runtime.NumGoroutine() > goroutines || openFiles(t) > files; {
		if time.Now().After(deadline) {
			t.Fatalf("goroutines %d, then %d; files %d, then %d", goroutines, runtime.NumGoroutine(), files, openFiles(t))
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestContextEndedBefore(t *testing.T) {
	ns := linktest.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ns.Do(func() {
		if err := Watch(ctx, "wan", func(State) {}); err != nil {
			t.Errorf("Watch: %v, want nil", err)
		}
	})
}
