// Package dissect puts the packets of a line in words: router advertisements
// (RFC 4861, 4191, 8106), DHCPv6 (RFC 8415), DHCPv4 (RFC 2131) and RADIUS (RFC 2865),
// field by field, for people and as JSON.
//
// It judges nothing and leaves nothing out: what is unknown is shown as hex, and what
// is malformed as such, with the bytes. So it shows also what the clients of the line
// drop. Two things are not shown: what a secret could be guessed from, and characters
// that a terminal would obey.
//
// What an enterprise defined for itself is told by a [Vendor].
package dissect
