package dhcp6

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
)

// Saved is what a client kept of its lease, for a person to look at: the file is not
// changed, and the lease in it may be over.
type Saved struct {
	DUID     []byte // of the client
	IAID     uint32
	Prefixes []SavedPrefix
	Info     *Info // nil for none
}

// SavedPrefix is a prefix with its lifetimes in seconds as granted, 1<<32 - 1 for ever.
type SavedPrefix struct {
	Prefix           netip.Prefix
	Preferred, Valid uint32
}

// ReadSaved reads a lease file.
func ReadSaved(name string) (*Saved, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, err
	}
	var l leaseFile
	if err := json.Unmarshal(b, &l); err != nil {
		return nil, fmt.Errorf("dhcp6: lease file %s: %w", name, err)
	}
	if err := l.check(); err != nil {
		return nil, fmt.Errorf("dhcp6: lease file %s: %w", name, err)
	}
	s := &Saved{DUID: l.DUID, IAID: l.IAID, Info: l.Info}
	for _, p := range l.Prefixes {
		s.Prefixes = append(s.Prefixes, SavedPrefix{p.Prefix, p.Preferred, p.Valid})
	}
	return s, nil
}
