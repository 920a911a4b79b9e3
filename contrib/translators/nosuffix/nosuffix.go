// Package nosuffix is a layer that lets nobody give a name with certain endings.
package nosuffix

import (
	"context"
	"strings"

	"sheaf/vfs"
	"sheaf/vfs/translator"
)

// Kind is the kind "nosuffix".
var Kind = translator.Kind{
	Name: "nosuffix",
	Help: "Refuses to make names with these suffixes.",
	New: func(o *translator.Options) translator.Build {
		suffixes := o.Texts("suffixes")
		return func(_ context.Context, env translator.Env) (translator.Layer, error) {
			return translator.Layer{FS: translator.Around(env.Below, func(ctx context.Context, c *translator.Call, next translator.Next) error {
				name := c.ToName // of Link and Rename
				if c.Verb == translator.Make {
					name = c.Name
				}
				for _, s := range suffixes {
					if !name.IsZero() && strings.HasSuffix(name.String(), s) {
						return vfs.Perm
					}
				}
				return next(ctx, c)
			})}, nil
		}
	},
}
