//go:build lab

package lab

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"golang.org/x/sys/unix"

	"sofutobanku/internal/hgw"
	"sofutobanku/internal/state"
	"sofutobanku/internal/status"
	"sofutobanku/lab/realisp"
	"sofutobanku/lab/rivals"
	"sofutobanku/lab/topo"
)

// A home gateway keeps its place behind the router:
//
//	 inside a /60                  router
//	[ hgw ] eth0 ═══ lan4 [ sofu-proto ] wan0 ═══ isp0 [ isp ]
//	                   └ IPv4 and ARP at layer 2 ┘
//
// It is played by clients of other projects for IPv6, and by dhclient for the telephone
// network's IPv4.

const (
	hgwPort = "lan4"
	hgwMAC  = "00:00:5e:00:53:f0"
	// changed is how soon each client has to know of another prefix.
	changed = 40 * time.Second
)

// home is a home gateway's place behind a router.
type home struct {
	t   *testing.T
	lab *topo.Lab
	net realisp.Network
	c   carrier
	ns  *topo.NS
	dir string

	upstream, downstream *replies
}

func newHome(t *testing.T, start func(*testing.T, *topo.Lab, realisp.Network) carrier) *home {
	lab, net := newLine(t)
	h := &home{t: t, lab: lab, net: net, c: start(t, lab, net), ns: lab.NS("hgw"), dir: lab.Dir("hgw")}
	lab.Link(net.Router.Port(hgwPort, ""), h.ns.Port("eth0", hgwMAC), topo.Cable{})
	for _, ns := range []*topo.NS{net.Router, h.ns} {
		ns.Sysctl("ipv6/conf/all/forwarding", "1")
		ns.Sysctl("ipv6/conf/default/forwarding", "1")
	}
	// A router of its own that listens to the one before it.
	h.ns.Sysctl("ipv6/conf/eth0/accept_ra", "2")
	near, far := net.Router.LinkLocalUsable(hgwPort), h.ns.LinkLocalUsable("eth0")
	net.Router.Up(hgwPort)
	h.ns.Up("eth0")
	for _, usable := range []<-chan time.Time{near, far} {
		select {
		case <-usable:
		case <-time.After(patience):
			t.Fatal("the home gateway's cable has no link-local addresses")
		}
	}
	h.ns.Dummy("inside")
	h.upstream, h.downstream = watchReplies(t, lab, net.Router, realisp.WAN), watchReplies(t, lab, h.ns, "eth0")
	return h
}

func (h *home) uci(more ...string) string {
	return h.c.UCI() + "\toption hgw_device '" + hgwPort + "'\n" + strings.Join(more, "\n")
}

// delegated is the part of the line's prefix that is the home gateway's.
func (h *home) delegated() netip.Prefix {
	p, _, ok := hgw.Delegation(h.c.Now().Prefix)
	if !ok {
		h.t.Fatalf("%v has no /60 for a home gateway", h.c.Now().Prefix)
	}
	return p
}

// client runs one that plays the home gateway.
func (h *home) client(c rivals.Client) *rivals.Running {
	p := c.Start(h.lab, h.ns, "eth0", fmt.Sprintf(`case ${1%%%%/*} in
*::) address=${1%%%%/*}1 ;;
*) address=${1%%%%/*} ;;
esac
ip -6 -o addr show | grep -qF " $address/" || ip addr add $address/64 dev inside nodad
echo $address >%s/got
`, h.dir))
	p.Go()
	return p
}

// inside is the address that the client made of its prefix.
func (h *home) inside() (netip.Addr, error) {
	b, err := os.ReadFile(h.dir + "/got")
	if err != nil {
		return netip.Addr{}, err
	}
	a, err := netip.ParseAddr(strings.TrimSpace(string(b)))
	if err == nil && !h.delegated().Contains(a) {
		err = fmt.Errorf("the home gateway has %v, want an address in %v", a, h.delegated())
	}
	return a, err
}

// works is whether IPv6 works from inside the home gateway's prefix to beyond the line.
func (h *home) works() error {
	a, err := h.inside()
	if err != nil {
		return err
	}
	if out, err := h.ns.Try("ip", "-6", "route", "show", "default"); err != nil || !strings.Contains(out, "proto ra") {
		return fmt.Errorf("default route of the home gateway: %q, %v", out, err)
	}
	out, err := h.ns.Try("ping", "-6", "-n", "-c", "1", "-W", "1", "-I", a.String(), h.beyond().String())
	if err != nil {
		return fmt.Errorf("from %v: %w: %s", a, err, out)
	}
	return nil
}

// beyond is a host beyond the line.
func (h *home) beyond() netip.Addr { return netip.MustParseAddr("2001:db8:a0::1812") }

// phone has dhclient join the telephone network by IPv4, through the router, and reaches
// the other end of it.
func (h *home) phone() {
	h.t.Helper()
	conf := h.lab.WriteFile(h.dir, "dhclient.conf", `option nttclass code 124 = string;
option nttinfo code 125 = string;
option sipservers code 120 = string;
option classless code 121 = string;
send nttclass 00:00:00:d2:07:06:`+hgwMAC+`;
request subnet-mask, routers, sipservers, classless, nttinfo;
`)
	script := h.lab.WriteFile(h.dir, "phone-script", `#!/bin/sh
case $reason in
BOUND) ip addr add $new_ip_address/30 dev eth0 && env | grep ^new_ >`+h.dir+`/phone ;;
esac
`)
	if err := os.Chmod(script, 0o755); err != nil {
		h.t.Fatal(err)
	}
	h.ns.Start("dhclient", "-4", "-d", "-cf", conf, "-lf", h.dir+"/leases4", "-pf", h.dir+"/pid4", "-sf", script, "eth0")
	h.lab.Eventually(patience, "a lease of the telephone network", func() error {
		b, err := os.ReadFile(h.dir + "/phone")
		if err != nil {
			return err
		}
		for _, want := range []string{"new_ip_address=" + realisp.PhoneAddress.Addr().String(), "new_subnet_mask=255.255.255.252", "new_nttinfo=", "new_sipservers=", "new_classless="} {
			if !strings.Contains(string(b), want) {
				return fmt.Errorf("no %s in\n%s", want, b)
			}
		}
		return nil
	})
	if out, err := h.ns.Try("ping", "-n", "-c", "1", "-W", "2", realisp.PhoneGateway.String()); err != nil {
		h.t.Errorf("the telephone network's other end: %v: %s", err, out)
	}
}

// replies remembers the options of the last DHCPv6 Reply that a device saw.
type replies struct {
	mu   sync.Mutex
	last map[dhcpv6.OptionCode][]byte
}

// telephone are the options that are the telephone's, and name servers and the like.
var telephone = []dhcpv6.OptionCode{
	dhcpv6.OptionVendorOpts, dhcpv6.OptionSIPServersIPv6AddressList, dhcpv6.OptionDNSRecursiveNameServer,
	dhcpv6.OptionDomainSearchList, dhcpv6.OptionSNTPServerList,
}

func watchReplies(t *testing.T, lab *topo.Lab, ns *topo.NS, dev string) *replies {
	t.Helper()
	r := &replies{}
	var fd int
	err := ns.Do(func() (err error) {
		ifi, err := net.InterfaceByName(dev)
		if err != nil {
			return err
		}
		const ipv6 = unix.ETH_P_IPV6&0xff<<8 | unix.ETH_P_IPV6>>8
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: ipv6, Ifindex: ifi.Index})
	})
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "replies on "+dev)
	done := make(chan struct{})
	t.Cleanup(func() { f.Close(); <-done })
	go func() {
		defer close(done)
		b := make([]byte, 2048)
		for {
			n, err := f.Read(b)
			if errors.Is(err, os.ErrClosed) {
				return
			}
			if err == nil {
				r.see(b[:n])
			}
		}
	}()
	return r
}

// see takes an IPv6 packet.
func (r *replies) see(p []byte) {
	const header = 40 + 8
	if len(p) < header+4 || p[6] != unix.IPPROTO_UDP || p[header] != byte(dhcpv6.MessageTypeReply) {
		return
	}
	m, err := dhcpv6.MessageFromBytes(p[header:])
	if err != nil {
		return
	}
	last := map[dhcpv6.OptionCode][]byte{}
	for _, o := range m.Options.Options {
		for _, code := range telephone {
			if o.Code() == code {
				last[code] = append(last[code], o.ToBytes()...)
			}
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = last
}

func (r *replies) options() map[dhcpv6.OptionCode][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// sameOptions compares what the home gateway was told with what the line told; it has
// to have been told the ones that it asked for.
func (h *home) sameOptions(asked ...dhcpv6.OptionCode) {
	h.t.Helper()
	line, home := h.upstream.options(), h.downstream.options()
	for _, code := range asked {
		if home[code] == nil {
			h.t.Errorf("the home gateway was not told %v", code)
		}
	}
	for code, data := range home {
		if !bytes.Equal(data, line[code]) {
			h.t.Errorf("%v: the line said % x, the home gateway was told % x", code, line[code], data)
		}
	}
}

// TestHGW: each client gets a prefix, options byte for byte, a default route, IPv4 at
// layer 2, and another prefix within seconds of the line's; nothing stays behind.
func TestHGW(t *testing.T) {
	carriers := map[string]func(*testing.T, *topo.Lab, realisp.Network) carrier{"simulated": startSofuISP, "real": startReal}
	// Not each can ask for all of them.
	asked := map[string][]dhcpv6.OptionCode{
		rivals.Wide.Name: telephone[1:], rivals.ISC.Name: telephone, rivals.Networkd.Name: telephone,
		rivals.Dibbler.Name: telephone[:4],
	}
	for i, client := range rivals.HGWs {
		name := []string{"simulated", "real"}[i%2]
		t.Run(client.Name+"/"+name, func(t *testing.T) {
			h := newHome(t, carriers[name])
			before := picture(h.net.Router) + h.layer2()
			r := startRouter(t, h.lab, h.net.Router, h.uci())
			r.awaitUp(h.c.Now())
			start := time.Now()
			gateway := h.client(client)
			h.lab.Eventually(patience, "IPv6 behind the home gateway", h.works)
			t.Logf("\n| prefix, default route and an echo after %.1f s", time.Since(start).Seconds())
			named := "eth0"
			if client.Name == rivals.Dibbler.Name {
				named = "inside" // its DUID is of the first device that it finds
			}
			mac := h.ns.MAC(named).String()
			r.await("its prefix in the status", func(s status.Status) bool {
				g := s.HGW
				return g != nil && g.Prefix != nil && *g.Prefix == h.delegated() && g.MAC == mac && g.Carrier &&
					g.LastSeen != nil && g.Forwarding != "" && g.Error == nil && s.Error == nil
			})
			h.sameOptions(asked[client.Name]...)
			h.phone()

			start = time.Now()
			h.c.Renumber(func(n *realisp.Config) {
				n.Prefix = netip.PrefixFrom(netip.MustParseAddr("2001:db8:56:7800::"), n.Prefix.Bits())
			})
			r.Signal(syscall.SIGUSR1)
			r.awaitUp(h.c.Now())
			h.lab.Eventually(changed, "the new prefix behind the home gateway", h.works)
			s, err := r.status()
			t.Logf("\n| another prefix after %.1f s, IPv4 by %s", time.Since(start).Seconds(), s.HGW.Forwarding)
			if err != nil || s.State != state.Up {
				t.Errorf("%v: %s", err, s.JSON())
			}

			gateway.Stop()
			r.Signal(syscall.SIGTERM)
			if code := r.Wait(patience); code != 0 {
				t.Errorf("exit status %d after SIGTERM:\n%s", code, tail(r.Output(), 15))
			}
			if diff := cmp.Diff(strings.Split(before, "\n"), strings.Split(picture(h.net.Router)+h.layer2(), "\n")); diff != "" {
				t.Errorf("what the router left behind (-before +after):\n%s", diff)
			}
		})
	}
}

// TestHGWOpenWrt: netifd brings the port up, and installs the routes on an interface of
// its own, which goes with the line.
func TestHGWOpenWrt(t *testing.T) {
	h := newHome(t, startReal)
	h.net.Router.Up("lan0")
	before := leftovers(h.net.Router)
	o := startOpenWrt(t, h.lab, h.net.Router, h.c.Now(), h.uci())
	o.awaitUp(h.c.Now())
	h.client(rivals.ISC)
	h.lab.Eventually(patience, "IPv6 behind the home gateway", h.works)
	h.phone()
	o.await("the home gateway's route on an interface of its own", func() error {
		s, ok := o.Status("wan_hgw")
		if !ok || !s.Up || len(s.Routes) != 1 || s.Routes[0].Target != h.delegated().Addr().String() || s.Routes[0].Mask != h.delegated().Bits() {
			return fmt.Errorf("wan_hgw: %+v", s)
		}
		return nil
	})
	o.check(h.net, h.c.Now())

	// A home gateway that is plugged out keeps its prefix while its lease lasts.
	h.ns.Down("eth0")
	o.awaitDaemon("the carrier to be lost", func(s status.Status) bool { return !s.HGW.Carrier && s.HGW.Prefix != nil })
	h.ns.Up("eth0")
	h.lab.Eventually(patience, "IPv6 behind the home gateway again", h.works)

	o.wan("down")
	o.awaitDown("wan")
	o.awaitDown("wan_hgw")
	h.net.Router.Run("ip", "link", "set", realisp.WAN, "down") // as it was
	if diff := cmp.Diff(before, leftovers(h.net.Router)); diff != "" {
		t.Errorf("what is left behind (-before +after):\n%s", diff)
	}
}

// TestHGWExpiry: one that never renews loses its route when its lease ends; the line
// has its own renewed all the while.
func TestHGWExpiry(t *testing.T) {
	h := newHome(t, func(_ *testing.T, lab *topo.Lab, net realisp.Network) carrier {
		c := realisp.Default(realisp.Next)
		c.T1, c.T2, c.Preferred, c.Valid = 10*time.Second, 16*time.Second, 20*time.Second, 25*time.Second
		return real{realisp.Start(lab, net, dictionary, c)}
	})
	r := startRouter(t, h.lab, h.net.Router, h.uci())
	r.awaitUp(h.c.Now())
	client := h.client(rivals.ISC)
	h.lab.Eventually(patience, "IPv6 behind the home gateway", h.works)
	held := r.await("its prefix", func(s status.Status) bool { return s.HGW.Prefix != nil })
	client.Signal(syscall.SIGSTOP)
	start := time.Now()
	r.await("its lease to end", func(s status.Status) bool { return s.HGW.Prefix == nil })
	took, granted := time.Since(start), time.Duration(*held.HGW.Valid)*time.Second
	t.Logf("\n| granted for %v, gone after %.1f s", granted, took.Seconds())
	if took > granted+2*time.Second {
		t.Errorf("its lease of %v lasted %v", granted, took)
	}
	if routes := h.net.Router.Run("ip", "-6", "route", "show", h.delegated().String()); routes != "" {
		t.Errorf("its route is still there: %s", routes)
	}
	if s, err := r.status(); err != nil || s.State != state.Up || s.Prefix == nil {
		t.Errorf("the line suffers: %v %s", err, s.JSON())
	}
	client.Signal(syscall.SIGCONT)
}

// TestHGWRouter: what a home gateway advertises makes it nobody's router.
func TestHGWRouter(t *testing.T) {
	h := newHome(t, startSofuISP)
	r := startRouter(t, h.lab, h.net.Router, h.uci())
	r.awaitUp(h.c.Now())
	before := h.net.Router.Run("sh", "-c", "ip -6 route show; ip -6 -o addr show dev lan4 | sed 's/ tentative//'")
	h.ns.Addr("eth0", "2001:db8:bad::1/64")
	conf := h.lab.WriteFile(h.dir, "radvd.conf", `interface eth0 {
	AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; AdvDefaultLifetime 9000; AdvDefaultPreference high; AdvLinkMTU 1280;
	prefix 2001:db8:bad::/64 { AdvOnLink on; AdvAutonomous on; };
	route ::/1 { AdvRoutePreference high; };
	RDNSS 2001:db8:bad::53 { };
};
`)
	h.ns.Start("radvd", "-n", "-C", conf, "-p", h.dir+"/radvd.pid")
	h.lab.Eventually(patience, "an advertisement of the home gateway at the router", func() error {
		out, err := h.net.Router.Try("sh", "-c", "awk '/Icmp6InRouterAdvertisements/ { exit !($2 > 3) }' /proc/net/snmp6")
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	if diff := cmp.Diff(before, h.net.Router.Run("sh", "-c", "ip -6 route show; ip -6 -o addr show dev lan4 | sed 's/ tentative//'")); diff != "" {
		t.Errorf("what a home gateway's advertisement changed (-before +after):\n%s", diff)
	}
	if s, err := r.status(); err != nil || len(s.WAN.Routers) != 1 || s.WAN.Routers[0].Address.String() != "fe80::1" || s.WAN.MTU != 1500 {
		t.Errorf("%v: %s", err, s.JSON())
	}
}

// TestHGWKilled: the home gateway keeps its prefix over a killed sofu-proto, and the next one
// makes anew, or removes, what that left.
func TestHGWKilled(t *testing.T) {
	h := newHome(t, startSofuISP)
	before := picture(h.net.Router) + h.layer2()
	r := startRouter(t, h.lab, h.net.Router, h.uci())
	r.awaitUp(h.c.Now())
	client := h.client(rivals.ISC)
	h.lab.Eventually(patience, "IPv6 behind the home gateway", h.works)
	h.phone()
	held := r.await("its prefix", func(s status.Status) bool { return s.HGW.Prefix != nil })
	r.Signal(syscall.SIGKILL)
	r.Wait(patience)
	if p := h.net.Router.Run("ip", "-d", "link", "show", hgwPort); !strings.Contains(p, "promiscuity 0") {
		t.Errorf("the port stays promiscuous: %s", p)
	}
	r.start()
	r.awaitUp(h.c.Now())
	s := r.await("the same prefix without a word of the home gateway", func(s status.Status) bool { return s.HGW.Prefix != nil })
	if *s.HGW.Prefix != *held.HGW.Prefix || s.HGW.MAC != held.HGW.MAC {
		t.Errorf("held %+v, after the restart %+v", held.HGW, s.HGW)
	}
	h.lab.Eventually(patience, "IPv6 behind the home gateway", h.works)
	if out, err := h.ns.Try("ping", "-n", "-c", "1", "-W", "5", realisp.PhoneGateway.String()); err != nil {
		t.Errorf("the telephone network's other end: %v: %s", err, out)
	}
	client.Stop()
	r.Signal(syscall.SIGKILL)
	r.Wait(patience)
	// Without a home gateway: all of the former is put away at once.
	h.lab.WriteFile(r.dir, "network", h.c.UCI())
	r.start()
	r.awaitUp(h.c.Now())
	r.Signal(syscall.SIGTERM)
	r.Wait(patience)
	if diff := cmp.Diff(strings.Split(before, "\n"), strings.Split(picture(h.net.Router)+h.layer2(), "\n")); diff != "" {
		t.Errorf("what was left behind (-before +after):\n%s", diff)
	}
}

// layer2 is what may forward at layer 2.
func (h *home) layer2() string {
	return h.net.Router.Run("sh", "-c", "tc qdisc show | grep -v noqueue; nft list ruleset; for d in wan0 lan4; do tc filter show dev $d ingress; ip -d -o link show $d | grep -o 'promiscuity [0-9]*'; done")
}

// TestHGWForward: each way of forwarding serves a home gateway. It needs no tunnel, so that it
// runs where the kernel's nft forwards too (lab/test).
func TestHGWForward(t *testing.T) {
	h := newHome(t, func(t *testing.T, lab *topo.Lab, net realisp.Network) carrier {
		return startSimulated(t, lab, net, realisp.Next, "--no-br")
	})
	before := h.layer2()
	r := startRouter(t, h.lab, h.net.Router, h.uci())
	way := "nft"
	if os.Getenv("LAB_KERNEL") == "uml" { // which lacks nft_fwd_netdev
		way = "tc"
	}
	r.await("forwarding by "+way, func(s status.Status) bool { return s.Prefix != nil && s.HGW != nil && s.HGW.Forwarding == way })
	h.client(rivals.ISC)
	h.lab.Eventually(patience, "IPv6 behind the home gateway", h.works)
	h.phone()
	t.Logf("\n| a home gateway served with IPv4 by %s", way)
	r.Signal(syscall.SIGTERM)
	if code := r.Wait(patience); code != 0 {
		t.Errorf("exit status %d after SIGTERM:\n%s", code, tail(r.Output(), 15))
	}
	if diff := cmp.Diff(strings.Split(before, "\n"), strings.Split(h.layer2(), "\n")); diff != "" {
		t.Errorf("what is left behind (-before +after):\n%s", diff)
	}
}

// TestHGWFlood: a home gateway gone mad, or somebody in its place, gets few answers, costs no
// memory, and takes nothing from the one that holds the prefix. Who asks from an odd port is
// answered there.
func TestHGWFlood(t *testing.T) {
	h := newHome(t, startSofuISP)
	r := startRouter(t, h.lab, h.net.Router, h.uci())
	r.awaitUp(h.c.Now())
	h.client(rivals.ISC)
	h.lab.Eventually(patience, "IPv6 behind the home gateway", h.works)
	before := r.await("its prefix", func(s status.Status) bool { return s.HGW.Prefix != nil })
	memory := h.resident(r.PID())

	const port, each = 40000, 1500
	var conn *net.UDPConn
	err := h.ns.Do(func() (err error) {
		conn, err = net.ListenUDP("udp6", &net.UDPAddr{Port: port})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	to := &net.UDPAddr{IP: dhcpv6.AllDHCPRelayAgentsAndServers, Port: dhcpv6.DefaultServerPort, Zone: h.ns.Zone("eth0")}
	send := func(m dhcpv6.DHCPv6, mangle func([]byte) []byte) {
		if _, err := conn.WriteTo(mangle(m.ToBytes()), to); err != nil && !errors.Is(err, unix.ENOBUFS) {
			t.Fatal(err)
		}
	}
	as := func(n int, kind dhcpv6.MessageType, server bool) *dhcpv6.Message {
		m, err := dhcpv6.NewMessage()
		if err != nil {
			t.Fatal(err)
		}
		m.MessageType = kind
		m.AddOption(dhcpv6.OptClientID(&dhcpv6.DUIDLL{HWType: 1, LinkLayerAddr: net.HardwareAddr{0, 0, 0x5e, byte(n >> 16), byte(n >> 8), byte(n)}}))
		m.AddOption(&dhcpv6.OptIAPD{IaId: [4]byte{3: byte(n)}})
		if server {
			m.AddOption(dhcpv6.OptServerID(&dhcpv6.DUIDLL{HWType: 1, LinkLayerAddr: net.HardwareAddr{0, 0, 0x5e, 9, 9, 9}}))
		}
		return m
	}
	same := func(b []byte) []byte { return b }
	start := time.Now()
	for n := range each {
		send(as(n, dhcpv6.MessageTypeSolicit, false), same)
		send(as(n, dhcpv6.MessageTypeRequest, true), same)
		send(as(n, dhcpv6.MessageTypeRenew, false), func(b []byte) []byte { return b[:len(b)-1-n%20] })
	}
	t.Logf("\n| %d messages in %.1f s", 3*each, time.Since(start).Seconds())
	var s status.Status
	h.lab.Eventually(patience, "all of them to be dropped or answered", func() (err error) {
		if s, err = r.status(); err != nil {
			return err
		}
		if h.works() != nil {
			return errors.New("IPv6 behind the home gateway does not work")
		}
		return nil
	})
	took := time.Since(start)
	var dropped, answered uint64
	for name, n := range s.Counters {
		switch n -= before.Counters[name]; {
		case strings.HasPrefix(name, "hgw.drop."):
			dropped += n
			t.Logf("\n| %-24s %6d", name, n)
		case strings.HasPrefix(name, "hgw.sent.") && name != "hgw.sent.router-advertisement":
			answered += n
		}
	}
	t.Logf("\n| answered %d in %.1f s", answered, took.Seconds())
	if most := 40 + 6*uint64(took/time.Second+1); answered > most {
		t.Errorf("%d answers in %v, want at most %d", answered, took, most)
	}
	if dropped < each {
		t.Errorf("%d of %d messages were dropped", dropped, 3*each)
	}
	if now := h.resident(r.PID()); now > memory+1024 {
		t.Errorf("resident memory was %d kB, and is %d", memory, now)
	}
	if s.State != state.Up || s.HGW.Prefix == nil || *s.HGW.Prefix != *before.HGW.Prefix || s.HGW.MAC != before.HGW.MAC {
		t.Errorf("the home gateway or the line suffered:\n%s", s.JSON())
	}
	// With nobody else left asking, the odd port has its answer.
	h.lab.Eventually(patience, "an answer at an odd port", func() error {
		send(as(1, dhcpv6.MessageTypeSolicit, false), same)
		if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			return err
		}
		_, err := conn.Read(make([]byte, 1500))
		return err
	})
}

// resident is a process's resident memory in kB.
func (h *home) resident(pid int) (kB int) {
	h.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		h.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	if _, err := fmt.Sscan(rest, &kB); err != nil {
		h.t.Fatalf("VmRSS: %v", err)
	}
	return kB
}
