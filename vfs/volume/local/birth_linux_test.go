package local

import (
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"testing"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// TestCreateIsWhole looks all the time for the names of files that are being made: whoever sees one sees it with
// its attributes. So a kill at any moment leaves it whole, or not at all.
func TestCreateIsWhole(t *testing.T) {
	for _, c := range []struct {
		name, mkfs string
		size       int64
	}{{"the host's", "", 0}, {"ext4", "mkfs.ext4", 64 << 20}, {"xfs", "mkfs.xfs", 320 << 20}, {"btrfs", "mkfs.btrfs", 256 << 20}} {
		t.Run(c.name, func(t *testing.T) {
			dir := ""
			if c.mkfs == "" {
				dir = t.TempDir()
			} else {
				dir = image(t, c.size, c.mkfs, "-q")
			}
			v := adopted(t, dir)
			createsWhole(t, v)
			if c.mkfs != "" && v.named.Load() {
				t.Error("files are made under their names")
			}
		})
	}
}

func createsWhole(t *testing.T, v *Volume) {
	t.Helper()
	const rounds = 400
	want := volume.New{Mode: 0o640, UID: 7, GID: 8, Times: true, Atime: vfs.Time{Sec: 1, Nsec: 2}, Mtime: vfs.Time{Sec: 3, Nsec: 4}}
	if os.Geteuid() != 0 {
		want.UID, want.GID = uint32(os.Geteuid()), uint32(os.Getegid())
	}
	var at atomic.Int64 // the name that is being made; rounds: none any more
	seen, torn := make(chan int), make(chan string, 1)
	go func() {
		count := 0
		for last := int64(-1); at.Load() < rounds; runtime.Gosched() {
			i := at.Load()
			st, err := v.Root().StatAt(t.Context(), nameOf(fmt.Sprint("f", i)))
			if err != nil || i == last {
				continue
			}
			count, last = count+1, i
			if st.Mode != want.Mode || st.UID != want.UID || st.GID != want.GID || st.Mtime != want.Mtime {
				select {
				case torn <- fmt.Sprintf("%+v", st):
				default:
				}
			}
		}
		seen <- count
	}()
	for i := range int64(rounds) {
		at.Store(i)
		f, st, _, err := v.Root().Create(t.Context(), nameOf(fmt.Sprint("f", i)), &want)
		if err != nil {
			t.Error(err)
			break
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if st.Nlink != 1 || st.Mode != want.Mode || st.Mtime != want.Mtime {
			t.Errorf("made as %+v", st)
		}
	}
	at.Store(rounds)
	t.Logf("%d of %d names were seen by another", <-seen, rounds)
	select {
	case st := <-torn:
		t.Errorf("a file was seen before it had its attributes: %s", st)
	default:
	}
}
