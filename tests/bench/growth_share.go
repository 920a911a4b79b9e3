package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
)

const volumesSays = "A share of so many volumes, all directories of one disk; directories have a copy on each volume, files lie on one. READDIRPLUS is of a directory of 1,000 files.\n\n" +
	"What is asked by handle goes to the one volume that has the file, and a directory that is known completely answers look-ups from memory, for however many volumes. What changes a directory is made on one\n" +
	"volume, whose copy is flushed; the others' copies are left alone. Calls that come together share a flush only if they changed the same copy, so that with more volumes each has nearer to one flush of its own, which\n" +
	"is what makes CREATE and REMOVE dearer, and is the most there is. All shares of the table are alive, and each is told of what changes on the disk they lie on. Memory grows with the descriptors, watches and workers of each volume."

// volumesGoal is the most that a call that concerns one volume may cost on 8 volumes, as a multiple of what it costs on one.
const volumesGoal = 1.15

// ofOneVolume are the procedures that volumesGoal is about: those by handle, and look-ups.
var ofOneVolume = []string{"GETATTR", "ACCESS", "LOOKUP hit", "LOOKUP miss", "READ 4K", "WRITE 4K unstable"}

// growVolumes measures shares of more and more volumes.
func (o *options) growVolumes(dir string, progress io.Writer, done func(*dimension)) (failed error) {
	d := &dimension{
		name: "volumes", title: "Volumes of a share", unit: "volumes", says: volumesSays, sizes: powers(2, 1, o.volumes),
		ops: named("GETATTR", "ACCESS", "LOOKUP hit", "LOOKUP miss", "READ 4K", "WRITE 4K unstable", "CREATE", "REMOVE", "READDIRPLUS"),
	}
	held := column{head: "memory, MiB"}
	for _, size := range d.sizes {
		p, err := o.serveOver(filepath.Join(dir, fmt.Sprint(size)), size)
		if err != nil {
			return err
		}
		defer func() { failed = errors.Join(failed, p.stop()) }()
		if p.site, err = newSite(p, o.conns); err != nil {
			return fmt.Errorf("%d volumes: %w\n%s", size, err, p.said)
		}
		if err := quiet(p); err != nil {
			return err
		}
		rss, err := memory(p.pid())
		if err != nil {
			return err
		}
		held.cells = append(held.cells, mebibytes(rss))
		d.peers = append(d.peers, p.sized(size, p.site))
	}
	fmt.Fprintf(progress, "shares of 1 to %d volumes are served\n", o.volumes)
	d.extra, d.more = []column{held}, (*dimension).factors
	done(d)
	return nil
}

// factors says what calls cost on 8 volumes, of what they cost on one.
func (d *dimension) factors(w io.Writer, t *table) {
	one, eight := slices.Index(d.sizes, 1), slices.Index(d.sizes, 8)
	if one < 0 || eight < 0 {
		return
	}
	fmt.Fprintf(w, "\n8 volumes beside 1, server CPU, at most × %.2f for calls by handle and look-ups:\n\n", volumesGoal)
	for _, o := range d.ops {
		a, b := t.at(o.name, d.peers[one].name), t.at(o.name, d.peers[eight].name)
		if len(a.cpu) == 0 || len(b.cpu) == 0 {
			continue
		}
		r := median(b.cpu) / median(a.cpu)
		fmt.Fprintf(w, "- %s: × %.2f", o.name, r)
		if slices.Contains(ofOneVolume, o.name) {
			fmt.Fprintf(w, ": %s", verdict(r <= volumesGoal))
		}
		fmt.Fprintln(w)
	}
}

const connsSays = "One share of 8 volumes; so many connections, each with one call in flight. Memory is by connection, of so many that have asked once and wait.\n\n" +
	"A single connection pays for a wake-up of the server with each call, and so for more CPU than many, whose calls are there already when the server looks; p50 grows since 1,000 clients wait for as many\n" +
	"processors as one. A connection that waits holds its goroutine and no buffer."

// growConns measures more and more clients.
func (o *options) growConns(dir string, progress io.Writer, done func(*dimension)) (err error) {
	d := &dimension{
		name: "connections", title: "Connections", unit: "connections", says: connsSays, sizes: powers(10, 1, o.clients),
		ops: named("NULL", "GETATTR", "LOOKUP hit", "READ 4K", "CREATE", "REMOVE"),
	}
	// Those of the last measurement may not all have been seen to be gone.
	p, err := o.serveOver(dir, o.share, "--connections", fmt.Sprint(2*o.clients+10))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	if p.site, err = newSite(p, 1); err != nil {
		return fmt.Errorf("%w\n%s", err, p.said)
	}
	if err := quiet(p); err != nil {
		return err
	}
	held := column{head: "KiB per connection"}
	c, err := dial(p.addr)
	if err != nil {
		return err
	}
	defer c.Close()
	for _, size := range d.sizes {
		churn, err := make1(c, p.site.root, fmt.Sprintf("churn-%d", size), true)
		if err != nil {
			return err
		}
		q := p.sized(size, &site{root: p.site.root, hits: p.site.hits, files: p.site.files, big: p.site.big, churn: churn})
		q.conns, q.outstanding = size, 1
		d.peers = append(d.peers, q)
		n, err := p.waiting(size)
		if err != nil {
			return err
		}
		held.cells = append(held.cells, fmt.Sprintf("%.1f", float64(n)/1024/float64(size)))
	}
	fmt.Fprintf(progress, "1 to %d connections were opened\n", o.clients)
	d.extra = []column{held}
	done(d)
	return nil
}

// waiting is how much memory so many connections take that have asked once.
func (p *peer) waiting(n int) (more int64, err error) {
	before, err := memory(p.pid())
	if err != nil {
		return 0, err
	}
	for range n {
		c, err := dial(p.addr)
		if err != nil {
			return 0, err
		}
		defer c.Close()
		r, err := c.call(progNFS, procGetAttr, func(b []byte) []byte { return appendOpaque(b, p.site.root) })
		if err == nil && !r.status(nfsOK) {
			err = r.err
		}
		if err != nil {
			return 0, err
		}
	}
	after, err := memory(p.pid())
	return max(0, after-before), err
}
