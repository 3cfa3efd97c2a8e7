// Package lmo turns a gettext catalogue into the form in which LuCI reads it, as
// LuCI's po2lmo does at build time.
//
// A file is the texts, each filled up with zeros to a multiple of four bytes, then the
// index, then the place of the index. An entry of the index has four numbers: the hash
// of the message, the plural form and one, place and length of the text. Entries are in
// the order of their hashes, and all numbers are big-endian with 32 bits. The entry
// with hash 0 is the formula of the plural forms.
package lmo
