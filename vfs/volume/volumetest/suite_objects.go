package volumetest

import (
	"bytes"
	"math"
	"slices"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// birth: every attribute is exactly as asked for, whatever the host adds by itself.
func (s *suite) birth() {
	at, mt := vfs.Time{Sec: 1_000_000_001, Nsec: 5_000}, vfs.Time{Sec: 1_100_000_003, Nsec: 7_000}
	if s.caps.TimeDelta.Sec > 0 {
		at.Nsec, mt.Nsec = 0, 0
	}
	parent := s.dir(s.root, "parent")
	s.ok("setgid parent", parent.SetAttr(s.ctx, &vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o2777}))
	if s.caps.ACLs {
		s.ok("default list", parent.SetACLs(s.ctx, vfs.ACLs{Default: exampleACL}))
	}
	for _, t := range s.makeable() {
		for i, mode := range []uint32{0o644, 0, 0o777, 0o4755, 0o2770, 0o1777, 0o6711} {
			w := s.plain(mode)
			if s.caps.Chown {
				w.UID, w.GID = 1234, 5678
			}
			w.Times, w.Atime, w.Mtime = true, at, mt
			if t == vfs.Regular || t == vfs.Directory {
				w.Mark = []byte("born")
			}
			n := "t" + itoa(int(t)) + "-" + itoa(i)
			st, id, err := s.make(parent, n, t, w)
			s.ok("make "+n, err)
			s.checkBirth(parent, n, t, w, st, id)
		}
	}
}

func (s *suite) checkBirth(d volume.Dir, n string, t vfs.Type, w *volume.New, st volume.Stat, id volume.Identity) {
	s.Helper()
	now, nowID, err := d.IdentifyAt(s.ctx, name(n))
	s.ok("identify", err)
	if now.Key != st.Key || now.Ctime != st.Ctime || nowID != id || id.Key != st.Key {
		s.Errorf("%s: was given as %+v %+v, is %+v %+v", n, st, id, now, nowID)
	}
	mode := w.Mode
	if t == vfs.Symlink {
		mode = st.Mode
	}
	if st.Type != t || st.Mode != mode || st.UID != w.UID || st.GID != w.GID {
		s.Errorf("%s: %+v, want mode %o uid %d gid %d", n, st, mode, w.UID, w.GID)
	}
	if w.Times && (st.Atime != w.Atime || st.Mtime != w.Mtime) {
		s.Errorf("%s: times %v %v, want %v %v", n, st.Atime, st.Mtime, w.Atime, w.Mtime)
	}
	a, err := d.ACLsAt(s.ctx, name(n))
	s.ok("ACLs", err)
	if w.ACLs == nil && len(a.Access)+len(a.Default) > 0 {
		s.Errorf("%s inherited %+v", n, a)
	}
	mark, err := d.MarkAt(s.ctx, name(n))
	s.ok("mark", err)
	if !bytes.Equal(mark, w.Mark) {
		s.Errorf("%s: mark %q, want %q", n, mark, w.Mark)
	}
	if (t == vfs.Char || t == vfs.Block) && (st.Major != 1 || st.Minor != 3) {
		s.Errorf("%s: device %d, %d", n, st.Major, st.Minor)
	}
}

// birthWithoutChown: what cannot be given away is not made at all.
func (s *suite) birthWithoutChown() {
	if s.caps.Chown {
		s.Skip("this volume can give objects away")
	}
	w := s.plain(0o644)
	w.UID++
	for _, t := range s.makeable() {
		_, _, err := s.make(s.root, "x", t, w)
		s.want("make", err, vfs.Perm)
	}
	s.wantNames(s.root)
}

// taken: no maker touches a name that is there, whatever it is.
func (s *suite) taken() {
	for _, old := range s.makeable() {
		n := "t" + itoa(int(old))
		before := s.made(s.root, n, old)
		for _, t := range s.makeable() {
			_, _, err := s.make(s.root, n, t, s.plain(0o600))
			s.want("make over "+n, err, vfs.Exist)
		}
		if after := s.must(s.root.StatAt(s.ctx, name(n))); after != before {
			s.Errorf("%s: %+v, was %+v", n, after, before)
		}
	}
	_, _, err := s.root.Mknod(s.ctx, name("new"), vfs.Directory, 0, 0, s.plain(0o755))
	s.want("mknod of a directory", err, vfs.BadType)
}

// openTypes: only a regular file opens as a file, only a directory as a directory.
func (s *suite) openTypes() {
	for _, t := range s.makeable() {
		n := "t" + itoa(int(t))
		s.made(s.root, n, t)
		for _, flags := range []volume.Flag{volume.Read, volume.Write, volume.Read | volume.Write} {
			f, err := s.root.Open(s.ctx, name(n), flags)
			if t != vfs.Regular {
				s.want("open "+n, err, vfs.Inval)
				continue
			}
			s.ok("open "+n, err)
			s.ok("close", f.Close())
		}
		d, err := s.root.OpenDir(s.ctx, name(n))
		if t != vfs.Directory {
			s.want("opendir "+n, err, vfs.NotDir)
			continue
		}
		s.ok("opendir "+n, err)
		s.ok("close", d.Close())
	}
	if !s.caps.Symlinks {
		return
	}
	for _, target := range []string{"t1", "t2", "..", "/", "/etc/passwd"} { // never followed
		n := "to-" + itoa(len(target))
		_, _, err := s.root.Symlink(s.ctx, name(n), target, s.plain(0))
		s.ok("symlink", err)
		_, err = s.root.Open(s.ctx, name(n), volume.Read)
		s.want("open", err, vfs.Inval)
		_, err = s.root.OpenDir(s.ctx, name(n))
		s.want("opendir", err, vfs.NotDir)
		if st := s.must(s.root.StatAt(s.ctx, name(n))); st.Type != vfs.Symlink {
			s.Errorf("stat of a link to %s: %+v", target, st)
		}
		got, err := s.root.ReadLink(s.ctx, name(n))
		if err != nil || got != target {
			s.Errorf("readlink: %q, %v", got, err)
		}
		s.ok("unlink", s.root.Unlink(s.ctx, name(n)))
	}
	_, err := s.root.ReadLink(s.ctx, name("t1"))
	s.want("readlink of a file", err, vfs.Inval)
	_, err = s.root.ReadLink(s.ctx, name("t2"))
	s.want("readlink of a directory", err, vfs.Inval)
}

func (s *suite) data() {
	f := s.file(s.root, "f", "")
	big := bytes.Repeat([]byte("0123456789abcdef"), 20_000) // 320,000 bytes, no multiple of a page
	k, err := f.WriteAt(s.ctx, big, 1_000_003)
	if err != nil || k != len(big) {
		s.Fatalf("write: %d, %v", k, err)
	}
	st := s.must(f.Stat(s.ctx))
	if st.Size != uint64(1_000_003+len(big)) {
		s.Errorf("size %d", st.Size)
	}
	buf := make([]byte, 2_000_000)
	k, err = f.ReadAt(s.ctx, buf, 0)
	s.ok("read", err)
	if k != 1_000_003+len(big) || !bytes.Equal(buf[1_000_003:k], big) || bytes.IndexFunc(buf[:1_000_003], func(r rune) bool { return r != 0 }) >= 0 {
		s.Errorf("read %d bytes, or others than were written", k)
	}
	for _, off := range []int64{int64(st.Size) - 1, int64(st.Size), int64(st.Size) + 1, math.MaxInt64 - 10} {
		want := max(0, int64(st.Size)-off)
		if k, err := f.ReadAt(s.ctx, buf, off); err != nil || int64(k) != want {
			s.Errorf("read at %d: %d, %v, want %d", off, k, err, want)
		}
	}
	if k, err := f.ReadAt(s.ctx, nil, 0); k != 0 || err != nil {
		s.Errorf("read of nothing: %d, %v", k, err)
	}
	clear(buf)
	k, err = f.ReadNow(buf, 1_000_000)
	switch {
	case vfs.StatusOf(err) == vfs.Again:
	case err != nil || k != 3+len(big) || !bytes.Equal(buf[3:k], big):
		s.Errorf("read now: %d, %v", k, err)
	}
	k, err = f.WriteAt(s.ctx, []byte("over"), 1_000_003+4090)
	if err != nil || k != 4 {
		s.Errorf("overwrite: %d, %v", k, err)
	}
	k, err = f.ReadAt(s.ctx, buf[:8], 1_000_003+4088)
	if err != nil || string(buf[:k]) != "89over"+"ef" {
		s.Errorf("read %q, %v", buf[:k], err)
	}
}

func (s *suite) dataLimits() {
	f := s.file(s.root, "f", "x")
	_, err := f.ReadAt(s.ctx, make([]byte, 1), -1)
	s.want("read at -1", err, vfs.Inval)
	_, err = f.ReadNow(make([]byte, 1), -1)
	s.want("read now at -1", err, vfs.Inval)
	_, err = f.WriteAt(s.ctx, []byte("x"), -1)
	s.want("write at -1", err, vfs.Inval)
	_, err = f.WriteAt(s.ctx, []byte("xy"), math.MaxInt64-1)
	s.want("write beyond the end of numbers", err, vfs.FBig)
	if s.caps.MaxFileSize < math.MaxInt64 {
		_, err = f.WriteAt(s.ctx, []byte("xy"), int64(s.caps.MaxFileSize))
		s.want("write beyond MaxFileSize", err, vfs.FBig)
	}
	s.want("size beyond numbers", f.SetAttr(s.ctx, &vfs.SetAttr{Mask: vfs.SetSize, Size: math.MaxInt64 + 1}), vfs.FBig)
	s.want("size beyond numbers", f.SetAttr(s.ctx, &vfs.SetAttr{Mask: vfs.SetSize, Size: math.MaxUint64}), vfs.FBig)
	if st := s.must(f.Stat(s.ctx)); st.Size != 1 {
		s.Errorf("size %d", st.Size)
	}
}

func (s *suite) truncate() {
	f := s.file(s.root, "f", "0123456789")
	for _, c := range []struct {
		size uint64
		want string
	}{{4, "0123"}, {8, "0123\x00\x00\x00\x00"}, {0, ""}, {3, "\x00\x00\x00"}} {
		s.ok("truncate", f.SetAttr(s.ctx, &vfs.SetAttr{Mask: vfs.SetSize, Size: c.size}))
		if got := s.content(s.root, "f"); got != c.want {
			s.Errorf("size %d: %q, want %q", c.size, got, c.want)
		}
	}
	// The size is set first: the times asked for in the same call stand.
	at := vfs.Time{Sec: 1_000_000_000}
	s.ok("truncate and times", f.SetAttr(s.ctx, &vfs.SetAttr{Mask: vfs.SetSize | vfs.SetMtime | vfs.SetAtime, Size: 1, Mtime: at, Atime: at}))
	if st := s.must(f.Stat(s.ctx)); st.Size != 1 || st.Mtime != at || st.Atime != at {
		s.Errorf("%+v", st)
	}
	ro, err := s.root.Open(s.ctx, name("f"), volume.Read)
	s.ok("open", err)
	defer func() { s.ok("close", ro.Close()) }()
	if err := ro.SetAttr(s.ctx, &vfs.SetAttr{Mask: vfs.SetSize}); err == nil {
		s.Error("a file opened for reading was cut")
	}
}

// setAttr changes every object, whatever it is, and never what a link points to.
func (s *suite) setAttr() {
	at := vfs.Time{Sec: 1_234_567_890}
	for _, t := range s.makeable() {
		n := "t" + itoa(int(t))
		st := s.made(s.root, n, t)
		set := vfs.SetAttr{Mask: vfs.SetMode | vfs.SetAtime | vfs.SetMtime, Mode: 0o640, Atime: at, Mtime: at}
		uid, gid := st.UID, st.GID
		if s.caps.Chown {
			uid, gid = 4321, 8765
			set.Mask |= vfs.SetUID | vfs.SetGID
			set.UID, set.GID, set.Mode = uid, gid, 0o6751
		}
		s.ok("setattr "+n, s.root.SetAttrAt(s.ctx, name(n), st.Key, &set))
		got := s.must(s.root.StatAt(s.ctx, name(n)))
		if t == vfs.Symlink {
			got.Mode = set.Mode
		}
		if got.Mode != set.Mode || got.UID != uid || got.GID != gid || got.Atime != at || got.Mtime != at || got.Key != st.Key {
			s.Errorf("%s: %+v", n, got)
		}
		s.ok("only mtime", s.root.SetAttrAt(s.ctx, name(n), st.Key, &vfs.SetAttr{Mask: vfs.SetMtimeNow}))
		got = s.must(s.root.StatAt(s.ctx, name(n)))
		if got.Atime != at || got.Mtime.Compare(at) <= 0 {
			s.Errorf("%s: times %v %v", n, got.Atime, got.Mtime)
		}
		s.want("size", s.root.SetAttrAt(s.ctx, name(n), st.Key, &vfs.SetAttr{Mask: vfs.SetSize}), vfs.Inval)
	}
	d := s.dir(s.root, "d")
	s.ok("setattr", d.SetAttr(s.ctx, &vfs.SetAttr{Mask: vfs.SetMode | vfs.SetMtime, Mode: 0o1711, Mtime: at}))
	if st := s.must(d.Stat(s.ctx)); st.Mode != 0o1711 || st.Mtime != at {
		s.Errorf("%+v", st)
	}
	s.want("size of a directory", d.SetAttr(s.ctx, &vfs.SetAttr{Mask: vfs.SetSize}), vfs.IsDir)
	f := s.file(s.root, "f", "x")
	s.ok("setattr", f.SetAttr(s.ctx, &vfs.SetAttr{Mask: vfs.SetMode | vfs.SetMtime, Mode: 0o4711, Mtime: at}))
	if st := s.must(f.Stat(s.ctx)); st.Mode != 0o4711 || st.Mtime != at || st.Size != 1 {
		s.Errorf("%+v", st)
	}
	if !s.caps.Chown {
		st := s.must(f.Stat(s.ctx))
		s.want("chown", f.SetAttr(s.ctx, &vfs.SetAttr{Mask: vfs.SetUID, UID: st.UID + 1}), vfs.Perm)
	}
}

// wrongKey: what acts on an object by name and key leaves another alone.
func (s *suite) wrongKey() {
	for _, t := range s.makeable() {
		n := "t" + itoa(int(t))
		before := s.made(s.root, n, t)
		wrong := before.Key
		wrong.Ino++
		s.want("setattr", s.root.SetAttrAt(s.ctx, name(n), wrong, &vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o111}), vfs.Stale)
		s.want("ACLs", s.root.SetACLsAt(s.ctx, name(n), wrong, vfs.ACLs{}), vfs.Stale)
		s.want("mark", s.root.SetMarkAt(s.ctx, name(n), wrong, []byte("m")), vfs.Stale)
		s.want("link", s.root.Link(s.ctx, s.root, name(n), wrong, name("new")), vfs.Stale)
		if after := s.must(s.root.StatAt(s.ctx, name(n))); after != before {
			s.Errorf("%s: %+v, was %+v", n, after, before)
		}
	}
	_, err := s.root.StatAt(s.ctx, name("new"))
	s.want("stat", err, vfs.NoEnt)
}

// marks can be kept beside everything, and move with the object.
func (s *suite) marks() {
	long := bytes.Repeat([]byte{0, 0xff, 'm'}, volume.MarkMax/3)
	d := s.dir(s.root, "d")
	for _, t := range s.makeable() {
		n := "t" + itoa(int(t))
		st := s.made(s.root, n, t)
		check := func(in volume.Dir, n string, want []byte) {
			s.Helper()
			got, err := in.MarkAt(s.ctx, name(n))
			if err != nil || !bytes.Equal(got, want) || (got == nil) != (want == nil) {
				s.Fatalf("mark of %s: %q, %v, want %q", n, got, err, want)
			}
		}
		check(s.root, n, nil)
		s.ok("take away none", s.root.SetMarkAt(s.ctx, name(n), st.Key, nil))
		s.ok("set", s.root.SetMarkAt(s.ctx, name(n), st.Key, []byte("first")))
		s.ok("replace", s.root.SetMarkAt(s.ctx, name(n), st.Key, long))
		check(s.root, n, long)
		s.ok("rename", s.root.Rename(s.ctx, name(n), d, name(n+"b"), true))
		check(d, n+"b", long)
		s.want("too long", d.SetMarkAt(s.ctx, name(n+"b"), st.Key, make([]byte, volume.MarkMax+1)), vfs.Inval)
		check(d, n+"b", long)
		s.made(s.root, n, t)
		check(s.root, n, nil)
		s.ok("take away", d.SetMarkAt(s.ctx, name(n+"b"), st.Key, nil))
		check(d, n+"b", nil)
	}
	s.ok("own", d.SetMark(s.ctx, []byte("own")))
	got, err := d.Mark(s.ctx)
	if err != nil || string(got) != "own" {
		s.Errorf("own mark %q, %v", got, err)
	}
	got, err = s.root.MarkAt(s.ctx, name("d"))
	if err != nil || string(got) != "own" {
		s.Errorf("own mark by name %q, %v", got, err)
	}
	s.ok("sync", d.Sync(s.ctx))
}

// exampleACL grants more than a mode can say.
var exampleACL = vfs.ACL{
	{Tag: vfs.ACLUserObj, Perm: 7},
	{Tag: vfs.ACLUser, Perm: 5, ID: 1001},
	{Tag: vfs.ACLGroupObj, Perm: 5},
	{Tag: vfs.ACLGroup, Perm: 1, ID: 2002},
	{Tag: vfs.ACLMask, Perm: 5},
	{Tag: vfs.ACLOther, Perm: 1},
}

func (s *suite) acls() {
	f := s.made(s.root, "f", vfs.Regular)
	d := s.dir(s.root, "d")
	none := func(a vfs.ACLs, err error) {
		s.Helper()
		if err != nil || len(a.Access)+len(a.Default) > 0 {
			s.Errorf("%+v, %v", a, err)
		}
	}
	none(s.root.ACLsAt(s.ctx, name("f")))
	none(d.ACLs(s.ctx))
	if !s.caps.ACLs {
		s.want("set", s.root.SetACLsAt(s.ctx, name("f"), f.Key, vfs.ACLs{Access: exampleACL}), vfs.NotSupp)
		s.want("set", d.SetACLs(s.ctx, vfs.ACLs{Default: exampleACL}), vfs.NotSupp)
		s.ok("set none", d.SetACLs(s.ctx, vfs.ACLs{}))
		return
	}
	s.ok("set", s.root.SetACLsAt(s.ctx, name("f"), f.Key, vfs.ACLs{Access: exampleACL}))
	got, err := s.root.ACLsAt(s.ctx, name("f"))
	if err != nil || !slices.Equal(got.Access, exampleACL) {
		s.Errorf("%+v, %v", got, err)
	}
	if st := s.must(s.root.StatAt(s.ctx, name("f"))); st.Mode&vfs.ModePerm != 0o751 {
		s.Errorf("mode %o beside the list", st.Mode)
	}
	s.want("default of a file", s.root.SetACLsAt(s.ctx, name("f"), f.Key, vfs.ACLs{Default: exampleACL}), vfs.Inval)
	s.ok("set both", d.SetACLs(s.ctx, vfs.ACLs{Access: exampleACL, Default: exampleACL}))
	got, err = d.ACLs(s.ctx)
	if err != nil || !slices.Equal(got.Access, exampleACL) || !slices.Equal(got.Default, exampleACL) {
		s.Errorf("%+v, %v", got, err)
	}
	s.ok("take away", d.SetACLs(s.ctx, vfs.ACLs{}))
	none(d.ACLs(s.ctx))
	w := s.plain(0o751)
	w.ACLs = &vfs.ACLs{Access: exampleACL}
	for _, t := range []vfs.Type{vfs.Regular, vfs.Directory, vfs.FIFO} {
		n := "born" + itoa(int(t))
		st, _, err := s.make(s.root, n, t, w)
		s.ok("make", err)
		got, err := s.root.ACLsAt(s.ctx, name(n))
		if err != nil || !slices.Equal(got.Access, exampleACL) || st.Mode != 0o751 {
			s.Errorf("%s: %+v, %v, mode %o", n, got, err, st.Mode)
		}
	}
}

// identity is that of the object, under any name, and of no other.
func (s *suite) identity() {
	seen := map[volume.Identity]string{}
	d := s.dir(s.root, "d")
	for _, t := range s.makeable() {
		n := "t" + itoa(int(t))
		st, id, err := s.make(s.root, n, t, s.plain(0o755))
		s.ok("make", err)
		if other, dup := seen[id]; dup {
			s.Errorf("%s and %s are both %+v", n, other, id)
		}
		seen[id] = n
		s.ok("rename", s.root.Rename(s.ctx, name(n), d, name("moved"), true))
		at, atID, err := d.IdentifyAt(s.ctx, name("moved"))
		s.ok("identify", err)
		if atID != id || at.Key != st.Key || id.Key != st.Key {
			s.Errorf("%s: %+v became %+v", n, id, atID)
		}
		s.ok("chmod", d.SetAttrAt(s.ctx, name("moved"), id.Key, &vfs.SetAttr{Mask: vfs.SetMode | vfs.SetMtimeNow, Mode: 0o711}))
		if _, atID, err := d.IdentifyAt(s.ctx, name("moved")); err != nil || atID != id {
			s.Errorf("%s: %+v became %+v, %v", n, id, atID, err)
		}
		s.ok("rename", d.Rename(s.ctx, name("moved"), s.root, name(n), true))
	}
	_, id, err := d.Identify(s.ctx)
	s.ok("identify", err)
	_, byName, err := s.root.IdentifyAt(s.ctx, name("d"))
	if err != nil || byName != id {
		s.Errorf("%+v by name, %+v itself, %v", byName, id, err)
	}
}

// identityReuse: the identity of a removed object never comes again.
func (s *suite) identityReuse() {
	if !s.caps.StrongIdentity {
		s.Skip("this volume has weak identities")
	}
	const rounds = 500 // ext4 repeats inode number and birth time in 99 % of them
	seen := map[volume.Identity]bool{}
	for range rounds {
		_, id, err := s.make(s.root, "f", vfs.Regular, s.plain(0o644))
		s.ok("create", err)
		if seen[id] {
			s.Fatalf("%+v came again", id)
		}
		seen[id] = true
		s.ok("unlink", s.root.Unlink(s.ctx, name("f")))
	}
}

// version: where versions are exact, every change of names makes a new one.
func (s *suite) version() {
	d := s.dir(s.root, "d")
	other := s.dir(s.root, "other")
	s.made(other, "in", vfs.Regular)
	last := s.must(d.Stat(s.ctx))
	changed := func(what string, err error) {
		s.Helper()
		s.ok(what, err)
		now := s.must(d.Stat(s.ctx))
		if s.caps.Quiet == 0 && now.Version() == last.Version() {
			s.Errorf("%s left the version", what)
		}
		last = now
	}
	if s.caps.Quiet > 5*time.Second {
		s.Errorf("versions can be believed after %v only", s.caps.Quiet)
	}
	for range 20 {
		st, _, err := s.make(d, "a", vfs.Regular, s.plain(0o644))
		changed("create", err)
		_, _, err = s.make(d, "sub", vfs.Directory, s.plain(0o755))
		changed("mkdir", err)
		if s.caps.Links {
			changed("link", d.Link(s.ctx, d, name("a"), st.Key, name("l")))
			changed("unlink of a link", d.Unlink(s.ctx, name("l")))
		}
		changed("rename within", d.Rename(s.ctx, name("a"), d, name("b"), true))
		changed("rename in", other.Rename(s.ctx, name("in"), d, name("b"), false))
		changed("rename out", d.Rename(s.ctx, name("b"), other, name("in"), false))
		changed("rmdir", d.Rmdir(s.ctx, name("sub")))
	}
}

func (s *suite) locate() {
	d := s.dir(s.root, "d")
	e := s.dir(d, "e")
	s.made(e, "f", vfs.Regular)
	_, id, err := e.Identify(s.ctx)
	s.ok("identify", err)
	names, err := s.v.Locate(s.ctx, id.Ino, id.Gen)
	if !s.caps.Locate {
		s.want("locate", err, vfs.NotSupp)
		return
	}
	s.ok("locate", err)
	if !slices.Equal(names, []vfs.Name{name("d"), name("e")}) {
		s.Errorf("found at %v", names)
	}
	s.ok("rename", s.root.Rename(s.ctx, name("d"), s.root, name("g"), true))
	names, err = s.v.Locate(s.ctx, id.Ino, id.Gen)
	if err != nil || !slices.Equal(names, []vfs.Name{name("g"), name("e")}) {
		s.Errorf("found at %v, %v", names, err)
	}
	_, rid, err := s.root.Identify(s.ctx)
	s.ok("identify", err)
	if names, err := s.v.Locate(s.ctx, rid.Ino, rid.Gen); err != nil || len(names) != 0 {
		s.Errorf("the root is at %v, %v", names, err)
	}
	_, fid, err := e.IdentifyAt(s.ctx, name("f"))
	s.ok("identify", err)
	names, err = s.v.Locate(s.ctx, fid.Ino, fid.Gen)
	if vfs.StatusOf(err) != vfs.NotSupp && (err != nil || !slices.Equal(names, []vfs.Name{name("g"), name("e"), name("f")})) {
		s.Errorf("the file is at %v, %v", names, err)
	}
	s.ok("unlink", e.Unlink(s.ctx, name("f")))
	_, err = s.v.Locate(s.ctx, fid.Ino, fid.Gen)
	s.want("locate what is gone", err, vfs.Stale)
	if s.caps.StrongIdentity {
		_, err = s.v.Locate(s.ctx, id.Ino, id.Gen+1)
		s.want("locate another generation", err, vfs.Stale)
	}
}
