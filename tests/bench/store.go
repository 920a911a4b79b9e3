package main

import (
	"bytes"
	"fmt"
)

// storeOp is a small file as clients store one: CREATE, WRITE of 4 KiB unstable, COMMIT, one after the other. Files are
// counted, when they are committed; latencies are those of the calls.
func storeOp() op {
	return op{
		name: "CREATE+WRITE+COMMIT", proc: procCreate, unit: "files", next: nextStore, check: checkStore,
		begun:  func(s *call) bool { return s.step != 0 },
		procOf: func(s *call) uint32 { return []uint32{procCreate, procWrite, procCommit}[s.step] },
	}
}

// stored is a file that was committed: which part of the pattern it has.
type stored struct {
	handle  []byte
	variant uint8
	from    int
}

func nextStore(c *caller, s *call, b []byte) ([]byte, bool) {
	switch s.step {
	case 0:
		s.off = c.rnd.IntN(bigSize/block) * block
		return nextCreate(c, s, b)
	case 1:
		return writeArgs(b, s.object.handle, 0, unstable, data(c.variant, s.off, block)), true
	}
	return be.AppendUint32(be.AppendUint64(appendOpaque(b, s.object.handle), 0), 0), true // from 0 to the end
}

func checkStore(c *caller, s *call, r *reader) (err error) {
	switch s.step {
	case 0:
		if !r.status(nfsOK) || r.u32() != 1 {
			return fmt.Errorf("no handle of %s: %w", s.name, r.err)
		}
		s.object.handle = bytes.Clone(r.opaque())
		c.push(&c.made, s.name)
	case 1:
		s.verf, err = written(r, block, unstable)
	case 2:
		r.status(nfsOK)
		r.wcc()
		if verf := r.take(8); r.err == nil && !bytes.Equal(verf, s.verf[:]) {
			return fmt.Errorf("%s is committed under verifier %x, was written under %x", s.name, verf, s.verf)
		}
		c.stored = append(c.stored, stored{s.object.handle, c.variant, s.off})
		c.units++
		s.step = -1
	}
	s.step++
	if err != nil {
		return err
	}
	return r.err
}

// readStored reads files that were stored.
func readStored(p *peer, files []stored) error {
	c, err := dial(p.addr)
	if err != nil {
		return err
	}
	defer c.Close()
	for i, f := range files {
		r, err := c.call(progNFS, procRead, func(b []byte) []byte { return readArgs(b, f.handle, 0, block) })
		if err == nil {
			err = checkRead(&r, 0, block, data(f.variant, f.from, block))
		}
		if err != nil {
			return fmt.Errorf("read back stored file %d of %d: %w", i+1, len(files), err)
		}
	}
	return nil
}
