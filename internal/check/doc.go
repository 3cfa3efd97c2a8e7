// Package check finds out why a line does not work: it looks at every link of the chain
// from the cable to name service through the tunnel, says of each whether it is in order,
// and names the most likely cause.
//
//	Sources ──► Gather ──► Facts ──► Judge ──► Report
//
// Gather collects what is known and asks what can be asked beside a running daemon, all at
// once; Judge, a plain function, makes of it one Check after the other, in the order of
// the chain: what comes first explains what follows. Nothing asks for a lease, and nothing
// of the machine is changed.
//
// The carrier is not known here: what belongs to it comes with the Line.
package check
