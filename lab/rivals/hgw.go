package rivals

import "maps"

// HGWs are clients in the place of a home gateway: what they are delegated is a /60, and
// they ask for what a telephone needs, as far as each can. Their hook is not run again
// for a prefix that they just renew.
var HGWs = []Client{
	Dibbler.with(map[string]string{"client.conf": `log-level 7
duid-type duid-ll
script "{dir}/notify"
downlink-prefix-ifaces "none"
iface "{dev}" {
	pd
	option dns-server
	option domain
	option sip-server
	option vendor-spec
}
`}),
	Wide.with(map[string]string{"dhcp6c.conf": `interface {dev} {
	send ia-pd 1;
	request domain-name-servers, domain-name, sip-server-address, ntp-servers;
	script "{dir}/notify";
};
id-assoc pd 1 {
	prefix-interface pd {
		sla-id 0;
		sla-len 4;
	};
};
`}),
	ISC.with(map[string]string{"dhclient.conf": `also request dhcp6.vendor-opts, dhcp6.sip-servers-addresses, dhcp6.sntp-servers;
`}),
	Networkd,
}

// Networkd is systemd's. It asks when a router's advertisement says so, makes an address
// of the prefix on a device for that, and runs no program: something else looks.
var Networkd = Client{
	Name: "systemd",
	prepare: `mkdir -p /etc/systemd/network /run/systemd
mount -t tmpfs none /run/systemd && mkdir -p /run/systemd/netif/links /run/systemd/netif/leases /run/systemd/netif/lldp || exit
chown -R systemd-network /run/systemd/netif
mount --bind {dir} /etc/systemd/network || exit
mount -o remount,ro,bind /sys 2>/dev/null || { mount --bind /sys /sys && mount -o remount,ro,bind /sys; } || exit
ip link add pd type dummy && ip link set pd up || exit
sh {dir}/watch &`,
	exec: "/lib/systemd/systemd-networkd",
	files: map[string]string{
		"10-wan.network": `[Match]
Name={dev}
[Network]
IPv6AcceptRA=yes
DHCP=ipv6
IPv6DuplicateAddressDetection=0
[DHCPv6]
DUIDType=link-layer
UseAddress=no
RequestOptions=17 22 23 24 31
PrefixDelegationHint=::/60
`,
		"20-pd.network": `[Match]
Name=pd
[Network]
DHCPPrefixDelegation=yes
IPv6DuplicateAddressDetection=0
`,
		"watch": `while sleep 0.2; do
	address=$(ip -6 -o addr show dev pd scope global -deprecated | sed -n 's/.* inet6 \([^ /]*\).*/\1/p')
	[ -n "$address" ] && [ "$address" != "$last" ] && last=$address && sh {dir}/hook "$address"
done
`,
	},
}

// with is c with other files.
func (c Client) with(files map[string]string) Client {
	all := maps.Clone(c.files)
	maps.Copy(all, files)
	c.files = all
	return c
}
