//go:build !linux

package need

import "testing"

// Tmpfs ends the test: only Linux has one.
func Tmpfs(tb testing.TB, _ int) string {
	tb.Helper()
	Lack(tb, "tmpfs", "it is Linux's")
	return ""
}
