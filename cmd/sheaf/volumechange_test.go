package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
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

// TestVolumeRemove takes one out by the command, and gives one up.
func TestVolumeRemove(t *testing.T) {
	base := tempDir(t)
	args := volumeArgs(t, base, "a", "b", "c")
	for _, name := range []string{"one", "two"} {
		if err := os.WriteFile(filepath.Join(base, "c", name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p := serve(t, nil, append(args, "--adopt", "--probe-every", "100ms")...)
	do := func(words ...string) result {
		t.Helper()
		return sheaf(t, append([]string{"volume", "remove", "--state", args[1]}, words...)...)
	}
	says(t, do("b"), exitOK, "volume b is not in the share any more", `now delete "b=`)
	says(t, do("c"), exitFailed, "it holds", `"/one"`)
	says(t, do("b"), exitNotFound, "was removed from the share at epoch")
	for _, path := range []string{"/one", "/two"} { // what nobody ever looked at is not known when the volume is away
		says(t, sheaf(t, "where", path, "--state", args[1]), exitOK)
	}
	if err := os.Rename(filepath.Join(base, "c"), filepath.Join(base, "pulled")); err != nil {
		t.Fatal(err)
	}
	p.logged("a volume went away")
	dry := do("c", "--lost", "--dry-run")
	says(t, dry, exitOK, "/one\n", "/two\n", "volume c holds 2 objects; nothing was changed")
	lost := do("c", "--lost", "--json")
	lines := strings.Split(strings.TrimSpace(lost.out), "\n")
	var h share.Held
	var c share.Change
	if err := json.Unmarshal([]byte(lines[0]), &h); err != nil || h.Node == "" {
		t.Errorf("%+v, %v", lost, err)
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &c); err != nil || !c.Changed || len(lines) != 3 {
		t.Errorf("%+v, %v", lost, err)
	}
	p.stop()
}

// TestReloadKnowsWhatWasAdded: once the file says what was done by command, nothing waits for a restart.
func TestReloadKnowsWhatWasAdded(t *testing.T) {
	base := tempDir(t)
	args := volumeArgs(t, base, "a", "b")
	file := filepath.Join(base, "sheaf.yaml")
	put := func(volumes ...string) {
		t.Helper()
		text := "volumes:\n"
		for _, v := range volumes {
			text += "  - " + v + "=" + filepath.Join(base, v) + "\n"
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("a")
	p := serve(t, nil, "--config", file, args[0], args[1], "--adopt")
	says(t, sheaf(t, "volume", "add", args[0], args[1], "b="+filepath.Join(base, "b"), "--adopt"), exitOK)
	p.signal(syscall.SIGHUP)
	if line := p.logged("configuration read again"); !strings.Contains(line, "changed=[]") {
		t.Errorf("nothing was changed: %s", line)
	}
	put("a", "b")
	p.signal(syscall.SIGHUP)
	if line := p.logged("configuration read again"); !strings.Contains(line, "changed=[]") {
		t.Errorf("the file says what is so: %s", line)
	}
	put("b", "a")
	p.signal(syscall.SIGHUP)
	if line := p.logged("only when the server is started again"); !strings.Contains(line, "volumes") {
		t.Errorf("another order of volumes: %s", line)
	}
	p.stop()
}
