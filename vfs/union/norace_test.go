//go:build !race

package union

// raced: this is a build with the race detector.
const raced = false
