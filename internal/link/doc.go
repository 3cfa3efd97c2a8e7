// Package link watches one network device: is it there, does it carry, and from
// when on may its IPv6 link-local address be used. All of it comes from netlink
// the moment it happens; nothing is polled.
package link
