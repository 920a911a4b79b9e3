package main

import (
	"strings"
	"testing"
)

// TestUsage: a mistake on the command line is one sentence that says what the command wants, and exit code 2.
func TestUsage(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"foo", `sheaf has no command "foo"; see sheaf --help`},
		{"volume foo bar", `sheaf volume has no command "foo"; see sheaf volume --help`},
		{"config foo", `sheaf config has no command "foo"; see sheaf config --help`},
		{"status now", `sheaf status takes no argument, and got "now"; see sheaf status --help`},
		{"check /a /b", `sheaf check takes no argument, and got "/a" "/b"; see sheaf check --help`},
		{"serve /a", `sheaf serve takes no argument, and got "/a"; see sheaf serve --help`},
		{"where", `sheaf where needs PATH; see sheaf where --help`},
		{"where a b", `sheaf where takes PATH, and got "a" "b"; see sheaf where --help`},
		{"volume mode", `sheaf volume mode needs NAME and rw|nc|ro; see sheaf volume mode --help`},
		{"volume mode a", `sheaf volume mode takes NAME and rw|nc|ro, and got "a"; see sheaf volume mode --help`},
		{"volume mode a rx", `"rx" is no mode of a volume: want rw (everything), nc (nothing new) or ro (no changes)`},
		{"volume add a", `volume "a": want NAME=DIR, or NAME,exclusive=DIR`},
		{"volume remove", `sheaf volume remove needs NAME; see sheaf volume remove --help`},
		{"volume remove --lost=no x", `--lost is true or false, and not "no"; see sheaf volume remove --help`},
		{"serve --volume", `flag needs an argument: --volume; see sheaf serve --help`},
		{"serve --memory 12Q", `invalid argument "12Q" for "--memory" flag: "12Q" is no size in bytes; write it like 4096, 64KiB, 1MiB or 2GiB; see sheaf serve --help`},
		{"cache foo", `sheaf cache has no command "foo"; see sheaf cache --help`},
		{"cache drop", `sheaf cache drop needs PATH; see sheaf cache drop --help`},
		{"cache drop /..", `path "/..": ".." cannot stand in a path here`},
		{"where a/../b", `path "a/../b": ".." cannot stand in a path here`},
		{"where -x", `unknown shorthand flag: 'x' in -x; see sheaf where --help`},
	} {
		got := sheaf(t, strings.Fields(c.line)...)
		if got.code != exitUsage || got.err != "sheaf: "+c.want+"\n" || got.out != "" {
			t.Errorf("sheaf %s: exit code %d, %q, want %d and %q", c.line, got.code, got.err, exitUsage, c.want)
		}
	}
}

// TestNotRunning says what to do where there is nobody to ask.
func TestNotRunning(t *testing.T) {
	got := sheaf(t, "status", "--state", tempDir(t))
	if got.code != exitNotRunning || !strings.Contains(got.err, "--volume") {
		t.Errorf("exit code %d, %q", got.code, got.err)
	}
}
