package main

import (
	"cmp"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/insomniacslk/dhcp/dhcpv6"

	"sofutobanku/internal/config"
	"sofutobanku/internal/counters"
	"sofutobanku/internal/daemon"
	"sofutobanku/internal/dhcp4"
	"sofutobanku/internal/dhcp6"
	"sofutobanku/internal/hgw"
	"sofutobanku/internal/hook"
	"sofutobanku/internal/l2fwd"
	"sofutobanku/internal/line"
	"sofutobanku/internal/ntt"
	"sofutobanku/internal/ra"
	"sofutobanku/internal/softbank"
	"sofutobanku/internal/state"
	"sofutobanku/internal/status"
)

// Codes of state.Error that the authentication causes.
const (
	errAuthSilent   = "AUTH_SILENT"
	errAuthRejected = "AUTH_REJECTED"
	errAuthSecret   = "AUTH_SECRET"
	errAuthFailed   = "AUTH_FAILED"
)

// softbankLine is a SoftBank Hikari line on the WAN device, put together from the
// parts that know no carrier and those that do.
type softbankLine struct {
	iface     string
	common    config.Common
	options   softbank.Options
	inSolicit bool             // NTT's vendor class goes into Solicit too
	phone     string           // option phone: auto, 0 or 1
	dscp      int              // of the telephone's packets
	hgwDevice string           // option hgw_device: the port to a home gateway, "" for none
	hgwMAC    net.HardwareAddr // option hgw_mac, nil to learn it
	stateDir  string           // "" for none
	counters  counters.Set
	log       *slog.Logger
	rand      func() *rand.Rand // a new independent source for each client
	dial      dialer            // of the RADIUS client, nil for the kernel's sockets
}

// dialer is softbank.ClientConfig.Dial.
type dialer func(ctx context.Context, local netip.Addr, server netip.AddrPort) (net.Conn, error)

// loadLine reads the section of a line from the UCI file in dir.
func loadLine(dir, iface, device, stateDir string, log *slog.Logger) (*config.Section, *softbankLine, error) {
	section, err := config.Load(dir, iface)
	if err != nil {
		return nil, nil, err
	}
	l, err := newLine(section, device, stateDir, log)
	return section, l, err
}

// newLine reads a line's options from its section. device replaces the section's
// own when it is not empty.
func newLine(section *config.Section, device, stateDir string, log *slog.Logger) (*softbankLine, error) {
	l := &softbankLine{iface: section.Name(), stateDir: stateDir, log: log, rand: newRand}
	l.common = section.Common(device)
	l.options = softbank.FromSection(section)
	l.inSolicit = section.Bool("solicit_vendor_class", false)
	l.phone = section.Enum("phone", "auto", "auto", "0", "1")
	l.dscp = section.Int("phone_dscp", 32, 0, 63)
	l.hgwDevice = section.Device("hgw_device")
	l.hgwMAC = section.MAC("hgw_mac")
	switch {
	case l.hgwDevice == "":
	case l.hgwDevice == l.common.Device:
		section.Invalid("hgw_device", "the device of a port to the home gateway, another than the WAN's")
	case l.phone == "1":
		// The telephone network has one address, and knows one MAC address.
		section.Invalid("phone", "0 or auto beside hgw_device: either this router or the home gateway has the telephone line")
	}
	return l, section.Err()
}

// daemonConfig is all of a daemon's configuration but its names, applier, OnEvent and
// Forwarding.
func (l *softbankLine) daemonConfig() daemon.Config {
	c := l.common
	return daemon.Config{
		Line: line.Config{
			Device: c.Device, Carrier: &l.options, PrefixSource: prefixSource(c),
			InterfaceID: c.InterfaceID, MTU: c.MTU, TTL: c.TTL, EncapLimit: c.EncapLimit, EchoTarget: c.EchoTarget,
			Phone: l.joinsPhone, HGWDevice: l.hgwDevice,
		},
		RA:       ra.Config{StrictRFC: c.StrictRFC},
		DHCP:     l.dhcpConfig,
		DHCP4:    l.dhcp4Config,
		NewAsk:   l.newAsk,
		AskError: askError,
		AskAgain: c.AuthInterval,
		Phone:    l.phoneData,
		HGW:      l.hgwConfig(),
		Network:  daemon.Real(),
		Rand:     l.rand,
		Counters: &l.counters,
		Log:      l.log,
	}
}

func prefixSource(c config.Common) line.PrefixSource {
	switch c.ReqPrefix {
	case config.ReqPrefixNo:
		return line.PrefixRA
	case config.ReqPrefixAuto:
		return line.PrefixAuto
	}
	return line.PrefixPD
}

// hgwConfig is what the server of a home gateway is made of, nil without one.
func (l *softbankLine) hgwConfig() *hgw.Config {
	if l.hgwDevice == "" {
		return nil
	}
	c := &hgw.Config{Terminal: ntt.ParseVendorClass}
	if l.stateDir != "" {
		c.LeaseFile = filepath.Join(l.stateDir, l.iface+".hgw")
	}
	return c
}

// forwarder forwards at layer 2, and remembers by what means.
type forwarder struct {
	*l2fwd.Forwarder
	method atomic.Value
}

// newForwarder returns the one of an interface. A table of nft has letters, digits and
// underscores in its name.
func newForwarder(iface string, log *slog.Logger) *forwarder {
	name := "sofu_" + iface
	if strings.ContainsAny(name, ".-") {
		name = fmt.Sprintf("sofu_%x", md5.Sum([]byte(iface)))[:15]
	}
	return &forwarder{Forwarder: l2fwd.New(l2fwd.Options{Name: name, Log: log})}
}

// Set is l2fwd's.
func (f *forwarder) Set(a, b string) (string, error) {
	method, err := f.Forwarder.Set(a, b)
	f.method.Store(method)
	return method, err
}

// by is the means of the last Set, "" before one.
func (f *forwarder) by() string {
	method, _ := f.method.Load().(string)
	return method
}

// dhcpConfig is what the NTT network wants of a DHCPv6 client whose device has this MAC
// address. terminal is the home gateway's, where there is one and it was seen.
func (l *softbankLine) dhcpConfig(mac, terminal net.HardwareAddr) dhcp6.Config {
	duid := l.common.ClientID
	if duid == nil {
		// RFC 8415 11.4: DUID-LL on Ethernet. The line gives no prefix to others.
		duid = slices.Concat([]byte{0, 3, 0, 1}, mac)
	}
	// It asks for what the telephone needs, whoever has that.
	if l.hgwMAC != nil {
		terminal = l.hgwMAC
	}
	if terminal == nil {
		terminal = mac
	}
	class := []dhcpv6.Option{ntt.VendorClass(terminal)}
	var solicit []dhcpv6.Option
	if l.inSolicit {
		solicit = class
	}
	leaseFile := ""
	if l.stateDir != "" {
		leaseFile = filepath.Join(l.stateDir, l.iface+".lease")
	}
	return dhcp6.Config{
		DUID: duid, IAID: l.common.IAID, HintLength: l.common.PrefixLength,
		ORO:                     ntt.RequestedOptions(),
		RequestOptions:          class,
		SolicitOptions:          solicit,
		ReconfigureAccept:       true,
		AcceptUnauthReconfigure: l.common.UnauthReconfigure,
		Release:                 !l.common.NoRelease,
		StrictRFC:               l.common.StrictRFC,
		LeaseFile:               leaseFile,
	}
}

// newAsk gives what asks the line's RADIUS servers.
func (l *softbankLine) newAsk(trace func(event, detail string)) daemon.Ask {
	client := softbank.NewClient(softbank.ClientConfig{
		Options: l.options, Dial: l.dial, Rand: l.rand(), Counters: &l.counters, Log: l.log, Trace: trace,
	})
	return func(ctx context.Context, r daemon.Request) (line.Grant, error) {
		g, err := client.Ask(ctx, softbank.Request{Prefix: r.Prefix, TerminalMAC: told(r.Info).MAC, WANMAC: r.MAC})
		if err != nil {
			return line.Grant{}, err
		}
		return line.Grant{
			IPv4: g.IPv4, BR: g.BR, EchoTarget: g.EchoTarget, DNS: g.DNS6,
			Auth: state.Auth{Server: g.Server, RTT: g.RTT, Attributes: g.Attributes},
		}, nil
	}
}

// joinsPhone tells by what DHCPv6 said whether the telephone network is to be joined.
func (l *softbankLine) joinsPhone(info *dhcp6.Info) bool {
	return l.phone == "1" || l.phone == "auto" && l.hgwDevice == "" && len(told(info).Numbers) > 0
}

// dhcp4Config is what the NTT telephone network wants of a DHCPv4 client whose device has
// this MAC address.
func (l *softbankLine) dhcp4Config(mac net.HardwareAddr) dhcp4.Config {
	class, err := ntt.VendorClassDHCPv4(mac)
	if err != nil {
		l.log.Warn("the telephone network is asked without a vendor class", "error", err)
	}
	leaseFile := ""
	if l.stateDir != "" {
		leaseFile = filepath.Join(l.stateDir, l.iface+".phone")
	}
	return dhcp4.Config{
		Class: class, List: ntt.RequestedOptionsDHCPv4(), StrictRFC: l.common.StrictRFC, LeaseFile: leaseFile,
	}
}

// told is what NTT's part of the DHCPv6 information says; what is malformed in it
// is left out.
func told(info *dhcp6.Info) ntt.Info {
	if info != nil {
		for _, v := range info.Vendor {
			if v.Enterprise == ntt.Enterprise {
				return interpret(ntt.ParseDHCPv6(v.Data))
			}
		}
	}
	return ntt.Info{}
}

// told4 is what NTT's part of a DHCPv4 lease says, in the same way.
func told4(lease *dhcp4.Lease) ntt.Info {
	if lease != nil {
		for _, v := range lease.Vendor {
			if v.Enterprise == ntt.Enterprise {
				return interpret(ntt.ParseDHCPv4(v.Data))
			}
		}
	}
	return ntt.Info{}
}

func interpret(suboptions []ntt.Suboption, _ error) ntt.Info {
	info, _ := ntt.Interpret(suboptions)
	return info
}

// phoneData puts what DHCPv6 and DHCPv4 tell of the telephone service together. The
// telephone network's own word counts more.
func (l *softbankLine) phoneData(info *dhcp6.Info, lease *dhcp4.Lease) *status.Phone {
	t, t4 := told(info), told4(lease)
	p := &status.Phone{Numbers: append([]string{}, t4.Numbers...), Domain: cmp.Or(t4.Domain, t.Domain), DSCP: l.dscp, SIP: []netip.Addr{}, SIP4: []netip.Addr{}}
	for _, n := range t.Numbers {
		if !slices.Contains(p.Numbers, n) {
			p.Numbers = append(p.Numbers, n)
		}
	}
	if len(p.Numbers) == 0 && lease == nil {
		return nil
	}
	if info != nil {
		p.SIP = append(p.SIP, info.SIP...)
	}
	if lease != nil {
		p.SIP4 = append(p.SIP4, lease.SIP...)
	}
	return p
}

// tell has a user's program told of what changes.
func (l *softbankLine) tell(cfg *daemon.Config, program string) {
	h := &hook.Hook{Path: program, Log: l.log}
	cfg.OnPhone = func(p *status.Phone) { h.Tell(l.hookEnv(p)) }
}

// hookEnv is what a user's program is told of the telephone.
func (l *softbankLine) hookEnv(p *status.Phone) []string {
	if p == nil {
		p = &status.Phone{}
	}
	address := ""
	if p.Address != nil {
		address = p.Address.String()
	}
	words := func(list []netip.Addr) string {
		var b []byte
		for i, a := range list {
			if i > 0 {
				b = append(b, ' ')
			}
			b = a.AppendTo(b)
		}
		return string(b)
	}
	return []string{
		"INTERFACE=" + l.iface, "DEVICE=" + l.common.Device,
		"PHONE_NUMBERS=" + strings.Join(p.Numbers, " "), "PHONE_DOMAIN=" + p.Domain, "PHONE_ADDRESS=" + address,
		"PHONE_SIP4=" + words(p.SIP4), "PHONE_SIP6=" + words(p.SIP), "PHONE_DSCP=" + strconv.Itoa(p.DSCP),
	}
}

// askError puts the failure of an authentication in words for a person.
func askError(err error) state.Error {
	e := state.Error{Code: errAuthFailed, Text: err.Error()}
	for _, known := range []struct {
		code string
		is   func(error) bool
	}{
		{errAuthSilent, is[*softbank.SilentError]},
		{errAuthRejected, is[*softbank.RejectError]},
		{errAuthSecret, is[*softbank.BadAuthenticatorError]},
	} {
		if known.is(err) {
			e.Code = known.code
		}
	}
	return e
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}
