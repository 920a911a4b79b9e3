package vfs

import "time"

// Type is the type of an object.
type Type uint8

// The types of RFC 1813 section 2.5 (ftype3), with its values.
const (
	Regular Type = iota + 1
	Directory
	Block
	Char
	Symlink
	Socket
	FIFO
)

// Permission and set-id bits of Attr.Mode, as in chmod(2).
const (
	ModeSetUID uint32 = 0o4000
	ModeSetGID uint32 = 0o2000
	ModeSticky uint32 = 0o1000
	ModePerm   uint32 = 0o0777
	ModeMask   uint32 = 0o7777 // all the bits a mode may have
)

// Time is a moment as file systems keep it.
type Time struct {
	Sec  int64
	Nsec uint32 // 0 … 999,999,999
}

// TimeOf is t as a Time.
func TimeOf(t time.Time) Time { return Time{t.Unix(), uint32(t.Nanosecond())} }

// Compare is -1, 0 or 1 as t is before, equal to or after u.
func (t Time) Compare(u Time) int {
	switch {
	case t.Sec < u.Sec || t.Sec == u.Sec && t.Nsec < u.Nsec:
		return -1
	case t == u:
		return 0
	}
	return 1
}

// Next is the smallest Time after t.
func (t Time) Next() Time {
	if t.Nsec++; t.Nsec > 999_999_999 {
		t.Sec, t.Nsec = t.Sec+1, 0
	}
	return t
}

// Time is t as a time.Time.
func (t Time) Time() time.Time { return time.Unix(t.Sec, int64(t.Nsec)) }

// Attr are the attributes of an object (fattr3, RFC 1813 section 2.5). The
// fileid is Node.ID.FileID(); the fsid is one for the whole share.
type Attr struct {
	Node  Node
	Type  Type
	Mode  uint32 // bits of ModeMask
	Nlink uint32
	UID   uint32
	GID   uint32
	Size  uint64 // bytes
	Used  uint64 // bytes of storage
	Major uint32 // of a device
	Minor uint32
	Atime Time
	Mtime Time
	Ctime Time // strictly increases with every real change of the object
}

// Pre are the attributes before a change that let a client tell whether
// another's change came between (wcc_attr).
type Pre struct {
	Size  uint64
	Mtime Time
	Ctime Time
}

// Pre is the part of a that weak cache consistency needs.
func (a *Attr) Pre() Pre { return Pre{a.Size, a.Mtime, a.Ctime} }

// Change are an object's attributes immediately before and after a call
// (wcc_data). Either may be missing, and both may come with an error.
type Change struct {
	Before    Pre
	After     Attr
	HasBefore bool
	HasAfter  bool
}

// SetMask says which attributes a SetAttr sets.
type SetMask uint8

// The attributes that can be set.
const (
	SetMode SetMask = 1 << iota
	SetUID
	SetGID
	SetSize
	SetAtime    // to SetAttr.Atime
	SetMtime    // to SetAttr.Mtime
	SetAtimeNow // to the server's time
	SetMtimeNow
)

// SetAttr is a set of attributes to give an object (sattr3).
type SetAttr struct {
	Mask  SetMask
	Mode  uint32
	UID   uint32
	GID   uint32
	Size  uint64
	Atime Time
	Mtime Time
}

// Has reports whether any attribute of m is set.
func (s *SetAttr) Has(m SetMask) bool { return s.Mask&m != 0 }

// AccessMask is a set of rights (RFC 1813 section 3.3.4, with its values).
type AccessMask uint32

// The rights that can be asked for.
const (
	AccessRead    AccessMask = 1 << iota // read a file, list a directory
	AccessLookup                         // look a name up in a directory
	AccessModify                         // change existing data or entries
	AccessExtend                         // write new data or add entries
	AccessDelete                         // delete an entry of a directory
	AccessExecute                        // execute a file
	AccessAll     = AccessRead | AccessLookup | AccessModify | AccessExtend | AccessDelete | AccessExecute
)

// Stable says how safe written data must be before the reply (stable_how).
type Stable uint8

// The levels of RFC 1813 section 3.3.7, with its values.
const (
	Unstable Stable = iota // may be lost until COMMIT
	DataSync               // the data and what is needed to read it
	FileSync               // data and all attributes
)

// Verifier tells one life of the server's unstable writes from the next
// (writeverf3): when it changes, a client sends its uncommitted data again.
type Verifier [8]byte

// Written is the outcome of a Write.
type Written struct {
	Count    int      // bytes taken, as asked for unless there is an error
	Stable   Stable   // at least as asked for
	Verifier Verifier // as it was before the data was taken, so that COMMIT answers another if it was dropped since
}

// Exists says what Make does when the name is taken (createmode3).
type Exists uint8

// The modes of RFC 1813 section 3.3.8, with its values.
const (
	Unchecked Exists = iota // an existing regular file is fine; Set applies its size only
	Guarded                 // fail with Exist
	Exclusive               // fail with Exist unless made by the same call earlier (How.Verifier)
)

// How describes an object to make: CREATE, MKDIR, SYMLINK and MKNOD in one.
type How struct {
	Type     Type
	Exists   Exists  // Regular only; the others are always Guarded
	Verifier [8]byte // with Exclusive: kept with the object until its first SETATTR of times
	Set      SetAttr // initial attributes; a missing mode is 0, as open(2) would take it
	Target   string  // of a Symlink
	Major    uint32  // of Block and Char
	Minor    uint32
}

// DirEntry is an entry of a listing. It is valid during the callback only.
type DirEntry struct {
	Name    Name
	Cookie  Cookie
	Node    Node // zero if not known: an object on a volume that is away
	Attr    Attr // if HasAttr
	HasAttr bool
}

// Space is how much room there is (FSSTAT). A file system that several volumes
// share is counted once.
type Space struct {
	TotalBytes, FreeBytes, AvailBytes uint64
	TotalFiles, FreeFiles, AvailFiles uint64
	Invarsec                          uint32 // seconds for which this will not change; 0: any time
}

// Limits are the facts of FSINFO and PATHCONF that the file system knows; what
// the transport decides (rtmax and the like) is not here.
type Limits struct {
	MaxFileSize     uint64
	LinkMax         uint32
	NameMax         uint32
	TimeDelta       Time // the granule of times a client may set
	Links           bool // hard links can be made
	Symlinks        bool
	Homogeneous     bool // PATHCONF is the same everywhere
	CanSetTime      bool
	NoTrunc         bool // names too long are refused, not cut
	ChownRestricted bool // only the superuser may give files away
	CaseInsensitive bool
	CasePreserving  bool
}
