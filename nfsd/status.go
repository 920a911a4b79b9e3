package nfsd

import (
	"slices"

	nfs "github.com/willscott/go-nfs"

	"sheaf/vfs"
)

// statusWire is the one table from vfs.Status to nfsstat3 (RFC 1813 section 2.6).
// Again never gets to the wire: the front runs such calls again. If a layer
// answers so although it may wait, that is a broken invariant.
var statusWire = map[vfs.Status]nfs.NFSStatus{
	vfs.OK:          nfs.NFSStatusOk,
	vfs.Perm:        nfs.NFSStatusPerm,
	vfs.NoEnt:       nfs.NFSStatusNoEnt,
	vfs.IO:          nfs.NFSStatusIO,
	vfs.NXIO:        nfs.NFSStatusNXIO,
	vfs.Acces:       nfs.NFSStatusAccess,
	vfs.Exist:       nfs.NFSStatusExist,
	vfs.XDev:        nfs.NFSStatusXDev,
	vfs.NoDev:       nfs.NFSStatusNoDev,
	vfs.NotDir:      nfs.NFSStatusNotDir,
	vfs.IsDir:       nfs.NFSStatusIsDir,
	vfs.Inval:       nfs.NFSStatusInval,
	vfs.FBig:        nfs.NFSStatusFBig,
	vfs.NoSpc:       nfs.NFSStatusNoSPC,
	vfs.ROFS:        nfs.NFSStatusROFS,
	vfs.MLink:       nfs.NFSStatusMlink,
	vfs.NameTooLong: nfs.NFSStatusNameTooLong,
	vfs.NotEmpty:    nfs.NFSStatusNotEmpty,
	vfs.DQuot:       nfs.NFSStatusDQuot,
	vfs.Stale:       nfs.NFSStatusStale,
	vfs.BadHandle:   nfs.NFSStatusBadHandle,
	vfs.NotSync:     nfs.NFSStatusNotSync,
	vfs.BadCookie:   nfs.NFSStatusBadCookie,
	vfs.NotSupp:     nfs.NFSStatusNotSupp,
	vfs.TooSmall:    nfs.NFSStatusTooSmall,
	vfs.ServerFault: nfs.NFSStatusServerFault,
	vfs.BadType:     nfs.NFSStatusBadType,
	vfs.Jukebox:     nfs.NFSStatusJukebox,
	vfs.Again:       nfs.NFSStatusServerFault,
}

// everywhere are the statuses that every procedure but NULL may answer. RFC 1813
// names IO, STALE, BADHANDLE and SERVERFAULT with each of them. JUKEBOX is of
// section 2.6, and Linux, Solaris and the BSDs retry whatever the call was. ACCES
// is what the export rules say (exports(5)), which may refuse any call.
var everywhere = []vfs.Status{
	vfs.OK, vfs.IO, vfs.Stale, vfs.BadHandle, vfs.ServerFault, vfs.Jukebox, vfs.Acces,
}

// named are the further errors that RFC 1813 section 3.3 names for each procedure.
var named = [numProcs][]vfs.Status{
	nfs.NFSProcedureNull:     {},
	nfs.NFSProcedureGetAttr:  {},
	nfs.NFSProcedureSetAttr:  {vfs.Perm, vfs.Inval, vfs.NoSpc, vfs.ROFS, vfs.DQuot, vfs.NotSync},
	nfs.NFSProcedureLookup:   {vfs.NoEnt, vfs.NotDir, vfs.NameTooLong},
	nfs.NFSProcedureAccess:   {},
	nfs.NFSProcedureReadlink: {vfs.Inval, vfs.NotSupp},
	nfs.NFSProcedureRead:     {vfs.NXIO, vfs.Inval},
	nfs.NFSProcedureWrite:    {vfs.FBig, vfs.DQuot, vfs.NoSpc, vfs.ROFS, vfs.Inval},
	nfs.NFSProcedureCreate: {
		vfs.Exist, vfs.NotDir, vfs.NoSpc, vfs.ROFS, vfs.NameTooLong, vfs.DQuot, vfs.NotSupp,
	},
	nfs.NFSProcedureMkDir: {
		vfs.Exist, vfs.NotDir, vfs.NoSpc, vfs.ROFS, vfs.NameTooLong, vfs.DQuot, vfs.NotSupp,
	},
	nfs.NFSProcedureSymlink: {
		vfs.Exist, vfs.NotDir, vfs.NoSpc, vfs.ROFS, vfs.NameTooLong, vfs.DQuot, vfs.NotSupp,
	},
	nfs.NFSProcedureMkNod: {
		vfs.Exist, vfs.NotDir, vfs.NoSpc, vfs.ROFS, vfs.NameTooLong, vfs.DQuot, vfs.NotSupp, vfs.BadType,
	},
	nfs.NFSProcedureRemove: {vfs.NoEnt, vfs.NotDir, vfs.NameTooLong, vfs.ROFS},
	nfs.NFSProcedureRmDir: {
		vfs.NoEnt, vfs.Inval, vfs.Exist, vfs.NotDir, vfs.NameTooLong, vfs.ROFS, vfs.NotEmpty, vfs.NotSupp,
	},
	nfs.NFSProcedureRename: {
		vfs.NoEnt, vfs.Exist, vfs.XDev, vfs.NotDir, vfs.IsDir, vfs.Inval, vfs.NoSpc, vfs.ROFS, vfs.MLink,
		vfs.NameTooLong, vfs.NotEmpty, vfs.DQuot, vfs.NotSupp,
	},
	nfs.NFSProcedureLink: {
		vfs.Exist, vfs.XDev, vfs.NotDir, vfs.Inval, vfs.NoSpc, vfs.ROFS, vfs.MLink, vfs.NameTooLong,
		vfs.DQuot, vfs.NotSupp,
	},
	nfs.NFSProcedureReadDir:     {vfs.NotDir, vfs.BadCookie, vfs.TooSmall},
	nfs.NFSProcedureReadDirPlus: {vfs.NotDir, vfs.BadCookie, vfs.TooSmall, vfs.NotSupp},
	nfs.NFSProcedureFSStat:      {},
	nfs.NFSProcedureFSInfo:      {},
	nfs.NFSProcedurePathConf:    {},
	nfs.NFSProcedureCommit:      {},
}

// besides are errors RFC 1813 forgot where a local system call gives them: knfsd
// sends them, and clients hand them on as errno (Linux nfs_stat_to_errno does so
// for every procedure). Without them unlink(2) in a sticky directory would say
// EACCES where a local file system says EPERM.
var besides = [numProcs][]vfs.Status{
	nfs.NFSProcedureSetAttr: {vfs.FBig, vfs.IsDir, vfs.NotSupp}, // NotSupp: mode of a symbolic link
	nfs.NFSProcedureRead:    {vfs.IsDir},
	nfs.NFSProcedureWrite:   {vfs.Perm, vfs.IsDir},
	nfs.NFSProcedureCreate:  {vfs.Perm, vfs.FBig, vfs.IsDir},
	nfs.NFSProcedureMkDir:   {vfs.Perm, vfs.MLink},
	nfs.NFSProcedureSymlink: {vfs.Perm},
	nfs.NFSProcedureMkNod:   {vfs.Perm},
	nfs.NFSProcedureRemove:  {vfs.Perm, vfs.IsDir},
	nfs.NFSProcedureRmDir:   {vfs.Perm},
	nfs.NFSProcedureRename:  {vfs.Perm},
	nfs.NFSProcedureLink:    {vfs.Perm},
	nfs.NFSProcedureCommit:  {vfs.Inval, vfs.NoSpc, vfs.DQuot},
}

// instead says what comes closest to a status that a procedure may not answer.
// Each chain ends in one of everywhere, which stand for themselves.
var instead = map[vfs.Status]vfs.Status{
	vfs.OK:          vfs.OK,
	vfs.IO:          vfs.IO,
	vfs.Acces:       vfs.Acces,
	vfs.Stale:       vfs.Stale,
	vfs.BadHandle:   vfs.BadHandle,
	vfs.ServerFault: vfs.ServerFault,
	vfs.Jukebox:     vfs.Jukebox,
	vfs.Perm:        vfs.Acces,
	vfs.NoEnt:       vfs.Stale, // asked of a node, not of a name: it is gone
	vfs.NXIO:        vfs.IO,
	vfs.Exist:       vfs.Acces,
	vfs.XDev:        vfs.Inval,
	vfs.NoDev:       vfs.NXIO,
	vfs.NotDir:      vfs.Inval,
	vfs.IsDir:       vfs.Inval,
	vfs.Inval:       vfs.Acces, // RFC 1813 section 3.2 says ACCES of names that cannot be
	vfs.FBig:        vfs.NoSpc,
	vfs.NoSpc:       vfs.IO,
	vfs.ROFS:        vfs.Acces,
	vfs.MLink:       vfs.NoSpc,
	vfs.NameTooLong: vfs.Inval,
	vfs.NotEmpty:    vfs.Exist,
	vfs.DQuot:       vfs.NoSpc,
	vfs.NotSync:     vfs.Jukebox, // a guard that was not the client's: ask again
	vfs.BadCookie:   vfs.IO,
	vfs.NotSupp:     vfs.Inval,
	vfs.TooSmall:    vfs.IO,
	vfs.BadType:     vfs.NotSupp,
	vfs.Again:       vfs.ServerFault,
}

// numProcs is the number of procedures of NFS version 3 (RFC 1813 section 3).
const numProcs = int(nfs.NFSProcedureCommit) + 1

// wire is the nfsstat3 of a status for a procedure, computed from the tables above.
var wire = buildWire()

func buildWire() (t [numProcs][]uint32) {
	all := append([]vfs.Status{vfs.OK}, vfs.Statuses()...)
	for p := range t {
		t[p] = make([]uint32, len(all))
		for _, s := range all {
			t[p][s] = uint32(statusWire[closest(p, s)])
		}
	}
	return t
}

// closest is s, or what comes closest to it among the statuses of procedure p.
func closest(p int, s vfs.Status) vfs.Status {
	for !allowed(p, s) {
		next, ok := instead[s]
		if !ok {
			return vfs.ServerFault
		}
		s = next
	}
	return s
}

// allowed reports whether procedure p may answer s.
func allowed(p int, s vfs.Status) bool {
	for _, set := range [][]vfs.Status{everywhere, named[p], besides[p]} {
		if slices.Contains(set, s) {
			return true
		}
	}
	return false
}

// wireStatus is the nfsstat3 for status s of procedure p. A status that the
// contract does not know is a server fault.
func wireStatus(p uint32, s vfs.Status) uint32 {
	if t := wire[p]; int(s) < len(t) {
		return t[s]
	}
	return uint32(nfs.NFSStatusServerFault)
}
