// Package vsa holds the accessors that radius-dict-gen makes of
// dictionary.softbankbb, the RADIUS attributes of enterprise 22197.
//
// Use the Add functions to make attributes, and Lookup or Gets on packets of
// our own. The Set functions panic when one Vendor-Specific attribute packs
// several sub-attributes, as this carrier does, and Lookup stops at the first
// oddity: package softbank reads what comes from the wire with a walker of its
// own.
package vsa

//go:generate go tool radius-dict-gen -package vsa -output generated.go ../dictionary.softbankbb
