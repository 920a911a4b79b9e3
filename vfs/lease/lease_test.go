package lease

import (
	"testing"

	"sheaf/vfs"
)

func id(n byte) vfs.NodeID { return vfs.NodeID{0: n, 15: n} }

func BenchmarkUncontended(b *testing.B) {
	var t Table
	b.ReportAllocs()
	for b.Loop() {
		h, err := t.Acquire(b.Context(), Node(id(1), Exclusive))
		if err != nil {
			b.Fatal(err)
		}
		h.Release()
	}
}
func BenchmarkRename(b *testing.B) {
	var t Table
	b.ReportAllocs()
	for b.Loop() {
		h, err := t.Acquire(b.Context(), Tree(Exclusive), Node(id(1), Exclusive), Node(id(3), Exclusive), Node(id(2), Exclusive), Node(id(4), Exclusive))
		if err != nil {
			b.Fatal(err)
		}
		h.Release()
	}
}
