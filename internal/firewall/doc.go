// Package firewall tells what the packet filter of a Linux machine does with one
// packet, by reading its rules as `nft -j list ruleset` prints them. Nothing is sent
// and nothing is changed.
//
// What a rule asks that is not known of the packet (a limit, a set, a mark) is a maybe:
// it makes an answer Unknown only where it matters.
package firewall
