package remote

import "sheaf/vfs"

// Program numbers and versions (RFC 1813 sections 2.1 and 5.1).
const (
	progNFS   = 100003
	progMount = 100005
	version   = 3
)

// Procedures (RFC 1813 sections 3.3 and 5.2).
const (
	procGetAttr     = 1
	procSetAttr     = 2
	procLookup      = 3
	procAccess      = 4
	procReadLink    = 5
	procRead        = 6
	procWrite       = 7
	procCreate      = 8
	procMkDir       = 9
	procSymlink     = 10
	procMkNod       = 11
	procRemove      = 12
	procRmDir       = 13
	procRename      = 14
	procLink        = 15
	procReadDir     = 16
	procReadDirPlus = 17
	procFSStat      = 18
	procFSInfo      = 19
	procPathConf    = 20
	procCommit      = 21

	procMount = 1
)

var procNames = [...]string{
	"NULL", "GETATTR", "SETATTR", "LOOKUP", "ACCESS", "READLINK", "READ", "WRITE", "CREATE", "MKDIR", "SYMLINK",
	"MKNOD", "REMOVE", "RMDIR", "RENAME", "LINK", "READDIR", "READDIRPLUS", "FSSTAT", "FSINFO", "PATHCONF", "COMMIT",
}

// Limits of the protocol, in bytes (RFC 1813 section 2.4).
const (
	handleMax   = 64 // NFS3_FHSIZE
	verifierLen = 8  // NFS3_COOKIEVERFSIZE and its like
)

const (
	statOK      = 0
	statJukebox = 10008
)

// statuses is nfsstat3 (RFC 1813 section 2.6).
var statuses = map[uint32]vfs.Status{
	statOK:      vfs.OK,
	1:           vfs.Perm,
	2:           vfs.NoEnt,
	5:           vfs.IO,
	6:           vfs.NXIO,
	13:          vfs.Acces,
	17:          vfs.Exist,
	18:          vfs.XDev,
	19:          vfs.NoDev,
	20:          vfs.NotDir,
	21:          vfs.IsDir,
	22:          vfs.Inval,
	27:          vfs.FBig,
	28:          vfs.NoSpc,
	30:          vfs.ROFS,
	31:          vfs.MLink,
	63:          vfs.NameTooLong,
	66:          vfs.NotEmpty,
	69:          vfs.DQuot,
	70:          vfs.Stale,
	10001:       vfs.BadHandle,
	10002:       vfs.NotSync,
	10003:       vfs.BadCookie,
	10004:       vfs.NotSupp,
	10005:       vfs.TooSmall,
	10006:       vfs.ServerFault,
	10007:       vfs.BadType,
	statJukebox: vfs.Jukebox,
}

// mountStatuses is mountstat3 (RFC 1813 section 5.1.5).
var mountStatuses = map[uint32]vfs.Status{
	0: vfs.OK, 1: vfs.Perm, 2: vfs.NoEnt, 5: vfs.IO, 13: vfs.Acces, 20: vfs.NotDir, 22: vfs.Inval,
	63: vfs.NameTooLong, 10004: vfs.NotSupp, 10006: vfs.ServerFault,
}

// restore is the status that the server's file system must have meant by st,
// where RFC 1813 does not let the procedure say so. Each of them is what a client's
// kernel would have found out before it called.
//
//	LINK, COMMIT  of a directory: INVAL stands for IsDir
//	SYMLINK       to nowhere ("", or with a NUL), and every creation with a time that
//	              is none: ACCES stands for Inval
func restore(proc uint32, st vfs.Status, t vfs.Type, how *vfs.How) vfs.Status {
	switch {
	case st == vfs.Inval && t == vfs.Directory && (proc == procLink || proc == procCommit):
		return vfs.IsDir
	case st == vfs.Acces && how != nil && impossible(how):
		return vfs.Inval
	}
	return st
}

// impossible reports whether nothing can be made as how says.
func impossible(how *vfs.How) bool {
	if how.Type == vfs.Symlink {
		if how.Target == "" {
			return true
		}
		for i := range len(how.Target) {
			if how.Target[i] == 0 {
				return true
			}
		}
	}
	return how.Set.Atime.Nsec >= nanos || how.Set.Mtime.Nsec >= nanos
}
