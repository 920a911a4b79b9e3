//nolint:errorlint // the errnos of package unix come bare
package local

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// fanotifyQueueMax bounds the events that the kernel keeps for us, whose own bound (16,384) is reached
// by a fraction of a second of changes while the server does not run: some 50 MiB of its memory.
const fanotifyQueueMax = 1 << 18

// fanotifyLook is how many reads in a row may leave something before the queue's length is asked.
const fanotifyLook = 16

// What is told: names; attributes; a file that was written and closed. Not each write, which would
// cost every write of the server's own.
const (
	fanotifyNames = unix.FAN_CREATE | unix.FAN_DELETE | unix.FAN_MOVED_FROM | unix.FAN_MOVED_TO
	fanotifyMask  = fanotifyNames | unix.FAN_ATTRIB | unix.FAN_CLOSE_WRITE | unix.FAN_ONDIR
)

// fanotify is a watch of the whole file system that a volume lies on; see fanotify(7). What
// happens outside the volume is told, too: its directories are nobody's.
type fanotify struct {
	*stream
	magic int64
	sub   uint64
	pid   int32
	full  int // reads in a row that left something
	limit int // of events in the queue

	// inFull is asked before the events of a read are told, whether our own are to be, too. Otherwise they are but counted:
	// most are, three for each file that is made, and nobody has to look again for them.
	inFull func() bool
}

// watchFanotify begins a watch, or takes part in one, and sees by a trial that it tells what is wanted: events with
// handles that can be read, and whose process did it.
func (v *Volume) watchFanotify(sink volume.WatchSink) (volume.Watch, error) {
	m, err := v.joinFanout(sink)
	if err != nil {
		return nil, err
	}
	if err := m.try(v); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// fanotifyInit asks for the handles of what an event is about, which kernels before 5.17 tell of
// names only by their directory.
func fanotifyInit(flags uint) (fd int, err error) {
	flags |= unix.FAN_CLASS_NOTIF | unix.FAN_CLOEXEC | unix.FAN_NONBLOCK
	for _, report := range []uint{unix.FAN_REPORT_DFID_NAME_TARGET, unix.FAN_REPORT_DFID_NAME | unix.FAN_REPORT_FID} {
		err = again(func() error {
			fd, err = unix.FanotifyInit(flags|report, unix.O_RDONLY|unix.O_CLOEXEC)
			return err
		})
		if err != unix.EINVAL {
			return fd, err
		}
	}
	return -1, err
}

// Kind implements volume.Watch.
func (w *fanotify) Kind() string { return string(WatchFanotify) }

// Whole is true: one mark covers the file system.
func (w *fanotify) Whole() bool { return true }

// Covered counts nothing.
func (w *fanotify) Covered() int { return 0 }

// Cover has nothing to do: all is covered.
func (w *fanotify) Cover(context.Context, volume.Dir) (bool, error) { return true, nil }

// Uncover has nothing to do.
func (w *fanotify) Uncover(uint64) {}

// tell hands events on.
func (w *fanotify) tell(events []byte) error {
	if len(w.buf)-len(events) >= watchEventMax {
		w.full = 0
	}
	own, inFull := 0, w.inFull()
	skip := func(mask uint64, pid int32) bool {
		if inFull || pid != w.pid || mask&unix.FAN_Q_OVERFLOW != 0 {
			return false
		}
		own++
		return true
	}
	err := parseFanotify(events, skip, func(e *fanEvent) {
		n, why := w.news(e)
		switch {
		case why != "":
			w.sink.Lost(0, false, why)
		case n != volume.News{}:
			w.sink.Changed(n)
		}
	})
	if own > 0 {
		w.sink.Changed(volume.News{Own: true, Times: own})
	}
	return err
}

// checkQueue keeps the kernel's queue bounded: what is not read in time is given up with the watch.
func (w *fanotify) checkQueue() error {
	if w.full++; w.full%fanotifyLook != 0 {
		return nil
	}
	raw, err := w.f.SyscallConn()
	if err != nil {
		return err
	}
	var n int
	cerr := raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	if err := errors.Join(cerr, err); err != nil {
		return err
	}
	if n /= fanotifyHead; n > w.limit { // FIONREAD counts the heads of events only (fanotify_ioctl of fs/notify/fanotify/fanotify_user.c)
		return fmt.Errorf("%d events wait to be read, more than %d", n, w.limit)
	}
	return nil
}

// news is what an event says; or why news are lost. Neither: it is about another subvolume, or an
// object that cannot be told.
func (w *fanotify) news(e *fanEvent) (n volume.News, lost string) {
	if e.mask&unix.FAN_Q_OVERFLOW != 0 {
		return n, "the kernel's queue of events overflowed"
	}
	n.Own, n.IsDir = e.pid == w.pid, e.mask&unix.FAN_ONDIR != 0
	if obj, ok := decodeHandle(w.magic, e.objKind, e.obj); ok && w.mine(obj) {
		n.Ino = obj.ino
	}
	names := e.mask&fanotifyNames != 0
	if !names && n.Ino != 0 {
		return n, ""
	}
	dir, ok := decodeHandle(w.magic, e.dirKind, e.dir)
	switch {
	case ok && !w.mine(dir), !ok && !names:
		return volume.News{}, ""
	case !ok:
		return n, fmt.Sprintf("an event tells its directory by a handle of type %#x that cannot be read", e.dirKind)
	case !names && string(e.name) == ".":
		n.Ino = dir.ino
		return n, ""
	}
	n.Dir, n.AttrOnly = dir.ino, !names
	n.Name, _ = vfs.ParseName(string(e.name)) // what is no name is any
	return n, ""
}

// mine reports whether an object is of the volume's subvolume: others of a btrfs have the same inode numbers.
func (w *fanotify) mine(id handleID) bool {
	return w.magic != unix.BTRFS_SUPER_MAGIC || id.sub == w.sub
}

// fanEvent is one event as the kernel tells it. The slices are good until the next read.
type fanEvent struct {
	mask             uint64
	pid              int32
	dir, obj, name   []byte // handles of the directory and the object; nil: not told
	dirKind, objKind int32
}

// Sizes of struct fanotify_event_metadata, fanotify_event_info_header, and fanotify_event_info_fid up
// to the bytes of its handle (linux/fanotify.h).
const (
	fanotifyHead     = 24
	fanotifyInfoHead = 4
	fanotifyFIDHead  = fanotifyInfoHead + 8 + 8
)

var errEvents = errors.New("the kernel's events are not as fanotify(7) says")

// parseFanotify calls each with every event of b but those that skip, which is asked before, wants no more of:
//
//	u32 event_len, u8 vers, u8 reserved, u16 metadata_len, u64 mask, s32 fd, s32 pid, info records
//
// The event is reused. After an error nothing more can be read.
func parseFanotify(b []byte, skip func(mask uint64, pid int32) bool, each func(e *fanEvent)) error {
	ne := binary.NativeEndian
	var e fanEvent
	for len(b) > 0 {
		if len(b) < fanotifyHead {
			return errEvents
		}
		size, head := int(ne.Uint32(b)), int(ne.Uint16(b[6:]))
		if b[4] != unix.FANOTIFY_METADATA_VERSION || head < fanotifyHead || size < head || size > len(b) {
			return errEvents
		}
		e = fanEvent{mask: ne.Uint64(b[8:]), pid: int32(ne.Uint32(b[20:]))}
		info := b[head:size]
		b = b[size:]
		if skip(e.mask, e.pid) {
			continue
		}
		if err := e.info(info); err != nil {
			return err
		}
		each(&e)
	}
	return nil
}

// info reads the records of an event:
//
//	u8 type, u8 pad, u16 len, then for those about objects: s32 fsid[2], u32 handle_bytes, s32 handle_type,
//	handle, and a name that ends with a NUL
func (e *fanEvent) info(b []byte) error {
	ne := binary.NativeEndian
	for len(b) > 0 {
		if len(b) < fanotifyInfoHead {
			return errEvents
		}
		kind, size := b[0], int(ne.Uint16(b[2:]))
		if size < fanotifyInfoHead || size > len(b) {
			return errEvents
		}
		r := b[:size]
		b = b[size:]
		if kind != unix.FAN_EVENT_INFO_TYPE_FID && kind != unix.FAN_EVENT_INFO_TYPE_DFID_NAME && kind != unix.FAN_EVENT_INFO_TYPE_DFID {
			continue
		}
		if size < fanotifyFIDHead {
			return errEvents
		}
		length, handle := ne.Uint32(r[12:]), int32(ne.Uint32(r[16:]))
		r = r[fanotifyFIDHead:]
		if length > handleMax || int(length) > len(r) {
			return errEvents
		}
		if kind == unix.FAN_EVENT_INFO_TYPE_FID {
			e.obj, e.objKind = r[:length], handle
			continue
		}
		e.dir, e.dirKind = r[:length], handle
		if kind == unix.FAN_EVENT_INFO_TYPE_DFID_NAME {
			e.name, _, _ = bytes.Cut(r[length:], []byte{0})
		}
	}
	return nil
}
