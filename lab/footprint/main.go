// Command footprint measures what a running sofu-proto costs its router: memory,
// threads, wake-ups of an idle line, and the CPU time of one connect and one renew.
// It runs inside lab/run; lab/footprint/run starts it.
//
// A wake-up is a voluntary context switch of one of its threads: it had waited for
// something that then came.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
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

// The budget of an idle line; docs/footprint.md explains it.
const (
	maxRSS     = 6700 // kB
	maxOwn     = 2300 // kB of it that no file backs
	maxWakeups = 10   // a minute: no poll every six seconds fits in
	perPacket  = 15   // wake-ups that one packet may cause
)

// patience is how long the line may take, settle what follows its last message.
const (
	patience = 60 * time.Second
	settle   = 3 * time.Second
)

func main() {
	program := flag.String("program", filepath.Join(os.Getenv("LAB_BIN"), "sofu-proto"), "the `FILE` to measure")
	idle := flag.Duration("idle", time.Minute, "how long the idle line is watched")
	flag.Parse()
	if flag.NArg() > 0 || *idle < time.Second {
		fmt.Fprintln(os.Stderr, "footprint: -idle is a second or more, and nothing stands behind the flags")
		os.Exit(2)
	}
	var over []string
	err := topo.Main(func(tb topo.TB) { over = measure(topo.New(tb), *program, *idle) })
	if err != nil {
		fmt.Fprintln(os.Stderr, "footprint:", err)
	}
	for _, what := range over {
		fmt.Fprintln(os.Stderr, "footprint: over budget:", what)
	}
	if err != nil || len(over) > 0 {
		os.Exit(1)
	}
}

// measure prints the figures and returns what is over the budget.
func measure(lab *topo.Lab, program string, idle time.Duration) (over []string) {
	net := realisp.NewNetwork(lab, topo.Cable{Delay: 10 * time.Millisecond})
	isp := realisp.Start(lab, net, os.Getenv("LAB_DICTIONARY"), realisp.Default(realisp.Next))
	dir := lab.Dir("sofu-proto")
	lab.WriteFile(dir, "network", isp.UCI())
	runDir := filepath.Join(dir, "run")
	p := net.Router.Start(program, "up", "--config", dir, "--interface", "wan", "--device", realisp.WAN,
		"--run-dir", runDir, "--state-dir", filepath.Join(dir, "state"), "--timeline")
	net.Router.Up(realisp.WAN)
	p.WaitFor(patience, "echo-reply")
	time.Sleep(settle)
	me := process{lab, p.PID()}
	connect, memory := me.cpu(), me.status()

	packets := func() (n int) {
		var s struct{ Counters map[string]int }
		out := net.Router.Run(program, "status", "--json", "--run-dir", runDir)
		if err := json.Unmarshal([]byte(out), &s); err != nil {
			lab.Fatalf("status: %v in %s", err, out)
		}
		for name, count := range s.Counters {
			if strings.Contains(name, ".received.") || strings.Contains(name, ".drop.") {
				n += count
			}
		}
		return n
	}
	packetsBefore := packets()
	time.Sleep(settle) // what the question cost is over
	wakeBefore, cpuBefore := me.wakeups(), me.cpu()
	time.Sleep(idle)
	wake, idleCPU := me.wakeups()-wakeBefore, me.cpu()-cpuBefore
	came := packets() - packetsBefore
	time.Sleep(settle)

	cpuBefore = me.cpu()
	p.Signal(syscall.SIGUSR1)
	p.WaitFor(patience, "access-accept")
	time.Sleep(settle)
	renew := me.cpu() - cpuBefore
	after := me.status()

	ms := func(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/1e6) }
	kernel := os.Getenv("LAB_KERNEL")
	fmt.Printf("sofu-proto, %s kernel, one line up:\n", kernel)
	if kernel == "uml" {
		fmt.Println("  (CPU time there is counted in ticks of 10 ms, and twenty times that of a real kernel)")
	}
	for _, row := range [][2]string{
		{"memory resident", fmt.Sprintf("%d kB: its own %d, of the file %d", memory["VmRSS"], memory["RssAnon"], memory["RssFile"])},
		{"the same later", fmt.Sprintf("%d kB: its own %d, of the file %d; at most %d", after["VmRSS"], after["RssAnon"], after["RssFile"], after["VmHWM"])},
		{"threads", fmt.Sprint(after["Threads"])},
		{"CPU time of a connect", ms(connect)},
		{"CPU time of a renew", ms(renew)},
		{fmt.Sprintf("idle %v", idle), fmt.Sprintf("%d wake-ups, %d packets, %s of CPU time", wake, came, ms(idleCPU))},
	} {
		fmt.Printf("  %-22s %s\n", row[0], row[1])
	}
	for _, b := range []struct {
		what       string
		have, most int
	}{
		{"kB of memory resident", max(memory["VmRSS"], after["VmRSS"]), maxRSS},
		{"kB of memory of its own", max(memory["RssAnon"], after["RssAnon"]), maxOwn},
		{fmt.Sprintf("wake-ups in %v with %d packets", idle, came), wake, int(idle.Minutes()*maxWakeups) + perPacket*int(came)},
	} {
		if b.have > b.most {
			over = append(over, fmt.Sprintf("%d %s, at most %d", b.have, b.what, b.most))
		}
	}
	return over
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

// status is the numbers of /proc/PID/status, memory in kB.
func (p process) status() map[string]int { return p.numbers("status") }

func (p process) numbers(file string) map[string]int {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.pid), file))
	if err != nil {
		p.lab.Fatalf("%v", err)
	}
	numbers := map[string]int{}
	for line := range strings.Lines(string(text)) {
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
