//go:build race

package translator

// raced: this is a build with the race detector.
const raced = true
