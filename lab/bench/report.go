package main

import (
	"fmt"
	"slices"
	"time"
)

// since is the runs from the moment the link-local address was usable.
func (r *result) since() []time.Duration {
	list := make([]time.Duration, len(r.total))
	for i := range list {
		list[i] = r.total[i] - r.address[i]
	}
	return list
}

// report prints the table and what is needed to read it.
func (b *bench) report(results []*result) {
	rtt := median(b.rtt)
	if rtt == 0 {
		fmt.Println("No run succeeded.")
		return
	}
	floor, measured := trips*rtt, "four RTTs"
	ours := map[bool]time.Duration{}
	for _, r := range results {
		if r.name == "sofu-proto" {
			ours[r.dad] = median(r.total)
		}
		if r.name == floorName && !r.dad && len(r.total) > 0 {
			floor, measured = median(r.since()), "the first row, without DAD"
		}
	}

	rows := [][]string{{"carrier to first IPv4 echo", "DAD", "runs", "median ms", "min", "max", "RTTs", "since address ms", "x floor", "ours faster"}}
	for _, r := range results {
		name := map[bool]string{true: "on", false: "off"}[r.dad]
		if len(r.total) == 0 {
			rows = append(rows, []string{r.name, name, fmt.Sprintf("0 of %d", r.failed), "-", "-", "-", "-", "-", "-", "-"})
			continue
		}
		m, s, faster := median(r.total), median(r.since()), "-"
		if o := ours[r.dad]; o > 0 && r.name != "sofu-proto" {
			faster = times(m, o)
		}
		rows = append(rows, []string{
			r.name, name, fmt.Sprintf("%d of %d", len(r.total), len(r.total)+r.failed),
			ms(m), ms(slices.Min(r.total)), ms(slices.Max(r.total)),
			fmt.Sprintf("%.1f", float64(m)/float64(rtt)), ms(s), times(s, floor), faster,
		})
	}
	fmt.Printf("\n%s\n", table(rows))
	fmt.Printf("RTT %.1f ms (median of %d pings between the runs); no program can do with less than %d of them =\n"+
		"%s ms: Solicit, Request, Access-Request, echo. \"Since address\" counts from the moment the link-local\n"+
		"address is usable, and \"x floor\" compares that with %s, %s ms.\n"+
		"Starting a program costs %s ms here; the scripts of the others start four (shell, ip, radclient,\n"+
		"ip), sofu-proto none.\n", rtt.Seconds()*1e3, len(b.rtt), trips, ms(trips*rtt), measured, ms(floor), ms(median(b.exec)))

	for _, r := range results {
		if len(r.timeline) > 0 {
			fmt.Printf("\nWhere %s's time went, last run with DAD %s:\n", r.name, map[bool]string{true: "on", false: "off"}[r.dad])
			for _, line := range r.timeline {
				fmt.Println("  ", line)
			}
		}
	}
}

func ms(d time.Duration) string { return fmt.Sprintf("%.0f", d.Seconds()*1e3) }

// times is how often b fits into a.
func times(a, b time.Duration) string { return fmt.Sprintf("%.2f", float64(a)/float64(b)) }

func median(list []time.Duration) time.Duration {
	if len(list) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(list))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}
