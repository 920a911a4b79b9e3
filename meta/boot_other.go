//go:build !linux

package meta

import (
	"crypto/rand"

	"golang.org/x/sys/unix"
)

// bootName is when the host was started. A clock that was set meanwhile makes it another start, which only
// costs listings.
func bootName() string {
	b, err := unix.SysctlRaw("kern.boottime")
	if err != nil {
		return rand.Text()
	}
	return string(b)
}
