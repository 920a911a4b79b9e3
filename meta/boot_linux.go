package meta

import (
	"crypto/rand"
	"os"
)

// bootName is random(4)'s boot_id. Where it cannot be had each start counts as one of the host.
func bootName() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return rand.Text()
	}
	return string(b)
}
