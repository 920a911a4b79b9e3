// Package rpc serves programs over ONC RPC version 2 (RFC 5531) on TCP. Nobody
// above it sees a byte of records, headers or credentials; a program is a table
// of procedures, each with a Handler that decodes arguments and appends a result.
//
// # Life of a connection
//
// A connection is one goroutine, the reader.
//
//	  accept (Server.start)
//	     │
//	     ▼        no record complete
//	┌─ loop ◄────────────────────────── read ── end of stream ──► drained ─► closed
//	│    │ record                        ▲ │                        ▲
//	│    ▼                               │ └─ Shutdown ──► drained, linger
//	│ dispatch ── inline ──► room/emit ──┤
//	│    │                               │ nothing to read: flush, shrink, wait
//	│    └─ park ──► pool ──► work ──► post ──► flusher
//	│         └─ runHere ──► room/emit; relieved: post, and another reads on
//	│
//	└─ bad framing, deadline, network error, Close: fail ──► closed
//
// The reader cuts the stream into records (recordReader), judges the header
// (header, credCache), asks the reply cache, and runs the handler itself, with
// NoWait, if the procedure is Inline. Replies gather in a buffer that is sent when
// no more input is there, or when enough has gathered. A call whose handler says
// Again, or whose procedure is not Inline, goes to a goroutine of the pool with
// its record; its reply is queued when it comes, in any order, and sent by
// whoever is sending, or by a flusher goroutine that lives as long as there is
// something to send. Where nobody waits for it the reader runs such a call, too (R13).
//
// # Invariants
//
//	R1  Stream. After bad framing (a record over MaxRecord, over maxFragments
//	    fragments, too short for a header, or not a call) nothing more is read
//	    and the connection closes. Everything else is answered as RFC 5531 §9
//	    says, and the stream goes on.
//	R2  Every call with a header is answered exactly once on the connection it
//	    came on, unless its handler says Drop, the connection fails first, or it
//	    is a retransmission of a call that still runs (R9). Replies may be out of
//	    order.
//	R3  Memory. No length on the wire is allocated before it is compared with a
//	    limit, and a record larger than the read buffer gets one of its own only
//	    when the read buffer is full of it. A connection that waits for a record
//	    holds no buffer, one that waits in the middle of a small one 1 KiB.
//	R4  Beside one read buffer and at most three reply buffers (readSize each; one
//	    that gathers, maxLoose on their way) every buffer of a connection is
//	    counted in its bytes in flight and in the server's, from before it is
//	    taken until it is given back.
//	R5  Only readers wait for bytes in flight, once per call or record and before
//	    the call holds any. What a call needs later is counted without waiting:
//	    nobody waits for bytes while holding bytes that only he gives back, so
//	    there is no deadlock, and the excess is one call per connection.
//	    Of calls that need a worker there are so many in flight per connection, client and server.
//	    Connection, client and server are asked in this order, and calls before bytes; who holds bytes does
//	    not wait for a place among the client's calls or the server's.
//	    The clients that hold least are served first, then their connections that do, and who holds any while
//	    others wait has an eighth of RecordTimeout and WriteTimeout. Large records
//	    under way have half of the server's bytes at most, so that who ends none
//	    holds up large records and nothing else.
//	R6  Nobody but the reader and the flusher waits for a client. A worker queues its
//	    reply and takes the next call, so a client that does not read holds up its
//	    own connection only, and that until WriteTimeout.
//	R7  A connection counts, against MaxConns and for Shutdown, until its last
//	    call has ended, also when its socket is closed before: a client cannot get
//	    more calls in flight by hanging up.
//	R8  Half-closed. The end of the client's stream stops reading and nothing
//	    else: what was received is run, answered and sent, then we close.
//	R9  Reply cache. A call of a Cached procedure runs once per client address,
//	    xid, program, version, procedure, length, credential and checksum of its
//	    arguments, as long as its reply is kept. A retransmission that comes
//	    while the first run is under way is dropped if it comes on the same
//	    connection, since the reply will go there; on another connection of the
//	    client it waits, and the reply goes to both. (knfsd drops it, which costs a
//	    client that reconnected one timeout, 60 s on Linux.) An entry from
//	    another port matches only if its connection is gone, or its client has
//	    closed his end, also where that is not read yet (Linux, FreeBSD). Where the first run ends before it began, because its
//	    connection failed, the connection that waits is closed. Only results are
//	    kept, no errors of RPC, and none that the handler marked with NoKeep.
//	R10 Contexts. A handler's context is cancelled by Close. That of an
//	    Idempotent procedure is cancelled also when its connection fails; the end
//	    of the client's stream alone is no failure (R8).
//	R12 Set aside. A call that has run for longer than SlowAfter, since it waits for a disk
//	    or for who does, counts no more against its connection's calls and bytes,
//	    nor its goroutine against MaxWorkers, until it ends. All of these are bounded by MaxSlow and a
//	    quarter of MaxBytes, and a client's by what is left of these for others; the server's bytes in flight keep counting them (R4).
//	    Where there is no room for more, who crowds his connection, or himself or the server, with such
//	    calls is turned away before a further one begins, and what is
//	    answered inline goes on.
//	R13 Reader's own. The reader runs a call that may wait itself if no other of its connection
//	    is under way or received, or it brings little and those before it were brief and wait for no
//	    flush; not if its reply was announced to be large. After reliefTick to twice that in a call he is relieved:
//	    another goroutine reads on, and he ends with the call, which counts as a worker's meanwhile.
//	    A connection on which that happens, or input waited, hands its calls over for a while.
//	R14 Clients (client.go). An address is one client, however many connections it has. What there is to
//	    share goes to clients, not to whoever came first: at MaxConns the client with most connections gives way;
//	    workers are taken in turn, and those who have calls for them have an equal part of ClientWorkers each; bytes go
//	    to who holds least; places for calls set aside, the reply cache and lines of the log are not to be had by one
//	    alone. A client over a limit is not read (TCP tells it to wait), and is never answered an error for it.
//	R15 Turns (turns.go). While several clients call, one reader of each is at work, a turn of a few calls at a
//	    time, and between two turns whoever else has input goes first; if nobody has, turns are longer and readers more. A
//	    reader ends his turn before he waits for anything; one that stays at work for a tick of the sweeper counts no more.
//	R11 A panic in a handler ends its call with SYSTEM_ERR, and nothing else.
//
// # Locks
//
// Server.mu before output.mu. pool.mu, replyCache.mu, aside.mu, readers.mu, round.mu and budget.mu are leaves:
// nothing else is locked while they are held. No lock is held during I/O or while
// a handler runs; round.mu is while a byte is put into an empty pipe, and replyCache.mu is while the kernel is asked whether a client has left
// (hungUp), which does not wait.
package rpc
