package union

import (
	"errors"
	"sync/atomic"
	"testing"

	"sheaf/vfs"
	"sheaf/vfs/volume/volumetest"
)

// errDisk is what a broken disk says.
var errDisk = &vfs.Error{Status: vfs.IO, Op: "flush", Err: errors.New("the disk is broken")}

// trap lets a test hold, or fail, one operation on the volumes.
type trap struct{ snare atomic.Pointer[snare] }

// snare is a trap set once.
type snare struct {
	op   string
	left atomic.Int64 // how many of them pass, and the first that does not
	more int64        // how many after that do not either
	err  error        // that this gets
	hit  chan struct{}
	free chan struct{} // nil: it is not held
}

func (x *trap) fault(op string, _ int) error {
	s := x.snare.Load()
	if s == nil || s.op != op {
		return nil
	}
	if n := s.left.Add(-1); n > 0 || n < -s.more {
		return nil
	}
	if s.free != nil {
		close(s.hit)
		<-s.free
	}
	return s.err
}

// fail lets the n-th op from now on fail, and the more that follow.
func (x *trap) fail(op string, n, more int64, err error) {
	s := &snare{op: op, err: err, more: more}
	s.left.Store(n)
	x.snare.Store(s)
}

// hold lets the n-th op from now on wait until release is called; hit tells that it does.
func (x *trap) hold(op string, n int64) (hit <-chan struct{}, release func()) {
	s := &snare{op: op, hit: make(chan struct{}), free: make(chan struct{})}
	s.left.Store(n)
	x.snare.Store(s)
	return s.hit, func() { close(s.free) }
}

// trapped is a share of n volumes with a trap, and a file f on the first.
func trapped(t *testing.T, n int) (*shareT, *onto, *trap, vfs.Node) {
	t.Helper()
	x, place := &trap{}, &onto{}
	s := memShare(t, n, func(_ int, o *volumetest.Options) { o.Fault = x.fault })
	s.opt.Policy = place
	s.open(t)
	place.to(0)
	return s, place, x, s.mk(t, s.root(t), "f", vfs.Regular).Node
}

// failedFlushBehindWrite makes a WRITE and lets a flush of the file fail after its data went to the
// host and before its reply.
func failedFlushBehindWrite(t *testing.T, s *shareT, x *trap, f vfs.Node, stable vfs.Stable) (vfs.Written, error) {
	t.Helper()
	_, err := s.u.GetAttr(t.Context(), who, f)
	must(t, err)
	hit, release := x.hold("fstat", 2) // the second is behind the write
	var w vfs.Written
	done := make(chan error)
	go func() {
		var err error
		w, _, err = s.u.Write(t.Context(), who, f, []byte("data"), 0, stable)
		done <- err
	}()
	<-hit
	x.fail("syncfile", 1, 0, errDisk)
	if _, _, err := s.u.Commit(t.Context(), who, f, 0, 0); vfs.StatusOf(err) != vfs.IO {
		t.Errorf("COMMIT whose flush failed: %v, want IO", err)
	}
	release()
	return w, <-done
}

// TestVerifierBeforeWrite: data that a failed flush took away between the write and its reply must
// be sent again: the reply's verifier is not the one that COMMIT answers.
func TestVerifierBeforeWrite(t *testing.T) {
	s, _, x, f := trapped(t, 1)
	w, err := failedFlushBehindWrite(t, s, x, f, vfs.Unstable)
	must(t, err)
	v, _, err := s.u.Commit(t.Context(), who, f, 0, 0)
	if err == nil && v == w.Verifier {
		t.Error("COMMIT vouches for data that a failed flush may have dropped")
	}
}

// TestStableWriteNotVouchedForByFailedFlush: the flush that failed was made for another
// call, and the host says so once only.
func TestStableWriteNotVouchedForByFailedFlush(t *testing.T) {
	for _, stable := range []vfs.Stable{vfs.DataSync, vfs.FileSync} {
		s, _, x, f := trapped(t, 1)
		if _, err := failedFlushBehindWrite(t, s, x, f, stable); vfs.StatusOf(err) != vfs.IO {
			t.Errorf("WRITE with stability %d whose data a failed flush may have dropped: %v, want IO", stable, err)
		}
	}
}

// TestDataFlushVouchesForDataOnly: a DATA_SYNC WRITE between a SETATTR and its flush does not make
// the mode durable.
func TestDataFlushVouchesForDataOnly(t *testing.T) {
	s, _, _, vn := trapped(t, 1)
	n, err := s.u.resolve(t.Context(), vn)
	must(t, err)
	defer n.put()
	f, err := s.u.files.get(t.Context(), s.u, n, true)
	must(t, err)
	defer f.release(s.u)
	f.written.Add(1)
	must(t, f.sync(t.Context(), s.u, true, 0))
	before := s.mems[0].Counts().FileSync
	must(t, f.sync(t.Context(), s.u, false, 0))
	if s.mems[0].Counts().FileSync == before {
		t.Error("attributes count as durable after a flush of the data alone")
	}
	must(t, f.sync(t.Context(), s.u, true, 0))
	if got := s.mems[0].Counts().FileSync; got != before+1 {
		t.Errorf("%d flushes of what is durable", got-before-1)
	}
}

// TestExistingNameIsFlushed: CREATE of a name that is there promises it all the same,
// whoever made it, and though its flush failed.
func TestExistingNameIsFlushed(t *testing.T) {
	for _, how := range []vfs.How{{Type: vfs.Regular}, {Type: vfs.Regular, Exists: vfs.Exclusive, Verifier: [8]byte{7}}} {
		for seed := range uint64(cutSeeds) {
			m := newMortal(t, 2)
			d := m.mkAt(t, 0, m.root(t), "d", vfs.Directory)
			_, _, err := m.u.Make(t.Context(), &vfs.Who{Async: true}, d.Node, vfs.MustName("f"), &how)
			must(t, err)
			a, _, err := m.u.Make(t.Context(), who, d.Node, vfs.MustName("f"), &how)
			must(t, err)
			m.cut(t, seed)
			if got := m.path(t, "d/f"); got.Node.ID != a.Node.ID {
				t.Errorf("d/f is %s, was %s", got.Node.ID, a.Node.ID)
			}
			m.close(t)
		}
	}
}
