// Package foreign holds the server to its bounds for changes that are not made through it: a
// client asks over TCP while another process, the hand, works on the volumes directly.
//
// # What is checked
//
// The hand makes, removes, renames, replaces, chmods, writes and maps files at random times,
// and says of each change from when to when it was made and what an lstat(2) told then. The
// client's LOOKUPs and READDIRs are taken down with their times. Each field of what they told
// (is there, size, mode, mtime) must have been so at some time between a bound before the call
// and its end: a value is too old if a change that began after it was made was over by
// then. The bound is a second, watched or not; changes of our own are seen at once. Own
// changes go on all the time in the same directories, some of them to the same names as the
// hand's. How soon changes are seen is measured and printed; with a watch it is typically less than
// 50 ms, and the tests want less than half of what chance would give without.
//
// # Running the tests
//
// Each takes two seconds of changes. SHEAF_FOREIGN=60s lets each take a minute; SHEAF_FOREIGN_SEED
// repeats the hand's choices, not its times.
package foreign
