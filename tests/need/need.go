// Package need is what tests ask of the machine they run on, and of its environment.
//
// A test that cannot run on a machine is skipped with the reason. SHEAF_REQUIRED names, separated by commas, the things
// that are to be had there: a test that says to lack one of them fails. .ci/run sets it to what its machine has, which
// the program in have finds out by itself, so that no test stays away unnoticed.
package need

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Required is the variable that names the things.
const Required = "SHEAF_REQUIRED"

// The things besides file systems, which are called as mount(8) calls them ("ext4", "tmpfs", …).
const (
	Root        = "root"        // the superuser's rights
	Guests      = "guests"      // guests can be booted (tests/e2e/guest)
	Loop        = "loop"        // loop devices
	Fanotify    = "fanotify"    // whole file systems can be watched
	Descriptors = "descriptors" // ManyDescriptors of them
	Memory      = "memory"      // MuchMemory is available
)

// The measures of things: what a machine must have to be said to have it.
const (
	ManyDescriptors = 4600
	MuchMemory      = 8 << 30 // bytes, several times what a test takes
)

// Lack ends a test for which there is no such thing: skipped, or failed if it is required.
func Lack(tb testing.TB, thing, format string, args ...any) {
	tb.Helper()
	if slices.Contains(strings.Split(os.Getenv(Required), ","), thing) {
		tb.Fatalf("%s has %s, but: "+format, append([]any{Required, thing}, args...)...)
	}
	tb.Skipf("no "+thing+": "+format, args...)
}

// Superuser ends a test that is not run by root.
func Superuser(tb testing.TB, why string) {
	tb.Helper()
	if os.Geteuid() != 0 {
		Lack(tb, Root, "%s", why)
	}
}

// Number is a whole number from the environment.
func Number(tb testing.TB, name string, otherwise int) int {
	tb.Helper()
	return from(tb, name, otherwise, strconv.Atoi)
}

// Seed is a seed from the environment, or as is drawn.
func Seed(tb testing.TB, name string, drawn uint64) uint64 {
	tb.Helper()
	s := from(tb, name, drawn, func(s string) (uint64, error) { return strconv.ParseUint(s, 10, 64) })
	tb.Logf("%s=%d", name, s)
	return s
}

// Duration is one from the environment.
func Duration(tb testing.TB, name string, otherwise time.Duration) time.Duration {
	tb.Helper()
	return from(tb, name, otherwise, time.ParseDuration)
}

func from[T any](tb testing.TB, name string, otherwise T, parse func(string) (T, error)) T {
	tb.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	v, err := parse(text)
	if err != nil {
		tb.Fatalf("%s: %v", name, err)
	}
	return v
}
