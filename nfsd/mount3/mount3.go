// Package mount3 serves the MOUNT program (RFC 1813 appendix I): version 3, and of
// versions 1 and 2 what old umount(8) and showmount(8) use. It speaks the protocol
// and keeps the list of mounts; what may be mounted, a Backend decides.
//
// The list is what clients said, for people to read (showmount -a). Nothing depends
// on it: a client that does not say goodbye stays in it, a handle works without it.
package mount3

import (
	"context"
	"log/slog"
	"sync/atomic"

	nfs "github.com/willscott/go-nfs"
	"golang.org/x/time/rate"

	"sheaf/nfsd/rpc"
	"sheaf/nfsd/xdr"
	"sheaf/vfs"
)

// Prog is the number of the MOUNT program.
const Prog = 100005

// Limits of the protocol and of this server.
const (
	// PathMax is the longest path of a directory, in bytes (MNTPATHLEN).
	PathMax = nfs.MntPathLen
	// NameMax is the longest name of a host in the list, in bytes (MNTNAMLEN).
	NameMax = nfs.MNTNameLen
	// DefaultMaxMounts is how many mounts the list holds at most.
	DefaultMaxMounts = 4096
	// ListMax bounds the encoded list of mounts, in bytes, and so a reply to DUMP:
	// room for DefaultMaxMounts of usual length, while a client that mounts "/./././…"
	// in all its spellings would bring 4.4 MiB into every reply.
	ListMax = 512 << 10
	// logRate and logBurst bound the lines logged about mounts, for a second and at
	// once: anybody who reaches the port can make them.
	logRate  = 2
	logBurst = 50
)

// Backend knows the exports.
type Backend interface {
	// Mount returns the file handle of directory dir, any bytes of at most PathMax
	// or longer, for the caller of c. Errors are those of vfs; Acces if dir is not
	// exported to the caller.
	Mount(ctx context.Context, c *rpc.Call, dir string) (handle []byte, err error)
	// Exports lists what is exported, to whomever.
	Exports() []Export
}

// Export is a line of the list of exports.
type Export struct {
	Dir     string
	Clients []string // as the administrator wrote them
}

// Server serves the program. Its methods are safe for concurrent use.
type Server struct {
	backend Backend
	log     *slog.Logger
	limit   *rate.Limiter // of lines in log
	quiet   atomic.Int64  // lines not logged since the last one
	list    list
}

// New returns a Server. maxMounts bounds the list of mounts; 0 means
// DefaultMaxMounts. What is mounted or refused is logged to log.
func New(b Backend, maxMounts int, log *slog.Logger) *Server {
	if maxMounts <= 0 {
		maxMounts = DefaultMaxMounts
	}
	return &Server{backend: b, log: log, limit: rate.NewLimiter(logRate, logBurst), list: list{limit: maxMounts}}
}

// Mounts is the list of mounts, oldest first.
func (s *Server) Mounts() []Mount { return s.list.all() }

// Program is the program to serve. Versions 1 and 2 have the same arguments and
// results but for MNT, whose handles have 32 bytes there and which they do without.
func (s *Server) Program() *rpc.Program {
	proc := func(name string, h rpc.Handler) rpc.Proc {
		return rpc.Proc{Name: name, Handler: h, Idempotent: true}
	}
	old := []rpc.Proc{
		nfs.MountProcNull:    {Name: "NULL", Handler: null, Inline: true, Idempotent: true},
		nfs.MountProcMount:   {Name: "MNT"},
		nfs.MountProcDump:    proc("DUMP", s.dump),
		nfs.MountProcUmnt:    proc("UMNT", s.umnt),
		nfs.MountProcUmntAll: proc("UMNTALL", s.umntAll),
		nfs.MountProcExport:  proc("EXPORT", s.export),
	}
	old[nfs.MountProcDump].ReplySize = s.dumpSize
	old[nfs.MountProcExport].ReplySize = s.exportSize
	v3 := append([]rpc.Proc(nil), old...)
	v3[nfs.MountProcMount] = proc("MNT", s.mnt)
	return &rpc.Program{Prog: Prog, Name: "mount", Versions: []rpc.Version{
		{Vers: 1, Procs: old}, {Vers: 2, Procs: old}, {Vers: 3, Procs: v3},
	}}
}

func null(_ context.Context, _ *rpc.Call, out []byte) ([]byte, rpc.Verdict) { return out, rpc.Done }

// statuses is the table from vfs.Status to mountstat3, which has words for few.
var statuses = map[vfs.Status]nfs.MountStatus{
	vfs.OK:          nfs.MountStatusOk,
	vfs.Perm:        nfs.MountStatusErrPerm,
	vfs.NoEnt:       nfs.MountStatusErrNoEnt,
	vfs.IO:          nfs.MountStatusErrIO,
	vfs.NXIO:        nfs.MountStatusErrServerFault,
	vfs.Acces:       nfs.MountStatusErrAcces,
	vfs.Exist:       nfs.MountStatusErrServerFault,
	vfs.XDev:        nfs.MountStatusErrServerFault,
	vfs.NoDev:       nfs.MountStatusErrServerFault,
	vfs.NotDir:      nfs.MountStatusErrNotDir,
	vfs.IsDir:       nfs.MountStatusErrServerFault,
	vfs.Inval:       nfs.MountStatusErrInval,
	vfs.FBig:        nfs.MountStatusErrServerFault,
	vfs.NoSpc:       nfs.MountStatusErrServerFault,
	vfs.ROFS:        nfs.MountStatusErrServerFault,
	vfs.MLink:       nfs.MountStatusErrServerFault,
	vfs.NameTooLong: nfs.MountStatusErrNameTooLong,
	vfs.NotEmpty:    nfs.MountStatusErrServerFault,
	vfs.DQuot:       nfs.MountStatusErrServerFault,
	vfs.Stale:       nfs.MountStatusErrNoEnt, // it went while the way there was walked
	vfs.BadHandle:   nfs.MountStatusErrServerFault,
	vfs.NotSync:     nfs.MountStatusErrServerFault,
	vfs.BadCookie:   nfs.MountStatusErrServerFault,
	vfs.NotSupp:     nfs.MountStatusErrNotSupp,
	vfs.TooSmall:    nfs.MountStatusErrServerFault,
	vfs.ServerFault: nfs.MountStatusErrServerFault,
	vfs.BadType:     nfs.MountStatusErrServerFault,
	vfs.Jukebox:     nfs.MountStatusErrIO, // the protocol has no "later"; clients with bg try again
	vfs.Again:       nfs.MountStatusErrServerFault,
}

func statusOf(err error) nfs.MountStatus {
	if st, ok := statuses[vfs.StatusOf(err)]; ok {
		return st
	}
	return nfs.MountStatusErrServerFault
}

// decodePath decodes a dirpath. One that is longer than the protocol allows is
// still answered with an error of the program, not of RPC; of it no more is copied
// than shows that it is too long.
func decodePath(args []byte) (string, bool) {
	var d xdr.Decoder
	d.Reset(args)
	b := d.String(1<<32 - 1) // a sub-slice of the record, which is bounded
	return string(b[:min(len(b), PathMax+1)]), d.Err() == nil
}

// tell logs what became of a MNT, unless too much was logged lately.
func (s *Server) tell(c *rpc.Call, dir string, err error) {
	if !s.limit.Allow() {
		s.quiet.Add(1)
		return
	}
	args := []any{"op", "MNT", "client", c.Client, "path", dir[:min(len(dir), PathMax)]}
	if n := s.quiet.Swap(0); n > 0 {
		args = append(args, "suppressed", n)
	}
	if err != nil {
		s.log.Warn("a mount was refused", append(args, "err", err)...)
		return
	}
	s.log.Info("mounted", args...)
}

// mnt is MNT: it gives the handle and the flavors that the caller may use.
func (s *Server) mnt(ctx context.Context, c *rpc.Call, out []byte) ([]byte, rpc.Verdict) {
	dir, ok := decodePath(c.Args)
	if !ok {
		return out, rpc.GarbageArgs
	}
	handle, err := s.backend.Mount(ctx, c, dir)
	s.tell(c, dir, err)
	if err != nil {
		return xdr.AppendUint32(out, uint32(statusOf(err))), rpc.Done
	}
	s.list.add(c, dir)
	out = xdr.AppendUint32(out, uint32(nfs.MountStatusOk))
	out = xdr.AppendOpaque(out, handle)
	out = xdr.AppendUint32(out, 1) // one flavor
	return xdr.AppendUint32(out, uint32(nfs.AuthFlavorUnix)), rpc.Done
}

// umnt is UMNT: it cannot fail.
func (s *Server) umnt(_ context.Context, c *rpc.Call, out []byte) ([]byte, rpc.Verdict) {
	dir, ok := decodePath(c.Args)
	if !ok {
		return out, rpc.GarbageArgs
	}
	s.list.remove(c.Client.Addr(), func(m *Mount) bool { return m.Dir == dir })
	return out, rpc.Done
}

// umntAll is UMNTALL.
func (s *Server) umntAll(_ context.Context, c *rpc.Call, out []byte) ([]byte, rpc.Verdict) {
	s.list.remove(c.Client.Addr(), func(*Mount) bool { return true })
	return out, rpc.Done
}

// listEnd is the end of a list on the wire, in bytes.
const listEnd = 4

func (s *Server) dumpSize([]byte) int { return s.list.encoded() + listEnd }

// dump is DUMP: the list of mounts.
func (s *Server) dump(_ context.Context, c *rpc.Call, out []byte) ([]byte, rpc.Verdict) {
	mounts := s.list.all()
	n := listEnd
	for i := range mounts {
		n += mounts[i].encoded()
	}
	out = c.Reserve(out, n)
	for _, m := range mounts {
		out = xdr.AppendBool(out, true)
		out = xdr.AppendString(out, m.Host)
		out = xdr.AppendString(out, m.Dir)
	}
	return xdr.AppendBool(out, false), rpc.Done
}

func (s *Server) exportSize([]byte) int {
	n := 4
	for _, e := range s.backend.Exports() {
		n += 8 + xdr.OpaqueSize(len(e.Dir))
		for _, cl := range e.Clients {
			n += 4 + xdr.OpaqueSize(len(cl))
		}
	}
	return n
}

// export is EXPORT: what is exported, to whom. It hides nothing, as mountd.
func (s *Server) export(_ context.Context, c *rpc.Call, out []byte) ([]byte, rpc.Verdict) {
	out = c.Reserve(out, s.exportSize(nil))
	for _, e := range s.backend.Exports() {
		out = xdr.AppendBool(out, true)
		out = xdr.AppendString(out, e.Dir)
		for _, cl := range e.Clients {
			out = xdr.AppendBool(out, true)
			out = xdr.AppendString(out, cl)
		}
		out = xdr.AppendBool(out, false)
	}
	return xdr.AppendBool(out, false), rpc.Done
}
