package remote

import (
	"context"

	"sheaf/vfs"
)

// Root implements vfs.FS.
func (c *Client) Root(ctx context.Context, w *vfs.Who) (vfs.Attr, error) {
	return c.GetAttr(ctx, w, c.root)
}

// GetAttr implements vfs.FS by GETATTR.
func (c *Client) GetAttr(ctx context.Context, w *vfs.Who, n vfs.Node) (vfs.Attr, error) {
	fh, err := c.handle(ctx, w, n)
	if err != nil {
		return vfs.Attr{}, err
	}
	r, err := c.call(ctx, w, procGetAttr, args{}.handle(fh))
	if err != nil {
		return vfs.Attr{}, err
	}
	var a vfs.Attr
	if r.ok() {
		a = r.attrOf(n)
	}
	return a, r.end()
}

// meet is GETATTR of a handle whose object is not known yet.
func (c *Client) meet(ctx context.Context, w *vfs.Who, fh []byte) (vfs.Attr, error) {
	r, err := c.call(ctx, w, procGetAttr, args{}.handle(fh))
	if err != nil {
		return vfs.Attr{}, err
	}
	var a vfs.Attr
	if r.ok() {
		got, fileid := r.attr()
		a = r.learn(got, fileid, fh)
	}
	return a, r.end()
}

// SetAttr implements vfs.FS by SETATTR.
func (c *Client) SetAttr(ctx context.Context, w *vfs.Who, n vfs.Node, set *vfs.SetAttr, guard *vfs.Time) (vfs.Change, error) {
	fh, err := c.handle(ctx, w, n)
	if err != nil {
		return vfs.Change{}, err
	}
	a := args{}.handle(fh).set(set).flag(guard != nil)
	if guard != nil {
		a = a.time(*guard)
	}
	r, err := c.call(ctx, w, procSetAttr, a)
	if err != nil {
		return vfs.Change{}, err
	}
	return r.change(n), r.end()
}

// Access implements vfs.FS by ACCESS.
func (c *Client) Access(ctx context.Context, w *vfs.Who, n vfs.Node, want vfs.AccessMask) (vfs.AccessMask, vfs.Attr, error) {
	fh, err := c.handle(ctx, w, n)
	if err != nil {
		return 0, vfs.Attr{}, err
	}
	r, err := c.call(ctx, w, procAccess, args{}.handle(fh).u32(uint32(want)))
	if err != nil {
		return 0, vfs.Attr{}, err
	}
	a := r.postOp(n)
	var got vfs.AccessMask
	if r.ok() {
		if got = vfs.AccessMask(r.Uint32()); got&^want != 0 {
			r.violate("asked for %06b, granted %06b", want, got)
		}
	}
	err = r.end()
	return got, a, err
}

// ReadLink implements vfs.FS by READLINK.
func (c *Client) ReadLink(ctx context.Context, w *vfs.Who, n vfs.Node) (string, vfs.Attr, error) {
	fh, err := c.handle(ctx, w, n)
	if err != nil {
		return "", vfs.Attr{}, err
	}
	r, err := c.call(ctx, w, procReadLink, args{}.handle(fh))
	if err != nil {
		return "", vfs.Attr{}, err
	}
	a := r.postOp(n)
	var target string
	if r.ok() {
		target = string(r.String(1 << 20))
	}
	return target, a, r.end()
}

// Statfs implements vfs.FS by FSSTAT.
func (c *Client) Statfs(ctx context.Context, w *vfs.Who, n vfs.Node) (vfs.Space, vfs.Attr, error) {
	fh, err := c.handle(ctx, w, n)
	if err != nil {
		return vfs.Space{}, vfs.Attr{}, err
	}
	r, err := c.call(ctx, w, procFSStat, args{}.handle(fh))
	if err != nil {
		return vfs.Space{}, vfs.Attr{}, err
	}
	a := r.postOp(n)
	var s vfs.Space
	if r.ok() {
		s = vfs.Space{
			TotalBytes: r.Uint64(), FreeBytes: r.Uint64(), AvailBytes: r.Uint64(),
			TotalFiles: r.Uint64(), FreeFiles: r.Uint64(), AvailFiles: r.Uint64(), Invarsec: r.Uint32(),
		}
	}
	return s, a, r.end()
}

// info is what FSINFO says.
type info struct {
	attr                       vfs.Attr
	readMax, writeMax, dirPref uint32
	maxFileSize                uint64
	timeDelta                  vfs.Time
	properties                 uint32
}

// Properties of FSINFO (RFC 1813 section 3.3.19).
const (
	propLink        = 0x01
	propSymlink     = 0x02
	propHomogeneous = 0x08
	propCanSetTime  = 0x10
)

func (c *Client) fsInfo(ctx context.Context, w *vfs.Who, n vfs.Node) (i info, err error) {
	fh, err := c.handle(ctx, w, n)
	if err != nil {
		return i, err
	}
	r, err := c.call(ctx, w, procFSInfo, args{}.handle(fh))
	if err != nil {
		return i, err
	}
	i.attr = r.postOp(n)
	if !r.ok() {
		return i, r.end()
	}
	var f [7]uint32 // rtmax, rtpref, rtmult, wtmax, wtpref, wtmult, dtpref
	for k := range f {
		f[k] = r.Uint32()
	}
	if f[1] > f[0] || f[4] > f[3] {
		r.violate("the preferred sizes %d and %d exceed the largest, %d and %d", f[1], f[4], f[0], f[3])
	}
	i.readMax, i.writeMax, i.dirPref = f[0], f[3], f[6]
	i.maxFileSize, i.timeDelta, i.properties = r.Uint64(), r.time(), r.Uint32()
	return i, r.end()
}

// Limits implements vfs.FS by FSINFO and PATHCONF.
func (c *Client) Limits(ctx context.Context, w *vfs.Who, n vfs.Node) (vfs.Limits, vfs.Attr, error) {
	i, err := c.fsInfo(ctx, w, n)
	if err != nil {
		return vfs.Limits{}, i.attr, err
	}
	fh, err := c.handle(ctx, w, n)
	if err != nil {
		return vfs.Limits{}, vfs.Attr{}, err
	}
	r, err := c.call(ctx, w, procPathConf, args{}.handle(fh))
	if err != nil {
		return vfs.Limits{}, vfs.Attr{}, err
	}
	l := vfs.Limits{
		MaxFileSize: i.maxFileSize, TimeDelta: i.timeDelta, Links: i.properties&propLink != 0,
		Symlinks: i.properties&propSymlink != 0, Homogeneous: i.properties&propHomogeneous != 0,
		CanSetTime: i.properties&propCanSetTime != 0,
	}
	a := r.postOp(n)
	if r.ok() {
		l.LinkMax, l.NameMax = r.Uint32(), r.Uint32()
		l.NoTrunc, l.ChownRestricted, l.CaseInsensitive, l.CasePreserving = r.Bool(), r.Bool(), r.Bool(), r.Bool()
	}
	return l, a, r.end()
}

// GetACL implements vfs.FS: the protocol knows no lists, so there are none.
func (c *Client) GetACL(ctx context.Context, w *vfs.Who, n vfs.Node) (vfs.ACLs, vfs.Attr, error) {
	a, err := c.GetAttr(ctx, w, n)
	return vfs.ACLs{}, a, err
}

// SetACL implements vfs.FS: NotSupp.
func (c *Client) SetACL(ctx context.Context, w *vfs.Who, n vfs.Node, _ vfs.ACLs) (vfs.Attr, error) {
	a, err := c.GetAttr(ctx, w, n)
	if err == nil {
		err = vfs.NotSupp
	}
	return a, err
}

// Subscribe implements vfs.FS: a server does not call back.
func (c *Client) Subscribe(func(vfs.Event)) (cancel func()) { return func() {} }
