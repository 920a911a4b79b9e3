package union

import (
	"os"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sheaf/tests/need"
	"sheaf/vfs"
	"sheaf/vfs/vfstest"
	"sheaf/vfs/volume"
	"sheaf/vfs/volume/volumetest"
)

var counts = []int{1, 2, 5}

func TestSuiteMem(t *testing.T) {
	for _, n := range counts {
		t.Run(volumesName(n), func(t *testing.T) {
			vfstest.Suite(t, vfstest.Options{}, func(t *testing.T) vfs.FS {
				t.Helper()
				return memShare(t, n, nil).open(t)
			})
		})
	}
}

func TestSuiteLocal(t *testing.T) {
	for _, n := range []int{1, 3} {
		t.Run(volumesName(n), func(t *testing.T) {
			vfstest.Suite(t, localCan(), func(t *testing.T) vfs.FS {
				t.Helper()
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
				s.wantClean(rt)
				s.close(rt)
			})
		})
	}
}

// TestProgramIndex is TestProgramMem with an index, which sometimes is gone after a restart.
func TestProgramIndex(t *testing.T) {
	for _, n := range counts {
		t.Run(volumesName(n), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				s := memShare(t, n, nil)
				s.newIndex(rt)
				restart := func(rt *rapid.T) vfs.FS {
					if rapid.Bool().Draw(rt, "lose the index") {
						s.close(rt)
						s.newIndex(rt)
					}
					return s.restart(rt)
				}
				vfstest.RunProgram(rt, s.open(rt), vfstest.ProgramOptions{Restart: restart, Steps: 60})
				s.wantClean(rt)
				s.close(rt)
			})
		})
	}
}

// TestProgramBlind runs programs over volumes that cannot find objects by identity and use
// inode numbers again.
func TestProgramBlind(t *testing.T) {
	for _, n := range counts {
		t.Run(volumesName(n), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				s := memShare(t, n, func(_ int, o *volumetest.Options) {
					o.Reuse = true
					o.Caps = func(c *volume.Caps) { c.Locate = false }
				})
				vfstest.RunProgram(rt, s.open(rt), vfstest.ProgramOptions{Restart: func(rt *rapid.T) vfs.FS { return s.restart(rt) }})
				s.close(rt)
			})
		})
	}
}

// TestProgramCoarse runs programs over volumes whose clocks stand still most of the time. They are
// not restarted: the few nanoseconds by which logical times go ahead then are forgotten.
func TestProgramCoarse(t *testing.T) {
	for _, n := range counts {
		t.Run(volumesName(n), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				s := memShare(t, n, func(_ int, o *volumetest.Options) { o.Quiet, o.Reuse, o.Now = 50*time.Millisecond, true, time.Now })
				vfstest.RunProgram(rt, s.open(rt), vfstest.ProgramOptions{CoarseMtime: true})
				s.close(rt)
			})
		})
	}
}

// TestProgramLookups runs programs without complete directories, and without memory of
// what is absent.
func TestProgramLookups(t *testing.T) {
	for name, mode := range map[string]Lookups{"names": LookupNames, "off": LookupOff} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				s := memShare(t, 2, nil)
				s.opt.Lookups = mode
				vfstest.RunProgram(rt, s.open(rt), vfstest.ProgramOptions{Restart: func(rt *rapid.T) vfs.FS { return s.restart(rt) }})
				s.close(rt)
			})
		})
	}
}

// TestProgramSmall runs programs with room for hardly anything in memory. The index remembers
// the names of hard links.
func TestProgramSmall(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := memShare(t, 3, nil)
		s.newIndex(rt)
		s.opt.Memory, s.opt.OpenDirs, s.opt.OpenFiles = 4*nodeBytes, 1, 1
		vfstest.RunProgram(rt, s.open(rt), vfstest.ProgramOptions{Restart: func(rt *rapid.T) vfs.FS { return s.restart(rt) }})
		s.wantClean(rt)
		s.close(rt)
	})
}

// TestProgramLocal runs programs on the host's file system.
func TestProgramLocal(t *testing.T) {
	need.Superuser(t, "after a restart only root can open a file again whose mode refuses its owner, or a volume whose root does")
	for _, n := range []int{1, 3} {
		t.Run(volumesName(n), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				s := localShare(t, n)
				o := vfstest.ProgramOptions{Options: localCan(), Restart: func(rt *rapid.T) vfs.FS { return s.restart(rt) }, Steps: 40, AnyDirLinks: true, CoarseMtime: true}
				vfstest.RunProgram(rt, s.open(rt), o)
				s.wantClean(rt)
				s.close(rt)
			})
		})
	}
}

func volumesName(n int) string { return string(rune('0'+n)) + "Volumes" }
