package main

import (
	"bytes"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sofutobanku/luci/lmo"
)

// checkLuci looks into the packages of the LuCI pages, which are in both directories.
func checkLuci(t *testing.T, here, there string) {
	t.Helper()
	pages := map[string]string{} // contents by path
	for dir, at := range map[string]string{"htdocs": "www/", "root": ""} {
		tree := os.DirFS("../luci/luci-proto-sofutobanku/" + dir)
		err := fs.WalkDir(tree, ".", func(file string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			content, err := fs.ReadFile(tree, file)
			pages[at+file] = string(content)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(pages) < 8 {
		t.Errorf("only %d files", len(pages))
	}
	catalogue, err := lmo.FromPO(string(read(t, "../luci/luci-proto-sofutobanku/po/ja/sofutobanku.po")))
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{
		"usr/lib/lua/luci/i18n/sofutobanku.ja.lmo":  string(catalogue),
		"etc/uci-defaults/luci-i18n-sofutobanku-ja": "uci set luci.languages.ja='日本語 (Japanese)'; uci commit luci\n",
	}
	for _, test := range []struct {
		name     string
		contents map[string]string
		depends  string
	}{
		{"luci-proto-sofutobanku", pages, "luci-base, sofu-proto"},
		{"luci-i18n-sofutobanku-ja", texts, "luci-proto-sofutobanku"},
	} {
		file := test.name + "_" + version(t)
		for _, name := range []string{file + "_all.ipk", file + "_noarch.apk"} {
			if !bytes.Equal(read(t, filepath.Join(here, name)), read(t, filepath.Join(there, name))) {
				t.Errorf("%s: built twice, and not the same bytes", name)
			}
		}
		outer, _ := unpack(t, bytes.NewReader(read(t, filepath.Join(here, file+"_all.ipk"))))
		control, _ := unpack(t, bytes.NewReader(outer["./control.tar.gz"].content))
		checkFields(t, control["./control"].content, ": ", map[string]string{
			"Package": test.name, "Version": version(t), "Architecture": "all", "Depends": test.depends, "Section": "luci", "License": "Apache-2.0",
		})
		checkLuciFiles(t, control["./postinst"], outer["./data.tar.gz"].content, "./", test.contents)

		parts := gzipMembers(t, read(t, filepath.Join(here, file+"_noarch.apk")))
		inside, _ := unpack(t, bytes.NewReader(parts[0]))
		checkFields(t, inside[".PKGINFO"].content, " = ", map[string]string{
			"pkgname": test.name, "pkgver": version(t), "arch": "noarch", "depend": strings.ReplaceAll(test.depends, ", ", "|"),
		})
		checkLuciFiles(t, inside[".post-install"], parts[1], "", test.contents)
	}
}

func checkLuciFiles(t *testing.T, post member, data []byte, prefix string, want map[string]string) {
	t.Helper()
	if !bytes.Equal(post.content, read(t, "../luci/postinst")) || post.Mode != 0o755 {
		t.Errorf("postinst: %+v\n%s", post.entry, post.content)
	}
	members, _ := unpack(t, bytes.NewReader(data))
	got := map[string]string{}
	for name, m := range members {
		if m.Dir {
			continue
		}
		got[strings.TrimPrefix(name, prefix)] = string(m.content)
		mode := fs.FileMode(0o644)
		if strings.Contains(name, "/libexec/") {
			mode = 0o755
		}
		if m.Mode != mode || m.User != "root:root" || m.Time != testEpoch {
			t.Errorf("%s: %+v", name, m.entry)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("contents (-want +got):\n%s", diff)
	}
}

// The package of the pages goes with the program's.
func TestLuciRecipe(t *testing.T) {
	r, err := readLuciRecipe("../luci/luci-proto-sofutobanku/Makefile")
	if err != nil {
		t.Fatal(err)
	}
	if got := r.version + "-r" + r.release; got != version(t) {
		t.Errorf("version %s, the program's is %s", got, version(t))
	}
	if len(r.description) > maxDescription {
		t.Errorf("description of %d bytes", len(r.description))
	}
	empty := filepath.Join(t.TempDir(), "Makefile")
	if err := os.WriteFile(empty, []byte("PKG_NAME:=x\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := readLuciRecipe(empty); err == nil || !strings.Contains(err.Error(), "no LUCI_DEPENDS:=") {
		t.Errorf("got %v", err)
	}
}

// The feed's Makefile gives luci.mk what it needs: run with a double of it that prints
// its variables.
func TestLuciFeed(t *testing.T) {
	sdk := t.TempDir()
	for file, text := range map[string]string{
		"rules.mk":           "",
		"feeds/luci/luci.mk": "$(info $(PKG_NAME)|$(PKG_VERSION)|$(PKG_PO_VERSION)|$(LUCI_DEPENDS)|$(LUCI_PKGARCH)|$(LUCI_TITLE))\nall:\n",
	} {
		file = filepath.Join(sdk, file)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("make", "-s", "-C", "../luci/luci-proto-sofutobanku", "TOPDIR="+sdk)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "MAKE") }), "MAKEFLAGS=")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("make: %v\n%s", err, out)
	}
	number, _, _ := strings.Cut(version(t), "-")
	want := "luci-proto-sofutobanku|" + number + "|" + version(t) + "|+luci-base +sofu-proto|all|LuCI pages for SoftBank Hikari"
	if !slices.Contains(strings.Split(string(out), "\n"), want) {
		t.Errorf("got %s, want %s", out, want)
	}
}

// What the script does on a router: a catalogue names its language once.
func TestLuciPostinst(t *testing.T) {
	dir := t.TempDir()
	script := strings.NewReplacer("/etc/", dir+"/etc/", "/tmp/", dir+"/tmp/").Replace(string(read(t, "../luci/postinst")))
	for file, text := range map[string]string{
		"etc/uci-defaults/luci-i18n-sofutobanku-ja": "echo named\n",
		"etc/init.d/rpcd":            "#!/bin/sh\necho rpcd $1\n",
		"tmp/luci-indexcache.x.json": "",
		"tmp/luci-modulecache/x":     "",
		"tmp/other":                  "",
	} {
		file = filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	run := func(env ...string) string {
		cmd := exec.Command("busybox", "ash", "-c", script)
		cmd.Env = append(os.Environ(), env...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return string(out)
	}
	if got := run("IPKG_INSTROOT=/somewhere"); got != "" {
		t.Errorf("into an image: %q", got)
	}
	if got := run(); got != "named\nrpcd reload\n" {
		t.Errorf("got %q", got)
	}
	if got := run(); got != "rpcd reload\n" {
		t.Errorf("the second time: %q", got)
	}
	left := map[string]bool{}
	entries, err := os.ReadDir(filepath.Join(dir, "tmp"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		left[e.Name()] = true
	}
	if got := slices.Sorted(maps.Keys(left)); !slices.Equal(got, []string{"other"}) {
		t.Errorf("left in /tmp: %v", got)
	}
}
