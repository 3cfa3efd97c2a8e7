package privilege

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// kept are the capabilities that stay, as bits.
const kept = 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_NET_RAW | 1<<unix.CAP_NET_BIND_SERVICE

// Confine gives up all that doc.go says, for all threads and for whatever they
// start later. It cannot be undone. What cannot be given up is named by the error
// and keeps nothing else from being given up, but in a program with cgo: Go does not
// reach all threads of one, and the error is an errors.ErrUnsupported.
func Confine() error {
	unix.Umask(0o077)
	err := noDumps()
	if e := allThreads("no_new_privs", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1); e != nil {
		return errors.Join(err, e)
	}
	return errors.Join(err, bound(), limit(), install())
}

// noDumps keeps the memory, in which there are secrets, out of core dumps and from
// other processes of the same user. The limit is for programs started later, to
// which the other does not pass on.
func noDumps() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("privilege: limit of core dumps: %w", err)
	}
	if _, err := unix.PrctlRetInt(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("privilege: not dumpable: %w", err)
	}
	return nil
}

// bound drops the capabilities from the bounding set, up to the last that the
// kernel knows.
func bound() error {
	for c := uintptr(0); ; c++ {
		in, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0)
		if err != nil {
			return nil
		}
		if in == 0 || kept>>c&1 != 0 {
			continue
		}
		if err := allThreads("capability bounding set", unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c); err != nil {
			return err
		}
	}
}

// limit drops the capabilities from the other sets. Ambient ones go with the
// inheritable ones.
func limit() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData // of capabilities 0 to 31, and the higher ones
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return fmt.Errorf("privilege: capabilities: %w", err)
	}
	permitted := sets[0].Permitted & kept
	sets = [2]unix.CapUserData{{Effective: permitted, Permitted: permitted}}
	// Not by allThreads, in which the addresses would be mere numbers.
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET,
		uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&sets[0])), 0)
	if errno != 0 {
		return fmt.Errorf("privilege: capabilities: %w", errno)
	}
	return nil
}

// allThreads makes a system call in every thread: what it sets belongs to one.
func allThreads(what string, trap, a1, a2 uintptr) error {
	if _, _, errno := syscall.AllThreadsSyscall(trap, a1, a2, 0); errno != 0 {
		return fmt.Errorf("privilege: %s: %w", what, errno)
	}
	return nil
}

// Dir makes a directory for the process's user alone; the missing ones above it
// stay open to others. One that is there is refused when another user can write
// there, who could have this process read, replace or remove files of its choice.
func Dir(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o700); !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	if !info.IsDir() || owner != uint32(os.Geteuid()) || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s (mode %v, of user %d): want a directory in which nobody but user %d can write", path, info.Mode(), owner, os.Geteuid())
	}
	return nil
}
