package volume

// Op is a kind of operation on a volume, for decorators that treat them alike, for messages
// and for rules.
type Op uint8

// The operations, each named after its method; F stands for one on an open File, At for one
// on a name in a Dir.
const (
	OpNone Op = iota
	OpStat
	OpIdentify
	OpStatAt
	OpIdentifyAt
	OpList
	OpOpenDir
	OpOpen
	OpReadLink
	OpACLs
	OpACLsAt
	OpMark
	OpMarkAt
	OpFStat
	OpReadAt
	OpReadNow
	OpSpace
	OpLocate

	OpCreate
	OpMkdir
	OpSymlink
	OpMknod
	OpLink
	OpRename
	OpUnlink
	OpRmdir
	OpSetAttr
	OpSetAttrAt
	OpSetACLs
	OpSetACLsAt
	OpSetMark
	OpSetMarkAt
	OpWriteAt
	OpFSetAttr
	OpSetMarker

	OpSyncDir
	OpSyncFile
	OpSyncAll

	OpClose
	OpOpenVolume // the opening of the volume itself
	OpProbe      // a look at whether it is there and well
	numOps
)

var opText = [numOps]string{
	OpNone: "nothing",
	OpStat: "stat", OpIdentify: "identify", OpStatAt: "statat", OpIdentifyAt: "identifyat", OpList: "list",
	OpOpenDir: "opendir", OpOpen: "open", OpReadLink: "readlink", OpACLs: "acls", OpACLsAt: "aclsat",
	OpMark: "mark", OpMarkAt: "markat", OpFStat: "fstat", OpReadAt: "read", OpReadNow: "readnow",
	OpSpace: "space", OpLocate: "locate",
	OpCreate: "create", OpMkdir: "mkdir", OpSymlink: "symlink", OpMknod: "mknod", OpLink: "link",
	OpRename: "rename", OpUnlink: "unlink", OpRmdir: "rmdir", OpSetAttr: "setattr", OpSetAttrAt: "setattrat",
	OpSetACLs: "setacls", OpSetACLsAt: "setaclsat", OpSetMark: "setmark", OpSetMarkAt: "setmarkat",
	OpWriteAt: "write", OpFSetAttr: "fsetattr", OpSetMarker: "setmarker",
	OpSyncDir: "syncdir", OpSyncFile: "syncfile", OpSyncAll: "syncall",
	OpClose: "close", OpOpenVolume: "open volume", OpProbe: "probe",
}

// String is the word for messages.
func (o Op) String() string {
	if o < numOps {
		return opText[o]
	}
	return "unknown operation"
}

// Ops lists the operations on a volume and what is opened on it, in order, for rules and tests.
func Ops() []Op {
	all := make([]Op, 0, OpClose)
	for o := OpStat; o <= OpClose; o++ {
		all = append(all, o)
	}
	return all
}

// Changes reports whether the operation may leave something other than it was; a flush and a
// Close do not.
func (o Op) Changes() bool { return o >= OpCreate && o <= OpSetMarker }

// Flushes reports whether the operation makes something durable.
func (o Op) Flushes() bool { return o >= OpSyncDir && o <= OpSyncAll }
