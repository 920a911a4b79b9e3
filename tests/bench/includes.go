package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"sheaf/contrib/translators"
	"sheaf/meta"
	"sheaf/vfs"
	"sheaf/vfs/translator/script"
	"sheaf/vfs/union"
	"sheaf/vfs/volume"
	"sheaf/vfs/volume/delay"
	"sheaf/vfs/volume/local"
)

// The reference experiment: a page of a web application that includes files by their names, each of
// which is looked for in the directories of an include path, one after the other, until it is found.
const (
	includeDirs    = 20
	includeFiles   = 300
	includeVolumes = 8
	includeDelay   = 300 * time.Microsecond // of a volume's every answer, for a disk or a network in it
)

// includes are the files that a page includes: in which of how many directories each is found, any with the same chance.
type includes struct {
	dirs int
	at   []int
}

func newIncludes(seed uint64, dirs, files int) includes {
	rnd := rand.New(rand.NewPCG(seed, 0))
	in := includes{dirs: dirs, at: make([]int, files)}
	for i := range in.at {
		in.at[i] = rnd.IntN(dirs)
	}
	return in
}

func includeDir(i int) string  { return fmt.Sprintf("path-%02d", i) }
func includeName(i int) string { return fmt.Sprintf("include-%03d.php", i) }

// layer is a way to answer look-ups that is measured: a union with a setting of lookups, and what stands on it.
type layer struct {
	name    string
	lookups union.Lookups
	over    func(vfs.FS) (vfs.FS, func() error, error) // nil: nothing stands on it
	// The least ratio of off's average, and of its 99th percentile, to this layer's, with delayed volumes and with bare ones; 0: none
	// is asked for.
	average, p99, bare float64
}

// layers are those that are measured, the first of which the others are compared with.
func layers() []layer {
	return []layer{
		{name: "off", lookups: union.LookupOff},
		{name: "names", lookups: union.LookupNames},
		{name: "full", lookups: union.LookupFull, average: 50, p99: 20, bare: 5},
		{name: "off, negative.star", lookups: union.LookupOff, over: underScript(false)},
		{name: "off, negative.star with present", lookups: union.LookupOff, over: underScript(true), average: 10},
	}
}

// scriptTTL is how long the script believes what it found, in seconds: as long as the union does where a volume is watched.
const scriptTTL = 60

// underScript puts the article's negative-lookup cache, in Starlark, over a file system. With present it remembers
// what is there, too: one look-up in ten of the include path finds its name, so what only
// remembers absences is at most ten times faster.
func underScript(present bool) func(vfs.FS) (vfs.FS, func() error, error) {
	return func(fs vfs.FS) (vfs.FS, func() error, error) {
		text, err := translators.Scripts.ReadFile("negative.star")
		if err != nil {
			return nil, nil, err
		}
		s, err := script.Load(script.Options{
			Name: "negative", File: "negative.star", Source: text, Log: slog.Default(),
			Config: map[string]any{"ttl": scriptTTL, "present": present},
		})
		if err != nil {
			return nil, nil, err
		}
		top, closed := s.Over(fs)
		return top, func() error { closed(); return nil }, nil
	}
}

// lab is a share at the contract, without a server.
type lab struct {
	fs    vfs.FS
	who   *vfs.Who
	path  []vfs.Node // the directories of the include path
	names []vfs.Name
	ends  []func() error // in the order in which they are called
}

// openLab opens a layer over volumes whose every operation takes wait longer.
func openLab(ctx context.Context, dir string, l layer, in includes, wait time.Duration) (b *lab, err error) {
	b = &lab{who: &vfs.Who{UID: uint32(os.Getuid()), GID: uint32(os.Getgid())}}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	o := union.Options{Lookups: l.lookups, Log: log}
	if o.Index, err = meta.Open(meta.Options{Dir: filepath.Join(dir, "state"), Logger: log}); err != nil {
		return b, err
	}
	b.end(o.Index.Close)
	mark := volume.Marker{Format: volume.MarkerFormat, Epoch: 1, Share: fmt.Sprintf("%032x", 1), Root: fmt.Sprintf("%032x", 2), Key: fmt.Sprintf("%064x", 3)}
	for i := range includeVolumes {
		m := mark
		v, err := local.Open(ctx, volumeDir(dir, i), local.Options{Name: fmt.Sprint("v", i), Adopt: &m})
		if err != nil {
			return b, err
		}
		b.end(v.Close)
		slow := delay.New(v, uint64(i))
		if wait > 0 {
			slow.Set(delay.Rule{Min: wait})
			o.Volumes = append(o.Volumes, slow)
		} else {
			o.Volumes = append(o.Volumes, v)
		}
	}
	u, err := union.Open(ctx, o)
	if err != nil {
		return b, err
	}
	b.end(u.Close)
	b.fs = u
	if l.over != nil {
		fs, end, err := l.over(u)
		if err != nil {
			return b, err
		}
		b.fs = fs
		b.end(end)
	}
	return b, b.findPath(ctx, in)
}

func volumeDir(dir string, i int) string { return filepath.Join(dir, fmt.Sprint("v", i)) }

// end notes what is to be called at the end, before what was noted earlier.
func (b *lab) end(f func() error) { b.ends = append([]func() error{f}, b.ends...) }

func (b *lab) close() (err error) {
	for _, f := range b.ends {
		err = errors.Join(err, f())
	}
	return err
}

// findPath looks the directories of the include path up.
func (b *lab) findPath(ctx context.Context, in includes) error {
	root, err := b.fs.Root(ctx, b.who)
	for i := range in.dirs {
		var d vfs.Attr
		if err == nil {
			d, _, err = b.fs.Lookup(ctx, b.who, root.Node, vfs.MustName(includeDir(i)))
		}
		b.path = append(b.path, d.Node)
	}
	for i := range in.at {
		b.names = append(b.names, vfs.MustName(includeName(i)))
	}
	return err
}

// layOut makes the include path on the volumes, as it was before anybody served them: each directory on all, the files on one each.
func layOut(dir string, in includes) error {
	for v := range includeVolumes {
		for i := range in.dirs {
			if err := os.MkdirAll(filepath.Join(volumeDir(dir, v), includeDir(i)), 0o755); err != nil {
				return err
			}
		}
	}
	for i, d := range in.at {
		path := filepath.Join(volumeDir(dir, i%includeVolumes), includeDir(d), includeName(i))
		if err := os.WriteFile(path, []byte("<?php\n"), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// page looks all includes up once.
func (b *lab) page(ctx context.Context, in includes, h *histogram) error {
	for i, name := range b.names {
		for d := range b.path {
			began := time.Now()
			_, _, err := b.fs.Lookup(ctx, b.who, b.path[d], name)
			h.record(time.Since(began))
			if want := d == in.at[i]; (err == nil) != want || err != nil && vfs.StatusOf(err) != vfs.NoEnt {
				return fmt.Errorf("look-up of %s in %s: %w, and it is in %s", name, includeDir(d), err, includeDir(in.at[i]))
			}
			if err == nil {
				break
			}
		}
	}
	return nil
}

// contractRow is a layer as it was measured.
type contractRow struct {
	layer
	lab *lab
	lat histogram
}

// contract measures the layers over volumes whose operations take wait longer, in turn.
func (o *options) contract(ctx context.Context, dir string, in includes, wait time.Duration) (rows []*contractRow, err error) {
	for _, l := range layers() {
		own := filepath.Join(dir, fmt.Sprint("layer-", len(rows))) // no two servers over one volume
		if err := layOut(own, in); err != nil {
			return nil, err
		}
		b, err := openLab(ctx, own, l, in, wait)
		if err != nil {
			return nil, fmt.Errorf("layer %s: %w", l.name, err)
		}
		defer func() { err = errors.Join(err, b.close()) }()
		rows = append(rows, &contractRow{layer: l, lab: b})
	}
	var unmeasured histogram
	for _, r := range rows {
		for range 2 { // as a web server that has run for a while: marks are written, directories known
			if err := r.lab.page(ctx, in, &unmeasured); err != nil {
				return nil, fmt.Errorf("layer %s: %w", r.name, err)
			}
		}
	}
	for round := range o.rounds {
		for i := range rows {
			r := rows[(i+round)%len(rows)]
			for began := time.Now(); time.Since(began) < o.time; {
				if err := r.lab.page(ctx, in, &r.lat); err != nil {
					return nil, fmt.Errorf("layer %s: %w", r.name, err)
				}
			}
		}
	}
	return rows, nil
}
