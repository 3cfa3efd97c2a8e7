package netifd

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestKeep: what netifd finds in a message, and what it would ignore in silence.
func TestKeep(t *testing.T) {
	for _, tt := range []struct {
		message    string
		keeps      []string
		violations []string
	}{
		{`{"mask":"64","preferred":0,"offlink":true}`, []string{"mask", "preferred", "offlink"}, nil},
		{`{"mask":64}`, nil, []string{"m: mask is an integer of 32 bits, and netifd ignores all but a string"}},
		{`{"valid":"60"}`, nil, []string{"m: valid is a string, and netifd ignores all but an integer of 32 bits"}},
		{`{"valid":2147483647}`, []string{"valid"}, nil},
		{`{"valid":2147483648}`, nil, []string{"m: valid is a longer number, and netifd ignores all but an integer of 32 bits"}},
		{`{"valid":1.5}`, nil, []string{"m: valid is a longer number, and netifd ignores all but an integer of 32 bits"}},
		{`{"offlink":1}`, nil, []string{"m: offlink is an integer of 32 bits, and netifd ignores all but a boolean"}},
		{`{"class":null}`, nil, []string{"m: class is null, and netifd ignores all but a string"}},
		{`{"netmask":"64"}`, nil, []string{"m: netifd knows no member netmask"}},
	} {
		o, err := parse(tt.message)
		if err != nil {
			t.Fatal(err)
		}
		var violations []string
		kept := addressSchema.keep("m", o, func(format string, args ...any) {
			violations = append(violations, fmt.Sprintf(format, args...))
		})
		if diff := cmp.Diff(tt.violations, violations); diff != "" {
			t.Errorf("%s: violations (-want +got):\n%s", tt.message, diff)
		}
		if len(kept) != len(tt.keeps) {
			t.Errorf("%s: kept %v, want %v", tt.message, kept, tt.keeps)
		}
		for _, name := range tt.keeps {
			if kept[name] == nil {
				t.Errorf("%s: lost %s", tt.message, name)
			}
		}
	}
}

// TestRefused: values of the right type that netifd does not take.
func TestRefused(t *testing.T) {
	for message, ok := range map[string]bool{
		`{"ipaddr":"2001:db8::1","mask":"64"}`:                            true,
		`{"ipaddr":"2001:db8::1","mask":"129"}`:                           false,
		`{"ipaddr":"192.0.2.1"}`:                                          false,
		`{"ipaddr":"2001:db8::1","preferred":2,"valid":1}`:                false,
		`{"ipaddr":"2001:db8::1","preferred":0}`:                          true,
		`{"target":"2001:db8::","netmask":"32","gateway":"fe80::1"}`:      true,
		`{"target":"2001:db8::","netmask":"32","gateway":"192.0.2.1"}`:    false,
		`{"target":"2001:db8::","netmask":"32","source":"2001:db8::/32"}`: true,
		`{"target":"::","netmask":"255.0.0.0"}`:                           false,
	} {
		o, err := parse(message)
		if err != nil {
			t.Fatal(err)
		}
		if _, isRoute := o["target"]; isRoute {
			_, _, err = parseRoute(o, true)
		} else {
			_, err = parseAddress(o, true)
		}
		if (err == nil) != ok {
			t.Errorf("%s: %v", message, err)
		}
	}
	for s, ok := range map[string]bool{
		"2001:db8::/56": true, "2001:db8::/56,60,120": true, "2001:db8::/56,0,120,class=wan": true,
		"2001:db8::/65": false, "2001:db8::": false, "2001:db8::/56,x": false,
	} {
		if _, err := parsePrefix(s); (err == nil) != ok {
			t.Errorf("%s: %v", s, err)
		}
	}
}
