package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"sofutobanku/internal/control"
	"sofutobanku/internal/link/linktest"
	"sofutobanku/internal/status"
)

// telephone is a router with a telephone line, in namespaces:
//
//	router: sofu-proto  wan0 ═══ isp0  sofu-isp
//
// It needs no tunnel, so any kernel will do.
type telephone struct {
	t               *testing.T
	dir             string
	router, carrier *linktest.Namespace
}

func newTelephone(t *testing.T) *telephone {
	tel := &telephone{t: t, dir: t.TempDir(), router: linktest.New(t), carrier: linktest.New(t)}
	build := exec.Command("go", "build", "-o", tel.dir, ".", "../sofu-isp", "../sofu-tools")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	tel.router.Veth("wan0", net.HardwareAddr{0, 0, 0x5e, 0, 0x53, 1}, tel.carrier, "isp0", net.HardwareAddr{0, 0, 0x5e, 0, 0x53, 2})
	tel.carrier.Up("isp0")
	tel.write("account", 0o600, `{"shared_secret": "shared", "password": "pass"}`)
	tel.write("network", 0o600, `config interface 'wan'
	option proto 'sofutobanku'
	option device 'wan0'
	option line 'next'
	option auth_server '2001:db8:0:1812::1'
	option shared_secret 'shared'
	option password 'pass'
`)
	tel.write("user", 0o755, "#!/bin/sh\nenv | grep PHONE_ | sort >"+tel.file("told")+".new && mv "+tel.file("told")+".new "+tel.file("told")+"\n")
	cmd := tel.start(tel.carrier, "sofu-isp", "--device", "isp0", "--config", tel.file("account"), "--socket", tel.file("isp.sock"), "--no-br")
	t.Cleanup(func() { tel.end(cmd, syscall.SIGTERM) })
	tel.ctl("state")
	return tel
}

func (tel *telephone) file(name string) string { return filepath.Join(tel.dir, name) }

func (tel *telephone) write(name string, mode os.FileMode, text string) {
	tel.t.Helper()
	if err := os.WriteFile(tel.file(name), []byte(text), mode); err != nil {
		tel.t.Fatal(err)
	}
}

func (tel *telephone) start(n *linktest.Namespace, program string, args ...string) *exec.Cmd {
	tel.t.Helper()
	var out bytes.Buffer
	cmd := n.Command(tel.file(program), args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		tel.t.Fatal(err)
	}
	tel.t.Cleanup(func() {
		if tel.t.Failed() {
			tel.t.Logf("%s:\n%s", program, out.String())
		}
	})
	return cmd
}

func (tel *telephone) end(cmd *exec.Cmd, signal syscall.Signal) {
	tel.t.Helper()
	cmd.Process.Signal(signal)
	if err := cmd.Wait(); err != nil && signal != syscall.SIGKILL {
		tel.t.Errorf("%s: %v", cmd.Path, err)
	}
}

func (tel *telephone) ctl(command ...string) {
	tel.t.Helper()
	waitFor(tel.t, strings.Join(command, " "), func() error {
		return exec.Command(tel.file("sofu-isp"), append([]string{"ctl", "--socket", tel.file("isp.sock")}, command...)...).Run()
	})
}

func (tel *telephone) up() *exec.Cmd {
	tel.t.Helper()
	return tel.start(tel.router, "sofu-proto", "up", "--config", tel.dir, "--run-dir", tel.file("run"), "--state-dir", tel.file("state"), "--hook", tel.file("user"))
}

// wait waits until the status is as is wants it.
func (tel *telephone) wait(what string, is func(status.Status) bool) (s status.Status) {
	tel.t.Helper()
	waitFor(tel.t, what, func() error {
		var b bytes.Buffer
		err := control.Call(context.Background(), control.Path(tel.file("run"), "wan"), "status", &b)
		if err == nil {
			s = status.Status{}
			err = json.Unmarshal(b.Bytes(), &s)
		}
		if err == nil && !is(s) {
			err = fmt.Errorf("%s", s.JSON())
		}
		return err
	})
	return s
}

func joined(s status.Status) bool { return s.Phone != nil && s.Phone.Address != nil }

// TestTelephone: a telephone's address, its routes, what a PBX is told, and that all of it
// goes away, over the life of a line.
func TestTelephone(t *testing.T) {
	tel := newTelephone(t)
	daemon := tel.up()
	s := tel.wait("an address", func(s status.Status) bool { return joined(s) && s.Prefix != nil && s.Auth != nil })
	if s.Phone.Address.String() != "203.0.113.2/30" || s.Phone.Domain != "ims.example" || len(s.Phone.SIP4) != 1 || len(s.Phone.SIP) != 1 || s.Phone.Error != nil {
		t.Errorf("%s", s.JSON())
	}
	routes := func() string { return string(tel.router.IP("-4", "route", "show")) }
	if got := routes(); !strings.Contains(got, "203.0.113.128/25 via 203.0.113.1 dev wan0 proto 72") || strings.Contains(got, "default") {
		t.Errorf("routes: %s", got)
	}
	if out, err := tel.router.Command("ping", "-c1", "-W5", "203.0.113.129").CombinedOutput(); err != nil {
		t.Errorf("the SIP server does not answer: %v\n%s", err, out)
	}
	const told = `PHONE_ADDRESS=203.0.113.2/30
PHONE_DOMAIN=ims.example
PHONE_DSCP=32
PHONE_NUMBERS=0312345678 0312345679
PHONE_SIP4=203.0.113.129
PHONE_SIP6=2001:db8:0:5060::4
`
	waitFor(t, "the user's program", func() error {
		if b, err := os.ReadFile(tel.file("told")); string(b) != told {
			return fmt.Errorf("%w: %s", errors.Join(err, errors.New("told")), b)
		}
		return nil
	})
	out, err := exec.Command(tel.file("sofu-proto"), "phone", "sipp", "--run-dir", tel.file("run")).CombinedOutput()
	if want := "-i 203.0.113.2 -p 5060 -s 0312345678 -key domain ims.example -key expires 3600 203.0.113.129:5060\n"; err != nil || string(out) != want {
		t.Errorf("sofu-proto phone sipp: %v, %s", err, out)
	}

	// The next life begins where this one was killed.
	tel.end(daemon, syscall.SIGKILL)
	daemon = tel.up()
	s = tel.wait("the address again", joined)
	if s.Counters["dhcp4.sent.discover"] != 0 || s.Counters["dhcp4.sent.reboot"] != 1 {
		t.Errorf("it was not asked for again: %v", s.Counters)
	}
	// A renewal goes from the address itself.
	if err := syscall.Kill(daemon.Process.Pid, syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	s = tel.wait("a renewal", func(s status.Status) bool { return s.Counters["dhcp4.received.ack"] >= 2 })
	if s.Counters["dhcp4.sent.renew"] != 1 || s.Counters["dhcp4.send.unicast-error"] != 0 {
		t.Errorf("%v", s.Counters)
	}

	// The network takes the address back; IPv6 does not see that.
	before := s
	tel.ctl("phone", "refuse")
	if err := syscall.Kill(daemon.Process.Pid, syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	s = tel.wait("no address", func(s status.Status) bool { return !joined(s) })
	if s.Phone.Error == nil || s.Phone.Error.Code != "PHONE_REFUSED" || s.Prefix == nil || s.Prefix.Prefix != before.Prefix.Prefix {
		t.Errorf("%s", s.JSON())
	}
	waitFor(t, "an address that is gone", func() error {
		if got := string(tel.router.IP("-4", "addr", "show", "dev", "wan0")) + routes(); strings.Contains(got, "203.0.113") {
			return errors.New(got)
		}
		return nil
	})
	tel.ctl("phone", "grant")
	if err := syscall.Kill(daemon.Process.Pid, syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	tel.wait("an address again", joined)
	tel.end(daemon, syscall.SIGTERM)
	if got := string(tel.router.IP("-4", "addr", "show", "dev", "wan0")) + routes(); strings.Contains(got, "203.0.113") {
		t.Errorf("left behind: %s", got)
	}
	var state struct{ Wrong []struct{ Text string } }
	b, err := exec.Command(tel.file("sofu-isp"), "ctl", "--socket", tel.file("isp.sock"), "state").Output()
	if err == nil {
		err = json.Unmarshal(b, &state)
	}
	if err != nil || len(state.Wrong) != 0 {
		t.Errorf("the carrier says %v, %v", state.Wrong, err)
	}
}
