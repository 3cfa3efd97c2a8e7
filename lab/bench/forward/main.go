// Command forward measures how many frames a second the layer-2 path of
// internal/l2fwd carries, beside a plain bridge with the same two ports. It runs
// inside lab/run; lab/bench/run starts it.
//
//	carrier isp ═══ wan  router  lan4 ═══ wan hgw
//
// The carrier sends IPv4 frames as fast as it can, and the kernel counts those that
// arrive at the HGW's port. All cables are veth, so the sender's system call does
// everything up to there, and what differs is the router alone. Time is the sender's
// CPU time, and the ways take turns, because the machine may have other things to do.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sofutobanku/internal/l2fwd"
	"sofutobanku/lab/topo"
)

func main() {
	runs := flag.Int("runs", 25, "runs of each way and size")
	each := flag.Duration("time", 40*time.Millisecond, "how long a run takes")
	flag.Parse()
	if *runs < 1 || *each <= 0 || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "forward: -runs is 1 or more, -time a duration, and nothing else")
		os.Exit(2)
	}
	if err := topo.Main(func(tb topo.TB) { newBench(tb).all(*runs, *each) }); err != nil {
		fmt.Fprintln(os.Stderr, "forward:", err)
		os.Exit(1)
	}
}

// The two ends, which the sender's frames name.
const (
	carrierMAC = "00:00:5e:00:53:fe"
	hgwMAC     = "00:00:5e:00:53:10"
)

// The ways, in the order of the table.
var ways = []string{"cable", "bridge", l2fwd.NFT, l2fwd.TC}

// sizes of the frames in bytes, without preamble and checksum.
var sizes = []int{60, 1514}

type bench struct {
	tb                   topo.TB
	carrier, router, hgw *topo.NS
	forwarders           map[string]*l2fwd.Forwarder // by their method
}

func newBench(tb topo.TB) *bench {
	lab := topo.New(tb)
	b := &bench{tb: tb, carrier: lab.NS("carrier"), router: lab.NS("router"), hgw: lab.NS("hgw")}
	for _, n := range []*topo.NS{b.carrier, b.router, b.hgw} {
		n.Sysctl("ipv6/conf/default/disable_ipv6", "1") // nothing is on the cables but what is measured
	}
	lab.Link(b.router.Port("wan", ""), b.carrier.Port("isp", carrierMAC), topo.Cable{})
	lab.Link(b.router.Port("lan4", ""), b.hgw.Port("wan", hgwMAC), topo.Cable{})
	lab.Link(b.carrier.Port("direct", ""), b.hgw.Port("direct", ""), topo.Cable{})
	for _, p := range []topo.Port{{NS: b.router, Dev: "wan"}, {NS: b.router, Dev: "lan4"}} {
		p.NS.Up(p.Dev)
	}
	for _, dev := range []string{"isp", "direct"} {
		b.carrier.Up(dev)
	}
	for _, dev := range []string{"wan", "direct"} {
		b.hgw.Up(dev)
	}
	withoutNFT := func(context.Context, string, ...string) ([]byte, error) { return nil, exec.ErrNotFound }
	b.forwarders = map[string]*l2fwd.Forwarder{
		l2fwd.NFT: l2fwd.New(l2fwd.Options{Name: "bench"}),
		l2fwd.TC:  l2fwd.New(l2fwd.Options{Name: "bench", Exec: withoutNFT}),
	}
	return b
}

// all measures and prints the table. What is compared is the ways of one round.
func (b *bench) all(runs int, each time.Duration) {
	rates := map[string]map[int][]float64{} // frames in a second of CPU time, by way and size
	for _, way := range ways {
		rates[way] = map[int][]float64{}
	}
	for range runs {
		for _, way := range ways {
			end := b.begin(way)
			for _, size := range sizes {
				rates[way][size] = append(rates[way][size], b.run(way, size, each))
			}
			end()
		}
	}
	fmt.Printf("%-8s %6s %10s %10s %10s %10s\n", "way", "bytes", "frames/s", "min", "max", "of bridge")
	for _, size := range sizes {
		for _, way := range ways {
			r := rates[way][size]
			var ratios []float64
			for i := range r {
				ratios = append(ratios, r[i]/rates["bridge"][size][i])
			}
			fmt.Printf("%-8s %6d %10.0f %10.0f %10.0f %10.2f\n", way, size, median(r), slices.Min(r), slices.Max(r), median(ratios))
		}
	}
	fmt.Printf("Medians of %d runs of %v each. A second is one of CPU time, of all from the sender's system call to the HGW's port.\n", runs, each)
}

// begin makes the router forward in one way.
func (b *bench) begin(way string) (end func()) {
	switch way {
	case "cable":
		return func() {}
	case "bridge":
		b.router.Run("ip", "link", "add", "name", "br", "type", "bridge")
		b.router.BridgePort("br", "wan")
		b.router.BridgePort("br", "lan4")
		b.router.Up("br")
		// A plain one, that knows where the HGW is.
		_ = b.router.Do(func() error { return os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-iptables", []byte("0"), 0) })
		b.write(b.hgw, "wan", carrierMAC, hgwMAC, sizes[0], 0)
		return func() { b.router.DelLink("br") }
	}
	f := b.forwarders[way]
	err := b.router.Do(func() error {
		got, err := f.Set("wan", "lan4")
		if err == nil && got != way {
			err = fmt.Errorf("this kernel cannot forward by %s", way)
		}
		return err
	})
	if err != nil {
		b.tb.Fatalf("%v", err)
	}
	return func() {
		if err := b.router.Do(f.Close); err != nil {
			b.tb.Fatalf("%v", err)
		}
	}
}

// run sends for a while and returns how many frames arrived in a second of CPU time.
func (b *bench) run(way string, size int, each time.Duration) float64 {
	from, to := "isp", "wan"
	if way == "cable" {
		from, to = "direct", "direct"
	}
	before := b.received(to)
	start := b.used()
	b.write(b.carrier, from, hgwMAC, carrierMAC, size, each)
	took := b.used() - start
	return float64(b.received(to)-before) / took.Seconds()
}

// used is the CPU time that this process has had.
func (b *bench) used() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.tb.Fatalf("%v", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// received is how many frames have arrived at a device of the HGW.
func (b *bench) received(dev string) (n uint64) {
	err := b.hgw.Do(func() error {
		link, err := netlink.LinkByName(dev)
		if err == nil {
			n = link.Attrs().Statistics.RxPackets
		}
		return err
	})
	if err != nil {
		b.tb.Fatalf("%v", err)
	}
	return n
}

// write sends IPv4 frames of a size from a device for a while, some at least.
func (b *bench) write(n *topo.NS, dev, to, from string, size int, each time.Duration) {
	err := n.Do(func() error {
		d, err := net.InterfaceByName(dev)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: d.Index}); err != nil {
			return err
		}
		frame := make([]byte, size)
		for i, mac := range []string{to, from} {
			hw, err := net.ParseMAC(mac)
			if err != nil {
				return err
			}
			copy(frame[6*i:], hw)
		}
		frame[12] = 0x08 // IPv4, which has the version and length of an IPv4 header, and is dropped
		frame[14] = 0x45
		for start := time.Now(); ; {
			for range 64 {
				if _, err := unix.Write(fd, frame); err != nil && err != unix.ENOBUFS {
					return err
				}
			}
			if time.Since(start) >= each {
				return nil
			}
		}
	})
	if err != nil {
		b.tb.Fatalf("%v", err)
	}
}

func median(list []float64) float64 {
	s := slices.Sorted(slices.Values(list))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}
