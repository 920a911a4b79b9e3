package volumetest

import (
	"testing"
	"time"

	"sheaf/vfs/volume"
)

func TestMem(t *testing.T) {
	for name, o := range map[string]Options{
		"whole":         {},
		"weak":          {Weak: true},
		"reuse":         {Reuse: true},
		"stopped clock": {Now: func() time.Time { return time.Unix(1_700_000_000, 0) }},
		"quiet":         {Quiet: 50 * time.Millisecond},
		"poor": {Caps: func(c *volume.Caps) {
			c.Links, c.Symlinks, c.Special, c.ACLs, c.Chown, c.Locate, c.Marks = false, false, false, false, false, false, false
			c.MaxFileSize = 1 << 30
		}},
	} {
		t.Run(name, func(t *testing.T) {
			Suite(t, func(t *testing.T) volume.Volume {
				t.Helper()
				m := NewMem(o)
				t.Cleanup(func() {
					if n := m.Handles(); n != 0 {
						t.Errorf("%d directories and files are still open", n)
					}
				})
				return m
			})
		})
	}
}
