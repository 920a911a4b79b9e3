package local

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

// TestHandleLayouts draws handles as the kernel's file systems encode them.
func TestHandleLayouts(t *testing.T) {
	u32 := func(v ...uint32) (b []byte) {
		for _, x := range v {
			b = binary.NativeEndian.AppendUint32(b, x)
		}
		return b
	}
	u64 := func(v uint64) []byte { return binary.NativeEndian.AppendUint64(nil, v) }
	cat := func(parts ...[]byte) (b []byte) {
		for _, p := range parts {
			b = append(b, p...)
		}
		return b
	}
	const ino, gen, sub = 0x1234, 0xdeadbeef, 257
	for _, c := range []struct {
		name  string
		magic int64
		kind  int32
		raw   []byte
		ino   uint64
		gen   uint32
		sub   uint64
		ok    bool
	}{
		{"ext4", unix.EXT4_SUPER_MAGIC, 0x01, u32(ino, gen), ino, gen, 0, true},
		{"xfs, 32 bits", unix.XFS_SUPER_MAGIC, 0x01, u32(ino, gen), ino, gen, 0, true},
		{"xfs, 64 bits", unix.XFS_SUPER_MAGIC, 0x81, cat(u64(1<<40|ino), u32(gen)), 1<<40 | ino, gen, 0, true},
		{"btrfs", unix.BTRFS_SUPER_MAGIC, 0x4d, cat(u64(ino), u64(sub), u32(gen)), ino, gen, sub, true},
		{"tmpfs", unix.TMPFS_MAGIC, 0x01, u32(gen, ino, 5), 5<<32 | ino, gen, 0, true},
		{"flags above the kind", unix.EXT4_SUPER_MAGIC, 0x20001, u32(ino, gen), ino, gen, 0, true},
		{"another inode", unix.EXT4_SUPER_MAGIC, 0x01, u32(ino+1, gen), ino, 0, 0, false},
		{"cut", unix.EXT4_SUPER_MAGIC, 0x01, u32(ino), ino, 0, 0, false},
		{"another kind", unix.EXT4_SUPER_MAGIC, 0x02, u32(ino, gen), ino, 0, 0, false},
		{"another file system", 0x65735546, 0x01, u32(ino, gen), ino, 0, 0, false},
	} {
		h := fileHandle{bytes: uint32(len(c.raw)), kind: c.kind}
		copy(h.raw[:], c.raw)
		gen, sub, ok := h.parse(c.magic, c.ino)
		if ok != c.ok || ok && (gen != c.gen || sub != c.sub) {
			t.Errorf("%s: generation %x, subvolume %d, %v", c.name, gen, sub, ok)
		}
		var back fileHandle
		if !c.ok || !back.build(c.magic, c.ino, c.gen, c.sub) {
			continue
		}
		if gen, sub, ok := back.parse(c.magic, c.ino); !ok || gen != c.gen || sub != c.sub {
			t.Errorf("%s, built: generation %x, subvolume %d, %v", c.name, gen, sub, ok)
		}
	}
}
