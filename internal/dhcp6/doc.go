// Package dhcp6 is a DHCPv6 client for prefix delegation alone (RFC 8415,
// IA_PD), with the stateless Information-request for lines that delegate none.
//
// One goroutine, Client.Run, owns everything. What it should be doing follows
// from the mode, the link and the lease:
//
//	                 Advertise              Reply
//	        ┌─ Solicit ──────► Request ───────────┐
//	        │     ▲ no answer     │ refused       ▼
//	link up ┤     └───────────────┘             bound ── T1 ─► Renew ── T2 ─► Rebind ─► expired
//	        │       NoBinding ▼                   ▲ Reply        │              │
//	        └─ Rebind ─────► Request              └──────────────┴──────────────┘
//	        (a lease is known: verified first, RFC 8415 18.2.12)
//
// The default departs from the RFC where a line with one carrier gains time and
// loses nothing: the first message goes out without the initial random delay,
// and the first Advertise with a prefix is taken at once. Config.StrictRFC takes
// the RFC's way.
//
// The carrier is not known here: which options are requested and which vendor
// class is sent is handed in.
//
// A received message is hostile until checked. Its options are walked one by
// one, so that a malformed one costs only itself; whatever does not belong to
// the exchange that is under way is dropped, counted as "dhcp6.drop.<why>", and
// changes nothing. Messages that are sent are limited to 20 at once and one per
// second in the long run (RFC 8415 14.1), whatever a server does.
package dhcp6
