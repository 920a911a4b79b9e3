package vfstest

import (
	"slices"

	"sheaf/vfs"
)

var aclPromises = []promise{
	{"no list: the mode says it all", 0, checkNoACL},
	{"what is set is kept, sorted", acls, checkSetACL},
	{"the mode follows the access list, and back", acls, checkACLMode},
	{"access lists are obeyed", acls | callers, checkACLObeyed},
	{"default lists are inherited", acls, checkACLInherited},
	{"lists that are refused", acls, checkACLRefused},
}

// acl is an access list that lets user do what perm says.
func acl(user uint32, perm, mask uint16) vfs.ACL {
	return vfs.ACL{
		{Tag: vfs.ACLUserObj, Perm: 6},
		{Tag: vfs.ACLUser, Perm: perm, ID: user},
		{Tag: vfs.ACLGroupObj, Perm: 4},
		{Tag: vfs.ACLMask, Perm: mask},
		{Tag: vfs.ACLOther, Perm: 0},
	}
}

// wantACLs wants n to have these lists.
func (b *bench) wantACLs(n vfs.Node, want vfs.ACLs) {
	b.Helper()
	got, a, err := b.fs.GetACL(b.ctx, b.w, n)
	b.ok(err, "GetACL")
	if a.Node.ID != n.ID || !slices.Equal(got.Access, want.Access) || !slices.Equal(got.Default, want.Default) {
		b.Errorf("lists of %v: %v, want %v", a.Node.ID, got, want)
	}
}

// setACL gives n these lists.
func (b *bench) setACL(n vfs.Node, lists vfs.ACLs) vfs.Attr {
	b.Helper()
	a, err := b.fs.SetACL(b.ctx, b.w, n, lists)
	b.ok(err, "SetACL")
	return a
}

func checkNoACL(b *bench) {
	for _, t := range []vfs.Type{vfs.Regular, vfs.Directory, vfs.Symlink} {
		b.wantACLs(b.mk(b.dir, "x"+string(rune('0'+t)), &vfs.How{Type: t}).Node, vfs.ACLs{})
	}
}

func checkSetACL(b *bench) {
	f, d := b.file("f"), b.folder("d")
	list := acl(77, 6, 6)
	before := b.attr(f)
	shuffled := slices.Clone(list)
	slices.Reverse(shuffled)
	after := b.setACL(f, vfs.ACLs{Access: shuffled})
	b.moved("SetACL", before, after, false)
	b.wantACLs(f, vfs.ACLs{Access: list})
	lists := vfs.ACLs{Access: list, Default: acl(78, 7, 5)}
	b.setACL(d, lists)
	b.wantACLs(d, lists)
	b.setACL(d, vfs.ACLs{Access: list})
	b.wantACLs(d, vfs.ACLs{Access: list})
	b.setACL(d, vfs.ACLs{})
	b.wantACLs(d, vfs.ACLs{})
}

func checkACLMode(b *bench) {
	f := b.file("f")
	b.chmod(f, 0o1644)
	if a := b.setACL(f, vfs.ACLs{Access: acl(77, 7, 3)}); a.Mode != 0o1630 {
		b.Errorf("mode %04o, want 1630: the mask stands for the group", a.Mode)
	}
	b.chmod(f, 0o751)
	want := acl(77, 7, 5)
	want[0].Perm, want[4].Perm = 7, 1
	b.wantACLs(f, vfs.ACLs{Access: want})
	minimal := vfs.ACL{{Tag: vfs.ACLUserObj, Perm: 6}, {Tag: vfs.ACLGroupObj, Perm: 4}, {Tag: vfs.ACLOther, Perm: 4}}
	if a := b.setACL(f, vfs.ACLs{Access: minimal}); a.Mode != 0o644 {
		b.Errorf("mode %04o, want 0644", a.Mode)
	}
	b.wantACLs(f, vfs.ACLs{})
}

func checkACLObeyed(b *bench) {
	f := b.mkAs(ann, b.dir, "f", &vfs.How{Type: vfs.Regular}).Node
	for _, c := range []struct {
		perm, mask uint16
		want       vfs.AccessMask
		read       vfs.Status
	}{
		{6, 7, vfs.AccessRead | vfs.AccessModify | vfs.AccessExtend, vfs.OK},
		{6, 4, vfs.AccessRead, vfs.OK},
		{6, 2, vfs.AccessModify | vfs.AccessExtend, vfs.Acces},
		{0, 7, 0, vfs.Acces},
	} {
		b.setACL(f, vfs.ACLs{Access: acl(cid.UID, c.perm, c.mask)})
		got, _, err := b.fs.Access(b.ctx, cid, f, vfs.AccessAll)
		b.ok(err, "Access")
		if got != c.want {
			b.Errorf("%d masked by %d: %06b, want %06b", c.perm, c.mask, got, c.want)
		}
		_, _, _, err = b.fs.Read(b.ctx, cid, f, make([]byte, 1), 0)
		b.want(err, "Read", c.read)
	}
	d := b.mkAs(ann, b.dir, "d", &vfs.How{Type: vfs.Directory}).Node
	b.chmod(d, 0o700)
	_, _, err := b.fs.Make(b.ctx, cid, d, name("x"), &vfs.How{Type: vfs.Regular})
	b.want(err, "Make", vfs.Acces)
	b.setACL(d, vfs.ACLs{Access: acl(cid.UID, 7, 7)})
	b.mkAs(cid, d, "x", &vfs.How{Type: vfs.Regular})
}

func checkACLInherited(b *bench) {
	d := b.folder("d")
	def := acl(77, 7, 7)
	b.setACL(d, vfs.ACLs{Default: def})
	f := b.mk(d, "f", &vfs.How{Type: vfs.Regular, Set: vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o666}})
	masked := acl(77, 7, 6)
	b.wantACLs(f.Node, vfs.ACLs{Access: masked})
	if f.Mode != 0o660 {
		b.Errorf("file: mode %04o, want 0660", f.Mode)
	}
	sub := b.mk(d, "sub", &vfs.How{Type: vfs.Directory, Set: vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o777}})
	b.wantACLs(sub.Node, vfs.ACLs{Access: def, Default: def})
	if sub.Mode != 0o670 {
		b.Errorf("directory: mode %04o, want 0670", sub.Mode)
	}
	l := b.mk(d, "l", &vfs.How{Type: vfs.Symlink})
	b.wantACLs(l.Node, vfs.ACLs{})
	b.rename(d, "f", b.dir, "f")
	b.wantACLs(f.Node, vfs.ACLs{Access: masked})
}

func checkACLRefused(b *bench) {
	f, d := b.file("f"), b.folder("d")
	before := b.attr(f)
	_, err := b.fs.SetACL(b.ctx, b.w, f, vfs.ACLs{Access: acl(1, 1, 1)[:3]})
	b.want(err, "no mask, nobody else", vfs.Inval)
	_, err = b.fs.SetACL(b.ctx, b.w, f, vfs.ACLs{Default: acl(1, 1, 1)})
	b.want(err, "a default list of a file", vfs.Inval)
	_, err = b.fs.SetACL(b.ctx, b.w, d, vfs.ACLs{Access: acl(1, 1, 1), Default: acl(1, 8, 1)})
	b.want(err, "a permission of four bits", vfs.Inval)
	if b.opts.As == nil {
		_, err = b.fs.SetACL(b.ctx, ann, f, vfs.ACLs{Access: acl(1, 1, 1)})
		b.want(err, "a list by another", vfs.Perm)
	}
	b.still("a refused list", before)
	b.wantACLs(d, vfs.ACLs{})
}
