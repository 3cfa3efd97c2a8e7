// Package config reads one interface section of UCI, OpenWrt's configuration
// format, and nothing else: it never writes, and uncommitted changes
// (/tmp/.uci) are not seen.
//
// [Load] finds the section, the typed getters of [Section] read its options and
// collect what is wrong with them, [Section.Err] reports all of it at once, so
// that a person corrects a file in one go. [Section.Common] reads the options
// that every line has; those of a carrier belong to the carrier's package.
//
// What libuci accepts is accepted, with the meaning it has there: go-uci, which
// does the reading, is stricter than libuci about empty, concatenated,
// multi-line and escaped values, line ends and quoted names. So the file first
// goes through a scanner with libuci's grammar, and go-uci gets the one section
// in a normal form in which no value can surprise it.
//
// Conventions of all getters: an option that is absent and one whose value is
// empty or white space are the same. Of several `option` lines the last counts.
// Options nobody asks for are left alone, since netifd has its own.
package config
