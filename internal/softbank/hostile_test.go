package softbank

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"layeh.com/radius"
)

// TestHostileReplies: a bad reply is counted and changes nothing. A good one
// that comes 100 ms later is believed; without it the error tells what came.
func TestHostileReplies(t *testing.T) {
	accept := func(req []byte) []byte { return answer(req, radius.CodeAccessAccept, granted()) }
	require := func(o *Options) { o.RequireMessageAuthenticator = true }
	for _, tt := range []struct {
		name    string
		change  func(*Options)
		reply   func(req []byte) []byte
		counter string
		err     string // without a good reply
	}{
		{"empty", nil, func([]byte) []byte { return nil }, "radius.drop.malformed", "dropped for: malformed"},
		{"shorter than a header", nil, func(req []byte) []byte { return accept(req)[:19] }, "radius.drop.malformed", "dropped for: malformed"},
		{"cut off", nil, func(req []byte) []byte { b := accept(req); return b[:len(b)-1] }, "radius.drop.malformed", "dropped for: malformed"},
		{"length below a header", nil, func(req []byte) []byte {
			b := accept(req)
			binary.BigEndian.PutUint16(b[2:], 19)
			return sign(b, req, testSecret)
		}, "radius.drop.malformed", "dropped for: malformed"},
		{"attribute longer than the packet, signed", nil, func(req []byte) []byte {
			b := accept(req)
			b[headerLen+1]++ // the first attribute now ends in the second one's header
			return sign(b, req, testSecret)
		}, "radius.drop.malformed", "dropped for: malformed"},
		{"attribute of length 0, signed", nil, func(req []byte) []byte {
			b := accept(req)
			b[headerLen+1] = 0
			return sign(b, req, testSecret)
		}, "radius.drop.malformed", "dropped for: malformed"},
		{"another identifier, signed", nil, func(req []byte) []byte {
			b := accept(req)
			b[1]++
			return sign(b, req, testSecret)
		}, "radius.drop.identifier", "dropped for: identifier"},
		{"our own request, reflected", nil, func(req []byte) []byte { return req }, "radius.drop.code", "dropped for: code"},
		{"another code, signed", nil, func(req []byte) []byte {
			b := accept(req)
			b[0] = byte(radius.CodeAccountingResponse)
			return sign(b, req, testSecret)
		}, "radius.drop.code", "dropped for: code"},
		{"Accept signed with another secret", nil, func(req []byte) []byte {
			return sign(accept(req), req, "another")
		}, "radius.drop.authenticator", "option 'shared_secret' is most likely wrong"},
		{"forged Reject", nil, func(req []byte) []byte {
			return sign(answer(req, radius.CodeAccessReject, nil), req, "")
		}, "radius.drop.authenticator", "option 'shared_secret' is most likely wrong"},
		{"Reject made of an Accept", nil, func(req []byte) []byte {
			b := accept(req)
			b[0] = byte(radius.CodeAccessReject)
			return b
		}, "radius.drop.authenticator", "option 'shared_secret' is most likely wrong"},
		{"an Accept for another request", nil, func(req []byte) []byte {
			other := append([]byte(nil), req...)
			other[4]++
			return accept(other)
		}, "radius.drop.authenticator", "option 'shared_secret' is most likely wrong"},
		{"one bit of the address changed", nil, func(req []byte) []byte {
			b := accept(req)
			b[headerLen+2+4+2] ^= 1
			return b
		}, "radius.drop.authenticator", "option 'shared_secret' is most likely wrong"},
		{"wrong Message-Authenticator, rightly signed", nil, func(req []byte) []byte {
			return answerSigned(req, radius.CodeAccessAccept, granted(), 1)
		}, "radius.drop.message-authenticator", "dropped for: message-authenticator"},
		{"wrong in its last byte", nil, func(req []byte) []byte {
			spoil := make([]byte, 16)
			spoil[15] = 0x80
			return answerSigned(req, radius.CodeAccessAccept, granted(), spoil...)
		}, "radius.drop.message-authenticator", "dropped for: message-authenticator"},
		{"short Message-Authenticator", nil, func(req []byte) []byte {
			return answer(req, radius.CodeAccessAccept, granted(&radius.AVP{Type: 80, Attribute: make([]byte, 15)}))
		}, "radius.drop.message-authenticator", "dropped for: message-authenticator"},
		{"two Message-Authenticators", nil, func(req []byte) []byte {
			return answerSigned(req, radius.CodeAccessAccept, granted(&radius.AVP{Type: 80, Attribute: make([]byte, 16)}))
		}, "radius.drop.message-authenticator", "dropped for: message-authenticator"},
		{"a second Message-Authenticator in front of a valid one", nil, func(req []byte) []byte {
			// The last attribute is right about all that stands before it.
			b := answer(req, radius.CodeAccessAccept, append(granted(
				&radius.AVP{Type: 80, Attribute: []byte("0123456789abcdef")}), &radius.AVP{Type: 80, Attribute: make([]byte, 16)}))
			copy(b[4:], req[4:headerLen])
			h := hmac.New(md5.New, []byte(testSecret))
			h.Write(b)
			copy(b[len(b)-16:], h.Sum(nil))
			return sign(b, req, testSecret)
		}, "radius.drop.message-authenticator", "dropped for: message-authenticator"},
		{"Proxy-State that was not asked for", nil, func(req []byte) []byte {
			return answer(req, radius.CodeAccessAccept, granted(&radius.AVP{Type: 33, Attribute: []byte("collision")}))
		}, "radius.drop.proxy-state", "dropped for: proxy-state"},
		{"none though required", require, accept, "radius.drop.no-message-authenticator", "option 'require_message_authenticator'"},
		{"Reject without one though required", require, func(req []byte) []byte {
			return answer(req, radius.CodeAccessReject, nil)
		}, "radius.drop.no-message-authenticator", "option 'require_message_authenticator'"},
	} {
		for _, goodFollows := range []bool{true, false} {
			name := tt.name
			if goodFollows {
				name += ", then a good one"
			}
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := newFakeNet(t, func(_ netip.AddrPort, n int, req []byte) []reply {
						if n > 1 {
							return nil
						}
						r := []reply{{after: rtt, data: tt.reply(req)}}
						if goodFollows {
							r = append(r, reply{after: 100 * time.Millisecond, data: answerSigned(req, radius.CodeAccessAccept, granted())})
						}
						return r
					})
					o := testOptions(NEXT, serverA)
					if tt.change != nil {
						tt.change(&o)
					}
					c, set := newTestClient(f, o)
					g, err := c.Ask(t.Context(), testRequest)
					if set.Get(tt.counter) != 1 {
						t.Errorf("not counted once as %s: %v", tt.counter, set.Snapshot())
					}
					switch {
					case goodFollows:
						if err != nil || g.IPv4.String() != "192.0.2.7" || g.RTT != 100*time.Millisecond {
							t.Errorf("grant %+v, error %v", g, err)
						}
					case err == nil:
						t.Errorf("granted: %+v", g)
					case !strings.Contains(err.Error(), tt.err):
						t.Errorf("error %v, want one with %q", err, tt.err)
					case time.Since(f.start) != 31*time.Second:
						t.Errorf("waiting ended after %v", time.Since(f.start))
					}
				})
			})
		}
	}
}

// TestFlood: any number of bad replies only costs their reading.
func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeNet(t, func(_ netip.AddrPort, n int, req []byte) []reply {
			if n > 1 {
				return nil
			}
			var r []reply
			for i := range 500 {
				junk := make([]byte, i)
				_, _ = rand.Read(junk)
				r = append(r, reply{data: junk}, reply{data: sign(answer(req, radius.CodeAccessReject, nil), req, "x")})
			}
			r = r[:999]
			return append(r, reply{after: rtt, data: answer(req, radius.CodeAccessAccept, granted())})
		})
		c, set := newTestClient(f, testOptions(NEXT, serverA))
		if _, err := c.Ask(t.Context(), testRequest); err != nil {
			t.Fatal(err)
		}
		if n := set.Get("radius.drop.authenticator"); n != 499 && n != 500 {
			t.Errorf("%d forgeries counted", n)
		}
	})
}

// TestLatch: after one valid Message-Authenticator a server's answers need one,
// as in an attack that finds a collision for the Response Authenticator alone.
func TestLatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		signed := map[netip.AddrPort]bool{serverA: true}
		f := newFakeNet(t, func(server netip.AddrPort, _ int, req []byte) []reply {
			if signed[server] {
				return []reply{{after: rtt, data: answerSigned(req, radius.CodeAccessReject, nil)}}
			}
			return []reply{{after: rtt, data: answer(req, radius.CodeAccessAccept, granted())}}
		})
		c, set := newTestClient(f, testOptions(NEXT, serverA))
		var reject *RejectError
		if _, err := c.Ask(t.Context(), testRequest); !errors.As(err, &reject) {
			t.Fatalf("first answer: %v", err)
		}
		// From here on the answers are rightly signed, but for the HMAC.
		signed[serverA] = false
		_, err := c.Ask(t.Context(), testRequest)
		var silent *SilentError
		if !errors.As(err, &silent) || !strings.Contains(err.Error(), "because this server sent one before") {
			t.Errorf("second answer: %v", err)
		}
		if n := set.Get("radius.drop.no-message-authenticator"); n != mrcAlone {
			t.Errorf("%d drops counted", n)
		}

		// Another server has never promised anything.
		c.cfg.Servers = append(c.cfg.Servers, serverB)
		g, err := c.Ask(t.Context(), testRequest)
		if err != nil || g.Server != serverB {
			t.Errorf("the other server: %+v, %v", g, err)
		}
	})
}

func TestPadding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeNet(t, func(_ netip.AddrPort, _ int, req []byte) []reply {
			b := answerSigned(req, radius.CodeAccessAccept, granted())
			return []reply{{after: rtt, data: append(b, make([]byte, 5000)...)}}
		})
		c, _ := newTestClient(f, testOptions(NEXT, serverA))
		if _, err := c.Ask(t.Context(), testRequest); err != nil {
			t.Error(err)
		}
	})
}

// TestAuthenticAnswers: what a server says ends an Ask at once, whoever comes
// after it.
func TestAuthenticAnswers(t *testing.T) {
	for _, tt := range []struct {
		name  string
		code  radius.Code
		attrs radius.Attributes
		want  error
		text  string
	}{
		{"Reject", radius.CodeAccessReject, nil, &RejectError{Server: serverA},
			"radius: [2001:db8:a::1]:1812 rejected this line: check options 'password', 'mac' and 'line'"},
		{"Reject with messages", radius.CodeAccessReject, radius.Attributes{
			{Type: 18, Attribute: []byte("not\x1b[2J \xff today\n")}, vendor(vendorID, subHex(18, "code E-17\x00")),
		}, &RejectError{Server: serverA, Message: "not?[2J ? today code E-17"},
			`radius: [2001:db8:a::1]:1812 rejected this line saying "not?[2J ? today code E-17": check options 'password', 'mac' and 'line'`},
		{"Reject with long messages", radius.CodeAccessReject, radius.Attributes{
			{Type: 18, Attribute: []byte(strings.Repeat("a", 200))}, {Type: 18, Attribute: []byte(strings.Repeat("b", 200))},
		}, &RejectError{Server: serverA, Message: strings.Repeat("a", 200) + " " + strings.Repeat("b", 52)}, ""},
		{"Challenge", radius.CodeAccessChallenge, nil,
			&AnswerError{serverA, "wants a further exchange (Access-Challenge), which no SoftBank line is known to do: check option 'auth_server'"}, ""},
		{"empty Accept", radius.CodeAccessAccept, nil,
			&AnswerError{serverA, "accepted this line, but did not send the line's IPv4 address (attribute 204): check option 'line' and options 'manufacturer', 'model' and 'hwrev'"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeNet(t, func(_ netip.AddrPort, _ int, req []byte) []reply {
					return []reply{{after: rtt, data: answer(req, tt.code, tt.attrs)}}
				})
				c, _ := newTestClient(f, testOptions(NEXT, serverA, serverB))
				_, err := c.Ask(t.Context(), testRequest)
				if diff := cmp.Diff(tt.want, err, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if tt.text != "" && err.Error() != tt.text {
					t.Errorf("error %q, want %q", err, tt.text)
				}
				if time.Since(f.start) != rtt {
					t.Errorf("took %v", time.Since(f.start))
				}
			})
		})
	}
}
