package main

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"golang.org/x/sys/unix"

	"sofutobanku/internal/cli"
	"sofutobanku/internal/config"
	"sofutobanku/internal/control"
	"sofutobanku/internal/counters"
	"sofutobanku/internal/dhcp4"
	"sofutobanku/internal/dhcp6"
	"sofutobanku/internal/dissect"
	"sofutobanku/internal/ntt"
	"sofutobanku/internal/softbank"
)

// exchange shows each packet of one exchange as it comes and goes.
type exchange struct {
	w      io.Writer
	asJSON bool
	start  time.Time

	mu       sync.Mutex
	received int
}

// show shows one packet. why tells why it is none of this exchange, "" if it is.
func (x *exchange) show(direction, peer string, f dissect.Field, why string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	ms := milliseconds(time.Since(x.start))
	if direction == "received" {
		x.received++
	}
	if x.asJSON {
		json.NewEncoder(x.w).Encode(struct {
			MS        float64       `json:"ms"`
			Direction string        `json:"direction"`
			Peer      string        `json:"peer"`
			Ignored   string        `json:"ignored,omitempty"`
			Packet    dissect.Field `json:"packet"`
		}{ms, direction, peer, why, f})
		return
	}
	word := map[string]string{"sent": "to", "received": "from"}[direction]
	fmt.Fprintf(x.w, "%.1f ms: %s %s %s\n", ms, direction, word, peer)
	if why != "" {
		fmt.Fprintf(x.w, "not of this exchange: %s\n", why)
	}
	f.Write(x.w)
	fmt.Fprintln(x.w)
}

// verdict ends an exchange in words.
func (x *exchange) verdict(text string) {
	if x.asJSON {
		json.NewEncoder(x.w).Encode(map[string]string{"result": text})
		return
	}
	fmt.Fprintln(x.w, text)
}

// vendor tells what NTT and SoftBank defined.
func vendor(enterprise uint32, code int, data []byte) (dissect.Field, bool) {
	for _, describe := range []func(uint32, int, []byte) (string, string, bool){ntt.Describe, softbank.Describe} {
		if name, value, ok := describe(enterprise, code, data); ok {
			return dissect.Field{Name: name, Value: value}, true
		}
	}
	return dissect.Field{}, false
}

const probeUsage = `sofu-proto probe dhcp6|dhcp4|radius [INTERFACE] [FLAGS]: one exchange, packet by packet, by the settings of
INTERFACE (wan unless given)
  dhcp6   Solicit and what is advertised; no lease is taken
  dhcp4   Discover and what is offered; no lease is taken
  radius  Access-Request from the address that the running line has for it`

// probes are the exchanges by name.
var probes = map[string]func(context.Context, *exchange, *prober) error{
	"dhcp6": probeDHCP6, "dhcp4": probeDHCP4, "radius": probeRADIUS,
}

// prober is what an exchange goes by.
type prober struct {
	place
	iface       string
	wait        time.Duration
	information bool
	class       bool

	section *config.Section
	common  config.Common
	options softbank.Options
}

func runProbe(args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("probe", flag.ContinueOnError)
	fs.Usage = func() {
		fmt.Fprintln(fs.Output(), probeUsage)
		fs.PrintDefaults()
	}
	p := &prober{}
	p.flags(fs)
	wait := fs.Float64("w", 5, "wait for answers for `SECONDS`")
	fs.BoolVar(&p.information, "information", false, "dhcp6: Information-Request instead of Solicit")
	fs.BoolVar(&p.class, "vendor-class", false, "dhcp6: with NTT's vendor class, as a telephone terminal asks")
	asJSON := fs.Bool("json", false, "print JSON, a line for each packet and the result")
	kind := ""
	if len(args) > 0 {
		if _, known := probes[args[0]]; known {
			kind, args = args[0], args[1:]
		}
	}
	var err error
	if p.iface, err = parse(fs, args, "wan", stderr); err != nil {
		return err
	}
	if kind == "" {
		return cli.Exit(cli.Usage, errors.New("probe: which exchange? sofu-tools probe dhcp6, dhcp4 or radius"))
	}
	p.wait = duration(*wait)
	if p.section, err = config.Load(p.config, p.iface); err == nil {
		p.common = p.section.Common(p.device)
		p.options = softbank.FromSection(p.section)
		err = p.section.Err()
	}
	if err != nil {
		return cli.Exit(cli.Config, err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return probes[kind](ctx, &exchange{w: stdout, asJSON: *asJSON, start: time.Now()}, p)
}

// wan is the WAN device.
func (p *prober) wan() (*net.Interface, error) {
	ifi, err := net.InterfaceByName(p.common.Device)
	if err != nil {
		return nil, fmt.Errorf("probe: device %s: %w", p.common.Device, err)
	}
	return ifi, nil
}

// question is a message that every server may answer.
type question struct {
	message  []byte
	to       string
	id       []byte // the transaction id, which answers repeat
	at       int    // where it is in them
	describe func([]byte, dissect.Vendor) dissect.Field
	send     func() error
	// read waits for a packet until deadline, when it returns os.ErrDeadlineExceeded.
	read func(b []byte, deadline time.Time) (n int, from string, err error)
}

// ask sends the message every second until an answer has come, shows what comes within
// the wait or a second after the first answer, and counts the servers.
func (x *exchange) ask(ctx context.Context, wait time.Duration, q question) (servers int, err error) {
	end := time.Now().Add(wait)
	answered := map[string]bool{}
	b := make([]byte, 1<<16)
	for time.Now().Before(end) && ctx.Err() == nil {
		if len(answered) == 0 {
			if err := q.send(); err != nil {
				return 0, fmt.Errorf("probe: %w", err)
			}
			x.show("sent", q.to, q.describe(q.message, vendor), "")
		}
		for until := earlier(end, time.Now().Add(time.Second)); ctx.Err() == nil; {
			n, from, err := q.read(b, until)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return 0, fmt.Errorf("probe: %w", err)
			}
			why := ""
			if n < q.at+len(q.id) || !bytes.Equal(b[q.at:q.at+len(q.id)], q.id) {
				why = "another transaction id"
			}
			x.show("received", from, q.describe(b[:n], vendor), why)
			if why != "" {
				continue
			}
			if len(answered) == 0 {
				end = earlier(end, time.Now().Add(time.Second))
				until = end
			}
			answered[from] = true
		}
	}
	return len(answered), nil
}

// conclude is the end of an exchange that takes no lease; none is what silence means.
func (x *exchange) conclude(servers int, none string) error {
	if servers == 0 {
		x.verdict("silence: " + none)
		return cli.Exit(cli.NotUp, nil)
	}
	x.verdict(fmt.Sprintf("%d answered; no lease was taken", servers))
	return nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func probeDHCP6(ctx context.Context, x *exchange, p *prober) error {
	ifi, err := p.wan()
	if err != nil {
		return err
	}
	ll := linkLocal(ifi)
	if !ll.IsValid() {
		return cli.Exit(cli.NotUp, fmt.Errorf("probe: %s has no link-local address: is there a link?", ifi.Name))
	}
	// Without SO_REUSEADDR: a client that has the port would lose its answers.
	conn, err := net.ListenUDP("udp6", &net.UDPAddr{IP: ll.AsSlice(), Port: dhcpv6.DefaultClientPort, Zone: ifi.Name})
	if errors.Is(err, unix.EADDRINUSE) {
		return cli.Exit(cli.Running, fmt.Errorf("probe: a DHCPv6 client runs on %s, and a second one would get in its way: see sofu-proto status, or end it first", ifi.Name))
	}
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })()

	m := p.solicit(ifi.HardwareAddr)
	to := &net.UDPAddr{IP: net.ParseIP("ff02::1:2"), Port: dhcpv6.DefaultServerPort, Zone: ifi.Name}
	message := m.ToBytes()
	servers, err := x.ask(ctx, p.wait, question{
		message: message, to: to.String(), id: m.TransactionID[:], at: 1, describe: dissect.DHCPv6,
		send: func() error {
			_, err := conn.WriteToUDP(message, to)
			return err
		},
		read: func(b []byte, deadline time.Time) (int, string, error) {
			conn.SetReadDeadline(deadline)
			n, from, err := conn.ReadFromUDP(b)
			return n, from.String(), err
		},
	})
	if err != nil {
		return err
	}
	return x.conclude(servers, "no DHCPv6 server answers on "+ifi.Name)
}

// solicit is the message that asks.
func (p *prober) solicit(mac net.HardwareAddr) *dhcpv6.Message {
	m := &dhcpv6.Message{MessageType: dhcpv6.MessageTypeSolicit}
	crand.Read(m.TransactionID[:])
	if p.information {
		m.MessageType = dhcpv6.MessageTypeInformationRequest
	}
	generic := func(code dhcpv6.OptionCode, data []byte) {
		m.AddOption(&dhcpv6.OptionGeneric{OptionCode: code, OptionData: data})
	}
	duid := p.common.ClientID
	if duid == nil {
		duid = append([]byte{0, 3, 0, 1}, mac...)
	}
	generic(dhcpv6.OptionClientID, duid)
	if !p.information {
		iaid := p.common.IAID
		generic(dhcpv6.OptionIAPD, []byte{byte(iaid >> 24), byte(iaid >> 16), byte(iaid >> 8), byte(iaid), 11: 0})
	}
	m.AddOption(dhcpv6.OptRequestedOption(ntt.RequestedOptions()...))
	generic(dhcpv6.OptionElapsedTime, []byte{0, 0})
	if p.class {
		m.AddOption(ntt.VendorClass(mac))
	}
	return m
}

func probeDHCP4(ctx context.Context, x *exchange, p *prober) error {
	ifi, err := p.wan()
	if err != nil {
		return err
	}
	conn, err := dhcp4.Listen(ifi)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })()
	class, err := ntt.VendorClassDHCPv4(ifi.HardwareAddr)
	if err != nil {
		return err
	}
	m, err := dhcpv4.New(
		dhcpv4.WithHwAddr(ifi.HardwareAddr), dhcpv4.WithMessageType(dhcpv4.MessageTypeDiscover), dhcpv4.WithBroadcast(true),
		dhcpv4.WithRequestedOptions(dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionSIPServers,
			dhcpv4.OptionClasslessStaticRoute, dhcpv4.OptionVendorIdentifyingVendorSpecific),
		dhcpv4.WithGeneric(dhcpv4.OptionVendorIdentifyingVendorClass, class),
	)
	if err != nil {
		return fmt.Errorf("probe: a Discover: %w", err)
	}
	message := m.ToBytes()
	servers, err := x.ask(ctx, p.wait, question{
		message: message, to: "255.255.255.255:67", id: m.TransactionID[:], at: 4, describe: dissect.DHCPv4,
		send: func() error { return conn.Broadcast(message) },
		read: func(b []byte, deadline time.Time) (int, string, error) {
			conn.SetReadDeadline(deadline)
			n, from, err := conn.Read(b)
			return n, from.String(), err
		},
	})
	if err != nil {
		return err
	}
	return x.conclude(servers, "no DHCPv4 server answers on "+ifi.Name+", as on a line without Hikari Denwa")
}

// probeRADIUS asks as the daemon does, by its client.
func probeRADIUS(ctx context.Context, x *exchange, p *prober) error {
	ifi, err := p.wan()
	if err != nil {
		return err
	}
	request := softbank.Request{WANMAC: ifi.HardwareAddr}
	s, err := readStatus(ctx, control.Path(p.run, p.iface))
	switch {
	case err != nil:
		return fmt.Errorf("probe: the question is asked from an address of the line's prefix, which a running line has: %w", err)
	case s.Prefix != nil:
		request.Prefix = s.Prefix.Prefix
	default:
		for _, a := range s.WAN.Addresses {
			if a.Address.Bits() == 64 {
				request.Prefix = a.Address.Masked()
			}
		}
	}
	if !request.Prefix.IsValid() {
		return cli.Exit(cli.NotUp, errors.New("probe: the line has no prefix yet, and RADIUS is asked from an address in it: see sofu-proto status"))
	}
	request.TerminalMAC = p.terminalMAC()
	var seed [32]byte
	crand.Read(seed[:])
	client := softbank.NewClient(softbank.ClientConfig{
		Options: p.options, Within: p.wait, Rand: rand.New(rand.NewChaCha8(seed)), Counters: &counters.Set{}, Log: slog.New(slog.DiscardHandler),
		Dial: func(ctx context.Context, local netip.Addr, server netip.AddrPort) (net.Conn, error) {
			conn, err := softbank.Dial(ctx, local, server)
			if err != nil {
				return nil, err
			}
			return &shown{Conn: conn, x: x}, nil
		},
	})
	grant, err := client.Ask(ctx, request)
	var rejected *softbank.RejectError
	var secret *softbank.BadAuthenticatorError
	var silent *softbank.SilentError
	switch {
	case err == nil:
		x.verdict(fmt.Sprintf("accepted: IPv4 %s, BR %s", grant.IPv4, grant.BR))
		return nil
	case errors.As(err, &rejected):
		x.verdict("rejected: " + err.Error())
	case errors.As(err, &secret):
		x.verdict("wrong shared secret: " + err.Error())
	case errors.As(err, &silent) && x.received > 0:
		x.verdict("no usable answer: " + err.Error())
	case errors.As(err, &silent):
		x.verdict("silence: " + err.Error())
	default:
		return err
	}
	return cli.Exit(cli.NotUp, nil)
}

// terminalMAC is what DHCPv6 told of it, as the daemon kept it; nil if it did not.
func (p *prober) terminalMAC() net.HardwareAddr {
	saved, err := dhcp6.ReadSaved(filepath.Join(p.state, p.iface+".lease"))
	if err != nil || saved.Info == nil {
		return nil
	}
	for _, v := range saved.Info.Vendor {
		if v.Enterprise == ntt.Enterprise {
			suboptions, _ := ntt.ParseDHCPv6(v.Data)
			told, _ := ntt.Interpret(suboptions)
			return told.MAC
		}
	}
	return nil
}

// shown is a socket whose packets are shown.
type shown struct {
	net.Conn
	x *exchange
}

func (c *shown) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if err == nil {
		c.x.show("sent", c.RemoteAddr().String(), dissect.RADIUS(b, vendor), "")
	}
	return n, err
}

func (c *shown) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == nil {
		c.x.show("received", c.RemoteAddr().String(), dissect.RADIUS(b[:n], vendor), "")
	}
	return n, err
}
