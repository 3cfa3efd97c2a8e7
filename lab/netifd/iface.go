package netifd

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// state is that of an interface.
type state string

const (
	down     state = "down"
	setup    state = "setup"
	up       state = "up"
	teardown state = "teardown"
)

// machine is the state of its handler.
type machine string

const (
	idle        machine = "idle"
	settingUp   machine = "setting up"
	aborting    machine = "aborting setup"
	tearingDown machine = "tearing down"
)

// How long a teardown may take, and an aborted setup.
const (
	teardownTime = 5 * time.Second
	abortTime    = time.Second
	// removeDelay is how long after its removal was asked for an interface goes.
	removeDelay = 100 * time.Millisecond
)

// iface is a logical interface.
type iface struct {
	n         *Netifd
	name      string
	handler   *handler
	config    config
	dynamic   bool
	next      *change // takes effect when it is down
	removing  bool    // goes when it is down
	autostart bool
	available bool

	state     state
	machine   machine
	script    *task
	daemon    *task
	killed    bool // the handler asked the daemon to end
	lastError int  // exit status of the daemon, -1 for none
	renewing  bool
	restartIt bool
	timer     *time.Timer
	errors    []Error
	events    []string
	since     time.Time

	ip
}

type change struct {
	handler *handler
	config  config
}

// Error is one of `ifstatus`.
type Error struct {
	Subsystem string   `json:"subsystem"`
	Code      string   `json:"code"`
	Data      []string `json:"data,omitempty"`
}

func (i *iface) device() string {
	if i.handler.NoDevice {
		return ""
	}
	return i.config.string("device")
}

func (i *iface) carrier() bool {
	return i.device() == "" || i.n.links[i.device()] || i.config.bool("force_link", i.handler.withoutHandling)
}

// claim takes the device of a configuration.
func (i *iface) claim() {
	i.machine = idle
	_, there := i.n.links[i.device()]
	i.setAvailable(i.handler.Available || i.device() != "" && there)
}

func (i *iface) setAvailable(yes bool) {
	if i.available == yes {
		return
	}
	i.available = yes
	switch {
	case !yes:
		i.setDown()
	case i.autostart:
		i.setUp()
	}
}

// setUp is ifup.
func (i *iface) setUp() {
	if i.removing {
		return
	}
	i.autostart = true
	if i.state != down {
		return
	}
	if !i.handler.LastError {
		i.errors = nil
	}
	if !i.available {
		i.addError("interface", "NO_DEVICE")
		return
	}
	if dev := i.device(); dev != "" {
		i.n.ip("-6", "link set "+dev+" up")
	}
	i.check()
}

// check follows the carrier.
func (i *iface) check() {
	switch i.state {
	case up, setup:
		if !i.carrier() {
			i.begin(teardown)
		}
	case down:
		if i.available && i.autostart && i.carrier() && !i.removing {
			i.begin(setup)
		}
	}
}

// setDown is the half of ifdown that does not forbid to come up again.
func (i *iface) setDown() {
	if i.state == up || i.state == setup {
		i.begin(teardown)
	}
}

// begin runs the handler towards up or down.
func (i *iface) begin(to state) {
	was := i.state
	i.state = to
	if to == setup {
		i.n.logf("interface %s: setting up", i.name)
		if i.handler.withoutHandling {
			i.isUp()
			return
		}
		i.setupHandler()
		return
	}
	if was == up {
		i.event("ifdown")
	}
	if i.dynamic {
		i.removing = true
	}
	if i.handler.withoutHandling {
		i.isDown()
		return
	}
	i.teardownHandler()
}

func (i *iface) event(name string) {
	i.n.logf("interface %s: %s", i.name, name)
	i.events = append(i.events, name)
}

func (i *iface) isUp() {
	i.state, i.since = up, time.Now()
	i.errors = nil
	i.event("ifup")
	i.n.assign()
}

// isDown is the end of a teardown.
func (i *iface) isDown() {
	i.n.logf("interface %s: down", i.name)
	i.clear()
	i.state = down
	i.handleChange()
}

// lost takes down what a running handler no longer has.
func (i *iface) lost() {
	if i.state != up {
		return
	}
	i.event("ifdown")
	i.clear()
	i.state = setup
}

func (i *iface) handleChange() {
	if i.removing {
		i.n.logf("interface %s: removed", i.name)
		delete(i.n.ifaces, i.name)
		return
	}
	if c := i.next; c != nil {
		// What was blocked, or taken down by a person, stays so.
		if auto := c.config.bool("auto", true); auto != i.config.bool("auto", true) {
			i.autostart = auto
		}
		i.handler, i.config, i.next, i.available = c.handler, c.config, nil, false
		i.claim()
		return
	}
	if i.autostart {
		i.setUp()
	}
}

func (i *iface) remove() int {
	if i.removing {
		return invalidArgument
	}
	i.removing = true
	time.AfterFunc(removeDelay, func() { i.n.post(i.setRemoved) })
	return 0
}

func (i *iface) setRemoved() {
	if i.n.ifaces[i.name] != i {
		return // it went with a netifd that was killed
	}
	i.removing = true
	if i.state == down {
		i.handleChange()
		return
	}
	i.setDown()
}

func (i *iface) addError(subsystem, code string, data ...string) {
	if i.handler.LastError {
		i.errors = nil
	}
	i.errors = append(i.errors, Error{subsystem, code, data})
	i.n.logf("interface %s: error %s %s", i.name, code, strings.Join(data, " "))
}

// kill leaves no process.
func (i *iface) kill() {
	for _, t := range []*task{i.script, i.daemon} {
		t.signal(syscall.SIGKILL)
		if t != nil {
			t.running = false
		}
	}
}

// ---- The handler.

func (i *iface) runScript(action string, env ...string) {
	b, err := json.Marshal(i.config.object)
	if err != nil {
		i.n.violation("%v", err)
	}
	args := []string{i.handler.Name, action, i.name, string(b)}
	if dev := i.device(); dev != "" {
		args = append(args, dev)
	}
	cmd := i.n.script(args...)
	cmd.Env = append(cmd.Env, env...)
	i.n.logf("interface %s: handler: %s %s", i.name, action, strings.Join(env, " "))
	i.script = i.n.run(i.name, cmd, func(int) { i.ended(i.script) })
}

func (i *iface) setupHandler() {
	i.lastError, i.machine = -1, settingUp
	i.runScript("setup")
}

func (i *iface) teardownHandler() {
	switch i.machine {
	case settingUp:
		if i.script.alive() {
			i.machine = aborting
			i.deadline(abortTime)
			i.script.signal(syscall.SIGTERM)
			i.daemon.signal(syscall.SIGTERM)
			return
		}
	case idle:
	default:
		return
	}
	i.machine, i.renewing, i.restartIt = tearingDown, false, false
	i.deadline(teardownTime)
	var env []string
	if i.lastError >= 0 {
		env = append(env, "ERROR="+strconv.Itoa(i.lastError))
	}
	i.runScript("teardown", env...)
}

// deadline kills what runs after d.
func (i *iface) deadline(d time.Duration) {
	var timer *time.Timer
	timer = time.AfterFunc(d, func() {
		i.n.post(func() {
			if i.timer == timer {
				i.n.logf("interface %s: killed after %v", i.name, d)
				i.kill()
				i.ended(nil)
			}
		})
	})
	i.timer = timer
}

func (t *task) alive() bool { return t != nil && t.running }

// ended is what the end of a process makes the handler do.
func (i *iface) ended(t *task) {
	switch i.machine {
	case idle, settingUp:
		switch {
		case t == i.daemon:
			i.lost()
			i.teardownHandler()
		case i.restartIt:
			i.restart()
		case i.renewing:
			i.renew()
		case i.machine == settingUp && !i.handler.NoTask && !i.daemon.alive():
			i.teardownHandler()
		}
	case aborting:
		if i.script.alive() || i.daemon.alive() {
			return
		}
		i.timer.Stop()
		i.timer, i.machine = nil, idle
		i.teardownHandler()
	case tearingDown:
		if i.script.alive() {
			return
		}
		if i.daemon.alive() {
			if !i.killed {
				i.daemon.signal(syscall.SIGTERM)
			}
			return
		}
		i.timer.Stop()
		i.timer, i.machine = nil, idle
		i.isDown()
	}
}

func (i *iface) renew() int {
	if i.state == down || i.state == teardown || !i.handler.Renew || i.machine == aborting || i.machine == tearingDown {
		return 0
	}
	if i.renewing = i.script.alive(); !i.renewing {
		i.runScript("renew")
	}
	return 0
}

func (i *iface) restart() int {
	if i.state == down || i.state == teardown || !i.handler.Restart || i.machine == aborting || i.machine == tearingDown {
		return 0
	}
	if i.restartIt = i.script.alive(); !i.restartIt {
		i.runScript("restart")
	}
	return 0
}

// ---- notify_proto.

// Actions of notify_proto.
const (
	actUpdate = iota
	actRun
	actKill
	actError
	actBlock
	actAvailable
	actHost
	actFailed
)

// Limits of its arrays.
const (
	mostArguments = 62
	mostEnviron   = 30
	mostErrors    = 15
)

func (i *iface) notify(message object) int {
	if i.handler.withoutHandling {
		return notSupported
	}
	m := notifySchema.keep("notify_proto "+i.name, message, i.n.violation)
	action, ok := m.int("action")
	if !ok {
		return invalidArgument
	}
	busy := i.machine == tearingDown || i.machine == aborting
	switch action {
	case actUpdate:
		if busy {
			return permissionDenied
		}
		return i.update(m)
	case actRun:
		argv, ok := m.strings("command", mostArguments)
		env, envOK := m.strings("env", mostEnviron)
		if busy {
			return permissionDenied
		}
		if !ok || !envOK || len(argv) == 0 {
			return invalidArgument
		}
		i.runDaemon(argv, env)
	case actKill:
		signal, ok := m.int("signal")
		if !ok || signal < 0 || signal > 31 {
			signal = int(syscall.SIGTERM)
		}
		s := syscall.Signal(signal)
		if i.daemon.alive() {
			i.killed = i.killed || s == syscall.SIGTERM || s == syscall.SIGKILL
			i.daemon.signal(s)
		}
	case actError:
		words, ok := m.strings("error", mostErrors)
		if !ok || len(words) == 0 {
			i.n.violation("notify_proto %s: netifd refuses this list of errors: %v", i.name, m["error"])
			return invalidArgument
		}
		if i.state == up {
			i.n.violation("error %s of %s, which is up: nothing clears it before the link comes up again", words[0], i.name)
		}
		i.addError(i.handler.Name, words[0], words[1:]...)
	case actBlock:
		i.autostart = false
	case actAvailable:
		i.setAvailable(m.bool("available"))
	case actFailed:
		if busy {
			return permissionDenied
		}
		if i.machine == idle {
			i.lost()
		}
		i.teardownHandler()
	default:
		i.n.violation("the double does not know action %d", action)
		return invalidArgument
	}
	return 0
}

func (i *iface) runDaemon(argv, env []string) {
	for _, word := range slices.Concat(argv, env) {
		for _, secret := range i.n.opt.Secrets {
			if strings.Contains(word, secret) {
				i.n.violation("a secret among the arguments or in the environment of %s", argv[0])
			}
		}
	}
	if with, ok := i.n.opt.Programs[argv[0]]; ok {
		argv = slices.Concat(with[:1], argv[1:2], with[1:], argv[2:])
	}
	cmd := i.n.command(argv...)
	cmd.Env = append(cmd.Env, env...)
	i.killed = false
	i.n.logf("interface %s: starts %s", i.name, strings.Join(argv, " "))
	i.daemon = i.n.run(i.name, cmd, func(status int) {
		i.n.logf("interface %s: the daemon ended with status %d", i.name, status)
		if i.machine == idle || i.machine == settingUp {
			i.lastError = status
		}
		i.ended(i.daemon)
	})
}

func (i *iface) setData(message object) int {
	updated := false
	for name, v := range message {
		if b, err := json.Marshal(v); err == nil && string(i.data[name]) != string(b) {
			i.data[name] = b
			updated = true
		}
	}
	if updated && i.state == up {
		i.event("ifupdate")
	}
	return 0
}

// Status is part of what `ifstatus` prints.
type Status struct {
	Interface string `json:"interface,omitempty"`
	Up        bool   `json:"up"`
	Pending   bool   `json:"pending"`
	Available bool   `json:"available"`
	Autostart bool   `json:"autostart"`
	Dynamic   bool   `json:"dynamic"`
	Uptime    int    `json:"uptime,omitempty"`
	L3        string `json:"l3_device,omitempty"`
	Proto     string `json:"proto"`
	Device    string `json:"device,omitempty"`

	Addresses4 []AddressStatus            `json:"ipv4-address"`
	Addresses6 []AddressStatus            `json:"ipv6-address"`
	Prefixes   []AddressStatus            `json:"ipv6-prefix"`
	Routes     []RouteStatus              `json:"route"`
	DNS        []string                   `json:"dns-server"`
	Search     []string                   `json:"dns-search"`
	Data       map[string]json.RawMessage `json:"data"`
	Errors     []Error                    `json:"errors,omitempty"`
}

// AddressStatus is an address or a prefix.
type AddressStatus struct {
	Address string `json:"address"`
	Mask    int    `json:"mask"`
}

// RouteStatus is a route.
type RouteStatus struct {
	Target  string `json:"target"`
	Mask    int    `json:"mask"`
	NextHop string `json:"nexthop"`
	Source  string `json:"source"`
}

func (i *iface) status() Status {
	s := Status{
		Interface: i.name, Up: i.state == up, Pending: i.state == setup, Available: i.available,
		Autostart: i.autostart, Dynamic: i.dynamic, Proto: i.handler.Name, Device: i.device(),
		Data: maps.Clone(i.data), Errors: slices.Clone(i.errors),
	}
	if zone := i.config.string("zone"); zone != "" {
		s.Data["zone"], _ = json.Marshal(zone) // a string
	}
	if !s.Up {
		return s
	}
	s.Uptime, s.L3 = int(time.Since(i.since).Seconds()), i.l3
	i.fill(&s)
	return s
}

func (n *Netifd) dumpStatus() any {
	all := []Status{}
	for _, name := range slices.Sorted(maps.Keys(n.ifaces)) {
		all = append(all, n.ifaces[name].status())
	}
	return map[string]any{"interface": all}
}
