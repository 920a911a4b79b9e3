package nfsd

import (
	"context"
	"strings"

	nfs "github.com/willscott/go-nfs"

	"sheaf/nfsd/rpc"
	"sheaf/nfsd/xdr"
	"sheaf/vfs"
)

// procNames are the names of RFC 1813 section 3, for logs and statistics.
var procNames = func() (names [numProcs]string) {
	for p := range names {
		names[p] = strings.ToUpper(nfs.NFSProcedure(p).String())
	}
	return names
}()

// procs is the dispatch table. What only asks is tried inline, without waiting;
// what changes something waits for storage in any case and goes to a worker at
// once, through the reply cache (RFC 1813 section 4.5 lists the calls that must
// not be run twice; WRITE is among ours, because a late copy of one that was
// answered must not overwrite what came after it).
func (s *Server) procs() []rpc.Proc {
	ask := func(h rpc.Handler, size func([]byte) int) rpc.Proc {
		return rpc.Proc{Handler: h, Inline: true, Idempotent: true, ReplySize: size}
	}
	change := func(h rpc.Handler) rpc.Proc { return rpc.Proc{Handler: h, Cached: true} }
	procs := []rpc.Proc{
		nfs.NFSProcedureNull:        ask(null, nil),
		nfs.NFSProcedureGetAttr:     ask(s.getAttr, nil),
		nfs.NFSProcedureSetAttr:     change(s.setAttr),
		nfs.NFSProcedureLookup:      ask(s.lookup, nil),
		nfs.NFSProcedureAccess:      ask(s.access, nil),
		nfs.NFSProcedureReadlink:    ask(s.readLink, readLinkSize),
		nfs.NFSProcedureRead:        ask(s.read, s.readSize),
		nfs.NFSProcedureWrite:       change(s.write),
		nfs.NFSProcedureCreate:      change(s.create),
		nfs.NFSProcedureMkDir:       change(s.mkDir),
		nfs.NFSProcedureSymlink:     change(s.symlink),
		nfs.NFSProcedureMkNod:       change(s.mkNod),
		nfs.NFSProcedureRemove:      change(s.remove),
		nfs.NFSProcedureRmDir:       change(s.rmDir),
		nfs.NFSProcedureRename:      change(s.rename),
		nfs.NFSProcedureLink:        change(s.link),
		nfs.NFSProcedureReadDir:     ask(s.readDir, s.readDirSize),
		nfs.NFSProcedureReadDirPlus: ask(s.readDirPlus, s.readDirPlusSize),
		nfs.NFSProcedureFSStat:      ask(s.fsStat, nil),
		nfs.NFSProcedureFSInfo:      ask(s.fsInfo, nil),
		nfs.NFSProcedurePathConf:    ask(s.pathConf, nil),
		// COMMIT waits for storage; running it again does no harm.
		nfs.NFSProcedureCommit: {Handler: s.commit},
	}
	for p := range procs {
		procs[p].Name = procNames[p]
		procs[p].Handler = s.counted(p, procs[p].Handler)
		procs[p].Busy = s.busy(p)
	}
	return procs
}

// lacking is how many attributes the failure of a procedure says to be missing; below 0: it has no failure.
var lacking = [numProcs]int{
	nfs.NFSProcedureNull:        -1,
	nfs.NFSProcedureGetAttr:     0,
	nfs.NFSProcedureSetAttr:     noChange,
	nfs.NFSProcedureLookup:      noAttr,
	nfs.NFSProcedureAccess:      noAttr,
	nfs.NFSProcedureReadlink:    noAttr,
	nfs.NFSProcedureRead:        noAttr,
	nfs.NFSProcedureWrite:       noChange,
	nfs.NFSProcedureCreate:      noChange,
	nfs.NFSProcedureMkDir:       noChange,
	nfs.NFSProcedureSymlink:     noChange,
	nfs.NFSProcedureMkNod:       noChange,
	nfs.NFSProcedureRemove:      noChange,
	nfs.NFSProcedureRmDir:       noChange,
	nfs.NFSProcedureRename:      noChange2,
	nfs.NFSProcedureLink:        noAttr + noChange,
	nfs.NFSProcedureReadDir:     noAttr,
	nfs.NFSProcedureReadDirPlus: noAttr,
	nfs.NFSProcedureFSStat:      noAttr,
	nfs.NFSProcedureFSInfo:      noAttr,
	nfs.NFSProcedurePathConf:    noAttr,
	nfs.NFSProcedureCommit:      noChange,
}

// busy answers calls of procedure p that are not begun because too many others hang: JUKEBOX, so that the client
// comes again.
func (s *Server) busy(p int) func(*rpc.Call, []byte) []byte {
	if lacking[p] < 0 {
		return nil
	}
	return func(c *rpc.Call, out []byte) []byte {
		out, _ = s.refuse(c, out, vfs.Jukebox, lacking[p])
		return out
	}
}

// counted counts the calls of procedure p that h answers.
func (s *Server) counted(p int, h rpc.Handler) rpc.Handler {
	return func(ctx context.Context, c *rpc.Call, out []byte) ([]byte, rpc.Verdict) {
		out, v := h(ctx, c, out)
		if v == rpc.Done {
			s.counts[p].calls.Add(1)
		}
		return out, v
	}
}

// null does nothing (RFC 1813 section 3.3.0); it asks for no credential.
func null(_ context.Context, _ *rpc.Call, out []byte) ([]byte, rpc.Verdict) { return out, rpc.Done }

// Encoded forms of results that carry no attributes: how many booleans that say
// "no attributes follow" the failure of a procedure consists of.
const (
	noAttr    = 1 // post_op_attr
	noChange  = 2 // wcc_data
	noChange2 = 4 // two of them (RENAME)
)

// refuse answers err with n missing attributes, or asks for a worker. Nothing was
// done, so the call may be run again and its reply is not kept: else who has no right
// to anything could fill the reply cache and push out the replies of others.
func (s *Server) refuse(c *rpc.Call, out []byte, err error, n int) ([]byte, rpc.Verdict) {
	if again(c, err) {
		return out, rpc.Again
	}
	c.NoKeep()
	out = xdr.AppendUint32(out, s.code(c, err))
	for range n {
		out = xdr.AppendBool(out, false)
	}
	return out, rpc.Done
}

// refuseAttr answers err with attributes, which may be missing, or asks for a worker.
func (s *Server) refuseAttr(c *rpc.Call, out []byte, err error, a *vfs.Attr) ([]byte, rpc.Verdict) {
	if again(c, err) {
		return out, rpc.Again
	}
	return s.appendPostOp(xdr.AppendUint32(out, s.code(c, err)), a), rpc.Done
}

// anyLength is for opaque values whose length the protocol leaves open (filename3,
// nfspath3): the record's end bounds them, and they are sub-slices of it.
const anyLength = 1<<32 - 1
