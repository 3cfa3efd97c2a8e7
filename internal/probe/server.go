package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"time"
)

// serverWait is how long one transmission waits for its answer; there are three.
const serverWait = time.Second

// DNS asks a name server for the name servers of the root, which every resolver knows.
// An answer that is an error (RFC 1035 4.1.1) is an error that says so; none within
// three seconds is one too.
func DNS(ctx context.Context, server netip.AddrPort) (rtt time.Duration, err error) {
	id := uint16(rand.Uint32())
	query := binary.BigEndian.AppendUint16(nil, id)
	query = append(query, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1) // recursive; root, NS, IN
	_, rtt, err = ask(ctx, server, query, func(b []byte) error { return checkDNS(b, id) })
	return rtt, err
}

// errOther: the datagram does not belong to the question.
var errOther = errors.New("another datagram")

func checkDNS(b []byte, id uint16) error {
	if len(b) < 12 || binary.BigEndian.Uint16(b) != id || b[2]&0x80 == 0 {
		return errOther
	}
	if code := b[3] & 15; code != 0 {
		names := []string{1: "it cannot read the question", 2: "server failure", 3: "no such name", 4: "not implemented", 5: "refused"}
		if int(code) < len(names) {
			return errors.New(names[code])
		}
		return fmt.Errorf("error code %d", code)
	}
	return nil
}

// Clock asks a time server (RFC 4330) how far this machine's clock is behind: a negative
// offset is one ahead.
func Clock(ctx context.Context, server netip.AddrPort) (offset time.Duration, err error) {
	query := make([]byte, 48)
	query[0] = 4<<3 | 3 // version 4, client
	nonce := rand.Uint64()
	binary.BigEndian.PutUint64(query[40:], nonce)
	b, rtt, err := ask(ctx, server, query, func(b []byte) error { return checkTime(b, nonce) })
	if err != nil {
		return 0, err
	}
	return timeOf(b[40:]).Sub(time.Now().Add(-rtt / 2)), nil
}

func checkTime(b []byte, nonce uint64) error {
	// Mode 4 is a server; it repeats what the query said of its own time.
	if len(b) < 48 || b[0]&7 != 4 || binary.BigEndian.Uint64(b[24:]) != nonce {
		return errOther
	}
	if b[0]>>6 == 3 || b[1] == 0 || b[1] > 15 {
		return errors.New("it does not know the time itself")
	}
	return nil
}

// timeOf reads the seconds since 1900 and their fraction (RFC 4330 3), which begin
// anew in 2036.
func timeOf(b []byte) time.Time {
	seconds, fraction := int64(binary.BigEndian.Uint32(b)), int64(binary.BigEndian.Uint32(b[4:]))
	if seconds < 1<<31 {
		seconds += 1 << 32
	}
	const from1900 = 2208988800
	return time.Unix(seconds-from1900, fraction*int64(time.Second)>>32)
}

// ask sends query up to three times until an answer that check takes: errOther goes on
// waiting, another error ends it.
func ask(ctx context.Context, server netip.AddrPort, query []byte, check func([]byte) error) ([]byte, time.Duration, error) {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(server))
	if err != nil {
		return nil, 0, cause(err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })()
	buf := make([]byte, 4096)
	var trouble error
	for range 3 {
		sent := time.Now()
		if _, err := conn.Write(query); err != nil {
			trouble = cause(err)
		}
		if err := conn.SetReadDeadline(sent.Add(serverWait)); err != nil || ctx.Err() != nil {
			break
		}
		for {
			n, err := conn.Read(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) || ctx.Err() != nil {
				break
			}
			if err != nil {
				trouble = cause(err) // an ICMP error; another transmission may fare better
				select {
				case <-ctx.Done():
				case <-time.After(time.Until(sent.Add(serverWait))):
				}
				break
			}
			switch err := check(buf[:n]); err {
			case nil:
				return buf[:n], time.Since(sent), nil
			case errOther:
			default:
				return nil, 0, err
			}
		}
	}
	if trouble != nil {
		return nil, 0, trouble
	}
	return nil, 0, errors.New("no answer")
}
