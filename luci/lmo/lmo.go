package lmo

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// pair is a message and its translation. Both are on one line each, as luci/test/po.mjs
// writes them.
var pair = regexp.MustCompile(`(?m)^msgid "(.*)"\nmsgstr "(.*)"$`)

// unescape undoes what may be in a text. LuCI takes any other escape literally.
var unescape = strings.NewReplacer(`\"`, `"`, `\\`, `\`)

type entry struct{ hash, plural, offset, length uint32 }

// FromPO returns the catalogue of the messages in po that are translated. It has to
// have a header, and neither plurals nor contexts.
func FromPO(po string) ([]byte, error) {
	var file []byte
	var index []entry
	seen := map[uint32]string{}
	add := func(hash, plural uint32, text string) {
		index = append(index, entry{hash, plural, uint32(len(file)), uint32(len(text))})
		file = append(file, text...)
		for len(file)%4 > 0 {
			file = append(file, 0)
		}
	}
	for _, m := range pair.FindAllStringSubmatch(po, -1) {
		id, text := unescape.Replace(m[1]), unescape.Replace(m[2])
		switch {
		case id == "":
			for line := range strings.SplitSeq(m[2], `\n`) {
				if formula, ok := strings.CutPrefix(line, "Plural-Forms: "); ok {
					add(0, 0, formula)
				}
			}
		case text != "" && text != id:
			h := hash(id)
			if other, taken := seen[h]; taken {
				return nil, fmt.Errorf("lmo: %q and %q have the same hash", other, id)
			}
			seen[h] = id
			add(h, 1, text)
		}
	}
	if n := strings.Count(po, "\nmsgstr"); n != len(pair.FindAllString(po, -1)) {
		return nil, fmt.Errorf("lmo: %d messages, and not all of them a msgid and a msgstr on one line each", n)
	}
	if len(index) == 0 {
		return nil, errors.New("lmo: nothing is translated")
	}
	end := uint32(len(file))
	slices.SortFunc(index, func(a, b entry) int { return cmp.Compare(a.hash, b.hash) })
	for _, e := range index {
		for _, n := range []uint32{e.hash, e.plural, e.offset, e.length} {
			file = binary.BigEndian.AppendUint32(file, n)
		}
	}
	return binary.BigEndian.AppendUint32(file, end), nil
}

// hash is Paul Hsieh's SuperFastHash, which begins with the length here.
func hash(s string) uint32 {
	h := uint32(len(s))
	for ; len(s) >= 4; s = s[4:] {
		h += uint32(s[0]) | uint32(s[1])<<8
		h = h<<16 ^ (uint32(s[2])|uint32(s[3])<<8)<<11 ^ h
		h += h >> 11
	}
	// The last byte alone is signed, as C's characters are on most machines.
	switch len(s) {
	case 3:
		h += uint32(s[0]) | uint32(s[1])<<8
		h ^= h << 16
		h ^= uint32(int8(s[2])) << 18
		h += h >> 11
	case 2:
		h += uint32(s[0]) | uint32(s[1])<<8
		h ^= h << 11
		h += h >> 17
	case 1:
		h += uint32(int8(s[0]))
		h ^= h << 10
		h += h >> 1
	}
	h ^= h << 3
	h += h >> 5
	h ^= h << 4
	h += h >> 17
	h ^= h << 25
	return h + h>>6
}
