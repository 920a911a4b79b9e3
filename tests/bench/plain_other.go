//go:build !linux

package main

import (
	"errors"
	"sync/atomic"
)

// createOne makes what the server does on Linux.
func (p *plain) createOne(int, string, *atomic.Int64) error {
	return errors.New("the plain program is for Linux only")
}

// renameOne makes what the server does on Linux.
func (p *plain) renameOne(int, string, string, *atomic.Int64) error {
	return errors.New("the plain program is for Linux only")
}

// removeOne makes what the server does on Linux.
func (p *plain) removeOne(int, string, *atomic.Int64) error {
	return errors.New("the plain program is for Linux only")
}
