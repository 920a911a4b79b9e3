package union

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// awayTree is a share of two volumes, the second of which can be pulled out.
//
//	/known           on both, and all its names are known
//	/known/here      a file on the volume that stays, link a symbolic link
//	/known/there     a file on the other, linkThere a symbolic link
//	/known/both      a directory on both, known
//	/known/lone0     a directory on the one that stays, known
//	/known/lone1     a directory on the other
//	/unknown         on both, its names not known; there is a file "f" on the other
type awayTree struct {
	*awayShare
	root, known, here, link, there, linkThere, both, lone0, lone1, unknown vfs.Node
}

func newAwayTree(t *testing.T) *awayTree {
	t.Helper()
	return newHangTree(t, -1)
}

// newHangTree is newAwayTree for who makes a volume hang.
func newHangTree(t *testing.T, hang int) *awayTree {
	t.Helper()
	return growTree(t, newAwayShare(t, 2), hang)
}

// growTree is newHangTree on a share that is not open yet.
func growTree(t *testing.T, s *awayShare, hang int) *awayTree {
	t.Helper()
	x := &awayTree{awayShare: s}
	x.hang = hang
	x.opt.Trust = 1 // all is asked for
	x.open(t)
	x.root = x.shareT.root(t)
	mk := func(v int, dir vfs.Node, name string, typ vfs.Type) vfs.Node {
		x.onVolume(t, v)
		return x.mk(t, dir, name, typ).Node
	}
	x.known = mk(0, x.root, "known", vfs.Directory)
	x.here = mk(0, x.known, "here", vfs.Regular)
	x.link = mk(0, x.known, "link", vfs.Symlink)
	x.both = mk(0, x.known, "both", vfs.Directory)
	x.lone0 = mk(0, x.known, "lone0", vfs.Directory)
	x.unknown = mk(0, x.root, "unknown", vfs.Directory)
	x.there = mk(1, x.known, "there", vfs.Regular)
	x.linkThere = mk(1, x.known, "linkThere", vfs.Symlink)
	x.lone1 = mk(1, x.known, "lone1", vfs.Directory)
	mk(1, x.both, "f", vfs.Regular)
	mk(1, x.unknown, "f", vfs.Regular)
	x.anywhere(t)
	for _, d := range []vfs.Node{x.root, x.known, x.both, x.lone0} {
		x.list(t, d)
	}
	x.unlearn()
	return x
}

// unlearn makes the names in unknown unknown.
func (x *awayTree) unlearn() {
	n := x.u.table.get(x.unknown.ID)
	n.mu.Lock()
	x.u.memory.Add(-n.names.charged)
	n.names = nil
	n.mu.Unlock()
	n.put()
}

// awayCall is a call that may need the volume.
type awayCall struct {
	name string
	call func(ctx context.Context, x *awayTree) error
}

// all is what the tree holds, with ids, types and modes.
func (x *awayTree) all(t *testing.T, dir vfs.Node, path string) (lines []string) {
	t.Helper()
	for _, name := range x.list(t, dir) {
		a := x.look(t, dir, name, vfs.OK)
		lines = append(lines, fmt.Sprintf("%s/%s %v %v %o %d %d", path, name, a.Node.ID, a.Type, a.Mode, a.Nlink, a.Size))
		if a.Type == vfs.Directory {
			lines = append(lines, x.all(t, a.Node, path+"/"+name)...)
		}
	}
	slices.Sort(lines)
	return lines
}

// n is a name.
func n(s string) vfs.Name { return vfs.MustName(s) }

// onNode are the calls on one object.
func onNode(what string, of func(x *awayTree) vfs.Node) []awayCall {
	c := func(name string, f func(ctx context.Context, u *Union, vn vfs.Node) error) awayCall {
		return awayCall{name + " " + what, func(ctx context.Context, x *awayTree) error { return f(ctx, x.u, of(x)) }}
	}
	return []awayCall{
		c("getattr", func(ctx context.Context, u *Union, vn vfs.Node) error { _, err := u.GetAttr(ctx, who, vn); return err }),
		c("setattr", func(ctx context.Context, u *Union, vn vfs.Node) error {
			_, err := u.SetAttr(ctx, who, vn, &vfs.SetAttr{Mask: vfs.SetMtimeNow}, nil)
			return err
		}),
		c("access", func(ctx context.Context, u *Union, vn vfs.Node) error {
			_, _, err := u.Access(ctx, who, vn, 1)
			return err
		}),
		c("statfs", func(ctx context.Context, u *Union, vn vfs.Node) error {
			_, _, err := u.Statfs(ctx, who, vn)
			return err
		}),
		c("limits", func(ctx context.Context, u *Union, vn vfs.Node) error {
			_, _, err := u.Limits(ctx, who, vn)
			return err
		}),
		c("getacl", func(ctx context.Context, u *Union, vn vfs.Node) error {
			_, _, err := u.GetACL(ctx, who, vn)
			return err
		}),
	}
}

// onFile are those on a regular file.
func onFile(what string, of func(x *awayTree) vfs.Node) []awayCall {
	c := func(name string, f func(ctx context.Context, x *awayTree, vn vfs.Node) error) awayCall {
		return awayCall{name + " " + what, func(ctx context.Context, x *awayTree) error { return f(ctx, x, of(x)) }}
	}
	return append(onNode(what, of),
		c("setacl", func(ctx context.Context, x *awayTree, vn vfs.Node) error {
			_, err := x.u.SetACL(ctx, who, vn, vfs.ACLs{})
			return err
		}),
		c("read", func(ctx context.Context, x *awayTree, vn vfs.Node) error {
			_, _, _, err := x.u.Read(ctx, who, vn, make([]byte, 10), 0)
			return err
		}),
		c("write", func(ctx context.Context, x *awayTree, vn vfs.Node) error {
			_, _, err := x.u.Write(ctx, who, vn, []byte("0123"), 0, vfs.Unstable)
			return err
		}),
		c("truncate", func(ctx context.Context, x *awayTree, vn vfs.Node) error {
			_, err := x.u.SetAttr(ctx, who, vn, &vfs.SetAttr{Mask: vfs.SetSize, Size: 2}, nil)
			return err
		}),
		c("commit", func(ctx context.Context, x *awayTree, vn vfs.Node) error {
			_, _, err := x.u.Commit(ctx, who, vn, 0, 0)
			return err
		}),
		c("link", func(ctx context.Context, x *awayTree, vn vfs.Node) error {
			_, _, err := x.u.Link(ctx, who, vn, x.known, n("hard"))
			return err
		}),
	)
}

// naming are the calls that make something of a name which is not to be made, or is there.
func naming(what string, of func(x *awayTree) (vfs.Node, string)) []awayCall {
	c := func(name string, f func(ctx context.Context, x *awayTree, d vfs.Node, name vfs.Name) error) awayCall {
		return awayCall{name + " " + what, func(ctx context.Context, x *awayTree) error {
			d, s := of(x)
			return f(ctx, x, d, n(s))
		}}
	}
	calls := []awayCall{
		c("lookup", func(ctx context.Context, x *awayTree, d vfs.Node, name vfs.Name) error {
			_, _, err := x.u.Lookup(ctx, who, d, name)
			return err
		}),
		c("remove", func(ctx context.Context, x *awayTree, d vfs.Node, name vfs.Name) error {
			_, err := x.u.Remove(ctx, who, d, name)
			return err
		}),
		c("rmdir", func(ctx context.Context, x *awayTree, d vfs.Node, name vfs.Name) error {
			_, err := x.u.RemoveDir(ctx, who, d, name)
			return err
		}),
		c("rename from", func(ctx context.Context, x *awayTree, d vfs.Node, name vfs.Name) error {
			_, _, err := x.u.Rename(ctx, who, d, name, x.known, n("moved"))
			return err
		}),
		c("rename a file to", func(ctx context.Context, x *awayTree, d vfs.Node, name vfs.Name) error {
			_, _, err := x.u.Rename(ctx, who, x.known, n("here"), d, name)
			return err
		}),
		c("rename a directory to", func(ctx context.Context, x *awayTree, d vfs.Node, name vfs.Name) error {
			_, _, err := x.u.Rename(ctx, who, x.known, n("lone0"), d, name)
			return err
		}),
		c("link to", func(ctx context.Context, x *awayTree, d vfs.Node, name vfs.Name) error {
			_, _, err := x.u.Link(ctx, who, x.here, d, name)
			return err
		}),
	}
	hows := map[string]vfs.How{
		"mkdir": {Type: vfs.Directory}, "symlink": {Type: vfs.Symlink, Target: "t"}, "mkfifo": {Type: vfs.FIFO},
		"create": {Type: vfs.Regular}, "create guarded": {Type: vfs.Regular, Exists: vfs.Guarded},
		"create exclusive": {Type: vfs.Regular, Exists: vfs.Exclusive, Verifier: [8]byte{1}},
		"create truncated": {Type: vfs.Regular, Set: vfs.SetAttr{Mask: vfs.SetSize}},
	}
	for _, kind := range []string{"mkdir", "symlink", "mkfifo", "create", "create guarded", "create exclusive", "create truncated"} {
		how := hows[kind]
		calls = append(calls, c(kind, func(ctx context.Context, x *awayTree, d vfs.Node, name vfs.Name) error {
			_, _, err := x.u.Make(ctx, who, d, name, &how)
			return err
		}))
	}
	return calls
}

func readDir(what string, of func(x *awayTree) vfs.Node) awayCall {
	return awayCall{"readdir " + what, func(ctx context.Context, x *awayTree) error {
		_, _, err := x.u.ReadDir(ctx, who, of(x), 0, true, func(*vfs.DirEntry) bool { return true })
		return err
	}}
}

// refusedCalls are all that need the volume, or may.
func refusedCalls() []awayCall {
	calls := slices.Concat(
		onFile("there", func(x *awayTree) vfs.Node { return x.there }),
		onNode("lone1", func(x *awayTree) vfs.Node { return x.lone1 }),
		naming("a name that stands", func(x *awayTree) (vfs.Node, string) { return x.known, "there" }),
		naming("a directory's name that stands", func(x *awayTree) (vfs.Node, string) { return x.known, "lone1" }),
		naming("a name in a directory that is away", func(x *awayTree) (vfs.Node, string) { return x.lone1, "x" }),
		naming("a name in a directory that is not known", func(x *awayTree) (vfs.Node, string) { return x.unknown, "x" }),
		naming("the name of what is away in a directory that is not known", func(x *awayTree) (vfs.Node, string) { return x.unknown, "f" }),
	)
	rename := func(what, from, to string) awayCall {
		return awayCall{what, func(ctx context.Context, x *awayTree) error {
			_, _, err := x.u.Rename(ctx, who, x.known, n(from), x.known, n(to))
			return err
		}}
	}
	return append(calls,
		readDir("a directory that is away", func(x *awayTree) vfs.Node { return x.lone1 }),
		readDir("a directory that is not known", func(x *awayTree) vfs.Node { return x.unknown }),
		awayCall{"readlink", func(ctx context.Context, x *awayTree) error {
			_, _, err := x.u.ReadLink(ctx, who, x.linkThere)
			return err
		}},
		awayCall{"rmdir of what has a copy away", func(ctx context.Context, x *awayTree) error {
			_, err := x.u.RemoveDir(ctx, who, x.known, n("both"))
			return err
		}},
		rename("rename of a directory with a copy away", "both", "moved"),
		rename("rename over a directory with a copy away", "lone0", "both"),
	)
}

// TestAwayRefuses makes every call that needs a volume which is away: it is refused, at first so that the client comes
// again, then for good; it is known why; and nothing has changed.
func TestAwayRefuses(t *testing.T) {
	x := newAwayTree(t)
	before := x.all(t, x.root, "")
	x.unlearn()
	x.u.opt.OfflineWait = time.Hour
	x.pull(t, 1)
	for _, wait := range []time.Duration{time.Hour, 1} {
		x.u.opt.OfflineWait = wait // nobody else makes calls
		want := vfs.Jukebox
		if wait == 1 {
			want = vfs.IO
		}
		for _, c := range refusedCalls() {
			err := c.call(context.Background(), x)
			away, ok := errors.AsType[*volume.AwayError](err)
			if !ok || vfs.StatusOf(err) != want || away.Volume != "v1" || away.State.Reason == "" {
				t.Errorf("%s: %v (%v), want %v because v1 is away", c.name, err, vfs.StatusOf(err), want)
			}
		}
	}
	x.put(t, 1)
	if after := x.all(t, x.root, ""); !slices.Equal(before, after) {
		t.Errorf("the tree was\n%q\nand is\n%q", before, after)
	}
}

// TestAwayServes makes calls that do not need the volume: each is answered as if it were there.
func TestAwayServes(t *testing.T) {
	x := newAwayTree(t)
	x.pull(t, 1)
	calls := slices.Concat(
		onFile("here", func(x *awayTree) vfs.Node { return x.here }),
		onNode("the root", func(x *awayTree) vfs.Node { return x.root }),
		onNode("known", func(x *awayTree) vfs.Node { return x.known }),
		onNode("unknown", func(x *awayTree) vfs.Node { return x.unknown }),
		onNode("lone0", func(x *awayTree) vfs.Node { return x.lone0 }),
	)
	for _, c := range calls {
		if err := c.call(context.Background(), x); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	for _, d := range []vfs.Node{x.root, x.known, x.both, x.lone0} {
		x.look(t, d, "nowhere", vfs.NoEnt)
	}
	want := []string{"both", "hard", "here", "link", "linkThere", "lone0", "lone1", "there"}
	if got := x.list(t, x.known); !slices.Equal(slices.Sorted(slices.Values(got)), want) {
		t.Errorf("known lists %q, want %q", got, want)
	}
	if got := x.list(t, x.both); !slices.Equal(got, []string{"f"}) {
		t.Errorf("both lists %q", got)
	}
	sub := x.mk(t, x.known, "sub", vfs.Directory)
	x.look(t, sub.Node, "x", vfs.NoEnt)
	x.mk(t, sub.Node, "x", vfs.Regular)
	x.mk(t, x.both, "x", vfs.Symlink)
	for _, err := range []error{
		second(x.u.RemoveDir(context.Background(), who, x.known, n("nowhere"))),
		second(x.u.Remove(context.Background(), who, x.known, n("nowhere"))),
	} {
		if vfs.StatusOf(err) != vfs.NoEnt {
			t.Errorf("removal of what is not there: %v", err)
		}
	}
	for _, err := range []error{
		third(x.u.Rename(context.Background(), who, x.known, n("lone0"), x.both, n("lone0"))),
		third(x.u.Rename(context.Background(), who, x.known, n("here"), x.both, n("here"))),
		third(x.u.Rename(context.Background(), who, x.known, n("link"), x.both, n("here"))),
		second(x.u.Remove(context.Background(), who, x.both, n("here"))),
		second(x.u.RemoveDir(context.Background(), who, x.both, n("lone0"))),
		second(x.u.Remove(context.Background(), who, sub.Node, n("x"))),
		second(x.u.RemoveDir(context.Background(), who, x.known, n("sub"))),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	x.put(t, 1)
	want = []string{"both", "hard", "linkThere", "lone1", "there"}
	if got := x.list(t, x.known); !slices.Equal(slices.Sorted(slices.Values(got)), want) {
		t.Errorf("after it came known lists %q, want %q", got, want)
	}
	x.path(t, "unknown/f")
	x.path(t, "known/both/f")
}

func second[T any](_ T, err error) error        { return err }
func third[S, T any](_ S, _ T, err error) error { return err }

// TestAwayAttributes changes a directory's mode while a copy of it is away: the copy gets it when it comes, and does
// not tell its old one when it is alone.
func TestAwayAttributes(t *testing.T) {
	ctx := context.Background()
	x := newAwayTree(t)
	x.pull(t, 1)
	for _, d := range []vfs.Node{x.root, x.known, x.unknown} {
		for _, mode := range []uint32{0o700, 0o751} {
			if _, err := x.u.SetAttr(ctx, who, d, &vfs.SetAttr{Mask: vfs.SetMode | vfs.SetUID, Mode: mode, UID: 7}, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	x.put(t, 1)
	eventually(t, "all is leveled", x.leveled)
	x.pull(t, 0)
	for _, d := range []vfs.Node{x.root, x.known, x.unknown} {
		a, err := x.u.GetAttr(ctx, who, d)
		if err != nil || a.Mode != 0o751 || a.UID != 7 {
			t.Errorf("the copy that was away is of mode %o and owner %d, %v", a.Mode, a.UID, err)
		}
	}
}

// TestAwayAttributesInTurn changes a directory's mode while one copy is away, and takes the copy that knows of it
// away before the first comes: that does not tell its old mode, nor pass it on.
func TestAwayAttributesInTurn(t *testing.T) {
	ctx := context.Background()
	s := newAwayShare(t, 3)
	s.opt.Trust = 1
	s.open(t)
	s.onVolume(t, 0)
	d := s.mk(t, s.root(t), "d", vfs.Directory).Node
	s.onVolume(t, 2)
	s.mk(t, d, "f", vfs.Regular)
	s.list(t, s.root(t))
	mode := func(when string) {
		t.Helper()
		if a, err := s.u.GetAttr(ctx, who, d); err != nil || a.Mode != 0o711 {
			t.Errorf("%s the mode is %o, %v", when, a.Mode, err)
		}
	}
	s.pull(t, 0)
	if _, err := s.u.SetAttr(ctx, who, d, &vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o711}, nil); err != nil {
		t.Fatal(err)
	}
	s.pull(t, 2)
	s.put(t, 0)
	mode("with the old copy alone")
	if _, err := s.u.SetAttr(ctx, who, d, &vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o700}, nil); !isRefusal(err) {
		t.Errorf("a change of what is not there: %v", err)
	}
	s.put(t, 2)
	mode("with both")
	eventually(t, "all is leveled", s.leveled)
	s.pull(t, 2)
	mode("with the copy that was brought up")
}

// TestAwayAtStart opens a share while a volume is away, with an index and without: handles of what lies there are not
// stale, nothing is told to be absent that may be there, and all is there when it comes.
func TestAwayAtStart(t *testing.T) {
	for _, indexed := range []bool{false, true} {
		t.Run(fmt.Sprint("index ", indexed), func(t *testing.T) {
			ctx := context.Background()
			x := newAwayTree(t)
			before := x.all(t, x.root, "")
			x.reopen(t, 1)
			if indexed {
				x.close(t)
				x.newIndex(t)
				x.open(t)
				x.all(t, x.root, "")
				x.reopen(t, 1)
			}
			for _, vn := range []vfs.Node{x.there, x.linkThere, x.lone1} {
				eventually(t, "its handle is refused", func() bool { // JUKEBOX while the volumes are searched
					_, err := x.u.GetAttr(ctx, who, vn)
					if err == nil || vfs.StatusOf(err) == vfs.Stale {
						t.Fatalf("what is away: %v", err)
					}
					return isRefusal(err)
				})
			}
			for _, vn := range []vfs.Node{x.here, x.link, x.lone0, x.known} {
				eventually(t, "its handle is served", func() bool {
					_, err := x.u.GetAttr(ctx, who, vn)
					if err != nil && vfs.StatusOf(err) != vfs.Jukebox {
						t.Fatalf("what is here: %v", err)
					}
					return err == nil
				})
			}
			for _, name := range []string{"there", "nowhere"} {
				_, _, err := x.u.Lookup(ctx, who, x.unknown, n(name))
				if !isRefusal(err) && !indexed { // an index knows
					t.Errorf("look-up of %s where nothing is known: %v", name, err)
				}
			}
			x.put(t, 1)
			if after := x.all(t, x.root, ""); !slices.Equal(before, after) {
				t.Errorf("the tree was\n%q\nand is\n%q", before, after)
			}
		})
	}
}

// TestAwayVerifier writes without COMMIT to a volume that goes: the client is told to send it again.
func TestAwayVerifier(t *testing.T) {
	ctx := context.Background()
	x := newAwayTree(t)
	w, _, err := x.u.Write(ctx, who, x.there, []byte("data"), 0, vfs.Unstable)
	if err != nil {
		t.Fatal(err)
	}
	x.pull(t, 1)
	if x.u.Verifier() == w.Verifier {
		t.Error("the write verifier is the same after a volume with uncommitted writes went")
	}
	x.put(t, 1)
	if v, _, err := x.u.Commit(ctx, who, x.there, 0, 0); err == nil && v == w.Verifier {
		t.Error("COMMIT vouches for what was written before the volume went")
	}
	if _, _, err := x.u.Write(ctx, who, x.there, []byte("data"), 0, vfs.FileSync); err != nil {
		t.Errorf("write through a new opening: %v", err)
	}
}

// TestStalled lets calls hang on a volume that is not known to: meanwhile it gets no new objects, and nobody begins to wait for it
// who need not.
func TestStalled(t *testing.T) {
	ctx := context.Background()
	x := newAwayTree(t)
	if _, _, err := x.u.Write(ctx, who, x.there, []byte("0123"), 0, vfs.Unstable); err != nil {
		t.Fatal(err)
	}
	release := x.p[1].delay.Hang(volume.OpCreate, volume.OpSyncFile)
	defer release()
	begun := make(chan error, 1)
	go func() {
		_, _, err := x.u.Commit(ctx, who, x.there, 0, 0)
		begun <- err
	}()
	x.awaitStalled(t, stalledAvoid)
	x.anywhere(t)
	for i := range 30 {
		x.mk(t, x.lone0, fmt.Sprint("new", i), vfs.Regular)
	}
	x.awaitStalled(t, stalledHangs)
	if _, _, err := x.u.Commit(ctx, who, x.there, 0, 0); vfs.StatusOf(err) != vfs.Jukebox {
		t.Errorf("another commit: %v", err)
	}
	if s := x.p[1].State(); s.Health != volume.Online {
		t.Errorf("the volume is %v: %s", s.Health, s.Reason)
	}
	release()
	if err := <-begun; err != nil {
		t.Error(err)
	}
	x.list(t, x.lone0)
}

// awaitStalled waits until nothing has come back from the second volume for so long.
func (x *awayTree) awaitStalled(t *testing.T, d time.Duration) {
	t.Helper()
	for end := time.Now().Add(time.Minute); x.u.vol(1).stalled() < d; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("stalled for %v", x.u.vol(1).stalled())
		}
	}
}

// TestRemovedNameIsNotFree removes a name in a directory of which it is not known what a volume that is away has in it: that may
// have the name, too, so it is neither absent nor free.
func TestRemovedNameIsNotFree(t *testing.T) {
	s := newAwayShare(t, 2)
	for _, name := range []string{"removed", "moved"} {
		plant(t, s.mems[0].Root(), name, vfs.Regular)
		plant(t, s.mems[1].Root(), name, vfs.Regular)
	}
	s.open(t, 1)
	root := s.root(t)
	_, err := s.u.Remove(t.Context(), who, root, n("removed"))
	must(t, err)
	if _, _, err := s.u.Rename(t.Context(), who, root, n("moved"), root, n("removed")); !isRefusal(err) {
		t.Errorf("a rename to the name: %v", err)
	}
	if _, _, err := s.u.Lookup(t.Context(), who, root, n("removed")); !isRefusal(err) {
		t.Errorf("look it up: %v", err)
	}
	if _, _, err := s.u.Make(t.Context(), who, root, n("removed"), &vfs.How{Type: vfs.Regular}); !isRefusal(err) {
		t.Errorf("make it: %v", err)
	}
	s.put(t, 1)
	s.look(t, root, "removed", vfs.OK)
}
