//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// nullCalls makes empty calls, one after the other, and prints the median of their times in nanoseconds. It waits in the
// system call itself: Go's poller would cost the guest two more.
func nullCalls(addr string, calls int, out io.Writer) (err error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	err = errors.Join(unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}),
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1))
	if err != nil {
		return fmt.Errorf("connect to %s: %w", addr, err)
	}
	took := make([]time.Duration, calls)
	reply := make([]byte, 256)
	for i := range took {
		start := time.Now()
		if _, err := unix.Write(fd, nullCall(uint32(i))); err != nil {
			return fmt.Errorf("call: %w", err)
		}
		n, err := unix.Read(fd, reply)
		if err != nil || n < 28 || binary.BigEndian.Uint32(reply[4:]) != uint32(i) {
			return fmt.Errorf("reply of %d bytes: %w", n, err)
		}
		took[i] = time.Since(start)
	}
	slices.Sort(took)
	_, err = fmt.Fprintln(out, took[calls/2].Nanoseconds())
	return err
}

// nullCall is a record with a call of NFSv3's procedure 0 (RFC 5531 section 9).
func nullCall(xid uint32) []byte {
	words := []uint32{xid, 0, 2, 100003, 3, 0, 0, 0, 0, 0}
	b := binary.BigEndian.AppendUint32(nil, 1<<31|uint32(4*len(words)))
	for _, w := range words {
		b = binary.BigEndian.AppendUint32(b, w)
	}
	return b
}
