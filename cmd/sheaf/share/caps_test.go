package share

import (
	"strings"
	"testing"
	"time"

	"sheaf/vfs/volume"
)

func TestWeaknesses(t *testing.T) {
	good := volume.Caps{StrongIdentity: true, Marks: true, Durable: true, NoReplace: true}
	if w := weaknesses(&good); len(w) != 0 {
		t.Errorf("a good volume is said to lack %q", w)
	}
	for want, change := range map[string]func(*volume.Caps){
		"read-only":     func(c *volume.Caps) { c.ReadOnly = true },
		"number again":  func(c *volume.Caps) { c.StrongIdentity = false },
		"attributes":    func(c *volume.Caps) { c.Marks = false },
		"power cut":     func(c *volume.Caps) { c.Durable = false },
		"replacing":     func(c *volume.Caps) { c.NoReplace = false },
		"coarse (50ms)": func(c *volume.Caps) { c.Quiet = 50 * time.Millisecond },
		"are older":     func(c *volume.Caps) { c.Quiet = time.Second },
	} {
		c := good
		change(&c)
		if w := weaknesses(&c); len(w) != 1 || !strings.Contains(w[0], want) {
			t.Errorf("%q is wanted, and said is %q", want, w)
		}
	}
}
