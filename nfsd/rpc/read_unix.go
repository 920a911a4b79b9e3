//go:build unix

package rpc

import "golang.org/x/sys/unix"

// rawReads says that readFD works here.
const rawReads = true

// readFD reads what is there without waiting. again says that nothing is; n == 0
// without an error is the end of the stream.
func readFD(fd uintptr, p []byte) (n int, again bool, err error) {
	for {
		n, err = unix.Read(int(fd), p)
		switch err {
		case nil:
			return n, false, nil
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, true, nil
		default:
			return 0, false, err
		}
	}
}
