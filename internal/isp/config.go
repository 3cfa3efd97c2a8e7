package isp

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/iana"
)

// Kind is which line is simulated.
type Kind string

// The lines.
const (
	// Next is a 1 Gbit/s line with Hikari Denwa: the prefix by DHCPv6-PD.
	Next Kind = "next"
	// NextRA is a 1 Gbit/s line without Hikari Denwa: a /64 by RA.
	NextRA Kind = "next-ra"
	// Cross is a 10 Gbit/s line: the prefix by DHCPv6-PD.
	Cross Kind = "cross"
)

// Kinds lists them.
var kinds = []Kind{Next, NextRA, Cross}

// IID is an interface identifier, the low 64 bits of an address.
type IID [8]byte

// allOnes is 1111:1111:1111:1111, the interface identifier of the tunnel's far
// end on a NEXT line.
var allOnes = IID{0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11}

// ParseIID reads four groups of hexadecimal digits, for example 0:c0:2:1.
func ParseIID(s string) (IID, error) {
	a, err := netip.ParseAddr("::" + s)
	if err != nil || strings.Count(s, ":") != 3 || strings.Contains(s, "::") {
		return IID{}, fmt.Errorf("interface id %q: four groups of up to 4 hexadecimal digits are accepted", s)
	}
	b := a.As16()
	return IID(b[8:]), nil
}

// inPrefix is the address with this identifier in the first /64 of p.
func (i IID) inPrefix(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As16()
	copy(b[8:], i[:])
	return netip.AddrFrom16(b)
}

// Config is the line: what it hands out and how it behaves. Commands change some
// of it while the line runs.
type Config struct {
	Kind      Kind
	Device    string
	LinkLocal netip.Addr // of the carrier's router on Device
	Account   Account

	// What the line hands out. An IPv4 or address list that is empty is not
	// sent.
	Prefix   netip.Prefix // delegated, or a /64 on NextRA
	IPv4     netip.Addr   // the line's own
	BR       netip.Addr
	IID      *IID // of the tunnel's far end; nil: the rule of the Kind
	Phone    bool // Hikari Denwa: option 17 for those who ask rightly
	Terminal net.HardwareAddr
	Number   string
	Domain   string
	Host     string
	DNS      []netip.Addr
	Domains  []string
	SIP      []netip.Addr
	SNTP     []netip.Addr
	DNS4     []netip.Addr // by RADIUS
	NTP      netip.Addr   // by RADIUS

	// The telephone network, which is there with Phone, by DHCPv4.
	PhoneAddress netip.Prefix   // the router's; the line's end is the other host of the /30
	PhoneRoutes  []netip.Prefix // that lead there
	PhoneLease   time.Duration
	SIP4         []netip.Addr
	SecondNumber string // a further number, "" for none

	// RA (RFC 4861 6.2.1).
	RADelay    time.Duration // before the answer to a solicitation
	RAInterval time.Duration // MaxRtrAdvInterval, 0: only answers
	RALifetime time.Duration // of the default route, at most 9000 s by RFC 4861

	// DHCPv6.
	T1, T2           time.Duration
	Preferred, Valid time.Duration
	DHCPSourcePort   int // that answers come from, 0: 547
	Hold             bool
	RKAP             bool // hand out a reconfigure key (RFC 8415 20.4)

	// RADIUS.
	RADIUS               netip.AddrPort
	MessageAuthenticator bool

	// BR.
	NoBR    bool
	Echo    netip.Addr // an IPv4 host behind the BR
	Forward bool

	// Lenient: what is wrong is said, and answered all the same.
	Lenient bool

	// Recording is played instead of what is above, nil for none; see its Apply.
	Recording *Recording

	// What commands do.
	Reject       string          // Reply-Message of a rejection, "": nobody is rejected
	Refuse       iana.StatusCode // of every IA_PD, Success: prefixes are given
	SilentRA     bool
	SilentDHCP   bool
	SilentRADIUS bool
	SilentPhone  bool
	RefusePhone  bool // the telephone network has no address for anybody
}

// Default is a whole line of documentation addresses. The caller adds Device and
// Account.
func Default(kind Kind) Config {
	a := netip.MustParseAddr
	c := Config{
		Kind:      kind,
		LinkLocal: a("fe80::1"),
		Prefix:    netip.MustParsePrefix("2001:db8:1234:5600::/56"),
		IPv4:      a("192.0.2.1"),
		BR:        a("2001:db8:0:b::1919"),
		Phone:     kind != NextRA,
		// Unlike any client's address: a terminal that takes its own MAC for
		// the line's is found out.
		Terminal: net.HardwareAddr{0x00, 0x00, 0x5e, 0x00, 0x53, 0xf0},
		Number:   "0312345678",
		Domain:   "ims.example",
		Host:     "firmware.ims.example",
		DNS:      []netip.Addr{a("2001:db8:0:53::a"), a("2001:db8:0:53::b")},
		Domains:  []string{"flets.example", "iptvf.example"},
		SIP:      []netip.Addr{a("2001:db8:0:5060::4")},
		SNTP:     []netip.Addr{a("2001:db8:0:123::a"), a("2001:db8:0:123::b")},
		DNS4:     []netip.Addr{a("198.51.100.53"), a("198.51.100.54")},
		NTP:      a("2001:db8:0:123::c"),

		PhoneAddress: netip.MustParsePrefix("203.0.113.2/30"),
		PhoneRoutes:  []netip.Prefix{netip.MustParsePrefix("203.0.113.128/25")},
		PhoneLease:   14400 * time.Second,
		SIP4:         []netip.Addr{a("203.0.113.129")},
		SecondNumber: "0312345679",

		RAInterval: 10 * time.Minute,
		RALifetime: 30 * time.Minute,

		T1:        7200 * time.Second,
		T2:        10800 * time.Second,
		Preferred: 12600 * time.Second,
		Valid:     14400 * time.Second,
		RKAP:      true,

		RADIUS: netip.MustParseAddrPort("[2001:db8:0:1812::1]:1812"),
		Echo:   a("198.51.100.1"),
	}
	if kind == NextRA {
		c.Prefix = netip.MustParsePrefix("2001:db8:1234:5600::/64")
	}
	return c
}

// Check returns all that is wrong with c, nil if it can be served.
func (c *Config) Check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !slices.Contains(kinds, c.Kind) {
		bad("line %q: next, next-ra and cross are accepted", c.Kind)
	}
	if c.Device == "" {
		bad("no device named")
	}
	if !c.LinkLocal.Is6() || !c.LinkLocal.IsLinkLocalUnicast() {
		bad("link-local address %v: an address in fe80::/10 is accepted", c.LinkLocal)
	}
	if err := checkPrefix(c.Kind, c.Prefix); err != nil {
		errs = append(errs, err)
	}
	if err := check4("ipv4", c.IPv4); err != nil {
		errs = append(errs, err)
	}
	if err := check6("BR", c.BR); err != nil {
		errs = append(errs, err)
	}
	if err := check6("RADIUS server", c.RADIUS.Addr()); err != nil {
		errs = append(errs, err)
	}
	if c.RADIUS.Port() == 0 {
		bad("RADIUS server %v: no port", c.RADIUS)
	}
	if err := check4("echo host", c.Echo); err != nil {
		errs = append(errs, err)
	}
	if p := c.PhoneAddress; !p.Addr().Is4() || p.Bits() != 30 || !p.Masked().Contains(c.PhoneGateway()) || p.Addr() == p.Masked().Addr() {
		bad("telephone's address %v: one of the two hosts of an IPv4 /30 is accepted", p)
	}
	for _, p := range c.PhoneRoutes {
		if !p.Addr().Is4() || p != p.Masked() {
			bad("telephone's route %v: an IPv4 prefix with no bits set behind it is accepted", p)
		}
	}
	for _, a := range c.SIP4 {
		if err := check4("SIP server", a); err != nil {
			errs = append(errs, err)
		}
	}
	if c.PhoneLease < time.Second || c.PhoneLease > infinite {
		bad("telephone's lease of %v: 1 to 4294967295 s are accepted", c.PhoneLease)
	}
	if len(c.Terminal) != 6 {
		bad("terminal MAC %v: 6 bytes are accepted", c.Terminal)
	}
	for _, n := range []string{c.Number, c.SecondNumber} {
		if len(n) > 32 {
			bad("number %q: at most 32 digits are accepted", n)
		}
	}
	for _, name := range append([]string{c.Domain, c.Host}, c.Domains...) {
		if _, err := wireName(name); err != nil {
			errs = append(errs, err)
		}
	}
	if c.RALifetime < 0 || c.RALifetime > 65535*time.Second {
		bad("RA lifetime %v: 0 to 65535 s are accepted", c.RALifetime)
	}
	if c.RAInterval != 0 && c.RAInterval < time.Second || c.RADelay < 0 {
		bad("RA interval %v, delay %v: an interval of at least 1 s (or 0) and no negative delay are accepted", c.RAInterval, c.RADelay)
	}
	for _, d := range []time.Duration{c.T1, c.T2, c.Preferred, c.Valid} {
		if d < 0 || d > infinite {
			bad("DHCPv6 time %v: 0 to 4294967295 s are accepted", d)
		}
	}
	if c.Preferred > c.Valid {
		bad("preferred lifetime %v is longer than the valid lifetime %v", c.Preferred, c.Valid)
	}
	if c.T2 != 0 && c.T1 > c.T2 {
		bad("T1 %v is later than T2 %v", c.T1, c.T2)
	}
	if c.DHCPSourcePort < 0 || c.DHCPSourcePort > 65535 {
		bad("DHCPv6 source port %d: 1 to 65535 are accepted", c.DHCPSourcePort)
	}
	return errors.Join(errs...)
}

// PhoneGateway is the line's own address in the telephone network: the host beside
// PhoneAddress.
func (c *Config) PhoneGateway() netip.Addr {
	if !c.PhoneAddress.Addr().Is4() {
		return netip.Addr{}
	}
	b := c.PhoneAddress.Addr().As4()
	b[3] ^= 3
	return netip.AddrFrom4(b)
}

// infinite is the lifetime that never ends (RFC 8415 7.7), in wire seconds.
const infinite = 0xffffffff * time.Second

func checkPrefix(kind Kind, p netip.Prefix) error {
	low, high := 40, 64
	if kind == NextRA {
		low = 64
	}
	if !p.IsValid() || !p.Addr().Is6() || p.Addr().Is4In6() || p != p.Masked() || p.Bits() < low || p.Bits() > high {
		return fmt.Errorf("prefix %v: an IPv6 prefix of length %d to %d with no bits set behind it is accepted", p, low, high)
	}
	return nil
}

func check4(what string, a netip.Addr) error {
	if !a.Is4() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() {
		return fmt.Errorf("%s %v: an IPv4 unicast address is accepted", what, a)
	}
	return nil
}

func check6(what string, a netip.Addr) error {
	if !a.Is6() || a.Is4In6() || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a.IsLinkLocalUnicast() {
		return fmt.Errorf("%s %v: a global IPv6 unicast address is accepted", what, a)
	}
	return nil
}

// farEnd is the CE's tunnel address for a subscriber of prefix who is granted
// ipv4.
func (c *Config) farEnd(prefix netip.Prefix, ipv4 netip.Addr) netip.Addr {
	switch {
	case c.IID != nil:
		return c.IID.inPrefix(prefix)
	case c.Kind == Cross:
		v4 := ipv4.As4()
		return IID{0, v4[0], v4[1], v4[2], v4[3]}.inPrefix(prefix)
	default:
		return allOnes.inPrefix(prefix)
	}
}

// settings is the one Config that all parts read and commands change.
type settings struct {
	mu sync.Mutex
	c  Config
}

// get returns the present Config; its slices are never changed in place.
func (s *settings) get() Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.c
}

// change applies f if the outcome is a Config that can be served.
func (s *settings) change(f func(*Config)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.c
	f(&c)
	if err := c.Check(); err != nil {
		return err
	}
	s.c = c
	return nil
}

// Account is what the RADIUS server knows of its one subscriber. It holds
// secrets and is never printed.
type Account struct {
	sharedSecret []byte
	password     []byte
	userName     string // "": the form of the line
	vsa          [3]string
	mac          string // VSA 1 verbatim, "": see radius_check.go
	packed       bool   // one Vendor-Specific attribute for all sub-attributes
	chapIdent    byte
}

// accountFile is Account in JSON. Pointers tell what is left to the line's own
// default.
type accountFile struct {
	SharedSecret string  `json:"shared_secret"`
	Password     string  `json:"password"`
	UserName     string  `json:"username,omitempty"`
	Manufacturer *string `json:"manufacturer,omitempty"`
	Model        *string `json:"model,omitempty"`
	HWRev        *string `json:"hwrev,omitempty"`
	MAC          string  `json:"mac,omitempty"`
	VSAPacking   *string `json:"vsa_packing,omitempty"`
	CHAPIdent    *uint8  `json:"chap_ident,omitempty"`
}

// maxAccountFile bounds the file in bytes.
const maxAccountFile = 64 << 10

// ReadAccount reads the subscriber's account from a JSON file that only its
// owner may read. Errors name the file and the key, never a value.
func ReadAccount(path string, kind Kind) (Account, error) {
	fail := func(format string, args ...any) (Account, error) {
		return Account{}, fmt.Errorf("%s: %w", path, fmt.Errorf(format, args...))
	}
	f, err := os.Open(path)
	if err != nil {
		return Account{}, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return Account{}, err
	}
	if !fi.Mode().IsRegular() || fi.Mode().Perm()&0o077 != 0 {
		return fail("mode %v: it holds secrets, a file of mode 0600 is accepted", fi.Mode())
	}
	dec := json.NewDecoder(io.LimitReader(f, maxAccountFile))
	dec.DisallowUnknownFields()
	var in accountFile
	if err := dec.Decode(&in); err != nil {
		// The decoder's own text may quote the value it choked on.
		if te, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return fail("key %q: a JSON %s is not accepted here", te.Field, strings.Fields(te.Value)[0])
		}
		if key, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
			return fail("unknown key %s", key)
		}
		return fail("no JSON object (see `sofu-isp sample`)")
	}
	a := Account{
		sharedSecret: []byte(in.SharedSecret),
		password:     []byte(in.Password),
		userName:     in.UserName,
		mac:          in.MAC,
		packed:       kind == Cross,
	}
	if kind == Cross {
		a.vsa = [3]string{"NTT-AT", "BAPP", "hw_rev_1.00"}
	} else {
		a.vsa = [3]string{"foxconn", "e-wmta2.3,V5.0.0.1.rc35", "hw_rev_2.00"}
		a.chapIdent = 1
	}
	if len(a.sharedSecret) == 0 {
		return fail("key \"shared_secret\" is missing")
	}
	if len(a.password) == 0 {
		return fail("key \"password\" is missing")
	}
	for i, v := range []*string{in.Manufacturer, in.Model, in.HWRev} {
		if v != nil {
			a.vsa[i] = *v
		}
	}
	if in.CHAPIdent != nil {
		a.chapIdent = *in.CHAPIdent
	}
	if in.VSAPacking != nil {
		switch *in.VSAPacking {
		case "separate":
			a.packed = false
		case "single":
			a.packed = true
		default:
			return fail("key \"vsa_packing\": separate and single are accepted")
		}
	}
	return a, nil
}

// wireName is name in labels (RFC 1035 3.1).
func wireName(name string) ([]byte, error) {
	var b []byte
	for label := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
		if len(label) == 0 || len(label) > 63 {
			return nil, fmt.Errorf("name %q: labels of 1 to 63 bytes are accepted", name)
		}
		b = append(b, byte(len(label)))
		b = append(b, label...)
	}
	if len(b) > 254 {
		return nil, fmt.Errorf("name %q is longer than 253 bytes", name)
	}
	return append(b, 0), nil
}
