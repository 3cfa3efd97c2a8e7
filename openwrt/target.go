package main

import "slices"

// The two package formats, which are also the ends of the file names.
const (
	ipk = "ipk"
	apk = "apk"
)

// A target is one program and the architectures, in OpenWrt's names, whose routers
// can run it. opkg and apk refuse a package that does not name exactly their own
// architecture, so there is a package for each name.
type target struct {
	name string
	env  []string // GOARCH and its variant
	opkg []string // of OpenWrt 24.10 and before
	apk  []string // of OpenWrt 25.12 and after
}

// No architecture counts on a floating-point unit that some of its routers lack:
// all MIPS, and arm_cortex-a7 (MT7629), which is why ARMv7 does without.
var targets = []target{
	{
		name: "mips_24kc",
		env:  []string{"GOARCH=mips", "GOMIPS=softfloat"},
		opkg: []string{"mips_24kc", "mips_4kec", "mips_mips32"},
		apk:  []string{"mips_24kc", "mips_mips32"},
	},
	{
		name: "mipsel_24kc",
		env:  []string{"GOARCH=mipsle", "GOMIPS=softfloat"},
		opkg: []string{"mipsel_24kc", "mipsel_24kc_24kf", "mipsel_74kc", "mipsel_mips32"},
		apk:  []string{"mipsel_24kc", "mipsel_24kc_24kf", "mipsel_74kc", "mipsel_mips32"},
	},
	{
		name: "arm_cortex-a7",
		env:  []string{"GOARCH=arm", "GOARM=7,softfloat"},
		opkg: armv7,
		apk:  armv7,
	},
	{
		name: "arm_arm926ej-s",
		env:  []string{"GOARCH=arm", "GOARM=5"},
		opkg: []string{"arm_arm926ej-s", "arm_arm1176jzf-s_vfp", "arm_xscale"},
		apk:  []string{"arm_arm926ej-s", "arm_arm1176jzf-s_vfp", "arm_xscale"},
	},
	{
		name: "aarch64",
		env:  []string{"GOARCH=arm64", "GOARM64=v8.0"},
		opkg: []string{"aarch64_cortex-a53", "aarch64_cortex-a72", "aarch64_cortex-a76", "aarch64_generic"},
		apk:  []string{"aarch64_cortex-a53", "aarch64_cortex-a72", "aarch64_cortex-a76", "aarch64_generic"},
	},
	{
		name: "x86_64",
		env:  []string{"GOARCH=amd64", "GOAMD64=v1"},
		opkg: []string{"x86_64"},
		apk:  []string{"x86_64"},
	},
	{
		name: "riscv64",
		env:  []string{"GOARCH=riscv64", "GORISCV64=rva20u64"},
		opkg: []string{"riscv64_riscv64"},
		apk:  []string{"riscv64_generic"},
	},
}

var armv7 = []string{
	"arm_cortex-a7", "arm_cortex-a7_neon-vfpv4", "arm_cortex-a7_vfpv4",
	"arm_cortex-a5_vfpv4", "arm_cortex-a8_vfpv3", "arm_cortex-a9", "arm_cortex-a9_neon",
	"arm_cortex-a9_vfpv3-d16", "arm_cortex-a15_neon-vfpv4",
}

// A pkg is one package file.
type pkg struct{ format, arch string }

func (t target) packages() []pkg {
	var packages []pkg
	for _, arch := range t.opkg {
		packages = append(packages, pkg{ipk, arch})
	}
	for _, arch := range t.apk {
		packages = append(packages, pkg{apk, arch})
	}
	return packages
}

// goEnv is the environment of the go command.
func (t target) goEnv() []string {
	return append([]string{"CGO_ENABLED=0", "GOOS=linux", "GOFLAGS=", "GOEXPERIMENT=", "GOWORK=off"}, t.env...)
}

// only is the targets cut down to one architecture; none when no target has it.
func only(arch string) []target {
	for _, t := range targets {
		other := func(name string) bool { return name != arch }
		t.opkg = slices.DeleteFunc(slices.Clone(t.opkg), other)
		t.apk = slices.DeleteFunc(slices.Clone(t.apk), other)
		if len(t.packages()) > 0 {
			return []target{t}
		}
	}
	return nil
}
