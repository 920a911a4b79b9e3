package vfstest

import (
	"context"
	"testing"

	"sheaf/vfs"
)

// Options say what a file system under test cannot do; the zero value expects
// everything.
type Options struct {
	// As is the only caller it can act as, where the server is not privileged; nil: any.
	As *vfs.Who
	// NoACLs, NoSpecial and NoLinks: what it answers NotSupp or BadType to.
	NoACLs    bool // SetACL
	NoSpecial bool // Make of Block, Char, FIFO and Socket
	NoDevices bool // Make of Block and Char
	NoLinks   bool // Link
	// FoldedNames: names that differ in case or in Unicode normal form are one,
	// or must be UTF-8 (APFS).
	FoldedNames bool
	// CoarseTimes: times set by a client come back cut to the granule of Limits.
	CoarseTimes bool
}

// Suite holds a file system to the promises of vfs.FS, one subtest each. fresh
// gives a new, empty one for every subtest and cleans up by t.Cleanup.
func Suite(t *testing.T, o Options, fresh func(t *testing.T) vfs.FS) {
	t.Helper()
	for _, group := range []struct {
		name     string
		promises []promise
	}{
		{"Attr", attrPromises},
		{"Data", dataPromises},
		{"Make", makePromises},
		{"Name", namePromises},
		{"Rename", renamePromises},
		{"ReadDir", readDirPromises},
		{"Perm", permPromises},
		{"ACL", aclPromises},
		{"Together", togetherPromises},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, p := range group.promises {
				t.Run(p.name, func(t *testing.T) {
					if why := p.needs.lacking(o); why != "" {
						t.Skip("the file system under test has no ", why)
					}
					p.check(newBench(t, o, fresh(t)))
				})
			}
		})
	}
}

// promise is one thing that a file system keeps.
type promise struct {
	name  string
	needs needs
	check func(b *bench)
}

// needs are the abilities that a promise is about.
type needs uint8

const (
	callers needs = 1 << iota // several users
	acls
	special
	links
)

func (n needs) lacking(o Options) string {
	switch {
	case n&callers != 0 && o.As != nil:
		return "privilege to act as several users"
	case n&acls != 0 && o.NoACLs:
		return "ACLs"
	case n&special != 0 && o.NoSpecial:
		return "special files"
	case n&links != 0 && o.NoLinks:
		return "hard links"
	}
	return ""
}

// The people of the promises. Ann and Ben share a group.
var (
	ann = &vfs.Who{UID: 1001, GID: 2001}
	ben = &vfs.Who{UID: 1002, GID: 2002, Groups: []uint32{2001}}
	cid = &vfs.Who{UID: 1003, GID: 2003}
)

// bench is where a promise is checked: a file system, a caller and a directory
// of mode 0777 in it. Its methods fail the test unless the call has the outcome
// their name says.
type bench struct {
	*testing.T
	fs   vfs.FS
	ctx  context.Context
	w    *vfs.Who // who makes the calls of the methods: the superuser, or Options.As
	dir  vfs.Node // where the test plays
	opts Options
}

func newBench(t *testing.T, o Options, fs vfs.FS) *bench {
	t.Helper()
	b := &bench{T: t, fs: fs, ctx: t.Context(), w: vfs.Superuser, opts: o}
	if o.As != nil {
		b.w = o.As
	}
	root, err := fs.Root(b.ctx, b.w)
	b.ok(err, "Root")
	b.dir = b.mk(root.Node, "play", &vfs.How{Type: vfs.Directory, Set: vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o777}}).Node
	return b
}

// name is a valid name.
func name(s string) vfs.Name { return vfs.MustName(s) }

// ok wants no error of what.
func (b *bench) ok(err error, what string) {
	b.Helper()
	if err != nil {
		b.Fatalf("%s: %v", what, err)
	}
}

// want wants one of the statuses of what.
func (b *bench) want(err error, what string, statuses ...vfs.Status) {
	b.Helper()
	for _, s := range statuses {
		if vfs.StatusOf(err) == s {
			return
		}
	}
	b.Errorf("%s: %v (status %v), want %v", what, err, vfs.StatusOf(err), statuses)
}

// mk makes an object; its mode, if none is given, is 0644 or 0755.
func (b *bench) mk(dir vfs.Node, s string, how *vfs.How) vfs.Attr {
	b.Helper()
	return b.mkAs(b.w, dir, s, how)
}

func (b *bench) mkAs(w *vfs.Who, dir vfs.Node, s string, how *vfs.How) vfs.Attr {
	b.Helper()
	h := *how
	if !h.Set.Has(vfs.SetMode) {
		h.Set.Mask |= vfs.SetMode
		if h.Set.Mode = 0o644; h.Type == vfs.Directory {
			h.Set.Mode = 0o755
		}
	}
	if h.Type == vfs.Symlink && h.Target == "" {
		h.Target = "target"
	}
	a, _, err := b.fs.Make(b.ctx, w, dir, name(s), &h)
	b.ok(err, "Make "+s)
	if a.Node.IsZero() {
		b.Fatalf("Make %s: no node", s)
	}
	return a
}

// file and folder make what they are called in the directory of the bench.
func (b *bench) file(s string) vfs.Node {
	b.Helper()
	return b.mk(b.dir, s, &vfs.How{Type: vfs.Regular, Exists: vfs.Guarded}).Node
}

func (b *bench) folder(s string) vfs.Node {
	b.Helper()
	return b.mk(b.dir, s, &vfs.How{Type: vfs.Directory}).Node
}

// attr is n's attributes.
func (b *bench) attr(n vfs.Node) vfs.Attr {
	b.Helper()
	a, err := b.fs.GetAttr(b.ctx, b.w, n)
	b.ok(err, "GetAttr")
	if a.Node.ID != n.ID {
		b.Fatalf("GetAttr of %v gave %v", n.ID, a.Node.ID)
	}
	return a
}

// set changes attributes of n.
func (b *bench) set(n vfs.Node, s vfs.SetAttr) vfs.Change {
	b.Helper()
	c, err := b.fs.SetAttr(b.ctx, b.w, n, &s, nil)
	b.ok(err, "SetAttr")
	return c
}

// chmod sets n's mode.
func (b *bench) chmod(n vfs.Node, mode uint32) {
	b.Helper()
	b.set(n, vfs.SetAttr{Mask: vfs.SetMode, Mode: mode})
}

// lookup finds s in dir.
func (b *bench) lookup(dir vfs.Node, s string) vfs.Attr {
	b.Helper()
	a, _, err := b.fs.Lookup(b.ctx, b.w, dir, name(s))
	b.ok(err, "Lookup "+s)
	return a
}

// has wants s in dir to be n.
func (b *bench) has(dir vfs.Node, s string, n vfs.Node) {
	b.Helper()
	if a := b.lookup(dir, s); a.Node.ID != n.ID {
		b.Errorf("%s is %v, want %v", s, a.Node.ID, n.ID)
	}
}

// hasNot wants no s in dir.
func (b *bench) hasNot(dir vfs.Node, s string) {
	b.Helper()
	_, _, err := b.fs.Lookup(b.ctx, b.w, dir, name(s))
	b.want(err, "Lookup "+s, vfs.NoEnt)
}

// write puts data at off of n, stably.
func (b *bench) write(n vfs.Node, data string, off uint64) vfs.Change {
	b.Helper()
	w, c, err := b.fs.Write(b.ctx, b.w, n, []byte(data), off, vfs.FileSync)
	b.ok(err, "Write")
	if w.Count != len(data) || w.Stable != vfs.FileSync {
		b.Fatalf("Write of %d bytes: %+v", len(data), w)
	}
	return c
}

// read is what n holds in [off, off+count).
func (b *bench) read(n vfs.Node, off uint64, count int) string {
	b.Helper()
	buf := make([]byte, count)
	got, eof, a, err := b.fs.Read(b.ctx, b.w, n, buf, off)
	b.ok(err, "Read")
	if wantEOF := off+uint64(got) >= a.Size; eof != wantEOF || got < count && !eof {
		b.Errorf("Read of %d at %d of %d bytes: %d, eof %v", count, off, a.Size, got, eof)
	}
	return string(buf[:got])
}

// moved wants ctime to have increased from before to after, and mtime to
// have moved with it if data tells so.
func (b *bench) moved(what string, before, after vfs.Attr, data bool) {
	b.Helper()
	if after.Ctime.Compare(before.Ctime) <= 0 {
		b.Errorf("%s: ctime went from %v to %v, want an increase", what, before.Ctime, after.Ctime)
	}
	if data && after.Mtime == before.Mtime {
		b.Errorf("%s: mtime did not move", what)
	}
	if !data && after.Mtime != before.Mtime {
		b.Errorf("%s: mtime went from %v to %v", what, before.Mtime, after.Mtime)
	}
}

// still wants no attribute of n but atime to differ from before.
func (b *bench) still(what string, before vfs.Attr) {
	b.Helper()
	now := b.attr(before.Node)
	now.Atime, now.Node, now.Used = before.Atime, before.Node, before.Used
	if now != before {
		b.Errorf("%s changed %+v to %+v", what, before, now)
	}
}

// change wants c to be what happened between before and n's attributes now.
func (b *bench) change(what string, c vfs.Change, before vfs.Attr) {
	b.Helper()
	if c.HasBefore && c.Before != before.Pre() {
		b.Errorf("%s: before %+v, want %+v", what, c.Before, before.Pre())
	}
	if !c.HasAfter {
		b.Errorf("%s: no attributes after", what)
		return
	}
	now := b.attr(before.Node)
	if c.After.Ctime != now.Ctime || c.After.Mtime != now.Mtime || c.After.Size != now.Size || c.After.Node.ID != now.Node.ID {
		b.Errorf("%s: after %+v, want %+v", what, c.After, now)
	}
}

// names are the names in dir, by cookie order.
func (b *bench) names(dir vfs.Node) []string {
	b.Helper()
	var all []string
	_, eof, err := b.fs.ReadDir(b.ctx, b.w, dir, 0, false, func(e *vfs.DirEntry) bool {
		all = append(all, e.Name.String())
		return true
	})
	b.ok(err, "ReadDir")
	if !eof {
		b.Error("ReadDir: no eof though nothing stopped it")
	}
	return all
}
