package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/willscott/go-nfs-client/nfs"

	"sheaf/cmd/sheaf/share"
	"sheaf/meta"
	"sheaf/tests/need"
)

// stateDisk mounts a file system of so many bytes for the state, for root only.
func stateDisk(t *testing.T, bytes int) string {
	t.Helper()
	if have := memAvailable(t); have < 2*int64(bytes) {
		need.Lack(t, need.Memory, "%d MiB are needed, and %d available", bytes>>19, have>>20)
	}
	return need.Tmpfs(t, bytes)
}

// memAvailable is how much memory the host can spare, in bytes (proc(5)).
func memAvailable(t *testing.T) int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		need.Lack(t, need.Memory, "%v", err)
	}
	_, rest, _ := strings.Cut(string(text), "MemAvailable:")
	var kib int64
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		t.Fatalf("/proc/meminfo: %v", err)
	}
	return kib << 10
}

// fill takes room on the file system of dir until at most free bytes are left. Others may
// take some meanwhile.
func fill(t *testing.T, dir string, free int64) {
	t.Helper()
	hog, err := os.OpenFile(filepath.Join(dir, "hog"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer hog.Close()
	for {
		var st syscall.Statfs_t
		if err := syscall.Statfs(dir, &st); err != nil {
			t.Fatal(err)
		}
		more := int64(st.Bavail)*st.Bsize - free
		if more <= 0 {
			return
		}
		info, err := hog.Stat()
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Fallocate(int(hog.Fd()), 0, info.Size(), more); err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("take %d bytes: %v", more, err)
		}
	}
}

// indexState is what status says of the index.
func indexState(t *testing.T, state string) (share.IndexStatus, string) {
	t.Helper()
	var st share.Status
	got := sheaf(t, "status", "--json", "--state", state)
	if err := json.Unmarshal([]byte(got.out), &st); err != nil {
		t.Fatalf("%v: %+v", err, got)
	}
	return st.Index, sheaf(t, "status", "--state", state).out
}

// TestStateDiskFillsUp has somebody else fill the file system of the state directory
// while clients work, step by step and at last to the last byte. The server goes on, and
// says what it does without: in its log and its status. Badger alone would die of SIGBUS.
func TestStateDiskFillsUp(t *testing.T) {
	const floor = meta.DefaultMinFree
	base, disk := tempDir(t), stateDisk(t, floor+128<<20)
	state := filepath.Join(disk, "state")
	args := append(volumeArgs(t, base, "a", "b"), "--state", state)
	p := serve(t, nil, append(args, "--adopt")...)
	if st, text := indexState(t, state); st.State != share.IndexOn || st.Floor != floor || strings.Contains(text, "index") {
		t.Errorf("with room: %+v\n%s", st, text)
	}
	w := gather(t, p)
	for _, step := range []struct {
		free       int64
		log, state string
	}{
		{floor / 4 * 3, "the index learns nothing new", share.IndexPaused},
		{floor / 8 * 3, "the index is off", share.IndexOff},
		{0, "", share.IndexOff},
	} {
		w.round(t, func() { fill(t, disk, step.free) })
		if step.log != "" {
			p.logged(step.log)
		}
		w.round(t, func() {})
		st, text := indexState(t, state)
		if st.State != step.state || st.Free >= floor || !strings.Contains(text, "make room") {
			t.Errorf("with %d bytes free: %+v\n%s", step.free, st, text)
		}
	}
	makeRoom(t, disk)
	p.logged("the index learns again")
	w.round(t, func() {})
	if st, _ := indexState(t, state); st.State != share.IndexOn {
		t.Errorf("with room again: %+v", st)
	}

	// A server stops well on a full disk, and the next one waits for room.
	fill(t, disk, floor/8*3)
	p.logged("the index is off")
	fill(t, disk, 0)
	p.stop()
	if got := sheaf(t, append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...); got.code != exitFailed || !strings.Contains(got.err, "make room there") {
		t.Errorf("started on a full disk: %+v", got)
	}
	makeRoom(t, disk)
	p = serve(t, nil, args...)
	w.verify(t, p)
	p.stop()
}

// makeRoom takes back what fill did.
func makeRoom(t *testing.T, dir string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, "hog")); err != nil {
		t.Fatal(err)
	}
}

// TestStateDiskIsFull refuses to start, and adopts nothing.
func TestStateDiskIsFull(t *testing.T) {
	base, disk := tempDir(t), stateDisk(t, 16<<20)
	args := append(volumeArgs(t, base, "a"), "--state", filepath.Join(disk, "state"))
	got := sheaf(t, append([]string{"serve", "--listen", "127.0.0.1:0", "--adopt"}, args...)...)
	if got.code != exitFailed || !strings.Contains(got.err, "make room there") || !strings.Contains(got.err, disk) {
		t.Errorf("%+v", got)
	}
	if entries, err := os.ReadDir(filepath.Join(base, "a")); err != nil || len(entries) > 0 {
		t.Errorf("a server that did not start left %v, %v", entries, err)
	}
}

// crowd is some clients, each of which makes, renames, lists and removes in a directory
// of its own, and remembers what must be there in the end.
type crowd struct {
	server  *process
	members []*member
	rounds  int
}

type member struct {
	target *nfs.Target
	dir    string
	has    map[string]string
}

// gather is a crowd that has done its first round.
func gather(t *testing.T, p *process) *crowd {
	t.Helper()
	w := &crowd{server: p}
	for i := range 4 {
		m := &member{p.mount(uint32(os.Geteuid())), fmt.Sprintf("/dir%d", i), map[string]string{}}
		if _, err := m.target.Mkdir(m.dir, 0o755); err != nil {
			t.Fatal(err)
		}
		w.members = append(w.members, m)
	}
	w.round(t, func() {})
	return w
}

// round has everybody do their work while meanwhile is done.
func (w *crowd) round(t *testing.T, meanwhile func()) {
	t.Helper()
	errs := make([]error, len(w.members))
	var all sync.WaitGroup
	for i, m := range w.members {
		all.Go(func() { errs[i] = m.round(w.rounds) })
	}
	meanwhile()
	all.Wait()
	for i, err := range errs {
		if err != nil {
			t.Fatalf("client %d, round %d: %v; the log of the server:\n%s", i, w.rounds, err, w.server.text())
		}
	}
	w.rounds++
}

func (m *member) round(nth int) error {
	for i := range 30 {
		name := fmt.Sprintf("%s/round%d-file%d", m.dir, nth, i)
		data := "data of " + name
		if err := write(m.target, name, data); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		m.has[name] = data
		if got, err := read(m.target, name); err != nil || got != data {
			return fmt.Errorf("read %s: %q, %w", name, got, err)
		}
		switch i % 3 {
		case 1:
			if err := m.target.Rename(name, name+"-moved"); err != nil {
				return fmt.Errorf("rename %s: %w", name, err)
			}
			m.has[name+"-moved"] = data
			delete(m.has, name)
		case 2:
			if err := m.target.Remove(name); err != nil {
				return fmt.Errorf("remove %s: %w", name, err)
			}
			delete(m.has, name)
		}
	}
	return m.verify(m.target)
}

// verify compares the directory with what was acknowledged.
func (m *member) verify(target *nfs.Target) error {
	entries, err := target.ReadDirPlus(m.dir)
	if err != nil {
		return fmt.Errorf("list %s: %w", m.dir, err)
	}
	found := 0
	for _, e := range entries {
		if e.FileName == "." || e.FileName == ".." {
			continue
		}
		if _, ok := m.has[m.dir+"/"+e.FileName]; !ok {
			return fmt.Errorf("%s/%s should not be there", m.dir, e.FileName)
		}
		found++
	}
	if found != len(m.has) {
		return fmt.Errorf("%s holds %d of %d files", m.dir, found, len(m.has))
	}
	return nil
}

// verify asks p, which need not be the server that was written to.
func (w *crowd) verify(t *testing.T, p *process) {
	t.Helper()
	for _, m := range w.members {
		target := p.mount(uint32(os.Geteuid()))
		if err := m.verify(target); err != nil {
			t.Error(err)
		}
		for name, data := range m.has {
			if got, err := read(target, name); err != nil || got != data {
				t.Errorf("%s holds %q, %v", name, got, err)
			}
		}
	}
}
