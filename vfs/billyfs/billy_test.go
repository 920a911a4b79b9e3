package billyfs_test

import (
	"testing"

	"github.com/go-git/go-billy/v5/test"
	"gopkg.in/check.v1"

	"sheaf/vfs"
	"sheaf/vfs/billyfs"
	"sheaf/vfs/vfstest"
)

// billySuite is go-billy's own test suite, each test on an empty FS.
type billySuite struct{ test.FilesystemSuite }

func (s *billySuite) SetUpTest(c *check.C) {
	s.FilesystemSuite = test.NewFilesystemSuite(newFS(c, vfs.Superuser, billyfs.Options{}))
}

func TestBillysOwnSuite(t *testing.T) {
	result := check.Run(&billySuite{}, &check.RunConf{Output: testWriter{t}, Verbose: testing.Verbose()})
	if !result.Passed() {
		t.Fatal(result)
	}
	if result.Succeeded < 80 {
		t.Fatalf("only %d tests ran: the suite is not what it was", result.Succeeded)
	}
}

// testWriter writes to the test's log.
type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", p)
	return len(p), nil
}

func newFS(t interface{ Fatal(...any) }, who *vfs.Who, opt billyfs.Options) *billyfs.FS {
	return newFSOn(t, vfstest.NewModel(vfstest.ModelOptions{RootMode: 0o777}), who, opt)
}

func newFSOn(t interface{ Fatal(...any) }, fs vfs.FS, who *vfs.Who, opt billyfs.Options) *billyfs.FS {
	root, err := fs.Root(ctx, who)
	if err != nil {
		t.Fatal(err)
	}
	return billyfs.New(ctx, fs, who, root.Node, opt)
}
