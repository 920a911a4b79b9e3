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
