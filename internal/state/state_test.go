package state

import (
	"errors"
	"fmt"
	"testing"
)

func TestSplit(t *testing.T) {
	line, phone, hgw := errors.New("line"), &PartError{PartPhone, errors.New("phone")}, &PartError{PartHGW, errors.New("hgw")}
	for _, test := range []struct {
		err                          error
		wantLine, wantPhone, wantHGW string
	}{
		{nil, "<nil>", "<nil>", "<nil>"},
		{line, "line", "<nil>", "<nil>"},
		{phone, "<nil>", "phone", "<nil>"},
		{errors.Join(phone, hgw, phone), "<nil>", "phone\nphone", "hgw"},
		{errors.Join(nil, line, errors.Join(hgw, line)), "line\nline", "<nil>", "hgw"},
	} {
		parts, l := Split(test.err)
		if fmt.Sprint(l) != test.wantLine || fmt.Sprint(parts[PartPhone]) != test.wantPhone || fmt.Sprint(parts[PartHGW]) != test.wantHGW {
			t.Errorf("%v: %v and %v", test.err, l, parts)
		}
	}
}
