package softbank

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// SilentError says that no server gave an answer that could be believed.
type SilentError struct {
	Servers []netip.AddrPort // that were asked
	// Drops are the reasons, sorted, for which replies were dropped; empty when
	// nothing came at all.
	Drops []string
	// Refused: at least one server's host said that nothing listens there.
	Refused bool
}

func (e *SilentError) Error() string {
	servers := serverList(e.Servers)
	switch {
	case slices.Contains(e.Drops, reasonNoMessageAuthenticator):
		return fmt.Sprintf("radius: %s answered without the Message-Authenticator that is required, because of option 'require_message_authenticator' or because this server sent one before: if the server has changed, unset the option or restart", servers)
	case len(e.Drops) > 0:
		return fmt.Sprintf("radius: %s sent no usable answer, dropped for: %s", servers, strings.Join(e.Drops, ", "))
	case e.Refused:
		return fmt.Sprintf("radius: %s is not listening (port unreachable): check option 'auth_server'", servers)
	}
	return fmt.Sprintf("radius: no answer from %s: check option 'auth_server' and that the prefix is this line's; a server may also ignore a line that it does not know", servers)
}

// BadAuthenticatorError says that replies came and that none was signed with
// our shared secret.
type BadAuthenticatorError struct {
	Servers []netip.AddrPort // whose replies were so
}

func (e *BadAuthenticatorError) Error() string {
	return fmt.Sprintf("radius: the answer of %s is not signed with our shared secret: option 'shared_secret' is most likely wrong", serverList(e.Servers))
}

// RejectError is an authentic Access-Reject.
type RejectError struct {
	Server  netip.AddrPort
	Message string // what the server said, printable, may be empty
}

func (e *RejectError) Error() string {
	said := ""
	if e.Message != "" {
		said = fmt.Sprintf(" saying %q", e.Message)
	}
	return fmt.Sprintf("radius: %s rejected this line%s: check options 'password', 'mac' and 'line'", e.Server, said)
}

// AnswerError is an authentic answer that is of no use.
type AnswerError struct {
	Server netip.AddrPort
	Reason string
}

func (e *AnswerError) Error() string {
	return fmt.Sprintf("radius: %s %s", e.Server, e.Reason)
}

func serverList(servers []netip.AddrPort) string {
	s := make([]string, len(servers))
	for i, a := range servers {
		s[i] = a.String()
	}
	return strings.Join(s, ", ")
}
