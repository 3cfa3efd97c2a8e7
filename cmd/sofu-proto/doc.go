// Command sofu-proto brings up an IPv4-over-IPv6 line of a Japanese carrier, first
// of all SoftBank Hikari: it solicits a router, takes a prefix by DHCPv6, asks
// RADIUS for the IPv4 address and the far end, and builds the tunnel.
//
// Run it with -h for its commands.
package main
