package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sheaf/cmd/sheaf/share"
)

// says demands an exit code and words of what a command printed.
func says(t *testing.T, got result, code int, words ...string) {
	t.Helper()
	if got.code != code {
		t.Errorf("exit code %d, want %d: %+v", got.code, code, got)
	}
	for _, w := range words {
		if !strings.Contains(got.out+got.err, w) {
			t.Errorf("%q is not in %+v", w, got)
		}
	}
}

// TestVolumeCommands changes the volumes of a share, with a server and without.
func TestVolumeCommands(t *testing.T) {
	base := tempDir(t)
	args := volumeArgs(t, base, "a", "b")
	p := serve(t, nil, append(args, "--adopt")...)
	volumeArgs(t, base, "c")
	state := []string{"--state", args[1]}
	do := func(words ...string) result {
		t.Helper()
		return sheaf(t, append(append([]string{"volume"}, words...), state...)...)
	}
	t.Chdir(base)
	says(t, do("add", "c=c"), exitUsage, "is not a volume yet", "--adopt")
	says(t, do("add", "c=c", "--adopt"), exitOK, "volume c is in the share", `now add "c=`+filepath.Join(base, "c")+`" to volumes`)
	says(t, do("add", "c"), exitUsage, "want NAME=DIR")
	says(t, do("add", "c=c"), exitUsage, `it is volume "c", which is served from`)
	says(t, do("mode", "c", "nc"), exitOK, "volume c is nc\n")
	says(t, do("mode", "c", "nc"), exitOK, "volume c is nc already\n")
	says(t, do("mode", "c", "xx"), exitUsage, "want rw")
	says(t, do("mode", "none", "ro"), exitNotFound, "no volume of that name")
	says(t, do("mode", "none"), exitUsage, "see sheaf volume mode --help")
	says(t, do("list"), exitOK, "c       online  nc")
	p.stop()
	state = append(state, args[2:]...)
	state = append(state, "--volume", "c="+filepath.Join(base, "c"))
	asJSON := do("mode", "c", "ro", "--json")
	var c share.Change
	if err := json.Unmarshal([]byte(asJSON.out), &c); err != nil || !c.Changed || c.Mode != "ro" || c.Version != share.APIVersion {
		t.Errorf("%+v, %v", asJSON, err)
	}
	if err := os.Mkdir(filepath.Join(base, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	says(t, do("add", "d=d", "--adopt", "--json"), exitOK, `"changed": true`)
	says(t, do("list"), exitOK, "c       online  ro", "d       away", "is not configured")
	state = append(state, "--volume", "d="+filepath.Join(base, "d"))
	says(t, do("list"), exitOK, "c       online  ro", "d       online  rw")
}
