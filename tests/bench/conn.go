package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"time"
)

// patience is how long a single call may take before the phase is given up.
const patience = 60 * time.Second

// conn is one connection with a fixed number of slots, each of which has at most
// one call in flight. It is used by one goroutine.
type conn struct {
	net.Conn
	in    *bufio.Reader
	out   []byte // requests not yet sent
	reply []byte // the record being looked at
	xid   uint32
	// patience is how long a reply may take after the last request.
	patience time.Duration
}

func dial(addr string) (*conn, error) {
	c, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, in: bufio.NewReaderSize(c, 256<<10), patience: patience}, nil
}

// flush sends what was appended to out.
func (c *conn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	if err := c.SetDeadline(time.Now().Add(c.patience)); err != nil {
		return err
	}
	_, err := c.Write(c.out)
	c.out = c.out[:0]
	return err
}

// next reads a reply: its xid, and what follows it. The bytes are valid until the
// next call.
func (c *conn) next() (uint32, reader, error) {
	var mark [4]byte
	c.reply = c.reply[:0]
	for last := false; !last; {
		if _, err := io.ReadFull(c.in, mark[:]); err != nil {
			return 0, reader{}, err
		}
		n := int(be.Uint32(mark[:]) &^ (1 << 31))
		last = mark[0]&0x80 != 0
		at := len(c.reply)
		if at+n > recordMax {
			return 0, reader{}, fmt.Errorf("a reply of more than %d bytes", recordMax)
		}
		if cap(c.reply) < at+n {
			c.reply = append(make([]byte, 0, recordMax), c.reply...)
		}
		c.reply = c.reply[:at+n]
		if _, err := io.ReadFull(c.in, c.reply[at:]); err != nil {
			return 0, reader{}, err
		}
	}
	r := reader{b: c.reply}
	xid := r.u32()
	return xid, r, r.err
}

// call makes one call and waits for it: for setting up.
func (c *conn) call(prog, proc uint32, args func(b []byte) []byte) (reader, error) {
	c.xid++
	c.out = args(header(c.out[:0], c.xid, prog, proc))
	seal(c.out, 0)
	if err := c.flush(); err != nil {
		return reader{}, err
	}
	xid, r, err := c.next()
	if err == nil && xid != c.xid {
		err = fmt.Errorf("reply to xid %d, want %d", xid, c.xid)
	}
	if err != nil {
		return reader{}, err
	}
	r.accepted()
	return r, r.err
}
