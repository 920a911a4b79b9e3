package nfsd

import (
	"context"
	"net/netip"
	"slices"
	"testing"

	nfs "github.com/willscott/go-nfs"

	"sheaf/nfsd/rpc"
	"sheaf/nfsd/xdr"
	"sheaf/vfs"
)

// oneFile is the least vfs.FS that the hot paths need: a directory with one file.
// Every other method is missing and panics.
type oneFile struct {
	vfs.FS
	dir, file vfs.Attr
}

func newOneFile() *oneFile {
	return &oneFile{
		dir:  vfs.Attr{Node: vfs.Node{ID: vfs.NodeID{1}}, Type: vfs.Directory, Mode: 0o755, Nlink: 2},
		file: vfs.Attr{Node: vfs.Node{ID: vfs.NodeID{2}}, Type: vfs.Regular, Mode: 0o644, Nlink: 1, Size: 1 << 30},
	}
}

func (f *oneFile) Root(context.Context, *vfs.Who) (vfs.Attr, error) { return f.dir, nil }

func (f *oneFile) GetAttr(context.Context, *vfs.Who, vfs.Node) (vfs.Attr, error) { return f.file, nil }

func (f *oneFile) Access(_ context.Context, _ *vfs.Who, _ vfs.Node, want vfs.AccessMask) (vfs.AccessMask, vfs.Attr, error) {
	return want, f.file, nil
}

func (f *oneFile) Lookup(_ context.Context, _ *vfs.Who, _ vfs.Node, name vfs.Name) (obj, dir vfs.Attr, err error) {
	if name == missing {
		return obj, f.dir, vfs.NoEnt
	}
	return f.file, f.dir, nil
}

func (f *oneFile) Write(_ context.Context, _ *vfs.Who, _ vfs.Node, data []byte, _ uint64, stable vfs.Stable) (vfs.Written, vfs.Change, error) {
	return vfs.Written{Count: len(data), Stable: stable},
		vfs.Change{Before: f.file.Pre(), After: f.file, HasBefore: true, HasAfter: true}, nil
}

func (f *oneFile) Read(_ context.Context, _ *vfs.Who, _ vfs.Node, buf []byte, _ uint64) (int, bool, vfs.Attr, error) {
	return len(buf), false, f.file, nil
}

// missing is the name that oneFile's directory does not have.
var missing = vfs.MustName("a-file-that-is-not-there")

// hotCall is a call that must not allocate.
type hotCall struct {
	name string
	proc nfs.NFSProcedure
	args []byte
}

func hotCalls(s *Server) []hotCall {
	x := s.table.Load().roots[0].id
	fh := s.appendHandle(nil, x, newOneFile().file.Node)
	dir := s.appendHandle(nil, x, newOneFile().dir.Node)
	fh, dir = slices.Clip(fh), slices.Clip(dir)
	at := xdr.AppendUint64(fh, 4096)
	write := xdr.AppendUint32(xdr.AppendUint32(slices.Clip(at), 4096), uint32(vfs.FileSync))
	return []hotCall{
		{"NULL", nfs.NFSProcedureNull, nil},
		{"GETATTR", nfs.NFSProcedureGetAttr, fh},
		{"ACCESS", nfs.NFSProcedureAccess, xdr.AppendUint32(fh, uint32(vfs.AccessAll))},
		{"LOOKUP", nfs.NFSProcedureLookup, xdr.AppendString(dir, "a-file-with-a-name")},
		{"LOOKUP miss", nfs.NFSProcedureLookup, xdr.AppendString(dir, missing.String())},
		{"READ", nfs.NFSProcedureRead, xdr.AppendUint32(slices.Clip(at), 4096)},
		{"READ 1 MiB", nfs.NFSProcedureRead, xdr.AppendUint32(slices.Clip(at), 1<<20)},
		{"WRITE", nfs.NFSProcedureWrite, xdr.AppendOpaque(write, make([]byte, 4096))},
	}
}

func newHot(tb testing.TB) (*Server, []rpc.Proc) {
	tb.Helper()
	x, err := ParseExports(tb.Context(), "/ *(rw)\n", nil)
	if err != nil {
		tb.Fatal(err)
	}
	s, err := New(tb.Context(), newOneFile(), Options{Exports: x})
	if err != nil {
		tb.Fatal(err)
	}
	return s, s.procs()
}

func newCall(proc nfs.NFSProcedure, args []byte) *rpc.Call {
	return &rpc.Call{
		Prog: progNFS, Vers: versNFS, Proc: uint32(proc), Args: args, NoWait: true,
		Client: netip.MustParseAddrPort("192.0.2.1:700"),
		Cred:   &rpc.Cred{Flavor: rpc.AuthSys, UID: 1000, GID: 1000, GIDs: []uint32{4, 24}},
	}
}

func TestHotPathsDoNotAllocate(t *testing.T) {
	s, procs := newHot(t)
	ctx := t.Context()
	out := make([]byte, 0, 2<<20)
	for _, h := range hotCalls(s) {
		c := newCall(h.proc, h.args)
		n := testing.AllocsPerRun(100, func() {
			if _, v := procs[h.proc].Handler(ctx, c, out); v != rpc.Done {
				t.Fatalf("%s: verdict %v", h.name, v)
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations a call, want none", h.name, n)
		}
	}
}

func BenchmarkProc(b *testing.B) {
	s, procs := newHot(b)
	for _, h := range hotCalls(s) {
		b.Run(h.name, func(b *testing.B) {
			c := newCall(h.proc, h.args)
			out := make([]byte, 0, 2<<20)
			ctx := b.Context()
			b.ReportAllocs()
			for b.Loop() {
				procs[h.proc].Handler(ctx, c, out)
			}
		})
	}
}
