package meta

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sheaf/vfs"

	"github.com/dgraph-io/badger/v4"
)

// sampleIndex is an index as a kill leaves it, with files of each kind: tables, logs of memtables and the rest.
func sampleIndex(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for range 2 { // the second start makes a table of what the first left in a log
		crashOnce(t, dir, 2)
	}
	return dir
}

// image is the files of an index, without the nothing at the end of its logs, which are 32 MiB of it.
type image map[string]imageFile

type imageFile struct {
	b    []byte
	size int64
}

func imageOf(t *testing.T, dir string) image {
	t.Helper()
	files, err := os.ReadDir(dir)
	must(t, err)
	im := make(image)
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		must(t, err)
		im[f.Name()] = imageFile{bytes.Clone(bytes.TrimRight(b, "\x00")), int64(len(b))}
	}
	return im
}

// copied is an index with these files.
func (im image) copied(t *testing.T) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "index")
	must(t, os.Mkdir(to, 0o700))
	for file, f := range im {
		name := filepath.Join(to, file)
		must(t, os.WriteFile(name, f.b, 0o600))
		must(t, os.Truncate(name, f.size))
	}
	return to
}

// damages are what is done to a file.
var damages = []struct {
	name string
	do   func(b []byte) []byte // nil: the file is removed
}{
	{"gone", func([]byte) []byte { return nil }},
	{"emptied", func([]byte) []byte { return []byte{} }},
	{"cut to 7 bytes", func(b []byte) []byte { return b[:min(7, len(b))] }},
	{"cut to half", func(b []byte) []byte { return b[:len(b)/2] }},
	{"cut by a byte", func(b []byte) []byte { return b[:max(0, len(b)-1)] }},
	{"zeros", func(b []byte) []byte { return make([]byte, len(b)) }},
	{"ones", func(b []byte) []byte { return bytes.Repeat([]byte{0xff}, len(b)) }},
	{"bits flipped", func(b []byte) []byte { return flipped(b, 0, 1) }},
	{"bits flipped at the end", func(b []byte) []byte { return flipped(b, max(0, len(b)-400), 1) }},
	{"other bits flipped", func(b []byte) []byte { return flipped(b, 0, 2) }},
	{"garbage behind", func(b []byte) []byte { return append(bytes.Clone(b), "garbage of some length"...) }},
}

// flipped is b with 20 bits from from on flipped.
func flipped(b []byte, from int, seed uint64) []byte {
	b = bytes.Clone(b)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 20 {
		if len(b) > from {
			b[from+rng.IntN(len(b)-from)] ^= 1 << rng.IntN(8)
		}
	}
	return b
}

// TestDamaged opens an index of which a file is damaged, in a process of its own: it works, what was not
// damaged is a prefix of what was written, and nothing is set aside twice.
func TestDamaged(t *testing.T) {
	whole := imageOf(t, sampleIndex(t))
	kinds := make(map[string]bool)
	for name, f := range whole {
		if name == lockName {
			continue
		}
		kinds[filepath.Ext(name)] = true
		b := append(f.b, make([]byte, min(f.size, 1<<16)-min(f.size, 1<<16, int64(len(f.b))))...) // a cut log is damaged as well
		for _, d := range damages {
			t.Run(name+" "+d.name, func(t *testing.T) {
				t.Parallel()
				dir := whole.copied(t)
				if bad := d.do(b); bad == nil {
					must(t, os.Remove(filepath.Join(dir, name)))
				} else {
					must(t, os.WriteFile(filepath.Join(dir, name), bad, 0o600))
				}
				opens(t, dir)
			})
		}
	}
	for _, kind := range []string{".sst", ".mem", ".vlog", ""} {
		if !kinds[kind] {
			t.Errorf("the sample has no file of kind %q, but %v", kind, kinds)
		}
	}
}

// openDir is set in the child of opens: the index it opens, uses and closes.
const openDir = "SHEAF_META_OPEN_DIR"

func openChild(dir string) int {
	err := useIndex(dir)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

func useIndex(dir string) error {
	s, err := Open(Options{Dir: dir, MinFree: 1, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	ctx, n := context.Background(), file(1_000_000)
	err = errors.Join(s.PutNode(ctx, n), s.Flush(ctx))
	if _, ok, gerr := s.Node(n.ID); !ok {
		err = errors.Join(err, gerr, errors.New("what was put is not there"))
	}
	return errors.Join(err, s.Close())
}

// opens lets a process open the index in dir, which a damage may end, and then this one.
func opens(t *testing.T, dir string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), openDir+"="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if _, err := os.Stat(filepath.Join(dir, attemptName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the note of an attempt is left: %v", err)
	}
	must(t, useIndex(dir))
}

// TestNotDamaged: what another index would not mend leaves this one where it is.
func TestNotDamaged(t *testing.T) {
	closed := func(t *testing.T) (dir string) {
		t.Helper()
		dir = filepath.Join(t.TempDir(), "index")
		must(t, useIndex(dir))
		return dir
	}
	for _, c := range []struct {
		name string
		make func(t *testing.T, dir string) Options
	}{
		{"locked", func(t *testing.T, dir string) Options {
			t.Helper()
			openStore(t, Options{Dir: dir})
			return Options{}
		}},
		{"a newer format", func(t *testing.T, dir string) Options {
			t.Helper()
			s := openStore(t, Options{Dir: dir})
			must(t, s.setNumbers(map[string]uint32{string(keyFormat): Format + 1}))
			must(t, s.Close())
			return Options{}
		}},
		{"a newer Badger", func(t *testing.T, dir string) Options {
			t.Helper()
			name := filepath.Join(dir, badger.ManifestFilename)
			b, err := os.ReadFile(name)
			must(t, err)
			b[7]++
			must(t, os.WriteFile(name, b, 0o600))
			return Options{}
		}},
		{"damaged, on a full disk", func(t *testing.T, dir string) Options {
			t.Helper()
			must(t, os.WriteFile(filepath.Join(dir, badger.ManifestFilename), nil, 0o600))
			looks := 0
			return Options{MinFree: 1 << 20, free: func(string) (uint64, error) {
				if looks++; looks == 1 {
					return 1 << 30, nil
				}
				return 0, nil
			}}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := closed(t)
			opt := c.make(t, dir)
			opt.Dir, opt.Logger = dir, slog.New(slog.DiscardHandler)
			if opt.MinFree == 0 {
				opt.MinFree = 1
			}
			for range attemptsMax + 1 {
				if s, err := Open(opt); err == nil {
					t.Fatal("it opens", s.Close())
				} else if vfs.StatusOf(err) != vfs.IO {
					t.Error(err)
				}
			}
			if _, err := os.Stat(dir + Damaged); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("it was set aside: %v", err)
			}
		})
	}
}

// TestSetAside: it is said, once, and of two damaged indices the later one is kept.
func TestSetAside(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "index")
	must(t, useIndex(dir))
	for _, junk := range []string{"first", "second"} {
		must(t, os.WriteFile(filepath.Join(dir, badger.ManifestFilename), []byte(junk), 0o600))
		var log bytes.Buffer
		s, err := Open(Options{Dir: dir, MinFree: 1, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		must(t, err)
		if s.Unclean() {
			t.Error("a new index is unclean")
		}
		must(t, s.Close())
		if n := strings.Count(log.String(), "level=WARN"); n != 1 || !strings.Contains(log.String(), "nothing is lost") {
			t.Errorf("%d warnings: %s", n, &log)
		}
		if b, err := os.ReadFile(filepath.Join(dir+Damaged, badger.ManifestFilename)); string(b) != junk {
			t.Errorf("aside is %q, %v", b, err)
		}
	}
}

// TestFatalOpen: after two openings that ended the process, by whatever, there is a new index.
func TestFatalOpen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "index")
	must(t, useIndex(dir))
	for tried, aside := range []bool{false, false, true} {
		must(t, os.WriteFile(filepath.Join(dir, attemptName), make([]byte, tried), 0o600))
		must(t, useIndex(dir))
		if _, err := os.Stat(dir + Damaged); (err == nil) != aside {
			t.Errorf("after %d: set aside: %v, %v", tried, err == nil, err)
		}
	}
}

// TestKillInOpen kills processes at any moment of an opening and of the load after it.
func TestKillInOpen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "index")
	rng := rand.New(rand.NewPCG(7, 0))
	for range 25 {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), crashDir+"="+dir)
		must(t, cmd.Start())
		time.Sleep(time.Duration(rng.IntN(60)) * time.Millisecond) // any moment, not an event
		must(t, cmd.Process.Kill())
		if err := cmd.Wait(); err == nil {
			t.Error("the child ended by itself")
		}
		must(t, useIndex(dir))
	}
}
