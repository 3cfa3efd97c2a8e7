// Package learn tells from a capture of a SoftBank unit that connects which options of
// an interface make sofu-proto ask as the unit does, and in what the unit differs from
// the built-in profile of its line.
//
// The shared secret and the password are in no capture, and are not looked for.
package learn
