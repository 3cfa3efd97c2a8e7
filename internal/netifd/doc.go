// Package netifd makes OpenWrt's netifd look like a state.State, by exec of the
// ubus program.
//
//	State                      where it goes
//	WAN.Addresses, Prefix,     interface wan: notify_proto, action 0
//	routes, DNS
//	Tunnel                     interface wan_4: network add_dynamic, then notify_proto
//	OwnAddresses, NoDAD        the kernel itself, see Kernel
//	addresses, MTU, hop limit
//	HGW                        interface wan_hgw: network add_dynamic, then notify_proto
//	Error                      interface wan: set_data, and notify_proto, action 3
//
// A call is made only when what netifd would be told differs from what it was
// told last. Lifetimes are compared by the moment at which they end, and turned
// into seconds as late as the call: that time passes causes no call.
//
// # The parent
//
// An update with keep:true adds to what netifd has and refreshes it; one with
// keep:false replaces it all, and what is in both stays untouched in the kernel.
// So neither makes anything flap, and keep:true is what a renewed lease gets. But
// keep:true cannot take away: where an address, a prefix or a route is gone, or
// name servers changed (netifd would append the list to the one it has), the
// update is a full one with keep:false.
//
// netifd releases before July 2026 know an address by its place in the list as
// well: when an earlier one goes, they first add those behind it at their new
// places and then delete them at the old ones, from the kernel too. Addresses
// therefore keep their places for as long as they can, and where one has to move
// up, an update without those that move comes before.
//
// The link is up as long as there is a prefix or an address. Without a carrier
// that stays so, because netifd itself ends a daemon whose carrier is lost, unless
// the user told it to wait (options force_link and carrier_loss_delay).
//
// # Errors
//
// What is wrong is in data.error, {} when nothing is: State.Error, and in place of
// that what the last Apply itself failed with. All of data goes by set_data, which
// works with and without a link, and when netifd refuses an update.
//
// While the link is down the error is in netifd's list of errors too (notify_error,
// action 3), where LuCI looks. The link coming up clears that list, and nothing else
// does. So an error of a line that is up is in data alone: docs/decisions.md has more
// of that. With Applier.Fail the interface goes down, for what no waiting can mend.
//
// netifd merges data: a key that is left out keeps its old value. So a key that
// was sent once is sent ever after, empty when there is nothing to say. Each
// change of data makes firewall4 reload.
//
// # The children
//
// The IPv4 half is an interface of its own, because a tunnel in the parent's
// update would take the parent's addresses with it. It is made once by
// add_dynamic, which starts the protocol handler sofutobanku4, and is never
// changed by add_dynamic, which would take it down. A changed tunnel is two
// updates, the first with the tunnel alone: netifd makes the device anew then,
// and would not bring back what both have in common. A changed IPv4 address alone
// is one update.
//
// netifd removes an interface a while after it was told to, and an add_dynamic in
// between is lost. So the next one waits until the old child is gone, and Apply
// waits until the new one is up: then its device exists. In the end the parent's
// protocol handler removes it, in its teardown.
//
// The routes by way of a home gateway are on an interface of their own too, on the port
// to it, because netifd installs a route on its interface's device. Each update of it is
// a full one. What fails there is a state.PartError, and shown with its part alone.
package netifd
