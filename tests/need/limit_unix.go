//go:build unix

package need

import (
	"testing"

	"golang.org/x/sys/unix"
)

// Files ends a test that cannot have n descriptors.
func Files(tb testing.TB, n uint64) {
	tb.Helper()
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil || uint64(lim.Cur) < n { //nolint:unconvert // it is signed on FreeBSD
		Lack(tb, Descriptors, "%d are needed, the limit is %d (%v)", n, lim.Cur, err)
	}
}
