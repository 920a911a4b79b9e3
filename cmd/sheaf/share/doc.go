// Package share is the share as a Go API: what the commands of sheaf do, a
// program can do with it. It is the one place where the rooms are put together.
//
//	cfg := share.Defaults()
//	cfg.State, cfg.Volumes = "/var/lib/sheaf", []share.Volume{{Name: "a", Dir: "/srv/a"}}
//	s, err := share.Open(ctx, cfg, logger)   // checks everything, takes the locks, listens
//	go s.Serve()                             // until Shutdown
//	err = s.Shutdown(ctx)                    // finish what is in flight, flush, close
//
// # Words
//
//	setting     one named value of a [Config]; settings.go lists them all with
//	            unit, default and meaning, and nothing else does
//	member      a volume that the share's markers name
//	marker      .sheaf/volume.json of a volume: which volume, which share
//	adoption    the writing of a marker into a directory that has none
//	control     the socket of a running server, [ControlSocket] in its state
//	            directory
//
// # Who may open what
//
// Three locks keep two servers apart. All are released by the system when a
// process ends, however it ends.
//
//   - the state directory's lock file: the index has one owner;
//   - a lock under .sheaf/ of each volume, taken by whoever opens the volume;
//   - the control socket, which a server replaces only while it holds the
//     state directory's lock, so that a socket left by a killed server is no
//     obstacle and a living server's is never taken away.
//
// # Checks before anything is written
//
// [Open] refuses, in this order and with one sentence that says what to do: a
// [Config] that is not valid; directories that are missing, the same, or one
// inside another; a state directory inside a volume or a volume inside the
// state directory (the index would be listed in the share, change with every
// request, and be killed by the volume's being full, spikes §7); a directory
// without a marker unless adoption is asked for; a volume that another server
// has; a copy of a volume; two volumes with one id; volumes of two shares; a
// member that is not configured. Markers are written only after all of that, and
// after the address to listen on was taken and the index was opened.
package share
