package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sofutobanku/luci/lmo"
)

const luciDir = "luci/luci-proto-sofutobanku"

// everywhere is what opkg and apk call a package for every router.
var everywhere = []pkg{{ipk, "all"}, {apk, "noarch"}}

// A parcel is what goes into a package, whatever its architecture and format.
type parcel struct {
	recipe   recipe
	contents []content
	post     string
}

// luci returns the packages of the LuCI pages and of their translations, with the
// names and contents that LuCI's luci.mk gives them.
func (m *maker) luci() ([]parcel, error) {
	r, err := readLuciRecipe(luciDir + "/Makefile")
	if err != nil {
		return nil, err
	}
	post, err := m.script("luci/postinst")
	if err != nil {
		return nil, err
	}
	var pages []content
	for _, part := range [][2]string{{"htdocs", "/www"}, {"root", ""}} {
		list, err := m.tree(luciDir+"/"+part[0], part[1])
		if err != nil {
			return nil, err
		}
		pages = append(pages, list...)
	}

	po, err := os.ReadFile(luciDir + "/po/ja/sofutobanku.po")
	if err != nil {
		return nil, err
	}
	catalogue, err := lmo.FromPO(string(po))
	if err != nil {
		return nil, err
	}
	ja := r
	ja.name, ja.depends, ja.description = "luci-i18n-sofutobanku-ja", []string{r.name}, "Japanese (日本語) translation for "+r.name
	var texts []content
	for _, made := range [][2]string{
		{"/etc/uci-defaults/" + ja.name, "uci set luci.languages.ja='日本語 (Japanese)'; uci commit luci\n"},
		{"/usr/lib/lua/luci/i18n/sofutobanku.ja.lmo", string(catalogue)},
	} {
		file := filepath.Join(m.tmp, filepath.Base(made[0]))
		if err := os.WriteFile(file, []byte(made[1]), 0o644); err != nil {
			return nil, err
		}
		texts = append(texts, m.content(file, made[0], false))
	}
	return []parcel{{r, pages, post}, {ja, texts, post}}, nil
}

// readLuciRecipe reads a Makefile for luci.mk.
func readLuciRecipe(file string) (recipe, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return recipe{}, err
	}
	values := map[string]string{}
	for _, m := range assignment.FindAllStringSubmatch(string(text), -1) {
		values[m[1]] = strings.TrimSpace(m[2])
	}
	var errs []error
	need := func(key string) string {
		if values[key] == "" {
			errs = append(errs, fmt.Errorf("%s: no %s:=", file, key))
		}
		return values[key]
	}
	r := recipe{
		name: need("PKG_NAME"), version: need("PKG_VERSION"), release: need("PKG_RELEASE"),
		license: need("PKG_LICENSE"), maintainer: need("PKG_MAINTAINER"), section: "luci",
		description: need("LUCI_DESCRIPTION"),
	}
	for _, word := range strings.Fields(need("LUCI_DEPENDS")) {
		r.depends = append(r.depends, strings.TrimPrefix(word, "+"))
	}
	return r, errors.Join(errs...)
}
