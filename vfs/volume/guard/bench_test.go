package guard

import (
	"testing"

	"sheaf/vfs"
	"sheaf/vfs/volume"
	"sheaf/vfs/volume/volumetest"
)

// Benchmark is what the guard costs: the same calls on a Mem, bare and guarded. Per call, on two
// cores at 2.x GHz: see the package's documentation.
func Benchmark(b *testing.B) {
	m := volumetest.NewMem(volumetest.Options{})
	g := New(Options{Name: "mem", ID: m.ID(), First: m})
	defer g.Close()
	for _, c := range []struct {
		name string
		v    volume.Volume
	}{{"Bare", m}, {"Guarded", g}} {
		ctx := b.Context()
		root := c.v.Root()
		f, _, _, err := root.Create(ctx, name(c.name), &volume.New{Mode: 0o644})
		if err != nil {
			b.Fatal(err)
		}
		buf := make([]byte, 4096)
		for _, op := range []struct {
			name string
			call func() error
		}{
			{"StatAt", func() error { _, err := root.StatAt(ctx, vfs.MustName(c.name)); return err }},
			{"Stat", func() error { _, err := f.Stat(ctx); return err }},
			{"WriteAt", func() error { _, err := f.WriteAt(ctx, buf, 0); return err }},
			{"ReadAt", func() error { _, err := f.ReadAt(ctx, buf, 0); return err }},
			{"List", func() error { return root.List(ctx, func(volume.Entry) bool { return true }) }},
		} {
			b.Run(op.name+"/"+c.name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := op.call(); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run(op.name+"/"+c.name+"/Parallel", func(b *testing.B) {
				b.ReportAllocs()
				b.SetParallelism(8)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if err := op.call(); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
