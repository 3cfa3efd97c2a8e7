package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"sofutobanku/internal/check"
	"sofutobanku/internal/cli"
	"sofutobanku/internal/config"
	"sofutobanku/internal/dhcp6"
	"sofutobanku/internal/ntt"
	"sofutobanku/internal/report"
	"sofutobanku/internal/softbank"
)

// secretOptions are left out of a report. A user name that is not the line's own may be
// anything.
var secretOptions = []string{"shared_secret", "password", "username"}

// reported are the options that a report shows, as README.md lists them.
var reported = strings.Fields(`proto device ifname line auth_server mac reqprefix iaid clientid norelease phone phone_dscp
	unauth_reconfigure solicit_vendor_class ip6ifaceid mtu ttl encaplimit defaultroute metric peerdns
	echo_target auth_interval extendprefix sourcefilter zone ip4table ip6table strict_rfc iid auth_iid
	manufacturer model hwrev vsa_packing chap_ident mac_format require_message_authenticator
	send_message_authenticator disabled auto force_link`)

func runReport(args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("report", flag.ContinueOnError)
	fs.Usage = func() {
		fmt.Fprintln(fs.Output(), `sofu-proto report [INTERFACE] [FLAGS]: a text for a bug report, without secrets, and with other
addresses and telephone numbers in the place of the line's; INTERFACE is wan unless given`)
		fs.PrintDefaults()
	}
	var p place
	file := fs.String("o", "", "write to `FILE`, which must not be there, instead of standard output")
	unknown := fs.Bool("unknown", false, "also values that nobody knows the meaning of, which may be credentials: read them before you pass them on")
	iface, err := p.parse(fs, args, stderr)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	sources := p.sources(iface)
	found := check.Gather(ctx, iface, sources, progress(stderr))
	if ctx.Err() != nil {
		return cli.Exit(cli.Failed, fmt.Errorf("report: interrupted"))
	}
	f := report.Facts{
		Now: time.Now(), Check: check.Judge(found), System: found.System, Status: found.Status,
		Known: softbank.Known, Vendor: vendorValues(found.Lease), Unknown: *unknown,
	}
	f.Options, f.Secrets = readOptions(p.config, iface)
	var b bytes.Buffer
	if err := report.Write(&b, f); err != nil {
		return err
	}
	if *file == "" {
		_, err := stdout.Write(b.Bytes())
		return err
	}
	// Not for others, and not in the place of something else.
	to, err := os.OpenFile(*file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err := to.Write(b.Bytes()); err != nil {
		to.Close()
		return err
	}
	return to.Close()
}

// readOptions reads what is set in a section, and its secrets; nothing of one that cannot
// be read.
func readOptions(dir, iface string) (options []report.Option, secrets []string) {
	section, err := config.Load(dir, iface)
	if err != nil {
		return nil, nil
	}
	for _, name := range reported {
		if section.Has(name) {
			options = append(options, report.Option{Name: name, Value: strings.Join(section.List(name), " ")})
		}
	}
	for _, name := range secretOptions {
		if section.Has(name) {
			options = append(options, report.Option{Name: name, Secret: true})
			if one := section.String(name, ""); one != "" {
				secrets = append(secrets, one)
			} else { // in a list by mistake, or with a quote forgotten
				secrets = append(secrets, section.List(name)...)
			}
		}
	}
	return options, secrets
}

// vendorValues is what the carrier sent for its own use by DHCPv6.
func vendorValues(lease *dhcp6.Saved) (values []report.Value) {
	if lease == nil || lease.Info == nil {
		return nil
	}
	for _, v := range lease.Info.Vendor {
		if v.Enterprise != ntt.Enterprise {
			values = append(values, report.Value{Name: fmt.Sprintf("enterprise %d", v.Enterprise), Data: v.Data})
			continue
		}
		suboptions, err := ntt.ParseDHCPv6(v.Data)
		for _, s := range suboptions {
			called, _, known := ntt.Describe(ntt.Enterprise, int(s.Code), s.Data)
			if !known {
				called = "unknown"
			}
			values = append(values, report.Value{Name: fmt.Sprintf("NTT suboption %d (%s)", s.Code, called), Data: s.Data, Known: known})
		}
		if err != nil {
			values = append(values, report.Value{Name: "NTT suboptions, malformed", Data: v.Data})
		}
	}
	return values
}
