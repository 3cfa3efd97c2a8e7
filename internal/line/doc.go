// Package line is the session of one line: what the router heard goes in, the
// State to render and the work to do come out.
//
// A Session holds the latest input of each kind (link, router advertisements,
// DHCPv6, authentication) and derives everything else from them, so the order in
// which they arrive cannot matter. It has no sockets, no goroutines and no clock:
// the clients of the wire drop what has expired and say so.
//
// The carrier enters only through the Carrier interface.
package line
