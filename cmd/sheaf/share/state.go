package share

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Names in the state directory.
const (
	ControlSocket = "control.sock" // the running server's control socket, mode 0600
	lockFile      = "lock"         // locked by whoever owns the directory
	indexDir      = "index"        // what meta keeps
)

// statePathMax is the longest path of a state directory, in bytes: sun_path has
// 104 with its NUL on macOS and FreeBSD (108 on Linux), and listenPrivate first makes the
// socket under a name of 16.
const statePathMax = 104 - 1 - 16

// spareFiles are descriptors beside volumes' files and directories and connections: the
// index (a few hundred tables), volumes' own, log and sockets.
const spareFiles = 512

// warnAboutFiles says when the system allows fewer open files than the configuration
// may need. Go raises the soft limit to the hard one by itself.
func warnAboutFiles(c *Config, log *slog.Logger) {
	need := uint64(c.OpenFiles + c.OpenDirs + c.Connections + spareFiles)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return
	}
	allowed := uint64(limit.Cur) //nolint:unconvert // FreeBSD has it signed
	if allowed >= need {
		return
	}
	log.Warn("the system allows fewer open files than may be needed; raise its limit (LimitNOFILE of systemd, ulimit -n), or lower open-files, open-dirs or connections",
		"op", "start", "allowed", allowed, "needed", need)
}

// A stateDir is the state directory, locked.
type stateDir struct {
	path    string
	lock    *os.File
	made    bool // by us
	discard bool // at close
}

// ErrInUse means that another process has the state directory.
var ErrInUse = errors.New("in use")

// openState makes the state directory if need be and takes its lock.
func openState(path string) (*stateDir, error) {
	if len(path) > statePathMax {
		return nil, &ConfigError{
			Key:     "state",
			Problem: fmt.Sprintf("the path %q has %d bytes, and %d are left beside the name of a socket", path, len(path), statePathMax),
			Do:      "choose a shorter one",
		}
	}
	_, missing := os.Lstat(path)
	err := os.MkdirAll(path, 0o700)
	var f *os.File
	if err == nil {
		f, err = os.OpenFile(filepath.Join(path, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	}
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("state directory: %w; make it this user's (uid %d), or choose another with --state", err, os.Geteuid())
	case err != nil:
		return nil, fmt.Errorf("state directory: %w", err)
	}
	if err := lock(f); err != nil {
		owner := owner(f)
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("state directory %q is %w%s; stop that server, or give this one a directory of its own with --state", path, ErrInUse, owner)
		}
		return nil, fmt.Errorf("lock state directory %q: %w", path, err)
	}
	if err := sign(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("sign the lock of state directory %q: %w", path, err)
	}
	return &stateDir{path: path, lock: f, made: errors.Is(missing, fs.ErrNotExist)}, nil
}

// lock takes an exclusive lock that ends with the process (flock(2)).
func lock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// sign writes who holds the lock, for the message that another one gets.
func sign(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// owner says in words who signed the lock.
func owner(f *os.File) string {
	b := make([]byte, 20)
	n, _ := f.ReadAt(b, 0) // the end of the file is expected, and without a name the message stands
	pid, err := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	if err != nil {
		return ""
	}
	return fmt.Sprintf(" by process %d", pid)
}

// socket is the path of the control socket.
func (s *stateDir) socket() string { return filepath.Join(s.path, ControlSocket) }

// removeSocket removes the control socket of a server that is gone. Its caller
// has the lock, so nobody answers there.
func (s *stateDir) removeSocket() error {
	if err := os.Remove(s.socket()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the control socket of a server that is gone: %w", err)
	}
	return nil
}

// close gives up the lock, and first the whole directory if it was made for nothing: the index of a server
// whose directory was deleted would find another's in its place.
func (s *stateDir) close() error {
	var err error
	if s.discard {
		err = os.RemoveAll(s.path)
	}
	return errors.Join(err, s.lock.Close())
}
