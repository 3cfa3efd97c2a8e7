package isp

import (
	"net/netip"
	"sync"
)

// tunneler is the kernel, as far as the BR needs it.
type tunneler interface {
	PrepareBR(br netip.Addr) error
	Tunnel(br, ce, ipv4 netip.Addr) error
}

// BRState is what the BR carries, in State.
type BRState struct {
	BR   netip.Addr `json:"br"`
	CE   netip.Addr `json:"ce"`
	IPv4 netip.Addr `json:"ipv4"`
}

// br is the far end of the tunnel. It carries the line's IPv4 address only to
// whom the RADIUS server granted it.
type br struct {
	j      *Journal
	kernel tunneler // nil: the line has no BR (Config.NoBR)

	mu  sync.Mutex
	now *BRState
}

// grant makes the BR at address addr carry ipv4 to ce. A repeated grant leaves
// the tunnel alone.
func (b *br) grant(ipv4, addr, ce netip.Addr) error {
	if b.kernel == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	want := BRState{BR: addr, CE: ce, IPv4: ipv4}
	if b.now != nil && *b.now == want {
		return nil
	}
	b.now = nil // a half-made tunnel is made anew at the next grant
	if err := b.kernel.Tunnel(addr, ce, ipv4); err != nil {
		return err
	}
	b.now = &want
	b.j.say(partBR, "tunnel", "%v carries %v to %v", addr, ipv4, ce)
	return nil
}

// prepare readies the address of the BR that the next grant names.
func (b *br) prepare(addr netip.Addr) error {
	if b.kernel == nil {
		return nil
	}
	return b.kernel.PrepareBR(addr)
}

// state returns what is carried, nil: nothing.
func (b *br) state() *BRState {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.now == nil {
		return nil
	}
	return new(*b.now)
}
