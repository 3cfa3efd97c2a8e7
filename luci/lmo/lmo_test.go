package lmo

import (
	"encoding/binary"
	"encoding/hex"
	"os"
	"sort"
	"strings"
	"testing"
)

const small = `msgid ""
msgstr "Language: ja\nPlural-Forms: nplurals=1; plural=0;\n"

msgid "a"
msgstr "あ"

msgid "ab"
msgstr "い\\う\"え"

msgid "abc"
msgstr "う"

msgid "abcd"
msgstr "え"

msgid "\"q\" é"
msgstr "お"

msgid "the same"
msgstr "the same"

msgid "not yet"
msgstr ""
`

// What LuCI's own po2lmo makes of the catalogue above.
const smallHex = `
	6e706c7572616c733d313b20706c7572 616c3d303b000000e3818200e381845c
	e3818622e3818800e3818600e3818800 e3818a00000000000000000000000000
	00000015115ea7820000000100000018 00000003516b8b44000000010000001c
	0000000b708fc1d40000000100000030 00000003d2be198a0000000100000028
	00000003dad8b8db000000010000002c 0000000300000034`

func TestSameAsPo2lmo(t *testing.T) {
	got, err := FromPO(small)
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Join(strings.Fields(smallHex), ""); hex.EncodeToString(got) != want {
		t.Errorf("got %x, want %s", got, want)
	}
}

// Every message of the package is found in the way LuCI looks for it.
func TestLookUp(t *testing.T) {
	po, err := os.ReadFile("../luci-proto-sofutobanku/po/ja/sofutobanku.po")
	if err != nil {
		t.Fatal(err)
	}
	file, err := FromPO(string(po))
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, m := range pair.FindAllStringSubmatch(string(po), -1) {
		id, want := unescape.Replace(m[1]), unescape.Replace(m[2])
		if id == "" || id == want {
			continue
		}
		if got := lookUp(file, hash(id)); got != want {
			t.Errorf("%q: got %q, want %q", id, got, want)
		}
		found++
	}
	if found < 150 {
		t.Errorf("only %d messages", found)
	}
	if got := lookUp(file, 0); got != "nplurals=1; plural=0;" {
		t.Errorf("the plural forms are %q", got)
	}
}

func lookUp(file []byte, key uint32) string {
	number := func(at int) int { return int(binary.BigEndian.Uint32(file[at:])) }
	start := number(len(file) - 4)
	n := (len(file) - 4 - start) / 16
	i := sort.Search(n, func(i int) bool { return number(start+16*i) >= int(key) })
	if i == n || number(start+16*i) != int(key) {
		return ""
	}
	at := number(start + 16*i + 8)
	return string(file[at : at+number(start+16*i+12)])
}

func TestRefused(t *testing.T) {
	for name, test := range map[string][2]string{
		"nothing":      {"", "nothing is translated"},
		"over lines":   {small + "\nmsgid \"\"\n\"over\"\nmsgstr \"\"\n\"lines\"\n", "not all of them"},
		"plurals":      {small + "\nmsgid \"one\"\nmsgid_plural \"more\"\nmsgstr[0] \"x\"\n", "not all of them"},
		"a second one": {small + "\nmsgid \"abc\"\nmsgstr \"other\"\n", "the same hash"},
	} {
		if _, err := FromPO(test[0]); err == nil || !strings.Contains(err.Error(), test[1]) {
			t.Errorf("%s: got %v, want %q", name, err, test[1])
		}
	}
}
