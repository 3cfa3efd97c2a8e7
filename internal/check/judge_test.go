package check

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sofutobanku/internal/dhcp6"
	"sofutobanku/internal/firewall"
	"sofutobanku/internal/link"
	"sofutobanku/internal/probe"
	"sofutobanku/internal/state"
	"sofutobanku/internal/status"
)

var update = flag.Bool("update", false, "write the golden files anew")

var (
	now  = time.Date(2026, 4, 1, 12, 0, 0, 0, time.UTC)
	mac  = net.HardwareAddr{0, 0, 0x5e, 0, 0x53, 1}
	ce   = netip.MustParseAddr("2001:db8:12:3400:1111:1111:1111:1111")
	br   = netip.MustParseAddr("2001:db8:b0::1919")
	ipv4 = netip.MustParseAddr("192.0.2.7")
	host = netip.MustParseAddr("198.51.100.1")
	dns6 = netip.MustParseAddr("2001:db8:a0::53")
	dns4 = netip.MustParseAddr("198.51.100.53")
	sntp = netip.MustParseAddr("2001:db8:a0::123")
	sip4 = netip.MustParseAddr("203.0.113.129")
)

// phone is the router's address in the telephone network.
var phone = netip.MustParsePrefix("203.0.113.2/30")

func left(seconds int64) status.Lifetime { return &seconds }

// good is a line that is up, of which nothing is wrong.
func good(t *testing.T) Facts {
	t.Helper()
	// What a router may be asked: a rule for the far end, and one for segment sizes.
	rules := parseRules(t, `{"match":{"op":"==","left":{"meta":{"key":"l4proto"}},"right":4}},{"accept":null}`)
	return Facts{
		Interface: "wan", Now: now,
		System: System{"sofu-tools 0", "OpenWrt 24.10.1", "Linux 6.6.86"},
		Line: Line{
			Device: "eth1", Phone: true,
			Source: func(p netip.Prefix) netip.Addr { return ce },
			Told:   func([]status.Attribute) Told { return Told{host, []netip.Addr{dns4}} },
		},
		Status: &status.Status{
			Interface: "wan", State: state.Up, Since: now.Add(-time.Hour),
			WAN: status.WAN{
				Device: "eth1", MTU: 1500, DNS: []netip.Addr{dns6}, NTP: []netip.Addr{sntp},
				Routers: []status.Router{{Address: netip.MustParseAddr("fe80::1"), Valid: left(1700)}},
			},
			Prefix:   &status.Prefix{Prefix: netip.MustParsePrefix("2001:db8:12:3400::/56"), Preferred: left(9000), Valid: left(10800)},
			Tunnel:   &status.Tunnel{Device: "sofu-wan_4", Local: ce, Remote: br, IPv4: ipv4, MTU: 1460},
			Phone:    &status.Phone{Numbers: []string{"0312345678"}, SIP4: []netip.Addr{sip4}, Address: &phone},
			Auth:     &status.Auth{Server: netip.MustParseAddrPort("[2001:db8:a0::1812]:1812"), RTTMS: 21.5},
			Counters: map[string]uint64{"dhcp6.sent.solicit": 1, "radius.sent.access-request": 1},
		},
		Lease: &dhcp6.Saved{DUID: append([]byte{0, 3, 0, 1}, mac...), IAID: 1,
			Prefixes: []dhcp6.SavedPrefix{{Prefix: netip.MustParsePrefix("2001:db8:12:3400::/56"), Preferred: 12600, Valid: 14400}}},
		Kernel: Kernel{
			Link:         link.State{Exists: true, Index: 3, Name: "eth1", MAC: mac, MTU: 1500, Up: true, LinkLocal: netip.MustParseAddr("fe80::200:5eff:fe00:5301")},
			Addresses:    map[netip.Addr]string{ce: "sofu-wan_4", ipv4: "sofu-wan_4", phone.Addr(): "eth1"},
			DefaultRoute: true, Module: ModuleThere,
			Tunnel: &Tunnel{Name: "sofu-wan_4", Up: true, Local: ce, Remote: br, MTU: 1460, EncapLimit: -1, Sent: 12, Heard: 11},
		},
		Rules: rules,
		Segment: &probe.Segment{
			Routers:    []probe.Advertiser{{Addr: netip.MustParseAddr("fe80::1"), MAC: "00:00:5e:00:53:00", Lifetime: 1800 * time.Second, Managed: true, Other: true}},
			Neighbours: []probe.Neighbour{{Addr: netip.MustParseAddr("fe80::200:5eff:fe00:5300"), MAC: "00:00:5e:00:53:00", Router: true}},
		},
		BR:          &probe.Path{Answered: true, RTT: 20 * time.Millisecond, MTU: 1500, Most: 1500},
		IPv4:        &probe.Path{Answered: true, RTT: 21 * time.Millisecond, MTU: 1460, Most: 1460},
		Target:      host,
		DNS:         []Answer{{dns6, 12 * time.Millisecond, nil}, {dns4, 13 * time.Millisecond, nil}},
		ClockServer: sntp,
	}
}

func parseRules(t *testing.T, input string) *firewall.Ruleset {
	t.Helper()
	r, err := firewall.Parse([]byte(`{"nftables":[
		{"chain":{"family":"inet","table":"fw4","name":"input","hook":"input","prio":0,"policy":"drop"}},
		{"rule":{"family":"inet","table":"fw4","chain":"input","expr":[` + input + `]}},
		{"chain":{"family":"inet","table":"fw4","name":"mangle_forward","hook":"forward","prio":-150,"policy":"accept"}},
		{"rule":{"family":"inet","table":"fw4","chain":"mangle_forward","expr":[{"mangle":{"key":{"tcp option":{"name":"maxseg","field":"size"}},"value":{"rt":{"key":"mtu"}}}}]}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// noTunnelYet takes away what comes after the authentication.
func noTunnelYet(f *Facts) {
	f.Status.State, f.Status.Tunnel, f.Status.Auth = state.IPv6, nil, nil
	f.Kernel.Tunnel, f.BR, f.IPv4, f.Target = nil, nil, nil, netip.Addr{}
	f.Kernel.Addresses = map[netip.Addr]string{ce: "lo", phone.Addr(): "eth1"}
	f.DNS = f.DNS[:1]
}

// noLeaseYet takes away what comes after the prefix.
func noLeaseYet(f *Facts) {
	noTunnelYet(f)
	f.Status.State, f.Status.Prefix, f.Status.WAN.DNS = state.Starting, nil, nil
	f.Lease, f.DNS, f.ClockServer = nil, nil, netip.Addr{}
	f.Kernel.Addresses = nil
}

func daemonSays(f *Facts, code string) {
	f.Status.Error = &status.Error{Code: code, Text: code + " in words"}
}

// phoneSays is a telephone network that is not joined for a reason.
func phoneSays(f *Facts, code string) {
	f.Status.Phone.Address, f.Status.Phone.Error = nil, &status.Error{Code: code, Text: code + " in words"}
}

// homeGateway is one of which nothing is wrong, but for what change does.
func homeGateway(change func(*status.HGW)) func(*Facts) {
	return func(f *Facts) {
		prefix := netip.MustParsePrefix("2001:db8:12:34f0::/60")
		f.Status.Phone.Address = nil
		f.Status.HGW = &status.HGW{Device: "lan4", Carrier: true, MAC: "00:00:5e:00:53:10", Prefix: &prefix, Valid: left(10800), Forwarding: "nft"}
		change(f.Status.HGW)
	}
}

func hgwSays(code string) func(*Facts) {
	return homeGateway(func(h *status.HGW) { h.Error = &status.Error{Code: code, Text: code + " in words"} })
}

func noIPv4(f *Facts) {
	f.IPv4, f.DNS[1].Err = &probe.Path{}, errors.New("no answer")
}

// TestCause: whatever is wrong, the right check is named.
func TestCause(t *testing.T) {
	for _, tt := range []struct {
		name    string
		wrong   func(*Facts)
		cause   string // "" for none
		verdict Verdict
	}{
		{"nothing", func(*Facts) {}, "", ""},
		{"an unreadable configuration", func(f *Facts) {
			noLeaseYet(f)
			f.LineErr = errors.New("a\nb")
			f.Status, f.StatusErr = nil, fs.ErrNotExist
		}, "config", Fail},
		{"nobody's business", func(f *Facts) { f.LineErr, f.Status, f.StatusErr = fs.ErrPermission, nil, fs.ErrPermission }, "config", Fail},
		{"no device", func(f *Facts) { noLeaseYet(f); f.Kernel.Link = link.State{Name: "eth1"}; f.Segment = nil }, "link", Fail},
		{"no carrier", func(f *Facts) { noLeaseYet(f); f.Kernel.Link.Up = false; f.Segment = nil }, "link", Fail},
		{"no carrier, which netifd ends the daemon for", func(f *Facts) {
			noLeaseYet(f)
			f.Kernel.Link.Up, f.Segment, f.Status, f.StatusErr = false, nil, nil, fs.ErrNotExist
		}, "link", Fail},
		{"a duplicate address", func(f *Facts) {
			noLeaseYet(f)
			f.Kernel.Link.LinkLocal, f.Kernel.Link.DADFailed = netip.Addr{}, true
		}, "link", Fail},
		{"no link-local address", func(f *Facts) { noLeaseYet(f); f.Kernel.Link.LinkLocal = netip.Addr{} }, "link", Fail},
		{"no ip6_tunnel, as the daemon found", func(f *Facts) { noTunnelYet(f); daemonSays(f, "NO_IP6TNL") }, "module", Fail},
		{"no ip6_tunnel", func(f *Facts) { noTunnelYet(f); f.Kernel.Module = ModuleMissing }, "module", Fail},
		{"no daemon", func(f *Facts) { noLeaseYet(f); f.Status, f.StatusErr = nil, fs.ErrNotExist }, "daemon", Fail},
		{"another DHCPv6 client here", func(f *Facts) { noLeaseYet(f); daemonSays(f, "DHCP_SOCKET") }, "daemon", Fail},
		{"netifd refuses", func(f *Facts) { daemonSays(f, "UBUS") }, "daemon", Fail},
		{"no router", func(f *Facts) {
			noLeaseYet(f)
			f.Segment, f.Status.WAN.Routers = &probe.Segment{}, nil
		}, "router", Fail},
		{"a router that is none by default", func(f *Facts) {
			noLeaseYet(f)
			f.Segment.Routers[0].Lifetime, f.Status.WAN.Routers = 0, nil
		}, "router", Fail},
		{"a router that was there", func(f *Facts) { f.Segment = &probe.Segment{} }, "router", Warn},
		{"another client asks for the prefix", func(f *Facts) {
			noLeaseYet(f)
			f.Segment.Clients = []probe.Client{{MAC: "00:00:5e:00:53:99", Delegation: true}}
		}, "segment", Fail},
		{"another client asks for the prefix that is here", func(f *Facts) {
			f.Segment.Clients = []probe.Client{{MAC: "00:00:5e:00:53:99", Delegation: true}}
		}, "segment", Warn},
		{"another client asks for an address", func(f *Facts) {
			f.Segment.Clients = []probe.Client{{MAC: "00:00:5e:00:53:99"}}
		}, "", ""},
		{"another router on the segment", func(f *Facts) {
			noLeaseYet(f)
			f.Segment.Neighbours = append(f.Segment.Neighbours, probe.Neighbour{MAC: "00:00:5e:00:53:99", Router: true})
		}, "segment", Fail},
		{"another host on the segment", func(f *Facts) {
			f.Segment.Neighbours = append(f.Segment.Neighbours, probe.Neighbour{MAC: "00:00:5e:00:53:99"})
		}, "", ""},
		{"a DUID of another kind", func(f *Facts) { noLeaseYet(f); f.Line.DUID = []byte{0, 1, 0, 1, 9, 9, 9, 9, 9} }, "duid", Fail},
		{"a DUID of another kind that works", func(f *Facts) { f.Line.DUID = []byte{0, 4, 9, 9} }, "duid", Warn},
		{"another MAC address than before", func(f *Facts) {
			lease := f.Lease
			noLeaseYet(f)
			f.Lease, f.Kernel.Link.MAC = lease, net.HardwareAddr{0, 0, 0x5e, 0, 0x53, 2}
		}, "duid", Fail},
		{"another MAC address than before, and a prefix", func(f *Facts) { f.Kernel.Link.MAC = net.HardwareAddr{0, 0, 0x5e, 0, 0x53, 2} }, "", ""},
		{"the unit's MAC address", func(f *Facts) { f.Line.DUID = []byte{0, 3, 0, 1, 0, 0, 0x5e, 0, 0x53, 3} }, "", ""},
		{"no prefix", noLeaseYet, "lease", Fail},
		{"a prefix is refused", func(f *Facts) { noLeaseYet(f); daemonSays(f, "NO_PREFIX") }, "lease", Fail},
		{"the lease is not renewed", func(f *Facts) { f.Status.Prefix.Preferred = left(1200) }, "lease", Warn},
		{"the lease is over soon", func(f *Facts) { f.Lease = nil; f.Status.Prefix.Preferred = left(0) }, "lease", Warn},
		{"a lease for ever", func(f *Facts) { f.Status.Prefix.Preferred, f.Status.Prefix.Valid = nil, nil }, "", ""},
		{"an advertised prefix", func(f *Facts) {
			f.Status.Prefix, f.Lease = nil, nil
			f.Status.WAN.Addresses = []status.Address{{Address: netip.MustParsePrefix("2001:db8:12:3400::1/64"), Valid: left(1000)}}
		}, "", ""},
		{"the own address is nowhere", func(f *Facts) { noTunnelYet(f); f.Kernel.Addresses = nil }, "source", Fail},
		{"no default route", func(f *Facts) { f.Kernel.DefaultRoute = false }, "source", Fail},
		{"rejected", func(f *Facts) { noTunnelYet(f); daemonSays(f, "AUTH_REJECTED") }, "auth", Fail},
		{"rejected later", func(f *Facts) { daemonSays(f, "AUTH_REJECTED") }, "auth", Warn},
		{"silent", func(f *Facts) { noTunnelYet(f); daemonSays(f, "AUTH_SILENT") }, "auth", Fail},
		{"silent so far", func(f *Facts) { noTunnelYet(f); f.Status.Counters["radius.sent.access-request"] = 3 }, "auth", Fail},
		{"nobody listens", func(f *Facts) { noTunnelYet(f); f.Status.Counters["radius.error.refused"] = 3 }, "auth", Fail},
		{"another secret", func(f *Facts) { noTunnelYet(f); daemonSays(f, "AUTH_SECRET") }, "auth", Fail},
		{"another secret so far", func(f *Facts) { noTunnelYet(f); f.Status.Counters["radius.drop.authenticator"] = 1 }, "auth", Fail},
		{"not asked", func(f *Facts) { noTunnelYet(f); f.Status.Counters = nil }, "auth", Fail},
		{"the tunnel is gone", func(f *Facts) { f.Kernel.Tunnel, f.Kernel.Addresses = nil, nil; noIPv4(f) }, "tunnel", Fail},
		{"the tunnel is down", func(f *Facts) { f.Kernel.Tunnel.Up, f.Kernel.Addresses = false, nil; noIPv4(f) }, "tunnel", Fail},
		{"the tunnel goes elsewhere", func(f *Facts) { f.Kernel.Tunnel.Remote = host; noIPv4(f) }, "tunnel", Fail},
		{"the IPv4 address is gone", func(f *Facts) { delete(f.Kernel.Addresses, ipv4); noIPv4(f) }, "tunnel", Fail},
		{"an encapsulation limit", func(f *Facts) { f.Kernel.Tunnel.EncapLimit = 4; noIPv4(f) }, "tunnel", Fail},
		{"an encapsulation limit that does no harm", func(f *Facts) { f.Kernel.Tunnel.EncapLimit = 4 }, "tunnel", Warn},
		{"a tunnel too wide", func(f *Facts) { f.Kernel.Tunnel.MTU = 1500 }, "tunnel", Warn},
		{"the firewall drops all of it", func(f *Facts) { f.Rules = parseRules(t, `{"drop":null}`); noIPv4(f) }, "firewall", Fail},
		{"the firewall lets answers in alone", func(f *Facts) {
			f.Rules = parseRules(t, `{"match":{"op":"==","left":{"ct":{"key":"state"}},"right":"established"}},{"accept":null}`)
		}, "firewall", Warn},
		{"the firewall does what nobody knows", func(f *Facts) { f.Rules = parseRules(t, `{"limit":{}},{"accept":null}`) }, "", ""},
		{"no nft", func(f *Facts) { f.Rules, f.RulesErr = nil, errors.New("none") }, "", ""},
		{"the far end is silent", func(f *Facts) { f.BR = &probe.Path{Trouble: "destination unreachable"}; noIPv4(f) }, "br", Fail},
		{"the far end answers no echo", func(f *Facts) { f.BR = &probe.Path{} }, "", ""},
		{"nothing comes back through the tunnel", noIPv4, "ipv4", Fail},
		{"the echo target alone is silent", func(f *Facts) { f.IPv4 = &probe.Path{} }, "ipv4", Warn},
		{"a narrow hop", func(f *Facts) { f.BR.MTU, f.IPv4.MTU = 1280, 1240 }, "mtu", Warn},
		{"a narrow hop, and nobody to ask beyond", func(f *Facts) { f.BR.MTU, f.IPv4, f.Target = 1280, nil, netip.Addr{} }, "mtu", Warn},
		{"segment sizes are left alone", func(f *Facts) {
			f.Rules, _ = firewall.Parse([]byte(`{"nftables":[{"chain":{"family":"inet","table":"t","name":"c"}},{"rule":{"family":"inet","table":"t","chain":"c","expr":[]}}]}`))
		}, "mss", Warn},
		{"no name server answers", func(f *Facts) { f.DNS[0].Err, f.DNS[1].Err = errors.New("no answer"), errors.New("refused") }, "dns", Fail},
		{"one name server does not answer", func(f *Facts) { f.DNS[0].Err = errors.New("no answer") }, "dns", Warn},
		{"the clock is late", func(f *Facts) { f.ClockBehind = time.Hour }, "clock", Warn},
		{"the clock is of another age", func(f *Facts) {
			f.Now = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
			f.Status.Since = f.Now
		}, "clock", Warn},
		{"no telephone network answers", func(f *Facts) { phoneSays(f, "PHONE_SILENT") }, "phone", Fail},
		{"the telephone network refuses", func(f *Facts) { phoneSays(f, "PHONE_REFUSED") }, "phone", Fail},
		{"somebody has the telephone's address", func(f *Facts) { phoneSays(f, "PHONE_CONFLICT") }, "phone", Fail},
		{"no socket for the telephone network", func(f *Facts) { phoneSays(f, "PHONE_SOCKET") }, "phone", Fail},
		{"the kernel refuses the telephone's address", func(f *Facts) { phoneSays(f, "PHONE_APPLY") }, "phone", Fail},
		{"the telephone network is silent later", func(f *Facts) { phoneSays(f, "PHONE_SILENT"); f.Status.Phone.Address = &phone }, "phone", Warn},
		{"the telephone's address is on no device", func(f *Facts) { delete(f.Kernel.Addresses, phone.Addr()) }, "phone", Fail},
		{"the telephone network has not answered yet", func(f *Facts) { f.Status.Phone.Address = nil }, "phone", Warn},
		{"a telephone that nobody wants", func(f *Facts) { f.Status.Phone.Address, f.Line.Phone = nil, false }, "", ""},
		{"a telephone without a number", func(f *Facts) { f.Status.Phone = &status.Phone{} }, "", ""},
		{"no telephone", func(f *Facts) { f.Status.Phone = nil }, "", ""},
		{"a home gateway in order", homeGateway(func(*status.HGW) {}), "", ""},
		{"a home gateway whose port is not there", hgwSays("HGW_DEVICE"), "hgw", Fail},
		{"a prefix without room for a home gateway", hgwSays("HGW_NO_PREFIX"), "hgw", Fail},
		{"a kernel that cannot forward to a home gateway", hgwSays("HGW_FORWARD"), "hgw", Fail},
		{"another DHCPv6 server beside the home gateway's", hgwSays("HGW_SOCKET"), "hgw", Fail},
		{"a route to the home gateway is refused", hgwSays("HGW_APPLY"), "hgw", Fail},
		{"a home gateway without a cable", homeGateway(func(h *status.HGW) { h.Carrier = false }), "hgw", Warn},
		{"a home gateway that says nothing", homeGateway(func(h *status.HGW) { h.MAC, h.Prefix = "", nil }), "hgw", Warn},
		{"a home gateway that wants nothing", homeGateway(func(h *status.HGW) { h.Prefix = nil }), "hgw", Warn},
		{"a home gateway on a line without a prefix", func(f *Facts) {
			noLeaseYet(f)
			homeGateway(func(h *status.HGW) { h.Prefix = nil })(f)
		}, "lease", Fail},
		{"no telephone network, and no IPv4", func(f *Facts) { phoneSays(f, "PHONE_SILENT"); noIPv4(f) }, "ipv4", Fail},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := good(t)
			tt.wrong(&f)
			r := Judge(f)
			if tt.cause == "" {
				if r.Cause != nil || r.Worst() != OK {
					t.Errorf("cause %+v, want none:\n%s", r.Cause, text(t, r))
				}
				return
			}
			if r.Cause == nil || r.Cause.Name != tt.cause || r.Worst() != tt.verdict {
				t.Errorf("cause %+v with %s, want %s with %s:\n%s", r.Cause, r.Worst(), tt.cause, tt.verdict, text(t, r))
			}
			if r.Cause != nil && r.Cause.Text == "" {
				t.Error("the cause has no text")
			}
		})
	}
}

func text(t *testing.T, r Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.WriteText(&b, false); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// TestForms: what a person and a program read of a line in order, of one that is not, and
// of one of which nothing is known.
func TestForms(t *testing.T) {
	rejected := good(t)
	noTunnelYet(&rejected)
	daemonSays(&rejected, "AUTH_REJECTED")
	rejected.Status.Error.Text += " \x1b[2J"
	for name, f := range map[string]Facts{"up": good(t), "rejected": rejected, "nothing": {Interface: "wan", Now: now, LineErr: errors.New("no file"), StatusErr: errors.New("it took too long")}} {
		r := Judge(f)
		golden(t, name+".txt", []byte(text(t, r)))
		var b bytes.Buffer
		if err := json.Indent(&b, r.JSON(), "", "  "); err != nil {
			t.Fatal(err)
		}
		golden(t, name+".json", b.Bytes())
	}
	var b bytes.Buffer
	if err := Judge(good(t)).WriteText(&b, true); err != nil || !bytes.Contains(b.Bytes(), []byte("\x1b[32mok")) {
		t.Errorf("no colours: %v", err)
	}
}
