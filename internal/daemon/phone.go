package daemon

import (
	"context"
	"net"
	"net/netip"

	"sofutobanku/internal/dhcp4"
	"sofutobanku/internal/state"
	"sofutobanku/internal/status"
)

// Codes of state.Phone's errors that only this machine can cause.
const (
	ErrPhoneSocket = "PHONE_SOCKET" // no packet socket could be had
	ErrPhoneApply  = "PHONE_APPLY"  // the system refused the address or a route
)

// phone is the DHCPv4 client of a device with one MAC address.
type phone struct {
	client *dhcp4.Client
	mac    string
	stop   func()
	index  int  // of the device that it has a socket on, 0 for none
	tried  bool // in vain, for a socket; another try is under way
}

// settlePhone sees to it that there is a DHCPv4 client where one is wanted, and that it
// has a socket where the device works. Nothing of it waits for IPv6, or IPv6 for it.
func (d *Daemon) settlePhone(ctx context.Context, want bool) {
	l := d.seen
	if p := d.phone; p != nil && (!want || len(l.MAC) > 0 && p.mac != l.MAC.String()) {
		d.phone = nil
		p.stop()
		d.repaired("phone")
		d.phoneFaults.socket = nil
		d.onPhone(dhcp4.Event{})
	}
	if d.phone == nil {
		if !want || len(l.MAC) != 6 {
			return
		}
		d.phone = d.newPhone(ctx, l.MAC)
	}
	p := d.phone
	if !l.Up || p.index == l.Index || p.tried {
		return
	}
	conn, err := d.cfg.Network.ListenPhone(&net.Interface{Index: l.Index, Name: l.Name, MTU: l.MTU, HardwareAddr: l.MAC})
	if err != nil {
		p.tried = true
		d.failed("cannot open a socket", &d.phoneFaults.socket, state.Error{Code: ErrPhoneSocket, Text: err.Error()}, err)
		d.later("phone", func() { p.tried = false })
		return
	}
	d.phoneFaults.socket = nil
	d.repaired("phone")
	p.index = l.Index
	p.client.LinkUp(conn)
}

func (d *Daemon) newPhone(ctx context.Context, mac net.HardwareAddr) *phone {
	cfg := d.cfg.DHCP4(mac)
	cfg.MAC = [6]byte(mac)
	cfg.Rand, cfg.Counters, cfg.Log, cfg.Trace = d.cfg.Rand(), d.cfg.Counters, d.cfg.Log, d.trace
	p := &phone{mac: mac.String()}
	cfg.OnEvent = func(ev dhcp4.Event) {
		d.mail.post("dhcp4", func() {
			if d.phone == p {
				d.onPhone(ev)
			}
		})
	}
	p.client = dhcp4.New(cfg)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.client.Run(ctx)
	}()
	p.stop = func() { cancel(); <-done }
	return p
}

// phoneDown says that the device stopped to work, if only for a moment.
func (d *Daemon) phoneDown() {
	if d.phone != nil {
		d.phone.client.LinkDown()
		d.phone.index, d.phone.tried = 0, false
	}
}

func (d *Daemon) onPhone(ev dhcp4.Event) {
	d.session.Phone(ev)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.phoneLease = ev.Lease
}

// Phone is what the line tells of its telephone service, nil without one; st is the State
// with the telephone network.
func (d *Daemon) Phone(st state.State) *status.Phone {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.phoneOf(st)
}

// phoneOf is Phone with d.mu held.
func (d *Daemon) phoneOf(st state.State) *status.Phone {
	p := d.cfg.Phone(d.info, d.phoneLease)
	network := st.Phone
	if p == nil && network != nil {
		p = &status.Phone{Numbers: []string{}, SIP: []netip.Addr{}, SIP4: []netip.Addr{}}
	}
	if p == nil {
		return nil
	}
	if network != nil && network.Address.IsValid() {
		p.Address = &network.Address
	}
	if network != nil && network.Error != nil {
		p.Error = &status.Error{Code: network.Error.Code, Text: network.Error.Text}
	}
	return p
}
