package volumetest

import (
	"context"
	"math"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// memFile is an open file of a Mem.
type memFile struct {
	handle
	flags volume.Flag
}

// Stat is the file as it is now.
func (f *memFile) Stat(context.Context) (volume.Stat, error) {
	if err := f.lock("fstat", false); err != nil {
		return volume.Stat{}, err
	}
	defer f.unlock()
	return f.n.stat(), nil
}

// ReadAt reads until buf is full or the file ends.
func (f *memFile) ReadAt(_ context.Context, buf []byte, off int64) (int, error) {
	if err := f.lock("read", false); err != nil {
		return 0, err
	}
	defer f.unlock()
	return f.read(buf, off)
}

func (f *memFile) read(buf []byte, off int64) (int, error) {
	if off < 0 {
		return 0, vfs.Inval
	}
	if f.flags&volume.Read == 0 {
		return 0, vfs.ServerFault
	}
	n := f.n
	if uint64(off) >= n.size {
		return 0, nil
	}
	buf = buf[:min(uint64(len(buf)), n.size-uint64(off))]
	for done := 0; done < len(buf); {
		at := off + int64(done)
		part := buf[done:min(len(buf), done+pageSize-int(at%pageSize))]
		if p := n.pages[at/pageSize]; p != nil {
			copy(part, p[at%pageSize:])
		} else {
			clear(part)
		}
		done += len(part)
	}
	return len(buf), nil
}

// ReadNow is ReadAt: memory never waits. It counts as an operation of its own.
func (f *memFile) ReadNow(buf []byte, off int64) (int, error) {
	if err := f.lock("readnow", false); err != nil {
		return 0, err
	}
	defer f.unlock()
	return f.read(buf, off)
}

// WriteAt writes until the capacity is reached.
func (f *memFile) WriteAt(_ context.Context, buf []byte, off int64) (int, error) {
	if err := f.lock("write", true); err != nil {
		return 0, err
	}
	defer f.unlock()
	switch {
	case off < 0:
		return 0, vfs.Inval
	case int64(len(buf)) > math.MaxInt64-off, uint64(off)+uint64(len(buf)) > f.m.caps.MaxFileSize:
		return 0, vfs.FBig
	case f.flags&volume.Write == 0:
		return 0, vfs.ServerFault
	}
	done := 0
	for done < len(buf) {
		at := off + int64(done)
		p := f.m.pageFor(f.n, at/pageSize)
		if p == nil {
			break
		}
		done += copy(p[at%pageSize:], buf[done:])
	}
	if done > 0 {
		f.n.size = max(f.n.size, uint64(off)+uint64(done))
		f.m.disk.touch(f.n, true)
	}
	if done < len(buf) {
		return done, vfs.NoSpc
	}
	return done, nil
}

// pageFor is page i to write to; nil if there is no room.
func (m *Mem) pageFor(n *inode, i int64) *page {
	if p := n.writable(i); p != nil {
		return p
	}
	if m.disk.full(pageSize) {
		return nil
	}
	p := new(page)
	n.pages[i] = p
	n.dirty[i] = struct{}{}
	m.disk.used += pageSize
	return p
}

// SetAttr changes the size first.
func (f *memFile) SetAttr(_ context.Context, set *vfs.SetAttr) error {
	if err := f.lock("fsetattr", true); err != nil {
		return err
	}
	defer f.unlock()
	if set.Has(vfs.SetSize) {
		switch {
		case set.Size > f.m.caps.MaxFileSize:
			return vfs.FBig
		case f.flags&volume.Write == 0:
			return vfs.Inval // ftruncate(2)
		}
		before := len(f.n.pages)
		f.n.size = set.Size
		f.n.trim()
		f.m.disk.used -= uint64(before-len(f.n.pages)) * pageSize
		f.m.disk.touch(f.n, true)
	}
	return f.m.setAttr(f.n, set)
}

// Sync makes data and size durable, and the attributes unless dataOnly.
func (f *memFile) Sync(_ context.Context, dataOnly bool) error {
	f.m.syncs[syncFile].Add(1)
	if err := f.lock("syncfile", false); err != nil {
		return err
	}
	defer f.unlock()
	f.n.syncData()
	if !dataOnly {
		f.n.syncMeta()
	}
	return nil
}

// Close ends the use of the file.
func (f *memFile) Close() error {
	if err := f.close("close"); err != nil {
		return err
	}
	f.forget()
	return nil
}
