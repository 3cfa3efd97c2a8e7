// Package privilege gives up what a root process that speaks to a network does not
// need, for good, before the first packet is read.
//
// Confine leaves the user what it is and keeps three capabilities:
//
//	CAP_NET_ADMIN         netlink: addresses, routes, tunnels
//	CAP_NET_RAW           raw ICMP sockets, packet sockets, and binding a socket to a device
//	CAP_NET_BIND_SERVICE  the port of DHCPv6
//
// All others are dropped from every set of every thread, so that no program that is
// started later has them either. After that no exec grants a privilege
// (no_new_privs), a seccomp filter refuses calls that only an intruder would make,
// nobody can dump or trace the process, and files that it makes are its user's alone.
//
// It stays a process of root: what belongs to root can be written without any
// capability, and who obeys root obeys it.
package privilege
