package remote

import (
	"context"
	"testing"

	"pgregory.net/rapid"

	"sheaf/vfs"
	"sheaf/vfs/vfstest"
)

// otherFailure allows a failure with another status than the Model's where several
// things are wrong at once: nfsd refuses sizes and offsets beyond 2^63-1 (Q7) and types
// that MKNOD does not know before it asks for the object.
func otherFailure(_ string, under, _ vfs.Status) bool { return under == vfs.FBig || under == vfs.BadType }

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
					Options: vfstest.Options{NoACLs: true},
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
