package billyfs_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-git/go-billy/v5/test"
	"gopkg.in/check.v1"

	"sheaf/vfs"
	"sheaf/vfs/billyfs"
	"sheaf/vfs/union"
	"sheaf/vfs/vfstest"
	"sheaf/vfs/volume"
	"sheaf/vfs/volume/local"
	"sheaf/vfs/volume/volumetest"
)

// billySuite is go-billy's own test suite, each test on an empty FS.
type billySuite struct {
	test.FilesystemSuite
	fresh func() vfs.FS
	who   *vfs.Who
}

func (s *billySuite) SetUpTest(c *check.C) {
	fs := s.fresh()
	root, err := fs.Root(context.Background(), s.who)
	c.Assert(err, check.IsNil)
	s.FilesystemSuite = test.NewFilesystemSuite(billyfs.New(context.Background(), fs, s.who, root.Node, billyfs.Options{}))
}

func TestBillysOwnSuite(t *testing.T) {
	t.Run("model", func(t *testing.T) {
		runSuite(t, "", 80, vfs.Superuser, func() vfs.FS { return vfstest.NewModel(vfstest.ModelOptions{}) })
	})
	t.Run("union in memory", func(t *testing.T) {
		runSuite(t, "", 80, vfs.Superuser, func() vfs.FS { return memUnion(t, 3) })
	})
	t.Run("union of directories", func(t *testing.T) {
		// All but TestTempFileMany and its like, which make 200,000 files, each durably.
		runSuite(t, `\.Test([A-SU-Z]|T[a-df-z])`, 70, myself(), func() vfs.FS { return localUnion(t, 2) })
	})
}

// myself is the only caller a server of an ordinary user can act as, and root's superuser.
func myself() *vfs.Who { return &vfs.Who{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())} }

// runSuite runs the tests that filter matches, at least so many.
func runSuite(t *testing.T, filter string, least int, who *vfs.Who, fresh func() vfs.FS) {
	t.Helper()
	result := check.Run(&billySuite{fresh: fresh, who: who}, &check.RunConf{Output: testWriter{t}, Filter: filter})
	if !result.Passed() {
		t.Fatal(result)
	}
	if result.Succeeded < least {
		t.Fatalf("only %d tests ran: the suite is not what it was", result.Succeeded)
	}
}

// testWriter writes to the test's log.
type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", p)
	return len(p), nil
}

// marker is that of a member of the share under test.
func marker() volume.Marker {
	return volume.Marker{
		Format: volume.MarkerFormat, Share: strings.Repeat("5a", 16), Root: strings.Repeat("17", 16),
		Key: strings.Repeat("c3", 32), Epoch: 1,
	}
}

func memUnion(t *testing.T, n int) vfs.FS {
	t.Helper()
	var volumes []volume.Volume
	for i := range n {
		m := marker()
		volumes = append(volumes, volumetest.NewMem(volumetest.Options{Name: fmt.Sprintf("v%d", i), Marker: &m}))
	}
	return openUnion(t, volumes)
}

func localUnion(t *testing.T, n int) vfs.FS {
	t.Helper()
	var volumes []volume.Volume
	for i := range n {
		m := marker()
		v, err := local.Open(t.Context(), filepath.Clean(t.TempDir()), local.Options{Name: fmt.Sprintf("v%d", i), Adopt: &m})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := v.Close(); err != nil {
				t.Error(err)
			}
		})
		volumes = append(volumes, v)
	}
	return openUnion(t, volumes)
}

func openUnion(t *testing.T, volumes []volume.Volume) vfs.FS {
	t.Helper()
	u, err := union.Open(t.Context(), union.Options{Volumes: volumes})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := u.Close(); err != nil {
			t.Error(err)
		}
	})
	return u
}
