package l2fwd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// The requests are written here: by those of the library, which has qdiscs, filters and
// actions of all kinds, the package would be 32 kB larger, by these it is 8.

// Of linux/pkt_sched.h and linux/tc_act: the ingress of a device, which is the same
// for the qdiscs ingress and clsact.
const (
	ingressHandle  = 0xffff_0000 // TC_H_MAKE(TC_H_CLSACT, 0)
	ingressParent  = 0xffff_fff1 // TC_H_CLSACT
	ingressFilters = 0xffff_fff2 // TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS)
	egressFilters  = 0xffff_fff3 // TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS), of clsact alone

	stolen         = 4 // TC_ACT_STOLEN
	egressRedirect = 1 // TCA_EGRESS_REDIR

	cookieLen = 16 // TC_COOKIE_MAX_SIZE
)

// protocols are what is forwarded, with the preferences of the filters: before those
// of sqm-scripts, which send all that arrives elsewhere with 10.
var protocols = [...]struct{ preference, etherType uint16 }{
	{5, unix.ETH_P_IP},
	{6, unix.ETH_P_ARP},
}

// filter is one on the ingress of a device, or on the egress if it is not ours.
type filter struct {
	index  int    // of the device
	info   uint32 // preference, and EtherType in network byte order
	handle uint32
	ours   bool
	to     int  // of ours: index of the device that the frames leave by
	made   bool // of ours: the qdisc was made for it
}

// cookie marks the filters of a Forwarder of that name. Its first byte is 1 where
// the qdisc was made for them.
func cookie(name string) (c [cookieLen]byte) {
	copy(c[1:], name[max(0, len(name)-(cookieLen-1)):])
	return c
}

// wanted is the filters that forward between the devices of p, none for the zero pair.
func wanted(p pair) []filter {
	if p == (pair{}) {
		return nil
	}
	var list []filter
	for i, d := range p {
		for _, proto := range protocols {
			network := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, proto.etherType))
			list = append(list, filter{index: d.index, info: uint32(proto.preference)<<16 | uint32(network), ours: true, to: p[1-i].index})
		}
	}
	return list
}

// has tells whether f is in list, whatever its handle and who made the qdisc.
func has(list []filter, f filter) bool {
	return slices.ContainsFunc(list, func(g filter) bool {
		return g.ours && g.index == f.index && g.info == f.info && g.to == f.to
	})
}

// hasTC tells whether our filters are those that forward between the devices of p.
func (f *Forwarder) hasTC(p pair) (bool, error) {
	have, _, err := f.listTC()
	if err != nil {
		return false, err
	}
	have = slices.DeleteFunc(have, func(h filter) bool { return !h.ours })
	want := wanted(p)
	return len(have) == len(want) && !slices.ContainsFunc(want, func(w filter) bool { return !has(have, w) }), nil
}

// setTC makes the filters that forward between the devices of p, and then removes
// all other ones of ours. What was made before an error stays.
func (f *Forwarder) setTC(p pair) error {
	have, qdiscs, err := f.listTC()
	if err != nil {
		return err
	}
	// Also remembered here, for when somebody removes all filters of a device.
	made := map[int]bool{}
	for index := range f.qdiscs {
		made[index] = qdiscs[index]
	}
	for _, h := range have {
		made[h.index] = made[h.index] || h.made
	}
	f.qdiscs = made
	want := wanted(p)
	for _, w := range want {
		if !qdiscs[w.index] {
			// Not clsact: sqm-scripts can replace this one, and not that.
			err := request(unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_EXCL, qdisc(w.index),
				nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated("ingress")))
			if err != nil {
				return fmt.Errorf("qdisc ingress: %w", err)
			}
			qdiscs[w.index], made[w.index] = true, true
		}
		if has(have, w) {
			continue
		}
		if err := f.add(w, made[w.index]); err != nil {
			return fmt.Errorf("filter u32 with action mirred: %w", err)
		}
	}
	return removeTC(have, want, made)
}

// removeTC removes those filters of ours that are not wanted, and the qdiscs that
// were made for them if nobody else uses them.
func removeTC(have, want []filter, made map[int]bool) error {
	var errs []error
	stays := append([]filter{}, want...)
	for _, h := range have {
		if !h.ours {
			stays = append(stays, h)
		}
	}
	used := func(test func(filter) bool) bool { return slices.ContainsFunc(stays, test) }
	for _, h := range have {
		if !h.ours || has(want, h) {
			continue
		}
		if !used(func(s filter) bool { return s.index == h.index && s.info == h.info }) {
			h.handle = 0 // all with this preference, and what the kernel made for them
		}
		err := request(unix.RTM_DELTFILTER, 0, &nl.TcMsg{Ifindex: int32(h.index), Parent: ingressFilters, Info: h.info, Handle: h.handle},
			nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated("u32")))
		if err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("l2fwd: delete a filter of device %d: %w", h.index, err))
		}
	}
	for index, ours := range made {
		if !ours || used(func(s filter) bool { return s.index == index }) {
			continue
		}
		if err := request(unix.RTM_DELQDISC, 0, qdisc(index)); err == nil {
			delete(made, index)
		} else {
			errs = append(errs, fmt.Errorf("l2fwd: delete the ingress qdisc of device %d: %w", index, err))
		}
	}
	return errors.Join(errs...)
}

// add makes a filter.
func (f *Forwarder) add(w filter, madeQdisc bool) error {
	var all [32]byte // struct tc_u32_sel and one key, which compares no bits
	all[0], all[2] = nl.TC_U32_TERMINAL, 1
	var mirred []byte // struct tc_mirred
	for _, v := range []int{0, 0, stolen, 0, 0, egressRedirect, w.to} {
		mirred = binary.NativeEndian.AppendUint32(mirred, uint32(v))
	}
	mark := f.cookie
	if madeQdisc {
		mark[0] = 1
	}
	options := nl.NewRtAttr(nl.TCA_OPTIONS, nil)
	options.AddRtAttr(nl.TCA_U32_SEL, all[:])
	action := options.AddRtAttr(nl.TCA_U32_ACT, nil).AddRtAttr(nl.TCA_ACT_TAB, nil)
	action.AddRtAttr(nl.TCA_ACT_KIND, nl.ZeroTerminated("mirred"))
	action.AddRtAttr(nl.TCA_ACT_OPTIONS, nil).AddRtAttr(nl.TCA_MIRRED_PARMS, mirred)
	action.AddRtAttr(nl.TCA_ACT_COOKIE, mark[:])
	return request(unix.RTM_NEWTFILTER, unix.NLM_F_CREATE|unix.NLM_F_EXCL,
		&nl.TcMsg{Ifindex: int32(w.index), Parent: ingressFilters, Info: w.info},
		nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated("u32")), options)
}

// listTC is all filters of the devices that have a qdisc for their ingress, and
// which those devices are.
func (f *Forwarder) listTC() (list []filter, qdiscs map[int]bool, err error) {
	clsact := map[int]bool{}
	qdiscs = map[int]bool{}
	err = dump(unix.RTM_GETQDISC, unix.RTM_NEWQDISC, &nl.TcMsg{}, func(m *nl.TcMsg, a attributes) {
		if m.Parent == ingressParent {
			qdiscs[int(m.Ifindex)] = true
			clsact[int(m.Ifindex)] = string(a.find(nl.TCA_KIND)) == "clsact\x00"
		}
	})
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil, qdiscs, nil // a kernel without any
	}
	for index := range qdiscs {
		parents := []uint32{ingressFilters}
		if clsact[index] {
			parents = append(parents, egressFilters)
		}
		for _, parent := range parents {
			err = errors.Join(err, dump(unix.RTM_GETTFILTER, unix.RTM_NEWTFILTER, &nl.TcMsg{Ifindex: int32(index), Parent: parent}, func(m *nl.TcMsg, a attributes) {
				// What else comes is no filter: a preference, a hash table of u32.
				u32 := string(a.find(nl.TCA_KIND)) == "u32\x00"
				if m.Handle == 0 || u32 && m.Handle&0xfff == 0 {
					return
				}
				n := filter{index: index, info: m.Info, handle: m.Handle}
				action := a.find(nl.TCA_OPTIONS).find(nl.TCA_U32_ACT).find(nl.TCA_ACT_TAB)
				mark, mirred := action.find(nl.TCA_ACT_COOKIE), action.find(nl.TCA_ACT_OPTIONS).find(nl.TCA_MIRRED_PARMS)
				if u32 && len(mark) == cookieLen && string(mark[1:]) == string(f.cookie[1:]) && len(mirred) >= 28 {
					n.ours, n.made, n.to = true, mark[0] == 1, int(binary.NativeEndian.Uint32(mirred[24:]))
				}
				list = append(list, n)
			}))
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("l2fwd: list the filters: %w", err)
	}
	return list, qdiscs, nil
}

// qdisc names the one of a device's ingress.
func qdisc(index int) *nl.TcMsg {
	return &nl.TcMsg{Ifindex: int32(index), Handle: ingressHandle, Parent: ingressParent}
}

func request(kind, flags int, data ...nl.NetlinkRequestData) error {
	req := nl.NewNetlinkRequest(kind, flags|unix.NLM_F_ACK)
	for _, d := range data {
		req.AddData(d)
	}
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// dump calls each with the messages of an answer.
func dump(kind int, answer uint16, what *nl.TcMsg, each func(*nl.TcMsg, attributes)) error {
	req := nl.NewNetlinkRequest(kind, unix.NLM_F_DUMP)
	req.AddData(what)
	messages, err := req.Execute(unix.NETLINK_ROUTE, answer)
	for _, m := range messages {
		if len(m) >= nl.SizeofTcMsg {
			each(nl.DeserializeTcMsg(m), m[nl.SizeofTcMsg:])
		}
	}
	return err
}

// attributes are netlink's: each has its length and its kind before it.
type attributes []byte

// find returns the content of the first attribute of a kind, nil if there is none.
func (a attributes) find(kind uint16) attributes {
	for len(a) >= unix.SizeofRtAttr {
		n := int(binary.NativeEndian.Uint16(a))
		if n < unix.SizeofRtAttr || n > len(a) {
			break
		}
		if binary.NativeEndian.Uint16(a[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER) == kind {
			return a[unix.SizeofRtAttr:n]
		}
		a = a[min((n+3)&^3, len(a)):]
	}
	return nil
}
