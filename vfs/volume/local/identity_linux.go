package local

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"

	"sheaf/vfs/volume"
)

// hostFacts are what the volume's file system is, found when it is opened.
type hostFacts struct {
	ready   bool // the fields below are set
	magic   int64
	dev     uint64
	rootIno uint64
	rootFd  int
	path    string // of the root, as the host names it
	sub     uint64 // btrfs subvolume of the root
}

func (h *hostFacts) device(x *unix.Statx_t) uint64 { return unix.Mkdev(x.Dev_major, x.Dev_minor) }

// learn asks the facts of the file system that holds the root behind fd.
func (h *hostFacts) learn(fd int) error {
	var fs unix.Statfs_t
	if err := again(func() error { return unix.Fstatfs(fd, &fs) }); err != nil {
		return err
	}
	var x unix.Statx_t
	if err := statx(fd, "", unix.AT_EMPTY_PATH, &x); err != nil {
		return err
	}
	magic := int64(fs.Type) //nolint:unconvert // an int32 on 32-bit hosts
	*h = hostFacts{ready: true, magic: magic, dev: h.device(&x), rootIno: x.Ino, rootFd: fd, path: hostPath(fd)}
	return nil
}

// handleMax is MAX_HANDLE_SZ of open_by_handle_at(2).
const handleMax = 128

// fileHandle is struct file_handle of name_to_handle_at(2).
type fileHandle struct {
	bytes uint32
	kind  int32
	raw   [handleMax]byte
}

// The layouts of the kernel's export code and the file systems themselves; raw bytes are
// never used as an identity, since one object may have two layouts (xfs by its
// mount options).
const (
	kindIno32Gen   = 0x01 // FILEID_INO32_GEN: u32 ino, u32 generation (ext2/3/4, xfs with small inodes)
	kindXFS64      = 0x81 // XFS_FILEID_INO64_GEN: u64 ino, u32 generation
	kindBtrfs      = 0x4d // FILEID_BTRFS_WITHOUT_PARENT: u64 object, u64 root, u32 generation
	kindShmem      = 0x01 // shmem_encode_fh: u32 generation, u32 ino, u32 ino's high half
	kindMask       = 0xff // higher bits are flags of the call
	btrfsHandleLen = 20
)

// handleOf asks the handle of the object behind fd. It needs no privilege and
// works on every type; some containers forbid it.
func handleOf(fd int, h *fileHandle) error {
	var mount int32
	var empty [1]byte
	h.bytes = handleMax
	for {
		_, _, e := unix.Syscall6(unix.SYS_NAME_TO_HANDLE_AT, uintptr(fd), uintptr(unsafe.Pointer(&empty)),
			uintptr(unsafe.Pointer(h)), uintptr(unsafe.Pointer(&mount)), unix.AT_EMPTY_PATH, 0)
		switch e {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return e
		}
	}
}

// parse takes generation and sub-file-system out of h; ok if the layout is one
// of those above for this file system and names ino.
func (h *fileHandle) parse(magic int64, ino uint64) (gen uint32, sub uint64, ok bool) {
	id, ok := decodeHandle(magic, h.kind, h.raw[:min(h.bytes, handleMax)])
	if !ok {
		return 0, 0, false
	}
	return id.gen, id.sub, id.ino == ino
}

// handleID is what a handle names.
type handleID struct {
	ino, sub uint64
	gen      uint32
}

// decodeHandle reads a handle of a file system of that kind; ok if the layout is one of those above.
func decodeHandle(magic int64, kind int32, b []byte) (id handleID, ok bool) {
	le := binary.NativeEndian
	kind &= kindMask
	switch {
	case (magic == unix.EXT4_SUPER_MAGIC || magic == unix.XFS_SUPER_MAGIC) && kind == kindIno32Gen && len(b) >= 8:
		return handleID{ino: uint64(le.Uint32(b)), gen: le.Uint32(b[4:])}, true
	case magic == unix.XFS_SUPER_MAGIC && kind == kindXFS64 && len(b) >= 12:
		return handleID{ino: le.Uint64(b), gen: le.Uint32(b[8:])}, true
	case magic == unix.BTRFS_SUPER_MAGIC && kind == kindBtrfs && len(b) >= btrfsHandleLen:
		return handleID{ino: le.Uint64(b), sub: le.Uint64(b[8:]), gen: le.Uint32(b[16:])}, true
	case magic == unix.TMPFS_MAGIC && kind == kindShmem && len(b) >= 12:
		return handleID{gen: le.Uint32(b), ino: uint64(le.Uint32(b[4:])) | uint64(le.Uint32(b[8:]))<<32}, true
	default:
		return handleID{}, false
	}
}

// build is the inverse of parse, for open_by_handle_at(2). gen on btrfs belongs to
// the subvolume of the root, the only one that is served.
func (h *fileHandle) build(magic int64, ino uint64, gen uint32, sub uint64) bool {
	le := binary.NativeEndian
	switch magic {
	case unix.EXT4_SUPER_MAGIC:
		h.kind, h.bytes = kindIno32Gen, 8
		le.PutUint32(h.raw[:], uint32(ino))
		le.PutUint32(h.raw[4:], gen)
		return ino>>32 == 0
	case unix.XFS_SUPER_MAGIC: // xfs takes either layout, whatever it was mounted with
		h.kind, h.bytes = kindXFS64, 12
		le.PutUint64(h.raw[:], ino)
		le.PutUint32(h.raw[8:], gen)
	case unix.BTRFS_SUPER_MAGIC:
		h.kind, h.bytes = kindBtrfs, btrfsHandleLen
		le.PutUint64(h.raw[:], ino)
		le.PutUint64(h.raw[8:], sub)
		le.PutUint32(h.raw[16:], gen)
	case unix.TMPFS_MAGIC:
		h.kind, h.bytes = kindShmem, 12
		le.PutUint32(h.raw[:], gen)
		le.PutUint32(h.raw[4:], uint32(ino))
		le.PutUint32(h.raw[8:], uint32(ino>>32))
	default:
		return false
	}
	return true
}

// identity is that of the object behind r, which its descriptor keeps the same
// as the one r.st tells of. Gen and Sub are zero where they cannot be known.
func (v *Volume) identity(r *ref) volume.Identity {
	id := volume.Identity{Key: r.st.Key}
	var h fileHandle
	if handleOf(r.fd, &h) == nil {
		if gen, sub, ok := h.parse(v.host.magic, r.st.Key.Ino); ok {
			id.Gen, id.Sub = gen, sub
		}
	}
	return id
}

// strong reports whether identities of this file system never come again: it
// tells a generation.
func (v *Volume) strong(r *ref) bool {
	var h fileHandle
	if handleOf(r.fd, &h) != nil {
		return false
	}
	_, _, ok := h.parse(v.host.magic, r.st.Key.Ino)
	return ok
}

// tick is the clock that birth times are taken from, in nanoseconds since the epoch: no
// object made after this call has an earlier one. 0 where the file system may have a
// clock of its own.
func (v *Volume) tick() int64 {
	switch v.host.magic {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.TMPFS_MAGIC:
		var ts unix.Timespec
		if unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &ts) != nil {
			return 0
		}
		return ts.Nano()
	default:
		return 0
	}
}
