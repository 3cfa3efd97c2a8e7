package dnsname

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	long := strings.Repeat("a", 63)
	fits := "\x3f" + long + "\x3f" + long + "\x3f" + long + "\x3d" + long[:61] + "\x00" // 255 octets
	for _, tt := range []struct {
		name, in, want, rest string
		err                  error
	}{
		{name: "one", in: "\x07example\x03org\x00", want: "example.org"},
		{name: "followed by another", in: "\x01a\x00\x01b\x00", want: "a", rest: "\x01b\x00"},
		{name: "root", in: "\x00", want: ""},
		{name: "underscore", in: "\x04_sip\x04_udp\x00", want: "_sip._udp"},
		{name: "longest label", in: "\x3f" + long + "\x00", want: long},
		{name: "longest name", in: fits, want: strings.Join([]string{long, long, long, long[:61]}, ".")},

		{name: "empty", in: "", err: ErrTruncated},
		{name: "no root label", in: "\x07example", err: ErrTruncated},
		{name: "label beyond the end", in: "\x07exam", err: ErrTruncated},
		{name: "pointer to itself", in: "\xc0\x00", err: ErrPointer},
		{name: "pointer after a label", in: "\x01a\xc0\x00", err: ErrPointer},
		{name: "label of 64", in: "\x40" + long + "a\x00", err: ErrLabel},
		{name: "extended label type", in: "\x80a\x00", err: ErrLabel},
		{name: "name of 256", in: "\x3f" + long + "\x3f" + long + "\x3f" + long + "\x3e" + long[:62] + "\x00", err: ErrTooLong},
		{name: "endless labels", in: strings.Repeat("\x01a", 4000), err: ErrTooLong},
		{name: "line break", in: "\x03a\nb\x00", err: ErrLabel},
		{name: "dot inside a label", in: "\x03a.b\x00", err: ErrLabel},
		{name: "quote", in: "\x02a'\x00", err: ErrLabel},
		{name: "nul", in: "\x02a\x00\x00", err: ErrLabel},
		{name: "not ASCII", in: "\x03\xe3\x81\x82\x00", err: ErrLabel},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, rest, err := Parse([]byte(tt.in))
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if got != tt.want || string(rest) != tt.rest {
				t.Fatalf("got %q and %q, want %q and %q", got, rest, tt.want, tt.rest)
			}
			if err != nil {
				return
			}
			back, err := Append(nil, got)
			if want := []byte(strings.TrimSuffix(tt.in, tt.rest)); err != nil || !bytes.Equal(back, want) {
				t.Fatalf("Append: % x, %v, want % x", back, err, want)
			}
		})
	}
}

func TestAppend(t *testing.T) {
	for _, tt := range []struct {
		in, want string
		err      error
	}{
		{in: "example.org.", want: "\x07example\x03org\x00"},
		{in: "", want: "\x00"},
		{in: ".", want: "\x00"},
		{in: "a..b", err: ErrLabel},
		{in: ".a", err: ErrLabel},
		{in: "a b", err: ErrLabel},
		{in: strings.Repeat("a", 64), err: ErrLabel},
		{in: strings.Repeat("a.", 127) + "aa", err: ErrTooLong},
	} {
		got, err := Append(nil, tt.in)
		if !errors.Is(err, tt.err) || string(got) != tt.want {
			t.Errorf("%q: got % x, %v, want % x, %v", tt.in, got, err, tt.want, tt.err)
		}
	}
}
