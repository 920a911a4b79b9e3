//go:build linux || darwin || freebsd

package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// refused demands an error of a kind that says all of words.
func refused(t *testing.T, err, kind error, words ...string) {
	t.Helper()
	if kind != nil && !errors.Is(err, kind) || err == nil {
		t.Fatalf("%v, want %v", err, kind)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
}

func adoptAndClose(t *testing.T, path string) volume.Marker {
	t.Helper()
	v, err := Open(t.Context(), path, Options{Name: "vol", Adopt: testMarker()})
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	return v.Marker()
}

func TestUnmarkedIsRefused(t *testing.T) {
	dir := t.TempDir()
	_, err := Open(t.Context(), dir, Options{Name: "vol"})
	refused(t, err, ErrUnmarked, dir, `"vol"`, "--adopt")
	_, err = Inspect("vol", dir)
	refused(t, err, ErrUnmarked)
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("a refused directory got %v, %v", left, err)
	}
	if err := os.Mkdir(filepath.Join(dir, volume.PrivateName), 0o700); err != nil { // adoption that was cut short
		t.Fatal(err)
	}
	_, err = Open(t.Context(), dir, Options{Name: "vol"})
	refused(t, err, ErrUnmarked)
	adoptAndClose(t, dir)
}

// TestAdoptionWritesNothingToFiles: every fact of every object stays.
func TestAdoptionWritesNothingToFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "a/b"), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a/b/f"), []byte("x"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("f", filepath.Join(dir, "a/s")); err != nil {
		t.Fatal(err)
	}
	tree := func() (all []string) {
		err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
			if err != nil || p == dir || e.Name() == volume.PrivateName {
				if e != nil && e.Name() == volume.PrivateName {
					return fs.SkipDir
				}
				return err
			}
			v := &Volume{}
			var st volume.Stat
			if err := v.statAt(unix.AT_FDCWD, p, &st); err != nil {
				return err
			}
			st.Atime = vfs.Time{}
			b, err := json.Marshal(st)
			all = append(all, p+string(b))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	before := tree()
	adoptAndClose(t, dir)
	if after := tree(); !slices.Equal(before, after) {
		t.Errorf("before %v\nafter  %v", before, after)
	}
}

func TestMarkerStays(t *testing.T) {
	dir := t.TempDir()
	m := adoptAndClose(t, dir)
	if _, err := volume.ParseID(m.Volume); err != nil || m.Name != "vol" || m.Share != testMarker().Share {
		t.Fatalf("%+v, %v", m, err)
	}
	st, err := os.Stat(filepath.Join(dir, volume.PrivateName, markerName))
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("marker's mode %v, %v", st.Mode(), err)
	}
	if again := adoptAndClose(t, dir); again.Volume != m.Volume {
		t.Errorf("adopting a volume again drew another id")
	}
	v := adopted(t, dir)
	m.Epoch, m.Members = 9, []volume.Member{{Volume: m.Volume, Name: "vol"}}
	if err := v.SetMarker(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	bad := m
	bad.Key = "short"
	refused(t, v.SetMarker(t.Context(), bad), vfs.Inval, "key")
	got, err := Inspect("vol", dir)
	if err != nil || got.Epoch != 9 || len(got.Members) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	entries, err := os.ReadDir(filepath.Join(dir, volume.PrivateName))
	if err != nil || len(entries) != 2 {
		t.Errorf("left beside marker and lock: %v, %v", entries, err)
	}
}

func TestBadMarkers(t *testing.T) {
	for name, c := range map[string]struct {
		change func(m map[string]any) any
		kind   error
		words  []string
	}{
		"newer":          {func(m map[string]any) any { m["format"], m["more"] = volume.MarkerFormat+1, 1; return m }, ErrNewer, []string{fmt.Sprintf("format %d", volume.MarkerFormat+1), "newer"}},
		"empty":          {func(map[string]any) any { return nil }, ErrCorrupt, nil},
		"a list":         {func(map[string]any) any { return []int{1} }, ErrCorrupt, nil},
		"bad id":         {func(m map[string]any) any { m["volume"] = "12"; return m }, ErrCorrupt, []string{"volume id"}},
		"bad share":      {func(m map[string]any) any { m["share"] = "x"; return m }, ErrCorrupt, []string{"share"}},
		"no key":         {func(m map[string]any) any { delete(m, "key"); return m }, ErrCorrupt, []string{"key"}},
		"unknown field":  {func(m map[string]any) any { m["more"] = 1; return m }, ErrCorrupt, nil},
		"bad member":     {func(m map[string]any) any { m["members"] = []any{map[string]any{"volume": "x", "name": "n"}}; return m }, ErrCorrupt, []string{`"n"`}},
		"another's":      {func(m map[string]any) any { m["birth"].(map[string]any)["Ino"] = 1; return m }, ErrCopy, []string{"--adopt"}},
		"format missing": {func(m map[string]any) any { delete(m, "format"); return m }, ErrCorrupt, nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			adoptAndClose(t, dir)
			file := filepath.Join(dir, volume.PrivateName, markerName)
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var m map[string]any
			dec := json.NewDecoder(strings.NewReader(string(b)))
			dec.UseNumber()
			if err := dec.Decode(&m); err != nil {
				t.Fatal(err)
			}
			if b, err = json.Marshal(c.change(m)); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, b, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err = Open(t.Context(), dir, Options{Name: "vol"})
			refused(t, err, c.kind, append(c.words, dir)...)
			if strings.Contains(err.Error(), testMarker().Key) {
				t.Errorf("the error tells the share's key: %v", err)
			}
			if after, rerr := os.ReadFile(file); rerr != nil || string(after) != string(b) {
				t.Errorf("the marker was changed: %v", rerr)
			}
		})
	}
	dir := t.TempDir()
	adoptAndClose(t, dir)
	if err := os.WriteFile(filepath.Join(dir, volume.PrivateName, markerName), make([]byte, markerMax+1), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), dir, Options{Name: "vol", Adopt: testMarker()})
	refused(t, err, ErrCorrupt, "longer")
}

// TestCopyIsRecognized: a volume copied by cp is refused, and becomes a volume of its
// own when adopted.
func TestCopyIsRecognized(t *testing.T) {
	top := t.TempDir()
	from, to := filepath.Join(top, "from"), filepath.Join(top, "to")
	if err := os.Mkdir(from, 0o755); err != nil {
		t.Fatal(err)
	}
	m := adoptAndClose(t, from)
	if out, err := exec.Command("cp", "-pR", from, to).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v\n%s", err, out)
	}
	_, err := Open(t.Context(), to, Options{Name: "copy"})
	refused(t, err, ErrCopy, to, "--adopt")
	got, err := Inspect("copy", to)
	refused(t, err, ErrCopy)
	if got.Volume != m.Volume {
		t.Errorf("the original is %q, want %q", got.Volume, m.Volume)
	}
	if c := adoptAndClose(t, to); c.Volume == m.Volume {
		t.Error("the copy has the id of the original")
	}
}

func TestSecondServerIsRefused(t *testing.T) {
	dir := t.TempDir()
	v := adopted(t, dir)
	_, err := Open(t.Context(), dir, Options{Name: "again"})
	refused(t, err, ErrLocked, dir, "this one")
	// As another process would have left it.
	if err := os.WriteFile(filepath.Join(dir, volume.PrivateName, lockName), []byte("12345 elsewhere\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), dir, Options{Name: "again"})
	refused(t, err, ErrLocked, "process 12345", "elsewhere")
	if err := os.WriteFile(filepath.Join(dir, volume.PrivateName, lockName), []byte("\x00garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), dir, Options{Name: "again"})
	refused(t, err, ErrLocked, "does not say")
	if _, err := Inspect("again", dir); err != nil {
		t.Errorf("inspecting an open volume: %v", err)
	}
	if v.ID() == (volume.ID{}) {
		t.Error("no id")
	}
}

func TestRootIsNoDirectory(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), file, Options{Name: "vol"})
	refused(t, err, vfs.NotDir, file)
	_, err = Open(t.Context(), filepath.Join(dir, "nothing"), Options{Name: "vol"})
	refused(t, err, vfs.NoEnt, "mount the disk")
	for _, plant := range []func(string) error{
		func(p string) error { return os.Symlink(dir, p) },
		func(p string) error { return os.WriteFile(p, nil, 0o600) },
		func(p string) error { return errors.Join(os.Mkdir(p, 0o700), os.Chmod(p, 0o777)) },
	} {
		sub := t.TempDir()
		if err := plant(filepath.Join(sub, volume.PrivateName)); err != nil {
			t.Fatal(err)
		}
		_, err = Open(t.Context(), sub, Options{Name: "vol", Adopt: testMarker()})
		refused(t, err, nil, volume.PrivateName)
	}
}

func TestCheckDistinct(t *testing.T) {
	top := t.TempDir()
	mk := func(p string) string {
		p = filepath.Join(top, p)
		if err := os.MkdirAll(p, 0o755); err != nil {
			t.Fatal(err)
		}
		return p
	}
	a, b, inner := mk("a"), mk("b"), mk("a/deep/inner")
	link := filepath.Join(top, "link")
	if err := os.Symlink(a, link); err != nil {
		t.Fatal(err)
	}
	if err := CheckDistinct([]Place{{"a", a}, {"b", b}}); err != nil {
		t.Fatal(err)
	}
	refused(t, CheckDistinct([]Place{{"a", a}, {"b", b}, {"c", link}}), vfs.Inval, "same directory", `"a"`, `"c"`)
	refused(t, CheckDistinct([]Place{{"a", a}, {"i", inner}}), vfs.Inval, "inside", `"a"`, `"i"`)
	refused(t, CheckDistinct([]Place{{"i", inner}, {"a", a}}), vfs.Inval, "inside", `"a"`, `"i"`)
	refused(t, CheckDistinct([]Place{{"a", a}, {"x", mk("x") + "/nothing"}}), vfs.NoEnt)

	// A clone, block for block: the same id, and a marker that fits its directory.
	adoptAndClose(t, a)
	m, err := Inspect("a", a)
	if err != nil {
		t.Fatal(err)
	}
	clone, err := Open(t.Context(), b, Options{Name: "b", Adopt: &m})
	if err != nil {
		t.Fatal(err)
	}
	if err := clone.Close(); err != nil {
		t.Fatal(err)
	}
	refused(t, CheckDistinct([]Place{{"a", a}, {"b", b}}), vfs.Inval, "clone", `"a"`, `"b"`)
}
