package union

import (
	"context"
	"fmt"
	"testing"

	"sheaf/vfs"
)

// TestDirectoriesOutliveFiles: where there are more files than memory, what is known of a directory that is asked for now and then stays,
// so that not each look-up lists it; of one that nobody asks for any more it goes, and all the while memory is within its bound.
func TestDirectoriesOutliveFiles(t *testing.T) {
	const files, memory = 3000, 2 << 20
	s := memShare(t, 1, nil)
	s.opt.Memory = memory
	u := s.open(t)
	ctx := context.Background()
	root := s.root(t)
	asked, many := s.mk(t, root, "asked", vfs.Directory).Node, s.mk(t, root, "many", vfs.Directory).Node
	s.mk(t, asked, "file", vfs.Regular)
	for i := range files {
		s.mk(t, many, fmt.Sprint("file-", i), vfs.Regular)
	}
	look := func(dir vfs.Node, name string) {
		t.Helper()
		if _, _, err := u.Lookup(ctx, vfs.Superuser, dir, vfs.MustName(name)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if held := u.memory.Load(); held > memory {
			t.Fatalf("%d bytes, at most %d", held, memory)
		}
	}
	look(asked, "file")
	was, evicted := inTable(u, asked.ID), u.stats.evicted.Load()
	for i := range 5 * files {
		look(many, fmt.Sprint("file-", i%files))
		if i%500 == 0 {
			look(asked, "file")
		}
		if inTable(u, asked.ID) != was {
			t.Fatalf("the directory was forgotten after %d look-ups", i)
		}
	}
	if n := u.stats.evicted.Load() - evicted; n < files {
		t.Fatalf("%d objects were forgotten: this tests nothing", n)
	}
	for i := range 50 * files {
		look(many, fmt.Sprint("file-", i%files))
		if i%files == 0 && inTable(u, asked.ID) == nil {
			return
		}
	}
	t.Error("a directory that nobody asks for stays for ever")
}

// inTable is a node in memory, without using it; nil: it is not there.
func inTable(u *Union, id vfs.NodeID) *node {
	s := u.table.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.m[id.FileID()]
}
