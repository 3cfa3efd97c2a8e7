package dhcp6

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"sofutobanku/internal/dhcp6/dnsname"
	"sofutobanku/internal/statefile"
)

const (
	fileVersion = 1
	maxFile     = 64 << 10
	// unknownAge is what is left of a lease whose age cannot be told, because
	// the clock is behind the moment at which the file was written: a router
	// without a battery starts in the past.
	unknownAge = 10 * time.Minute
)

// leaseFile is the lease on disk. Its times are of the wall clock.
type leaseFile struct {
	Version    int            `json:"version"`
	DUID       HexBytes       `json:"duid"`
	IAID       uint32         `json:"iaid"`
	Saved      time.Time      `json:"saved"`
	Server     HexBytes       `json:"server"`
	ServerAddr netip.Addr     `json:"server_address"`
	Prefixes   []prefixOnDisk `json:"prefixes"`
	// ReconfigureKey is a secret; the file is for its owner alone.
	ReconfigureKey HexBytes `json:"reconfigure_key,omitempty"`
	Replay         uint64   `json:"replay,omitempty"`
	Info           *Info    `json:"info,omitempty"`
}

// prefixOnDisk has the lifetimes in seconds as granted, and their ends, which
// are null for never.
type prefixOnDisk struct {
	Prefix         netip.Prefix `json:"prefix"`
	Preferred      uint32       `json:"preferred"`
	Valid          uint32       `json:"valid"`
	PreferredUntil *time.Time   `json:"preferred_until"`
	ValidUntil     *time.Time   `json:"valid_until"`
}

// HexBytes is written as hexadecimal digits in JSON.
type HexBytes []byte

func (h HexBytes) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h), nil }
func (h *HexBytes) UnmarshalText(b []byte) (err error) {
	*h, err = hex.AppendDecode(nil, b)
	return err
}

// onDisk is l at now, of which the monotonic reading is not kept.
func onDisk(l *lease, info *Info, duid []byte, iaid uint32, now time.Time) *leaseFile {
	wall := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		// By the distance, so that a clock that was set meanwhile is no matter.
		w := now.Round(0).Add(t.Sub(now)).UTC().Truncate(time.Second)
		return &w
	}
	f := &leaseFile{
		Version: fileVersion, DUID: duid, IAID: iaid, Saved: *wall(now),
		Server: l.server, ServerAddr: l.serverAddr, ReconfigureKey: l.key, Replay: l.replay, Info: info,
	}
	for _, b := range l.bindings {
		f.Prefixes = append(f.Prefixes, prefixOnDisk{
			Prefix: b.Prefix, Preferred: b.Preferred, Valid: b.Valid,
			PreferredUntil: wall(b.preferred), ValidUntil: wall(b.valid),
		})
	}
	return f
}

// worthWriting tells whether next differs from what is on disk by more than a
// refreshed lifetime, since flash wears; in RAM also by one that is half used up there.
func worthWriting(have, next *leaseFile, inRAM bool) bool {
	if have == nil || !bytes.Equal(have.Server, next.Server) || !bytes.Equal(have.ReconfigureKey, next.ReconfigureKey) ||
		len(have.Prefixes) != len(next.Prefixes) {
		return true
	}
	a, _ := json.Marshal(have.Info)
	b, _ := json.Marshal(next.Info)
	if !bytes.Equal(a, b) {
		return true
	}
	for i, p := range have.Prefixes {
		q := next.Prefixes[i]
		if p.Prefix != q.Prefix || p.Preferred != q.Preferred || p.Valid != q.Valid {
			return true
		}
		half := time.Duration(q.Valid) * time.Second / 2
		if inRAM && p.ValidUntil != nil && p.ValidUntil.Sub(next.Saved) <= half {
			return true
		}
	}
	return false
}

// parseLease reads a lease file. A nil lease without an error means that there
// is none to use: it is another client's, or over.
func parseLease(b []byte, duid []byte, iaid uint32, now time.Time) (*leaseFile, *lease, error) {
	var f leaseFile
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, nil, err
	}
	if f.Version != fileVersion {
		return nil, nil, fmt.Errorf("version %d, known: %d", f.Version, fileVersion)
	}
	if !bytes.Equal(f.DUID, duid) || f.IAID != iaid {
		return nil, nil, nil
	}
	if err := f.check(); err != nil {
		return nil, nil, err
	}
	l := &lease{server: f.Server, serverAddr: f.ServerAddr, key: f.ReconfigureKey, replay: f.Replay, t1: now, t2: now}
	for _, p := range f.Prefixes {
		left := func(until *time.Time, granted uint32) (time.Time, bool) {
			if until == nil {
				return time.Time{}, true
			}
			d := until.Sub(now)
			if now.Before(f.Saved) {
				d = unknownAge
			}
			d = min(d, time.Duration(granted)*time.Second)
			return now.Add(max(d, 0)), d > 0
		}
		b := binding{iaPrefix: iaPrefix{Preferred: p.Preferred, Valid: p.Valid, Prefix: p.Prefix}, inLatest: true}
		var ok bool
		if b.valid, ok = left(p.ValidUntil, p.Valid); !ok {
			continue
		}
		b.preferred, ok = left(p.PreferredUntil, p.Preferred)
		b.deprecated = !ok
		l.bindings = append(l.bindings, b)
	}
	if len(l.bindings) == 0 {
		return nil, nil, nil
	}
	l.sort()
	return &f, l, nil
}

// check holds the file to what a message is held to: it may be damaged, or
// written by hand.
func (f *leaseFile) check() error {
	switch {
	case len(f.Server) < 1 || len(f.Server) > maxDUID:
		return fmt.Errorf("server identifier of %d octets", len(f.Server))
	case len(f.Prefixes) < 1 || len(f.Prefixes) > maxPrefixes:
		return fmt.Errorf("%d prefixes, accepted: 1 to %d", len(f.Prefixes), maxPrefixes)
	case len(f.ReconfigureKey) != 0 && len(f.ReconfigureKey) != rkapInfo-1:
		return errors.New("reconfigure key of a wrong length")
	case f.ServerAddr.Zone() != "" || f.ServerAddr.Is4():
		return fmt.Errorf("server address %q", f.ServerAddr)
	}
	seen := make(map[netip.Prefix]bool)
	for _, p := range f.Prefixes {
		if !delegable(p.Prefix) || seen[p.Prefix] {
			return fmt.Errorf("prefix %v", p.Prefix)
		}
		seen[p.Prefix] = true
		if p.Preferred > p.Valid || p.Valid == 0 ||
			(p.Valid == infinity) != (p.ValidUntil == nil) || (p.Preferred == infinity) != (p.PreferredUntil == nil) {
			return fmt.Errorf("prefix %v: lifetimes", p.Prefix)
		}
	}
	if f.Info != nil {
		return f.Info.check()
	}
	return nil
}

func (i *Info) check() error {
	for _, list := range [][]netip.Addr{i.DNS, i.SNTP, i.SIP} {
		if len(list) > maxAddrs {
			return errTooMany
		}
		for _, a := range list {
			if !usable(a) || a.Zone() != "" {
				return fmt.Errorf("address %v", a)
			}
		}
	}
	if len(i.Domains) > maxDomains || len(i.Vendor) > maxVendors {
		return errTooMany
	}
	for _, d := range i.Domains {
		if _, err := dnsname.Append(nil, d); err != nil || d == "" || strings.HasSuffix(d, ".") {
			return fmt.Errorf("domain %q", d)
		}
	}
	for _, v := range i.Vendor {
		if len(v.Data) > maxMessage {
			return errTooBig
		}
	}
	return nil
}

// load reads the lease file. What is no lease file of ours is put aside.
func (c *Client) load(now time.Time) {
	name := c.cfg.LeaseFile
	if name == "" {
		return
	}
	var f *leaseFile
	var l *lease
	err := statefile.Load(name, maxFile, func(b []byte) (err error) {
		f, l, err = parseLease(b, c.cfg.DUID, c.cfg.IAID, now)
		return err
	}, c.log)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		c.count("dhcp6.lease-file.bad")
	case l == nil:
		c.log.Info("dhcp6: lease in file not used: expired, or of another client identifier", "file", name)
	default:
		c.onDisk, c.lease, c.info = f, l, f.Info.clone()
		c.log.Info("dhcp6: lease read, to be verified", "file", name, "prefix", l.bindings[0].Prefix)
	}
}

// save writes the lease file if that is worth it; always is for the end of the
// daemon, where a true expiry is worth one write.
func (c *Client) save(now time.Time, always bool) {
	if c.cfg.LeaseFile == "" || c.lease == nil || !c.lease.verified {
		return
	}
	f := onDisk(c.lease, c.info, c.cfg.DUID, c.cfg.IAID, now)
	if !worthWriting(c.onDisk, f, statefile.InRAM(c.cfg.LeaseFile)) && (!always || slices.EqualFunc(c.onDisk.Prefixes, f.Prefixes, sameEnd)) {
		return
	}
	b, err := json.MarshalIndent(f, "", "\t")
	if err == nil {
		err = statefile.Write(c.cfg.LeaseFile, append(b, '\n'), true)
	}
	if err != nil {
		c.count("dhcp6.lease-file.write-error")
		c.log.Warn("dhcp6: lease not kept over a restart", "err", err)
		return
	}
	c.count("dhcp6.lease-file.written")
	c.onDisk = f
}

func sameEnd(a, b prefixOnDisk) bool {
	if a.ValidUntil == nil || b.ValidUntil == nil {
		return a.ValidUntil == b.ValidUntil
	}
	return b.ValidUntil.Sub(*a.ValidUntil).Abs() < time.Minute
}

// unsave removes the lease file.
func (c *Client) unsave() {
	c.onDisk = nil
	if c.cfg.LeaseFile == "" {
		return
	}
	if err := os.Remove(c.cfg.LeaseFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.log.Warn("dhcp6: stale lease file stays", "err", err)
	}
}
