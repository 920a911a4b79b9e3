//go:build !linux

// Package disk is of Linux alone.
package disk
