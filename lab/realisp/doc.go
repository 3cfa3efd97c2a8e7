// Package realisp makes a SoftBank Hikari line out of servers that this project
// did not write: radvd, Kea (dhcp6, and dhcp4 for the telephone network),
// FreeRADIUS with the dictionary of package softbank, and the kernel's ip6tnl as
// the BR. What works against it does not merely agree with our own simulation.
//
//	        isp
//	       ┌──────────────────────────────────────────────────────┐
//	       │        fe80::1                                       │
//	wan0 ══╪══ isp0 ── line (bridge): radvd, Kea                  │
//	router │                 core: 2001:db8:a0::1812  FreeRADIUS  │
//	       │                       203.0.113.129   SIP, telephony │
//	       │                       2001:db8:b0::1919  BR (ip6tnl) │
//	       │                                           │          │      inet
//	       │                        198.51.100.254  inet0 ════════╪═══ inet0 198.51.100.1
//	       └──────────────────────────────────────────────────────┘
//
// The servers sit on a bridge, as on an access network behind the port: they
// keep their sockets when the router's cable loses its carrier.
//
// Kea delegates and does not route, so the route to the delegated prefix is
// static, by way of the router's link-local address (known, as its MAC is), and
// the BR's tunnel is made with the prefix and not by the authentication.
package realisp
