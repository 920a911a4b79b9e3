//go:build linux

package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The people of the cases. Nobody is in a group by name only: the numbers are all that counts.
const (
	alice    = 1001
	bob      = 1002
	aliceGid = 2001
	bobGid   = 2002
	shared   = 2003 // a group both may be given
)

// scene is one case: a folder of its own, and the calls made in it. Each call prints "case: call = result", where the
// result is what the call returned or the name of its errno, and never anything that two file systems may choose
// freely, as inode numbers and the sizes of directories.
type scene struct {
	name, dir string
	out       *bufio.Writer
}

func calls(dir string) {
	unix.Umask(0)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for _, c := range cases {
		s := &scene{name: c.name, dir: filepath.Join(dir, c.name), out: out}
		if err := os.Mkdir(s.dir, 0o777); err != nil {
			fail(err)
		}
		c.run(s)
	}
}

// say prints a call and how it ended.
func (s *scene) say(result any, call string, args ...any) {
	if err, ok := result.(error); ok {
		result = errName(err)
	}
	if result == nil {
		result = "ok"
	}
	fmt.Fprintf(s.out, "%s: %s = %v\n", s.name, fmt.Sprintf(call, args...), result)
}

func errName(err error) string {
	if errno, ok := errors.AsType[unix.Errno](err); ok {
		if name := unix.ErrnoName(errno); name != "" {
			return name
		}
	}
	return err.Error()
}

// as makes the calls of f as somebody else. Credentials belong to a thread; this one is never given back, so the Go
// runtime ends it with the goroutine.
func (s *scene) as(uid, gid int, groups []uint32, f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if err := become(uid, gid, groups); err != 0 {
			fail(fmt.Errorf("becoming %d: %w", uid, err))
		}
		f()
	}()
	<-done
}

func (s *scene) alice(f func()) { s.as(alice, aliceGid, nil, f) }
func (s *scene) bob(f func())   { s.as(bob, bobGid, nil, f) }

// p is a name in the scene's folder; it keeps a trailing slash, which says something to the kernel.
func (s *scene) p(name string) string {
	if strings.HasPrefix(name, "/") {
		return name
	}
	return s.dir + "/" + name
}

// short shows long names by their length.
func short(name string) string {
	if len(name) > 40 {
		return fmt.Sprintf("%.6s…(%d)", name, len(name))
	}
	return fmt.Sprintf("%q", name)
}

func flagNames(flags int) string {
	names := []string{[]string{"RDONLY", "WRONLY", "RDWR", "3"}[flags&unix.O_ACCMODE]}
	for _, f := range []struct {
		bit  int
		name string
	}{
		{unix.O_CREAT, "CREAT"},
		{unix.O_EXCL, "EXCL"},
		{unix.O_TRUNC, "TRUNC"},
		{unix.O_APPEND, "APPEND"},
		{unix.O_NONBLOCK, "NONBLOCK"},
		{unix.O_NOFOLLOW, "NOFOLLOW"},
		{unix.O_PATH, "PATH"},
		{unix.O_DIRECT, "DIRECT"},
		{unix.O_SYNC, "SYNC"},
	} {
		if flags&f.bit == f.bit {
			names = append(names, f.name)
		}
	}
	if flags&unix.O_TMPFILE == unix.O_TMPFILE {
		names = append(names, "TMPFILE")
	} else if flags&unix.O_DIRECTORY != 0 {
		names = append(names, "DIRECTORY")
	}
	return strings.Join(names, "|")
}

// open returns -1 where the call failed; every call on that says EBADF, which is compared like any other result.
func (s *scene) open(name string, flags int, mode uint32) int {
	fd, err := unix.Open(s.p(name), flags|unix.O_CLOEXEC, mode)
	s.say(err, "open %s %s %04o", short(name), flagNames(flags), mode)
	if err != nil {
		return -1
	}
	return fd
}

func (s *scene) close(fd int) { s.say(unix.Close(fd), "close") }

// file makes a file with contents; that it works is not the point of the case.
func (s *scene) file(name, content string, mode uint32) {
	fd, err := unix.Open(s.p(name), unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, mode)
	if err != nil {
		s.say(err, "make %s", short(name))
		return
	}
	if _, err := unix.Write(fd, []byte(content)); err != nil {
		s.say(err, "fill %s", short(name))
	}
	if err := unix.Close(fd); err != nil {
		s.say(err, "close %s", short(name))
	}
	if err := unix.Chmod(s.p(name), mode); err != nil {
		s.say(err, "mode of %s", short(name))
	}
}

func (s *scene) touch(name string) {
	fd := s.open(name, unix.O_CREAT|unix.O_WRONLY, 0o644)
	_ = unix.Close(fd)
}

func (s *scene) mkdir(name string, mode uint32) {
	s.say(unix.Mkdir(s.p(name), mode), "mkdir %s %04o", short(name), mode)
}
func (s *scene) rmdir(name string)  { s.say(unix.Rmdir(s.p(name)), "rmdir %s", short(name)) }
func (s *scene) unlink(name string) { s.say(unix.Unlink(s.p(name)), "unlink %s", short(name)) }

func (s *scene) rename(from, to string) {
	s.say(unix.Rename(s.p(from), s.p(to)), "rename %s %s", short(from), short(to))
}

func (s *scene) rename2(from, to string, flags uint) {
	s.say(unix.Renameat2(unix.AT_FDCWD, s.p(from), unix.AT_FDCWD, s.p(to), flags), "renameat2 %s %s %#x", short(from), short(to), flags)
}

func (s *scene) link(from, to string) {
	s.say(unix.Link(s.p(from), s.p(to)), "link %s %s", short(from), short(to))
}

func (s *scene) symlink(target, name string) {
	s.say(unix.Symlink(target, s.p(name)), "symlink %s %s", short(target), short(name))
}

func (s *scene) readlink(name string) {
	buf := make([]byte, 8192)
	n, err := unix.Readlink(s.p(name), buf)
	if err != nil {
		s.say(err, "readlink %s", short(name))
		return
	}
	s.say(short(string(buf[:n])), "readlink %s", short(name))
}

func (s *scene) mknod(name string, mode uint32, dev uint64) {
	s.say(unix.Mknod(s.p(name), mode, int(dev)), "mknod %s %07o %#x", short(name), mode, dev)
}

func (s *scene) chmod(name string, mode uint32) {
	s.say(unix.Chmod(s.p(name), mode), "chmod %s %05o", short(name), mode)
}

func (s *scene) chown(name string, uid, gid int) {
	s.say(unix.Chown(s.p(name), uid, gid), "chown %s %d %d", short(name), uid, gid)
}

func (s *scene) lchown(name string, uid, gid int) {
	s.say(unix.Lchown(s.p(name), uid, gid), "lchown %s %d %d", short(name), uid, gid)
}

func (s *scene) truncate(name string, size int64) {
	s.say(unix.Truncate(s.p(name), size), "truncate %s %d", short(name), size)
}

func (s *scene) access(name string, modes ...uint32) {
	for _, mode := range modes {
		s.say(unix.Faccessat(unix.AT_FDCWD, s.p(name), mode, 0), "access %s %d", short(name), mode)
	}
}

func (s *scene) utimes(name string, times []unix.Timespec, flags int) {
	s.say(unix.UtimesNanoAt(unix.AT_FDCWD, s.p(name), times, flags), "utimensat %s %v", short(name), times)
}

func (s *scene) write(fd int, data string) {
	n, err := unix.Write(fd, []byte(data))
	s.count(n, err, "write %d", len(data))
}

func (s *scene) pwrite(fd int, data string, off int64) {
	n, err := unix.Pwrite(fd, []byte(data), off)
	s.count(n, err, "pwrite %d at %d", len(data), off)
}

func (s *scene) pread(fd, size int, off int64) {
	buf := make([]byte, size)
	n, err := unix.Pread(fd, buf, off)
	if err != nil {
		s.say(err, "pread %d at %d", size, off)
		return
	}
	s.say(short(string(buf[:n])), "pread %d at %d", size, off)
}

func (s *scene) count(n int, err error, call string, args ...any) {
	if err != nil {
		s.say(err, call, args...)
		return
	}
	s.say(n, call, args...)
}

// content is the whole file by its name.
func (s *scene) content(name string) {
	fd, err := unix.Open(s.p(name), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		s.say(err, "content of %s", short(name))
		return
	}
	buf := make([]byte, 1<<16)
	n, err := unix.Read(fd, buf)
	_ = unix.Close(fd)
	if err != nil {
		s.say(err, "content of %s", short(name))
		return
	}
	s.say(short(string(buf[:n])), "content of %s", short(name))
}

func (s *scene) stat(name string) {
	var st unix.Stat_t
	if err := unix.Lstat(s.p(name), &st); err != nil {
		s.say(err, "lstat %s", short(name))
		return
	}
	s.say(show(&st), "lstat %s", short(name))
}

// follow is stat(2), which follows a symlink.
func (s *scene) follow(name string) {
	var st unix.Stat_t
	if err := unix.Stat(s.p(name), &st); err != nil {
		s.say(err, "stat %s", short(name))
		return
	}
	s.say(show(&st), "stat %s", short(name))
}

func (s *scene) fstat(fd int) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		s.say(err, "fstat")
		return
	}
	s.say(show(&st), "fstat")
}

func show(st *unix.Stat_t) string {
	text := fmt.Sprintf("mode %07o uid %d gid %d nlink %d", st.Mode, st.Uid, st.Gid, st.Nlink)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
	case unix.S_IFCHR, unix.S_IFBLK:
		text += fmt.Sprintf(" rdev %d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	default:
		text += fmt.Sprintf(" size %d", st.Size)
	}
	return text
}

// names lists a directory sorted. The client's own stand-in for a removed open file has a random name.
func (s *scene) names(name string) {
	d, err := os.Open(s.p(name))
	if err != nil {
		s.say(err, "list %s", short(name))
		return
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		s.say(err, "list %s", short(name))
		return
	}
	for i, n := range names {
		if strings.HasPrefix(n, ".nfs") {
			names[i] = ".nfs"
		}
	}
	sort.Strings(names)
	if len(names) > 12 {
		s.say(fmt.Sprintf("%d names, %s to %s", len(names), names[0], names[len(names)-1]), "list %s", short(name))
		return
	}
	s.say(fmt.Sprintf("%q", names), "list %s", short(name))
}

// moved tells which times an action moves forward. Clocks of file systems tick as coarsely as every 10 ms.
func (s *scene) moved(name, action string, f func()) {
	const tick = 25 * time.Millisecond
	var before, after unix.Stat_t
	err := unix.Lstat(s.p(name), &before)
	time.Sleep(tick)
	f()
	if err == nil {
		err = unix.Lstat(s.p(name), &after)
	}
	if err != nil {
		s.say(err, "times of %s at %s", short(name), action)
		return
	}
	s.say(fmt.Sprintf("mtime %s, ctime %s", direction(before.Mtim, after.Mtim), direction(before.Ctim, after.Ctim)),
		"times of %s at %s", short(name), action)
	time.Sleep(tick)
}

func direction(before, after unix.Timespec) string {
	switch b, a := before.Nano(), after.Nano(); {
	case a > b:
		return "moved"
	case a == b:
		return "stayed"
	default:
		return "went back"
	}
}
