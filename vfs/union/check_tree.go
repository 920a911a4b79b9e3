package union

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"sheaf/vfs"
	"sheaf/vfs/lease"
	"sheaf/vfs/volume"
)

// What one Check keeps of the tree, in records; what is beyond is said in CheckSummary.Unchecked.
const (
	checkTwinsMax = 1 << 18 // marked objects, about 200 bytes each
	checkLinksMax = 1 << 18 // objects with several links of which not all names were seen yet, about 200 bytes each
)

// tree walks the share: the directories of all volumes that have one path together.
func (c *check) tree(ctx context.Context) error {
	c.twins = make(map[vfs.NodeID]marked)
	c.links = make(map[volIno]*linked)
	shifts := c.u.shifts.Load()
	dirs := make([]volume.Dir, MaxVolumes)
	for _, v := range c.u.members().vols {
		if c.there(v) {
			dirs[v.i] = v.v.Root()
		} else {
			c.blind = c.blind.with(v.i)
		}
	}
	if err := c.dir(ctx, c.u.root.id, dirs, nil); err != nil {
		return err
	}
	c.loneSidecars(ctx)
	if c.u.shifts.Load() == shifts && c.u.shifting.Load() == 0 { // else a name may have passed the walk by
		c.lostLinks(ctx)
	}
	return nil
}

// dir looks at the directory node, of which dirs are the open copies by volume, and at what is beneath.
func (c *check) dir(ctx context.Context, node vfs.NodeID, dirs []volume.Dir, path []vfs.Name) error {
	c.sum.Directories++
	c.sum.Path = joined(path)
	if err := c.progress(ctx); err != nil {
		return err
	}
	lists := make([][]volume.Entry, len(dirs))
	for v, d := range dirs {
		if d == nil {
			continue
		}
		list, err := listAll(ctx, d)
		if err == nil && len(path) > scanDepth {
			err = errors.New("directories are too deep to be looked at")
		}
		if err != nil {
			c.missed(ctx, v, path, err)
			continue
		}
		lists[v] = c.shown(list, len(path) == 0)
	}
	if err := c.listing(ctx, node, dirs, lists, path); err != nil {
		c.missed(ctx, c.firstOf(dirs), path, err)
	}
	var beneath []subdir
	for {
		name, ok := firstName(lists)
		if !ok {
			break
		}
		sub, err := c.name(ctx, dirs, lists, path, name)
		if err != nil {
			return err
		}
		if sub.on != 0 {
			beneath = append(beneath, sub)
		}
	}
	clear(lists) // so that what is beneath does not find it in memory
	for _, s := range beneath {
		if err := c.into(ctx, dirs, path, s); err != nil {
			return err
		}
	}
	return nil
}

// subdir is a directory that is to be walked, and the volumes that have it.
type subdir struct {
	name vfs.Name
	on   volset
	node vfs.NodeID // as far as its marks and birth tell
}

// firstName is the lowest name at the head of a list.
func firstName(lists [][]volume.Entry) (name vfs.Name, ok bool) {
	for _, l := range lists {
		if len(l) > 0 && (!ok || l[0].Name.String() < name.String()) {
			name, ok = l[0].Name, true
		}
	}
	return name, ok
}

// missed notes what could not be looked at on volume v. What went meanwhile, or is mounted there, is not missed.
func (c *check) missed(ctx context.Context, v int, path []vfs.Name, err error) {
	switch vfs.StatusOf(err) {
	case vfs.NoEnt, vfs.XDev, vfs.Stale, vfs.NotDir:
		return
	default:
	}
	c.blind = c.blind.with(v)
	if ctx.Err() == nil {
		c.unreadable(c.u.vol(v), joined(path), err)
	}
}

// name looks at what is called name at the head of lists, and gives the directory that it is on some volumes.
func (c *check) name(ctx context.Context, dirs []volume.Dir, lists [][]volume.Entry, path []vfs.Name, name vfs.Name) (sub subdir, err error) {
	sub.name = name
	objects := 0
	for v, l := range lists {
		if len(l) == 0 || l[0].Name != name {
			continue
		}
		lists[v] = l[1:]
		typ := l[0].Type
		if typ == 0 {
			st, err := dirs[v].StatAt(ctx, name)
			if err != nil {
				c.missed(ctx, v, append(slices.Clip(path), name), err)
				continue
			}
			typ = st.Type
		}
		if typ == vfs.Directory {
			sub.on = sub.on.with(v)
			continue
		}
		objects++
		c.sum.Objects++
		if err := c.object(ctx, v, dirs[v], path, name); err != nil {
			c.missed(ctx, v, append(slices.Clip(path), name), err)
		}
	}
	if sub.on != 0 {
		if sub.node, err = c.directory(ctx, dirs, sub.on, path, name); err != nil {
			c.missed(ctx, sub.on.first(), append(slices.Clip(path), name), err)
		}
	}
	if objects > 1 || objects > 0 && sub.on != 0 {
		if err := c.conflict(ctx, dirs, path, name); err != nil {
			c.missed(ctx, c.firstOf(dirs), append(slices.Clip(path), name), err)
		}
	}
	return sub, c.progress(ctx)
}

func (c *check) firstOf(dirs []volume.Dir) int {
	return max(0, slices.IndexFunc(dirs, func(d volume.Dir) bool { return d != nil }))
}

// into walks what is beneath.
func (c *check) into(ctx context.Context, dirs []volume.Dir, path []vfs.Name, s subdir) (err error) {
	subs := make([]volume.Dir, len(dirs))
	path = append(slices.Clip(path), s.name)
	defer func() {
		for _, d := range subs {
			if d != nil {
				err = errors.Join(err, d.Close())
			}
		}
	}()
	for _, v := range s.on.list() {
		d, err := dirs[v].OpenDir(ctx, s.name)
		if err != nil {
			c.missed(ctx, v, path, err)
			continue
		}
		subs[v] = d
	}
	return c.dir(ctx, s.node, subs, path)
}

// object looks at what is no directory.
func (c *check) object(ctx context.Context, v int, d volume.Dir, path []vfs.Name, name vfs.Name) error {
	st, err := d.StatAt(ctx, name)
	if err != nil {
		return err
	}
	c.besides(ctx, v, d, &st, name)
	if st.Nlink > 1 {
		c.link(v, &st, path, name)
	}
	b, err := d.MarkAt(ctx, name)
	if err != nil || len(b) == 0 {
		return err
	}
	s, err := c.sight(ctx, v, d, name)
	if err != nil {
		return err
	}
	switch s.verdict {
	case markNone:
	case markBelieved:
		return c.twin(ctx, d, &s, path, name)
	default:
		return c.oddMark(ctx, d, s, path, name)
	}
	return nil
}

// besides notes that the object of a sidecar was seen.
func (c *check) besides(ctx context.Context, v int, d volume.Dir, st *volume.Stat, name vfs.Name) {
	if _, some := c.besideIno[volIno{v, st.Key.Ino}]; !some {
		return
	}
	if _, id, err := d.IdentifyAt(ctx, name); err == nil {
		delete(c.beside, sidecarOf{v, id})
	}
}

// copySight is one object as it is seen with its mark.
type copySight struct {
	vol     int
	st      volume.Stat
	id      volume.Identity
	mark    mark
	verdict markVerdict
	node    vfs.Node // by the mark if it is believed, else by birth
	acls    vfs.ACLs // of a directory's copy, where the volume keeps them
}

// sight looks at what is called name in d: its identity and its mark, both of one object.
func (c *check) sight(ctx context.Context, v int, d volume.Dir, name vfs.Name) (copySight, error) {
	for range searches {
		s := copySight{vol: v}
		var err error
		if s.st, s.id, err = d.IdentifyAt(ctx, name); err != nil {
			return s, err
		}
		b, err := d.MarkAt(ctx, name)
		if err != nil {
			return s, err
		}
		if _, again, err := d.IdentifyAt(ctx, name); err != nil {
			return s, err
		} else if again != s.id { // replaced meanwhile
			continue
		}
		vol := c.u.vol(v)
		if s.mark, s.verdict = judgeMark(c.u.markKey, b, vol.id, &s.id); s.verdict == markBelieved {
			s.node = s.mark.node
		} else {
			s.node = vol.birthNode(&s.id)
		}
		return s, nil
	}
	return copySight{vol: v}, vfs.NoEnt // it is never the same
}

// oddMark reports a mark that is not believed, beside what is on one volume only.
func (c *check) oddMark(ctx context.Context, d volume.Dir, s copySight, path []vfs.Name, name vfs.Name) error {
	f := Finding{
		Kind: FindCopiedMark, Note: true, Volume: c.u.vol(s.vol).name, Path: joined(append(slices.Clip(path), name)), Node: s.node.ID,
		What: "its mark was written for another object and came with a copy; it is not believed", Repair: "the mark is taken away",
	}
	if s.verdict == markForeign {
		f.Kind, f.What, f.Repair = FindForeignMark, "its mark is none of this share; it is not believed", ""
	}
	there, err := c.oddStill(ctx, d, s, name, &f)
	if there {
		c.tell(f)
	}
	return err
}

// oddStill looks at it again, and mends it, while no call of ours changes it.
func (c *check) oddStill(ctx context.Context, d volume.Dir, s copySight, name vfs.Name, f *Finding) (bool, error) {
	l, err := c.u.leases.Acquire(ctx, lease.Node(s.node.ID, lease.Exclusive))
	if err != nil {
		return false, err
	}
	defer l.Release()
	again, err := c.sight(ctx, s.vol, d, name)
	if err != nil || again.id != s.id || again.verdict != s.verdict {
		return false, err
	}
	if s.verdict == markCopied {
		c.mend(f, func() error { return d.SetMarkAt(ctx, name, s.id.Key, nil) })
	}
	return true, nil
}

// marked is where an object with a believed mark was seen first.
type marked struct {
	vol  int
	path []vfs.Name
	key  volume.Key
}

// twin notes the nodes of believed marks, and reports those that were noted elsewhere: the walk comes to a directory once.
func (c *check) twin(ctx context.Context, d volume.Dir, s *copySight, path []vfs.Name, name vfs.Name) error {
	first, before := c.twins[s.node.ID]
	path = append(slices.Clip(path), name)
	switch {
	case s.verdict != markBelieved || s.st.Type != vfs.Directory && s.st.Nlink > 1:
		return nil
	case !before && len(c.twins) == checkTwinsMax:
		c.sum.Unchecked["marks"] = "there are more marked objects than one check compares"
		return nil
	case !before:
		c.twins[s.node.ID] = marked{s.vol, path, s.st.Key}
		return nil
	case slices.Equal(first.path, path): // copies of one directory
		return nil
	}
	there, err := c.areTwins(ctx, d, s, name, &first)
	if err != nil || !there {
		return err
	}
	f := Finding{
		Kind: FindTwins, Volume: c.u.vol(s.vol).name, Path: joined(path), Node: s.node.ID,
		What: "it has the id of " + joined(first.path) + " on volume " + c.u.vol(first.vol).name,
	}
	if s.st.Type != vfs.Directory {
		f.Do = "move it out of the share and back by cp -a"
		c.say(f, nil)
		return nil
	}
	f.Repair = "what is not the home copy gets an id of its own"
	c.say(f, func() error {
		return errors.Join(c.lookAgain(ctx, first.vol, first.path), c.lookAgain(ctx, s.vol, path))
	})
	return nil
}

// areTwins looks at both again, while no call of ours moves either.
func (c *check) areTwins(ctx context.Context, d volume.Dir, s *copySight, name vfs.Name, first *marked) (bool, error) {
	l, err := c.u.leases.Acquire(ctx, lease.Node(s.node.ID, lease.Exclusive))
	if err != nil {
		return false, err
	}
	defer l.Release()
	again, err := c.sight(ctx, s.vol, d, name)
	if err != nil || again.verdict != markBelieved || again.node.ID != s.node.ID {
		return false, err
	}
	parent, last, err := openDown(ctx, c.u.vol(first.vol).v.Root(), first.path)
	if err != nil {
		return false, err
	}
	defer parent.release()
	other, err := c.sight(ctx, first.vol, parent.d, last)
	return err == nil && other.st.Key == first.key && other.verdict == markBelieved && other.node.ID == s.node.ID, err
}

// lookAgain lets the share see what is at path on volume v, whatever it knew, which puts marks right.
func (c *check) lookAgain(ctx context.Context, v int, path []vfs.Name) error {
	for _, p := range [][]vfs.Name{path[:len(path)-1], path} {
		n, err := c.u.walk(ctx, v, p)
		if err != nil {
			return err
		}
		c.u.distrust(n)
		n.put()
	}
	return nil
}

// linked is an object with several links, of which not all names were seen yet.
type linked struct {
	st   volume.Stat // at first sight
	left uint32
	path []vfs.Name // of one name
}

// link counts a name of an object.
func (c *check) link(v int, st *volume.Stat, path []vfs.Name, name vfs.Name) {
	k := volIno{v, st.Key.Ino}
	l := c.links[k]
	switch {
	case l == nil && len(c.links) == checkLinksMax:
		c.sum.Unchecked["links"] = "there are more objects with several links than one check counts"
		return
	case l == nil:
		l = &linked{st: *st, left: st.Nlink, path: append(slices.Clip(path), name)}
		c.links[k] = l
	case l.st.Key != st.Key || l.st.Ctime != st.Ctime: // a link came or went meanwhile
		l.left = 0
	}
	if l.left > 0 {
		l.left--
	}
	if l.left == 0 {
		l.path = nil
	}
}

// lostLinks reports objects that have other links than the names that were seen, and did not change meanwhile.
func (c *check) lostLinks(ctx context.Context) {
	for k, l := range c.links {
		v := c.u.vol(k.vol)
		if l.left == 0 || c.blind.has(k.vol) {
			continue
		}
		st, err := statDown(ctx, v.v.Root(), l.path)
		if err != nil || st.Key != l.st.Key || st.Ctime != l.st.Ctime {
			continue
		}
		c.say(Finding{
			Kind: FindLinks, Note: true, Volume: v.name, Path: joined(l.path),
			What: fmt.Sprintf("it has %d links, and %d names in the share", l.st.Nlink, l.st.Nlink-l.left),
			Do:   "other names lie outside the volume or where Sheaf does not look (hide); what is written here changes there, and it cannot be moved to another volume",
		}, nil)
	}
}

// borrowed is an open directory that may be somebody's own.
type borrowed struct {
	d    volume.Dir
	ours bool
}

// release closes it if it is ours. It was only read through.
func (b borrowed) release() {
	if b.ours {
		_ = b.d.Close()
	}
}

// openDown opens the directory that holds what is at path beneath root, and gives its name.
func openDown(ctx context.Context, root volume.Dir, path []vfs.Name) (borrowed, vfs.Name, error) {
	at := borrowed{d: root}
	last := len(path) - 1
	for _, name := range path[:last] {
		next, err := at.d.OpenDir(ctx, name)
		at.release()
		if err != nil {
			return borrowed{}, vfs.Name{}, err
		}
		at = borrowed{next, true}
	}
	return at, path[last], nil
}

// statDown is what is at path beneath root.
func statDown(ctx context.Context, root volume.Dir, path []vfs.Name) (volume.Stat, error) {
	d, name, err := openDown(ctx, root, path)
	if err != nil {
		return volume.Stat{}, err
	}
	defer d.release()
	return d.d.StatAt(ctx, name)
}

// loneSidecars reports the sidecars whose objects were not seen.
func (c *check) loneSidecars(ctx context.Context) {
	for s := range c.beside {
		if c.blind.has(s.vol) {
			continue
		}
		if err := c.loneSidecar(ctx, s); err != nil && vfs.StatusOf(err) != vfs.NoEnt {
			bucket, name := volume.SidecarName(s.id)
			c.unreadable(c.u.vol(s.vol), privatePath(volume.SidecarDir, bucket, name), err)
		}
	}
}

// loneSidecar reports one, unless it may be that of an object that came or moved while the tree was walked.
func (c *check) loneSidecar(ctx context.Context, s sidecarOf) (err error) {
	v := c.u.vol(s.vol)
	bucket, file := volume.SidecarName(s.id)
	marks, err := v.v.Private().OpenDir(ctx, sidecarsName)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, marks.Close()) }()
	d, err := marks.OpenDir(ctx, vfs.MustName(bucket))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	st, err := d.StatAt(ctx, vfs.MustName(file))
	if err != nil {
		return err
	}
	f := Finding{Kind: FindSidecar, Note: true, Volume: v.name, Path: privatePath(volume.SidecarDir, bucket, file), What: "the mark of an object that is gone"}
	if _, err := v.v.Locate(ctx, s.id.Ino, s.id.Gen); err == nil {
		return nil
	} else if vfs.StatusOf(err) != vfs.Stale { // it may have come, or been moved past the walk by another process
		if c.leftBehind(&st) {
			c.say(f, nil)
		}
		return nil
	}
	f.Repair = "it is removed"
	c.say(f, func() error { return d.Unlink(ctx, vfs.MustName(file)) })
	return nil
}
