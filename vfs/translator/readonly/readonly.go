// Package readonly is a layer that lets nothing be changed: every verb that would is answered ROFS, and ACCESS does not
// grant what could only fail.
//
// Reads may still move atime, as on a file system that is mounted read-only for its clients alone.
package readonly

import (
	"context"
	"errors"
	"net/netip"

	"sheaf/vfs"
	"sheaf/vfs/translator"
)

// Kind is the kind "readonly".
var Kind = translator.Kind{
	Name: "readonly",
	Help: "Refuses every change with ROFS, and takes the right to change from the answers of ACCESS. clients: only for these addresses and networks; without it for everybody.",
	New: func(o *translator.Options) translator.Build {
		clients, some := o.Prefixes("clients"), o.Has("clients")
		if some && len(clients) == 0 && o.Err() == nil {
			o.Fail("clients", "is empty; leave it out for everybody")
		}
		return func(_ context.Context, env translator.Env) (translator.Layer, error) {
			l := &layer{clients: clients, all: !some}
			return translator.Layer{FS: translator.Around(env.Below, l.hook)}, nil
		}
	},
}

type layer struct {
	clients []netip.Prefix
	all     bool
}

// changing are the rights that nobody has.
const changing = vfs.AccessModify | vfs.AccessExtend | vfs.AccessDelete

var errReadOnly = errors.New("the translator readonly lets nothing be changed")

func (l *layer) hook(ctx context.Context, c *translator.Call, next translator.Next) error {
	if c.Verb != translator.Access && !c.Verb.Changes() || !l.all && !translator.Contain(l.clients, c.Who.Client) {
		return next(ctx, c)
	}
	if c.Verb != translator.Access {
		return &vfs.Error{Status: vfs.ROFS, Op: c.Verb.String(), Object: c.Name.String(), Err: errReadOnly}
	}
	err := next(ctx, c)
	c.Granted &^= changing
	return err
}
