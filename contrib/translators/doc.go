// Package translators holds example layers in Starlark, and their tests. README.md says how to write one.
package translators

import "embed"

// Scripts are the example layers, for those who test what they write against them.
//
//go:embed *.star
var Scripts embed.FS
