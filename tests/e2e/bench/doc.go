//go:build linux

// Command bench compares Sheaf with its peers through a real Linux NFS client: a guest mounts each server in
// turn, and does there what people do (make bench-guest).
//
//	go run ./tests/e2e/bench                          everything
//	go run ./tests/e2e/bench -only PHP,untar -rounds 5 -files 20000
//
// # Servers
//
//	ganesha          NFS-Ganesha over one directory (tests/bench/peers says how it is set up)
//	mergerfs         mergerfs over 8 directories under a Ganesha of its own
//	mergerfs-neg     the same with mergerfs' negative-entry cache (60 s)
//	sheaf-sync       sheaf serve over 8 volumes
//	sheaf-async      the same with an async export
//
// All live through the whole run, on one disk, and have the same files, spread over the eight directories. A
// server that is not installed is left out by name. Each round gives every workload to every server in turn, beginning with
// another each time; each workload begins with a fresh mount, so with nothing in the client's caches, unless it is called warm. All are
// mounted with the same options. What was done is checked after the time is taken, on another fresh mount where it could come
// from the client's memory.
//
// Ganesha flushes the data of a WRITE that says FILE_SYNC and of COMMIT, and no directory, so what it answered to CREATE, REMOVE and
// RENAME may be lost at a power cut. sheaf-async flushes on COMMIT alone; sheaf-sync whatever it has answered. Where names
// are made and removed sheaf-async is compared with Ganesha, and where data is written sheaf-sync.
//
// # PHP
//
// A page with 300 includes by their names alone, which lie in 20 directories of the include path: 2,850 names are looked for in
// vain. It is asked for at PHP's own web server, which runs all the time, so that PHP's start is in no figure; the page itself lies on the
// guest's own disk. opcache=0 compiles each include at each request. With opcache the server has compiled
// them before; it looks at each file again at each request (opcache.revalidate_freq=0), but not where it is. Cold is the first
// request after a fresh mount, warm the mean of those that follow.
//
// # What decides
//
// The guest is a user-mode Linux, which is slow at system calls and at packets, and the same to all servers. An empty call of the
// guest (NULL) shows how much: what a server is asked takes that long at least. The client counts its calls and the time until each
// answer (/proc/self/mountstats): what of that is more than as many empty calls is called the server's part of the time, with its
// disk's. (fio keeps 16 calls in flight, which wait for each other, too.)
// Where a third or more of the time with Ganesha is Ganesha's part, Sheaf is to be at least 1.2 times as fast (a server that takes half as
// long would be: 1/(1-1/6)); elsewhere never slower.
package main
