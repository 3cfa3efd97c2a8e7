package statefile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Load hands the content of a file to parse. What cannot be a file of ours (a directory, one
// that another user owns or may write to, one longer than most bytes) and what parse
// refuses is put aside, with a warning. The error is fs.ErrNotExist when there is none. What
// fails for want of something else, such as a file descriptor, stays where it is.
func Load(path string, most int64, parse func([]byte) error, log *slog.Logger) error {
	b, err := read(path, most)
	if errors.Is(err, fs.ErrNotExist) {
		return fs.ErrNotExist
	}
	var errno syscall.Errno
	if errors.As(err, &errno) && errno != syscall.EACCES && errno != syscall.ELOOP {
		log.Warn("state file not read", "err", err)
		return err
	}
	if err == nil {
		err = parse(b)
	}
	if err != nil {
		aside, failed := PutAside(path)
		log.Warn("state file not used, put aside", "file", path, "as", aside, "err", errors.Join(err, failed))
	}
	return err
}

// PutAside renames what is in a file's place, for a person to look at. It replaces what was
// put aside before, so that there is never more than one.
func PutAside(path string) (as string, err error) {
	as = path + ".bad"
	return as, os.Rename(path, as)
}

func read(path string, most int64) ([]byte, error) {
	// Not opened before it is known to be a file: a pipe would wait for its other end.
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	if !info.Mode().IsRegular() || owner != uint32(os.Geteuid()) || info.Mode().Perm()&0o022 != 0 {
		return nil, fmt.Errorf("mode %v, of user %d: want a file to which nobody but user %d can write", info.Mode(), owner, os.Geteuid())
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("more than %d bytes", most)
	}
	return b, err
}

// Write replaces a file, which is its owner's alone, and makes its directory. With sync the
// content outlives a power cut; without, the file may be empty after one.
func Write(path string, b []byte, sync bool) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	// Always of the same name: what a crash leaves is gone with the next Write.
	tmp := path + ".tmp"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil && sync {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		os.Remove(tmp)
	}
	return err
}

// InRAM tells whether a file is, or would be, in a tmpfs: there writing wears nothing.
func InRAM(path string) bool {
	var dir unix.Statfs_t
	return unix.Statfs(filepath.Dir(path), &dir) == nil && dir.Type == unix.TMPFS_MAGIC
}
