package union

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/volume/volumetest"
)

// hostShare is a share of a volume on a file system of its own and one on the host's.
func hostShare(t *testing.T, h *volumetest.Host) *shareT {
	t.Helper()
	s := &shareT{tb: t, opt: quietOptions(), state: t.TempDir(), dirs: []string{h.Dir, t.TempDir()}}
	s.opt.Trust = time.Millisecond // what other processes do shows at the next call but one
	s.opt.Policy = &onto{}
	t.Cleanup(func() { s.close(t) })
	s.openLocal(t)
	return s
}

// patient is a context of who waits for a search of the volumes to its end.
func patient(t *testing.T) context.Context {
	t.Helper()
	return context.WithValue(t.Context(), unhurried{}, true)
}

// program runs a program of the host; FROM and TO stand for directories. A program that is not there is said and left out.
func program(t *testing.T, from, to string, args ...string) bool {
	t.Helper()
	if _, err := exec.LookPath(args[0]); err != nil {
		t.Logf("not tried: %v", err)
		return false
	}
	r := strings.NewReplacer("FROM", from, "TO", to)
	for i := range args {
		args[i] = r.Replace(args[i])
	}
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return true
}

// tree is what the attacks are made on: a directory that lies on both volumes, with objects of all kinds.
func attackTree(t *testing.T, s *shareT) map[string]vfs.Attr {
	t.Helper()
	place := s.opt.Policy.(*onto)
	place.to(0)
	all := make(map[string]vfs.Attr)
	add := func(path string, dir vfs.Node, typ vfs.Type) vfs.Attr {
		a := s.mk(t, dir, filepath.Base(path), typ)
		all[path] = a
		return a
	}
	d := add("d", s.root(t), vfs.Directory)
	add("d/file", d.Node, vfs.Regular)
	add("d/link", d.Node, vfs.Symlink)
	add("d/fifo", d.Node, vfs.FIFO)
	sub := add("d/sub", d.Node, vfs.Directory)
	add("d/sub/file", sub.Node, vfs.Regular)
	place.to(1)
	add("d/sub/other", sub.Node, vfs.Regular)
	place.to(0)
	return all
}

// wantHandles wants every object under its handle and its path.
func (s *shareT) wantHandles(t *testing.T, all map[string]vfs.Attr, when string) {
	t.Helper()
	for path, want := range all {
		got, err := s.u.GetAttr(patient(t), who, want.Node)
		if err != nil || got.Node.ID != want.Node.ID || got.Type != want.Type {
			t.Errorf("%s: handle of %s: %v, %v", when, path, got.Node, err)
		}
		if got := s.path(t, path); got.Node.ID != want.Node.ID {
			t.Errorf("%s: %s is %v, was %v", when, path, got.Node, want.Node)
		}
	}
}

// TestAttacksOnHosts attacks identities on the file systems that people have, by the programs that they use.
func TestAttacksOnHosts(t *testing.T) {
	if testing.Short() {
		t.Skip("mounts file systems")
	}
	for _, kind := range volumetest.HostKinds {
		t.Run(kind, func(t *testing.T) {
			h := volumetest.NewHost(t, kind)
			s := hostShare(t, h)
			s.open(t)
			tightLoop(t, s, 60)
			all := attackTree(t, s)
			attackByCopies(t, s, all)
			attackByBackup(t, s, all)
			if h.Image != "" {
				attackByRenumbering(t, s, h, all)
			}
		})
	}
}

// attackByCopies copies the tree with its marks, beside itself and to the other volume.
func attackByCopies(t *testing.T, s *shareT, all map[string]vfs.Attr) {
	t.Helper()
	var made []string
	for i, args := range [][]string{{"cp", "-a", "FROM", "TO"}, {"rsync", "-aHX", "FROM/", "TO/"}} {
		for from := range s.dirs {
			for to := range s.dirs {
				name := fmt.Sprintf("copy-%d-%d-%d", i, from, to)
				if program(t, filepath.Join(s.dirs[from], "d"), filepath.Join(s.dirs[to], name), append([]string(nil), args...)...) {
					made = append(made, name)
				}
			}
		}
	}
	time.Sleep(2 * s.opt.Trust)
	for _, when := range []string{"beside copies", "beside copies, after a restart"} {
		s.wantHandles(t, all, when)
		ids := make(map[vfs.NodeID]string)
		for path, a := range s.seen(t) {
			if was, twice := ids[a]; twice {
				t.Errorf("%s: %s and %s have one id", when, path, was)
			}
			ids[a] = path
		}
		s.wantNoFault(t, when)
		s.restart(t)
	}
	for _, name := range made {
		for _, dir := range s.dirs {
			must(t, os.RemoveAll(filepath.Join(dir, name)))
		}
	}
	time.Sleep(2 * s.opt.Trust)
}

// attackByBackup restores a backup of the tree over it: what the program replaced is Stale, and no handle leads to what has
// its name now; what it left in its place is what it was.
func attackByBackup(t *testing.T, s *shareT, all map[string]vfs.Attr) {
	t.Helper()
	backup := filepath.Join(t.TempDir(), "backup.tar")
	program(t, s.dirs[0], backup, "tar", "-C", "FROM", "--xattrs", "-cpf", "TO", "d")
	inos := make(map[string]bool) // of what is not replaced
	for path := range all {
		if fi, err := os.Lstat(filepath.Join(s.dirs[0], path)); err == nil {
			inos[path+fmt.Sprint(inoOf(fi))] = true
		}
	}
	_, err := s.u.SetAttr(t.Context(), who, all["d/sub"].Node, &vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o700}, nil)
	must(t, err)
	program(t, s.dirs[0], backup, "tar", "-C", "FROM", "--xattrs", "-xpf", "TO")
	time.Sleep(2 * s.opt.Trust)
	for _, when := range []string{"after the backup was restored", "after that and a restart"} {
		for path, want := range all {
			same := true
			if fi, err := os.Lstat(filepath.Join(s.dirs[0], path)); err == nil {
				same = inos[path+fmt.Sprint(inoOf(fi))] && (want.Type == vfs.Directory || want.Node.ID == s.path(t, path).Node.ID)
			}
			got, err := s.u.GetAttr(patient(t), who, want.Node)
			switch {
			case same && (err != nil || got.Node.ID != want.Node.ID):
				t.Errorf("%s: %s was not replaced, and its handle leads to %v, %v", when, path, got.Node, err)
			case !same && vfs.StatusOf(err) != vfs.Stale:
				t.Errorf("%s: %s was replaced, and its handle leads to %v, %v", when, path, got.Node, err)
			}
			if now := s.path(t, path); now.Type != want.Type {
				t.Errorf("%s: %s is of type %d, was of type %d", when, path, now.Type, want.Type)
			}
		}
		s.wantNoFault(t, when)
		s.restart(t)
	}
	for path := range all {
		all[path] = s.path(t, path)
	}
}

// attackByRenumbering takes the disk away while no server runs, and gives it back under another number; with an index and
// without.
func attackByRenumbering(t *testing.T, s *shareT, h *volumetest.Host, all map[string]vfs.Attr) {
	t.Helper()
	for _, index := range []string{"with no index", "with an empty index", "with an index"} {
		s.close(t)
		if index == "with an empty index" {
			s.newIndex(t)
		}
		h.Renumber(t)
		s.openLocal(t)
		s.open(t)
		s.wantHandles(t, all, "after renumbering, "+index)
	}
}

func inoOf(fi os.FileInfo) uint64 { return fi.Sys().(*syscall.Stat_t).Ino }
