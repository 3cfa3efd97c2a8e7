package hgw

import (
	"bytes"
	"crypto/md5"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"sofutobanku/internal/dhcp6"
	"sofutobanku/internal/statefile"
)

const (
	fileVersion = 1
	maxFile     = 16 << 10
	keyLen      = 16
	writePause  = 10 * second
	// ramPause is by how much the end of a lease in the file may be wrong, where writing
	// costs nothing.
	ramPause = 10 * time.Minute
	// unknownAge is what is left of a lease whose age cannot be told, because the clock
	// is behind the moment at which the file was written.
	unknownAge = 10 * time.Minute
)

// leaseFile is the binding on disk. Its times are of the wall clock.
type leaseFile struct {
	Version   int            `json:"version"`
	Saved     time.Time      `json:"saved"`
	MAC       dhcp6.HexBytes `json:"mac,omitempty"`
	MACBy     int            `json:"mac_by,omitempty"`
	MACOf     dhcp6.HexBytes `json:"mac_of,omitempty"` // the DUID that came with it
	LinkLocal netip.Addr     `json:"link_local"`
	DUID      dhcp6.HexBytes `json:"duid,omitempty"`
	Leases    []leaseOnDisk  `json:"leases,omitempty"`
	// ReconfigureKey is a secret; the file is for its owner alone.
	ReconfigureKey dhcp6.HexBytes `json:"reconfigure_key,omitempty"`
	Replay         uint64         `json:"replay,omitempty"`
	Told           dhcp6.HexBytes `json:"told,omitempty"`
}

// leaseOnDisk is a slot; its kind follows from the length of the prefix. Until is null
// for never.
type leaseOnDisk struct {
	IAID   uint32       `json:"iaid"`
	Prefix netip.Prefix `json:"prefix"`
	Until  *time.Time   `json:"until"`
}

// slotOf is the slot whose prefixes have this length, -1 for none.
func slotOf(bits int) int {
	switch bits {
	case 60:
		return slotDelegated
	case 64:
		return slotLink
	case 128:
		return slotAddress
	}
	return -1
}

// onDisk is c at clock, which is the moment now.
func (c *client) onDisk(clock time.Time, now moment) *leaseFile {
	// By the distance, so that a clock that was set meanwhile is no matter.
	wall := func(m moment) time.Time {
		return clock.Round(0).Add(time.Duration(m - now)).UTC().Truncate(time.Second)
	}
	f := &leaseFile{
		Version: fileVersion, Saved: wall(now), MAC: dhcp6.HexBytes(c.mac), MACBy: c.by, MACOf: c.of, LinkLocal: c.addr,
		DUID: c.duid, ReconfigureKey: c.key, Replay: c.replay,
	}
	if c.duid != nil {
		f.Told = bytes.Clone(c.told[:])
	}
	for _, sl := range c.slots {
		if !sl.held || !sl.told.IsValid() {
			continue
		}
		l := leaseOnDisk{IAID: sl.iaid, Prefix: sl.told}
		if sl.until != never {
			l.Until = new(wall(sl.until))
		}
		f.Leases = append(f.Leases, l)
	}
	return f
}

// same tells whether f and g differ in nothing but times, of which the end of a lease may
// have moved by so much.
func (f *leaseFile) same(g *leaseFile, most time.Duration) bool {
	if len(f.Leases) != len(g.Leases) {
		return false
	}
	a := *f
	a.Saved, a.Leases = g.Saved, slices.Clone(f.Leases)
	for i := range a.Leases {
		x, y := &a.Leases[i].Until, g.Leases[i].Until
		if *x != nil && y != nil && y.Sub(**x).Abs() <= most {
			*x = y
		}
	}
	return reflect.DeepEqual(&a, g)
}

// check holds the file to what a message is held to: it may be damaged, or written by
// hand.
func (f *leaseFile) check() error {
	switch ll := f.LinkLocal; {
	case f.Version != fileVersion:
		return fmt.Errorf("version %d, known: %d", f.Version, fileVersion)
	case len(f.MAC) != 0 && !station(net.HardwareAddr(f.MAC)):
		return errors.New("mac")
	case f.MACBy < 0 || f.MACBy > 2:
		return errors.New("mac_by")
	case len(f.DUID) > maxDUID || len(f.MACOf) > maxDUID:
		return errors.New("client identifier too long")
	case ll.IsValid() && (!ll.Is6() || !ll.IsLinkLocalUnicast() || ll.Zone() != ""):
		return errors.New("link_local")
	case len(f.Leases) > 0 && (len(f.DUID) == 0 || !ll.IsValid()):
		return errors.New("leases of nobody")
	case len(f.ReconfigureKey) != 0 && len(f.ReconfigureKey) != keyLen:
		return errors.New("reconfigure key of a wrong length")
	case len(f.Told) != 0 && len(f.Told) != md5.Size:
		return errors.New("told")
	}
	var seen [slots]bool
	for _, l := range f.Leases {
		i := slotOf(l.Prefix.Bits())
		if i < 0 || seen[i] || l.Prefix != l.Prefix.Masked() || !l.Prefix.Addr().Is6() || !l.Prefix.Addr().IsGlobalUnicast() {
			return fmt.Errorf("prefix %v", l.Prefix)
		}
		seen[i] = true
	}
	if seen[slotLink] && seen[slotAddress] {
		return errors.New("an address and the /64 that it is of")
	}
	return nil
}

// parse reads a lease file into c at clock, which is the moment now.
func (c *client) parse(b []byte, clock time.Time, now moment) (*leaseFile, error) {
	var f leaseFile
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, err
	}
	if err := f.check(); err != nil {
		return nil, err
	}
	*c = client{of: f.MACOf, by: f.MACBy, addr: f.LinkLocal, replay: f.Replay}
	if len(f.MAC) > 0 {
		c.mac = net.HardwareAddr(f.MAC)
	}
	if len(f.Leases) == 0 {
		return &f, nil
	}
	c.duid = f.DUID
	if len(f.ReconfigureKey) > 0 {
		c.key = f.ReconfigureKey
	}
	copy(c.told[:], f.Told)
	for _, l := range f.Leases {
		sl := slot{held: true, iaid: l.IAID, told: l.Prefix, until: never}
		if l.Until != nil {
			left := min(l.Until.Sub(clock), infinity*time.Second)
			if clock.Before(f.Saved) {
				left = min(l.Until.Sub(f.Saved), unknownAge)
			}
			if left <= 0 {
				// It may have been prolonged since, which not every Renew is reason to
				// write. The HGW is asked.
				left, sl.told = unknownAge, netip.Prefix{}
			}
			sl.until = now + moment(left)
		}
		c.slots[slotOf(l.Prefix.Bits())] = sl
	}
	return &f, nil
}

// load reads the lease file. What is no lease file of ours is put aside.
func (s *Server) load() {
	if s.cfg.LeaseFile == "" {
		return
	}
	err := statefile.Load(s.cfg.LeaseFile, maxFile, func(b []byte) (err error) {
		s.onDisk, err = s.client.parse(b, s.clock, s.now)
		return err
	}, s.log)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.count("hgw.lease-file.bad")
	}
}

// save writes the lease file if that is worth it: flash wears, so there a lease that was
// prolonged is not, but at the end of the daemon. Whatever the HGW does, there is a pause
// between two writes.
func (s *Server) save(atEnd bool) {
	s.dirty = false
	if s.cfg.LeaseFile == "" {
		return
	}
	f := s.client.onDisk(s.clock, s.now)
	most := time.Duration(math.MaxInt64)
	if atEnd || statefile.InRAM(s.cfg.LeaseFile) {
		most = ramPause
	}
	if s.onDisk == nil && f.MAC == nil || s.onDisk != nil && s.onDisk.same(f, most) {
		return
	}
	s.writable = s.now + writePause
	b, err := json.MarshalIndent(f, "", "\t")
	if err == nil {
		err = statefile.Write(s.cfg.LeaseFile, append(b, '\n'), true)
	}
	if err != nil {
		s.count("hgw.lease-file.write-error")
		s.log.Warn("hgw: binding not kept over a restart", "err", err)
		return
	}
	s.count("hgw.lease-file.written")
	s.onDisk = f
}
