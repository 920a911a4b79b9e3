package union

import (
	"os"
	"testing"

	"pgregory.net/rapid"

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

func TestSuiteLocal(t *testing.T) {
	for _, n := range counts {
		t.Run(volumesName(n), func(t *testing.T) {
			vfstest.Suite(t, localCan(), func(t *testing.T) vfs.FS {
				return localShare(t, n).open(t)
			})
		})
	}
}

// localCan is what the process may do on the host: an ordinary user acts as itself only.
func localCan() vfstest.Options {
	if os.Getuid() == 0 {
		return vfstest.Options{}
	}
	groups, _ := os.Getgroups() // none known is none
	w := &vfs.Who{UID: uint32(os.Getuid()), GID: uint32(os.Getgid())}
	for _, g := range groups {
		w.Groups = append(w.Groups, uint32(g))
	}
	return vfstest.Options{As: w, NoDevices: true}
}

// TestProgramMem runs random programs in lockstep with the Model, with restarts.
func TestProgramMem(t *testing.T) {
	for _, n := range counts {
		t.Run(volumesName(n), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				s := memShare(t, n, nil)
				vfstest.RunProgram(rt, s.open(rt), vfstest.ProgramOptions{Restart: func(rt *rapid.T) vfs.FS { return s.restart(rt) }})
				s.close(rt)
			})
		})
	}
}

func volumesName(n int) string { return string(rune('0'+n)) + "Volumes" }
