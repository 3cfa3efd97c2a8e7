package netifd

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"sofutobanku/internal/state"
)

// netifdDouble does what netifd does with the calls, down to the kernel, as far as
// it matters here, its flaws included: it knows addresses by their place in the
// list, appends name servers to those it keeps, and loses what a new tunnel device
// has in common with the one before.
type netifdDouble struct {
	t *testing.T
	// fail may refuse a call. lost: it was done, and the answer did not come.
	fail func(args []string) (err error, lost bool)
	seen func(args []string, reply string, err error)

	parent iface
	child  childDouble // with the tunnel
	hgw    childDouble // on the home gateway's port
}

// childDouble is an interface that add_dynamic made; iface is nil while there is none.
type childDouble struct {
	*iface
	busy   time.Time // until then it comes up or goes
	going  bool
	broken string // why its setup fails
}

type iface struct {
	up        bool
	dynamic   bool
	device    string
	tunnel    string
	addresses map[string]string // "place family" to address
	routes    map[string]string // key to gateway
	prefixes  map[string]string // to lifetimes
	dns       []string
	search    []string
	data      map[string]json.RawMessage
	errors    []json.RawMessage
	blocked   bool

	kernel map[string]bool // addresses and routes that really are there
}

// ubusStatus is how ubus ends when netifd refuses.
type ubusStatus int

func (s ubusStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }
func (s ubusStatus) ExitCode() int { return int(s) }

const (
	comesUpAfter = 50 * time.Millisecond
	goesAfter    = 150 * time.Millisecond
)

func newDouble(t *testing.T) *netifdDouble {
	return &netifdDouble{t: t, parent: iface{device: "eth1"}}
}

func (d *netifdDouble) call(ctx context.Context, args ...string) ([]byte, error) {
	var reply string
	err, lost := error(nil), false
	if d.fail != nil {
		err, lost = d.fail(args)
	}
	if err == nil || lost {
		var refused error
		if reply, refused = d.do(args); err == nil {
			err = refused
		}
	}
	if d.seen != nil {
		d.seen(args, reply, err)
	}
	if _, ok := ctx.Deadline(); !ok {
		d.t.Error("a call without a deadline")
	}
	return []byte(reply), err
}

func (d *netifdDouble) do(args []string) (string, error) {
	d.childClock()
	if args[0] != "call" {
		return "", ubusStatus(1)
	}
	message := "{}"
	if len(args) == 4 {
		message = args[3]
	}
	checkNumbers(d.t, message)
	for name, c := range d.children() {
		object, ok := strings.CutPrefix(args[1], "network.interface.")
		switch {
		case !ok || object != name:
		case c.iface == nil:
			return "", ubusStatus(notFound)
		case args[2] == "status":
			reply, _ := json.Marshal(map[string]any{"up": c.up, "dynamic": c.dynamic, "errors": c.errors,
				"pending": !c.up && !c.blocked, "l3_device": c.device})
			return string(reply), nil
		case args[2] == "remove":
			if c.going {
				return "", ubusStatus(invalidArgument)
			}
			c.going, c.busy = true, time.Now().Add(goesAfter)
			return "", nil
		}
	}
	switch what := args[1] + " " + args[2]; {
	case what == "network.interface.wan set_data":
		var data map[string]json.RawMessage
		if err := json.Unmarshal([]byte(message), &data); err != nil {
			return "", ubusStatus(invalidArgument)
		}
		d.parent.merge(data)
		return "", nil
	case what == "network add_dynamic":
		var config struct{ Name, Proto string }
		if err := json.Unmarshal([]byte(message), &config); err != nil {
			return "", ubusStatus(invalidArgument)
		}
		c := d.children()[config.Name]
		switch {
		case c == nil, config.Proto != map[*childDouble]string{&d.child: tunnelProto, &d.hgw: hgwProto}[c]:
			return "", ubusStatus(invalidArgument)
		case c.iface != nil:
			d.t.Error("add_dynamic of a child that is there: netifd would take it down")
			return "", nil
		}
		c.iface = &iface{dynamic: true, data: map[string]json.RawMessage{"setup": json.RawMessage(message)}}
		c.going, c.busy = false, time.Now().Add(comesUpAfter)
		return "", nil
	case what == "network.interface notify_proto":
		return "", d.notify(message)
	}
	return "", ubusStatus(3) // method not found
}

func (d *netifdDouble) children() map[string]*childDouble {
	return map[string]*childDouble{"wan_4": &d.child, "wan_hgw": &d.hgw}
}

// childClock lets happen what takes netifd and the children's handlers a while.
func (d *netifdDouble) childClock() {
	for _, c := range d.children() {
		if c.iface == nil || c.busy.IsZero() || time.Now().Before(c.busy) {
			continue
		}
		c.busy = time.Time{}
		switch {
		case c.going:
			c.iface, c.going = nil, false
		case c.broken != "":
			c.blocked = true
			c.errors = []json.RawMessage{json.RawMessage(c.broken)}
		default:
			c.update(d.t, d.handler(c))
		}
	}
}

// handler is what the protocol handler of a child sends.
func (d *netifdDouble) handler(c *childDouble) update {
	if c == &d.hgw {
		var p dynamicPort
		if err := json.Unmarshal(c.data["setup"], &p); err != nil {
			d.t.Fatal(err)
		}
		return update{LinkUp: true, IfName: p.Device}
	}
	var t dynamicTunnel
	if err := json.Unmarshal(c.data["setup"], &t); err != nil {
		d.t.Fatal(err)
	}
	zero := int32(0)
	return update{
		LinkUp: true, IfName: "sofu-" + t.Name,
		Tunnel: &tunnel{Mode: "ipip6", Local: t.Local, Remote: t.Remote, MTU: t.MTU, TTL: t.TTL, Data: tunnelData{t.EncapLimit}},
		IPAddr: []ipAddr{{IPAddr: t.IPAddr, Mask: "32"}}, IP6Addr: []ipAddr{{IPAddr: t.Local, Mask: "128", Preferred: &zero, Offlink: true}},
		Routes: []ipRoute{{Target: netip.IPv4Unspecified(), Netmask: "0"}},
	}
}

func (d *netifdDouble) notify(message string) error {
	var u update
	var f failure
	if json.Unmarshal([]byte(message), &f) == nil && f.Action != 0 {
		switch f.Action {
		case notifyError:
			if len(f.Error) == 0 || len(f.Error) > 15 {
				return ubusStatus(invalidArgument)
			}
			if d.parent.up {
				d.t.Errorf("error %v while the link is up: it would stay when it is mended", f.Error)
			}
			b, _ := json.Marshal(f.Error)
			d.parent.errors = []json.RawMessage{b} // lasterror
		case blockRestart:
			d.parent.blocked = true
		case setupFailed:
			d.parent.down()
		}
		return nil
	}
	if err := json.Unmarshal([]byte(message), &u); err != nil {
		d.t.Errorf("%s: %v", message, err)
		return ubusStatus(invalidArgument)
	}
	c := d.children()[u.Interface]
	switch {
	case u.Interface == "wan":
		d.parent.update(d.t, u)
	case c == nil || c.iface == nil:
		return ubusStatus(notFound)
	case !c.up:
		d.t.Error("an update of a child that is not up: its handler would undo it")
	default:
		c.update(d.t, u)
	}
	return nil
}

func (i *iface) down() {
	*i = iface{device: i.device, dynamic: i.dynamic, errors: i.errors, blocked: i.blocked}
}

func (i *iface) merge(data map[string]json.RawMessage) {
	if i.data == nil {
		i.data = map[string]json.RawMessage{}
	}
	for k, v := range data {
		i.data[k] = v
	}
}

func (i *iface) update(t *testing.T, u update) {
	if !u.LinkUp {
		i.down()
		return
	}
	if !i.up {
		u.Keep, i.errors = false, nil
		i.up, i.addresses, i.routes, i.prefixes, i.kernel = true, map[string]string{}, map[string]string{}, map[string]string{}, map[string]bool{}
	}
	if u.IfName != "" {
		i.device = u.IfName
	}
	if u.Tunnel != nil {
		b, _ := json.Marshal(u.Tunnel)
		if i.tunnel != "" && i.tunnel != string(b) {
			i.kernel = map[string]bool{} // a new device, with nothing on it
		}
		i.tunnel = string(b)
	}
	old := [2]map[string]string{i.addresses, i.routes}
	if !u.Keep {
		i.addresses, i.routes, i.prefixes, i.dns, i.search = map[string]string{}, map[string]string{}, map[string]string{}, nil, nil
	} else {
		i.addresses, i.routes = clone(i.addresses), clone(i.routes)
	}
	for family, list := range map[string][]ipAddr{"4": u.IPAddr, "6": u.IP6Addr} {
		for n, a := range list {
			place, addr := fmt.Sprint(n, " ", family), fmt.Sprintf("%s/%s", a.IPAddr, a.Mask)
			if old[0][place] != addr { // what was there already is not touched
				if u.Keep && old[0][place] != "" {
					t.Errorf("%s takes the place of %s in an update that keeps", addr, old[0][place])
				}
				i.kernel[addr] = true
			}
			i.addresses[place] = addr
			if a.Valid != nil && (*a.Valid <= 0 || *a.Preferred > *a.Valid) {
				t.Errorf("%s: preferred %d, valid %d", addr, *a.Preferred, *a.Valid)
			}
		}
	}
	for _, r := range slices.Concat(u.Routes, u.Routes6) {
		key := fmt.Sprintf("%s/%s metric %d", r.Target, r.Netmask, r.Metric)
		if r.Source != nil {
			key += " from " + r.Source.String()
		}
		via := ""
		if r.Gateway != nil {
			via = r.Gateway.String()
		}
		if v, ok := old[1][key]; !ok || v != via {
			delete(i.kernel, key+" via "+v)
			i.kernel[key+" via "+via] = true
		}
		i.routes[key] = via
	}
	for _, p := range u.IP6Prefix {
		prefix, lifetimes, _ := strings.Cut(p, ",")
		if !u.Keep && i.prefixes[prefix] != "" {
			t.Errorf("prefix %s twice", prefix)
		}
		i.prefixes[prefix] = lifetimes
	}
	for _, ip := range u.DNS {
		i.dns = append(i.dns, ip.String())
	}
	i.search = append(i.search, u.Search...)
	if !u.Keep {
		// Flushed last, by address: at whatever place it is now.
		for place, addr := range old[0] {
			if i.addresses[place] != addr {
				delete(i.kernel, addr)
			}
		}
		for key, via := range old[1] {
			if _, ok := i.routes[key]; !ok {
				delete(i.kernel, key+" via "+via)
			}
		}
	}
}

func clone(m map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range m {
		out[k] = v
	}
	return out
}

// checkNumbers sees to it that every number fits netifd's, and that masks are no
// numbers.
func checkNumbers(t *testing.T, message string) {
	var walk func(key string, v any)
	walk = func(key string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, x := range v {
				walk(k, x)
			}
		case []any:
			for _, x := range v {
				walk(key, x)
			}
		case json.Number:
			if n, err := v.Int64(); err != nil || n < -1<<31 || n >= 1<<31 {
				t.Errorf("%s: number %s does not fit 32 bits", key, v)
			}
			if key == "mask" || key == "netmask" || key == "encaplimit" {
				t.Errorf("%s is a number", key)
			}
		}
	}
	d := json.NewDecoder(strings.NewReader(message))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Errorf("%s: %v", message, err)
	}
	walk("", v)
}

// kernelDouble remembers what it was given.
type kernelDouble struct {
	prepared, closed bool
	state            state.State
	err              error
}

func (k *kernelDouble) Prepare() error { k.prepared = true; return k.err }

func (k *kernelDouble) Apply(st state.State) error {
	k.state = st
	return k.err
}

func (k *kernelDouble) Close() error {
	k.closed, k.state = true, state.State{}
	return k.err
}
