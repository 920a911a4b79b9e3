package wire

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	nfs "github.com/willscott/go-nfs"

	"sheaf/vfs"
	"sheaf/vfs/vfstest"
)

var update = flag.Bool("update", false, "write the golden exchanges anew")

// TestGolden plays one conversation that has every procedure, and failures of some,
// and compares every byte of arguments and results with testdata/golden. The Model's
// clock stands still and its seed is fixed, so that nothing differs between runs.
func TestGolden(t *testing.T) {
	m := vfstest.NewModel(vfstest.ModelOptions{
		Seed: 7, Clock: func() vfs.Time { return vfs.Time{Sec: 0x60000000, Nsec: 5} },
	})
	g := &golden{client: start(t, m, nil, options(t, everybody)).dial()}
	g.mount()
	root := g.step("01-getattr-root", nfs.NFSProcedureGetAttr, fh(g.top), g.top)
	g.step("02-fsinfo", nfs.NFSProcedureFSInfo, fh(root), nil)
	g.step("03-pathconf", nfs.NFSProcedurePathConf, fh(root), nil)
	g.step("04-access", nfs.NFSProcedureAccess, fh(root).u32(0x1f), nil)
	f := g.step("05-create-unchecked", nfs.NFSProcedureCreate, fh(root).str("file").u32(0).set(setMode(0o644)), nil)
	g.step("06-create-guarded-exist", nfs.NFSProcedureCreate, fh(root).str("file").u32(1).set(settings{}), nil)
	g.step("07-create-exclusive", nfs.NFSProcedureCreate, fh(root).str("excl").u32(2).raw([]byte("VERIFIER")...), nil)
	g.step("08-write-unstable", nfs.NFSProcedureWrite, writeArgs(f, 1, vfs.Unstable, "hello"), nil)
	g.step("09-commit", nfs.NFSProcedureCommit, fh(f).u64(0).u32(0), nil)
	g.step("10-read", nfs.NFSProcedureRead, fh(f).u64(1).u32(99), nil)
	g.step("11-setattr", nfs.NFSProcedureSetAttr, fh(f).set(settings{
		mode: new(uint32(0o600)), size: new(uint64(3)), atime: &nstime{1, 2}, mtimeNow: true,
	}).noGuard(), nil)
	g.step("12-setattr-not-sync", nfs.NFSProcedureSetAttr, fh(f).set(setMode(0)).guard(nstime{1, 1}), nil)
	d := g.step("13-mkdir", nfs.NFSProcedureMkDir, fh(root).str("dir").set(setMode(0o755)), nil)
	l := g.step("14-symlink", nfs.NFSProcedureSymlink, fh(d).str("link").set(setMode(0o777)).str("../file"), nil)
	g.step("15-readlink", nfs.NFSProcedureReadlink, fh(l), nil)
	g.step("16-mknod-fifo", nfs.NFSProcedureMkNod, fh(d).str("fifo").u32(7).set(setMode(0o600)), nil)
	g.step("17-mknod-char", nfs.NFSProcedureMkNod, fh(d).str("null").u32(4).set(setMode(0o666)).u32(1).u32(3), nil)
	g.step("18-link", nfs.NFSProcedureLink, fh(f).fh(d).str("hard"), nil)
	g.step("19-lookup", nfs.NFSProcedureLookup, fh(d).str("hard"), nil)
	g.step("20-lookup-noent", nfs.NFSProcedureLookup, fh(d).str("none"), nil)
	g.step("21-rename", nfs.NFSProcedureRename, fh(d).str("hard").fh(root).str("moved"), nil)
	g.step("22-readdir", nfs.NFSProcedureReadDir, dirArgs(d, 0, 512), nil)
	g.step("23-readdirplus", nfs.NFSProcedureReadDirPlus, plusArgs(root, 0, 512, 2048), nil)
	g.step("24-readdir-toosmall", nfs.NFSProcedureReadDir, dirArgs(d, 0, 64), nil)
	g.step("25-remove", nfs.NFSProcedureRemove, fh(root).str("moved"), nil)
	g.step("26-rmdir-notempty", nfs.NFSProcedureRmDir, fh(root).str("dir"), nil)
	g.step("27-rmdir", nfs.NFSProcedureRmDir, fh(root).str("none"), nil)
	g.step("28-fsstat", nfs.NFSProcedureFSStat, fh(root), nil)
	g.step("29-getattr-badhandle", nfs.NFSProcedureGetAttr, fh(root[:32]), nil)
	g.step("30-null", nfs.NFSProcedureNull, nil, nil)
}

// golden is a client whose every exchange is compared.
type golden struct {
	*client
	top []byte
}

func (g *golden) mount() {
	g.tb.Helper()
	a := args(nil).str("/")
	_, b := g.call(progMount, 3, uint32(nfs.MountProcMount), a)
	g.compare("00-mnt", a, b)
	g.top = g.root("/")
}

// step makes one exchange and gives the handle in its result, or else.
func (g *golden) step(name string, proc nfs.NFSProcedure, a args, orElse []byte) []byte {
	g.tb.Helper()
	accept, b := g.call(progNFS, 3, uint32(proc), a)
	if accept != success {
		g.tb.Fatalf("%s: accept_stat %d", name, accept)
	}
	g.compare(name, a, b)
	if proc == nfs.NFSProcedureNull {
		return nil
	}
	r := decodeResult(g.tb, proc, b)
	checkOracle(g.tb, proc, r)
	if r.fh != nil {
		return r.fh
	}
	return orElse
}

// compare compares one exchange with its file.
func (g *golden) compare(name string, a args, result []byte) {
	g.tb.Helper()
	var b bytes.Buffer
	fmt.Fprintf(&b, "arguments\n%sresult\n%s", hex.Dump(a), hex.Dump(result))
	file := filepath.Join("testdata", "golden", name+".txt")
	if *update {
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			g.tb.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		g.tb.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), want) {
		g.tb.Errorf("%s differs\ngot\n%s\nwant\n%s", name, b.Bytes(), want)
	}
}
