package config

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/digineo/go-uci/v2"
	"golang.org/x/sys/unix"
)

const (
	// maxFile bounds a configuration file, in bytes. A real one has a few
	// kilobytes.
	maxFile = 1 << 20
	// maxOptions bounds the option and list lines of the one section that is
	// read; go-uci's time grows with their square.
	maxOptions = 1000
)

// Load reads the section `config interface 'iface'` of the file "network" in
// dir (on a router: /etc/config). The error names the file and, where a line is
// to blame, the line; it never quotes the file.
func Load(dir, iface string) (*Section, error) {
	file := filepath.Join(dir, "network")
	f, err := os.Open(file)
	if err != nil {
		return nil, err // names the file itself
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s: longer than %d bytes", file, maxFile)
	}
	return parse(file, string(data), iface)
}

// parse finds section iface in text, the content of file.
func parse(file, text, iface string) (*Section, error) {
	norm, err := normalize(text, iface)
	if err != nil {
		return nil, inFile(file, err)
	}
	tree, name, err := readTree(norm)
	if err != nil {
		return nil, fmt.Errorf("%s: interface '%s': %w", file, iface, err)
	}
	values := func(opt string) []string {
		escaped, _ := tree.Get(name, iface, opt)
		plain := make([]string, len(escaped))
		for i, v := range escaped {
			plain[i], _ = url.PathUnescape(v) // normalize escaped it
		}
		return plain
	}
	return &Section{file: file, name: iface, values: values}, nil
}

// normalize writes section iface of a UCI file so that go-uci reads it as
// libuci reads the original: one statement a line, plain names, every value
// percent-encoded between single quotes. Empty values are left out, since an
// empty option is an absent one.
func normalize(text, iface string) (string, error) {
	var b strings.Builder
	types := make(map[string]string) // of the named sections
	options, inside, before := 0, false, true
	err := scan(text, func(st statement) error {
		if st.keyword == "config" {
			before = false
			if typ, ok := types[st.value]; ok && typ != st.name {
				return &lineError{st.line, fmt.Sprintf("a second section '%s', of another type than the first", st.value)}
			}
			if st.value != "" {
				types[st.value] = st.name
			}
			inside = st.value == iface
			return nil
		}
		if before {
			return &lineError{st.line, st.keyword + " before the first section"}
		}
		if !inside || st.value == "" {
			return nil
		}
		if options++; options > maxOptions {
			return &lineError{st.line, fmt.Sprintf("more than %d options in interface '%s'", maxOptions, iface)}
		}
		fmt.Fprintf(&b, "\t%s %s '%s'\n", st.keyword, st.name, url.PathEscape(st.value))
		return nil
	})
	if err != nil {
		return "", err
	}
	switch typ, ok := types[iface]; {
	case !ok || iface == "":
		return "", fmt.Errorf("no interface '%s', %s", iface, interfaces(types))
	case typ != "interface":
		return "", fmt.Errorf("section '%s' is a '%s', not an interface", iface, typ)
	}
	return fmt.Sprintf("config interface '%s'\n%s", iface, b.String()), nil
}

// interfaces names some of the interfaces there are, for the person who
// mistyped one.
func interfaces(types map[string]string) string {
	var names []string
	for name, typ := range types {
		if typ == "interface" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	switch n := len(names); {
	case n == 0:
		return "nor any other"
	case n > 20:
		names = append(names[:20], "…")
	}
	return "only " + strings.Join(names, ", ")
}

// readTree has go-uci read text. go-uci reads files by directory and name, so
// it gets one that exists only in memory: what it holds is secret.
func readTree(text string) (tree uci.Tree, name string, err error) {
	fd, err := unix.MemfdCreate("uci", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, "", os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "uci")
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		return nil, "", err
	}
	tree, name = uci.NewTree("/proc/self/fd"), strconv.Itoa(fd)
	if err := tree.LoadConfig(name, false); err != nil {
		// go-uci's words may quote a value.
		var pe *os.PathError
		if errors.As(err, &pe) {
			return nil, "", pe
		}
		return nil, "", errors.New("go-uci does not read the normal form of this section")
	}
	return tree, name, nil
}
