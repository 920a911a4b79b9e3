//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	rdonly = unix.O_RDONLY
	wronly = unix.O_WRONLY
	rdwr   = unix.O_RDWR
	creat  = unix.O_CREAT
	excl   = unix.O_EXCL
	trunc  = unix.O_TRUNC
)

// cases are all kinds of calls on files; what differs between the share and a plain directory is explained beside the
// comparison, in the e2e package.
var cases = []struct {
	name string
	run  func(*scene)
}{
	{"open", openCases},
	{"open-permission", openPermission},
	{"open-other-types", openOtherTypes},
	{"umask", umask},
	{"append", appending},
	{"holes", holes},
	{"truncate", truncates},
	{"sizes", sizes},
	{"direct", direct},
	{"mmap", mmaps},
	{"copy", copies},
	{"allocate", allocate},
	{"names", nameCases},
	{"paths", paths},
	{"mkdir", mkdirs},
	{"rmdir", rmdirs},
	{"unlink", unlinks},
	{"unlink-open", unlinkOpen},
	{"rmdir-open", rmdirOpen},
	{"rename", renames},
	{"rename-dir", renameDirs},
	{"rename-open", renameOpen},
	{"rename-flags", renameFlags},
	{"rename-permission", renamePermission},
	{"link", links},
	{"symlink", symlinks},
	{"mknod", mknods},
	{"socket", sockets},
	{"chmod", chmods},
	{"chown", chowns},
	{"set-id", setIDs},
	{"setgid-dir", setgidDir},
	{"sticky", sticky},
	{"directory-permission", directoryPermission},
	{"groups", groupCases},
	{"access", accesses},
	{"utimes", utimes},
	{"times", times},
	{"exec", execs},
	{"revoked", revoked},
	{"list", lists},
	{"locks", locks},
	{"xattr", xattrs},
	{"statfs", statfs},
	{"cross-device", crossDevice},
}

func openCases(s *scene) {
	s.open("absent", rdonly, 0)
	s.open("absent", rdwr, 0)
	fd := s.open("f", creat|excl|rdwr, 0o640)
	s.write(fd, "hello")
	s.close(fd)
	s.stat("f")
	s.open("f", creat|excl|rdwr, 0o600)
	fd = s.open("f", creat|rdwr, 0o600) // an existing file keeps its mode and content
	s.pread(fd, 10, 0)
	s.close(fd)
	s.stat("f")
	fd = s.open("f", rdonly, 0)
	s.write(fd, "x")
	s.close(fd)
	fd = s.open("f", wronly, 0)
	s.pread(fd, 1, 0)
	s.close(fd)
	s.close(s.open("f", wronly|trunc, 0))
	s.stat("f")
	s.close(s.open("g", creat|trunc|wronly, 0o000))
	s.stat("g")
	fd = s.open("h", creat|excl|wronly, 0o444) // the mode does not bind who creates
	s.write(fd, "read-only")
	s.close(fd)
	s.content("h")
	s.close(s.open("sync", creat|wronly|unix.O_SYNC, 0o600))
	s.close(s.open("mode", creat|wronly, 0o7777))
	s.stat("mode")
	s.open("f", unix.O_DIRECTORY, 0)
	s.open("f/x", rdonly, 0)
	s.open("f/x", creat|wronly, 0o600)
	s.open("f/", rdonly, 0)
	s.open("new/", creat|wronly, 0o600)
	fd = s.open("f", unix.O_PATH, 0)
	s.fstat(fd)
	s.pread(fd, 1, 0)
	s.close(fd)
	s.open(".", unix.O_TMPFILE|rdwr, 0o600)
	s.names(".")
}

func openPermission(s *scene) {
	s.alice(func() {
		s.file("mine", "mine", 0o644)
		s.file("locked", "locked", 0o000)
		s.file("read-only", "read-only", 0o444)
		s.open("locked", rdonly, 0)
		s.open("read-only", wronly, 0)
		s.open("read-only", rdonly|trunc, 0)
		fd := s.open("born-read-only", creat|excl|wronly, 0o400)
		s.write(fd, "still writes")
		s.close(fd)
		s.content("born-read-only")
		fd = s.open("born-locked", creat|excl|rdwr, 0)
		s.write(fd, "still works")
		s.pread(fd, 20, 0)
		s.close(fd)
	})
	s.bob(func() {
		for _, flags := range []int{rdonly, wronly, rdwr, wronly | trunc, creat | wronly, creat | excl | wronly} {
			_ = unix.Close(s.open("mine", flags, 0o600))
		}
		s.open("locked", rdonly, 0)
	})
	s.content("locked") // root's, as no_root_squash has it
	s.content("mine")
	s.mkdir("closed", 0o700)
	s.bob(func() {
		s.open("closed/x", creat|wronly, 0o600)
		s.open("closed/x", rdonly, 0)
		s.open("closed", rdonly, 0)
	})
}

func openOtherTypes(s *scene) {
	s.mkdir("d", 0o755)
	s.open("d", wronly, 0)
	s.open("d", rdwr, 0)
	s.open("d", rdonly|creat, 0o600)
	s.open("d", wronly|creat|excl, 0o600)
	s.open("d", rdonly|trunc, 0)
	fd := s.open("d", rdonly|unix.O_DIRECTORY, 0)
	s.pread(fd, 1, 0)
	s.write(fd, "x")
	s.fstat(fd)
	s.say(unix.Fsync(fd), "fsync of a directory")
	s.close(fd)
	s.symlink("d", "s")
	s.open("s", rdonly|unix.O_NOFOLLOW, 0)
	s.close(s.open("s", unix.O_DIRECTORY, 0))
	s.open("s", unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	s.symlink("to-be-made", "dangling")
	s.open("dangling", rdonly, 0)
	s.open("dangling", creat|excl|wronly, 0o600)
	s.close(s.open("dangling", creat|wronly, 0o600))
	s.stat("to-be-made")
	s.mknod("fifo", unix.S_IFIFO|0o600, 0)
	s.open("fifo", wronly|unix.O_NONBLOCK, 0)
	fd = s.open("fifo", rdonly|unix.O_NONBLOCK, 0)
	s.close(s.open("fifo", wronly|unix.O_NONBLOCK, 0))
	s.close(fd)
	s.mknod("null", unix.S_IFCHR|0o666, unix.Mkdev(1, 3))
	fd = s.open("null", rdwr, 0)
	s.write(fd, "into nothing")
	s.close(fd)
	s.mknod("none", unix.S_IFCHR|0o666, unix.Mkdev(240, 77))
	s.open("none", rdwr, 0)
	s.mknod("sock", unix.S_IFSOCK|0o600, 0)
	s.open("sock", rdwr, 0)
}

func umask(s *scene) {
	for _, mask := range []int{0o022, 0o077, 0o777} {
		unix.Umask(mask)
		name := fmt.Sprintf("%03o", mask)
		s.close(s.open("f"+name, creat|wronly, 0o666))
		s.mkdir("d"+name, 0o777)
		s.mknod("p"+name, unix.S_IFIFO|0o666, 0)
		s.symlink("x", "s"+name)
		for _, kind := range []string{"f", "d", "p", "s"} {
			s.stat(kind + name)
		}
	}
	unix.Umask(0)
}

func appending(s *scene) {
	a := s.open("f", creat|wronly|unix.O_APPEND, 0o600)
	b := s.open("f", rdwr|unix.O_APPEND, 0)
	s.write(a, "one ")
	s.write(b, "two ")
	s.write(a, "three ")
	s.pwrite(b, "four", 0) // on Linux O_APPEND wins over the offset
	s.pread(b, 40, 0)
	s.close(a)
	s.close(b)
	s.content("f")
}

func holes(s *scene) {
	fd := s.open("f", creat|rdwr, 0o600)
	s.pwrite(fd, "end", 1<<20)
	s.pread(fd, 4, 1<<20-2)
	s.pread(fd, 4, 12345)
	s.pwrite(fd, "far", 1<<40)
	s.pread(fd, 4, 1<<40)
	s.pread(fd, 4, 1<<41)
	s.say(unix.Fsync(fd), "fsync")
	s.fstat(fd)
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	s.say(fmt.Sprint(st.Blocks*512 < 1<<20, err), "it takes less than it is long")
	s.close(fd)
}

func truncates(s *scene) {
	s.file("f", "0123456789", 0o644)
	s.truncate("f", 4)
	s.content("f")
	s.truncate("f", 8)
	s.content("f")
	s.truncate("f", -1)
	s.truncate("absent", 0)
	s.mkdir("d", 0o755)
	s.truncate("d", 0)
	s.symlink("f", "s")
	s.truncate("s", 2)
	s.content("f")
	fd := s.open("f", rdonly, 0)
	s.say(unix.Ftruncate(fd, 0), "ftruncate of what is open for reading")
	s.close(fd)
	fd = s.open("f", rdwr, 0)
	s.say(unix.Ftruncate(fd, 1), "ftruncate 1")
	s.fstat(fd)
	s.close(fd)
	s.bob(func() { s.truncate("f", 0) })
	s.mknod("fifo", unix.S_IFIFO|0o600, 0)
	s.truncate("fifo", 0)
	s.alice(func() {
		fd := s.open("hers", creat|excl|rdwr, 0o400)
		s.write(fd, "abc")
		s.say(unix.Ftruncate(fd, 1), "ftruncate through an older permission")
		s.close(fd)
		s.truncate("hers", 0)
	})
	s.stat("hers")
}

func sizes(s *scene) {
	fd := s.open("f", creat|rdwr, 0o600)
	s.say(unix.Ftruncate(fd, 1<<43), "ftruncate 2^43")
	s.fstat(fd)
	s.say(unix.Ftruncate(fd, 1<<62), "ftruncate 2^62")
	s.say(unix.Ftruncate(fd, 0), "ftruncate 0")
	s.pwrite(fd, "x", -1)
	s.pread(fd, 1, -1)
	s.pread(fd, 1, 1<<62)
	off, err := unix.Seek(fd, -1, unix.SEEK_SET)
	s.say(fmt.Sprint(off, errText(err)), "seek to -1")
	s.write(fd, "")
	s.close(fd)
}

func errText(err error) string {
	if err == nil {
		return "ok"
	}
	return errName(err)
}

func direct(s *scene) {
	fd := s.open("f", creat|rdwr|unix.O_DIRECT, 0o600)
	page, err := unix.Mmap(-1, 0, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		fail(err)
	}
	copy(page, strings.Repeat("d", 8192))
	n, err := unix.Pwrite(fd, page[:4096], 4096)
	s.count(n, err, "pwrite of a page at 4096")
	n, err = unix.Pread(fd, page, 0)
	s.count(n, err, "pread over the end")
	s.say(fmt.Sprint(page[0], page[4096]), "what it read")
	n, err = unix.Pwrite(fd, page[:10], 1)
	s.count(n, err, "pwrite of 10 bytes at 1")
	s.fstat(fd)
	s.close(fd)
}

func mmaps(s *scene) {
	fd := s.open("f", creat|rdwr, 0o600)
	s.say(unix.Ftruncate(fd, 10000), "ftruncate")
	m, err := unix.Mmap(fd, 0, 10000, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	s.say(err, "mmap")
	if err == nil {
		copy(m[4090:], "across a page")
		s.say(unix.Msync(m, unix.MS_SYNC), "msync")
		s.pread(fd, 13, 4090)
		s.pwrite(fd, "written", 9000)
		s.say(string(m[9000:9007]), "mapped after pwrite")
		s.say(unix.Munmap(m), "munmap")
	}
	s.close(fd)
	fd = s.open("f", rdonly, 0)
	_, err = unix.Mmap(fd, 0, 100, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	s.say(err, "mmap for writing of what is open for reading")
	s.close(fd)
}

func copies(s *scene) {
	s.file("from", strings.Repeat("0123456789", 1000), 0o644)
	in, out := s.open("from", rdonly, 0), s.open("to", creat|rdwr, 0o644)
	n, err := unix.CopyFileRange(in, nil, out, nil, 5000, 0)
	s.count(n, err, "copy_file_range")
	off := int64(0)
	n, err = unix.Sendfile(out, in, &off, 1000)
	s.count(n, err, "sendfile")
	s.pread(out, 20, 4995)
	s.fstat(out)
	s.close(in)
	s.close(out)
}

func allocate(s *scene) {
	fd := s.open("f", creat|rdwr, 0o644)
	s.write(fd, "abc")
	s.say(unix.Fallocate(fd, 0, 0, 1<<16), "fallocate")
	s.say(unix.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, 0, 1<<17), "fallocate, size kept")
	s.say(unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 4096), "punch a hole")
	s.say(unix.Ftruncate(fd, 1<<20), "ftruncate")
	s.pwrite(fd, "x", 1<<20-1)
	s.say(unix.Fsync(fd), "fsync")
	n, err := unix.Seek(fd, 1<<18, unix.SEEK_DATA)
	s.say(fmt.Sprint(n, " ", errText(err)), "seek to data from the hole")
	n, err = unix.Seek(fd, 1<<18, unix.SEEK_HOLE)
	s.say(fmt.Sprint(n, " ", errText(err)), "seek to a hole from the hole")
	n, err = unix.Seek(fd, 1<<20, unix.SEEK_DATA)
	s.say(fmt.Sprint(n, " ", errText(err)), "seek to data from the end")
	s.close(fd)
}

func nameCases(s *scene) {
	for _, name := range []string{
		strings.Repeat("n", 255), strings.Repeat("n", 256), strings.Repeat("ü", 127), strings.Repeat("ü", 128),
		"\xff\xfe not UTF-8", " ", "back\\slash", "new\nline", "-rf", "*", "...", ".hidden", "a:b", "con", "e\u0301", "\u00e9",
	} {
		s.touch(name)
		s.stat(name)
		s.unlink(name)
		s.mkdir(name, 0o700)
		s.symlink(name, name)
		s.rename(name, name+"x")
		s.stat(name)
		s.rmdir(name)
	}
	s.touch("Case")
	s.stat("case")
	s.stat("")
	s.stat("absent/")
	long := strings.Repeat("l", 256)
	s.stat(long)
	s.link("Case", long)
	s.rename("Case", long)
	s.symlink("x", long)
	s.mknod(long, unix.S_IFIFO|0o600, 0)
	s.unlink(long)
	s.rmdir(long)
	s.names(".")
}

func paths(s *scene) {
	s.stat(strings.Repeat("./", 2000) + "x") // 4000 bytes and the folder: just short of PATH_MAX, or over
	s.stat(strings.Repeat("./", 3000))
	deep := "."
	for i := range 30 {
		deep = filepath.Join(deep, fmt.Sprintf("%02d%s", i, strings.Repeat("d", 60)))
		if err := unix.Mkdir(s.p(deep), 0o755); err != nil {
			s.say(err, "mkdir at depth %d", i)
		}
	}
	s.touch(deep + "/bottom")
	s.stat(deep + "/bottom")
	s.stat(deep + "/../../../bottom")
	s.file("f", "", 0o644)
	s.stat("f/.")
	s.stat("f/..")
	s.stat("..")
	s.say(os.RemoveAll(s.p("00"+strings.Repeat("d", 60))), "remove it all")
	s.names(".")
}

func mkdirs(s *scene) {
	for _, mode := range []uint32{0o755, 0o000, 0o1777, 0o2755, 0o4711} {
		name := fmt.Sprintf("%04o", mode)
		s.mkdir(name, mode)
		s.stat(name)
	}
	s.mkdir("0755", 0o700)
	s.mkdir("0755/", 0o700)
	s.mkdir("slash/", 0o700)
	s.mkdir("absent/d", 0o700)
	s.mkdir(".", 0o700)
	s.mkdir("..", 0o700)
	s.mkdir("0755/.", 0o700)
	s.file("f", "", 0o600)
	s.mkdir("f", 0o700)
	s.mkdir("f/d", 0o700)
	s.symlink("nowhere", "dangling")
	s.mkdir("dangling", 0o700)
	s.mkdir("0755/a", 0o700)
	s.mkdir("0755/b", 0o700)
	s.file("0755/f", "", 0o600)
	s.stat("0755") // three links more than nothing: itself, ".", and a ".." in each of two
	s.rmdir("0755/a")
	s.stat("0755")
	s.bob(func() { s.mkdir("0755/bob", 0o700) })
	s.alice(func() { s.mkdir("hers", 0o750) })
	s.stat("hers")
}

func rmdirs(s *scene) {
	s.mkdir("d", 0o755)
	s.file("d/f", "", 0o600)
	s.rmdir("d")
	s.rmdir("d/f")
	s.rmdir("absent")
	s.rmdir("d/.")
	s.rmdir("d/..")
	s.rmdir("d/absent/x")
	s.unlink("d")
	s.bob(func() { s.rmdir("d") })
	s.unlink("d/f")
	s.symlink("d", "s")
	s.rmdir("s")
	s.rmdir("s/")
	s.rmdir("d/")
	s.stat("d")
	s.mkdir("d", 0o700)
	s.mkdir("d/e", 0o700)
	s.rmdir("d")
	s.names(".")
	s.chmod("d", 0o555)
	s.alice(func() { s.rmdir("d/e") })
	s.rmdir("d/e")
	s.rmdir("d")
}

func unlinks(s *scene) {
	s.file("f", "", 0o000)
	s.unlink("f/")
	s.unlink("f/x")
	s.unlink("f")
	s.unlink("f")
	s.unlink(".")
	s.unlink("..")
	s.symlink("absent", "s")
	s.unlink("s/")
	s.unlink("s")
	s.mknod("p", unix.S_IFIFO|0o600, 0)
	s.unlink("p")
	s.mkdir("d", 0o755)
	s.file("d/f", "", 0o666)
	s.alice(func() { s.unlink("d/f") })
	s.chmod("d", 0o777)
	s.alice(func() { s.unlink("d/f") }) // whoever may write the directory
	s.file("a", "", 0o600)
	s.link("a", "b")
	s.unlink("a")
	s.stat("b")
	s.names(".")
}

func unlinkOpen(s *scene) {
	fd := s.open("f", creat|rdwr, 0o600)
	s.write(fd, "before")
	s.unlink("f")
	s.stat("f")
	s.fstat(fd)
	s.pwrite(fd, "AFTER", 6)
	s.pread(fd, 20, 0)
	s.say(unix.Fchmod(fd, 0o644), "fchmod")
	s.say(unix.Ftruncate(fd, 3), "ftruncate")
	s.say(unix.Fsync(fd), "fsync")
	s.pread(fd, 20, 0)
	s.names(".")
	s.file("f", "another", 0o600)
	s.content("f")
	s.pread(fd, 20, 0)
	s.close(fd)
	s.names(".")
}

func rmdirOpen(s *scene) {
	s.mkdir("d", 0o755)
	fd := s.open("d", unix.O_DIRECTORY, 0)
	s.rmdir("d")
	s.say(unix.Mkdirat(fd, "x", 0o700), "mkdirat in a removed directory")
	s.say(unix.Fstatat(fd, "x", &unix.Stat_t{}, 0), "fstatat in a removed directory")
	_, err := unix.ReadDirent(fd, make([]byte, 4096))
	s.say(err, "list a removed directory")
	s.close(fd)
	s.mkdir("d", 0o755)
	s.names("d")
}

func renames(s *scene) {
	s.file("a", "a", 0o600)
	s.file("b", "bb", 0o600)
	s.rename("a", "a")
	s.rename("a", "c")
	s.rename("c", "b")
	s.content("b")
	s.names(".")
	s.rename("absent", "x")
	s.rename("b", "absent/x")
	s.rename("b", "b/x")
	s.rename("b", "x/")
	s.rename(".", "x")
	s.rename("b", ".")
	s.rename("b", "..")
	s.mkdir("d", 0o755)
	s.rename("b", "d")
	s.rename("b", "d/")
	s.rename("d", "b")
	s.rename("b", "d/b")
	s.rename("d/b", "b")
	s.link("b", "same")
	s.rename("b", "same") // two names of one file: nothing happens
	s.stat("b")
	s.names(".")
	s.symlink("b", "s")
	s.rename("s", "s2")
	s.readlink("s2")
	s.rename("b", "s2")
	s.stat("s2")
	s.mknod("p", unix.S_IFIFO|0o600, 0)
	s.rename("p", "s2")
	s.stat("s2")
	s.names(".")
}

func renameDirs(s *scene) {
	s.mkdir("a", 0o755)
	s.mkdir("a/in", 0o755)
	s.file("a/in/f", "deep", 0o644)
	s.rename("a", "b")
	s.content("b/in/f")
	s.stat("a")
	s.rename("b", "b/in/x")
	s.rename("b", "b/x")
	s.rename("b/in", "b")
	s.mkdir("empty", 0o700)
	s.rename("b", "empty")
	s.names("empty")
	s.mkdir("full", 0o700)
	s.file("full/x", "", 0o600)
	s.rename("empty", "full")
	s.file("f", "", 0o600)
	s.rename("empty", "f")
	s.rename("f", "empty")
	s.rename("empty/", "slash/")
	s.names("slash")
	s.rename("slash", "full/moved")
	s.content("full/moved/in/f")
	s.stat("full")
	s.stat(".")
	s.stat("full/moved/in/..")
	s.names("full")
	s.names(".")
}

func renameOpen(s *scene) {
	s.file("target", "old", 0o644)
	s.file("new", "new", 0o644)
	old := s.open("target", rdonly, 0)
	moving := s.open("new", rdwr, 0)
	s.rename("new", "target")
	s.content("target")
	s.pread(old, 10, 0)
	s.pread(moving, 10, 0)
	s.pwrite(moving, "NEW!", 0)
	s.content("target")
	s.names(".")
	s.close(old)
	s.close(moving)
	s.names(".")
	s.mkdir("d", 0o755)
	s.file("d/f", "in a directory", 0o644)
	in, dir := s.open("d/f", rdonly, 0), s.open("d", unix.O_DIRECTORY, 0)
	s.rename("d", "e")
	s.pread(in, 20, 0)
	s.say(unix.Fstatat(dir, "f", &unix.Stat_t{}, 0), "fstatat in a renamed directory")
	fd, err := unix.Openat(dir, "made", creat|wronly|unix.O_CLOEXEC, 0o600)
	s.say(err, "openat in a renamed directory")
	_ = unix.Close(fd)
	s.names("e")
	s.close(in)
	s.close(dir)
}

func renameFlags(s *scene) {
	s.file("a", "a", 0o600)
	s.file("b", "b", 0o600)
	s.rename2("a", "b", unix.RENAME_NOREPLACE)
	s.rename2("a", "free", unix.RENAME_NOREPLACE)
	s.rename2("a", "b", unix.RENAME_EXCHANGE)
	s.rename2("a", "absent", unix.RENAME_EXCHANGE)
	s.rename2("a", "b", 0x80)
	s.rename2("a", "b", unix.RENAME_EXCHANGE|unix.RENAME_NOREPLACE)
}

func renamePermission(s *scene) {
	s.mkdir("open", 0o777)
	s.mkdir("root", 0o755)
	s.file("open/f", "", 0o600)
	s.file("root/f", "", 0o600)
	s.mkdir("open/dir", 0o755)
	s.alice(func() {
		s.rename("open/f", "root/x")
		s.rename("root/f", "open/x")
		s.rename("open/f", "root/f")
		s.rename("open/f", "open/g")
		s.rename("open/dir", "open/dir2")
		s.mkdir("open/hers", 0o755)
		// To another parent its ".." changes, for which the directory itself must be writable.
		s.rename("open/dir2", "open/hers/dir")
	})
	s.names("open")
	s.names("root")
}

func links(s *scene) {
	s.file("a", "a", 0o644)
	s.link("a", "b")
	s.stat("a")
	s.stat("b")
	s.link("a", "b")
	s.link("absent", "c")
	s.link("a", "absent/c")
	s.link("a", "a/c")
	s.link("a", "c/")
	s.mkdir("d", 0o755)
	s.link("d", "c")
	s.link("a", "d")
	s.link("a", "d/a")
	s.symlink("a", "s")
	s.link("s", "s2")
	s.stat("s2")
	s.say(unix.Linkat(unix.AT_FDCWD, s.p("s"), unix.AT_FDCWD, s.p("followed"), unix.AT_SYMLINK_FOLLOW), "linkat, followed")
	s.stat("followed")
	s.mknod("p", unix.S_IFIFO|0o600, 0)
	s.link("p", "p2")
	s.stat("p2")
	s.chmod("b", 0o600)
	s.stat("d/a")
	fd := s.open("d/a", wronly, 0)
	s.write(fd, "through another name")
	s.close(fd)
	s.content("b")
	s.unlink("a")
	s.unlink("b")
	s.stat("d/a")
	s.alice(func() { s.link("d/a", "alice") })
	s.chmod("d", 0o755)
	s.alice(func() { s.link("d/a", "d/alice") })
}

func symlinks(s *scene) {
	s.symlink("target", "s")
	s.stat("s")
	s.readlink("s")
	s.follow("s")
	s.symlink("x", "s")
	s.symlink("", "empty")
	s.symlink("loop", "loop")
	s.follow("loop")
	s.open("loop", rdonly, 0)
	s.open("loop/x", creat|wronly, 0o600)
	s.file("end", "end", 0o644)
	last := "end"
	for i := range 41 {
		name := fmt.Sprintf("hop%02d", i)
		if err := unix.Symlink(last, s.p(name)); err != nil {
			s.say(err, "symlink %d", i)
		}
		last = name
	}
	s.content("hop39")
	s.content("hop40")
	for _, n := range []int{1, 255, 1023, 1024, 4000, 4095, 4096} {
		name := fmt.Sprintf("long%d", n)
		s.symlink(strings.Repeat("t", n), name)
		s.readlink(name)
	}
	s.symlink("/etc/hostname", "out")
	s.readlink("out")
	s.follow("out/x")
	s.symlink("..", "up")
	s.follow("up/symlink/end")
	s.readlink("end")
	s.readlink("absent")
	s.readlink(".")
	s.symlink("\xff\xfe", "bytes")
	s.readlink("bytes")
	s.symlink("x", "slash/")
	s.chmod("hop00", 0o640) // goes to its end
	s.stat("end")
	s.lchown("s", alice, aliceGid)
	s.stat("s")
	s.chown("s", alice, aliceGid)
	s.alice(func() { s.symlink("hers", "alice") })
	s.stat("alice")
}

func mknods(s *scene) {
	for _, c := range []struct {
		name string
		mode uint32
		dev  uint64
	}{
		{"fifo", unix.S_IFIFO | 0o640, 0},
		{"socket", unix.S_IFSOCK | 0o750, 0},
		{"char", unix.S_IFCHR | 0o660, unix.Mkdev(1, 5)},
		{"block", unix.S_IFBLK | 0o660, unix.Mkdev(7, 200)},
		{"big", unix.S_IFCHR | 0o660, unix.Mkdev(300, 70000)},
		{"regular", unix.S_IFREG | 0o640, 0},
		{"plain", 0o640, 0},
		{"dir", unix.S_IFDIR | 0o755, 0},
		{"odd", 0o030640, 0},
	} {
		s.mknod(c.name, c.mode, c.dev)
		s.stat(c.name)
	}
	s.mknod("fifo", unix.S_IFIFO|0o600, 0)
	s.alice(func() {
		s.mknod("char2", unix.S_IFCHR|0o600, unix.Mkdev(1, 3))
		s.mknod("fifo2", unix.S_IFIFO|0o600, 0)
		s.mknod("sock2", unix.S_IFSOCK|0o600, 0)
	})
	s.stat("fifo2")
	s.mknod("absent/p", unix.S_IFIFO|0o600, 0)
}

func sockets(s *scene) {
	// Through a short name: the address of a socket holds no more than 108 bytes.
	if err := os.Chdir(s.dir); err != nil {
		fail(err)
	}
	defer func() { _ = os.Chdir("/") }()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		fail(err)
	}
	s.say(unix.Bind(fd, &unix.SockaddrUnix{Name: "sock"}), "bind")
	s.say(unix.Listen(fd, 1), "listen")
	s.stat("sock")
	c, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		fail(err)
	}
	s.say(unix.Connect(c, &unix.SockaddrUnix{Name: "sock"}), "connect")
	s.close(c)
	s.close(fd)
	fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		fail(err)
	}
	s.say(unix.Bind(fd, &unix.SockaddrUnix{Name: "sock"}), "bind again")
	s.say(unix.Connect(fd, &unix.SockaddrUnix{Name: "sock"}), "connect to nobody")
	s.close(fd)
}

func chmods(s *scene) {
	s.file("f", "", 0o644)
	s.mkdir("d", 0o755)
	for _, mode := range []uint32{0, 0o777, 0o1777, 0o4755, 0o2755, 0o7777, 0o600} {
		s.chmod("f", mode)
		s.stat("f")
		s.chmod("d", mode)
		s.stat("d")
	}
	s.chmod("absent", 0o600)
	s.alice(func() {
		s.chmod("f", 0o666)
		s.file("hers", "", 0o600)
		s.chmod("hers", 0o4777)
		s.stat("hers")
		s.chmod("hers", 0o2777) // she is in the file's group
		s.stat("hers")
	})
	s.chown("hers", -1, bobGid)
	s.alice(func() {
		s.chmod("hers", 0o2770) // she is not in it any more: the bit goes silently
		s.stat("hers")
		s.chmod("hers", 0o1770)
		s.stat("hers")
	})
	s.bob(func() { s.chmod("hers", 0o777) })
	fd := s.open("f", rdonly, 0)
	s.say(unix.Fchmod(fd, 0o640), "fchmod")
	s.close(fd)
	s.stat("f")
}

func chowns(s *scene) {
	s.file("f", "", 0o644)
	s.chown("f", alice, aliceGid)
	s.stat("f")
	s.chown("f", -1, bobGid)
	s.stat("f")
	s.chown("f", bob, -1)
	s.stat("f")
	s.chown("f", -1, -1)
	s.chown("absent", 0, 0)
	s.chown("f", 4294967294, 4294967294)
	s.stat("f")
	s.chown("f", alice, aliceGid)
	s.as(alice, aliceGid, []uint32{shared}, func() {
		s.chown("f", bob, -1)
		s.chown("f", -1, bobGid)
		s.chown("f", -1, shared)
		s.stat("f")
		s.chown("f", alice, aliceGid)
		s.chown("f", alice, -1)
		s.stat("f")
	})
	s.bob(func() {
		s.chown("f", bob, -1)
		s.chown("f", -1, bobGid)
		s.chown("f", -1, -1)
		s.chown("f", alice, -1)
	})
	s.mkdir("d", 0o2755)
	s.chown("d", alice, aliceGid)
	s.stat("d") // a directory keeps its bits
	s.symlink("f", "s")
	s.chown("s", bob, bobGid)
	s.stat("f")
	s.stat("s")
}

func setIDs(s *scene) {
	for _, mode := range []uint32{0o4777, 0o2777, 0o6777, 0o2767, 0o6666} {
		name := func(what string) string { return fmt.Sprintf("%04o-%s", mode, what) }
		for _, what := range []string{"write", "root", "chown", "truncate", "otrunc", "empty", "nothing"} {
			s.file(name(what), "content", mode)
			s.chmod(name(what), mode)
			s.chown(name(what), alice, aliceGid)
			s.chmod(name(what), mode)
		}
		s.bob(func() {
			fd := s.open(name("write"), wronly, 0)
			s.write(fd, "x")
			s.close(fd)
			s.truncate(name("truncate"), 1)
			s.close(s.open(name("otrunc"), wronly|trunc, 0))
			fd = s.open(name("empty"), wronly, 0)
			s.write(fd, "")
			s.close(fd)
			s.content(name("nothing"))
		})
		fd := s.open(name("root"), wronly, 0)
		s.write(fd, "x")
		s.close(fd)
		s.chown(name("chown"), bob, -1)
		for _, what := range []string{"write", "root", "chown", "truncate", "otrunc", "empty", "nothing"} {
			s.stat(name(what))
		}
	}
	s.file("hers", "", 0o600)
	s.chown("hers", alice, aliceGid)
	s.as(alice, aliceGid, []uint32{shared}, func() {
		s.chmod("hers", 0o6755)
		s.chown("hers", -1, shared)
		s.stat("hers")
		s.chmod("hers", 0o4755)
		fd := s.open("hers", wronly, 0)
		s.write(fd, "the owner's own write clears it too")
		s.close(fd)
		s.stat("hers")
	})
}

func setgidDir(s *scene) {
	s.mkdir("d", 0o755)
	s.chown("d", 0, shared)
	s.chmod("d", 0o2777)
	s.alice(func() {
		s.touch("d/f")
		s.mkdir("d/sub", 0o755)
		s.symlink("x", "d/s")
		s.mknod("d/p", unix.S_IFIFO|0o600, 0)
		s.close(s.open("d/setgid", creat|wronly, 0o2777)) // not hers to give: no setgid for a group she is not in
	})
	s.as(alice, aliceGid, []uint32{shared}, func() {
		s.close(s.open("d/member", creat|wronly, 0o2777))
		s.mkdir("d/sub/deeper", 0o700)
	})
	for _, name := range []string{"f", "sub", "s", "p", "setgid", "member", "sub/deeper"} {
		s.stat("d/" + name)
	}
	s.file("moved", "", 0o600)
	s.rename("moved", "d/moved")
	s.stat("d/moved")
}

func sticky(s *scene) {
	s.mkdir("t", 0o1777)
	s.alice(func() {
		s.file("t/f", "", 0o666)
		s.mkdir("t/d", 0o777)
		s.file("t/own", "", 0o666)
	})
	s.bob(func() {
		s.file("t/bobs", "", 0o666)
		s.unlink("t/f")
		s.rename("t/f", "t/g")
		s.rename("t/f", "moved")
		s.rename("t/bobs", "t/f")
		s.rmdir("t/d")
		s.rename("t/d", "t/e")
		s.link("t/f", "t/link")
		s.file("t/d/x", "", 0o666) // her directory is open to all and not sticky
		s.unlink("t/d/x")
	})
	s.alice(func() {
		s.unlink("t/own")
		s.rename("t/f", "t/g")
	})
	s.chown("t", bob, bobGid)
	s.bob(func() { s.unlink("t/g") }) // the directory's owner may
	s.names("t")
}

func directoryPermission(s *scene) {
	s.mkdir("d", 0o755)
	s.file("d/f", "content", 0o666)
	for _, mode := range []uint32{0o700, 0o711, 0o744, 0o722, 0o733, 0o777, 0o077} {
		s.chmod("d", mode)
		s.chown("d", alice, aliceGid)
		for who, as := range map[string]func(func()){"bob": s.bob} {
			as(func() {
				s.say(nil, "as %s, mode %04o", who, mode)
				s.names("d")
				s.stat("d/f")
				s.stat("d/absent")
				s.content("d/f")
				s.close(s.open("d/new", creat|wronly, 0o600))
				s.mkdir("d/newdir", 0o700)
				s.rename("d/new", "d/new2")
				s.link("d/f", "d/linked")
				s.unlink("d/linked")
				s.unlink("d/new2")
				s.rmdir("d/newdir")
				s.say(unix.Chdir(s.p("d")), "chdir")
				_ = unix.Chdir("/")
			})
		}
		s.alice(func() {
			s.say(nil, "as alice, mode %04o", mode)
			s.names("d")
			s.stat("d/f")
			s.close(s.open("d/hers", creat|wronly, 0o600))
			s.unlink("d/hers")
		})
	}
}

func groupCases(s *scene) {
	s.mkdir("d", 0o770)
	s.chown("d", 0, shared)
	s.file("f", "for the group", 0o640)
	s.chown("f", 0, shared)
	s.file("g", "not for the group", 0o604)
	s.chown("g", 0, shared)
	many := make([]uint32, 15)
	for i := range many {
		many[i] = uint32(3000 + i)
	}
	for _, c := range []struct {
		what   string
		gid    int
		groups []uint32
	}{
		{"none", aliceGid, nil},
		{"primary", shared, nil},
		{"supplementary", aliceGid, []uint32{shared}},
		{"sixteenth", aliceGid, append(many, shared)},
	} {
		s.as(alice, c.gid, c.groups, func() {
			s.say(nil, "group %s", c.what)
			s.content("f")
			s.content("g")
			s.access("f", unix.R_OK, unix.W_OK)
			s.names("d")
			s.close(s.open("d/x", creat|wronly, 0o600))
			s.stat("d/x")
			s.unlink("d/x")
		})
	}
}

func accesses(s *scene) {
	s.mkdir("d", 0o750)
	s.chown("d", alice, aliceGid)
	for _, mode := range []uint32{0o000, 0o400, 0o200, 0o100, 0o640, 0o711, 0o777, 0o070, 0o007} {
		name := fmt.Sprintf("%03o", mode)
		s.file(name, "x", mode)
		s.chown(name, alice, aliceGid)
		check := func() { s.access(name, unix.F_OK, unix.R_OK, unix.W_OK, unix.X_OK, 7) }
		check()
		s.alice(check)
		s.as(bob, aliceGid, nil, check)
		s.bob(check)
	}
	check := func() { s.access("d", unix.F_OK, unix.R_OK, unix.W_OK, unix.X_OK, 7) }
	check()
	s.alice(check)
	s.bob(check)
	s.bob(func() { s.access("d/absent", unix.F_OK) })
	s.access("absent", unix.F_OK)
}

func utimes(s *scene) {
	const omit, now = unix.UTIME_OMIT, unix.UTIME_NOW
	at := func(sec, nsec int64) unix.Timespec { return unix.Timespec{Sec: sec, Nsec: nsec} }
	s.file("f", "", 0o666)
	show := func(name string) {
		var st unix.Stat_t
		err := unix.Lstat(s.p(name), &st)
		s.say(fmt.Sprint(st.Atim, " ", st.Mtim, " ", errText(err)), "times of %s", name)
	}
	s.utimes("f", []unix.Timespec{at(1000000000, 123456789), at(1100000000, 987654321)}, 0)
	show("f")
	s.utimes("f", []unix.Timespec{at(0, omit), at(1200000000, 1)}, 0)
	show("f")
	s.utimes("f", []unix.Timespec{at(1300000000, 999999999), at(0, omit)}, 0)
	show("f")
	s.utimes("f", []unix.Timespec{at(0, omit), at(0, omit)}, 0)
	show("f")
	s.utimes("f", []unix.Timespec{at(0, 0), at(4294967295, 0)}, 0)
	show("f")
	s.utimes("f", []unix.Timespec{at(1, 0), at(-1000, 0)}, 0)
	show("f")
	s.utimes("f", []unix.Timespec{at(1, 0), at(1, 1000000000)}, 0)
	s.symlink("f", "s")
	s.utimes("s", []unix.Timespec{at(900000000, 0), at(900000001, 0)}, unix.AT_SYMLINK_NOFOLLOW)
	show("s")
	s.mkdir("d", 0o755)
	s.utimes("d", []unix.Timespec{at(800000000, 5), at(800000001, 6)}, 0)
	show("d")
	s.utimes("absent", []unix.Timespec{at(1, 0), at(1, 0)}, 0)
	s.file("private", "", 0o600)
	s.alice(func() {
		s.utimes("f", []unix.Timespec{at(0, now), at(0, now)}, 0) // who may write may set them to now
		s.utimes("f", []unix.Timespec{at(1, 0), at(1, 0)}, 0)     // but to nothing else
		s.utimes("f", []unix.Timespec{at(0, omit), at(0, now)}, 0)
		s.utimes("private", []unix.Timespec{at(0, now), at(0, now)}, 0)
		s.file("hers", "", 0o400)
		s.utimes("hers", []unix.Timespec{at(500000000, 0), at(500000000, 0)}, 0)
	})
	show("hers")
}

func times(s *scene) {
	s.file("f", "content", 0o644)
	s.mkdir("d", 0o755)
	s.moved("f", "nothing", func() {})
	s.moved("f", "chmod", func() { s.chmod("f", 0o600) })
	s.moved("f", "chmod to the same", func() { s.chmod("f", 0o600) })
	s.moved("f", "chown", func() { s.chown("f", alice, -1) })
	s.moved("f", "write", func() { s.rewrite("f", "x") })
	s.moved("f", "write of nothing", func() { s.rewrite("f", "") })
	s.moved("f", "truncate to the same", func() { s.truncate("f", 7) })
	s.moved("f", "truncate", func() { s.truncate("f", 3) })
	s.moved("f", "open to truncate", func() { s.close(s.open("f", wronly|trunc, 0)) })
	s.moved("f", "link", func() { s.link("f", "g") })
	s.moved("f", "unlink of the other", func() { s.unlink("g") })
	s.moved("f", "rename", func() { s.rename("f", "d/f"); s.rename("d/f", "f") })
	s.moved("f", "read", func() { s.content("f") })
	s.moved("d", "create", func() { s.touch("d/x") })
	s.moved("d", "write below", func() { s.rewrite("d/x", "x") })
	s.moved("d", "chmod below", func() { s.chmod("d/x", 0o600) })
	s.moved("d", "create of what exists", func() { s.touch("d/x") })
	s.moved("d", "rename within", func() { s.rename("d/x", "d/y") })
	s.moved("d", "rename out", func() { s.rename("d/y", "y") })
	s.moved("d", "rename in", func() { s.rename("y", "d/y") })
	s.moved("d", "link", func() { s.link("d/y", "d/z") })
	s.moved("d", "unlink", func() { s.unlink("d/z") })
	s.moved("d", "mkdir", func() { s.mkdir("d/sub", 0o755) })
	s.moved("d", "create in a subdirectory", func() { s.touch("d/sub/x") })
	s.moved("d", "failed rmdir", func() { s.rmdir("d/sub") })
	s.unlink("d/sub/x")
	s.moved("d", "rmdir", func() { s.rmdir("d/sub") })
	s.moved("d", "symlink", func() { s.symlink("x", "d/s") })
	s.moved("d", "mknod", func() { s.mknod("d/p", unix.S_IFIFO|0o600, 0) })
	s.moved("d", "list", func() { s.names("d") })
	s.moved("d", "rename of itself", func() { s.rename("d", "e"); s.rename("e", "d") })
}

// rewrite writes at the start of a file, and closes it, so that the server has it too.
func (s *scene) rewrite(name, data string) {
	fd := s.open(name, wronly, 0)
	s.pwrite(fd, data, 0)
	s.close(fd)
}

func execs(s *scene) {
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		fail(err)
	}
	if err := os.WriteFile(s.p("x"), self, 0o755); err != nil {
		fail(err)
	}
	for _, mode := range []uint32{0o755, 0o644, 0o711, 0o700, 0o001} {
		s.chmod("x", mode)
		for _, who := range []uint32{0, bob} {
			cmd := exec.Command(s.p("x"), "true")
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: who, Gid: who, NoSetGroups: true}}
			err := cmd.Run()
			text := "ok"
			if err != nil {
				text = strings.ReplaceAll(err.Error(), s.dir, "")
			}
			s.say(text, "exec mode %04o as %d", mode, who)
		}
	}
}

// revoked is about permission that went away after an open. NFS has no open: each call is checked, and only the owner
// is forgiven.
func revoked(s *scene) {
	s.file("f", "content", 0o666)
	s.chown("f", alice, aliceGid)
	var hers, his int
	s.alice(func() { hers = s.open("f", rdwr, 0) })
	s.bob(func() { his = s.open("f", rdwr, 0) })
	s.chmod("f", 0)
	s.alice(func() {
		s.pwrite(hers, "C", 0)
		s.say(unix.Fsync(hers), "fsync by the owner")
	})
	s.bob(func() {
		s.pwrite(his, "O", 1)
		s.say(unix.Fsync(his), "fsync by another")
	})
	s.say(unix.Close(hers), "close by the owner")
	_ = unix.Close(his)
	s.stat("f")
}

func lists(s *scene) {
	s.mkdir("d", 0o755)
	s.names("d")
	const n = 1500
	for i := range n {
		s.quietly(unix.Mknod(s.p(fmt.Sprintf("d/file-%04d", i)), unix.S_IFREG|0o600, 0))
	}
	s.names("d")
	s.stat("d")
	// As rm -r does: remove what was listed before listing on.
	d, err := os.Open(s.p("d"))
	if err != nil {
		s.say(err, "open d")
		return
	}
	total := 0
	for {
		names, err := d.Readdirnames(100)
		for _, name := range names {
			s.quietly(unix.Unlink(s.p("d/" + name)))
		}
		total += len(names)
		if err != nil {
			break
		}
	}
	s.quietly(d.Close())
	s.say(total, "removed while listing")
	s.names("d")
	s.rmdir("d")
}

// quietly is for calls of which there are many.
func (s *scene) quietly(err error) {
	if err != nil {
		s.say(err, "one of many")
	}
}

func locks(s *scene) {
	a, b := s.open("f", creat|rdwr, 0o600), s.open("f", rdwr, 0)
	s.say(unix.Flock(a, unix.LOCK_EX|unix.LOCK_NB), "flock")
	s.say(unix.Flock(b, unix.LOCK_SH|unix.LOCK_NB), "flock against it")
	s.say(unix.Flock(a, unix.LOCK_UN), "unlock")
	s.say(unix.Flock(b, unix.LOCK_SH|unix.LOCK_NB), "flock after it")
	s.say(unix.Flock(b, unix.LOCK_UN), "unlock")
	whole := func(kind int16) *unix.Flock_t { return &unix.Flock_t{Type: kind, Len: 10} }
	s.say(unix.FcntlFlock(uintptr(a), unix.F_OFD_SETLK, whole(unix.F_WRLCK)), "lock a range")
	s.say(unix.FcntlFlock(uintptr(b), unix.F_OFD_SETLK, whole(unix.F_RDLCK)), "lock against it")
	s.say(unix.FcntlFlock(uintptr(b), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Start: 10, Len: 1}), "lock beside it")
	s.close(a)
	s.say(unix.FcntlFlock(uintptr(b), unix.F_OFD_SETLK, whole(unix.F_RDLCK)), "lock after its close")
	s.close(b)
}

func xattrs(s *scene) {
	s.file("f", "", 0o644)
	s.say(unix.Setxattr(s.p("f"), "user.test", []byte("value"), 0), "setxattr user.test")
	_, err := unix.Getxattr(s.p("f"), "user.test", make([]byte, 100))
	s.say(err, "getxattr user.test")
	_, err = unix.Getxattr(s.p("f"), "system.posix_acl_access", make([]byte, 100))
	s.say(err, "getxattr system.posix_acl_access")
	n, err := unix.Listxattr(s.p("f"), make([]byte, 1000))
	s.count(n, err, "listxattr")
}

func statfs(s *scene) {
	var fs unix.Statfs_t
	err := unix.Statfs(s.dir, &fs)
	s.say(errText(err), "statfs")
	s.say(fs.Namelen, "longest name")
	s.say(fs.Blocks > 0 && fs.Bfree <= fs.Blocks && fs.Bavail <= fs.Bfree && fs.Bavail > 0, "blocks make sense")
	s.say(fs.Files > 0 && fs.Ffree <= fs.Files && fs.Ffree > 0, "files make sense")
	s.file("f", "", 0o600)
	fd := s.open("f", rdonly, 0)
	s.say(unix.Fstatfs(fd, &fs), "fstatfs")
	s.close(fd)
}

func crossDevice(s *scene) {
	const elsewhere = "/dev/shm/probe-elsewhere"
	_ = unix.Unlink(elsewhere)
	s.file("f", "", 0o600)
	s.rename("f", elsewhere)
	s.link("f", elsewhere)
	s.file(elsewhere, "", 0o600)
	s.rename(elsewhere, "g")
	s.link(elsewhere, "g")
	_ = unix.Unlink(elsewhere)
}
