// Package ntt is the codec of the information that NTT's IPv6 network gives to
// a telephone terminal (IANA enterprise number 210): options 16 and 17 of
// DHCPv6, options 124 and 125 of DHCPv4.
//
// Both protocols carry the same suboptions in any order; only the width of code
// and length differs (two octets each in DHCPv6, RFC 8415 21.17; one each in
// DHCPv4, RFC 3925). Parsing has two steps, so that a caller that hands the
// suboptions on can do so octet for octet: ParseDHCPv6 and ParseDHCPv4 find the
// suboptions, Interpret reads the known ones. In both, what is malformed costs
// only itself.
package ntt
