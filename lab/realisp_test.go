//go:build lab

package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"sofutobanku/lab/realisp"
	"sofutobanku/lab/rivals"
	"sofutobanku/lab/topo"
)

// The tests of this file use no program of ours: they prove that the line of
// package realisp works for clients that others wrote, so that a failure against
// it is ours.

// dictionary is the file of our RADIUS attributes. lab/test names it.
var dictionary = os.Getenv("LAB_DICTIONARY")

// realLine is a lab with a running line and a router that is only plugged in.
func realLine(t *testing.T, line realisp.Line) (*topo.Lab, realisp.Network, *realisp.ISP) {
	t.Helper()
	lab := topo.New(t)
	nw := realisp.NewNetwork(lab, topo.Cable{})
	return lab, nw, realisp.Start(lab, nw, dictionary, realisp.Default(line))
}

// TestRealServers: for each line, what a client is told by each server, and IPv4
// through the BR.
func TestRealServers(t *testing.T) {
	for _, line := range realisp.Lines {
		t.Run(string(line), func(t *testing.T) {
			lab, nw, isp := realLine(t, line)
			tcpdump := capture(nw.ISP, realisp.Port, "icmp6 and ip6[40] == 134 or udp port 546")
			nw.Router.Sysctl("ipv6/conf/wan0/accept_dad", "0")
			nw.Router.Sysctl("ipv6/conf/wan0/accept_ra", "2")
			nw.Router.Sysctl("ipv6/conf/wan0/router_solicitation_delay", "0")
			nw.Router.Up(realisp.WAN)

			t.Run("radvd", func(t *testing.T) { checkRA(t, isp, tcpdump) })
			if line != realisp.NextRA {
				t.Run("kea", func(t *testing.T) { checkDelegation(t, lab, nw, isp, tcpdump) })
				t.Run("telephone", func(t *testing.T) { checkTelephone(t, nw, isp) })
			}
			t.Run("freeradius", func(t *testing.T) { checkRADIUS(t, lab, nw, isp) })
			t.Run("tunnel", func(t *testing.T) { checkTunnel(t, lab, nw, isp) })
			t.Run("change", func(t *testing.T) {
				old := isp.Config
				isp.Change(func(c *realisp.Config) {
					c.Prefix = netip.PrefixFrom(netip.MustParseAddr("2001:db8:56:7800::"), c.Prefix.Bits())
					c.IPv4 = netip.MustParseAddr("192.0.2.99")
					c.BR = netip.MustParseAddr("2001:db8:b0::2999")
				})
				if line != realisp.NextRA {
					checkDelegation(t, lab, nw, isp, tcpdump)
				}
				checkRADIUS(t, lab, nw, isp)
				if out := radclient(lab, nw, isp, old.RadclientRequest()); !strings.Contains(out, "Access-Reject") {
					t.Errorf("the old account is still known:\n%s", out)
				}
				checkTunnel(t, lab, nw, isp)
			})
		})
	}
}

// capture starts a tcpdump on a device that is up and returns when it listens.
func capture(ns *topo.NS, dev, filter string) *topo.Process {
	p := ns.Start("tcpdump", "-i", dev, "-l", "-n", "-vv", "--immediate-mode", filter)
	p.WaitFor(10*time.Second, "listening on "+dev)
	return p
}

func checkRA(t *testing.T, isp *realisp.ISP, tcpdump *topo.Process) {
	got := tcpdump.WaitFor(10*time.Second, `hop limit (\d+), Flags \[(.*)\], pref medium, router lifetime (\d+)s, reachable time (\d+)ms, retrans timer (\d+)ms`)[1:]
	want := []string{"64", "managed, other stateful", "1800", "300000", "10000"}
	if isp.Line == realisp.NextRA {
		want[1] = "other stateful"
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("advertisement (-want +got):\n%s", diff)
	}
	// The options follow the header, one a line.
	if isp.Line == realisp.NextRA {
		tcpdump.WaitFor(10*time.Second, `prefix info option.*: 2001:db8:12:3400::/64, Flags \[onlink, auto\], valid time 14400s, pref. time 12600s`)
	}
	tcpdump.WaitFor(10*time.Second, `mtu option .*1500`)
	if isp.Line != realisp.NextRA && strings.Contains(tcpdump.Output(), "prefix info option") {
		t.Errorf("a line with DHCPv6 advertises a prefix:\n%s", tcpdump.Output())
	}
}

// checkDelegation lets dibbler-client ask for a prefix.
func checkDelegation(t *testing.T, lab *topo.Lab, nw realisp.Network, isp *realisp.ISP, tcpdump *topo.Process) {
	got := filepath.Join(lab.Dir("got"), "prefix")
	client := rivals.Dibbler.Start(lab, nw.Router, realisp.WAN, fmt.Sprintf("echo $1 >%[1]s.new && mv %[1]s.new %[1]s", got))
	defer client.Stop()
	client.Go()
	lab.Eventually(30*time.Second, "dibbler-client to get the prefix", func() error {
		prefix, err := os.ReadFile(got)
		if err != nil {
			return err
		}
		if p := strings.TrimSpace(string(prefix)); p != isp.Prefix.Addr().String() {
			return fmt.Errorf("the prefix is %s, want %s", p, isp.Prefix.Addr())
		}
		return nil
	})
	if want := fmt.Sprintf("IA_PD-prefix %s pltime:12600 vltime:14400", isp.Prefix); !strings.Contains(tcpdump.Output(), want) {
		t.Errorf("no reply had %q:\n%s", want, tcpdump.Output())
	}
}

// checkTelephone: NTT's options (17) are for those who bring NTT's vendor class.
func checkTelephone(t *testing.T, nw realisp.Network, isp *realisp.ISP) {
	want := []string{
		"201 00005e005301",
		"202 30333132333435363738",
		"204 086e74742d65617374076578616d706c65026a7000", // ntt-east.example.jp.
		"210 026677076578616d706c65026a7000",             // fw.example.jp.
	}
	for _, asked := range []bool{true, false} {
		msg, err := dhcpv6.NewMessage()
		if err != nil {
			t.Fatal(err)
		}
		msg.MessageType = dhcpv6.MessageTypeInformationRequest
		msg.AddOption(dhcpv6.OptClientID(&dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: isp.RouterMAC}))
		msg.AddOption(dhcpv6.OptElapsedTime(0))
		msg.AddOption(dhcpv6.OptRequestedOption(dhcpv6.OptionVendorOpts, dhcpv6.OptionSIPServersIPv6AddressList,
			dhcpv6.OptionDNSRecursiveNameServer, dhcpv6.OptionDomainSearchList, dhcpv6.OptionSNTPServerList))
		if asked {
			// A vendor class is a length and that many bytes: the MAC.
			msg.AddOption(&dhcpv6.OptVendorClass{EnterpriseNumber: 210, Data: [][]byte{isp.RouterMAC}})
		} else {
			want = nil
		}
		reply, err := ask(nw.Router, msg)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, o := range reply.Options.VendorOpts() {
			for _, sub := range o.VendorOpts {
				got = append(got, fmt.Sprintf("%d %x", sub.Code(), sub.ToBytes()))
			}
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("vendor class %v: suboptions (-want +got):\n%s", asked, diff)
		}
		for _, code := range []dhcpv6.OptionCode{
			dhcpv6.OptionSIPServersIPv6AddressList, dhcpv6.OptionDNSRecursiveNameServer,
			dhcpv6.OptionDomainSearchList, dhcpv6.OptionSNTPServerList,
		} {
			if reply.GetOneOption(code) == nil {
				t.Errorf("the reply has no %v", code)
			}
		}
	}
}

// ask sends a DHCPv6 message from the router's WAN until it is answered.
func ask(ns *topo.NS, msg *dhcpv6.Message) (*dhcpv6.Message, error) {
	var conn *net.UDPConn
	if err := ns.Do(func() (err error) {
		conn, err = net.ListenUDP("udp6", &net.UDPAddr{Port: dhcpv6.DefaultClientPort})
		return err
	}); err != nil {
		return nil, err
	}
	defer conn.Close()
	buf := make([]byte, 1500)
	for range 10 {
		to := &net.UDPAddr{IP: dhcpv6.AllDHCPRelayAgentsAndServers, Port: dhcpv6.DefaultServerPort, Zone: ns.Zone(realisp.WAN)}
		if _, err := conn.WriteTo(msg.ToBytes(), to); err != nil {
			return nil, err
		}
		if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			return nil, err
		}
		for {
			n, err := conn.Read(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return nil, err
			}
			// On its bridge Kea answers each message twice: the second answer to
			// the question before may come first.
			reply, err := dhcpv6.MessageFromBytes(buf[:n])
			if err != nil || reply.TransactionID == msg.TransactionID {
				return reply, err
			}
		}
	}
	return nil, errors.New("no answer to ten messages")
}

// radclient sends an Access-Request from the router's end of the tunnel and
// returns what radclient says of the answer.
func radclient(lab *topo.Lab, nw realisp.Network, isp *realisp.ISP, request string) string {
	dir := lab.Dir("radclient")
	lab.WriteFile(dir, "dictionary", realisp.Dictionary(dictionary))
	secret := lab.WriteFile(dir, "secret", isp.SharedSecret+"\n")
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	out, _ := nw.Router.TryInput(ctx, request, "radclient", "-x", "-r", "3", "-t", "3", "-D", dir, "-S", secret,
		realisp.RADIUS.String(), "auth") // its status says "rejected" too
	return out
}

func checkRADIUS(t *testing.T, lab *topo.Lab, nw realisp.Network, isp *realisp.ISP) {
	nw.Router.Addr("lo", isp.CE().String()+"/128")
	if isp.Line == realisp.NextRA {
		nw.Router.Addr(realisp.WAN, isp.CE().String()+"/64") // the carrier looks for it on the link
	}
	lab.Eventually(10*time.Second, "a route to the RADIUS server", func() error {
		_, err := nw.Router.Try("ping", "-6", "-c", "1", "-W", "1", "-I", isp.CE().String(), realisp.RADIUS.Addr().String())
		return err
	})

	out := radclient(lab, nw, isp, isp.RadclientRequest())
	for _, want := range []string{
		"Received Access-Accept",
		"SoftBankBB-IPv4-Address = " + isp.IPv4.String(),
		"SoftBankBB-BR-IPv6-Address = " + isp.BR.String(),
		"SoftBankBB-ICMP-Check-IPv4 = " + realisp.Host.String(),
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in radclient's\n%s", want, out)
		}
	}
	for name, request := range map[string]string{
		"wrong password": strings.Replace(isp.RadclientRequest(), isp.Password, "another", 1),
		"wrong model":    strings.Replace(isp.RadclientRequest(), "SoftBankBB-HW-Revision = \"", "SoftBankBB-HW-Revision = \"x", 1),
		"wrong line":     strings.Replace(isp.RadclientRequest(), "2001:0db8", "2001:0db9", 1),
	} {
		if out := radclient(lab, nw, isp, request); !strings.Contains(out, "Received Access-Reject") {
			t.Errorf("%s: no reject:\n%s", name, out)
		}
	}
}

// checkTunnel makes the router's end by hand and sends both ways, the largest
// packets of an MTU of 1460 too.
func checkTunnel(t *testing.T, lab *topo.Lab, nw realisp.Network, isp *realisp.ISP) {
	nw.Router.Tunnel("static", isp.CE(), isp.BR, 1460)
	defer nw.Router.DelLink("static")
	nw.Router.Addr("static", isp.IPv4.String()+"/32")
	nw.Router.Route("default", "", "static")
	checkIPv4(t, nw, isp.IPv4)
}

// checkIPv4 sends IPv4 from the router to the host behind the BR and, unasked,
// from there, in the largest packets of a tunnel's MTU of 1460 that must not be
// fragmented: 20 bytes of IPv4, 8 of ICMP, 1432 of data.
func checkIPv4(t *testing.T, nw realisp.Network, router netip.Addr) {
	t.Helper()
	for _, ping := range []struct {
		from *topo.NS
		to   netip.Addr
	}{{nw.Inet, router}, {nw.Router, realisp.Host}} {
		for _, size := range []string{"56", "1432"} {
			out, err := ping.from.Try("ping", "-c", "2", "-i", "0.1", "-W", "2", "-M", "do", "-s", size, ping.to.String())
			if err != nil || !strings.Contains(out, " 0% packet loss") {
				t.Errorf("ping of %s bytes from %s to %v: %v\n%s", size, ping.from.Name(), ping.to, err, out)
			}
		}
		if out, err := ping.from.Try("ping", "-c", "1", "-W", "0.3", "-M", "do", "-s", "1433", ping.to.String()); err == nil {
			t.Errorf("1461 bytes went from %s through an MTU of 1460:\n%s", ping.from.Name(), out)
		}
	}
}
