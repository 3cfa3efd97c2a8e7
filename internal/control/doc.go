// Package control is the conversation between a running daemon and its command
// line: one request line in, one response out, over a unix socket.
//
// The wire is plain text, so that socat is a client too. The client sends one
// line of at most 4096 bytes, its newline included. The daemon answers with
// whatever the command prints and closes; a command that fails ends its answer
// with one line that begins with "error: ". A command may go on answering for as
// long as the client stays (a watch).
//
// Only root and the daemon's own user are served (SO_PEERCRED), however the
// socket's mode was changed since.
package control
