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
	err = v.eachBucket(ctx, func(_ vfs.Name, d volume.Dir, list []volume.Entry) error {
		for _, e := range list {
			id, ok := volume.ParseSidecarName(e.Name.String())
			if !ok {
				continue
			}
			if _, err := v.v.Locate(ctx, id.Ino, id.Gen); vfs.StatusOf(err) != vfs.Stale {
				continue
			}
			if err := d.Unlink(ctx, e.Name); err != nil && vfs.StatusOf(err) != vfs.NoEnt {
				return err
			}
			removed++
		}
		return context.Cause(ctx)
	}, func(_ vfs.Name, err error) error {
		if vfs.StatusOf(err) == vfs.NotDir { // none of ours
			return nil
		}
		return err
	})
	return removed, err
}

// eachBucket calls f with each directory of v's sidecars, open, and what is in it; failed gets its error, or why there is
// none that can be read. An error of failed ends it.
func (v *vol) eachBucket(ctx context.Context, f func(name vfs.Name, d volume.Dir, list []volume.Entry) error, failed func(name vfs.Name, err error) error) (err error) {
	marks, err := v.privateDir(ctx, sidecarsName, false)
	if err != nil || marks == nil {
		return err
	}
	defer func() { err = errors.Join(err, marks.Close()) }()
	buckets, err := listAll(ctx, marks)
	if err != nil {
		return err
	}
	one := func(name vfs.Name) (err error) {
		d, err := marks.OpenDir(ctx, name)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, d.Close()) }()
		list, err := listAll(ctx, d)
		if err != nil {
			return err
		}
		return f(name, d, list)
	}
	for _, b := range buckets {
		if err := one(b.Name); err != nil {
			if err := failed(b.Name, err); err != nil {
				return err
			}
		}
	}
	return nil
}
