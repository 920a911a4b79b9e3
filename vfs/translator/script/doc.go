// Package script is a layer that runs a Starlark file (go.starlark.net).
//
// A script defines functions with the names of RFC 1813's procedures, and those alone are called:
//
//	VERB(call)                   before the call is made below. It returns None to let it pass, a status or
//	                             answer(…) to answer it, or a result that it got from call.below
//	VERB_done(call, result)      after. It returns None to let the result stand, or another answer
//	readdir_entry(call, entry)   for each entry of a listing: False hides it
//	forget(event)                with news that did not come through here (vfs.Event)
//
// The verbs are getattr, setattr, lookup, access, readlink, read, write, create, mkdir, symlink, mknod, remove, rmdir,
// rename, link, readdir, fsstat, fsinfo, commit, getacl, setacl. The page contrib/translators/README.md says all that a
// script has.
//
// # What holds
//
//   - A verb without functions costs a look into an array; a script without functions is no layer.
//   - Names, numbers of parameters, and fields of a function's parameters are checked when the script is loaded. What
//     looks like the misspelt name of a function is refused then.
//   - What a function returns is checked at each call. A function that fails, in whatever way, is counted, logged with file, line and
//     backtrace (at most 5 at once, then one in 10 s), and the call is answered with SERVERFAULT or, with on-error "pass", as
//     though the function were not there. A forget that fails clears all tables of the script.
//   - A change that was made below cannot be answered with an error, nor one that was not made with success.
//   - A function may run in many calls at once, each on a thread of its own. Globals are frozen when the script is
//     loaded. What calls share is in tables and counters; what one call keeps from one function to the other is in call.state.
//   - A function never runs under Who.NoWait: a verb that has one answers vfs.Again there, and so runs once
//     for each call. Even the shortest is as slow as several native look-ups, and the longest runs as long as its limits let it.
//   - No lock is held while a function runs, but that the FS below may hold its own during a listing, so that readdir_entry can ask
//     nothing below.
//
// # Limits
//
// One run of one function takes at most max-steps steps of the interpreter (some 20 ns each), memory bytes that it builds, and
// deadline of time. A listing takes ten times max-steps for all its entries. Loading a script may take twice the steps and ten times the time. Recursion and endless loops are not in the
// language, files and the network cannot be reached, and a script is one file of at most MaxFile bytes.
//
// Time is looked at between steps. The longest single step is one that goes through what memory allows it to have built:
// a comparison of two lists of half a million elements each, some 10 ms. Comparing or hashing values that contain the same value many times,
// nested, takes exponential time within the interpreter's own bound on depth, and is not ended: a script that is made to do harm
// can, so scripts are for who may write the configuration.
//
// Memory counts what is built by operators, methods and conversions, not what is freed, and not the constant number of
// bytes that each step may take beside that (a tuple, a call's frame): max-steps bounds those.
package script
