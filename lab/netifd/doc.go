// Package netifd is a double of OpenWrt's netifd for the lab, with as much of it as
// a protocol handler can see.
//
// A Netifd reads the interfaces of a UCI file and runs a real handler script, which
// starts a real daemon; both talk to it by the command ubus, whose double comes
// first in their $PATH. What they say ends in the kernel of a namespace. It follows
// netifd in what a handler's author has to know:
//
//   - a daemon that ends, of whatever cause, is set up again at once, unless the
//     handler blocked that; teardown has five seconds, then SIGKILL;
//   - what was blocked stays down until ifup, whatever is reloaded;
//   - an update without keep removes what it does not name, and touches nothing
//     that it names unchanged, even where a tunnel made anew has lost it;
//   - a tunnel without a data table sends an encapsulation limit;
//   - a dynamic interface is not changed by being added again: it goes;
//   - the list of errors is emptied by the link that comes up, and by nothing else.
//
// Where netifd silently ignores or mistakes what it is told, the double does the same
// and remembers a violation, for the test to fail on.
//
// Tool makes a program the commands ubus, fw4 and json2sh. netifd-proto.sh is the double
// of the functions that a handler script calls.
package netifd
