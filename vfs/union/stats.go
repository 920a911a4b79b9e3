package union

import "sync/atomic"

// counters count what the union does.
type counters struct {
	hits, misses, asked           atomic.Int64
	refused, revalidated, evicted atomic.Int64
	lists, stats, syncs           atomic.Int64
	searches, scans               atomic.Int64
	unmarked, rowErrors           atomic.Int64
	recalls, revoked              atomic.Int64
	paged                         atomic.Int64
	data                          atomic.Int64 // reads and writes
}

// Stats is what the union has done since it was opened, and what it holds.
type Stats struct {
	Hits    int64 // look-ups answered from memory: present
	Misses  int64 // look-ups answered from memory: absent
	Asked   int64 // look-ups that memory did not answer
	Refused int64 // of these, what memory had of the name, or the directory, and did not believe any more
	// Revalidated are directories of which all that was known was believed again, because no copy's version had moved.
	Revalidated int64
	Evicted     int64 // nodes, with the names in them, and absences that went for others because memory is bounded
	Absences    int   // names kept in memory that are not there, of directories that are not completely known
	AbsenceRows int64 // of these in the index, when they were pruned last (each hour)
	Lists       int64 // copies of directories listed
	Recalls     int64 // directories whose names the index knew
	Paged       int64 // times that the names of a large directory were left to the index, but for those in use
	Revoked     int64 // waits for the index before a directory was changed that had rested
	Stats       int64 // objects asked for their attributes
	Syncs       int64 // flushes of files and directories
	Searches    int64 // objects looked for because they were not where they had been
	Scans       int64 // walks over whole volumes
	Unmarked    int64 // marks that could not be written
	RowErrors   int64 // rows the index did not take
	OpenFiles   int
	OpenDirs    int
	Nodes       int
	Memory      int64 // bytes for nodes, names and attributes, about
	Doubted     int64 // names that watches said to be looked at again
	Watches     []WatchStats
}

// Stats is the counters as they are now.
func (u *Union) Stats() Stats {
	c := &u.stats
	s := Stats{
		Hits: c.hits.Load(), Misses: c.misses.Load(), Asked: c.asked.Load(), Refused: c.refused.Load(), Revalidated: c.revalidated.Load(),
		Evicted: c.evicted.Load() + u.absences.lost.Load(), Absences: u.absences.count(), AbsenceRows: u.absences.rows.Load(), Lists: c.lists.Load(), Stats: c.stats.Load(),
		Syncs: c.syncs.Load(), Searches: c.searches.Load(), Scans: c.scans.Load(), Unmarked: c.unmarked.Load(),
		RowErrors: c.rowErrors.Load(), Recalls: c.recalls.Load(), Revoked: c.revoked.Load(), Paged: c.paged.Load(), Memory: u.memory.Load(),
	}
	for i := range u.table.shards {
		t := &u.table.shards[i]
		t.mu.Lock()
		s.Nodes += len(t.m)
		t.mu.Unlock()
	}
	u.files.mu.Lock()
	s.OpenFiles = len(u.files.ring)
	u.files.mu.Unlock()
	u.dirs.mu.Lock()
	s.OpenDirs = len(u.dirs.ring)
	u.dirs.mu.Unlock()
	s.Doubted = u.doubted.Load()
	for _, v := range u.members().vols {
		s.Watches = append(s.Watches, v.watch.stat())
	}
	return s
}
