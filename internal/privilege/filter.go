package privilege

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// denied are system calls that neither this program nor one that it starts makes.
// Most need a capability that is gone, and stand here as a second lock; the others
// are the kernel's widest doors for a process without any. What only some
// architectures have (iopl, kexec_file_load, …) needs a capability too and is left
// out. What is refused is EPERM, not death: a library that tries goes on.
var denied = [...]uint32{
	// Other processes.
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PROCESS_MADVISE,
	unix.SYS_KCMP, unix.SYS_PIDFD_GETFD,
	// Namespaces and mounts; clone has an entry of its own in filter.
	unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_CHROOT, unix.SYS_PIVOT_ROOT,
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_MOUNT_SETATTR, unix.SYS_MOVE_MOUNT, unix.SYS_OPEN_TREE,
	unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK,
	unix.SYS_NAME_TO_HANDLE_AT, unix.SYS_OPEN_BY_HANDLE_AT,
	// The kernel itself.
	unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_KEXEC_LOAD, unix.SYS_REBOOT,
	unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD,
	unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
	unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_FANOTIFY_INIT, unix.SYS_PERSONALITY,
	// The machine.
	unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT, unix.SYS_QUOTACTL, unix.SYS_SYSLOG, unix.SYS_VHANGUP,
	unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_ADJTIMEX, unix.SYS_CLOCK_ADJTIME,
	unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME,
}

// namespaces are the flags of clone that make some.
const namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
	unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET

// What a filter answers.
const (
	allow  = unix.SECCOMP_RET_ALLOW
	refuse = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	// absent has libraries use clone, whose flags a filter can see.
	absent = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
)

// Offsets in struct seccomp_data of linux/seccomp.h.
const (
	dataNumber = 0
	dataArch   = 4
	// The halves of the first argument. Which is the lower one depends on the
	// machine, and the upper one is empty or not looked at by the call: they are
	// taken together.
	dataArgument  = 16
	dataArgument2 = 20
)

// x32 is set in the system call numbers of amd64's 32-bit ABI, which are others for
// the same calls. No other architecture has numbers that high.
const x32 = 0x4000_0000

// auditArch is the architecture as a filter sees it, 0 where none was written. The
// switch costs nothing: it is decided when this is compiled.
func auditArch() uint32 {
	switch runtime.GOARCH {
	case "386":
		return unix.AUDIT_ARCH_I386
	case "amd64":
		return unix.AUDIT_ARCH_X86_64
	case "arm":
		return unix.AUDIT_ARCH_ARM
	case "arm64":
		return unix.AUDIT_ARCH_AARCH64
	case "mips":
		return unix.AUDIT_ARCH_MIPS
	case "mipsle":
		return unix.AUDIT_ARCH_MIPSEL
	case "riscv64":
		return unix.AUDIT_ARCH_RISCV64
	}
	return 0
}

// Codes of instructions.
const (
	load    = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	save    = unix.BPF_MISC | unix.BPF_TAX
	or      = unix.BPF_ALU | unix.BPF_OR | unix.BPF_X
	equal   = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	atLeast = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
	hasAny  = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
	answer  = unix.BPF_RET | unix.BPF_K
)

// The program that the kernel runs at each system call: head, a comparison for each
// that is denied, and tail. Jt and Jf are how many instructions are skipped after a
// comparison that is true or false.
var (
	head = [...]unix.SockFilter{
		// Under another architecture the numbers mean other calls.
		{Code: load, K: dataArch},
		{Code: equal, Jt: 1}, // filter enters the architecture
		{Code: answer, K: refuse},
		{Code: load, K: dataNumber},
		{Code: atLeast, Jf: 1, K: x32},
		{Code: answer, K: refuse},
	}
	tail = [...]unix.SockFilter{
		{Code: equal, Jf: 1, K: unix.SYS_CLONE3},
		{Code: answer, K: absent},
		{Code: equal, Jf: 7, K: unix.SYS_CLONE},
		{Code: load, K: dataArgument},
		{Code: save},
		{Code: load, K: dataArgument2},
		{Code: or},
		{Code: hasAny, Jf: 1, K: namespaces},
		{Code: answer, K: refuse},
		{Code: answer, K: allow},
		// The other families are little used and many. 32-bit x86 has a second call,
		// socketcall, of which a filter sees no arguments.
		{Code: equal, Jf: 10, K: unix.SYS_SOCKET},
		{Code: load, K: dataArgument},
		{Code: save},
		{Code: load, K: dataArgument2},
		{Code: or},
		{Code: equal, Jt: 5, K: unix.AF_UNIX},
		{Code: equal, Jt: 4, K: unix.AF_INET},
		{Code: equal, Jt: 3, K: unix.AF_INET6},
		{Code: equal, Jt: 2, K: unix.AF_NETLINK},
		{Code: equal, Jt: 1, K: unix.AF_PACKET},
		{Code: answer, K: refuse},
		{Code: answer, K: allow},
	}
)

// filter is the program for an architecture.
func filter(arch uint32) []unix.SockFilter {
	p := append([]unix.SockFilter{}, head[:]...)
	p[1].K = arch
	for _, number := range denied {
		p = append(p, unix.SockFilter{Code: equal, Jf: 1, K: number}, unix.SockFilter{Code: answer, K: refuse})
	}
	return append(p, tail[:]...)
}

// install sets the filter for all threads at once.
func install() error {
	arch := auditArch()
	if arch == 0 {
		return fmt.Errorf("privilege: no seccomp filter was written for %s: %w", runtime.GOARCH, errors.ErrUnsupported)
	}
	code := filter(arch)
	program := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	switch {
	case errno != 0:
		return fmt.Errorf("privilege: seccomp filter: %w", errno)
	case thread != 0:
		return fmt.Errorf("privilege: seccomp filter: thread %d has another one", thread)
	}
	return nil
}
