package remote

import (
	"context"
	"flag"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"sheaf/vfs"
	"sheaf/vfs/vfstest"
)

// otherFailure allows a failure with another status than the Model's where several
// things are wrong at once: nfsd refuses sizes and offsets beyond 2^63-1 (Q7) and types
// that MKNOD does not know before it asks for the object.
func otherFailure(_ string, under, _ vfs.Status) bool {
	return under == vfs.FBig || under == vfs.BadType
}

// TestProgramModel runs random programs through nfsd over a Model, in lockstep with
// another Model. A restart starts another server, at another address, over the
// Model after a crash of it; the Client goes on with the handles it has.
func TestProgramModel(t *testing.T) {
	for name, shape := range shapes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				under := model()
				s := newServer(t, under)
				defer s.stop()
				c, done := s.client(t, shape)
				defer done()
				vfstest.RunProgram(t, c, vfstest.ProgramOptions{
					Options: noACLs,
					Restart: func(*rapid.T) vfs.FS {
						s.stop()
						restart(t, under)
						s.start(under)
						return c
					},
					OtherFailure: otherFailure,
				})
			})
		})
	}
}

// restart ends m's life in good order: what was written is committed, and the write
// verifier changes.
func restart(t failer, m *vfstest.Model) {
	t.Helper()
	ctx := context.Background()
	root, err := m.Root(ctx, vfs.Superuser)
	if err != nil {
		t.Fatalf("root: %v", err)
	}
	for todo := []vfs.Node{root.Node}; len(todo) > 0; {
		dir := todo[0]
		todo = todo[1:]
		if _, _, err := m.ReadDir(ctx, vfs.Superuser, dir, 0, true, func(e *vfs.DirEntry) bool {
			switch e.Attr.Type {
			case vfs.Directory:
				todo = append(todo, e.Node)
			case vfs.Regular:
				if _, _, err := m.Commit(ctx, vfs.Superuser, e.Node, 0, 0); err != nil {
					t.Fatalf("commit: %v", err)
				}
			}
			return true
		}); err != nil {
			t.Fatalf("readdir: %v", err)
		}
	}
	m.Crash()
}

// TestProgramUnion does so with the whole server: every restart begins with the
// volumes and the index alone.
func TestProgramUnion(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		t.Helper()
		if k.local { // each step waits for a disk
			fewer(t, 10)
		}
		rapid.Check(t, func(rt *rapid.T) {
			s := newShare(rt, k, t.TempDir)
			defer s.end()
			c, done := s.client(rt, Options{})
			defer done()
			vfstest.RunProgram(rt, c, vfstest.ProgramOptions{
				Options: noACLs,
				Restart: func(*rapid.T) vfs.FS {
					s.restart()
					return c
				},
				OtherFailure: otherFailure,
			})
		})
	})
}

// fewer divides the number of programs of a test, which -rapid.checks gives.
func fewer(t *testing.T, by int) {
	t.Helper()
	const name = "rapid.checks"
	checks := flag.Lookup(name).Value.String()
	n, err := strconv.Atoi(checks)
	if err != nil {
		t.Fatal(err)
	}
	if err := flag.Set(name, strconv.Itoa(max(n/by, 1))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := flag.Set(name, checks); err != nil {
			t.Error(err)
		}
	})
}
