package netifd

import (
	"context"
	"fmt"
	"time"
)

// childTimeout is how long a child may take to come up or to go. netifd gives a
// handler's teardown 5 s; both take some tenths of a second on a slow router.
const childTimeout = 6 * time.Second

// The pauses between two looks at a child that comes or goes.
const (
	firstLook = 20 * time.Millisecond
	lastLook  = 320 * time.Millisecond
)

// presence is whether there is a child.
type presence int

const (
	unknown presence = iota // nobody asked yet
	absent
	leaving // told to go
	there
)

// ChildError is a child that does not come up, or cannot be made.
type ChildError struct{ code, text string }

func (e *ChildError) Error() string { return "netifd: " + e.text }

// Code is the code under which the status shows the error.
func (e *ChildError) Code() string { return e.code }

// child is an interface beside the parent that add_dynamic makes.
type child struct {
	*Applier
	name      string
	use, code string // what it is for in words, and the code of its errors
	presence  presence
}

func (c *child) errorf(format string, args ...any) error {
	return &ChildError{c.code, "interface " + c.name + " " + fmt.Sprintf(format, args...)}
}

// removeStale removes the child that a predecessor left, once.
func (c *child) removeStale() error {
	if c.presence != unknown {
		return nil
	}
	s, found, err := c.look()
	switch {
	case err != nil:
		return err
	case !found:
		c.presence = absent
		return nil
	case s.Configured:
		return c.errorf("is in the configuration: %s needs that name, rename or delete the section", c.use)
	}
	return c.remove()
}

// add makes the child, which has its name in config, and waits until it is up or its
// setup ended.
func (c *child) add(config any) (status, error) {
	if c.presence == leaving {
		gone := false
		if _, err := c.await(func(_ status, found bool) bool { gone = !found; return gone }); err != nil {
			return status{}, err
		}
		if !gone {
			return status{}, c.errorf("was told to go and is still there")
		}
		c.presence = absent
	}
	c.presence = there // at least possibly
	if _, err := c.call(c.opt.Context, callTimeout, "network", "add_dynamic", config); err != nil {
		return status{}, err
	}
	return c.await(func(s status, found bool) bool { return found && (s.Up || s.Ended) })
}

// remove tells netifd to remove the child, which it does some time later.
func (c *child) remove() error {
	_, err := c.call(c.opt.Context, callTimeout, "network.interface."+c.name, "remove", nil)
	switch {
	case exitCode(err) == notFound:
		c.presence = absent
	case err == nil, exitCode(err) == invalidArgument: // the latter: was told already
		c.presence = leaving
	default:
		return err
	}
	return nil
}

// look asks netifd for the child.
func (c *child) look() (s status, found bool, err error) {
	object := "network.interface." + c.name
	reply, err := c.call(c.opt.Context, callTimeout, object, "status", nil)
	if exitCode(err) == notFound {
		return s, false, nil
	}
	if err == nil {
		if s, err = decodeStatus(reply); err != nil {
			err = &CallError{object, "status", fmt.Errorf("answer not understood: %w", err)}
		}
	}
	return s, true, err
}

// await looks at the child until enough says so or it had its time, and returns
// what it saw last.
func (c *child) await(enough func(s status, found bool) bool) (status, error) {
	end := time.Now().Add(childTimeout)
	for pause := firstLook; ; pause = min(2*pause, lastLook) {
		s, found, err := c.look()
		if err != nil || enough(s, found) || !time.Now().Add(pause).Before(end) {
			return s, err
		}
		select {
		case <-time.After(pause):
		case <-c.opt.Context.Done():
			return s, fmt.Errorf("netifd: interface %s: %w", c.name, context.Cause(c.opt.Context))
		}
	}
}

// notUp is the error of a child that does not come up; s is what was seen of it last.
func (c *child) notUp(s status) error {
	if s.Error != "" {
		return c.errorf("does not come up: %s", s.Error)
	}
	return c.errorf("is not up after %v. A slow router may need longer: it is looked at again. Should it stay so, see `logread -e %s`; netifd has to be restarted once after the package was installed (/etc/init.d/network restart)", childTimeout, c.name)
}
