package netifd

import "net/netip"

// Actions of notify_proto; an update is action 0.
const (
	notifyError  = 3
	blockRestart = 4
	setupFailed  = 7
)

// update is notify_proto's action 0. Masks are strings, for netifd ignores numbers
// there, and its other numbers have 32 bits with a sign.
type update struct {
	Action    int          `json:"action"`
	Interface string       `json:"interface"`
	LinkUp    bool         `json:"link-up"`
	Keep      bool         `json:"keep"`
	IfName    string       `json:"ifname,omitempty"`
	Tunnel    *tunnel      `json:"tunnel,omitempty"`
	IPAddr    []ipAddr     `json:"ipaddr,omitempty"`
	IP6Addr   []ipAddr     `json:"ip6addr,omitempty"`
	IP6Prefix []string     `json:"ip6prefix,omitempty"`
	Routes    []ipRoute    `json:"routes,omitempty"`
	Routes6   []ipRoute    `json:"routes6,omitempty"`
	DNS       []netip.Addr `json:"dns,omitempty"`
	Search    []string     `json:"dns_search,omitempty"`
}

type ipAddr struct {
	IPAddr    netip.Addr `json:"ipaddr"`
	Mask      string     `json:"mask"`
	Preferred *int32     `json:"preferred,omitempty"`
	Valid     *int32     `json:"valid,omitempty"`
	Offlink   bool       `json:"offlink,omitempty"`
}

type ipRoute struct {
	Target  netip.Addr    `json:"target"`
	Netmask string        `json:"netmask"`
	Gateway *netip.Addr   `json:"gateway,omitempty"`
	Metric  int           `json:"metric,omitempty"`
	Valid   int32         `json:"valid,omitempty"`
	Source  *netip.Prefix `json:"source,omitempty"`
}

type tunnel struct {
	Mode   string     `json:"mode"`
	Local  netip.Addr `json:"local"`
	Remote netip.Addr `json:"remote"`
	MTU    int        `json:"mtu"`
	TTL    int        `json:"ttl"`
	Data   tunnelData `json:"data"`
}

// tunnelData must be there: without it netifd sends a limit of 0.
type tunnelData struct {
	EncapLimit string `json:"encaplimit"`
}

// failure is notify_proto's actions 3, 4 and 7.
type failure struct {
	Action    int      `json:"action"`
	Interface string   `json:"interface"`
	Error     []string `json:"error,omitempty"`
}

// dynamicTunnel is the configuration of the child with the tunnel in network
// add_dynamic. Local to EncapLimit are its protocol handler's, the others netifd's own.
type dynamicTunnel struct {
	Name         string     `json:"name"`
	Proto        string     `json:"proto"`
	Local        netip.Addr `json:"local"`
	Remote       netip.Addr `json:"remote"`
	IPAddr       netip.Addr `json:"ipaddr"`
	MTU          int        `json:"mtu"`
	TTL          int        `json:"ttl"`
	EncapLimit   string     `json:"encaplimit"`
	Zone         string     `json:"zone,omitempty"`
	Metric       int        `json:"metric,omitempty"`
	DefaultRoute *bool      `json:"defaultroute,omitempty"`
	IP4Table     string     `json:"ip4table,omitempty"`
}

// dynamicPort is the same of the child on the home gateway's port.
type dynamicPort struct {
	Name      string `json:"name"`
	Proto     string `json:"proto"`
	Device    string `json:"device"`
	ForceLink bool   `json:"force_link"` // up without a carrier
	Zone      string `json:"zone,omitempty"`
}

// rule is a rule of firewall4. Without a source zone it would be one for what the
// router sends.
type rule struct {
	Type   string     `json:"type"`
	Target string     `json:"target"`
	Src    string     `json:"src"`
	Device string     `json:"device"`
	Family string     `json:"family"`
	Proto  string     `json:"proto"`
	SrcIP  netip.Addr `json:"src_ip"`
}

// problem is data.error.
type problem struct {
	Code string `json:"code,omitempty"`
	Text string `json:"text,omitempty"`
}
