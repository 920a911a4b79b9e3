package volumetest

import (
	"context"
	"slices"
	"strings"
	"testing"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// Suite is what every volume.Volume must do. open gives a fresh, empty volume each
// time, closed by t.Cleanup. What Caps says is missing must fail as the contract
// says, and what it says is there must work.
func Suite(t *testing.T, open func(t *testing.T) volume.Volume) {
	t.Helper()
	for _, c := range []struct {
		name string
		run  func(s *suite)
	}{
		{"Empty", (*suite).empty},
		{"Names", (*suite).names},
		{"Private", (*suite).privateHidden},
		{"Marker", (*suite).marker},
		{"List", (*suite).list},
		{"Space", (*suite).space},
		{"Birth", (*suite).birth},
		{"BirthWithoutChown", (*suite).birthWithoutChown},
		{"Taken", (*suite).taken},
		{"OpenTypes", (*suite).openTypes},
		{"Data", (*suite).data},
		{"DataLimits", (*suite).dataLimits},
		{"Truncate", (*suite).truncate},
		{"SetAttr", (*suite).setAttr},
		{"WrongKey", (*suite).wrongKey},
		{"Link", (*suite).link},
		{"Rename", (*suite).rename},
		{"RenameOver", (*suite).renameOver},
		{"RenameNoReplace", (*suite).renameNoReplace},
		{"Remove", (*suite).remove},
		{"RemovedDirectory", (*suite).removedDirectory},
		{"Unlinked", (*suite).unlinked},
		{"Identity", (*suite).identity},
		{"IdentityReuse", (*suite).identityReuse},
		{"Version", (*suite).version},
		{"Marks", (*suite).marks},
		{"ACLs", (*suite).acls},
		{"Locate", (*suite).locate},
		{"Sync", (*suite).sync},
		{"OneWinner", (*suite).oneWinner},
		{"Concurrent", (*suite).concurrent},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := open(t)
			c.run(&suite{T: t, ctx: t.Context(), v: v, caps: v.Caps(), root: v.Root()})
		})
	}
}

// suite is one test's view of its volume.
type suite struct {
	*testing.T
	ctx  context.Context
	v    volume.Volume
	caps volume.Caps
	root volume.Dir
}

// types are all that a volume can hold.
var types = []vfs.Type{vfs.Regular, vfs.Directory, vfs.Symlink, vfs.FIFO, vfs.Socket, vfs.Char, vfs.Block}

// can reports whether the volume can make objects of type t.
func (s *suite) can(t vfs.Type) bool {
	switch t {
	case vfs.Symlink:
		return s.caps.Symlinks
	case vfs.Block, vfs.Char:
		return s.caps.Special
	case vfs.Regular, vfs.Directory, vfs.Socket, vfs.FIFO:
		return true
	}
	return true
}

func (s *suite) makeable() []vfs.Type {
	return slices.DeleteFunc(slices.Clone(types), func(t vfs.Type) bool { return !s.can(t) })
}

func name(n string) vfs.Name { return vfs.MustName(n) }

// plain is how an object is made where it does not matter: as whoever serves the volume.
func (s *suite) plain(mode uint32) *volume.New {
	s.Helper()
	st := s.must(s.root.Stat(s.ctx))
	return &volume.New{Mode: mode, UID: st.UID, GID: st.GID}
}

func (s *suite) must(st volume.Stat, err error) volume.Stat {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
	return st
}

func (s *suite) ok(what string, err error) {
	s.Helper()
	if err != nil {
		s.Fatalf("%s: %v", what, err)
	}
}

// want demands one of the statuses.
func (s *suite) want(what string, err error, of ...vfs.Status) {
	s.Helper()
	if !slices.Contains(of, vfs.StatusOf(err)) {
		s.Fatalf("%s: %v, want %v", what, err, of)
	}
}

// make makes an object of any type and closes what was opened.
func (s *suite) make(d volume.Dir, n string, t vfs.Type, w *volume.New) (volume.Stat, volume.Identity, error) {
	s.Helper()
	switch t {
	case vfs.Regular:
		f, st, id, err := d.Create(s.ctx, name(n), w)
		if err == nil {
			s.ok("close", f.Close())
		}
		return st, id, err
	case vfs.Directory:
		sub, st, id, err := d.Mkdir(s.ctx, name(n), w)
		if err == nil {
			s.ok("close", sub.Close())
		}
		return st, id, err
	case vfs.Symlink:
		return d.Symlink(s.ctx, name(n), "to/nowhere", w)
	case vfs.Block, vfs.Char, vfs.Socket, vfs.FIFO:
	}
	return d.Mknod(s.ctx, name(n), t, 1, 3, w)
}

func (s *suite) made(d volume.Dir, n string, t vfs.Type) volume.Stat {
	s.Helper()
	st, _, err := s.make(d, n, t, s.plain(0o755))
	s.ok("make "+n, err)
	return st
}

// dir makes a directory that stays open for the test.
func (s *suite) dir(d volume.Dir, n string) volume.Dir {
	s.Helper()
	sub, _, _, err := d.Mkdir(s.ctx, name(n), s.plain(0o755))
	s.ok("mkdir "+n, err)
	s.Cleanup(func() { s.ok("close "+n, sub.Close()) })
	return sub
}

// file makes a file that stays open for the test.
func (s *suite) file(d volume.Dir, n, content string) volume.File {
	s.Helper()
	f, _, _, err := d.Create(s.ctx, name(n), s.plain(0o644))
	s.ok("create "+n, err)
	s.Cleanup(func() { s.ok("close "+n, f.Close()) })
	if content != "" {
		if k, err := f.WriteAt(s.ctx, []byte(content), 0); err != nil || k != len(content) {
			s.Fatalf("write %s: %d, %v", n, k, err)
		}
	}
	return f
}

func (s *suite) content(d volume.Dir, n string) string {
	s.Helper()
	f, err := d.Open(s.ctx, name(n), volume.Read)
	s.ok("open "+n, err)
	defer func() { s.ok("close "+n, f.Close()) }()
	buf := make([]byte, 1<<16)
	k, err := f.ReadAt(s.ctx, buf, 0)
	s.ok("read "+n, err)
	return string(buf[:k])
}

// listed is the sorted names of d.
func (s *suite) listed(d volume.Dir) []string {
	s.Helper()
	var names []string
	s.ok("list", d.List(s.ctx, func(e volume.Entry) bool {
		names = append(names, e.Name.String())
		return true
	}))
	slices.Sort(names)
	return names
}

func (s *suite) wantNames(d volume.Dir, want ...string) {
	s.Helper()
	if got := s.listed(d); !slices.Equal(got, want) {
		s.Fatalf("names %q, want %q", got, want)
	}
}

func (s *suite) empty() {
	if s.v.ID() == (volume.ID{}) || s.v.Name() == "" {
		s.Errorf("id %v, name %q", s.v.ID(), s.v.Name())
	}
	s.wantNames(s.root)
	st := s.must(s.root.Stat(s.ctx))
	if st.Type != vfs.Directory || st.Key.Ino == 0 {
		s.Errorf("root is %+v", st)
	}
	_, err := s.root.StatAt(s.ctx, name("nothing"))
	s.want("stat of nothing", err, vfs.NoEnt)
	_, _, err = s.root.IdentifyAt(s.ctx, name("nothing"))
	s.want("identify of nothing", err, vfs.NoEnt)
	_, err = s.root.OpenDir(s.ctx, name("nothing"))
	s.want("opendir of nothing", err, vfs.NoEnt)
	_, err = s.root.Open(s.ctx, name("nothing"), volume.Read)
	s.want("open of nothing", err, vfs.NoEnt)
	_, err = s.root.ReadLink(s.ctx, name("nothing"))
	s.want("readlink of nothing", err, vfs.NoEnt)
	s.want("unlink of nothing", s.root.Unlink(s.ctx, name("nothing")), vfs.NoEnt)
	s.want("rmdir of nothing", s.root.Rmdir(s.ctx, name("nothing")), vfs.NoEnt)
	s.want("rename of nothing", s.root.Rename(s.ctx, name("nothing"), s.root, name("b"), false), vfs.NoEnt)
	s.want("exclusive rename of nothing", s.root.Rename(s.ctx, name("nothing"), s.root, name("b"), true), vfs.NoEnt)
	_, err = s.root.MarkAt(s.ctx, name("nothing"))
	s.want("mark of nothing", err, vfs.NoEnt)
	_, err = s.root.ACLsAt(s.ctx, name("nothing"))
	s.want("ACLs of nothing", err, vfs.NoEnt)
}

func (s *suite) names() {
	odd := []string{
		"plain", ".hidden", "...", "-rf", "with space", "new\nline", "back\\slash", "\xff\xfe not UTF-8",
		"*?[", "~", "\x01", "é", "e\u0301", strings.Repeat("n", vfs.NameMax), volume.PrivateName + "x",
	}
	for i, n := range odd {
		f, _, _, err := s.root.Create(s.ctx, name(n), s.plain(0o644))
		if vfs.StatusOf(err) == vfs.Inval { // a host that wants UTF-8
			s.Logf("%q is refused", n)
			odd[i] = ""
			continue
		}
		s.ok(n, err)
		s.ok("close", f.Close())
	}
	odd = slices.DeleteFunc(odd, func(n string) bool { return n == "" })
	slices.Sort(odd)
	s.wantNames(s.root, odd...)
	for _, n := range odd {
		s.must(s.root.StatAt(s.ctx, name(n)))
		s.ok(n, s.root.Unlink(s.ctx, name(n)))
	}
	s.wantNames(s.root)
}

// privateHidden: no call on the root sees PrivateName, and below it is a name as any.
func (s *suite) privateHidden() {
	p := name(volume.PrivateName)
	w := s.plain(0o755)
	_, err := s.root.StatAt(s.ctx, p)
	s.want("stat", err, vfs.NoEnt)
	_, _, err = s.root.IdentifyAt(s.ctx, p)
	s.want("identify", err, vfs.NoEnt)
	_, err = s.root.OpenDir(s.ctx, p)
	s.want("opendir", err, vfs.NoEnt)
	_, err = s.root.MarkAt(s.ctx, p)
	s.want("mark", err, vfs.NoEnt)
	s.want("rmdir", s.root.Rmdir(s.ctx, p), vfs.NoEnt)
	s.want("unlink", s.root.Unlink(s.ctx, p), vfs.NoEnt)
	s.want("rename away", s.root.Rename(s.ctx, p, s.root, name("x"), false), vfs.NoEnt)
	for _, t := range s.makeable() {
		_, _, err := s.make(s.root, volume.PrivateName, t, w)
		s.want("make", err, vfs.Acces)
	}
	st := s.made(s.root, "f", vfs.Regular)
	s.want("rename to", s.root.Rename(s.ctx, name("f"), s.root, p, false), vfs.Acces)
	s.want("rename to, exclusive", s.root.Rename(s.ctx, name("f"), s.root, p, true), vfs.Acces, vfs.Exist)
	if s.caps.Links {
		s.want("link to", s.root.Link(s.ctx, s.root, name("f"), st.Key, p), vfs.Acces)
	}
	s.wantNames(s.root, "f")

	sub := s.dir(s.root, "d")
	s.made(sub, volume.PrivateName, vfs.Directory)
	s.wantNames(sub, volume.PrivateName)

	inside := s.v.Private()
	s.file(inside, "note", "private")
	if got := s.content(inside, "note"); got != "private" {
		s.Errorf("content %q", got)
	}
	s.ok("rename out", inside.Rename(s.ctx, name("note"), s.root, name("note"), true))
	s.wantNames(s.root, "d", "f", "note")
	s.ok("close of the volume's own", inside.Close())
	s.ok("close of the volume's own", s.root.Close())
	s.must(inside.Stat(s.ctx))
	s.must(s.root.Stat(s.ctx))
}

func (s *suite) marker() {
	m := s.v.Marker()
	if m.Format != volume.MarkerFormat || m.Volume != s.v.ID().String() {
		s.Fatalf("marker %+v", m)
	}
	_, birth, err := s.v.Private().Identify(s.ctx)
	s.ok("identify", err)
	if m.Birth != birth {
		s.Errorf("birth %+v, is %+v", m.Birth, birth)
	}
	m.Epoch += 7
	m.Members = append(m.Members, volume.Member{Volume: s.v.ID().String(), Name: "x"})
	s.ok("set", s.v.SetMarker(s.ctx, m))
	if got := s.v.Marker(); got.Epoch != m.Epoch || !slices.Equal(got.Members, m.Members) || got.Birth != birth {
		s.Errorf("marker %+v", got)
	}
}

func (s *suite) list() {
	const many = 2000 // several buffers of any host call
	d := s.dir(s.root, "d")
	want := map[string]uint64{}
	for i := range many {
		n := strings.Repeat("x", i%97) + string(rune('a'+i%26)) + "-" + strings.Repeat("y", i/100) + string(rune('A'+i%100%26)) + string(rune('0'+i%10)) + "." + itoa(i)
		want[n] = s.made(d, n, vfs.Regular).Key.Ino
	}
	got := map[string]bool{}
	s.ok("list", d.List(s.ctx, func(e volume.Entry) bool {
		n := e.Name.String()
		if got[n] {
			s.Errorf("%q twice", n)
		}
		got[n] = true
		if e.Type != 0 && e.Type != vfs.Regular || e.Ino != 0 && e.Ino != want[n] {
			s.Errorf("%q: %+v, ino %d", n, e, want[n])
		}
		return true
	}))
	if len(got) != len(want) {
		s.Errorf("%d names, want %d", len(got), len(want))
	}
	seen := 0
	s.ok("list", d.List(s.ctx, func(volume.Entry) bool { seen++; return seen < 5 }))
	if seen != 5 {
		s.Errorf("went on to %d entries after false", seen)
	}
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	if err := d.List(ctx, func(volume.Entry) bool { return true }); err == nil {
		s.Error("listed to the end although the context had ended")
	}
}

func itoa(i int) string {
	if i < 10 {
		return string(rune('0' + i))
	}
	return itoa(i/10) + itoa(i%10)
}

func (s *suite) space() {
	sp, err := s.v.Space(s.ctx)
	s.ok("space", err)
	if sp.Total == 0 || sp.Free > sp.Total || sp.Avail > sp.Free || sp.FileSystem == 0 {
		s.Errorf("%+v", sp)
	}
}
