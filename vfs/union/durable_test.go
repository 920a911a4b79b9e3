package union

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"sheaf/vfs"
	"sheaf/vfs/volume"
	"sheaf/vfs/volume/volumetest"
)

// cutSeeds is how many power cuts each call is tried with: what was not flushed is kept or lost by
// the seed, fact by fact.
const cutSeeds = 12

// cut turns the power of all volumes off and on, and opens the share anew without an index.
func (m *mortal) cut(t testing.TB, seed uint64) {
	t.Helper()
	m.turnOff(seed)
	m.open(t)
}

// abandon ends what a union does by itself. Nothing is made good: its server is dead.
func (u *Union) abandon() {
	u.scans.wait()
	u.stop()
	u.tasks.Wait()
}

// kill ends the server, and not its host.
func (m *mortal) kill() {
	m.u.abandon()
	m.u = nil
	for i := range m.mems {
		m.mems[i] = m.mems[i].Reopen()
		m.vols[i] = m.mems[i]
	}
}

// turnOff turns the power of all volumes off and on.
func (m *mortal) turnOff(seed uint64) {
	if m.u != nil {
		m.u.abandon()
		m.u = nil
	}
	for i := range m.mems {
		m.mems[i] = m.mems[i].PowerCut(seed*31 + uint64(i))
		m.vols[i] = m.mems[i]
	}
}

// settled makes all that setup did durable.
func (m *mortal) settled(t testing.TB) {
	t.Helper()
	for _, v := range m.mems {
		must(t, v.SyncAll(t.Context()))
	}
}

// tree is what the calls of TestAcknowledgedIsDurable find: directories home and away that lie on
// the near and the far volume, both with a directory in them, a shared directory with a copy
// on each volume, and one object of each kind.
type tree struct {
	t          testing.TB
	m          *mortal
	failing    atomic.Int64 // the operation that fails, counted down to 0; below that none does
	dies       atomic.Int64 // the operation at which the power goes, counted down to 1; 0: it stays
	broken     atomic.Bool  // trouble lasts
	trouble    trouble
	trap       *trap                   // or nil
	members    map[string]*sieveVolume // by name, where they are decorated so
	out        int                     // the volume that is away when the share is opened, and 1; 0: none
	near, far  int                     // volumes: the first and the last, or the other way round
	home, away vfs.Node
	deep       vfs.Node // home/deep, on the near volume alone
	wide       vfs.Node // wide, on all volumes, at home on the near one
	file       vfs.Node // home/file
	other      vfs.Node // away/other, on the far volume
}

func newTree(t testing.TB, volumes int) *tree {
	t.Helper()
	return newTreeOn(t, volumes, false, nil)
}

// newTreeOn is newTree over decorated volumes; turned: the near volume is the last.
func newTreeOn(t testing.TB, volumes int, turned bool, wrapped func(volume.Volume) volume.Volume) *tree {
	t.Helper()
	x := &tree{t: t, m: &mortal{place: &onto{}}, far: volumes - 1, members: make(map[string]*sieveVolume)}
	if turned {
		x.near, x.far = x.far, x.near
	}
	m := x.m
	m.left.Store(-1)
	m.shareT = memShare(t, volumes, func(v int, o *volumetest.Options) {
		o.Fault = func(op string, k int) error { return x.fault(v, op, k) }
	})
	m.opt.Policy = m.place
	if wrapped != nil {
		m.wrapped = func(v volume.Volume) volume.Volume {
			w := wrapped(v)
			if sv, ok := w.(*sieveVolume); ok {
				x.members[v.Name()] = sv
				if x.out > 0 && v.Name() == m.mems[x.out-1].Name() {
					sv.state.Health, sv.state.Reason = volume.Away, "the test says so"
				}
			}
			return w
		}
	}
	m.open(t)
	root := m.root(t)
	x.home = m.mkAt(t, x.near, root, "home", vfs.Directory).Node
	x.deep = m.mkAt(t, x.near, x.home, "deep", vfs.Directory).Node
	x.away = m.mkAt(t, x.far, root, "away", vfs.Directory).Node
	x.wide = m.mkAt(t, x.near, root, "wide", vfs.Directory).Node
	for v := range volumes {
		m.mkAt(t, v, x.wide, fmt.Sprintf("w%d", v), vfs.Regular)
	}
	x.file = m.mkAt(t, x.near, x.home, "file", vfs.Regular).Node
	x.other = m.mkAt(t, x.far, x.away, "other", vfs.Regular).Node
	m.mkAt(t, x.near, x.home, "link", vfs.Symlink)
	m.mkAt(t, x.near, x.home, "fifo", vfs.FIFO)
	_, _, err := m.u.Write(t.Context(), who, x.file, []byte("before"), 0, vfs.FileSync)
	must(t, err)
	m.settled(t)
	return x
}

// fault fails one operation.
func (x *tree) fault(v int, op string, k int) error {
	for n := x.dies.Load(); n > 0; n = x.dies.Load() {
		if n == 1 {
			return died
		}
		if x.dies.CompareAndSwap(n, n-1) {
			break
		}
	}
	if x.trap != nil {
		if err := x.trap.fault(op, k); err != nil {
			return err
		}
	}
	if x.failing.Load() > 0 && x.failing.Add(-1) == 0 {
		x.broken.Store(x.trouble.lasts)
		if !x.trouble.lasts {
			return x.trouble.err()
		}
	}
	if x.broken.Load() && (x.trouble.volume < 0 || x.trouble.volume == v) {
		return x.trouble.err()
	}
	return nil
}

// trouble is how an operation on the volumes fails. The zero trouble is one error of one operation.
type trouble struct {
	name   string
	status vfs.Status // IO if zero
	lasts  bool       // all that follow on the volume fail, too, until the call has its answer
	volume int        // below 0: all
}

func (r *trouble) err() error {
	if r.status == 0 {
		return errDisk
	}
	return &vfs.Error{Status: r.status, Op: "anything", Err: errors.New("the disk is in trouble")}
}

// emptyWide makes an empty directory with a copy on every volume.
func (x *tree) emptyWide(t testing.TB, dir vfs.Node, name string) vfs.Node {
	t.Helper()
	d := x.m.mkAt(t, x.near, dir, name, vfs.Directory).Node
	for v := range x.m.mems {
		x.m.mkAt(t, v, d, "x", vfs.Regular)
		_, err := x.m.u.Remove(t.Context(), who, d, vfs.MustName("x"))
		must(t, err)
	}
	x.m.settled(t)
	return d
}

// is wants path to be the node.
func (x *tree) is(t testing.TB, path string, want vfs.Node) vfs.Attr {
	t.Helper()
	a := x.m.path(t, path)
	if a.Node.ID != want.ID {
		t.Errorf("%s is node %s, was %s", path, a.Node.ID, want.ID)
	}
	return a
}

// gone wants path to be absent, and not to be listed either.
func (x *tree) gone(t testing.TB, path string) {
	t.Helper()
	dir, name := x.m.root(t), path
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		dir, name = x.m.path(t, path[:i]).Node, path[i+1:]
	}
	x.m.look(t, dir, name, vfs.NoEnt)
	for _, n := range x.m.list(t, dir) {
		if strings.HasPrefix(n, name) {
			t.Errorf("%s is absent, and listed as %s", path, n)
		}
	}
}

// holds wants the bytes in the file.
func (x *tree) holds(t testing.TB, n vfs.Node, want string) {
	t.Helper()
	buf := make([]byte, 1<<16)
	k, _, _, err := x.m.u.Read(t.Context(), who, n, buf, 0)
	must(t, err)
	if string(buf[:k]) != want {
		t.Errorf("the file holds %.40q, want %.40q", buf[:k], want)
	}
}

func (x *tree) make(t testing.TB, v int, dir vfs.Node, name string, how vfs.How) (vfs.Attr, error) {
	t.Helper()
	x.m.place.to(v)
	a, _, err := x.m.u.Make(t.Context(), who, dir, vfs.MustName(name), &how)
	return a, err
}

// durable is one kind of call: setup is made durable, then call is made, and check is what must be
// so after a power cut right behind its reply.
type durable struct {
	name  string
	setup func(x *tree)
	call  func(x *tree) (check func(), err error)
	holds func(x *tree) // what must be so whether the call was answered or not; nil: nothing but the names
	many  bool          // it is several calls: a server that dies amid them leaves one of many states
	apart bool          // a volume alone shows other names than all together
	blind bool          // nobody may look around before the call, which would find nothing to do: its names are not compared
}

// made is the check of a new object.
func made(x *tree, path string, a vfs.Attr) func() {
	return func() {
		now := x.is(x.t, path, a.Node)
		if now.Mode != a.Mode || now.Type != a.Type || now.UID != a.UID || now.GID != a.GID || now.Size != a.Size {
			x.t.Errorf("%s came back as %+v, was %+v", path, now, a)
		}
	}
}

var mode640 = vfs.SetAttr{Mask: vfs.SetMode | vfs.SetUID | vfs.SetGID, Mode: 0o640, UID: 7, GID: 8}

// births are the calls that make a name, in a directory that must get a copy first where
// there is more than one volume.
func births() []durable {
	var all []durable
	add := func(name string, how vfs.How, more ...func(x *tree, a vfs.Attr)) {
		all = append(all, durable{name: name, call: func(x *tree) (func(), error) {
			a, err := x.make(x.t, x.far, x.deep, "new", how)
			return func() {
				x.is(x.t, "home/deep", x.deep)
				made(x, "home/deep/new", a)()
				for _, f := range more {
					f(x, a)
				}
			}, err
		}})
	}
	big := mode640
	big.Mask, big.Size = big.Mask|vfs.SetSize, 10000
	mine := vfs.How{Type: vfs.Regular, Exists: vfs.Exclusive, Verifier: [8]byte{1, 2, 3, 4, 5, 6, 7, 8}}
	add("create", vfs.How{Type: vfs.Regular, Set: mode640})
	add("create with a size", vfs.How{Type: vfs.Regular, Set: big})
	add("create exclusively", mine, func(x *tree, a vfs.Attr) {
		again, err := x.make(x.t, x.far, x.deep, "new", mine)
		if err != nil || again.Node.ID != a.Node.ID {
			x.t.Errorf("the same exclusive create gives another file, or %v", err)
		}
	})
	add("mkdir", vfs.How{Type: vfs.Directory, Set: mode640}, func(x *tree, a vfs.Attr) {
		_, err := x.make(x.t, x.near, a.Node, "usable", vfs.How{Type: vfs.Regular})
		must(x.t, err)
	})
	add("mknod", vfs.How{Type: vfs.Char, Major: 3, Minor: 4, Set: mode640})
	add("symlink", vfs.How{Type: vfs.Symlink, Target: "some/where"}, func(x *tree, a vfs.Attr) {
		if to, _, err := x.m.u.ReadLink(x.t.Context(), who, a.Node); err != nil || to != "some/where" {
			x.t.Errorf("the link leads to %q, %v", to, err)
		}
	})
	return append(all, durable{name: "link", call: func(x *tree) (func(), error) {
		_, _, err := x.m.u.Link(x.t.Context(), who, x.other, x.deep, vfs.MustName("new"))
		return func() {
			x.is(x.t, "away/other", x.other)
			if a := x.is(x.t, "home/deep/new", x.other); a.Nlink != 2 {
				x.t.Errorf("nlink %d, want 2", a.Nlink)
			}
		}, err
	}})
}

// deaths are the calls that take a name away.
func deaths() []durable {
	return []durable{
		{name: "remove", call: func(x *tree) (func(), error) {
			_, err := x.m.u.Remove(x.t.Context(), who, x.away, vfs.MustName("other"))
			return func() { x.gone(x.t, "away/other") }, err
		}},
		{
			name:  "rmdir of a directory with copies",
			setup: func(x *tree) { x.emptyWide(x.t, x.home, "empty") },
			call: func(x *tree) (func(), error) {
				_, err := x.m.u.RemoveDir(x.t.Context(), who, x.home, vfs.MustName("empty"))
				return func() { x.gone(x.t, "home/empty") }, err
			},
		},
	}
}

// moves are the kinds of RENAME.
func moves() []durable {
	move := func(name string, f func(x *tree) error, check func(x *tree)) durable {
		return durable{name: name, call: func(x *tree) (func(), error) {
			return func() { check(x) }, f(x)
		}}
	}
	over := move("rename of a directory with copies over another",
		func(x *tree) error { return x.m.rename(x.t, x.home, "deep", x.away, "empty") },
		func(x *tree) { x.is(x.t, "away/empty", x.deep); x.gone(x.t, "home/deep") })
	over.setup = func(x *tree) { x.emptyWide(x.t, x.away, "empty") }
	return []durable{
		over,
		move("rename in a directory",
			func(x *tree) error { return x.m.rename(x.t, x.home, "file", x.home, "new") },
			func(x *tree) { x.is(x.t, "home/new", x.file); x.gone(x.t, "home/file") }),
		move("rename into a directory that needs a copy",
			func(x *tree) error { return x.m.rename(x.t, x.away, "other", x.deep, "new") },
			func(x *tree) {
				x.is(x.t, "home/deep/new", x.other)
				x.is(x.t, "home/deep", x.deep)
				x.gone(x.t, "away/other")
			}),
		move("rename over what lies elsewhere",
			func(x *tree) error { return x.m.rename(x.t, x.home, "file", x.away, "other") },
			func(x *tree) {
				x.is(x.t, "away/other", x.file)
				x.holds(x.t, x.file, "before")
				x.gone(x.t, "home/file")
			}),
		move("rename over what lies beside",
			func(x *tree) error { return x.m.rename(x.t, x.home, "link", x.home, "file") },
			func(x *tree) {
				if a := x.m.path(x.t, "home/file"); a.Type != vfs.Symlink {
					x.t.Errorf("home/file is of type %d", a.Type)
				}
				x.gone(x.t, "home/link")
			}),
		move("rename of a directory with copies",
			func(x *tree) error { return x.m.rename(x.t, x.m.root(x.t), "wide", x.deep, "new") },
			func(x *tree) {
				x.is(x.t, "home/deep/new", x.wide)
				if got := len(x.m.list(x.t, x.wide)); got != len(x.m.mems) {
					x.t.Errorf("%d names in it, want %d", got, len(x.m.mems))
				}
				x.gone(x.t, "wide")
			}),
	}
}

// settings are the kinds of SETATTR and SETACL.
func settings() []durable {
	was := vfs.Time{Sec: 1234, Nsec: 5}
	set := func(name, path string, s vfs.SetAttr, same func(a *vfs.Attr) bool) durable {
		var n vfs.Node
		return durable{
			name:  name,
			setup: func(x *tree) { n = x.m.path(x.t, path).Node },
			call: func(x *tree) (func(), error) {
				_, err := x.m.u.SetAttr(x.t.Context(), who, n, &s, nil)
				return func() {
					if a := x.is(x.t, path, n); !same(&a) {
						x.t.Errorf("%s came back as %+v", path, a)
					}
				}, err
			},
		}
	}
	owner := vfs.SetAttr{Mask: vfs.SetUID, UID: 9}
	owned := func(a *vfs.Attr) bool { return a.UID == 9 }
	all := vfs.SetAttr{Mask: vfs.SetMode | vfs.SetMtime | vfs.SetUID, Mode: 0o711, Mtime: was, UID: 9}
	has := func(a *vfs.Attr) bool { return a.UID == 9 && a.Mode == 0o711 && a.Mtime == was }
	acl := vfs.ACL{{Tag: vfs.ACLUserObj, Perm: 7}, {Tag: vfs.ACLUser, ID: 5, Perm: 7}, {Tag: vfs.ACLGroupObj, Perm: 5}, {Tag: vfs.ACLMask, Perm: 7}, {Tag: vfs.ACLOther}}
	return []durable{
		set("setattr of a file", "home/file", all, has),
		set("setattr of a size", "home/file", vfs.SetAttr{Mask: vfs.SetSize, Size: 3}, func(a *vfs.Attr) bool { return a.Size == 3 }),
		set("setattr of a link", "home/link", owner, owned),
		set("setattr of a fifo", "home/fifo", all, has),
		set("setattr of a directory", "home/deep", all, has),
		set("setattr of a directory with copies", "wide", all, has),
		{name: "setacl of a directory with copies", call: func(x *tree) (func(), error) {
			_, err := x.m.u.SetACL(x.t.Context(), who, x.wide, vfs.ACLs{Access: acl, Default: acl})
			return func() {
				got, _, err := x.m.u.GetACL(x.t.Context(), who, x.wide)
				must(x.t, err)
				if len(got.Access) != len(acl) || len(got.Default) != len(acl) {
					x.t.Errorf("the lists came back as %+v", got)
				}
			}, err
		}},
	}
}

// long is what writings write: a few pages.
var long = strings.Repeat("0123456789abcdef", 1000)

func (x *tree) write(t testing.TB, s vfs.Stable) (vfs.Verifier, error) {
	t.Helper()
	w, _, err := x.m.u.Write(t.Context(), who, x.file, []byte(long), 0, s)
	if err == nil && (w.Count != len(long) || w.Stable < s) {
		t.Errorf("wrote %d bytes, stable %d", w.Count, w.Stable)
	}
	return w.Verifier, err
}

// errResend is what a client makes of a COMMIT with another verifier than its WRITE had.
var errResend = errors.New("the verifier has changed: all must be sent again")

// committed is a client's way with unstable data: WRITE, then between, then COMMIT.
func committed(name string, between func(x *tree) error, check func(x *tree)) durable {
	return durable{name: name, many: true, call: func(x *tree) (func(), error) {
		all := func() { check(x) }
		want, err := x.write(x.t, vfs.Unstable)
		if err == nil {
			err = between(x)
		}
		if err != nil {
			return all, err
		}
		v, _, err := x.m.u.Commit(x.t.Context(), who, x.file, 0, 0)
		if err == nil && v != want {
			err = errResend
		}
		return all, err
	}}
}

// writings are the kinds of WRITE and COMMIT.
func writings() []durable {
	held := func(x *tree) { x.holds(x.t, x.is(x.t, "home/file", x.file).Node, long) }
	stable := func(name string, s vfs.Stable) durable {
		return durable{name: name, call: func(x *tree) (func(), error) {
			_, err := x.write(x.t, s)
			now, aerr := x.m.u.GetAttr(x.t.Context(), who, x.file)
			return func() {
				held(x)
				a, err := x.m.u.GetAttr(x.t.Context(), who, x.file)
				must(x.t, err)
				if s == vfs.FileSync && aerr == nil && a.Mtime != now.Mtime {
					x.t.Errorf("mtime %v, was %v", a.Mtime, now.Mtime)
				}
			}, err
		}}
	}
	return []durable{
		stable("write file_sync", vfs.FileSync),
		stable("write data_sync", vfs.DataSync),
		committed("commit", func(*tree) error { return nil }, held),
		committed("commit after the descriptor was needed", func(x *tree) error {
			x.m.u.files.limit = 2
			for i := range 6 { // more than the table keeps
				if _, err := x.make(x.t, x.near, x.home, fmt.Sprintf("f%d", i), vfs.How{Type: vfs.Regular}); err != nil {
					return err
				}
			}
			return nil
		}, held),
		committed("commit after the descriptor was needed on another volume", func(x *tree) error {
			x.m.u.files.limit = 2
			for i := 0; x.open(x.file) && i < 100; i++ {
				if _, err := x.make(x.t, x.far, x.away, fmt.Sprintf("f%d", i), vfs.How{Type: vfs.Regular}); err != nil {
					return err
				}
				eventually(x.t, "what is flushed in the background is", func() bool { return x.m.u.files.flushing.Load() == 0 })
			}
			return nil
		}, held),
	}
}

// open reports whether a descriptor of a file is kept; asking for it would keep it.
func (x *tree) open(file vfs.Node) bool {
	n := x.m.u.table.get(file.ID)
	if n == nil {
		return false
	}
	defer n.put()
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.file != nil
}

// writingsOnce are those that change more than the file, and so cannot be made twice.
func writingsOnce() []durable {
	return []durable{
		committed("commit after renames", func(x *tree) error {
			must(x.t, x.m.rename(x.t, x.home, "file", x.wide, "new"))
			return x.m.rename(x.t, x.m.root(x.t), "wide", x.deep, "new")
		}, func(x *tree) { x.holds(x.t, x.is(x.t, "home/deep/new/new", x.file).Node, long) }),
		committed("commit after one of two names went", func(x *tree) error {
			_, _, err := x.m.u.Link(x.t.Context(), who, x.file, x.home, vfs.MustName("second"))
			must(x.t, err)
			_, err = x.m.u.Remove(x.t.Context(), who, x.home, vfs.MustName("file"))
			return err
		}, func(x *tree) { x.holds(x.t, x.is(x.t, "home/second", x.file).Node, long) }),
	}
}

// TestAcknowledgedIsDurable cuts the power of all volumes right after each kind of call was
// answered: all that the answer promised is there afterwards, under its node (P5).
func TestAcknowledgedIsDurable(t *testing.T) {
	for _, volumes := range []int{1, 2, 3} {
		for _, kinds := range [][]durable{births(), deaths(), moves(), settings(), writings(), writingsOnce()} {
			for _, d := range kinds {
				t.Run(fmt.Sprintf("%s/%d", d.name, volumes), func(t *testing.T) {
					for seed := range uint64(cutSeeds) {
						x := newTree(t, volumes)
						d.prepare(t, x)
						check, err := d.call(x)
						must(t, err)
						x.m.cut(t, seed)
						check()
						x.m.close(t)
						if t.Failed() {
							t.Fatalf("with seed %d", seed)
						}
					}
				})
			}
		}
	}
}

func (d *durable) prepare(t testing.TB, x *tree) {
	t.Helper()
	if d.setup != nil {
		d.setup(x)
		x.m.settled(t)
	}
}

// troubles are those that TestRetriedIsDurable makes.
var troubles = []trouble{
	{name: "one EIO"},
	{name: "one ENOSPC", status: vfs.NoSpc},
	{name: "EIO on a volume", lasts: true, volume: 0},
	{name: "EIO on another volume", lasts: true, volume: 1},
	{name: "ENOSPC on a volume", lasts: true, status: vfs.NoSpc, volume: 0},
	{name: "EIO on all volumes", lasts: true, volume: -1},
}

// TestRetriedIsDurable lets the i-th operation on the volumes fail, or all from that on, of one volume or all, for every i,
// and makes the call again as a client does when the trouble is over: a call that did not fail, or is made again, is durable,
// no check finds a fault, and nothing leaks.
func TestRetriedIsDurable(t *testing.T) {
	for _, kinds := range [][]durable{births(), deaths(), moves(), settings(), writings()} {
		for _, d := range kinds {
			for k, r := range troubles {
				first, step := int64(1), int64(1)
				if k > 0 && (raced || testing.Short()) { // make proofs takes all
					first, step = int64(k), int64(len(troubles))
				}
				t.Run(d.name+"/"+r.name, func(t *testing.T) { retried(t, &d, &r, first, step) })
			}
		}
	}
}

// retried lets every step-th operation of a call fail, one after the other.
func retried(t *testing.T, d *durable, r *trouble, first, step int64) {
	t.Helper()
	const most = 500 // operations of one call
	for i := first; i <= most; i += step {
		x := newTree(t, 2)
		d.prepare(t, x)
		x.trouble = *r
		x.failing.Store(i)
		check, err := d.call(x)
		x.broken.Store(false)
		if x.failing.Swap(-1) > 0 { // it takes less than i
			return
		}
		eventually(t, "what was left half done is finished", func() bool { return x.m.u.pending.n.Load() == 0 })
		if err != nil {
			check, err = d.call(x)
		}
		// A call that was done but for its flush finds itself done; EXCLUSIVE is there to be asked again.
		done := (vfs.StatusOf(err) == vfs.Exist || vfs.StatusOf(err) == vfs.NoEnt) && d.name != "create exclusively"
		switch {
		case err == nil:
			x.m.cut(t, uint64(i))
			check()
		case !done:
			t.Errorf("made again: %v", err)
		}
		x.m.wantNoFault(t, "afterwards")
		x.m.close(t)
		if t.Failed() {
			t.Fatalf("with operation %d failing", i)
		}
	}
	t.Fatalf("it takes more than %d operations", most)
}
