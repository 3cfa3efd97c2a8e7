//go:build lab

package lab

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	stdnet "net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sofutobanku/internal/state"
	"sofutobanku/internal/status"
	"sofutobanku/lab/netifd"
	"sofutobanku/lab/realisp"
	"sofutobanku/lab/topo"
)

// The scenarios of this file are about the telephone network beside the line, of
// sofu-isp and of Kea, which offers what is not to be taken from there too.

// phoneFlags make sofu-isp tell what Kea does.
var phoneFlags = []string{"--sip", realisp.PhoneSIP6.String()}

// forEachPhone runs a scenario against both carriers; with short, DHCPv6's leases end soon.
func forEachPhone(t *testing.T, short bool, scenario func(t *testing.T, lab *topo.Lab, net realisp.Network, c carrier)) {
	t.Run("simulated", func(t *testing.T) {
		lab, net := newLine(t)
		flags := phoneFlags
		if short {
			flags = append(flags, "--t1", "5s", "--t2", "8s", "--preferred", "10s", "--valid", "12s")
		}
		scenario(t, lab, net, startSimulated(t, lab, net, realisp.Next, flags...))
	})
	t.Run("real", func(t *testing.T) {
		lab, net := newLine(t)
		c := realisp.Default(realisp.Next)
		if short {
			c.T1, c.T2, c.Preferred, c.Valid = 5*time.Second, 8*time.Second, 10*time.Second, 12*time.Second
		}
		scenario(t, lab, net, real{realisp.Start(lab, net, dictionary, c)})
	})
}

// silence ends a server of a carrier, and speak starts it.
func silence(c carrier, s realisp.Server) {
	if r, ok := c.(real); ok {
		r.Stop(s)
		return
	}
	c.(*simulated).ctl("silent %s", simulatedServers[s])
}

func speak(c carrier, s realisp.Server) {
	if r, ok := c.(real); ok {
		r.Restart(s)
		return
	}
	c.(*simulated).ctl("speak %s", simulatedServers[s])
}

var simulatedServers = map[realisp.Server]string{realisp.Kea: "dhcp6", realisp.KeaPhone: "dhcp4", realisp.FreeRADIUS: "radius"}

// openPhone has the telephone network give addresses, or refuse them.
func openPhone(c carrier, open bool) {
	if r, ok := c.(real); ok {
		r.Change(func(c *realisp.Config) { c.PhoneClosed = !open })
		return
	}
	c.(*simulated).ctl("phone %s", map[bool]string{true: "grant", false: "refuse"}[open])
}

// userProgram is one for --hook, and what it was told last.
type userProgram struct{ path, told string }

func newUserProgram(t *testing.T, lab *topo.Lab) userProgram {
	t.Helper()
	dir := lab.Dir("hook")
	u := userProgram{filepath.Join(dir, "user"), filepath.Join(dir, "told")}
	lab.WriteFile(dir, "user", "#!/bin/sh\ntr '\\0' '\\n' </proc/$$/environ | sort >"+u.told+".new && mv "+u.told+".new "+u.told+"\n")
	if err := os.Chmod(u.path, 0o755); err != nil {
		t.Fatal(err)
	}
	return u
}

// await waits until it was told of this address, "" for none, with just these variables.
func (u userProgram) await(lab *topo.Lab, address string) {
	servers := ""
	if address != "" {
		servers = realisp.PhoneSIP.String()
	}
	want := []string{
		"DEVICE=wan0", "INTERFACE=wan", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "PHONE_ADDRESS=" + address, "PHONE_DOMAIN=", "PHONE_DSCP=32",
		"PHONE_NUMBERS=", "PHONE_SIP4=" + servers, "PHONE_SIP6=" + realisp.PhoneSIP6.String(),
	}
	lab.Eventually(patience, "the user's program to be told of "+address, func() error {
		b, err := os.ReadFile(u.told)
		if err != nil {
			return err
		}
		got := strings.Split(strings.TrimSpace(string(b)), "\n")
		for i, line := range got {
			// By DHCPv6 the carriers tell different ones.
			if name, value, _ := strings.Cut(line, "="); name == "PHONE_NUMBERS" || name == "PHONE_DOMAIN" {
				if value == "" || address != "" && value != map[string]string{"PHONE_NUMBERS": realisp.PhoneNumber + " " + realisp.PhoneNumber2, "PHONE_DOMAIN": realisp.PhoneDomain}[name] {
					return fmt.Errorf("%s is %q", name, value)
				}
				got[i] = name + "="
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			return errors.New(diff)
		}
		return nil
	})
}

func joined(s status.Status) bool { return s.Phone != nil && s.Phone.Address != nil }

func notJoined(s status.Status) bool { return !joined(s) }

var ofAddresses = cmp.Options{cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })}

// checkPhone: of the telephone network its address, its one route, and nothing else.
func checkPhone(t *testing.T, net realisp.Network, s status.Status) {
	t.Helper()
	want := &status.Phone{
		Numbers: []string{realisp.PhoneNumber, realisp.PhoneNumber2}, Domain: realisp.PhoneDomain,
		SIP: []netip.Addr{realisp.PhoneSIP6}, SIP4: []netip.Addr{realisp.PhoneSIP}, Address: &realisp.PhoneAddress, DSCP: 32,
	}
	if diff := cmp.Diff(want, s.Phone, ofAddresses); diff != "" {
		t.Errorf("the telephone (-want +got):\n%s", diff)
	}
	if slices.ContainsFunc(s.WAN.DNS, netip.Addr.Is4) {
		t.Errorf("name servers %v", s.WAN.DNS)
	}
	if got := phoneKernel(net); !slices.Equal(got, []string{
		"203.0.113.0/30 proto kernel scope link src 203.0.113.2", "203.0.113.128/25 via 203.0.113.1", "203.0.113.2/30",
	}) {
		t.Errorf("IPv4 on %s: %q", realisp.WAN, got)
	}
	if out, err := net.Router.Try("ping", "-n", "-c", "1", "-W", "5", realisp.PhoneSIP.String()); err != nil {
		t.Errorf("the SIP server: %v, %s", err, out)
	}
}

// phoneKernel is the IPv4 that the WAN has: routes, but for who made them, and addresses.
func phoneKernel(net realisp.Network) []string {
	out := net.Router.Run("sh", "-c", "ip -4 route show table all dev wan0 | grep -v 'table local' | sed 's/ proto \\(static\\|72\\) *$//; s/ *$//' | sort; "+
		"ip -4 -o addr show dev wan0 | awk '{print $4}'")
	return slices.DeleteFunc(strings.Split(out, "\n"), func(line string) bool { return line == "" })
}

// TestPhone: joined, told to the user's program, gone and back with the network, killed
// and back, and gone without a trace; and the line does not mind.
func TestPhone(t *testing.T) {
	forEachPhone(t, false, func(t *testing.T, lab *topo.Lab, net realisp.Network, c carrier) {
		before := picture(net.Router)
		user := newUserProgram(t, lab)
		r := startRouterWith(t, lab, net.Router, c.UCI(), "-v", "--hook", user.path)
		r.awaitUp(c.Now())
		checkPhone(t, net, r.await("the telephone", joined))
		user.await(lab, realisp.PhoneAddress.String())
		tunnel := tunnelIndex(net.Router)

		silence(c, realisp.KeaPhone)
		r.Signal(syscall.SIGUSR1)
		s := r.await("an unanswered renewal", func(s status.Status) bool { return s.Counters["dhcp4.sent.renew"] > 0 })
		speak(c, realisp.KeaPhone)
		checkPhone(t, net, s)

		openPhone(c, false)
		r.Signal(syscall.SIGUSR1)
		s = r.await("no telephone", notJoined)
		if s.Phone == nil || len(s.Phone.Numbers) == 0 || s.Phone.Error == nil || s.Phone.Error.Code != "PHONE_REFUSED" || s.Error != nil || s.State != state.Up {
			t.Errorf("refused: %s", s.JSON())
		}
		if got := phoneKernel(net); len(got) > 0 {
			t.Errorf("IPv4 on %s: %q", realisp.WAN, got)
		}
		user.await(lab, "")
		checkIPv4(t, net, c.Now().IPv4)
		openPhone(c, true)
		r.Signal(syscall.SIGUSR1)
		checkPhone(t, net, r.await("the telephone again", joined))
		user.await(lab, realisp.PhoneAddress.String())
		r.awaitUp(c.Now())
		if now := tunnelIndex(net.Router); now != tunnel {
			t.Errorf("the tunnel device was made anew: index %s, was %s", now, tunnel)
		}

		r.Signal(syscall.SIGKILL)
		r.Wait(patience)
		r.start()
		s = r.await("the telephone of before", joined)
		if s.Counters["dhcp4.sent.reboot"] != 1 || s.Counters["dhcp4.sent.discover"] != 0 {
			t.Errorf("it was not asked for again: %v", s.Counters)
		}
		r.awaitUp(c.Now())
		checkPhone(t, net, s)

		r.Signal(syscall.SIGTERM)
		if code := r.Wait(patience); code != 0 {
			t.Errorf("exit status %d after SIGTERM:\n%s", code, tail(r.Output(), 15))
		}
		if diff := cmp.Diff(strings.Split(before, "\n"), strings.Split(picture(net.Router), "\n")); diff != "" {
			t.Errorf("what the router left behind (-before +after):\n%s", diff)
		}
	})
}

// TestPhoneAlone: the telephone goes on, and is joined, without a lease and without an
// authentication.
func TestPhoneAlone(t *testing.T) {
	forEachPhone(t, true, func(t *testing.T, lab *topo.Lab, net realisp.Network, c carrier) {
		r := startRouter(t, lab, net.Router, c.UCI())
		r.awaitUp(c.Now())
		r.await("the telephone", joined)
		silence(c, realisp.Kea)
		s := r.await("the end of the prefix", func(s status.Status) bool { return s.Prefix == nil })
		if s.Tunnel != nil {
			t.Errorf("a tunnel without a prefix: %s", s.JSON())
		}
		checkPhone(t, net, s)

		silence(c, realisp.FreeRADIUS)
		speak(c, realisp.Kea)
		r.Signal(syscall.SIGUSR2) // all anew, the telephone too
		s = r.await("an unanswered request of RADIUS", func(s status.Status) bool {
			return anew(s, "access-request", "phone-up") && s.State == state.IPv6 && joined(s)
		})
		checkPhone(t, net, s)
		speak(c, realisp.FreeRADIUS)
		r.Signal(syscall.SIGUSR1)
		r.awaitUp(c.Now())
	})
}

// TestPhoneConflict: somebody has the address. The line does not mind, and the address is
// taken when he has gone.
func TestPhoneConflict(t *testing.T) {
	forEachPhone(t, false, func(t *testing.T, lab *topo.Lab, net realisp.Network, c carrier) {
		segment := realisp.Port
		if _, ok := c.(real); ok {
			segment = realisp.Bridge
		}
		own := realisp.PhoneAddress.Addr().String() + "/32"
		net.ISP.Addr(segment, own)
		r := startRouter(t, lab, net.Router, c.UCI())
		r.awaitUp(c.Now())
		s := r.await("the conflict", func(s status.Status) bool {
			return s.Phone != nil && s.Phone.Error != nil && s.Phone.Error.Code == "PHONE_CONFLICT"
		})
		if joined(s) || s.Error != nil || s.Counters["dhcp4.sent.decline"] == 0 || len(phoneKernel(net)) > 0 {
			t.Errorf("status: %s", s.JSON())
		}
		checkIPv4(t, net, c.Now().IPv4)
		net.ISP.DelAddr(segment, own)
		r.Signal(syscall.SIGUSR1)
		checkPhone(t, net, r.await("the telephone", joined))
	})
}

// TestPhoneOption: who joins, by option phone and by whether DHCPv6 tells a number.
func TestPhoneOption(t *testing.T) {
	silent := func(s status.Status) bool {
		return s.Phone != nil && s.Phone.Error != nil && s.Phone.Error.Code == "PHONE_SILENT"
	}
	quiet := func(s status.Status) bool { return notJoined(s) && s.Counters["dhcp4.sent.discover"] == 0 }
	for _, tt := range []struct {
		option         string
		number, server bool
		want           func(status.Status) bool
	}{
		{"auto", true, true, joined},
		{"auto", false, false, quiet},
		{"auto", false, true, quiet},
		{"1", true, true, joined},
		{"1", false, true, joined},
		{"1", false, false, silent},
		{"0", true, true, quiet},
	} {
		name := fmt.Sprintf("%s, number %v, server %v", tt.option, tt.number, tt.server)
		change := option("phone", tt.option)
		if tt.number == tt.server {
			t.Run("simulated/"+name, func(t *testing.T) {
				lab, net := newLine(t)
				flags := phoneFlags
				if !tt.server {
					flags = append(flags, "--no-phone")
				}
				isp := startSimulated(t, lab, net, realisp.Next, flags...)
				r := startRouter(t, lab, net.Router, change(isp.UCI()))
				r.awaitUp(isp.Now())
				if s := r.await("what the option says", tt.want); tt.number != (s.Phone != nil && len(s.Phone.Numbers) > 0) {
					t.Errorf("%s", s.JSON())
				}
			})
		}
		if !tt.server {
			continue
		}
		t.Run("real/"+name, func(t *testing.T) {
			lab, net := newLine(t)
			c := realisp.Default(realisp.Next)
			if !tt.number {
				c.Number = ""
			}
			isp := realisp.Start(lab, net, dictionary, c)
			r := startRouter(t, lab, net.Router, change(isp.UCI()))
			r.awaitUp(isp.Config)
			if s := r.await("what the option says", tt.want); joined(s) {
				checkPhone(t, net, s)
			}
			if tt.option != "auto" || tt.number {
				return
			}
			// The contract gets a telephone.
			isp.Change(func(c *realisp.Config) { c.Number = realisp.PhoneNumber })
			r.Signal(syscall.SIGUSR1)
			checkPhone(t, net, r.await("the telephone", joined))
		})
	}
}

// sipp starts one of sipp's own scenarios, or one of testdata; its end is success.
func sipp(ns *topo.NS, scenario string, args ...string) (done func(*testing.T)) {
	from := "-sn"
	if filepath.Ext(scenario) != "" {
		from, scenario = "-sf", filepath.Join("testdata/sipp", scenario)
	}
	args = append([]string{"sipp", from, scenario}, args...)
	p := ns.StartEnv([]string{"TERM=dumb"}, append(args, "-m", "1", "-nostdin", "-timeout", "30s", "-timeout_error")...)
	return func(t *testing.T) {
		t.Helper()
		if code := p.Wait(patience); code != 0 {
			t.Errorf("sipp %s: exit status %d\n%s", scenario, code, tail(p.Output(), 40))
		}
	}
}

// TestPhoneCall: who has what sofu-proto phone prints is registered by a registrar on the
// carrier's side, calls, and is heard, while the line carries IPv4 in its tunnel.
func TestPhoneCall(t *testing.T) {
	forEachPhone(t, false, func(t *testing.T, lab *topo.Lab, net realisp.Network, c carrier) {
		r := startRouter(t, lab, net.Router, c.UCI())
		r.awaitUp(c.Now())
		r.await("the telephone", joined)
		out := net.Router.Run(bin("sofu-proto"), "phone", "sipp", "--run-dir", r.path("run"))
		if want := "-i 203.0.113.2 -p 5060 -s 0312345678 -key domain ims.example -key expires 3600 203.0.113.129:5060\n"; out != want {
			t.Errorf("sofu-proto phone sipp prints %q, want %q", out, want)
		}
		printed := strings.Fields(out)
		server := realisp.PhoneSIP.String()
		at := []string{"-i", server, "-p", "5060"}

		registered := sipp(net.ISP, "registrar.xml", at...)
		sipp(net.Router, "register.xml", printed...)(t)
		registered(t)

		answered := sipp(net.ISP, "uas", append(at, "-rtp_echo", "-mi", server, "-mp", "6000")...)
		hungUp := sipp(net.Router, "call.xml", printed...)
		heard, err := speakTo(net.Router, server+":6000")
		if err != nil || heard < 25 {
			t.Errorf("%d of 50 packets of speech came back: %v", heard, err)
		}
		hungUp(t)
		answered(t)
		checkIPv4(t, net, c.Now().IPv4)
	})
}

// speakTo sends a second of speech, of 20 ms each (RFC 3550, RFC 3551), and says how much
// of it came back.
func speakTo(ns *topo.NS, server string) (heard int, err error) {
	var conn stdnet.Conn
	if err := ns.Do(func() (err error) {
		dialer := stdnet.Dialer{LocalAddr: &stdnet.UDPAddr{IP: realisp.PhoneAddress.Addr().AsSlice(), Port: 40000}}
		conn, err = dialer.Dial("udp4", server)
		return err
	}); err != nil {
		return 0, err
	}
	defer conn.Close()
	packet, echo := append([]byte{0x80, 0, 0, 0}, make([]byte, 8+160)...), make([]byte, 1500)
	for n := range 50 {
		packet[3] = byte(n)
		binary.BigEndian.PutUint32(packet[4:], uint32(160*n))
		if _, err := conn.Write(packet); err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
			return heard, err
		}
		if err := conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
			return heard, err
		}
		if n, err := conn.Read(echo); err == nil && n == len(packet) {
			heard++
		}
	}
	return heard, nil
}

// TestOpenWrtPhone: netifd has the telephone's address and route and says so, and loses
// them with the network, without an ifdown.
func TestOpenWrtPhone(t *testing.T) {
	forEachPhone(t, false, func(t *testing.T, lab *topo.Lab, net realisp.Network, c carrier) {
		net.Router.Up("lan0")
		before := leftovers(net.Router)
		user := newUserProgram(t, lab)
		o := startOpenWrt(t, lab, net.Router, c.Now(), c.UCI(), func(_ *openWrt, opt *netifd.Options) {
			const program = "/usr/sbin/sofu-proto"
			opt.Programs[program] = append(opt.Programs[program], "--hook", user.path)
		})
		o.awaitUp(c.Now())
		o.awaitPhone(net)
		user.await(lab, realisp.PhoneAddress.String())
		o.check(net, c.Now())
		events := len(o.Events("wan"))

		openPhone(c, false)
		o.wan("renew")
		o.await("no telephone", func() error {
			s, _ := o.Status("wan")
			if !strings.Contains(string(s.Data["phone"]), "PHONE_REFUSED") || len(s.Addresses4) > 0 || len(routes4(s)) > 0 || !s.Up || len(s.Errors) > 0 || string(s.Data["error"]) != "{}" {
				return fmt.Errorf("%+v, telephone %s", s, s.Data["phone"])
			}
			return nil
		})
		if got := phoneKernel(net); len(got) > 0 {
			t.Errorf("IPv4 on %s: %q", realisp.WAN, got)
		}
		user.await(lab, "")
		checkIPv4(t, net, c.Now().IPv4)
		openPhone(c, true)
		o.wan("renew")
		o.awaitPhone(net)
		if more := o.Events("wan")[events:]; slices.Contains(more, "ifdown") {
			t.Errorf("wan went down for the telephone: %v", more)
		}

		o.wan("down")
		o.awaitDown("wan")
		net.Router.Run("ip", "link", "set", realisp.WAN, "down") // as it was
		if diff := cmp.Diff(before, leftovers(net.Router)); diff != "" {
			t.Errorf("what was left behind (-before +after):\n%s", diff)
		}
	})
}

func routes4(s netifd.Status) (list []netifd.RouteStatus) {
	for _, r := range s.Routes {
		if strings.Contains(r.Target, ".") {
			list = append(list, r)
		}
	}
	return list
}

// awaitPhone waits until netifd has the telephone's address and route, and nothing else
// of IPv4, and ifstatus says of it what status --json does.
func (o *openWrt) awaitPhone(net realisp.Network) {
	o.t.Helper()
	o.await("the telephone", func() error {
		s, _ := o.Status("wan")
		address := []netifd.AddressStatus{{Address: realisp.PhoneAddress.Addr().String(), Mask: realisp.PhoneAddress.Bits()}}
		route := []netifd.RouteStatus{{Target: realisp.PhoneRoute.Addr().String(), Mask: realisp.PhoneRoute.Bits(), NextHop: realisp.PhoneGateway.String()}}
		if diff := cmp.Diff(address, s.Addresses4) + cmp.Diff(route, routes4(s)); diff != "" {
			return errors.New(diff)
		}
		daemon, err := o.daemonStatus()
		if err != nil {
			return err
		}
		var told *status.Phone
		if err := json.Unmarshal(s.Data["phone"], &told); err != nil {
			return err
		}
		if diff := cmp.Diff(daemon.Phone, told, ofAddresses); diff != "" {
			return errors.New(diff)
		}
		return nil
	})
	s, err := o.daemonStatus()
	if err != nil {
		o.t.Fatal(err)
	}
	checkPhone(o.t, net, s)
}
