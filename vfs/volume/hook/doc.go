// Package hook is a decorator of a volume.Volume that calls one function around every operation: for
// layers that treat all operations alike, so that none of them spells all out, and none is
// forgotten.
package hook
