package config

import (
	"fmt"
	"log/slog"
)

// mask is what every rendering of a Secret shows, however long the secret.
const mask = "***"

// Secret is a value that must not be seen: however it is printed, logged or
// marshalled, alone or inside something else, it shows "***". The zero Secret
// is an empty one.
type Secret struct {
	// A pointer, because fmt calls no methods on unexported struct fields and
	// prints such a field's strings, but of a pointer in it only the address.
	p *string
}

// NewSecret hides v.
func NewSecret(v string) Secret { return Secret{&v} }

// Reveal returns the secret itself, "" for the zero Secret.
func (s Secret) Reveal() string {
	if s.p == nil {
		return ""
	}
	return *s.p
}

// Equal tells whether both hold the same secret.
func (s Secret) Equal(o Secret) bool { return s.Reveal() == o.Reveal() }

// String returns "***".
func (s Secret) String() string { return mask }

// GoString returns "***".
func (s Secret) GoString() string { return mask }

// Format writes "***" whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(mask)) }

// LogValue returns "***".
func (s Secret) LogValue() slog.Value { return slog.StringValue(mask) }

// MarshalJSON returns "***" in JSON.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + mask + `"`), nil }

// MarshalText returns "***".
func (s Secret) MarshalText() ([]byte, error) { return []byte(mask), nil }
