package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
)

// runEcho is the child "echo": per connection one goroutine that reads a record and
// appends a minimal reply, and sends what it has when no further request waits. That is the least a
// Go server can do for a call over TCP.
func runEcho(ready func(addr string)) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ready(l.Addr().String())
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			if err := echo(c); err != nil {
				fmt.Println("echo:", err)
			}
		}()
	}
}

func echo(c net.Conn) error {
	in := bufio.NewReaderSize(c, 64<<10)
	var record, out []byte
	data := make([]byte, payload)
	for {
		if in.Buffered() == 0 && len(out) > 0 {
			if _, err := c.Write(out); err != nil {
				return err
			}
			out = out[:0]
		}
		var mark [4]byte
		if _, err := io.ReadFull(in, mark[:]); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		n := int(be.Uint32(mark[:]) &^ (1 << 31))
		if n < 40 || n > recordMax {
			return fmt.Errorf("a record of %d bytes", n)
		}
		if cap(record) < n {
			record = make([]byte, n)
		}
		record = record[:n]
		if _, err := io.ReadFull(in, record); err != nil {
			return err
		}
		out = answer(out, record, data)
	}
}

// answer appends what NULL would answer, and after it, for a READ, as many bytes as it asks for.
func answer(out, record, data []byte) []byte {
	n := 0
	if be.Uint32(record[20:]) == procRead {
		n = min(len(data), int(be.Uint32(record[len(record)-4:])))
	}
	out = be.AppendUint32(out, 1<<31|uint32(24+n))
	out = append(out, record[:4]...)
	out = append(out, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	return append(out, data[:n]...)
}
