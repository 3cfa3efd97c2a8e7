package softbank

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sofutobanku/internal/status"
)

func TestTold(t *testing.T) {
	echo, dns := Told([]status.Attribute{
		{Name: "SoftBankBB-ICMP-Check-IPv4", Value: "198.51.100.254"},
		{Name: "SoftBankBB-DNS-IPv4-1", Value: "198.51.100.53"},
		{Name: "SoftBankBB-DNS-IPv4-2", Value: "0.0.0.0"},
		{Name: "SoftBankBB-DNS-IPv4-2", Value: "2001:db8::1"},
		{Name: "SoftBankBB-DNS-IPv4-2", Value: "none"},
		{Name: "SoftBankBB-DNS-IPv6-1", Value: "2001:db8::53"},
		{Name: "SoftBankBB-IPv4-Address", Value: "192.0.2.7"},
	})
	want := []netip.Addr{netip.MustParseAddr("198.51.100.53")}
	if diff := cmp.Diff(want, dns, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" || echo != netip.MustParseAddr("198.51.100.254") {
		t.Errorf("echo %v, DNS (-want +got):\n%s", echo, diff)
	}
}

func TestKnown(t *testing.T) {
	for name, want := range map[string]bool{
		"SoftBankBB-IPv4-Address": true, "Reply-Message": true, "Session-Timeout": true,
		"SoftBankBB-Request-5": false, "SoftBankBB-Attr-120": false, "Attr-25": false, "": false,
	} {
		if Known(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}
