//go:build linux || darwin || freebsd

//nolint:errorlint // the errnos of package unix come bare
package local

import (
	"crypto/rand"
	"encoding/hex"
	"math"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// How long a directory's version must be left alone before it can be believed
// (measured: the version of a tmpfs directory can repeat for 8 ms; one second
// of granule and two ticks of lag where stamps have no fractions).
const (
	quietTicks  = 50 * time.Millisecond
	quietCoarse = 2100 * time.Millisecond
)

// probeRounds is how often each kind of change is tried for the exactness of versions.
const probeRounds = 32

// probe finds out what the volume can do, by doing it in a directory of its
// own under PrivateName.
func (v *Volume) probe() error {
	v.caps = volume.Caps{InPlace: true, Durable: true, ReadOnly: v.readOnly(), NameMax: vfs.NameMax, LinkMax: v.linkMax(), TimeDelta: vfs.Time{Nsec: 1}}
	r, err := v.private.self()
	if err != nil {
		return v.fault("probe", v.path, err)
	}
	v.caps.StrongIdentity = v.strong(&r)
	v.caps.StatNow = v.statNow()
	v.caps.Locate = v.canLocate(v.identity(&r))
	v.maker = uint32(os.Geteuid())
	if err := v.findSidecars(); err != nil {
		return v.fault("probe", v.path, err)
	}
	if v.caps.ReadOnly {
		v.assume(&r)
		return nil
	}
	err = v.probeWriting()
	if err == unix.ENOSPC || err == unix.EDQUOT { // a full volume is served, too
		v.assume(&r)
		return nil
	}
	return v.fault("probe", v.path, err)
}

// findSidecars notes whether there are any.
func (v *Volume) findSidecars() error {
	var st volume.Stat
	err := v.statAt(v.private.fd, marksDir, &st)
	if err == unix.ENOENT {
		return nil
	}
	v.marks.any.Store(err == nil)
	return err
}

// probeWriting does it.
func (v *Volume) probeWriting() error {
	if err := v.sweep(); err != nil {
		return err
	}
	var b [8]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	name := probePrefix + hex.EncodeToString(b[:])
	if err := again(func() error { return unix.Mkdirat(v.private.fd, name, 0o700) }); err != nil {
		return err
	}
	defer v.clear(name)
	d, err := v.openDir(v.private.fd, name)
	if err != nil {
		return err
	}
	defer closeFd(d.fd)
	if err := v.probeFile(d); err != nil {
		return err
	}
	if err := v.probeNames(d); err != nil {
		return err
	}
	if v.caps.Quiet, err = v.probeQuiet(d); err != nil {
		return err
	}
	if v.caps.Quiet == quietCoarse {
		v.caps.TimeDelta = vfs.Time{Sec: 1}
	}
	return nil
}

// assume says what can be known of a volume that cannot be written to now: what
// reading shows, what every file system of the host can, and the worst elsewhere.
func (v *Volume) assume(r *ref) {
	_, err := r.getxattr(xattrMark, nil)
	v.xattrs = err == nil
	_, err = r.getxattr(xattrAccessACL, nil)
	root := os.Geteuid() == 0
	v.caps.Marks, v.caps.ACLs = v.xattrs, err == nil && hasACLs
	v.caps.InPlace = !v.caps.ReadOnly
	v.caps.Links, v.caps.Symlinks, v.caps.Special, v.caps.Chown = true, true, root, root
	v.caps.MaxFileSize, v.caps.Quiet = math.MaxInt64, quietCoarse
}

const probePrefix = "probe-"

// sweep removes what a probe that was cut short has left.
func (v *Volume) sweep() error {
	var left []string
	fd, err := openSelf(v.private.fd)
	if err != nil {
		return err
	}
	defer closeFd(fd)
	buf := listBuffers.Get().(*[listBuffer]byte)
	defer listBuffers.Put(buf)
	err = listFd(fd, buf[:], func(_ uint64, _ vfs.Type, name []byte) bool {
		if len(name) > len(probePrefix) && string(name[:len(probePrefix)]) == probePrefix {
			left = append(left, string(name))
		}
		return true
	})
	if err != nil {
		return err
	}
	for _, name := range left {
		v.clear(name)
	}
	return nil
}

// clear removes a probe's directory. What it cannot remove is tried again at the next
// start, and harms nobody until then.
func (v *Volume) clear(name string) {
	d, err := v.openDir(v.private.fd, name)
	if err != nil {
		return
	}
	for _, n := range []string{"file", "Case", "link", "symlink", "node", "other", "f", "g", "h"} { // all it ever makes
		_ = unix.Unlinkat(d.fd, n, 0)
	}
	_ = unix.Unlinkat(d.fd, "d", unix.AT_REMOVEDIR)
	closeFd(d.fd)
	_ = unix.Unlinkat(v.private.fd, name, unix.AT_REMOVEDIR)
}

// probeFile tries what is done to a file.
func (v *Volume) probeFile(d *dir) error {
	fd, err := openBeneath(d.fd, "file", unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer closeFd(fd)
	r := ref{fd: fd}
	if err := v.statFd(fd, &r.st); err != nil {
		return err
	}
	v.maker = r.st.UID
	v.xattrs = r.setxattr(xattrMark, []byte("probe")) == nil
	v.caps.Marks = v.xattrs
	_, err = r.getxattr(xattrAccessACL, nil)
	v.caps.ACLs = err == nil && hasACLs
	v.caps.MaxFileSize = maxFileSize(fd)
	somebody := int(r.st.UID ^ 1) // any uid that is not ours
	v.caps.Chown = r.chown(somebody, somebody) == nil && r.chown(int(r.st.UID), int(r.st.GID)) == nil
	return nil
}

// maxFileSize finds the largest size that the file system accepts.
func maxFileSize(fd int) uint64 {
	ok, no := int64(0), int64(math.MaxInt64)
	if again(func() error { return unix.Ftruncate(fd, no) }) == nil {
		return math.MaxInt64
	}
	for no-ok > 1 {
		mid := ok + (no-ok)/2
		if again(func() error { return unix.Ftruncate(fd, mid) }) == nil {
			ok = mid
		} else {
			no = mid
		}
	}
	return uint64(ok)
}

// probeNames tries what is done to names.
func (v *Volume) probeNames(d *dir) error {
	for _, n := range []string{"Case", "other"} {
		if err := touch(d.fd, n); err != nil {
			return err
		}
	}
	var st volume.Stat
	v.folds = v.statAt(d.fd, "cASE", &st) == nil
	v.caps.Links = unix.Linkat(d.fd, "Case", d.fd, "link", 0) == nil
	v.caps.Symlinks = unix.Symlinkat("target", d.fd, "symlink") == nil
	v.caps.Special = mknodAt(d.fd, "node", unix.S_IFCHR|0o600, 1, 3) == nil
	v.caps.NoReplace = renameExclusive(d.fd, "Case", d.fd, "other") == unix.EEXIST
	return nil
}

// touch makes an empty file.
func touch(dirfd int, name string) error {
	fd, err := openBeneath(dirfd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err == nil {
		closeFd(fd)
	}
	return err
}

// probeQuiet finds whether each kind of change moves the directory's version.
func (v *Volume) probeQuiet(d *dir) (time.Duration, error) {
	exact, fractions := true, false
	steps := quietSteps(v.caps.Links)
	for range probeRounds {
		for _, step := range steps {
			var before, after volume.Stat
			if err := v.statFd(d.fd, &before); err != nil {
				return 0, err
			}
			if err := step(d.fd); err != nil {
				return 0, err
			}
			if err := v.statFd(d.fd, &after); err != nil {
				return 0, err
			}
			exact = exact && before.Version() != after.Version()
			fractions = fractions || after.Ctime.Nsec != 0
		}
	}
	switch {
	case exact:
		return 0, nil
	case fractions:
		return quietTicks, nil
	default:
		return quietCoarse, nil
	}
}

// quietSteps are the changes of one round; together they leave nothing.
func quietSteps(links bool) []func(dirfd int) error {
	steps := []func(dirfd int) error{
		func(fd int) error { return touch(fd, "f") },
		func(fd int) error { return unix.Mkdirat(fd, "d", 0o700) },
		func(fd int) error { return touch(fd, "g") },
		func(fd int) error { return unix.Renameat(fd, "f", fd, "g") },
	}
	if links {
		steps = append(steps,
			func(fd int) error { return unix.Linkat(fd, "g", fd, "h", 0) },
			func(fd int) error { return unix.Unlinkat(fd, "h", 0) })
	}
	return append(steps,
		func(fd int) error { return unix.Unlinkat(fd, "g", 0) },
		func(fd int) error { return unix.Unlinkat(fd, "d", unix.AT_REMOVEDIR) })
}
