package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sofutobanku/internal/isp"
	"sofutobanku/internal/state"
)

// soak is how many seeds each line lives with, and for how many days: $SOAK, as make
// soak sets it, and a year, or one and some months.
func soak(t *testing.T) (seeds, days int) {
	text := os.Getenv("SOAK")
	if text == "" {
		return 1, months
	}
	seeds, err := strconv.Atoi(text)
	if err != nil || seeds < 1 {
		t.Fatalf("SOAK=%s: the number of seeds, at least 1, is accepted", text)
	}
	return seeds, 365
}

// figures is what a life cost.
type figures struct {
	most       map[string]int // of each kind of message, and of Apply, in one day
	goroutines [2]int         // at the end of a day: the most of the first ten days, and of the last
}

// days lives through n days, each of which is day, and looks at what they cost.
func (w *world) days(n int, day func()) (f figures) {
	f.most = map[string]int{}
	for i := range n {
		before := w.counted()
		day()
		for what, count := range w.counted() {
			f.most[what] = max(f.most[what], count-before[what])
		}
		for part, in := range []bool{i < 10, i >= n-10} {
			if in {
				f.goroutines[part] = max(f.goroutines[part], goroutines())
			}
		}
	}
	return f
}

// goroutines is how many goroutines the caller's bubble has.
func goroutines() int {
	buf := make([]byte, 1<<20)
	stacks := string(buf[:runtime.Stack(buf, true)])
	own, _, _ := strings.Cut(stacks, "\n")
	_, bubble, _ := strings.Cut(own, "synctest bubble")
	return strings.Count(stacks, "synctest bubble"+bubble)
}

// heap is the number of bytes in use.
func heap() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// columns are what of the figures is shown, by its heading.
var columns = [][2]string{
	{"RS", "router solicitation"}, {"RA", "router advertisement"},
	{"Solicit", "solicit"}, {"Request", "request"}, {"Renew", "renew"}, {"Rebind", "rebind"}, {"Inform", "information"},
	{"RADIUS", "access-request"}, {"echo", "echo"}, {"Apply", "apply"},
}

// heading begins a table of figures, in Markdown.
func heading(t *testing.T, life, note string) {
	line := fmt.Sprintf("| %-34s |", life)
	for _, c := range columns {
		line += fmt.Sprintf(" %7s |", c[0])
	}
	line += fmt.Sprintf(" goroutines | %s |", note)
	fmt.Fprintf(t.Output(), "%s\n%s\n", line, regexp.MustCompile(`[^|]`).ReplaceAllString(line, "-"))
}

// print is a row of the table.
func (f figures) print(t *testing.T, life, format string, note ...any) {
	line := fmt.Sprintf("| %-34s |", life)
	for _, c := range columns {
		line += fmt.Sprintf(" %7d |", f.most[c[1]])
	}
	fmt.Fprintf(t.Output(), "%s %10d | %s |\n", line, f.goroutines[1], fmt.Sprintf(format, note...))
}

// bound fails the test for what was sent more often in a day than bounds says, 0
// where it says nothing.
func (f figures) bound(t *testing.T, bounds map[string]int) {
	t.Helper()
	for what, n := range f.most {
		if n > bounds[what] {
			t.Errorf("%d times %q in a day, at most %d are in order", n, what, bounds[what])
		}
	}
	if f.goroutines[1] > f.goroutines[0] {
		t.Errorf("%d goroutines in the beginning, %d in the end", f.goroutines[0], f.goroutines[1])
	}
}

// ordinary are lives in which nothing is out of order: the RA every few minutes,
// DHCPv6 at T1, a Reconfigure every eight hours, RADIUS once a day.
var ordinary = []struct {
	name    string
	kind    isp.Kind
	options string
	carrier func(*isp.Config)
	every8h string
	bounds  map[string]int // in a day
}{
	{"next, Reconfigure with a key", isp.Next, "", nil, "reconfigure renew",
		and(routed, "renew", 15, "answer of DHCPv6", 18, "access-request", 1, "answer of RADIUS", 1)},
	{"cross, Reconfigure without a key", isp.Cross, "option unauth_reconfigure '1'", func(c *isp.Config) { c.RKAP = false }, "reconfigure renew unauth",
		and(routed, "renew", 15, "answer of DHCPv6", 18, "access-request", 1, "answer of RADIUS", 1)},
	// Nobody obeys its Reconfigure, which is sent 8 times each.
	{"next-ra", isp.NextRA, "", nil, "reconfigure info",
		and(routed, "information", 1, "answer of DHCPv6", 25, "access-request", 1, "answer of RADIUS", 1)},
}

func TestOrdinaryLife(t *testing.T) {
	_, days := soak(t)
	heading(t, "most in a day of an ordinary life", "heap, first and last day")
	for _, tt := range ordinary {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, tt.kind, 1, tt.options, tt.carrier)
				w.do("start")
				w.do("link up")
				w.steps([]step{{"", minute, "up: A ?h, tunnel A ip1 br1, router"}})
				changes := w.changed()
				var heaps []int
				f := w.days(days, func() {
					for range 3 {
						w.live(8 * hour)
						if tt.every8h != "" {
							w.do(tt.every8h)
						}
					}
					heaps = append(heaps, heap())
				})
				if n := w.changed() - changes; n > 0 {
					t.Errorf("the line changed %d times", n)
				}
				f.bound(t, tt.bounds)
				for _, e := range w.line.State().Wrong {
					if tt.kind != isp.NextRA || e.Kind != "reconfigure" {
						t.Errorf("the carrier says: %s", e.Text)
					}
				}
				first, last := heaps[0], heaps[len(heaps)-1]
				f.print(t, tt.name, "%d, %d kB", first>>10, last>>10)
				if last > first+256<<10 {
					t.Errorf("the heap has grown from %d to %d bytes", first, last)
				}
			})
		})
	}
}

// outages are lives in which the same is out of order from the start, for ever. The
// pauses of all clients grow to an hour, a tenth more or less.
var outages = []struct {
	name        string
	kind        isp.Kind
	do          string
	first, then map[string]int // what is in order on the first day, and on each later one
}{
	{"nobody answers", isp.Next, "silent all",
		map[string]int{"router solicitation": 38, "solicit": 38, "apply": 1},
		map[string]int{"router solicitation": 27, "solicit": 27}},
	{"no router", isp.NextRA, "silent ra",
		map[string]int{"router solicitation": 38, "solicit": 38, "answer of DHCPv6": 38, "apply": 1},
		map[string]int{"router solicitation": 27, "solicit": 27, "answer of DHCPv6": 27}},
	{"no DHCPv6 server", isp.Next, "silent dhcp6", and(routed, "solicit", 38), and(routed, "solicit", 27)},
	{"no prefix", isp.Next, "refuse NoPrefixAvail",
		and(routed, "solicit", 38, "answer of DHCPv6", 38), and(routed, "solicit", 27, "answer of DHCPv6", 27)},
	// A lease is looked after with each failure.
	{"RADIUS rejects", isp.Cross, "reject",
		and(routed, "access-request", 34, "answer of RADIUS", 34, "request", 1, "renew", 34, "answer of DHCPv6", 36),
		and(routed, "access-request", 24, "answer of RADIUS", 24, "renew", 24, "answer of DHCPv6", 24)},
	{"RADIUS rejects a /64", isp.NextRA, "reject",
		and(routed, "access-request", 34, "answer of RADIUS", 34, "information", 1, "answer of DHCPv6", 1),
		and(routed, "access-request", 24, "answer of RADIUS", 24, "information", 1, "answer of DHCPv6", 1)},
	{"no RADIUS server", isp.Next, "silent radius", // five transmissions each
		and(routed, "access-request", 5*34, "request", 1, "renew", 34, "answer of DHCPv6", 36),
		and(routed, "access-request", 5*24, "renew", 24, "answer of DHCPv6", 24)},
	{"no echo", isp.NextRA, "no-echo", // every 30 seconds
		and(routed, "echo", 2890, "access-request", 1, "answer of RADIUS", 1, "information", 1, "answer of DHCPv6", 1),
		and(routed, "echo", 2880, "access-request", 1, "answer of RADIUS", 1, "information", 1, "answer of DHCPv6", 1)},
}

// routed is a day on which a router advertises itself, and each time the State has
// its new lifetime.
var routed = map[string]int{"router advertisement": 300, "apply": 340}

// and is a with more: names and numbers.
func and(a map[string]int, more ...any) map[string]int {
	a = maps.Clone(a)
	for i := 0; i < len(more); i += 2 {
		a[more[i].(string)] = more[i+1].(int)
	}
	return a
}

func TestOutages(t *testing.T) {
	heading(t, "most in a day of an outage", "")
	for _, tt := range outages {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, tt.kind, 1, "", nil)
				w.do(tt.do)
				w.do("start")
				w.do("link up")
				oneDay := func() { w.live(day) }
				first, then := w.days(1, oneDay), w.days(3, oneDay)
				first.print(t, tt.name, "first day")
				then.print(t, tt.name, "most of the later days")
				first.bound(t, tt.first)
				then.bound(t, tt.then)
				if then.goroutines[1] > first.goroutines[1] {
					t.Errorf("%d goroutines after a day, then %d", first.goroutines[1], then.goroutines[1])
				}
			})
		})
	}
}

// A trouble lasts from its first commands to its last.
type trouble struct{ begin, end string }

var (
	troubles = []trouble{
		{"silent ra", "speak ra"}, {"silent dhcp6", "speak dhcp6"}, {"silent radius", "speak radius"}, {"silent all", "speak all"},
		{"reject", "accept"}, {"slow-radius 2s", "slow-radius 0s"}, {"slow-radius 40s", "slow-radius 0s"},
		{"ra-lifetime 0", "ra-lifetime 1800"}, {"lifetimes 0 0", usual},
		{"link down", "link up"}, {"link gone", "link up"}, {"noise 0.3", "noise 0"}, {"stop", "start"}, {"crash", "start"},
	}
	refusals = []trouble{
		{"refuse NoPrefixAvail", "grant"}, {"refuse NoBinding", "grant"}, {"refuse NotOnLink", "grant"},
		{"refuse UnspecFail", "grant"}, {"refuse UseMulticast", "grant"},
	}
	changes = []string{
		"prefix A", "prefix B", "prefix C", "br br1", "br br2", "ipv4 ip1", "ipv4 ip2",
		"prefix A; renew", "prefix B; reconfigure renew", "prefix C; reconfigure rebind",
		"reconfigure renew", "reconfigure renew unauth", "reconfigure info", "renew", "restart",
		"stop; start", "crash; start", "crash; clock 30m; start", "crash; clock -30m; start", "stop; clock -87600h; start",
		"link down; link up", "link gone; link up",
	}
	// What only a line with DHCPv6 has.
	leaseChanges = []string{"fail-over", "drop-bindings", "lifetimes 600 1200", usual}
)

// usual are the line's own lifetimes.
const usual = "lifetimes 12600 14400 7200 10800"

// upAfter is how long after all is well again the line is up at the latest. Solicit and
// Router Solicitation pause for up to an hour and a tenth, and so does an authentication
// that failed.
const upAfter = 75 * time.Minute

// chaosBounds are for a day with ten events or more. After each of them a client may begin
// anew with its short pauses.
var chaosBounds = map[string]int{
	"router solicitation": 300, "router advertisement": 400,
	"solicit": 300, "request": 60, "renew": 600, "rebind": 200, "information": 200, "release": 60, "answer of DHCPv6": 1000,
	"access-request": 1000, "answer of RADIUS": 1000, "echo": 3000, "apply": 1000,
}

// soakOptions are what the lines of one seed after the other are configured with.
var soakOptions = []string{"", "option norelease '0'", "option strict_rfc '1'", "option unauth_reconfigure '1'"}

// TestSoak lives through times in which things go wrong at random.
func TestSoak(t *testing.T) {
	seeds, days := soak(t)
	heading(t, "most in a day of a life in trouble", "")
	for _, kind := range allLines {
		for seed := range seeds {
			t.Run(fmt.Sprintf("%s/%d", kind, seed+1), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, kind, uint64(seed+1), soakOptions[seed%len(soakOptions)], func(c *isp.Config) { c.RAInterval = 20 * minute })
					w.do("start")
					w.do("link up")
					c := chaos{world: w}
					f := w.days(days, func() { c.live(day) })
					f.bound(t, chaosBounds)
					for what, n := range w.line.State().Counters {
						// A Reconfigure to nobody, or one of the prefix before, is in order.
						if strings.HasSuffix(what, ".wrong") && what != "dhcp6.reconfigure.wrong" && what != "radius.request.wrong" {
							t.Errorf("the carrier saw %d times %s", n, what)
						}
					}
					f.print(t, fmt.Sprintf("%s, seed %d", kind, seed+1), "%d events, up for %.0f %% of the time", c.events, 100*c.up.Hours()/c.all.Hours())
				})
			})
		}
	}
}

// chaos is a world in which things go wrong.
type chaos struct {
	*world
	now     []ongoing
	next    time.Time // of the next event
	well    time.Time // since when nothing is wrong
	events  int
	up, all time.Duration
}

// ongoing is a trouble and its end.
type ongoing struct {
	trouble
	until time.Time
}

// between is a random time, with its logarithm spread evenly.
func (c *chaos) between(low, high time.Duration) time.Duration {
	return time.Duration(float64(low) * math.Pow(float64(high)/float64(low), c.rand.Float64()))
}

// live lets time pass, and things go wrong and right again.
func (c *chaos) live(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		now := time.Now()
		if !now.Before(c.next) {
			c.event()
			c.next = now.Add(c.between(10*second, day))
		}
		until := c.next
		for _, o := range c.now {
			if o.until.Before(until) {
				until = o.until
			}
		}
		step := max(0, min(until.Sub(now), end.Sub(now), 30*minute))
		c.world.live(step)
		c.all += step
		if c.applied().Phase == state.Up {
			c.up += step
		}
		c.now = slices.DeleteFunc(c.now, func(o ongoing) bool {
			over := !time.Now().Before(o.until)
			if over {
				c.run(o.end)
			}
			return over
		})
		c.check()
	}
}

// event is something that goes wrong, or changes.
func (c *chaos) event() {
	c.events++
	all, list := troubles, changes
	if c.kind != isp.NextRA {
		all, list = slices.Concat(all, refusals), slices.Concat(list, leaseChanges)
	}
	if c.rand.IntN(3) > 0 {
		c.run(list[c.rand.IntN(len(list))])
		return
	}
	o := ongoing{all[c.rand.IntN(len(all))], time.Now().Add(c.between(second, day))}
	for _, p := range c.now {
		if p.end == o.end {
			return // one of its kind is enough
		}
	}
	c.now = append(c.now, o)
	c.run(o.begin)
}

// run carries out commands as far as they make sense now.
func (c *chaos) run(commands string) {
	c.disturb(0)
	for command := range strings.SplitSeq(commands, "; ") {
		verb, _, _ := strings.Cut(command, " ")
		running := c.daemon != nil
		switch verb {
		case "drop-bindings":
			// The router learns it from another server at T2 at the latest.
			c.disturb(10800 * second)
		case "start":
			if running {
				continue
			}
		case "stop", "crash", "renew", "restart":
			if !running {
				continue
			}
		}
		// The carrier has no lease to drop now and then, or nobody to reconfigure, and
		// the router no lease whose clock could be set.
		if err := c.try(command); err != nil && verb != "drop-bindings" && verb != "reconfigure" && !errors.Is(err, fs.ErrNotExist) {
			c.fault("%s: %v", command, err)
		}
	}
}

// disturb notes that all is well in d at the earliest.
func (c *chaos) disturb(d time.Duration) {
	if at := time.Now().Add(d); at.After(c.well) {
		c.well = at
	}
}

// check looks whether the line is up when it has to be.
func (c *chaos) check() {
	well := time.Since(c.well)
	if len(c.now) > 0 || well < upAfter {
		return
	}
	st := c.applied()
	switch {
	case st.Phase != state.Up || st.Error != nil:
		c.fault("not up, or an error, though all is well for %v: %s", well, c.render(st, time.Now()))
	case !c.tunnelWorks():
		c.fault("IPv4 does not pass, though all is well for %v: %s", well, c.render(st, time.Now()))
	}
}
