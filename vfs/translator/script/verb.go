package script

import (
	"sheaf/vfs"
	"sheaf/vfs/translator"
)

// verb is a procedure as scripts call it: in the words of RFC 1813 and, for lists, of NFSACL.
type verb uint8

// The procedures. READDIRPLUS is a readdir with attributes; FSINFO and PATHCONF are fsinfo. Root and
// Parents of vfs.FS are no procedures of a client, so no script sees them.
const (
	noVerb verb = iota
	vGetAttr
	vSetAttr
	vLookup
	vAccess
	vReadLink
	vRead
	vWrite
	vCreate
	vMkdir
	vSymlink
	vMknod
	vRemove
	vRmdir
	vRename
	vLink
	vReadDir
	vFSStat
	vFSInfo
	vCommit
	vGetACL
	vSetACL
	numVerbs
)

var verbNames = [numVerbs]string{
	vGetAttr: "getattr", vSetAttr: "setattr", vLookup: "lookup", vAccess: "access",
	vReadLink: "readlink", vRead: "read", vWrite: "write", vCreate: "create", vMkdir: "mkdir",
	vSymlink: "symlink", vMknod: "mknod", vRemove: "remove", vRmdir: "rmdir", vRename: "rename",
	vLink: "link", vReadDir: "readdir", vFSStat: "fsstat", vFSInfo: "fsinfo", vCommit: "commit",
	vGetACL: "getacl", vSetACL: "setacl",
}

func (v verb) String() string { return verbNames[v] }

// verbSet is a set of verbs, for the fields that only some have.
type verbSet uint32

func verbs(vs ...verb) (s verbSet) {
	for _, v := range vs {
		s |= 1 << v
	}
	return s
}

func (s verbSet) has(v verb) bool { return s&(1<<v) != 0 }

const allVerbs = verbSet(1<<numVerbs-1) &^ 1

// makers make a name in a directory.
var makers = verbs(vCreate, vMkdir, vSymlink, vMknod)

// changers change names, data or attributes.
var changers = makers | verbs(vSetAttr, vWrite, vRemove, vRmdir, vRename, vLink, vSetACL)

// byVerb is the procedure of each verb of the contract; that of Make depends on the type.
var byVerb = [translator.NumVerbs]verb{
	translator.GetAttr: vGetAttr, translator.SetAttr: vSetAttr, translator.Access: vAccess,
	translator.Lookup: vLookup, translator.ReadLink: vReadLink, translator.Read: vRead,
	translator.Write: vWrite, translator.Commit: vCommit, translator.Link: vLink,
	translator.Remove: vRemove, translator.RemoveDir: vRmdir, translator.Rename: vRename,
	translator.ReadDir: vReadDir, translator.Statfs: vFSStat, translator.Limits: vFSInfo,
	translator.GetACL: vGetACL, translator.SetACL: vSetACL,
}

// verbOf is the procedure that c is.
func verbOf(c *translator.Call) verb {
	if c.Verb != translator.Make {
		return byVerb[c.Verb]
	}
	switch c.How.Type {
	case vfs.Regular:
		return vCreate
	case vfs.Directory:
		return vMkdir
	case vfs.Symlink:
		return vSymlink
	default: // RFC 1813 section 3.3.11; what cannot be made at all is refused below
		return vMknod
	}
}
