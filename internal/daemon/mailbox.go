package daemon

import "sync"

// mailbox holds the latest item of each kind, in the order in which the kinds
// were first posted.
type mailbox struct {
	ready chan struct{} // holds one token while there is something to take

	mu    sync.Mutex
	kinds []string
	items map[string]func()
}

func newMailbox() *mailbox {
	return &mailbox{ready: make(chan struct{}, 1), items: map[string]func(){}}
}

// post leaves f as the news of its kind, in place of older news of that kind
// that nobody took yet. It never blocks.
func (m *mailbox) post(kind string, f func()) {
	m.mu.Lock()
	if _, ok := m.items[kind]; !ok {
		m.kinds = append(m.kinds, kind)
	}
	m.items[kind] = f
	m.mu.Unlock()
	select {
	case m.ready <- struct{}{}:
	default:
	}
}

// take empties the mailbox.
func (m *mailbox) take() []func() {
	m.mu.Lock()
	defer m.mu.Unlock()
	var fs []func()
	for _, kind := range m.kinds {
		fs = append(fs, m.items[kind])
	}
	m.kinds, m.items = nil, map[string]func(){}
	return fs
}
