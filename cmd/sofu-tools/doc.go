// Command sofu-tools finds out why a line does not work. It is a program of its own, in a
// package of its own, because the flash of small routers has no room for it beside
// sofu-proto, which becomes it when one of its commands is asked for.
//
// Run it with -h for its commands.
package main
