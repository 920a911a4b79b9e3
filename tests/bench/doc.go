// Command bench measures what a call costs the server: CPU time, rate and latency of
// NFSv3 procedures, beside a bare RPC echo and stock go-nfs in the same run.
//
//	go run ./tests/bench                       everything, about seven minutes
//	go run ./tests/bench -ops GETATTR,LOOKUP -peers echo,sheaf-8 -conns 1 -outstanding 32
//	go run ./tests/bench -peers '' -creates 1,8,32
//	go run ./tests/bench -beside                 nfs-ganesha, mergerfs and unfs3 beside us, below
//	go run ./tests/bench -abuse                  a client that floods beside others, below
//	go run ./tests/bench -lookups                the experiment with an include path, below
//	go run ./tests/bench -growth -rounds 3       as directories, files, volumes and clients grow, below
//
// # Peers
//
//	echo       reads a record, answers what NULL would (READ: so many bytes): the floor of
//	           any Go server that moves these bytes
//	go-nfs     stock go-nfs over a host directory, as durable as we are: a written file is
//	           synced when it is closed, a changed directory after the change; so all its
//	           WRITEs are FILE_SYNC, as it says they are
//	gonfs-1    sheaf serve --engine go-nfs over 1 volume; its WRITEs are as durable as
//	           nfsd/gonfs makes them
//	sheaf-1    sheaf serve over 1 volume
//	sheaf-8    sheaf serve over 8 volumes
//
// Every peer is a child process of its own; all live through the whole run, and each
// round gives every procedure to every peer in turn, in a changing order, so that what disturbs
// the machine disturbs all. Numbers from two runs are not to be compared:
// the ratios within one are the result.
//
// # Load
//
// Each of -conns connections keeps -outstanding calls in flight in a closed loop. Requests
// that become due while replies are waiting go out together, as a busy client's do. A
// phase ends after -time or -count calls, whichever is first. REMOVE has its rounds when everything
// else has had them, with an equal share of the names in each.
//
// CPU is the process clock of the child (user and system time of all its threads, in
// nanoseconds) from before the first call to after the last reply. What the kernel
// does for it later (write-back, journal) is not in it.
//
// Every reply is checked: status, identity, data, completeness of listings; written data is
// read back. A check that fails fails the run, and its cell says why.
//
// # Beside the servers of others
//
// -beside (make bench-peers) measures what a user would pick instead, as Debian ships it: nfs-ganesha over one directory,
// mergerfs over eight under a Ganesha of its own (tests/bench/peers tells how they are set), unfs3 if unfsd is on the PATH, stock
// go-nfs, the echo, and Sheaf over 1 and 8 volumes, all on one disk. Root installs packages that are missing with apt-get,
// without their services being started; who cannot be had is left out by name. As root all runs in namespaces
// of its own for processes and mounts, so that nothing is left behind however it ends.
//
// What changes no names is measured as above, all servers alive. What makes and removes names is measured of each
// server by itself: a Sheaf watches the file system that its volumes lie on, and would be told of what the others do there, at
// the cost of both. Flushes are counted under strace in a round of their own, which is not timed. REMOVE and RENAME
// are compared twice: of an async export with Ganesha, which flushes no directory, and of a sync one with the plain program
// (below), which makes the same system calls.
//
// On a machine that is busy otherwise the rates mean little: the kernel deals processors out to threads, and Ganesha has many; a Go server was
// seen to stall for 100 ms where it did not. Where sessions have a share each (sched(7), autogroup), nice does not help, but
// the session's own does: echo -20 >/proc/self/autogroup.
//
// # Growth
//
// -growth (make bench-growth) measures what calls cost, and what memory is held, as directories, files, volumes and connections
// grow; trees are laid out on the volumes before the server starts. All sizes of a table have their turn in each round, and whether the cost
// grows faster than the logarithm of the size is judged by the medians (slopeOf). A server that reads or writes its index in the background after much was new to it
// is waited for, for two minutes at most. It wants a quiet machine: what is older than trust is looked at once more when a measurement begins, of 1,000 files
// some 20 ms of CPU, which is nothing beside half a second of calls and all there is of a server that gets a twentieth of a processor. The largest sizes take an inode for each file: -growth-files=10000000 wants eleven million.
//
// # Pages
//
// With -page what is printed goes to a page of contrib/bench as well, under a head that says the command and the machine, and charts
// (tests/bench/chart) go beside it. A run in which anything failed leaves the page as it was; a goal that was missed is no failure.
//
// # Look-ups along an include path
//
// The experiment of "Extending GlusterFS with Python" (Linux Journal, 2013): files that are looked for by their names in one
// directory after the other until they are found, so that most answers are "not there" (-lookups, make bench-lookup). At the
// contract, without a server, the settings of lookups are compared over volumes that are quick and over volumes of which each
// operation takes 0.3 ms more: off asks all volumes at once each time; what is remembered is proved anew each second as in
// any share. A script, the article's cache, stands over off. At the wire one client looks includes up, one call after the other,
// and the average is compared with NULL's; then the server is started again, and asked the same at once. Last, names that
// nobody asked for before are looked up by several connections.
//
// # A client that floods
//
// What one client that floods leaves the others is measured by -abuse (abuse.go), on Linux: sixteen clients, each with an
// address and a connection of its own, are alike, and in turn fifteen of them have the server beside a process that floods
// it over a hundred connections from the sixteenth's address. The part of its rate that a client keeps is the result.
// Load generator, server and flood share the processors of one host, and are given more of them in this order: in truth clients
// have their own.
//
// # A volume that is away
//
// What a volume that hangs, or is pulled out, costs calls that do not need it is measured by -away
// (away_linux.go): its disk is made to hang (tests/disk), pulled out and left alone in turn, while each connection also has more
// calls for it under way than it may have in flight. It needs root and loop devices, and is left out without.
//
// # Creates beside a plain program
//
// What is durable waits for the disk, and what that costs is told by comparison with a program of ours
// without a server (plain.go): so many threads that make files by the system calls which
// the server makes for a CREATE, and flush the directory after each, in as many directories. Server and program have the
// disk in turn, each time in empty directories, with as many calls in flight as there are threads; the server is not even
// running while the program does. An echo in the same turn tells what the calls' way costs without them. The server
// says by itself how many flushes its callers asked for, and how many were made: of a directory one runs at
// a time, and all who come meanwhile share the next (vfs/volume/group). On an async export nothing is
// flushed: what is left is the cost of the protocol, which the plain program has not.
package main
