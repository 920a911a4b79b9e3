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

func (f *oneFile) Lookup(context.Context, *vfs.Who, vfs.Node, vfs.Name) (obj, dir vfs.Attr, err error) {
	return f.file, f.dir, nil
}

func (f *oneFile) Read(_ context.Context, _ *vfs.Who, _ vfs.Node, buf []byte, _ uint64) (int, bool, vfs.Attr, error) {
	return len(buf), false, f.file, nil
}

// hotCalls are the calls that must not allocate, with their arguments.
func hotCalls(s *Server) map[nfs.NFSProcedure][]byte {
	x := s.table.Load().roots[0].id
	fh := s.appendHandle(nil, x, newOneFile().file.Node)
	dir := s.appendHandle(nil, x, newOneFile().dir.Node)
	return map[nfs.NFSProcedure][]byte{
		nfs.NFSProcedureGetAttr: fh,
		nfs.NFSProcedureAccess:  xdr.AppendUint32(slices.Clip(fh), uint32(vfs.AccessAll)),
		nfs.NFSProcedureLookup:  xdr.AppendString(dir, "a-file-with-a-name"),
		nfs.NFSProcedureRead:    xdr.AppendUint32(xdr.AppendUint64(slices.Clip(fh), 4096), 4096),
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

func hotCall(proc nfs.NFSProcedure, args []byte) *rpc.Call {
	return &rpc.Call{
		Prog: progNFS, Vers: versNFS, Proc: uint32(proc), Args: args, NoWait: true,
		Client: netip.MustParseAddrPort("192.0.2.1:700"),
		Cred:   &rpc.Cred{Flavor: rpc.AuthSys, UID: 1000, GID: 1000, GIDs: []uint32{4, 24}},
	}
}

func TestHotPathsDoNotAllocate(t *testing.T) {
	s, procs := newHot(t)
	for proc, args := range hotCalls(s) {
		c := hotCall(proc, args)
		out := make([]byte, 0, 16<<10)
		n := testing.AllocsPerRun(100, func() {
			if _, v := procs[proc].Handler(t.Context(), c, out); v != rpc.Done {
				t.Fatalf("%v: verdict %v", proc, v)
			}
		})
		if n != 0 {
			t.Errorf("%v: %v allocations a call, want none", proc, n)
		}
	}
}

func BenchmarkProc(b *testing.B) {
	s, procs := newHot(b)
	for proc, args := range hotCalls(s) {
		b.Run(procNames[proc], func(b *testing.B) {
			c := hotCall(proc, args)
			out := make([]byte, 0, 16<<10)
			ctx := b.Context()
			b.ReportAllocs()
			for b.Loop() {
				procs[proc].Handler(ctx, c, out)
			}
		})
	}
}
