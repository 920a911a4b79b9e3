package union

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sheaf/vfs"
)

// Location is where an object lies: a path on a volume.
type Location struct {
	Volume string // the operator's name
	Path   []vfs.Name
}

// depthMax bounds how many directories are walked upwards; a path of PATH_MAX (4,096
// bytes) has at most half as many.
const depthMax = 4096

// Locations are where vn lies: one, or for a directory one for each copy, the home
// copy first and the others in volume order. Of several names of a file it is one.
func (u *Union) Locations(ctx context.Context, vn vfs.Node) ([]Location, error) {
	n, err := u.resolve(ctx, vn)
	if err != nil {
		return nil, err
	}
	defer n.put()
	n.mu.Lock()
	vols, home := n.on().list(), n.home
	n.mu.Unlock()
	path, err := u.physPath(ctx, n)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(vols, func(a, b int) int { // volume order, but for home
		switch {
		case a == home:
			return -1
		case b == home:
			return 1
		}
		return 0
	})
	all := make([]Location, 0, len(vols))
	for _, v := range vols {
		all = append(all, Location{u.vol(v).v.Name(), path})
	}
	return all, nil
}

// Stood is an object on a volume that is away, by what is known of its directory.
type Stood struct {
	Volumes []string // the operator's names; several have copies of a directory
	Path    []vfs.Name
	Node    vfs.NodeID // zero: not known
	Type    vfs.Type   // 0: not known
}

// Standing is what is known of name in dir on the volumes that are away; without Volumes nothing is. It asks no volume
// for the name.
func (u *Union) Standing(ctx context.Context, dir vfs.Node, name vfs.Name) (Stood, error) {
	d, err := u.resolve(ctx, dir)
	if err != nil {
		return Stood{}, err
	}
	defer d.put()
	d.mu.Lock()
	has, _ := u.stands(d, name, u.away())
	var s Stood
	phys := name
	if has != 0 {
		e := d.names.byName[name]
		s.Node, s.Type, phys = e.node, e.typ, e.phys
	}
	d.mu.Unlock()
	for _, v := range has.list() {
		s.Volumes = append(s.Volumes, u.vol(v).name)
	}
	if has != 0 {
		s.Path, err = u.physPath(ctx, d)
		s.Path = append(s.Path, phys)
	}
	return s, err
}

// physPath is the path that leads to n on its volumes.
func (u *Union) physPath(ctx context.Context, n *node) ([]vfs.Name, error) {
	path := []vfs.Name{}
	n.refs.Add(1)
	for n != u.root {
		n.mu.Lock()
		if len(n.places) == 0 || len(path) == depthMax {
			n.mu.Unlock()
			n.put()
			return nil, &vfs.Error{Status: vfs.Jukebox, Op: "where", Object: n.id.String(), Err: errors.New("its place is not known now")}
		}
		at := n.places[0]
		n.mu.Unlock()
		n.put()
		path = append(path, at.phys)
		var err error
		if n, err = u.resolve(ctx, at.dir); err != nil {
			return nil, err
		}
	}
	n.put()
	slices.Reverse(path)
	return path, nil
}

// Explain says what a look-up of name in dir is answered from now: "present", "absent" or
// "unknown", and the fact that it rests on. It asks no volume.
func (u *Union) Explain(dir vfs.Node, name vfs.Name) (answer, fact string) {
	d := u.table.get(dir.ID)
	if d == nil {
		return "unknown", "the directory is not in memory: its volumes are asked"
	}
	defer d.put()
	d.mu.Lock()
	defer d.mu.Unlock()
	if u.opt.Lookups == LookupOff {
		return "unknown", "names are set to be asked for on the volumes each time"
	}
	now := u.now()
	if e := d.entryOf(name); e != nil {
		seen := e.at
		if d.names.complete && u.opt.Lookups == LookupFull {
			seen = max(seen, d.names.asOf)
		}
		switch {
		case e.vols != 0 && e.vols&u.online() == 0:
			return "present", "it is known of volume " + u.vol(e.vols.first()).name + ", which is away: until that is back clients are told to come again, then get an error"
		case e.node.IsZero() || e.seen != d.names.round:
			return "present", "the directory was listed with it; the object itself was not looked at yet, so its volume is asked"
		case seen == 0:
			return "unknown", "it was listed and not asked for by itself: its volume is asked"
		case u.entryFresh(d, e, now):
			return "present", u.since("seen", seen, now, u.watched(d, u.all(), seen, now))
		}
		return "unknown", u.since("seen", seen, now, false) + ": its volume is asked"
	}
	if t := d.names; t != nil && t.complete && u.opt.Lookups == LookupFull {
		if u.absent(d, name, now) {
			return "absent", "the directory is completely known, and the name is not in it; it was " + u.since("looked at", t.asOf, now, u.watched(d, u.all(), t.asOf, now))
		}
		return "unknown", u.since("the directory was listed", t.asOf, now, false) + ": it is looked at again"
	}
	at, asked := u.absentSince(d, name)
	switch {
	case u.pagedNow(d) && !asked:
		return "unknown", "the directory is large and completely known, the name is not in memory: the index is asked; it was " + u.since("looked at", d.names.asOf, now, false)
	case u.absent(d, name, now):
		return "absent", u.since("found absent", at, now, u.watched(d, u.all(), at, now))
	case asked:
		return "unknown", u.since("found absent", at, now, false) + ": the volumes are asked"
	}
	return "unknown", "the directory is not completely known, and the name was not asked for: the volumes are asked"
}

// since says how long ago, at the time now, something was learned, and how long that is believed; watched: what
// others change would be told.
func (u *Union) since(what string, at, now int64, watched bool) string {
	ago := time.Duration(now - at).Seconds()
	if u.exempt() {
		return fmt.Sprintf("%s %.1f s ago, trusted until Sheaf itself changes it", what, ago)
	}
	if watched {
		return fmt.Sprintf("%s %.1f s ago, trusted for %v s as long as it is watched", what, ago, time.Duration(u.watchTrust).Seconds())
	}
	return fmt.Sprintf("%s %.1f s ago, trusted for %v s", what, ago, time.Duration(u.trust).Seconds())
}
