//go:build lab

package lab

import (
	"testing"

	"sofutobanku/internal/link/linktest"
	"sofutobanku/lab/realisp"
)

type datagram = linktest.Datagram

// newAttacker taps the carrier's end of the router's cable.
func newAttacker(t *testing.T, nw realisp.Network) (a *linktest.Attacker) {
	t.Helper()
	mac := nw.Router.MAC(realisp.WAN)
	err := nw.ISP.Do(func() (err error) {
		a, err = linktest.NewAttacker(t, realisp.Port, mac)
		return err
	})
	if err != nil {
		t.Fatalf("a packet socket on %s: %v", realisp.Port, err)
	}
	return a
}
