package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"sofutobanku/internal/state"
)

// sysctl is a changed setting of the WAN device: net.ipv6.conf.<device>.<name>, or
// with a name like neigh/x net.ipv6.neigh.<device>.x.
type sysctl struct {
	Old string `json:"old"`
	New string `json:"new"`
}

func (a *Applier) sysctlPath(name string) string {
	group, name := filepath.Split(name)
	if group == "" {
		group = "conf"
	}
	return filepath.Join(a.procSys, "net/ipv6", group, a.opt.Device, name)
}

func (a *Applier) readSysctl(name string) (string, error) {
	b, err := os.ReadFile(a.sysctlPath(name))
	return strings.TrimSpace(string(b)), err
}

// setSysctl changes a setting of the WAN device and remembers what it was; one
// that is not needed may be missing in the kernel.
func (a *Applier) setSysctl(name, value string, needed bool) error {
	old, err := a.readSysctl(name)
	if !needed && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("kernel: sysctl %s: %w", name, err)
	}
	if old == value {
		return nil
	}
	m, ok := a.made.Sysctls[name]
	if !ok {
		m.Old = old
	}
	m.New = value
	if a.made.Sysctls == nil {
		a.made.Sysctls = map[string]sysctl{}
	}
	a.made.Sysctls[name] = m
	a.note()
	if err := os.WriteFile(a.sysctlPath(name), []byte(value), 0); err != nil {
		return fmt.Errorf("kernel: set sysctl %s to %s: %w", name, value, err)
	}
	return nil
}

// restoreSysctl puts a setting back, unless somebody else has set it since.
func (a *Applier) restoreSysctl(name string) error {
	m, ok := a.made.Sysctls[name]
	if !ok {
		return nil
	}
	now, err := a.readSysctl(name)
	if err == nil && now == m.New {
		err = os.WriteFile(a.sysctlPath(name), []byte(m.Old), 0)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("kernel: restore sysctl %s to %s: %w", name, m.Old, err)
	}
	delete(a.made.Sysctls, name)
	return nil
}

// setWAN renders what the kernel itself would take from a router advertisement
// for the whole link (RFC 4861 6.3.4). An MTU is taken only if the link can
// carry it.
func (a *Applier) setWAN(wan state.WAN, linkMTU int) error {
	set := func(name string, value int, ok bool) error {
		if ok {
			return a.setSysctl(name, strconv.Itoa(value), true)
		}
		return a.restoreSysctl(name)
	}
	return errors.Join(
		set("mtu", wan.MTU, wan.MTU >= 1280 && wan.MTU <= linkMTU),
		set("hop_limit", wan.HopLimit, wan.HopLimit > 0 && wan.HopLimit <= 255))
}
