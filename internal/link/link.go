package link

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// State is what is known of a device. The zero State but for Name is a device
// that does not exist.
type State struct {
	Exists bool
	Index  int
	Name   string // as it was asked for
	MAC    net.HardwareAddr
	MTU    int // in bytes

	// Up: administratively up, and it carries.
	Up bool

	// Enslaved: it is a port of a bridge, or another part of another device, which
	// takes what arrives.
	Enslaved bool

	// LinkLocal is an IPv6 link-local address of the device that may be used
	// as a source now: duplicate address detection is done, or the kernel lets
	// it be used meanwhile (RFC 4429). It is not valid when there is none.
	LinkLocal netip.Addr

	// DADFailed: another host of the link has a link-local address of ours
	// (RFC 4862 5.4.5). When there is no other, IPv6 does not work there.
	DADFailed bool
}

// Equal tells whether a and b are the same.
func (a State) Equal(b State) bool {
	return a.Exists == b.Exists && a.Index == b.Index && a.Name == b.Name && bytes.Equal(a.MAC, b.MAC) &&
		a.MTU == b.MTU && a.Up == b.Up && a.Enslaved == b.Enslaved && a.LinkLocal == b.LinkLocal && a.DADFailed == b.DADFailed
}

// Watch calls onChange with the state of the device that is called dev, at once
// and then whenever it changes, until ctx ends; it then returns nil. The device
// may be missing, come, go, come back as another one, and be renamed. A carrier
// that was lost is told even when it is back by the time that it is looked at.
//
// It works in the network namespace of the calling thread. onChange is called
// by the calling goroutine, and may take its time: the kernel's events wait, and
// if there are too many, everything is read anew.
func Watch(ctx context.Context, dev string, onChange func(State)) error {
	if err := watch(ctx, dev, onChange); err != nil && ctx.Err() == nil {
		return fmt.Errorf("link: watching %s: %w", dev, err)
	}
	return nil
}

func watch(ctx context.Context, dev string, onChange func(State)) error {
	// One socket for links and addresses keeps their order.
	events, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV6_IFADDR)
	if err != nil {
		return err
	}
	defer events.Close()
	defer context.AfterFunc(ctx, events.Close)()
	w := watcher{name: dev, onChange: onChange}
	// NETLINK_ROUTE alone: the other families may be missing.
	if w.netlink, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return err
	}
	defer w.netlink.Close()

	if err := w.look(); err != nil {
		return err
	}
	for ctx.Err() == nil {
		messages, from, err := events.Receive()
		switch {
		case errors.Is(err, unix.ENOBUFS):
			// The kernel dropped events, which nobody can know any more.
			if err := w.look(); err != nil {
				return err
			}
			continue
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return err
		case from.Pid != nl.PidKernel:
			continue // another process may send to the socket
		}
		for _, m := range messages {
			if !w.event(m.Header.Type, m.Data) {
				continue
			}
			if err := w.look(); err != nil {
				return err
			}
		}
	}
	return nil
}

type watcher struct {
	name     string
	onChange func(State)
	netlink  *netlink.Handle
	last     State // as told; the zero State before anything was
}

// event tells whether one message of the kernel is a reason to look. It may be
// older than what was last read, so of what it says only a loss is believed.
func (w *watcher) event(typ uint16, data []byte) (look bool) {
	switch typ {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		if len(data) < unix.SizeofIfInfomsg {
			return false
		}
		header := nl.DeserializeIfInfomsg(data)
		mine := w.last.Exists && int(header.Index) == w.last.Index
		switch {
		// Other families tell of the device's life as a bridge port and so on.
		case header.Family != unix.AF_UNSPEC || !mine && nameOf(data) != w.name:
			return false
		case mine && typ == unix.RTM_DELLINK:
			w.tell(State{Name: w.name})
		case mine && w.last.Up && !carries(header.Flags):
			down := w.last
			down.Up = false
			w.tell(down)
		}
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		if len(data) < unix.SizeofIfAddrmsg {
			return false
		}
		header := nl.DeserializeIfAddrmsg(data)
		if !w.last.Exists || int(header.Index) != w.last.Index {
			return false
		}
	default:
		return false
	}
	return true
}

// nameOf is the name in a message about a link, "" if there is none. The library's
// own walk panics where the last attribute is not padded.
func nameOf(data []byte) string {
	for b := data[unix.SizeofIfInfomsg:]; len(b) >= unix.SizeofRtAttr; {
		n, typ := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])
		if n < unix.SizeofRtAttr || n > len(b) {
			return ""
		}
		if typ == unix.IFLA_IFNAME {
			return unix.ByteSliceToString(b[unix.SizeofRtAttr:n])
		}
		b = b[min((n+unix.RTA_ALIGNTO-1)&^(unix.RTA_ALIGNTO-1), len(b)):]
	}
	return ""
}

// look tells the state as it is now if it is news.
func (w *watcher) look() error {
	s, err := w.read()
	// Something changed while the kernel listed it.
	for n := 0; n < 10 && errors.Is(err, netlink.ErrDumpInterrupted); n++ {
		s, err = w.read()
	}
	if err == nil {
		w.tell(s)
	}
	return err
}

func (w *watcher) tell(s State) {
	if !s.Equal(w.last) {
		w.last = s
		w.onChange(s)
	}
}

// read asks the kernel for everything.
func (w *watcher) read() (State, error) {
	s := State{Name: w.name}
	link, err := w.netlink.LinkByName(w.name)
	if notFound := (netlink.LinkNotFoundError{}); errors.As(err, &notFound) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	attrs := link.Attrs()
	if attrs.Name != w.name {
		return s, nil // it is another one's alternative name
	}
	s.Exists = true
	s.Index = attrs.Index
	s.MAC = attrs.HardwareAddr
	s.MTU = attrs.MTU
	s.Up = carries(attrs.RawFlags)
	s.Enslaved = attrs.MasterIndex != 0

	addrs, err := w.netlink.AddrList(link, netlink.FAMILY_V6)
	if err != nil {
		return s, err
	}
	for _, a := range addrs {
		ip, ok := netip.AddrFromSlice(a.IP)
		if !ok || !ip.IsLinkLocalUnicast() {
			continue
		}
		if a.Flags&unix.IFA_F_DADFAILED != 0 {
			s.DADFailed = true
			continue
		}
		if a.Flags&unix.IFA_F_TENTATIVE != 0 && a.Flags&unix.IFA_F_OPTIMISTIC == 0 {
			continue
		}
		// The one in use stays in use.
		if !s.LinkLocal.IsValid() || ip == w.last.LinkLocal {
			s.LinkLocal = ip
		}
	}
	return s, nil
}

// carries tells whether a device with these flags takes packets: it is up, has
// a carrier now (which running alone learns late), and is not dormant, for
// example before 802.1X.
func carries(flags uint32) bool {
	const all = unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_LOWER_UP
	return flags&all == all
}
