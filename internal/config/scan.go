package config

import (
	"fmt"
	"strings"
)

// statement is one command of a UCI file.
type statement struct {
	line    int    // where it begins, from 1
	keyword string // "config", "option" or "list"
	name    string // of the option; the type of a section
	value   string // of the option; the name of a section, "" without one
}

// lineError is what is wrong with a file at a line. Its text never quotes the
// file, since what stands there may be a secret.
type lineError struct {
	line int
	text string
}

func (e *lineError) Error() string { return fmt.Sprintf("line %d: %s", e.line, e.text) }

// scan calls emit for each statement of a UCI file, in order, and stops at the
// first error, be it the file's (a *lineError) or emit's.
//
// The grammar is libuci's. A command is a keyword and its words, ended by the
// end of the line, by # (a comment follows) or by ;. A word is any sequence of
// plain, 'quoted' and "double quoted" pieces. A backslash makes the next
// character an ordinary one, except between single quotes, and joins two lines
// at the end of one. Quoted pieces may span lines. "package" is ignored, as
// libuci does when it loads a file by name.
func scan(text string, emit func(statement) error) error {
	if i := strings.IndexByte(text, 0); i >= 0 {
		return &lineError{1 + strings.Count(text[:i], "\n"), "a NUL byte: not a text file"}
	}
	s := scanner{text: text}
	for s.nextLine() {
		for s.skipSpace(); s.cur() != 0 && s.cur() != '#'; s.skipSpace() {
			st, err := s.command()
			if err != nil {
				return err
			}
			if st.keyword == "package" {
				continue
			}
			if err := emit(st); err != nil {
				return err
			}
		}
	}
	return nil
}

// scanner walks over text. Like libuci it sees one line at a time, text[:end],
// because a comment and a stray ; reach to the end of that line and no further.
type scanner struct {
	text     string
	pos, end int
	line     int // number of the line that ends at end
}

// nextLine skips what is left of the line and adds the next one to what is
// seen; false at the end of the file.
func (s *scanner) nextLine() bool {
	s.pos = s.end
	if s.end == len(s.text) {
		return false
	}
	if i := strings.IndexByte(s.text[s.end:], '\n'); i >= 0 {
		s.end += i + 1
	} else {
		s.end = len(s.text)
	}
	s.line++
	return true
}

// cur is the current character, 0 at the end of the line.
func (s *scanner) cur() byte {
	if s.pos < s.end {
		return s.text[s.pos]
	}
	return 0
}

func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }

func (s *scanner) skipSpace() {
	for isSpace(s.cur()) {
		s.pos++
	}
}

// command reads a keyword and its words.
func (s *scanner) command() (statement, error) {
	start := s.pos
	for c := s.cur(); c != 0 && !isSpace(c); c = s.cur() {
		s.pos++
	}
	st := statement{line: s.line, keyword: s.text[start:s.pos]}
	switch st.keyword {
	case "p", "package":
		st.keyword = "package"
	case "c", "config":
		st.keyword = "config"
	case "o", "option":
		st.keyword = "option"
	case "l", "list":
		st.keyword = "list"
	default:
		return st, &lineError{st.line, "expected config, option or list"}
	}
	words := []*string{&st.name, &st.value, new(string)}
	if st.keyword == "package" {
		words = []*string{&st.name, new(string)}
	}
	for _, w := range words {
		var err error
		if *w, err = s.word(); err != nil {
			return st, err
		}
	}
	if *words[len(words)-1] != "" {
		return st, &lineError{st.line, "more words than expected: a value with white space needs quotes"}
	}
	return st, st.check()
}

// check holds a statement's names against libuci's rules.
func (st statement) check() error {
	what, name, more := st.keyword, st.name, ""
	switch {
	case name == "":
		return &lineError{st.line, st.keyword + " without a name or type"}
	case st.keyword == "package":
		more = "-"
	case st.keyword == "config":
		for _, c := range []byte(name) {
			if c <= ' ' || c > '~' {
				return &lineError{st.line, "invalid character in a section's type"}
			}
		}
		what, name = "section", st.value
	}
	for _, c := range []byte(name) {
		if !isAlnum(c) && c != '_' && !strings.Contains(more, string(rune(c))) {
			return &lineError{st.line, "invalid character in the name of the " + what + ": accepted: letters, digits and _"}
		}
	}
	return nil
}

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// word reads the next word of the line, "" when there is none.
func (s *scanner) word() (string, error) {
	s.skipSpace()
	if s.cur() == ';' {
		s.pos++
		return "", nil
	}
	var b strings.Builder
	for plain := true; s.cur() != 0 && !isSpace(s.cur()); {
		switch c := s.cur(); c {
		case '\'', '"':
			plain = false
			if err := s.quoted(&b, c); err != nil {
				return "", err
			}
		case '#':
			s.pos = s.end
		case ';':
			// libuci loses the rest of the line when the ; touches a plain
			// word, and goes on with the next command after any other word.
			if plain {
				s.pos = s.end
			}
			return b.String(), nil
		case '\\':
			plain = false
			if s.pos++; !s.joinLine() {
				s.add(&b)
			}
		default:
			s.add(&b)
		}
	}
	if s.cur() != 0 {
		s.pos++ // the white space that ended the word
	}
	return b.String(), nil
}

// quoted reads a piece between quotes q into b.
func (s *scanner) quoted(b *strings.Builder, q byte) error {
	opened := s.line
	for s.pos++; s.cur() != q; {
		switch c := s.cur(); {
		case c == 0:
			if !s.nextLine() {
				return &lineError{opened, fmt.Sprintf("the quote %c opened here is never closed", q)}
			}
		case c == '\\' && q == '"':
			if s.pos++; !s.joinLine() {
				s.add(b)
			}
		default:
			s.add(b)
		}
	}
	s.pos++
	return nil
}

func (s *scanner) add(b *strings.Builder) {
	b.WriteByte(s.text[s.pos])
	s.pos++
}

// joinLine, called behind a backslash, goes on with the next line if this one
// ends here.
func (s *scanner) joinLine() bool {
	switch s.text[s.pos:s.end] {
	case "", "\n", "\r\n":
		s.nextLine()
		return true
	}
	return false
}

// inFile puts the file's name, and the line of a *lineError, before err.
func inFile(file string, err error) error {
	if le, ok := err.(*lineError); ok {
		return fmt.Errorf("%s:%d: %s", file, le.line, le.text)
	}
	return fmt.Errorf("%s: %w", file, err)
}
