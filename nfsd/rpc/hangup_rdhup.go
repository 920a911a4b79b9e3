//go:build linux || freebsd

package rpc

import "golang.org/x/sys/unix"

// hungUp reports whether the client has closed its end or the connection is broken,
// whatever is left to read: the reader may be waiting for room and not know yet.
func (c *conn) hungUp() bool {
	if c.raw == nil {
		return false
	}
	gone := false
	err := c.raw.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(p, 0) // of no time; what fails tells nothing
		gone = err == nil && n > 0 && p[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
	})
	return gone || err != nil // an error: it is closed
}
