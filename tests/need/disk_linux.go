package need

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// Tmpfs is where a new tmpfs of so many bytes is mounted until the test ends.
func Tmpfs(tb testing.TB, bytes int) string {
	tb.Helper()
	dir := tb.TempDir()
	if err := unix.Mount("sheaf-test", dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes)); err != nil {
		Lack(tb, "tmpfs", "mount: %v", err)
	}
	tb.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			tb.Errorf("umount: %v", err)
		}
	})
	return dir
}
