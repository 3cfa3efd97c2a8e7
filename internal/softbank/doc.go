// Package softbank knows the lines of SoftBank Hikari: what the NEXT (1 Gbit/s)
// and the CROSS (10 Gbit/s) line expect in a RADIUS Access-Request, which
// addresses their tunnel has, and how the exchange with the authentication
// server goes.
//
// The exchange is RFC 2865 with CHAP, over IPv6 and UDP. An Access-Accept holds
// the line's IPv4 address and the far end (BR) of its IPv4-in-IPv6 tunnel in
// sub-attributes of enterprise 22197 (dictionary.softbankbb, package vsa).
//
//	Options   what one section of the configuration says, defaults from the line
//	Client    asks the servers; a Grant, or an error that tells what to do next
//
// Nothing of this was ever tried by its authors on a real line. What is known
// from a single report, or a guess, is a field of Options.
package softbank
