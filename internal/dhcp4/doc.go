// Package dhcp4 is a DHCPv4 client (RFC 2131) for a second network on a device: one that
// gives an address and some routes, and never the default route or name servers.
//
// One goroutine, Client.Run, owns everything. What it should be doing follows from the
// link and the lease:
//
//	           Offer              Ack, nobody has the address
//	   ┌─ Discover ──► Request ────────────────┐
//	   │      ▲ no answer, NAK    somebody has it: Decline, 10 s
//	link up   └───────────────┘                ▼
//	   │                                     bound ── T1 ─► renew ── T2 ─► rebind ─► expired
//	   └─ Request (INIT-REBOOT): an address is known            └─ NAK: gone at once
//
// An address that was had before is asked for again at once, after a restart too, and
// beside a Discover when nobody confirms it.
//
// The default departs from RFC 2131 and RFC 5227 where a line with one carrier gains
// time: no random delay before the first message, and a fifth of a second instead of
// seven for the question whether somebody has the address; and where nobody answers,
// Discover becomes ever rarer, down to one in nine minutes instead of one in each.
// Config.StrictRFC takes the RFCs' way. An address is not defended later: the kernel answers for it.
//
// The carrier is not known here: the vendor class and the requested options are handed
// in.
//
// A received message is hostile until checked. What does not belong to the exchange that
// is under way is dropped, counted as "dhcp4.drop.<why>", and changes nothing. Messages
// that are sent are limited to 20 at once and one per second in the long run.
//
// The socket, Conn, is one of packets: the kernel's own sends from an address, and takes
// nothing for one that it does not have.
package dhcp4
