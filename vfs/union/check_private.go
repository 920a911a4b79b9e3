package union

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/lease"
	"sheaf/vfs/volume"
)

// checkSidecarsMax bounds the sidecars of all volumes that one Check looks for the objects of; about 100 bytes each.
const checkSidecarsMax = 1 << 18

// clockSlack is by how much the ctime of a file may lie before its making: a coarse clock's lag, and stamps of
// whole seconds.
const clockSlack = 2100 * time.Millisecond

// The names in PrivateName that are not the union's: the marker, the lock, and what a volume tries itself out with.
const (
	privateMarker = "volume.json"
	privateLock   = "lock"
	privateServed = "served" // by the union: turn.go
	privateProbe  = "probe-"
)

// private looks at what is ours on each volume.
func (c *check) private(ctx context.Context) error {
	for _, v := range c.u.members().vols {
		if !c.there(v) {
			continue
		}
		if err := c.privateOf(ctx, v); err != nil {
			c.unreadable(v, volume.PrivateName, err)
		}
		if err := c.progress(ctx); err != nil {
			return err
		}
	}
	return nil
}

// there reports whether v can be looked at, and notes if not.
func (c *check) there(v *vol) bool {
	st := volume.StateOf(v.v)
	switch {
	case st.Health != volume.Online:
		c.sum.Unchecked[v.name] = st.Health.String() + ": " + st.Reason
	case !c.u.online().has(v.i):
		c.sum.Unchecked[v.name] = "it has come back and is not in use yet"
	default:
		return true
	}
	return false
}

func privatePath(names ...string) string {
	return volume.PrivateName + "/" + strings.Join(names, "/")
}

func (c *check) privateOf(ctx context.Context, v *vol) error {
	p := v.v.Private()
	list, err := listAll(ctx, p)
	if err != nil {
		return err
	}
	for _, e := range list {
		name := e.Name.String()
		switch {
		case name == privateMarker || name == privateLock || name == privateServed:
		case name == displacedName.String():
			err = c.eachOf(ctx, v, displacedName, c.displacedOne)
		case name == intentsName.String():
			err = c.eachOf(ctx, v, intentsName, c.intentOne)
		case name == conflictsName.String():
			err = c.eachOf(ctx, v, conflictsName, c.pinOne)
		case name == volume.SidecarDir:
			err = c.sidecars(ctx, v)
		case isTemporary(name) || strings.HasPrefix(name, privateProbe):
			err = c.temporary(ctx, v, p, privatePath(name), e.Name)
		default:
			c.unknown(v, privatePath(name))
		}
		if err != nil {
			c.unreadable(v, privatePath(name), err)
			err = nil
		}
	}
	return nil
}

// listAll is every entry of a directory.
func listAll(ctx context.Context, d volume.Dir) (list []volume.Entry, err error) {
	err = d.List(ctx, func(e volume.Entry) bool {
		list = append(list, e)
		return true
	})
	return list, err
}

// eachOf calls f for every entry of a directory of ours but temporaries.
func (c *check) eachOf(ctx context.Context, v *vol, dir vfs.Name, f func(ctx context.Context, v *vol, d volume.Dir, name vfs.Name) error) (err error) {
	d, err := v.privateDir(ctx, dir, false)
	if err != nil || d == nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	list, err := listAll(ctx, d)
	if err != nil {
		return err
	}
	for _, e := range list {
		path := privatePath(dir.String(), e.Name.String())
		if isTemporary(e.Name.String()) {
			err = c.temporary(ctx, v, d, path, e.Name)
		} else {
			err = f(ctx, v, d, e.Name)
		}
		if err != nil && vfs.StatusOf(err) != vfs.NoEnt { // that went meanwhile
			c.unreadable(v, path, err)
		}
		if err := c.progress(ctx); err != nil {
			return err
		}
	}
	return nil
}

// isTemporary reports whether name is that of a small file being written: the union's, or a volume's own.
func isTemporary(name string) bool {
	return strings.HasSuffix(name, tmpSuffix) || strings.Contains(name, tmpSuffix+"-")
}

// leftBehind reports whether a file of ours was made before this server had the volumes, and so by one that died.
func (c *check) leftBehind(st *volume.Stat) bool {
	return st.Ctime.Time().Add(clockSlack).Before(c.u.start)
}

// temporary reports a temporary that no server is writing any more.
func (c *check) temporary(ctx context.Context, v *vol, d volume.Dir, path string, name vfs.Name) error {
	st, err := d.StatAt(ctx, name)
	if err != nil || !c.leftBehind(&st) {
		return err
	}
	if st.Type == vfs.Directory { // the volume clears it away when it is opened
		c.say(Finding{Kind: FindTemporary, Note: true, Volume: v.name, Path: path, What: "a server that died left it", Do: "it goes when the volume is opened"}, nil)
		return nil
	}
	c.say(Finding{Kind: FindTemporary, Note: true, Volume: v.name, Path: path, What: "a server that died was writing it", Repair: "it is removed"},
		func() error { return d.Unlink(ctx, name) })
	return nil
}

func (c *check) unknown(v *vol, path string) {
	c.say(Finding{Kind: FindUnknown, Note: true, Volume: v.name, Path: path, What: "it is none of Sheaf's", Do: "whoever put it there may take it away"}, nil)
}

// badRecord reports a file of ours that is not what it should be.
func (c *check) badRecord(v *vol, path string, err error) {
	c.say(Finding{
		Kind: FindBadRecord, Volume: v.name, Path: path, What: "it cannot be read: " + err.Error(),
		Do: "see whether the disk is failing; keep the file with the log and remove it when nothing is missed",
	}, nil)
}

// record is the content of a small file of ours.
func record(ctx context.Context, d volume.Dir, name vfs.Name) ([]byte, error) {
	st, err := d.StatAt(ctx, name)
	if err != nil {
		return nil, err
	}
	if st.Type != vfs.Regular || st.Size > recordMax {
		return nil, &vfs.Error{Status: vfs.Inval, Op: "read record", Object: name.String(), Err: errors.New("it is no small file")}
	}
	return readSmall(ctx, d, name, int(st.Size))
}

// quietly calls f under the exclusive leases on those of dirs that there are: no call of ours is changing what f looks at.
func (c *check) quietly(ctx context.Context, dirs []vfs.Node, f func() error) error {
	var wants []lease.Want
	for _, vn := range dirs {
		n, err := c.u.resolve(ctx, vn)
		if vfs.StatusOf(err) == vfs.Stale {
			continue
		}
		if err != nil {
			return err
		}
		defer n.put()
		wants = append(wants, lease.Node(n.id, lease.Exclusive))
	}
	l, err := c.u.leases.Acquire(ctx, wants...)
	if err != nil {
		return err
	}
	defer l.Release()
	return f()
}

// exists reports whether d has name.
func exists(ctx context.Context, d volume.Dir, name vfs.Name) (bool, error) {
	_, err := d.StatAt(ctx, name)
	if vfs.StatusOf(err) == vfs.NoEnt {
		return false, nil
	}
	return err == nil, err
}

// displacedOne looks at an object that was set aside, or at its record.
func (c *check) displacedOne(ctx context.Context, v *vol, d volume.Dir, name vfs.Name) error {
	path := privatePath(displacedName.String(), name.String())
	s, isRecord := strings.CutSuffix(name.String(), ".json")
	if !isRecord {
		recorded, err := exists(ctx, d, jsonName(name))
		if err != nil || recorded { // then it is told with its record
			return err
		}
		if there, err := exists(ctx, d, name); err != nil || !there {
			return err
		}
		c.say(Finding{
			Kind: FindDisplaced, Volume: v.name, Path: path, What: "an object that a rename set aside, and nothing tells where it was",
			Do: "look into it, and move it back into the volume while no server runs, or remove it",
		}, nil)
		return nil
	}
	b, err := record(ctx, d, name)
	if err != nil {
		return err
	}
	var f displacedFile
	err = json.Unmarshal(b, &f)
	dir, derr := f.Dir.node()
	id, ierr := vfs.ParseName(s)
	if err := errors.Join(err, derr, ierr); err != nil {
		c.badRecord(v, path, err)
		return nil
	}
	var recorded, there bool
	err = c.quietly(ctx, []vfs.Node{dir}, func() (err error) {
		if recorded, err = exists(ctx, d, name); err == nil {
			there, err = exists(ctx, d, id)
		}
		return err
	})
	switch {
	case err != nil || !recorded:
		return err
	case !there:
		c.say(Finding{
			Kind: FindRecord, Note: true, Volume: v.name, Path: path, Node: dir.ID, What: "the record of an object that was set aside and is gone since",
			Repair: "it is removed",
		}, func() error {
			// What is gone must not come back without its record, nor what was put back go.
			if err := v.v.SyncAll(ctx); err != nil {
				return err
			}
			return d.Unlink(ctx, name)
		})
	default:
		c.say(Finding{
			Kind: FindDisplaced, Volume: v.name, Path: privatePath(displacedName.String(), s), Node: dir.ID,
			What:   "a rename that was cut short set it aside; its name was " + string(f.Name),
			Repair: "it goes back where it was, under another name if that is taken, or away if the rename had been decided",
			Do:     "if its directory is gone: move it into the volume while no server runs, or remove it",
		}, func() error { return c.settle(ctx, v, d, name) })
	}
	return nil
}

// settle does what recovery does with the record called name in d, and wants it done.
func (c *check) settle(ctx context.Context, v *vol, d volume.Dir, name vfs.Name) error {
	if err := c.u.readRecords(ctx, v); err != nil {
		return err
	}
	if err := c.u.recoverAll(ctx); err != nil {
		return err
	}
	if there, err := exists(ctx, d, name); err != nil || !there {
		return err
	}
	return &vfs.Error{Status: vfs.IO, Op: "finish what was cut off", Object: name.String(), Volume: v.name, Err: errors.New("a volume that it needs is away, or its directory is gone")}
}

// intentOne looks at an intent: while no rename of its directories is under way there is none.
func (c *check) intentOne(ctx context.Context, v *vol, d volume.Dir, name vfs.Name) error {
	path := privatePath(intentsName.String(), name.String())
	b, err := record(ctx, d, name)
	if err != nil {
		return err
	}
	var f intentFile
	err = json.Unmarshal(b, &f)
	from, ferr := f.From.node()
	to, terr := f.To.node()
	if err := errors.Join(err, ferr, terr); err != nil {
		c.badRecord(v, path, err)
		return nil
	}
	there := false
	err = c.quietly(ctx, []vfs.Node{from, to}, func() (err error) {
		there, err = exists(ctx, d, name)
		return err
	})
	if err != nil || !there {
		return err
	}
	c.say(Finding{
		Kind: FindIntent, Volume: v.name, Path: path, Node: to.ID,
		What:   "a directory that is on several volumes was being renamed from " + string(f.FromName) + " to " + string(f.ToName) + ", and not all copies have followed",
		Repair: "those that have not do", Do: "let all of the directory's volumes be there",
	},
		func() error { return c.settle(ctx, v, d, name) })
	return nil
}

// pinOne looks at a pin: it is of use as long as several volumes' objects want the name.
func (c *check) pinOne(ctx context.Context, v *vol, d volume.Dir, name vfs.Name) error {
	path := privatePath(conflictsName.String(), name.String())
	b, err := record(ctx, d, name)
	if err != nil {
		return err
	}
	k, holder, err := parsePin(b)
	if err == nil && k.fileName() != name {
		err = errors.New("it is not of the name that it is called after")
	}
	if err != nil {
		c.badRecord(v, path, err)
		return nil
	}
	state, err := c.conflictOf(ctx, k)
	if err != nil {
		return err
	}
	at := Finding{Volume: v.name, Path: path, Node: k.dir, Note: true}
	switch counts, pinned := c.u.pins.get(k.dir, k.name); {
	case state == conflictUnknown:
	case state == conflictNone:
		at.Kind, at.What, at.Repair = FindPin, "it says who has the name "+k.name.String()+", which only one object wants", "it is removed"
		c.say(at, func() error { return c.dropPin(ctx, v, k) })
	case pinned && counts != holder:
		at.Kind, at.What, at.Repair = FindUnpinned, "it gives the name "+k.name.String()+" to another volume than the share does", "it is written anew"
		c.say(at, func() error { return c.u.pins.write(ctx, v, k, counts) })
	}
	return nil
}

// conflictState is whether a name is wanted by several objects.
type conflictState uint8

const (
	conflictUnknown conflictState = iota // not every volume could be asked
	conflictNone
	conflictLive
)

// conflictOf asks all volumes for a name.
func (c *check) conflictOf(ctx context.Context, k pinKey) (conflictState, error) {
	if m := c.u.members(); m.online != m.all {
		return conflictUnknown, nil
	}
	n, err := c.u.resolve(ctx, vfs.Node{ID: k.dir})
	if vfs.StatusOf(err) == vfs.Stale {
		return conflictNone, nil
	}
	if err != nil {
		return conflictUnknown, err
	}
	defer n.put()
	var seen []sighting
	err = c.u.again(ctx, func(ctx context.Context) error {
		l, err := c.u.leases.Acquire(ctx, lease.Node(n.id, lease.Shared))
		if err != nil {
			return err
		}
		defer l.Release()
		hs, err := c.u.dirsAt(ctx, n, c.u.all())
		if err != nil {
			return err
		}
		defer hs.release()
		seen, err = c.u.lookAll(ctx, hs, k.name)
		return err
	})
	switch {
	case vfs.StatusOf(err) == vfs.Stale:
		return conflictNone, nil
	case err != nil:
		return conflictUnknown, err
	case len(seen) <= 1 || allDirs(seen):
		return conflictNone, nil
	default:
		return conflictLive, nil
	}
}

// dropPin forgets who had a name that is not wanted by several any more. Only another process makes a conflict: one that
// it makes at this moment is pinned when it is seen.
func (c *check) dropPin(ctx context.Context, v *vol, k pinKey) error {
	c.u.pins.drop(ctx, c.u, k.dir, k.name)
	return v.removePrivate(ctx, conflictsName, k.fileName())
}

// sidecars notes the sidecars of v: the tree tells which of them have their object still.
func (c *check) sidecars(ctx context.Context, v *vol) error {
	return v.eachBucket(ctx, func(bucket vfs.Name, d volume.Dir, list []volume.Entry) error {
		if err := c.bucket(ctx, v, d, bucket, list); err != nil {
			return err
		}
		return c.progress(ctx)
	}, func(bucket vfs.Name, err error) error {
		path := privatePath(volume.SidecarDir, bucket.String())
		if vfs.StatusOf(err) == vfs.NotDir {
			c.unknown(v, path)
		} else if ctx.Err() == nil {
			c.unreadable(v, path, err)
		}
		return context.Cause(ctx)
	})
}

// bucket is sidecars for one directory of them.
func (c *check) bucket(ctx context.Context, v *vol, d volume.Dir, bucket vfs.Name, list []volume.Entry) error {
	for _, e := range list {
		var err error
		name := e.Name.String()
		id, ok := volume.ParseSidecarName(name)
		switch path := privatePath(volume.SidecarDir, bucket.String(), name); {
		case isTemporary(name):
			err = c.temporary(ctx, v, d, path, e.Name)
		case !ok:
			c.unknown(v, path)
		case len(c.beside) == checkSidecarsMax:
			c.sum.Unchecked[v.name+" "+privatePath(volume.SidecarDir)] = "there are more marks than one check looks at"
		default:
			c.beside[sidecarOf{v.i, id}] = struct{}{}
			c.besideIno[volIno{v.i, id.Ino}] = struct{}{}
		}
		if err != nil && vfs.StatusOf(err) != vfs.NoEnt {
			return err
		}
	}
	return nil
}

// sidecarOf is the object that a sidecar belongs to.
type sidecarOf struct {
	vol int
	id  volume.Identity
}
