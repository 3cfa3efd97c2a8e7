// Command footprint measures what a running sofu-proto costs its router: memory,
// threads, wake-ups of an idle line, and with -cpu the CPU time of a connect and of
// a renew. It runs inside lab/run; lab/footprint/run starts it.
//
// A wake-up is a voluntary context switch of one of its threads: it had waited for
// something that then came.
package main

import (
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sofutobanku/lab/realisp"
	"sofutobanku/lab/topo"
)

// The most that an idle line may cost when it is up, and when it has been for long;
// docs/footprint.md explains them.
var (
	native = [2]memory{{7300, 2600}, {7600, 2900}} // 64-bit x86
	mipsle = [2]memory{{6500, 1400}, {6800, 1900}}
)

const (
	// maxWakeups in an idle minute: no poll every six seconds fits in.
	maxWakeups = 10
	// patience is how long the line may take.
	patience = 60 * time.Second
	// settle is how long after its last message sofu-proto has done all that follows,
	// down to giving back memory.
	settle = 8 * time.Second
)

// A subject is what is measured.
type subject struct {
	program string // file
	// emulator is qemu-user for a program of 32 bits, "" for one of this machine. What
	// is not memory is the emulator's then, and not told.
	emulator string
	idle     time.Duration
	repeats  int // of connect and renew
}

func subjects(idle time.Duration, repeats int) []subject {
	bin := os.Getenv("LAB_BIN")
	return []subject{
		{filepath.Join(bin, "sofu-proto"), "", idle, repeats},
		{filepath.Join(bin, "mipsle", "sofu-proto"), "qemu-mipsel-static", time.Second, repeats},
	}
}

func main() {
	idle := flag.Duration("idle", time.Minute, "how long the idle line is watched")
	repeats := flag.Int("repeats", 5, "how often it connects and renews")
	cpu := flag.Bool("cpu", false, "measure CPU time, and nothing else")
	flag.Parse()
	if flag.NArg() > 0 || *idle < time.Second || *repeats < 1 {
		fmt.Fprintln(os.Stderr, "footprint: -idle is a second or more, -repeats 1 or more, and nothing stands behind the flags")
		os.Exit(2)
	}
	all := subjects(*idle, *repeats)
	if *cpu {
		all = all[:1]
	}
	status := 0
	for _, s := range all {
		var table string
		var over []string
		err := topo.Main(func(tb topo.TB) {
			if *cpu {
				table = measureCPU(topo.New(tb), s)
			} else {
				table, over = measure(topo.New(tb), s)
			}
		})
		if err != nil {
			fmt.Fprintln(os.Stderr, "footprint:", err)
			os.Exit(1)
		}
		fmt.Println(table)
		for _, what := range over {
			fmt.Fprintln(os.Stderr, "footprint:", what)
			status = 1
		}
	}
	os.Exit(status)
}

// A router is a running sofu-proto.
type router struct {
	process
	*topo.Process
}

// connect starts the subject with its configuration and waits until it has said up.
func (s subject) connect(lab *topo.Lab, ns *topo.NS, uci, up string) router {
	dir := lab.Dir("sofu-proto")
	lab.WriteFile(dir, "network", uci)
	argv := []string{s.program, "up", "--config", dir, "--interface", "wan", "--device", realisp.WAN,
		"--run-dir", filepath.Join(dir, "run"), "--state-dir", filepath.Join(dir, "state"), "--timeline"}
	if s.emulator != "" {
		argv = append([]string{s.emulator, "-B", fmt.Sprint(guestBase)}, argv...)
	}
	p := ns.Start(argv...)
	ns.Up(realisp.WAN)
	p.WaitFor(patience, up)
	time.Sleep(settle)
	return router{process{lab, p.PID()}, p}
}

// repeat sends a signal and waits for what it is to lead to, n times.
func (r router) repeat(n int, signal os.Signal, until string) {
	for range n {
		r.Signal(signal)
		r.WaitFor(patience, until)
		time.Sleep(settle)
	}
}

// measure returns the figures, and which of them are over the budget.
func measure(lab *topo.Lab, s subject) (table string, over []string) {
	net := realisp.NewNetwork(lab, topo.Cable{Delay: 10 * time.Millisecond})
	isp := realisp.Start(lab, net, os.Getenv("LAB_DICTIONARY"), realisp.Default(realisp.Next))
	r := s.connect(lab, net.Router, isp.UCI(), "echo-reply")
	first := s.memory(r.process)

	// Idle is without a packet: nobody else on the line speaks unasked.
	isp.Radvd.Signal(syscall.SIGSTOP)
	// What polls does so in both halves; Go's runtime has something to do at times.
	var halves [2]int
	for i := range halves {
		before := r.wakeups()
		time.Sleep(s.idle / 2)
		halves[i] = r.wakeups() - before
	}
	isp.Radvd.Signal(syscall.SIGCONT)

	r.repeat(s.repeats, syscall.SIGUSR1, "access-accept")
	r.repeat(s.repeats, syscall.SIGUSR2, "echo-reply")
	last := s.memory(r.process)

	var b strings.Builder
	fmt.Fprintf(&b, "| %s, kernel: %s | |\n|---|---|\n", strings.TrimSpace(s.emulator+" sofu-proto"), os.Getenv("LAB_KERNEL"))
	fmt.Fprintf(&b, "| resident, one line up | %v |\n", first)
	fmt.Fprintf(&b, "| %d renews and connects later | %v |\n", s.repeats, last)
	most := mipsle
	if s.emulator == "" {
		most = native
		status := r.status()
		fmt.Fprintf(&b, "| the most at any time | %d kB |\n", status["VmHWM"])
		fmt.Fprintf(&b, "| threads | %d |\n", status["Threads"])
		fmt.Fprintf(&b, "| wake-ups, idle for %v | %d |\n", s.idle, halves[0]+halves[1])
		if n := int(math.Ceil(s.idle.Minutes())) * maxWakeups; 2*min(halves[0], halves[1]) > n {
			over = append(over, fmt.Sprintf("%d wake-ups in each %v without a packet, at most %d", halves, s.idle/2, n/2))
		}
	}
	for i, m := range []memory{first, last} {
		if m.rss > most[i].rss || m.own > most[i].own {
			over = append(over, fmt.Sprintf("%s takes %v; at most %d kB, its own %d", s.program, m, most[i].rss, most[i].own))
		}
	}
	return b.String(), over
}

// measureCPU returns the figures, of a line of the simulated carrier: that needs no
// ip6_tunnel. Where the kernel has none, the tunnel is not in the figures.
func measureCPU(lab *topo.Lab, s subject) string {
	ns, carrier := lab.NS("router"), lab.NS("isp")
	lab.Link(ns.Port(realisp.WAN, ""), carrier.Port(realisp.Port, ""), topo.Cable{})
	carrier.Up(realisp.Port)
	dir := lab.Dir("isp")
	account := lab.WriteFile(dir, "account", `{"shared_secret": "a made-up secret", "password": "a made-up password"}`)
	if err := os.Chmod(account, 0o600); err != nil {
		lab.Fatalf("%v", err)
	}
	isp := []string{filepath.Join(filepath.Dir(s.program), "sofu-isp"), "--device", realisp.Port, "--config", account,
		"--socket", filepath.Join(dir, "sock"), "--radius", realisp.RADIUS.String(), "--echo", realisp.Host.String()}
	up, without := "echo-reply", ""
	if _, err := ns.Try("ip", "link", "add", "name", "probe", "type", "ip6tnl"); err != nil {
		isp = append(isp, "--no-br")
		up, without = "access-accept", ", without the tunnel"
	}
	carrier.Start(isp...)
	r := s.connect(lab, ns, `config interface 'wan'
	option proto 'sofutobanku'
	option line 'next'
	option auth_server '`+realisp.RADIUS.Addr().String()+`'
	option shared_secret 'a made-up secret'
	option password 'a made-up password'
`, up)
	each := func(signal os.Signal, until string) time.Duration {
		before := r.cpu()
		r.repeat(s.repeats, signal, until)
		return (r.cpu() - before) / time.Duration(s.repeats)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "| CPU time, kernel: %s%s | |\n|---|---|\n", os.Getenv("LAB_KERNEL"), without)
	for _, row := range []struct {
		name string
		time time.Duration
	}{
		{"start and first connect", r.cpu()},
		{fmt.Sprintf("a connect, mean of %d", s.repeats), each(syscall.SIGUSR2, up)},
		{fmt.Sprintf("a renew, mean of %d", s.repeats), each(syscall.SIGUSR1, "access-accept")},
	} {
		fmt.Fprintf(&b, "| %s | %.1f ms |\n", row.name, float64(row.time)/1e6)
	}
	return b.String()
}

// guestBase is where in its own memory the emulator puts the 32 bits that it emulates.
const guestBase = 1 << 36

// memory is in kB.
type memory struct {
	rss int // resident
	own int // the part of it that no file backs
}

func (m memory) String() string {
	return fmt.Sprintf("%d kB: its own %d, of the file %d", m.rss, m.own, m.rss-m.own)
}

// memory is what the program itself takes.
func (s subject) memory(p process) (m memory) {
	if s.emulator == "" {
		status := p.status()
		return memory{status["VmRSS"], status["RssAnon"]}
	}
	var inside bool
	for line := range strings.Lines(p.read("smaps")) {
		name, value, _ := strings.Cut(line, ":")
		if from, _, mapping := strings.Cut(name, "-"); mapping {
			address, _ := strconv.ParseUint(from, 16, 64)
			inside = address>>32 == guestBase>>32
			continue
		}
		kB, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
		switch {
		case inside && name == "Rss":
			m.rss += kB
		case inside && name == "Anonymous":
			m.own += kB
		}
	}
	if m.rss == 0 {
		p.lab.Fatalf("%s has nothing at %#x", s.emulator, guestBase)
	}
	return m
}

// process is a running process as the kernel sees it.
type process struct {
	lab *topo.Lab
	pid int
}

// cpu is the time that all of its threads have run, in user mode and in the
// kernel.
func (p process) cpu() time.Duration {
	// linux/posix-timers.h: a process's clock has the complement of its number in
	// the upper bits; 2 is the scheduler's own account, in nanoseconds.
	clock := ^int32(p.pid)<<3 | 2
	var t unix.Timespec
	if err := unix.ClockGettime(clock, &t); err != nil {
		p.lab.Fatalf("CPU clock of process %d: %v", p.pid, err)
	}
	return time.Duration(t.Nano())
}

func (p process) read(file string) string {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.pid), file))
	if err != nil {
		p.lab.Fatalf("%v", err)
	}
	return string(text)
}

// status is the numbers of /proc/PID/status, memory in kB.
func (p process) status() map[string]int { return p.numbers("status") }

func (p process) numbers(file string) map[string]int {
	numbers := map[string]int{}
	for line := range strings.Lines(p.read(file)) {
		name, value, _ := strings.Cut(line, ":")
		if fields := strings.Fields(value); len(fields) > 0 {
			if n, err := strconv.Atoi(fields[0]); err == nil {
				numbers[name] = n
			}
		}
	}
	return numbers
}

// wakeups is how often one of its threads came back from waiting.
func (p process) wakeups() (n int) {
	tasks, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(p.pid), "task"))
	if err != nil {
		p.lab.Fatalf("%v", err)
	}
	for _, t := range tasks {
		n += p.numbers(filepath.Join("task", t.Name(), "status"))["voluntary_ctxt_switches"]
	}
	return n
}
