package perm

import (
	"reflect"
	"testing"

	"sheaf/vfs"
)

var (
	root  = &vfs.Who{}
	owner = &vfs.Who{UID: 1, GID: 10}
	mate  = &vfs.Who{UID: 2, GID: 20, Groups: []uint32{10}}
	other = &vfs.Who{UID: 3, GID: 30}
)

// TestAccess holds Access to RFC 1813 section 3.3.4 and the tables of
// fs/nfsd/vfs.c, inode(7) and acl(5).
func TestAccess(t *testing.T) {
	const (
		r, l, m, e = vfs.AccessRead, vfs.AccessLookup, vfs.AccessModify, vfs.AccessExtend
		d, x       = vfs.AccessDelete, vfs.AccessExecute
	)
	named := vfs.ACL{{Tag: vfs.ACLUserObj, Perm: 6}, {Tag: vfs.ACLUser, Perm: 7, ID: 3}, {Tag: vfs.ACLGroupObj, Perm: 4}, {Tag: vfs.ACLGroup, Perm: 2, ID: 20}, {Tag: vfs.ACLMask, Perm: 6}, {Tag: vfs.ACLOther}}
	for _, c := range []struct {
		name string
		w    *vfs.Who
		typ  vfs.Type
		mode uint32
		acl  vfs.ACL
		want vfs.AccessMask
	}{
		{"the owner's class decides, not the best class", owner, vfs.Regular, 0o077, nil, 0},
		{"the group's class by supplementary group", mate, vfs.Regular, 0o640, nil, r},
		{"others", other, vfs.Regular, 0o643, nil, m | e | x},
		{"root reads and writes without a bit", root, vfs.Regular, 0, nil, r | m | e},
		{"root executes with any x bit", root, vfs.Regular, 0o001, nil, r | m | e | x},
		{"root may all in a directory", root, vfs.Directory, 0, nil, r | l | m | e | d},
		{"no LOOKUP or DELETE of files", owner, vfs.Regular, 0o777, nil, r | m | e | x},
		{"no EXECUTE of directories", owner, vfs.Directory, 0o777, nil, r | l | m | e | d},
		{"adding and deleting need search too", owner, vfs.Directory, 0o600, nil, r},
		{"search alone", other, vfs.Directory, 0o701, nil, l},
		{"a device's mode counts", other, vfs.Char, 0o606, nil, r | m | e},
		{"a named user, masked", other, vfs.Regular, 0o660, named, r | m | e},
		{"any of one's groups may grant, none alone grants both: read", mate, vfs.Regular, 0o660, named, r | m | e},
		{"the owner's entry is not masked", owner, vfs.Regular, 0o620, named, r | m | e},
		{"nobody named", &vfs.Who{UID: 9, GID: 9}, vfs.Regular, 0o660, named, 0},
		{"an empty mask lets named users be others (Linux)", other, vfs.Regular, 0o604, named, r},
	} {
		a := &vfs.Attr{Type: c.typ, Mode: c.mode, UID: 1, GID: 10}
		if got := Access(c.w, a, c.acl, vfs.AccessAll); got != c.want {
			t.Errorf("%s: %06b, want %06b", c.name, got, c.want)
		}
		for bit := r; bit <= x; bit <<= 1 {
			if got := Access(c.w, a, c.acl, bit); got != c.want&bit {
				t.Errorf("%s: %06b of %06b", c.name, got, bit)
			}
		}
	}
	// acl(5): one entry must hold all that is asked for.
	if Allowed(mate, &vfs.Attr{Type: vfs.Regular, Mode: 0o660, UID: 1, GID: 10}, named, Read|Write) {
		t.Error("read of one group and write of another were added up")
	}
}

// TestServerOverrides holds what NFS servers allow beyond access(2) to RFC 1813
// section 4.4.
func TestServerOverrides(t *testing.T) {
	for _, c := range []struct {
		name        string
		w           *vfs.Who
		mode        uint32
		read, write vfs.Status
	}{
		{"the owner reads and writes what is closed to all", owner, 0, vfs.OK, vfs.OK},
		{"others do not", other, 0o770, vfs.Acces, vfs.Acces},
		{"who may execute may read", other, 0o711, vfs.OK, vfs.Acces},
		{"write alone", other, 0o702, vfs.Acces, vfs.OK},
		{"root", root, 0, vfs.OK, vfs.OK},
	} {
		a := &vfs.Attr{Type: vfs.Regular, Mode: c.mode, UID: 1, GID: 10}
		if got := vfs.StatusOf(ReadFile(c.w, a, nil)); got != c.read {
			t.Errorf("%s: read: %v", c.name, got)
		}
		if got := vfs.StatusOf(WriteFile(c.w, a, nil)); got != c.write {
			t.Errorf("%s: write: %v", c.name, got)
		}
	}
}

// TestSetAttr has the combinations that no single system call makes; those that
// one makes are compared with the kernel.
func TestSetAttr(t *testing.T) {
	const mode, uid, gid, size, now = vfs.SetMode, vfs.SetUID, vfs.SetGID, vfs.SetSize, vfs.SetMtimeNow
	for _, c := range []struct {
		name string
		w    *vfs.Who
		typ  vfs.Type
		mode uint32
		set  vfs.SetAttr
		want Outcome
		err  vfs.Status
	}{
		{"nothing", other, vfs.Regular, 0o6755, vfs.SetAttr{}, Outcome{Mode: 0o6755}, vfs.OK},
		{"O_TRUNC by who may write", other, vfs.Regular, 0o6772, vfs.SetAttr{Mask: size | now}, Outcome{Mode: 0o0772}, vfs.OK},
		{"O_TRUNC by root", root, vfs.Regular, 0o6772, vfs.SetAttr{Mask: size | now}, Outcome{Mode: 0o6772}, vfs.OK},
		{"size by the owner of a closed file", owner, vfs.Regular, 0, vfs.SetAttr{Mask: size}, Outcome{}, vfs.OK},
		{"size by others", other, vfs.Regular, 0o774, vfs.SetAttr{Mask: size}, Outcome{}, vfs.Acces},
		{"size of a directory", owner, vfs.Directory, 0o755, vfs.SetAttr{Mask: size}, Outcome{}, vfs.IsDir},
		{"size of a fifo", owner, vfs.FIFO, 0o755, vfs.SetAttr{Mask: size}, Outcome{}, vfs.Inval},
		{"mode of a symbolic link", root, vfs.Symlink, 0o777, vfs.SetAttr{Mask: mode}, Outcome{}, vfs.NotSupp},
		{"one time to now by who may write", other, vfs.Regular, 0o772, vfs.SetAttr{Mask: now}, Outcome{}, vfs.Perm},
		{"a billion nanoseconds", owner, vfs.Regular, 0o644, vfs.SetAttr{Mask: vfs.SetMtime, Mtime: vfs.Time{Nsec: 1e9}}, Outcome{}, vfs.Inval},
		{"mode and size: the mode asked for", owner, vfs.Regular, 0o644, vfs.SetAttr{Mask: mode | size, Mode: 0o4700}, Outcome{Mode: 0o4700}, vfs.OK},
		{"chown and mode: no set-id (knfsd)", root, vfs.Regular, 0o644, vfs.SetAttr{Mask: mode | uid, Mode: 0o6755, UID: 7}, Outcome{Mode: 0o755, UID: 7}, vfs.OK},
		{"chown and mode without group execution keep S_ISGID", root, vfs.Regular, 0o644, vfs.SetAttr{Mask: mode | uid, Mode: 0o6745, UID: 7}, Outcome{Mode: 0o2745, UID: 7}, vfs.OK},
		{"chown and mode of a directory", root, vfs.Directory, 0o755, vfs.SetAttr{Mask: mode | uid, Mode: 0o6755, UID: 7}, Outcome{Mode: 0o6755, UID: 7}, vfs.OK},
		{"-1 leaves owner and group", owner, vfs.Regular, 0o6755, vfs.SetAttr{Mask: uid | gid, UID: NoID, GID: NoID}, Outcome{Mode: 0o6755}, vfs.OK},
		{"chgrp and S_ISGID of the new group", &vfs.Who{UID: 1, GID: 20}, vfs.Regular, 0o644, vfs.SetAttr{Mask: mode | gid, Mode: 0o2644, GID: 20}, Outcome{Mode: 0o2644, GID: 20}, vfs.OK},
		{"chgrp to a foreign group", owner, vfs.Regular, 0o644, vfs.SetAttr{Mask: gid, GID: 99}, Outcome{}, vfs.Perm},
		{"bits beyond the mode", owner, vfs.Regular, 0o644, vfs.SetAttr{Mask: mode, Mode: 0o170600}, Outcome{Mode: 0o600}, vfs.OK},
	} {
		a := &vfs.Attr{Type: c.typ, Mode: c.mode, UID: 1, GID: 10}
		got, err := SetAttr(c.w, a, nil, &c.set)
		if vfs.StatusOf(err) != c.err {
			t.Errorf("%s: %v, want %v", c.name, err, c.err)
		}
		if err != nil {
			continue
		}
		if c.want.UID == 0 {
			c.want.UID = a.UID
		}
		if c.want.GID == 0 {
			c.want.GID = a.GID
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

// TestBirthForOthers has what only NFS can ask: an owner at creation.
func TestBirthForOthers(t *testing.T) {
	dir := &vfs.Attr{Type: vfs.Directory, Mode: 0o2777, UID: 1, GID: 10}
	set := vfs.SetAttr{Mask: vfs.SetMode | vfs.SetUID | vfs.SetGID, Mode: 0o6755, UID: 7, GID: 70}
	for _, c := range []struct {
		name string
		w    *vfs.Who
		typ  vfs.Type
		want Born
	}{
		{"root gives it away, set-id bits go", root, vfs.Regular, Born{Mode: 0o755, UID: 7, GID: 70}},
		{"root gives a directory away", root, vfs.Directory, Born{Mode: 0o2755, UID: 7, GID: 70}},
		{"others cannot, and are not told", mate, vfs.Regular, Born{Mode: 0o6755, UID: 2, GID: 10}},
		{"a link has no mode", other, vfs.Symlink, Born{Mode: 0o777, UID: 3, GID: 10}},
	} {
		got, err := Birth(c.w, dir, nil, &vfs.How{Type: c.typ, Set: set})
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v, want %+v", c.name, got, err, c.want)
		}
	}
}

// TestNormalize holds Normalize to "VALID ACLs" of acl(5).
func TestNormalize(t *testing.T) {
	u, g, o, m := vfs.ACLEntry{Tag: vfs.ACLUserObj, Perm: 7}, vfs.ACLEntry{Tag: vfs.ACLGroupObj, Perm: 5}, vfs.ACLEntry{Tag: vfs.ACLOther, Perm: 1}, vfs.ACLEntry{Tag: vfs.ACLMask, Perm: 4}
	user := func(id uint32) vfs.ACLEntry { return vfs.ACLEntry{Tag: vfs.ACLUser, Perm: 6, ID: id} }
	group := func(id uint32) vfs.ACLEntry { return vfs.ACLEntry{Tag: vfs.ACLGroup, Perm: 6, ID: id} }
	for _, c := range []struct {
		name     string
		in, want vfs.ACL // want nil: Inval
	}{
		{"minimal", vfs.ACL{u, g, o}, vfs.ACL{u, g, o}},
		{"unsorted", vfs.ACL{o, m, group(2), group(1), user(9), g, user(8), u}, vfs.ACL{u, user(8), user(9), g, group(1), group(2), m, o}},
		{"a mask too many is fine", vfs.ACL{u, g, m, o}, vfs.ACL{u, g, m, o}},
		{"no owner", vfs.ACL{g, o}, nil},
		{"no group", vfs.ACL{u, o}, nil},
		{"no others", vfs.ACL{u, g}, nil},
		{"two owners", vfs.ACL{u, u, g, o}, nil},
		{"two masks", vfs.ACL{u, g, m, m, o}, nil},
		{"a user without a mask", vfs.ACL{u, user(1), g, o}, nil},
		{"a group without a mask", vfs.ACL{u, g, group(1), o}, nil},
		{"a user twice", vfs.ACL{u, user(1), user(1), g, m, o}, nil},
		{"a user and a group of one number", vfs.ACL{u, user(1), g, group(1), m, o}, vfs.ACL{u, user(1), g, group(1), m, o}},
		{"permissions of four bits", vfs.ACL{u, g, {Tag: vfs.ACLOther, Perm: 8}}, nil},
		{"an unknown tag", vfs.ACL{u, g, o, {Tag: 3}}, nil},
		{"nobody's id", vfs.ACL{u, user(NoID), g, m, o}, nil},
		{"too many", append(make(vfs.ACL, MaxACLEntries), u, g, o), nil},
		{"an id where none belongs", vfs.ACL{u, {Tag: vfs.ACLGroupObj, Perm: 5, ID: 4}, o}, vfs.ACL{u, g, o}},
	} {
		got, err := Normalize(c.in)
		switch {
		case c.want == nil && vfs.StatusOf(err) != vfs.Inval:
			t.Errorf("%s: %v, %v, want Inval", c.name, got, err)
		case c.want != nil && (err != nil || !reflect.DeepEqual(got, c.want)):
			t.Errorf("%s: %v, %v, want %v", c.name, got, err, c.want)
		}
	}
}

// TestSetACLRefused has the refusals that the kernel gives other names.
func TestSetACLRefused(t *testing.T) {
	minimal := vfs.ACL{{Tag: vfs.ACLUserObj}, {Tag: vfs.ACLGroupObj}, {Tag: vfs.ACLOther}}
	for _, c := range []struct {
		name string
		w    *vfs.Who
		typ  vfs.Type
		acls vfs.ACLs
		want vfs.Status
	}{
		{"of a symbolic link", root, vfs.Symlink, vfs.ACLs{Access: minimal}, vfs.NotSupp},
		{"a default list of a file", owner, vfs.Regular, vfs.ACLs{Default: minimal}, vfs.Inval},
		{"an invalid list", owner, vfs.Regular, vfs.ACLs{Access: minimal[:2]}, vfs.Inval},
		{"an invalid default list", owner, vfs.Directory, vfs.ACLs{Default: minimal[:2]}, vfs.Inval},
		{"by another", mate, vfs.Regular, vfs.ACLs{Access: minimal}, vfs.Perm},
		{"by the owner", owner, vfs.Regular, vfs.ACLs{Access: minimal}, vfs.OK},
	} {
		a := &vfs.Attr{Type: c.typ, Mode: 0o777, UID: 1, GID: 10}
		if _, _, err := SetACL(c.w, a, c.acls); vfs.StatusOf(err) != c.want {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// TestExclusive holds the verifier's way into times and back.
func TestExclusive(t *testing.T) {
	v := [8]byte{0xff, 1, 2, 3, 0x80, 5, 6, 7}
	a := vfs.Attr{Type: vfs.Regular}
	a.Atime, a.Mtime = ExclusiveTimes(v)
	if a.Mtime != (vfs.Time{Sec: 0x7f010203}) || a.Atime != (vfs.Time{Sec: 0x00050607}) {
		t.Errorf("times %+v, %+v", a.Atime, a.Mtime)
	}
	if !SameExclusive(&a, v) {
		t.Error("not recognized")
	}
	for what, change := range map[string]func(*vfs.Attr, *[8]byte){
		"a byte of mtime":   func(_ *vfs.Attr, v *[8]byte) { v[3]++ },
		"a byte of atime":   func(_ *vfs.Attr, v *[8]byte) { v[7]++ },
		"data":              func(a *vfs.Attr, _ *[8]byte) { a.Size = 1 },
		"another type":      func(a *vfs.Attr, _ *[8]byte) { a.Type = vfs.FIFO },
		"a time set since":  func(a *vfs.Attr, _ *[8]byte) { a.Mtime = vfs.Time{Sec: 1} },
		"the other one too": func(a *vfs.Attr, _ *[8]byte) { a.Atime = vfs.Time{Sec: 1} },
	} {
		b, u := a, v
		change(&b, &u)
		if SameExclusive(&b, u) {
			t.Errorf("recognized in spite of %s", what)
		}
	}
}
