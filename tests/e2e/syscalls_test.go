//go:build linux

package e2e

import (
	_ "embed"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"sheaf/tests/e2e/guest"
)

// difference is one that NFSv3 or the client makes, whatever the server. Anything else is the server's, and a failure.
type difference struct {
	scene, call string // call is a regular expression for the whole call
	share       string // what the share says, likewise
	why         string
}

var nfsOwn = []difference{
	{"open", `open "\." RDWR\|TMPFILE 0600`, "ENOTSUP", "no procedure makes a file without a name"},
	{
		"unlink-open", "fstat", "mode 0100600 uid 0 gid 0 nlink 1 size 6",
		"the client renames a removed open file, as the server knows of no open files",
	},
	{"unlink-open", `list "\."`, `\["\.nfs"( "f")?\]`, "the renamed file is seen until it is closed"},
	{"rename-open", `list "\."`, `\["\.nfs" "target"\]`, "so is one that was renamed over while it was open"},
	{"rmdir-open", "mkdirat in a removed directory", "ESTALE", "a removed directory is not kept for who has it open"},
	{"rmdir-open", "fstatat in a removed directory", "ESTALE", "likewise"},
	{"rmdir-open", "list a removed directory", "ESTALE|ok", "likewise"},
	{"rename-flags", `renameat2 "a" "free" 0x1`, "EINVAL", "RENAME has no flags; the client refuses them"},
	{"rename-flags", `renameat2 "a" "b" 0x2`, "EINVAL", "likewise"},
	{"direct", "pwrite of 10 bytes at 1", "10", "the wire has no blocks to be aligned to"},
	{"allocate", "fallocate.*", "ENOTSUP", "no procedure allocates"},
	{"allocate", "punch a hole", "ENOTSUP", "no procedure punches holes"},
	{"allocate", "seek to .* from the hole", `(262144|1048576) ok`, "holes cannot be asked for; all counts as data"},
	{"xattr", "(set|get)xattr user.test", "ENOTSUP", "NFSv3 has no extended attributes"},
	{"xattr", "listxattr", "0", "likewise"},
	{"xattr", "getxattr system.posix_acl_access", "ENOTSUP", "nor ACLs, but by a program of their own, NFSACL"},
	{"revoked", "pwrite 1 at 1", "1|EACCES", "there is no open: permission is checked at each call, and only the owner is forgiven"},
	{"revoked", "fsync by another", "EACCES|ok", "likewise: the write is refused when it is sent"},
	{
		"utimes", "times of f", `\{1 0\} \{0 0\} ok`,
		"NFSv3 counts seconds from 1970 in 32 bits without a sign",
	},
	{
		"utimes", `utimensat "f" \[\{0 1073741822\} \{0 1073741823\}\]`, "ok|EPERM",
		"one time set to the server's now is what clients also send for who may write",
	},
	{
		"times", `times of "f" at truncate to the same`, "mtime (moved|stayed), ctime (moved|stayed)",
		"the client does not send a change of size to the same",
	},
}

// Each kind of system call on the share and on a plain ext4 directory of the same guest: same result, same errno.
func TestSystemCalls(t *testing.T) {
	g, _, point := share(t, version3)
	compare(t, g, point+"/calls", nfsOwn)
}

func compare(t *testing.T, g *guest.Guest, dir string, allowed []difference) {
	t.Helper()
	g.Must(t, time.Minute, "rm -rf /srv/calls; chmod 755 /srv; mkdir /srv/calls "+dir)
	plain := run(t, g, "/srv/calls")
	shared := run(t, g, dir)
	if len(plain) != len(shared) {
		t.Errorf("%d calls on the plain directory, %d on the share", len(plain), len(shared))
	}
	different := 0
	for i := range min(len(plain), len(shared)) {
		want, got := plain[i], shared[i]
		if want == got {
			continue
		}
		if why := explained(want, got, allowed); why != "" {
			t.Logf("%s, not %s: %s", got, want.result, why)
			continue
		}
		different++
		t.Errorf("%s, not %s", got, want.result)
	}
	t.Logf("%d calls compared, %d differ without a reason", len(plain), different)
	g.Must(t, 2*time.Minute, "rm -rf /srv/calls "+dir)
}

// call is one line of probe calls.
type call struct{ scene, call, result string }

func (c call) String() string { return fmt.Sprintf("%s: %s = %s", c.scene, c.call, c.result) }

func run(t *testing.T, g *guest.Guest, dir string) []call {
	t.Helper()
	out := g.Must(t, 5*time.Minute, "cd /; umask 0; "+probe()+" calls "+dir)
	var list []call
	for line := range strings.SplitSeq(strings.TrimSpace(out), "\n") {
		scene, rest, ok := strings.Cut(line, ": ")
		at := strings.LastIndex(rest, " = ")
		if !ok || at < 0 {
			t.Fatalf("probe calls %s said: %s", dir, line)
		}
		list = append(list, call{scene, rest[:at], rest[at+3:]})
	}
	return list
}

func explained(want, got call, allowed []difference) string {
	if want.scene != got.scene || want.call != got.call {
		return ""
	}
	for _, d := range allowed {
		if d.scene == got.scene && whole(d.call, got.call) && whole(d.share, got.result) {
			return d.why
		}
	}
	return ""
}

func whole(pattern, text string) bool {
	return regexp.MustCompile("^(?:" + pattern + ")$").MatchString(text)
}

// The differences that are explained away are NFSv3's own indeed: the kernel's own server makes them too, and no others.
func TestSystemCallsOnKernelServer(t *testing.T) {
	g := theGuest(t)
	compare(t, g, kernelServer(t, g)+"/calls", append([]difference{
		{"set-id", `lstat "....-(truncate|otrunc)"`, ".*", "the kernel's server leaves set-id bits at a SETATTR of the size"},
	}, nfsOwn...))
}

//go:embed testdata/kernel-server.sh
var kernelServerScript string

// kernelServer serves a folder of the guest by the guest's own kernel, and mounts it there.
func kernelServer(t *testing.T, g *guest.Guest) string {
	t.Helper()
	g.Must(t, time.Minute, kernelServerScript)
	t.Cleanup(func() {
		if out, status := g.RunFor(t, time.Minute, "set -- stop\n"+kernelServerScript); status != 0 {
			t.Errorf("the kernel's server: %s", out)
		}
	})
	return "/mnt/kernel"
}
