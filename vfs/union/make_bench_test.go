package union

import (
	"fmt"
	"testing"

	"sheaf/vfs"
)

// BenchmarkCreate makes files in a directory on an async export: all but the flush, and the protocol.
func BenchmarkCreate(b *testing.B) {
	for _, volumes := range []int{1, 8} {
		b.Run(fmt.Sprintf("%d volumes", volumes), func(b *testing.B) {
			s := localShare(b, volumes)
			s.open(b)
			w := *who
			w.Async = true
			how := vfs.How{Type: vfs.Directory}
			d, _, err := s.u.Make(b.Context(), &w, s.root(b), vfs.MustName("d"), &how)
			if err != nil {
				b.Fatal(err)
			}
			how = vfs.How{Type: vfs.Regular, Exists: vfs.Guarded}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				if _, _, err := s.u.Make(b.Context(), &w, d.Node, vfs.MustName(fmt.Sprintf("made-%08d", i)), &how); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
