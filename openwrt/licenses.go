package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

const licensesFile = "/usr/share/licenses/sofu-proto/LICENSES"

// licensesHead goes before the licences. The Mozilla Public License wants it said where
// the source is.
const licensesHead = `sofu-proto and sofu-tools consist of what is named here, each part under the licence that
follows it. The source of a part is the Go module of that name and version, which
'go mod download NAME@VERSION' fetches.
`

// A license is one kind of licence that may be linked.
type license struct {
	name   string // as SPDX calls it
	phrase string // by which it is known
	end    string // what follows these words is no part of it
	most   int    // bytes: in a longer text there is something else too
}

var allowed = []license{
	{"Apache-2.0", "Apache License Version 2.0, January 2004", "END OF TERMS AND CONDITIONS", 11_000},
	{"BSD-3-Clause", "Neither the name of", "", 1_600},
	{"MIT", "The above copyright notice and this permission notice shall be included in all copies", "", 1_200},
	{"MPL-2.0", "Mozilla Public License Version 2.0", "", 17_000},
}

var (
	licenseName = regexp.MustCompile(`(?i)^(un)?(licen[cs]e|copying)`)
	noticeName  = regexp.MustCompile(`(?i)^notice`)
	holder      = regexp.MustCompile(`(?m)^[ \t]*((\w+ )?Copyright (©|\([cC]\)|[0-9]{4}).*|All rights reserved\.?)$`)
	title       = regexp.MustCompile(`^\s*(The )?(MIT|BSD 3-Clause) License\s*\n`)
)

// A part is what one licence file covers.
type part struct {
	name    string
	holders []string // lines
	license license
	text    string // without title and holders
}

func newPart(name, text string) (part, error) {
	p := part{name: name}
	for _, line := range holder.FindAllString(text, -1) {
		p.holders = append(p.holders, strings.TrimSpace(line))
	}
	p.text = strings.Trim(title.ReplaceAllString(holder.ReplaceAllString(text, ""), ""), "\n")
	var kinds []license
	for _, l := range allowed {
		if strings.Contains(words(text), l.phrase) {
			kinds = append(kinds, l)
		}
	}
	if len(kinds) != 1 {
		return part{}, fmt.Errorf("%s: its licence is none of those that are known, or several", name)
	}
	p.license = kinds[0]
	if end := p.license.end; end != "" {
		before, _, found := strings.Cut(p.text, end)
		if !found {
			return part{}, fmt.Errorf("%s: its licence ends without %q", name, end)
		}
		p.text = before + end
	}
	if n := len(p.text); n > p.license.most {
		return part{}, fmt.Errorf("%s: %d bytes are more than %s has", name, n, p.license.name)
	}
	return p, nil
}

// words is text with one space between words: modules wrap the same text differently.
func words(text string) string { return strings.Join(strings.Fields(text), " ") }

// licenses returns the licences of all that is linked into the programs, each text once.
func licenses() ([]byte, error) {
	parts, err := linked()
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(parts, func(a, b part) int { return strings.Compare(a.license.name, b.license.name) })
	var out bytes.Buffer
	out.WriteString(licensesHead)
	for len(parts) > 0 {
		first := parts[0]
		same := func(p part) bool { return p.license == first.license && words(p.text) == words(first.text) }
		fmt.Fprintf(&out, "\n%s\n%s\n", strings.Repeat("=", 78), first.license.name)
		for _, p := range parts {
			if same(p) {
				fmt.Fprintf(&out, "\n%s\n", p.name)
				for _, line := range p.holders {
					fmt.Fprintf(&out, "    %s\n", line)
				}
			}
		}
		fmt.Fprintf(&out, "\n%s\n", first.text)
		parts = slices.DeleteFunc(parts, same)
	}
	return out.Bytes(), nil
}

// linked returns Go itself, this project, and the modules of which a program has a
// package for any target.
func linked() ([]part, error) {
	goEnv, err := output(nil, nil, "", "go", "env", "GOROOT", "GOVERSION")
	if err != nil {
		return nil, err
	}
	root, version, _ := strings.Cut(strings.TrimSpace(string(goEnv)), "\n")
	parts, err := inferno(root)
	if err != nil {
		return nil, err
	}
	list := "Go's library and runtime, " + version + "\t" + root + "\n"
	for _, t := range targets {
		out, err := output(nil, t.goEnv(), "", "go", "list", "-deps", "-f", "{{with .Module}}{{.Path}} {{.Version}}\t{{.Dir}}{{end}}", "./cmd/sofu-proto", "./cmd/sofu-tools")
		if err != nil {
			return nil, err
		}
		list += string(out)
	}
	modules := slices.Compact(slices.Sorted(strings.Lines(list)))
	for _, line := range modules {
		name, dir, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if !ok {
			continue // a package of Go itself
		}
		text, err := licenseText(dir)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		p, err := newPart(strings.TrimSpace(name), text)
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	return parts, nil
}

// inferno is the one licence in the sources of Go's runtime that wants to go with the
// program: on ARM and MIPS there is 64-bit arithmetic from Inferno.
func inferno(goroot string) ([]part, error) {
	source, err := os.ReadFile(filepath.Join(goroot, "src", "runtime", "vlrt.go"))
	if err != nil {
		return nil, err
	}
	comment, _, _ := strings.Cut(string(source), "\n\n")
	_, text, _ := strings.Cut(strings.ReplaceAll(strings.ReplaceAll(comment, "// ", ""), "//", ""), "\n\n")
	p, err := newPart("Go's runtime, vlrt.go", text)
	return []part{p}, err
}

// licenseText reads the only licence file of a module.
func licenseText(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	var found []string
	for _, e := range entries {
		switch {
		case licenseName.MatchString(e.Name()):
			found = append(found, e.Name())
		case noticeName.MatchString(e.Name()):
			return "", fmt.Errorf("%s would have to be shipped too", e.Name())
		}
	}
	if len(found) != 1 {
		return "", fmt.Errorf("licence files %q in %s, want one", found, dir)
	}
	text, err := os.ReadFile(filepath.Join(dir, found[0]))
	return string(text), err
}
