package union

import (
	"testing"

	"sheaf/vfs"
	"sheaf/vfs/vfstest"
)

var counts = []int{1, 2, 5}

func TestSuiteMem(t *testing.T) {
	for _, n := range counts {
		t.Run(volumesName(n), func(t *testing.T) {
			vfstest.Suite(t, vfstest.Options{}, func(t *testing.T) vfs.FS {
				return memShare(t, n, nil).open(t)
			})
		})
	}
}

func volumesName(n int) string { return string(rune('0'+n)) + "Volumes" }
