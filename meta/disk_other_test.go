//go:build !linux

package meta

import "testing"

func smallDisk(t *testing.T, _ int) string {
	t.Helper()
	t.Skip("mounting a small file system is written for Linux only")
	return ""
}
