package check

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sofutobanku/internal/firewall"
	"sofutobanku/internal/state"
	"sofutobanku/internal/status"
)

// Judge makes a Report of facts.
func Judge(f Facts) Report {
	r := Report{Interface: f.Interface}
	for _, c := range []struct {
		name  string
		judge func(*Facts) finding
	}{
		{"config", (*Facts).config},
		{"link", (*Facts).link},
		{"module", (*Facts).module},
		{"daemon", (*Facts).daemon},
		{"router", (*Facts).router},
		{"segment", (*Facts).segment},
		{"duid", (*Facts).duid},
		{"lease", (*Facts).lease},
		{"source", (*Facts).source},
		{"auth", (*Facts).auth},
		{"tunnel", (*Facts).tunnel},
		{"firewall", (*Facts).firewall},
		{"br", (*Facts).br},
		{"ipv4", (*Facts).ipv4},
		{"mtu", (*Facts).mtu},
		{"mss", (*Facts).mss},
		{"dns", (*Facts).dns},
		{"clock", (*Facts).clock},
		{"phone", (*Facts).phone},
		{"hgw", (*Facts).hgw},
		{"system", (*Facts).system},
	} {
		found := c.judge(&f)
		r.Checks = append(r.Checks, Check{c.name, found.verdict, found.seen, found.remedy})
	}
	r.Cause = r.cause()
	return r
}

type finding struct {
	verdict      Verdict
	seen, remedy string
}

func ok(format string, args ...any) finding   { return finding{OK, fmt.Sprintf(format, args...), ""} }
func skip(format string, args ...any) finding { return finding{Skip, fmt.Sprintf(format, args...), ""} }

func warn(remedy, format string, args ...any) finding {
	return finding{Warn, fmt.Sprintf(format, args...), remedy}
}

func fail(remedy, format string, args ...any) finding {
	return finding{Fail, fmt.Sprintf(format, args...), remedy}
}

// onlyWarn is for what is wrong and does no harm now.
func (f finding) onlyWarn(harmless bool) finding {
	if harmless && f.verdict == Fail {
		f.verdict = Warn
	}
	return f
}

// Codes of state.Error that other checks than the daemon's tell of.
var elsewhere = []string{
	"NO_DEVICE", "NO_CARRIER", "NO_RA", "NO_PREFIX", "DAD_FAILED", "NO_IP6TNL",
	"AUTH_SILENT", "AUTH_REJECTED", "AUTH_SECRET", "AUTH_FAILED", "CONFIG",
}

const (
	noDaemon = "no sofu-proto tells"
	noLease  = "there is no prefix"
	noTunnel = "there is no tunnel"
)

// problem is the daemon's error if it has one of these codes.
func (f *Facts) problem(codes ...string) *status.Error {
	if f.Status == nil || f.Status.Error == nil || !slices.Contains(codes, f.Status.Error.Code) {
		return nil
	}
	return f.Status.Error
}

// prefix is the line's, delegated or advertised.
func (f *Facts) prefix() (p netip.Prefix, preferred, valid status.Lifetime, ok bool) {
	if f.Status == nil {
		return p, nil, nil, false
	}
	if d := f.Status.Prefix; d != nil {
		return d.Prefix, d.Preferred, d.Valid, true
	}
	if f.Status.State == state.IPv6 || f.Status.State == state.Up {
		for _, a := range f.Status.WAN.Addresses {
			if a.Address.Bits() == 64 {
				return a.Address.Masked(), a.Preferred, a.Valid, true
			}
		}
	}
	return p, nil, nil, false
}

func (f *Facts) hasPrefix() bool { _, _, _, ok := f.prefix(); return ok }

// carriesIPv4 tells that something came back through the tunnel just now.
func (f *Facts) carriesIPv4() bool {
	return f.IPv4 != nil && f.IPv4.Answered ||
		slices.ContainsFunc(f.DNS, func(a Answer) bool { return a.Server.Is4() && a.Err == nil })
}

func (f *Facts) config() finding {
	switch {
	case errors.Is(f.LineErr, fs.ErrPermission):
		return fail("run it as root", "the configuration cannot be read: %s", oneLine(f.LineErr))
	case f.LineErr != nil:
		return fail("correct it, then: ifup "+f.Interface, "the configuration cannot work: %s", oneLine(f.LineErr))
	}
	return ok("the configuration can be read")
}

func oneLine(err error) string { return strings.Join(strings.Split(err.Error(), "\n"), "; ") }

func (f *Facts) link() finding {
	dev := f.Line.Device
	l := f.Kernel.Link
	const cable = "check the cable to the ONU and that the ONU is powered"
	switch {
	case dev == "":
		return skip("no device is known")
	case f.KernelErr != nil:
		return skip("cannot be asked: %v", f.KernelErr)
	case !l.Exists:
		return fail("check option device", "there is no network device %s", dev)
	case !l.Up:
		return fail(cable, "%s is down or has no carrier", dev)
	case l.DADFailed && !l.LinkLocal.IsValid():
		return fail("two devices have one MAC address: change one of them", "another device on %s uses this router's link-local address", dev)
	case !l.LinkLocal.IsValid():
		return fail("check that IPv6 is not disabled on it, and try again in some seconds", "%s has no usable link-local address", dev)
	}
	return ok("%s is up, MTU %d, %s, %s", dev, l.MTU, l.MAC, l.LinkLocal)
}

func (f *Facts) module() finding {
	const remedy = "install it (OpenWrt: kmod-ip6-tunnel)"
	if e := f.problem("NO_IP6TNL"); e != nil {
		return fail(remedy, "%s", e.Text)
	}
	switch {
	case f.Kernel.Tunnel != nil || f.Kernel.Module == ModuleThere:
		return ok("the kernel has ip6_tunnel")
	case f.Kernel.Module == ModuleMissing:
		return fail(remedy, "the kernel has no ip6_tunnel")
	}
	return skip("it cannot be told whether the kernel has ip6_tunnel")
}

func (f *Facts) daemon() finding {
	again := "ifup " + f.Interface + "; 'logread -e " + f.Interface + "' says why if it does not stay"
	switch {
	case f.Status != nil:
	case f.StatusErr == nil, errors.Is(f.StatusErr, fs.ErrNotExist), errors.Is(f.StatusErr, unix.ECONNREFUSED):
		return fail(again, "no sofu-proto runs for %s", f.Interface)
	default:
		return fail(again, "the sofu-proto of %s does not answer: %s", f.Interface, oneLine(f.StatusErr))
	}
	if e := f.Status.Error; e != nil && !slices.Contains(elsewhere, e.Code) {
		remedy := "'logread -e " + f.Interface + "' says more"
		if e.Code == "DHCP_SOCKET" {
			remedy = "remove the interface with the other client (proto dhcpv6, often wan6)"
		}
		return fail(remedy, "%s: %s", e.Code, e.Text)
	}
	return ok("sofu-proto runs, the line is %s for %s", f.Status.State, status.ForPeople(f.Now.Sub(f.Status.Since)))
}

func (f *Facts) router() finding {
	const remedy = "is it the port to the ONU, and is the line in order?"
	if !f.Kernel.Link.Up {
		return skip("the link is not up")
	}
	var heard []string
	defaultRouter := false
	if f.Segment != nil {
		for _, r := range f.Segment.Routers {
			flags := ""
			if r.Managed {
				flags += " M"
			}
			if r.Other {
				flags += " O"
			}
			heard = append(heard, fmt.Sprintf("%s (%s%s, for %s)", r.Addr, r.MAC, flags, status.ForPeople(r.Lifetime)))
			defaultRouter = defaultRouter || r.Lifetime > 0
		}
	}
	known := f.Status != nil && len(f.Status.WAN.Routers) > 0
	switch {
	case defaultRouter:
		return ok("advertised: %s", strings.Join(heard, ", "))
	case len(heard) > 0 && !known:
		return fail(remedy, "a router advertises itself, and not as a default router: %s", strings.Join(heard, ", "))
	case known && f.SegmentErr == nil:
		r := f.Status.WAN.Routers[0]
		return warn("if it stays so, the line ends when its time is over: a switch between may lose multicast", "%s is known (%s), and did not answer a solicitation just now", r.Address, lasting(r.Valid))
	case known:
		return ok("%s is known", f.Status.WAN.Routers[0].Address)
	case f.SegmentErr != nil:
		return skip("cannot be asked: %v", f.SegmentErr)
	}
	return fail(remedy, "no router advertises itself on %s", f.Line.Device)
}

func lasting(l status.Lifetime) string {
	if l == nil {
		return "for ever"
	}
	return status.ForPeople(time.Duration(*l)*time.Second) + " left"
}

// segment looks for those who would take the prefix away.
func (f *Facts) segment() finding {
	const remedy = "two routers on one line take the prefix from each other: disconnect the other one, such as the carrier's own"
	if f.Segment == nil || f.SegmentErr != nil {
		return skip("nobody could be asked")
	}
	for _, c := range f.Segment.Clients {
		if c.Delegation {
			return fail(remedy, "another DHCPv6 client asks for a prefix: %s (%s)", c.MAC, c.Addr).onlyWarn(f.hasPrefix())
		}
	}
	for _, n := range f.Segment.Neighbours {
		advertises := false
		for _, r := range f.Segment.Routers {
			advertises = advertises || r.MAC == n.MAC || r.Addr == n.Addr
		}
		if n.Router && !advertises && len(f.Segment.Routers) > 0 {
			return fail(remedy, "another router is on the segment: %s (%s)", n.MAC, n.Addr).onlyWarn(f.hasPrefix())
		}
	}
	return ok("nobody else asks for a prefix; %d other addresses answer", len(f.Segment.Neighbours))
}

// duidLL begins a DUID-LL of Ethernet (RFC 8415 11.4).
var duidLL = []byte{0, 3, 0, 1}

func (f *Facts) duid() finding {
	mac := f.Kernel.Link.MAC
	duid := f.Line.DUID
	if len(duid) == 0 && len(mac) > 0 {
		duid = slices.Concat(duidLL, mac)
	}
	switch {
	case len(duid) == 0 || f.LineErr != nil:
		return skip("it cannot be told which client identifier is used")
	case !bytes.HasPrefix(duid, duidLL):
		return fail("remove option clientid", "the client identifier is no DUID-LL but of type %s, to which such lines give no prefix", duidType(duid)).onlyWarn(f.hasPrefix())
	case f.Lease != nil && !bytes.Equal(f.Lease.DUID, duid) && !f.hasPrefix():
		return fail("go back to the former MAC address or client identifier, or wait until that lease is over",
			"the line gave its last prefix to another client identifier (%x) than is used now (%x), and may hold it for that one", f.Lease.DUID, duid)
	case len(mac) > 0 && !bytes.Equal(duid[len(duidLL):], mac):
		return ok("the client identifier is a DUID-LL, of another MAC address than %s has", f.Line.Device)
	}
	return ok("the client identifier is a DUID-LL")
}

func duidType(duid []byte) string {
	names := []string{1: "1 (LLT)", 2: "2 (EN)", 3: "3 (LL), not of Ethernet", 4: "4 (UUID)"}
	if len(duid) > 1 && duid[0] == 0 && int(duid[1]) < len(names) && duid[1] > 0 {
		return names[duid[1]]
	}
	return "unknown"
}

func (f *Facts) lease() finding {
	switch {
	case f.Status == nil:
		return skip(noDaemon)
	case !f.Kernel.Link.Up:
		return skip("the link is not up")
	}
	p, preferred, valid, found := f.prefix()
	if !found {
		const remedy = "check that no other router or home gateway is on the line; after a change of the MAC address or the client identifier a line may answer nothing until the former lease is over"
		if e := f.problem("NO_PREFIX"); e != nil {
			return fail(remedy, "%s", e.Text)
		}
		c := f.Status.Counters
		return fail(remedy, "no prefix yet: %d Solicit sent, %d Advertise and %d Reply heard", c["dhcp6.sent.solicit"], c["dhcp6.received.advertise"], c["dhcp6.received.reply"])
	}
	if f.Status.Prefix == nil {
		return ok("%s, advertised (%s)", p, lasting(valid))
	}
	late := preferred != nil && *preferred == 0
	if f.Lease != nil && preferred != nil {
		for _, s := range f.Lease.Prefixes {
			// T2 is 0.8 of the preferred lifetime where the server leaves it to us
			// (RFC 8415 14.2), and somewhat later on the lines that are known.
			late = late || s.Prefix == p && *preferred < int64(s.Preferred)/10
		}
	}
	if late {
		return warn("the line goes down when its time is over, unless a server answers before", "%s is not renewed in time (%s; %d Renew and %d Rebind unanswered)",
			p, lasting(valid), f.Status.Counters["dhcp6.unanswered.renew"], f.Status.Counters["dhcp6.unanswered.rebind"])
	}
	return ok("%s, delegated (%s)", p, lasting(valid))
}

func (f *Facts) source() finding {
	p, _, _, found := f.prefix()
	if !found || f.Line.Source == nil {
		return skip(noLease)
	}
	a := f.Line.Source(p)
	dev := f.Kernel.Addresses[a]
	switch {
	case dev == "" && f.Status.Tunnel != nil && f.Kernel.Addresses[f.Status.Tunnel.Local] != "":
		a = f.Status.Tunnel.Local
		dev = f.Kernel.Addresses[a]
	case dev == "" && f.Status.Tunnel != nil && (f.Kernel.Tunnel == nil || !f.Kernel.Tunnel.Up):
		return skip("it should be on the tunnel's device")
	case dev == "":
		return fail("'logread -e "+f.Interface+"' says why; ifup "+f.Interface, "the line's own address %s is on no device", a)
	}
	if !f.Kernel.DefaultRoute {
		return fail("check option defaultroute, and that a router is known", "there is no IPv6 default route")
	}
	return ok("%s is on %s, and there is a default route", a, dev)
}

func (f *Facts) auth() finding {
	if !f.hasPrefix() {
		return skip(noLease)
	}
	granted := f.Status.Tunnel != nil
	remedies := map[string]string{
		"AUTH_SILENT":   "check option auth_server",
		"AUTH_REJECTED": "check options password, line and mac",
		"AUTH_SECRET":   "check option shared_secret",
	}
	if e := f.problem("AUTH_SILENT", "AUTH_REJECTED", "AUTH_SECRET", "AUTH_FAILED"); e != nil {
		return fail(remedies[e.Code], "%s", e.Text).onlyWarn(granted)
	}
	if a := f.Status.Auth; a != nil {
		return ok("%s granted the line, in %.1f ms", a.Server, a.RTTMS)
	}
	// It has not said yet what it makes of it.
	c := f.Status.Counters
	asked := c["radius.sent.access-request"]
	switch {
	case c["radius.drop.authenticator"] > 0:
		return fail(remedies["AUTH_SECRET"], "the RADIUS server's answers are signed with another secret")
	case c["radius.error.refused"] > 0:
		return fail(remedies["AUTH_SILENT"], "nobody listens where the RADIUS server should")
	case asked > 0:
		return fail(remedies["AUTH_SILENT"], "the RADIUS server has not answered %d requests", asked)
	}
	return fail("is a router known?", "the RADIUS server has not been asked yet")
}

func (f *Facts) tunnel() finding {
	if f.Status == nil || f.Status.Tunnel == nil {
		return skip(noTunnel)
	}
	want, have := f.Status.Tunnel, f.Kernel.Tunnel
	again := "ifup " + f.Interface
	switch {
	case f.KernelErr != nil:
		return skip("cannot be asked: %v", f.KernelErr)
	case have == nil:
		return fail(again, "the tunnel's device %s is not there", want.Device)
	case have.Local != want.Local || have.Remote != want.Remote:
		return fail(again, "%s goes from %s to %s, and should go from %s to %s", have.Name, have.Local, have.Remote, want.Local, want.Remote)
	case !have.Up:
		return fail(again, "%s is down", have.Name)
	case f.Kernel.Addresses[want.IPv4] != have.Name:
		return fail(again, "%s does not have the line's IPv4 address %s", have.Name, want.IPv4)
	case have.EncapLimit >= 0:
		return fail("remove option encaplimit, or set it to 'ignore'", "%s puts an encapsulation limit (%d) into each packet, and some far ends drop these", have.Name, have.EncapLimit).onlyWarn(f.carriesIPv4())
	case f.Kernel.Link.MTU > 0 && have.MTU > f.Kernel.Link.MTU-40:
		return warn(fmt.Sprintf("remove option mtu, or set it to '%d'", f.Kernel.Link.MTU-40), "the MTU of %s is %d, and %s carries %d", have.Name, have.MTU, f.Line.Device, f.Kernel.Link.MTU-40)
	}
	return ok("%s, MTU %d, no encapsulation limit: %s to %s; %d packets sent, %d heard", have.Name, have.MTU, have.Local, have.Remote, have.Sent, have.Heard)
}

func (f *Facts) firewall() finding {
	switch {
	case f.Status == nil || f.Status.Tunnel == nil:
		return skip(noTunnel)
	case f.RulesErr != nil:
		return skip("cannot be told: %v", f.RulesErr)
	case f.Rules == nil:
		return skip("cannot be told")
	case f.Rules.Empty():
		return ok("there are no firewall rules")
	}
	t := f.Status.Tunnel
	p := firewall.Packet{Device: f.Line.Device, Source: t.Remote, Destination: t.Local, Protocol: 4}
	const remedy = "allow IPv6 protocol 4 from it on the WAN (fw4 does when wan is in a zone, after: service firewall restart)"
	answered := p
	answered.Established = true
	if a, where := f.Rules.Input(answered); a == firewall.Dropped {
		return fail(remedy, "the firewall (%s) drops the tunnel's packets from %s", where, t.Remote).onlyWarn(f.carriesIPv4())
	}
	switch a, where := f.Rules.Input(p); a {
	case firewall.Dropped:
		return warn(remedy, "the firewall (%s) drops what %s sends unasked", where, t.Remote)
	case firewall.Unknown:
		return skip("it cannot be told what %s does with protocol 4", where)
	}
	return ok("protocol 4 from %s is accepted", t.Remote)
}

func (f *Facts) br() finding {
	switch {
	case f.Status == nil || f.Status.Tunnel == nil:
		return skip(noTunnel)
	case f.BRErr != nil:
		return skip("cannot be asked: %s", oneLine(f.BRErr))
	case f.BR == nil:
		return skip("it was not asked")
	case f.BR.Answered:
		return ok("%s answers, in %s", f.Status.Tunnel.Remote, milliseconds(f.BR.RTT))
	case f.carriesIPv4():
		return ok("%s answers no echo, and carries IPv4", f.Status.Tunnel.Remote)
	case f.IPv4 == nil:
		return warn("", "%s answers no echo%s, which alone says little", f.Status.Tunnel.Remote, also(f.BR.Trouble))
	}
	return fail("the far end or the way to it is out of order, or it has changed: ifup "+f.Interface, "%s answers no echo%s, and nothing comes back through the tunnel", f.Status.Tunnel.Remote, also(f.BR.Trouble))
}

func also(trouble string) string {
	if trouble == "" {
		return ""
	}
	return " (" + trouble + ")"
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%.1f ms", status.Milliseconds(d)) }

func (f *Facts) ipv4() finding {
	switch {
	case f.Status == nil || f.Status.Tunnel == nil:
		return skip(noTunnel)
	case f.IPv4Err != nil:
		return skip("cannot be asked: %s", oneLine(f.IPv4Err))
	case f.IPv4 == nil:
		return skip("no IPv4 host is known to ask: option echo_target names one")
	case f.IPv4.Answered:
		return ok("%s answers through the tunnel, in %s", f.Target, milliseconds(f.IPv4.RTT))
	case f.carriesIPv4():
		return warn("set option echo_target to another host", "%s answers no echo%s, and others answer through the tunnel", f.Target, also(f.IPv4.Trouble))
	case f.BR != nil && f.BR.Answered:
		return fail("something on the way drops IPv6 protocol 4, or the far end does not know this line: look for a firewall between, then ifup "+f.Interface, "%s does not answer through the tunnel%s, though its far end answers", f.Target, also(f.IPv4.Trouble))
	}
	return fail("", "%s does not answer through the tunnel%s", f.Target, also(f.IPv4.Trouble))
}

// overhead is the outer header of the tunnel, in bytes.
const overhead = 40

func (f *Facts) mtu() finding {
	if f.Status == nil || f.Status.Tunnel == nil {
		return skip(noTunnel)
	}
	tunnel := f.Status.Tunnel.MTU
	fits, whence := 0, ""
	if f.BR != nil && f.BR.Answered && f.BR.Most >= tunnel+overhead {
		fits, whence = f.BR.MTU-overhead, fmt.Sprintf("packets of %d bytes reach the far end", f.BR.MTU)
	}
	// What went through the tunnel counts for more than what should fit into it.
	if f.IPv4 != nil && f.IPv4.Answered {
		fits, whence = f.IPv4.MTU, fmt.Sprintf("packets of %d bytes pass through the tunnel", f.IPv4.MTU)
	}
	switch {
	case whence == "":
		return skip("nobody answers who could tell")
	case fits < tunnel:
		return warn(fmt.Sprintf("set option mtu to '%d'", max(fits, 1280)), "%s, larger ones do not, and the tunnel's MTU is %d", whence, tunnel)
	}
	return ok("%s: an MTU of %d is right", whence, tunnel)
}

func (f *Facts) mss() finding {
	switch {
	case f.Status == nil || f.Status.Tunnel == nil:
		return skip(noTunnel)
	case f.RulesErr != nil:
		return skip("cannot be told: %v", f.RulesErr)
	case f.Rules == nil || f.Rules.Empty():
		return skip("there is no firewall that could set it")
	case f.Rules.ClampsMSS():
		return ok("the firewall fits the segment size of TCP to the MTU")
	}
	return warn("set option mtu_fix '1' in the firewall zone of "+f.Interface, "no firewall rule fits the segment size of TCP to the tunnel's MTU")
}

func (f *Facts) dns() finding {
	if len(f.DNS) == 0 {
		return skip("no name server is known")
	}
	var good, bad []string
	for _, a := range f.DNS {
		switch {
		case a.Err == nil:
			good = append(good, fmt.Sprintf("%s (%s)", a.Server, milliseconds(a.RTT)))
		case a.Server.Is4() && !f.carriesIPv4():
			// That IPv4 does not pass is told elsewhere.
		default:
			bad = append(bad, fmt.Sprintf("%s (%v)", a.Server, a.Err))
		}
	}
	const remedy = "set other name servers (option dns with peerdns '0'), and try again later"
	switch {
	case len(bad) == 0 && len(good) == 0:
		return skip("the name servers are behind the tunnel")
	case len(bad) == 0:
		return ok("answers from %s", strings.Join(good, ", "))
	case len(good) == 0:
		return fail(remedy, "no name server answers: %s", strings.Join(bad, ", "))
	}
	return warn(remedy, "answers from %s; none from %s", strings.Join(good, ", "), strings.Join(bad, ", "))
}

// built is a time at which this program did not exist yet.
var built = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// clockTolerance is what nobody notices.
const clockTolerance = time.Minute

func (f *Facts) clock() finding {
	const remedy = "set it: service sysntpd restart"
	behind := f.ClockBehind.Round(time.Second)
	switch {
	case f.Now.Before(built):
		return warn(remedy, "the clock says %s", f.Now.UTC().Format(time.DateTime))
	case !f.ClockServer.IsValid() || f.ClockTrouble != nil:
		return ok("it says %s UTC, and nobody was there to compare with", f.Now.UTC().Format(time.DateTime))
	case behind.Abs() > clockTolerance:
		return warn(remedy, "the clock is %s from that of %s", status.ForPeople(behind.Abs()), f.ClockServer)
	}
	return ok("it agrees with %s", f.ClockServer)
}

// phone is the telephone network, which nothing else needs.
func (f *Facts) phone() finding {
	switch {
	case f.Status == nil:
		return skip(noDaemon)
	case !f.Kernel.Link.Up:
		return skip("the link is not up")
	case f.Status.Phone == nil:
		return skip("the line tells of no telephone")
	case f.Status.HGW != nil:
		return ok("the telephone line is the home gateway's")
	}
	p := f.Status.Phone
	remedies := map[string]string{
		"PHONE_SILENT":   "check that the contract has Hikari Denwa, and disconnect another telephone gateway; else set option phone to '0'",
		"PHONE_REFUSED":  "disconnect another telephone gateway; one that was there may hold the address for up to four hours",
		"PHONE_CONFLICT": "disconnect the other telephone gateway",
		"PHONE_SOCKET":   "'logread -e " + f.Interface + "' says more",
		"PHONE_APPLY":    "'logread -e " + f.Interface + "' says more",
	}
	switch e := p.Error; {
	case e != nil:
		return fail(remedies[e.Code], "%s: %s", e.Code, e.Text).onlyWarn(p.Address != nil)
	case p.Address == nil && len(p.Numbers) == 0:
		return skip("the line tells of no telephone number")
	case p.Address == nil && !f.Line.Phone:
		return ok("the line has a telephone, and option phone says not to join its network")
	case p.Address == nil:
		return warn("try again in some seconds", "no address in the telephone network yet: %d Discover sent, %d Offer heard",
			f.Status.Counters["dhcp4.sent.discover"], f.Status.Counters["dhcp4.received.offer"])
	case f.Kernel.Addresses[p.Address.Addr()] != f.Line.Device:
		return fail("ifup "+f.Interface, "the telephone network's address %s is not on %s", p.Address, f.Line.Device)
	}
	return ok("%s; telephone numbers: %d, SIP servers: %d", p.Address, len(p.Numbers), len(p.SIP4)+len(p.SIP))
}

// hgw is the home gateway behind the router, which nothing else needs.
func (f *Facts) hgw() finding {
	switch {
	case f.Status == nil:
		return skip(noDaemon)
	case f.Status.HGW == nil:
		return skip("no port to a home gateway is set")
	}
	h := f.Status.HGW
	remedies := map[string]string{
		"HGW_DEVICE":    "check option hgw_device, and take that device out of its bridge",
		"HGW_NO_PREFIX": "the line has to delegate a /59 or a larger prefix",
		"HGW_FORWARD":   "install kmod-nft-netdev or kmod-sched-core (OpenWrt)",
		"HGW_SOCKET":    "switch the other DHCPv6 server off on " + h.Device,
		"HGW_APPLY":     "'logread -e " + f.Interface + "' says more",
	}
	switch e := h.Error; {
	case e != nil:
		return fail(remedies[e.Code], "%s: %s", e.Code, e.Text)
	case !h.Carrier:
		return warn("check its cable and its power", "%s has no link to a home gateway", h.Device)
	case h.Prefix == nil && !f.hasPrefix():
		return skip(noLease)
	case h.MAC == "":
		return warn("a home gateway that runs may take some minutes until it asks again: restart it", "nothing was heard of a home gateway on %s", h.Device)
	case h.Prefix == nil:
		return warn("restart the home gateway", "%s on %s has asked for no prefix", h.MAC, h.Device)
	}
	return ok("%s on %s has %s (%s), IPv4 is forwarded by %s", h.MAC, h.Device, h.Prefix, lasting(h.Valid), h.Forwarding)
}

func (f *Facts) system() finding {
	var parts []string
	for _, p := range []string{f.System.Program, f.System.Release, f.System.Kernel} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return ok("%s", strings.Join(parts, ", "))
}
