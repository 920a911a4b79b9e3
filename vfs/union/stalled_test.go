package union

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// newStalledTree is a tree whose second volume does not answer, and nobody knows yet. release ends it.
func newStalledTree(t *testing.T, exclusive bool) (x *awayTree, release func()) {
	t.Helper()
	s := newAwayShare(t, 2)
	s.stall = 1
	s.opt.OfflineWait = 1 // whatever is told to come again is so for another reason
	if exclusive {
		s.exclusive(1)
	}
	x = growTree(t, s, -1)
	end := x.p[1].delay.Hang()
	t.Cleanup(end)
	return x, end
}

// comeAgain wants to be told to come again, and nothing worse.
func comeAgain(t *testing.T, what string, err error) {
	t.Helper()
	if vfs.StatusOf(err) != vfs.Jukebox {
		t.Errorf("%s: %v", what, err)
	}
}

// TestStalledNames makes, finds and lists names in a directory that has a copy on a volume which does not answer: what is known of that copy
// suffices, also for who began to wait before it was known not to answer. Who needs the volume is told to come again. When it answers,
// all is there, and nothing twice.
func TestStalledNames(t *testing.T) {
	ctx := t.Context()
	x, release := newStalledTree(t, true)
	verifier := x.u.Verifier()
	x.mk(t, x.known, "first", vfs.Regular) // begun while the volume counts as well
	x.await(t, 1, false, volume.Stalled)
	x.mk(t, x.known, "file", vfs.Regular)
	x.mk(t, x.known, "directory", vfs.Directory)
	x.mk(t, x.known, "new link", vfs.Symlink)
	x.mk(t, x.lone0, "new", vfs.Regular)
	x.look(t, x.known, "first", vfs.OK)
	x.look(t, x.known, "nowhere", vfs.NoEnt)
	x.look(t, x.lone0, "nowhere", vfs.NoEnt)
	if got := x.list(t, x.known); !slices.Contains(got, "there") || !slices.Contains(got, "first") {
		t.Errorf("known lists %q", got)
	}
	for _, name := range []string{"there", "linkThere", "lone1"} {
		_, _, err := x.u.Make(ctx, who, x.known, n(name), &vfs.How{Type: vfs.Regular})
		comeAgain(t, "make "+name+", which is there", err)
		_, _, err = x.u.Lookup(ctx, who, x.known, n(name))
		comeAgain(t, "look up "+name, err)
	}
	_, _, err := x.u.Make(ctx, who, x.unknown, n("new"), &vfs.How{Type: vfs.Regular})
	comeAgain(t, "make a name that may be there", err)
	_, _, err = x.u.Lookup(ctx, who, x.unknown, n("nowhere"))
	comeAgain(t, "look up a name that may be there", err)
	_, err = x.u.Remove(ctx, who, x.known, n("there"))
	comeAgain(t, "remove what is there", err)
	if s := x.p[1].State(); s.Health != volume.Stalled {
		t.Errorf("the volume is %v: %s", s.Health, s.Reason)
	}
	release()
	x.await(t, 1, true, volume.Online)
	x.look(t, x.known, "there", vfs.OK)
	x.look(t, x.unknown, "f", vfs.OK)
	x.look(t, x.unknown, "nowhere", vfs.NoEnt)
	for _, name := range x.list(t, x.known) {
		if strings.Contains(name, conflictInfix) {
			t.Errorf("%q came to be", name)
		}
		x.look(t, x.known, name, vfs.OK)
	}
	x.list(t, x.known)
	if x.u.Verifier() != verifier {
		t.Error("the write verifier is another, though nothing was lost")
	}
}

// TestStalledUnwatched: what others may have changed unseen is not told of a volume that will answer in a moment.
func TestStalledUnwatched(t *testing.T) {
	ctx := t.Context()
	x, release := newStalledTree(t, false)
	_, _, err := x.u.Lookup(ctx, who, x.known, n("nowhere"))
	comeAgain(t, "look up a name that another may have made", err)
	x.await(t, 1, false, volume.Stalled)
	_, _, err = x.u.Make(ctx, who, x.known, n("nowhere"), &vfs.How{Type: vfs.Regular})
	comeAgain(t, "make it", err)
	release()
	x.await(t, 1, true, volume.Online)
	x.mk(t, x.known, "nowhere", vfs.Regular)
}

// TestStalledChange: a change that was begun on a volume that stalls is waited for, and is what it would have been, whatever it
// asks of the volume on its way.
func TestStalledChange(t *testing.T) {
	ctx := t.Context()
	x, release := newStalledTree(t, true)
	release()
	x.await(t, 1, true, volume.Online)
	for _, op := range []volume.Op{volume.OpCreate, volume.OpSetAttr, volume.OpRename, volume.OpUnlink} {
		x.list(t, x.known)
		x.onVolume(t, 1)
		name := op.String()
		if op == volume.OpRename || op == volume.OpUnlink {
			x.mk(t, x.lone1, name, vfs.Regular)
		}
		end := x.p[1].delay.Hang(op, volume.OpSyncFile)
		t.Cleanup(end)
		done := make(chan error, 1)
		go func() {
			err := error(&volume.AwayError{Status: vfs.Jukebox})
			for vfs.StatusOf(err) == vfs.Jukebox { // a busy machine may have stalled it: then nothing was begun
				err = x.stalledChange(ctx, op, name)
			}
			done <- err
		}()
		x.await(t, 1, false, volume.Stalled)
		if x.p[1].delay.Hanging() < 2 {
			t.Errorf("%v does not hang", op)
		}
		end()
		if err := <-done; err != nil {
			t.Errorf("%v: %v", op, err)
		}
		x.await(t, 1, true, volume.Online)
		x.anywhere(t)
	}
}

// stalledChange is a change that comes to op on the second volume.
func (x *awayTree) stalledChange(ctx context.Context, op volume.Op, name string) error {
	switch op {
	case volume.OpCreate:
		return third(x.u.Make(ctx, who, x.lone1, n(name), &vfs.How{Type: vfs.Regular}))
	case volume.OpRename:
		return third(x.u.Rename(ctx, who, x.lone1, n(name), x.lone1, n(name+"'")))
	case volume.OpUnlink:
		return second(x.u.Remove(ctx, who, x.lone1, n(name)))
	default:
		return second(x.u.SetAttr(ctx, who, x.both, &vfs.SetAttr{Mask: vfs.SetMode, Mode: uint32(0o700 | time.Now().UnixNano()&7)}, nil))
	}
}
