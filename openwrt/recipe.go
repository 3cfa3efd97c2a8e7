package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
)

// A recipe is what the feed's Makefile says of a package.
type recipe struct {
	name, version, release       string
	license, maintainer, section string
	url                          string // may be empty
	description                  string // one line
	depends                      []string
}

var (
	assignment = regexp.MustCompile(`(?m)^[ \t]*([A-Z_]+):=(.*)$`)
	definition = regexp.MustCompile(`(?ms)^define ([^\n]+)\n(.*?)^endef$`)
	number     = regexp.MustCompile(`^[0-9]+(\.[0-9]+)*$`)
)

// Longer descriptions are cut by apk.
const maxDescription = 256

// readRecipe reads what the file says of the package name.
func readRecipe(file, name string) (recipe, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return recipe{}, err
	}
	r, err := parseRecipe(string(text), name)
	if err != nil {
		return recipe{}, fmt.Errorf("%s: %w", file, err)
	}
	return r, nil
}

func parseRecipe(text, name string) (recipe, error) {
	// What is said of all packages, and of this one.
	defined := map[string]string{}
	all := definition.ReplaceAllStringFunc(text, func(s string) string {
		m := definition.FindStringSubmatch(s)
		defined[m[1]] = m[2]
		return ""
	})
	values := map[string]string{}
	for _, m := range assignment.FindAllStringSubmatch(all+defined["Package/"+name], -1) {
		values[m[1]] = strings.TrimSpace(m[2])
	}
	var errs []error
	need := func(key string) string {
		if values[key] == "" {
			errs = append(errs, fmt.Errorf("no %s:=", key))
		}
		return values[key]
	}
	r := recipe{
		name: name, version: need("PKG_VERSION"), release: need("PKG_RELEASE"),
		license: need("PKG_LICENSE"), maintainer: need("PKG_MAINTAINER"), section: need("SECTION"),
		url: values["URL"],
	}
	for _, v := range []string{r.version, r.release} {
		if v != "" && !number.MatchString(v) {
			errs = append(errs, fmt.Errorf("version %q: apk orders numbers only", v))
		}
	}
	for _, word := range strings.Fields(need("DEPENDS")) {
		if name, ok := strings.CutPrefix(word, "+"); ok {
			r.depends = append(r.depends, name)
		}
	}
	r.description = strings.Join(strings.Fields(defined["Package/"+name+"/description"]), " ")
	if n := len(r.description); n == 0 || n > maxDescription {
		errs = append(errs, fmt.Errorf("description of %d bytes: accepted: 1 to %d", n, maxDescription))
	}
	return r, errors.Join(errs...)
}

func (r recipe) fileName(p pkg) string {
	return fmt.Sprintf("%s_%s-r%s_%s.%s", r.name, r.version, r.release, p.arch, p.format)
}
