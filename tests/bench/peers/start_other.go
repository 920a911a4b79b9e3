//go:build !linux

package peers

import (
	"errors"
	"time"
)

var errLinux = errors.New("the peers run on Linux")

// Ganesha runs on Linux.
func Ganesha(string, string) (*Server, error) { return nil, errLinux }

// MergerFS runs on Linux.
func MergerFS(string, []string, time.Duration) (*Server, error) { return nil, errLinux }

// CPU needs the process clock of another process.
func (s *Server) CPU() (time.Duration, error) { return CPUTime(0) }

// CPUTime needs it, too.
func CPUTime(int) (time.Duration, error) {
	return 0, errors.New("the CPU time of a running process can be asked for on Linux only")
}

// Unfs3 runs on Linux here.
func Unfs3(string, string) (*Server, error) { return nil, errLinux }
