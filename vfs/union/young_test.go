package union

import (
	"testing"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// TestOpenFileIsKnown: a file that was just made has a key that might come again, but not while it is open: renaming and removing it
// ask for no identity and no mark. What is not open is not asked again once it was when it was old.
func TestOpenFileIsKnown(t *testing.T) {
	s := localShare(t, 1)
	var ops askedOps
	s.wrapped = ops.count
	s.open(t)
	root := s.root(t)
	if st, err := s.vols[0].Root().Stat(t.Context()); err != nil || st.Key.Birth == 0 {
		t.Skipf("the file system tells no time of birth (%v)", err)
	}
	rename := func(from, to string) int {
		t.Helper()
		return ops.of(func() {
			_, _, err := s.u.Rename(t.Context(), who, root, vfs.MustName(from), root, vfs.MustName(to))
			must(t, err)
		}, volume.OpIdentifyAt, volume.OpMarkAt)
	}
	remove := func(name string) int {
		t.Helper()
		return ops.of(func() {
			_, err := s.u.Remove(t.Context(), who, root, vfs.MustName(name))
			must(t, err)
		}, volume.OpIdentifyAt, volume.OpMarkAt)
	}
	for _, name := range []string{"a", "b"} {
		s.mk(t, root, name, vfs.Regular)
		if n := rename(name, name+"-moved"); n != 0 {
			t.Errorf("rename of an open file: %d questions for an identity and a mark", n)
		}
		if n := remove(name + "-moved"); n != 0 {
			t.Errorf("removal of an open file: %d questions for an identity and a mark", n)
		}
	}
	s.mk(t, root, "fifo", vfs.FIFO)
	rename("fifo", "old") // what that asks depends on how long all took
	for end := time.Now().Add(30 * time.Second); rename("old", "old-too") != 0; {
		if time.Now().After(end) {
			t.Fatal("what is old is asked who it is again and again")
		}
		must(t, func() error {
			_, _, err := s.u.Rename(t.Context(), who, root, vfs.MustName("old-too"), root, vfs.MustName("old"))
			return err
		}())
	}
	if n := remove("old-too"); n != 0 {
		t.Errorf("removal of what is old and was asked: %d questions for an identity and a mark", n)
	}
}
