// Package probe asks a network small questions that disturb nobody who uses it: does
// a host answer echoes, and of which size; who is on a segment; does a name server or a
// time server answer.
//
//	Measure      echo requests, ICMP and ICMPv6, and the path MTU by their size
//	LookAround   routers, neighbours and DHCPv6 clients on a segment
//	DNS, Clock   one question to a server
//
// No question is one that changes what anybody holds: nothing is solicited but router
// advertisements, and no lease is asked for. What comes back is hostile until checked.
// Everything ends with its context.
package probe
