package delay

import (
	"testing"
	"testing/synctest"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/volume"
	"sheaf/vfs/volume/hook"
	"sheaf/vfs/volume/volumetest"
)

func TestSuite(t *testing.T) {
	volumetest.Suite(t, func(*testing.T) volume.Volume { return New(volumetest.NewMem(volumetest.Options{}), 1) })
}

func TestRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		v := New(volumetest.NewMem(volumetest.Options{}), 1)
		took := func(f func()) time.Duration {
			began := time.Now()
			f()
			return time.Since(began)
		}
		stat := func() {
			if _, err := v.Root().Stat(ctx); err != nil {
				t.Error(err)
			}
		}
		if d := took(stat); d != 0 {
			t.Errorf("%v without a rule", d)
		}
		v.Set(Rule{Pick: hook.Pick{Ops: []volume.Op{volume.OpStat}, Count: 100}, Min: time.Second, Max: 2 * time.Second},
			Rule{Pick: hook.Pick{Ops: []volume.Op{volume.OpReadNow}}, Min: time.Nanosecond})
		var least, most time.Duration = time.Hour, 0
		for range 100 {
			d := took(stat)
			least, most = min(least, d), max(most, d)
		}
		if least < time.Second || most > 2*time.Second || most-least < 900*time.Millisecond {
			t.Errorf("from %v to %v", least, most)
		}
		if d := took(stat); d != 0 || v.Delayed() != 100 {
			t.Errorf("%v after the last, %d delayed", d, v.Delayed())
		}
		f, _, _, err := v.Root().Create(ctx, vfs.MustName("f"), &volume.New{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.ReadNow(nil, 0); err != vfs.Again { //nolint:errorlint // it is to come bare
			t.Error(err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := New(volumetest.NewMem(volumetest.Options{}), 1)
		release, later := v.Hang(volume.OpStat, volume.OpReadNow), v.Hang()
		f, open := make(chan error, 1), make(chan error, 1)
		go func() { _, err := v.Root().Stat(t.Context()); f <- err }()
		go func() { _, err := v.Root().Open(t.Context(), vfs.MustName("f"), volume.Read); open <- err }()
		time.Sleep(time.Hour)
		if v.Hanging() != 2 {
			t.Errorf("%d hang", v.Hanging())
		}
		release()
		synctest.Wait()
		if v.Hanging() != 2 {
			t.Error("what two hold is let go by one")
		}
		later()
		later()
		if err := <-f; err != nil {
			t.Error(err)
		}
		if err := <-open; vfs.StatusOf(err) != vfs.NoEnt {
			t.Error(err)
		}
		if v.Hanging() != 0 {
			t.Errorf("%d hang", v.Hanging())
		}
	})
}
