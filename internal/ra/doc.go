// Package ra is the router discovery of a host: it solicits routers (RFC 4861
// 6.3.7, RFC 7559), checks what they advertise, and keeps the one picture of it
// that ages as each router said.
//
// A [Client] is one goroutine, [Client.Run]. It is told of the link by
// [Client.LinkUp], [Client.LinkDown], [Client.SetSource] and
// [Client.SetLinkMTU], all of which may be called at any time and from any
// goroutine, and tells what it knows by Config.OnChange.
//
// Two things go beyond RFC 4861, because switches that snoop MLD are known to
// lose advertisements: solicitation never gives up, and a router that has not
// been heard for two thirds of its lifetime is asked again before it expires.
// One thing departs from it unless Config.StrictRFC is set: the first
// solicitation is not delayed by up to a second, as a line has one router, not
// a thousand hosts that start at the same moment.
//
// Advertisements are decoded here and not by a library: the one at hand drops a
// whole advertisement for one bad option, refuses options of 256 bytes and
// more, cuts route prefixes to whole bytes, and lets any ASCII byte into a
// search domain; it would also be a tenth of a megabyte of a router's flash.
// The tests use it as the other opinion.
//
// Every advertisement is hostile until checked. What is dropped is counted:
// "ra.drop.*" is a whole message, "ra.option.*" and "ra.field.*" one part of a
// message whose rest was used.
package ra
