// Package arch holds the tests that keep the house in order: which package may
// import which, who may touch which library, that every package says what it
// is, and that nothing lies at the top of the repository that does not belong
// there. It has no code of its own.
package arch
