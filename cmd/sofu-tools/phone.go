package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"sofutobanku/internal/cli"
	"sofutobanku/internal/control"
	"sofutobanku/internal/status"
)

const phoneUsage = `sofu-proto phone asterisk|sipp [INTERFACE] [FLAGS]: the telephone line of INTERFACE (wan unless given)
  asterisk  print a pjsip.conf for it
  sipp      print the arguments with which sipp is this telephone: sipp -sf SCENARIO $(sofu-proto phone sipp)`

// What the carrier's own gateways do, see docs/line.md.
const (
	sipPort     = 5060
	sipExpires  = 3600 // seconds
	sipPacket   = 20   // ms of a packet of speech
	phoneSilent = "the telephone network has given no address yet: see sofu-proto status, and option phone"
)

// account is what a telephone needs to know.
type account struct {
	iface   string
	number  string
	others  []string // further numbers of the line
	domain  string
	address netip.Addr
	servers []netip.Addr // at least one
	tos     int          // the octet of the IP header
}

func runPhone(args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("phone", flag.ContinueOnError)
	fs.Usage = func() {
		fmt.Fprintln(fs.Output(), phoneUsage)
		fs.PrintDefaults()
	}
	runDir := fs.String("run-dir", control.DefaultDir, "`DIR` of the daemon's control socket")
	number := fs.String("number", "", "the `NUMBER` to be, instead of the line's main one")
	kinds := map[string]func(io.Writer, *account) error{"asterisk": writePJSIP, "sipp": writeSipp}
	kind := ""
	if len(args) > 0 && kinds[args[0]] != nil {
		kind, args = args[0], args[1:]
	}
	iface, err := parse(fs, args, "wan", stderr)
	if err != nil {
		return err
	}
	if kind == "" {
		return cli.Exit(cli.Usage, errors.New("phone: for whom? sofu-tools phone asterisk or sipp"))
	}
	s, err := readStatus(context.Background(), control.Path(*runDir, iface))
	if err != nil {
		return fmt.Errorf("phone: %w", err)
	}
	a, err := accountOf(s.Phone, *number)
	if err != nil {
		return cli.Exit(cli.NotUp, fmt.Errorf("phone: %w", err))
	}
	a.iface = iface
	return kinds[kind](stdout, a)
}

// accountOf is the account of a number, "" for the main one.
func accountOf(p *status.Phone, number string) (*account, error) {
	switch {
	case p == nil:
		return nil, errors.New("the line tells of no telephone: see sofu-proto status")
	case p.Address == nil:
		if p.Error != nil {
			return nil, fmt.Errorf("%s: %s", p.Error.Code, p.Error.Text)
		}
		return nil, errors.New(phoneSilent)
	case len(p.SIP4) == 0:
		return nil, errors.New("the telephone network names no SIP server with an IPv4 address")
	case len(p.Numbers) == 0:
		return nil, errors.New("the line tells no telephone number")
	}
	number = cmp.Or(number, p.Numbers[0])
	others := slices.Clone(p.Numbers)
	i := slices.Index(others, number)
	if i < 0 {
		return nil, fmt.Errorf("number %q: the line's are %s", number, strings.Join(p.Numbers, ", "))
	}
	return &account{
		number: number, others: slices.Delete(others, i, i+1), domain: cmp.Or(p.Domain, p.SIP4[0].String()),
		address: p.Address.Addr(), servers: p.SIP4, tos: p.DSCP << 2,
	}, nil
}

// writePJSIP writes the configuration of Asterisk's res_pjsip. The carrier asks for no
// authentication: who may telephone is who has the address.
func writePJSIP(w io.Writer, a *account) error {
	var b strings.Builder
	fmt.Fprintf(&b, "; pjsip.conf for the telephone line of %s, as sofu-proto phone asterisk printed it.\n", a.iface)
	fmt.Fprintf(&b, "; Calls come to the context from-%s, and go by Dial(PJSIP/NUMBER@%s).\n", a.iface, a.iface)
	if len(a.others) > 0 {
		fmt.Fprintf(&b, "; Further numbers of the line: %s. The To header tells which one was called.\n", strings.Join(a.others, ", "))
	}
	section := func(name, kind string, lines ...string) {
		fmt.Fprintf(&b, "\n[%s]\ntype=%s\n", name, kind)
		for _, l := range lines {
			b.WriteString(l + "\n")
		}
	}
	transport := a.iface + "-udp"
	proxy := fmt.Sprintf("outbound_proxy=sip:%v\\;lr", netip.AddrPortFrom(a.servers[0], sipPort))
	tos := fmt.Sprint(a.tos)
	section(transport, "transport", "protocol=udp", fmt.Sprintf("bind=%v", netip.AddrPortFrom(a.address, sipPort)), "tos="+tos)
	section(a.iface, "registration", "transport="+transport, "server_uri=sip:"+a.domain, "client_uri=sip:"+a.number+"@"+a.domain,
		"contact_user="+a.number, proxy, fmt.Sprintf("expiration=%d", sipExpires), "retry_interval=60", "max_retries=10000")
	section(a.iface, "aor", "contact=sip:"+a.domain, proxy)
	section(a.iface, "endpoint", "transport="+transport, "context=from-"+a.iface, "aors="+a.iface, "disallow=all",
		fmt.Sprintf("allow=ulaw:%d", sipPacket), "from_user="+a.number, "from_domain="+a.domain, proxy, "direct_media=no",
		fmt.Sprintf("media_address=%v", a.address), "bind_rtp_to_media_address=yes", "tos_audio="+tos)
	var matches []string
	for _, s := range a.servers {
		matches = append(matches, fmt.Sprintf("match=%v", s))
	}
	section(a.iface, "identify", append([]string{"endpoint=" + a.iface}, matches...)...)
	_, err := io.WriteString(w, b.String())
	return err
}

// writeSipp writes arguments without a space or a quote in them.
func writeSipp(w io.Writer, a *account) error {
	_, err := fmt.Fprintf(w, "-i %v -p %d -s %s -key domain %s -key expires %d %v\n", a.address, sipPort, a.number, a.domain,
		sipExpires, netip.AddrPortFrom(a.servers[0], sipPort))
	return err
}
