package vfstest

import (
	"testing"

	"sheaf/vfs"
)

// TestModelSuite is Suite on Model, as it is and poorer.
func TestModelSuite(t *testing.T) {
	for name, c := range map[string]struct {
		model ModelOptions
		suite Options
	}{
		"whole":             {},
		"colliding cookies": {model: ModelOptions{CookieBits: 5, Seed: 7}},
		"clock that stands": {model: ModelOptions{Clock: func() vfs.Time { return vfs.Time{Sec: 1_500_000_000} }}},
		"poor":              {ModelOptions{NoACLs: true, NoSpecial: true, NoLinks: true}, Options{NoACLs: true, NoSpecial: true, NoLinks: true}},
		"one caller":        {ModelOptions{RootUID: 1000, RootGID: 1000}, Options{As: &vfs.Who{UID: 1000, GID: 1000}}},
	} {
		t.Run(name, func(t *testing.T) {
			Suite(t, c.suite, func(*testing.T) vfs.FS { return NewModel(c.model) })
		})
	}
}
