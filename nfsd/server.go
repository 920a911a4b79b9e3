package nfsd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	nfs "github.com/willscott/go-nfs"

	"sheaf/nfsd/mount3"
	"sheaf/nfsd/rpc"
	"sheaf/vfs"
)

// progNFS is the number of the NFS program; its version here is 3 (RFC 1813 section 2.1).
const (
	progNFS = 100003
	versNFS = 3
)

// Defaults and bounds of Options.
const (
	DefaultIOMax  = 1 << 20  // bytes
	MinIOMax      = 4 << 10  // bytes
	MaxIOMax      = 16 << 20 // bytes
	DefaultDirMax = 64 << 10 // bytes
	MinDirMax     = 4 << 10  // bytes

	// ioGrain is what rtmax and wtmax are multiples of, in bytes: a page, so that
	// clients that cut to pages lose nothing.
	ioGrain = 4 << 10
	// headRoom is what a call or reply needs besides its payload, in bytes: RPC
	// header with the largest credential and verifier, handle, attributes.
	headRoom = 4 << 10
)

// Options configure a Server. Zero values of the limits mean the default.
type Options struct {
	// Exports are the directories served and to whom; nil means none.
	Exports *Exports
	// HandleKey is the share's secret that makes file handles unforgeable. It must
	// be the same at every start, or all handles that clients hold are BADHANDLE.
	HandleKey [32]byte
	// FSID is the fsid of every object (fattr3); constant for the share's life.
	FSID uint64
	// ReadMax is the largest READ, in bytes (rtmax and rtpref): a multiple of 4 KiB
	// from MinIOMax to MaxIOMax. Default DefaultIOMax. Larger requests are cut short.
	ReadMax uint32
	// WriteMax is the same for WRITE (wtmax and wtpref).
	WriteMax uint32
	// DirMax is the largest reply to READDIR and READDIRPLUS, in bytes (dtpref), at
	// least MinDirMax. Default DefaultDirMax. Larger requests are cut short.
	DirMax uint32
	// MaxMounts bounds the list of mounts that DUMP shows; the oldest entry of the client who has most goes
	// first. Default mount3.DefaultMaxMounts.
	MaxMounts int
	// ForceSquash, if set, is who every caller becomes, whatever the exports say: for
	// a server that can act only as itself.
	ForceSquash *Identity
	// Logger receives failures of the file system, refused mounts and what rpc
	// logs; nil means slog.Default.
	Logger *slog.Logger
	// RPC are the limits of the transport. Programs and Logger are set here; a zero
	// MaxRecord or MaxReply follows WriteMax and ReadMax, and a smaller MaxRecord is
	// refused.
	RPC rpc.Config
}

// Server serves a vfs.FS by NFS version 3 and MOUNT versions 1 to 3. Its methods
// are safe for concurrent use.
type Server struct {
	fs       vfs.FS
	key      handleKey
	fsid     uint64
	readMax  uint32
	writeMax uint32
	dirMax   uint32
	force    *Identity
	log      *slog.Logger
	quiet    logLimit
	names    *names

	rpc   *rpc.Server
	mount *mount3.Server

	table   atomic.Pointer[table]
	tableMu sync.Mutex // held while another table is made
	found   time.Time  // when missing directories were last looked for; under tableMu

	counts [numProcs]procCount
}

// New makes a Server for fs. It looks for the exported directories; one that is
// not there yet is served as soon as it is. Errors: a limit out of its bounds,
// the share's root cannot be read, two exports are one directory.
func New(ctx context.Context, fs vfs.FS, o Options) (*Server, error) {
	s := &Server{
		fs: fs, key: newHandleKey(o.HandleKey), fsid: o.FSID, force: o.ForceSquash,
		log: o.Logger, names: newNames(),
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	if err := s.setLimits(&o); err != nil {
		return nil, err
	}
	if o.Exports == nil {
		o.Exports = &Exports{}
	}
	if err := s.Reload(ctx, o.Exports); err != nil {
		return nil, err
	}
	s.mount = mount3.New(mountBackend{s}, o.MaxMounts, s.log)
	o.RPC.Logger = s.log
	o.RPC.Programs = []*rpc.Program{
		{Prog: progNFS, Name: "nfs", Versions: []rpc.Version{{Vers: versNFS, Procs: s.procs()}}},
		s.mount.Program(),
	}
	var err error
	s.rpc, err = rpc.NewServer(o.RPC)
	return s, err
}

// setLimits takes the limits from o and makes the transport's follow them.
func (s *Server) setLimits(o *Options) error {
	s.readMax, s.writeMax, s.dirMax = DefaultIOMax, DefaultIOMax, DefaultDirMax
	if o.ReadMax != 0 {
		s.readMax = o.ReadMax
	}
	if o.WriteMax != 0 {
		s.writeMax = o.WriteMax
	}
	if o.DirMax != 0 {
		s.dirMax = o.DirMax
	}
	for _, l := range []struct {
		name string
		n    uint32
	}{{"ReadMax", s.readMax}, {"WriteMax", s.writeMax}} {
		if l.n%ioGrain != 0 || l.n < MinIOMax || l.n > MaxIOMax {
			return fmt.Errorf("nfsd: %s of %d bytes: want a multiple of %d from %d to %d", l.name, l.n, ioGrain, MinIOMax, MaxIOMax)
		}
	}
	if s.dirMax < MinDirMax || s.dirMax > MaxIOMax {
		return fmt.Errorf("nfsd: DirMax of %d bytes: want %d to %d", s.dirMax, MinDirMax, MaxIOMax)
	}
	record := int(s.writeMax) + headRoom
	if o.RPC.MaxRecord == 0 {
		o.RPC.MaxRecord = record
	}
	if o.RPC.MaxRecord < record {
		return fmt.Errorf("nfsd: MaxRecord of %d bytes: a WRITE of WriteMax needs %d", o.RPC.MaxRecord, record)
	}
	if o.RPC.MaxReply == 0 {
		o.RPC.MaxReply = int(max(s.readMax, s.dirMax, mount3.ListMax)) + headRoom
	}
	return nil
}

// Serve accepts connections from l until Shutdown or until Accept fails for good,
// and returns why, never nil: rpc.ErrServerClosed after Shutdown. It may be called
// for several listeners, and closes l.
func (s *Server) Serve(l net.Listener) error { return s.rpc.Serve(l) }

// Shutdown stops accepting, lets the calls in flight finish, sends their replies
// and closes the connections. When ctx ends first it closes them at once and
// returns ctx's error.
func (s *Server) Shutdown(ctx context.Context) error { return s.rpc.Shutdown(ctx) }

// Reload replaces the exports. Calls that have begun keep the old rules; the next
// call of a client that lost its right is answered ACCES, or STALE if the whole
// export is gone. On an error the old exports stay.
func (s *Server) Reload(ctx context.Context, x *Exports) error {
	s.tableMu.Lock()
	defer s.tableMu.Unlock()
	t, err := s.replace(ctx, x)
	if err != nil {
		return err
	}
	for _, n := range x.Notes {
		s.log.Info("an option of the exports has no effect", "why", n)
	}
	for _, r := range t.roots {
		if r.err != nil {
			s.log.Warn("an exported directory cannot be used yet; it is looked for again when it is asked for",
				"path", r.export.Path, "err", r.err)
		}
	}
	return nil
}

// Stats is a snapshot of what the server did.
type Stats struct {
	RPC    rpc.Stats
	Procs  []ProcStats    // every procedure of NFS version 3, by number
	Mounts []mount3.Mount // what clients said they have mounted, oldest first
}

// ProcStats counts the calls of one procedure since the start.
type ProcStats struct {
	Name   string
	Calls  uint64 // answered by the file system; replies from the reply cache are not here
	Errors uint64 // of these, with another status than NFS3_OK
}

type procCount struct{ calls, errors atomic.Uint64 }

// Stats returns a snapshot of the counters.
func (s *Server) Stats() Stats {
	st := Stats{RPC: s.rpc.Stats(), Mounts: s.mount.Mounts()}
	for p := range s.counts {
		st.Procs = append(st.Procs, ProcStats{
			Name: procNames[p], Calls: s.counts[p].calls.Load(), Errors: s.counts[p].errors.Load(),
		})
	}
	return st
}

// ClientStats is a snapshot of one client.
type ClientStats struct {
	rpc.ClientStats
	Mounts []string // what it said it has mounted, oldest first
}

// Clients returns a snapshot of the clients that are known, those with most calls first.
func (s *Server) Clients() []ClientStats {
	mounts := make(map[netip.Addr][]string)
	for _, m := range s.mount.Mounts() {
		key := rpc.ClientAddr(m.Client)
		mounts[key] = append(mounts[key], m.Dir)
	}
	known := s.rpc.Clients()
	all := make([]ClientStats, len(known))
	for i, c := range known {
		all[i] = ClientStats{ClientStats: c, Mounts: mounts[c.Addr]}
	}
	return all
}

// ExportPath is the path of the export that vfs.Who.Export names, empty if there is none.
func (s *Server) ExportPath(id uint64) string {
	if r := s.table.Load().byID[id]; r != nil {
		return r.export.Path
	}
	return ""
}

// code is the wire status for err of call c, which it counts and, where it is the
// server's own trouble, logs. A call that the client is to repeat is not kept in
// the reply cache.
func (s *Server) code(c *rpc.Call, err error) uint32 {
	if err == nil {
		return uint32(nfs.NFSStatusOk)
	}
	s.counts[c.Proc].errors.Add(1)
	st := vfs.StatusOf(err)
	code := wireStatus(c.Proc, st)
	switch {
	case code == uint32(nfs.NFSStatusJukebox):
		c.NoKeep()
	case st == vfs.IO, code == uint32(nfs.NFSStatusServerFault):
		s.logFailure(c, err)
	}
	return code
}

// again reports whether err says that c must be run by a worker.
func again(c *rpc.Call, err error) bool {
	return c.NoWait && err != nil && vfs.StatusOf(err) == vfs.Again
}

// logFailure logs what the file system could not do. What is not news is told only to
// who wants to hear everything.
func (s *Server) logFailure(c *rpc.Call, err error) {
	if errors.Is(err, context.Canceled) { // the client went away
		return
	}
	if vfs.Announced(err) {
		s.log.Debug("a call failed", "op", procNames[c.Proc], "client", c.Client.Addr(), "xid", c.XID, "err", err)
		return
	}
	suppressed, ok := s.quiet.take(time.Now())
	if !ok {
		return
	}
	s.log.Warn("a call failed", "op", procNames[c.Proc], "client", c.Client.Addr(), "xid", c.XID, "err", err,
		"suppressed", suppressed)
}

// logLimit bounds failures logged to logBurst at once and logRate a second after
// that: a dead disk under a busy client would fill the log.
type logLimit struct {
	mu         sync.Mutex
	tokens     float64
	last       time.Time
	suppressed int
}

const (
	logBurst = 20
	logRate  = 2 // lines a second
)

// take reports whether a line may be logged at now, and how many were not since
// the last that was.
func (l *logLimit) take(now time.Time) (suppressed int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last.IsZero() {
		l.tokens = logBurst
	} else {
		l.tokens = math.Min(logBurst, l.tokens+logRate*now.Sub(l.last).Seconds())
	}
	l.last = now
	if l.tokens < 1 {
		l.suppressed++
		return 0, false
	}
	l.tokens--
	suppressed, l.suppressed = l.suppressed, 0
	return suppressed, true
}
