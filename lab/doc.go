// Package lab holds the end-to-end tests. They need root, a kernel with
// ip6_tunnel and Debian's servers, so they stand behind the build tag lab and are
// run by lab/test. README.md tells how to run one by hand.
package lab
