// Package version is what all programs of the project say of themselves.
package version

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// Number is PKG_VERSION of openwrt/Makefile.
const Number = "0.1.0"

// Text names a program, its version, the commit it was built of if that is known, and Go's
// version and platform.
func Text(program string) string {
	revision := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = " " + s.Value[:min(12, len(s.Value))]
			}
		}
	}
	return fmt.Sprintf("%s %s%s %s %s/%s", program, Number, revision, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
