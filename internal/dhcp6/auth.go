package dhcp6

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"

	"github.com/insomniacslk/dhcp/dhcpv6"
)

// The Reconfigure Key Authentication Protocol (RFC 8415 20.4): the server gives
// a key in a Reply, and proves by it that a later Reconfigure is its own.
const (
	authProtocolRKAP = 3
	authHMACMD5      = 1
	authMonotonic    = 0
	rkapKey          = 1
	rkapDigest       = 2
	rkapInfo         = 17 // octets: the type and a key or digest
)

// auth is an authentication option (RFC 8415 21.11).
type auth struct {
	Protocol, Algorithm, RDM byte
	Replay                   uint64
	Info                     []byte
}

// String keeps the key out of logs.
func (a *auth) String() string { return "authentication option" }

func decodeAuth(b []byte) (*auth, error) {
	if len(b) < 11 {
		return nil, errLength
	}
	return &auth{Protocol: b[0], Algorithm: b[1], RDM: b[2], Replay: be.Uint64(b[3:]), Info: bytes.Clone(b[11:])}, nil
}

func (a *auth) encode() []byte {
	b := be.AppendUint64([]byte{a.Protocol, a.Algorithm, a.RDM}, a.Replay)
	return append(b, a.Info...)
}

// rkap returns the key or the digest that a carries, by kind.
func (a *auth) rkap(kind byte) (value []byte, ok bool) {
	if a == nil || a.Protocol != authProtocolRKAP || a.Algorithm != authHMACMD5 || a.RDM != authMonotonic ||
		len(a.Info) != rkapInfo || a.Info[0] != kind {
		return nil, false
	}
	return a.Info[1:], true
}

// authentic tells whether the message in raw carries the digest that key makes
// of it. The digest covers the whole message with the digest itself zeroed.
func authentic(raw, key []byte) bool {
	if len(raw) < 4 {
		return false
	}
	zeroed := bytes.Clone(raw)
	var digest []byte
	Walk(zeroed[4:], func(code dhcpv6.OptionCode, b []byte) error {
		if code != dhcpv6.OptionAuth || digest != nil {
			return nil
		}
		if a, err := decodeAuth(b); err == nil {
			if d, ok := a.rkap(rkapDigest); ok {
				digest = d
				clear(b[len(b)-len(d):])
			}
		}
		return nil
	})
	if digest == nil {
		return false
	}
	return hmac.Equal(mac(zeroed, key), digest)
}

func mac(message, key []byte) []byte {
	h := hmac.New(md5.New, key)
	h.Write(message)
	return h.Sum(nil)
}

// KeyOption is the authentication option by which a server gives a client its key, of
// 16 octets. replay is less than that of each Reconfigure that follows.
func KeyOption(replay uint64, key []byte) dhcpv6.Option {
	return rkapOption(replay, rkapKey, key)
}

// Sign returns m with an authentication option that proves it to who has the key.
func Sign(m *dhcpv6.Message, replay uint64, key []byte) []byte {
	m.AddOption(rkapOption(replay, rkapDigest, make([]byte, md5.Size)))
	b := m.ToBytes()
	copy(b[len(b)-md5.Size:], mac(b, key))
	return b
}

func rkapOption(replay uint64, kind byte, value []byte) dhcpv6.Option {
	a := auth{
		Protocol: authProtocolRKAP, Algorithm: authHMACMD5, RDM: authMonotonic,
		Replay: replay, Info: append([]byte{kind}, value...),
	}
	return &dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionAuth, OptionData: a.encode()}
}
