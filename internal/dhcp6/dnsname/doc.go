// Package dnsname is the uncompressed wire form of domain names (RFC 1035 3.1),
// as DHCP options carry them (RFC 8415 section 10).
//
// A name from the network ends up in resolver files, scripts and logs, so only
// letters, digits, '-' and '_' are let through: a label with a line break or a
// quote in it is refused rather than escaped.
package dnsname
