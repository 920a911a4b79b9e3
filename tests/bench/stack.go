package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"sheaf/cmd/sheaf/share"
	"sheaf/vfs"
	"sheaf/vfs/translator"
)

// stackGoal is what a native layer may add to a GETATTR at most, in CPU time.
const stackGoal = 300 * time.Nanosecond

// stackRow is one stack of layers, and what a GETATTR through it cost in each round.
type stackRow struct {
	name   string
	layers []translator.Spec
	native bool // a single layer of ours, held to stackGoal
	cost   []time.Duration
}

// nothing and counting are the scripts that are measured.
const (
	nothing  = "# Defines nothing.\n"
	counting = "calls = counter(\"calls\", \"calls\")\n\ndef getattr_done(call, result):\n    calls.add()\n"
)

// stackRows are the stacks that are measured, scripts written to dir.
func stackRows(dir string) ([]*stackRow, error) {
	one := func(kind string, options map[string]any) translator.Spec {
		return translator.Spec{Kind: kind, Options: options}
	}
	native := map[string]translator.Spec{
		"metrics":  one("metrics", nil),
		"trace":    one("trace", map[string]any{"verbs": []any{"remove"}}),
		"readonly": one("readonly", nil),
		"negative": one("negative", nil),
		"quota":    one("quota", map[string]any{"directories": []any{map[string]any{"path": "/", "hard-bytes": "1TiB"}}, "users": []any{map[string]any{"hard-files": 1 << 40}}}),
	}
	rows := []*stackRow{{name: "no layer"}, {name: "no layer again"}}
	var all []translator.Spec
	for _, name := range []string{"metrics", "trace", "readonly", "negative", "quota"} {
		rows = append(rows, &stackRow{name: name, layers: []translator.Spec{native[name]}, native: true})
		all = append(all, native[name])
	}
	rows = append(rows, &stackRow{name: "all of these", layers: all})
	for _, s := range []struct{ name, file, text string }{{"script that defines nothing", "nothing.star", nothing}, {"script that counts", "counting.star", counting}} {
		path := filepath.Join(dir, s.file)
		if err := os.WriteFile(path, []byte(s.text), 0o600); err != nil {
			return nil, err
		}
		rows = append(rows, &stackRow{name: s.name, layers: []translator.Spec{one("script", map[string]any{"file": path})}})
	}
	return rows, nil
}

// stackCost measures what layers add to a GETATTR, at the contract of a share in this process.
func (o *options) stackCost(dir string, out, progress io.Writer) (err error) {
	rows, err := stackRows(dir)
	if err != nil {
		return err
	}
	c := share.Defaults()
	c.State, c.Listen, c.Adopt = filepath.Join(dir, "state"), "127.0.0.1:0", true
	volume := filepath.Join(dir, "volume")
	if err := os.Mkdir(volume, 0o755); err != nil {
		return err
	}
	c.Volumes = []share.Volume{{Name: "a", Dir: volume, Exclusive: true}}
	s, err := share.Open(context.Background(), c, share.Options{Logger: slog.New(slog.NewTextHandler(&lines{}, nil))})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	root, err := s.FS().Root(context.Background(), vfs.Superuser)
	if err != nil {
		return err
	}
	for round := range o.rounds {
		for i := range rows {
			r := rows[(i+round)%len(rows)]
			c.Translators = r.layers
			if err := s.Reload(context.Background(), c); err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
			cost, err := getAttrCost(s.FS(), root.Node, o.count)
			if err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
			r.cost = append(r.cost, cost)
		}
		fmt.Fprintf(progress, "round %d of %d\n", round+1, o.rounds)
	}
	printStack(out, rows, o)
	return nil
}

// lines takes a log that is written, and keeps nothing of it.
type lines struct{}

func (*lines) Write(p []byte) (int, error) { return len(p), nil }

// getAttrCost is the CPU time of one GETATTR, of so many made by one thread after some that are not counted.
func getAttrCost(fs vfs.FS, n vfs.Node, count int) (time.Duration, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	who := &vfs.Who{UID: 1, GID: 1, Client: netip.MustParseAddr("192.0.2.1"), NoWait: true}
	ctx := context.Background()
	var began time.Duration
	for i := range count + count/warmUp {
		if i == count/warmUp {
			runtime.GC() // the garbage of what was measured before is not ours
			var err error
			if began, err = threadTime(); err != nil {
				return 0, err
			}
		}
		if _, err := fs.GetAttr(ctx, who, n); err != nil && vfs.StatusOf(err) != vfs.Again {
			return 0, err
		} else if err != nil { // what was known is too old: as a worker would
			if _, err := fs.GetAttr(ctx, vfs.Superuser, n); err != nil {
				return 0, err
			}
		}
	}
	ended, err := threadTime()
	return (ended - began) / time.Duration(count), err
}

// printStack writes the table and the goals.
func printStack(w io.Writer, rows []*stackRow, o *options) {
	fmt.Fprintf(w, "GETATTR at the contract through layers, %d interleaved rounds of %d calls, CPU time of the calling thread, ns per call, median [least … most].\n\n", o.rounds, o.count)
	fmt.Fprintf(w, "| layers | CPU | more than no layer |\n|---|---:|---:|\n")
	base := middle(rows[0].cost)
	for _, r := range rows {
		fmt.Fprintf(w, "| %s | %d [%d … %d] | %d |\n", r.name, middle(r.cost), slices.Min(r.cost), slices.Max(r.cost), middle(r.cost)-base)
	}
	fmt.Fprintln(w)
	for _, r := range rows {
		if r.native {
			more := middle(r.cost) - base
			fmt.Fprintf(w, "- %s: %v, less than %v: %s\n", r.name, more, stackGoal, verdict(more < stackGoal))
		}
	}
}

// middle is the median.
func middle(all []time.Duration) time.Duration {
	s := slices.Sorted(slices.Values(all))
	return s[len(s)/2]
}
