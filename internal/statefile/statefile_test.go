package statefile

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var errRefused = errors.New("refused")

// load loads a file whose content has to be good, and returns the warnings.
func load(path string) (warnings []string, err error) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	err = Load(path, 100, func(b []byte) error {
		if string(b) != "good" {
			return errRefused
		}
		return nil
	}, log)
	return strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n"), err
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Whatever is in the place of a state file: it is read, or put aside with one warning, and
// then there is a place for a new one.
func TestLoad(t *testing.T) {
	good := func(t *testing.T, path string) { must(t, os.WriteFile(path, []byte("good"), 0o600)) }
	for _, tt := range []struct {
		name  string
		make  func(t *testing.T, path string)
		aside bool
	}{
		{"good", good, false},
		{"others may read", func(t *testing.T, path string) { good(t, path); must(t, os.Chmod(path, 0o644)) }, false},
		{"a link to a good one", func(t *testing.T, path string) { good(t, path+"2"); must(t, os.Symlink(path+"2", path)) }, false},
		{"empty", func(t *testing.T, path string) { must(t, os.WriteFile(path, nil, 0o600)) }, true},
		{"garbage", func(t *testing.T, path string) { must(t, os.WriteFile(path, []byte{0, 255}, 0o600)) }, true},
		{"too long", func(t *testing.T, path string) {
			must(t, os.WriteFile(path, bytes.Repeat([]byte("good"), 26), 0o600))
		}, true},
		{"a terabyte", func(t *testing.T, path string) { good(t, path); must(t, os.Truncate(path, 1<<40)) }, true},
		{"others may write", func(t *testing.T, path string) { good(t, path); must(t, os.Chmod(path, 0o602)) }, true},
		{"its group may write", func(t *testing.T, path string) { good(t, path); must(t, os.Chmod(path, 0o660)) }, true},
		{"of another user", func(t *testing.T, path string) { good(t, path); must(t, os.Chown(path, 65534, -1)) }, true},
		{"a directory", func(t *testing.T, path string) { must(t, os.MkdirAll(filepath.Join(path, "x"), 0o700)) }, true},
		{"a pipe", func(t *testing.T, path string) { must(t, unix.Mkfifo(path, 0o600)) }, true},
		{"a socket", func(t *testing.T, path string) {
			l, err := net.Listen("unix", path)
			must(t, err)
			t.Cleanup(func() { l.Close() })
		}, true},
		{"a link to what never ends", func(t *testing.T, path string) { must(t, os.Symlink("/dev/zero", path)) }, true},
		{"a link to itself", func(t *testing.T, path string) { must(t, os.Symlink(path, path)) }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			tt.make(t, path)
			before, err := os.Lstat(path)
			must(t, err)
			warnings, err := load(path)
			if (err != nil) != tt.aside || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Load: %v", err)
			}
			if !tt.aside {
				if warnings[0] != "" {
					t.Errorf("warned: %q", warnings)
				}
				return
			}
			if len(warnings) != 1 || !strings.Contains(warnings[0], "level=WARN") || !strings.Contains(warnings[0], path+".bad") {
				t.Errorf("warnings: %q", warnings)
			}
			if aside, err := os.Lstat(path + ".bad"); err != nil || aside.Mode() != before.Mode() || aside.Size() != before.Size() {
				t.Errorf("put aside: %v, %v", aside, err)
			}
			if warnings, err := load(path); !errors.Is(err, fs.ErrNotExist) || warnings[0] != "" {
				t.Errorf("Load once more: %v, %q", err, warnings)
			}
			must(t, Write(path, []byte("good"), false))
			if _, err := load(path); err != nil {
				t.Error(err)
			}
		})
	}
}

// However often there is something to put aside, one is kept: the latest.
func TestPutAsideIsBounded(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	for _, text := range []string{"one", "two", "three"} {
		must(t, os.WriteFile(path, []byte(text), 0o600))
		if _, err := load(path); !errors.Is(err, errRefused) {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(dir)
	must(t, err)
	if b, err := os.ReadFile(path + ".bad"); len(entries) != 1 || string(b) != "three" {
		t.Errorf("%v: %q, %v", entries, b, err)
	}
	// What cannot be put aside costs a warning too, and no more.
	must(t, os.Mkdir(path, 0o700))
	if warnings, err := load(path); err == nil || len(warnings) != 1 || !strings.Contains(warnings[0], "rename") {
		t.Errorf("%v, %q", err, warnings)
	}
}

// A good file stays where it is when it is something else that is missing.
func TestLoadWithoutDescriptors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(path, []byte("good"), 0o600))
	var before unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &before))
	none := before
	none.Cur = 0
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &none))
	warnings, err := load(path)
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &before))
	if !errors.Is(err, unix.EMFILE) || len(warnings) != 1 || warnings[0] == "" {
		t.Errorf("Load: %v, %q", err, warnings)
	}
	if _, err := load(path); err != nil {
		t.Errorf("the file is gone: %v", err)
	}
	if _, err := load(path + "/below"); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("below a file: %v", err)
	}
	if _, err := load(path); err != nil {
		t.Errorf("the file is gone: %v", err)
	}
}

// The contents that TestCrash's child writes in turn: two pages, so that a part of one
// could be there.
var crashContents = []string{strings.Repeat("a", 8000), strings.Repeat("b", 8001)}

// TestCrash kills a writer at random moments: the old or the new content is there, whole, and
// never more than one file beside it, which the next Write removes.
func TestCrash(t *testing.T) {
	if path := os.Getenv("CRASH_FILE"); path != "" {
		for i := 0; ; i++ {
			must(t, Write(path, []byte(crashContents[i%2]), i%4 < 2))
		}
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	must(t, Write(path, []byte(crashContents[0]), false))
	halfway, fresh := 0, 0
	for range 60 {
		must(t, os.WriteFile(path, []byte(crashContents[0]), 0o600))
		cmd := exec.Command(os.Args[0], "-test.run=^TestCrash$")
		cmd.Env = append(os.Environ(), "CRASH_FILE="+path)
		must(t, cmd.Start())
		for begun := time.Now(); time.Since(begun) < 10*time.Second; { // until it writes
			if b, _ := os.ReadFile(path); string(b) == crashContents[1] {
				break
			}
		}
		time.Sleep(time.Duration(rand.IntN(2000)) * time.Microsecond)
		must(t, cmd.Process.Kill())
		cmd.Wait()

		b, err := os.ReadFile(path)
		if err != nil || string(b) != crashContents[0] && string(b) != crashContents[1] {
			t.Fatalf("%d bytes, %v: neither the old nor the new content", len(b), err)
		}
		if string(b) == crashContents[1] {
			fresh++
		}
		entries, err := os.ReadDir(dir)
		must(t, err)
		switch len(entries) {
		case 1:
		case 2:
			halfway++
		default:
			t.Fatalf("left: %v", entries)
		}
	}
	t.Logf("60 kills: %d in the middle of a Write, %d with the second content", halfway, fresh)
	if halfway == 0 || fresh == 0 || fresh == 60 {
		t.Error("the kills prove nothing")
	}
	must(t, Write(path, []byte("good"), true))
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("left: %v, %v", entries, err)
	}
}

// TestFull: on a full file system the old content stays, and nothing else.
func TestFull(t *testing.T) {
	if dir := os.Getenv("FULL_DIR"); dir != "" {
		must(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"))
		path := filepath.Join(dir, "file")
		must(t, Write(path, []byte("good"), true))
		for range 3 {
			if err := Write(path, make([]byte, 1<<20), true); !errors.Is(err, unix.ENOSPC) {
				t.Fatalf("Write: %v, want %v", err, unix.ENOSPC)
			}
		}
		if _, err := load(path); err != nil {
			t.Error(err)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
			t.Errorf("left: %v, %v", entries, err)
		}
		if !InRAM(path) || InRAM("/proc/file") {
			t.Error("InRAM is wrong")
		}
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestFull$", "-test.v")
	cmd.Env = append(os.Environ(), "FULL_DIR="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) {
		t.Skip("a mount namespace of one's own needs root")
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
