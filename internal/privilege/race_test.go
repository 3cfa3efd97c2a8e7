//go:build race

package privilege

func init() { cgo = true } // the race detector is a C library
