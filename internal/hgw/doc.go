// Package hgw plays the carrier's network to one home gateway (HGW) that sits behind
// the router, on a device of its own: it advertises the router to it (RFC 4861) and
// is its DHCPv6 server (RFC 8415).
//
// What the HGW gets is what the line gave the router. Of the delegated prefix, which
// must be a /59 or larger, it is delegated the last /60; from the /64 right before that
// comes one address (IA_NA), or that /64 as a second prefix. Lifetimes are what is
// left of the router's own. The information that DHCPv6 told, the vendor's above all,
// is handed on byte for byte.
//
// One goroutine, [Server.Run], owns everything. There is one binding, that of the first
// client which asks: another client is refused while it lasts, unless the carrier of
// the port was lost meanwhile, after which another box may be plugged in.
//
// A change upstream reaches the HGW within seconds. Who accepts Reconfigure is sent
// one, authentic by the key that it was given (RFC 8415 20.4); who does not is told to
// renew every 10 seconds. The next Reply takes what is no longer the line's back, with
// lifetimes of 0, and has what replaces it.
//
// Every packet is hostile until checked. What is not taken is counted as
// "hgw.drop.<why>" and changes nothing; "hgw.drop.option" is one option of a message
// whose rest was used. Answers are limited to 20 at once and 5 a second in the long run.
package hgw
