package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
)

const (
	hitNames = 1000     // files in the directory that is looked up and listed
	bigSize  = 16 << 20 // bytes of the files that are read and written
	payload  = 1 << 20  // bytes of the largest READ and WRITE
)

// Data is written in variants, so that what a write has changed can be told: byte i of
// variant v is pattern[i+v*variantStep].
const (
	variants    = 8
	variantStep = 64
	block       = 4 << 10 // bytes whose variant is remembered
)

var pattern = sync.OnceValue(func() []byte {
	b := make([]byte, bigSize+variants*variantStep)
	src := rand.New(rand.NewPCG(1, 2))
	for i := 0; i < len(b); i += 8 {
		be.PutUint64(b[i:], src.Uint64())
	}
	return b
})

// data is n bytes of a variant at an offset.
func data(variant uint8, off, n int) []byte {
	at := off + int(variant)*variantStep
	return pattern()[at : at+n]
}

// object is a file the calls go to.
type object struct {
	name   string
	handle []byte
	fileid uint64
}

// target is a file of bigSize bytes, with the variant of each block.
type target struct {
	object
	blocks []uint8
}

// site is what the calls of a run find on a server.
type site struct {
	echo    bool // answers everything alike: nothing is there
	root    []byte
	hits    object // directory of hitNames files
	files   []object
	list    object   // directory that is listed: hits, or one that was laid out before the server began
	listed  int      // names in it, from "name-0…0" on
	dirs    [][]byte // of a tree (growth_files.go): the directory that each of files lies in
	least   int      // names that hits has at least, where others come and go in it
	churn   object   // directory in which names come and go
	big     object   // bigSize bytes of variant 0
	targets []target // to be written, one per connection
	variant uint8    // that writes of this phase put

	missed atomic.Uint64 // names that were asked for in vain, each once

	mu      sync.Mutex
	made    []string // names in churn, waiting to be renamed
	renamed []string // waiting to be removed
	serial  int      // for names never used before
}

// fresh is a name that nobody has asked for.
func (s *site) fresh(prefix string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serial++
	return fmt.Sprintf("%s-%08d", prefix, s.serial)
}

// pop takes a name from the first of lists that has one.
func (s *site) pop(lists ...*[]string) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range lists {
		if n := len(*l); n > 0 {
			name := (*l)[n-1]
			*l = (*l)[:n-1]
			return name, true
		}
	}
	return "", false
}

// left is how many names there are to remove.
func (s *site) left() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.made) + len(s.renamed)
}

func (s *site) push(list *[]string, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*list = append(*list, name)
}

// echoSite is the site of the echo: handles as long as a real server's, so that
// requests are as long.
func echoSite(conns int) *site {
	o := object{"echo", make([]byte, 60), 1}
	s := &site{echo: true, root: o.handle, hits: o, list: o, listed: hitNames, churn: o, big: o}
	for range hitNames {
		s.files = append(s.files, o)
	}
	for range conns {
		s.targets = append(s.targets, target{o, make([]uint8, bigSize/block)})
	}
	return s
}

// newSite mounts a server and makes what the calls need.
func newSite(p *peer, conns int) (*site, error) {
	s := &site{}
	var err error
	if s.root, err = p.mount(); err != nil {
		return nil, err
	}
	c, err := dial(p.addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if s.hits, err = make1(c, s.root, "hits", true); err != nil {
		return nil, err
	}
	s.list, s.listed = s.hits, hitNames
	if p.laid > 0 {
		s.listed = p.laid
		if s.list.handle, err = lookup1(c, s.root, laidName); err != nil {
			return nil, err
		}
	}
	if s.churn, err = make1(c, s.root, "churn", true); err != nil {
		return nil, err
	}
	for i := range hitNames {
		o, err := make1(c, s.hits.handle, fmt.Sprintf("name-%04d", i), false)
		if err != nil {
			return nil, err
		}
		s.files = append(s.files, o)
	}
	if s.big, err = filled(c, s.root, "big"); err != nil {
		return nil, err
	}
	for i := range conns {
		o, err := filled(c, s.root, fmt.Sprintf("target-%d", i))
		if err != nil {
			return nil, err
		}
		s.targets = append(s.targets, target{o, make([]uint8, bigSize/block)})
	}
	return s, nil
}

// mount asks for the handle of what the peer exports.
func (p *peer) mount() ([]byte, error) {
	at, export := p.addr, "/"
	if p.mountAddr != "" {
		at, export = p.mountAddr, p.export
	}
	c, err := dial(at)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	r, err := c.call(progMount, procMnt, func(b []byte) []byte { return appendOpaque(b, []byte(export)) })
	if err == nil {
		r.status(nfsOK)
		root := bytes.Clone(r.opaque())
		if err = r.err; err == nil {
			return root, nil
		}
	}
	return nil, fmt.Errorf("MNT of %s: %w", export, err)
}

// lookup1 is the handle of a name that is there.
func lookup1(c *conn, dir []byte, name string) ([]byte, error) {
	r, err := c.call(progNFS, procLookup, func(b []byte) []byte { return appendName(b, dir, name) })
	if err == nil {
		r.status(nfsOK)
		handle := bytes.Clone(r.opaque())
		if err = r.err; err == nil {
			return handle, nil
		}
	}
	return nil, fmt.Errorf("LOOKUP of %s: %w", name, err)
}

// make1 makes a file or directory and looks at it.
func make1(c *conn, dir []byte, name string, directory bool) (object, error) {
	proc, args := uint32(procCreate), func(b []byte) []byte {
		return sattr(be.AppendUint32(appendName(b, dir, name), createGuarded), 0o644)
	}
	if directory {
		proc, args = procMkdir, func(b []byte) []byte { return sattr(appendName(b, dir, name), 0o755) }
	}
	o := object{name: name}
	r, err := c.call(progNFS, proc, args)
	if err == nil && r.status(nfsOK) && r.u32() == 1 {
		o.handle = bytes.Clone(r.opaque())
	}
	if err == nil && r.err == nil {
		r, err = c.call(progNFS, procGetAttr, func(b []byte) []byte { return appendOpaque(b, o.handle) })
	}
	if err == nil && r.status(nfsOK) {
		o.fileid = r.attr().fileid
	}
	if err = errors.Join(err, r.err); err != nil {
		return o, fmt.Errorf("make %s: %w", name, err)
	}
	return o, nil
}

// filled makes a file of variant 0.
func filled(c *conn, dir []byte, name string) (object, error) {
	o, err := make1(c, dir, name, false)
	for off := 0; off < bigSize && err == nil; off += payload {
		var r reader
		r, err = c.call(progNFS, procWrite, func(b []byte) []byte {
			return writeArgs(b, o.handle, off, fileSync, data(0, off, payload))
		})
		if err == nil {
			err = checkWritten(&r, payload, fileSync)
		}
	}
	if err != nil {
		return o, fmt.Errorf("fill %s: %w", name, err)
	}
	return o, nil
}
