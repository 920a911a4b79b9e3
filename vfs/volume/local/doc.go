//go:build linux || darwin || freebsd

// Package local is a directory of the host as a volume.Volume, and the only
// code of Sheaf that knows the host's system calls.
//
// # Beneath the root, always
//
// The root is opened once, by the operator's path. After that every call names
// one component (a vfs.Name, so never "..", never with a slash) under an open
// directory and never follows a symbolic link: openat2(2) with RESOLVE_BENEATH,
// NO_SYMLINKS, NO_MAGICLINKS and NO_XDEV on Linux, openat(2) with O_NOFOLLOW
// elsewhere. Mount points are refused (XDev), and so are btrfs subvolumes, whose
// objects may repeat inode number and birth time of those in their snapshot's
// origin, so that a volume.Key would not tell them apart. A directory that a
// process of the host moves out of the volume while it is open here stays open
// until it is closed; nobody but such a process can bring that about.
//
// Objects without an ordinary descriptor (symbolic links, devices, files the
// server may not open) are pinned with O_PATH, compared with the key that the
// caller expects, and changed through that descriptor. Hosts without O_PATH
// compare first and act by name right after: a weaker promise.
//
// # Descriptors
//
// Descriptors are raw numbers: os.File costs twice the time (poller,
// finalizer) and os.Root five times (measured at depth 4). Directories are
// opened for reading, so that they can be synced and listed. Where that is not
// permitted (a directory of mode 0333 and a server that is not root) the
// descriptor is bare (O_PATH): its names can be used, List is Acces, and Sync
// becomes a syncfs(2) of the whole file system, since a bare descriptor cannot
// be synced.
//
// # News
//
// [Volume.Watch] tells of changes that other processes make: by fanotify(7) on the whole file
// system where the server is root, and its kernel tells names, objects and processes (5.17 for
// all of it); else by inotify(7) on directories one by one, up to half of the user's
// fs.inotify.max_user_watches for all volumes of a process together. Both are tried by a change
// before they are believed. Only on file systems where nothing changes without the kernel's
// knowledge. What is written through mmap(2), or written and not closed yet, is not told.
//
// # What lies in .sheaf
//
//	volume.json    the marker (mode 0600), replaced whole: temporary, fsync, rename, fsync
//	lock           held (flock) while a server has the volume open; says whose process
//	marks/XX/ID    marks of objects whose xattrs are refused; see sidecar.go
//	probe-*        only while a volume is being opened
package local
