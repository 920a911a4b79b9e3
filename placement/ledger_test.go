package placement

// What a caller who reserves would keep, for the simulation.

// Expect is what a directory's history says of the next file's size: a moving
// average of its last sizes, each weighing 1/expectShare. The zero Expect knows nothing.
type Expect struct {
	mean uint64
	some bool
}

// expectShare is the inverse weight of the newest size: about the last 16 files count.
const expectShare = 8

// Observe is e after a file of size bytes was finished.
func (e Expect) Observe(size uint64) Expect {
	if !e.some {
		return Expect{size, true}
	}
	return Expect{e.mean - e.mean/expectShare + size/expectShare, true}
}

// Size is the expected size, in bytes; 0 if nothing is known.
func (e Expect) Size() uint64 { return e.mean }

// Ledger keeps what was promised to files that are not written yet, by volume. The owner
// guards it by a lock of its own.
type Ledger struct {
	reserved []uint64 // bytes, by volume
}

// Promise is a reservation on one volume. The zero Promise is of nothing.
type Promise struct {
	Volume int
	Left   uint64 // bytes
}

// NewLedger is a ledger for so many volumes.
func NewLedger(volumes int) *Ledger { return &Ledger{make([]uint64, volumes)} }

// Reserve promises bytes on a volume.
func (l *Ledger) Reserve(volume int, bytes uint64) Promise {
	l.reserved[volume] += bytes
	return Promise{volume, bytes}
}

// Wrote notes that bytes of what p promised are on the volume and so in its
// statfs.
func (l *Ledger) Wrote(p *Promise, bytes uint64) {
	n := min(bytes, p.Left)
	p.Left -= n
	l.reserved[p.Volume] -= n
}

// Release gives back what is left of p: the file was closed, removed or
// has not been written for long.
func (l *Ledger) Release(p *Promise) { l.Wrote(p, p.Left) }

// Reserved is the bytes promised on a volume: Volume.Reserved.
func (l *Ledger) Reserved(volume int) uint64 { return l.reserved[volume] }
