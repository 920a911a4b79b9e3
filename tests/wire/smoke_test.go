package wire

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path"
	"slices"
	"syscall"
	"testing"

	nfsc "github.com/willscott/go-nfs-client/nfs"
	"github.com/willscott/go-nfs-client/nfs/rpc"
)

// TestSecondClient lets a client that others wrote work in the share.
func TestSecondClient(t *testing.T) {
	s := serve(t)
	conn, err := rpc.DialTCP("tcp", s.addr, false)
	// The client draws a local port of its own, and takes no other when that one is in use.
	for try := 0; errors.Is(err, syscall.EADDRINUSE) && try < 10; try++ {
		conn, err = rpc.DialTCP("tcp", s.addr, false)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	mount := nfsc.Mount{Client: conn}
	target, err := mount.Mount("/", rpc.NewAuthUnix("tester", 0, 0).Auth())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := target.Mkdir("/dir", 0o755); err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat([]byte("sheaf"), 300_000)
	f, err := target.OpenFile("/dir/file", 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(f, bytes.NewReader(want)); err != nil || n != int64(len(want)) {
		t.Fatalf("wrote %d: %v", n, err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f, err = target.Open("/dir/file")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, want) {
		t.Errorf("read %d bytes: %v", len(got), err)
	}
	if info, _, err := target.Lookup("/dir/file"); err != nil || info.Size() != int64(len(want)) {
		t.Errorf("%v, %v", info, err)
	}
	if err := target.Rename("/dir/file", "/dir/renamed"); err != nil {
		t.Error(err)
	}
	var names []string // the client leaves the dots out
	entries, err := target.ReadDirPlus("/dir")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, path.Base(e.FileName))
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{"renamed"}) {
		t.Errorf("%q", names)
	}
	if err := target.RemoveAll("/dir"); err != nil {
		t.Error(err)
	}
	if _, _, err := target.Lookup("/dir"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after removal: %v", err)
	}
	if err := mount.Unmount(); err != nil {
		t.Error(err)
	}
	if n := len(s.Stats().Mounts); n != 0 {
		t.Errorf("%d mounts", n)
	}
}
