//go:build linux || darwin || freebsd

//nolint:errorlint // the errnos of package unix come bare
package local

import (
	"context"
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// The attributes and bytes of <linux/posix_acl_xattr.h>: a version, then one
// record per entry, little-endian:
//
//	u32 version = 2
//	{ u16 tag, u16 perm, u32 id } ...   id is 0xffffffff where the tag has none
const (
	xattrAccessACL  = "system.posix_acl_access"
	xattrDefaultACL = "system.posix_acl_default"
	aclVersion      = 2
	aclHead         = 4
	aclEntry        = 8
	aclNoID         = 0xffffffff
	// aclMaxEntries bounds what is read: one XATTR_SIZE_MAX of 64 KiB.
	aclMaxEntries = (64<<10 - aclHead) / aclEntry
)

var errACL = errors.New("an access control list of unknown form")

func parseACL(b []byte) (vfs.ACL, error) {
	if len(b) == 0 {
		return nil, nil
	}
	if len(b) < aclHead || (len(b)-aclHead)%aclEntry != 0 || binary.LittleEndian.Uint32(b) != aclVersion {
		return nil, errACL
	}
	b = b[aclHead:]
	a := make(vfs.ACL, 0, len(b)/aclEntry)
	for ; len(b) > 0; b = b[aclEntry:] {
		e := vfs.ACLEntry{
			Tag:  vfs.ACLTag(binary.LittleEndian.Uint16(b)),
			Perm: binary.LittleEndian.Uint16(b[2:]),
		}
		if e.Tag == vfs.ACLUser || e.Tag == vfs.ACLGroup {
			e.ID = binary.LittleEndian.Uint32(b[4:])
		}
		a = append(a, e)
	}
	return a, nil
}

func encodeACL(a vfs.ACL) []byte {
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, aclHead+aclEntry*len(a)), aclVersion)
	for _, e := range a {
		id := uint32(aclNoID)
		if e.Tag == vfs.ACLUser || e.Tag == vfs.ACLGroup {
			id = e.ID
		}
		b = binary.LittleEndian.AppendUint16(b, uint16(e.Tag))
		b = binary.LittleEndian.AppendUint16(b, e.Perm)
		b = binary.LittleEndian.AppendUint32(b, id)
	}
	return b
}

// acls are the lists of the object behind r.
func (v *Volume) acls(r *ref) (a vfs.ACLs, err error) {
	if !v.caps.ACLs || r.st.Type == vfs.Symlink {
		return vfs.ACLs{}, nil
	}
	if a.Access, err = readACL(r, xattrAccessACL); err != nil {
		return vfs.ACLs{}, err
	}
	if r.st.Type == vfs.Directory {
		if a.Default, err = readACL(r, xattrDefaultACL); err != nil {
			return vfs.ACLs{}, err
		}
	}
	return a, nil
}

func readACL(r *ref, attr string) (vfs.ACL, error) {
	var small [aclHead + 24*aclEntry]byte
	n, err := r.getxattr(attr, small[:])
	if err == nil {
		return parseACL(small[:n])
	}
	if err == unix.ERANGE {
		big := make([]byte, aclHead+aclMaxEntries*aclEntry)
		if n, err = r.getxattr(attr, big); err == nil {
			return parseACL(big[:n])
		}
	}
	if err == unix.EOPNOTSUPP {
		return nil, nil
	}
	return nil, err
}

// setACLs replaces both lists; an empty one is taken away.
func (v *Volume) setACLs(r *ref, a vfs.ACLs) error {
	empty := len(a.Access) == 0 && len(a.Default) == 0
	switch {
	case !v.caps.ACLs && empty:
		return nil
	case !v.caps.ACLs, r.st.Type == vfs.Symlink:
		return v.refuse(vfs.NotSupp, "set the access control list", "")
	case r.st.Type != vfs.Directory && len(a.Default) > 0:
		return vfs.Inval
	}
	if err := writeACL(r, xattrAccessACL, a.Access); err != nil {
		return err
	}
	if r.st.Type != vfs.Directory {
		return nil
	}
	return writeACL(r, xattrDefaultACL, a.Default)
}

func writeACL(r *ref, attr string, a vfs.ACL) error {
	if len(a) > aclMaxEntries {
		return unix.E2BIG
	}
	if len(a) == 0 {
		return r.removexattr(attr)
	}
	return r.setxattr(attr, encodeACL(a))
}

// ACLs are the directory's own.
func (d *dir) ACLs(context.Context) (vfs.ACLs, error) {
	r, err := d.self()
	if err != nil {
		return vfs.ACLs{}, d.fault("read the access control list", "", err)
	}
	a, err := d.v.acls(&r)
	return a, d.fault("read the access control list", "", err)
}

// ACLsAt are those of the object called name.
func (d *dir) ACLsAt(_ context.Context, name vfs.Name) (vfs.ACLs, error) {
	r, err := d.pinned("read the access control list", name, nil)
	if err != nil {
		return vfs.ACLs{}, err
	}
	defer r.close()
	a, err := d.v.acls(&r)
	return a, d.fault("read the access control list", name.String(), err)
}

// SetACLs replaces the directory's own.
func (d *dir) SetACLs(_ context.Context, a vfs.ACLs) error {
	r, err := d.self()
	if err == nil {
		err = d.v.setACLs(&r, a)
	}
	return d.fault("set the access control list", "", err)
}

// SetACLsAt replaces those of the pinned object.
func (d *dir) SetACLsAt(_ context.Context, name vfs.Name, want volume.Key, a vfs.ACLs) error {
	r, err := d.pinned("set the access control list", name, &want)
	if err != nil {
		return err
	}
	defer r.close()
	return d.fault("set the access control list", name.String(), d.v.setACLs(&r, a))
}
