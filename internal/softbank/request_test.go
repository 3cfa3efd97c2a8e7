package softbank

import (
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestGoldenRequests compares whole requests with the annotated dumps under
// testdata. Their randomness is 00 01 02…: the authenticator, then the
// challenge, then the identifier.
func TestGoldenRequests(t *testing.T) {
	with := func(o Options, change func(*Options)) Options {
		change(&o)
		return o
	}
	for _, tt := range []struct {
		name string
		o    Options
	}{
		{"next", testOptions(NEXT)},
		{"cross", testOptions(CROSS)},
		{"next-options", with(testOptions(NEXT), func(o *Options) {
			o.MAC, o.MACFormat = mac("00:00:5e:00:53:cc"), UpperPlain
			o.Username = "someone"
			o.Manufacturer, o.Model, o.HWRevision = "maker", "model", "rev"
			o.SinglePacking = true
			o.CHAPIdent = 200
			o.SendMessageAuthenticator = true
		})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := NewClient(ClientConfig{Options: tt.o, Rand: rand.New(&steady{})})
			b, err := c.cfg.encode(testRequest, c.nonce())
			if err != nil {
				t.Fatal(err)
			}
			got := annotate(b)
			file := filepath.Join("testdata", tt.name+".golden")
			if *update {
				must(os.WriteFile(file, []byte(got), 0o644))
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("request (-want +got):\n%s", diff)
			}
			// The dump must not hide anything.
			if diff := cmp.Diff(undump(string(want)), b); diff != "" {
				t.Errorf("bytes (-want +got):\n%s", diff)
			}
		})
	}
}

// annotate writes a request as hex, each part under a line that explains it.
func annotate(b []byte) string {
	var s strings.Builder
	line := func(indent, explain string, parts ...[]byte) {
		fmt.Fprintf(&s, "%s# %s\n%s", indent, explain, indent)
		for i, p := range parts {
			if i > 0 {
				s.WriteByte(' ')
			}
			s.WriteString(hex.EncodeToString(p))
		}
		s.WriteByte('\n')
	}
	line("", fmt.Sprintf("code %d, identifier %d, length %d", b[0], b[1], binary.BigEndian.Uint16(b[2:])), b[:1], b[1:2], b[2:4])
	line("", "authenticator", b[4:20])
	for b = b[20:]; len(b) > 0; b = b[b[1]:] {
		head, value := b[:2], b[2:b[1]]
		switch b[0] {
		case 1:
			line("", fmt.Sprintf("User-Name %q", value), head, value)
		case 3:
			line("", "CHAP-Password: identifier, MD5", head, value[:1], value[1:])
		case 60:
			line("", "CHAP-Challenge", head, value)
		case 80:
			line("", "Message-Authenticator", head, value)
		case 26:
			line("", fmt.Sprintf("Vendor-Specific of enterprise %d", binary.BigEndian.Uint32(value)), head, value[:4])
			for v := value[4:]; len(v) > 0; v = v[v[1]:] {
				line("    ", fmt.Sprintf("%d %q", v[0], v[2:v[1]]), v[:2], v[2:v[1]])
			}
		default:
			line("", fmt.Sprintf("attribute %d", b[0]), head, value)
		}
	}
	return s.String()
}

// undump reads the bytes of such a dump.
func undump(s string) []byte {
	var parts []string
	for line := range strings.Lines(s) {
		if !strings.HasPrefix(strings.TrimSpace(line), "#") {
			parts = append(parts, line)
		}
	}
	return unhex(parts...)
}

func TestRequestErrors(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Options, *Request)
		want   string
	}{
		{"no MAC", func(_ *Options, r *Request) { r.TerminalMAC, r.WANMAC = nil, nil }, "set option 'mac'"},
		{"long value", func(o *Options, _ *Request) { o.Model = strings.Repeat("x", 248) }, "value too long"},
		{"long values packed", func(o *Options, _ *Request) {
			o.SinglePacking, o.Model = true, strings.Repeat("x", 240)
		}, "vsa_packing"},
		{"long name", func(o *Options, _ *Request) { o.Username = strings.Repeat("x", 254) }, "username"},
		{"no name", func(o *Options, _ *Request) { o.IIDFromIPv4 = true }, "prefix"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, req := testOptions(NEXT), testRequest
			tt.change(&o, &req)
			_, err := o.encode(req, nonce{})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}
