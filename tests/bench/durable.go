package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-billy/v5"
)

// durable is a host directory as a billy.Filesystem that makes the flushes which go-nfs
// leaves out: what it acknowledges is on stable storage, as ours is. Beyond that it
// does as little as can be.
type durable struct{ root string }

func (d durable) path(name string) string { return d.root + "/" + name }

// syncDir makes the names of a directory durable.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// changed passes on err, or syncs the directories of names.
func (d durable) changed(err error, names ...string) error {
	last := ""
	for _, n := range names {
		if dir := filepath.Dir(d.path(n)); err == nil && dir != last {
			err, last = syncDir(dir), dir
		}
	}
	return err
}

func (d durable) Create(name string) (billy.File, error) {
	f, err := d.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o666)
	if err == nil {
		err = d.changed(nil, name)
	}
	return f, err
}

func (d durable) Open(name string) (billy.File, error) { return d.OpenFile(name, os.O_RDONLY, 0) }

func (d durable) OpenFile(name string, flag int, mode os.FileMode) (billy.File, error) {
	f, err := os.OpenFile(d.path(name), flag, mode)
	if err != nil {
		return nil, err
	}
	return &file{File: f}, nil
}

func (d durable) MkdirAll(name string, mode os.FileMode) error {
	return d.changed(os.MkdirAll(d.path(name), mode), name)
}

func (d durable) Remove(name string) error {
	return d.changed(os.Remove(d.path(name)), name)
}

func (d durable) Rename(from, to string) error {
	return d.changed(os.Rename(d.path(from), d.path(to)), from, to)
}

func (d durable) Symlink(target, link string) error {
	return d.changed(os.Symlink(target, d.path(link)), link)
}

func (d durable) Stat(name string) (os.FileInfo, error)  { return os.Stat(d.path(name)) }
func (d durable) Lstat(name string) (os.FileInfo, error) { return os.Lstat(d.path(name)) }
func (d durable) Readlink(name string) (string, error)   { return os.Readlink(d.path(name)) }
func (d durable) Join(parts ...string) string            { return filepath.Join(parts...) }
func (d durable) Root() string                           { return d.root }

// ReadDir sorts by name, as go-nfs wants it.
func (d durable) ReadDir(name string) ([]os.FileInfo, error) {
	entries, err := os.ReadDir(d.path(name))
	if err != nil {
		return nil, err
	}
	infos := make([]os.FileInfo, 0, len(entries))
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, os.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		infos = append(infos, info)
	}
	slices.SortFunc(infos, func(a, b os.FileInfo) int { return strings.Compare(a.Name(), b.Name()) })
	return infos, nil
}

func (d durable) Chroot(name string) (billy.Filesystem, error) { return durable{d.path(name)}, nil }
func (d durable) TempFile(string, string) (billy.File, error)  { return nil, billy.ErrNotSupported }
func (d durable) Chmod(name string, mode os.FileMode) error    { return os.Chmod(d.path(name), mode) }

func (d durable) Lchown(name string, uid, gid int) error { return os.Lchown(d.path(name), uid, gid) }

func (d durable) Chown(name string, uid, gid int) error { return os.Chown(d.path(name), uid, gid) }

func (d durable) Chtimes(name string, atime, mtime time.Time) error {
	return os.Chtimes(d.path(name), atime, mtime)
}

// file is synced at Close if it was written: go-nfs opens, writes and closes in each
// WRITE, and claims FILE_SYNC.
type file struct {
	*os.File
	written bool
}

func (f *file) Write(b []byte) (int, error) {
	f.written = true
	return f.File.Write(b)
}

func (f *file) Close() error {
	if f.written {
		return errors.Join(f.Sync(), f.File.Close())
	}
	return f.File.Close()
}

func (f *file) Lock() error   { return nil }
func (f *file) Unlock() error { return nil }
