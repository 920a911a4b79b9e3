package local

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestReadNowAsksNoDisk: what is not in memory is told to be not there, and the disk is not asked for it, as that may wait.
func TestReadNowAsksNoDisk(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const size = 1<<20 + 100
	if _, err := f.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	fd := int(f.Fd())
	buf := make([]byte, size)
	for _, c := range []struct{ n, off, want int }{
		{4096, 0, 4096}, {size, 0, size}, {1 << 19, 1 << 20, 100}, {10, size - 5, 5}, {1, 4095, 1}, {2, 4095, 2}, {100, size, 0}, {100, 10 * size, 0},
	} {
		if n, err := readNow(fd, buf[:c.n], int64(c.off)); n != c.want || err != nil {
			t.Errorf("%d bytes at %d: %d, %v", c.n, c.off, n, err)
		}
	}
	cached := func() uint64 {
		var c unix.Cachestat_t
		if err := unix.Cachestat(uint(fd), &unix.CachestatRange{}, &c, 0); err != nil {
			t.Skip("this kernel does not tell what is in memory:", err)
		}
		return c.Cache
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
	if n := cached(); n != 0 {
		t.Skipf("%d pages of a file stay in memory here", n)
	}
	for _, off := range []int64{0, 4096, size - 5} {
		if n, err := readNow(fd, buf[:4096], off); !errors.Is(err, unix.EAGAIN) {
			t.Errorf("at %d: %d, %v", off, n, err)
		}
		if n := cached(); n != 0 {
			t.Fatalf("%d pages were asked for", n)
		}
	}
	if _, err := f.ReadAt(buf[:4096], 1<<19); err != nil {
		t.Fatal(err)
	}
	if n, err := readNow(fd, buf[:4096], 1<<19); n != 4096 || err != nil {
		t.Errorf("what was read: %d, %v", n, err)
	}
}

func BenchmarkReadNow(b *testing.B) {
	f, err := os.Create(filepath.Join(b.TempDir(), "f"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	buf := make([]byte, 1<<20)
	if _, err := f.Write(buf); err != nil {
		b.Fatal(err)
	}
	for name, n := range map[string]int{"4K": 4 << 10, "1M": 1 << 20} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if k, err := readNow(int(f.Fd()), buf[:n], 0); k != n || err != nil {
					b.Fatal(k, err)
				}
			}
		})
		b.Run(name+"/asked", func(b *testing.B) {
			for b.Loop() {
				if !resident(int(f.Fd()), n, 0) {
					b.Fatal("not in memory")
				}
			}
		})
	}
}
