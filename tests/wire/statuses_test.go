package wire

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	nfs "github.com/willscott/go-nfs"

	"sheaf/vfs"
	"sheaf/vfs/vfstest"
)

// failing is a file system whose every verb fails with one status, once it is set.
type failing struct {
	vfs.FS
	status atomic.Uint32
}

func (f *failing) err() error {
	if s := vfs.Status(f.status.Load()); s != vfs.OK {
		return s
	}
	return nil
}

func (f *failing) GetAttr(ctx context.Context, w *vfs.Who, n vfs.Node) (vfs.Attr, error) {
	a, _ := f.FS.GetAttr(ctx, w, n)
	return a, f.err()
}

func (f *failing) SetAttr(context.Context, *vfs.Who, vfs.Node, *vfs.SetAttr, *vfs.Time) (vfs.Change, error) {
	return vfs.Change{}, f.err()
}

func (f *failing) Access(ctx context.Context, w *vfs.Who, n vfs.Node, want vfs.AccessMask) (vfs.AccessMask, vfs.Attr, error) {
	got, a, _ := f.FS.Access(ctx, w, n, want)
	return got, a, f.err()
}

func (f *failing) Lookup(context.Context, *vfs.Who, vfs.Node, vfs.Name) (obj, dir vfs.Attr, err error) {
	return obj, dir, f.err()
}

func (f *failing) ReadLink(context.Context, *vfs.Who, vfs.Node) (string, vfs.Attr, error) {
	return "", vfs.Attr{}, f.err()
}

func (f *failing) Read(context.Context, *vfs.Who, vfs.Node, []byte, uint64) (int, bool, vfs.Attr, error) {
	return 0, false, vfs.Attr{}, f.err()
}

func (f *failing) Write(context.Context, *vfs.Who, vfs.Node, []byte, uint64, vfs.Stable) (vfs.Written, vfs.Change, error) {
	return vfs.Written{}, vfs.Change{}, f.err()
}

func (f *failing) Commit(context.Context, *vfs.Who, vfs.Node, uint64, uint64) (vfs.Verifier, vfs.Change, error) {
	return vfs.Verifier{}, vfs.Change{}, f.err()
}

func (f *failing) Make(context.Context, *vfs.Who, vfs.Node, vfs.Name, *vfs.How) (vfs.Attr, vfs.Change, error) {
	return vfs.Attr{}, vfs.Change{}, f.err()
}

func (f *failing) Link(context.Context, *vfs.Who, vfs.Node, vfs.Node, vfs.Name) (vfs.Attr, vfs.Change, error) {
	return vfs.Attr{}, vfs.Change{}, f.err()
}

func (f *failing) Remove(context.Context, *vfs.Who, vfs.Node, vfs.Name) (vfs.Change, error) {
	return vfs.Change{}, f.err()
}

func (f *failing) RemoveDir(context.Context, *vfs.Who, vfs.Node, vfs.Name) (vfs.Change, error) {
	return vfs.Change{}, f.err()
}

func (f *failing) Rename(context.Context, *vfs.Who, vfs.Node, vfs.Name, vfs.Node, vfs.Name) (from, to vfs.Change, err error) {
	return from, to, f.err()
}

func (f *failing) ReadDir(context.Context, *vfs.Who, vfs.Node, vfs.Cookie, bool, func(*vfs.DirEntry) bool) (vfs.Attr, bool, error) {
	return vfs.Attr{}, true, f.err()
}

func (f *failing) Statfs(context.Context, *vfs.Who, vfs.Node) (vfs.Space, vfs.Attr, error) {
	return vfs.Space{}, vfs.Attr{}, f.err()
}

func (f *failing) Limits(context.Context, *vfs.Who, vfs.Node) (vfs.Limits, vfs.Attr, error) {
	return vfs.Limits{}, vfs.Attr{}, f.err()
}

// rfc1813 are the errors at the end of each procedure's description in section 3.3,
// as they stand there, without NFS3ERR_.
var rfc1813 = map[nfs.NFSProcedure]string{
	nfs.NFSProcedureGetAttr:     "IO STALE BADHANDLE SERVERFAULT",
	nfs.NFSProcedureSetAttr:     "PERM IO ACCES INVAL NOSPC ROFS DQUOT NOT_SYNC STALE BADHANDLE SERVERFAULT",
	nfs.NFSProcedureLookup:      "IO NOENT ACCES NOTDIR NAMETOOLONG STALE BADHANDLE SERVERFAULT",
	nfs.NFSProcedureAccess:      "IO STALE BADHANDLE SERVERFAULT",
	nfs.NFSProcedureReadlink:    "IO INVAL ACCES STALE BADHANDLE NOTSUPP SERVERFAULT",
	nfs.NFSProcedureRead:        "IO NXIO ACCES INVAL STALE BADHANDLE SERVERFAULT",
	nfs.NFSProcedureWrite:       "IO ACCES FBIG DQUOT NOSPC ROFS INVAL STALE BADHANDLE SERVERFAULT",
	nfs.NFSProcedureCreate:      "IO ACCES EXIST NOTDIR NOSPC ROFS NAMETOOLONG DQUOT STALE BADHANDLE NOTSUPP SERVERFAULT",
	nfs.NFSProcedureMkDir:       "IO ACCES EXIST NOTDIR NOSPC ROFS NAMETOOLONG DQUOT STALE BADHANDLE NOTSUPP SERVERFAULT",
	nfs.NFSProcedureSymlink:     "IO ACCES EXIST NOTDIR NOSPC ROFS NAMETOOLONG DQUOT STALE BADHANDLE NOTSUPP SERVERFAULT",
	nfs.NFSProcedureMkNod:       "IO ACCES EXIST NOTDIR NOSPC ROFS NAMETOOLONG DQUOT STALE BADHANDLE NOTSUPP SERVERFAULT BADTYPE",
	nfs.NFSProcedureRemove:      "NOENT IO ACCES NOTDIR NAMETOOLONG ROFS STALE BADHANDLE SERVERFAULT",
	nfs.NFSProcedureRmDir:       "NOENT IO ACCES INVAL EXIST NOTDIR NAMETOOLONG ROFS NOTEMPTY STALE BADHANDLE NOTSUPP SERVERFAULT",
	nfs.NFSProcedureRename:      "NOENT IO ACCES EXIST XDEV NOTDIR ISDIR INVAL NOSPC ROFS MLINK NAMETOOLONG NOTEMPTY DQUOT STALE BADHANDLE NOTSUPP SERVERFAULT",
	nfs.NFSProcedureLink:        "IO ACCES EXIST XDEV NOTDIR INVAL NOSPC ROFS MLINK NAMETOOLONG DQUOT STALE BADHANDLE NOTSUPP SERVERFAULT",
	nfs.NFSProcedureReadDir:     "IO ACCES NOTDIR BAD_COOKIE TOOSMALL STALE BADHANDLE SERVERFAULT",
	nfs.NFSProcedureReadDirPlus: "IO ACCES NOTDIR BAD_COOKIE TOOSMALL STALE BADHANDLE NOTSUPP SERVERFAULT",
	nfs.NFSProcedureFSStat:      "IO STALE BADHANDLE SERVERFAULT",
	nfs.NFSProcedureFSInfo:      "IO STALE BADHANDLE SERVERFAULT",
	nfs.NFSProcedurePathConf:    "IO STALE BADHANDLE SERVERFAULT",
	nfs.NFSProcedureCommit:      "IO STALE BADHANDLE SERVERFAULT",
}

// wider are the errors that go beyond that, as nfsd/status.go explains.
var wider = map[nfs.NFSProcedure]string{
	nfs.NFSProcedureSetAttr: "FBIG ISDIR NOTSUPP",
	nfs.NFSProcedureRead:    "ISDIR",
	nfs.NFSProcedureWrite:   "PERM ISDIR",
	nfs.NFSProcedureCreate:  "PERM FBIG ISDIR",
	nfs.NFSProcedureMkDir:   "PERM MLINK",
	nfs.NFSProcedureSymlink: "PERM",
	nfs.NFSProcedureMkNod:   "PERM",
	nfs.NFSProcedureRemove:  "PERM ISDIR",
	nfs.NFSProcedureRmDir:   "PERM",
	nfs.NFSProcedureRename:  "PERM",
	nfs.NFSProcedureLink:    "PERM",
	nfs.NFSProcedureCommit:  "INVAL NOSPC DQUOT",
}

// wireNames are the names of RFC 1813 section 2.6.
var wireNames = map[nfs.NFSStatus]string{
	1: "PERM", 2: "NOENT", 5: "IO", 6: "NXIO", 13: "ACCES", 17: "EXIST", 18: "XDEV", 19: "NODEV", 20: "NOTDIR",
	21: "ISDIR", 22: "INVAL", 27: "FBIG", 28: "NOSPC", 30: "ROFS", 31: "MLINK", 63: "NAMETOOLONG", 66: "NOTEMPTY",
	69: "DQUOT", 70: "STALE", 71: "REMOTE", 10001: "BADHANDLE", 10002: "NOT_SYNC", 10003: "BAD_COOKIE",
	10004: "NOTSUPP", 10005: "TOOSMALL", 10006: "SERVERFAULT", 10007: "BADTYPE", 10008: "JUKEBOX",
}

// TestEveryStatusAtTheWire lets every procedure fail with every status. The answer
// is one that the procedure may give, the same one if it may, and has the form
// of a failure.
func TestEveryStatusAtTheWire(t *testing.T) {
	m := vfstest.NewModel(vfstest.ModelOptions{})
	fs := &failing{FS: m}
	c := start(t, m, fs, options(t, everybody)).dial()
	root := c.root("/")
	for proc, a := range everyCall(root) {
		may := strings.Fields(rfc1813[proc] + " " + wider[proc] + " ACCES JUKEBOX")
		for _, s := range vfs.Statuses() {
			if s == vfs.Again {
				continue // TestCallsThatMustWait
			}
			fs.status.Store(uint32(s))
			r := c.do(proc, a)
			got := wireNames[r.status]
			if !slices.Contains(may, got) {
				t.Errorf("%v failed with %v: %s (%d), which it may not answer", proc, s, got, r.status)
			}
			if own := wireName(s); slices.Contains(may, own) && got != own {
				t.Errorf("%v failed with %v: %s, may say %s", proc, s, got, own)
			}
		}
		fs.status.Store(0)
	}
}

// wireName is how section 2.6 spells s.
func wireName(s vfs.Status) string {
	return [...]string{
		vfs.Perm: "PERM", vfs.NoEnt: "NOENT", vfs.IO: "IO", vfs.NXIO: "NXIO", vfs.Acces: "ACCES", vfs.Exist: "EXIST",
		vfs.XDev: "XDEV", vfs.NoDev: "NODEV", vfs.NotDir: "NOTDIR", vfs.IsDir: "ISDIR", vfs.Inval: "INVAL",
		vfs.FBig: "FBIG", vfs.NoSpc: "NOSPC", vfs.ROFS: "ROFS", vfs.MLink: "MLINK", vfs.NameTooLong: "NAMETOOLONG",
		vfs.NotEmpty: "NOTEMPTY", vfs.DQuot: "DQUOT", vfs.Stale: "STALE", vfs.BadHandle: "BADHANDLE",
		vfs.NotSync: "NOT_SYNC", vfs.BadCookie: "BAD_COOKIE", vfs.NotSupp: "NOTSUPP", vfs.TooSmall: "TOOSMALL",
		vfs.ServerFault: "SERVERFAULT", vfs.BadType: "BADTYPE", vfs.Jukebox: "JUKEBOX", vfs.Again: "AGAIN",
	}[s]
}
