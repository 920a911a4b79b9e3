package union

import (
	"os"
	"path/filepath"
	"testing"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// TestSidecarsAreSwept: after a walk the mark of an object that is gone is, too, and not that of one that is there; where
// the operator lets nothing change it stays.
func TestSidecarsAreSwept(t *testing.T) {
	ctx := t.Context()
	x := newDamaged(t)
	lone := volume.Identity{Key: volume.Key{Ino: 1 << 40, Birth: 5}, Gen: 6}
	sidecar(t, x, lone)
	_, live, err := x.mems[0].Root().IdentifyAt(ctx, vfs.MustName("e"))
	must(t, err)
	sidecar(t, x, live)
	has := func(id volume.Identity) bool {
		t.Helper()
		bucket, name := volume.SidecarName(id)
		marks, err := x.mems[0].Private().OpenDir(ctx, sidecarsName)
		must(t, err)
		d, err := marks.OpenDir(ctx, vfs.MustName(bucket))
		must(t, err)
		there, err := exists(ctx, d, vfs.MustName(name))
		must(t, err)
		must(t, d.Close())
		must(t, marks.Close())
		return there
	}
	for _, c := range []struct {
		mode volume.Mode
		want bool
	}{{volume.ReadOnly, true}, {volume.NoCreate, false}} {
		must(t, x.u.SetMode(x.vols[0].ID(), c.mode))
		must(t, x.u.walks.walk(ctx, "test", walkOptions{}))
		if has(lone) != c.want || !has(live) {
			t.Errorf("mode %v: that of what is gone is there: %v, want %v; of what is there: %v", c.mode, has(lone), c.want, has(live))
		}
	}
}

// TestCheckFindsNewSidecars finds the mark of what is gone also if it was made while this server ran.
func TestCheckFindsNewSidecars(t *testing.T) {
	s := localShare(t, 1)
	if !s.vols[0].Caps().Locate {
		t.Skip("needs CAP_DAC_READ_SEARCH: otherwise it may be that of an object that came meanwhile")
	}
	u := s.open(t)
	bucket, name := volume.SidecarName(volume.Identity{Key: volume.Key{Ino: 1 << 20, Birth: 5}, Gen: 6})
	dir := filepath.Join(s.dirs[0], volume.PrivateName, volume.SidecarDir, bucket)
	must(t, os.MkdirAll(dir, 0o700))
	must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	for _, repair := range []bool{true, false} {
		var found []Finding
		_, err := u.Check(t.Context(), CheckOptions{Repair: repair, Report: func(f Finding) { found = append(found, f) }})
		must(t, err)
		if got := len(found); repair && (got != 1 || found[0].Kind != FindSidecar || !found[0].Repaired) || !repair && got != 0 {
			t.Errorf("repair %v: %+v", repair, found)
		}
	}
}
