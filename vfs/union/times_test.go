package union

import (
	"fmt"
	"testing"

	"sheaf/vfs"
)

// timed is a change that moves the ctimes of some copies of a directory, and no mtime.
type timed struct {
	name string
	call func(x *timedTree) error
	much bool // like another of them: it is not killed at every operation
}

// timedTree is a tree with a directory in wide that has a copy on the near volume alone.
type timedTree struct {
	*tree
	sub vfs.Node
}

// timedCalls are all of them. That of wide which changed last is on the far volume, and what moves last is another's.
func timedCalls() []timed {
	set := func(x *timedTree, s *vfs.SetAttr) error {
		_, err := x.m.u.SetAttr(x.t.Context(), who, x.wide, s, nil)
		return err
	}
	return []timed{
		{name: "chmod", call: func(x *timedTree) error { return set(x, &vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o711}) }},
		{name: "chown", much: true, call: func(x *timedTree) error { return set(x, &vfs.SetAttr{Mask: vfs.SetUID | vfs.SetGID, UID: 7, GID: 8}) }},
		{name: "set the atime", much: true, call: func(x *timedTree) error {
			return set(x, &vfs.SetAttr{Mask: vfs.SetAtime, Atime: vfs.Time{Sec: 3}})
		}},
		{name: "set an access list", call: func(x *timedTree) error {
			_, err := x.m.u.SetACL(x.t.Context(), who, x.wide, vfs.ACLs{})
			return err
		}},
		{name: "rename in a directory", call: func(x *timedTree) error { return x.m.rename(x.t, x.m.root(x.t), "wide", x.m.root(x.t), "moved") }},
		{name: "rename to another directory", much: true, call: func(x *timedTree) error { return x.m.rename(x.t, x.m.root(x.t), "wide", x.home, "moved") }},
		{name: "rename over another directory", call: func(x *timedTree) error { return x.m.rename(x.t, x.m.root(x.t), "wide", x.m.root(x.t), "empty") }},
		{name: "make a copy in it", call: func(x *timedTree) error {
			_, err := x.make(x.t, 1, x.sub, "f", vfs.How{Type: vfs.Regular})
			return err
		}},
	}
}

// newTimedTree is a tree where the last change of wide was on the far volume, with room for one open directory.
func newTimedTree(t *testing.T, turned bool) *timedTree {
	t.Helper()
	x := &timedTree{tree: newTreeOn(t, 3, turned, nil)}
	x.emptyWide(t, x.m.root(t), "empty")
	x.sub = x.m.mkAt(t, x.near, x.wide, "sub", vfs.Directory).Node
	x.m.mkAt(t, x.far, x.wide, "last", vfs.Regular)
	x.m.opt.OpenDirs, x.m.opt.Memory = 1, 4*nodeBytes
	x.m.settled(t)
	x.m.restart(t)
	return x
}

// timesOf are the times of the directories that the calls are about, by id.
func (x *tree) timesOf(t *testing.T) map[vfs.NodeID]vfs.Attr {
	t.Helper()
	out := make(map[vfs.NodeID]vfs.Attr)
	for _, n := range []vfs.Node{x.m.root(t), x.wide, x.home} {
		a, err := x.m.u.GetAttr(t.Context(), who, n)
		must(t, err)
		out[n.ID] = a
	}
	return out
}

// TestTimesStandOverRestart wants what a client was told of the times of a directory with copies to stand over a
// restart, though not all that it rests on is in memory.
func TestTimesStandOverRestart(t *testing.T) {
	for _, d := range timedCalls() {
		for _, turned := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, turned %v", d.name, turned), func(t *testing.T) {
				x := newTimedTree(t, turned)
				before := x.timesOf(t)[x.wide.ID]
				must(t, d.call(x))
				told := x.timesOf(t)
				if told[x.wide.ID].Mtime != before.Mtime {
					t.Errorf("the mtime went from %v to %v", before.Mtime, told[x.wide.ID].Mtime)
				}
				x.m.restart(t)
				for id, now := range x.timesOf(t) {
					if was := told[id]; now.Mtime != was.Mtime || now.Ctime != was.Ctime {
						t.Errorf("%s: mtime %v and ctime %v became %v and %v", id, was.Mtime, was.Ctime, now.Mtime, now.Ctime)
					}
				}
			})
		}
	}
}

// TestTimesNeverGoBack kills the server, or cuts the power, at every operation of calls that move the ctimes of some
// copies of a directory alone: no time is told then that is earlier than what was told before. But for the ctime
// of what a RENAME moved: it is flushed with the names where file systems have one transaction for all of it (ext4, xfs,
// btrfs); Mem has not.
func TestTimesNeverGoBack(t *testing.T) {
	for _, d := range timedCalls() {
		if d.much {
			continue
		}
		t.Run(d.name, func(t *testing.T) {
			for i := int64(1); ; i++ {
				spent := diesInTimes(t, &d, i, 0)
				diesInTimes(t, &d, i, 1)
				diesInTimes(t, &d, i, 2)
				if t.Failed() {
					t.Fatalf("at operation %d", i)
				}
				if spent {
					return
				}
			}
		})
	}
}

// diesInTimes is one server that dies at operation i of a call, by a kill or by a power cut of that seed. It reports whether the
// call needs no more.
func diesInTimes(t *testing.T, d *timed, i int64, seed uint64) (spent bool) {
	t.Helper()
	x := newTimedTree(t, true)
	told := x.timesOf(t)
	x.m.settled(t)
	x.dies.Store(i)
	err := d.call(x)
	if spent = x.dies.Swap(0) > 1; spent {
		must(t, err)
		told = x.timesOf(t)
	}
	x.dies.Store(1)
	x.m.u.abandon()
	x.dies.Store(0)
	if x.m.kill(); seed != 0 {
		x.m.turnOff(seed)
	}
	x.m.open(t)
	for id, now := range x.timesOf(t) {
		if was := told[id]; now.Mtime.Compare(was.Mtime) < 0 || seed == 0 && now.Ctime.Compare(was.Ctime) < 0 {
			t.Errorf("%s: mtime %v and ctime %v became %v and %v, seed %d", id, was.Mtime, was.Ctime, now.Mtime, now.Ctime, seed)
		}
	}
	x.m.close(t)
	return spent
}

// TestTimesOfWhatTheIndexTold wants the stamps of a directory to count also where its names were listed before anybody
// asked for its attributes, as the walker does.
func TestTimesOfWhatTheIndexTold(t *testing.T) {
	x := &timedTree{tree: newTreeOn(t, 3, true, nil)}
	s := x.m.shareT
	s.newIndex(t)
	s.restart(t)
	x.sub = x.m.mkAt(t, x.near, x.wide, "sub", vfs.Directory).Node
	x.m.mkAt(t, x.far, x.wide, "last", vfs.Regular)
	x.m.mkAt(t, 1, x.sub, "f", vfs.Regular) // copy 1 of wide is the newest, and stamped
	want, err := s.u.GetAttr(t.Context(), who, x.wide)
	must(t, err)
	root := s.root(t)
	s.restart(t)
	n, err := s.u.resolve(t.Context(), vfs.Node{ID: x.wide.ID})
	must(t, err)
	defer n.put()
	must(t, s.u.proveNow(t.Context(), n))
	s.u.distrust(s.u.root)
	if got := s.look(t, root, "wide", vfs.OK); got.Mtime != want.Mtime || got.Ctime != want.Ctime {
		t.Errorf("mtime %v and ctime %v became %v and %v", want.Mtime, want.Ctime, got.Mtime, got.Ctime)
	}
}
