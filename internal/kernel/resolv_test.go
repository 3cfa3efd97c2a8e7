package kernel

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sofutobanku/internal/state"
)

func TestResolvText(t *testing.T) {
	long := strings.Repeat("a", 63)
	tests := []struct {
		name    string
		dns     []string
		domains []string
		want    string
	}{
		{"none", nil, []string{"example.com"}, ""},
		{"both", []string{"2001:db8::53", "192.0.2.53"}, []string{"example.com", "x_y.example.net."}, "nameserver 2001:db8::53\nnameserver 192.0.2.53\nsearch example.com x_y.example.net\n"},
		{"mapped IPv4", []string{"::ffff:192.0.2.1"}, nil, "nameserver 192.0.2.1\n"},
		{"link-local", []string{"fe80::53", "fe80::54%evil\nnameserver 192.0.2.66"}, nil, "nameserver fe80::53%wan\nnameserver fe80::54%wan\n"},
		{"zone of a global address", []string{"2001:db8::53%x y"}, nil, "nameserver 2001:db8::53\n"},
		{"not servers", []string{"::", "::1", "127.0.0.1", "0.0.0.0", "ff02::1", "224.0.0.1"}, []string{"example.com"}, ""},
		{
			"not domains", []string{"2001:db8::53"},
			[]string{"a b", "a\nnameserver 192.0.2.66", "", ".", "..", "a..b", "-a.example", "ex;ample", "#", "é.example", long + "a.example", strings.Repeat("a.", 127) + "a", long + ".example"},
			"nameserver 2001:db8::53\nsearch " + long + ".example\n",
		},
		{"many domains", []string{"2001:db8::53"}, []string{"a", "b", "c", "d", "e", "f", "g"}, "nameserver 2001:db8::53\nsearch a b c d e f\n"},
	}
	for _, test := range tests {
		wan := state.WAN{DNS: []netip.Addr{{}}, Domains: test.domains}
		for _, d := range test.dns {
			wan.DNS = append(wan.DNS, netip.MustParseAddr(d))
		}
		if d := cmp.Diff(test.want, resolvText(wan, "wan")); d != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, d)
		}
	}
}

func TestResolvFile(t *testing.T) {
	const before, ours, strangers = "nameserver 192.0.2.1\n", "nameserver 2001:db8::53\n", "nameserver 192.0.2.99\n"
	st := lineState()
	type fixture struct {
		a          *Applier
		link, file string
	}
	setup := func(t *testing.T, peerDNS bool) fixture {
		newNamespace(t)
		dir := t.TempDir()
		f := fixture{link: filepath.Join(dir, "resolv.conf"), file: filepath.Join(dir, "real.conf")}
		if err := os.Symlink("real.conf", f.link); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f.file, []byte(before), 0o644); err != nil {
			t.Fatal(err)
		}
		o := options(t)
		o.ResolvFile, o.PeerDNS = f.link, peerDNS
		f.a = newApplier(t, o)
		return f
	}
	check := func(t *testing.T, file, want string) {
		t.Helper()
		b, err := os.ReadFile(file)
		if err != nil || string(b) != want {
			t.Errorf("%s: %q, %v; want %q", filepath.Base(file), b, err, want)
		}
	}
	t.Run("written, lost, written again, closed", func(t *testing.T) {
		f := setup(t, true)
		apply(t, f.a, st)
		check(t, f.file, ours)
		if _, err := os.Readlink(f.link); err != nil {
			t.Errorf("the symbolic link was replaced: %v", err)
		}
		fi, _ := os.Stat(f.file)
		apply(t, f.a, st)
		if again, _ := os.Stat(f.file); !os.SameFile(fi, again) {
			t.Error("written again without need")
		}
		apply(t, f.a, state.State{})
		check(t, f.file, before)
		apply(t, f.a, st)
		if err := os.Remove(f.file); err != nil {
			t.Fatal(err)
		}
		apply(t, f.a, st)
		check(t, f.link, ours)
		if err := f.a.Close(); err != nil {
			t.Fatal(err)
		}
		check(t, f.link, before)
		if left, _ := filepath.Glob(filepath.Join(filepath.Dir(f.file), ".*")); len(left) > 0 {
			t.Errorf("left over: %v", left)
		}
	})
	t.Run("taken over by somebody else", func(t *testing.T) {
		f := setup(t, true)
		apply(t, f.a, st)
		if err := os.WriteFile(f.file, []byte(strangers), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := f.a.Close(); err != nil {
			t.Fatal(err)
		}
		check(t, f.file, strangers)
	})
	t.Run("peerdns off", func(t *testing.T) {
		f := setup(t, false)
		apply(t, f.a, st)
		check(t, f.file, before)
	})
	t.Run("not a file", func(t *testing.T) {
		f := setup(t, true)
		if err := os.Remove(f.file); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(f.file, 0o755); err != nil {
			t.Fatal(err)
		}
		err := f.a.Apply(st)
		if err == nil {
			t.Fatal("no error")
		}
		mustContain(t, "error", err.Error(), "kernel: resolv file: ", "not a regular file")
		mustContain(t, "picture", picture(t), "default via fe80::1")
	})
}
