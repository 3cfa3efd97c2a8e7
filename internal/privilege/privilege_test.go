package privilege

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// cgo tells that this test is linked with C, so that Go does not reach all threads.
var cgo = false

// as names the other self of the test binary in the environment: one that confines
// itself and says what it is left with.
const as = "PRIVILEGE_TEST"

func TestMain(m *testing.M) {
	switch os.Getenv(as) {
	case "":
		os.Exit(m.Run())
	case "child": // of one that confined itself
		fmt.Print(sets("/proc/self/status"))
	case "without seccomp":
		refuseSeccomp()
		confined()
	default:
		confined()
	}
	os.Exit(0)
}

// TestConfine: what a process has left, all of its threads and a program that it
// starts, and what it cannot do any more.
func TestConfine(t *testing.T) {
	const (
		own     = "core: <nil> 0 0\ndumpable: 0\numask: 077\n"
		refused = `unshare: operation not permitted
clone: operation not permitted
clone3: function not implemented
ptrace: operation not permitted
raw socket: errno 0
packet socket: errno 0
crypto socket: operation not permitted
`
		let = `unshare: invalid argument
clone: invalid argument
clone3: invalid argument
ptrace: no such process
raw socket: errno 0
packet socket: errno 0
`
	)
	nobody := &syscall.SysProcAttr{
		Credential:  &syscall.Credential{Uid: 65534, Gid: 65534},
		AmbientCaps: []uintptr{unix.CAP_NET_RAW, unix.CAP_SYS_CHROOT},
	}
	for _, tt := range []struct {
		name string
		attr *syscall.SysProcAttr
		want []string // parts of what is printed
	}{
		{"root", nil, []string{`Confine: <nil>
threads: CapInh , CapPrm 3400, CapEff 3400, CapBnd 3400, CapAmb , NoNewPrivs 1, Seccomp 2
child: CapInh , CapPrm 3400, CapEff 3400, CapBnd 3400, CapAmb , NoNewPrivs 1, Seccomp 2
` + own + refused}},
		{"without seccomp", nil, []string{`Confine: privilege: seccomp filter: function not implemented
threads: CapInh , CapPrm 3400, CapEff 3400, CapBnd 3400, CapAmb , NoNewPrivs 1, Seccomp 2
child: CapInh , CapPrm 3400, CapEff 3400, CapBnd 3400, CapAmb , NoNewPrivs 1, Seccomp 2
` + own + let}},
		// Another user may not change the bounding set, but no exec grants it what is in there.
		{"nobody", nobody, []string{
			"Confine: privilege: capability bounding set: operation not permitted\nthreads: CapInh , CapPrm 2000, CapEff 2000, CapBnd ",
			", CapAmb , NoNewPrivs 1, Seccomp 2\nchild: CapInh , CapPrm , CapEff , CapBnd ",
			own + refused,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := self(t, tt.name, tt.attr)
			if cgo {
				tt.want = []string{"Confine: privilege: no_new_privs: operation not supported\n", ", NoNewPrivs , ", own}
			}
			rest := got
			for _, want := range tt.want {
				i := strings.Index(rest, want)
				if i < 0 {
					t.Fatalf("after Confine:\n%swant:\n%s", got, strings.Join(tt.want, "…"))
				}
				rest = rest[i+len(want):]
			}
		})
	}
}

// TestFilter: the filter's answers, as the emulated machine of package bpf gives
// them. Its words are big-endian, and so are those of the structure here.
func TestFilter(t *testing.T) {
	arch := auditArch()
	if arch == 0 {
		t.Fatalf("no filter for %s", runtime.GOARCH)
	}
	for _, tt := range []struct {
		what     string
		arch     uint32
		number   uint32
		argument uint32
		want     uint32
	}{
		{"read", arch, unix.SYS_READ, 0, allow},
		{"execve", arch, unix.SYS_EXECVE, 0, allow},
		{"kill", arch, unix.SYS_KILL, 1, allow},
		{"first of the list", arch, denied[0], 0, refuse},
		{"last of the list", arch, denied[len(denied)-1], 0, refuse},
		{"mount", arch, unix.SYS_MOUNT, 0, refuse},
		{"mount of another architecture", arch ^ 1, unix.SYS_MOUNT, 0, refuse},
		{"read of another architecture", arch ^ 1, unix.SYS_READ, 0, refuse},
		{"read by another ABI", arch, unix.SYS_READ | x32, 0, refuse},
		{"no call", arch, 1<<32 - 1, 0, refuse},
		{"clone of a thread", arch, unix.SYS_CLONE, unix.CLONE_VM | unix.CLONE_THREAD | unix.CLONE_SIGHAND, allow},
		{"fork", arch, unix.SYS_CLONE, unix.CLONE_VM | unix.CLONE_VFORK | unix.CLONE_PIDFD | uint32(unix.SIGCHLD), allow},
		{"clone into a user namespace", arch, unix.SYS_CLONE, unix.CLONE_NEWUSER | uint32(unix.SIGCHLD), refuse},
		{"clone into a network namespace", arch, unix.SYS_CLONE, unix.CLONE_NEWNET, refuse},
		{"clone3", arch, unix.SYS_CLONE3, 0, absent},
		{"UNIX socket", arch, unix.SYS_SOCKET, unix.AF_UNIX, allow},
		{"IPv4 socket", arch, unix.SYS_SOCKET, unix.AF_INET, allow},
		{"IPv6 socket", arch, unix.SYS_SOCKET, unix.AF_INET6, allow},
		{"netlink socket", arch, unix.SYS_SOCKET, unix.AF_NETLINK, allow},
		{"packet socket", arch, unix.SYS_SOCKET, unix.AF_PACKET, allow},
		{"crypto socket", arch, unix.SYS_SOCKET, unix.AF_ALG, refuse},
	} {
		data := binary.BigEndian.AppendUint32(nil, tt.number)
		data = binary.BigEndian.AppendUint32(data, tt.arch)
		data = append(data, make([]byte, 8)...)                                 // instruction pointer
		for _, words := range [][2]uint32{{tt.argument, 0}, {0, tt.argument}} { // of either byte order
			data := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(data, words[0]), words[1])
			if got := run(t, filter(arch), data); got != tt.want {
				t.Errorf("%s: %#x, want %#x", tt.what, got, tt.want)
			}
		}
	}
}

// run is what the program answers.
func run(t *testing.T, program []unix.SockFilter, data []byte) uint32 {
	t.Helper()
	var code []bpf.Instruction
	for _, i := range program {
		code = append(code, bpf.RawInstruction{Op: i.Code, Jt: i.Jt, Jf: i.Jf, K: i.K}.Disassemble())
	}
	vm, err := bpf.NewVM(code)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := vm.Run(data)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(answer)
}

func TestDir(t *testing.T) {
	top := t.TempDir()
	made := filepath.Join(top, "lib", "made")
	open := filepath.Join(top, "open")
	file := filepath.Join(top, "file")
	foreign := filepath.Join(top, "foreign")
	if err := errors.Join(os.Mkdir(open, 0o700), os.Chmod(open, 0o775), os.WriteFile(file, nil, 0o600),
		os.Mkdir(foreign, 0o700), os.Chown(foreign, 65534, 0)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		what, path, wantErr string
	}{
		{"new", made, ""},
		{"there", made, ""},
		{"its parent", filepath.Dir(made), ""},
		{"others can write", open, "mode drwxrwxr-x, of user 0"},
		{"of another user", foreign, "mode drwx------, of user 65534"},
		{"a file", file, "mode -rw-------"},
		{"below a file", filepath.Join(file, "x"), "not a directory"},
	} {
		err := Dir(tt.path)
		if (err == nil) != (tt.wantErr == "") || err != nil && !strings.Contains(err.Error(), tt.wantErr) {
			t.Errorf("%s: %v, want %q", tt.what, err, tt.wantErr)
		}
	}
	for path, want := range map[string]os.FileMode{made: 0o700, filepath.Dir(made): 0o755} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want mode %o", path, info.Mode(), err, want)
		}
	}
}

// self runs the other self and returns what it printed.
func self(t *testing.T, name string, attr *syscall.SysProcAttr) string {
	t.Helper()
	cmd := exec.Command("/proc/self/exe") // where it lies may be hidden from another user
	cmd.Env = append(os.Environ(), as+"="+name, "GORACE=atexit_sleep_ms=0")
	cmd.SysProcAttr = attr
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	return string(out)
}

// confined confines this process, which has several threads by then, and prints what
// it is left with.
func confined() {
	for range 3 {
		started := make(chan bool)
		go func() {
			runtime.LockOSThread()
			close(started)
			select {}
		}()
		<-started
	}
	err := Confine()
	fmt.Println("Confine:", err)

	threads, _ := filepath.Glob("/proc/self/task/*/status")
	if len(threads) < 4 {
		fmt.Println("only", len(threads), "threads")
	}
	seen := map[string]bool{}
	for _, thread := range threads {
		seen[sets(thread)] = true
	}
	for s := range seen {
		fmt.Print("threads: ", s)
	}

	child := exec.Command("/proc/self/exe")
	child.Env = append(os.Environ(), as+"=child")
	out, err := child.CombinedOutput()
	if err != nil {
		fmt.Println(err)
	}
	fmt.Print("child: ", string(out))

	var core unix.Rlimit
	dumpable, _ := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	fmt.Println("core:", unix.Getrlimit(unix.RLIMIT_CORE, &core), core.Cur, core.Max)
	fmt.Println("dumpable:", dumpable)
	fmt.Printf("umask: %03o\n", unix.Umask(0o077))

	try := func(what string, number uintptr, args ...uintptr) {
		var a [6]uintptr
		copy(a[:], args)
		_, _, errno := unix.RawSyscall6(number, a[0], a[1], a[2], a[3], a[4], a[5])
		fmt.Printf("%s: %v\n", what, errno)
	}
	// Calls that do nothing when they are let through.
	try("unshare", unix.SYS_UNSHARE, unix.CLONE_NEWUSER)
	try("clone", unix.SYS_CLONE, unix.CLONE_NEWUSER|unix.CLONE_FS)
	try("clone3", unix.SYS_CLONE3, 0, 0)
	try("ptrace", unix.SYS_PTRACE, unix.PTRACE_ATTACH, 0)
	try("raw socket", unix.SYS_SOCKET, unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6)
	try("packet socket", unix.SYS_SOCKET, unix.AF_PACKET, unix.SOCK_DGRAM, 0)
	try("crypto socket", unix.SYS_SOCKET, unix.AF_ALG, unix.SOCK_SEQPACKET, 0)
}

// sets is what a status file says of privileges, in one line.
func sets(status string) string {
	b, err := os.ReadFile(status)
	if err != nil {
		return err.Error() + "\n"
	}
	var words []string
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(line, ":")
		switch name {
		case "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp":
			words = append(words, name+" "+strings.TrimLeft(strings.TrimSpace(value), "0"))
		}
	}
	return strings.Join(words, ", ") + "\n"
}

// refuseSeccomp makes a kernel without seccomp filters for this process.
func refuseSeccomp() {
	code := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: dataNumber},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: unix.SYS_SECCOMP},
		{Code: unix.BPF_RET | unix.BPF_K, K: absent},
		{Code: unix.BPF_RET | unix.BPF_K, K: allow},
	}
	program := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		fmt.Println("filter of the test:", errno)
	}
}
