// Package kernel makes a plain Linux system look like a state.State, by netlink.
//
// An Applier renders a State and nothing else: it asks no wire and knows no
// carrier. Apply looks at what the kernel has, compares it with what the State
// wants and sends only the difference, so that the same State twice sends
// nothing, and what somebody else took away comes back. What is new is added
// before what is old is removed: an address that moves from one device to
// another, or a default route that moves to another router, is never absent.
//
//	State                      on the system
//	WAN.Addresses              addresses on the WAN device, lifetimes refreshed in place
//	WAN.Routers, WAN.Routes    routes, the preferred ones with the lower metric
//	WAN.MTU, WAN.HopLimit      sysctls mtu and hop_limit of the WAN device
//	WAN.DNS, WAN.Domains       a resolv file
//	Prefix                     an unreachable route; prefix::1/64 on the LAN device
//	OwnAddresses               /128 on lo, deprecated
//	HGW                        routes on the home gateway's port, a Forwarder
//	Tunnel                     an ip6tnl device, its addresses, an IPv4 default route
//
// Only what the Applier made is ever removed. It keeps a list of that in a
// journal, written before anything is made, so that the next process can put
// away what a killed one left. Its routes carry the protocol number
// RouteProtocol: `ip -6 route show proto 72` lists them.
//
// Routes are given no lifetime in the kernel: whoever publishes States
// publishes one when something in it expires. Addresses have theirs, because
// source address selection needs to know (RFC 6724 rule 3).
package kernel
