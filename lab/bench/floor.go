package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sofutobanku/internal/config"
	"sofutobanku/internal/dhcp6"
	"sofutobanku/internal/echo"
	"sofutobanku/internal/ntt"
	"sofutobanku/internal/softbank"
	"sofutobanku/lab/realisp"
)

// floor is what the line costs at least in this lab: a program that checks
// nothing, keeps nothing, waits for nothing but the answers, and does each step
// the moment that the one before is done. It starts on SIGUSR1, when the
// link-local address is usable.
func floor(configDir string) error {
	start := make(chan os.Signal, 1)
	signal.Notify(start, syscall.SIGUSR1)
	section, err := config.Load(configDir, "wan")
	if err != nil {
		return err
	}
	options := softbank.FromSection(section)
	if err := section.Err(); err != nil {
		return err
	}
	fmt.Println("ready")
	<-start

	ctx := context.Background()
	ifi, err := net.InterfaceByName(realisp.WAN)
	if err != nil {
		return err
	}
	prefix, err := delegated(ifi)
	if err != nil {
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.AddrReplace(lo, address(options.Source(prefix))); err != nil {
		return err
	}
	rnd := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	grant, err := softbank.NewClient(softbank.ClientConfig{Options: options, Rand: rnd}).Ask(ctx, softbank.Request{Prefix: prefix})
	if err != nil {
		return err
	}
	tunnel := &netlink.Ip6tnl{
		LinkAttrs: netlink.LinkAttrs{Name: "tunnel"}, Proto: unix.IPPROTO_IPIP, Ttl: 64, Flags: 1, // no encapsulation limit
		Local: options.Local(prefix, grant.IPv4).AsSlice(), Remote: grant.BR.AsSlice(),
	}
	if err := netlink.LinkAdd(tunnel); err != nil {
		return err
	}
	if err := netlink.AddrAdd(tunnel, address(grant.IPv4)); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(tunnel); err != nil {
		return err
	}
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: tunnel.Index, Dst: &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}}); err != nil {
		return err
	}
	_, err = echo.Ping(ctx, echo.Config{Device: "tunnel", Source: grant.IPv4, Target: realisp.Host, Rand: rnd})
	return err
}

func address(a netip.Addr) *netlink.Addr {
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}}
	if a.Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	return addr
}

// delegated gets a prefix in two round trips.
func delegated(ifi *net.Interface) (netip.Prefix, error) {
	addrs, err := ifi.Addrs()
	if err != nil {
		return netip.Prefix{}, err
	}
	var conn dhcp6.Conn
	for _, a := range addrs {
		if ll, ok := netip.AddrFromSlice(a.(*net.IPNet).IP); ok && ll.Is6() && ll.IsLinkLocalUnicast() {
			if conn, err = dhcp6.Listen(ifi, ll); err != nil {
				return netip.Prefix{}, err
			}
		}
	}
	duid := &dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: ifi.HardwareAddr}
	ask := func(kind dhcpv6.MessageType, more ...dhcpv6.Option) (*dhcpv6.Message, error) {
		m, err := dhcpv6.NewMessage(dhcpv6.WithClientID(duid))
		if err != nil {
			return nil, err
		}
		m.MessageType = kind
		m.AddOption(dhcpv6.OptElapsedTime(0))
		m.AddOption(dhcpv6.OptRequestedOption(dhcpv6.OptionVendorOpts, dhcpv6.OptionDNSRecursiveNameServer))
		for _, o := range more {
			m.AddOption(o)
		}
		if err := conn.WriteTo(m.ToBytes(), netip.AddrPortFrom(netip.MustParseAddr("ff02::1:2"), 547)); err != nil {
			return nil, err
		}
		for b := make([]byte, 1500); ; {
			n, _, err := conn.ReadFrom(b)
			if err != nil {
				return nil, err
			}
			if answer, err := dhcpv6.MessageFromBytes(b[:n]); err == nil && answer.TransactionID == m.TransactionID {
				return answer, nil
			}
		}
	}
	offer, err := ask(dhcpv6.MessageTypeSolicit, &dhcpv6.OptIAPD{IaId: [4]byte{3: 1}})
	if err != nil {
		return netip.Prefix{}, err
	}
	reply, err := ask(dhcpv6.MessageTypeRequest, offer.GetOneOption(dhcpv6.OptionServerID), offer.GetOneOption(dhcpv6.OptionIAPD), ntt.VendorClass(ifi.HardwareAddr))
	if err != nil {
		return netip.Prefix{}, err
	}
	for _, pd := range reply.Options.IAPD() {
		for _, p := range pd.Options.Prefixes() {
			addr, _ := netip.AddrFromSlice(p.Prefix.IP)
			bits, _ := p.Prefix.Mask.Size()
			return netip.PrefixFrom(addr, bits), nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("no prefix in %v", reply)
}
