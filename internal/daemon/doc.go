// Package daemon runs one line: it lends the clients of the wire their sockets,
// hands what they hear to the session, has its State applied, and does the work
// that the session wants.
//
//	link ─┐
//	ra ───┤                    ┌─► applier (kernel, netifd)
//	dhcp6 ┼─► mailbox ─► session ─► status (control socket), the user's program
//	dhcp4 ┤                    │
//	ask ──┤                    └─► wants: DHCP mode, authentication, echo
//	echo ─┘
//
// One goroutine owns the session. Everybody else leaves the latest news in a
// mailbox, which holds one item of each kind: a flood of packets cannot fill it,
// and nobody waits for anybody.
package daemon
