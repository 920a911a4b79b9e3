package share

import (
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"sheaf/vfs/volume"
)

// inUse is what the process holds.
func inUse(t *testing.T) (goroutines, descriptors int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return runtime.NumGoroutine(), len(entries)
}

// TestRefusedOpensLeaveNothing: an Open that fails, at whatever step, gives everything back: a
// program that tries until its disk is there may do so for days.
func TestRefusedOpensLeaveNothing(t *testing.T) {
	base := tempDir(t)
	good := shareConfig(t, base, "a", "b")
	mustOpen(t, good)
	other := start(t, shareConfig(t, tempDir(t), "a")) // has a port, a state directory and a volume
	broken := shareConfig(t, tempDir(t), "a")
	mustOpen(t, broken)
	if err := os.WriteFile(filepath.Join(broken.Volumes[0].Dir, volume.PrivateName, "volume.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	noIndex := filepath.Join(base, "state without an index")
	if err := os.MkdirAll(noIndex, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(noIndex, indexDir), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cases := map[string]func(*Config){
		"export":             func(c *Config) { c.Exports = []string{"/ (rw"} },
		"volume not there":   func(c *Config) { c.Volumes[1] = Volume{Name: "none", Dir: filepath.Join(base, "none")} },
		"same directory":     func(c *Config) { c.Volumes[1].Dir = c.Volumes[0].Dir },
		"no volume there":    func(c *Config) { c.Volumes[0].Dir, c.Volumes = filepath.Join(base, "none"), c.Volumes[:1] },
		"another's volume":   func(c *Config) { c.Volumes = other.cfg.Volumes },
		"another's state":    func(c *Config) { c.State = other.cfg.State },
		"another's port":     func(c *Config) { c.Listen = other.Addr().String() },
		"index is a file":    func(c *Config) { c.State = noIndex },
		"damaged marker":     func(c *Config) { c.Volumes = broken.Volumes },
		"volumes of two":     func(c *Config) { c.Volumes[1] = Volume{Name: "x", Dir: other.cfg.Volumes[0].Dir} },
		"stock and readonly": func(c *Config) { c.Engine, c.Exports = EngineGoNFS, []string{"/ *(ro)"} },
	}
	try := func() {
		t.Helper()
		for name, change := range cases {
			c := good
			c.Volumes = slices.Clone(good.Volumes)
			change(&c)
			s, err := Open(t.Context(), c, Options{Logger: slog.New(slog.DiscardHandler)})
			if err == nil {
				t.Fatalf("%s: it was opened; close: %v", name, s.Close())
			}
		}
	}
	try()
	goroutines, descriptors := inUse(t)
	for range 5 {
		try()
	}
	for end := time.Now().Add(wait); ; runtime.Gosched() { // those of the index end after it was closed
		g, d := inUse(t)
		if g <= goroutines && d <= descriptors {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("in use are %d goroutines and %d descriptors, before it was %d and %d", g, d, goroutines, descriptors)
		}
	}
	start(t, good) // nothing of it is locked
}
