package firewall

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
)

// Answer is what becomes of a packet.
type Answer int

// The answers.
const (
	Unknown Answer = iota
	Accepted
	Dropped
)

// Packet is an IPv6 packet on its way to this machine.
type Packet struct {
	// Established: it answers what this machine has sent (nft's ct state established);
	// otherwise it is the first of something new.
	Established bool

	Device      string // it comes in by
	Source      netip.Addr
	Destination netip.Addr
	Protocol    int // of the first header behind IPv6's
}

// Ruleset is the rules of a machine.
type Ruleset struct {
	bases []*chain // those at a hook, in the order in which packets meet them
	all   []*chain
}

type chain struct {
	Family, Table, Name string
	Hook, Policy        string
	Prio                int
	rules               []rule
	ruleset             map[string]*chain // of the table, by name
}

// rule is its statements, each an object with one key.
type rule struct {
	Family, Table, Chain string
	Expr                 []map[string]json.RawMessage
}

// Parse reads what `nft -j list ruleset` prints.
func Parse(doc []byte) (*Ruleset, error) {
	var list struct {
		Objects []struct {
			Chain *chain
			Rule  *rule
		} `json:"nftables"`
	}
	if err := json.Unmarshal(doc, &list); err != nil {
		return nil, fmt.Errorf("firewall: rules: %w", err)
	}
	r := &Ruleset{}
	tables := map[[2]string]map[string]*chain{}
	for _, o := range list.Objects {
		c := o.Chain
		if c == nil {
			continue
		}
		t := [2]string{c.Family, c.Table}
		if tables[t] == nil {
			tables[t] = map[string]*chain{}
		}
		tables[t][c.Name], c.ruleset = c, tables[t]
		r.all = append(r.all, c)
		if (c.Family == "inet" || c.Family == "ip6") && (c.Hook == "prerouting" || c.Hook == "input") {
			r.bases = append(r.bases, c)
		}
	}
	for _, o := range list.Objects {
		if o.Rule == nil {
			continue
		}
		if c := tables[[2]string{o.Rule.Family, o.Rule.Table}][o.Rule.Chain]; c != nil {
			c.rules = append(c.rules, *o.Rule)
		}
	}
	slices.SortStableFunc(r.bases, func(a, b *chain) int {
		return cmp.Or(cmp.Compare(b.Hook, a.Hook), cmp.Compare(a.Prio, b.Prio)) // prerouting, then input
	})
	return r, nil
}

// Empty tells that there is no rule at all.
func (r *Ruleset) Empty() bool {
	return !slices.ContainsFunc(r.all, func(c *chain) bool { return c.Policy == "drop" || len(c.rules) > 0 })
}

// ClampsMSS tells whether some rule sets the maximum segment size of forwarded TCP.
func (r *Ruleset) ClampsMSS() bool {
	for _, c := range r.all {
		for _, rule := range c.rules {
			for _, statement := range rule.Expr {
				var m struct {
					Key struct {
						Option struct{ Name string } `json:"tcp option"`
					}
				}
				if json.Unmarshal(statement["mangle"], &m) == nil && m.Key.Option.Name == "maxseg" {
					return true
				}
			}
		}
	}
	return false
}

// Input is what becomes of p, and the name of the chain that decides it, "" for none.
func (r *Ruleset) Input(p Packet) (Answer, string) {
	answer, where := Accepted, ""
	w := walk{p, map[*chain]outcome{}}
	for _, c := range r.bases {
		out := w.pass(c)
		if out&through != 0 {
			out &^= through
			if c.Policy == "drop" {
				out |= dropped
			} else {
				out |= accepted
			}
		}
		switch out {
		case accepted:
		case dropped:
			return Dropped, c.Table + " " + c.Name
		default:
			answer, where = Unknown, c.Table+" "+c.Name
		}
	}
	return answer, where
}

// outcome is a set of what may become of a packet in a chain.
type outcome int

const (
	accepted outcome = 1 << iota
	dropped
	through // the chain's end is reached
	left    // of a rule alone: it returns to the calling chain
)

// truth is whether a rule is for a packet.
type truth int

const (
	no truth = iota
	maybe
	yes
)

// walk is the way of one packet.
type walk struct {
	Packet
	known map[*chain]outcome
}

// pass is what may become of the packet in c.
func (w walk) pass(c *chain) (out outcome) {
	if known, ok := w.known[c]; ok {
		return known
	}
	w.known[c] = accepted | dropped | through // of jumps in a circle, which no kernel has
	defer func() { w.known[c] = out }()
	for _, r := range c.rules {
		matches, verdict := w.apply(c, r)
		if matches == no {
			continue
		}
		out |= verdict &^ through
		if matches == yes && verdict&through == 0 {
			return out
		}
		if matches == yes && verdict&left != 0 {
			return out&^left | through
		}
		if verdict&left != 0 {
			out = out&^left | through // it may end here, and may go on
		}
	}
	return out | through
}

// apply is whether r is for the packet, and what it does then; through is to go on with
// the next rule.
func (w walk) apply(c *chain, r rule) (truth, outcome) {
	matches := yes
	for _, statement := range r.Expr {
		for key, value := range statement {
			switch key {
			case "match":
				matches = min(matches, match(value, w.Packet))
				if matches == no {
					return no, 0
				}
			case "accept":
				return matches, accepted
			case "drop", "reject":
				return matches, dropped
			case "return":
				return matches, left | through
			case "jump", "goto":
				var to struct{ Target string }
				next := (*chain)(nil)
				if json.Unmarshal(value, &to) == nil {
					next = c.ruleset[to.Target]
				}
				if next == nil {
					return maybe, accepted | dropped | through
				}
				out := w.pass(next)
				if key == "goto" && out&through != 0 {
					out |= left
				}
				return matches, out
			case "vmap":
				return matches, w.stateMap(value)
			case "counter", "log", "mangle", "notrack", "comment", "ct helper", "meta":
			default: // limits, sets that grow, and whatever else may stop a packet here
				matches = maybe
			}
		}
	}
	return matches, through
}

// state is what nft calls the packet's.
func (p Packet) state() string {
	if p.Established {
		return "established"
	}
	return "new"
}

// stateMap is what becomes of the packet in a map from the state of connections to
// verdicts; of another map anything.
func (w walk) stateMap(b json.RawMessage) outcome {
	var m struct {
		Key  struct{ CT struct{ Key string } }
		Data struct{ Set [][2]json.RawMessage }
	}
	if json.Unmarshal(b, &m) != nil || m.Key.CT.Key != "state" {
		return accepted | dropped | through
	}
	for _, e := range m.Data.Set {
		if text(e[0], w.state()) == no {
			continue
		}
		switch verdict := string(bytes.Join(bytes.Fields(e[1]), nil)); verdict {
		case `{"accept":null}`:
			return accepted
		case `{"drop":null}`:
			return dropped
		}
		return accepted | dropped | through
	}
	return through
}

// operand is the left side of a condition.
type operand struct {
	Meta, CT struct{ Key string }
	Payload  struct{ Protocol, Field string }
	And      []json.RawMessage `json:"&"` // an operand and a mask
	Concat   []operand
}

// absent tells that o is of a header that an IPv6 packet with neither TCP, UDP nor ICMP
// in it does not have.
func (o operand) absent() bool {
	if len(o.And) > 0 {
		var masked operand
		return json.Unmarshal(o.And[0], &masked) == nil && masked.absent()
	}
	return slices.ContainsFunc(o.Concat, operand.absent) ||
		slices.Contains([]string{"ip", "tcp", "udp", "icmp", "icmpv6", "th", "sctp", "arp", "ah", "esp"}, o.Payload.Protocol)
}

// match judges one condition.
func match(b json.RawMessage, p Packet) truth {
	var m struct {
		Op    string
		Left  operand
		Right json.RawMessage
	}
	if json.Unmarshal(b, &m) != nil {
		return maybe
	}
	is := maybe
	l := m.Left
	switch {
	case l.absent():
		return no
	case l.CT.Key == "state":
		is = among(m.Right, func(v json.RawMessage) truth { return text(v, p.state()) })
	case l.CT.Key == "status":
		if !p.Established {
			is = no // nothing was done to its connection yet
		}
	case l.Meta.Key == "iifname" || l.Meta.Key == "iif":
		is = among(m.Right, func(v json.RawMessage) truth { return device(v, p.Device) })
	case l.Meta.Key == "nfproto":
		is = among(m.Right, func(v json.RawMessage) truth { return text(v, "ipv6") })
	case l.Meta.Key == "l4proto", l.Payload.Protocol == "ip6" && l.Payload.Field == "nexthdr":
		is = among(m.Right, func(v json.RawMessage) truth { return protocol(v, p.Protocol) })
	case l.Payload.Protocol == "ip6" && l.Payload.Field == "saddr":
		is = among(m.Right, func(v json.RawMessage) truth { return address(v, p.Source) })
	case l.Payload.Protocol == "ip6" && l.Payload.Field == "daddr":
		is = among(m.Right, func(v json.RawMessage) truth { return address(v, p.Destination) })
	}
	switch m.Op {
	case "==", "in":
		return is
	case "!=":
		return yes - is
	}
	return maybe
}

// among is whether one value of a value, a list or a set is so.
func among(b json.RawMessage, is func(json.RawMessage) truth) truth {
	var set struct{ Set []json.RawMessage }
	var list []json.RawMessage
	switch {
	case json.Unmarshal(b, &list) == nil:
	case json.Unmarshal(b, &set) == nil && set.Set != nil:
		list = set.Set
	default:
		return is(b)
	}
	best := no
	for _, v := range list {
		best = max(best, is(v))
	}
	return best
}

func text(b json.RawMessage, want string) truth {
	var s string
	switch {
	case json.Unmarshal(b, &s) != nil || s == "" || s[0] == '@':
		return maybe
	case s == want:
		return yes
	}
	return no
}

// device compares a name, which may end in a wildcard.
func device(b json.RawMessage, name string) truth {
	var s string
	if json.Unmarshal(b, &s) == nil && len(s) > 1 && s[len(s)-1] == '*' && s[0] != '@' {
		if s = s[:len(s)-1]; len(name) >= len(s) && name[:len(s)] == s {
			return yes
		}
		return no
	}
	return text(b, name)
}

// numbers of the protocols whose names nft prints (IANA's, and those of Linux
// distributions' /etc/protocols); others are not 4.
var numbers = map[string]int{"ipencap": 4, "ipip": 4, "ipv4": 4, "ip": 0, "ipv6": 41}

func protocol(b json.RawMessage, want int) truth {
	var n int
	var s string
	switch {
	case json.Unmarshal(b, &n) == nil:
	case json.Unmarshal(b, &s) == nil && s != "" && s[0] != '@':
		var known bool
		if n, known = numbers[s]; !known {
			n = -1
		}
	default:
		return maybe
	}
	if n == want {
		return yes
	}
	return no
}

// address compares an address, a prefix or a range.
func address(b json.RawMessage, a netip.Addr) truth {
	if !a.IsValid() {
		return maybe
	}
	var s string
	var o struct {
		Prefix struct {
			Addr netip.Addr
			Len  int
		}
		Range []netip.Addr
	}
	in := false
	switch {
	case json.Unmarshal(b, &s) == nil:
		one, err := netip.ParseAddr(s)
		if err != nil {
			return maybe
		}
		in = one == a
	case json.Unmarshal(b, &o) != nil:
		return maybe
	case o.Prefix.Addr.IsValid():
		in = netip.PrefixFrom(o.Prefix.Addr, o.Prefix.Len).Contains(a)
	case len(o.Range) == 2:
		in = o.Range[0].Compare(a) <= 0 && a.Compare(o.Range[1]) <= 0
	default:
		return maybe
	}
	if in {
		return yes
	}
	return no
}
