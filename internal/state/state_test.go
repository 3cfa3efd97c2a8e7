package state

import (
	"errors"
	"fmt"
	"testing"
)

func TestSplitPhone(t *testing.T) {
	line, phone := errors.New("line"), &PhoneError{errors.New("phone")}
	for _, test := range []struct {
		err                   error
		wantLine, wantOfPhone string
	}{
		{nil, "<nil>", "<nil>"},
		{line, "line", "<nil>"},
		{phone, "<nil>", "phone"},
		{errors.Join(phone, phone), "<nil>", "phone\nphone"},
		{errors.Join(nil, line, errors.Join(phone, line)), "line\nline", "phone"},
	} {
		l, p := SplitPhone(test.err)
		if fmt.Sprint(l) != test.wantLine || fmt.Sprint(p) != test.wantOfPhone {
			t.Errorf("%v: %v and %v", test.err, l, p)
		}
	}
}
