//go:build !linux

package main

import (
	"fmt"
	"io"
)

// absences needs a disk that can be made to hang.
func (o *options) absences(_ string, out, _ io.Writer) error {
	fmt.Fprintf(out, "\nA volume that is away: left out, as only Linux has what makes one hang.\n")
	return nil
}
