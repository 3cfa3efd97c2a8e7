// Package linktest gives tests network namespaces of their own, with devices
// between them, so that sockets and netlink are tested on a real kernel and no
// packet leaves the machine. It takes root. A namespace is gone after its test.
//
// It works by the program ip: an emulator without netlink is enough to test sockets.
package linktest

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Namespace is a network namespace whose loopback device is up.
type Namespace struct {
	// Netlink is for what a test does to the namespace by netlink itself.
	Netlink *netlink.Handle

	t      *testing.T
	handle netns.NsHandle
}

// New makes a namespace for the test.
func New(t *testing.T) *Namespace {
	t.Helper()
	n := &Namespace{t: t, handle: netns.None()}
	var err error
	onThread(func() {
		n.handle, err = netns.New()
	})
	if err != nil {
		t.Fatalf("making a network namespace (it takes root): %v", err)
	}
	t.Cleanup(func() { n.handle.Close() })
	n.Netlink, err = netlink.NewHandleAt(n.handle, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatalf("netlink in the namespace: %v", err)
	}
	t.Cleanup(n.Netlink.Close)
	n.Up("lo")
	return n
}

// Do runs f in the namespace, as do the sockets that f opens, and waits for it.
// f must not fail the test at once (t.Fatal), which only the test's own
// goroutine can do.
func (n *Namespace) Do(f func()) {
	var err error
	onThread(func() {
		if err = netns.Set(n.handle); err == nil {
			f()
		}
	})
	if err != nil {
		n.t.Errorf("entering the namespace: %v", err)
	}
}

// onThread runs f on a thread that ends with it, so that no other goroutine can
// come to run in the namespace that f enters.
func onThread(f func()) {
	done := make(chan int)
	go func() {
		runtime.LockOSThread() // and never unlocked
		defer func() { done <- unix.Gettid() }()
		f()
	}()
	// Wait until the thread is gone, since an emulator's fork may hang while one ends.
	// The first thread of a program never goes.
	for task := <-done; task != os.Getpid(); time.Sleep(time.Millisecond) {
		if _, err := os.Stat(fmt.Sprintf("/proc/self/task/%d", task)); err != nil {
			return
		}
	}
}

// IP runs the program ip in the namespace and returns what it prints.
func (n *Namespace) IP(args ...string) []byte {
	n.t.Helper()
	out, err := n.Command("ip", args...).CombinedOutput()
	if err != nil {
		n.t.Fatalf("ip %q: %v\n%s", args, err, out)
	}
	return out
}

// Command is a program that will run in the namespace.
func (n *Namespace) Command(name string, args ...string) *exec.Cmd {
	// By nsenter, which needs no thread of its own.
	return exec.Command("nsenter", append([]string{"--net=" + n.path(), name}, args...)...)
}

// path names the namespace for another program.
func (n *Namespace) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.handle) }

// Veth makes a pair of devices, one in n and its peer in other.
func (n *Namespace) Veth(name string, mac net.HardwareAddr, other *Namespace, peer string, peerMAC net.HardwareAddr) {
	n.t.Helper()
	n.IP("link", "add", name, "address", mac.String(), "type", "veth",
		"peer", "name", peer, "address", peerMAC.String(), "netns", other.path())
}

// Link returns the device called name, which must exist.
func (n *Namespace) Link(name string) netlink.Link {
	n.t.Helper()
	l, err := n.Netlink.LinkByName(name)
	n.Must(err)
	return l
}

// Interface returns a device's index, name, MTU and address.
func (n *Namespace) Interface(name string) *net.Interface {
	n.t.Helper()
	l := n.link(name)
	mac, err := net.ParseMAC(l.Address)
	n.Must(err)
	return &net.Interface{Index: l.Index, MTU: l.MTU, Name: name, HardwareAddr: mac}
}

// link is what ip tells of a device.
type link struct {
	Index   int `json:"ifindex"`
	MTU     int
	Address string
	Flags   []string
}

func (n *Namespace) link(name string) link {
	n.t.Helper()
	var l []link
	n.Must(json.Unmarshal(n.IP("-json", "link", "show", "dev", name), &l))
	if len(l) != 1 {
		n.t.Fatalf("%d devices called %s", len(l), name)
	}
	return l[0]
}

// Up sets a device administratively up.
func (n *Namespace) Up(name string) { n.t.Helper(); n.IP("link", "set", name, "up") }

// WaitUp waits until a device that is administratively up takes packets, which
// it does a moment after both ends are up.
func (n *Namespace) WaitUp(name string) {
	n.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if f := n.link(name).Flags; slices.Contains(f, "LOWER_UP") && !slices.Contains(f, "NO-CARRIER") {
			return
		}
		if time.Now().After(deadline) {
			n.t.Fatalf("%s does not come up", name)
		}
	}
}

// Down sets a device administratively down.
func (n *Namespace) Down(name string) { n.t.Helper(); n.IP("link", "set", name, "down") }

// Address adds an address such as "192.0.2.1/24" to a device, without duplicate
// address detection.
func (n *Namespace) Address(name, addr string) {
	n.t.Helper()
	args := []string{"address", "add", addr, "dev", name}
	if netip.MustParsePrefix(addr).Addr().Is6() {
		args = append(args, "nodad")
	}
	n.IP(args...)
}

// Sysctl writes a file below /proc/sys/net, for example
// "ipv6/conf/wan/accept_ra".
func (n *Namespace) Sysctl(name, value string) {
	n.t.Helper()
	var err error
	n.Do(func() { err = os.WriteFile(filepath.Join("/proc/sys/net", name), []byte(value), 0) })
	n.Must(err)
}

// Must fails the test for an error.
func (n *Namespace) Must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}
