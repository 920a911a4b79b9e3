package rpc

import (
	"bytes"
	"hash/maphash"
	"net/netip"
	"sync"
	"sync/atomic"
)

// peer is one connection's client as the reply cache remembers it, after the
// connection as well.
type peer struct {
	addr netip.AddrPort
	conn atomic.Pointer[conn] // nil: no more calls come from the connection
}

// gone reports whether no more calls come from the connection.
func (p *peer) gone() bool {
	c := p.conn.Load()
	return c == nil || c.hungUp()
}

// cacheKey tells calls apart. The port is not part of it: see match.
type cacheKey struct {
	addr             netip.Addr
	xid              uint32
	prog, vers, proc uint32
	length           int    // of the arguments, bytes
	cred             uint64 // hash of flavor and credential
	sum              uint64 // hash of the arguments
}

// sumPart is how much of either end of long arguments the checksum covers, in
// bytes. knfsd looks at the first 256 bytes only; all of a 1 MiB WRITE would
// cost as much again as receiving it.
const sumPart = 2048

// sumArgs returns the 64-bit checksum of a call's arguments.
func sumArgs(seed maphash.Seed, args []byte) uint64 {
	if len(args) <= 2*sumPart {
		return maphash.Bytes(seed, args)
	}
	return maphash.Bytes(seed, args[:sumPart]) ^ 31*maphash.Bytes(seed, args[len(args)-sumPart:])
}

// entryCost is the memory of a cache entry without its reply, in bytes.
const entryCost = 256

// cacheEntry is one call. Until it is done it belongs to whoever runs the call.
type cacheEntry struct {
	key    cacheKey
	peer   *peer
	done   bool
	reply  []byte // record mark and reply; valid once done
	waiter *conn  // another connection of the client that waits for the reply

	chain      *cacheEntry // next entry of the same key
	of         *client     // whose call it is
	prev, next *cacheEntry // the client's done entries, oldest first
}

// replyCache is the duplicate request cache: it makes a retransmission of a call
// that must not run twice get the first run's reply. Entries of calls that run
// are never evicted, there are at most as many as calls in flight; when the memory of replies
// exceeds the limit the oldest go of a client who has more than the average: one that floods drives out
// its own.
type replyCache struct {
	mu    sync.Mutex
	limit int64
	used  int64
	seed  maphash.Seed
	calls map[cacheKey]*cacheEntry
	kept  int64     // of used, by replies
	have  []*client // who have replies here, in any order
	most  *client   // one of them who has more than the average, as far as is known
}

// keptCalls are the replies of one client. Guarded by replyCache.mu.
type keptCalls struct {
	used int64      // bytes
	ring cacheEntry // sentinel of the ring of done entries; linked to itself while the client is in have
	at   int        // in have
}

func newReplyCache(limit int64) *replyCache {
	return &replyCache{limit: limit, seed: maphash.MakeSeed(), calls: make(map[cacheKey]*cacheEntry)}
}

// match reports whether a call by p may be a retransmission of e's. A client
// that reconnects normally keeps its port. From another port it can be the same
// client only if the first connection is gone; while both live they are two
// clients behind one address (two kernels behind a NAT, two processes of a user
// space client), whose transaction ids may coincide.
func (e *cacheEntry) match(p *peer) bool {
	return e.peer == p || e.peer.addr.Port() == p.addr.Port() || e.peer.gone()
}

// cacheAnswer is what to do with a call.
type cacheAnswer uint8

const (
	cacheRun    cacheAnswer = iota // new: run it, then call finish
	cacheReplay                    // send the reply
	cacheDrop                      // it is running, and its reply will come on this connection
	cacheWait                      // it is running: finish will name this connection
)

// begin looks the call up. With cacheRun the entry is the caller's; with
// cacheReplay reply is the first run's, not to be changed. With cacheWait c is
// now the entry's waiter, and displaced, if any, waits no more: of the client's
// connections only the newest matters.
func (rc *replyCache) begin(key cacheKey, c *conn) (e *cacheEntry, answer cacheAnswer, reply []byte, displaced *conn) {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	for e = rc.calls[key]; e != nil; e = e.chain {
		if !e.match(c.peer) {
			continue
		}
		if e.done {
			e.peer = c.peer
			return nil, cacheReplay, e.reply, nil
		}
		if e.peer == c.peer || e.waiter == c {
			return nil, cacheDrop, nil, nil
		}
		displaced, e.waiter = e.waiter, c
		return nil, cacheWait, nil, displaced
	}
	e = &cacheEntry{key: key, peer: c.peer, of: c.cl, chain: rc.calls[key]}
	rc.calls[key] = e
	rc.used += entryCost
	return e, cacheRun, nil, nil
}

// finish ends the entry's call. The reply, with its record mark, is copied if it
// is to be kept; a reply of more than a sixteenth of the cache never is. It
// returns the connection that waits for the reply.
func (rc *replyCache) finish(e *cacheEntry, reply []byte, keep bool) (waiter *conn) {
	cost := int64(len(reply))
	if keep = keep && len(reply) > 0 && cost <= rc.limit/16; keep {
		reply = bytes.Clone(reply)
	}
	rc.mu.Lock()
	defer rc.mu.Unlock()
	waiter, e.waiter = e.waiter, nil
	if !keep {
		rc.forget(e)
		return waiter
	}
	if waiter != nil {
		e.peer = waiter.peer
	}
	e.done, e.reply = true, reply
	rc.used += cost
	rc.keep(e)
	for rc.used > rc.limit && len(rc.have) > 0 {
		rc.forget(rc.most.kept.ring.next)
	}
	return waiter
}

// keep appends a done entry to those of its client. mu is held.
func (rc *replyCache) keep(e *cacheEntry) {
	k := &e.of.kept
	if k.used == 0 {
		k.ring.next, k.ring.prev = &k.ring, &k.ring
		k.at = len(rc.have)
		rc.have = append(rc.have, e.of)
	}
	e.prev, e.next = k.ring.prev, &k.ring
	e.prev.next, e.next.prev = e, e
	cost := entryCost + int64(len(e.reply))
	k.used += cost
	rc.kept += cost
	if rc.most == nil || k.used > rc.most.kept.used {
		rc.most = e.of
	}
}

// unkeep takes an entry from those of its client. mu is held.
func (rc *replyCache) unkeep(e *cacheEntry) {
	e.prev.next, e.next.prev = e.next, e.prev
	k := &e.of.kept
	cost := entryCost + int64(len(e.reply))
	k.used -= cost
	rc.kept -= cost
	if k.used == 0 {
		last := rc.have[len(rc.have)-1]
		rc.have[k.at], last.kept.at = last, k.at
		rc.have[len(rc.have)-1] = nil
		rc.have = rc.have[:len(rc.have)-1]
	}
	// Who has more than the average is found by looking at all, but only after as many replies
	// of the last one as made him sink below it.
	if rc.most == e.of && k.used*int64(len(rc.have)) < rc.kept || len(rc.have) == 0 {
		rc.most = nil
		for _, cl := range rc.have {
			if rc.most == nil || cl.kept.used > rc.most.kept.used {
				rc.most = cl
			}
		}
	}
}

// forget removes e. mu is held.
func (rc *replyCache) forget(e *cacheEntry) {
	rc.used -= entryCost + int64(len(e.reply))
	if e.done {
		rc.unkeep(e)
	}
	if first := rc.calls[e.key]; first != e {
		for first.chain != e {
			first = first.chain
		}
		first.chain = e.chain
	} else if e.chain != nil {
		rc.calls[e.key] = e.chain
	} else {
		delete(rc.calls, e.key)
	}
}
