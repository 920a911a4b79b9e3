package nfsd

import (
	"fmt"
	"testing"

	"sheaf/vfs"
)

// TestNamesAreKeptFromTheSecondCallOn: a name that is asked for once costs its bytes and pushes out nothing; one that is asked for again
// costs nothing.
func TestNamesAreKeptFromTheSecondCallOn(t *testing.T) {
	ns := newNames()
	often := []byte("asked-for-again-and-again")
	parse := func(b []byte) {
		if n, err := ns.parse(b); err != nil || n.String() != string(b) {
			t.Fatalf("%q became %q, %v", b, n, err)
		}
	}
	parse(often)
	parse(often)
	if n := testing.AllocsPerRun(100, func() { parse(often) }); n != 0 {
		t.Errorf("%v allocations for a known name", n)
	}
	kept := func() (n int) {
		for i := range ns.slots {
			if ns.slots[i].name.Load() != nil {
				n++
			}
		}
		return n
	}
	fresh := make([][]byte, 20_000)
	for i := range fresh {
		fresh[i] = fmt.Appendf(nil, "never-asked-for-%08d", i)
	}
	i := 0
	if n := testing.AllocsPerRun(len(fresh)-2, func() { parse(fresh[i]); i++ }); n > 1 {
		t.Errorf("%v allocations for a fresh name", n)
	}
	if n := kept(); n != 1 {
		t.Errorf("%d names are kept, of which one was asked for twice", n)
	}
	b := []byte("changes")
	parse(b)
	n, _ := ns.parse(b)
	copy(b, "CHANGES")
	if n != vfs.MustName("changes") {
		t.Errorf("the name changed with the buffer: %q", n)
	}
}
