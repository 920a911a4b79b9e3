package meter

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/volume"
	"sheaf/vfs/volume/hook"
	"sheaf/vfs/volume/volumetest"
)

// TestSuite: the decorator changes nothing.
func TestSuite(t *testing.T) {
	volumetest.Suite(t, func(*testing.T) volume.Volume { return new(Meter).Around(volumetest.NewMem(volumetest.Options{})) })
}

// TestCounts: calls are counted by class, with their time and errors, over several openings.
func TestCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m Meter
		slow := hook.New(volumetest.NewMem(volumetest.Options{}), func(_ context.Context, op volume.Op, next func() error) error {
			if op == volume.OpReadNow {
				return vfs.Again
			}
			time.Sleep(3 * time.Millisecond)
			return next()
		})
		name := vfs.MustName("f")
		for range 2 {
			v := m.Around(slow)
			if _, err := v.Root().StatAt(t.Context(), vfs.MustName("nix")); vfs.StatusOf(err) != vfs.NoEnt {
				t.Fatal(err)
			}
			if _, err := v.Root().Stat(t.Context()); err != nil {
				t.Fatal(err)
			}
			f, _, _, err := v.Root().Create(t.Context(), name, &volume.New{Mode: 0o600})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.ReadNow(make([]byte, 1), 0); err != vfs.Again { //nolint:errorlint // it is to come bare
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			name = vfs.MustName("g")
		}
		look, change := m.Read(Look), m.Read(Change)
		if look.Calls != 4 || look.Total != 12*time.Millisecond || look.Errors[vfs.NoEnt] != 2 || len(look.Errors) != 1 {
			t.Errorf("look: %+v", look)
		}
		if change.Calls != 2 || len(change.Errors) != 0 || change.Buckets[4] != 0 || change.Buckets[5] != 2 || change.Buckets[len(Bounds)-1] != 2 {
			t.Errorf("change: %+v", change)
		}
		for _, c := range Classes() {
			if r := m.Read(c); c != Look && c != Change && r.Calls != 0 {
				t.Errorf("%v: %+v", c, r)
			}
		}
	})
}

// TestClasses: every operation but Close is counted, and each class has one.
func TestClasses(t *testing.T) {
	seen := map[Class]bool{}
	for _, op := range volume.Ops() {
		c, counted := ClassOf(op)
		if counted == (op == volume.OpClose) {
			t.Errorf("%v is counted: %v", op, counted)
		}
		seen[c] = true
	}
	if len(seen) != len(Classes()) {
		t.Errorf("only %v are used", seen)
	}
}
