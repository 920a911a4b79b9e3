//go:build linux || darwin || freebsd

//nolint:errorlint // the errnos of package unix come bare
package local

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"sheaf/vfs"
)

// lockName is the file that a server holds locked while it has the volume
// open. It says who: "PID HOST\n". flock(2) belongs to the descriptor, so the
// kernel gives it up with the process, and a second Open of the same process is
// refused as well.
const (
	lockName = "lock"
	lockMax  = 512 // bytes that are read of it
)

// lock takes the volume's lock, or says who has it. On a read-only file system
// without the file the directory itself is locked.
func (v *Volume) lock() error {
	fd, err := openBeneath(v.private.fd, lockName, unix.O_RDWR|unix.O_CREAT|unix.O_NONBLOCK, 0o600)
	writable := err == nil
	if err == unix.EROFS {
		fd, err = openSelf(v.private.fd)
	}
	if err != nil {
		return v.fault("lock volume", v.path, err)
	}
	err = again(func() error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) })
	if err == unix.EWOULDBLOCK {
		who := v.holder()
		closeFd(fd)
		return &vfs.Error{
			Status: vfs.Acces, Op: "open volume", Object: v.path, Volume: v.name,
			Err: fmt.Errorf("%w: %s", ErrLocked, who),
			Do:  "stop that server first; one volume has one server, whatever its state directory",
		}
	}
	if err != nil {
		closeFd(fd)
		return v.fault("lock volume", v.path, err)
	}
	if writable {
		_ = sayHolder(fd) // words only; a full volume has no room for them
	}
	v.lockFd = fd
	return nil
}

func sayHolder(fd int) error {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	if err := again(func() error { return unix.Ftruncate(fd, 0) }); err != nil {
		return err
	}
	return writeAll(fd, fmt.Appendf(nil, "%d %s\n", os.Getpid(), host))
}

// holder is who the lock's file names, for the message only.
func (v *Volume) holder() string {
	b, err := readSmall(v.private.fd, lockName, lockMax)
	if err != nil {
		return "it does not say which"
	}
	pid, host, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
	if _, err := strconv.Atoi(pid); err != nil {
		return "it does not say which"
	}
	if pid == strconv.Itoa(os.Getpid()) {
		return "this one, which is given the same directory twice"
	}
	return fmt.Sprintf("process %s on host %q", pid, host)
}
