package union

import (
	"context"
	"errors"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// Marks that cannot lie beside their objects (volume.SidecarDir) are left behind when these go: to look for one at every removal would
// cost each an open_by_handle_at(2) more. They harm nobody, as an identity never comes again, and are swept after each
// walk; where a volume cannot say that an inode is gone Check, which sees all objects, finds them.

var sidecarsName = vfs.MustName(volume.SidecarDir)

// sweepSidecars removes the marks of objects that are gone.
func (u *Union) sweepSidecars(ctx context.Context) {
	for _, v := range u.members().vols {
		if !u.online().has(v.i) || !v.can().Locate || v.can().ReadOnly || v.getMode() == volume.ReadOnly {
			continue
		}
		n, err := v.sweepSidecars(ctx)
		if n > 0 {
			u.log.Info("marks of objects that are gone were removed", "op", "sweep", "volume", v.name, "marks", n)
		}
		if err != nil && ctx.Err() == nil && !isAway(err) {
			u.log.Warn("marks of objects that are gone cannot be removed; it is tried again after the next scan", "op", "sweep", "volume", v.name, "err", err)
		}
	}
}

// sweepSidecars removes those of v, and says how many.
func (v *vol) sweepSidecars(ctx context.Context) (removed int, err error) {
	marks, err := v.privateDir(ctx, sidecarsName, false)
	if err != nil || marks == nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, marks.Close()) }()
	buckets, err := listAll(ctx, marks)
	if err != nil {
		return 0, err
	}
	for _, b := range buckets {
		n, err := v.sweepBucket(ctx, marks, b.Name)
		removed += n
		if err != nil && vfs.StatusOf(err) != vfs.NotDir { // none of ours
			return removed, err
		}
	}
	return removed, nil
}

// sweepBucket is sweepSidecars for one directory of them.
func (v *vol) sweepBucket(ctx context.Context, marks volume.Dir, bucket vfs.Name) (removed int, err error) {
	d, err := marks.OpenDir(ctx, bucket)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	list, err := listAll(ctx, d)
	if err != nil {
		return 0, err
	}
	for _, e := range list {
		if err := context.Cause(ctx); err != nil {
			return removed, err
		}
		id, ok := volume.ParseSidecarName(e.Name.String())
		if !ok {
			continue
		}
		if _, err := v.v.Locate(ctx, id.Ino, id.Gen); vfs.StatusOf(err) != vfs.Stale {
			continue
		}
		if err := d.Unlink(ctx, e.Name); err != nil && vfs.StatusOf(err) != vfs.NoEnt {
			return removed, err
		}
		removed++
	}
	return removed, nil
}
