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
	child  *iface
	busy   time.Time // until then the child comes up or goes
	going  bool
	broken string // why the child's setup fails
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
	child, isChild := strings.CutPrefix(args[1], "network.interface.wan_4")
	switch what := args[1] + " " + args[2]; {
	case isChild && (d.child == nil || child != ""):
		return "", ubusStatus(notFound)
	case what == "network.interface.wan_4 status":
		reply, _ := json.Marshal(map[string]any{"up": d.child.up, "dynamic": d.child.dynamic, "errors": d.child.errors,
			"pending": !d.child.up && !d.child.blocked, "l3_device": d.child.device})
		return string(reply), nil
	case what == "network.interface.wan_4 remove":
		if d.going {
			return "", ubusStatus(invalidArgument)
		}
		d.going, d.busy = true, time.Now().Add(goesAfter)
		return "", nil
	case what == "network.interface.wan set_data":
		var data map[string]json.RawMessage
		if err := json.Unmarshal([]byte(message), &data); err != nil {
			return "", ubusStatus(invalidArgument)
		}
		d.parent.merge(data)
		return "", nil
	case what == "network add_dynamic":
		if d.child != nil {
			d.t.Error("add_dynamic of a child that is there: netifd would take it down")
			return "", nil
		}
		var c dynamic
		if err := json.Unmarshal([]byte(message), &c); err != nil || c.Proto != childProto {
			return "", ubusStatus(invalidArgument)
		}
		d.child = &iface{dynamic: true}
		d.going, d.busy = false, time.Now().Add(comesUpAfter)
		d.child.data = map[string]json.RawMessage{"setup": json.RawMessage(message)}
		return "", nil
	case what == "network.interface notify_proto":
		return "", d.notify(message)
	}
	return "", ubusStatus(3) // method not found
}

// childClock lets happen what takes netifd and the child's handler a while.
func (d *netifdDouble) childClock() {
	if d.child == nil || d.busy.IsZero() || time.Now().Before(d.busy) {
		return
	}
	d.busy = time.Time{}
	if d.going {
		d.child, d.going = nil, false
		return
	}
	if d.broken != "" {
		d.child.blocked = true
		d.child.errors = []json.RawMessage{json.RawMessage(d.broken)}
		return
	}
	var c dynamic
	if err := json.Unmarshal(d.child.data["setup"], &c); err != nil {
		d.t.Fatal(err)
	}
	// What the protocol handler sends.
	zero := int32(0)
	d.child.update(d.t, update{
		LinkUp: true, IfName: "sofu-" + c.Name,
		Tunnel: &tunnel{Mode: "ipip6", Local: c.Local, Remote: c.Remote, MTU: c.MTU, TTL: c.TTL, Data: tunnelData{c.EncapLimit}},
		IPAddr: []ipAddr{{IPAddr: c.IPAddr, Mask: "32"}}, IP6Addr: []ipAddr{{IPAddr: c.Local, Mask: "128", Preferred: &zero, Offlink: true}},
		Routes: []ipRoute{{Target: netip.IPv4Unspecified(), Netmask: "0"}},
	})
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
	switch u.Interface {
	case "wan":
		d.parent.update(d.t, u)
	case "wan_4":
		if d.child == nil {
			return ubusStatus(notFound)
		}
		if !d.child.up {
			d.t.Error("an update of a child that is not up: its handler would undo it")
		}
		d.child.update(d.t, u)
	default:
		return ubusStatus(notFound)
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
