package remote

import (
	"testing"

	"sheaf/vfs"
	"sheaf/vfs/vfstest"
)

// shapes are the ways a Client is set up.
var shapes = map[string]Options{
	"plain":       {},
	"small pages": {DirSize: 512, ReadSize: 4096, WriteSize: 4096},
	"connections": {Conns: 3, DirSize: 4096},
}

// TestSuiteModel holds nfsd over the Model to the contract.
func TestSuiteModel(t *testing.T) {
	for name, shape := range shapes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			vfstest.Suite(t, noACLs, func(t *testing.T) vfs.FS {
				t.Helper()
				return serve(t, model()).mount(t, shape)
			})
		})
	}
}

// TestSuiteUnion holds the whole server to it.
func TestSuiteUnion(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		t.Helper()
		t.Parallel()
		vfstest.Suite(t, noACLs, func(t *testing.T) vfs.FS {
			t.Helper()
			return serveShare(t, k).mount(t, Options{})
		})
	})
}
