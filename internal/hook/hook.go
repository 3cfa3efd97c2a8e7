// Package hook runs a user's program when something has changed, as odhcp6c does with
// /etc/odhcp6c.user.
package hook

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"time"
)

// patience is how long a program may run.
const patience = time.Minute

// Hook runs one program, never twice at the same time. The zero Hook has none.
type Hook struct {
	Path string // "" for none; a file that is not there is none either
	Log  *slog.Logger

	mu      sync.Mutex
	running bool
	next    []string // what the program is to be told, nil when it knows
	told    []string
}

// Tell runs the program, without arguments and with env, variables as NAME=VALUE, and PATH
// as its whole environment; not when that is what it was told last. While it runs it is
// told later, and of the latest alone. Tell does not wait.
func (h *Hook) Tell(env []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.Path == "" || h.next == nil && slices.Equal(h.told, env) {
		return
	}
	h.next = env
	if !h.running {
		h.running = true
		go h.run()
	}
}

func (h *Hook) run() {
	for {
		h.mu.Lock()
		env := h.next
		if env == nil {
			h.running = false
			h.mu.Unlock()
			return
		}
		h.next, h.told = nil, env
		h.mu.Unlock()
		switch err := start(h.Path, env); {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			h.Log.Warn("the user's program failed", "program", h.Path, "error", err)
		default:
			h.Log.Info("the user's program was told", "program", h.Path)
		}
	}
}

// start runs a program that nobody but this user can have put there.
func start(path string, env []string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	if !info.Mode().IsRegular() || owner != uint32(os.Geteuid()) || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("mode %v, of user %d: want a file to which nobody but user %d can write", info.Mode(), owner, os.Geteuid())
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path)
	cmd.Env = append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, env...)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr // the log
	// With all that it started, when it takes too long.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	err = cmd.Run()
	if ctx.Err() != nil {
		err = fmt.Errorf("ended after %v", patience)
	}
	return err
}
