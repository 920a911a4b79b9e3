package share

import (
	"context"
	"errors"
	"path"
	"slices"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// heldDepth is how deep directories are looked into (PATH_MAX of Linux in names of one byte).
const heldDepth = pathMax / 2

// held tells each what only c holds: of a volume that is there by looking, else by what the share knows.
func (s *Share) held(ctx context.Context, c *candidate, each func(Held)) error {
	if c.vol.State().Health == volume.Online {
		return s.heldThere(ctx, c.vol.Root(), c.cfg.Name, nil, each)
	}
	return s.union.Held(ctx, c.volumeID(), func(path string, n vfs.NodeID) bool {
		each(Held{Text(path), n.String()})
		return ctx.Err() == nil
	})
}

// heldThere looks into d, which is at the path at on the volume called name.
func (s *Share) heldThere(ctx context.Context, d volume.Dir, name string, at []vfs.Name, each func(Held)) error {
	if len(at) > heldDepth {
		return &vfs.Error{Status: vfs.NameTooLong, Op: "look what it holds", Volume: name, Err: errors.New("directories are too deep")}
	}
	var all []volume.Entry
	err := d.List(ctx, func(e volume.Entry) bool {
		if len(at) > 0 || !s.hides(e.Name) {
			all = append(all, e)
		}
		return ctx.Err() == nil
	})
	if err != nil || ctx.Err() != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	for _, e := range all {
		below := append(slices.Clip(at), e.Name)
		if e.Type != vfs.Directory && e.Type != 0 {
			each(Held{Path: Text("/" + joinNames(below))})
			continue
		}
		if err := s.heldBelow(ctx, d, e.Name, name, below, each); err != nil {
			return err
		}
	}
	return nil
}

// heldBelow looks into what is called e in d, a directory unless the volume did not tell.
func (s *Share) heldBelow(ctx context.Context, d volume.Dir, e vfs.Name, name string, at []vfs.Name, each func(Held)) error {
	path := "/" + joinNames(at)
	sub, err := d.OpenDir(ctx, e)
	switch vfs.StatusOf(err) {
	case vfs.OK:
	case vfs.NotDir:
		each(Held{Path: Text(path)})
		return nil
	case vfs.NoEnt, vfs.XDev: // removed meanwhile; not ours
		return nil
	default:
		return err
	}
	w, err := s.Where(ctx, path, false)
	if err == nil && len(w.Places) == 1 && w.Places[0].Volume == name {
		each(Held{Text(path), w.Node})
	}
	if IsNotFound(err) {
		err = nil
	}
	if err == nil {
		err = s.heldThere(ctx, sub, name, at, each)
	}
	return errors.Join(err, sub.Close())
}

// hides reports whether the share does not show name at the root of a volume.
func (s *Share) hides(name vfs.Name) bool {
	for _, pattern := range s.cfg.Hide {
		if ok, _ := path.Match(pattern, name.String()); ok { // patterns were checked by Validate
			return true
		}
	}
	return false
}
