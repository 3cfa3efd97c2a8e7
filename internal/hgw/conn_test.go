package hgw

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sofutobanku/internal/counters"
	"sofutobanku/internal/link/linktest"
	"sofutobanku/internal/ntt"
)

// wire is a link of two namespaces:
//
//	router: lan4 (fe80::1) ===veth=== wan (of the kernel's making) :home
type wire struct {
	t            *testing.T
	router, home *linktest.Namespace
	s            *Server
	counted      counters.Set

	mu sync.Mutex
	ev Event
}

func newWire(t *testing.T) *wire {
	w := &wire{t: t, router: linktest.New(t), home: linktest.New(t)}
	w.router.Veth("lan4", portMAC, w.home, "wan", hgwMAC)
	w.router.Sysctl("ipv6/conf/lan4/addr_gen_mode", "1") // no address by the kernel
	w.home.Sysctl("ipv6/conf/wan/accept_dad", "0")
	w.router.Up("lan4")
	w.home.Up("wan")
	w.router.WaitUp("lan4")
	w.home.WaitUp("wan")
	w.router.Address("lan4", "fe80::1/64")
	// The kernel makes it a moment later, and a client without one gives up.
	w.eventually("an address of the HGW", func() bool {
		out := string(w.home.IP("-6", "addr", "show", "dev", "wan", "-tentative"))
		return strings.Contains(out, homeLL)
	})
	return w
}

// serve runs the server, until the test ends, with a line's usual lease.
func (w *wire) serve() {
	w.s = New(Config{
		Counters: &w.counted, Terminal: ntt.ParseVendorClass,
		OnEvent: func(ev Event) { w.mu.Lock(); defer w.mu.Unlock(); w.ev = ev },
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); w.s.Run(ctx) }()
	w.t.Cleanup(func() { cancel(); <-done })
	up := usual(lineP)
	up.MTU = 1492
	w.s.SetUpstream(up)
	var sockets Sockets
	var err error
	w.router.Do(func() { sockets, err = Listen(w.router.Interface("lan4"), netip.MustParseAddr("fe80::1")) })
	w.router.Must(err)
	w.s.LinkUp(sockets)
}

// holds is what the HGW holds, for a person.
func (w *wire) holds() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var s []string
	for _, p := range w.ev.Prefixes {
		s = append(s, p.Prefix.String())
	}
	return fmt.Sprintf("%v %v %v", w.ev.MAC, w.ev.LinkLocal, s)
}

func (w *wire) eventually(what string, f func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !f(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("not %s; the HGW: %s; counted: %v", what, w.holds(), w.counted.Snapshot())
		}
	}
}

// start runs a client in the home's namespace until the test ends.
func (w *wire) start(c *exec.Cmd) {
	w.t.Helper()
	var out strings.Builder
	c.Stdout, c.Stderr = &out, &out
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	w.router.Must(c.Start())
	w.t.Cleanup(func() {
		syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
		c.Wait()
		if w.t.Failed() {
			w.t.Logf("%s: %s", c.Path, out.String())
		}
	})
}

const homeLL = "fe80::200:5eff:fe00:5310"

// TestRouter: the kernel of the HGW takes the default route and the MTU, asks for it, and
// lets it go at the end.
func TestRouter(t *testing.T) {
	w := newWire(t)
	w.home.Sysctl("ipv6/conf/wan/accept_ra", "2")
	w.serve()
	route := func() string { return string(w.home.IP("-6", "route", "show", "default")) }
	w.eventually("a default route", func() bool { return strings.Contains(route(), "via fe80::1 dev wan proto ra") })
	if !strings.Contains(route(), "hoplimit 64") {
		t.Errorf("%s: want hoplimit 64", route())
	}
	for file, want := range map[string]string{"../../conf/wan/mtu": "1492\n", "retrans_time_ms": "10000\n", "base_reachable_time_ms": "300000\n"} {
		var got []byte
		w.home.Do(func() { got, _ = os.ReadFile("/proc/sys/net/ipv6/neigh/wan/" + file) })
		if string(got) != want {
			t.Errorf("%s is %q, want %q", file, got, want)
		}
	}
	w.s.SetUpstream(Upstream{})
	w.eventually("no default route", func() bool { return route() == "" })
	w.eventually("a solicitation", func() bool {
		// The kernel solicits when the link comes up.
		w.home.Down("wan")
		w.home.Up("wan")
		w.home.WaitUp("wan")
		time.Sleep(time.Second)
		return w.counted.Get("hgw.received.router-solicitation") > 0
	})
}

// TestDhclient: ISC's client gets all there is, and the information octet by octet.
func TestDhclient(t *testing.T) {
	w := newWire(t)
	w.serve()
	dir := t.TempDir()
	file := func(name, content string) string {
		name = filepath.Join(dir, name)
		w.router.Must(os.WriteFile(name, []byte(content), 0o755))
		return name
	}
	said := filepath.Join(dir, "said")
	script := file("script", "#!/bin/sh\nset | grep ^new_ >>"+said+"\n")
	conf := file("conf", "also request dhcp6.sntp-servers, dhcp6.sip-servers-addresses, dhcp6.vendor-opts;\n")
	w.start(w.home.Command("dhclient", "-6", "-P", "-N", "-d", "-D", "LL", "-lf", filepath.Join(dir, "leases"),
		"-pf", filepath.Join(dir, "pid"), "-sf", script, "-cf", conf, "wan"))
	w.eventually("told", func() bool {
		b, _ := os.ReadFile(said)
		for _, want := range []string{
			"new_ip6_prefix='2001:db8:0:1f0::/60'", "new_ip6_address='2001:db8:0:1ef::1'", "new_renew='10'", "new_rebind='16'",
			"new_dhcp6_name_servers='2001:db8::53'", "new_dhcp6_domain_search='flets.example. iptv.example.'",
			"new_dhcp6_sip_servers_addresses='2001:db8::5060'", "new_dhcp6_sntp_servers='2001:db8::123'",
			"new_vsio_unknown_210='0:ca:0:a:30:33:31:32:33:34:35:36:37:38:0:cc:0:9:7:65:78:61:6d:70:6c:65:0'",
		} {
			if !strings.Contains(string(b), want+"\n") {
				return false
			}
		}
		return true
	})
	if got, want := w.holds(), "00:00:5e:00:53:10 "+homeLL+" [2001:db8:0:1f0::/60 2001:db8:0:1ef::1/128]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestDibbler: another maker's client renews when it is told to.
func TestDibbler(t *testing.T) {
	w := newWire(t)
	w.serve()
	dir := t.TempDir()
	w.router.Must(os.WriteFile(filepath.Join(dir, "client.conf"), []byte(`log-level 8
duid-type duid-ll
downlink-prefix-ifaces "none"
reconfigure-accept 1
iface "wan" {
	pd
	option dns-server
}
`), 0o600))
	// It has its files in the system's folders.
	w.start(w.home.Command("unshare", "--mount", "sh", "-c", `dir=$1
for d in /etc/dibbler /var/lib/dibbler /var/log/dibbler; do
	[ ! -d $d ] || mount --bind "$dir" $d || exit
done
: >"$dir/resolv.conf" && mount --bind "$dir/resolv.conf" /etc/resolv.conf || exit
exec dibbler-client run`, "sh", dir))
	w.eventually("bound", func() bool { return w.holds() == "00:00:5e:00:53:10 "+homeLL+" [2001:db8:0:1f0::/60]" })
	w.s.SetUpstream(usual(lineQ))
	w.eventually("renumbered", func() bool { return w.holds() == "00:00:5e:00:53:10 "+homeLL+" [2001:db8:0:2f0::/60]" })
	if n := w.counted.Get("hgw.sent.reconfigure"); n != 1 {
		t.Errorf("%d Reconfigure messages", n)
	}
}

func TestListen(t *testing.T) {
	w := newWire(t)
	w.router.Address("lan4", "fe80::99/64") // which nothing is to be sent from
	lan4 := w.router.Interface("lan4")
	listen := func(ll string) (s Sockets, err error) {
		w.router.Do(func() { s, err = Listen(lan4, netip.MustParseAddr(ll)) })
		return s, err
	}
	s, err := listen("fe80::1")
	w.router.Must(err)
	if _, err := listen("fe80::1"); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("the port is taken: %v", err)
	}

	// From an odd port to the group, and back from the one address.
	var client *net.UDPConn
	w.home.Do(func() { client, err = net.ListenUDP("udp6", &net.UDPAddr{Port: 40000}) })
	w.router.Must(err)
	defer client.Close()
	index := strconv.Itoa(w.home.Interface("wan").Index)
	w.eventually("sent", func() bool {
		_, err = client.WriteToUDP([]byte("question"), &net.UDPAddr{IP: net.ParseIP("ff02::1:2"), Port: 547, Zone: index})
		return err == nil
	})
	b := make([]byte, 100)
	n, from, err := s.DHCP.ReadFrom(b)
	w.router.Must(err)
	if string(b[:n]) != "question" || from.Addr().WithZone("") != netip.MustParseAddr(homeLL) || from.Port() != 40000 {
		t.Errorf("%q from %v", b[:n], from)
	}
	w.router.Must(s.DHCP.WriteTo([]byte("answer"), netip.AddrPortFrom(netip.MustParseAddr(homeLL), 40000)))
	w.router.Must(client.SetReadDeadline(time.Now().Add(5 * time.Second)))
	n, from, err = client.ReadFromUDPAddrPort(b)
	w.router.Must(err)
	if string(b[:n]) != "answer" || from.Addr().WithZone("") != netip.MustParseAddr("fe80::1") || from.Port() != 547 {
		t.Errorf("%q from %v", b[:n], from)
	}

	// Close ends reads that block.
	ended := make(chan error, 2)
	go func() { _, _, err := s.DHCP.ReadFrom(make([]byte, 100)); ended <- err }()
	go func() { _, _, _, err := s.RA.ReadRS(make([]byte, 100)); ended <- err }()
	w.router.Must(s.Close())
	for range 2 {
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("read after Close: %v", err)
		}
	}
	s, err = listen("fe80::1")
	w.router.Must(err)
	w.router.Must(s.Close())
	lan4.Name = "gone0"
	if _, err := listen("fe80::1"); !errors.Is(err, unix.ENODEV) {
		t.Errorf("a device that is not there: %v", err)
	}
}
