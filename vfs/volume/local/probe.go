//go:build linux || darwin || freebsd

package local

import (
	"crypto/rand"
	"encoding/hex"
	"math"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// How long a directory's version must be left alone before it can be believed
// (measured: the version of a tmpfs directory can repeat for 8 ms; one second
// of granule and two ticks of lag where stamps have no fractions).
const (
	quietTicks   = 50 * time.Millisecond
	quietSeconds = 2100 * time.Millisecond
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
	v.caps.Locate = v.canLocate(v.identity(&r))
	v.maker = uint32(os.Geteuid())
	if _, err := v.openDirIf(v.private, marksDir); err != nil {
		return v.fault("probe", v.path, err)
	}
	if v.caps.ReadOnly {
		return v.probeReadOnly(&r)
	}
	if err := v.sweep(); err != nil {
		return v.fault("probe", v.path, err)
	}
	var b [8]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	name := probePrefix + hex.EncodeToString(b[:])
	if err := again(func() error { return unix.Mkdirat(v.private.fd, name, 0o700) }); err != nil {
		return v.fault("probe", v.path, err)
	}
	defer func() { _ = unix.Unlinkat(v.private.fd, name, unix.AT_REMOVEDIR) }() // what stays is swept at the next start
	d, err := v.openDir(v.private.fd, name)
	if err != nil {
		return v.fault("probe", v.path, err)
	}
	defer closeFd(d.fd)
	if err := v.probeFile(d); err != nil {
		return v.fault("probe", v.path, err)
	}
	v.probeNames(d)
	if v.caps.Quiet, err = v.probeQuiet(d); err != nil {
		return v.fault("probe", v.path, err)
	}
	if v.caps.Quiet == quietSeconds {
		v.caps.TimeDelta = vfs.Time{Sec: 1}
	}
	return nil
}

// probeReadOnly learns what can be seen without writing. What cannot is said
// to be missing.
func (v *Volume) probeReadOnly(r *ref) error {
	_, err := r.getxattr(xattrMark, nil)
	v.xattrs = err == nil
	_, err = r.getxattr(xattrAccessACL, nil)
	v.caps.ACLs = err == nil && hasACLs
	v.caps.InPlace, v.caps.MaxFileSize, v.caps.Quiet = false, math.MaxInt64, quietSeconds
	return nil
}

// openDirIf notes whether one of our own directories exists.
func (v *Volume) openDirIf(parent *dir, name string) (bool, error) {
	var st volume.Stat
	err := v.statAt(parent.fd, name, &st)
	if err == unix.ENOENT {
		return false, nil
	}
	v.marks.any.Store(err == nil)
	return err == nil, err
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
		d, err := v.openDir(v.private.fd, name)
		if err != nil {
			return err
		}
		for _, n := range probeLeavings() {
			_ = unix.Unlinkat(d.fd, n, 0) // most are not there; what is tells at the rmdir
			_ = unix.Unlinkat(d.fd, n, unix.AT_REMOVEDIR)
		}
		closeFd(d.fd)
		if err := unix.Unlinkat(v.private.fd, name, unix.AT_REMOVEDIR); err != nil {
			return err
		}
	}
	return nil
}

// probeLeavings are all the names that a probe ever makes.
func probeLeavings() []string {
	names := []string{"file", "Case", "link", "symlink", "node", "other"}
	for i := range probeRounds {
		n := strconv.Itoa(i)
		names = append(names, "d"+n, "f"+n, "g"+n, "h"+n)
	}
	return names
}

// probeFile tries what is done to a file.
func (v *Volume) probeFile(d *dir) error {
	fd, err := openBeneath(d.fd, "file", unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		closeFd(fd)
		_ = unix.Unlinkat(d.fd, "file", 0) // what stays is swept at the next start
	}()
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
	const somebody = 1 // any uid that is not ours
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
func (v *Volume) probeNames(d *dir) {
	drop := func(name string) { _ = unix.Unlinkat(d.fd, name, 0) } // what stays is swept at the next start
	fd, err := openBeneath(d.fd, "Case", unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return
	}
	closeFd(fd)
	defer drop("Case")
	var st volume.Stat
	v.folds = v.statAt(d.fd, "cASE", &st) == nil
	v.caps.Links = unix.Linkat(d.fd, "Case", d.fd, "link", 0) == nil
	defer drop("link")
	v.caps.Symlinks = unix.Symlinkat("target", d.fd, "symlink") == nil
	defer drop("symlink")
	v.caps.Special = mknodAt(d.fd, "node", unix.S_IFCHR|0o600, 1, 3) == nil
	drop("node")
	fd, err = openBeneath(d.fd, "other", unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return
	}
	closeFd(fd)
	v.caps.NoReplace = renameExclusive(d.fd, "Case", d.fd, "other") == unix.EEXIST
	drop("other")
}

// probeQuiet finds whether each kind of change moves the directory's version.
func (v *Volume) probeQuiet(d *dir) (time.Duration, error) {
	exact, fractions := true, false
	for _, step := range quietSteps(v.caps.Links) {
		for i := range probeRounds {
			var before, after volume.Stat
			if err := v.statFd(d.fd, &before); err != nil {
				return 0, err
			}
			if err := step(d.fd, strconv.Itoa(i)); err != nil {
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
		return quietSeconds, nil
	}
}

// quietSteps are the changes of one round each; together they leave nothing.
func quietSteps(links bool) []func(fd int, n string) error {
	create := func(fd int, name string) error {
		f, err := openBeneath(fd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
		if err == nil {
			closeFd(f)
		}
		return err
	}
	steps := []func(fd int, n string) error{
		func(fd int, n string) error { return create(fd, "f"+n) },
		func(fd int, n string) error { return unix.Mkdirat(fd, "d"+n, 0o700) },
		func(fd int, n string) error { return create(fd, "g"+n) },
		func(fd int, n string) error { return unix.Renameat(fd, "f"+n, fd, "g"+n) },
	}
	if links {
		steps = append(steps,
			func(fd int, n string) error { return unix.Linkat(fd, "g"+n, fd, "h"+n, 0) },
			func(fd int, n string) error { return unix.Unlinkat(fd, "h"+n, 0) })
	}
	return append(steps,
		func(fd int, n string) error { return unix.Unlinkat(fd, "g"+n, 0) },
		func(fd int, n string) error { return unix.Unlinkat(fd, "d"+n, unix.AT_REMOVEDIR) })
}
