// Package capture takes the packets off a device by which a line comes up, reads such
// captures back, and can take out of them what tells whose line it is.
//
//	Open      a packet socket whose filter runs in the kernel
//	Frame     one packet: router and neighbour discovery, DHCP, RADIUS
//	ReadFile  the frames of a capture file, anybody's
//	Redactor  replaces addresses, numbers and secrets, and leaves the form
//
// What is taken are router and neighbour solicitations and advertisements (RFC 4861),
// DHCPv6, DHCPv4, and RADIUS over IPv6. Neighbour discovery is among them since it shows
// who answers for an address, and duplicates. Redirects are not: they hold the beginning
// of somebody's packet. Multicast listener reports (MLD) are not: they say nothing of
// the line. Nothing in a VLAN or in PPPoE is: the line is not there.
package capture
