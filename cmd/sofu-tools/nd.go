package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"sofutobanku/internal/nd"
)

func runND(args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("nd", flag.ContinueOnError)
	fs.Usage = func() {
		fmt.Fprintln(fs.Output(), "sofu-proto nd [DEV] [FLAGS]: what the kernel knows by neighbour discovery, all of it unless flags choose")
		fs.PrintDefaults()
	}
	neighbours := fs.Bool("a", false, "the neighbour cache")
	routers := fs.Bool("r", false, "the default routers")
	prefixes := fs.Bool("p", false, "the prefixes, and this machine's addresses in them")
	asJSON := fs.Bool("json", false, "print JSON")
	dev, err := parse(fs, args, "", stderr)
	if err != nil {
		return err
	}
	t, err := nd.Read(dev)
	if err != nil {
		return err
	}
	all := !*neighbours && !*routers && !*prefixes
	if *asJSON {
		out := map[string]any{}
		for _, part := range []struct {
			name   string
			wanted bool
			value  any
		}{{"neighbours", *neighbours, t.Neighbours}, {"routers", *routers, t.Routers}, {"prefixes", *prefixes, t.Prefixes}} {
			if part.wanted || all {
				out[part.name] = part.value
			}
		}
		e := json.NewEncoder(stdout)
		e.SetIndent("", "  ")
		return e.Encode(out)
	}
	w := tabwriter.NewWriter(stdout, 0, 8, 2, ' ', 0)
	heading := func(s string) {
		if all {
			fmt.Fprintf(w, "%s:\n", s)
		}
	}
	if *neighbours || all {
		heading("neighbours")
		fmt.Fprintln(w, "address\tMAC\tdevice\tstate\theard of\t")
		for _, n := range t.Neighbours {
			mac, router := n.MAC, ""
			if mac == "" {
				mac = "unknown"
			}
			if n.Router {
				router = "router"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s ago\t%s\n", n.Addr, mac, n.Device, n.State, nd.Duration(n.Confirmed), router)
		}
	}
	if *routers || all {
		heading("default routers")
		fmt.Fprintln(w, "address\tdevice\tpreference\tmetric\tby\texpires\t")
		for _, r := range t.Routers {
			source := ""
			if r.Source != "" {
				source = "for packets from " + r.Source
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%s\n", r.Addr, r.Device, r.Preference, r.Metric, r.By, nd.Duration(r.Expires), source)
		}
	}
	if *prefixes || all {
		heading("prefixes")
		fmt.Fprintln(w, "prefix\tdevice\ton-link\texpires\trouters there\t")
		for _, p := range t.Prefixes {
			on := "no"
			if p.OnLink {
				on = "yes"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t\n", p.Prefix, p.Device, on, nd.Duration(p.Expires), joined(p.Routers))
			for _, a := range p.Addresses {
				fmt.Fprintf(w, "  %s\t\t\tpreferred %s, valid %s\t%s\t\n", a.Addr, nd.Duration(a.Preferred), nd.Duration(a.Valid), strings.Join(a.Flags, " "))
			}
		}
	}
	return w.Flush()
}

func joined[T fmt.Stringer](list []T) string {
	var s []string
	for _, v := range list {
		s = append(s, v.String())
	}
	return strings.Join(s, " ")
}
