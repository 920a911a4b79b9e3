//go:build !linux

package main

import (
	"fmt"
	"runtime"
)

// machine says in a line what the run was made on.
func machine(string) string {
	return fmt.Sprintf("%d processors, %s on %s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH)
}
