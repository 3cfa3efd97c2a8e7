// Command openwrt builds the packages of sofu-proto and its tools for OpenWrt: an .ipk for opkg
// (OpenWrt 24.10 and before) and an .apk for apk (25.12 and after) for every
// architecture whose routers can run it. Two runs over one tree write the same
// bytes.
//
// openwrt/dist runs it. What a package says of itself is read from Makefile, which
// is also the package's feed.
package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
)

const usage = `usage: openwrt/dist [-arch NAME] [OUTDIR]
       openwrt/dist -licenses

Builds the packages of sofu-proto for OpenWrt in OUTDIR, which is out/dist of the
project unless given, with a file SHA256SUMS, and prints how large they are.

`

func main() {
	err := run(os.Args[1:], os.Stdout, os.Stderr)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "openwrt/dist:", err)
		os.Exit(1)
	}
}

// run works in the project's root directory. The table goes to stdout, progress to
// progress.
func run(args []string, stdout, progress io.Writer) error {
	flags := flag.NewFlagSet("openwrt/dist", flag.ContinueOnError)
	flags.SetOutput(progress)
	flags.Usage = func() {
		fmt.Fprint(progress, usage)
		flags.PrintDefaults()
	}
	from := flags.String("from", ".", "directory that OUTDIR is relative to")
	arch := flags.String("arch", "", "only the packages of this architecture, as OpenWrt calls it")
	legal := flags.Bool("licenses", false, "only print the licences of all that is linked")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *legal {
		text, err := licenses()
		if err == nil {
			_, err = stdout.Write(text)
		}
		return err
	}
	if flags.NArg() > 1 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(1))
	}
	out := filepath.Join("out", "dist")
	if dir := flags.Arg(0); dir != "" {
		out = dir
		if !filepath.IsAbs(out) {
			out = filepath.Join(*from, out)
		}
	}
	wanted := targets
	if *arch != "" {
		if wanted = only(*arch); len(wanted) == 0 {
			return fmt.Errorf("architecture %q: accepted: %s", *arch, strings.Join(architectures(), " "))
		}
	}

	tmp, err := os.MkdirTemp("", "sofu-dist-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	m, err := newMaker(tmp)
	if err != nil {
		return err
	}
	pages, err := m.luci()
	if err != nil {
		return err
	}
	for _, what := range pages {
		if err := empty(out, what.recipe.name); err != nil {
			return err
		}
	}
	for _, r := range m.recipes {
		if err := empty(out, r.name); err != nil {
			return err
		}
	}

	table := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "bytes\tprogram\txz -9\t.ipk\t.apk\t")
	var sums strings.Builder
	// write makes one package and returns its size.
	write := func(what parcel, p pkg) (int, error) {
		file := what.recipe.fileName(p)
		content, err := m.pack(what, p)
		if err != nil {
			return 0, err
		}
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(content), file)
		return len(content), os.WriteFile(filepath.Join(out, file), content, 0o644)
	}
	for _, t := range wanted {
		for _, c := range commands {
			fmt.Fprintf(progress, "%s: building %s\n", t.name, c.program)
			program, err := m.build(t, c.program)
			if err != nil {
				return err
			}
			size, packed, err := sizes(program)
			if err != nil {
				return err
			}
			what, err := m.program(c.program, program)
			if err != nil {
				return err
			}
			largest := map[string]int{}
			for _, p := range t.packages() {
				fmt.Fprintf(progress, "%s: %s\n", t.name, what.recipe.fileName(p))
				n, err := write(what, p)
				if err != nil {
					return err
				}
				largest[p.format] = max(largest[p.format], n)
			}
			fmt.Fprintf(table, "%s, %s\t%d\t%d\t%d\t%d\t\n", c.program, t.name, size, packed, largest[ipk], largest[apk])
		}
	}
	for _, what := range pages {
		size := map[string]int{}
		for _, p := range everywhere {
			if size[p.format], err = write(what, p); err != nil {
				return err
			}
		}
		fmt.Fprintf(table, "%s\t\t\t%d\t%d\t\n", what.recipe.name, size[ipk], size[apk])
	}
	if err := os.WriteFile(filepath.Join(out, "SHA256SUMS"), []byte(sums.String()), 0o644); err != nil {
		return err
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%d packages in %s\n", strings.Count(sums.String(), "\n"), out)
	return err
}

// empty makes dir, without what a former run left in it.
func empty(dir, name string) error {
	for _, format := range []string{ipk, apk} {
		old, err := filepath.Glob(filepath.Join(dir, name+"_*."+format))
		if err != nil {
			return err
		}
		for _, file := range old {
			if err := os.Remove(file); err != nil {
				return err
			}
		}
	}
	return os.MkdirAll(dir, 0o755)
}

// sizes of a file, in bytes: as it is and as xz packs it, which is about what it
// takes in a router's squashfs.
func sizes(file string) (size, packed int, err error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return 0, 0, err
	}
	xz, err := output(bytes.NewReader(content), nil, "", "xz", "--stdout", "-9")
	return len(content), len(xz), err
}

// architectures are all names of targets, sorted.
func architectures() []string {
	var names []string
	for _, t := range targets {
		names = append(names, t.opkg...)
		names = append(names, t.apk...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
