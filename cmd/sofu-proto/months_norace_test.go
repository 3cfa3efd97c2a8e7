//go:build !race

package main

// months is how many days a long life has.
const months = 90
