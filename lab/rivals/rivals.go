// Package rivals runs the DHCPv6 clients of other projects for a delegated
// prefix: to prove the line of package realisp with programs that are not ours,
// and to be compared with (package bench).
package rivals

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sofutobanku/lab/topo"
)

// Client is a DHCPv6 client of another project.
type Client struct {
	// Name is that of its Debian package.
	Name string
	// In the following, {dir} is a directory of the client's own, {dev} the device,
	// {mac} the device's MAC, 6 bytes.

	// prepare is a shell script, exec the command that then becomes the client, in
	// the foreground, in a mount namespace of its own.
	prepare, exec string
	// files are its configuration.
	files map[string]string
}

// hookName is the program in its directory that a client runs when it has got a
// prefix; the prefix, "2001:db8::/56" or an address in it, is its argument.
const hookName = "hook"

// Clients are those that Debian has. Each is configured for what matters on this
// kind of line: a DUID-LL, IA_PD alone, no duplicate address detection of its
// own, and to act as soon as it can.
var Clients = []Client{Dibbler, Wide, ISC}

// Dibbler has its directories compiled in; they are covered, for it alone, by
// ours.
var Dibbler = Client{
	Name: "dibbler-client",
	prepare: `mkdir -p /etc/dibbler /var/lib/dibbler /var/log/dibbler
for d in /etc/dibbler /var/lib/dibbler /var/log/dibbler; do mount --bind {dir} $d || exit; done`,
	exec: "dibbler-client run",
	files: map[string]string{
		"client.conf": `log-level 7
duid-type duid-ll
script "{dir}/notify"
downlink-prefix-ifaces "none"
iface "{dev}" {
	pd
}
`,
		"notify": `#!/bin/sh
[ "$1" = add ] && [ -n "$PREFIX1" ] && exec {dir}/hook "$PREFIX1"
exit 0
`,
	},
}

// Wide does not tell its script the prefix: the script reads the address that
// wide made of it on a device for that.
var Wide = Client{
	Name: "wide-dhcpv6-client",
	prepare: `mkdir -p /var/lib/dhcpv6
mount --bind {dir} /var/lib/dhcpv6 || exit
ip link add pd type dummy && echo 0 >/proc/sys/net/ipv6/conf/pd/accept_dad && ip link set pd up || exit`,
	exec: "dhcp6c -f -D -c {dir}/dhcp6c.conf -p {dir}/pid {dev}",
	files: map[string]string{
		// The length in this machine's byte order, then the DUID.
		"dhcp6c_duid": "\x0a\x00\x00\x03\x00\x01{mac}",
		"dhcp6c.conf": `interface {dev} {
	send ia-pd 1;
	script "{dir}/notify";
};
id-assoc pd 1 {
	prefix-interface pd {
		sla-id 0;
		sla-len 8;
	};
};
`,
		"notify": `#!/bin/sh
address=$(ip -6 -o addr show dev pd scope global | sed -n 's/.* inet6 \([^ /]*\).*/\1/p')
[ -n "$address" ] && exec {dir}/hook "$address"
exit 0
`,
	},
}

// ISC is dhclient. It wants its script to be its own kind of script.
var ISC = Client{
	Name: "isc-dhcp-client",
	exec: "dhclient -6 -P -d -D LL -cf {dir}/dhclient.conf -lf {dir}/leases -pf {dir}/pid -sf {dir}/notify {dev}",
	files: map[string]string{
		"dhclient.conf": "",
		"notify": `#!/bin/sh
case $reason in
BOUND6 | RENEW6 | REBIND6) [ -n "$new_ip6_prefix" ] && [ "$new_ip6_prefix" != "$old_ip6_prefix" ] && exec {dir}/hook "$new_ip6_prefix" ;;
esac
exit 0
`,
	},
}

// Running is a client that Start readied.
type Running struct {
	*topo.Process
	lab  *topo.Lab
	gate string
}

// Start readies the client for dev in ns: all that can be done before there is a
// link is done, and Go lets it run. hook is a shell script, run whenever there is
// a new prefix; its $1 is the prefix, or an address in it.
func (c Client) Start(lab *topo.Lab, ns *topo.NS, dev, hook string) *Running {
	dir := lab.Dir(c.Name)
	fill := strings.NewReplacer("{dir}", dir, "{dev}", dev, "{mac}", string(ns.MAC(dev))).Replace
	files := map[string]string{hookName: "#!/bin/sh\n" + hook}
	maps.Copy(files, c.files)
	for name, content := range files {
		path := lab.WriteFile(dir, name, fill(content))
		if strings.HasPrefix(content, "#!") {
			if err := os.Chmod(path, 0o755); err != nil {
				lab.Fatalf("rivals: %v", err)
			}
		}
	}
	gate := filepath.Join(dir, "gate")
	if err := unix.Mkfifo(gate, 0o600); err != nil {
		lab.Fatalf("rivals: %s: %v", gate, err)
	}
	p := ns.Start("unshare", "-m", "sh", "-c", fill(c.prepare)+`
echo waiting
read -r _ <`+gate+`
exec `+fill(c.exec))
	p.WaitFor(10*time.Second, "^waiting$")
	return &Running{p, lab, gate}
}

// Go lets the client run.
func (r *Running) Go() {
	if err := os.WriteFile(r.gate, []byte("go\n"), 0); err != nil {
		r.lab.Fatalf("rivals: %v", err)
	}
}
