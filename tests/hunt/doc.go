// Package hunt looks for answers of a server that no order of events allows.
//
// Many clients make, remove, rename (also over other names), link, look up and list the same few names over the wire, while
// this process does the same with some of them directly on the volumes, volumes go and come, and the
// server is killed and started again, sometimes without its state directory. Every call is taken down with its
// interval and its outcome, and [Check] finds the answers that nothing explains.
//
// # What is checked
//
// Each name is a register that holds an object or nothing; an object is known by the size it was made with. A call
// reads the register and may write it, at one moment of its interval. What a client is told of a name must be
// what a write put there that was not certainly written over before the call began: by a change through the
// server that was over, or by one on the volumes that was over for longer than the bound, which is a
// second unwatched and what the clocks are coarse by. What somebody was told of a change is proof of it
// for all who ask later. JUKEBOX and IO are allowed only while a volume is away, or the server, or shortly
// after; a change that failed so may have been made, until all was there for a while.
//
// What is not checked: that both names of a rename change at one moment. vfstest.History does that.
//
// # Running it
//
// Every second round is calm: nothing goes away, and the bounds are strict. In a test run it takes some 20 seconds. make hunt HUNT=1h runs it for an hour; SHEAF_HUNT_SEED repeats its choices, not their
// times.
package hunt
