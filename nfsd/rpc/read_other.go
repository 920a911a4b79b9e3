//go:build !unix

package rpc

import "errors"

// rawReads: see read_unix.go.
const rawReads = false

func readFD(uintptr, []byte) (int, bool, error) { return 0, false, errors.ErrUnsupported }
