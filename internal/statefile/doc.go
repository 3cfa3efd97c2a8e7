// Package statefile reads and replaces the small files that a daemon keeps for its next
// life: a lease, a journal.
//
// What is found in the place of such a file may be of another version, damaged, or no file
// at all. It is read, or put aside once and warned of; it never keeps the daemon from
// starting. After a crash at any moment the old or the new content is there.
package statefile
