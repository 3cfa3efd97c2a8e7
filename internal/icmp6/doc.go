// Package icmp6 sends ICMPv6 echo requests (RFC 4443 4) for people who look for a
// fault: [Ping] to one host, or to all on a link, and [Trace] to the routers between.
//
// A [Socket] is a raw one, or where that is refused the kernel's ping socket, which
// whoever is in net.ipv4.ping_group_range may open. What a router said of a request
// comes by the socket's error queue, the same on both, so that only answers to own
// requests are seen. Still, whatever comes is hostile until checked: an answer counts
// that repeats the content of a request that waits for one.
package icmp6
