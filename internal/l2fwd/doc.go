// Package l2fwd joins two devices for IPv4 and ARP alone: frames with one of these
// two EtherTypes that arrive at one leave by the other, untouched, as if a bridge
// were between them. Everything else, IPv6 and frames with a VLAN tag too, is left
// to the kernel, which can route it.
//
// A Forwarder does it in one of two ways, whichever the kernel and the system have:
//
//	nft  a table of its own, of family netdev, with a chain on the ingress of each
//	     device (kernel: nft_fwd_netdev; system: the program nft)
//	tc   a filter for each of the two EtherTypes on the ingress of each device
//	     (kernel: sch_ingress, cls_u32, act_mirred; system: nothing)
//
// Both look at a frame before anything else of the kernel does, packet sockets
// excepted. So the router itself sees no IPv4 and no ARP that arrives at these
// devices: an IPv4 address of its own on one of them would not be reachable from
// there. And as with a bridge without spanning tree, nothing stops frames from going
// round where both devices are plugged into one segment.
//
// While it forwards, a packet socket that receives nothing keeps both devices
// promiscuous, because the frames are for the hosts behind the other one. That ends
// with the process; the table and the filters stay until a Forwarder of the same
// name makes them anew or closes.
//
// Only what a Forwarder made is ever removed. The table bears its name. The filters
// bear it in the cookie of their action, together with whether the qdisc that they
// hang on was made for them, so that no journal is needed.
package l2fwd
