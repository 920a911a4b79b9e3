// Package remote is an NFS version 3 client that implements vfs.FS, and the
// tests that hold whole servers to the contract through it: what vfstest asks of a
// file system in memory is asked here of a server at the other end of a TCP
// connection.
//
// It is an oracle: arguments and results are encoded and decoded here from the text of
// RFC 1813, nothing of nfsd's is used, and every reply is checked beyond what the
// caller asked. What breaks the protocol is a violation; [Client.Violations] lists
// them, and a test that found none of its own still fails for them:
//
//   - a result that is longer or shorter than its structure, an unknown enum, mode
//     bits beyond 07777, a billion nanoseconds
//   - a fileid of 0, an fsid that changes, attributes of another object than the one
//     asked for, one object with two handles or two objects with one
//   - a page longer than asked for, without entries, or with "." elsewhere than here
//   - a READ that gives neither data nor the end, a WRITE that takes nothing
//
// # Nodes
//
// A node's id is its fileid; handles are remembered beside it for the life of the
// Client, over restarts of the server too, and never asked for again. A node that
// no reply gave a handle for is Stale here.
//
// # What NFS version 3 cannot say
//
//   - Access control lists: GetACL finds none, SetACL is NotSupp.
//   - Parents: the whole share is walked for them, as the superuser.
//   - Subscribe: there is no news.
//   - NoWait and Async of a Who; who calls is its uid, gid and groups, by AUTH_SYS.
//   - Times before 1970 and after 2106: the nearest is sent.
//   - Attributes of an EXCLUSIVE creation: if its directory changed, they follow by a
//     SETATTR, as real clients do.
//   - A size in the creation of what is no file is not sent.
//   - Some statuses, which RFC 1813 does not allow a procedure: see restore.
//
// # A call
//
// It goes out on the next of the Client's connections. JUKEBOX is asked again with
// a new xid, a connection that ended is made again and the call repeated with its
// old xid, both until [Options.Patience] is over. A context that ends keeps a call from
// being sent, and does not end the waiting for its reply: what was sent may
// have happened.
//
// # Running the tests
//
// They take less than a minute together. Longer runs of the random programs:
// go test ./tests/remote -run Program -rapid.checks 2000; of the concurrent
// histories: -remote.rounds 200. The tests of the real binary build it first.
package remote
