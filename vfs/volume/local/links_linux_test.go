package local

import (
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"sheaf/vfs"
)

// TestAlwaysLinked: whoever is told of an object by its name is told of one that has a name, whatever another process does
// to it meanwhile: a living object of no links is against the protocol.
func TestAlwaysLinked(t *testing.T) {
	root := t.TempDir()
	v := adopted(t, root)
	path := filepath.Join(root, "x")
	var over atomic.Bool
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for !over.Load() {
				_ = os.Remove(path) // it is not always there
			}
		})
	}
	wg.Go(func() {
		for !over.Load() {
			if f, err := os.Create(path); err == nil {
				_ = f.Close()
			}
		}
	})
	defer wg.Wait()
	defer over.Store(true)
	made := 0
	for i := 0; i < 20_000 && made < 200; i++ {
		f, st, _, err := v.Root().Create(t.Context(), nameOf("x"), own(0o644))
		if err == nil {
			made++
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if err == nil && st.Nlink == 0 {
			t.Fatalf("made with no links, after %d others", made)
		}
		if st, err := v.Root().StatAt(t.Context(), nameOf("x")); err == nil && st.Nlink == 0 {
			t.Fatalf("no links by stat, after %d made", made)
		} else if err != nil && vfs.StatusOf(err) != vfs.NoEnt {
			t.Fatal(err)
		}
		if st, _, err := v.Root().IdentifyAt(t.Context(), nameOf("x")); err == nil && st.Nlink == 0 {
			t.Fatalf("no links by identity, after %d made", made)
		}
	}
}
