package netifd

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "embed"

	"github.com/digineo/go-uci/v2"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sofutobanku/lab/topo"
)

//go:embed netifd-proto.sh
var protoFunctions []byte

// Options says what a Netifd runs.
type Options struct {
	Script string // the handler
	Config string // the folder of the UCI file network
	// Programs says what is started for the path of a program that a handler wants
	// to run: that and its first arguments. Without an entry it is the path.
	Programs map[string][]string
	// Secrets are words that no program that is started, and no ubus, may be shown.
	Secrets []string
	// Check tells what is wrong with a program that was started, "" for nothing; it may
	// be nil.
	Check func(Call) string
	// Heard is told of each line that a process of an interface writes; it may be nil.
	Heard func(pid int, line string)
}

// Netifd is a running double.
type Netifd struct {
	t        testing.TB
	ns       *topo.NS
	opt      Options
	dir      string // of the tools, the handler and its functions
	handlers map[string]*handler
	socket   io.Closer
	unwatch  chan struct{}

	events  chan func() // what the one goroutine does next
	stopped chan struct{}

	// The rest belongs to that goroutine.
	ifaces map[string]*iface
	links  map[string]bool // the devices that are there: whether they have a carrier
	refuse func(call string) int
	dead   bool

	mu         sync.Mutex
	log        []string
	violations []string
}

// handler is what the script said in its dump.
type handler struct {
	Name            string   `json:"name"`
	Config          [][2]any `json:"config"` // name, type
	NoDevice        bool     `json:"no-device"`
	NoTask          bool     `json:"no-proto-task"`
	Available       bool     `json:"available"`
	Renew           bool     `json:"renew-handler"`
	Restart         bool     `json:"restart-handler"`
	LastError       bool     `json:"lasterror"`
	withoutHandling bool     // static
}

// Start makes a Netifd in ns that ends with the test. The violations that it found
// and nobody took are errors of the test.
func Start(t testing.TB, lab *topo.Lab, ns *topo.NS, opt Options) *Netifd {
	t.Helper()
	n := &Netifd{
		t: t, ns: ns, opt: opt, dir: lab.Dir("netifd"),
		handlers: map[string]*handler{"static": {Name: "static", withoutHandling: true}},
		events:   make(chan func(), 64), stopped: make(chan struct{}), unwatch: make(chan struct{}),
		ifaces: map[string]*iface{}, links: map[string]bool{},
	}
	script, err := os.ReadFile(opt.Script)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"lib/netifd-proto.sh": protoFunctions, "lib/proto/handler.sh": script, "bin/.keep": nil} {
		path := filepath.Join(n.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := makeTools(n.bin()); err != nil {
		t.Fatal(err)
	}
	// The handler's pause after an error is a real one.
	if err := os.Remove(filepath.Join(n.bin(), "sleep")); err != nil {
		t.Fatal(err)
	}
	n.dump()
	if n.socket, err = listen(n.bin(), n.answer); err != nil {
		t.Fatal(err)
	}
	links := make(chan netlink.LinkUpdate, 64)
	if err := ns.Do(func() error {
		return netlink.LinkSubscribeWithOptions(links, n.unwatch, netlink.LinkSubscribeOptions{ListExisting: true})
	}); err != nil {
		t.Fatal(err)
	}
	go func() {
		for u := range links {
			n.post(func() { n.linkChanged(u) })
		}
	}()
	go func() {
		defer close(n.stopped)
		for f := range n.events {
			if f == nil {
				return
			}
			f()
		}
	}()
	t.Cleanup(n.stop)
	n.wait(n.reload)
	return n
}

// stop ends the double as SIGKILL does netifd, but for the processes.
func (n *Netifd) stop() {
	n.socket.Close()
	close(n.unwatch)
	n.post(func() {
		for _, i := range n.ifaces {
			i.kill()
		}
	})
	n.events <- nil
	<-n.stopped
	if n.t.Failed() {
		n.t.Logf("what netifd logged:\n%s", n.Log())
	}
	for _, v := range n.TakeViolations() {
		n.t.Errorf("netifd: %s", v)
	}
}

func (n *Netifd) bin() string { return filepath.Join(n.dir, "bin") }

// post lets the goroutine do f; once the double is stopped nobody does.
func (n *Netifd) post(f func()) {
	select {
	case n.events <- f:
	case <-n.stopped:
	}
}

// wait lets it do f and waits for that.
func (n *Netifd) wait(f func()) {
	done := make(chan struct{})
	n.post(func() { f(); close(done) })
	select {
	case <-done:
	case <-n.stopped:
	}
}

// Log is what went to the system log.
func (n *Netifd) Log() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Join(n.log, "\n") + "\n"
}

func (n *Netifd) logf(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.log = append(n.log, time.Now().Format("05.000 ")+fmt.Sprintf(format, args...))
}

// TakeViolations returns the violations since it was called last. What nobody takes
// fails the test.
func (n *Netifd) TakeViolations() (taken []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	taken, n.violations = n.violations, nil
	return taken
}

func (n *Netifd) violation(format string, args ...any) {
	n.logf("VIOLATION: "+format, args...)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.violations = append(n.violations, fmt.Sprintf(format, args...))
}

// dump learns of the handlers as netifd does when it starts.
func (n *Netifd) dump() {
	out, err := n.script("", "dump").Output()
	if err != nil {
		n.t.Fatalf("dump: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		var h handler
		if err := json.Unmarshal([]byte(line), &h); err != nil {
			n.t.Fatalf("dump: %v: %s", err, line)
		}
		n.handlers[h.Name] = &h
	}
}

// script is a run of the handler. OpenWrt's /bin/sh is busybox.
func (n *Netifd) script(args ...string) *exec.Cmd {
	return n.command(append([]string{"busybox", "ash", "./handler.sh"}, args...)...)
}

func (n *Netifd) command(argv ...string) *exec.Cmd {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = filepath.Join(n.dir, "lib/proto")
	cmd.Env = append(os.Environ(), "PATH="+n.bin()+":"+os.Getenv("PATH"))
	// A grandchild that keeps our pipe open must not keep us.
	cmd.WaitDelay = 100 * time.Millisecond
	return cmd
}

// task is a process of an interface.
type task struct {
	cmd     *exec.Cmd
	running bool
}

func (t *task) signal(s syscall.Signal) {
	if t != nil && t.running {
		_ = t.cmd.Process.Signal(s) // it may just have ended
	}
}

// run starts cmd; ended is called in the goroutine, with the exit status or 0 after a
// signal, unless the task is not running any more by then.
func (n *Netifd) run(name string, cmd *exec.Cmd, ended func(status int)) *task {
	t := &task{cmd: cmd, running: true}
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	go func() {
		for s := bufio.NewScanner(r); s.Scan(); {
			n.logf("%s: %s", name, s.Text())
			if n.opt.Heard != nil {
				n.opt.Heard(cmd.Process.Pid, s.Text())
			}
			for _, secret := range n.opt.Secrets {
				if strings.Contains(s.Text(), secret) {
					n.violation("a secret in what %s logs", name)
				}
			}
		}
		io.Copy(io.Discard, r)
	}()
	finish := func(status int) {
		w.Close()
		n.post(func() {
			if t.running {
				t.running = false
				ended(status)
			}
		})
	}
	if err := n.ns.Do(cmd.Start); err != nil {
		n.logf("%s: %v", name, err)
		go finish(127)
		return t
	}
	go func() {
		_ = cmd.Wait()
		finish(max(0, cmd.ProcessState.ExitCode()))
	}()
	return t
}

// answer does a call of ubus.
func (n *Netifd) answer(call Call) (reply Reply) {
	if where := secretsIn(call, n.opt.Secrets); where != "" {
		n.violation("a secret in %s of: %s", where, strings.Join(call.Args[:min(4, len(call.Args))], " "))
	}
	if n.opt.Check != nil {
		if wrong := n.opt.Check(call); wrong != "" {
			n.violation("%s", wrong)
		}
	}
	if call.Args[0] == "fw4" {
		return fw4(call.Args[1:])
	}
	args, simple := call.Args[1:], false
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		simple = simple || args[0] == "-S"
		if args[0] == "-t" {
			args = args[min(1, len(args)):]
		}
		args = args[1:]
	}
	if len(args) < 3 || args[0] != "call" {
		n.violation("the double of ubus does not know: %s", strings.Join(call.Args, " "))
		return Reply{Stderr: "Usage: ubus call <path> <method> [<message>]\n", Status: 255}
	}
	message := object{}
	if len(args) > 3 {
		var err error
		if message, err = parse(args[3]); err != nil {
			n.violation("message that is no JSON: %s", strings.Join(call.Args, " "))
			return Reply{Stderr: "Failed to parse message data\n", Status: 255}
		}
	}
	var result any
	n.wait(func() {
		line := strings.Join(call.Args, " ")
		n.logf("%s", line)
		if n.refuse != nil {
			reply.Status = n.refuse(line)
		}
		if reply.Status == 0 {
			result, reply.Status = n.do(args[1], args[2], message)
		}
	})
	switch {
	case simple && reply.Status != 0:
	case reply.Status == notFound: // the object
		reply.Stderr = "Command failed: Not found\n"
	case reply.Status != 0:
		// ubus repeats what it was asked: what is in a message that fails is logged.
		reply.Stderr = fmt.Sprintf("Command failed: %s (%s)\n", strings.Join(call.Args, " "), statusText[reply.Status])
		// And it negates the status of a method that fails.
		reply.Status = 0x100 - reply.Status
	case result != nil:
		b, err := json.MarshalIndent(result, "", "\t")
		if err != nil {
			n.violation("%v", err)
		}
		reply.Stdout = string(b) + "\n"
	}
	return reply
}

// fw4 is `fw4 -q network NAME` with the firewall's default configuration.
func fw4(args []string) Reply {
	if slices.Equal(args, []string{"-q", "network", "wan"}) {
		return Reply{Stdout: "wan\n"}
	}
	return Reply{Status: 1}
}

// Status codes of ubus.
const (
	invalidArgument  = 2
	methodNotFound   = 3
	notFound         = 4
	permissionDenied = 6
	notSupported     = 8
	unknownError     = 9
)

var statusText = map[int]string{
	invalidArgument: "Invalid argument", methodNotFound: "Method not found", notFound: "Not found",
	permissionDenied: "Permission denied", notSupported: "Operation not supported", unknownError: "Unknown error",
}

// do is one method of one object.
func (n *Netifd) do(path, method string, message object) (result any, status int) {
	if n.dead {
		return nil, notFound
	}
	if path == "network" {
		switch method {
		case "add_dynamic":
			return nil, n.addDynamic(message)
		case "reload":
			n.reload()
			return nil, 0
		}
		return nil, methodNotFound
	}
	name, ok := strings.CutPrefix(path, "network.interface.")
	if path == "network.interface" {
		if method == "dump" {
			return n.dumpStatus(), 0
		}
		name, ok = message.string("interface"), true
	}
	if !ok {
		return nil, notFound
	}
	i := n.ifaces[name]
	if i == nil {
		return nil, notFound
	}
	switch method {
	case "status":
		return i.status(), 0
	case "notify_proto":
		return nil, i.notify(message)
	case "set_data":
		return nil, i.setData(message)
	case "up":
		i.setUp()
	case "down":
		i.autostart = false
		i.setDown()
	case "renew":
		return nil, i.renew()
	case "restart":
		return nil, i.restart()
	case "remove":
		return nil, i.remove()
	default:
		return nil, methodNotFound
	}
	return nil, 0
}

// Call does a call of ubus as a person does, with a JSON object for the message.
func (n *Netifd) Call(path, method string, message ...string) error {
	m, status := object{}, 0
	if len(message) > 0 {
		var err error
		if m, err = parse(message[0]); err != nil {
			return err
		}
	}
	n.wait(func() {
		n.logf("by hand: ubus call %s %s %s", path, method, strings.Join(message, " "))
		_, status = n.do(path, method, m)
	})
	if status != 0 {
		return fmt.Errorf("ubus call %s %s: %s", path, method, statusText[status])
	}
	return nil
}

// Refuse makes the double answer a call of the handler or its daemon with the status
// that refuse returns for its command line, unless that is 0. nil is the end of it.
func (n *Netifd) Refuse(refuse func(call string) int) { n.wait(func() { n.refuse = refuse }) }

// RemoveUbus takes the program ubus away. restore brings it back.
func (n *Netifd) RemoveUbus() (restore func()) { return n.takeAway("ubus") }

// StopUbus is the end of ubusd: the program ubus reaches nobody. restore starts another.
func (n *Netifd) StopUbus() (restore func()) { return n.takeAway(socketName) }

func (n *Netifd) takeAway(name string) (restore func()) {
	n.t.Helper()
	path := filepath.Join(n.bin(), name)
	move := func(from, to string) {
		n.t.Helper()
		if err := os.Rename(from, to); err != nil {
			n.t.Fatal(err)
		}
	}
	move(path, path+".away")
	return func() { move(path+".away", path) }
}

// Kill is the end of netifd by SIGKILL: its processes live on, and the kernel keeps what
// it has. revive starts another, which knows of neither.
func (n *Netifd) Kill() (revive func()) {
	n.wait(func() {
		n.logf("killed")
		n.dead = true
		for _, i := range n.ifaces {
			for _, t := range []*task{i.script, i.daemon} {
				if t != nil {
					t.running = false // for nobody to act upon
				}
			}
			i.timer = nil
		}
		clear(n.ifaces)
	})
	return func() {
		n.wait(func() {
			n.logf("started again")
			n.dead = false
			n.reload()
		})
	}
}

// Status is `ifstatus NAME`; false without such an interface.
func (n *Netifd) Status(name string) (s Status, ok bool) {
	n.wait(func() {
		if i := n.ifaces[name]; i != nil {
			s, ok = i.status(), true
		}
	})
	return s, ok
}

// DaemonPID is the process that the handler of an interface runs, 0 for none.
func (n *Netifd) DaemonPID(name string) (pid int) {
	n.wait(func() {
		if i := n.ifaces[name]; i != nil && i.daemon != nil && i.daemon.running {
			pid = i.daemon.cmd.Process.Pid
		}
	})
	return pid
}

// Events are the hotplug events of an interface so far: ifup, ifupdate, ifdown.
func (n *Netifd) Events(name string) (events []string) {
	n.wait(func() {
		if i := n.ifaces[name]; i != nil {
			events = slices.Clone(i.events)
		}
	})
	return events
}

// Busy lists the interfaces that are between up and down, or about to be removed.
func (n *Netifd) Busy() (busy []string) {
	n.wait(func() {
		for name, i := range n.ifaces {
			if i.state == setup || i.state == teardown || i.removing {
				busy = append(busy, name+": "+string(i.state))
			}
		}
	})
	return busy
}

// reload reads the configuration.
func (n *Netifd) reload() {
	tree := uci.NewTree(n.opt.Config)
	if err := tree.LoadConfig("network", true); err != nil {
		n.t.Errorf("network: %v", err)
		return
	}
	names, _ := tree.GetSections("network", "interface")
	for _, name := range names {
		get := func(option string) []string {
			values, _ := tree.Get("network", name, option)
			return values
		}
		c := config{object{}}
		h := n.handlers[first(get("proto"))]
		if h == nil {
			n.violation("interface %s: no handler for proto %q, netifd takes that for none", name, first(get("proto")))
			continue
		}
		c.read(get, h)
		n.configure(name, h, c, false)
	}
	for name, i := range n.ifaces {
		if !i.dynamic && !slices.Contains(names, name) {
			i.setRemoved()
		}
	}
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// configure makes an interface, or changes it.
func (n *Netifd) configure(name string, h *handler, c config, dynamic bool) {
	i := n.ifaces[name]
	if i == nil {
		i = &iface{n: n, name: name, handler: h, config: c, dynamic: dynamic, state: down, autostart: c.bool("auto", true), lastError: -1}
		i.resetIP()
		n.ifaces[name] = i
		i.claim()
		return
	}
	if i.handler == h && i.config.equal(c, h) {
		return
	}
	n.logf("interface %s: changed", name)
	if !h.LastError {
		i.errors = nil
	}
	i.next = &change{h, c}
	if i.state == down {
		i.handleChange()
		return
	}
	i.setDown()
}

func (n *Netifd) addDynamic(message object) int {
	name, proto := message.string("name"), message.string("proto")
	h := n.handlers[proto]
	if name == "" {
		return invalidArgument
	}
	if h == nil {
		n.violation("add_dynamic %s: no handler for proto %q", name, proto)
		return 0
	}
	c := config{object{}}
	for _, d := range h.Config {
		option := d[0].(string)
		if v, ok := message[option]; ok {
			c.object[option] = v
		}
	}
	for option := range message {
		if _, declared := c.object[option]; !declared && !slices.Contains(netifdOwn, option) && option != "name" {
			n.violation("add_dynamic %s: neither netifd nor %s knows the option %s", name, proto, option)
		} else {
			c.object[option] = message[option]
		}
	}
	if i := n.ifaces[name]; i != nil {
		switch {
		case i.removing:
			n.logf("interface %s: add_dynamic while it is removed is lost", name)
		case !i.config.equal(c, h):
			n.violation("add_dynamic changes the living interface %s, which takes it away", name)
			i.setRemoved()
		}
		return 0
	}
	n.configure(name, h, c, true)
	return 0
}

// linkChanged follows a device of the namespace.
func (n *Netifd) linkChanged(u netlink.LinkUpdate) {
	name := u.Attrs().Name
	was, had := n.links[name]
	if u.Header.Type == unix.RTM_DELLINK {
		delete(n.links, name)
	} else {
		n.links[name] = u.Attrs().RawFlags&unix.IFF_UP != 0 && u.Attrs().RawFlags&unix.IFF_LOWER_UP != 0
	}
	carrier, has := n.links[name]
	if was == carrier && had == has {
		return
	}
	for _, i := range n.ifaces {
		if i.device() != name {
			continue
		}
		if had != has {
			i.setAvailable(has)
		} else {
			n.logf("interface %s: link connectivity %v", i.name, carrier)
			i.check()
		}
	}
}

// ip runs a batch of ip(8) in the namespace. What the kernel refuses is logged and
// otherwise ignored, as netifd does.
func (n *Netifd) ip(family string, lines ...string) bool {
	if len(lines) == 0 {
		return true
	}
	cmd := exec.Command("ip", family, "-force", "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	err := n.ns.Do(cmd.Start)
	if err == nil {
		err = cmd.Wait()
	}
	for _, l := range lines {
		n.logf("    ip %s %s", family, l)
	}
	if err != nil {
		n.logf("    %v: %s", err, strings.TrimSpace(out.String()))
	}
	return err == nil
}
