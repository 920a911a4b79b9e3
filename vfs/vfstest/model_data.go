package vfstest

import (
	"context"
	"encoding/binary"

	"github.com/dchest/siphash"

	"sheaf/vfs"
	"sheaf/vfs/perm"
)

// pageSize is the granule in which a Model keeps data, in bytes.
const pageSize = 4096

type page [pageSize]byte

// data are the contents of a file; its size is in the attributes.
type data struct {
	pages      map[uint64]*page // by number; absent: a hole
	undo       map[uint64]*page // what the pages written since the last flush held then; nil: a hole
	dirty      bool             // something is to be flushed
	stableSize uint64           // the size at the last flush, if dirty
}

// file is the living file n, or Stale, IsDir or Inval.
func (m *Model) file(n vfs.Node) (*object, error) {
	o, err := m.object(n)
	if err != nil {
		return nil, err
	}
	switch o.attr.Type {
	case vfs.Regular:
		return o, nil
	case vfs.Directory:
		return o, vfs.IsDir
	default:
		return o, vfs.Inval
	}
}

// Read implements vfs.FS. It leaves atime alone, as a mount with noatime does.
func (m *Model) Read(_ context.Context, w *vfs.Who, n vfs.Node, buf []byte, off uint64) (int, bool, vfs.Attr, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, err := m.file(n)
	if o == nil {
		return 0, false, vfs.Attr{}, err
	}
	if err == nil {
		err = perm.ReadFile(w, &o.attr, o.acls.Access)
	}
	if err != nil {
		return 0, false, o.attr, err
	}
	if off >= o.attr.Size {
		return 0, true, o.attr, nil
	}
	buf = buf[:min(uint64(len(buf)), o.attr.Size-off)]
	o.data.read(buf, off)
	return len(buf), off+uint64(len(buf)) == o.attr.Size, o.attr, nil
}

func (d *data) read(buf []byte, off uint64) {
	for len(buf) > 0 {
		in := off % pageSize
		part := buf[:min(uint64(len(buf)), pageSize-in)]
		if p := d.pages[off/pageSize]; p != nil {
			copy(part, p[in:])
		} else {
			clear(part)
		}
		buf, off = buf[len(part):], off+uint64(len(part))
	}
}

// Write implements vfs.FS. All of data is written or nothing.
func (m *Model) Write(_ context.Context, w *vfs.Who, n vfs.Node, buf []byte, off uint64, stable vfs.Stable) (wr vfs.Written, c vfs.Change, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, err := m.file(n)
	if o != nil {
		defer watch(o, &c)()
	}
	if err == nil {
		err = m.mayWrite(w, o, uint64(len(buf)), off)
	}
	if err != nil {
		return wr, c, err
	}
	if len(buf) > 0 {
		o.data.begin(o.attr.Size)
		m.write(o, buf, off)
		o.attr.Mode = perm.Written(w, &o.attr)
		m.modify(o)
	}
	if stable != vfs.Unstable {
		o.data.flush()
		stable = vfs.FileSync
	}
	return vfs.Written{Count: len(buf), Stable: stable, Verifier: m.verifier()}, c, nil
}

// mayWrite checks permission, then the size of the file, then the room.
func (m *Model) mayWrite(w *vfs.Who, o *object, count, off uint64) error {
	if err := perm.WriteFile(w, &o.attr, o.acls.Access); err != nil || count == 0 {
		return err
	}
	if count > m.opts.MaxFileSize || off > m.opts.MaxFileSize-count {
		return vfs.FBig
	}
	fresh := uint64(0)
	for p := off / pageSize; p <= (off+count-1)/pageSize; p++ {
		if o.data.pages[p] == nil {
			fresh++
		}
	}
	if fresh > m.opts.Capacity/pageSize-m.pages {
		return vfs.NoSpc
	}
	return nil
}

func (m *Model) write(o *object, buf []byte, off uint64) {
	o.attr.Size = max(o.attr.Size, off+uint64(len(buf)))
	for len(buf) > 0 {
		p := m.pageForWrite(o.data, off/pageSize)
		n := copy(p[off%pageSize:], buf)
		buf, off = buf[n:], off+uint64(n)
	}
	o.attr.Used = uint64(len(o.data.pages)) * pageSize
}

// pageForWrite is page i of d, there from now on, its former contents kept.
func (m *Model) pageForWrite(d *data, i uint64) *page {
	old := d.pages[i]
	if _, kept := d.undo[i]; !kept {
		if old == nil {
			d.undo[i] = nil
		} else {
			was := *old
			d.undo[i] = &was
		}
	}
	if old == nil {
		old = new(page)
		d.pages[i] = old
		m.pages++
	}
	return old
}

// begin notes that d, of a file of the given size, is about to change unflushed.
func (d *data) begin(size uint64) {
	if !d.dirty {
		d.dirty, d.stableSize = true, size
	}
}

// flush makes d's contents what a crash leaves.
func (d *data) flush() {
	d.dirty = false
	clear(d.undo)
}

// Commit implements vfs.FS. It flushes the whole file.
func (m *Model) Commit(_ context.Context, w *vfs.Who, n vfs.Node, _, _ uint64) (v vfs.Verifier, c vfs.Change, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, err := m.file(n)
	if o != nil {
		defer watch(o, &c)()
	}
	if err == nil {
		err = perm.WriteFile(w, &o.attr, o.acls.Access)
	}
	if err != nil {
		return v, c, err
	}
	o.data.flush()
	return m.verifier(), c, nil
}

// resize gives o a size, and flushes it: what a truncation cut off never comes back.
func (m *Model) resize(o *object, size uint64) {
	d := o.data
	if size < o.attr.Size {
		last := size / pageSize // the first page that is not kept whole
		for i, p := range d.pages {
			switch {
			case i == last && size%pageSize != 0:
				clear(p[size%pageSize:])
			case i >= last:
				delete(d.pages, i)
				m.pages--
			}
		}
	}
	d.flush()
	o.attr.Size, o.attr.Used = size, uint64(len(d.pages))*pageSize
}

// verifier is that of this life.
func (m *Model) verifier() (v vfs.Verifier) {
	binary.BigEndian.PutUint64(v[:], siphash.Hash(m.opts.Seed, m.lives, nil))
	return v
}

// Crash loses what was written UNSTABLE and not committed since, and changes
// the verifier: what a power cut does. Everything else was stable.
func (m *Model) Crash() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lives++
	for _, o := range m.objects {
		if o.data == nil || !o.data.dirty {
			continue
		}
		for i, p := range o.data.undo {
			if p == nil {
				delete(o.data.pages, i)
				m.pages--
			} else {
				o.data.pages[i] = p
			}
		}
		o.attr.Size, o.attr.Used = o.data.stableSize, uint64(len(o.data.pages))*pageSize
		o.data.flush()
		m.modify(o)
	}
}
