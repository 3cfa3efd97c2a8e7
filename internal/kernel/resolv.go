package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"sofutobanku/internal/state"
)

// maxResolv bounds the file of somebody else that is kept for later, in bytes.
const maxResolv = 64 << 10

// madeResolv is the resolv file that was written and what was there before.
type madeResolv struct {
	File    string      `json:"file"` // as in Options
	Path    string      `json:"path"` // with symbolic links followed
	New     string      `json:"new"`
	Existed bool        `json:"existed,omitempty"`
	Old     []byte      `json:"old,omitempty"`
	Mode    fs.FileMode `json:"mode,omitempty"`
}

// setResolv writes the resolv file, or puts the previous one back when there
// are no name servers.
func (a *Applier) setResolv(wan state.WAN) error {
	text := ""
	if a.opt.PeerDNS && a.opt.ResolvFile != "" {
		text = resolvText(wan, a.opt.Device)
	}
	if text == "" {
		return a.restoreResolv()
	}
	var errs problems
	if m := a.made.Resolv; m != nil && m.File != a.opt.ResolvFile {
		errs.add(a.restoreResolv())
	}
	// A link stays a link: the file at its end is replaced.
	path := a.opt.ResolvFile
	if m := a.made.Resolv; m != nil {
		path = m.Path
	} else if p, err := filepath.EvalSymlinks(path); err == nil {
		path = p
	}
	now, mode, err := readFile(path, maxResolv)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs.add(fmt.Errorf("kernel: resolv file: %w", err))
		return errs.join()
	}
	m := a.made.Resolv
	if m == nil {
		m = &madeResolv{File: a.opt.ResolvFile, Path: path, Existed: err == nil, Old: now, Mode: mode}
	} else if m.New == text && err == nil && string(now) == text {
		return nil
	}
	m.New = text
	a.made.Resolv = m
	a.note()
	if err := replaceFile(path, []byte(text), 0o644); err != nil {
		errs.add(fmt.Errorf("kernel: resolv file: %w", err))
	}
	return errs.join()
}

// restoreResolv puts the previous file back, unless somebody else has written
// it since.
func (a *Applier) restoreResolv() error {
	m := a.made.Resolv
	if m == nil {
		return nil
	}
	now, _, err := readFile(m.Path, maxResolv)
	if err == nil && string(now) == m.New {
		if m.Existed {
			err = replaceFile(m.Path, m.Old, m.Mode)
		} else {
			err = os.Remove(m.Path)
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("kernel: restore resolv file: %w", err)
	}
	a.made.Resolv = nil
	return nil
}

// resolvText is a resolv.conf(5), "" without a name server. Servers and domains
// come from the wire: what could not be one is left out.
func resolvText(wan state.WAN, device string) string {
	var b bytes.Buffer
	for _, ip := range wan.DNS {
		ip = ip.Unmap()
		if !ip.IsValid() || ip.IsUnspecified() || ip.IsLoopback() || ip.IsMulticast() {
			continue
		}
		if ip.IsLinkLocalUnicast() && ip.Is6() {
			ip = ip.WithZone(device)
		} else {
			ip = ip.WithZone("")
		}
		fmt.Fprintf(&b, "nameserver %s\n", ip)
	}
	if b.Len() == 0 {
		return ""
	}
	var search []string
	for _, d := range wan.Domains {
		// Resolvers take six.
		if d = strings.TrimSuffix(d, "."); isDomain(d) && len(search) < 6 {
			search = append(search, d)
		}
	}
	if len(search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(search, " "))
	}
	return b.String()
}

func isDomain(d string) bool {
	if len(d) > 253 {
		return false
	}
	for label := range strings.SplitSeq(d, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
				return false
			}
		}
	}
	return true
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
