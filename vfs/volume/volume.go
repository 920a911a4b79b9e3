package volume

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"

	"sheaf/vfs"
)

// PrivateName is the directory at a volume's root that holds what is Sheaf's own.
const PrivateName = ".sheaf"

// KeyQuiet is how long after its birth time a Key may still come again for
// another object (measured: one tick of 4 ms, two with the clock's lag; 50 ms
// leaves room for slow ticks).
const KeyQuiet = 50 * time.Millisecond

// ID identifies a volume for ever; it is drawn at adoption and kept in the marker.
type ID [16]byte

// NewID draws an ID.
func NewID() ID {
	var id ID
	rand.Read(id[:]) // never fails (crypto/rand)
	return id
}

// String is id in hexadecimal.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// ParseID reads what String wrote.
func ParseID(s string) (ID, error) {
	var id ID
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(id) {
		return ID{}, fmt.Errorf("volume id %q: want %d hexadecimal digits", s, 2*len(id))
	}
	copy(id[:], b)
	return id, nil
}

// Key is what a cheap stat tells of an object's identity. Comparable.
type Key struct {
	Ino   uint64
	Birth int64 // nanoseconds since the epoch; 0 where there is no birth time
}

// Identity are the birth facts of an object: they never change, and never
// come again together on one volume that has Caps.StrongIdentity. Comparable.
type Identity struct {
	Key
	Gen uint32 // generation of the inode number
	Sub uint64 // sub-file-system (btrfs subvolume); 0 elsewhere
}

// Version tells whether a directory's names may have changed: equal versions
// mean equal names, if the volume is exact or the version older than its
// quiet time (Caps.Quiet). Comparable.
type Version struct {
	Ino          uint64
	Ctime, Mtime vfs.Time
}

// Stat is what a volume says of an object.
type Stat struct {
	Key   Key
	Type  vfs.Type
	Mode  uint32 // bits of vfs.ModeMask
	Nlink uint32
	UID   uint32
	GID   uint32
	Size  uint64
	Used  uint64
	Major uint32
	Minor uint32
	Atime vfs.Time
	Mtime vfs.Time
	Ctime vfs.Time
}

// Version is the directory version in s.
func (s *Stat) Version() Version { return Version{s.Key.Ino, s.Ctime, s.Mtime} }

// Caps is what a volume can do; probed when it is opened.
type Caps struct {
	StrongIdentity bool          // Identity never comes again
	InPlace        bool          // files can be written in place
	Links          bool          // hard links
	Symlinks       bool          //
	Special        bool          // device nodes can be made (fifos and sockets always can, if Specials of any kind can)
	Marks          bool          // marks are kept beside files and directories (xattrs)
	ACLs           bool          // POSIX ACLs are kept
	NoReplace      bool          // rename without replacing is atomic
	Durable        bool          // Sync does what doc.go says
	Chown          bool          // files can be given to any uid (the server is privileged)
	Locate         bool          // Volume.Locate works
	StatNow        bool          // Stat of an open Dir or File never waits for storage
	ReadOnly       bool          // the file system is mounted read-only
	Quiet          time.Duration // 0: directory versions are exact; else the age from which they can be believed
	MaxFileSize    uint64        // bytes
	LinkMax        uint32
	NameMax        uint32
	TimeDelta      vfs.Time // granule of times
}

// Space is the room on a volume's file system.
type Space struct {
	FileSystem uint64 // the same for volumes that share one file system
	Total      uint64 // bytes
	Free       uint64 // bytes
	Avail      uint64 // bytes that the server may use
	Files      uint64 // inodes; 0 with FilesFree 0: not limited
	FilesFree  uint64
	FilesAvail uint64
}

// New are the attributes an object is born with; they are set before its name
// can be seen to be durable. UID and GID are applied where they differ from what
// the host gave it; a volume without Caps.Chown that cannot do so returns Perm and
// leaves nothing behind.
type New struct {
	Mode  uint32
	UID   uint32
	GID   uint32
	Times bool // set Atime and Mtime too
	Atime vfs.Time
	Mtime vfs.Time
	ACLs  *vfs.ACLs // nil: none are inherited or set; what the host inherits by itself is removed
	Mark  []byte    // of a file or directory, set before the final mode; nil: none
}

// Flag says what a File is opened for.
type Flag uint8

// Open flags.
const (
	Read Flag = 1 << iota
	Write
)

// Entry is a name in a directory, as listed. Ino and Type may be zero where the
// file system does not tell.
type Entry struct {
	Name vfs.Name
	Ino  uint64
	Type vfs.Type
}

// Volume is one member of a share.
type Volume interface {
	ID() ID
	Name() string // the operator's name for it
	Caps() Caps

	// Root is the volume's root directory. It is opened once and not to be closed.
	Root() Dir
	// Private is PrivateName, made if it is not there. Not to be closed. Its
	// entries are reached by the ordinary methods.
	Private() Dir
	// Space is asked each time.
	Space(ctx context.Context) (Space, error)
	// SyncAll makes everything durable. It waits for everybody's data: only for
	// what has no descriptor to sync.
	SyncAll(ctx context.Context) error
	// Locate finds the path of an object by its identity, from the root downwards;
	// one of them if it has several, none for the root itself. Stale: it is known
	// to be gone. NotSupp: this cannot be known here.
	Locate(ctx context.Context, ino uint64, gen uint32) ([]vfs.Name, error)

	// Marker is what PrivateName/volume.json said when the volume was opened, or
	// was last set to.
	Marker() Marker
	// SetMarker replaces it durably: all or nothing.
	SetMarker(ctx context.Context, m Marker) error

	Close() error
}

// Dir is an open directory of a volume.
type Dir interface {
	// Stat is the directory itself; Identify also its identity.
	Stat(ctx context.Context) (Stat, error)
	Identify(ctx context.Context) (Stat, Identity, error)

	// StatAt is the object called name, not following a symbolic link. XDev, as from all
	// that name an object: something is mounted there, though List gives the name.
	StatAt(ctx context.Context, name vfs.Name) (Stat, error)
	// IdentifyAt is StatAt with the identity, both of one object.
	IdentifyAt(ctx context.Context, name vfs.Name) (Stat, Identity, error)

	// List calls each with every entry but ".", ".." and PrivateName at the
	// root, in no order, until each returns false. Entries made or removed
	// meanwhile may or may not be given. Names longer than vfs.NameMax cannot be.
	List(ctx context.Context, each func(Entry) bool) error

	// OpenDir opens a directory beneath. NotDir for everything else, symbolic links
	// too; XDev for a mount point.
	OpenDir(ctx context.Context, name vfs.Name) (Dir, error)
	// Open opens a regular file. Inval for everything else, symbolic links too.
	// The caller compares File.Stat with what it expects.
	Open(ctx context.Context, name vfs.Name, flags Flag) (File, error)

	// Create makes a regular file and opens it for reading and writing. Exist
	// if the name is taken, whatever by.
	Create(ctx context.Context, name vfs.Name, n *New) (File, Stat, Identity, error)
	Mkdir(ctx context.Context, name vfs.Name, n *New) (Dir, Stat, Identity, error)
	Symlink(ctx context.Context, name vfs.Name, target string, n *New) (Stat, Identity, error)
	// Mknod makes a Block, Char, FIFO or Socket.
	Mknod(ctx context.Context, name vfs.Name, t vfs.Type, major, minor uint32, n *New) (Stat, Identity, error)

	// Link gives the object called fromName in from, which must still have the key
	// want (else Stale, nothing done), the name name here.
	Link(ctx context.Context, from Dir, fromName vfs.Name, want Key, name vfs.Name) error
	// Rename moves fromName of this directory to toName of to, on the same volume.
	// With noReplace it fails with Exist if toName is taken.
	Rename(ctx context.Context, fromName vfs.Name, to Dir, toName vfs.Name, noReplace bool) error
	Unlink(ctx context.Context, name vfs.Name) error
	Rmdir(ctx context.Context, name vfs.Name) error
	ReadLink(ctx context.Context, name vfs.Name) (string, error)

	// SetAttr changes the directory's own attributes (no size); SetAttrAt those of the
	// object called name if it has the key want (else Stale, nothing done), not following
	// a symbolic link; it cannot set the size, which is File.SetAttr's.
	SetAttr(ctx context.Context, set *vfs.SetAttr) error
	SetAttrAt(ctx context.Context, name vfs.Name, want Key, set *vfs.SetAttr) error

	// ACLs of the directory itself, and of the object called name. Empty lists
	// where the volume keeps none.
	ACLs(ctx context.Context) (vfs.ACLs, error)
	ACLsAt(ctx context.Context, name vfs.Name) (vfs.ACLs, error)
	SetACLs(ctx context.Context, a vfs.ACLs) error
	SetACLsAt(ctx context.Context, name vfs.Name, want Key, a vfs.ACLs) error

	// Mark is the mark written beside the directory, or beside the object called
	// name: nil if there is none. At most MarkMax bytes. SetMark replaces it.
	Mark(ctx context.Context) ([]byte, error)
	SetMark(ctx context.Context, mark []byte) error
	MarkAt(ctx context.Context, name vfs.Name) ([]byte, error)
	SetMarkAt(ctx context.Context, name vfs.Name, want Key, mark []byte) error

	// Sync makes the directory's names and attributes durable.
	Sync(ctx context.Context) error
	Close() error
}

// MarkMax is the longest mark, in bytes (ext4 takes 3.9 KB for all attributes).
const MarkMax = 512

// File is an open regular file.
type File interface {
	Stat(ctx context.Context) (Stat, error)
	// ReadAt fills buf from off; fewer bytes with a nil error only at the end of the file.
	ReadAt(ctx context.Context, buf []byte, off int64) (int, error)
	// ReadNow is ReadAt that never waits for storage: vfs.Again where it would have to
	// (preadv2(2) with RWF_NOWAIT on Linux), or where that cannot be told.
	ReadNow(buf []byte, off int64) (int, error)
	// WriteAt writes all of buf at off or says why not, with the number of bytes written.
	WriteAt(ctx context.Context, buf []byte, off int64) (int, error)
	// SetAttr changes attributes, the size first.
	SetAttr(ctx context.Context, set *vfs.SetAttr) error
	// Sync makes the data durable, and the attributes unless dataOnly. An error
	// of write-back is reported at least once per File.
	Sync(ctx context.Context, dataOnly bool) error
	Close() error
}

// Marker is a volume's own statement of what it is (PrivateName/volume.json).
type Marker struct {
	Format  int       `json:"format"` // MarkerFormat, or an older one that was read
	Volume  string    `json:"volume"` // ID in hexadecimal
	Name    string    `json:"name"`   // the operator's name at adoption
	Share   string    `json:"share"`  // id of the share, 32 hexadecimal digits
	Root    string    `json:"root"`   // NodeID of the share's root
	Key     string    `json:"key"`    // the share's secret, 64 hexadecimal digits; the file's mode is 0600
	Epoch   uint64    `json:"epoch"`  // of Members and Removed; it grows with every change of them
	Members []Member  `json:"members"`
	Removed []Removed `json:"removed,omitempty"`
	Birth   Identity  `json:"birth"` // of PrivateName itself; a mismatch says this is a copy
}

// Member is a volume of the share. Comparable.
type Member struct {
	Volume string `json:"volume"`
	Name   string `json:"name"`
	Mode   Mode   `json:"mode,omitempty"`
	Epoch  uint64 `json:"epoch,omitempty"` // at which this entry changed last; of two lists' the higher counts
}

// Removed is a volume that was one of the share. It stays listed, so that it is known if it comes
// back, and so that an older list which still has it as a member does not count. Comparable.
type Removed struct {
	Volume string `json:"volume"`
	Name   string `json:"name"`
	Epoch  uint64 `json:"epoch"`          // at which it was removed
	Lost   bool   `json:"lost,omitempty"` // with what it held
}

// MarkerFormat is the version of Marker that this code writes. It reads 1, too, which has neither
// Removed nor a Member's Mode and Epoch.
const MarkerFormat = 2
