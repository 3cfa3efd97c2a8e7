package netifd

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// kind is a type of blobmsg, which a JSON value becomes.
type kind string

const (
	integer kind = "an integer of 32 bits"
	boolean kind = "a boolean"
	text    kind = "a string"
	array   kind = "an array"
	table   kind = "a table"
)

// schema is what netifd looks for in a table.
type schema map[string]kind

var (
	notifySchema = schema{
		"interface": text, "action": integer, "error": array, "command": array, "env": array,
		"signal": integer, "available": boolean, "link-up": boolean, "ifname": text,
		"address-external": boolean, "routes": array, "routes6": array, "tunnel": table, "data": table,
		"keep": boolean, "host": text, "dns": array, "dns_search": array, "neighbor": array, "neighbor6": array,
		"ipaddr": array, "ip6addr": array, "gateway": text, "ip6gw": text, "ip6prefix": array,
	}
	addressSchema = schema{
		"ipaddr": text, "mask": text, "broadcast": text, "ptp": text,
		"preferred": integer, "valid": integer, "offlink": boolean, "class": text,
	}
	routeSchema = schema{
		"target": text, "netmask": text, "gateway": text, "metric": integer, "mtu": integer, "table": text,
		"valid": integer, "source": text, "onlink": boolean, "type": text, "proto": text,
	}
	tunnelSchema     = schema{"mode": text, "local": text, "remote": text, "mtu": integer, "ttl": integer, "link": text, "data": table}
	tunnelDataSchema = schema{"encaplimit": text}
)

// object is a JSON object, its numbers json.Number.
type object map[string]any

func parse(s string) (object, error) {
	var o object
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	err := d.Decode(&o)
	return o, err
}

// kindOf is what ubus makes of a JSON value; a number that does not fit becomes one
// of another type.
func kindOf(v any) kind {
	switch v := v.(type) {
	case string:
		return text
	case bool:
		return boolean
	case json.Number:
		if n, err := strconv.ParseInt(string(v), 10, 64); err == nil && n > math.MinInt32 && n <= math.MaxInt32 {
			return integer
		}
		return "a longer number"
	case []any:
		return array
	case map[string]any, object:
		return table
	}
	return "null"
}

// keep returns the members that netifd would find. Of those that it silently ignores
// it tells wrong.
func (s schema) keep(where string, o object, wrong func(format string, args ...any)) object {
	found := object{}
	for _, name := range slices.Sorted(maps.Keys(o)) {
		want, known := s[name]
		switch got := kindOf(o[name]); {
		case !known:
			wrong("%s: netifd knows no member %s", where, name)
		case got != want:
			wrong("%s: %s is %s, and netifd ignores all but %s", where, name, got, want)
		default:
			found[name] = o[name]
		}
	}
	return found
}

func (o object) string(name string) string { s, _ := o[name].(string); return s }
func (o object) bool(name string) bool     { b, _ := o[name].(bool); return b }
func (o object) list(name string) []any    { l, _ := o[name].([]any); return l }

func (o object) table(name string) object {
	switch t := o[name].(type) {
	case map[string]any:
		return t
	case object:
		return t
	}
	return nil
}

func (o object) int(name string) (int, bool) {
	n, ok := o[name].(json.Number)
	if !ok {
		return 0, false
	}
	i, err := strconv.Atoi(string(n))
	return i, err == nil
}

// strings is an array of at most most strings; netifd refuses another one.
func (o object) strings(name string, most int) ([]string, bool) {
	var words []string
	for _, v := range o.list(name) {
		s, ok := v.(string)
		if !ok {
			return nil, false
		}
		words = append(words, s)
	}
	return words, len(words) <= most
}

// address is an address of an interface.
type address struct {
	prefix           netip.Prefix
	offlink          bool
	preferred, valid int64 // seconds when it was told, -1 for ever
}

// addressKey is what makes two addresses the same to netifd; releases before July
// 2026 do not find one that changed its place.
type addressKey struct {
	index   int
	prefix  netip.Prefix
	offlink bool
}

func parseAddress(o object, v6 bool) (address, error) {
	a := address{offlink: o.bool("offlink"), preferred: -1, valid: -1}
	addr, err := netip.ParseAddr(o.string("ipaddr"))
	if err != nil || addr.Is6() != v6 {
		return a, fmt.Errorf("ipaddr %q", o.string("ipaddr"))
	}
	bits := addr.BitLen()
	if m, ok := o["mask"]; ok {
		if bits, err = strconv.Atoi(m.(string)); err != nil || bits < 0 || bits > addr.BitLen() {
			return a, fmt.Errorf("mask %q", m)
		}
	}
	a.prefix = netip.PrefixFrom(addr, bits)
	if n, ok := o.int("preferred"); ok {
		a.preferred = int64(n)
	}
	if n, ok := o.int("valid"); ok {
		a.valid = int64(n)
		if a.preferred < 0 {
			a.preferred = a.valid
		}
	}
	if a.valid >= 0 && a.preferred > a.valid {
		return a, fmt.Errorf("preferred %d is longer than valid %d", a.preferred, a.valid)
	}
	return a, nil
}

// routeKey is what makes two routes the same to netifd.
type routeKey struct {
	target    netip.Prefix
	source    string
	metric    int
	hasMetric bool
	table     string
}

type route struct {
	via, kind, proto string
	mtu              int
	onlink           bool
}

func parseRoute(o object, v6 bool) (key routeKey, r route, err error) {
	target := netip.IPv4Unspecified()
	if v6 {
		target = netip.IPv6Unspecified()
	}
	if s := o.string("target"); s != "" {
		s, _, _ = strings.Cut(s, "/")
		if target, err = netip.ParseAddr(s); err != nil || target.Is6() != v6 {
			return key, r, fmt.Errorf("target %q", s)
		}
	}
	bits := target.BitLen()
	if m, ok := o["netmask"]; ok {
		if bits, err = strconv.Atoi(m.(string)); err != nil || bits < 0 || bits > target.BitLen() {
			return key, r, fmt.Errorf("netmask %q", m)
		}
	}
	key = routeKey{target: netip.PrefixFrom(target, bits).Masked(), source: o.string("source"), table: o.string("table")}
	key.metric, key.hasMetric = o.int("metric")
	r = route{via: o.string("gateway"), kind: o.string("type"), proto: o.string("proto"), onlink: o.bool("onlink")}
	r.mtu, _ = o.int("mtu")
	for _, s := range []string{r.via, strings.SplitN(key.source, "/", 2)[0]} {
		if s != "" {
			if a, err := netip.ParseAddr(s); err != nil || a.Is6() != v6 {
				return key, r, fmt.Errorf("address %q", s)
			}
		}
	}
	return key, r, nil
}

// prefix is a delegated prefix.
type prefix struct {
	netip.Prefix
	preferred, valid int64 // as of address
}

func parsePrefix(s string) (p prefix, err error) {
	fields := strings.Split(s, ",")
	p = prefix{preferred: -1, valid: -1}
	if p.Prefix, err = netip.ParsePrefix(fields[0]); err != nil || p.Bits() < 1 || p.Bits() > 64 {
		return p, fmt.Errorf("ip6prefix %q", s)
	}
	for i, to := range []*int64{&p.preferred, &p.valid} {
		if len(fields) > i+1 {
			if *to, err = strconv.ParseInt(fields[i+1], 10, 64); err != nil {
				return p, fmt.Errorf("ip6prefix %q", s)
			}
		}
	}
	for _, more := range fields[min(3, len(fields)):] {
		part, ok := strings.CutPrefix(more, "excluded=")
		if !ok && strings.HasPrefix(more, "class=") {
			continue
		}
		out, err := netip.ParsePrefix(part)
		if !ok || err != nil || out.Bits() <= p.Bits() || out.Bits() > 64 || !p.Contains(out.Addr()) {
			return p, fmt.Errorf("ip6prefix %q", s)
		}
	}
	return p, nil
}
