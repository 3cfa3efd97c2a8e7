package isp

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// phoneMessage is what a telephone sends.
func phoneMessage(t *testing.T, kind dhcpv4.MessageType, edit ...dhcpv4.Modifier) []byte {
	t.Helper()
	class := append([]byte{0, 0, 0, 210, 7, 6}, clientMAC...)
	m, err := dhcpv4.New(append([]dhcpv4.Modifier{
		dhcpv4.WithHwAddr(clientMAC), dhcpv4.WithMessageType(kind), dhcpv4.WithGeneric(dhcpv4.OptionVendorIdentifyingVendorClass, class),
		dhcpv4.WithRequestedOptions(dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionSIPServers,
			dhcpv4.OptionClasslessStaticRoute, dhcpv4.OptionVendorIdentifyingVendorSpecific),
	}, edit...)...)
	if err != nil {
		t.Fatal(err)
	}
	return m.ToBytes()
}

func TestPhoneServer(t *testing.T) {
	asked := func(ip string) dhcpv4.Modifier {
		return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.ParseIP(ip)))
	}
	of := func(ip string) dhcpv4.Modifier {
		return dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.ParseIP(ip)))
	}
	has := func(ip string) dhcpv4.Modifier {
		return func(m *dhcpv4.DHCPv4) { m.ClientIPAddr = net.ParseIP(ip).To4() }
	}
	for _, test := range []struct {
		name   string
		packet []byte
		edit   func(*Config)
		want   string // the answer and where to, "" for none
		wrong  string
	}{
		{"discover", phoneMessage(t, dhcpv4.MessageTypeDiscover), nil, "OFFER 203.0.113.2 to 255.255.255.255:68", ""},
		{"request", phoneMessage(t, dhcpv4.MessageTypeRequest, asked("203.0.113.2"), of("203.0.113.1")), nil, "ACK 203.0.113.2 to 255.255.255.255:68", ""},
		{"after a restart", phoneMessage(t, dhcpv4.MessageTypeRequest, asked("203.0.113.2")), nil, "ACK 203.0.113.2 to 255.255.255.255:68", ""},
		{"renew", phoneMessage(t, dhcpv4.MessageTypeRequest, has("203.0.113.2")), nil, "ACK 203.0.113.2 to 203.0.113.2:68", ""},
		{"another's address", phoneMessage(t, dhcpv4.MessageTypeRequest, has("203.0.113.6")), nil, "NAK 0.0.0.0 to 255.255.255.255:68", ""},
		{"no address", phoneMessage(t, dhcpv4.MessageTypeRequest), nil, "NAK 0.0.0.0 to 255.255.255.255:68", ""},
		{"another server's", phoneMessage(t, dhcpv4.MessageTypeRequest, asked("203.0.113.2"), of("203.0.113.9")), nil, "", ""},
		{"refused", phoneMessage(t, dhcpv4.MessageTypeDiscover), func(c *Config) { c.RefusePhone = true }, "", ""},
		{"renewal refused", phoneMessage(t, dhcpv4.MessageTypeRequest, has("203.0.113.2")), func(c *Config) { c.RefusePhone = true }, "NAK 0.0.0.0 to 255.255.255.255:68", ""},
		{"silent", phoneMessage(t, dhcpv4.MessageTypeDiscover), func(c *Config) { c.SilentPhone = true }, "", ""},
		{"declined", phoneMessage(t, dhcpv4.MessageTypeDecline, asked("203.0.113.2"), of("203.0.113.1")), nil, "", "somebody else has 203.0.113.2"},
		{"released", phoneMessage(t, dhcpv4.MessageTypeRelease, has("203.0.113.2"), of("203.0.113.1")), nil, "", ""},
		{"no vendor class", phoneMessage(t, dhcpv4.MessageTypeDiscover, dhcpv4.WithoutOption(dhcpv4.OptionVendorIdentifyingVendorClass)), nil, "", "vendor class (option 124)"},
		{"no vendor class, lenient", phoneMessage(t, dhcpv4.MessageTypeDiscover, dhcpv4.WithoutOption(dhcpv4.OptionVendorIdentifyingVendorClass)),
			func(c *Config) { c.Lenient = true }, "OFFER 203.0.113.2 to 255.255.255.255:68", "vendor class (option 124)"},
		{"other options", phoneMessage(t, dhcpv4.MessageTypeDiscover, dhcpv4.WithRequestedOptions(dhcpv4.OptionDomainNameServer)), nil, "", "asks for the options"},
		{"a server's", phoneMessage(t, dhcpv4.MessageTypeOffer), nil, "", "no client's"},
		{"rubbish", []byte("hello"), nil, "", "from"},
		{"nothing", nil, nil, "", "from"},
	} {
		t.Run(test.name, func(t *testing.T) {
			set := testSettings(Next)
			if test.edit != nil {
				test.edit(&set.c)
			}
			j, _ := testJournal()
			s := &phoneServer{set: set, j: j}
			reply, to := s.handle(test.packet, netip.MustParseAddrPort("0.0.0.0:68"))
			got := ""
			if reply != nil {
				m, err := dhcpv4.FromBytes(reply)
				if err != nil {
					t.Fatal(err)
				}
				got = fmt.Sprintf("%v %v to %v", m.MessageType(), m.YourIPAddr, to)
				if m.ServerIdentifier().String() != "203.0.113.1" {
					t.Errorf("from the server %v", m.ServerIdentifier())
				}
				if m.MessageType() != dhcpv4.MessageTypeNak {
					checkPhoneAnswer(t, m)
				}
			}
			if got != test.want {
				t.Errorf("answered %q, want %q", got, test.want)
			}
			if text := strings.Join(wrongs(j), "\n"); (test.wrong == "") != (text == "") || !strings.Contains(text, test.wrong) {
				t.Errorf("said %q", text)
			}
			if l := s.lease(); (l != nil) != strings.HasPrefix(test.want, "ACK") {
				t.Errorf("lease %+v", l)
			}
		})
	}
}

// checkPhoneAnswer holds an answer to the layout that users of the network captured.
func checkPhoneAnswer(t *testing.T, m *dhcpv4.DHCPv4) {
	t.Helper()
	want := map[uint8]string{
		1: "fffffffc", 51: "00003840", 58: "00001c20", 59: "00002a30", 120: "01cb007181", 121: "19cb007180cb007101",
		125: "000000d247" + "d216" + "086669726d7761726503696d73076578616d706c6500" + "ca0a30333132333435363738" + "cb0a30333132333435363739" +
			"c90600005e0053f0" + "cc0d" + "03696d73076578616d706c6500",
	}
	for code, hex := range want {
		if got := fmt.Sprintf("%x", m.Options.Get(dhcpv4.GenericOptionCode(code))); got != hex {
			t.Errorf("option %d is %s, want %s", code, got, hex)
		}
	}
	for _, code := range []uint8{3, 6} {
		if m.Options.Has(dhcpv4.GenericOptionCode(code)) {
			t.Errorf("option %d is there", code)
		}
	}
}

// Two telephones on one line are told of, and a lease ends.
func TestPhoneLease(t *testing.T) {
	j, _ := testJournal()
	s := &phoneServer{set: testSettings(Next, func(c *Config) { c.PhoneLease = time.Second }), j: j}
	request := func(edit ...dhcpv4.Modifier) {
		s.handle(phoneMessage(t, dhcpv4.MessageTypeRequest, append(edit, dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.IPv4(203, 0, 113, 2))))...), everybody)
	}
	request()
	other := net.HardwareAddr{0, 0, 0x5e, 0, 0x53, 2}
	request(dhcpv4.WithHwAddr(other), dhcpv4.WithGeneric(dhcpv4.OptionVendorIdentifyingVendorClass, append([]byte{0, 0, 0, 210, 7, 6}, other...)))
	if w := wrongs(j); len(w) != 1 || !strings.Contains(w[0], "goes from 00:00:5e:00:53:01 to 00:00:5e:00:53:02") {
		t.Errorf("said %q", w)
	}
	if l := s.lease(); l == nil || l.MAC != other.String() || l.Address.String() != "203.0.113.2/30" {
		t.Errorf("%+v", l)
	}
	s.until = time.Now().Add(-time.Second)
	if l := s.lease(); l != nil {
		t.Errorf("%+v is over", l)
	}
}

// FuzzPhone: no packet makes the server panic.
func FuzzPhone(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		j, _ := testJournal()
		s := &phoneServer{set: testSettings(Next, func(c *Config) { c.Lenient = true }), j: j}
		if reply, _ := s.handle(b, everybody); reply != nil {
			if _, err := dhcpv4.FromBytes(reply); err != nil {
				t.Errorf("%x: %v", reply, err)
			}
		}
	})
}
