package daemon

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"reflect"
	"time"

	"sofutobanku/internal/dhcp6"
	"sofutobanku/internal/echo"
	"sofutobanku/internal/line"
	"sofutobanku/internal/state"
	"sofutobanku/internal/status"
)

// settle brings the system and the running work in line with the session.
func (d *Daemon) settle(ctx context.Context) {
	// DHCPv6 needs nothing of the State; an authentication needs its source
	// address in place.
	w := d.session.Wants()
	if d.dhcp != nil && d.dhcpMode != w.DHCP {
		d.dhcpMode = w.DHCP
		d.dhcp.SetMode(w.DHCP)
	}
	d.settlePhone(ctx, w.Phone)
	st := d.session.State()
	d.settleHGW(st.HGW)
	if st.Phone != nil {
		st.Phone.Error = cmp.Or(d.phoneFaults.socket, st.Phone.Error)
	}
	if st.HGW != nil {
		st.HGW.Error = cmp.Or(d.hgwFaults.socket, st.HGW.Error)
	}
	// What this machine refuses explains more than what the line lacks.
	if d.socketError != nil {
		st.Error = d.socketError
	}
	// Numbers and servers are not in the State, and the applier shows them too.
	told := d.Phone(st)
	retold := !reflect.DeepEqual(told, d.phoneTold)
	if retold {
		d.reapply, d.phoneTold = true, told
	}
	if d.reapply || !st.Equal(d.applied) {
		d.apply(st)
	}
	// What was applied belongs to the applier.
	if st.Phone != nil {
		withError := *st.Phone
		withError.Error = cmp.Or(withError.Error, d.phoneFaults.apply)
		st.Phone = &withError
	}
	if st.HGW != nil {
		withError := *st.HGW
		withError.Error = cmp.Or(d.hgwFaults.apply, withError.Error)
		st.HGW = &withError
	}
	if d.applyError != nil {
		st.Error = d.applyError
		if st.Phase == state.Up {
			st.Phase = state.IPv6
		}
		w.Echo = nil // there may be no tunnel to send it through
	}
	// An echo of before proves nothing of what is published now.
	if d.echoing != nil && (w.Echo == nil || *w.Echo != d.echoing.question) {
		d.echoing = replace(ctx, d.echoing, nil, d.prove)
		d.setEcho(ctx, nil)
	}
	if was := d.published; !st.Equal(was) {
		d.publish(st)
		d.tell(was, st)
	}
	// Who is told may ask for the status at once.
	if retold && d.cfg.OnPhone != nil {
		d.cfg.OnPhone(told)
	}
	d.asking = replace(ctx, d.asking, w.Ask, d.keepAsking)
	d.echoing = replace(ctx, d.echoing, w.Echo, d.prove)
}

// replace ends the job whose question is no longer want, and starts want's.
func replace[Q comparable](ctx context.Context, running *job[Q], want *Q, do func(context.Context, Q)) *job[Q] {
	if running != nil {
		if want != nil && *want == running.question {
			return running
		}
		running.cancel()
	}
	if want == nil {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	go do(ctx, *want)
	return &job[Q]{*want, cancel}
}

// apply has st rendered, and again later where that failed: the kernel may want
// a moment, or a person has to install a module.
func (d *Daemon) apply(st state.State) {
	d.reapply, d.applied = false, st
	err := d.cfg.Applier.Apply(st)
	if err == nil {
		d.repaired("apply")
	}
	d.applyFailed(err)
}

// applyFailed notes what an applier failed with, nil for nothing, and sees to another try.
func (d *Daemon) applyFailed(err error) {
	parts, line := state.Split(err)
	for _, f := range []struct {
		what  string
		which **state.Error
		code  string // of an error without one
		err   error
	}{
		{"cannot apply the state", &d.applyError, state.ErrApply, line},
		{"cannot apply the telephone network", &d.phoneFaults.apply, ErrPhoneApply, parts[state.PartPhone]},
		{"cannot serve the home gateway", &d.hgwFaults.apply, ErrHGWApply, parts[state.PartHGW]},
	} {
		if f.err == nil {
			*f.which = nil
			continue
		}
		e := state.ErrorOf(f.err)
		if e.Code == state.ErrApply {
			e.Code = f.code
		}
		d.failed(f.what, f.which, e, f.err)
	}
	if err != nil {
		d.later("apply", func() { d.reapply = true })
	}
}

// faults are what this machine fails at in a part of a State.
type faults struct{ socket, apply *state.Error }

func (d *Daemon) socketFailed(ctx context.Context, code string, err error) {
	d.failed("cannot open a socket", &d.socketError, state.Error{Code: code, Text: err.Error()}, err)
	d.later("relink", func() { d.onLink(ctx, d.seen, time.Now()) })
}

// failed notes in which what went wrong. The log of a router is small: what it says
// already is not repeated with each try.
func (d *Daemon) failed(what string, which **state.Error, e state.Error, err error) {
	level := slog.LevelError
	if *which != nil && **which == e {
		level = slog.LevelDebug
	}
	d.cfg.Log.Log(context.Background(), level, what, "error", err)
	*which = &e
}

// repair is what failed and is tried again.
type repair struct {
	timer *time.Timer
	pause time.Duration // before the try after that
}

// later posts f, in place of an f of that kind that is not due yet, after a pause
// that grows with each failure in a row.
func (d *Daemon) later(kind string, f func()) {
	r := d.repairs[kind]
	if r == nil {
		r = &repair{pause: firstRepairPause}
		d.repairs[kind] = r
	} else {
		r.timer.Stop()
	}
	r.timer = time.AfterFunc(r.pause, func() { d.mail.post(kind, f) })
	r.pause = min(2*r.pause, lastRepairPause)
}

// repaired ends what later began.
func (d *Daemon) repaired(kind string) {
	if r := d.repairs[kind]; r != nil {
		r.timer.Stop()
		delete(d.repairs, kind)
	}
}

// keepAsking asks q until it is granted or no longer wanted.
func (d *Daemon) keepAsking(ctx context.Context, q line.Question) {
	rnd := d.cfg.Rand()
	pause := firstAskPause
	for {
		grant, err := d.ask(ctx, d.request(q))
		if ctx.Err() != nil {
			return
		}
		wait := d.cfg.AskAgain
		if err != nil {
			d.trace("access-failed", err.Error())
			why := d.cfg.AskError(err)
			d.mail.post("ask", func() {
				d.session.Refused(q, why)
				// Nobody is granted anything for a prefix that the carrier has lost,
				// and a lease would not be renewed for hours, or weeks.
				if d.dhcp != nil && d.applied.Prefix != nil {
					d.dhcp.Renew()
				}
			})
			wait = pause
			pause = min(2*pause, lastAskPause)
		} else {
			d.mail.post("ask", func() { d.session.Granted(q, grant) })
			pause = firstAskPause
			if wait == 0 {
				return
			}
		}
		// Up to a tenth later, so that the routers of a town do not ask in step
		// after a power cut.
		wait += time.Duration(rnd.Float64() * float64(wait) / 10)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// prove sends echoes through the tunnel until one comes back.
func (d *Daemon) prove(ctx context.Context, e line.Echo) {
	d.trace("echo-request", "to "+e.Target.String())
	rtt, err := d.cfg.Network.Echo(ctx, echo.Config{
		Device: d.cfg.Tunnel, Source: e.Source, Target: e.Target,
		Rand: d.cfg.Rand(), Counters: d.cfg.Counters, Log: d.cfg.Log,
	})
	switch {
	case ctx.Err() != nil:
	case err != nil:
		d.trace("echo-failed", err.Error())
	default:
		d.trace("echo-reply", "from "+e.Target.String())
		ms := status.Milliseconds(rtt)
		d.setEcho(ctx, &ms)
	}
}

// tell records in the timeline what changed for a person.
func (d *Daemon) tell(was, now state.State) {
	switch t := now.Tunnel; {
	case t == nil && was.Tunnel != nil:
		d.event("tunnel-down", "")
	case t != nil && was.Tunnel == nil:
		d.event("tunnel-up", t.IPv4.String()+" by way of "+t.Remote.String())
	case t != nil && *t != *was.Tunnel:
		d.event("tunnel-moved", t.IPv4.String()+" by way of "+t.Remote.String())
	}
	if e := now.Error; e != nil && (was.Error == nil || *e != *was.Error) {
		d.event("error", e.Code+": "+e.Text)
	}
	before, phone := cmp.Or(was.Phone, &state.Phone{}), cmp.Or(now.Phone, &state.Phone{})
	switch {
	case phone.Address == before.Address:
	case phone.Address.IsValid():
		d.event("phone-up", phone.Address.String())
	default:
		d.event("phone-down", "")
	}
	if e := phone.Error; e != nil && (before.Error == nil || e.Code != before.Error.Code) {
		d.event("phone-error", e.Code+": "+e.Text)
	}
	held, hgw := cmp.Or(was.HGW, &state.HGW{}), cmp.Or(now.HGW, &state.HGW{})
	switch {
	case len(hgw.Routes) == 0 && len(held.Routes) > 0:
		d.event("hgw-down", "")
	case len(hgw.Routes) > 0 && (len(held.Routes) == 0 || hgw.Routes[0].Prefix != held.Routes[0].Prefix):
		d.event("hgw-up", hgw.Routes[0].Prefix.String()+" via "+hgw.Routes[0].Via.String())
	}
	if e := hgw.Error; e != nil && (held.Error == nil || e.Code != held.Error.Code) {
		d.event("hgw-error", e.Code+": "+e.Text)
	}
}

func (d *Daemon) event(name, detail string) { d.timeline.add(time.Now(), name, detail) }

// trace takes the moments that the clients report, on their goroutines.
func (d *Daemon) trace(name, detail string) {
	d.event(name, detail)
	d.mu.Lock()
	d.notify()
	d.mu.Unlock()
}

func (d *Daemon) publish(st state.State) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if st.Phase != d.published.Phase {
		d.since = time.Now()
	}
	d.published = st
	d.notify()
}

// setEcho shows ms, unless ctx has ended: the tunnel may be another one by now.
func (d *Daemon) setEcho(ctx context.Context, ms *float64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	d.echoMS = ms
	d.notify()
}

// notify wakes those who watch the status. d.mu is held.
func (d *Daemon) notify() {
	close(d.changed)
	d.changed = make(chan struct{})
}

// Status is the present status, and a channel that is closed when it changed.
func (d *Daemon) Status() (status.Status, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	s := status.Of(d.published, now)
	s.MS = d.timeline.at(now)
	s.Interface, s.Since = d.cfg.Interface, d.since.Round(0)
	s.Counters, s.Events = d.cfg.Counters.Snapshot(), d.timeline.list()
	s.Phone = d.phoneOf(d.published)
	if s.HGW != nil {
		d.hgwStatus(s.HGW, now)
	}
	if s.Tunnel != nil {
		s.Tunnel.Device, s.Tunnel.EchoMS = d.cfg.Tunnel, d.echoMS
	}
	return s, d.changed
}

func (d *Daemon) setMAC(mac net.HardwareAddr) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mac = mac
}

func (d *Daemon) setInfo(info *dhcp6.Info) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.info = info
	d.notify()
}

// request is q with what is known of the line at this moment.
func (d *Daemon) request(q line.Question) Request {
	d.mu.Lock()
	defer d.mu.Unlock()
	return Request{Question: q, MAC: d.mac, Info: d.info}
}
