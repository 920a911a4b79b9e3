//go:build !linux

package main

import (
	"fmt"
	"io/fs"
	"runtime"
)

// memory is known on Linux alone.
func memory(pid int) (int64, error) {
	return 0, fmt.Errorf("memory of process %d: not known on %s", pid, runtime.GOOS)
}

// allocated is the size of a file, in bytes.
func allocated(info fs.FileInfo) int64 { return info.Size() }
