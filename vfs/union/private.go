package union

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// recordMax bounds the small files of ours on a volume, in bytes.
const recordMax = 64 << 10

// privateDir opens a directory beneath the volume's PrivateName, made if asked. Without
// making, a directory that is not there is nil.
func (v *vol) privateDir(ctx context.Context, name vfs.Name, create bool) (volume.Dir, error) {
	p := v.v.Private()
	d, err := p.OpenDir(ctx, name)
	if vfs.StatusOf(err) != vfs.NoEnt {
		return d, err
	}
	if !create {
		return nil, nil
	}
	n, err := privateNew(ctx, p, 0o700)
	if err != nil {
		return nil, err
	}
	d, _, _, err = p.Mkdir(ctx, name, n)
	if vfs.StatusOf(err) == vfs.Exist { // by another call at the same moment
		return p.OpenDir(ctx, name)
	}
	if err != nil {
		return nil, err
	}
	if err := p.Sync(ctx); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// privateNew is an object of ours to be made in d: whose d is, it is too. Nobody else could be given
// it by a server that is not root's.
func privateNew(ctx context.Context, d volume.Dir, mode uint32) (*volume.New, error) {
	st, err := d.Stat(ctx)
	if err != nil {
		return nil, err
	}
	return &volume.New{Mode: mode, UID: st.UID, GID: st.GID}, nil
}

// writePrivate writes a small file durably, replacing what has its name: first beside it,
// so that it is there as a whole or not at all. Its errors are about nothing that a caller named (ours).
func (v *vol) writePrivate(ctx context.Context, dir, name vfs.Name, b []byte) (err error) {
	defer func() { err = ours(err) }()
	d, err := v.privateDir(ctx, dir, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	return v.writeIn(ctx, d, name, b)
}

// writeIn is writePrivate in an open directory.
func (v *vol) writeIn(ctx context.Context, d volume.Dir, name vfs.Name, b []byte) error {
	tmp := vfs.MustName(fmt.Sprintf("%s.%016x.%016x%s", name, v.writer, randomWord(), tmpSuffix))
	n, err := privateNew(ctx, d, 0o600)
	if err != nil {
		return err
	}
	f, _, _, err := d.Create(ctx, tmp, n)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(ctx, b, 0)
	if err == nil {
		err = f.Sync(ctx, false)
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = d.Rename(ctx, tmp, d, name, false)
	}
	if err != nil {
		return errors.Join(err, d.Unlink(ctx, tmp))
	}
	return d.Sync(ctx)
}

// ours makes err, of an operation on our own files, one that says nothing of the names of the call that it is made for: that a
// record is not there is no reason to tell a client that its file is not.
func ours(err error) error {
	switch vfs.StatusOf(err) {
	case vfs.NoEnt, vfs.Exist, vfs.NotDir, vfs.IsDir, vfs.NotEmpty, vfs.Stale, vfs.XDev, vfs.Inval, vfs.NameTooLong:
		return &vfs.Error{Status: vfs.IO, Op: "keep a record", Err: err, Do: "look what changes the files in .sheaf"}
	default:
		return err
	}
}

// tmpSuffix is that of small files that are being written.
const tmpSuffix = ".tmp"

// sweepPrivate removes what a crash has left of small files being written: those of other writers, since calls of
// ours go on while a volume comes back. A volume that takes no change keeps them: they harm nobody.
func (v *vol) sweepPrivate(ctx context.Context, dir vfs.Name) (err error) {
	if v.can().ReadOnly || v.getMode() == volume.ReadOnly {
		return nil
	}
	d, err := v.privateDir(ctx, dir, false)
	if err != nil || d == nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	var left []vfs.Name
	err = d.List(ctx, func(e volume.Entry) bool {
		if s := e.Name.String(); strings.HasSuffix(s, tmpSuffix) && !strings.Contains(s, fmt.Sprintf(".%016x.", v.writer)) {
			left = append(left, e.Name)
		}
		return true
	})
	for _, name := range left {
		err = errors.Join(err, d.Unlink(ctx, name))
	}
	return err
}

// hasPrivate reports whether there is a small file.
func (v *vol) hasPrivate(ctx context.Context, dir, name vfs.Name) (bool, error) {
	d, err := v.privateDir(ctx, dir, false)
	if err != nil || d == nil {
		return false, err
	}
	_, err = d.StatAt(ctx, name)
	there := err == nil
	if vfs.StatusOf(err) == vfs.NoEnt {
		err = nil
	}
	return there, errors.Join(err, d.Close())
}

// removePrivate removes a small file, if it is there. It may come back at a power cut.
func (v *vol) removePrivate(ctx context.Context, dir, name vfs.Name) error {
	d, err := v.privateDir(ctx, dir, false)
	if err != nil || d == nil {
		return err
	}
	err = d.Unlink(ctx, name)
	if vfs.StatusOf(err) == vfs.NoEnt {
		err = nil
	}
	return errors.Join(err, d.Close())
}

// eachPrivate calls f with every small file of a directory of ours.
func (v *vol) eachPrivate(ctx context.Context, dir vfs.Name, f func(name vfs.Name, b []byte)) (err error) {
	d, err := v.privateDir(ctx, dir, false)
	if err != nil || d == nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	var list []vfs.Name
	if err := d.List(ctx, func(e volume.Entry) bool { list = append(list, e.Name); return true }); err != nil {
		return err
	}
	for _, name := range list {
		st, err := d.StatAt(ctx, name)
		if err != nil {
			return err
		}
		if st.Type != vfs.Regular || st.Size > recordMax {
			continue
		}
		b, err := readSmall(ctx, d, name, int(st.Size))
		if err != nil {
			return err
		}
		f(name, b)
	}
	return nil
}

func readSmall(ctx context.Context, d volume.Dir, name vfs.Name, size int) (b []byte, err error) {
	f, err := d.Open(ctx, name, volume.Read)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	b = make([]byte, size)
	n, err := f.ReadAt(ctx, b, 0)
	return b[:n], err
}
