//go:build linux || darwin || freebsd

package local

import (
	"strings"
	"testing"

	"sheaf/vfs/volume"
	"sheaf/vfs/volume/volumetest"
)

// testMarker is what a share would write into a volume.
func testMarker() *volume.Marker {
	return &volume.Marker{Share: strings.Repeat("ab", 16), Root: strings.Repeat("cd", 16), Key: strings.Repeat("ef", 32)}
}

// adopted opens path, adopted if need be, for the length of the test.
func adopted(t *testing.T, path string) *Volume {
	t.Helper()
	v, err := Open(t.Context(), path, Options{Name: "vol", Adopt: testMarker()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	return v
}

func TestSuite(t *testing.T) {
	volumetest.Suite(t, func(t *testing.T) volume.Volume {
		t.Helper()
		return adopted(t, t.TempDir())
	})
}
