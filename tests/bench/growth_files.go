package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// treeDir is how many files each directory of a tree has.
const treeDir = 1000

const filesSays = "A share for each size, of 8 volumes, with so many files, 1,000 in a directory, all of which were listed and are known; calls are for any of them. Memory is the server's when it\n" +
	"was started and when all were listed, and the difference by file; the index is what its directory takes on disk by file.\n\n" +
	"What is known of names and attributes takes at most `memory` (256 MiB), by the server's own count; Go's collector lets the process have about twice that, and the index comes beside it. As long as\n" +
	"all are in memory a file takes 2 to 3 KB of the process, 7 where there are so few that the process itself counts; beyond that nothing grows but the index, 240 to 270 bytes a file. What was not asked for lately is then\n" +
	"forgotten, files before directories, and is looked up in the index and on its volume when it is asked for again.\n\n" +
	"Attributes are believed for `trust`, one second. Of 1,000 files each is asked for hundreds of times a second, of 100,000 once or less: then nearly each GETATTR, and each LOOKUP that finds something, asks the\n" +
	"host, which costs 10 to 20 µs with the way to a worker and back. That is the step; beyond it the cost is that of one such call, whatever the number of files, and\n" +
	"from there on these two are judged. Names are believed for a minute where a\n" +
	"volume is watched, and misses stay flat."

const heldSays = "The same trees, with a server that keeps all in memory (`memory` 16 GiB) and believes it for an hour (`trust`): what the tables themselves cost as they grow, without the host. What is left is the\n" +
	"processor's caches, which 1,000 files fit into and a million do not."

// hostAsked is from how many files on nearly each call for any of them asks the host, since what is known is older than trust.
const hostAsked = 100_000

// growFiles measures more and more files that are known: as a server does by itself, and with all held in memory.
func (o *options) growFiles(dir string, progress io.Writer, done func(*dimension)) error {
	sizes := powers(10, 1000, o.files)
	for _, size := range sizes {
		for first := 0; first < size; first += treeDir {
			if err := layDirectory(filepath.Join(dir, fmt.Sprint(size)), o.share, treeName(first), first, min(treeDir, size-first)); err != nil {
				return err
			}
		}
	}
	fmt.Fprintf(progress, "trees of %d to %d files are laid out\n", sizes[0], o.files)
	d := &dimension{name: "files", title: "Files known", unit: "files", says: filesSays, sizes: sizes}
	if o.files > hostAsked {
		d.from = map[string]int{"GETATTR": hostAsked, "LOOKUP hit": hostAsked}
	}
	if err := o.knowFiles(dir, d, progress, done); err != nil {
		return err
	}
	held := &dimension{name: "held", title: "Files known and believed", unit: "files", says: heldSays, sizes: sizes}
	return o.knowFiles(dir, held, progress, done, "--memory", "16GiB", "--trust", "1h", "--trust-watched", "1h")
}

// knowFiles measures servers that know the trees in dir.
func (o *options) knowFiles(dir string, d *dimension, progress io.Writer, done func(*dimension), flags ...string) (failed error) {
	d.ops = append(named("GETATTR"), op{name: "LOOKUP hit", proc: procLookup, next: nextTreeHit, check: checkHit},
		op{name: "LOOKUP miss", proc: procLookup, next: nextTreeMiss, check: checkMiss})
	d.ops = append(d.ops, named("CREATE", "REMOVE")...)
	begun, held, each, index := column{head: "memory at first, MiB"}, column{head: "memory, MiB"}, column{head: "bytes per file"}, column{head: "index, bytes per file"}
	for _, size := range d.sizes {
		p, err := o.serveOver(filepath.Join(dir, fmt.Sprint(size)), o.share, flags...)
		if err != nil {
			return err
		}
		defer func() { failed = errors.Join(failed, p.stop()) }()
		atFirst, all, err := p.learn(size, "churn-"+d.name)
		if err != nil {
			return err
		}
		rows, err := diskUse(filepath.Join(p.state, "index"))
		if err != nil {
			return err
		}
		d.peers = append(d.peers, p.sized(size, p.site))
		begun.cells, held.cells = append(begun.cells, mebibytes(atFirst)), append(held.cells, mebibytes(all))
		each.cells = append(each.cells, fmt.Sprint((all-atFirst)/int64(size)))
		index.cells = append(index.cells, fmt.Sprint(rows/int64(size)))
		fmt.Fprintf(progress, "%s: a tree of %d is known\n", d.title, size)
	}
	d.extra = []column{begun, held, each, index}
	done(d)
	return nil
}

func treeName(first int) string { return fmt.Sprintf("tree-%05d", first/treeDir) }

// learn lists a tree, and tells the server's memory before and after. It makes churn, where names come and go.
func (p *peer) learn(size int, churn string) (before, after int64, err error) {
	c, err := dial(p.addr)
	if err != nil {
		return 0, 0, err
	}
	defer c.Close()
	if err := quiet(p); err != nil {
		return 0, 0, err
	}
	if before, err = memory(p.pid()); err != nil {
		return 0, 0, err
	}
	p.site = &site{}
	if p.site.root, err = p.mount(); err != nil {
		return 0, 0, err
	}
	for first := 0; first < size; first += treeDir {
		d, err := lookup1(c, p.site.root, treeName(first))
		if err != nil {
			return 0, 0, err
		}
		files, err := listAll(c, d, first, min(treeDir, size-first), 1)
		if err != nil {
			return 0, 0, fmt.Errorf("%s: %w", treeName(first), err)
		}
		for range files {
			p.site.dirs = append(p.site.dirs, d)
		}
		p.site.files = append(p.site.files, files...)
	}
	if p.site.churn, err = make1(c, p.site.root, churn, true); err != nil {
		return 0, 0, err
	}
	if err := quiet(p); err != nil {
		return 0, 0, err
	}
	after, err = memory(p.pid())
	return before, after, err
}

func nextTreeHit(c *caller, s *call, b []byte) ([]byte, bool) {
	i := c.rnd.IntN(len(c.files))
	s.object = c.files[i]
	return appendName(b, c.dirs[i], s.object.name), true
}

func nextTreeMiss(c *caller, _ *call, b []byte) ([]byte, bool) {
	return appendMiss(b, c.dirs[c.rnd.IntN(len(c.dirs))], c.missed.Add(1)), true
}

// diskUse is the size of the files beneath dir, in bytes.
func diskUse(dir string) (sum int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) || err == nil && !e.Type().IsRegular() {
			return nil // what was compacted away meanwhile takes nothing
		}
		if err != nil {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err == nil {
			sum += allocated(info)
		}
		return err
	})
	return sum, err
}
