package main

import (
	"bytes"
	"debug/buildinfo"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// checkLicenses wants every module that the linker wrote into the program named, and
// the texts that go with it.
func checkLicenses(t *testing.T, program []byte, legal string) {
	t.Helper()
	info, err := buildinfo.Read(bytes.NewReader(program))
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"Go's library and runtime, " + info.GoVersion, info.Main.Path}
	for _, dep := range info.Deps {
		names = append(names, dep.Path+" "+dep.Version)
	}
	lines := strings.Split(legal, "\n")
	for _, name := range names {
		if !slices.Contains(lines, name) {
			t.Errorf("%s is linked and its licence is not there", name)
		}
	}
	for _, text := range []string{
		"4. Redistribution. You may reproduce", // Apache-2.0
		"Neither the name of Google LLC", "Neither the name of xxHash", "Neither the name of the copyright holder",
		"Permission is hereby granted, free of charge", // MIT
		"Exhibit A - Source Code Form License Notice",  // MPL-2.0
		"Copyright (c) 2019 Dominik Menke, Digineo GmbH",
		"Copyright © 1994-1999 Lucent Technologies Inc.",
	} {
		if n := strings.Count(legal, text); n != 1 {
			t.Errorf("%q is there %d times", text, n)
		}
	}
	t.Logf("%d parts, %d bytes", len(names), len(legal))
}

func TestNewPart(t *testing.T) {
	text := func(module string) string {
		b, err := output(nil, nil, "..", "go", "list", "-m", "-f", "{{.Dir}}", module)
		if err != nil {
			t.Fatal(err)
		}
		s, err := licenseText(strings.TrimSpace(string(b)))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	mit, bsd, apache := text("github.com/digineo/go-uci/v2"), text("golang.org/x/sys"), text("sofutobanku")
	for _, test := range []struct{ name, text, kind, err string }{
		{"MIT", mit, "MIT", ""},
		{"BSD", bsd, "BSD-3-Clause", ""},
		{"Apache", apache, "Apache-2.0", ""},
		{"MPL", text("layeh.com/radius"), "MPL-2.0", ""},
		{"unknown", "All rights reserved. You may look at this.", "", "none of those that are known"},
		{"empty", "", "", "none of those that are known"},
		{"another one", "GNU GENERAL PUBLIC LICENSE\nVersion 2, June 1991\n", "", "none of those that are known"},
		{"a clause less", strings.Replace(bsd, "Neither the name of", "The name of", 1), "", "none of those that are known"},
		{"two", mit + bsd, "", "or several"},
		{"and a condition", mit + strings.Repeat("It is not for use by others. ", 10), "", "more than MIT has"},
		{"cut", apache[:len(apache)/2], "", "ends without"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := newPart("example.net/m v1.0.0", test.text)
			if test.err == "" && (err != nil || p.license.name != test.kind) {
				t.Errorf("got %q, %v", p.license.name, err)
			}
			if test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err) || !strings.Contains(err.Error(), "example.net/m")) {
				t.Errorf("got %q, %v; want %q", p.license.name, err, test.err)
			}
		})
	}
}

func TestLicenseText(t *testing.T) {
	for _, test := range []struct {
		files []string
		ok    bool
	}{
		{[]string{"LICENSE", "README"}, true},
		{[]string{"license.md"}, true},
		{[]string{"COPYING", "copyright.go"}, true},
		{[]string{"README"}, false},
		{[]string{"LICENSE", "LICENSE.third-party"}, false},
		{[]string{"LICENSE", "NOTICE"}, false},
	} {
		dir := t.TempDir()
		for _, file := range test.files {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(file), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		text, err := licenseText(dir)
		if (err == nil) != test.ok || test.ok && text != test.files[0] {
			t.Errorf("%v: %q, %v", test.files, text, err)
		}
	}
}
