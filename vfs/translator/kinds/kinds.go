// Package kinds is the one list of the kinds of layers that a configuration can name.
package kinds

import (
	"sheaf/vfs/translator"
	"sheaf/vfs/translator/readonly"
)

// All are all kinds.
func All() []translator.Kind {
	return []translator.Kind{
		readonly.Kind,
	}
}
