package kernel

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// maxJournal bounds the journal, in bytes. It has some kilobytes, and a resolv file
// of maxResolv at most.
const maxJournal = 1 << 20

// made is what an Applier made and has not removed, and what it changed and
// must put back: the content of the journal.
type made struct {
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
// aside, for a person to look at.
func (j *journal) load(log *slog.Logger) made {
	none := made{Kernel: j.kernel}
	if j.path == "" {
		return none
	}
	b, _, err := readFile(j.path, maxJournal)
	if errors.Is(err, fs.ErrNotExist) {
		return none
	}
	m := made{}
	if err == nil {
		m, err = decodeMade(b)
	}
	if err != nil {
		aside := j.path + ".bad"
		log.Warn("kernel: journal not understood: what a killed process left stays", "file", j.path, "aside", aside, "error", err)
		if err := os.Rename(j.path, aside); err != nil {
			log.Warn("kernel: put journal aside", "error", err)
		}
		return none
	}
	if m.Kernel != j.kernel {
		// The resolv file alone outlives a reboot.
		none.Resolv = m.Resolv
		return none
	}
	j.written = b
	return m
}

// decodeMade reads the content of a journal, which may be damaged: what it names is
// removed and written to, so nothing in it may name what this package never makes.
func decodeMade(b []byte) (made, error) {
	var m made
	if err := json.Unmarshal(b, &m); err != nil {
		return made{}, err
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
// not outlive the kernel that it tells about.
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
	if err := os.MkdirAll(filepath.Dir(j.path), 0o755); err != nil {
		return fmt.Errorf("kernel: journal: %w", err)
	}
	if err := replaceFile(j.path, b, 0o600); err != nil {
		return fmt.Errorf("kernel: journal: %w", err)
	}
	j.written = b
	return nil
}

// note saves before something is made. That it cannot be written keeps nothing
// from being made; whoever changes things tries again in the end and reports.
func (a *Applier) note() {
	if err := a.save(); err != nil {
		a.log.Debug("journal not written", "error", err)
	}
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

// readFile reads a regular file of at most most bytes.
func readFile(path string, most int64) ([]byte, fs.FileMode, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("%s: not a regular file", path)
	}
	if err != nil {
		return nil, 0, err
	}
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%s: longer than %d bytes", path, most)
	}
	return b, fi.Mode().Perm(), err
}

// replaceFile gives path the content b in one step.
func replaceFile(path string, b []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Chmod(mode), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
