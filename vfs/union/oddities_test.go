package union

import (
	"encoding/json"
	"errors"
	"fmt"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// oddities are the calls in whose course something else is made durable than what was asked for: what
// other processes put on the volumes, ids, and who has a name.
func oddities() []durable {
	return append(append(conflicts(), absences()...), []durable{
		{
			name: "create where another process has just made the directory", many: true,
			call: func(x *tree) (func(), error) {
				if x.near != x.far {
					x.unharmed(func() { x.put(x.far, vfs.Directory, "home") })
				}
				a, err := x.make(x.t, x.far, x.home, "new", vfs.How{Type: vfs.Regular})
				return func() { x.is(x.t, "home", x.home); made(x, "home/new", a)() }, err
			},
		},
		{
			name: "create that fails when the directories have their copies", many: true,
			call: func(x *tree) (func(), error) { return x.failingMake(x.deep, "home/deep") },
		},
		{
			name: "create that fails when another process's directory has become a copy", many: true,
			call: func(x *tree) (func(), error) {
				if x.near != x.far {
					x.unharmed(func() { x.put(x.far, vfs.Directory, "home") })
				}
				return x.failingMake(x.home, "home")
			},
		},
		{
			name:  "lookup of a directory that was adopted on all volumes",
			setup: func(x *tree) { x.plantAll("found") },
			call: func(x *tree) (func(), error) {
				a, _, err := x.m.u.Lookup(x.t.Context(), who, x.m.root(x.t), vfs.MustName("found"))
				return func() { x.is(x.t, "found", a.Node) }, err
			},
		},
		{
			name:  "readdir of directories that were adopted on all volumes",
			setup: func(x *tree) { x.plantAll("found") },
			call: func(x *tree) (func(), error) {
				var found vfs.Node
				_, _, err := x.m.u.ReadDir(x.t.Context(), who, x.m.root(x.t), 0, true, func(e *vfs.DirEntry) bool {
					if e.Name.String() == "found" {
						found = e.Node
					}
					return true
				})
				return func() { x.is(x.t, "found", found) }, err
			},
		},
		{
			name:  "lookup of what has the id of another",
			setup: func(x *tree) { x.twin() },
			call: func(x *tree) (func(), error) {
				a, _, err := x.m.u.Lookup(x.t.Context(), who, x.home, vfs.MustName("twin"))
				return func() { x.is(x.t, "home/file", x.file); x.is(x.t, "home/twin", a.Node) }, err
			},
		},
		{
			name: "rename of a directory over another that will not go", many: true, apart: true,
			setup: func(x *tree) { x.m.mkAt(x.t, x.far, x.away, "empty", vfs.Directory) },
			call: func(x *tree) (func(), error) {
				x.trap = &trap{}
				if x.near != x.far {
					x.trap.fail("rmdir", 1, 0, errDisk)
				}
				err := x.m.rename(x.t, x.home, "deep", x.away, "empty")
				x.trap = nil
				return func() { x.is(x.t, "away/empty", x.deep); x.gone(x.t, "home/deep") }, err
			},
		},
		{
			name: "rename over what lies elsewhere, and away", many: true,
			call: func(x *tree) (func(), error) {
				err := x.m.rename(x.t, x.home, "file", x.away, "other")
				if err == nil {
					err = x.m.rename(x.t, x.away, "other", x.home, "back")
				}
				return func() { x.gone(x.t, "away/other"); x.is(x.t, "home/back", x.file) }, err
			},
		},
		{
			name: "write for who wants it async, and an orderly end", many: true,
			call: func(x *tree) (func(), error) {
				async := &vfs.Who{Async: true}
				_, _, err := x.m.u.Write(x.t.Context(), async, x.file, []byte(long), 0, vfs.FileSync)
				err = errors.Join(err, x.m.u.Close())
				x.m.u = nil
				return func() { x.holds(x.t, x.is(x.t, "home/file", x.file).Node, long) }, err
			},
		},
	}...)
}

// conflicts are calls about a name that objects of two volumes have; on one volume they are
// about an ordinary file.
func conflicts() []durable {
	var mine, other vfs.Attr
	alias := func(x *tree) string { return "home/x" + conflictInfix + x.m.mems[min(x.near, x.far)].Name() }
	setup := func(x *tree) { // the one that had it first lies on the last volume: without a pin the order of volumes would tell
		mine = x.m.mkAt(x.t, max(x.near, x.far), x.home, "x", vfs.Regular)
	}
	meet := func(x *tree) {
		if x.near != x.far {
			v := min(x.near, x.far)
			if x.near != v { // home has no copy there yet
				x.m.mkAt(x.t, v, x.home, "there too", vfs.Regular)
			}
			x.put(v, vfs.Regular, "home", "x")
			must(x.t, x.m.mems[v].SyncAll(x.t.Context()))
			x.forget(x.home)
		}
	}
	return []durable{
		{
			name: "lookup in a conflict", apart: true, many: true, setup: setup,
			call: func(x *tree) (func(), error) {
				x.unharmed(func() { meet(x) })
				a, _, err := x.m.u.Lookup(x.t.Context(), who, x.home, vfs.MustName("x"))
				if err == nil && a.Node.ID != mine.Node.ID {
					x.t.Errorf("home/x is %s, was %s", a.Node.ID, mine.Node.ID)
				}
				return func() { x.is(x.t, "home/x", mine.Node) }, err
			},
		},
		{
			name: "remove of a name that another object wants", apart: true,
			setup: func(x *tree) {
				setup(x)
				meet(x)
				x.is(x.t, "home/x", mine.Node)
				if x.near != x.far {
					other = x.m.path(x.t, alias(x))
				}
			},
			call: func(x *tree) (func(), error) {
				_, err := x.m.u.Remove(x.t.Context(), who, x.home, vfs.MustName("x"))
				return func() {
					x.m.look(x.t, x.home, "x", vfs.NoEnt)
					if x.near != x.far {
						x.is(x.t, alias(x), other.Node)
					}
				}, err
			},
		},
	}
}

// absences are calls about a directory of which a copy is, or was, away when it changed. On one volume nothing is.
func absences() []durable {
	set := vfs.SetAttr{Mask: vfs.SetMode | vfs.SetUID, Mode: 0o711, UID: 9}
	change := func(x *tree, away int) error {
		if x.near != x.far {
			x.unharmed(func() { x.leaves(away) })
		}
		_, err := x.m.u.SetAttr(x.t.Context(), who, x.wide, &set, nil)
		return err
	}
	is := func(x *tree, set *vfs.SetAttr) {
		if a := x.is(x.t, "wide", x.wide); a.Mode != set.Mode || a.UID != set.UID {
			x.t.Errorf("wide came back as %+v, want mode %o of %d", a, set.Mode, set.UID)
		}
	}
	changed := func(x *tree) { is(x, &set) }
	var root vfs.Node
	missed := func(away func(x *tree) int) func(x *tree) {
		return func(x *tree) {
			must(x.t, change(x, away(x)))
			x.m.kill()
			x.m.open(x.t)
			root = x.m.root(x.t)
		}
	}
	look := func(x *tree) error {
		_, _, err := x.m.u.Lookup(x.t.Context(), who, root, vfs.MustName("wide"))
		return err
	}
	return []durable{
		{
			name: "setattr of a directory whose home copy is away",
			call: func(x *tree) (func(), error) { return func() { changed(x) }, change(x, x.near) },
		},
		{
			name: "setattr of a directory of which a copy is away",
			call: func(x *tree) (func(), error) { return func() { changed(x) }, change(x, x.far) },
			// Answered or not, all copies say the same from then on.
			holds: func(x *tree) {
				a := x.m.path(x.t, "wide")
				for v := range x.m.mems {
					x.without(v, func() { is(x, &vfs.SetAttr{Mode: a.Mode, UID: a.UID}) })
				}
			},
		},
		{
			name: "lookup of a directory whose home copy missed a change", holds: changed, blind: true,
			setup: missed(func(x *tree) int { return x.near }),
			call:  func(x *tree) (func(), error) { err := look(x); return func() { changed(x) }, err },
		},
		{
			name: "lookup of a directory of which a copy missed a change", many: true, apart: true,
			setup: missed(func(x *tree) int { return x.far }),
			call: func(x *tree) (func(), error) {
				err := look(x)
				// It knows of the change now: what is changed while the home copy is away is newer than what that has.
				return func() {
					next := vfs.SetAttr{Mask: vfs.SetMode | vfs.SetUID, Mode: 0o700, UID: 10}
					x.without(x.near, func() {
						changed(x)
						_, err := x.m.u.SetAttr(x.t.Context(), who, x.wide, &next, nil)
						must(x.t, err)
					})
					is(x, &next)
				}, err
			},
		},
	}
}

// repairs are what a check makes good, and what is finished when the share is opened.
func repairs() []durable {
	aside := vfs.MustName("0123")
	var was vfs.Attr
	// setAside does what a rename over home/aside does before it decides.
	setAside := func(x *tree) {
		was = x.m.mkAt(x.t, x.near, x.home, "aside", vfs.Regular)
		b, err := json.Marshal(displacedFile{Dir: recordOf(x.home), Name: []byte("aside"), Phys: []byte("aside"), Successor: recordOf(x.deep)})
		must(x.t, err)
		must(x.t, x.m.u.vol(x.near).writePrivate(x.t.Context(), displacedName, jsonName(aside), b))
		x.besideHome(func(home, displaced volume.Dir) error {
			return home.Rename(x.t.Context(), vfs.MustName("aside"), displaced, aside, true)
		})
		x.forget(x.home)
	}
	repair := func(x *tree) (func(), error) {
		var errs []error
		_, err := x.m.u.Check(x.t.Context(), CheckOptions{Repair: true, Report: func(f Finding) { errs = append(errs, f.Err) }})
		return func() { x.m.wantNoFault(x.t, "after a repair") }, errors.Join(append(errs, err)...)
	}
	return []durable{
		{
			name: "repair of a copy that has another mode", many: true,
			setup: func(x *tree) {
				x.on(x.far, []string{"wide"}, func(d volume.Dir) {
					must(x.t, d.SetAttr(x.t.Context(), &vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o700}))
				})
				x.forget(x.wide)
			},
			call: repair,
		},
		{
			name: "repair of the record of what was put back", many: true,
			setup: setAside,
			call: func(x *tree) (func(), error) {
				x.unharmed(func() {
					x.besideHome(func(home, displaced volume.Dir) error {
						return displaced.Rename(x.t.Context(), aside, home, vfs.MustName("aside"), true)
					})
				})
				check, err := repair(x)
				return func() { check(); x.is(x.t, "home/aside", was.Node) }, err
			},
		},
		{
			// A server puts back where a rename that spares what is there is two steps, and is killed between them.
			name: "opening of a share where an object has a second name aside", many: true,
			setup: setAside,
			call: func(x *tree) (func(), error) {
				x.unharmed(func() {
					x.m.kill()
					x.besideHome(func(home, displaced volume.Dir) error {
						st, err := displaced.StatAt(x.t.Context(), aside)
						must(x.t, err)
						return home.Link(x.t.Context(), displaced, aside, st.Key, vfs.MustName("aside"))
					})
				})
				x.m.open(x.t)
				x.m.path(x.t, "home/aside") // as soon as it is answered all is as it was
				return func() {
					if a := x.is(x.t, "home/aside", was.Node); a.Nlink != 1 {
						x.t.Errorf("%d links, want 1", a.Nlink)
					}
					x.m.wantNoFault(x.t, "after a second name went")
				}, nil
			},
		},
	}
}

// besideHome calls f with the directories home and that of what is set aside on the near volume, as another process has them.
func (x *tree) besideHome(f func(home, displaced volume.Dir) error) {
	d, err := x.m.mems[x.near].Private().OpenDir(x.t.Context(), displacedName)
	must(x.t, err)
	defer d.Close()
	x.on(x.near, []string{"home"}, func(home volume.Dir) { must(x.t, f(home, d)) })
}

// without calls f with the share opened while a volume is away, and opens it with all of them.
func (x *tree) without(v int, f func()) {
	if len(x.m.mems) > 1 {
		x.m.kill()
		x.out = v + 1
		x.m.open(x.t)
	}
	f()
	x.m.kill()
	x.out = 0
	x.m.open(x.t)
}

// leaves lets a volume go away, and waits until the union knows.
func (x *tree) leaves(v int) {
	x.members[x.m.mems[v].Name()].become(volume.Away)
	eventually(x.t, "the volume is away", func() bool { return !x.m.u.online().has(v) && x.m.u.vol(v).opening.Load() == 0 })
}

// failingMake makes a file in dir on the far volume, where it fails.
func (x *tree) failingMake(dir vfs.Node, path string) (func(), error) {
	x.trap = &trap{}
	x.trap.fail("create", 1, 0, errDisk)
	_, err := x.make(x.t, x.far, dir, "new", vfs.How{Type: vfs.Regular})
	x.trap = nil
	if vfs.StatusOf(err) != vfs.IO {
		return nil, fmt.Errorf("the create that fails said %w", err)
	}
	return func() { x.is(x.t, path, dir); x.gone(x.t, path+"/new") }, nil
}

// put makes an object on a volume, as another process does.
func (x *tree) put(v int, typ vfs.Type, path ...string) {
	x.on(v, path[:len(path)-1], func(d volume.Dir) { plant(x.t, d, path[len(path)-1], typ) })
}

// on calls f with the open directory at path on a volume.
func (x *tree) on(v int, path []string, f func(d volume.Dir)) {
	d := x.m.mems[v].Root()
	for _, p := range path {
		sub, err := d.OpenDir(x.t.Context(), vfs.MustName(p))
		must(x.t, err)
		defer sub.Close()
		d = sub
	}
	f(d)
}

// unharmed does what is not the server's: it does not die of it.
func (x *tree) unharmed(f func()) {
	n := x.dies.Swap(0)
	f()
	x.dies.Store(n)
}

// plantAll makes a directory of one name on all volumes, as another process does, and one in it.
func (x *tree) plantAll(name string) {
	for v, m := range x.m.mems {
		x.put(v, vfs.Directory, name)
		x.put(v, vfs.Regular, name, "in "+m.Name())
	}
	x.forget(x.m.root(x.t))
}

// forget lets the union look at a directory again, as it does when what it knows is old.
func (x *tree) forget(dir vfs.Node) {
	n := x.m.u.table.get(dir.ID)
	n.mu.Lock()
	x.m.u.forgetNames(n)
	n.attrAt, n.copiesAt = 0, 0
	n.mu.Unlock()
	n.put()
}

// twin makes home/twin, whose mark gives it an id with the same fileid as home/file.
func (x *tree) twin() {
	x.put(x.near, vfs.Regular, "home", "twin")
	x.on(x.near, []string{"home"}, func(home volume.Dir) {
		name := vfs.MustName("twin")
		st, id, err := home.IdentifyAt(x.t.Context(), name)
		must(x.t, err)
		m := mark{home: true, node: x.file, epoch: 1, attrEpoch: 1}
		m.node.ID[15] ^= 1
		must(x.t, home.SetMarkAt(x.t.Context(), name, st.Key, m.encode(x.m.u.markKey, x.m.mems[x.near].ID(), &id)))
	})
	x.forget(x.home)
}
