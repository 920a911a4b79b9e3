//go:build !linux

package main

import (
	"errors"
	"time"
)

// cpuTime needs the process clock of another process.
func cpuTime(int) (time.Duration, error) {
	return 0, errors.New("the CPU time of a running process can be asked for on Linux only")
}

// threadTime needs the clock of a thread.
func threadTime() (time.Duration, error) {
	return 0, errors.New("the CPU time of a thread can be asked for on Linux only")
}
