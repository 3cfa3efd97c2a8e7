//go:build lab

package lab

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sofutobanku/internal/control"
	"sofutobanku/internal/status"
	"sofutobanku/lab/netifd"
	"sofutobanku/lab/realisp"
	"sofutobanku/lab/topo"
)

// inspection is what every scenario looks at when it is over, and before it ends a
// daemon: that no thread of it has a privilege too many, and that no secret is where
// another user or a bug report could show it.
type inspection struct {
	t       *testing.T
	dir     string   // the configuration, and all that the daemons write
	secrets []string // of the configuration
	seen    func() (daemons map[string]int, places map[string]string)
	looked  int // how often a running daemon was inspected

	mu    sync.Mutex
	found map[string]int // threads, and programs that daemons started: "what | privileges"
}

// confined is what a status file says of each thread of a daemon, and of a program
// that it starts: CAP_NET_BIND_SERVICE, CAP_NET_ADMIN and CAP_NET_RAW.
const confined = "CapInh 0, CapPrm 3400, CapEff 3400, CapBnd 3400, CapAmb 0, NoNewPrivs 1, Seccomp 2"

var secretOption = regexp.MustCompile(`option (?:shared_secret|password) '(.+)'`)

// newInspection makes one for the daemons of a configuration. seen returns the
// processes by interface, 0 for none, and what they have said to others.
func newInspection(t *testing.T, dir, uci string, seen func() (map[string]int, map[string]string)) *inspection {
	t.Helper()
	i := &inspection{t: t, dir: dir, seen: seen, found: map[string]int{}}
	for _, m := range secretOption.FindAllStringSubmatch(uci, -1) {
		i.secrets = append(i.secrets, m[1])
	}
	if len(i.secrets) != 2 {
		t.Fatalf("%d secrets in the configuration, want 2", len(i.secrets))
	}
	return i
}

func (r *router) seen() (map[string]int, map[string]string) {
	return map[string]int{"wan": r.PID()}, map[string]string{"log": r.Output()}
}

// Signal inspects a daemon that it ends.
func (r *router) Signal(s syscall.Signal) {
	r.t.Helper()
	if s == syscall.SIGTERM || s == syscall.SIGKILL {
		r.inspection.look()
	}
	r.Process.Signal(s)
}

func (o *openWrt) seen() (map[string]int, map[string]string) {
	daemons, places := map[string]int{}, map[string]string{"log": o.Log()}
	for _, name := range []string{"wan", "wan_4", "lan", "spare", "tun"} {
		if s, ok := o.Status(name); ok {
			b, err := json.Marshal(s)
			if err != nil {
				o.t.Error(err)
			}
			places["ifstatus "+name] = string(b)
			daemons[name] = o.DaemonPID(name)
		}
	}
	return daemons, places
}

// finish looks when the scenario is over.
func (i *inspection) finish() {
	i.look()
	if i.looked == 0 {
		i.t.Error("no running daemon was inspected")
	}
}

// look inspects the daemons that answer, and all that is there to be read.
func (i *inspection) look() {
	i.t.Helper()
	daemons, places := i.seen()
	for iface, pid := range daemons {
		s, err := statusOf(filepath.Join(i.dir, "run", iface+".sock"))
		if pid == 0 || err != nil {
			continue // not there, or not yet where it listens to anybody
		}
		var text strings.Builder
		if err := s.WriteText(&text, time.Now(), false); err != nil {
			i.t.Error(err)
		}
		places["status of "+iface], places["status --json of "+iface] = text.String(), string(s.JSON())
		i.process(pid, places)
		i.looked++
	}

	key := i.files(places)
	for place, text := range places {
		for _, secret := range i.secrets {
			for _, form := range []string{secret, hex.EncodeToString([]byte(secret)), base64.StdEncoding.EncodeToString([]byte(secret))} {
				if strings.Contains(text, form) {
					i.t.Errorf("%s has a secret", place)
				}
			}
		}
		ofLease := strings.HasSuffix(strings.TrimSuffix(place, ".tmp"), ".lease") // written under the other name
		if key != "" && !ofLease && strings.Contains(text, key) {
			i.t.Errorf("%s has the key of Reconfigure", place)
		}
	}
}

// process inspects a running daemon.
func (i *inspection) process(pid int, places map[string]string) {
	i.t.Helper()
	read := func(name string) string {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
		if err != nil {
			i.t.Error(err)
		}
		return string(b)
	}
	places["cmdline"], places["environ"] = read("cmdline"), read("environ")
	if !regexp.MustCompile(`Max core file size +0 +0 `).MatchString(read("limits")) {
		i.t.Errorf("limits of the daemon:\n%s", read("limits"))
	}
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	for _, thread := range threads {
		b, err := os.ReadFile(thread)
		if errors.Is(err, syscall.ESRCH) || errors.Is(err, fs.ErrNotExist) {
			continue // it has just ended
		}
		if got := i.privileges("thread", string(b)); got != confined {
			i.t.Errorf("%s: %s, want %s", thread, got, confined)
		}
	}
	if len(threads) < 2 {
		i.t.Errorf("%d threads of process %d: Go has more", len(threads), pid)
	}
}

// files inspects what the daemon has written, and returns the key of Reconfigure in
// the lease, which is as secret as the rest and kept for its owner alone.
func (i *inspection) files(places map[string]string) (key string) {
	i.t.Helper()
	err := filepath.WalkDir(i.dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || path == i.dir || path == filepath.Join(i.dir, "network") {
			return nil // a temporary file, or what the scenario has written
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		want := map[string]fs.FileMode{"resolv.conf": 0o644}[d.Name()] // for every program
		switch {
		case want != 0:
		case d.IsDir():
			want = 0o700
		default:
			want = 0o600
		}
		if got := info.Mode().Perm(); got != want {
			i.t.Errorf("%s has mode %o, want %o", path, got, want)
		}
		if !info.Mode().IsRegular() {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		places[path] = string(b)
		var lease struct {
			Key string `json:"reconfigure_key"`
		}
		if strings.HasSuffix(path, ".lease") && json.Unmarshal(b, &lease) == nil {
			key = lease.Key
		}
		return nil
	})
	if err != nil {
		i.t.Error(err)
	}
	return key
}

// call looks at a program that a daemon or the handler has started, and says what is
// wrong with it.
func (i *inspection) call(c netifd.Call) string {
	if c.Parent != "sofu-proto" {
		return "" // netifd's own child, the handler
	}
	if got := i.privileges(c.Args[0], c.Status); got != confined {
		return c.Args[0] + " runs with " + got
	}
	return ""
}

// privileges is what the status file (proc(5)) of something says of them, without
// leading zeros.
func (i *inspection) privileges(what, text string) string {
	var found []string
	for line := range strings.Lines(text) {
		switch name, value, _ := strings.Cut(line, ":"); name {
		case "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp":
			value = strings.TrimSpace(value)
			found = append(found, name+" "+strings.TrimLeft(value[:len(value)-1], "0")+value[len(value)-1:])
		}
	}
	all := strings.Join(found, ", ")
	i.mu.Lock()
	i.found[what+" | "+all]++
	i.mu.Unlock()
	return all
}

func statusOf(socket string) (s status.Status, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var doc bytes.Buffer
	if err := control.Call(ctx, socket, "status", &doc); err != nil {
		return s, err
	}
	return s, json.Unmarshal(doc.Bytes(), &s)
}

// TestPrivileges: one life in which the daemon does all that it does, with no more
// privileges than it is left with.
func TestPrivileges(t *testing.T) {
	lab, net, isp, o := openWrtLife(t)
	looked := 0
	look := func(when string) {
		t.Helper()
		o.awaitUp(isp.Now())
		o.check(net, isp.Now())
		o.inspection.look()
		if o.inspection.looked == looked {
			t.Errorf("%s: the daemon was not inspected", when)
		}
		looked = o.inspection.looked
	}
	look("up")

	if s, _ := o.Status("wan_4"); string(s.Data["zone"]) != `"wan"` {
		t.Errorf("the zone that fw4 told is not wan_4's: %+v", s)
	}
	o.checkStrangers(lab)

	o.wan("renew")
	look("renew")
	isp.Renumber(renumbered)
	isp.ctl("reconfigure renew")
	look("renumbered")
	isp.Renumber(func(c *realisp.Config) { c.BR = netip.MustParseAddr("2001:db8:b0::2999") })
	o.wan("renew")
	look("another BR")

	net.ISP.Down(realisp.Port)
	o.await("wan to be down", func() error {
		if s, _ := o.Status("wan"); s.Up || s.Pending {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	net.ISP.Up(realisp.Port)
	look("cable")

	for _, s := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		pid := o.DaemonPID("wan")
		if err := syscall.Kill(pid, s); err != nil {
			t.Fatal(err)
		}
		o.await("another daemon", func() error {
			if now := o.DaemonPID("wan"); now == pid || now == 0 {
				return fmt.Errorf("the daemon is %d", now)
			}
			return nil
		})
		look(s.String())
	}
	o.wan("down")
	o.awaitDown("wan")
	if _, ok := o.Status("wan_4"); ok {
		t.Error("wan_4 is left")
	}
	o.inspection.mu.Lock()
	defer o.inspection.mu.Unlock()
	table := "\n| what | privileges | seen |"
	for _, what := range slices.Sorted(maps.Keys(o.inspection.found)) {
		table += fmt.Sprintf("\n| %s | %d |", what, o.inspection.found[what])
	}
	t.Log(table)
	for _, what := range []string{"thread", "ubus", "fw4"} {
		if o.inspection.found[what+" | "+confined] == 0 {
			t.Errorf("no %s was inspected", what)
		}
	}
}

// checkStrangers: neither another user nor another process of root with the same
// capabilities gets at what the daemon knows.
func (o *openWrt) checkStrangers(lab *topo.Lab) {
	o.t.Helper()
	pid := o.DaemonPID("wan")
	const equal = "setpriv --bounding-set=-all,+net_bind_service,+net_admin,+net_raw --inh-caps=-all "
	open := o.ns.Start("sh", "-c", "exec "+equal+"sleep 1000")
	lab.Eventually(patience, "a process that can be read", func() error {
		out, err := o.ns.Try("sh", "-c", equal+fmt.Sprintf("cat /proc/%d/environ", open.PID()))
		if err != nil {
			return errors.New(out)
		}
		return nil
	})
	open.Stop()
	for _, command := range []string{
		equal + fmt.Sprintf("cat /proc/%d/environ", pid),
		equal + fmt.Sprintf("dd if=/proc/%d/mem count=1", pid),
		"setpriv --reuid=65534 --clear-groups ls " + o.path("run"),
		"setpriv --reuid=65534 --clear-groups cat " + o.path("state/wan.lease"),
	} {
		if out, err := o.ns.Try("sh", "-c", command); err == nil || !strings.Contains(out, "Permission denied") {
			o.t.Errorf("%s: %v, %s", command, err, out)
		}
	}
}

// TestForeignDirectories: what another user could have put into a directory is not
// believed. Without one for state the line comes up all the same, and nothing is left
// there; one for the lock and the control socket has to be safe.
func TestForeignDirectories(t *testing.T) {
	lab, net := newLine(t)
	isp := startSimulated(t, lab, net, realisp.Next)
	dir, foreign := lab.Dir("router"), lab.Dir("foreign")
	lab.WriteFile(dir, "network", isp.UCI())
	if err := os.Chown(foreign, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	start := func(runDir string) *topo.Process {
		return net.Router.Start(bin("sofu-proto"), "up", "--config", dir, "--run-dir", runDir, "--state-dir", foreign, "--timeline")
	}
	if p := start(foreign); p.Wait(patience) != 1 || !strings.Contains(p.Output(), "of user 65534") {
		t.Errorf("with a foreign directory for the lock: %s", p.Output())
	}
	p := start(filepath.Join(dir, "run"))
	p.WaitFor(patience, "nothing will be kept over a restart.*of user 65534")
	p.WaitFor(patience, "echo-reply")
	p.Signal(syscall.SIGTERM)
	if code := p.Wait(patience); code != 0 {
		t.Errorf("exit status %d:\n%s", code, p.Output())
	}
	if files, err := os.ReadDir(foreign); err != nil || len(files) > 0 {
		t.Errorf("left there: %v, %v", files, err)
	}
}
