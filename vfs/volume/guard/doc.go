// Package guard is a decorator of a volume.Volume that may hang, fail, go and come back. Calls that
// hang do not take their callers with them, and while the volume is not well calls are refused
// at once, so that whoever does not need it does not wait for it.
//
// # States
//
//	Away ──▶ Online         attach: it was opened
//	Away ──▶ Away           stay: not yet
//	Online ──▶ Stalled      stall: a look or change has not come back for Options.StallAfter, and a probe did not pass
//	Stalled ──▶ Online      answers: such a call came back, or a probe passed
//	Online, Stalled ──▶ Slow   slow: a call or a probe is past its deadline, or a probe failed
//	Slow ──▶ Online         recover: a probe passed
//	all ──▶ Away            detach: it is not there any more (volume.ErrGone)
//
// Each of these functions puts a new gate (state.go) in place: one atomic pointer that a call looks
// at, with the State and the opening that may be used. All of them run under Volume.mu.
//
// An opening is what Options.Open returned. But for Away it stays the same and so do the Dirs
// and Files of it; Away ends it. Then they are refused for ever, except Close. Root
// and Private lead to whichever opening there is. What an opening holds (descriptors, its lock) is
// given up when the last call has left it, in the background.
//
// # Calls
//
// A read-only call is made by a worker of the opening while its caller waits. He is answered with
// volume.AwayError when it is late, or when its volume is not Online any more, or with the
// context's error when that ends; the call of the host goes on by itself, what it opens is
// closed, and what it reads goes nowhere. A Dir or File in which such a call is still under way is
// closed after it.
//
// A changing call and a flush are made by their caller, who is answered with what they did: that
// may be late, but it is the truth. Such a call that gets AwayError has not begun.
//
// File.ReadNow is made at once, and so is Stat of what is open where that never waits
// (volume.Caps.StatNow); ReadAt tries it first, since a worker cannot be given the caller's
// buffer. List gives its entries to the caller in batches, each with the deadline of a call.
// Close of a Dir or File is made in the background: it may wait, and who closes may be a
// call that evicts what another volume needs no more.
//
// A call is refused before it begins when its volume is not Online, when Options.Workers calls of
// its kind are with the host and Options.Waiting wait for a turn, and when it would have to
// wait behind a call that is older than 1/StuckPart of the deadline. If nothing of its kind has come back for as
// long, those that wait already are refused too; and while that is so of flushes, of which many may wait, no
// further changes begin. A flush is not refused for it: what it is to flush was begun. Stalled tells the union
// earlier, which then looks for other volumes.
//
// # Stalled
//
// A disk that hangs and one that wakes up cannot be told apart for some seconds. Meanwhile a volume is Stalled: who asks it what
// others may know as well is refused, and answered if he waits already; all have been told before, so he may do without the volume at
// once. All else goes on as if it were Online: data is waited for, changes are, and so is whatever is asked in the midst of a change, which
// a context tells that cannot end. Nobody is ever told IO for it. The first call that comes back after so long, or a probe that passes,
// makes it Online before the caller goes on; calls that still hang then are not held against it again until they are late.
// Flushes do not stall a volume: a disk may be busy with them and answer all else.
//
// # Probes
//
// Every Options.ProbeEvery Options.Present looks whether the directory still leads to the opening. That
// costs no access to the disk, which may sleep. While the volume is Slow or Stalled, or a call has been away for most of
// Options.StallAfter, and after BadMax failures as of hardware in a row, a file is also written, flushed and read in
// volume.PrivateName, because the host's memory answers for a disk that does not. While it is Away
// it is opened. Probes hang, too: see ProbesMax.
//
// # Order
//
// That a volume went is told to all who asked by Notify before it can be used again. Files written to
// and not synced are then known to have lost it.
//
// # With volume/group
//
// The guard stands around the decorator that shares flushes, guard(group(volume)), and each
// opening has a group of its own: a flush that hangs in a former opening must not keep those
// of the next, of the same directory and so the same key, waiting. A flush that waits for another's
// turn is counted with the kind flushes, of which there may be many, and has
// FlushDeadlines times the deadline.
//
// # What it costs
//
// See Benchmark: a changing call some 0.1 µs (a slot and four atomic counters), a read-only one two
// switches between goroutines.
//
// # Limits
//
// They are the constants of guard.go, each with its unit.
//
// # Locks
//
// Volume.mu, then news.mu; opening.reaper and watches.mu after Volume.mu, neither before anything.
// All are held for memory only.
package guard
