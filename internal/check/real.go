package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sofutobanku/internal/firewall"
	"sofutobanku/internal/link"
	"sofutobanku/internal/probe"
)

// lookFor is how long LookAround looks for neighbours, and waitForRouter for a router
// that has not answered by then (RFC 4861 6.2.6: three seconds and a half).
const (
	lookFor       = 1500 * time.Millisecond
	waitForRouter = 4500 * time.Millisecond
)

// Real completes s by what asks this machine and its network: all but Line, Status and
// Lease. program names the program and its version.
func Real(s Sources, program string) Sources {
	s.Kernel = readKernel
	s.Ruleset = readRuleset
	s.System = func() System { return readSystem("/", program) }
	s.LookAround = func(ctx context.Context, device string) (probe.Segment, error) {
		ctx, cancel := context.WithTimeout(ctx, waitForRouter)
		defer cancel()
		ifi, err := net.InterfaceByName(device)
		if err != nil {
			return probe.Segment{}, err
		}
		return probe.LookAround(ctx, ifi, lookFor)
	}
	s.Measure = func(ctx context.Context, w probe.Way, most int) (probe.Path, error) {
		return probe.Measure(ctx, probe.Raw, w, most)
	}
	s.DNS, s.Clock = probe.DNS, probe.Clock
	return s
}

// settles is within what time a device that has just got its link has an address
// (RFC 4862 5.4.2: up to a second before the detection of duplicates, and one for it).
const settles = 2500 * time.Millisecond

// readKernel asks netlink.
func readKernel(ctx context.Context, device, tunnel string) (Kernel, error) {
	k := Kernel{Addresses: map[netip.Addr]string{}}
	ctx, cancel := context.WithTimeout(ctx, settles)
	defer cancel()
	err := link.Watch(ctx, device, func(s link.State) {
		k.Link = s
		if !s.Up || s.LinkLocal.IsValid() || s.DADFailed {
			cancel()
		}
	})
	if err != nil {
		return k, err
	}
	k.Link.Name = device
	// NETLINK_ROUTE alone: the other families may be missing.
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return k, err
	}
	defer h.Close()
	links, err := h.LinkList()
	if err != nil {
		return k, fmt.Errorf("check: devices: %w", err)
	}
	names := map[int]string{}
	for _, l := range links {
		a := l.Attrs()
		names[a.Index] = a.Name
		t, isTunnel := l.(*netlink.Ip6tnl)
		if isTunnel {
			k.Module = ModuleThere
		}
		if a.Name == tunnel && isTunnel {
			k.Tunnel = tunnelOf(t)
		}
	}
	addrs, err := h.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return k, fmt.Errorf("check: addresses: %w", err)
	}
	for _, a := range addrs {
		if ip, ok := netip.AddrFromSlice(a.IP); ok {
			k.Addresses[ip.Unmap()] = names[a.LinkIndex]
		}
	}
	// With OpenWrt's source filter a default route is one for some sources only, or in
	// a table of its own.
	routes, err := h.RouteListFiltered(netlink.FAMILY_V6, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return k, fmt.Errorf("check: routes: %w", err)
	}
	k.DefaultRoute = slices.ContainsFunc(routes, func(r netlink.Route) bool {
		ones := 0
		if r.Dst != nil {
			ones, _ = r.Dst.Mask.Size()
		}
		return ones == 0 && r.LinkIndex == k.Link.Index && r.Type == unix.RTN_UNICAST
	})
	if k.Module == ModuleUnknown {
		k.Module = findModule("/")
	}
	return k, nil
}

// ignoreEncapLimit is IP6_TNL_F_IGN_ENCAP_LIMIT of linux/ip6_tunnel.h.
const ignoreEncapLimit = 0x1

func tunnelOf(l *netlink.Ip6tnl) *Tunnel {
	a := l.Attrs()
	t := &Tunnel{Name: a.Name, Up: a.RawFlags&unix.IFF_UP != 0, MTU: a.MTU, EncapLimit: int(l.EncapLimit)}
	if l.Flags&ignoreEncapLimit != 0 {
		t.EncapLimit = -1
	}
	t.Local, _ = netip.AddrFromSlice(l.Local)
	t.Remote, _ = netip.AddrFromSlice(l.Remote)
	if s := a.Statistics; s != nil {
		t.Sent, t.Heard = s.TxPackets, s.RxPackets
	}
	return t
}

// findModule looks for ip6_tunnel below root: loaded, built in, or as a file.
func findModule(root string) Module {
	if _, err := os.Stat(filepath.Join(root, "sys/module/ip6_tunnel")); err == nil {
		return ModuleThere
	}
	dir := filepath.Join(root, "lib/modules", release())
	builtin, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err == nil && bytes.Contains(builtin, []byte("/ip6_tunnel.ko\n")) {
		return ModuleThere
	}
	for _, pattern := range []string{"ip6_tunnel.ko*", "kernel/net/ipv6/ip6_tunnel.ko*"} {
		if found, _ := filepath.Glob(filepath.Join(dir, pattern)); len(found) > 0 {
			return ModuleThere
		}
	}
	if _, err := os.Stat(dir); err != nil {
		return ModuleUnknown // who keeps no modules may have it built in
	}
	return ModuleMissing
}

// release is the kernel's version, "" if it does not say.
func release() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// maxRules bounds what is read of nft, in bytes.
const maxRules = 16 << 20

func readRuleset(ctx context.Context) (*firewall.Ruleset, error) {
	var out, said bytes.Buffer
	cmd := exec.CommandContext(ctx, "nft", "-j", "list", "ruleset")
	cmd.Stdout, cmd.Stderr = &limited{&out, maxRules}, &limited{&said, 1 << 10}
	cmd.WaitDelay = time.Second
	switch err := cmd.Run(); {
	case errors.Is(err, exec.ErrNotFound):
		return nil, errors.New("there is no nft here")
	case err != nil:
		return nil, fmt.Errorf("nft: %w: %s", err, strings.TrimSpace(said.String()))
	}
	return firewall.Parse(out.Bytes())
}

// limited takes so many bytes.
type limited struct {
	to   *bytes.Buffer
	most int
}

func (l *limited) Write(b []byte) (int, error) {
	if l.to.Len()+len(b) > l.most {
		return 0, fmt.Errorf("more than %d bytes", l.most)
	}
	return l.to.Write(b)
}

// readSystem reads what the system below root says of itself.
func readSystem(root, program string) System {
	s := System{Program: program}
	if r := release(); r != "" {
		s.Kernel = "Linux " + r
	}
	for _, f := range []struct{ file, key string }{{"etc/openwrt_release", "DISTRIB_DESCRIPTION"}, {"etc/os-release", "PRETTY_NAME"}} {
		b, err := os.ReadFile(filepath.Join(root, f.file))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			if value, ok := strings.CutPrefix(line, f.key+"="); ok {
				s.Release = strings.Trim(strings.TrimSpace(value), `"'`)
				return s
			}
		}
	}
	return s
}
