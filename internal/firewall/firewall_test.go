package firewall

import (
	"encoding/json"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
)

// fw4 is a ruleset in the manner of OpenWrt's firewall4, as nft 1.0.6 printed it.
func fw4(t *testing.T) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/fw4.json")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func parse(t *testing.T, doc []byte) *Ruleset {
	t.Helper()
	r, err := Parse(doc)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var fromBR = Packet{
	Device: "wan0", Source: netip.MustParseAddr("2001:db8:b0::1919"),
	Destination: netip.MustParseAddr("2001:db8:1::11"), Protocol: 4,
}

func TestFW4(t *testing.T) {
	without := func(handles ...int) []byte {
		var doc struct {
			Objects []map[string]map[string]any `json:"nftables"`
		}
		if err := json.Unmarshal(fw4(t), &doc); err != nil {
			t.Fatal(err)
		}
		doc.Objects = slices.DeleteFunc(doc.Objects, func(o map[string]map[string]any) bool {
			handle, _ := o["rule"]["handle"].(float64)
			return slices.Contains(handles, int(handle))
		})
		b, err := json.Marshal(map[string]any{"nftables": doc.Objects})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	other := fromBR
	other.Source = netip.MustParseAddr("2001:db8::7")
	elsewhere := fromBR
	elsewhere.Device = "lan0"
	answer := fromBR
	answer.Established = true
	for _, tt := range []struct {
		name   string
		rules  []byte
		packet Packet
		want   Answer
	}{
		{"the rule for the BR", fw4(t), fromBR, Accepted},
		{"by its prefix", without(18), fromBR, Accepted},
		{"by its protocol", without(18, 22), fromBR, Accepted},
		{"by a set whose elements are not asked for, and for all but some", without(18, 22, 24), fromBR, Accepted},
		{"only by that set", without(18, 22, 24, 28), fromBR, Unknown},
		{"by nothing", without(18, 22, 24, 26, 28), fromBR, Dropped},
		{"of those that are excepted", without(18, 22, 24, 26), other, Dropped},
		{"by the policy", without(18, 22, 24, 26, 28, 29, 15), fromBR, Dropped},
		{"by nothing, an answer", without(18, 22, 24, 26, 28), answer, Accepted},
		{"an answer, without the map", without(10, 18, 22, 24, 26, 28), answer, Accepted},
		{"an answer that nothing lets in", without(10, 11, 18, 22, 24, 26, 28), answer, Dropped},
		{"another device", fw4(t), elsewhere, Dropped},
	} {
		got, where := parse(t, tt.rules).Input(tt.packet)
		if got != tt.want || got == Dropped && where != "fw4 input" {
			t.Errorf("%s: %v by %q, want %v", tt.name, got, where, tt.want)
		}
	}
	if r := parse(t, fw4(t)); !r.ClampsMSS() || r.Empty() {
		t.Errorf("the segment size is set: %v, there are no rules: %v", r.ClampsMSS(), r.Empty())
	}
	if parse(t, without(33, 34)).ClampsMSS() {
		t.Error("without its rules the segment size is set")
	}
}

// rules makes a table of chains, each its rules' statements.
func rules(policy string, chains map[string][]string) []byte {
	objects := []string{}
	for name, list := range chains {
		base := ""
		if name == "input" {
			base = `,"hook":"input","prio":0,"policy":"` + policy + `"`
		}
		objects = append(objects, `{"chain":{"family":"inet","table":"t","name":"`+name+`"`+base+`}}`)
		for _, expr := range list {
			objects = append(objects, `{"rule":{"family":"inet","table":"t","chain":"`+name+`","expr":[`+expr+`]}}`)
		}
	}
	return []byte(`{"nftables":[` + strings.Join(objects, ",") + `]}`)
}

func TestVerdicts(t *testing.T) {
	const (
		accept = `{"accept":null}`
		drop   = `{"drop":null}`
		limit  = `{"limit":{"rate":1}}`
		tcp    = `{"match":{"op":"==","left":{"meta":{"key":"l4proto"}},"right":"tcp"}}`
		wan    = `{"match":{"op":"==","left":{"meta":{"key":"iifname"}},"right":"wan*"}}`
		old    = `{"match":{"op":"!=","left":{"ct":{"key":"state"}},"right":{"set":["new","untracked"]}}}`
	)
	to := func(how, chain string) string { return `{"` + how + `":{"target":"` + chain + `"}}` }
	for _, tt := range []struct {
		name   string
		policy string
		chains map[string][]string
		want   Answer
	}{
		{"nothing", "accept", nil, Accepted},
		{"a policy alone", "drop", map[string][]string{"input": nil}, Dropped},
		{"the first one counts", "accept", map[string][]string{"input": {drop, accept}}, Dropped},
		{"a wildcard", "drop", map[string][]string{"input": {wan + "," + accept}}, Accepted},
		{"for others", "accept", map[string][]string{"input": {tcp + "," + drop, old + "," + drop}}, Accepted},
		{"perhaps, and so does the policy", "drop", map[string][]string{"input": {limit + "," + drop}}, Dropped},
		{"perhaps, and the policy does not", "accept", map[string][]string{"input": {limit + "," + drop}}, Unknown},
		{"a statement nobody knows", "accept", map[string][]string{"input": {`{"frobnicate":1},` + drop}}, Unknown},
		{"back from a chain", "drop", map[string][]string{"input": {to("jump", "a"), accept}, "a": {`{"return":null}`, drop}}, Accepted},
		{"a chain that ends", "drop", map[string][]string{"input": {to("jump", "a"), accept}, "a": nil}, Accepted},
		{"no way back", "drop", map[string][]string{"input": {to("goto", "a"), accept}, "a": nil}, Dropped},
		{"perhaps no way back", "drop", map[string][]string{"input": {limit + "," + to("goto", "a"), accept}, "a": nil}, Unknown},
		{"a chain that is not there", "accept", map[string][]string{"input": {to("jump", "b")}}, Unknown},
		{"in a circle", "accept", map[string][]string{"input": {to("jump", "a")}, "a": {to("jump", "a"), to("jump", "a"), to("jump", "a")}}, Unknown},
		{"a map by the state with new", "accept", map[string][]string{"input": {`{"vmap":{"key":{"ct":{"key":"state"}},"data":{"set":[["new",{"drop":null}]]}}}`}}, Dropped},
		{"a map by the state to a chain", "accept", map[string][]string{"input": {`{"vmap":{"key":{"ct":{"key":"state"}},"data":{"set":[["new",{"jump":{"target":"a"}}]]}}}`}}, Unknown},
		{"a map by something else", "accept", map[string][]string{"input": {`{"vmap":{"key":{"meta":{"key":"mark"}},"data":{"set":[]}}}`}}, Unknown},
	} {
		if got, _ := parse(t, rules(tt.policy, tt.chains)).Input(fromBR); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	if !parse(t, rules("accept", map[string][]string{"input": nil})).Empty() {
		t.Error("a chain without rules is a firewall")
	}
}

// FuzzParse: whatever nft prints, there is an answer.
func FuzzParse(f *testing.F) {
	f.Fuzz(func(t *testing.T, doc []byte) {
		r, err := Parse(doc)
		if err != nil {
			return
		}
		if got, _ := r.Input(fromBR); got != Unknown && got != Accepted && got != Dropped {
			t.Errorf("answer %d", got)
		}
		r.ClampsMSS()
		r.Empty()
	})
}
