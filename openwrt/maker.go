package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	// binDir is where the programs go.
	binDir = "/usr/sbin/"
	// filesDir holds what a router gets besides sofu-proto, at the same paths.
	filesDir = "files"
)

// commands are the programs in cmd, and the package of each.
var commands = []struct{ program, name string }{
	{"sofu-proto", "sofu-proto"},
	{"sofu-tools", "sofutobanku-tools"},
}

// A maker builds programs and packages in the project's root directory.
type maker struct {
	recipes map[string]recipe // by the program
	tmp     string
	nfpm    string    // program file
	time    time.Time // of all in the packages
	post    string    // the script of the packages, with that time
	legal   string    // file of the licences
}

func newMaker(tmp string) (*maker, error) {
	m := &maker{tmp: tmp, recipes: map[string]recipe{}}
	var err error
	for _, c := range commands {
		if m.recipes[c.program], err = readRecipe("openwrt/Makefile", c.name); err != nil {
			return nil, err
		}
	}
	if m.time, err = sourceTime(); err != nil {
		return nil, err
	}
	// nfpm is run without the go command in between: it is called for every package.
	nfpm, err := output(nil, []string{"GOOS=", "GOARCH="}, "openwrt/tools", "go", "tool", "-n", "nfpm")
	if err != nil {
		return nil, err
	}
	m.nfpm = strings.TrimSpace(string(nfpm))

	text, err := licenses()
	if err != nil {
		return nil, err
	}
	m.legal = filepath.Join(tmp, "LICENSES")
	if err := os.WriteFile(m.legal, text, 0o644); err != nil {
		return nil, err
	}
	m.post, err = m.script("openwrt/postinst")
	return m, err
}

// script is a copy of a package's script that has the time of all in the packages.
func (m *maker) script(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	name := filepath.Join(m.tmp, strings.ReplaceAll(file, "/", "-"))
	if err := os.WriteFile(name, text, 0o755); err != nil {
		return "", err
	}
	return name, os.Chtimes(name, m.time, m.time)
}

// sourceTime is SOURCE_DATE_EPOCH, else the time of the last commit, else always
// the same.
func sourceTime() (time.Time, error) {
	seconds := os.Getenv("SOURCE_DATE_EPOCH")
	if seconds == "" {
		root, err := os.Getwd()
		if err != nil {
			return time.Time{}, err
		}
		// A clone may belong to another user, which git does not like.
		log, err := output(nil, nil, "", "git", "-c", "safe.directory="+root, "log", "-1", "--format=%ct")
		if err != nil {
			return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), nil
		}
		seconds = strings.TrimSpace(string(log))
	}
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	return time.Unix(n, 0).UTC(), nil
}

// build returns the file of a program for the target.
func (m *maker) build(t target, program string) (string, error) {
	file := filepath.Join(m.tmp, program+"-"+t.name)
	flags, err := os.ReadFile("cmd/sofu-proto/goflags")
	if err != nil {
		return "", err
	}
	args := append([]string{"build", "-buildvcs=false"}, strings.Split(strings.TrimSpace(string(flags)), "\n")...)
	_, err = output(nil, t.goEnv(), "", "go", append(args, "-o", file, "./cmd/"+program)...)
	return file, err
}

// config is nfpm's configuration file, as far as it is used here.
type config struct {
	Name            string            `json:"name"`
	Arch            string            `json:"arch"`
	Platform        string            `json:"platform"`
	Version         string            `json:"version"`
	VersionSchema   string            `json:"version_schema"`
	Release         string            `json:"release"`
	Section         string            `json:"section"`
	Maintainer      string            `json:"maintainer"`
	Description     string            `json:"description"`
	Homepage        string            `json:"homepage,omitempty"`
	License         string            `json:"license"`
	Depends         []string          `json:"depends"`
	ModTime         time.Time         `json:"mtime"`
	DisableGlobbing bool              `json:"disable_globbing"`
	Contents        []content         `json:"contents"`
	Scripts         map[string]string `json:"scripts,omitempty"`
	IPK             formatConfig      `json:"ipk"`
	APK             formatConfig      `json:"apk"`
}

type formatConfig struct {
	Arch    string            `json:"arch"`
	Fields  map[string]string `json:"fields,omitempty"`
	Scripts map[string]string `json:"scripts,omitempty"`
}

type content struct {
	Source      string   `json:"src"`
	Destination string   `json:"dst"`
	Info        fileInfo `json:"file_info"`
}

type fileInfo struct {
	Mode    fs.FileMode `json:"mode"`
	ModTime time.Time   `json:"mtime"`
	Owner   string      `json:"owner"`
	Group   string      `json:"group"`
}

// pack returns a package of what is in the parcel.
func (m *maker) pack(what parcel, p pkg) ([]byte, error) {
	r := what.recipe
	c := config{
		Name: r.name, Arch: p.arch, Platform: "linux",
		Version: r.version, VersionSchema: "none", Release: "r" + r.release,
		Section: r.section, Maintainer: r.maintainer, Description: r.description, License: r.license,
		Depends: r.depends, ModTime: m.time, DisableGlobbing: true, Contents: what.contents,
		IPK: formatConfig{Arch: p.arch},
		APK: formatConfig{Arch: p.arch},
	}
	if what.post != "" {
		c.Scripts = map[string]string{"postinstall": what.post}
		c.APK.Scripts = map[string]string{"postupgrade": what.post}
	}
	// opkg as OpenWrt has it knows a URL and no Homepage.
	if p.format == ipk {
		c.IPK.Fields = map[string]string{"URL": r.url}
	} else {
		c.Homepage = r.url
	}
	text, err := json.Marshal(c) // JSON is YAML too
	if err != nil {
		return nil, err
	}
	configFile, file := filepath.Join(m.tmp, "nfpm.yaml"), filepath.Join(m.tmp, "package")
	if err := os.WriteFile(configFile, text, 0o644); err != nil {
		return nil, err
	}
	if _, err := output(nil, nil, "", m.nfpm, "package", "--config", configFile, "--packager", p.format, "--target", file); err != nil {
		return nil, err
	}
	return os.ReadFile(file)
}

// program is the package of the program in file. With sofu-proto, on which all others
// depend, come the licences and all below files.
func (m *maker) program(name, file string) (parcel, error) {
	p := parcel{recipe: m.recipes[name], contents: []content{m.content(file, binDir+name, true)}}
	if name != "sofu-proto" {
		return p, nil
	}
	contents, err := m.tree(filesDir, "")
	p.contents = append(append(p.contents, m.content(m.legal, licensesFile, false)), contents...)
	p.post = m.post
	return p, err
}

// tree is all below dir, at the same paths below at. It is listed file by file: of a
// directory nfpm writes a mode into the .apk that apk takes for a broken package.
func (m *maker) tree(dir, at string) (list []content, err error) {
	err = filepath.WalkDir(dir, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s: %v, only regular files can be packaged", file, info.Mode().Type())
		}
		list = append(list, m.content(file, at+strings.TrimPrefix(filepath.ToSlash(file), dir), info.Mode()&0o111 != 0))
		return nil
	})
	return list, err
}

func (m *maker) content(source, destination string, executable bool) content {
	mode := fs.FileMode(0o644)
	if executable {
		mode = 0o755
	}
	return content{source, destination, fileInfo{mode, m.time, "root", "root"}}
}

// output runs a program in dir with env added to the environment, and returns what
// it writes to standard output.
func output(stdin io.Reader, env []string, dir, name string, args ...string) ([]byte, error) {
	cmd := exec.Command(name, args...)
	cmd.Stdin, cmd.Dir, cmd.Env = stdin, dir, append(os.Environ(), env...)
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w\n%s%s", err, out, bytes.TrimSpace(exit.Stderr))
		}
		return nil, fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return out, nil
}
