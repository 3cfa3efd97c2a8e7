package realisp

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"sofutobanku/lab/topo"
)

// Network is a line from a router to an IPv4 host, as package realisp's comment
// draws it, with no server on it yet.
type Network struct {
	Router, ISP, Inet *topo.NS
}

// The devices of a Network.
const (
	WAN  = "wan0" // the router's, left down
	Port = "isp0" // the carrier's end of it
	// Bridge is what the servers listen on, with Port as its port.
	Bridge = "line"
)

// NewNetwork makes the namespaces and cables; wan is the one between router and
// carrier. The carrier's end is up, the router's is down.
func NewNetwork(lab *topo.Lab, wan topo.Cable) Network {
	n := Network{Router: lab.NS("router"), ISP: lab.NS("isp"), Inet: lab.NS("inet")}
	// Linux reports a carrier change at once only for a device whose number
	// differs from its peer's, and else up to a second later. Making the
	// carrier's other devices first sees to that.
	n.ISP.Dummy("core")
	lab.Link(n.ISP.Port("inet0", ""), n.Inet.Port("inet0", ""), topo.Cable{})
	lab.Link(n.Router.Port(WAN, routerMAC.String()), n.ISP.Port(Port, ""), wan)
	n.ISP.Forward()
	n.Router.Forward()
	n.ISP.Up(Port)
	n.ISP.Up("inet0")
	n.Inet.Up("inet0")
	n.ISP.Addr("inet0", "198.51.100.254/24")
	n.Inet.Addr("inet0", Host.String()+"/24")
	n.Inet.Route("default", "198.51.100.254", "inet0")
	return n
}

// ISP is a running line.
type ISP struct {
	Config
	lab  *topo.Lab
	ns   *topo.NS
	dir  string
	dict string // of our attributes

	Radvd, Kea, FreeRADIUS *topo.Process
	KeaPhone               *topo.Process // nil without a telephone network
}

// line is the bridge that the servers are on.
const line = Bridge

// ready is how long a server may take to start: Kea needs a second or two in the
// lab kernel, and more when the machine is busy.
const ready = 30 * time.Second

// Start starts the servers of a line in n.ISP and returns when they serve.
// dictionary is the file with the attributes of enterprise 22197.
func Start(lab *topo.Lab, n Network, dictionary string, c Config) *ISP {
	i := &ISP{Config: c, lab: lab, ns: n.ISP, dir: lab.Dir("isp"), dict: dictionary}
	// One link-local address, and that at once: of the kernel's own nobody knows when it is
	// usable, and a server that takes it before then stays silent.
	n.ISP.Sysctl("ipv6/conf/default/addr_gen_mode", "1")
	n.ISP.Bridge(line, "00:00:5e:00:53:00", Port)
	n.ISP.Addr(line, "fe80::1/64")
	for _, a := range []string{RADIUS.Addr().String(), dns6.String(), sntp.String(), sip.String()} {
		n.ISP.Addr("core", a+"/128")
	}
	i.carry()

	i.startRadvd()
	i.startKea()
	i.startRADIUS()
	if i.Phone {
		n.ISP.Addr(line, netip.PrefixFrom(PhoneGateway, PhoneAddress.Bits()).String())
		n.ISP.Addr("core", PhoneSIP.String()+"/32")
		i.startKeaPhone()
		defer i.KeaPhone.WaitFor(ready, "DHCP4_STARTED")
	}

	i.Kea.WaitFor(ready, "DHCP6_STARTED")
	i.FreeRADIUS.WaitFor(ready, "Ready to process requests")
	return i
}

// Server is one of a line's servers.
type Server string

// The servers of a line.
const (
	Radvd      Server = "radvd"
	Kea        Server = "Kea"
	KeaPhone   Server = "Kea of the telephone network"
	FreeRADIUS Server = "FreeRADIUS"
	BR         Server = "BR"
)

// Stop ends a server. Radvd takes leave with an advertisement of lifetime 0.
func (i *ISP) Stop(s Server) {
	switch s {
	case Radvd:
		i.Radvd.Stop()
	case Kea:
		i.Kea.Stop()
	case KeaPhone:
		i.KeaPhone.Stop()
	case FreeRADIUS:
		i.FreeRADIUS.Stop()
	case BR:
		i.ns.DelLink("br")
	}
}

// Restart starts a server that was stopped, and returns when it serves.
func (i *ISP) Restart(s Server) {
	switch s {
	case Radvd:
		i.startRadvd()
	case Kea:
		i.startKea()
		i.Kea.WaitFor(ready, "DHCP6_STARTED")
	case KeaPhone:
		i.startKeaPhone()
		i.KeaPhone.WaitFor(ready, "DHCP4_STARTED")
	case FreeRADIUS:
		i.startRADIUS()
		i.FreeRADIUS.WaitFor(ready, "Ready to process requests")
	case BR:
		i.relay()
	}
}

func (i *ISP) startRadvd() {
	i.Radvd = i.ns.Start("radvd", "-n", "-m", "stderr", "-d", "2", "-C", i.file("radvd.conf", i.radvdConf(line)), "-p", i.path("radvd.pid"))
}

func (i *ISP) startKea() {
	i.Kea = i.startKeaOf("kea-dhcp6", i.file("kea.conf", i.keaConf(line, i.dir)))
}

func (i *ISP) startKeaPhone() {
	i.KeaPhone = i.startKeaOf("kea-dhcp4", i.file("phone.conf", i.PhoneConf(line, i.dir)))
}

// startKeaOf starts a Kea. Its places for lock and PID files are compiled in, and it would
// meet another Kea's there.
func (i *ISP) startKeaOf(program, conf string) *topo.Process {
	return i.ns.StartEnv([]string{"KEA_PIDFILE_DIR=" + i.dir, "KEA_LOCKFILE_DIR=none"}, program, "-c", conf)
}

func (i *ISP) startRADIUS() {
	i.file("users", i.radiusUsers())
	i.file("dictionary", Dictionary(i.dict))
	i.file("radiusd.conf", i.radiusConf(i.dir))
	i.FreeRADIUS = i.ns.Start("freeradius", "-f", "-x", "-l", "stdout", "-d", i.dir, "-D", i.dir)
}

// Dictionary is a FreeRADIUS dictionary with the attributes of file beside all
// that the server comes with.
func Dictionary(file string) string {
	return "$INCLUDE /usr/share/freeradius/dictionary\n$INCLUDE " + file + "\n"
}

func (i *ISP) path(name string) string { return filepath.Join(i.dir, name) }

func (i *ISP) file(name, content string) string { return i.lab.WriteFile(i.dir, name, content) }

// carry makes the carrier's half of the path: the BR's address and its tunnel,
// and the routes to the subscriber.
func (i *ISP) carry() {
	i.ns.Addr("core", i.BR.String()+"/128")
	i.relay()
	if i.Line == NextRA {
		i.ns.Addr(line, i.Prefix.Addr().Next().String()+"/64")
	} else {
		i.ns.Route(i.Prefix.String(), i.router().String(), line)
	}
}

// relay makes the BR's end of the tunnel.
func (i *ISP) relay() {
	i.ns.Tunnel("br", i.BR, i.CE(), 1460)
	i.ns.Route(i.IPv4.String()+"/32", "", "br")
}

// Change makes the line hand out something else from now on, as a carrier does at
// night: the old prefix is gone, the BR expects the new end of the tunnel.
// Change must not change the Line, nor whether there is a Phone.
func (i *ISP) Change(change func(*Config)) {
	i.ns.DelLink("br")
	if i.Line == NextRA {
		i.ns.DelAddr(line, i.Prefix.Addr().Next().String()+"/64")
	} else {
		i.ns.DelRoute(i.Prefix.String(), i.router().String(), line)
	}
	i.ns.DelAddr("core", i.BR.String()+"/128")
	change(&i.Config)
	i.carry()

	i.file("kea.conf", i.keaConf(line, i.dir))
	i.reload(i.Kea)
	if i.Phone {
		i.file("phone.conf", i.PhoneConf(line, i.dir))
		i.reload(i.KeaPhone)
	}
	i.file("radvd.conf", i.radvdConf(line))
	i.Radvd.Signal(syscall.SIGHUP)
	i.Stop(FreeRADIUS) // it puts off a SIGHUP by up to five seconds
	i.Restart(FreeRADIUS)
}

// reload lets a Kea read its configuration again.
func (i *ISP) reload(kea *topo.Process) {
	kea.Signal(syscall.SIGHUP)
	if said := kea.WaitFor(ready, "DHCP[46]_DYNAMIC_RECONFIGURATION_(SUCCESS|FAIL)"); said[1] == "FAIL" {
		i.lab.Fatalf("kea does not take its new configuration:\n%s", kea.Output())
	}
}

// ForgetLeases is what a carrier's server does when it is replaced: it knows none
// of its subscribers any more.
func (i *ISP) ForgetLeases() {
	i.Stop(Kea)
	leases, err := filepath.Glob(i.path("leases*"))
	for _, l := range leases {
		err = errors.Join(err, os.Remove(l))
	}
	if err != nil {
		i.lab.Fatalf("realisp: %v", err)
	}
	i.Restart(Kea)
}

// UCI is the router's configuration for this line, the file "network", as its
// owner would write it.
func (i *ISP) UCI() string {
	line := i.Line
	if line == NextRA {
		line = Next
	}
	return "config interface 'wan'\n" +
		"\toption proto 'sofutobanku'\n" +
		"\toption device '" + WAN + "'\n" +
		"\toption line '" + string(line) + "'\n" +
		"\toption auth_server '" + RADIUS.Addr().String() + "'\n" +
		"\toption shared_secret '" + i.SharedSecret + "'\n" +
		"\toption password '" + i.Password + "'\n" +
		"\toption mac '" + i.AuthMAC.String() + "'\n"
}

// RadclientRequest is the Access-Request of this line's router, as radclient(1)
// reads it. It hashes CHAP-Password itself.
func (c Config) RadclientRequest() string {
	id := c.identity()
	return "User-Name = " + strconv.Quote(c.UserName()) +
		", CHAP-Password = " + strconv.Quote(c.Password) +
		", SoftBankBB-MAC = " + strconv.Quote(id[0]) +
		", SoftBankBB-Manufacturer = " + strconv.Quote(id[1]) +
		", SoftBankBB-Model = " + strconv.Quote(id[2]) +
		", SoftBankBB-HW-Revision = " + strconv.Quote(id[3]) + "\n"
}
