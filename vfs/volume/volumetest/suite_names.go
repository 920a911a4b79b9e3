package volumetest

import (
	"sync"
	"sync/atomic"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

func (s *suite) link() {
	st := s.made(s.root, "f", vfs.Regular)
	d := s.dir(s.root, "d")
	if !s.caps.Links {
		s.want("link", d.Link(s.ctx, s.root, name("f"), st.Key, name("g")), vfs.NotSupp)
		return
	}
	for _, t := range s.makeable() {
		n := "t" + itoa(int(t))
		st := s.made(s.root, n, t)
		err := d.Link(s.ctx, s.root, name(n), st.Key, name(n))
		if t == vfs.Directory {
			s.want("link of a directory", err, vfs.IsDir)
			continue
		}
		s.ok("link "+n, err)
		got := s.must(d.StatAt(s.ctx, name(n)))
		if got.Key != st.Key || got.Nlink != 2 || got.Type != t {
			s.Errorf("%s: %+v, was %+v", n, got, st)
		}
		s.want("link over", d.Link(s.ctx, s.root, name(n), st.Key, name(n)), vfs.Exist)
		s.ok("unlink", s.root.Unlink(s.ctx, name(n)))
		if got := s.must(d.StatAt(s.ctx, name(n))); got.Nlink != 1 {
			s.Errorf("%s: %d links left", n, got.Nlink)
		}
	}
	s.want("link of nothing", d.Link(s.ctx, s.root, name("nothing"), st.Key, name("x")), vfs.NoEnt)
}

func (s *suite) rename() {
	d, e := s.dir(s.root, "d"), s.dir(s.root, "e")
	for _, noReplace := range []bool{false, true} {
		for _, t := range s.makeable() {
			st := s.made(d, "a", t)
			s.ok("within", d.Rename(s.ctx, name("a"), d, name("b"), noReplace))
			s.ok("across", d.Rename(s.ctx, name("b"), e, name("c"), noReplace))
			s.wantNames(d)
			s.wantNames(e, "c")
			if got := s.must(e.StatAt(s.ctx, name("c"))); got.Key != st.Key || got.Type != t {
				s.Errorf("%+v, was %+v", got, st)
			}
			if t == vfs.Directory {
				s.ok("rmdir", e.Rmdir(s.ctx, name("c")))
			} else {
				s.ok("unlink", e.Unlink(s.ctx, name("c")))
			}
		}
		sub := s.dir(d, "sub")
		s.want("into itself", d.Rename(s.ctx, name("sub"), sub, name("x"), noReplace), vfs.Inval)
		s.want("a parent into its child", s.root.Rename(s.ctx, name("d"), sub, name("x"), noReplace), vfs.Inval)
		s.ok("rmdir", d.Rmdir(s.ctx, name("sub")))
	}
	// An open directory goes where its name goes.
	inner := s.dir(d, "inner")
	s.ok("rename", d.Rename(s.ctx, name("inner"), e, name("elsewhere"), false))
	s.made(inner, "f", vfs.Regular)
	again, err := e.OpenDir(s.ctx, name("elsewhere"))
	s.ok("open", err)
	s.wantNames(again, "f")
	s.ok("close", again.Close())
}

func (s *suite) renameOver() {
	s.file(s.root, "a", "new")
	s.file(s.root, "b", "old")
	s.ok("over a file", s.root.Rename(s.ctx, name("a"), s.root, name("b"), false))
	if got := s.content(s.root, "b"); got != "new" {
		s.Errorf("content %q", got)
	}
	s.dir(s.root, "d")
	full := s.dir(s.root, "full")
	s.made(full, "x", vfs.Regular)
	s.want("file over directory", s.root.Rename(s.ctx, name("b"), s.root, name("d"), false), vfs.IsDir)
	s.want("directory over file", s.root.Rename(s.ctx, name("d"), s.root, name("b"), false), vfs.NotDir)
	s.want("over a full directory", s.root.Rename(s.ctx, name("d"), s.root, name("full"), false), vfs.NotEmpty, vfs.Exist)
	s.ok("over an empty directory", s.root.Rename(s.ctx, name("full"), s.root, name("d"), false))
	s.wantNames(full, "x")
	s.wantNames(s.root, "b", "d")
	if !s.caps.Links {
		return
	}
	st := s.must(s.root.StatAt(s.ctx, name("b")))
	s.ok("link", s.root.Link(s.ctx, s.root, name("b"), st.Key, name("c")))
	s.ok("onto a link of its own", s.root.Rename(s.ctx, name("b"), s.root, name("c"), false))
	s.wantNames(s.root, "b", "c", "d") // rename(2): does nothing
}

func (s *suite) renameNoReplace() {
	for _, from := range s.makeable() {
		for _, to := range s.makeable() {
			s.made(s.root, "from", from)
			before := s.made(s.root, "to", to)
			s.want("rename", s.root.Rename(s.ctx, name("from"), s.root, name("to"), true), vfs.Exist)
			if after := s.must(s.root.StatAt(s.ctx, name("to"))); after.Key != before.Key {
				s.Errorf("%v over %v: %+v, was %+v", from, to, after, before)
			}
			s.wantNames(s.root, "from", "to")
			for n, t := range map[string]vfs.Type{"from": from, "to": to} {
				if t == vfs.Directory {
					s.ok("rmdir", s.root.Rmdir(s.ctx, name(n)))
				} else {
					s.ok("unlink", s.root.Unlink(s.ctx, name(n)))
				}
			}
		}
	}
}

func (s *suite) remove() {
	for _, t := range s.makeable() {
		n := "t" + itoa(int(t))
		s.made(s.root, n, t)
		if t == vfs.Directory {
			s.want("unlink "+n, s.root.Unlink(s.ctx, name(n)), vfs.IsDir)
			s.ok("rmdir "+n, s.root.Rmdir(s.ctx, name(n)))
		} else {
			s.want("rmdir "+n, s.root.Rmdir(s.ctx, name(n)), vfs.NotDir)
			s.ok("unlink "+n, s.root.Unlink(s.ctx, name(n)))
		}
	}
	d := s.dir(s.root, "d")
	s.made(d, "f", vfs.Regular)
	s.want("rmdir of a full one", s.root.Rmdir(s.ctx, name("d")), vfs.NotEmpty)
	s.wantNames(s.root, "d")
}

// removedDirectory: an operation in a directory that is gone is Stale, never a
// "not found" of a name.
func (s *suite) removedDirectory() {
	file := s.made(s.root, "f", vfs.Regular)
	d := s.dir(s.root, "d")
	s.ok("rmdir", s.root.Rmdir(s.ctx, name("d")))
	_, err := d.StatAt(s.ctx, name("x"))
	s.want("stat", err, vfs.Stale)
	_, _, err = d.IdentifyAt(s.ctx, name("x"))
	s.want("identify", err, vfs.Stale)
	_, err = d.OpenDir(s.ctx, name("x"))
	s.want("opendir", err, vfs.Stale)
	_, err = d.Open(s.ctx, name("x"), volume.Read)
	s.want("open", err, vfs.Stale)
	_, err = d.ReadLink(s.ctx, name("x"))
	s.want("readlink", err, vfs.Stale)
	s.want("list", d.List(s.ctx, func(volume.Entry) bool { return true }), vfs.Stale)
	for _, t := range s.makeable() {
		_, _, err := s.make(d, "x", t, s.plain(0o755))
		s.want("make", err, vfs.Stale)
	}
	s.want("unlink", d.Unlink(s.ctx, name("x")), vfs.Stale)
	s.want("rmdir", d.Rmdir(s.ctx, name("x")), vfs.Stale)
	s.want("rename from", d.Rename(s.ctx, name("x"), s.root, name("y"), false), vfs.Stale)
	for _, noReplace := range []bool{false, true} {
		s.want("rename to", s.root.Rename(s.ctx, name("f"), d, name("y"), noReplace), vfs.Stale)
	}
	if s.caps.Links {
		s.want("link to", d.Link(s.ctx, s.root, name("f"), file.Key, name("y")), vfs.Stale)
		s.want("link from", s.root.Link(s.ctx, d, name("f"), file.Key, name("y")), vfs.Stale)
	}
	s.want("setattr", d.SetAttrAt(s.ctx, name("x"), file.Key, &vfs.SetAttr{}), vfs.Stale)
	_, err = d.MarkAt(s.ctx, name("x"))
	s.want("mark", err, vfs.Stale)
	s.wantNames(s.root, "f")
	if st := s.must(d.Stat(s.ctx)); st.Nlink != 0 {
		s.Errorf("%d links", st.Nlink)
	}
}

// unlinked: an open file lives on without a name.
func (s *suite) unlinked() {
	f := s.file(s.root, "f", "content")
	s.ok("unlink", s.root.Unlink(s.ctx, name("f")))
	buf := make([]byte, 20)
	k, err := f.ReadAt(s.ctx, buf, 0)
	if err != nil || string(buf[:k]) != "content" {
		s.Errorf("read %q, %v", buf[:k], err)
	}
	if _, err := f.WriteAt(s.ctx, []byte("more"), 7); err != nil {
		s.Error(err)
	}
	if st := s.must(f.Stat(s.ctx)); st.Nlink != 0 || st.Size != 11 {
		s.Errorf("%+v", st)
	}
	s.ok("sync", f.Sync(s.ctx, false))
	s.wantNames(s.root)
}

// sync only shows that the calls work; what survives is shown with Mem.
func (s *suite) sync() {
	d := s.dir(s.root, "d")
	f := s.file(d, "f", "x")
	s.ok("data", f.Sync(s.ctx, true))
	s.ok("file", f.Sync(s.ctx, false))
	s.ok("directory", d.Sync(s.ctx))
	s.ok("root", s.root.Sync(s.ctx))
	s.ok("private", s.v.Private().Sync(s.ctx))
	s.ok("all", s.v.SyncAll(s.ctx))
	ro, err := d.Open(s.ctx, name("f"), volume.Read)
	s.ok("open", err)
	s.ok("sync of a file opened for reading", ro.Sync(s.ctx, false))
	s.ok("close", ro.Close())
}

// oneWinner: of many who make one name, one does.
func (s *suite) oneWinner() {
	const rounds, workers = 50, 8
	for i := range rounds {
		n := itoa(i)
		for w := range workers {
			s.made(s.root, n+"-"+itoa(w), vfs.Regular)
		}
		var wins [3]atomic.Int32
		var wg sync.WaitGroup
		for w := range workers {
			plain := s.plain(0o644)
			wg.Go(func() {
				if f, _, _, err := s.root.Create(s.ctx, name("c"+n), plain); err == nil {
					wins[0].Add(1)
					if err := f.Close(); err != nil {
						s.Error(err)
					}
				}
				if d, _, _, err := s.root.Mkdir(s.ctx, name("d"+n), plain); err == nil {
					wins[1].Add(1)
					if err := d.Close(); err != nil {
						s.Error(err)
					}
				}
				if s.root.Rename(s.ctx, name(n+"-"+itoa(w)), s.root, name("r"+n), true) == nil {
					wins[2].Add(1)
				}
			})
		}
		wg.Wait()
		if wins[0].Load() != 1 || wins[1].Load() != 1 {
			s.Fatalf("%d created, %d made the directory", wins[0].Load(), wins[1].Load())
		}
		if s.caps.NoReplace && wins[2].Load() != 1 {
			s.Fatalf("%d renamed", wins[2].Load())
		}
	}
}

// concurrent: many work in one directory, and each finds what it did.
func (s *suite) concurrent() {
	const workers, rounds = 8, 60
	d := s.dir(s.root, "d")
	plain := s.plain(0o644)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range rounds {
				a, b := name("a"+itoa(w)), name("b"+itoa(w)+"-"+itoa(i))
				f, st, _, err := d.Create(s.ctx, a, plain)
				if err != nil {
					s.Error(err)
					return
				}
				_, werr := f.WriteAt(s.ctx, []byte(b.String()), 0)
				rerr := d.Rename(s.ctx, a, d, b, true)
				serr := d.Sync(s.ctx)
				got, gerr := d.StatAt(s.ctx, b)
				found := false
				lerr := d.List(s.ctx, func(e volume.Entry) bool {
					found = found || e.Name == b
					return true
				})
				for _, err := range []error{werr, rerr, serr, gerr, lerr, f.Close()} {
					if err != nil {
						s.Error(err)
					}
				}
				if got.Key != st.Key || !found {
					s.Errorf("%s: %+v, was %+v, listed %v", b, got, st, found)
				}
				if i%2 == 0 {
					if err := d.Unlink(s.ctx, b); err != nil {
						s.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	if got := len(s.listed(d)); got != workers*rounds/2 {
		s.Errorf("%d names are left, want %d", got, workers*rounds/2)
	}
}
