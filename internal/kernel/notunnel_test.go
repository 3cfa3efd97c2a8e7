//go:build !lab

package kernel

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Without ip6_tunnel the error says what to install, and IPv6 is up all the same.
func TestNoTunnel(t *testing.T) {
	newNamespace(t)
	if haveTunnel(t) {
		t.Skip("this kernel has ip6_tunnel: runs on one without, as most build machines have")
	}
	a := newApplier(t, options(t))
	apply(t, a, lineState())
	want := picture(t)
	err := a.Apply(upState())
	var no *NoTunnelError
	if !errors.As(err, &no) {
		t.Fatalf("Apply: %v; want a *NoTunnelError", err)
	}
	mustContain(t, "error", err.Error(), "module ip6_tunnel", "package kmod-ip6-tunnel")
	if d := cmp.Diff(lines(want), lines(picture(t))); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if err := a.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}
