//go:build linux || darwin || freebsd

//nolint:errorlint // the errnos of package unix come bare
package local

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sheaf/vfs"
)

// notOfHosts are the statuses that no call of a host gives.
var notOfHosts = map[vfs.Status]string{
	vfs.BadHandle: "handles are not known here", vfs.NotSync: "guards are the union's", vfs.BadCookie: "cookies are the union's",
	vfs.TooSmall: "of the protocol", vfs.BadType: "Mknod says it itself", vfs.Again: "ReadNow says it itself",
}

// TestErrnoTable: every errno the host has is a status, and every status that can come
// from a host does.
func TestErrnoTable(t *testing.T) {
	reached := map[vfs.Status][]string{}
	for e := unix.Errno(1); e < 200; e++ {
		if unix.ErrnoName(e) == "" {
			continue
		}
		s := statusOfErrno(e)
		if s == vfs.OK {
			t.Errorf("%v is no failure", e)
		}
		reached[s] = append(reached[s], unix.ErrnoName(e))
	}
	for _, s := range vfs.Statuses() {
		why, not := notOfHosts[s]
		if (len(reached[s]) > 0) == not {
			t.Errorf("%v (%d) comes from %v; %q", s, s, reached[s], why)
		}
	}
	if statusOfErrno(0) != vfs.OK {
		t.Error("no error is a failure")
	}
}

func TestFaultSaysWhat(t *testing.T) {
	v := &Volume{name: "vol"}
	err := v.fault("write", "a/file", fmt.Errorf("wrapped: %w", unix.EMFILE))
	for _, w := range []string{"write", `"a/file"`, `"vol"`, unix.EMFILE.Error(), "ulimit"} {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
	if vfs.StatusOf(err) != vfs.Jukebox || !errors.Is(err, unix.EMFILE) {
		t.Errorf("%v is %v", err, vfs.StatusOf(err))
	}
	if got := v.fault("write", "", vfs.Stale); got != error(vfs.Stale) {
		t.Errorf("a status became %v", got)
	}
	if got := v.fault("write", "", nil); got != nil {
		t.Errorf("nothing became %v", got)
	}
}

func TestAgain(t *testing.T) {
	n := 0
	err := again(func() error {
		if n++; n < 3 {
			return unix.EINTR
		}
		return unix.EIO
	})
	if err != error(unix.EIO) || n != 3 {
		t.Errorf("%v after %d calls", err, n)
	}
}
