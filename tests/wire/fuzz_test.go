package wire

import (
	"math/rand/v2"
	"testing"

	nfs "github.com/willscott/go-nfs"

	"sheaf/vfs"
	"sheaf/vfs/vfstest"
)

// fuzzServer is a small share whose handles are the same at every run, so that
// arguments with good handles can be kept in a corpus.
func fuzzServer(tb testing.TB) (c *client, seeds map[nfs.NFSProcedure][]args) {
	tb.Helper()
	m := vfstest.NewModel(vfstest.ModelOptions{
		Seed: 7, Capacity: 8 << 20, MaxFiles: 10_000, Clock: func() vfs.Time { return vfs.Time{Sec: 1 << 30} },
	})
	c = start(tb, m, nil, options(tb, everybody)).dial()
	root := c.root("/")
	f := c.put(root, "f", "data")
	d := c.mkdir(root, "d", 0o755)
	l := c.ok(nfs.NFSProcedureSymlink, fh(d).str("l").set(settings{}).str("../f")).fh
	c.create(d, "g", 0o600)
	seeds = map[nfs.NFSProcedure][]args{}
	for _, h := range [][]byte{root, f, d, l} {
		for proc, a := range everyCall(h) {
			seeds[proc] = append(seeds[proc], a)
		}
	}
	seeds[nfs.NFSProcedureSetAttr] = append(seeds[nfs.NFSProcedureSetAttr], fh(f).set(settings{
		mode: new(uint32(0o7777)), uid: new(uint32(1)), gid: new(uint32(1)), size: new(uint64(1 << 20)),
		atime: &nstime{1, 1}, mtimeNow: true,
	}).guard(nstime{1, 1}))
	seeds[nfs.NFSProcedureCreate] = append(seeds[nfs.NFSProcedureCreate], fh(d).str("x").u32(2).u64(1))
	seeds[nfs.NFSProcedureMkNod] = append(seeds[nfs.NFSProcedureMkNod], fh(d).str("n").u32(3).set(settings{}).u32(1).u32(2))
	return c, seeds
}

// tryAnything makes a call with any arguments. It must be answered: with a result
// that decodes, or with GARBAGE_ARGS; never with SYSTEM_ERR, which a panic becomes.
func tryAnything(c *client, proc nfs.NFSProcedure, a []byte) {
	c.tb.Helper()
	accept, b := c.call(progNFS, 3, uint32(proc), a)
	switch {
	case accept == garbageArgs:
	case accept != success:
		c.tb.Fatalf("%v(% x): accept_stat %d", proc, a, accept)
	case proc != nfs.NFSProcedureNull:
		checkOracle(c.tb, proc, decodeResult(c.tb, proc, b))
	}
}

// FuzzProcedure feeds any bytes to any procedure.
func FuzzProcedure(f *testing.F) {
	c, seeds := fuzzServer(f)
	for proc, list := range seeds {
		for _, a := range list {
			f.Add(uint8(proc), []byte(a))
		}
	}
	f.Fuzz(func(t *testing.T, proc uint8, a []byte) {
		c.tb = t
		tryAnything(c, nfs.NFSProcedure(proc%22), a)
	})
}

// FuzzMount feeds any bytes to MNT.
func FuzzMount(f *testing.F) {
	c, _ := fuzzServer(f)
	for _, path := range []string{"/", "/d", "/d/l", "/f", "//d/./", "/..", "", "/d/\xff\x00"} {
		f.Add([]byte(args(nil).str(path)))
	}
	f.Fuzz(func(t *testing.T, a []byte) {
		c.tb = t
		if accept, _ := c.call(progMount, 3, uint32(nfs.MountProcMount), a); accept != success && accept != garbageArgs {
			t.Fatalf("% x: accept_stat %d", a, accept)
		}
	})
}

// TestMutatedArguments is a short walk of the same kind for every run of the tests:
// good arguments of each procedure with a few bytes changed.
func TestMutatedArguments(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	c, seeds := fuzzServer(t)
	for range 100 {
		for proc, list := range seeds {
			a := append([]byte(nil), list[rnd.IntN(len(list))]...)
			for range 1 + rnd.IntN(4) {
				switch at := rnd.IntN(len(a)); rnd.IntN(4) {
				case 0:
					a[at] = byte(rnd.Uint32())
				case 1:
					a[at] ^= 1 << rnd.IntN(8)
				case 2:
					a = a[:max(1, at)]
				case 3:
					a = append(a[:at:at], append([]byte{0, 0, 0, byte(rnd.Uint32())}, a[at:]...)...)
				}
			}
			tryAnything(c, proc, a)
		}
	}
}
