// Package kinds is the one list of the kinds of layers that a configuration can name.
package kinds

import (
	"sheaf/vfs/translator"
	"sheaf/vfs/translator/negative"
	"sheaf/vfs/translator/readonly"
	"sheaf/vfs/translator/script"
	"sheaf/vfs/translator/trace"
)

// All are all kinds. That of metrics comes from what holds the counters (metrics.Recorder), that of quota from
// where its counts are kept (quota.NewKind).
func All(metrics, quota translator.Kind) []translator.Kind {
	return []translator.Kind{
		metrics,
		negative.Kind,
		quota,
		readonly.Kind,
		script.Kind,
		trace.Kind,
	}
}
