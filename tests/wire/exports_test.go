package wire

import (
	"bytes"
	"slices"
	"testing"

	nfs "github.com/willscott/go-nfs"

	"sheaf/nfsd"
	"sheaf/nfsd/xdr"
	"sheaf/vfs"
	"sheaf/vfs/vfstest"
)

// tree is a Model with the directories of a share: /pub and /home, 0777, and in
// /home one 0700 of uid 1000.
func tree(t *testing.T) *vfstest.Model {
	t.Helper()
	m := vfstest.NewModel(vfstest.ModelOptions{})
	c := start(t, m, nil, options(t, everybody)).dial()
	root := c.root("/")
	c.mkdir(root, "pub", 0o777)
	home := c.mkdir(root, "home", 0o777)
	own := c.mkdir(home, "own", 0o700)
	c.mkdir(own, "inner", 0o777)
	c.ok(nfs.NFSProcedureSetAttr, fh(own).set(settings{uid: new(uint32(1000)), gid: new(uint32(1000))}).noGuard())
	return m
}

// TestSquash makes a file as one caller and looks whose it is.
func TestSquash(t *testing.T) {
	m := tree(t)
	type ids struct{ uid, gid uint32 }
	const nobody, noID = vfs.Nobody, 1<<32 - 1 // the id that chown(2) takes for "leave it alone"
	for _, tt := range []struct {
		options string
		as      ids
		none    bool // AUTH_NONE
		want    ids
	}{
		{"rw", ids{1000, 100}, false, ids{1000, 100}},
		{"rw", ids{0, 0}, false, ids{nobody, nobody}},
		{"rw", ids{0, 100}, false, ids{nobody, 100}},
		{"rw", ids{1000, 0}, false, ids{1000, nobody}},
		{"rw", ids{}, true, ids{nobody, nobody}},
		{"rw,no_root_squash", ids{0, 0}, false, ids{0, 0}},
		{"rw,no_root_squash", ids{}, true, ids{nobody, nobody}},
		{"rw,all_squash", ids{1000, 100}, false, ids{nobody, nobody}},
		{"rw,all_squash,no_all_squash", ids{1000, 100}, false, ids{1000, 100}},
		{"rw,all_squash,anonuid=7,anongid=8", ids{1000, 100}, false, ids{7, 8}},
		{"rw,anonuid=7,anongid=-2", ids{0, 0}, false, ids{7, 1<<32 - 2}},
		{"rw,no_root_squash,all_squash", ids{0, 0}, false, ids{nobody, nobody}},
		{"rw", ids{noID, noID}, false, ids{nobody, nobody}},
		{"rw,no_root_squash", ids{noID, 0}, false, ids{nobody, 0}},
		{"rw,no_root_squash,anongid=8", ids{1000, noID}, false, ids{1000, 8}},
	} {
		s := start(t, m, nil, options(t, "/pub *(insecure,"+tt.options+")\n"))
		c := s.dial().as(tt.as.uid, tt.as.gid)
		if tt.none {
			c.asNobody()
		}
		pub := c.root("/pub")
		r := c.ok(nfs.NFSProcedureCreate, fh(pub).str("f").u32(1).set(setMode(0o644)))
		if got := (ids{r.attr.uid, r.attr.gid}); got != tt.want {
			t.Errorf("%s: %v became %v, want %v", tt.options, tt.as, got, tt.want)
		}
		c.ok(nfs.NFSProcedureRemove, fh(pub).str("f"))
	}
}

// TestSquashedGroups: group 0 among the supplementary groups is squashed too.
func TestSquashedGroups(t *testing.T) {
	m := tree(t)
	c := start(t, m, nil, options(t, everybody)).dial()
	pub := c.root("/pub")
	for name, gid := range map[string]uint32{"wheel": 0, "staff": 50} {
		f := c.create(pub, name, 0o640)
		c.ok(nfs.NFSProcedureSetAttr, fh(f).set(settings{gid: new(gid)}).noGuard())
	}
	c = start(t, m, nil, options(t, "/pub *(rw,insecure)\n")).dial().as(1000, 1000, 4, 0, 50)
	pub = c.root("/pub")
	c.ok(nfs.NFSProcedureRead, fh(c.lookup(pub, "staff")).u64(0).u32(1))
	c.want(nfs.NFSStatusAccess, nfs.NFSProcedureRead, fh(c.lookup(pub, "wheel")).u64(0).u32(1))
}

func TestForceSquash(t *testing.T) {
	o := options(t, "/pub *(rw,no_root_squash,insecure)\n")
	o.ForceSquash = &nfsd.Identity{UID: 500, GID: 501, Groups: []uint32{502}}
	c := start(t, tree(t), nil, o).dial()
	for _, uid := range []uint32{0, 1000} {
		c.as(uid, uid)
		pub := c.root("/pub")
		if a := c.ok(nfs.NFSProcedureCreate, fh(pub).str("f").u32(0).set(setMode(0o644))).attr; a.uid != 500 || a.gid != 501 {
			t.Errorf("uid %d became %d:%d", uid, a.uid, a.gid)
		}
	}
}

// TestWhoIsAdmitted comes from several addresses and ports.
func TestWhoIsAdmitted(t *testing.T) {
	s := start(t, tree(t), nil, options(t, `
/pub  192.0.2.7(rw,insecure) 192.0.2.0/24(ro,insecure) 198.51.100.0/255.255.255.0 2001:db8::/32(rw)
/home *(rw,insecure,all_squash) 192.0.2.7(ro,insecure)
`))
	const ok, acces, rofs = nfs.NFSStatusOk, nfs.NFSStatusAccess, nfs.NFSStatusROFS
	for _, tt := range []struct {
		from, dir string
		mkdir     nfs.NFSStatus // acces: MNT is refused
	}{
		{"192.0.2.7:5000", "/pub", ok},
		{"192.0.2.8:5000", "/pub", rofs},
		{"[::ffff:192.0.2.7]:5000", "/pub", ok},
		{"192.0.3.7:5000", "/pub", acces},
		{"198.51.100.9:1023", "/pub", rofs},
		{"198.51.100.9:1024", "/pub", acces},
		{"[2001:db8::1]:700", "/pub", ok},
		{"[2001:db8::1]:7000", "/pub", acces},
		{"[2001:db9::1]:700", "/pub", acces},
		{"192.0.2.7:5000", "/home", rofs},
		{"203.0.113.1:5000", "/home", ok},
		{"203.0.113.1:5000", "/", acces},
		{"203.0.113.1:5000", "/public", acces},
	} {
		c := s.dialFrom(tt.from).as(1000, 1000)
		status, dir := c.mnt(tt.dir)
		if status != nfs.MountStatusOk {
			if status != nfs.MountStatusErrAcces || tt.mkdir != acces {
				t.Errorf("%s MNT %s: %d", tt.from, tt.dir, status)
			}
			continue
		}
		r := c.do(nfs.NFSProcedureMkDir, fh(dir).str("d").set(setMode(0o755)))
		if r.status != tt.mkdir {
			t.Errorf("%s in %s: %d, want %d", tt.from, tt.dir, r.status, tt.mkdir)
		}
		if r.status == ok {
			c.ok(nfs.NFSProcedureRmDir, fh(dir).str("d"))
		}
	}
}

// TestStolenHandle: a handle is no ticket. Who is not admitted cannot use it.
func TestStolenHandle(t *testing.T) {
	s := start(t, tree(t), nil, options(t, "/pub 192.0.2.7(rw,insecure)\n/home *(rw)\n"))
	pub := s.dialFrom("192.0.2.7:5000").root("/pub")
	c := s.dialFrom("192.0.2.8:5000")
	c.want(nfs.NFSStatusAccess, nfs.NFSProcedureGetAttr, fh(pub))
	for what, call := range nameCalls(pub, pub, "x") {
		if r := c.do(call.proc, call.args); r.status != nfs.NFSStatusAccess {
			t.Errorf("%s: %d", what, r.status)
		}
	}
	home := s.dialFrom("192.0.2.8:700").root("/home")
	c.want(nfs.NFSStatusAccess, nfs.NFSProcedureGetAttr, fh(home)) // from a port that is not secure
}

// TestMountBeneathAnExport: beneath the exported directory, the caller walks as
// who he is; above it, the administrator's word counts.
func TestMountBeneathAnExport(t *testing.T) {
	m := tree(t)
	s := start(t, m, nil, options(t, "/home *(rw,insecure)\n"))
	c := s.dial().as(1000, 1000)
	c.root("/home/own/inner")
	c.as(1001, 1001)
	c.root("/home/own") // 0700 itself; MNT shows a handle, not what is in it
	if status, _ := c.mnt("/home/own/inner"); status != nfs.MountStatusErrAcces {
		t.Errorf("another one's way through 0700: %d", status)
	}
	c.as(0, 0)
	if status, _ := c.mnt("/home/own/inner"); status != nfs.MountStatusErrAcces {
		t.Errorf("a squashed root's way through 0700: %d", status)
	}
	s = start(t, m, nil, options(t, "/home *(rw,insecure)\n/home/own/inner *(rw,insecure)\n"))
	s.dial().as(1001, 1001).root("/home/own/inner")
}

// TestNestedExports: the longest path counts, whoever is admitted there.
func TestNestedExports(t *testing.T) {
	s := start(t, tree(t), nil, options(t, "/ *(rw,insecure,no_root_squash)\n/home 192.0.2.7(ro)\n"))
	c := s.dial()
	if status, _ := c.mnt("/home"); status != nfs.MountStatusErrAcces {
		t.Errorf("MNT of the inner export: %d", status)
	}
	root := c.root("/")
	home := c.lookup(root, "home")
	if c.mkdir(home, "new", 0o755) == nil { // by the outer export, its rules hold
		t.Error("no handle")
	}
	inner := s.dialFrom("192.0.2.7:700").root("/home")
	if bytes.Equal(inner, home) {
		t.Error("handles of two exports are equal")
	}
}

func TestReload(t *testing.T) {
	s := start(t, tree(t), nil, options(t, "/pub *(rw,insecure)\n/home *(rw,insecure)\n"))
	c := s.dial().as(1000, 1000)
	pub, home := c.root("/pub"), c.root("/home")
	mkdir := func(dir []byte, want nfs.NFSStatus) {
		t.Helper()
		if r := c.do(nfs.NFSProcedureMkDir, fh(dir).str("d").set(setMode(0o755))); r.status != want {
			t.Errorf("mkdir: %d, want %d", r.status, want)
		} else if want == nfs.NFSStatusOk {
			c.ok(nfs.NFSProcedureRmDir, fh(dir).str("d"))
		}
	}
	reload := func(text string) {
		t.Helper()
		if err := s.Reload(t.Context(), options(t, text).Exports); err != nil {
			t.Fatal(err)
		}
	}
	mkdir(pub, nfs.NFSStatusOk)
	reload("/pub *(ro,insecure)\n/home 192.0.2.1(rw)\n")
	mkdir(pub, nfs.NFSStatusROFS)
	mkdir(home, nfs.NFSStatusAccess)
	reload("/pub *(rw,insecure,all_squash)\n")
	mkdir(pub, nfs.NFSStatusOk)
	mkdir(home, nfs.NFSStatusStale)
	// The order of exports means nothing to a handle.
	reload("/home *(rw,insecure)\n/pub *(rw,insecure)\n")
	mkdir(pub, nfs.NFSStatusOk)
	mkdir(home, nfs.NFSStatusOk)

	bad := options(t, "/home *(rw,insecure)\n/home/ 192.0.2.1(rw)\n").Exports // one export
	if len(bad.List) != 1 || len(bad.List[0].Clients) != 2 {
		t.Errorf("%+v", bad.List)
	}
}

// TestExportThatComesLater: a directory that is not there yet is exported when it
// is, and another one that takes its place.
func TestExportThatComesLater(t *testing.T) {
	m := tree(t)
	setup := start(t, m, nil, options(t, everybody)).dial()
	s := start(t, m, nil, options(t, "/later *(rw,insecure,no_root_squash)\n"))
	c := s.dial()
	if status, _ := c.mnt("/later"); status != nfs.MountStatusErrNoEnt {
		t.Errorf("before: %d", status)
	}
	root := setup.root("/")
	setup.mkdir(root, "later", 0o755)
	if err := s.Reload(t.Context(), options(t, "/later *(rw,insecure,no_root_squash)\n").Exports); err != nil {
		t.Fatal(err)
	}
	later := c.root("/later")
	c.ok(nfs.NFSProcedureGetAttr, fh(later))

	// Another directory takes its place: it is what is exported from now on.
	setup.ok(nfs.NFSProcedureRename, fh(root).str("later").fh(root).str("old"))
	setup.mkdir(root, "later", 0o755)
	other := c.root("/later")
	c.ok(nfs.NFSProcedureGetAttr, fh(other))
	if bytes.Equal(other, later) {
		t.Error("the new directory has the old one's handle")
	}
	c.ok(nfs.NFSProcedureGetAttr, fh(later)) // who has the old one keeps it …
	if err := s.Reload(t.Context(), options(t, "/later *(rw,insecure,no_root_squash)\n").Exports); err != nil {
		t.Fatal(err)
	}
	c.ok(nfs.NFSProcedureGetAttr, fh(other))
	c.want(nfs.NFSStatusStale, nfs.NFSProcedureGetAttr, fh(later)) // … until the next load
}

func TestMountLists(t *testing.T) {
	s := start(t, tree(t), nil, options(t, "/pub *(rw,insecure) 192.0.2.0/24\n/home *(insecure)\n"))
	c := s.dialFrom("192.0.2.9:700")
	_, b := c.call(progMount, 3, uint32(nfs.MountProcExport), nil)
	want := args(nil).u32(1).str("/pub").u32(1).str("*").u32(1).str("192.0.2.0/24").u32(0).
		u32(1).str("/home").u32(1).str("*").u32(0).u32(0)
	if !bytes.Equal(b, want) {
		t.Errorf("EXPORT\n% x, want\n% x", b, want)
	}
	c.root("/pub")
	c.root("/home/own")
	c.root("/pub") // again: moves to the end
	dump := func() (list []string) {
		_, b := c.call(progMount, 3, uint32(nfs.MountProcDump), nil)
		d := xdr.NewDecoder(b)
		for d.Bool() {
			list = append(list, string(d.String(255))+" "+string(d.String(1024)))
		}
		return list
	}
	if got, want := dump(), []string{"192.0.2.9 /home/own", "192.0.2.9 /pub"}; !slices.Equal(got, want) {
		t.Errorf("DUMP %q, want %q", got, want)
	}
	other := s.dialFrom("192.0.2.10:700")
	other.call(progMount, 3, uint32(nfs.MountProcUmnt), args(nil).str("/pub"))
	other.call(progMount, 3, uint32(nfs.MountProcUmntAll), nil)
	if n := len(dump()); n != 2 {
		t.Errorf("another client's UMNTALL left %d", n)
	}
	c.call(progMount, 3, uint32(nfs.MountProcUmntAll), nil)
	if n := len(dump()); n != 0 {
		t.Errorf("UMNTALL left %d", n)
	}
}

func TestStats(t *testing.T) {
	s := serve(t)
	c := s.dial()
	root := c.root("/")
	c.ok(nfs.NFSProcedureGetAttr, fh(root))
	c.want(nfs.NFSStatusBadHandle, nfs.NFSProcedureGetAttr, fh(nil))
	st := s.Stats()
	if p := st.Procs[nfs.NFSProcedureGetAttr]; p.Name != "GETATTR" || p.Calls != 2 || p.Errors != 1 {
		t.Errorf("%+v", p)
	}
	if len(st.Mounts) != 1 || st.Mounts[0].Dir != "/" || st.RPC.Calls < 3 {
		t.Errorf("%+v", st)
	}
}
