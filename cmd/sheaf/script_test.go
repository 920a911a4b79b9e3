package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sheaf/cmd/sheaf/share"
)

// TestScriptCheck says what a script defines, and what is wrong with it, with the line.
func TestScriptCheck(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := file("good.star", "ttl = options.get('ttl', 1.0)\ndef remove(call):\n  pass\ndef lookup_done(call, result):\n  pass\n")
	if got := sheaf(t, "script", "check", good, "--options", "{ttl: 2.5}"); got.code != exitOK || got.out != good+": lookup_done, remove\n" {
		t.Errorf("%+v", got)
	}
	var c share.ScriptCheck
	got := sheaf(t, "script", "check", "--json", good)
	if err := json.Unmarshal([]byte(got.out), &c); err != nil || got.code != exitOK || len(c.Functions) != 2 || c.Version != share.APIVersion {
		t.Errorf("%+v, %v", got, err)
	}
	if got := sheaf(t, "script", "check", file("none.star", "x = 1\n")); got.code != exitOK || !strings.Contains(got.out, "defines no function") {
		t.Errorf("%+v", got)
	}
	for want, args := range map[string][]string{
		"bad.star:2:15: lookup: a call has no .nam": {file("bad.star", "def lookup(call):\n  return call.nam\n")},
		"option x is not known: the script has ttl": {good, "--options", "{x: 1}"},
		"write them like {ttl: 5":                   {good, "--options", "{"},
		"no such file":                              {filepath.Join(dir, "missing.star")},
	} {
		if got := sheaf(t, append([]string{"script", "check"}, args...)...); got.code != exitUsage || !strings.Contains(got.err, want) {
			t.Errorf("%+v, want %s", got, want)
		}
	}
}
