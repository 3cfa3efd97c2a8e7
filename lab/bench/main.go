// Command bench measures how long a line takes from the carrier to the first
// IPv4 echo, for sofu-proto and for Debian's DHCPv6 clients with a script. It runs
// inside lab/run; lab/bench/run starts it.
//
//	router ═══ 10 ms each way ═══ isp: radvd, Kea, FreeRADIUS, BR ═══ inet
//	  │                                                               │
//	  └── first echo reply through the tunnel, seen by tcpdump ◄──────┘
//
// The clock starts when the carrier's end of the cable is set up, with the
// router's WAN device already up, and stops with the kernel's timestamp of the
// first echo reply that arrives at the router's WAN port inside the tunnel. Both
// are outside of what is measured and the same for all: nobody's own word counts.
// Each sends its echo as soon as its tunnel is there.
package main

import (
	"flag"
	"fmt"
	"math"
	"os"
	"regexp"
	"strconv"
	"time"

	"sofutobanku/lab/realisp"
	"sofutobanku/lab/topo"
)

const (
	delay = 10 * time.Millisecond // each way
	// patience is how long one run may take.
	patience = 60 * time.Second
	// trips is what no program can do without: Solicit, Request, Access-Request,
	// echo.
	trips = 4
)

func main() {
	runs := flag.Int("runs", 5, "runs of each, with and without duplicate address detection")
	asFloor := flag.String("floor", "", "be the program that waits for nothing, configured in `DIR` (the bench starts it)")
	only := flag.String("only", "", "`REGEXP` of the names of the programs to run")
	flag.Parse()
	names, err := regexp.Compile(*only)
	if err != nil || *runs < 1 || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "bench: -runs is 1 or more, -only a regular expression, and nothing else")
		os.Exit(2)
	}
	if *asFloor != "" {
		if err := floor(*asFloor); err != nil {
			fmt.Fprintln(os.Stderr, "floor:", err)
			os.Exit(1)
		}
		return
	}
	if err := topo.Main(func(tb topo.TB) { newBench(tb).all(*runs, names) }); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type bench struct {
	lab  *topo.Lab
	net  realisp.Network
	isp  *realisp.ISP
	hook string
	rtt  []time.Duration // pings between router and carrier, after each run
	exec []time.Duration // what starting a program costs here
}

func newBench(tb topo.TB) *bench {
	fmt.Printf("A line of radvd, Kea, FreeRADIUS and an ip6tnl as the BR, %v each way.\n", delay)
	lab := topo.New(tb)
	b := &bench{lab: lab, net: realisp.NewNetwork(lab, topo.Cable{Delay: delay})}
	dictionary := os.Getenv("LAB_DICTIONARY")
	b.isp = realisp.Start(lab, b.net, dictionary, realisp.Default(realisp.Next))
	b.hook = writeHook(lab, b.isp, dictionary)
	return b
}

// result is the runs of one contender.
type result struct {
	name     string
	dad      bool
	total    []time.Duration // carrier to echo reply
	address  []time.Duration // carrier to a usable link-local address
	failed   int
	timeline []string // of the last run
}

func (b *bench) all(runs int, names *regexp.Regexp) {
	var results []*result
	for _, dad := range []bool{false, true} {
		for _, c := range contenders(find("sofu-proto")) {
			if !names.MatchString(c.name) {
				continue
			}
			r := &result{name: c.name, dad: dad}
			results = append(results, r)
			fmt.Printf("%-20s %s ", c.name, map[bool]string{true: "DAD on ", false: "DAD off"}[dad])
			for range runs {
				total, address, said, err := b.run(c, dad)
				if err != nil {
					r.failed++
					fmt.Printf(" failed (%v)", err)
					continue
				}
				r.total, r.address = append(r.total, total), append(r.address, address)
				if c.timeline != nil {
					r.timeline = c.timeline(said)
				}
				fmt.Printf(" %s", ms(total))
			}
			fmt.Println(" ms")
		}
	}
	b.report(results)
}

// reset makes the router one that was just switched on, and the carrier one that
// has not seen it before.
func (b *bench) reset(dad bool) {
	router := b.net.Router
	b.net.ISP.Down(realisp.Port)
	router.Down(realisp.WAN)
	for _, dev := range []string{"tunnel", "wan-4", "pd"} {
		router.DelLink(dev)
	}
	router.Flush(realisp.WAN)
	for _, a := range router.Addrs("lo") {
		if !a.Addr().IsLoopback() {
			router.DelAddr("lo", a.String())
		}
	}
	b.net.ISP.ForgetNeighbours(realisp.Bridge)
	b.isp.ForgetLeases()

	conf := "ipv6/conf/" + realisp.WAN
	router.Sysctl(conf+"/accept_dad", map[bool]string{true: "1", false: "0"}[dad])
	router.Sysctl(conf+"/accept_ra", "2")
	router.Sysctl(conf+"/router_solicitation_delay", "0")
	// The line's retransmission timer, 10 s, stays with the device after the kernel
	// took it from an advertisement, and the next DAD takes that long.
	router.Sysctl("ipv6/neigh/"+realisp.WAN+"/retrans_time_ms", "1000")
	router.Up(realisp.WAN)
}

// run is one measurement.
func (b *bench) run(c contender, dad bool) (total, address time.Duration, said string, err error) {
	b.reset(dad)
	defer b.net.ISP.Down(realisp.Port)
	usable, p := c.start(b)
	defer p.Stop()
	seen := b.net.Router.Start("tcpdump", "-i", realisp.WAN, "-l", "-n", "-tt", "--immediate-mode", "-Q", "in",
		"ip6 proto 4 and ip6[40+9] == 1 and ip6[40+20] == 0") // IPv4 in IPv6, ICMP, echo reply
	defer seen.Stop()
	seen.WaitFor(patience, "listening on")
	watch := b.net.Router.LinkLocalUsable(realisp.WAN)

	start := time.Now()
	b.net.ISP.Up(realisp.Port)
	deadline := time.After(patience)
	select {
	case at := <-watch:
		address = at.Sub(start)
	case <-deadline:
		return 0, 0, "", fmt.Errorf("no link-local address within %v", patience)
	}
	if usable != nil {
		usable()
	}
	for {
		if line := stamp.FindStringSubmatch(seen.Output()); line != nil {
			at, err := strconv.ParseFloat(line[1], 64)
			if err != nil {
				return 0, 0, "", err
			}
			began := float64(start.UnixNano()) / 1e9
			b.measure()
			return time.Duration(math.Round((at - began) * 1e9)), address, p.Output(), nil
		}
		select {
		case <-deadline:
			return 0, 0, "", fmt.Errorf("no echo within %v; it said:\n%s", patience, p.Output())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// measure adds to what the results are compared with, while the line is up.
func (b *bench) measure() {
	out := b.net.Router.Run("ping", "-6", "-n", "-c", "5", "-i", "0.05", "fe80::1%"+realisp.WAN)
	for _, m := range pingTime.FindAllStringSubmatch(out, -1) {
		if t, err := time.ParseDuration(m[1] + "ms"); err == nil {
			b.rtt = append(b.rtt, t)
		}
	}
	start := time.Now()
	b.net.Router.Run("ip", "link", "show", "lo")
	b.exec = append(b.exec, time.Since(start))
}

var pingTime = regexp.MustCompile(`time=([0-9.]+) ms`)

// stamp is the time in a line of tcpdump -tt.
var stamp = regexp.MustCompile(`(?m)^(\d+\.\d+) IP6 .*\n`)
