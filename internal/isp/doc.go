// Package isp is the carrier's end of a line: router advertisements, a DHCPv6
// server that delegates a prefix (RFC 8415), the RADIUS server that hands out
// the line's IPv4 address, and the BR, which carries it in IPv4-in-IPv6 packets
// (RFC 2473), and the DHCPv4 server of the telephone network (RFC 2131). One process, one
// network namespace, one subscriber.
//
//	          device                 lo
//	CE ──────── fe80::1   RADIUS, BR, an IPv4 host "behind" the BR, a SIP server
//	     RS/RA ► advertiser
//	    DHCPv6 ► dhcpServer ──► route of the delegated prefix
//	    DHCPv4 ► phoneServer
//	    RADIUS ► radiusServer ─► br: ip6tnl, route of the IPv4 address
//
// A Recording plays a captured line back instead.
//
// It is a strict reader: where the real line is known to answer nothing, or to
// reject, it does so too, and says what was wrong with the request. It shares no
// code and no constants with the clients of this module, so that a
// misunderstanding on one side shows as a failure and not as an agreement.
package isp
