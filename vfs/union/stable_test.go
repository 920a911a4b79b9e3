package union

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"sheaf/vfs"
	"sheaf/vfs/volume/volumetest"
)

func (s *shareT) write(t testing.TB, n vfs.Node, data string, stable vfs.Stable) (vfs.Written, error) {
	t.Helper()
	w, _, err := s.u.Write(t.Context(), who, n, []byte(data), 0, stable)
	return w, err
}

// TestPowerCut wants everything that was acknowledged as stable there after a power cut,
// whatever else the volumes lose.
func TestPowerCut(t *testing.T) {
	for seed := range uint64(20) {
		s := memShare(t, 3, nil)
		s.open(t)
		root := s.root(t)
		a, b := s.mk(t, root, "a", vfs.Directory), s.mk(t, root, "b", vfs.Directory)
		want := make(map[string]string) // path → content
		for i := range 12 {
			name := fmt.Sprintf("f%d", i)
			f := s.mk(t, a.Node, name, vfs.Regular)
			data := fmt.Sprintf("content of %d", i)
			if i%2 == 0 {
				if _, err := s.write(t, f.Node, data, vfs.FileSync); err != nil {
					t.Fatal(err)
				}
			} else {
				if _, err := s.write(t, f.Node, data, vfs.Unstable); err != nil {
					t.Fatal(err)
				}
				if _, _, err := s.u.Commit(t.Context(), who, f.Node, 0, 0); err != nil {
					t.Fatal(err)
				}
			}
			want["a/"+name] = data
			switch i % 4 {
			case 1: // onto what lies anywhere
				s.mk(t, b.Node, name, vfs.Regular)
				must(t, rename(t, s, a.Node, name, b.Node, name))
				delete(want, "a/"+name)
				want["b/"+name] = data
			case 2:
				_, err := s.u.Remove(t.Context(), who, a.Node, vfs.MustName(name))
				must(t, err)
				delete(want, "a/"+name)
			}
		}
		must(t, rename(t, s, root, "b", a.Node, "b"))
		for i, m := range s.mems {
			s.mems[i] = m.PowerCut(seed)
			s.vols[i] = s.mems[i]
		}
		s.u.scans.wait()
		s.open(t)
		got := s.list(t, a.Node)
		if len(got) != 7 { // six files and b
			t.Errorf("seed %d: a holds %q", seed, got)
		}
		for path, data := range want {
			if path[0] == 'b' {
				path = "a/" + path
			}
			f := s.path(t, path)
			buf := make([]byte, 100)
			n, _, _, err := s.u.Read(t.Context(), who, f.Node, buf, 0)
			if err != nil || string(buf[:n]) != data {
				t.Errorf("seed %d: %s holds %q, %v; want %q", seed, path, buf[:n], err, data)
			}
		}
		s.close(t)
	}
}

// TestFailedFlush lets flushes fail: the call gets IO, and the verifier has changed by then.
func TestFailedFlush(t *testing.T) {
	var broken atomic.Bool
	s := memShare(t, 1, func(_ int, o *volumetest.Options) {
		o.Fault = func(op string, _ int) error {
			if broken.Load() && op == "syncfile" {
				return &vfs.Error{Status: vfs.IO, Op: op, Err: errors.New("injected")}
			}
			return nil
		}
	})
	s.open(t)
	f := s.mk(t, s.root(t), "f", vfs.Regular)
	for name, flush := range map[string]func() (vfs.Verifier, error){
		"COMMIT": func() (vfs.Verifier, error) {
			if _, err := s.write(t, f.Node, "x", vfs.Unstable); err != nil {
				t.Fatal(err)
			}
			broken.Store(true)
			v, _, err := s.u.Commit(t.Context(), who, f.Node, 0, 0)
			return v, err
		},
		"FILE_SYNC": func() (vfs.Verifier, error) {
			broken.Store(true)
			w, err := s.write(t, f.Node, "x", vfs.FileSync)
			return w.Verifier, err
		},
	} {
		before := s.u.Verifier()
		v, err := flush()
		broken.Store(false)
		if vfs.StatusOf(err) != vfs.IO || s.u.Verifier() == before || v == before {
			t.Errorf("%s that fails: %v; verifier %x, before %x", name, err, v, before)
		}
	}
	must(t, func() error { _, err := s.write(t, f.Node, "x", vfs.FileSync); return err }())
}

// TestFlushes counts: one of the directory for each change of names, one of the file for what
// must be stable, none that nobody asked for.
func TestFlushes(t *testing.T) {
	s := memShare(t, 1, nil)
	s.open(t)
	root := s.root(t)
	f := s.mk(t, root, "f", vfs.Regular)
	async := &vfs.Who{Async: true}
	for _, c := range []struct {
		what       string
		dirs, file int
		do         func() error
	}{
		{"create", 1, 0, func() error { s.mk(t, root, "g", vfs.Regular); return nil }},
		{"write UNSTABLE", 0, 0, func() error { _, err := s.write(t, f.Node, "x", vfs.Unstable); return err }},
		{"commit", 0, 1, func() error { _, _, err := s.u.Commit(t.Context(), who, f.Node, 0, 0); return err }},
		{"commit of nothing", 0, 0, func() error { _, _, err := s.u.Commit(t.Context(), who, f.Node, 0, 0); return err }},
		{"write FILE_SYNC", 0, 1, func() error { _, err := s.write(t, f.Node, "x", vfs.FileSync); return err }},
		{"chmod", 0, 1, func() error {
			_, err := s.u.SetAttr(t.Context(), who, f.Node, &vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o600}, nil)
			return err
		}},
		{"remove", 1, 0, func() error { _, err := s.u.Remove(t.Context(), who, root, vfs.MustName("g")); return err }},
		{"create, async", 0, 0, func() error {
			_, _, err := s.u.Make(t.Context(), async, root, vfs.MustName("h"), &vfs.How{Type: vfs.Regular})
			return err
		}},
	} {
		before := s.mems[0].Counts()
		if err := c.do(); err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
		after := s.mems[0].Counts()
		if after.DirSync-before.DirSync != c.dirs || after.FileSync-before.FileSync != c.file || after.SyncAll != before.SyncAll {
			t.Errorf("%s: %d flushes of directories, %d of files, want %d and %d", c.what, after.DirSync-before.DirSync, after.FileSync-before.FileSync, c.dirs, c.file)
		}
	}
}

// TestEvictionFlushes opens more files than may stay open: what was not committed is flushed before its
// descriptor goes, and counted as safe by a later COMMIT.
func TestEvictionFlushes(t *testing.T) {
	s := memShare(t, 1, nil)
	s.opt.OpenFiles = 2
	s.open(t)
	root := s.root(t)
	var files []vfs.Attr
	for i := range 10 {
		f := s.mk(t, root, fmt.Sprintf("f%d", i), vfs.Regular)
		if _, err := s.write(t, f.Node, "data", vfs.Unstable); err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	verifier := s.u.Verifier()
	for _, f := range files {
		v, _, err := s.u.Commit(t.Context(), who, f.Node, 0, 0)
		if err != nil || v != verifier {
			t.Errorf("commit: verifier %x, %v; want %x", v, err, verifier)
		}
	}
	if n := s.u.Stats().OpenFiles; n > 3 {
		t.Errorf("%d files are open", n)
	}
	s.mems[0] = s.mems[0].PowerCut(1)
	s.vols[0] = s.mems[0]
	s.open(t)
	got := s.list(t, root)
	slices.Sort(got)
	for _, f := range files {
		if a, err := s.u.GetAttr(t.Context(), who, f.Node); err != nil || a.Size != 4 {
			t.Errorf("after a power cut: size %d, %v", a.Size, err)
		}
	}
}

// TestEvictionThatFails: nobody waits for the flush of a file whose descriptor is needed; if it fails, whoever wrote
// learns it from the verifier of his COMMIT, once, and what he sends again is safe.
func TestEvictionThatFails(t *testing.T) {
	s, _, x, f := trapped(t, 1)
	s.u.files.limit = 1
	w, err := s.write(t, f, "data", vfs.Unstable)
	must(t, err)
	x.fail("syncfile", 1, 0, errDisk)
	for i := range 4 {
		s.mk(t, s.root(t), fmt.Sprintf("f%d", i), vfs.Regular)
	}
	if left := x.snare.Load().left.Load(); left > 0 {
		t.Fatal("the file was not flushed")
	}
	v, _, err := s.u.Commit(t.Context(), who, f, 0, 0)
	must(t, err)
	if v == w.Verifier {
		t.Error("COMMIT vouches for data whose flush failed")
	}
	w, err = s.write(t, f, "data", vfs.Unstable)
	must(t, err)
	v, _, err = s.u.Commit(t.Context(), who, f, 0, 0)
	must(t, err)
	if v != w.Verifier {
		t.Error("COMMIT says once more that the data must be sent again")
	}
}
