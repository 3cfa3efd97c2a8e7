package netifd

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const root = "../.."

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) {
	Tool()
	os.Exit(m.Run())
}

// secrets are the values of options that no program may be shown.
var secrets = []string{"geheim-1", "geheim 2"}

// wan is what netifd hands to the glue for a whole section.
const wan = `{"proto":"sofutobanku","device":"eth1","line":"next","auth_server":["2001:db8::1"],"shared_secret":"geheim-1","password":"geheim 2","metric":10,"mtu":"1460"}`

// recorder is a netifd that only listens.
type recorder struct {
	bytes.Buffer
	mu     sync.Mutex
	status map[string]int // of a call that contains this
	wrong  []string
}

func (r *recorder) answer(call Call) (reply Reply) {
	r.mu.Lock()
	defer r.mu.Unlock()
	line := strings.Join(call.Args, " ")
	for part, status := range r.status {
		if strings.Contains(line, part) {
			reply.Status = status
			line += fmt.Sprintf("  => %d", status)
		}
	}
	fmt.Fprintln(r, line)
	if where := secretsIn(call, secrets); where != "" {
		r.wrong = append(r.wrong, "a secret in "+where+" of: "+line)
	}
	return reply
}

// glue runs the script as netifd does. A /usr/sbin/sofu-proto that is started would
// be recorded too.
func glue(t *testing.T, env []string, status map[string]int, args ...string) (stdout, calls string) {
	t.Helper()
	dir := t.TempDir()
	bin := filepath.Join(dir, "bin")
	for _, sub := range []string{"bin", "sbin", "netifd/proto"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := makeTools(bin); err != nil {
		t.Fatal(err)
	}
	for to, from := range map[string]string{
		"netifd/netifd-proto.sh":      "netifd-proto.sh",
		"netifd/proto/sofutobanku.sh": root + "/files/lib/netifd/proto/sofutobanku.sh",
	} {
		copyFile(t, from, filepath.Join(dir, to))
	}
	started := "#!/bin/sh\nexec sleep 'sofu-proto is started'\n"
	if err := os.WriteFile(filepath.Join(dir, "sbin/sofu-proto"), []byte(started), 0o755); err != nil {
		t.Fatal(err)
	}
	r := &recorder{status: status}
	socket, err := listen(bin, r.answer)
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	script := `mount --bind "$1/sbin" /usr/sbin && shift && exec busybox ash ./sofutobanku.sh "$@"`
	cmd := exec.CommandContext(ctx, "unshare", append([]string{"-m", "sh", "-c", script, "sh", dir}, args...)...)
	cmd.Dir = filepath.Join(dir, "netifd/proto")
	// The tools are this program: its race detector would sleep for a second at the
	// end of each.
	cmd.Env = append(os.Environ(), "PATH="+bin+":/usr/bin:/bin", "GORACE=atexit_sleep_ms=0")
	cmd.Env = append(cmd.Env, env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && len(status) == 0 {
		t.Errorf("%v", err)
	}
	if errs.Len() > 0 {
		t.Errorf("standard error:\n%s", &errs)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, wrong := range r.wrong {
		t.Error(wrong)
	}
	return out.String(), r.String()
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	info, err := os.Stat(from)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, text, info.Mode()); err != nil {
		t.Fatal(err)
	}
}

func golden(t *testing.T, got string) {
	t.Helper()
	file := filepath.Join("testdata", strings.ReplaceAll(t.Name(), "/", "-")+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// TestDump: what netifd learns of the protocols, and nothing is started for it.
func TestDump(t *testing.T) {
	out, calls := glue(t, nil, nil, "", "dump")
	if calls != "" {
		t.Errorf("started: %s", calls)
	}
	golden(t, out)
}

// TestGlue: what each action makes of its arguments.
func TestGlue(t *testing.T) {
	const refused = `"action":0`
	child := func(more string) string {
		return `{"name":"wan_4","proto":"sofutobanku4","local":"2001:db8:12:3400:1111:1111:1111:1111","remote":"2001:db8:b0::1919","ipaddr":"192.0.2.7"` + more + `}`
	}
	for _, tt := range []struct {
		name   string
		env    []string
		status map[string]int
		args   []string
	}{
		{"setup", nil, nil, []string{"sofutobanku", "setup", "wan", wan, "eth1"}},
		{"renew", nil, nil, []string{"sofutobanku", "renew", "wan", wan, "eth1"}},
		{"restart", nil, nil, []string{"sofutobanku", "restart", "wan", wan, "eth1"}},
		{"teardown", nil, nil, []string{"sofutobanku", "teardown", "wan", wan, "eth1"}},
		{"teardown without a child", nil, map[string]int{"remove": 4}, []string{"sofutobanku", "teardown", "wan", wan, "eth1"}},
		{"killed", []string{"ERROR=0"}, nil, []string{"sofutobanku", "teardown", "wan", wan, "eth1"}},
		{"failed", []string{"ERROR=1"}, nil, []string{"sofutobanku", "teardown", "wan", wan, "eth1"}},
		{"hopeless", []string{"ERROR=3"}, nil, []string{"sofutobanku", "teardown", "wan", wan, "eth1"}},
		{"no program", []string{"ERROR=127"}, nil, []string{"sofutobanku", "teardown", "wan", wan, "eth1"}},
		{"child", nil, nil, []string{"sofutobanku4", "setup", "wan_4", child(``)}},
		{"child with all options", nil, nil, []string{"sofutobanku4", "setup", "wan_4",
			child(`,"mtu":1280,"ttl":255,"encaplimit":"4","zone":"wan","metric":10,"defaultroute":false`)}},
		{"child of a long name", nil, nil, []string{"sofutobanku4", "setup", "hikari_primary_4", child(``)}},
		{"child of another long name", nil, nil, []string{"sofutobanku4", "setup", "hikari_spare_4", child(``)}},
		{"child by hand", nil, nil, []string{"sofutobanku4", "setup", "tun",
			`{"proto":"sofutobanku4","local":"2001:db8::1","remote":"2001:db8::2","ipaddr":"192.0.2.7","mtu":"1400","ttl":"63"}`}},
		{"child without remote", nil, nil, []string{"sofutobanku4", "setup", "tun", `{"local":"2001:db8::1","ipaddr":"192.0.2.7"}`}},
		{"child with bad mtu", nil, nil, []string{"sofutobanku4", "setup", "wan_4", child(`,"mtu":"70000"`)}},
		{"child with bad encaplimit", nil, nil, []string{"sofutobanku4", "setup", "wan_4", child(`,"encaplimit":"none"`)}},
		{"child with hostile options", nil, nil, []string{"sofutobanku4", "setup", "wan_4", child(`,"mtu":"$(ubus injected)","ttl":"';ubus injected;'"`)}},
		{"child that netifd refuses", nil, map[string]int{refused: 9}, []string{"sofutobanku4", "setup", "wan_4", child(``)}},
		{"child teardown", nil, nil, []string{"sofutobanku4", "teardown", "wan_4", child(``)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, calls := glue(t, tt.env, tt.status, tt.args...)
			if out != "" {
				t.Errorf("standard output: %s", out)
			}
			golden(t, calls)
		})
	}
}

// TestSecrets: the double would notice a program that is shown a secret.
func TestSecrets(t *testing.T) {
	for what, call := range map[string]Call{
		"the arguments":   {Args: []string{"ubus", "call", `{"password":"geheim 2"}`}},
		"the environment": {Environ: []string{"A=b", "json_password=geheim-1"}},
		"":                {Args: []string{"ubus"}, Environ: []string{"geheim=2"}},
	} {
		if got := secretsIn(call, secrets); got != what {
			t.Errorf("%q, want %q", got, what)
		}
	}
}

// netifdOptions are read by netifd itself, whoever else reads them, so that the glue
// need not declare them to be restarted when they change.
var netifdOptions = []string{"device", "ifname"}

// declared is what the dump says of a protocol.
func declared(t *testing.T, proto string) []string {
	t.Helper()
	out, _ := glue(t, nil, nil, "", "dump")
	for line := range strings.Lines(out) {
		var h struct {
			Name   string
			Config [][]any
		}
		if err := json.Unmarshal([]byte(line), &h); err != nil {
			t.Fatal(err)
		}
		if h.Name != proto {
			continue
		}
		var names []string
		for _, option := range h.Config {
			names = append(names, option[0].(string))
		}
		slices.Sort(names)
		return names
	}
	t.Fatalf("no %s in:\n%s", proto, out)
	return nil
}

// TestDeclaresEveryOption: what the program reads is what the glue declares. An
// undeclared option could be changed without an effect.
func TestDeclaresEveryOption(t *testing.T) {
	read := optionsRead(t)
	for _, name := range netifdOptions {
		delete(read, name)
	}
	if len(read) < 25 {
		t.Fatalf("the source reads only %v", read)
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(read)), declared(t, "sofutobanku")); diff != "" {
		t.Errorf("options (-read by the program +declared by the glue):\n%s", diff)
	}
}

// TestREADME: every option of its tables is one that the glue declares, or netifd's.
func TestREADME(t *testing.T) {
	known := slices.Concat(declared(t, "sofutobanku"), declared(t, "sofutobanku4"), netifdOptions, netifdOwn)
	for _, file := range []string{"README.md", "README.ja.md"} {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, row := range regexp.MustCompile("(?m)^\\| (`[a-z0-9_]+`(?:(?:, |、)`[a-z0-9_]+`)*) \\|.*\\|.*\\|$").FindAllStringSubmatch(string(text), -1) {
			for _, name := range regexp.MustCompile("[a-z0-9_]+").FindAllString(row[1], -1) {
				found++
				if !slices.Contains(known, name) && name != "lab" && name != "docs" {
					t.Errorf("%s has option %s, which the glue does not declare", file, name)
				}
			}
		}
		if found < 25 {
			t.Errorf("%s: only %d options found in its table", file, found)
		}
	}
}

// optionsRead finds the options that the program reads: the literal argument of each
// call of a function that has a parameter opt, as config.Section's getters have.
func optionsRead(t *testing.T) map[string]bool {
	t.Helper()
	var files []*ast.File
	fset := token.NewFileSet()
	for _, dir := range []string{"internal/config", "internal/softbank", "internal/netifd", "cmd/sofu-proto"} {
		names, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
		}
	}
	position := make(map[string]int) // of opt among a function's parameters
	for _, f := range files {
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			n := 0
			for _, field := range fn.Type.Params.List {
				for _, name := range field.Names {
					if name.Name == "opt" {
						position[fn.Name.Name] = n
					}
					n++
				}
			}
		}
	}
	read := make(map[string]bool)
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			name := ""
			switch fun := call.Fun.(type) {
			case *ast.Ident:
				name = fun.Name
			case *ast.SelectorExpr:
				if of, ok := fun.X.(*ast.Ident); ok && of.Name != "fs" { // a flag.FlagSet
					name = fun.Sel.Name
				}
			}
			i, ok := position[name]
			if !ok || i >= len(call.Args) {
				return true
			}
			if lit, ok := call.Args[i].(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if s, err := strconv.Unquote(lit.Value); err == nil {
					read[s] = true
				}
			}
			return true
		})
	}
	return read
}

// netifd runs the glue again and again if it is not executable.
func TestExecutable(t *testing.T) {
	info, err := os.Stat(root + "/files/lib/netifd/proto/sofutobanku.sh")
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o755 {
		t.Errorf("mode %v", info.Mode())
	}
}
