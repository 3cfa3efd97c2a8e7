package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"sofutobanku/lab/realisp"
	"sofutobanku/lab/rivals"
	"sofutobanku/lab/topo"
)

// contender brings a line up.
type contender struct {
	name string
	// start does all that can be done without a carrier and returns what is to be
	// done when the link-local address has become usable (nil: nothing, it sees
	// that itself), and the process.
	start func(b *bench) (usable func(), p *topo.Process)
	// timeline reads where the time went from what the process said, or is nil.
	timeline func(said string) []string
}

// contenders are sofu-proto, where there is one, and the others.
func contenders(program string) []contender {
	list := []contender{{name: floorName, start: startFloor}}
	if program != "" {
		list = append(list, sofuProto(program))
	}
	for _, c := range rivals.Clients {
		list = append(list, contender{name: c.Name, start: func(b *bench) (func(), *topo.Process) {
			r := c.Start(b.lab, b.net.Router, realisp.WAN, b.hook)
			return r.Go, r.Process
		}})
	}
	return list
}

// floorName is the contender with which the others are compared.
const floorName = "waiting for nothing"

// startFloor readies this program's other self, see floor.
func startFloor(b *bench) (func(), *topo.Process) {
	dir := b.lab.Dir("floor")
	b.lab.WriteFile(dir, "network", b.isp.UCI())
	self, err := os.Executable()
	if err != nil {
		b.lab.Fatalf("bench: %v", err)
	}
	p := b.net.Router.Start(self, "-floor", dir)
	p.WaitFor(10*time.Second, "^ready$")
	return func() { p.Signal(syscall.SIGUSR1) }, p
}

// sofuProto with the configuration that its user would write, a new state and no
// lease.
func sofuProto(program string) contender {
	return contender{
		name: "sofu-proto",
		start: func(b *bench) (func(), *topo.Process) {
			dir := b.lab.Dir("sofu-proto")
			b.lab.WriteFile(dir, "network", b.isp.UCI())
			run, state := filepath.Join(dir, "run"), filepath.Join(dir, "state")
			p := b.net.Router.Start(program, "up", "--config", dir, "--interface", "wan", "--device", realisp.WAN,
				"--run-dir", run, "--state-dir", state, "--timeline")
			b.lab.Eventually(10*time.Second, "sofu-proto to see that there is no carrier", func() error {
				out, err := b.net.Router.Try(program, "status", "--json", "--run-dir", run)
				if !strings.Contains(out, `"down"`) {
					return errors.Join(err, errors.New(out))
				}
				return nil
			})
			return nil, p
		},
		timeline: func(said string) []string {
			var lines []string
			for line := range strings.Lines(said) {
				if fields := strings.Fields(line); len(fields) >= 3 && fields[1] == "ms" {
					lines = append(lines, strings.TrimRight(line, "\n"))
				}
			}
			return lines
		},
	}
}

// The others' other half, which waits for nothing and starts as few programs as
// can be: the tunnel's address, radclient, one ip for the tunnel, ping. $1 is the
// delegated prefix, or an address in it.
const hook = `cd {dir} || exit
IFS=:
set -- $1
unset IFS
ce=$1:$2:$3:$4:1111:1111:1111:1111
printf '{request}' 0x$1 0x$2 0x$3 0x$4 >request
ip addr add $ce/128 dev lo
until radclient -x -r 1 -t 1 -D {dir} -S secret -f request '{server}' auth >answer; do :; done
while read -r name _ value; do
	case $name in
	SoftBankBB-IPv4-Address) ipv4=$value ;;
	SoftBankBB-BR-IPv6-Address) br=$value ;;
	esac
done <answer
ip -batch - <<END
link add name tunnel type ip6tnl mode ipip6 local $ce remote $br encaplimit none
addr add $ipv4/32 dev tunnel
link set tunnel up
route add default dev tunnel
END
until ping -n -c 1 -W 1 {host}; do :; done
`

// writeHook fills the hook in for a line.
func writeHook(lab *topo.Lab, isp *realisp.ISP, dictionary string) string {
	dir := lab.Dir("hook")
	lab.WriteFile(dir, "dictionary", realisp.Dictionary(dictionary))
	lab.WriteFile(dir, "secret", isp.SharedSecret+"\n")
	// The request names the user; here the prefix is not known before.
	request := strings.Replace(strings.TrimSpace(isp.RadclientRequest()), isp.UserName(),
		"%04x:%04x:%04x:%04x:1111:1111:1111:1111", 1)
	return strings.NewReplacer("{dir}", dir, "{request}", request+`\n`,
		"{server}", realisp.RADIUS.String(), "{host}", realisp.Host.String()).Replace(hook)
}

// find returns the program's path: in LAB_BIN, or "".
func find(program string) string {
	path := filepath.Join(os.Getenv("LAB_BIN"), program)
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

// table aligns rows: the first column left, all others right.
func table(rows [][]string) string {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	var b bytes.Buffer
	for _, row := range rows {
		for i, cell := range row {
			if i == 0 {
				fmt.Fprintf(&b, "%-*s", widths[i], cell)
			} else {
				fmt.Fprintf(&b, "  %*s", widths[i], cell)
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}
