package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
)

// A recipe is what the feed's Makefile says of the package.
type recipe struct {
	name, version, release       string
	license, maintainer, section string
	url                          string // may be empty
	description                  string // one line
	depends                      []string
}

var (
	assignment  = regexp.MustCompile(`(?m)^[ \t]*([A-Z_]+):=(.*)$`)
	description = regexp.MustCompile(`(?ms)^define Package/[^/\n]+/description\n(.*?)^endef$`)
	number      = regexp.MustCompile(`^[0-9]+(\.[0-9]+)*$`)
)

// Longer descriptions are cut by apk.
const maxDescription = 256

func readRecipe(file string) (recipe, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return recipe{}, err
	}
	r, err := parseRecipe(string(text))
	if err != nil {
		return recipe{}, fmt.Errorf("%s: %w", file, err)
	}
	return r, nil
}

func parseRecipe(text string) (recipe, error) {
	values := map[string]string{}
	for _, m := range assignment.FindAllStringSubmatch(text, -1) {
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
		name: need("PKG_NAME"), version: need("PKG_VERSION"), release: need("PKG_RELEASE"),
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
	if m := description.FindStringSubmatch(text); m != nil {
		r.description = strings.Join(strings.Fields(m[1]), " ")
	}
	if n := len(r.description); n == 0 || n > maxDescription {
		errs = append(errs, fmt.Errorf("description of %d bytes: accepted: 1 to %d", n, maxDescription))
	}
	return r, errors.Join(errs...)
}

func (r recipe) fileName(p pkg) string {
	return fmt.Sprintf("%s_%s-r%s_%s.%s", r.name, r.version, r.release, p.arch, p.format)
}
