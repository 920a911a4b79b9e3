package remote

import (
	"path/filepath"
	"testing"

	e2e "sheaf/tests/e2e/server"
	"sheaf/vfs"
)

// TestBinaryScripts: scripts of contrib in a real server, one above the other, called over the wire: names are found whatever their
// case, and some cannot be made.
func TestBinaryScripts(t *testing.T) {
	dir, err := filepath.Abs("../../contrib/translators")
	if err != nil {
		t.Fatal(err)
	}
	s := e2e.Start(t, e2e.Options{
		Volumes: []e2e.Volume{{Name: "v", Dir: t.TempDir()}},
		Args: []string{
			"--translator", `{kind: script, name: deny, file: "` + dir + `/deny.star", options: {names: ["*.exe"], allow: []}}`,
			"--translator", `{kind: script, name: nocase, file: "` + dir + `/nocase.star"}`,
		},
	})
	c, done := mount(t, Options{Dial: dialBinary(s), Conns: 1})
	defer done()
	w := vfs.Superuser
	if as := binaryCan().As; as != nil {
		w = as
	}
	root, err := c.Root(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]vfs.Status{"Read.Me": vfs.OK, "a.exe": vfs.Acces} {
		if _, _, err := c.Make(t.Context(), w, root.Node, vfs.MustName(name), &vfs.How{Type: vfs.Regular}); vfs.StatusOf(err) != want {
			t.Errorf("make %s: %v, want %v", name, err, want)
		}
	}
	made, _, err := c.Lookup(t.Context(), w, root.Node, vfs.MustName("Read.Me"))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]vfs.Status{"READ.me": vfs.OK, "read.you": vfs.NoEnt} {
		a, _, err := c.Lookup(t.Context(), w, root.Node, vfs.MustName(name))
		if vfs.StatusOf(err) != want || err == nil && a.Node.ID != made.Node.ID {
			t.Errorf("look up %s: %v, %v, want %v", name, a.Node, err, want)
		}
	}
}
