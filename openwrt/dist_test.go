package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sofutobanku/internal/budget"
)

const (
	testArch  = "mipsel_24kc"
	testEpoch = 1767225600
)

// The directories of https://downloads.openwrt.org/releases/VERSION/packages: what
// the opkg of 24.10.7 and the apk of 25.12.5 were built for.
var (
	opkgKnows = strings.Fields(`
		aarch64_cortex-a53 aarch64_cortex-a72 aarch64_cortex-a76 aarch64_generic
		arm_arm1176jzf-s_vfp arm_arm926ej-s arm_cortex-a15_neon-vfpv4 arm_cortex-a5_vfpv4
		arm_cortex-a7 arm_cortex-a7_neon-vfpv4 arm_cortex-a7_vfpv4 arm_cortex-a8_vfpv3
		arm_cortex-a9 arm_cortex-a9_neon arm_cortex-a9_vfpv3-d16 arm_fa526 arm_xscale
		armeb_xscale i386_pentium-mmx i386_pentium4 loongarch64_generic mips64_octeonplus
		mips_24kc mips_4kec mips_mips32 mipsel_24kc mipsel_24kc_24kf mipsel_74kc
		mipsel_mips32 powerpc64_e5500 powerpc_464fp powerpc_8548 riscv64_riscv64 x86_64`)
	apkKnows = strings.Fields(`
		aarch64_cortex-a53 aarch64_cortex-a72 aarch64_cortex-a76 aarch64_generic
		arm_arm1176jzf-s_vfp arm_arm926ej-s arm_cortex-a15_neon-vfpv4 arm_cortex-a5_vfpv4
		arm_cortex-a7 arm_cortex-a7_neon-vfpv4 arm_cortex-a7_vfpv4 arm_cortex-a8_vfpv3
		arm_cortex-a9 arm_cortex-a9_neon arm_cortex-a9_vfpv3-d16 arm_fa526 arm_xscale
		armeb_xscale i386_pentium-mmx i386_pentium4 loongarch64_generic mips64_octeonplus
		mips_24kc mips_mips32 mipsel_24kc mipsel_24kc_24kf mipsel_74kc mipsel_mips32
		powerpc64_e5500 powerpc_464fp powerpc_8548 riscv64_generic x86_64`)
)

func TestArchitectures(t *testing.T) {
	seen := map[pkg]string{}
	for _, target := range targets {
		for _, p := range target.packages() {
			known := opkgKnows
			if p.format == apk {
				known = apkKnows
			}
			if !slices.Contains(known, p.arch) {
				t.Errorf("%s: OpenWrt has no %s for %s", target.name, p.format, p.arch)
			}
			if other, twice := seen[p]; twice {
				t.Errorf("%v: both of %s and %s", p, other, target.name)
			}
			seen[p] = target.name
		}
	}
}

// An entry is what a package says of one file or directory.
type entry struct {
	Mode     fs.FileMode // as Unix has it, with the special bits
	Dir      bool
	UID, GID int
	User     string
	Time     int64
	Sum      string
}

func TestPackages(t *testing.T) {
	here, there := t.TempDir(), t.TempDir()
	dist(t, "..", here, "umask 022", "TZ=UTC")
	dist(t, copyProject(t), there, "umask 077", "TZ=Asia/Tokyo")

	var names []string
	for _, c := range commands {
		names = append(names, c.name+"_"+version(t)+"_"+testArch)
	}
	for _, file := range []string{names[0] + ".ipk", names[0] + ".apk", names[1] + ".ipk", names[1] + ".apk", "SHA256SUMS"} {
		if !bytes.Equal(read(t, filepath.Join(here, file)), read(t, filepath.Join(there, file))) {
			t.Errorf("%s: built twice, in two directories, and not the same bytes", file)
		}
	}

	proto := map[string]string{
		"Package": "sofu-proto", "Version": version(t), "Architecture": testArch,
		"Depends": "kmod-ip6-tunnel, netifd", "Section": "net", "License": "Apache-2.0",
		"Maintainer": "The sofu-proto authors",
	}
	data := map[string]map[string]member{}
	data["sofu-proto"] = checkPackages(t, filepath.Join(here, names[0]), proto, true)
	tools := maps.Clone(proto)
	tools["Package"], tools["Depends"] = "sofutobanku-tools", "sofu-proto"
	data["sofu-tools"] = checkPackages(t, filepath.Join(here, names[1]), tools, false)

	programs := map[string][]byte{}
	for name, files := range data {
		programs[name] = files["."+binDir+name].content
	}
	legal := data["sofu-proto"]["."+licensesFile].content
	want := map[string]map[string]member{"sofu-proto": protoFiles(t, programs["sofu-proto"], legal), "sofu-tools": toolsFiles(programs["sofu-tools"])}
	for name, files := range data {
		checkContents(t, files, "./", want[name])
	}
	t.Run("sums", func(t *testing.T) {
		check := exec.Command("sha256sum", "--check", "--strict", "SHA256SUMS")
		check.Dir = here
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	t.Run("luci", func(t *testing.T) { checkLuci(t, here, there) })
	for i, c := range commands {
		t.Run(c.program, func(t *testing.T) {
			checkSize(t, filepath.Join(here, names[i]), "../cmd/"+c.program)
			checkLicenses(t, programs[c.program], string(legal))
			checkProgram(t, c.program, programs[c.program])
		})
	}
	t.Run("feed", func(t *testing.T) { checkFeed(t, programs, want) })
}

// checkPackages looks into the .ipk and the .apk of one name, whose control fields are in
// opkg's names, and returns their files, which have to be the same.
func checkPackages(t *testing.T, name string, fields map[string]string, scripts bool) (files map[string]member) {
	t.Run(fields["Package"]+"."+ipk, func(t *testing.T) {
		outer, order := unpack(t, bytes.NewReader(read(t, name+".ipk")))
		if diff := cmp.Diff([]string{"./debian-binary", "./control.tar.gz", "./data.tar.gz"}, order); diff != "" {
			t.Fatalf("opkg's layout (-want +got):\n%s", diff)
		}
		if got := string(outer["./debian-binary"].content); got != "2.0\n" {
			t.Errorf("debian-binary %q", got)
		}
		control, order := unpack(t, bytes.NewReader(outer["./control.tar.gz"].content))
		want := []string{"./control", "./conffiles"}
		if scripts {
			want = append(want, "./postinst")
			checkPostinst(t, control["./postinst"])
		}
		if diff := cmp.Diff(want, order); diff != "" {
			t.Errorf("control.tar.gz (-want +got):\n%s", diff)
		}
		files, _ = unpack(t, bytes.NewReader(outer["./data.tar.gz"].content))
		checkFields(t, control["./control"].content, ": ", fields)
		// The options are in the configuration of netifd, so none is in a file of ours.
		if got := strings.TrimSpace(string(control["./conffiles"].content)); got != "" {
			t.Errorf("conffiles %q", got)
		}
	})
	t.Run(fields["Package"]+"."+apk, func(t *testing.T) {
		parts := gzipMembers(t, read(t, name+".apk"))
		if len(parts) != 2 {
			t.Fatalf("%d gzip members, want the control data and the data", len(parts))
		}
		control, order := unpack(t, bytes.NewReader(parts[0]))
		want := []string{".PKGINFO"}
		if scripts {
			want = append(want, ".post-install", ".post-upgrade")
			checkPostinst(t, control[".post-install"])
			checkPostinst(t, control[".post-upgrade"])
		}
		if diff := cmp.Diff(want, order); diff != "" {
			t.Errorf("control data (-want +got):\n%s", diff)
		}
		checkFields(t, control[".PKGINFO"].content, " = ", map[string]string{
			"pkgname": fields["Package"], "pkgver": version(t), "arch": testArch,
			"depend": strings.ReplaceAll(fields["Depends"], ", ", "|"), "license": "Apache-2.0", "maintainer": "The sofu-proto authors",
			"datahash": fmt.Sprintf("%x", sha256.Sum256(parts[1])),
		})
		data, _ := unpack(t, bytes.NewReader(parts[1]))
		same := map[string]member{}
		for name, m := range data {
			same["./"+name] = m
		}
		checkContents(t, same, "./", stripped(files))
	})
	return files
}

// dist runs the command as a person does, from another directory and for one
// architecture.
func dist(t *testing.T, project, out, umask, env string) {
	t.Helper()
	cmd := exec.Command("sh", "-c", umask+` && "$1/openwrt/dist" -arch "$2" "$3"`, "sh", absolute(t, project), testArch, filepath.Base(out))
	cmd.Dir = filepath.Dir(out)
	cmd.Env = append(os.Environ(), env, fmt.Sprintf("SOURCE_DATE_EPOCH=%d", testEpoch))
	text, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("openwrt/dist: %v\n%s", err, text)
	}
	t.Logf("%s", text)
}

// copyProject copies all that is needed into a directory without a repository.
func copyProject(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, part := range []string{"cmd", "internal", "files", "openwrt", "luci/lmo", "luci/luci-proto-sofutobanku"} {
		if err := os.CopyFS(filepath.Join(dir, part), os.DirFS(filepath.Join("..", part))); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"go.mod", "go.sum", "LICENSE", "luci/postinst"} {
		if err := os.WriteFile(filepath.Join(dir, file), read(t, filepath.Join("..", file)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

type member struct {
	entry
	content []byte
}

// unpack reads a compressed tar archive; the names are as they are in it.
func unpack(t *testing.T, r io.Reader) (members map[string]member, order []string) {
	t.Helper()
	unzipped, err := gzip.NewReader(r)
	if err != nil {
		t.Fatal(err)
	}
	members = map[string]member{}
	for archive := tar.NewReader(unzipped); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return members, order
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg && h.Typeflag != tar.TypeDir {
			t.Errorf("%s: type %q", h.Name, h.Typeflag)
		}
		members[h.Name] = member{content: content, entry: entry{
			Mode: fs.FileMode(h.Mode), Dir: h.Typeflag == tar.TypeDir, UID: h.Uid, GID: h.Gid, User: h.Uname + ":" + h.Gname,
			Time: h.ModTime.Unix(), Sum: fmt.Sprintf("%x", sha256.Sum256(content)),
		}}
		order = append(order, h.Name)
	}
}

// gzipMembers splits what apk's format has simply one after the other.
func gzipMembers(t *testing.T, b []byte) (members [][]byte) {
	t.Helper()
	for r := bytes.NewReader(b); r.Len() > 0; {
		start := len(b) - r.Len()
		z, err := gzip.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		z.Multistream(false)
		if _, err := io.Copy(io.Discard, z); err != nil {
			t.Fatal(err)
		}
		members = append(members, b[start:len(b)-r.Len()])
	}
	return members
}

// checkFields compares fields; those given more than once are joined by "|".
func checkFields(t *testing.T, text []byte, separator string, want map[string]string) {
	t.Helper()
	got := map[string]string{}
	for line := range strings.Lines(string(text)) {
		key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), separator)
		if !ok {
			t.Errorf("line %q", line)
		}
		if before, again := got[key]; again {
			value = before + "|" + value
		}
		got[key] = value
	}
	for key := range got {
		if _, checked := want[key]; !checked {
			delete(got, key)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("control fields (-want +got):\n%s", diff)
	}
}

func checkPostinst(t *testing.T, got member) {
	t.Helper()
	if !bytes.Equal(got.content, read(t, "postinst")) || got.Mode != 0o755 || got.Time != testEpoch {
		t.Errorf("postinst: %+v\n%s", got.entry, got.content)
	}
}

// protoFiles are the program, the licences, and what is below files, by their paths.
func protoFiles(t *testing.T, program, legal []byte) map[string]member {
	t.Helper()
	files := map[string]member{
		binDir + "sofu-proto": {entry{Mode: 0o755}, program},
		licensesFile:          {entry{Mode: 0o644}, legal},
	}
	tree := os.DirFS("../files")
	err := fs.WalkDir(tree, ".", func(file string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		content, err := fs.ReadFile(tree, file)
		mode := fs.FileMode(0o644)
		if filepath.Ext(file) == ".sh" {
			mode = 0o755
		}
		files["/"+file] = member{entry{Mode: mode}, content}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func toolsFiles(program []byte) map[string]member {
	return map[string]member{binDir + "sofu-tools": {entry{Mode: 0o755}, program}}
}

// stripped is the files of a package as protoFiles has them.
func stripped(files map[string]member) map[string]member {
	out := map[string]member{}
	for name, m := range files {
		if !m.Dir {
			out[strings.TrimPrefix(name, ".")] = m
		}
	}
	return out
}

// checkContents wants exactly these files and their directories, all of root and for all
// to read.
func checkContents(t *testing.T, got map[string]member, prefix string, files map[string]member) {
	t.Helper()
	want := map[string]entry{}
	for path, m := range files {
		file := strings.TrimPrefix(path, "/")
		root := entry{Mode: m.Mode, User: "root:root", Time: testEpoch, Sum: fmt.Sprintf("%x", sha256.Sum256(m.content))}
		want[prefix+file] = root
		root.Mode, root.Dir, root.Sum = 0o755, true, fmt.Sprintf("%x", sha256.Sum256(nil))
		for dir := filepath.Dir(file); dir != "."; dir = filepath.Dir(dir) {
			want[prefix+dir+"/"] = root
		}
	}
	entries := map[string]entry{}
	for name, m := range got {
		entries[name] = m.entry
	}
	if diff := cmp.Diff(want, entries); diff != "" {
		t.Errorf("contents (-want +got):\n%s", diff)
	}
}

func lines(b []byte) []string { return strings.Split(strings.TrimSpace(string(b)), "\n") }

// checkSize holds the budget of the packages, which is of the smallest routers.
func checkSize(t *testing.T, name, folder string) {
	t.Helper()
	most := budget.Of(t, folder).Package
	for _, format := range []string{ipk, apk} {
		if got := len(read(t, name+"."+format)); got > most {
			t.Errorf("the .%s has %d bytes, the budget is %d", format, got, most)
		}
	}
}

// checkProgram runs it as far as a machine of another kind can.
func checkProgram(t *testing.T, name string, program []byte) {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		t.Fatal(err)
	}
	if f.Machine != elf.EM_MIPS || f.Class != elf.ELFCLASS32 || f.Data != elf.ELFDATA2LSB {
		t.Errorf("built for %v %v %v", f.Machine, f.Class, f.Data)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("not static: it has a %v", p.Type)
		}
	}
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, program, 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("qemu-mipsel-static", file, "version").CombinedOutput()
	number, _, _ := strings.Cut(version(t), "-")
	if err != nil || !strings.HasPrefix(string(out), name+" "+number+" ") {
		t.Errorf("%s version: %v\n%s", name, err, out)
	}
}

// checkFeed runs Makefile with doubles of OpenWrt's build system: it must install
// what the packages hold.
func checkFeed(t *testing.T, programs map[string][]byte, want map[string]map[string]member) {
	t.Helper()
	dir := t.TempDir()
	bin, dest := filepath.Join(dir, "bin"), filepath.Join(dir, "root")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, program := range programs {
		if err := os.WriteFile(filepath.Join(bin, name), program, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// The source's modes differ with the umask of who cloned it.
	feed := copyProject(t)
	err := filepath.WalkDir(filepath.Join(feed, "files"), func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		return os.Chmod(path, info.Mode().Perm()&0o700)
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("make", "-C", filepath.Join(feed, "openwrt"), "TOPDIR="+absolute(t, "testdata/sdk"), "DESTDIR="+dest, "PROGRAMS="+bin)
	cmd.Env = append(os.Environ(), "MAKEFLAGS=") // of the make that runs the tests
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make: %v\n%s", err, out)
	}
	if got := read(t, dest+"/sofu-proto.postinst"); !bytes.Equal(got, read(t, "postinst")) {
		t.Errorf("postinst of the feed:\n%s", got)
	}
	if got := read(t, dest+"/sofutobanku-tools.postinst"); string(got) != "\n" {
		t.Errorf("postinst of the feed's tools:\n%s", got)
	}
	flags := append([]string{"-v"}, lines(read(t, "../cmd/sofu-proto/goflags"))...)
	if diff := cmp.Diff(flags, lines(read(t, dest+"/flags"))); diff != "" {
		t.Errorf("flags of the feed's go install (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"sofutobanku/cmd/sofu-proto", "sofutobanku/cmd/sofu-tools"}, lines(read(t, dest+"/programs"))); diff != "" {
		t.Errorf("what the feed builds (-want +got):\n%s", diff)
	}
	for _, c := range commands {
		checkContents(t, installed(t, filepath.Join(dest, c.name)), "", want[c.program])
	}
}

// installed is what is below dest.
func installed(t *testing.T, dest string) map[string]member {
	t.Helper()
	installed := map[string]member{}
	err := filepath.WalkDir(dest, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dest {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dest, path)
		var content []byte
		if e.IsDir() {
			name += "/"
		} else {
			content = read(t, path)
		}
		// Owner and time are the build system's matter.
		installed[name] = member{entry: entry{
			Mode: info.Mode().Perm(), Dir: e.IsDir(), User: "root:root", Time: testEpoch, Sum: fmt.Sprintf("%x", sha256.Sum256(content)),
		}}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return installed
}

func TestRecipe(t *testing.T) {
	good := string(read(t, "Makefile"))
	for _, test := range []struct{ name, old, new, err string }{
		{"as it is", "", "", ""},
		{"no release", "PKG_RELEASE:=", "RELEASE:=", "no PKG_RELEASE:="},
		{"a name for a version", "PKG_VERSION:=0.1.0", "PKG_VERSION:=next", `version "next": apk orders numbers only`},
		{"description too long", "IPv6 with", strings.Repeat("long ", 60), "accepted: 1 to 256"},
		{"no dependencies", "  DEPENDS:=", "  DEPS:=", "no DEPENDS:="},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := strings.Replace(good, test.old, test.new, 1)
			if test.old != "" && text == good {
				t.Fatalf("no %q in Makefile", test.old)
			}
			_, err := parseRecipe(text, "sofu-proto")
			if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
				t.Errorf("got %v, want %q", err, test.err)
			}
		})
	}
}

func TestArguments(t *testing.T) {
	for _, test := range []struct {
		args []string
		err  string
	}{
		{[]string{"-arch", "sparc"}, `architecture "sparc": accepted: aarch64_cortex-a53 `},
		{[]string{"a", "b"}, `unexpected argument "b"`},
		{[]string{"-release"}, "not defined"},
	} {
		var out, progress bytes.Buffer
		err := run(test.args, &out, &progress)
		if err == nil || !strings.Contains(err.Error(), test.err) || out.Len() > 0 {
			t.Errorf("%v: got %v and %q, want %q", test.args, err, &out, test.err)
		}
	}
}

func TestSourceTime(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1767225600")
	if got, err := sourceTime(); err != nil || !got.Equal(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("got %v, %v", got, err)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "yesterday")
	if got, err := sourceTime(); err == nil {
		t.Errorf("got %v", got)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "")
	t.Chdir(t.TempDir()) // no repository
	if first, err := sourceTime(); err != nil || first.IsZero() {
		t.Errorf("outside a repository: %v, %v", first, err)
	}
}

// version is the package's, of Makefile.
func version(t *testing.T) string {
	t.Helper()
	r, err := readRecipe("Makefile", "sofu-proto")
	if err != nil {
		t.Fatal(err)
	}
	return r.version + "-r" + r.release
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}
