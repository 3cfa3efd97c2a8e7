// Package dhcp4 is a socket for DHCPv4 (RFC 2131) on a device that has no IPv4 address:
// the kernel's own sends from an address, and takes nothing for one that it does not
// have.
package dhcp4
