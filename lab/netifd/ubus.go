package netifd

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Call is one command line that a handler or its daemon ran.
type Call struct {
	Args    []string // Args[0] is "ubus", or another tool
	Environ []string
	Parent  string // the name of the process that ran it
	PPID    int    // its process id
	Status  string // its own /proc/self/status
}

// Reply is what the command says, and its exit status.
type Reply struct {
	Stdout, Stderr string
	Status         int
}

// socketName is the socket next to the tools.
const socketName = "socket"

// tools are the commands that Tool is.
var tools = []string{"ubus", "fw4", "sleep", "json2sh"}

// makeTools makes a folder that belongs first into $PATH, its tools this very
// program: whoever calls makeTools calls Tool first of all in main.
func makeTools(dir string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for _, name := range tools {
		if err := os.Symlink(self, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// Tool does what the program was called for, if it was called by the name of a
// tool, and ends the program.
func Tool() {
	name := filepath.Base(os.Args[0])
	if !slices.Contains(tools, name) {
		return
	}
	if name == "json2sh" {
		text, err := shell(os.Args[1])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Print(text)
		os.Exit(0)
	}
	// What cannot be read is missing in them.
	ppid := os.Getppid()
	parent, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", ppid))
	status, _ := os.ReadFile("/proc/self/status")
	reply, err := send(Call{append([]string{name}, os.Args[1:]...), os.Environ(), strings.TrimSpace(string(parent)), ppid, string(status)})
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(255)
	}
	fmt.Print(reply.Stdout)
	fmt.Fprint(os.Stderr, reply.Stderr)
	os.Exit(reply.Status)
}

func send(call Call) (reply Reply, err error) {
	path, err := exec.LookPath(call.Args[0])
	if err != nil {
		return reply, err
	}
	conn, err := net.Dial("unix", filepath.Join(filepath.Dir(path), socketName))
	if err != nil {
		return reply, err
	}
	defer conn.Close()
	if err := json.NewEncoder(conn).Encode(call); err != nil {
		return reply, err
	}
	return reply, json.NewDecoder(conn).Decode(&reply)
}

// listen answers the calls of the tools in dir until the listener is closed.
func listen(dir string, answer func(Call) Reply) (io.Closer, error) {
	l, err := net.Listen("unix", filepath.Join(dir, socketName))
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				var call Call
				if json.NewDecoder(conn).Decode(&call) == nil {
					_ = json.NewEncoder(conn).Encode(answer(call)) // it may have been killed
				}
			}()
		}
	}()
	return l, nil
}

// shell makes shell of a flat JSON object, see netifd-proto.sh. Arrays are left out.
func shell(object string) (string, error) {
	var members map[string]any
	d := json.NewDecoder(strings.NewReader(object))
	d.UseNumber()
	if err := d.Decode(&members); err != nil {
		return "", fmt.Errorf("json2sh: %w", err)
	}
	var b strings.Builder
	var names []string
	for name, v := range members {
		switch v := v.(type) {
		case string, json.Number:
			fmt.Fprintf(&b, "export json_%s='%s'\n", name, strings.ReplaceAll(fmt.Sprint(v), "'", `'\''`))
		case bool:
			fmt.Fprintf(&b, "export json_%s=%d\n", name, map[bool]int{true: 1}[v])
		default:
			continue
		}
		names = append(names, "json_"+name)
	}
	fmt.Fprintf(&b, "_loaded='%s'\n", strings.Join(names, " "))
	return b.String(), nil
}

// secretsIn tells in which part of a call a secret is.
func secretsIn(call Call, secrets []string) string {
	for _, secret := range secrets {
		for what, words := range map[string][]string{"the arguments": call.Args, "the environment": call.Environ} {
			if slices.ContainsFunc(words, func(w string) bool { return strings.Contains(w, secret) }) {
				return what
			}
		}
	}
	return ""
}
