package kernel

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"sofutobanku/internal/statefile"
)

// maxJournal bounds the journal, in bytes. It has some kilobytes, and a resolv file
// of maxResolv at most.
const maxJournal = 1 << 20

// made is what an Applier made and has not removed, and what it changed and
// must put back: the content of the journal.
type made struct {
	// Version is 0, and left out. Another one would be a later program's, whose journal
	// is not understood.
	Version int `json:"version,omitempty"`
	// Kernel is the running kernel and network namespace to which the rest
	// belongs: after a reboot all of it is gone.
	Kernel    string            `json:"kernel"`
	Device    int               `json:"device"`       // index of the WAN device that was prepared
	Up        bool              `json:"up,omitempty"` // it was down before
	Sysctls   map[string]sysctl `json:"sysctls,omitempty"`
	Addresses []address         `json:"addresses,omitempty"`
	Routes    []route           `json:"routes,omitempty"`
	Tunnel    *madeTunnel       `json:"tunnel,omitempty"`
	Resolv    *madeResolv       `json:"resolv,omitempty"`
	Forward   bool              `json:"forward,omitempty"` // something is forwarded at layer 2
}

type madeTunnel struct {
	Name  string `json:"name"`
	Index int    `json:"index"` // 0 while it is being made
}

// journal is the file that holds a made.
type journal struct {
	path    string // "" for none
	written []byte // what is in it
	kernel  string
	current bool // what is in it was made by this process
	failing bool // it could not be written when that was last tried
}

func openJournal(dir, device string) journal {
	j := journal{kernel: kernelID()}
	if dir != "" {
		j.path = filepath.Join(dir, "kernel-"+device+".json")
	}
	return j
}

func kernelID() string {
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	var ns syscall.Stat_t
	_ = syscall.Stat("/proc/thread-self/ns/net", &ns)
	return fmt.Sprintf("%s/%d", strings.TrimSpace(string(boot)), ns.Ino)
}

// load reads the journal of a predecessor. One that cannot be understood is put
// aside, for a person to look at: what a killed process left then stays.
func (j *journal) load(log *slog.Logger) made {
	none := made{Kernel: j.kernel}
	if j.path == "" {
		return none
	}
	var m made
	var content []byte
	err := statefile.Load(j.path, maxJournal, func(b []byte) (err error) {
		content = b
		m, err = decodeMade(b)
		return err
	}, log)
	if err != nil {
		return none
	}
	if m.Kernel != j.kernel {
		// The resolv file alone outlives a reboot.
		none.Resolv = m.Resolv
		return none
	}
	j.written = content
	return m
}

// decodeMade reads the content of a journal, which may be damaged: what it names is
// removed and written to, so nothing in it may name what this package never makes.
func decodeMade(b []byte) (made, error) {
	var m made
	if err := json.Unmarshal(b, &m); err != nil {
		return made{}, err
	}
	if m.Version != 0 {
		return made{}, fmt.Errorf("version %d is later than this program", m.Version)
	}
	for name := range m.Sysctls {
		if !filepath.IsLocal(name) {
			return made{}, fmt.Errorf("sysctl %q", name)
		}
	}
	if r := m.Resolv; r != nil && (r.Mode != r.Mode.Perm() || len(r.Old) > maxResolv) {
		return made{}, fmt.Errorf("resolv file of mode %v and %d bytes", r.Mode, len(r.Old))
	}
	return m, nil
}

// save writes the journal if it changed. It is not synced to the disk: it need
// not outlive the kernel that it tells about, and what it makes is waited for.
func (a *Applier) save() error {
	j := &a.journal
	if j.path == "" {
		return nil
	}
	b, err := json.MarshalIndent(a.made, "", "\t")
	if err != nil {
		return fmt.Errorf("kernel: journal: %w", err)
	}
	if bytes.Equal(b, j.written) {
		return nil
	}
	if err := statefile.Write(j.path, b, false); err != nil {
		return fmt.Errorf("kernel: journal: %w", err)
	}
	j.written = b
	return nil
}

// note saves before something is made and in the end. That the journal cannot be
// written keeps nothing from being made and is no error of it: a line without a
// journal is up. Each Apply tries again; what is logged is that it begins to fail.
func (a *Applier) note() {
	err := a.save()
	if err != nil && !a.journal.failing {
		a.log.Warn("what is made would outlive a killed process", "error", err)
	}
	a.journal.failing = err != nil
}

func (j *journal) remove() error {
	if j.path == "" {
		return nil
	}
	if err := os.Remove(j.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("kernel: journal: %w", err)
	}
	j.written = nil
	return nil
}
