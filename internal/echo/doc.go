// Package echo proves that IPv4 passes from one address to another through a
// device: it sends ICMP echo requests (RFC 792) until one is answered.
//
// An answer is only what carries back the random content of a request, from its
// target, so that neither a late answer to somebody else nor a forged one counts.
package echo
