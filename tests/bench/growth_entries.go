package main

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// entriesSample is how many files of a directory are asked for.
const entriesSample = 1000

const entriesSays = "One share of 8 volumes; a directory of so many files, an eighth on each volume, laid out before the server was started. The first listing is\n" +
	"the first anybody asks for; each name must be there once. Look-ups are of 1,000 files that lie evenly in it, and of names never asked for before. READDIRPLUS is\n" +
	"of pages of 32 KiB, CPU by entry. Memory is the server's after the first listing, and holds what is known of the smaller directories.\n\n" +
	"Look-ups are flat since names are hashed, and a directory that is known completely answers for names that are not there. A page is cut out of rows that are sorted already, and\n" +
	"costs by entry less where it is full, of some 150. CREATE and REMOVE wait for the host, which flushes the directory."

// growEntries measures directories of more and more entries.
func (o *options) growEntries(dir string, progress io.Writer, done func(*dimension)) (err error) {
	d := &dimension{
		name: "entries", title: "Entries in a directory", unit: "entries", says: entriesSays,
		sizes: powers(10, 10, o.entries),
		ops:   append(named("LOOKUP hit", "LOOKUP miss", "CREATE", "REMOVE"), op{name: "READDIRPLUS by entry", unit: "entry", proc: procReadDirPlus, next: nextList, check: checkGrowing}),
	}
	for _, size := range d.sizes {
		if err := layDirectory(dir, o.share, sizedDir(size), 0, size); err != nil {
			return err
		}
	}
	fmt.Fprintf(progress, "directories of %d to %d entries are laid out\n", d.sizes[0], o.entries)
	p, err := o.serveOver(dir, o.share)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	c, err := dial(p.addr)
	if err != nil {
		return err
	}
	defer c.Close()
	root, err := p.mount()
	if err != nil {
		return err
	}
	listed, held := column{head: "first listing, s"}, column{head: "memory, MiB"}
	for _, size := range d.sizes {
		handle, err := lookup1(c, root, sizedDir(size))
		if err != nil {
			return err
		}
		begin := time.Now()
		files, err := listAll(c, handle, 0, size, max(1, size/entriesSample))
		if err != nil {
			return fmt.Errorf("%s: %w", sizedDir(size), err)
		}
		listed.cells = append(listed.cells, fmt.Sprintf("%.3f", time.Since(begin).Seconds()))
		if err := quiet(p); err != nil {
			return err
		}
		rss, err := memory(p.pid())
		if err != nil {
			return err
		}
		held.cells = append(held.cells, mebibytes(rss))
		big := object{name: sizedDir(size), handle: handle}
		d.peers = append(d.peers, p.sized(size, &site{root: root, hits: big, list: big, churn: big, files: files, least: size}))
		fmt.Fprintf(progress, "a directory of %d entries is listed\n", size)
	}
	d.extra = []column{listed, held}
	done(d)
	return nil
}

func sizedDir(size int) string { return fmt.Sprintf("directory-%d", size) }

// checkGrowing demands that a listing has at least the names that were there before names came and went.
func checkGrowing(c *caller, s *call, r *reader) error {
	entries, eof, err := s.page(r, nil)
	c.units += entries
	if err == nil && eof {
		if s.listed < c.least {
			err = fmt.Errorf("a listing of %d names, at least %d are there", s.listed, c.least)
		}
		s.rewind()
	}
	return err
}
