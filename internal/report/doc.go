// Package report writes one text about a line, to be attached to a bug report: what
// `sofu-proto check` found, the configuration, the daemon's state, its last events and its
// counters, and what the carrier sent that nobody knows.
//
// Whose line it is does not show. Secrets are left out; addresses of IPv4, IPv6 and
// stations and telephone numbers are replaced by others, the same each time by the same
// (package capture's Redactor, which does so in captures), so that it still shows what
// belongs together. Each part of the status is copied by name, so that what is added
// there later does not get here by itself.
//
// A value that nobody knows the meaning of is left out too, but for a small number: the
// carrier's own unit gets the credentials of its telephone and of its management in
// attributes without a public name. Its number and length are told. Who knows what it is
// may have it shown.
package report
