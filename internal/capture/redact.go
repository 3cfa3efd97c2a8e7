package capture

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// Field says what a value of a vendor's own is, and so what Redactor makes of it.
type Field byte

// The fields. Whatever is not known is Hidden.
const (
	Hidden Field = iota // becomes zeros
	Plain               // stays: it is the same for everybody
	Text                // stays, but for the addresses and numbers in it
	MAC                 // 6 bytes
	Digits              // a telephone number
	Addr                // one or more addresses of 4 or of 16 bytes, or one in text form
)

// Vendors are the enterprises' own values by their codes, of RADIUS and DHCP.
type Vendors map[uint32]map[uint16]Field

// Redactor takes out of frames what tells whose line it is: the same address, number or
// identifier becomes the same other one each time, of the documentation's ranges where
// there are such, and secrets and what is not known become zeros. Lengths, order and
// form stay. It is for one goroutine and one capture; its memory grows with the number
// of different addresses.
type Redactor struct {
	vendors Vendors
	macs    map[[6]byte][6]byte
	seen    map[string]int // by what it is and its value: which one of its sort
	counts  map[string]int // by what it is: how many
}

// NewRedactor returns a Redactor that knows vendors' values.
func NewRedactor(vendors Vendors) *Redactor {
	return &Redactor{vendors: vendors, macs: map[[6]byte][6]byte{}, seen: map[string]int{}, counts: map[string]int{}}
}

// Frame returns f without what tells whose line it is. f stays as it is.
func (r *Redactor) Frame(f Frame) Frame {
	f.Payload = bytes.Clone(f.Payload)
	f.SrcMAC, f.DstMAC = bytes.Clone(f.SrcMAC), bytes.Clone(f.DstMAC)
	r.mac(f.SrcMAC)
	r.mac(f.DstMAC)
	src, dst := f.Src.AsSlice(), f.Dst.AsSlice()
	r.addrs(src)
	r.addrs(dst)
	f.Src, _ = netip.AddrFromSlice(src)
	switch f.Kind {
	case DHCPv6:
		r.transaction(f.Payload[1:headerDHCPv6])
		r.dhcpv6(f.Payload[headerDHCPv6:])
	case DHCPv4:
		r.dhcpv4(f.Payload)
	case RADIUS:
		r.radius(f.Payload)
	default:
		r.neighbour(&f)
	}
	if bytes.HasPrefix(dst, solicitedNode) { // which is made of the address that is looked for
		clear(dst[13:])
		if f.Kind == NeighbourSolicitation {
			copy(dst[13:], f.Payload[8+13:])
		}
	}
	f.Dst, _ = netip.AddrFromSlice(dst)
	if f.Dst.Is6() && f.Dst.IsMulticast() { // RFC 2464 7
		f.DstMAC = append(net.HardwareAddr{0x33, 0x33}, dst[12:]...)
	}
	f.Time = f.Time.UTC()
	return f
}

// solicitedNode is the beginning of such an address (RFC 4291 2.7.1).
var solicitedNode = netip.MustParsePrefix("ff02::1:ff00:0/104").Addr().AsSlice()[:13]

// number tells which one of its sort a value is, from 1.
func (r *Redactor) number(sort string, value []byte) int {
	key := sort + " " + string(value)
	if r.seen[key] == 0 {
		r.counts[sort]++
		r.seen[key] = r.counts[sort]
	}
	return r.seen[key]
}

// mac replaces a station's address.
func (r *Redactor) mac(b []byte) {
	if len(b) != 6 || b[0]&1 != 0 || bytes.Equal(b, make([]byte, 6)) {
		return
	}
	was := [6]byte(b)
	now, ok := r.macs[was]
	if !ok {
		n := len(r.macs) + 1
		now = [6]byte{0, 0, 0x5e, 0, 0x53, byte(n)} // for documentation (RFC 9542 2.1.2)
		if n > 255 {
			now = [6]byte{2, 0, 0x5e, byte(n >> 16), byte(n >> 8), byte(n)}
		}
		r.macs[was] = now
	}
	copy(b, now[:])
}

// addrs replaces a list of addresses in network order; a rest that is none becomes
// zeros.
func (r *Redactor) addrs(b []byte) {
	switch {
	case len(b)%16 == 0:
		for ; len(b) > 0; b = b[16:] {
			r.addr6(b[:16])
		}
	case len(b)%4 == 0:
		for ; len(b) > 0; b = b[4:] {
			r.addr4(b[:4])
		}
	default:
		clear(b)
	}
}

// addr4 replaces an address, unless it is nobody's.
func (r *Redactor) addr4(b []byte) {
	a := netip.AddrFrom4([4]byte(b))
	if b[0] == 0 || b[0] >= 224 || a.IsLoopback() {
		return
	}
	n := r.number("IPv4 address", b) - 1
	nets := [][2]byte{{192, 2}, {198, 100}, {203, 113}} // RFC 5737
	third := map[byte]byte{192: 0, 198: 51, 203: 0}
	if i := n / 254; i < len(nets) {
		copy(b, []byte{nets[i][0], third[nets[i][0]], nets[i][1], byte(n%254 + 1)})
		return
	}
	copy(b, []byte{198, 18, byte(n >> 8), byte(n)}) // RFC 2544
}

// addr6 replaces an address, unless it is nobody's. Addresses of one /48, /56 or /64
// stay such.
func (r *Redactor) addr6(b []byte) {
	a := netip.AddrFrom16([16]byte(b))
	switch {
	case a.IsUnspecified(), a.IsLoopback(), a.IsMulticast():
		return
	case a.IsLinkLocalUnicast():
		r.iid(b[8:])
		return
	}
	was := bytes.Clone(b)
	copy(b, []byte{0x20, 0x01, 0x0d, 0xb8}) // for documentation (RFC 3849)
	binary.BigEndian.PutUint16(b[4:], uint16(r.number("IPv6 /48", was[:6])))
	for i := 6; i < 8; i++ { // 0 stays: a prefix's bits behind its length are
		if was[i] != 0 {
			b[i] = byte(r.number("in IPv6 prefix "+hex.EncodeToString(was[:i]), was[i:i+1]))
		}
	}
	r.iid(b[8:])
}

// prefix6 replaces a prefix, whose bits behind its length are zero then.
func (r *Redactor) prefix6(b []byte, bits int) {
	p, err := netip.AddrFrom16([16]byte(b)).Prefix(min(bits, 128))
	if err != nil { // of no zone, and of 0 to 128 bits
		return
	}
	copy(b, p.Addr().AsSlice())
	r.addr6(b)
	p, _ = netip.AddrFrom16([16]byte(b)).Prefix(p.Bits())
	copy(b, p.Addr().AsSlice())
}

// iid replaces an interface identifier, unless it is a number given by hand. Of those
// that are made of an address the address is replaced.
func (r *Redactor) iid(b []byte) {
	switch {
	case bytes.Equal(b[:6], make([]byte, 6)), bytes.Equal(b, bytes.Repeat(b[:1], 8)):
	case b[3] == 0xff && b[4] == 0xfe: // of a MAC address (RFC 4291 A)
		mac := append(bytes.Clone(b[:3]), b[5:]...)
		mac[0] ^= 2
		r.mac(mac)
		mac[0] ^= 2
		copy(b, mac[:3])
		copy(b[5:], mac[3:])
	case b[0] == 0 && bytes.Equal(b[5:], []byte{0, 0, 0}): // of an IPv4 address, as tunnels have them
		r.addr4(b[1:5])
	default:
		n := r.number("interface identifier", b)
		copy(b, []byte{0x0a, 0xbc, 0, 0, 0, 0, byte(n >> 8), byte(n)})
	}
}

// blob replaces an identifier of no known form.
func (r *Redactor) blob(b []byte) {
	if len(b) == 0 {
		return
	}
	n := r.number("identifier", b)
	clear(b)
	b[len(b)-1] = byte(n)
	if len(b) > 1 {
		b[len(b)-2] = byte(n >> 8)
	}
}

// transaction replaces a transaction identifier, which some clients make of their MAC
// address. Zero is none.
func (r *Redactor) transaction(b []byte) {
	if !bytes.Equal(b, make([]byte, len(b))) {
		r.blob(b)
	}
}

// duid replaces a DHCP unique identifier (RFC 8415 11).
func (r *Redactor) duid(b []byte) {
	if len(b) < 2 {
		clear(b)
		return
	}
	ethernet := len(b) > 4 && binary.BigEndian.Uint16(b[2:]) == 1
	switch typ := binary.BigEndian.Uint16(b); {
	case typ == 1 && ethernet && len(b) == 14: // MAC and time
		clear(b[4:8])
		r.mac(b[8:])
	case typ == 3 && ethernet && len(b) == 10: // MAC
		r.mac(b[4:])
	default:
		r.blob(b[2:])
	}
}

// iaid replaces the number of an identity association, which some clients make of their
// MAC address, others by counting.
func (r *Redactor) iaid(b []byte) {
	if b[0] == 0 && b[1] == 0 {
		return
	}
	for was, now := range r.macs {
		if bytes.Equal(was[2:], b) {
			copy(b, now[2:])
			return
		}
	}
	r.blob(b)
}

// digits replaces a number, whose first zero stays.
func (r *Redactor) digits(b []byte) {
	n := r.number("number", b)
	for i := len(b) - 1; i >= 0; i-- {
		if i == 0 && b[0] == '0' {
			break
		}
		b[i] = byte('0' + n%10)
		n /= 10
	}
}

// field replaces a vendor's value.
func (r *Redactor) field(kind Field, b []byte) {
	switch {
	case kind == Plain:
	case kind == Text:
		r.text(b, false)
	case kind == MAC && len(b) == 6:
		r.mac(b)
	case kind == Digits && !bytes.ContainsFunc(b, func(c rune) bool { return c < '0' || c > '9' }):
		r.digits(b)
	case kind == Addr && isText(b):
		r.text(b, true)
	case kind == Addr:
		r.addrs(b)
	default:
		clear(b)
	}
}

// isText tells an address in text form from one in network order.
func isText(b []byte) bool {
	_, err := netip.ParseAddr(strings.Trim(string(b), "\x00 "))
	return err == nil
}

// text replaces the addresses and numbers in b, by others of the same length. With all
// set, what is neither becomes x.
func (r *Redactor) text(b []byte, all bool) {
	part := func(c byte) bool {
		return c == ':' || c == '.' || c == '-' || '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
	}
	for i := 0; i < len(b); i++ {
		j := i
		for j < len(b) && part(b[j]) {
			j++
		}
		// A full stop or a colon behind an address is none of it, a double colon is.
		w := bytes.TrimLeft(bytes.TrimRight(b[i:j], ".-"), ".-")
		if bytes.HasSuffix(w, []byte(":")) && !bytes.HasSuffix(w, []byte("::")) {
			w = w[:len(w)-1]
		}
		if len(w) > 0 && !r.word(w) && (all || suspicious(w)) {
			for k, c := range w {
				if c != ':' && c != '.' && c != '-' {
					w[k] = 'x'
				}
			}
		}
		i = max(i, j)
		if all && i < len(b) && b[i] >= 0x80 {
			b[i] = 'x'
		}
	}
}

// suspicious tells what may hold an address in a form that word does not know.
func suspicious(w []byte) bool {
	hexes := 0
	for _, c := range w {
		if '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f' {
			hexes++
		}
	}
	return bytes.Count(w, []byte(":")) > 0 || bytes.Count(w, []byte(".")) > 1 || hexes >= 12
}

// word replaces an address or a number, and tells whether it was one.
func (r *Redactor) word(w []byte) bool {
	s := string(w)
	upper := strings.ToLower(s) != s
	put := func(text string) bool {
		if upper {
			text = strings.ToUpper(text)
		}
		if len(text) > len(w) {
			text = strings.Repeat("x", len(w))
		}
		for i := range w {
			w[i] = ' '
		}
		copy(w, text)
		return true
	}
	if plain := strings.NewReplacer(":", "", "-", "").Replace(s); len(plain) == 12 && (len(s) == 12 || len(s) == 17) {
		if mac, err := hex.DecodeString(plain); err == nil && mac[0]&1 == 0 { // else it may be a number
			r.mac(mac)
			text := hex.EncodeToString(mac)
			if len(s) == 17 {
				text = strings.ReplaceAll(net.HardwareAddr(mac).String(), ":", s[2:3])
			}
			return put(text)
		}
	}
	// Four groups are a prefix.
	half := len(s) == 19 && strings.Count(s, ":") == 3 && !strings.Contains(s, "::")
	if half {
		s += "::"
	}
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		b := a.AsSlice()
		r.addrs(b)
		a, _ = netip.AddrFromSlice(b)
		switch {
		case half:
			return put(a.StringExpanded()[:19])
		case len(s) == 39:
			return put(a.StringExpanded())
		}
		return put(a.String())
	}
	// Numbers of five digits and more, wherever they stand.
	found := false
	for i := 0; i < len(w); i++ {
		j := i
		for j < len(w) && '0' <= w[j] && w[j] <= '9' {
			j++
		}
		if j-i >= 5 {
			r.digits(w[i:j])
			found = i == 0 && j == len(w)
		}
		i = max(i, j)
	}
	return found
}

// neighbour redacts neighbour discovery.
func (r *Redactor) neighbour(f *Frame) {
	if f.Kind == NeighbourSolicitation || f.Kind == NeighbourAdvertisement {
		r.addr6(f.Payload[8:24])
	}
	for _, o := range f.options() {
		switch b := o.Data; {
		case (o.Code == 1 || o.Code == 2) && len(b) == 6: // link-layer address
			r.mac(b)
		case o.Code == 3 && len(b) == 30: // prefix
			r.prefix6(b[14:], int(b[0]))
		case o.Code == 24 && len(b) >= 6 && len(b) <= 22: // route
			var a [16]byte
			copy(a[:], b[6:])
			r.prefix6(a[:], int(b[0]))
			copy(b[6:], a[:])
		case o.Code == 25 && len(b) >= 6: // DNS servers
			r.addrs(b[6:])
		case o.Code == 5, o.Code == 31: // MTU, domains
		default:
			clear(b)
		}
	}
}

// dhcpv6 redacts the options of a DHCPv6 message, or of one of its options.
func (r *Redactor) dhcpv6(b []byte) {
	list, err := DHCPv6Options(b)
	if err != nil { // then nobody knows what is in the rest
		n := 0
		for _, o := range list {
			n += 4 + len(o.Data)
		}
		clear(b[n:])
	}
	for _, o := range list {
		r.option6(o.Code, o.Data)
	}
}

func (r *Redactor) option6(code uint16, b []byte) {
	switch {
	case code == 1 || code == 2: // client, server
		r.duid(b)
	case (code == 3 || code == 25) && len(b) >= 12: // IA_NA, IA_PD
		r.iaid(b[:4])
		r.dhcpv6(b[12:])
	case code == 4 && len(b) >= 4: // IA_TA
		r.iaid(b[:4])
		r.dhcpv6(b[4:])
	case code == 5 && len(b) >= 24: // address
		r.addr6(b[:16])
		r.dhcpv6(b[24:])
	case code == 26 && len(b) >= 25: // prefix
		r.prefix6(b[9:25], int(b[8]))
		r.dhcpv6(b[25:])
	case code == 11 && len(b) >= 11: // authentication: what follows its head is secret
		if b[0] == 3 && len(b) > 11 { // but which of two forms it has (RFC 8415 20.4.1)
			clear(b[12:])
		} else {
			clear(b[11:])
		}
	case code == 13 && len(b) >= 2: // status
		r.text(b[2:], false)
	case code == 12, code == 22, code == 23, code == 27, code == 31: // addresses of servers
		r.addrs(b)
	case code == 16 && len(b) >= 4: // vendor class
		r.vendorClass(b[4:], 2)
	case code == 17 && len(b) >= 4: // vendor's information
		list, err := DHCPv6Options(b[4:])
		r.vendor(binary.BigEndian.Uint32(b), b[4:], list, err)
	case slices.Contains(plain6, code):
	default:
		clear(b)
	}
}

// plain6 are options of DHCPv6 that tell nothing of anybody: requested options,
// preference, elapsed time, rapid commit, Reconfigure, domains of servers, and times.
var plain6 = []uint16{6, 7, 8, 14, 19, 20, 21, 24, 32, 82, 83}

// vendorClass redacts the values of a vendor class, each with its length in size bytes.
func (r *Redactor) vendorClass(b []byte, size int) {
	for len(b) >= size {
		n := int(b[size-1])
		if size == 2 {
			n |= int(b[0]) << 8
		}
		if n > len(b)-size {
			break
		}
		r.field(MAC, b[size:size+n]) // or, when it is none, zeros
		b = b[size+n:]
	}
	clear(b)
}

// vendor redacts the values of a vendor in b, which list reads up to err.
func (r *Redactor) vendor(enterprise uint32, b []byte, list []Option, err error) {
	if err != nil || r.vendors[enterprise] == nil {
		clear(b)
		return
	}
	for _, o := range list {
		r.field(r.vendors[enterprise][o.Code], o.Data)
	}
}

// dhcpv4 redacts a DHCPv4 message.
func (r *Redactor) dhcpv4(b []byte) {
	r.transaction(b[4:8])
	for i := 12; i < 28; i += 4 { // ciaddr, yiaddr, siaddr, giaddr
		r.addr4(b[i : i+4])
	}
	if b[1] == 1 && b[2] == 6 { // Ethernet
		r.mac(b[28:34])
		clear(b[34:44])
	} else {
		clear(b[28:44])
	}
	clear(b[44 : headerDHCPv4-4]) // names of server and file
	list, _ := DHCPv4Options(b[headerDHCPv4:])
	for _, o := range list {
		r.option4(o.Code, o.Data)
	}
	// What is behind the end option.
	at := headerDHCPv4
	for at+1 < len(b) && b[at] != 255 {
		if b[at] != 0 {
			at += 1 + int(b[at+1])
		}
		at++
	}
	clear(b[min(len(b), at+1):])
}

func (r *Redactor) option4(code uint16, b []byte) {
	switch {
	case slices.Contains(addrs4, code) && len(b)%4 == 0:
		for ; len(b) > 0; b = b[4:] {
			r.addr4(b[:4])
		}
	case code == 61 && len(b) == 7 && b[0] == 1: // client identifier: MAC
		r.mac(b[1:])
	case code == 61 && len(b) > 5 && b[0] == 255: // RFC 4361
		r.iaid(b[1:5])
		r.duid(b[5:])
	case code == 61:
		r.blob(b)
	case code == 120 && len(b) > 0 && b[0] == 1 && len(b)%4 == 1: // SIP servers
		for b = b[1:]; len(b) > 0; b = b[4:] {
			r.addr4(b[:4])
		}
	case code == 121:
		r.routes4(b)
	case code == 124 && len(b) >= 5: // vendor class, with a length of all first
		r.vendorClass(b[5:], 1)
	case code == 125 && len(b) >= 5 && int(b[4]) == len(b)-5:
		list, err := suboptions(b[5:])
		r.vendor(binary.BigEndian.Uint32(b), b[5:], list, err)
	case slices.Contains(plain4, code):
	default:
		clear(b)
	}
}

// addrs4 are options of DHCPv4 that hold addresses: routers, DNS, NTP, the requested
// one, the server. plain4 tell nothing of anybody: mask, domain, MTU, times, types.
var (
	addrs4 = []uint16{3, 6, 42, 50, 54}
	plain4 = []uint16{1, 15, 26, 51, 53, 55, 57, 58, 59, 116}
)

// routes4 redacts classless routes (RFC 3442): for each the bits of its destination, as
// many octets of that as they take, and a router.
func (r *Redactor) routes4(b []byte) {
	for len(b) > 0 && b[0] <= 32 {
		n := (int(b[0]) + 7) / 8
		if len(b) < 1+n+4 {
			break
		}
		var a [4]byte
		copy(a[:], b[1:1+n])
		r.addr4(a[:])
		copy(b[1:1+n], a[:])
		r.addr4(b[1+n : 1+n+4])
		b = b[1+n+4:]
	}
	clear(b)
}

// radius redacts a RADIUS packet.
func (r *Redactor) radius(b []byte) {
	clear(b[4:headerRADIUS]) // the authenticator: it is made with the secret
	list, _ := Attributes(b[headerRADIUS:])
	for _, o := range list {
		switch b := o.Data; {
		case o.Code == 1: // User-Name
			r.text(b, true)
		case o.Code == 3 && len(b) > 0: // CHAP-Password, behind its identifier
			clear(b[1:])
		case o.Code == 18, o.Code == 30, o.Code == 31: // Reply-Message and the stations' names
			r.text(b, false)
		case o.Code == 4, o.Code == 8, o.Code == 95: // addresses
			r.addrs(b)
		case o.Code == 26 && len(b) >= 4:
			list, err := Attributes(b[4:])
			r.vendor(binary.BigEndian.Uint32(b), b[4:], list, err)
		case slices.Contains(plainRADIUS, o.Code):
		default:
			clear(b)
		}
	}
}

// plainRADIUS are attributes that tell nothing of anybody: ports, types, times.
var plainRADIUS = []uint16{5, 6, 7, 12, 27, 28, 61, 85}

// Redacted is what a redacted capture says of itself.
const Redacted = "redacted: addresses, numbers and names are replaced, each by the same one throughout; secrets and what is not known are zeros"
