package union

import (
	"fmt"
	"testing"

	"sheaf/placement"
	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// TestFirstFileStays: the first file of a new directory lies where the directory does, as long as that volume is about as empty as
// others; directories lie anywhere. So a tree is spread, and no directory of it has a second copy for its files.
func TestFirstFileStays(t *testing.T) {
	const volumes, dirs = 4, 40
	s := memShare(t, volumes, nil)
	s.opt.Policy = placement.Default
	full := "" // the volume that is half full
	s.wrapped = func(v volume.Volume) volume.Volume {
		space := volume.Space{Total: 1 << 40, Free: 1 << 40, Avail: 1 << 40, Files: 1 << 30, FilesFree: 1 << 30, FilesAvail: 1 << 30}
		if v.Name() == full {
			space.Avail /= 2
		}
		return onDisk{Volume: v, space: space}
	}
	u := s.open(t)
	on := func(n vfs.Node) volset {
		t.Helper()
		known, err := u.resolve(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		defer known.put()
		return known.volumes()
	}
	var all volset
	top := s.mk(t, s.root(t), "top", vfs.Directory).Node
	first := s.mk(t, top, "d0", vfs.Directory).Node
	for i := range dirs {
		d := first
		if i > 0 {
			d = s.mk(t, top, fmt.Sprintf("d%d", i), vfs.Directory).Node
		}
		f := s.mk(t, d, "first", vfs.Regular).Node
		if i%2 > 0 {
			f = s.mk(t, d, "link", vfs.Symlink).Node
		}
		if on(d).count() != 1 || on(f) != on(d) {
			t.Errorf("directory %d lies on %v, what is in it on %v", i, on(d).list(), on(f).list())
		}
		all |= on(d)
	}
	if all.count() < 2 {
		t.Errorf("all directories lie on %v", all.list())
	}

	// A volume that is much fuller than others gets no more for it.
	d := s.mk(t, top, "last", vfs.Directory).Node
	full = u.vol(on(d).first()).name
	s.close(t)
	u = s.open(t)
	d = s.path(t, "top/last").Node
	before := on(d)
	for i := range 2 * volumes {
		s.mk(t, d, fmt.Sprintf("f%d", i), vfs.Regular)
	}
	if f := s.path(t, "top/last/f7").Node; on(f)&before != 0 {
		t.Errorf("a file lies on %v, which is half full", on(f).list())
	}
}
