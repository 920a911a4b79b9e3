package foreign

import (
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"sheaf/tests/e2e/server"
)

// handVariable makes the test's binary the hand: a process of its own, with a task in JSON.
const handVariable = "SHEAF_FOREIGN_HAND"

func TestMain(m *testing.M) {
	if text := os.Getenv(handVariable); text != "" {
		var t task
		if err := json.Unmarshal([]byte(text), &t); err != nil {
			fail(err)
		}
		t.work()
		os.Exit(0)
	}
	code := m.Run()
	server.RemoveBinary()
	os.Exit(code)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "hand:", err)
	os.Exit(1)
}

// task is what a hand is to do.
type task struct {
	Volumes [2]string // with the directories d, and e and b on the first
	Stage   string    // a directory on the same file system, outside the volumes
	For     time.Duration
	Seed    uint64
}

// Names that the hand works with.
const (
	handNames      = 8 // d/a0.., on the volumes in turn
	contestedNames = 4 // b/b0.., which the client makes and removes as well
)

func handName(i int) string      { return fmt.Sprint("d/a", i) }
func contestedName(i int) string { return fmt.Sprint("b/b", i) }

// visited is a name in a directory that comes and goes on the second volume.
const visited = "e/z"

// mapped is a file that the hand changes through a mapping.
const mapped = "d/mapped"

// begin starts a hand; wait gives what it did.
func (k task) begin(t *testing.T) (wait func() []write) {
	t.Helper()
	text, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), handVariable+"="+string(text))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() []write {
		t.Helper()
		var writes []write
		err := gob.NewDecoder(out).Decode(&writes)
		if err := errors.Join(err, cmd.Wait()); err != nil {
			t.Fatalf("the hand: %v", err)
		}
		return writes
	}
}

// hand is a task under way.
type hand struct {
	task
	r      *rand.Rand
	writes []write
	size   int64
	mode   uint32
	there  [handNames]bool
	count  int64 // in mapped
	memory []byte
}

// clock is the monotonic clock of all processes, in nanoseconds.
func clock() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err) // it always is there
	}
	return ts.Nano()
}

// work does the task and tells what was done.
func (k task) work() {
	h := &hand{task: k, r: rand.New(rand.NewPCG(k.Seed, 1)), size: 1}
	h.mapFile()
	for end := clock() + int64(k.For); clock() < end; {
		h.deed()
		if h.r.IntN(3) > 0 { // else in the same tick
			time.Sleep(time.Duration(h.r.Int64N(int64(40 * time.Millisecond))))
		}
	}
	if err := gob.NewEncoder(os.Stdout).Encode(h.writes); err != nil {
		fail(err)
	}
}

func (h *hand) path(i int, rel string) string { return filepath.Join(h.Volumes[i], rel) }

// did notes what changes have come to since start: the fields of a name on a volume.
func (h *hand) did(start int64, v int, rel string) {
	end := clock()
	var st unix.Stat_t
	err := unix.Lstat(h.path(v, rel), &st)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		fail(err)
	}
	note := func(field string, value int64) {
		h.writes = append(h.writes, write{Fact: fact(rel + " " + field), Start: start, End: end, Value: value})
	}
	if err != nil {
		note("there", 0)
		note(objectOf, 0)
		return
	}
	note("there", 1)
	object := int64(st.Ino)<<1 | int64(v)
	note(objectOf, object)
	for field, value := range map[string]int64{"size": st.Size, "mode": int64(st.Mode & 0o7777), "mtime": st.Mtim.Nano()} {
		note(field, value)
		h.writes = append(h.writes, write{Fact: ofObject(object, field), Start: start, End: end, Value: value})
	}
}

func try(err error) {
	if err != nil {
		fail(err)
	}
}

// fresh is a new size and a new mode.
func (h *hand) fresh() (int64, os.FileMode) {
	h.size++
	h.mode = (h.mode + 1) % 0o1000
	return h.size, os.FileMode(h.mode)
}

// staged makes a file outside the volumes.
func (h *hand) staged() string {
	size, mode := h.fresh()
	p := filepath.Join(h.Stage, "new")
	try(os.WriteFile(p, nil, 0o600))
	try(os.Truncate(p, size))
	try(os.Chmod(p, mode))
	return p
}

// deed is one change.
func (h *hand) deed() {
	switch h.r.IntN(10) {
	case 0:
		h.contest()
		return
	case 1:
		h.visit()
		return
	case 2, 3:
		h.mapWrite()
		return
	}
	i := h.r.IntN(handNames)
	v, rel := i%2, handName(i)
	start := clock()
	if !h.there[i] {
		if h.r.IntN(2) == 0 {
			p := h.staged()
			start = clock()
			try(os.Rename(p, h.path(v, rel)))
		} else {
			f, err := os.OpenFile(h.path(v, rel), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
			try(err)
			h.did(start, v, rel)
			start = clock()
			h.writeAt(f)
		}
		h.there[i] = true
		h.did(start, v, rel)
		return
	}
	switch h.r.IntN(5) {
	case 0:
		try(os.Remove(h.path(v, rel)))
		h.there[i] = false
	case 1: // replaced, or given another's name
		j := (i + 2) % handNames
		try(os.Rename(h.path(v, rel), h.path(v, handName(j))))
		h.there[i], h.there[j] = false, true
		h.did(start, v, handName(j))
	case 2:
		p := h.staged()
		start = clock()
		try(os.Rename(p, h.path(v, rel)))
	case 3:
		_, mode := h.fresh()
		try(os.Chmod(h.path(v, rel), mode))
	case 4:
		try(os.Chmod(h.path(v, rel), 0o600)) // whoever runs this
		h.did(start, v, rel)
		start = clock()
		f, err := os.OpenFile(h.path(v, rel), os.O_WRONLY, 0)
		try(err)
		h.writeAt(f)
	}
	h.did(start, v, rel)
}

// writeAt gives a file a new size by writing in place, and closes it.
func (h *hand) writeAt(f *os.File) {
	size, _ := h.fresh()
	_, err := f.WriteAt([]byte("x"), size-1)
	try(err)
	try(f.Close())
}

// contest makes or removes a name that the client may be making or removing.
func (h *hand) contest() {
	rel := contestedName(h.r.IntN(contestedNames))
	f := fact(rel + " there")
	if h.r.IntN(2) == 0 {
		start := clock()
		err := os.Remove(h.path(0, rel))
		if err == nil {
			h.writes = append(h.writes, write{f, start, clock(), 0, false})
		} else if !errors.Is(err, os.ErrNotExist) {
			fail(err)
		}
		return
	}
	p := h.staged()
	start := clock()
	err := os.Link(p, h.path(0, rel))
	if err == nil {
		h.writes = append(h.writes, write{f, start, clock(), 1, false})
	} else if !errors.Is(err, os.ErrExist) {
		fail(err)
	}
	try(os.Remove(p))
}

// visit lets the directory e come to be on the second volume, with a name in it, and go again.
func (h *hand) visit() {
	dir, f := h.path(1, "e"), fact(visited+" there")
	start := clock()
	if err := os.Mkdir(dir, 0o755); err == nil {
		try(os.WriteFile(h.path(1, visited), nil, 0o600))
		h.writes = append(h.writes, write{f, start, clock(), 1, false})
		return
	} else if !errors.Is(err, os.ErrExist) {
		fail(err)
	}
	try(os.Remove(h.path(1, visited)))
	h.writes = append(h.writes, write{f, start, clock(), 0, false})
	if h.r.IntN(2) == 0 {
		try(os.Remove(dir))
	} else { // the name comes again in the copy that stays
		start = clock()
		try(os.WriteFile(h.path(1, visited), nil, 0o600))
		h.writes = append(h.writes, write{f, start, clock(), 1, false})
	}
}

// mapFile makes the file that is mapped.
func (h *hand) mapFile() {
	start := clock()
	f, err := os.OpenFile(h.path(0, mapped), os.O_CREATE|os.O_RDWR, 0o600)
	try(err)
	try(f.Truncate(4096))
	h.memory, err = unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	try(err)
	try(f.Close())
	h.did(start, 0, mapped)
	h.writes = append(h.writes, write{mapped + " data", start, clock(), 0, false})
}

// mapWrite counts in the mapping.
func (h *hand) mapWrite() {
	start := clock()
	h.count++
	*(*int64)(unsafe.Pointer(&h.memory[0])) = h.count
	h.writes = append(h.writes, write{mapped + " data", start, clock(), h.count, false})
	try(unix.Msync(h.memory, unix.MS_SYNC)) // the next change is a fault again, which moves mtime
	h.did(start, 0, mapped)
}
