package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSecretIsNeverSeen(t *testing.T) {
	const hidden = "hunter2"
	s := NewSecret(hidden)
	values := map[string]any{
		"value":             s,
		"pointer":           &s,
		"slice":             []Secret{s},
		"map":               map[string]Secret{"k": s},
		"map key":           map[Secret]int{s: 1},
		"exported field":    struct{ S Secret }{s},
		"unexported field":  struct{ s Secret }{s},
		"pointer to struct": &struct{ s *Secret }{&s},
		"embedded":          struct{ Secret }{s},
		"nested":            struct{ a any }{[]any{struct{ s Secret }{s}}},
	}
	// The secret, its bytes in hex, and its bytes in decimal.
	clear := []string{hidden, "68756e74657232", "68756E74657232", "104 117 110 116"}
	check := func(how, out string) {
		t.Helper()
		for _, c := range clear {
			if strings.Contains(out, c) {
				t.Errorf("%s shows the secret: %s", how, out)
			}
		}
	}
	for what, v := range values {
		for verb := range strings.FieldsSeq("%v %+v %#v %s %q %x %X %d %t %b %o %U %c %e %p %T %20s %-20v %.99s") {
			check(what+" "+verb, fmt.Sprintf(verb, v))
		}
		check(what+" Errorf", fmt.Errorf("x: %v", v).Error())
		b, err := json.Marshal(v)
		check(what+" json", fmt.Sprint(string(b), err))
		for kind, h := range map[string]func(*bytes.Buffer) slog.Handler{
			"text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
			"json": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
		} {
			var buf bytes.Buffer
			log := slog.New(h(&buf)).With("with", v).WithGroup("g")
			log.Info("x", "v", v, slog.Group("in", "v", v))
			if !strings.Contains(buf.String(), "with") {
				t.Fatalf("nothing logged: %q", buf.String())
			}
			check(what+" slog "+kind, buf.String())
		}
	}
}

func TestSecretForms(t *testing.T) {
	s := NewSecret("hunter2")
	text, _ := s.MarshalText()
	j, _ := json.Marshal(struct{ S Secret }{s})
	got := []string{s.String(), s.GoString(), fmt.Sprintf("%d", s), s.LogValue().String(), string(text), string(j), fmt.Sprint(Secret{})}
	want := []string{"***", "***", "***", "***", "***", `{"S":"***"}`, "***"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if s.Reveal() != "hunter2" || (Secret{}).Reveal() != "" {
		t.Error("Reveal")
	}
	if !s.Equal(NewSecret("hunter2")) || s.Equal(NewSecret("hunter3")) || !(Secret{}).Equal(NewSecret("")) {
		t.Error("Equal")
	}
}
