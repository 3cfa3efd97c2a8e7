package softbank

import (
	"net/netip"

	"sofutobanku/internal/status"
)

// Told is what the attributes of a Grant, as a status shows them, say to an IPv4 host:
// whom the carrier wants pinged through the tunnel, invalid when it does not say, and its
// name servers.
func Told(attributes []status.Attribute) (echo netip.Addr, dns []netip.Addr) {
	for _, a := range attributes {
		addr, err := netip.ParseAddr(a.Value)
		if err != nil || !addr.Is4() || !host(addr) {
			continue
		}
		switch a.Name {
		case name(typeCheckIPv4):
			echo = addr
		case name(typeDNS4First), name(typeDNS4Second):
			dns = append(dns, addr)
		}
	}
	return echo, dns
}

// Known tells whether the meaning of an attribute of a Grant is known, by the name under
// which a status shows it.
func Known(attribute string) bool {
	for _, d := range definitions {
		if d.name == attribute {
			return d.kind != octets
		}
	}
	return attribute == "Reply-Message" || attribute == "Session-Timeout"
}
