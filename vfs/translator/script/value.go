package script

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"sheaf/vfs"
)

// status is a vfs.Status as a value. Its name is that of the NFS3ERR_ constant without the prefix.
type status vfs.Status

var statusNames = map[vfs.Status]string{ //nolint:exhaustive // no script meets Again
	vfs.OK: "OK", vfs.Perm: "PERM", vfs.NoEnt: "NOENT", vfs.IO: "IO", vfs.NXIO: "NXIO",
	vfs.Acces: "ACCES", vfs.Exist: "EXIST", vfs.XDev: "XDEV", vfs.NoDev: "NODEV",
	vfs.NotDir: "NOTDIR", vfs.IsDir: "ISDIR", vfs.Inval: "INVAL", vfs.FBig: "FBIG",
	vfs.NoSpc: "NOSPC", vfs.ROFS: "ROFS", vfs.MLink: "MLINK", vfs.NameTooLong: "NAMETOOLONG",
	vfs.NotEmpty: "NOTEMPTY", vfs.DQuot: "DQUOT", vfs.Stale: "STALE", vfs.BadHandle: "BADHANDLE",
	vfs.NotSync: "NOT_SYNC", vfs.BadCookie: "BAD_COOKIE", vfs.NotSupp: "NOTSUPP",
	vfs.TooSmall: "TOOSMALL", vfs.ServerFault: "SERVERFAULT", vfs.BadType: "BADTYPE",
	vfs.Jukebox: "JUKEBOX",
}

func (s status) String() string {
	if n, ok := statusNames[vfs.Status(s)]; ok {
		return n
	}
	return vfs.Status(s).Error()
}
func (status) Type() string            { return "status" }
func (status) Freeze()                 {}
func (s status) Truth() starlark.Bool  { return vfs.Status(s) == vfs.OK }
func (s status) Hash() (uint32, error) { return uint32(s), nil }

// node is a vfs.Node as a value. Two are equal if they are the same object.
type node struct{ vfs.Node }

var _ starlark.Comparable = (*node)(nil)

func (n *node) String() string        { return n.ID.String() }
func (*node) Type() string            { return "node" }
func (*node) Freeze()                 {}
func (*node) Truth() starlark.Bool    { return true }
func (n *node) Hash() (uint32, error) { return binary.LittleEndian.Uint32(n.ID[4:]), nil }

// CompareSameType implements starlark.Comparable: nodes are equal or not, and have no order.
func (n *node) CompareSameType(op syntax.Token, y starlark.Value, _ int) (bool, error) {
	return equality(op, n, n.ID == y.(*node).ID)
}

func equality(op syntax.Token, x starlark.Value, same bool) (bool, error) {
	switch op {
	case syntax.EQL:
		return same, nil
	case syntax.NEQ:
		return !same, nil
	default:
		return false, fmt.Errorf("%s %s %s: they have no order", x.Type(), op, x.Type())
	}
}

// Attr implements starlark.HasAttrs.
func (n *node) Attr(name string) (starlark.Value, error) {
	if name == "fileid" {
		return starlark.MakeUint64(n.ID.FileID()), nil
	}
	return nil, nil
}

// AttrNames implements starlark.HasAttrs.
func (*node) AttrNames() []string { return []string{"fileid"} }

// cred is who asks, as a value to compare and to key a table by: user, group and supplementary
// groups, packed in this order as the caller gave them.
type cred struct{ packed string }

func credOf(w *vfs.Who) cred {
	b := make([]byte, 0, 8+4*len(w.Groups))
	b = binary.BigEndian.AppendUint32(b, w.UID)
	b = binary.BigEndian.AppendUint32(b, w.GID)
	for _, g := range w.Groups {
		b = binary.BigEndian.AppendUint32(b, g)
	}
	return cred{string(b)}
}

func (c cred) String() string {
	var b strings.Builder
	for i := 0; i+4 <= len(c.packed); i += 4 {
		if i > 0 {
			b.WriteByte(':')
		}
		fmt.Fprintf(&b, "%d", binary.BigEndian.Uint32([]byte(c.packed[i:i+4])))
	}
	return b.String()
}
func (cred) Type() string            { return "cred" }
func (cred) Freeze()                 {}
func (cred) Truth() starlark.Bool    { return true }
func (c cred) Hash() (uint32, error) { return starlark.String(c.packed).Hash() }

// typeNames are the values of attr.type.
var typeNames = [...]starlark.Value{
	vfs.Regular: starlark.String("reg"), vfs.Directory: starlark.String("dir"), vfs.Block: starlark.String("blk"),
	vfs.Char: starlark.String("chr"), vfs.Symlink: starlark.String("lnk"), vfs.Socket: starlark.String("sock"),
	vfs.FIFO: starlark.String("fifo"),
}

func typeName(t vfs.Type) starlark.Value {
	if int(t) < len(typeNames) && typeNames[t] != nil {
		return typeNames[t]
	}
	return starlark.String(fmt.Sprintf("type %d", t))
}

// attrs are a vfs.Attr as a value. While a call lasts it may point into the call; what
// a table keeps is a copy.
type attrs struct{ a *vfs.Attr }

var attrFields = map[string]func(a *vfs.Attr) starlark.Value{
	"node":   func(a *vfs.Attr) starlark.Value { return &node{a.Node} },
	"fileid": func(a *vfs.Attr) starlark.Value { return starlark.MakeUint64(a.Node.ID.FileID()) },
	"type":   func(a *vfs.Attr) starlark.Value { return typeName(a.Type) },
	"mode":   func(a *vfs.Attr) starlark.Value { return starlark.MakeUint64(uint64(a.Mode)) },
	"nlink":  func(a *vfs.Attr) starlark.Value { return starlark.MakeUint64(uint64(a.Nlink)) },
	"uid":    func(a *vfs.Attr) starlark.Value { return starlark.MakeUint64(uint64(a.UID)) },
	"gid":    func(a *vfs.Attr) starlark.Value { return starlark.MakeUint64(uint64(a.GID)) },
	"size":   func(a *vfs.Attr) starlark.Value { return starlark.MakeUint64(a.Size) },
	"used":   func(a *vfs.Attr) starlark.Value { return starlark.MakeUint64(a.Used) },
	"major":  func(a *vfs.Attr) starlark.Value { return starlark.MakeUint64(uint64(a.Major)) },
	"minor":  func(a *vfs.Attr) starlark.Value { return starlark.MakeUint64(uint64(a.Minor)) },
	"atime":  func(a *vfs.Attr) starlark.Value { return seconds(a.Atime) },
	"mtime":  func(a *vfs.Attr) starlark.Value { return seconds(a.Mtime) },
	"ctime":  func(a *vfs.Attr) starlark.Value { return seconds(a.Ctime) },
}

// seconds is t as a number of seconds since 1970; a float keeps some 200 ns of the present.
func seconds(t vfs.Time) starlark.Value {
	return starlark.Float(float64(t.Sec) + float64(t.Nsec)/1e9)
}

func (a attrs) String() string {
	return fmt.Sprintf("attr(fileid=%d, type=%v, mode=0o%o, size=%d)", a.a.Node.ID.FileID(), typeName(a.a.Type), a.a.Mode, a.a.Size)
}
func (attrs) Type() string          { return "attr" }
func (attrs) Freeze()               {}
func (attrs) Truth() starlark.Bool  { return true }
func (attrs) Hash() (uint32, error) { return 0, errUnhashable("attr") }

// Attr implements starlark.HasAttrs.
func (a attrs) Attr(name string) (starlark.Value, error) {
	if f := attrFields[name]; f != nil {
		return f(a.a), nil
	}
	return nil, nil
}

// AttrNames implements starlark.HasAttrs.
func (attrs) AttrNames() []string { return slices.Sorted(maps.Keys(attrFields)) }

// attrOf is a as a value, None if a is not there.
func attrOf(a *vfs.Attr) starlark.Value {
	if a.Node.IsZero() {
		return starlark.None
	}
	return attrs{a}
}

func errUnhashable(what string) error { return fmt.Errorf("unhashable type: %s", what) }
