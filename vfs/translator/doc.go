// Package translator is the helper for layers over a vfs.FS.
//
// A layer that treats all verbs alike is a [Hook], put around an FS by [Around], which spells out all
// verbs once, so that none is forgotten. A layer about a few verbs embeds a vfs.FS and overrides
// those.
//
// Layers are stacked: a call goes down through each in order, and its answer comes back up. What a layer
// does not touch passes. No lock is held between layers, so a layer may start other calls on the FS
// below it at any time. A layer keeps its state in variables of its instance, never in those of the package: a kind may
// be there several times in one process.
package translator
