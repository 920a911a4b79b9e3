package rpc

import (
	"context"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"
)

// Verdict is what a Handler says about a call.
type Verdict uint8

const (
	// Done says that the returned bytes are the procedure's result (SUCCESS).
	Done Verdict = iota
	// Again says that the call had NoWait set and cannot be answered from memory. What
	// the handler appended is dropped and the call is run once more by a
	// worker, with NoWait off. Without NoWait it is a mistake of the handler
	// and answered as SystemErr.
	Again
	// GarbageArgs says that the arguments do not decode (GARBAGE_ARGS).
	GarbageArgs
	// SystemErr says that the server cannot answer, and the protocol of the program has
	// no error for it (SYSTEM_ERR). A panic in a handler is answered so too.
	SystemErr
	// TooWeak says that the program demands a stronger credential than the call carries
	// (AUTH_ERROR with AUTH_TOOWEAK).
	TooWeak
	// ProcUnavail says that the procedure does not exist (PROC_UNAVAIL). A Proc without
	// a Handler is answered so without being asked.
	ProcUnavail
	// Drop says that no reply is sent; the client will ask again.
	Drop
)

// Handler serves one procedure. It decodes c.Args, appends the encoded result
// to out and returns the longer slice with a Verdict; for every Verdict but
// Done the bytes are dropped.
//
// out is empty and usually lies in a buffer that other replies share: the
// handler only appends to it and does not keep it. A result of more than a few
// hundred bytes is announced with Call.Reserve.
//
// ctx is cancelled when the server is closed by force. For a Proc that is
// Idempotent it is cancelled also when the connection breaks, since nobody will
// read the reply; other calls are not cut by a disconnect: their client may
// come back on another connection and ask what became of them.
//
// A handler may be called again for the same call after Again, never twice at
// the same time for one Call, and concurrently for different Calls. A panic is
// logged with its stack and answered with SYSTEM_ERR.
type Handler func(ctx context.Context, c *Call, out []byte) ([]byte, Verdict)

// Proc is one procedure of a program's version.
type Proc struct {
	// Name is the procedure's name in its specification, for logs.
	Name string
	// Handler serves the procedure; nil means PROC_UNAVAIL.
	Handler Handler
	// Inline: the handler honours Call.NoWait. Such calls are tried on the
	// goroutine that reads the connection before a worker gets them. A handler
	// that waits although NoWait is set stalls its whole connection.
	Inline bool
	// Idempotent: running the call twice does no harm, and cutting it short
	// when its connection breaks neither.
	Idempotent bool
	// Cached: the call goes through the reply cache, so that a retransmission
	// is answered with the first reply instead of being run again.
	Cached bool
	// Busy appends the result that tells the client to come again later, of the call that was
	// not begun and has no Args any more: at most SmallReply bytes. It is asked for when calls that do not end crowd the connection
	// (Config.MaxSlow); nil: the connection is not read then.
	Busy func(c *Call, out []byte) []byte
	// ReplySize returns an upper bound, in bytes, of the result for these
	// arguments, which may be garbage. It is called before the handler and
	// reserved against the limits of bytes in flight; results of at most
	// SmallReply bytes need not be announced, and nil means that none is
	// larger. More than Config.MaxReply is reserved as MaxReply. A result that
	// outgrows its announcement is sent all the same, and counted late.
	ReplySize func(args []byte) int
}

// SmallReply is the size, in bytes, up to which a result is not counted
// separately against the limits of bytes in flight.
const SmallReply = 4096

// Version is one version of a program.
type Version struct {
	// Vers is the version number.
	Vers uint32
	// Procs holds the procedures; the index is the procedure number.
	Procs []Proc
}

// Program is one RPC program.
type Program struct {
	// Prog is the program number, for example 100003 for NFS.
	Prog uint32
	// Name is the program's name, for logs.
	Name string
	// Versions holds the versions served, in ascending order of Vers. A call
	// for another version is answered with PROG_MISMATCH and the lowest and
	// the highest of them.
	Versions []Version
}

// Flavors of credentials and verifiers (RFC 5531 §8.2).
const (
	AuthNone  uint32 = 0
	AuthSys   uint32 = 1
	AuthShort uint32 = 2
)

// Cred is a parsed credential. It is immutable but for Memo, is shared by all
// calls of one connection that carry the same bytes, and may be kept.
type Cred struct {
	// Flavor is AuthNone or AuthSys; no other flavor reaches a Handler. With
	// AuthNone the fields below, except Memo, are zero and mean nothing.
	Flavor uint32
	// UID and GID are the caller's effective ids as the client claims them.
	UID, GID uint32
	// GIDs are the supplementary groups, at most 16 (RFC 5531 appendix A). Not
	// to be changed.
	GIDs []uint32
	// Machine is the client's name for itself, at most 255 bytes, any bytes.
	Machine string
	// Memo is room for what the layer above derives from this credential for
	// this client, such as the squashed caller per export. It belongs to one
	// connection, therefore to one client address, and is forgotten with the
	// credential. Handlers of several calls use it at the same time.
	Memo atomic.Value
}

// Call is one call, valid until its Handler returns; Cred may be kept.
type Call struct {
	// XID is the client's transaction id.
	XID uint32
	// Prog, Vers and Proc say what is called; a Handler exists for them.
	Prog, Vers, Proc uint32
	// Client is the peer's address and port, an IPv4 address in its 4-byte form.
	// It is the zero AddrPort on listeners that are not TCP.
	Client netip.AddrPort
	// Cred is the caller's credential, never nil.
	Cred *Cred
	// Args are the encoded arguments, all bytes after the header. They lie in
	// the record's buffer: sub-slices, a WRITE's payload among them, are
	// valid until the Handler returns and are not to be written to.
	Args []byte
	// NoWait asks the Handler to answer from memory or to return Again.
	NoWait bool

	callState
}

// Reserve returns out with room for at least n more bytes, taking a pooled
// buffer if it must and copying what is in out. It is to append what slices.Grow
// is, without garbage: a READ reserves its payload, reads from the file into
// out[len(out):len(out)+n] and reslices. The next byte appended after
// Reserve of 4 KiB or more lies on a multiple of 64 bytes in memory if a buffer
// had to be taken. out must be what the Handler was given plus what it
// appended.
func (c *Call) Reserve(out []byte, n int) []byte { return c.reserve(out, n) }

// NoKeep keeps this call's reply out of the reply cache: the client is meant to
// repeat the call and to have it run again (NFS3ERR_JUKEBOX).
func (c *Call) NoKeep() { c.noKeep = true }

// Waits says that this call waits for a disk to flush, as a rule: others of its connection are to be run beside it, so that
// they share the flush.
func (c *Call) Waits() { c.waits = true }

// Config configures a Server. Zero values of the limits mean the default;
// defaults are documented at each field.
type Config struct {
	// Programs are the programs served. Not to be changed afterwards.
	Programs []*Program
	// Logger receives abuse (rate-limited) and panics; nil means slog.Default.
	Logger *slog.Logger

	// MaxRecord bounds a call with its header, in bytes. Default 1 MiB + 4 KiB:
	// a WRITE of wtmax and its header. A longer record closes the connection.
	MaxRecord int
	// MaxReply bounds what Proc.ReplySize may reserve, in bytes. Default
	// 1 MiB + 4 KiB.
	MaxReply int
	// MaxConns bounds connections. Default 1,000. At the limit a new one takes
	// the place of one whose client has more than the newcomer's would have then, or of the one whose
	// client has done nothing for longest (no call, no
	// more of a record, no reply taken), if that is EvictIdle and he has no fewer, and is closed at once
	// otherwise.
	MaxConns int
	// ClientConns bounds connections of one client, which is an IPv4 address or an IPv6 network of 64
	// bits. Default MaxConns. At the limit a new one takes the place of his that is idle longest, if that
	// is EvictIdle, and is closed at once otherwise.
	ClientConns int
	// MaxCalls bounds the calls in flight per connection. Default 128. At the
	// limit the connection is not read.
	MaxCalls int
	// ClientCalls bounds the calls in flight of one client, MaxAllCalls those of all, without those set aside
	// (SlowAfter). Defaults 2,048 and 16,384. At the limit no call that needs a worker is
	// read; who has least goes first. The bytes of a call that is there already may make it some more.
	ClientCalls, MaxAllCalls int
	// MaxConnBytes bounds bytes in flight per connection: large records, and
	// replies running or not yet sent. Default 32 MiB. At the limit the
	// connection is not read. One call is always admitted.
	MaxConnBytes int64
	// ClientBytes bounds bytes in flight of one client. Default half of MaxBytes. At the limit his connections
	// are not read, of which those that hold least go first. Large records that have not arrived completely have
	// half of it at most.
	ClientBytes int64
	// MaxBytes bounds bytes in flight of all connections. Default 256 MiB.
	// Beside them a connection with input or output in progress holds at most
	// one read buffer and three reply buffers of 72 KiB, an idle one none. Large
	// records that have not arrived completely have half of it at most. When it is
	// used up, the clients that hold least go first, and the timeouts below
	// are an eighth for those that hold any.
	MaxBytes int64
	// MaxWorkers bounds the goroutines that run calls which must wait. Default
	// 1,024; a reader that runs one itself counts after two to four milliseconds in it. They are started as needed and end when idle. Clients that
	// wait for one are served in turn, and of a client his connections.
	MaxWorkers int
	// ClientWorkers bounds those that run calls of one client. Default 256, or MaxWorkers. Clients that have
	// calls at the same time have an equal part of it each, one at least.
	ClientWorkers int
	// SlowAfter is how long a call may run until it is set aside: it does not count any
	// more against MaxCalls, MaxConnBytes and MaxWorkers, so that calls which wait for a
	// disk that hangs keep no others of their connection waiting. Default 250 ms.
	SlowAfter time.Duration
	// MaxSlow bounds the calls set aside, of all connections. Default 1,024; they hold a
	// quarter of MaxBytes at most. One client has as many as are left for others, at most: half of them if he is alone.
	// Calls that find no room stay where they are, and when they have
	// half of their connection's, client's or server's calls or bytes, further ones that need a worker are
	// answered by Proc.Busy.
	MaxSlow int
	// ReplyCache bounds the memory of the reply cache, in bytes. Default 16 MiB.
	ReplyCache int64

	// RecordTimeout bounds the time from a record's first byte to its last, and from the beginning
	// of a connection to its first record. Default 60 s.
	RecordTimeout time.Duration
	// WriteTimeout bounds the time in which a client must take the next
	// piece of at most 1 MiB of its replies. Default 60 s. After Shutdown it is an
	// eighth, for all the replies.
	WriteTimeout time.Duration
	// IdleTimeout is how long a connection may stay without a call and without
	// a reply under way. Default 6 min, as knfsd; Linux clients leave after 5.
	IdleTimeout time.Duration
	// EvictIdle is how long a connection's client must have done nothing before
	// it makes room for a new one at MaxConns. Default 10 s.
	EvictIdle time.Duration
}
