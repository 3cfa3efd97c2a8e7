package nd

import (
	"encoding/json"
	"net"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sofutobanku/internal/link/linktest"
)

func TestRead(t *testing.T) {
	ns, peer := linktest.New(t), linktest.New(t)
	ns.Veth("wan", net.HardwareAddr{2, 0, 0x5e, 0, 0x53, 1}, peer, "p0", net.HardwareAddr{2, 0, 0x5e, 0, 0x53, 2})
	ns.Sysctl("ipv6/conf/wan/accept_dad", "0")
	ns.Up("wan")
	for _, args := range [][]string{
		{"addr", "add", "2001:db8:1::2/64", "dev", "wan", "nodad", "valid_lft", "14400", "preferred_lft", "0"},
		{"addr", "add", "2001:db8:2::2/128", "dev", "wan", "nodad"},
		{"-6", "route", "add", "2001:db8:3::/64", "dev", "wan", "proto", "ra", "expires", "1800"},
		{"-6", "route", "add", "default", "via", "fe80::1", "dev", "wan", "proto", "ra", "metric", "512", "expires", "1800", "pref", "high"},
		{"-6", "route", "add", "default", "from", "2001:db8:1::/64", "via", "fe80::2", "dev", "wan", "proto", "static"},
		{"-6", "neigh", "add", "fe80::1", "lladdr", "00:00:5e:00:53:11", "dev", "wan", "router", "nud", "stale"},
		{"-6", "neigh", "add", "fe80::9", "lladdr", "00:00:5e:00:53:19", "dev", "wan", "nud", "permanent"},
	} {
		ns.IP(args...)
	}
	var got Table
	var err, none error
	ns.Do(func() {
		got, err = Read("wan")
		_, none = Read("nothing")
	})
	if err != nil || none == nil {
		t.Fatalf("%v; of a device that is not there: %v", err, none)
	}
	// What passes meanwhile, and what the kernel rounds.
	for i := range got.Neighbours {
		got.Neighbours[i].Confirmed = 0
	}
	near := func(seconds *int, full int) {
		if *seconds <= full && *seconds >= full-2 {
			*seconds = full
		}
	}
	for i := range got.Routers {
		near(&got.Routers[i].Expires, 1800)
	}
	for i := range got.Prefixes {
		near(&got.Prefixes[i].Expires, 1800)
		near(&got.Prefixes[i].Expires, 14400)
		for j := range got.Prefixes[i].Addresses {
			near(&got.Prefixes[i].Addresses[j].Valid, 14400)
		}
	}
	b, err := json.MarshalIndent(got, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/table.json")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(b)+"\n"); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
