//go:build race

package main

// months is how many days a long life has. The race detector makes it six times as
// slow, and has seen everything after three weeks.
const months = 20
