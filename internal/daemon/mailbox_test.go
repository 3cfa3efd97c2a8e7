package daemon

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMailboxKeepsTheLatestOfEachKindInOrder(t *testing.T) {
	m := newMailbox()
	var got []string
	say := func(s string) func() { return func() { got = append(got, s) } }
	m.post("link", say("link 1"))
	m.post("ra", say("ra 1"))
	m.post("link", say("link 2"))
	for range 1000 {
		m.post("ra", say("ra 2"))
	}
	<-m.ready
	for _, f := range m.take() {
		f()
	}
	if diff := cmp.Diff([]string{"link 2", "ra 2"}, got); diff != "" {
		t.Errorf("taken (-want +got):\n%s", diff)
	}
	select {
	case <-m.ready:
		t.Error("an empty mailbox says that it is not")
	default:
	}
}
