// Command manual makes the manual page and the completion for bash of what the programs
// say of themselves with -h, which is the one source:
//
//	go run ./docs/manual     # writes docs/sofu-proto.8 and docs/sofu-proto.bash
//
// A test tells when they are out of date.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func main() {
	err := func() error {
		h, err := ask()
		if err != nil {
			return err
		}
		return errors.Join(os.WriteFile("docs/sofu-proto.8", h.page(), 0o644), os.WriteFile("docs/sofu-proto.bash", h.completion(), 0o644))
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "manual:", err)
		os.Exit(1)
	}
}

// help is what the programs say.
type help struct {
	intro    string
	commands []command
	exit     []string // "0 done" …
}

// command is one of them.
type command struct {
	name, usage string
	text        string
	flags       []option
}

type option struct{ name, arg, text string }

// ask builds the programs and asks them.
func ask() (help, error) {
	dir, err := os.MkdirTemp("", "manual")
	if err != nil {
		return help{}, err
	}
	defer os.RemoveAll(dir)
	build := exec.Command("go", "build", "-o", dir, "sofutobanku/cmd/sofu-proto", "sofutobanku/cmd/sofu-tools")
	if out, err := build.CombinedOutput(); err != nil {
		return help{}, fmt.Errorf("go build: %w\n%s", err, out)
	}
	var h help
	for _, program := range []string{"sofu-proto", "sofu-tools"} {
		path := filepath.Join(dir, program)
		out, err := exec.Command(path, "-h").Output()
		if err != nil {
			return help{}, fmt.Errorf("%s -h: %w", program, err)
		}
		intro, commands, exit, err := overview(string(out))
		if err != nil {
			return help{}, fmt.Errorf("%s -h: %w", program, err)
		}
		if h.intro == "" {
			h.intro = intro
		}
		for _, c := range commands {
			if h.has(c.name) {
				continue // both have a version
			}
			// A command's own help is on standard error, with its flags.
			out, err := exec.Command(path, c.name, "-h").CombinedOutput()
			if err != nil {
				return help{}, fmt.Errorf("%s %s -h: %w\n%s", program, c.name, err, out)
			}
			c.detail(string(out))
			h.commands = append(h.commands, c)
		}
		for _, e := range exit {
			h.addExit(e)
		}
	}
	return h, nil
}

func (h *help) has(name string) bool {
	for _, c := range h.commands {
		if c.name == name {
			return true
		}
	}
	return false
}

// addExit joins what the programs say of one status.
func (h *help) addExit(e string) {
	status, text, _ := strings.Cut(e, " ")
	for i, have := range h.exit {
		if s, t, _ := strings.Cut(have, " "); s == status {
			if t != text && !strings.HasPrefix(t, text) && !strings.HasPrefix(text, t) {
				h.exit[i] += "; " + text
			}
			return
		}
	}
	h.exit = append(h.exit, e)
}

// overview reads the help of a program: an introduction, the commands, the exit codes.
func overview(text string) (intro string, commands []command, exit []string, err error) {
	intro, rest, ok := strings.Cut(text, "\n\n")
	list, rest, ok2 := strings.Cut(rest, "\n\n")
	_, codes, ok3 := strings.Cut(rest, "Exit codes: ")
	if !ok || !ok2 || !ok3 {
		return "", nil, nil, errors.New("no introduction, list of commands and exit codes")
	}
	for line := range strings.SplitSeq(list, "\n") {
		words := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "  sofu-proto ") && !strings.HasPrefix(line, "   "):
			commands = append(commands, command{name: words[1], usage: strings.Join(words, " ")})
		case strings.HasPrefix(line, "        ") && len(commands) > 0:
			c := &commands[len(commands)-1]
			c.text = strings.TrimSpace(c.text + " " + strings.Join(words, " "))
		default:
			return "", nil, nil, fmt.Errorf("what is %q?", line)
		}
	}
	// That the other program has commands too is said by its own help.
	for i, c := range commands {
		if strings.Contains(c.name, "|") || c.name == "COMMAND" {
			commands = append(commands[:i], commands[i+1:]...)
			break
		}
	}
	codes = strings.TrimSuffix(strings.Join(strings.Fields(codes), " "), ".")
	return strings.Join(strings.Fields(intro), " "), commands, strings.Split(codes, "; "), nil
}

// detail reads a command's own help, as package flag prints it: what stands before its
// flags is kept where it says more than the overview.
func (c *command) detail(text string) {
	var more []string
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		switch {
		case strings.HasPrefix(line, "  -"):
			left, right, _ := strings.Cut(strings.TrimPrefix(line, "  -"), "\t")
			name, arg, _ := strings.Cut(strings.TrimSpace(left), " ")
			c.flags = append(c.flags, option{name, arg, right})
		case strings.HasPrefix(line, "    \t"):
			f := &c.flags[len(c.flags)-1]
			f.text = strings.TrimSpace(f.text + " " + strings.TrimSpace(line))
		case len(c.flags) == 0:
			more = append(more, strings.TrimSpace(line))
		}
	}
	if s := strings.Join(more, "\n"); !strings.HasPrefix(s, "Usage of ") {
		if head, tail, ok := strings.Cut(s, ": "); ok && strings.HasPrefix(head, "sofu-proto ") {
			s = tail
		}
		c.text = strings.ReplaceAll(s, "\n", " \n")
	}
}

// roff keeps a text from being taken for a request or an escape.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "…", "...", "→", `\->`).Replace(s)
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		l = strings.TrimSpace(l)
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			l = `\&` + l
		}
		lines[i] = l
	}
	return strings.Join(lines, "\n")
}

// page is the manual page.
func (h help) page() []byte {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line(`.\" Made by docs/manual of what the programs say with -h.`)
	line(`.TH SOFU\-PROTO 8`)
	line(".SH NAME\nsofu\\-proto \\- SoftBank Hikari with a router of your own")
	line(".SH SYNOPSIS")
	for _, c := range h.commands {
		line(".B %s\n.br", roff(c.usage))
	}
	line(".SH DESCRIPTION\n%s", roff(h.intro))
	line(".SH COMMANDS")
	for _, c := range h.commands {
		line(".SS %s\n.B %s\n.PP\n%s", roff(c.name), roff(c.usage), roff(c.text))
		for _, f := range c.flags {
			arg := ""
			if f.arg != "" {
				arg = ` \fI` + roff(f.arg) + `\fP`
			}
			line(".TP\n.B \\-%s\\fP%s\n%s", roff(f.name), arg, roff(f.text))
		}
	}
	line(".SH EXIT STATUS")
	for _, e := range h.exit {
		status, text, _ := strings.Cut(e, " ")
		line(".TP\n.B %s\n%s", status, roff(text))
	}
	line(`.SH FILES
.TP
.I /etc/config/network
settings and secrets of the interface, in UCI's format
.TP
.I /var/run/sofu\-proto
the control socket and the lock of each interface
.TP
.I /var/lib/sofu\-proto
the lease of each interface, and what was made in the kernel
.SH SEE ALSO
.BR ip\-tunnel (8),
.BR radvd (8)`)
	return []byte(b.String())
}

// completion is for bash: the commands, their flags, and devices. What an interface is
// called is not known without reading the configuration, which holds secrets.
func (h help) completion() []byte {
	var b strings.Builder
	var names []string
	for _, c := range h.commands {
		names = append(names, c.name)
	}
	fmt.Fprintf(&b, `# Completion of sofu-proto for bash, made by docs/manual of what the programs say
# with -h. Put it where bash-completion looks, or source it.
_sofu_proto() {
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} flags=
	if [ "$COMP_CWORD" = 1 ]; then
		mapfile -t COMPREPLY < <(compgen -W '%s' -- "$word")
		return
	fi
	case $before in
	-config | -run-dir | -state-dir | --config | --run-dir | --state-dir)
		mapfile -t COMPREPLY < <(compgen -d -- "$word")
		return
		;;
	-device | -lan | -I | --device | --lan)
		mapfile -t COMPREPLY < <(compgen -W "$(ls /sys/class/net)" -- "$word")
		return
		;;
	-o | -hook | -resolv | --hook | --resolv)
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return
		;;
	esac
	case ${COMP_WORDS[1]} in
`, strings.Join(names, " "))
	for _, c := range h.commands {
		var flags []string
		for _, f := range c.flags {
			flags = append(flags, "-"+f.name)
		}
		fmt.Fprintf(&b, "\t%s) flags='%s' ;;\n", c.name, strings.Join(flags, " "))
	}
	b.WriteString(`	esac
	case $word in
	-*) mapfile -t COMPREPLY < <(compgen -W "$flags" -- "$word") ;;
	*)
		case ${COMP_WORDS[1]} in
		rtsol | nd | capture) mapfile -t COMPREPLY < <(compgen -W "$(ls /sys/class/net)" -- "$word") ;;
		probe) mapfile -t COMPREPLY < <(compgen -W 'dhcp6 dhcp4 radius' -- "$word") ;;
		learn) mapfile -t COMPREPLY < <(compgen -f -- "$word") ;;
		esac
		;;
	esac
}
complete -F _sofu_proto sofu-proto
`)
	return []byte(b.String())
}
