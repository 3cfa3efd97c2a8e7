package ra

import (
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Without an answer: three times at RFC 4861's interval, then RFC 7559's
// backoff, for ever.
func TestSolicitUnanswered(t *testing.T) {
	run(t, Config{}, func(t *testing.T, b *bench) {
		b.LinkUp(b.conn)
		b.sleep(48 * time.Hour)
		want := []string{"0s from ::", "4s from ::", "8s from ::"}
		if diff := cmp.Diff(want, b.conn.sent[:3]); diff != "" {
			t.Errorf("first solicitations (-want +got):\n%s", diff)
		}
		gap := 4 * time.Second
		for i := 3; i < len(b.conn.times); i++ {
			got := b.conn.times[i] - b.conn.times[i-1]
			low, high := min(gap*19/10, 54*time.Minute), min(gap*21/10, 66*time.Minute)
			if got < low || got > high {
				t.Errorf("solicitation %d came after %v, want %v to %v", i+1, got, low, high)
			}
			gap = got
		}
		// 10 doublings take 4 s beyond an hour, after which it is about hourly.
		if n := len(b.conn.times); n < 12+42 || n > 12+53 {
			t.Errorf("%d solicitations in two days", n)
		}
		if got := b.counters.Get("ra.sent.solicitation"); got != uint64(len(b.conn.times)) {
			t.Errorf("counted %d of %d", got, len(b.conn.times))
		}
		if len(b.changes) != 0 {
			t.Errorf("changes without a router: %q", b.changes)
		}
	})
}

func TestStrictRFCDelaysTheFirst(t *testing.T) {
	run(t, Config{StrictRFC: true}, func(t *testing.T, b *bench) {
		b.LinkUp(b.conn)
		synctest.Wait()
		if len(b.conn.sent) != 0 {
			t.Fatalf("solicited at once: %q", b.conn.sent)
		}
		b.sleep(time.Second)
		if len(b.conn.times) != 1 || b.conn.times[0] <= 0 || b.conn.times[0] >= time.Second {
			t.Errorf("solicited at %v, want once within the first second", b.conn.times)
		}
	})
}

func TestSource(t *testing.T) {
	tests := []struct {
		name string
		do   func(b *bench)
		want []string
	}{
		{"later than the link", func(b *bench) {
			b.LinkUp(b.conn)
			b.sleep(1300 * time.Millisecond)
			b.SetSource(self.WithZone("wan"))
		}, []string{"0s from ::", "1.3s from " + self.String(), "5.3s from " + self.String(), "9.3s from " + self.String()}},
		{"before the link", func(b *bench) {
			b.SetSource(self)
			b.LinkUp(b.conn)
		}, []string{"0s from " + self.String(), "4s from " + self.String(), "8s from " + self.String()}},
		{"said twice", func(b *bench) {
			b.SetSource(self)
			b.LinkUp(b.conn)
			b.sleep(time.Second)
			b.SetSource(self)
		}, []string{"0s from " + self.String(), "4s from " + self.String(), "8s from " + self.String()}},
		{"lost", func(b *bench) {
			b.SetSource(self)
			b.LinkUp(b.conn)
			b.sleep(time.Second)
			b.SetSource(netip.Addr{})
		}, []string{"0s from " + self.String(), "4s from ::", "8s from ::"}},
		{"after the answer", func(b *bench) {
			b.LinkUp(b.conn)
			synctest.Wait()
			b.conn.deliver(router1, advert(1800*time.Second))
			b.sleep(time.Second)
			b.SetSource(self)
		}, []string{"0s from ::"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			run(t, Config{}, func(t *testing.T, b *bench) {
				tt.do(b)
				b.sleep(10 * time.Second)
				if diff := cmp.Diff(tt.want, b.conn.sent); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		})
	}
}

// A default router answers, falls silent, and is asked again: at two thirds of
// its lifetime, and anew when it expires.
func TestSilentRouter(t *testing.T) {
	run(t, Config{}, func(t *testing.T, b *bench) {
		b.LinkUp(b.conn)
		b.sleep(time.Second)
		b.conn.deliver(router1, advert(1800*time.Second))
		b.sleep(1199 * time.Second)
		if diff := cmp.Diff([]string{"0s from ::"}, b.conn.sent); diff != "" {
			t.Fatalf("before two thirds (-want +got):\n%s", diff)
		}
		b.conn.sent = nil
		b.sleep(10 * time.Second)
		if diff := cmp.Diff([]string{"20m1s from ::", "20m5s from ::", "20m9s from ::"}, b.conn.sent); diff != "" {
			t.Fatalf("after two thirds (-want +got):\n%s", diff)
		}
		b.conn.sent = nil
		b.conn.deliver(router1, advert(1800*time.Second)) // at 20m10s
		b.sleep(20 * time.Minute)
		if diff := cmp.Diff([]string{"40m10s from ::"}, b.conn.sent); diff != "" {
			t.Fatalf("after the second answer (-want +got):\n%s", diff)
		}
		b.sleep(10*time.Minute - time.Second)
		b.conn.sent = nil
		b.sleep(10 * time.Second) // it expires at 50m10s
		synctest.Wait()
		if diff := cmp.Diff([]string{"50m10s from ::", "50m14s from ::", "50m18s from ::"}, b.conn.sent); diff != "" {
			t.Errorf("after expiry (-want +got):\n%s", diff)
		}
		want := []string{
			"1s: default fe80::1 pref 0 30m0s",
			"20m10s: default fe80::1 pref 0 30m0s",
			"50m10s: nothing",
		}
		if diff := cmp.Diff(want, b.changes); diff != "" {
			t.Errorf("changes (-want +got):\n%s", diff)
		}
	})
}

// Another router that is heard is reason enough not to ask.
func TestRefreshWantsOneRouter(t *testing.T) {
	run(t, Config{}, func(t *testing.T, b *bench) {
		b.LinkUp(b.conn)
		synctest.Wait()
		b.conn.deliver(router1, advert(90*time.Second))
		b.conn.deliver(router2, advert(9000*time.Second))
		b.sleep(99 * time.Minute)
		if len(b.conn.sent) != 1 {
			t.Errorf("solicited although a router is fresh: %q", b.conn.sent)
		}
		b.sleep(2 * time.Minute)
		if len(b.conn.sent) < 2 || b.conn.sent[1] != "1h40m0s from ::" {
			t.Errorf("want a solicitation at 1h40m: %q", b.conn.sent)
		}
	})
}

// Routers cannot make the client send in quick succession.
func TestShortLifetimes(t *testing.T) {
	for name, lifetime := range map[string]time.Duration{"one second": time.Second, "goodbye": 0} {
		t.Run(name, func(t *testing.T) {
			run(t, Config{}, func(t *testing.T, b *bench) {
				b.LinkUp(b.conn)
				for range 600 {
					b.conn.deliver(router1, advert(1800*time.Second))
					b.conn.deliver(router1, advert(lifetime))
					b.sleep(1100 * time.Millisecond)
				}
				if n := len(b.conn.sent); n < 2 || n > 660/4+1 {
					t.Errorf("%d solicitations in 660 s", n)
				}
			})
		})
	}
}

// An advertisement that offers no default route is used, and is not the answer.
func TestNotADefaultRouter(t *testing.T) {
	run(t, Config{}, func(t *testing.T, b *bench) {
		b.LinkUp(b.conn)
		synctest.Wait()
		b.conn.deliver(router1, advert(0, pio("2001:db8:1::/64", "LA", time.Hour, 2*time.Hour)))
		b.sleep(9 * time.Second)
		if diff := cmp.Diff([]string{"0s from ::", "4s from ::", "8s from ::"}, b.conn.sent); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if len(b.info.Prefixes) != 1 || len(b.info.Routers) != 0 {
			t.Errorf("info: %s", summary(b.info))
		}
	})
}

func TestLink(t *testing.T) {
	run(t, Config{}, func(t *testing.T, b *bench) {
		b.LinkUp(b.conn)
		synctest.Wait()
		b.conn.deliver(router1, advert(100*time.Second, rdnss(200*time.Second, "2001:db8::53")))
		b.LinkDown()
		synctest.Wait()
		if !b.conn.isClosed() {
			t.Error("the connection was left open")
		}
		b.sleep(150 * time.Second)
		second := newConn()
		b.LinkUp(second)
		b.sleep(5 * time.Second)
		third := newConn()
		b.LinkUp(third)
		synctest.Wait()
		if !second.isClosed() || third.isClosed() {
			t.Error("a new connection replaces the old one, which is closed")
		}
		b.sleep(100 * time.Second)
		if diff := cmp.Diff([]string{"0s from ::"}, b.conn.sent); diff != "" {
			t.Errorf("first (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"0s from ::", "4s from ::"}, second.sent); diff != "" {
			t.Errorf("second (-want +got):\n%s", diff)
		}
		want := []string{
			"0s: default fe80::1 pref 0 1m40s | dns 2001:db8::53 3m20s",
			"1m40s: dns 2001:db8::53 1m40s",
			"3m20s: nothing",
		}
		if diff := cmp.Diff(want, b.changes); diff != "" {
			t.Errorf("changes (-want +got):\n%s", diff)
		}
	})
}

// A message that was read before the link went down is not of the new link.
func TestStaleMessage(t *testing.T) {
	run(t, Config{}, func(t *testing.T, b *bench) {
		b.LinkUp(b.conn)
		synctest.Wait()
		old := b.link
		b.LinkUp(newConn())
		synctest.Wait()
		b.packets <- packet{old, advert(1800 * time.Second), router1, 255}
		synctest.Wait()
		if len(b.changes) != 0 || !b.soliciting {
			t.Errorf("it was taken for an answer: %q", b.changes)
		}
		b.packets <- packet{b.link, advert(1800 * time.Second), router1, 255}
		synctest.Wait()
		if len(b.changes) != 1 {
			t.Errorf("the new link's was not: %q", b.changes)
		}
	})
}

func TestSolicitAgainAndForget(t *testing.T) {
	run(t, Config{}, func(t *testing.T, b *bench) {
		b.Solicit() // the link is down: nothing to send on
		b.LinkUp(b.conn)
		synctest.Wait()
		b.conn.deliver(router1, advert(1800*time.Second))
		b.sleep(time.Minute)
		b.Solicit()
		synctest.Wait()
		b.conn.deliver(router1, advert(1800*time.Second))
		b.sleep(time.Minute)
		b.Forget()
		b.sleep(5 * time.Second)
		b.conn.deliver(router1, advert(1800*time.Second))
		b.sleep(time.Minute)
		if diff := cmp.Diff([]string{"0s from ::", "1m0s from ::", "2m0s from ::", "2m4s from ::"}, b.conn.sent); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		want := []string{
			"0s: default fe80::1 pref 0 30m0s",
			"1m0s: default fe80::1 pref 0 30m0s",
			"2m0s: nothing",
			"2m5s: default fe80::1 pref 0 30m0s",
		}
		if diff := cmp.Diff(want, b.changes); diff != "" {
			t.Errorf("changes (-want +got):\n%s", diff)
		}
	})
}

func TestErrors(t *testing.T) {
	run(t, Config{}, func(t *testing.T, b *bench) {
		b.conn.fail = errors.New("no buffer space available")
		b.LinkUp(b.conn)
		b.sleep(2500 * time.Millisecond)
		b.conn.fail = nil
		pass()
		for range 5 {
			b.conn.in <- packet{} // a read error
		}
		b.conn.deliver(router1, advert(1800*time.Second))
		if got := b.counters.Get("ra.send.error"); got != 3 {
			t.Errorf("%d send errors counted, want 3", got)
		}
		if got := b.counters.Get("ra.read.error"); got != 5 {
			t.Errorf("%d read errors counted, want 5", got)
		}
		if b.conn.sent[0] != "3s from ::" {
			t.Errorf("want the next try after a second: %q", b.conn.sent)
		}
		if len(b.info.Routers) != 1 {
			t.Errorf("info: %s", summary(b.info))
		}
	})
}

// The methods never block, wherever they are called from and whenever.
func TestCallsFromOnChangeAndAfterTheEnd(t *testing.T) {
	var b *bench
	cfg := Config{OnChange: func(Info) {
		for range 100 {
			b.Solicit()
			b.SetLinkMTU(1500)
			b.SetSource(self)
		}
	}}
	run(t, cfg, func(t *testing.T, x *bench) {
		b = x
		b.LinkUp(b.conn)
		synctest.Wait()
		b.conn.deliver(router1, advert(1800*time.Second))
		if b.conn.sent[len(b.conn.sent)-1] != "0s from "+self.String() {
			t.Errorf("OnChange had no effect: %q", b.conn.sent)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		late := newConn()
		b.LinkUp(late)
		b.LinkDown()
		if !late.isClosed() {
			t.Error("a connection given to a client that ended was left open")
		}
	})
}

func TestTrace(t *testing.T) {
	run(t, Config{}, func(t *testing.T, b *bench) {
		b.LinkUp(b.conn)
		synctest.Wait()
		ra := advert(1800*time.Second, pio("2001:db8:1::/64", "LA", time.Hour, 2*time.Hour))
		b.conn.deliver(router1, ra)
		for range 10 {
			b.sleep(10 * time.Minute)
			b.conn.deliver(router1, ra) // nothing new
		}
		b.conn.deliver(router1, advert(1800*time.Second, pio("2001:db8:2::/64", "LA", time.Hour, 2*time.Hour)))
		want := []string{
			"0s router-solicitation from ::",
			"0s router-advertisement from fe80::1, lifetime 1800 s, prefix 2001:db8:1::/64",
			"1h40m0s router-advertisement from fe80::1, lifetime 1800 s, prefix 2001:db8:2::/64",
		}
		if diff := cmp.Diff(want, b.traces); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if got := b.counters.Get("ra.received.advertisement"); got != 12 {
			t.Errorf("%d advertisements counted, want 12", got)
		}
	})
}
