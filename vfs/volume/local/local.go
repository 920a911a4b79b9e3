//go:build linux || darwin || freebsd

//nolint:errorlint // the errnos of package unix come bare
package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// Volume is a directory of the host. It implements volume.Volume.
type Volume struct {
	name string // the operator's
	path string // as configured, absolute
	host hostFacts

	root       *dir
	private    *dir
	privateKey volume.Key
	lockFd     int
	closed     atomic.Bool

	// Found by the probe; read-only afterwards.
	caps   volume.Caps
	xattrs bool   // user xattrs work
	folds  bool   // names that differ in case are one
	maker  uint32 // the owner of what the server makes

	marks     sidecars
	watch     WatchMode
	watchMost int
	named     atomic.Bool // files are made under their names: the host has refused to make one without
	byMagic   atomic.Bool // links are made by a path of /proc: the host has refused to make one of a descriptor alone

	mu     sync.Mutex // guards marker and its file
	marker volume.Marker
	id     volume.ID
}

// Options say how a volume is opened.
type Options struct {
	// Name is the operator's name for the volume.
	Name string
	// Adopt is the marker to write into a directory that has none, or whose marker is of the
	// volume it was copied from. Share, Root, Key, Epoch and Members are the caller's;
	// Volume too, drawn if it is empty; the rest is filled in. Nil: such a
	// directory is refused with ErrUnmarked or ErrCopy. A directory that
	// has a marker of its own keeps it.
	Adopt *volume.Marker
}

// Inspect is the marker of the directory at path, without taking the volume's
// lock or writing anything. Its errors are ErrUnmarked, ErrCopy (with the
// original's marker), ErrNewer, ErrCorrupt, and those of the host.
func Inspect(name, path string) (volume.Marker, error) {
	v, err := openRoot(name, path)
	if err != nil {
		return volume.Marker{}, err
	}
	defer v.closeAll()
	if err := v.openPrivate(false); err != nil {
		return volume.Marker{}, err
	}
	return v.readMarker()
}

// Open opens the directory at path as a volume and takes its lock.
func Open(_ context.Context, path string, o Options) (*Volume, error) {
	v, err := openRoot(o.Name, path)
	if err != nil {
		return nil, err
	}
	if err := v.open(o); err != nil {
		v.closeAll()
		return nil, err
	}
	return v, nil
}

func (v *Volume) open(o Options) error {
	if err := v.openPrivate(o.Adopt != nil); err != nil {
		return err
	}
	if err := v.lock(); err != nil {
		return err
	}
	m, err := v.readMarker()
	if o.Adopt != nil && (errors.Is(err, ErrUnmarked) || errors.Is(err, ErrCopy)) {
		m, err = v.adopt(*o.Adopt)
	}
	if err != nil {
		return err
	}
	if v.id, err = volume.ParseID(m.Volume); err != nil {
		return v.markerFault(fmt.Errorf("%w: %w", ErrCorrupt, err))
	}
	v.marker = m
	return v.probe()
}

// openRoot opens the volume's directory. The operator's path may lead through
// symbolic links; nothing after it may.
func openRoot(name, path string) (*Volume, error) {
	v := &Volume{name: name, path: path, lockFd: -1}
	refuse := func(err error, do string) (*Volume, error) {
		s := vfs.IO
		if e, ok := errors.AsType[unix.Errno](err); ok {
			s = statusOfErrno(e)
		}
		return nil, &vfs.Error{Status: s, Op: "open volume", Object: path, Volume: name, Err: err, Do: do}
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return refuse(err, "give the volume's directory as an absolute path")
	}
	v.path = abs
	fd, err := openPlain(unix.AT_FDCWD, abs, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	switch err {
	case nil:
	case unix.ENOTDIR:
		return refuse(err, "a volume is a directory")
	case unix.ENOENT:
		return refuse(err, "make the directory, or mount the disk that holds it")
	case unix.EACCES:
		return refuse(err, "the server's user must be able to read it")
	default:
		return refuse(err, "")
	}
	v.root = &dir{v: v, fd: fd, root: true}
	if err := v.host.learn(fd); err != nil {
		closeFd(fd)
		return refuse(err, "")
	}
	return v, nil
}

// openPrivate opens PrivateName; ErrUnmarked if it is not there and is not to be made.
func (v *Volume) openPrivate(create bool) error {
	var st volume.Stat
	err := v.statAt(v.root.fd, volume.PrivateName, &st)
	switch {
	case err == unix.ENOENT && !create:
		return v.markerFault(ErrUnmarked)
	case err == unix.ENOENT:
		if err := again(func() error { return unix.Mkdirat(v.root.fd, volume.PrivateName, 0o700) }); err != nil {
			return v.adoptFault(err)
		}
		if err := fullsync(v.root.fd); err != nil {
			return v.fault("adopt", v.path, err)
		}
	case err != nil:
		return v.fault("open volume", v.path, err)
	}
	if v.private, err = v.openDir(v.root.fd, volume.PrivateName); err != nil {
		return v.fault("open volume", filepath.Join(v.path, volume.PrivateName), err)
	}
	if err := v.statFd(v.private.fd, &st); err != nil {
		return v.fault("open volume", v.path, err)
	}
	var doubt error
	switch uid := uint32(os.Geteuid()); {
	case st.UID != uid && st.UID != 0 || st.Mode&0o022 != 0:
		doubt = fmt.Errorf("the directory belongs to uid %d with mode %04o: others could write what Sheaf believes", st.UID, st.Mode)
	case v.private.bare || st.UID != uid:
		doubt = fmt.Errorf("the directory belongs to uid %d and the server runs as uid %d", st.UID, uid)
	}
	if doubt != nil {
		return &vfs.Error{
			Status: vfs.Acces, Op: "open volume", Object: filepath.Join(v.path, volume.PrivateName), Volume: v.name, Err: doubt,
			Do: "run the server as the user who adopted the volume, or give the directory and all in it to the server's user, mode 0700",
		}
	}
	v.privateKey = st.Key
	return nil
}

// adoptFault says as whom the directory could not be written, and what to do.
func (v *Volume) adoptFault(err error) error {
	var e *vfs.Error
	if err = v.fault("adopt", v.path, err); errors.As(err, &e) && (e.Status == vfs.Acces || e.Status == vfs.Perm) {
		e.Err = fmt.Errorf("the server runs as uid %d: %w", os.Geteuid(), e.Err)
		e.Do = "give the directory to that user, or run the server as the user it belongs to"
	}
	return err
}

// adopt writes the first marker of this volume.
func (v *Volume) adopt(m volume.Marker) (volume.Marker, error) {
	r, err := v.private.self()
	if err == nil {
		err = again(func() error { return unix.Fchmod(v.private.fd, 0o700) })
	}
	if err != nil {
		return m, v.fault("adopt", v.path, err)
	}
	m.Format, m.Name, m.Birth = volume.MarkerFormat, v.name, v.identity(&r)
	if m.Volume == "" {
		m.Volume = volume.NewID().String()
	}
	if err := v.storeMarker(m); err != nil {
		return m, err
	}
	return m, nil
}

// within is the path p of the host as one beneath the root; ok if it is.
func (v *Volume) within(p string) (rel string, ok bool) {
	if p == v.host.path {
		return "", true
	}
	base := strings.TrimSuffix(v.host.path, "/") + "/"
	return strings.TrimPrefix(p, base), v.host.path != "" && strings.HasPrefix(p, base)
}

func (v *Volume) closeAll() {
	for _, d := range []*dir{v.private, v.root} {
		if d != nil {
			closeFd(d.fd)
		}
	}
	if v.lockFd >= 0 {
		closeFd(v.lockFd)
	}
}

// ID is the volume's own, from its marker.
func (v *Volume) ID() volume.ID { return v.id }

// Name is the operator's.
func (v *Volume) Name() string { return v.name }

// Caps are what the probe found when the volume was opened.
func (v *Volume) Caps() volume.Caps { return v.caps }

// Root is the volume's directory.
func (v *Volume) Root() volume.Dir { return v.root }

// Private is PrivateName.
func (v *Volume) Private() volume.Dir { return v.private }

// SyncAll is syncfs(2) where the host has it.
func (v *Volume) SyncAll(context.Context) error {
	return v.fault("sync", v.path, syncAll(v.root.fd))
}

// Close gives up the lock and the volume's own descriptors. Directories and
// files that are still open stay their owners'.
func (v *Volume) Close() error {
	if v.closed.Swap(true) {
		return &vfs.Error{Status: vfs.ServerFault, Op: "close volume", Object: v.path, Volume: v.name, Err: errClosed}
	}
	v.closeAll()
	return nil
}
